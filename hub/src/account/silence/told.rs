//! What was told of the nodes: nothing of it is ever taken back.

use std::collections::BTreeMap;

use proto::account::{Hole, HoleKind, Stage, seconds_in};

use super::{HeardNode, HeardProcess, Look, SECOND_NS, SeenNode, Unseen, ledger};

/// Times that are over are remembered by node, the latest: a node that goes and comes for days makes ever more of them, and
/// the totals have all.
const REMEMBERED: usize = 64;

/// What was told of the nodes so far.
#[derive(Debug, Default)]
pub struct Told(BTreeMap<String, ToldNode>);

#[derive(Debug, Default)]
struct ToldNode {
    /// Open at the last look, whose process nobody had heard again.
    open: Option<Unseen>,
    /// Silences that ended since the same process was heard again.
    over: Vec<Unseen>,
    /// Of those, what is remembered no more: seconds that are lost, and nanoseconds that nobody watched.
    forgotten: (u64, u64),
    /// Seconds that were watched, and those that were lost.
    totals: (u64, u64),
}

// === impl Told ===

impl Told {
    /// Reckons what is seen of each node from what all hubs heard of each process, and remembers that it was told.
    pub fn look(&mut self, processes: &[HeardProcess], look: &Look) -> BTreeMap<String, SeenNode> {
        let nodes = HeardNode::all(processes).into_iter();
        let seen = nodes.map(|(node, heard)| {
            let told = self.0.entry(node.to_owned()).or_default();
            (node.to_owned(), told.look(node, &heard, look))
        });
        seen.collect()
    }
}

// === impl ToldNode ===

impl ToldNode {
    fn look(&mut self, node: &str, heard: &HeardNode, look: &Look) -> SeenNode {
        let mut unseen = heard.unseen(look);
        self.keep(heard, &mut unseen, look);
        self.open = unseen.iter().find(|one| !one.closed).cloned();
        unseen.extend(self.over.iter().cloned());
        unseen.sort_by_key(|one| one.since.passed_ns);
        let balance = heard.balance(node, &unseen, look);
        let (lost, away_ns) = self.forgotten;
        let watched = balance.delivered.saturating_sub(away_ns / SECOND_NS);
        let lost = balance.lost.at(Stage::Silent).saturating_add(lost);
        self.totals = (watched.max(self.totals.0), lost.max(self.totals.1));
        let holes: Vec<Hole> = unseen.iter().map(|one| one.hole(node)).collect();
        SeenNode { holes, balance: ledger(node, self.totals.0, self.totals.1) }
    }

    /// Keeps what was open: it goes on, another process's beginning ends it, or its own is heard again.
    fn keep(&mut self, heard: &HeardNode, unseen: &mut Vec<Unseen>, look: &Look) {
        let Some(open) = self.open.take() else { return };
        let is_it = |one: &Unseen| one.instance == open.instance && one.since.epoch_ns == open.since.epoch_ns;
        if let Some(one) = unseen.iter_mut().find(|one| is_it(one)) {
            one.kind = if open.kind == HoleKind::Gone && !one.closed { HoleKind::Gone } else { one.kind };
            return;
        }
        let process = heard.process(open.instance);
        let again = process.filter(|process| process.heard.epoch_ns != open.since.epoch_ns);
        let Some(again) = again else {
            // The end of capture makes nobody heard who was not.
            let length_ns = look.now.since(open.since).max(open.length_ns);
            return unseen.push(Unseen { length_ns, ..open });
        };
        // What was told as lost stays lost, also if what was seen comes after all. Another hub may have heard it before
        // that was told.
        let again = again.heard.since(open.since);
        let length_ns = if open.kind == HoleKind::Gone { again.max(open.length_ns) } else { again };
        self.over.push(Unseen { length_ns, closed: true, ..open });
        if self.over.len() > REMEMBERED {
            let oldest = self.over.remove(0);
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, one: &Unseen) {
        if one.kind.is_lost() {
            let (lost, away_ns) = self.forgotten;
            let lost = lost.saturating_add(seconds_in(one.length_ns));
            self.forgotten = (lost, away_ns.saturating_add(one.length_ns));
        }
    }
}
