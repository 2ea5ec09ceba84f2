//! Times of which nobody saw what happened on a node.
//!
//! A capturer that captures says something every few seconds. Of a process that is heard again nothing is lost: it
//! sends what it saw meanwhile. What lies between the last word of one process and the first of the next one nobody
//! saw, and a process that keeps silent for longer than it lives without a hub is gone. While the hub itself does not
//! run it hears nobody: for how long a node is silent that time does not count.

pub mod told;

use std::collections::BTreeMap;
use std::time::Duration;

use proto::account::{Balance, Consumer, Hole, HoleKind, Stage, Unit, seconds_in};

use crate::clock::Moment;

/// Silence after which a node is named: three times what a capturer that has nothing to send waits, and some.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

/// Silence after which a process is gone for good: a capturer ends a minute after it lost its hub.
pub const GONE_AFTER: Duration = Duration::from_secs(75);

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// When one process of a capturer was heard to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardProcess {
    /// Its node.
    pub node: String,
    /// Its random number.
    pub instance: u64,
    /// First.
    pub since: Moment,
    /// Last.
    pub heard: Moment,
    /// Whether it ended in order.
    pub finished: bool,
}

/// How far a capture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It goes on.
    Running,
    /// It has ended, and capturers may still say what they have.
    Ending,
    /// Nobody comes back.
    Ended,
}

/// When nodes are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Now, or the end of capture.
    pub now: Moment,
    /// Since when this hub is told what all hubs hear: what was before is no silence, as long as it may yet be told.
    pub hears_since: Moment,
    /// How far the capture is.
    pub phase: Phase,
}

/// What is seen of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenNode {
    /// Times of which nobody saw what happened, in order.
    pub holes: Vec<Hole>,
    /// The same in seconds, beside those that were watched; what may still come is in neither.
    pub balance: Balance,
}

/// A time of which nobody saw what happened, before anybody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unseen {
    /// The process that was heard before.
    instance: u64,
    /// When it was heard last.
    since: Moment,
    length_ns: u64,
    /// Whether it is over.
    closed: bool,
    kind: HoleKind,
}

/// What all hubs heard of one node.
#[derive(Debug)]
struct HeardNode {
    /// Its processes in the order in which they began.
    processes: Vec<HeardProcess>,
    /// When one of them was last heard.
    heard: Moment,
}

// === impl Look ===

impl Look {
    /// How long a process was not heard, while this hub could have heard it.
    fn silence(&self, last: &HeardProcess) -> Duration {
        let silent = self.now.ran_since(last.heard);
        Duration::from_nanos(match self.phase {
            Phase::Running | Phase::Ending => silent.min(self.now.ran_since(self.hears_since)),
            Phase::Ended => silent,
        })
    }

    /// How a node is silent whose newest process was heard last then, if it is.
    fn kind(&self, last: &HeardProcess) -> Option<HoleKind> {
        let silent = self.silence(last);
        match self.phase {
            Phase::Running if last.finished && !silent.is_zero() => Some(HoleKind::Gone),
            Phase::Running | Phase::Ended if silent > GONE_AFTER => Some(HoleKind::Gone),
            // At the end every capturer finishes.
            Phase::Ended if silent > SILENT_AFTER => Some(HoleKind::Gone),
            Phase::Running | Phase::Ending if silent > SILENT_AFTER => Some(HoleKind::Silent),
            Phase::Running | Phase::Ending | Phase::Ended => None,
        }
    }
}

// === impl HeardNode ===

impl HeardNode {
    /// Sorts by node what hubs say: a process that went from hub to hub is one.
    fn all(processes: &[HeardProcess]) -> BTreeMap<&str, Self> {
        let mut nodes: BTreeMap<&str, BTreeMap<u64, HeardProcess>> = BTreeMap::new();
        for heard in processes {
            let of_node = nodes.entry(&heard.node).or_default();
            match of_node.get_mut(&heard.instance) {
                Some(known) => {
                    let (since, last) = (heard.since, heard.heard);
                    known.since = if since.passed_ns < known.since.passed_ns { since } else { known.since };
                    known.heard = if last.passed_ns > known.heard.passed_ns { last } else { known.heard };
                    known.finished |= heard.finished;
                }
                None => drop(of_node.insert(heard.instance, heard.clone())),
            }
        }
        let sorted = nodes.into_iter().map(|(node, processes)| {
            let mut processes: Vec<HeardProcess> = processes.into_values().collect();
            processes.sort_by_key(|process| process.since.passed_ns);
            let last = processes.iter().map(|process| process.heard).max_by_key(|heard| heard.passed_ns);
            (node, Self { processes, heard: last.unwrap_or_default() })
        });
        sorted.collect()
    }

    fn process(&self, instance: u64) -> Option<&HeardProcess> {
        self.processes.iter().find(|process| process.instance == instance)
    }

    /// Finds the times between its processes, and after the last one.
    fn unseen(&self, look: &Look) -> Vec<Unseen> {
        let mut unseen = Vec::new();
        let mut last: Option<&HeardProcess> = None;
        for process in &self.processes {
            if let Some(before) = last
                && process.since.passed_ns > before.heard.passed_ns
            {
                unseen.push(Unseen {
                    instance: before.instance,
                    since: before.heard,
                    length_ns: process.since.since(before.heard),
                    closed: true,
                    kind: HoleKind::Restarted,
                });
            }
            if last.is_none_or(|before| before.heard.passed_ns <= process.heard.passed_ns) {
                last = Some(process);
            }
        }
        if let Some(last) = last
            && let Some(kind) = look.kind(last)
        {
            let length_ns = look.now.since(last.heard);
            unseen.push(Unseen {
                instance: last.instance,
                since: last.heard,
                length_ns,
                closed: false,
                kind,
            });
        }
        unseen
    }

    /// Its ledger of seconds.
    fn balance(&self, node: &str, unseen: &[Unseen], look: &Look) -> Balance {
        let began = self.processes.first().map_or(look.now, |first| first.since);
        let is_open = unseen.iter().any(|one| !one.closed);
        // Whoever was heard just before the end captured until then.
        let until = if look.phase == Phase::Ended && !is_open { look.now } else { self.heard };
        let lost = unseen.iter().filter(|one| one.kind.is_lost());
        let (mut away, mut seconds) = (0_u64, 0_u64);
        for one in lost {
            seconds = seconds.saturating_add(seconds_in(one.length_ns));
            away = away.saturating_add(if one.closed { one.length_ns } else { 0 });
        }
        let watched = until.since(began).saturating_sub(away) / SECOND_NS;
        ledger(node, watched, seconds)
    }
}

// === impl Unseen ===

impl Unseen {
    /// What is told of it: a time that is over ends as much later as passed, whatever the clocks were set to.
    fn hole(&self, node: &str) -> Hole {
        let Self { instance: _, since, length_ns, closed, kind } = self;
        let until_ns = closed.then(|| since.epoch_ns.saturating_add(*length_ns));
        Hole { node: node.to_owned(), since_ns: since.epoch_ns, until_ns, kind: *kind }
    }
}

/// A node's ledger of seconds.
fn ledger(node: &str, watched: u64, lost: u64) -> Balance {
    let consumer = Consumer::Capturer(node.to_owned());
    Balance::of_fates(consumer, Unit::Second, watched, 0, (Stage::Silent, lost).into())
}

#[cfg(test)]
mod tests;
