//! What the session's selection of control groups means for results and connections.

use proto::v1;

use super::connection::Tracked;
use super::held::Pending;
use super::{IGNORED, Tracker, waiting};
use crate::selection::{Fate, Standing};

impl Tracker {
    /// Passes an exchange on if it is known whose it is, and that it is wanted.
    pub(super) fn deliver(&mut self, cgroup: u64, exchange: v1::Exchange) {
        if self.selection.fate(cgroup) == Fate::Hold {
            self.held.hold(cgroup, exchange);
        } else {
            self.settle_results(cgroup, Pending { exchanges: vec![exchange], ..Pending::default() });
        }
    }

    /// Counts what is no exchange, when it is known whether anybody would want it.
    pub(super) fn count(&mut self, cgroup: u64, unpaired: u64, gap: u64) {
        if self.selection.fate(cgroup) == Fate::Hold {
            self.held.count(cgroup, unpaired, gap);
        } else {
            self.settle_results(cgroup, Pending { unpaired, gap, ..Pending::default() });
        }
    }

    /// Deals with results of a control group about which is decided.
    fn settle_results(&mut self, cgroup: u64, pending: Pending) {
        let Pending { exchanges, shed, unpaired, gap, .. } = pending;
        let totals = &mut self.ledger.exchanges;
        let all = exchanges.len() as u64 + shed + unpaired + gap;
        totals.seen += all;
        if self.selection.fate(cgroup) == Fate::Drop {
            totals.filtered += all;
            return;
        }
        totals.map += shed;
        totals.unpaired += unpaired;
        totals.gap += gap;
        for mut exchange in exchanges {
            self.selection.inscribe(cgroup, exchange.origin.get_or_insert_default());
            self.finished.push_back(exchange);
        }
    }

    /// Applies decisions about control groups to what is there of them.
    pub(super) fn follow_selection(&mut self) {
        for (cgroup, standing) in self.selection.changes() {
            match standing {
                Standing::Unwanted | Standing::Ours => self.vacate(cgroup),
                Standing::Wanted => self.readmit(cgroup),
                Standing::Undecided => {}
            }
            self.placements.push((cgroup, standing));
        }
        for cgroup in self.held.groups() {
            if self.selection.fate(cgroup) != Fate::Hold {
                let pending = self.held.take(cgroup);
                self.settle_results(cgroup, pending);
            }
        }
    }

    /// Follows the connections of a control group again that were dropped.
    fn readmit(&mut self, cgroup: u64) {
        let readmitted = self.ignored.extract_if(|_, why| *why == cgroup).map(|(id, _)| id);
        // Of those that the kernel forgot no end is heard.
        if self.readmitted.len() > IGNORED {
            self.readmitted.clear();
        }
        self.readmitted.extend(readmitted);
    }

    /// Drops the connections of a control group.
    fn vacate(&mut self, cgroup: u64) {
        let of_group = |(id, tracked): (&u64, &Tracked)| (tracked.cgroup == cgroup).then_some(*id);
        let ids: Vec<u64> = self.connections.iter().filter_map(of_group).collect();
        for id in ids {
            if let Some(tracked) = self.remove(id) {
                self.ledger.events.filtered += waiting(&tracked);
            }
            self.ignore(id, cgroup);
        }
    }
}
