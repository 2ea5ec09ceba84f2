//! Which control groups the session wants, decided by the pods of this node, and what their exchanges are told to be.
//!
//! Outside of a cluster everything is wanted. In one, a process counts by its control group: in a pod of this node by
//! what the hub says of it, in a pod that is not (yet) in the table it is undecided for a while, outside pods it is a
//! host process. Nodes that share a kernel see each other's pods, which are in no table but their own node's.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use capturer_ebpf::layout::placement;
use foldhash::HashMap;
use proto::filter::Match;
use proto::v1;

use crate::identity::cgroups::Place;
use crate::identity::pods::{Pod, Pods};

/// How long a pod that the hub has not told of is waited for. The hub hears of a pod when it is bound to its node, some
/// hundred milliseconds before its first container starts.
pub const UNDECIDED_NS: u64 = 2_000_000_000;

/// How long a container's name is waited for, which the kubelet reports up to a second after its start. With a test on
/// container names it is waited for [`UNDECIDED_NS`].
pub const UNNAMED_NS: u64 = 1_000_000_000;

/// Control groups known at most: each service and container of a node is one. Beyond it the oldest is forgotten, and
/// looked up in `/proc` should it be seen again.
pub const CGROUPS: usize = 8_192;

/// Whether a control group's processes are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not known yet.
    Undecided,
    /// They are.
    Wanted,
    /// They are not.
    Unwanted,
    /// They are a session's of Kyanos: neither they nor their peers are.
    Ours,
}

/// What to do with an exchange of a control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Keep it until more is known.
    Hold,
    /// Pass it on.
    Pass,
    /// Nobody wants it.
    Drop,
}

/// What is wanted of a cluster's node.
#[derive(Debug)]
pub struct Rules {
    /// Processes outside pods.
    pub host_processes: bool,
    /// The session's filter, for names of containers.
    pub matching: Match,
}

/// Decisions by control group.
#[derive(Debug)]
pub struct Selection {
    rules: Option<Rules>,
    proc: PathBuf,
    pods: Pods,
    complete_ns: Option<u64>,
    known: HashMap<u64, Known>,
    order: VecDeque<u64>,
    changes: Vec<(u64, Standing)>,
    unsettled: bool,
}

#[derive(Debug)]
struct Known {
    /// Absent when nobody told, and no process was left to look up.
    place: Option<Place>,
    since_ns: u64,
    standing: Standing,
    /// Nothing more is to be waited for.
    settled: bool,
    /// The pod it was last found in, which may be gone from the table before its last process is.
    pod: Option<(Arc<Pod>, String)>,
}

// === impl Standing ===

impl Standing {
    /// Returns whether nothing is to be captured.
    #[must_use]
    pub fn is_refused(self) -> bool {
        matches!(self, Self::Unwanted | Self::Ours)
    }

    /// Returns the number that the kernel programs know it by, one of [`placement`].
    #[must_use]
    pub fn placement(self) -> u8 {
        match self {
            Self::Undecided => placement::UNDECIDED,
            Self::Wanted => placement::WANTED,
            Self::Unwanted => placement::UNWANTED,
            Self::Ours => placement::OURS,
        }
    }
}

// === impl Selection ===

impl Selection {
    /// Makes a selection by `rules`, without them of everything, that looks processes up in `proc`.
    #[must_use]
    pub fn new(rules: Option<Rules>, proc: PathBuf) -> Self {
        Self {
            rules,
            proc,
            pods: Pods::default(),
            complete_ns: None,
            known: HashMap::default(),
            order: VecDeque::new(),
            changes: Vec::new(),
            unsettled: false,
        }
    }

    /// Notes a control group that the kernel told of. One told of again, since it had been forgotten, is decided again.
    pub fn announced(&mut self, cgroup: u64, place: Place, at_ns: u64) {
        self.learn(cgroup, Some(place), at_ns);
    }

    /// Notes the control group of an event, should nothing be known of it.
    pub fn sighted(&mut self, cgroup: u64, pid: u32, at_ns: u64) {
        if cgroup == 0 || self.known.contains_key(&cgroup) {
            return;
        }
        let text = fs::read_to_string(self.proc.join(pid.to_string()).join("cgroup"));
        self.learn(cgroup, text.ok().map(|text| Place::of_process(&text)), at_ns);
    }

    /// Takes what the hub tells of this node's pods.
    pub fn tell(&mut self, pods: v1::NodePods, now_ns: u64) {
        if pods.complete {
            self.complete_ns.get_or_insert(now_ns);
        }
        self.pods.tell(pods);
        let all: Vec<u64> = self.known.keys().copied().collect();
        for cgroup in all {
            self.decide(cgroup, now_ns);
        }
    }

    /// Ends waits that are over at `now_ns`.
    pub fn advance(&mut self, now_ns: u64) {
        if !self.unsettled {
            return;
        }
        self.unsettled = false;
        let open: Vec<u64> =
            self.known.iter().filter(|(_, known)| !known.settled).map(|(cgroup, _)| *cgroup).collect();
        for cgroup in open {
            self.decide(cgroup, now_ns);
        }
    }

    /// Ends all waits: the capture is over, and nothing more is heard.
    pub fn conclude(&mut self) {
        self.complete_ns = Some(0);
        let all: Vec<u64> = self.known.keys().copied().collect();
        for cgroup in all {
            self.decide(cgroup, u64::MAX);
        }
    }

    /// Returns what changed since the last call, for the kernel and whoever holds something of these groups.
    pub fn changes(&mut self) -> Vec<(u64, Standing)> {
        std::mem::take(&mut self.changes)
    }

    /// Returns whether a control group's processes are captured.
    #[must_use]
    pub fn standing(&self, cgroup: u64) -> Standing {
        match self.known.get(&cgroup) {
            Some(known) => known.standing,
            None if self.rules.is_none() => Standing::Wanted,
            // No event is of a group that was never noted.
            None => Standing::Unwanted,
        }
    }

    /// Returns what to do with an exchange of a control group now.
    #[must_use]
    pub fn decision(&self, cgroup: u64) -> Decision {
        match self.standing(cgroup) {
            Standing::Unwanted | Standing::Ours => Decision::Drop,
            Standing::Wanted if self.known.get(&cgroup).is_none_or(|known| known.settled) => Decision::Pass,
            Standing::Undecided | Standing::Wanted => Decision::Hold,
        }
    }

    /// Writes where a control group is to an exchange's origin.
    pub fn inscribe(&self, cgroup: u64, origin: &mut v1::Origin) {
        let Some(known) = self.known.get(&cgroup) else { return };
        if let Some(place) = &known.place {
            place.container_id.clone_into(&mut origin.container_id);
        }
        let Some((pod, container_id)) = &known.pod else { return };
        container_id.clone_into(&mut origin.container_id);
        pod.namespace.clone_into(&mut origin.namespace);
        pod.name.clone_into(&mut origin.pod);
        pod.workload.clone_into(&mut origin.workload);
        if let Some(name) = pod.containers.get(container_id) {
            name.clone_into(&mut origin.container);
        }
    }

    fn learn(&mut self, cgroup: u64, place: Option<Place>, since_ns: u64) {
        while self.known.len() >= CGROUPS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        let known = Known { place, since_ns, standing: Standing::Undecided, settled: true, pod: None };
        if self.known.insert(cgroup, known).is_none() {
            self.order.push_back(cgroup);
        }
        self.decide(cgroup, since_ns);
    }

    fn decide(&mut self, cgroup: u64, now_ns: u64) {
        let Some(known) = self.known.get_mut(&cgroup) else { return };
        let Some(rules) = &self.rules else {
            known.standing = Standing::Wanted;
            return;
        };
        if let Some((pod, at)) = known.place.as_ref().and_then(|place| self.pods.at(place)) {
            known.pod = Some((Arc::clone(pod), at.container_id.clone()));
        }
        // Before the hub has told all pods, none is missing.
        let complete_ns = self.complete_ns.unwrap_or(if known.place.is_some() { now_ns } else { 0 });
        let waited_ns = now_ns.saturating_sub(complete_ns.max(known.since_ns));
        let (standing, settled) = rules.judge(known, waited_ns);
        known.settled = settled;
        self.unsettled |= !settled;
        if known.standing != standing {
            known.standing = standing;
            self.changes.push((cgroup, standing));
        }
    }
}

// === impl Rules ===

impl Rules {
    /// Reads what of a cluster's node is wanted; `None` outside of a cluster.
    #[must_use]
    pub fn of(settings: &v1::CapturerSettings, matching: &Match) -> Option<Self> {
        settings.cluster.then(|| Self { host_processes: settings.host_processes, matching: matching.clone() })
    }

    /// Decides about a control group that has been waited for so long; the second value says that this is final.
    fn judge(&self, known: &Known, waited_ns: u64) -> (Standing, bool) {
        let Some((pod, container_id)) = &known.pod else {
            return if known.place.as_ref().is_some_and(|place| place.pods.is_empty()) {
                (if self.host_processes { Standing::Wanted } else { Standing::Unwanted }, true)
            } else if waited_ns < UNDECIDED_NS {
                (Standing::Undecided, false)
            } else {
                (Standing::Unwanted, true)
            };
        };
        if pod.ours {
            return (Standing::Ours, true);
        }
        if !pod.wanted {
            return (Standing::Unwanted, true);
        }
        match pod.containers.get(container_id) {
            Some(name) if self.matching.wants_container(name) => (Standing::Wanted, true),
            // An empty name passes only where there is no test on names.
            None if self.matching.wants_container("") => (Standing::Wanted, waited_ns >= UNNAMED_NS),
            None if waited_ns < UNDECIDED_NS => (Standing::Undecided, false),
            Some(_) | None => (Standing::Unwanted, true),
        }
    }
}

#[cfg(test)]
mod tests;
