//! From records of the kernel to exchanges for the hub, stage by stage.
//!
//! Calls go to the [`Tracker`], what it finds to the [`Owners`], and what these pass on to the session's filter
//! ([`Wanted`]). Notices about processes and control groups go to the owners at once.

use std::path::PathBuf;

use capturer_ebpf::layout;
use proto::filter::{FilterError, Match};
use proto::v1;

use crate::exchange::Assembler;
use crate::filter::{Wanted, decoder_options};
use crate::identity::cgroups::Place;
use crate::kernel::Record;
use crate::ledger::{Events, Ledger};
use crate::owners::Owners;
use crate::selection::{Rules, Selection, Standing};
use crate::tracker::Tracker;

/// The stages.
pub struct Pipeline {
    tracker: Tracker,
    owners: Owners,
    wanted: Wanted,
    /// Notices read that are not the tracker's.
    notices: u64,
    placements: Vec<(u64, Standing)>,
}

// === impl Pipeline ===

impl Pipeline {
    /// Makes the stages that the hub's settings ask for, on a node of that name; processes are found in `proc`.
    pub fn new(settings: &v1::CapturerSettings, node: String, proc: PathBuf) -> Result<Self, FilterError> {
        let wanted = Wanted::new(settings)?;
        let selection = Selection::new(Rules::of(settings, wanted.matching()), proc.clone());
        let tracing = settings.tracing.unwrap_or_default();
        let assembler =
            Assembler::new(node, settings.id_base, settings.sample).with_socket_hops(tracing.socket_hops);
        let tracker = Tracker::new(decoder_options(settings, wanted.matching()));
        Ok(Self {
            tracker: if tracing.without_packets { tracker } else { tracker.with_packets() },
            owners: Owners::new(selection, assembler, proc),
            wanted,
            notices: 0,
            placements: Vec::new(),
        })
    }

    /// Returns the session's filter.
    #[must_use]
    pub fn matching(&self) -> &Match {
        self.wanted.matching()
    }

    /// Takes a record as it comes from a ring.
    pub fn take(&mut self, record: Record<'_>) {
        match record {
            Record::Moved { head, payload, pieces } => {
                self.owners.sighted(&head);
                self.tracker.moved(&head, payload, pieces);
            }
            Record::Ended(ended) => self.tracker.ended(&ended),
            Record::Attempt(attempt) => {
                self.owners.attempted(&attempt);
                self.tracker.attempted(&attempt, &mut self.owners);
            }
            Record::Packet(packet) => self.tracker.packets(|packets| packets.crossed(&packet)),
            Record::Arrival(arrival) => self.tracker.packets(|packets| packets.arrived(&arrival)),
            Record::Retransmit(again) => self.tracker.packets(|packets| packets.sent_again(&again)),
            Record::Connected(connected) => self.tracker.packets(|packets| packets.connected(&connected)),
            Record::Cgroup { id, at_ns, path } => {
                self.notices += 1;
                self.owners.announced(id, Place::from_inside(path.from_inside()), at_ns);
            }
            Record::Exec(process) => {
                self.notices += 1;
                self.owners.exec(&process);
            }
            Record::Exit(process) => {
                self.notices += 1;
                self.owners.exit(&process);
            }
        }
    }

    /// Deals with what is due at `now_ns`; `drained` says that the rings were empty.
    pub fn advance(&mut self, now_ns: u64, drained: bool) {
        self.owners.advance(now_ns);
        self.follow_decisions();
        self.tracker.advance(now_ns, drained, &mut self.owners);
    }

    /// Takes the connections that nobody has answered when the capture ends, at `now_ns`.
    pub fn unanswered(&mut self, attempts: &[layout::Attempt], now_ns: u64) {
        for attempt in attempts {
            self.owners.attempted(attempt);
            self.tracker.unanswered(attempt, now_ns, &mut self.owners);
        }
    }

    /// Ends everything: what waits is dealt with, requests without a response come out.
    pub fn finish(&mut self, now_ns: u64) {
        self.tracker.finish(now_ns, &mut self.owners);
        self.owners.conclude();
        self.follow_decisions();
    }

    /// Takes what the hub tells of this node's pods.
    pub fn tell(&mut self, pods: v1::NodePods, now_ns: u64) {
        self.owners.tell(pods, now_ns);
        self.follow_decisions();
    }

    /// Stops following a process, and drops what is pending of it.
    pub fn exclude(&mut self, pid: u32) {
        self.owners.exclude(pid);
        self.tracker.refuse(|caller| caller.pid == pid);
    }

    /// Follows a process again.
    pub fn include(&mut self, pid: u32) {
        self.owners.include(pid);
        self.tracker.resume(|caller| caller.pid == pid);
    }

    /// Returns the next exchange that the session wants.
    pub fn exchange(&mut self) -> Option<v1::Exchange> {
        while let Some(exchange) = self.owners.finished() {
            if self.wanted.takes(&exchange) {
                return Some(exchange);
            }
            self.owners.totals().filtered += 1;
        }
        None
    }

    /// Counts exchanges that the full buffer did not take.
    pub fn refused(&mut self, exchanges: u64) {
        self.owners.totals().uplink += exchanges;
    }

    /// Returns what the kernel is to be told, by connection.
    pub fn decisions(&mut self) -> Vec<(u64, layout::Verdict)> {
        self.tracker.decisions()
    }

    /// Returns what the kernel is to be told, by control group.
    pub fn placements(&mut self) -> Vec<(u64, Standing)> {
        std::mem::take(&mut self.placements)
    }

    /// Returns what became of everything so far.
    pub fn ledger(&mut self) -> Ledger {
        let events = self.tracker.events();
        let events = Events { notices: events.notices + self.notices, ..events };
        Ledger { events, exchanges: *self.owners.totals() }
    }

    /// Returns whether something waits for its time.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.tracker.is_waiting() || self.owners.is_waiting()
    }

    /// Returns how many connections are decoded.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.tracker.connections()
    }

    /// Follows the time of day, should it have been set.
    pub fn anchor(&mut self) {
        self.owners.assembler().anchor();
    }

    /// Gives later exchanges ids from another base.
    pub fn rebase(&mut self, id_base: u64) {
        self.owners.assembler().rebase(id_base);
    }

    /// Applies decisions about control groups to what is there of them.
    fn follow_decisions(&mut self) {
        for (cgroup, standing) in self.owners.decided() {
            match standing {
                Standing::Unwanted | Standing::Ours => self.tracker.refuse(|caller| caller.cgroup == cgroup),
                Standing::Wanted => self.tracker.resume(|caller| caller.cgroup == cgroup),
                Standing::Undecided => {}
            }
            self.placements.push((cgroup, standing));
        }
    }
}

#[cfg(test)]
mod tests;
