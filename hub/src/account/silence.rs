//! Times of which nobody saw what happened on a node.
//!
//! A capturer that captures says something every few seconds. Of a process that is heard again nothing is lost: it
//! sends what it saw meanwhile. What lies between the last word of one process and the first of the next one nobody
//! saw, and a process that keeps silent for longer than it lives without a hub is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::account::{Balance, Consumer, Hole, HoleKind, Stage, Unit, seconds_in};

/// Silence after which a node is named: three times what a capturer that has nothing to send waits, and some.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

/// Silence after which a process is gone for good: a capturer ends a minute after it lost its hub.
pub const GONE_AFTER: Duration = Duration::from_secs(75);

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// When one process of a capturer was heard to capture, by one hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardProcess {
    /// Its node.
    pub node: String,
    /// Its random number.
    pub instance: u64,
    /// First, nanoseconds since the Unix epoch.
    pub since_ns: u64,
    /// Last.
    pub heard_ns: u64,
    /// Whether it ended in order.
    pub finished: bool,
}

/// What is seen of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenNode {
    /// Times of which nobody saw what happened, in order.
    pub holes: Vec<Hole>,
    /// The same in seconds, beside those that were watched.
    pub balance: Balance,
}

/// Reckons what was seen of each node until now, from what all hubs heard of each process; at the end of capture
/// nobody comes back.
#[must_use]
pub fn watched(processes: &[HeardProcess], now_ns: u64, ended: bool) -> BTreeMap<String, SeenNode> {
    let mut nodes: BTreeMap<&str, BTreeMap<u64, HeardProcess>> = BTreeMap::new();
    for heard in processes {
        let of_node = nodes.entry(&heard.node).or_default();
        match of_node.get_mut(&heard.instance) {
            // It went from hub to hub.
            Some(known) => {
                known.since_ns = known.since_ns.min(heard.since_ns);
                known.heard_ns = known.heard_ns.max(heard.heard_ns);
                known.finished |= heard.finished;
            }
            None => drop(of_node.insert(heard.instance, heard.clone())),
        }
    }
    let watched = nodes.into_iter().map(|(node, processes)| {
        let mut processes: Vec<HeardProcess> = processes.into_values().collect();
        processes.sort_by_key(|process| process.since_ns);
        let holes = holes(&processes, now_ns, ended);
        let balance = balance(node, &processes, &holes, now_ns);
        (node.to_owned(), SeenNode { holes, balance })
    });
    watched.collect()
}

/// Finds the holes between the processes of a node, which are in the order in which they began, and after the last one.
fn holes(processes: &[HeardProcess], now_ns: u64, ended: bool) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut last: Option<&HeardProcess> = None;
    for process in processes {
        if let Some(before) = last
            && process.since_ns > before.heard_ns
        {
            holes.push(Hole {
                node: process.node.clone(),
                since_ns: before.heard_ns,
                until_ns: Some(process.since_ns),
                kind: HoleKind::Restarted,
            });
        }
        if last.is_none_or(|before| before.heard_ns <= process.heard_ns) {
            last = Some(process);
        }
    }
    if let Some(last) = last
        && let Some(kind) = silence(last, now_ns, ended)
    {
        holes.push(Hole { node: last.node.clone(), since_ns: last.heard_ns, until_ns: None, kind });
    }
    holes
}

/// How a node is silent whose newest process was heard last then, if it is.
fn silence(last: &HeardProcess, now_ns: u64, ended: bool) -> Option<HoleKind> {
    let silent = Duration::from_nanos(now_ns.saturating_sub(last.heard_ns));
    // At the end every capturer finishes.
    if last.finished && !silent.is_zero() && !ended || silent > GONE_AFTER {
        return Some(HoleKind::Gone);
    }
    if silent <= SILENT_AFTER {
        return None;
    }
    Some(if ended { HoleKind::Gone } else { HoleKind::Silent })
}

/// A node's ledger of seconds; what may still come is not yet seen.
fn balance(node: &str, processes: &[HeardProcess], holes: &[Hole], now_ns: u64) -> Balance {
    let began = processes.first().map_or(now_ns, |first| first.since_ns);
    let open = holes.iter().fold(0, |sum: u64, hole| sum.saturating_add(hole.length_ns(now_ns)));
    let lost = holes.iter().filter(|hole| hole.kind.is_lost());
    let lost = lost.fold(0, |sum: u64, hole| sum.saturating_add(seconds_in(hole.length_ns(now_ns))));
    let seen_ns = now_ns.saturating_sub(began).saturating_sub(open);
    let consumer = Consumer::Capturer(node.to_owned());
    Balance::of_fates(consumer, Unit::Second, seen_ns / SECOND_NS, 0, (Stage::Silent, lost).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn process(instance: u64, since: u64, heard: u64, finished: bool) -> HeardProcess {
        HeardProcess {
            node: "n2".to_owned(),
            instance,
            since_ns: since * SECOND_NS,
            heard_ns: heard * SECOND_NS,
            finished,
        }
    }

    /// Kind, begin and end of the holes in seconds, and the seconds watched and lost.
    type Told = (Vec<(HoleKind, u64, Option<u64>)>, u64, u64);

    fn told(processes: &[HeardProcess], now: u64, ended: bool) -> Told {
        let of = watched(processes, now * SECOND_NS, ended).remove("n2").unwrap();
        assert!(of.balance.holds(), "{of:?}");
        let holes = of
            .holes
            .iter()
            .map(|hole| (hole.kind, hole.since_ns / SECOND_NS, hole.until_ns.map(|until| until / SECOND_NS)));
        (holes.collect(), of.balance.delivered, of.balance.lost.at(Stage::Silent))
    }

    #[test]
    fn a_killed_capturer_leaves_a_hole_as_long_as_it_was_away() {
        let killed = [process(1, 100, 130, false), process(2, 133, 160, false)];
        let hole = (HoleKind::Restarted, 130, Some(133));
        assert_eq!(told(&killed, 160, false), (vec![hole], 57, 3));
        // A pod that is deleted ends in order, and is missed at once.
        let deleted = [process(1, 100, 130, true)];
        assert_eq!(told(&deleted, 131, false), (vec![(HoleKind::Gone, 130, None)], 30, 1));
    }

    #[test]
    fn a_node_that_is_cut_off_is_silent_then_gone_then_back() {
        let cut = process(1, 100, 200, false);
        let now = 200 + SILENT_AFTER.as_secs();
        assert_eq!(told(std::slice::from_ref(&cut), now, false), (vec![], 110, 0));
        let silent = vec![(HoleKind::Silent, 200, None)];
        assert_eq!(told(std::slice::from_ref(&cut), now + 1, false), (silent, 100, 0));
        // The same process is back and brings what it saw.
        assert_eq!(told(&[process(1, 100, 240, false)], 240, false), (vec![], 140, 0));
        let gone = vec![(HoleKind::Gone, 200, None)];
        assert_eq!(told(std::slice::from_ref(&cut), 300, false), (gone.clone(), 100, 100));
        assert_eq!(
            told(std::slice::from_ref(&cut), now + 1, true),
            (gone, 100, 11),
            "nobody comes back after the end"
        );
        // Fifteen minutes later.
        let back = [cut, process(2, 1100, 1110, false)];
        assert_eq!(told(&back, 1110, false), (vec![(HoleKind::Restarted, 200, Some(1100))], 110, 900));
    }

    #[test]
    fn what_goes_from_hub_to_hub_leaves_none() {
        let moved = [process(1, 100, 130, false), process(1, 131, 160, false)];
        assert_eq!(told(&moved, 160, false), (vec![], 60, 0));
        // The end of a session is no silence.
        assert_eq!(told(&[process(1, 100, 130, true)], 132, true), (vec![], 32, 0));
        // Two pods of a node for a moment.
        let both = [process(1, 100, 140, true), process(2, 135, 160, false)];
        assert_eq!(told(&both, 160, false), (vec![], 60, 0));
    }

    /// What happens in a second: to whom the process of the node speaks, and whether another one takes its place.
    fn seconds() -> impl Strategy<Value = Vec<(Option<u64>, bool)>> {
        let second = (prop::option::weighted(0.8, 0..2_u64), prop::bool::weighted(0.1));
        prop::collection::vec(second, 1..200)
    }

    proptest! {
        #[test]
        fn every_second_is_watched_lost_or_may_still_come(seconds in seconds()) {
            let mut heard: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
            let mut instance = 0;
            for (second, (hub, restarts)) in (100..).zip(&seconds) {
                instance += u64::from(*restarts);
                if let Some(hub) = hub {
                    heard.entry((instance, *hub)).or_insert((second, second)).1 = second;
                }
            }
            let processes: Vec<_> = heard
                .iter()
                .map(|((instance, _), (since, heard))| process(*instance, *since, *heard, false))
                .collect();
            let now = 100 + seconds.len() as u64;
            let Some(first) = processes.iter().map(|one| one.since_ns / SECOND_NS).min() else { return Ok(()) };
            // Second by second: whether one process was heard before and after it.
            let seen = |second: u64| {
                (0..=instance).any(|one| {
                    let of = || heard.iter().filter(|((of, _), _)| *of == one);
                    let since = of().map(|(_, (since, _))| *since).min();
                    let until = of().map(|(_, (_, heard))| *heard).max();
                    since.is_some_and(|since| since <= second) && until.is_some_and(|until| second < until)
                })
            };
            let unseen = (first..now).filter(|second| !seen(*second)).count() as u64;
            let (holes, watched, lost) = told(&processes, now, false);
            let last = processes.iter().map(|one| one.heard_ns / SECOND_NS).max().unwrap();
            let waits = match holes.last() {
                Some((HoleKind::Silent, since, None)) => now - since,
                Some(_) | None => 0,
            };
            // A silence too short to be told counts as watched.
            let short = if holes.last().is_some_and(|hole| hole.2.is_none()) { 0 } else { now - last };
            prop_assert_eq!(watched + lost + waits, now - first);
            prop_assert_eq!(lost + waits + short, unseen);
            prop_assert!(holes.is_sorted_by_key(|hole| hole.1));
        }
    }
}
