//! What a session did not see of its nodes, as its hubs told it: one that is replaced forgets, this plugin does not.

use std::collections::{BTreeMap, BTreeSet};

use proto::account::{Balance, Hole, HoleKind, Stage};
use proto::v1;

use crate::clock::HubClock;

/// What a hub says beside its answers: what is seen of the nodes, and its clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct HubWord {
    /// Of the nodes, the newest.
    pub(crate) sight: v1::Sight,
    /// By which it tells times.
    pub(crate) clock: HubClock,
}

/// What was told of the nodes so far.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Nodes that ever captured.
    nodes: BTreeSet<String>,
    /// By node and beginning.
    holes: BTreeMap<(String, u64), Hole>,
}

/// What is new about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nobody sees it, or nobody saw it for a while.
    Hole(Hole),
    /// It was silent and is heard again, by the process that was there before.
    Back {
        /// The node.
        node: String,
        /// When it was last heard before, by the hub's clock, nanoseconds since the Unix epoch.
        since_ns: u64,
        /// When it was heard again; `None` where another hub hears it, which does not know.
        until_ns: Option<u64>,
    },
}

// === impl HubWord ===

impl HubWord {
    /// Takes what a heartbeat brings; says whether that is new of the nodes.
    pub(crate) fn hear(&mut self, now_ns: u64, sight: Option<v1::Sight>) -> bool {
        self.clock.hear(now_ns);
        let is_new = sight.is_some();
        self.sight = sight.unwrap_or_else(|| std::mem::take(&mut self.sight));
        is_new
    }
}

// === impl Sight ===

impl Sight {
    /// Takes what a hub tells, and returns what is new.
    pub(crate) fn take(&mut self, told: v1::Sight) -> Vec<News> {
        let v1::Sight { holes, nodes } = told;
        let holes = match Hole::read_all(holes) {
            Ok(holes) => holes,
            Err(error) => {
                tracing::debug!(%error, "holes of another version are not told");
                return Vec::new();
            }
        };
        let mut now: BTreeMap<_, _> = holes.into_iter().map(|hole| (key(&hole), hole)).collect();
        let mut news = Vec::new();
        // A node that is silent may come back; what is lost stays, also where a new hub knows nothing of it, and so does
        // the silence of a node that a new hub never heard.
        self.holes.retain(|key, hole| {
            let told = now.get(key);
            let again = told.filter(|told| told.is_over()).and_then(|told| told.until_ns);
            let is_over = hole.kind == HoleKind::Silent && nodes.contains(&hole.node);
            let stays = again.is_none() && (told.is_some() || !is_over);
            if !stays {
                let (node, since_ns) = (hole.node.clone(), hole.since_ns);
                news.push(News::Back { node, since_ns, until_ns: again });
            }
            stays
        });
        // Of a silence that is over nothing is lost, and nobody needs to know who was not told of it while it lasted.
        now.retain(|_, hole| !hole.is_over());
        for (key, hole) in now {
            let known = self.holes.get(&key);
            // Between silent and gone only the account differs, and hubs may tell an end by a hair otherwise.
            if known.is_none_or(|known| known.until_ns.is_some() != hole.until_ns.is_some()) {
                news.push(News::Hole(hole.clone()));
            }
            self.holes.insert(key, hole);
        }
        self.nodes.extend(nodes);
        news
    }

    /// How many nodes ever captured.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// All that nobody saw, in the order in which it began.
    pub(crate) fn holes(&self) -> Vec<&Hole> {
        let mut holes: Vec<&Hole> = self.holes.values().collect();
        holes.sort_by_key(|hole| hole.since_ns);
        holes
    }

    /// Adds to the ledgers what only a hub before the last one knew; `now_ns` is the hub's clock.
    pub(crate) fn complete(&self, balances: &mut Vec<Balance>, last: &v1::Sight, now_ns: u64) {
        let is_told = |hole: &Hole| {
            last.holes.iter().any(|told| told.node == hole.node && told.since_ns == hole.since_ns)
        };
        for hole in self.holes.values().filter(|hole| !is_told(hole)) {
            let more = hole.balance(now_ns);
            if more.lost.at(Stage::Silent) == 0 {
                continue;
            }
            let same = |one: &&mut Balance| one.consumer == more.consumer && one.unit == more.unit;
            match balances.iter_mut().find(same) {
                Some(balance) => balance.add(&more),
                None => balances.push(more),
            }
        }
    }
}

fn key(hole: &Hole) -> (String, u64) {
    (hole.node.clone(), hole.since_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(node: &str, since_ns: u64, until_ns: Option<u64>, kind: HoleKind) -> Hole {
        Hole { node: node.to_owned(), since_ns, until_ns, kind }
    }

    fn told(nodes: u32, holes: &[Hole]) -> v1::Sight {
        let nodes = (1..=nodes).map(|node| format!("n{node}")).collect();
        v1::Sight { nodes, holes: holes.iter().cloned().map(v1::Hole::from).collect() }
    }

    #[test]
    fn what_happens_to_a_node_is_news_once() {
        let mut sight = Sight::default();
        let silent = hole("n3", 5, None, HoleKind::Silent);
        assert_eq!(sight.take(told(3, &[])), []);
        assert_eq!(sight.take(told(3, std::slice::from_ref(&silent))), [News::Hole(silent.clone())]);
        assert_eq!(sight.take(told(3, std::slice::from_ref(&silent))), []);
        let back = |until_ns| News::Back { node: "n3".to_owned(), since_ns: 5, until_ns };
        let over = hole("n3", 5, Some(9), HoleKind::Silent);
        assert_eq!(sight.take(told(3, std::slice::from_ref(&over))), [back(Some(9))]);
        assert_eq!(sight.take(told(3, std::slice::from_ref(&over))), [], "told once");
        assert!(sight.holes().is_empty(), "nothing of it is lost");
        assert_eq!(
            Sight::default().take(told(3, std::slice::from_ref(&over))),
            [],
            "who joins later missed nothing"
        );
        // Another hub hears it, and does not know of the silence.
        sight.take(told(3, std::slice::from_ref(&silent)));
        assert_eq!(sight.take(told(3, &[])), [back(None)]);
        sight.take(told(3, std::slice::from_ref(&silent)));
        assert_eq!(sight.take(told(2, &[])), [], "a new hub does not know that node");
        assert_eq!((sight.nodes(), sight.holes()), (3, vec![&silent]));
        let gone = Hole { kind: HoleKind::Gone, ..silent.clone() };
        assert_eq!(sight.take(told(3, std::slice::from_ref(&gone))), [], "it is silent still");
        let restarted = hole("n3", 5, Some(9), HoleKind::Restarted);
        assert_eq!(sight.take(told(3, std::slice::from_ref(&restarted))), [News::Hole(restarted.clone())]);
        assert_eq!(sight.holes(), [&restarted]);
        let hair = hole("n3", 5, Some(10), HoleKind::Restarted);
        assert_eq!(
            sight.take(told(3, std::slice::from_ref(&hair))),
            [],
            "another hub reckons by a hair otherwise"
        );
    }

    #[test]
    fn what_is_lost_stays_so_when_the_process_is_heard_again_and_a_pause_of_the_hub_is_told() {
        let mut sight = Sight::default();
        let gone = hole("n3", 5, None, HoleKind::Gone);
        let back = hole("n3", 5, Some(99), HoleKind::Gone);
        sight.take(told(3, std::slice::from_ref(&gone)));
        assert_eq!(sight.take(told(3, std::slice::from_ref(&back))), [News::Hole(back.clone())]);
        let paused = hole("", 200, Some(300), HoleKind::Paused);
        let both = [back.clone(), paused.clone()];
        assert_eq!(sight.take(told(3, &both)), [News::Hole(paused.clone())]);
        assert_eq!((sight.holes(), sight.nodes()), (vec![&back, &paused], 3));
        let mut balances = Vec::new();
        sight.complete(&mut balances, &v1::Sight::default(), 400);
        assert_eq!(balances.len(), 1, "a pause is nothing lost");
    }

    #[test]
    fn what_a_hub_that_was_replaced_knew_is_not_forgotten() {
        const SECOND: u64 = 1_000_000_000;
        let mut sight = Sight::default();
        let first = hole("n2", 5 * SECOND, Some(7 * SECOND), HoleKind::Restarted);
        let second = hole("n2", 20 * SECOND, Some(21 * SECOND), HoleKind::Restarted);
        sight.take(told(3, std::slice::from_ref(&first)));
        let last = told(2, std::slice::from_ref(&second));
        assert_eq!(sight.take(last.clone()), [News::Hole(second.clone())]);
        assert_eq!((sight.nodes(), sight.holes()), (3, vec![&first, &second]));
        let mut balances = vec![second.balance(0)];
        sight.complete(&mut balances, &last, 0);
        assert_eq!((balances.len(), balances[0].lost.at(Stage::Silent)), (1, 3));
        assert!(balances[0].holds());
        // Where no hub answers any more, this plugin alone knows.
        let mut balances = Vec::new();
        sight.complete(&mut balances, &v1::Sight::default(), 0);
        assert_eq!(balances[0].lost.at(Stage::Silent), 3);
    }
}
