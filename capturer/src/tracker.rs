//! Connections: records of the kernel in, exchanges and decisions out.
//!
//! Records pass one time-ordered buffer ([`order`]), then the streams of their connection ([`stream`]), then its
//! conversation in the decoders. No clock is read here: whoever drives the tracker says what time it is.

pub mod order;
pub mod stream;

mod connection;
mod held;
mod residents;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use capturer_ebpf::layout::{self, flag, transport};
use decoders::{Options, Outcome, Side};
use proto::v1;

use crate::clock::Clock;
use crate::exchange::{Assembler, Ground};
use crate::identity::Processes;
use crate::identity::cgroups::Place;
use crate::identity::listening::Listening;
use crate::kernel::Record;
use crate::ledger::Ledger;
use crate::selection::{Selection, Standing};
use connection::Tracked;
use held::Held;
pub use held::{HELD_BYTES, HELD_EXCHANGES};
use order::{Arrival, Happening, Order};
use stream::Event;

/// Connections decoded at a time. Beyond it the one that was silent longest of a few is ended early; what waited in
/// it counts as `map`.
pub const CONNECTIONS: usize = 8_192;

/// Connections looked at to find one to end early.
const CANDIDATES: usize = 64;

/// Ids of ignored connections remembered, for events that were on their way when the kernel was told.
pub const IGNORED: usize = 16_384;

/// Payload bytes of all connections that wait for a missing range; beyond it none waits.
pub const WAITING_BYTES: usize = 4 << 20;

/// How long a silent UDP peer is remembered: datagram sockets tell no end.
pub const DATAGRAM_IDLE_NS: u64 = 60_000_000_000;

/// How often connections are asked what has waited too long.
const EXPIRE_EVERY_NS: u64 = 50_000_000;

/// The connections.
pub struct Tracker {
    order: Order,
    connections: HashMap<u64, Tracked>,
    stalled: HashSet<u64>,
    waiting_bytes: usize,
    /// Ignored connections, with the control group whose standing is why, or 0.
    ignored: HashMap<u64, u64>,
    ignored_order: VecDeque<u64>,
    /// Connections ignored before that no longer are.
    readmitted: HashSet<u64>,
    excluded: HashSet<u32>,
    processes: Processes,
    selection: Selection,
    held: Held,
    listening: Listening,
    options: Arc<Options>,
    assembler: Assembler,
    clock: Clock,
    ledger: Ledger,
    finished: VecDeque<v1::Exchange>,
    decisions: Vec<(u64, layout::Verdict)>,
    placements: Vec<(u64, Standing)>,
    expired_ns: u64,
}

// === impl Tracker ===

impl Tracker {
    /// Makes a tracker of what `selection` wants that finds processes in `proc`.
    #[must_use]
    pub fn new(
        options: Arc<Options>,
        assembler: Assembler,
        clock: Clock,
        selection: Selection,
        proc: PathBuf,
    ) -> Self {
        Self {
            order: Order::default(),
            connections: HashMap::new(),
            stalled: HashSet::new(),
            waiting_bytes: 0,
            ignored: HashMap::new(),
            ignored_order: VecDeque::new(),
            readmitted: HashSet::new(),
            excluded: HashSet::new(),
            processes: Processes::default(),
            selection,
            held: Held::default(),
            listening: Listening::new(proc),
            options,
            assembler,
            clock,
            ledger: Ledger::default(),
            finished: VecDeque::new(),
            decisions: Vec::new(),
            placements: Vec::new(),
            expired_ns: 0,
        }
    }

    /// Takes a record as it comes from a ring.
    pub fn take(&mut self, record: Record<'_>) {
        match record {
            Record::Moved { head, payload, pieces } => {
                let event = Event::new(&head, payload, pieces);
                self.processes.sighted(head.pid, head.comm, head.cgroup, head.exit_ns);
                self.selection.sighted(head.cgroup, head.pid, head.exit_ns);
                let at_ns = event.at_ns();
                let arrival =
                    Arrival { at_ns, connection: head.connection, happening: Happening::Moved(event) };
                self.order.push(arrival, head.exit_ns);
            }
            Record::Ended(layout::Ended { connection, at_ns, unseen_out, unseen_in, .. }) => {
                self.ledger.events.notices += 1;
                let happening = Happening::Ended { unseen: [unseen_out, unseen_in] };
                self.order.push(Arrival { at_ns, connection, happening }, at_ns);
            }
            Record::Cgroup { id, at_ns, path } => {
                self.ledger.events.notices += 1;
                self.selection.announced(id, Place::from_inside(path.from_inside()), at_ns);
            }
            Record::Exec(layout::Process { pid, comm, cgroup, .. }) => {
                self.ledger.events.notices += 1;
                self.processes.exec(pid, comm, cgroup);
            }
            Record::Exit(layout::Process { pid, at_ns, .. }) => {
                self.ledger.events.notices += 1;
                self.processes.exit(pid, at_ns);
                self.excluded.remove(&pid);
            }
        }
    }

    /// Deals with what is due at `now_ns`; `drained` says that the rings were empty.
    pub fn advance(&mut self, now_ns: u64, drained: bool) {
        self.selection.advance(now_ns);
        self.follow_selection();
        let watermark = self.order.watermark(now_ns, drained);
        while let Some(arrival) = self.order.pop(watermark) {
            self.arrive(arrival, watermark);
        }
        let stalled: Vec<u64> = self.stalled.iter().copied().collect();
        for id in stalled {
            self.with(id, |tracked, ledger| tracked.advance(watermark, false, ledger));
            self.settle(id);
        }
        if watermark.saturating_sub(self.expired_ns) >= EXPIRE_EVERY_NS {
            self.expired_ns = watermark;
            self.expire(watermark);
        }
    }

    /// Ends everything: what waits is dealt with, requests without a response come out.
    pub fn finish(&mut self, now_ns: u64) {
        while let Some(arrival) = self.order.pop(u64::MAX) {
            self.arrive(arrival, now_ns);
        }
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            self.stop(id, now_ns);
        }
        self.selection.conclude();
        self.follow_selection();
    }

    /// Takes what the hub tells of this node's pods.
    pub fn tell(&mut self, pods: v1::NodePods, now_ns: u64) {
        self.selection.tell(pods, now_ns);
        self.follow_selection();
    }

    /// Stops following a process, and drops what is pending of it.
    pub fn exclude(&mut self, pid: u32) {
        self.excluded.insert(pid);
        let ids: Vec<u64> =
            self.connections.iter().filter(|(_, tracked)| tracked.pid == pid).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(tracked) = self.remove(id) {
                self.ledger.events.filtered += waiting(&tracked);
            }
        }
    }

    /// Follows a process again.
    pub fn include(&mut self, pid: u32) {
        self.excluded.remove(&pid);
    }

    /// Returns the next finished exchange.
    pub fn exchange(&mut self) -> Option<v1::Exchange> {
        self.finished.pop_front()
    }

    /// Returns what the kernel is to be told, by connection.
    pub fn decisions(&mut self) -> Vec<(u64, layout::Verdict)> {
        std::mem::take(&mut self.decisions)
    }

    /// Returns what the kernel is to be told, by control group.
    pub fn placements(&mut self) -> Vec<(u64, Standing)> {
        std::mem::take(&mut self.placements)
    }

    /// Returns the totals, for adding to and reading.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Returns whether something waits for its time.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.order.is_empty() || !self.stalled.is_empty() || !self.held.is_empty()
    }

    /// Returns how many connections are decoded.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Follows the time of day, should it have been set.
    pub fn anchor(&mut self) {
        self.clock.anchor();
    }

    /// Gives later exchanges ids from another base.
    pub fn rebase(&mut self, id_base: u64) {
        self.assembler.rebase(id_base);
    }

    fn arrive(&mut self, arrival: Arrival, now_ns: u64) {
        let Arrival { at_ns, connection, happening } = arrival;
        match happening {
            Happening::Moved(event) => self.moved(&connection, event, now_ns),
            Happening::Ended { unseen } => {
                let ignored = self.ignored.remove(&connection.id).is_some();
                self.readmitted.remove(&connection.id);
                self.end(connection.id, at_ns);
                if !ignored && unseen != [0, 0] {
                    self.ledger.events.unseen += 1;
                }
            }
        }
    }

    fn moved(&mut self, connection: &layout::Connection, event: Event, now_ns: u64) {
        let id = connection.id;
        let refused = self.selection.standing(event.cgroup).is_refused();
        if refused || self.ignored.contains_key(&id) || self.excluded.contains(&event.pid) {
            if refused {
                self.ignore(id, event.cgroup);
            }
            if event.flags & flag::FAULT == 0 {
                self.ledger.events.filtered += 1;
            }
            return;
        }
        if !self.connections.contains_key(&id) {
            self.make_room(now_ns);
            let side = self.side(connection, event.pid, event.exit_ns);
            let late = self.readmitted.remove(&id);
            let tracked = Tracked::new(*connection, event.pid, side, Arc::clone(&self.options), late);
            self.connections.insert(id, tracked);
        }
        let crowded = self.waiting_bytes > WAITING_BYTES;
        self.with(id, |tracked, ledger| tracked.take(connection, event, now_ns, crowded, ledger));
        self.settle(id);
    }

    /// Runs on a connection and keeps account of what waits.
    fn with(&mut self, id: u64, run: impl FnOnce(&mut Tracked, &mut Ledger)) {
        let Some(tracked) = self.connections.get_mut(&id) else {
            self.stalled.remove(&id);
            return;
        };
        let before = tracked.waiting_bytes();
        run(tracked, &mut self.ledger);
        self.waiting_bytes = (self.waiting_bytes + tracked.waiting_bytes()).saturating_sub(before);
        if tracked.is_waiting() {
            self.stalled.insert(id);
        } else {
            self.stalled.remove(&id);
        }
    }

    /// Takes what a conversation has to say.
    fn settle(&mut self, id: u64) {
        self.harvest(id);
        let Some(tracked) = self.connections.get_mut(&id) else { return };
        let Some(decision) = tracked.talk.decision() else { return };
        self.decisions.push((id, decision));
        if decision.mode == layout::verdict::IGNORE {
            if let Some(tracked) = self.remove(id) {
                self.ledger.events.filtered += waiting(&tracked);
            }
            self.ignore(id, 0);
        }
    }

    fn harvest(&mut self, id: u64) {
        let Some(tracked) = self.connections.get_mut(&id) else { return };
        let cgroup = tracked.cgroup;
        let found = collect(tracked, &mut self.assembler, self.clock, &self.processes, &mut self.ledger);
        for (cgroup, exchange) in found.exchanges {
            self.deliver(cgroup, exchange);
        }
        if found.unpaired + found.gap > 0 {
            self.count(cgroup, found.unpaired, found.gap);
        }
    }

    /// The connection ended.
    fn end(&mut self, id: u64, at_ns: u64) {
        self.with(id, |tracked, ledger| {
            tracked.advance(at_ns, true, ledger);
            tracked.talk.conversation.end(at_ns);
        });
        self.harvest(id);
        self.remove(id);
    }

    /// The connection goes on, but is followed no longer.
    fn stop(&mut self, id: u64, at_ns: u64) {
        self.with(id, |tracked, ledger| {
            tracked.advance(at_ns, true, ledger);
            tracked.talk.conversation.stop();
        });
        self.harvest(id);
        self.remove(id);
    }

    fn remove(&mut self, id: u64) -> Option<Tracked> {
        self.stalled.remove(&id);
        let tracked = self.connections.remove(&id)?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(tracked.waiting_bytes());
        Some(tracked)
    }

    fn ignore(&mut self, id: u64, cgroup: u64) {
        self.readmitted.remove(&id);
        if self.ignored.insert(id, cgroup).is_none() {
            self.ignored_order.push_back(id);
        }
        while self.ignored_order.len() > IGNORED {
            if let Some(oldest) = self.ignored_order.pop_front() {
                self.ignored.remove(&oldest);
            }
        }
    }

    fn make_room(&mut self, now_ns: u64) {
        if self.connections.len() < CONNECTIONS {
            return;
        }
        let silent = self
            .connections
            .iter()
            .take(CANDIDATES)
            .min_by_key(|(_, tracked)| tracked.last_ns)
            .map(|(id, tracked)| (*id, waiting(tracked)));
        if let Some((id, waiting)) = silent {
            if waiting > 0 {
                self.remove(id);
                self.ledger.events.map += waiting;
            } else {
                self.stop(id, now_ns);
            }
        }
    }

    /// Returns which end the observed process is, as far as the connection tells.
    fn side(&mut self, connection: &layout::Connection, pid: u32, now_ns: u64) -> Option<Side> {
        match connection.role {
            layout::role::CLIENT => return Some(Side::Client),
            layout::role::SERVER => return Some(Side::Server),
            _ if connection.transport != transport::TCP => return None,
            _ => {}
        }
        let mut listens = |port| self.listening.contains(connection.netns, pid, port, now_ns);
        if listens(connection.local_port) {
            return Some(Side::Server);
        }
        let here = connection.local == connection.remote;
        (here && listens(connection.remote_port)).then_some(Side::Client)
    }

    fn expire(&mut self, now_ns: u64) {
        self.processes.expire(now_ns);
        let mut silent = Vec::new();
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            self.with(id, |tracked, _| tracked.talk.conversation.expire(now_ns));
            self.harvest(id);
            let Some(tracked) = self.connections.get(&id) else { continue };
            let idle = now_ns.saturating_sub(tracked.last_ns) > DATAGRAM_IDLE_NS;
            if tracked.stream.is_none() && idle {
                silent.push(id);
            }
        }
        for id in silent {
            self.stop(id, now_ns);
        }
    }
}

/// Returns how many calls wait in a connection.
fn waiting(tracked: &Tracked) -> u64 {
    tracked.stream.as_ref().map_or(0, |stream| stream.waiting().0 as u64)
}

/// What a conversation had to say.
#[derive(Default)]
struct Found {
    /// Exchanges, each with its control group.
    exchanges: Vec<(u64, v1::Exchange)>,
    unpaired: u64,
    gap: u64,
}

/// Takes a conversation's outcomes.
fn collect(
    tracked: &mut Tracked,
    assembler: &mut Assembler,
    clock: Clock,
    processes: &Processes,
    ledger: &mut Ledger,
) -> Found {
    let mut found = Found::default();
    while let Some(outcome) = tracked.talk.conversation.take() {
        match outcome {
            Outcome::Exchange(exchange) => {
                let ground = Ground {
                    connection: &tracked.connection,
                    calls: &tracked.talk.calls,
                    pid: tracked.pid,
                    cgroup: tracked.cgroup,
                    last_ns: tracked.last_ns,
                    clock: &clock,
                    processes,
                };
                found.exchanges.push(assembler.assemble(&ground, exchange));
            }
            Outcome::Unparsable { .. } => tracked.talk.unparsable(ledger),
            Outcome::Unpaired => found.unpaired += 1,
            Outcome::Gap => found.gap += 1,
        }
    }
    tracked.talk.prune();
    found
}

#[cfg(test)]
mod tests;
