//! What the path of a control group says: which container and which pod a process is in.

/// Digits of a container id.
const ID_DIGITS: usize = 64;

/// Characters of a pod's UID, and where its dashes are.
const UID_CHARS: usize = 36;
const UID_DASHES: [usize; 4] = [8, 13, 18, 23];

/// Digits of a static pod's config hash, which stands in the place of a UID.
const HASH_DIGITS: usize = 32;

/// What a path says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The innermost container's id, empty outside of containers.
    pub container_id: String,
    /// The pods it lies in, from the inside out: more than one where a node is itself a pod's container.
    pub pods: Vec<PodPlace>,
}

/// A place in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlace {
    /// The pod's UID with dashes, in lower case, or a static pod's config hash.
    pub uid: String,
    /// The pod's container, empty for processes beside its containers.
    pub container_id: String,
}

// === impl Place ===

impl Place {
    /// Reads the names of a path's directories, from the inside out, as containerd, CRI-O, Docker and Podman make them
    /// under systemd or by themselves.
    pub fn from_inside<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut place = Self::default();
        let mut outermost = String::new();
        for name in names {
            if let Some(id) = container_id(name) {
                if place.container_id.is_empty() {
                    id.clone_into(&mut place.container_id);
                }
                id.clone_into(&mut outermost);
            }
            if let Some(uid) = pod_uid(name) {
                place.pods.push(PodPlace { uid, container_id: std::mem::take(&mut outermost) });
            }
        }
        place
    }

    /// Reads the text of `/proc/PID/cgroup`, of either version.
    #[must_use]
    pub fn of_process(text: &str) -> Self {
        let places = || {
            let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
            paths.map(|path| Self::from_inside(path.rsplit('/')))
        };
        places()
            .find(|place| !place.pods.is_empty())
            .or_else(|| places().find(|place| !place.container_id.is_empty()))
            .unwrap_or_default()
    }
}

/// Returns a UID as paths and the API may write it in one form: dashes, lower case.
#[must_use]
pub fn normal_uid(uid: &str) -> String {
    uid.replace('_', "-").to_ascii_lowercase()
}

/// Finds a container id in a directory's name: 64 hex digits at its end, after `-` or `:` if after anything.
fn container_id(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").or_else(|| name.strip_suffix(".service")).unwrap_or(name);
    let (prefix, id) = name.rsplit_once(['-', ':']).unwrap_or(("", name));
    let digits = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    // The process that watches over a container is not in it.
    (digits && !prefix.ends_with("conmon")).then_some(id)
}

/// Finds a pod's UID or config hash in a directory's name: `podUID`, or `…-podUID.slice` with underscores for dashes,
/// behind which an id may follow after `:`.
fn pod_uid(name: &str) -> Option<String> {
    let slice = name.split(':').next().unwrap_or(name);
    let slice = slice.strip_suffix(".slice").unwrap_or(slice);
    let uid = slice.rsplit_once("-pod").map(|(_, uid)| uid).or_else(|| slice.strip_prefix("pod"))?;
    let uid = normal_uid(uid);
    let hex = |(at, byte): (usize, u8)| {
        if uid.len() == UID_CHARS && UID_DASHES.contains(&at) {
            byte == b'-'
        } else {
            byte.is_ascii_hexdigit()
        }
    };
    let whole = [UID_CHARS, HASH_DIGITS].contains(&uid.len()) && uid.bytes().enumerate().all(hex);
    whole.then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const INNER: &str = "ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "4b1f3a52-0c7e-4f2a-9d11-0123456789ab";
    const HASH: &str = "dd3bd9a2e7e4a3fd1d5c8e6a6b3a9b10";

    fn place(path: &str) -> Place {
        let path = path.replace("INNER", INNER).replace("HASH", HASH).replace("ID", ID);
        let path = path.replace("UUU", &UID.replace('-', "_")).replace("UU", UID);
        Place::of_process(&path)
    }

    #[test]
    fn containers_of_all_runtimes_are_found() {
        for path in [
            "0::/system.slice/docker-ID.scope",
            "12:memory:/docker/ID\n0::/",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-ID.scope",
            "11:cpu,cpuacct:/kubepods/burstable/pod3d2e/ID",
            "0::/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container",
            "0::/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID",
            "0::/../../kubepods.slice/cri-containerd-ID.scope/init",
            "0::/machine.slice/libpod-ID.scope",
            "0::/machine.slice/machine-libpod_pod_INNER.slice/libpod-ID.scope/container",
        ] {
            assert_eq!(place(path).container_id, ID, "{path}");
            assert!(place(path).pods.is_empty(), "{path}");
        }
        for path in ["0::/", "0::/user.slice/session-3.scope", "0::/crio-conmon-ID.scope", "0::/xID", ""] {
            assert_eq!(place(path), Place::default(), "{path}");
        }
    }

    #[test]
    fn pods_of_all_runtimes_are_found() {
        for path in [
            // cgroupfs: containerd, CRI-O and Docker; every class of service
            "4:memory:/kubepods/burstable/podUU/ID",
            "0::/kubepods/besteffort/podUU/ID",
            "0::/kubepods/podUU/crio-ID",
            "9:name=systemd:/\n4:memory:/process/kubepods/podUU/ID\n0::/",
            // systemd
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUUU.slice/cri-containerd-ID.scope",
            "0::/kubepods.slice/kubepods-podUUU.slice/crio-ID.scope/container",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUUU.slice/docker-ID.scope",
            "0::/system.slice/containerd.service/kubepods-burstable-podUUU.slice:cri-containerd:ID",
            // a service and a container within the container
            "0::/kubepods.slice/kubepods-podUUU.slice/cri-containerd-ID.scope/system.slice/nginx.service",
            // a node that is a container: kind, k3d
            "0::/docker/INNER/kubelet/kubepods/besteffort/podUU/ID",
            "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUUU.slice/cri-containerd-ID.scope",
            // a cluster's root of another name
            "0::/my-pods.slice/my-pods-kubepods.slice/my-pods-kubepods-podUUU.slice/crio-ID.scope",
            // seen from another control group's namespace
            "0::/../../kubepods/podUU/ID",
        ] {
            let expected = [PodPlace { uid: UID.to_owned(), container_id: ID.to_owned() }];
            assert_eq!(place(path).pods, expected, "{path}");
        }
    }

    #[test]
    fn static_pods_are_named_by_their_hash() {
        for path in
            ["0::/kubepods/burstable/podHASH/ID", "0::/kubepods-burstable-podHASH.slice/crio-ID.scope"]
        {
            assert_eq!(place(path).pods[0].uid, HASH, "{path}");
        }
    }

    #[test]
    fn a_process_may_be_in_a_pod_and_in_no_container_of_it() {
        for path in ["0::/kubepods/podUU", "0::/kubepods-podUUU.slice/crio-conmon-ID.scope"] {
            assert_eq!(place(path).pods, [PodPlace { uid: UID.to_owned(), container_id: String::new() }]);
        }
    }

    #[test]
    fn the_container_of_the_pod_counts_and_not_one_within_it() {
        let nested = place("0::/kubepods/podUU/ID/docker/INNER");
        assert_eq!((nested.container_id.as_str(), nested.pods[0].container_id.as_str()), (INNER, ID));
        let node = place("0::/kubepods/podHASH/ID/kubelet/kubepods/podUU/INNER");
        let found: Vec<_> =
            node.pods.iter().map(|pod| (pod.uid.as_str(), pod.container_id.as_str())).collect();
        assert_eq!(found, [(UID, INNER), (HASH, ID)], "from the inside out");
    }

    #[test]
    fn what_only_looks_like_a_pod_is_none() {
        for path in [
            "0::/podman-UU",
            "0::/kubepods/pod",
            "0::/kubepods/pod-UU",
            "0::/podUUx",
            "0::/kubepods/podID",
            "0::/my-podcast.slice",
        ] {
            assert!(place(path).pods.is_empty(), "{path}");
        }
        assert_eq!(normal_uid("4B1F_3a52"), "4b1f-3a52");
    }
}
