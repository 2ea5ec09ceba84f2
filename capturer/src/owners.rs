//! Whose connections these are, and whether anybody wants what is found on them.
//!
//! The stage behind the [`tracker`](crate::tracker): it says whose calls are followed, gives exchanges their process and
//! place, holds those of control groups about which is not decided yet, and passes on what may go to the hub.

mod held;

use std::collections::VecDeque;
use std::path::PathBuf;

use capturer_ebpf::layout::{self, role, transport};
use decoders::Side;
use proto::v1;

use crate::exchange::Assembler;
use crate::identity::Processes;
use crate::identity::cgroups::Place;
use crate::identity::listening::Listening;
use crate::ledger::Exchanges;
use crate::ourselves::Ourselves;
use crate::selection::{Decision, Selection, Standing};
use crate::tracker::{Caller, ExchangeContext, NextStage};
pub use held::{HELD_BYTES, HELD_EXCHANGES};
use held::{Held, Missed};

/// The stage.
#[derive(Debug)]
pub struct Owners {
    processes: Processes,
    listening: Listening,
    selection: Selection,
    ourselves: Ourselves,
    assembler: Assembler,
    held: Held,
    finished: VecDeque<v1::Exchange>,
    totals: Exchanges,
}

// === impl Owners ===

impl Owners {
    /// Makes the stage for what `selection` wants; processes are found in `proc`.
    #[must_use]
    pub fn new(selection: Selection, assembler: Assembler, proc: PathBuf) -> Self {
        Self {
            processes: Processes::default(),
            listening: Listening::new(proc),
            selection,
            ourselves: Ourselves::default(),
            assembler,
            held: Held::default(),
            finished: VecDeque::new(),
            totals: Exchanges::default(),
        }
    }

    /// Notes whose a call is.
    pub fn sighted(&mut self, head: &layout::Moved) {
        self.seen(head.pid, head.comm, head.cgroup, head.exit_ns);
    }

    /// Notes whose a connection was that carried nothing.
    pub fn attempted(&mut self, attempt: &layout::Attempt) {
        self.seen(attempt.pid, attempt.comm, attempt.cgroup, attempt.begun_ns);
    }

    /// Notes where a control group is.
    pub fn announced(&mut self, cgroup: u64, place: Place, at_ns: u64) {
        self.selection.announced(cgroup, place, at_ns);
    }

    /// Notes that a process began to run a program.
    pub fn exec(&mut self, process: &layout::Process) {
        self.processes.exec(process.pid, process.comm, process.cgroup);
    }

    /// Notes that a process ended.
    pub fn exit(&mut self, process: &layout::Process) {
        self.processes.exit(process.pid, process.at_ns);
        self.ourselves.include(process.pid);
    }

    /// Follows a process no longer, which belongs to a session.
    pub fn exclude(&mut self, pid: u32) {
        self.ourselves.exclude(pid);
    }

    /// Follows a process again.
    pub fn include(&mut self, pid: u32) {
        self.ourselves.include(pid);
    }

    /// Takes what the hub tells of this node's pods, and where sessions' are.
    pub fn tell(&mut self, pods: v1::NodePods, now_ns: u64) {
        if let Some(sessions) = &pods.sessions {
            self.ourselves.tell(sessions);
        }
        self.selection.tell(pods, now_ns);
    }

    /// Ends waits that are over at `now_ns`.
    pub fn advance(&mut self, now_ns: u64) {
        self.processes.expire(now_ns);
        self.selection.advance(now_ns);
    }

    /// Ends all waits: the capture is over.
    pub fn conclude(&mut self) {
        self.selection.conclude();
    }

    /// Passes on what is held of control groups about which is decided now, and returns what was decided since the last
    /// call.
    pub fn decided(&mut self) -> Vec<(u64, Standing)> {
        for cgroup in self.held.groups() {
            if self.selection.decision(cgroup) != Decision::Hold {
                let (exchanges, missed) = self.held.take(cgroup);
                for exchange in exchanges {
                    self.pass(cgroup, exchange);
                }
                self.count(cgroup, missed);
            }
        }
        self.selection.changes()
    }

    /// Returns the next exchange that may go on.
    pub fn finished(&mut self) -> Option<v1::Exchange> {
        self.finished.pop_front()
    }

    /// Returns the fates of exchanges, for adding to and reading.
    pub fn totals(&mut self) -> &mut Exchanges {
        &mut self.totals
    }

    /// Returns whether something waits for a decision.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns what gives exchanges their ids and times.
    pub fn assembler(&mut self) -> &mut Assembler {
        &mut self.assembler
    }

    fn seen(&mut self, pid: u32, comm: [u8; layout::COMM_LEN], cgroup: u64, at_ns: u64) {
        self.processes.sighted(pid, comm, cgroup, at_ns);
        self.selection.sighted(cgroup, pid, at_ns);
    }

    /// Passes on an exchange of a control group about which is decided.
    fn pass(&mut self, cgroup: u64, mut exchange: v1::Exchange) {
        self.totals.seen += 1;
        if self.selection.decision(cgroup) == Decision::Drop || self.ourselves.is_peer_of(&exchange) {
            self.totals.filtered += 1;
            return;
        }
        self.selection.inscribe(cgroup, exchange.origin.get_or_insert_default());
        self.finished.push_back(exchange);
    }

    /// Counts what is no exchange, of a control group about which is decided.
    fn count(&mut self, cgroup: u64, missed: Missed) {
        let Missed { shed, unpaired, gap } = missed;
        let totals = &mut self.totals;
        totals.seen += shed + unpaired + gap;
        if self.selection.decision(cgroup) == Decision::Drop {
            totals.filtered += shed + unpaired + gap;
        } else {
            totals.map += shed;
            totals.unpaired += unpaired;
            totals.gap += gap;
        }
    }

    /// Counts what is no exchange, when it is known whether anybody would want it.
    fn miss(&mut self, cgroup: u64, missed: Missed) {
        if self.selection.decision(cgroup) == Decision::Hold {
            self.held.miss(cgroup, missed);
        } else {
            self.count(cgroup, missed);
        }
    }
}

impl NextStage for Owners {
    fn follows(&self, caller: Caller) -> bool {
        !self.selection.standing(caller.cgroup).is_refused() && !self.ourselves.owns(caller.pid)
    }

    fn side(&mut self, connection: &layout::Connection, caller: Caller, at_ns: u64) -> Option<Side> {
        match connection.role {
            role::CLIENT => return Some(Side::Client),
            role::SERVER => return Some(Side::Server),
            _ if connection.transport != transport::TCP => return None,
            _ => {}
        }
        let mut listens = |port| self.listening.contains(connection.netns, caller.pid, port, at_ns);
        if listens(connection.local_port) {
            return Some(Side::Server);
        }
        let here = connection.local == connection.remote;
        (here && listens(connection.remote_port)).then_some(Side::Client)
    }

    fn exchange(&mut self, context: &ExchangeContext<'_>, exchange: decoders::Exchange) {
        let (cgroup, exchange) = self.assembler.assemble(context, &self.processes, exchange);
        if self.selection.decision(cgroup) == Decision::Hold {
            self.held.hold(cgroup, exchange);
        } else {
            self.pass(cgroup, exchange);
        }
    }

    fn unpaired(&mut self, caller: Caller) {
        self.miss(caller.cgroup, Missed { unpaired: 1, ..Missed::default() });
    }

    fn gap(&mut self, caller: Caller) {
        self.miss(caller.cgroup, Missed { gap: 1, ..Missed::default() });
    }
}
