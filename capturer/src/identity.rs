//! Whose connection it is: command names and containers of processes, by process id.

pub mod listening;

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::PathBuf;

use capturer_ebpf::layout::COMM_LEN;

/// Processes remembered at most; beyond it the table starts anew, at the price of one read of `/proc` per process.
pub const PROCESSES: usize = 16_384;

/// How long an ended process is remembered: its exchanges may still be waiting for their order or their peer.
pub const REMEMBERED_NS: u64 = 30_000_000_000;

/// Digits of a container id.
const ID_DIGITS: usize = 64;

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Command name.
    pub comm: String,
    /// Container id, empty outside of containers.
    pub container_id: String,
}

/// The processes seen.
#[derive(Debug)]
pub struct Processes {
    proc: PathBuf,
    known: HashMap<u32, Known>,
    ended: VecDeque<(u64, u32)>,
}

#[derive(Debug)]
struct Known {
    comm: [u8; COMM_LEN],
    process: Process,
    ended_ns: Option<u64>,
}

// === impl Processes ===

impl Processes {
    /// Makes an empty table over a proc file system.
    #[must_use]
    pub fn new(proc: PathBuf) -> Self {
        Self { proc, known: HashMap::new(), ended: VecDeque::new() }
    }

    /// Notes that a process began to run a program; reads at once, since it may soon be gone.
    pub fn exec(&mut self, pid: u32, comm: [u8; COMM_LEN]) {
        self.learn(pid, comm);
    }

    /// Notes that a process ended.
    pub fn exit(&mut self, pid: u32, at_ns: u64) {
        if let Some(known) = self.known.get_mut(&pid) {
            known.ended_ns = Some(at_ns);
            self.ended.push_back((at_ns, pid));
        }
    }

    /// Notes the process of an event.
    pub fn sighted(&mut self, pid: u32, comm: [u8; COMM_LEN], at_ns: u64) {
        match self.known.get_mut(&pid) {
            // A process id that lives after its end belongs to another process.
            Some(known) if known.ended_ns.is_some_and(|ended| ended < at_ns) => self.learn(pid, comm),
            Some(known) => {
                if known.comm != comm {
                    known.comm = comm;
                    known.process.comm = name(&comm);
                }
            }
            None => self.learn(pid, comm),
        }
    }

    /// Returns what is known of a process.
    #[must_use]
    pub fn get(&self, pid: u32) -> Process {
        self.known.get(&pid).map(|known| known.process.clone()).unwrap_or_default()
    }

    /// Forgets processes that ended long before `now_ns`.
    pub fn expire(&mut self, now_ns: u64) {
        while let Some((at_ns, pid)) = self.ended.front().copied() {
            if now_ns.saturating_sub(at_ns) < REMEMBERED_NS && self.ended.len() <= PROCESSES {
                return;
            }
            self.ended.pop_front();
            if self.known.get(&pid).is_some_and(|known| known.ended_ns == Some(at_ns)) {
                self.known.remove(&pid);
            }
        }
    }

    fn learn(&mut self, pid: u32, comm: [u8; COMM_LEN]) {
        if self.known.len() >= PROCESSES && !self.known.contains_key(&pid) {
            self.known.clear();
            self.ended.clear();
        }
        let path = self.proc.join(pid.to_string()).join("cgroup");
        let read = fs::read_to_string(path).ok().and_then(|text| container_id(&text));
        // A process that is gone already keeps what its predecessor in the table had: an exec stays in its container.
        let container_id = read
            .or_else(|| {
                let known = self.known.get(&pid)?;
                known.ended_ns.is_none().then(|| known.process.container_id.clone())
            })
            .unwrap_or_default();
        let process = Process { comm: name(&comm), container_id };
        self.known.insert(pid, Known { comm, process, ended_ns: None });
    }
}

/// Returns a command name as text.
#[must_use]
pub fn name(comm: &[u8; COMM_LEN]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(COMM_LEN);
    String::from_utf8_lossy(comm.get(..end).unwrap_or_default()).into_owned()
}

/// Finds the container id in the text of `/proc/PID/cgroup`, of either version, as Docker, containerd, CRI-O and
/// Podman write it: 64 hex digits that end a path segment, after `-` or `:` if after anything.
#[must_use]
pub fn container_id(cgroup: &str) -> Option<String> {
    cgroup
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .flat_map(|path| path.rsplit('/'))
        .find_map(segment_id)
}

fn segment_id(segment: &str) -> Option<String> {
    let segment =
        segment.strip_suffix(".scope").or_else(|| segment.strip_suffix(".service")).unwrap_or(segment);
    let (prefix, id) = segment.rsplit_once(['-', ':']).unwrap_or(("", segment));
    let digits = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    // The process that watches over a container is not in it.
    (digits && !prefix.ends_with("conmon")).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn container_ids_of_all_runtimes_are_found() {
        for path in [
            "0::/system.slice/docker-ID.scope",
            "12:memory:/docker/ID\n0::/",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-ID.scope",
            "0::/kubepods/besteffort/pod3d2e/ID",
            "11:cpu,cpuacct:/kubepods/burstable/pod3d2e/ID",
            "0::/kubepods.slice/kubepods-pod1.slice/crio-ID.scope",
            "0::/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container",
            "0::/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID",
            "0::/../../kubepods.slice/cri-containerd-ID.scope/init",
            "0::/machine.slice/libpod-ID.scope",
        ] {
            assert_eq!(container_id(&path.replace("ID", ID)).as_deref(), Some(ID), "{path}");
        }
        for path in ["0::/", "0::/user.slice/session-3.scope", "0::/crio-conmon-ID.scope", "0::/xID", ""] {
            assert_eq!(container_id(&path.replace("ID", ID)), None, "{path}");
        }
    }

    fn comm(text: &str) -> [u8; COMM_LEN] {
        let mut comm = [0; COMM_LEN];
        comm[..text.len()].copy_from_slice(text.as_bytes());
        comm
    }

    fn contained(proc: &std::path::Path, pid: u32, id: &str) {
        fs::create_dir_all(proc.join(pid.to_string())).unwrap();
        fs::write(proc.join(pid.to_string()).join("cgroup"), format!("0::/docker/{id}\n")).unwrap();
    }

    #[test]
    fn processes_follow_exec_and_exit() {
        let proc = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(proc.path().to_owned());
        contained(proc.path(), 7, ID);
        processes.exec(7, comm("curl"));
        fs::remove_dir_all(proc.path().join("7")).unwrap();
        processes.sighted(7, comm("curl"), 10);
        let expected = Process { comm: "curl".to_owned(), container_id: ID.to_owned() };
        assert_eq!(processes.get(7), expected);
        processes.exit(7, 20);
        assert_eq!(processes.get(7), expected, "an ended process is remembered");
        processes.sighted(7, comm("other"), 30);
        assert_eq!(processes.get(7).container_id, "", "its number taken again is another process");
        processes.exit(7, 40);
        processes.expire(40 + REMEMBERED_NS);
        assert_eq!(processes.get(7), Process::default());
    }

    #[test]
    fn the_table_is_bounded() {
        let proc = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(proc.path().to_owned());
        for pid in 0..40_000 {
            processes.sighted(pid, comm("x"), 1);
            assert!(processes.known.len() <= PROCESSES);
        }
    }
}
