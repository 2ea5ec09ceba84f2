//! Workloads as users name them: `deploy/web`, `deployments.apps/web`, `Deployment/web` are one.

use super::FilterError;

/// Longest part of a made-up name that comes from its maker: the API server cuts it there and adds
/// [`RANDOM_CHARS`] letters, which makes a DNS label.
const MAX_STEM_CHARS: usize = 58;

/// Letters that the API server makes up.
const RANDOM_CHARS: usize = 5;

/// A kind of workload with everything that kubectl takes for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadKind {
    /// As objects call it, and as exchanges show it.
    pub kind: &'static str,
    /// As paths of the API call it.
    pub plural: &'static str,
    /// Short form.
    pub short: Option<&'static str>,
    /// API group; the core group has no name.
    pub group: &'static str,
}

/// Kinds of Kubernetes itself that pods can belong to, all of version `v1`.
pub const WORKLOAD_KINDS: [WorkloadKind; 8] = [
    WorkloadKind { kind: "Deployment", plural: "deployments", short: Some("deploy"), group: "apps" },
    WorkloadKind { kind: "StatefulSet", plural: "statefulsets", short: Some("sts"), group: "apps" },
    WorkloadKind { kind: "DaemonSet", plural: "daemonsets", short: Some("ds"), group: "apps" },
    WorkloadKind { kind: "ReplicaSet", plural: "replicasets", short: Some("rs"), group: "apps" },
    WorkloadKind { kind: "Job", plural: "jobs", short: None, group: "batch" },
    WorkloadKind { kind: "CronJob", plural: "cronjobs", short: Some("cj"), group: "batch" },
    WorkloadKind {
        kind: "ReplicationController",
        plural: "replicationcontrollers",
        short: Some("rc"),
        group: "",
    },
    WorkloadKind { kind: "Pod", plural: "pods", short: Some("po"), group: "" },
];

/// Version of the API that all of [`WORKLOAD_KINDS`] have.
const VERSION: &str = "v1";

/// A workload that is asked for: kind and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// As objects call it where it is one of [`WORKLOAD_KINDS`], else as it was written.
    pub kind: String,
    /// Its name.
    pub name: String,
}

// === impl WorkloadKind ===

impl WorkloadKind {
    /// Finds the kind that a word stands for: its name, plural or short form, in any case, alone or with the group.
    #[must_use]
    pub fn named(word: &str) -> Option<&'static Self> {
        let (name, place) = word.split_once('.').map_or((word, None), |(name, place)| (name, Some(place)));
        WORKLOAD_KINDS.iter().find(|kind| kind.has_name(name) && place.is_none_or(|place| kind.is_in(place)))
    }

    fn has_name(&self, name: &str) -> bool {
        [Some(self.kind), Some(self.plural), self.short]
            .into_iter()
            .flatten()
            .any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Compares what follows the first dot, `GROUP` or `VERSION.GROUP`, as kubectl reads it.
    fn is_in(&self, place: &str) -> bool {
        let group = match place.split_once('.') {
            Some((VERSION, group)) => group,
            Some(_) | None => place,
        };
        group.eq_ignore_ascii_case(self.group)
    }
}

// === impl Workload ===

impl Workload {
    /// Reads `KIND/NAME`.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let wrong = |reason: &str| FilterError::new("workload", text, reason);
        let form = || wrong("a workload is KIND/NAME, as in deploy/orders");
        let (kind, name) = text.split_once('/').ok_or_else(form)?;
        if kind.is_empty() || name.is_empty() || name.contains('/') {
            return Err(form());
        }
        if !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')) {
            return Err(wrong("names have lower case letters, digits, dashes and dots"));
        }
        let known = WorkloadKind::named(kind);
        let kind = known.map_or_else(|| kind.to_owned(), |known| known.kind.to_owned());
        Ok(Self { kind, name: name.to_owned() })
    }

    /// Says whether a pod belongs to it; `found` is the workload that the pod is known by, the uppermost of its owners.
    #[must_use]
    pub fn has(&self, pod: &str, found: &str) -> bool {
        let Some((kind, name)) = found.split_once('/') else { return false };
        if self.kind.eq_ignore_ascii_case(kind) && self.name == name {
            return true;
        }
        match self.kind.as_str() {
            // Every pod can be named, whoever made it.
            "Pod" => self.name == pod,
            // What is below the uppermost owner is told by the name that it gave the pod.
            "ReplicaSet" => is_below(&self.name, name) && is_of_replica_set(pod, &self.name),
            "Job" => is_below(&self.name, name) && is_of_job(pod, &self.name),
            _ => false,
        }
    }
}

impl std::fmt::Display for Workload {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}/{}", self.kind, self.name)
    }
}

/// Says whether an object can have been made by an owner, which then begins its name.
fn is_below(name: &str, owner: &str) -> bool {
    name.strip_prefix(owner).is_some_and(|rest| rest.starts_with('-'))
}

/// Says whether a pod has a name that a ReplicaSet gives: `SET-abcde`.
fn is_of_replica_set(pod: &str, set: &str) -> bool {
    stem(pod).is_some_and(|stem| stem == cut(&format!("{set}-"), MAX_STEM_CHARS))
}

/// Says whether a pod has a name that a Job gives: `JOB-abcde`, and of an indexed one `JOB-7-abcde`.
fn is_of_job(pod: &str, job: &str) -> bool {
    if is_of_replica_set(pod, job) {
        return true;
    }
    let Some((before, index)) = stem(pod).and_then(|stem| stem.strip_suffix('-')?.rsplit_once('-')) else {
        return false;
    };
    let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    // Of a long name so much is cut that the index stays whole.
    digits && before == cut(job, MAX_STEM_CHARS.saturating_sub(index.len()).saturating_sub("--".len()))
}

/// The name of a pod without the letters that the API server made up.
fn stem(pod: &str) -> Option<&str> {
    let at = pod.len().checked_sub(RANDOM_CHARS)?;
    let random = pod.get(at..)?;
    random.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| pod.get(..at))?
}

fn cut(name: &str, chars: usize) -> &str {
    name.get(..chars).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(workload: &str, pod: &str, found: &str) -> bool {
        Workload::parse(workload).expect(workload).has(pod, found)
    }

    #[test]
    fn every_form_that_kubectl_takes_is_one_kind() {
        for WorkloadKind { kind, plural, short, group } in WORKLOAD_KINDS {
            let mut words =
                vec![kind.to_owned(), kind.to_lowercase(), plural.to_owned(), plural.to_uppercase()];
            words.extend(short.map(str::to_owned));
            for word in words {
                words_of_one_kind(&word, kind, group);
            }
        }
        for (word, kind) in [
            ("deploy", "Deployment"),
            ("deployments", "Deployment"),
            ("deployments.apps", "Deployment"),
            ("deployment.v1.apps", "Deployment"),
            ("sts", "StatefulSet"),
            ("ds", "DaemonSet"),
            ("rs", "ReplicaSet"),
            ("rc", "ReplicationController"),
            ("po", "Pod"),
            ("job", "Job"),
            ("jobs.batch", "Job"),
            ("cj", "CronJob"),
        ] {
            assert_eq!(WorkloadKind::named(word).map(|found| found.kind), Some(kind), "{word}");
        }
    }

    fn words_of_one_kind(word: &str, kind: &str, group: &str) {
        let forms = [word.to_owned(), format!("{word}.{group}"), format!("{word}.v1.{group}")];
        for form in forms {
            assert_eq!(
                Workload::parse(&format!("{form}/a")).expect("one").to_string(),
                format!("{kind}/a"),
                "{form}"
            );
        }
        for form in [format!("{word}.example.com"), format!("{word}.v2.{group}"), format!("{word}s")] {
            let found = WorkloadKind::named(&form);
            assert!(found.is_none_or(|found| found.plural.eq_ignore_ascii_case(&form)), "{form}");
        }
    }

    #[test]
    fn kinds_of_others_keep_their_word() {
        assert_eq!(Workload::parse("Rollout/web").expect("a workload").kind, "Rollout");
        assert!(has("rollout/web", "web-7d4-abcde", "Rollout/web"));
        assert_eq!(Workload::parse("deployments.extensions/a").expect("one").kind, "deployments.extensions");
    }

    #[test]
    fn what_is_no_workload_is_refused() {
        for text in
            ["web", "/web", "deploy/", "deploy/a/b", "", "/", "deploy/Web", "deploy/a b", "deploy/a=b"]
        {
            assert!(Workload::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pods_belong_to_each_of_their_owners() {
        let pod = "web-7d4f9c-x2k9p";
        for workload in ["deploy/web", "rs/web-7d4f9c", "po/web-7d4f9c-x2k9p"] {
            assert!(has(workload, pod, "Deployment/web"), "{workload}");
        }
        for workload in
            ["rs/web", "rs/web-7d4f9", "deploy/web-7d4f9c", "po/web", "sts/web", "job/web-7d4f9c-x"]
        {
            assert!(!has(workload, pod, "Deployment/web"), "{workload}");
        }
        assert!(has("rs/web", "web-x2k9p", "ReplicaSet/web"));
        assert!(has("po/web-0", "web-0", "StatefulSet/web"));
        assert!(has("po/alone", "alone", "Pod/alone"));
        for workload in ["cj/night", "job/night-290", "po/night-290-abcde"] {
            assert!(has(workload, "night-290-abcde", "CronJob/night"), "{workload}");
        }
        assert!(has("job/night-290", "night-290-3-abcde", "CronJob/night"));
        assert!(!has("job/night-29", "night-290-abcde", "CronJob/night"));
        assert!(!has("job/other-290", "other-290-abcde", "CronJob/night"), "another owner's");
    }

    #[test]
    fn long_names_are_cut_as_the_api_server_cuts_them() {
        let set = format!("{}-7d4", "a".repeat(70));
        let owner = format!("Deployment/{}", "a".repeat(70));
        let pod = format!("{}abcde", "a".repeat(MAX_STEM_CHARS));
        assert_eq!(pod.len(), 63);
        assert!(has(&format!("rs/{set}"), &pod, &owner));
        let job = format!("{}-290", "b".repeat(60));
        let pod = format!("{}-12-abcde", "b".repeat(54));
        assert_eq!(pod.len(), 63);
        assert!(has(&format!("job/{job}"), &pod, &format!("CronJob/{}", "b".repeat(60))));
        for short in ["", "a", "abcd", "abcde", "-abcde"] {
            assert!(!has("rs/web-1", short, "Deployment/web"), "{short}");
            assert!(!has("job/web-1", short, "CronJob/web"), "{short}");
        }
    }
}
