//! Connections: calls in, exchanges and decisions out.
//!
//! Calls pass one time-ordered buffer ([`reorder`]), then the streams of their connection ([`stream`]), then its
//! conversation in the decoders. Connections and directions are all that is known here: who made a call, and whether
//! anybody wants it, is the [`NextStage`]'s matter. No clock is read: whoever drives the tracker says what time
//! it is.

pub mod reorder;
pub mod stream;

mod attempts;
mod connection;
mod leaving;
mod unfollowed;

use std::sync::Arc;

use capturer_ebpf::layout::{self, flag};
use decoders::{Options, Outcome, Side};
use foldhash::{HashMap, HashSet};

pub use crate::context::{Caller, ExchangeContext};
use crate::direction::OUT;
use crate::kernel::Run;
use crate::ledger::Events;
use crate::packets::Packets;
use crate::path;
pub use crate::segments::Span;
use attempts::Attempts;
pub use attempts::{GIVEN_UP_NS, HUNG_NS};
use connection::{Tracked, number};
pub use leaving::{LEAVING, WAIT_NS};
use reorder::{EventKind, ReorderBuffer, TimedEvent};
use stream::CallEvent;
pub use unfollowed::UNFOLLOWED;
use unfollowed::Unfollowed;

/// Connections decoded at a time. Beyond it the one that was silent longest of a few is ended early; what waited in
/// it counts as `map`.
pub const CONNECTIONS: usize = 8_192;

/// Connections looked at to find one to end early.
const CANDIDATES: usize = 64;

/// Payload bytes of all connections that wait for a missing range; beyond it none waits.
pub const PENDING_BYTES: usize = 4 << 20;

/// How long a silent UDP peer is remembered: datagram sockets tell no end.
pub const DATAGRAM_IDLE_NS: u64 = 60_000_000_000;

/// How often connections are asked what has waited too long.
const EXPIRE_EVERY_NS: u64 = 50_000_000;

/// How often silent UDP peers are looked for.
const IDLE_EVERY_NS: u64 = 1_000_000_000;

/// The stage behind the tracker: it says whose calls are followed, and takes what is found.
pub trait NextStage {
    /// Says whether the calls of a process are followed.
    fn follows(&self, caller: Caller) -> bool;

    /// Says which end of a connection the process is that made a call at `at_ns`, as far as can be told.
    fn side(&mut self, connection: &layout::Connection, caller: Caller, at_ns: u64) -> Option<Side>;

    /// Takes an exchange.
    fn exchange(&mut self, context: &ExchangeContext<'_>, exchange: decoders::Exchange);

    /// Counts a response without a request, or a request that was dropped at a limit.
    fn unpaired(&mut self, caller: Caller);

    /// Counts an exchange whose response was lost.
    fn gap(&mut self, caller: Caller);
}

/// The connections.
pub struct Tracker {
    reorder: ReorderBuffer,
    connections: HashMap<u64, Tracked>,
    stalled: HashSet<u64>,
    pending_bytes: usize,
    unfollowed: Unfollowed,
    attempts: Attempts,
    /// Absent where packets are not followed.
    packets: Option<Packets>,
    /// Connections with exchanges that are to leave this machine.
    leaving: HashSet<u64>,
    /// Connections in which something waits that time alone may end.
    timed: HashSet<u64>,
    /// Connections of datagrams, whose end nobody tells.
    datagrams: HashSet<u64>,
    options: Arc<Options>,
    events: Events,
    decisions: Vec<(u64, layout::Verdict)>,
    expired_ns: u64,
    idle_ns: u64,
    now_ns: u64,
}

// === impl Tracker ===

impl Tracker {
    /// Makes a tracker that decodes by `options`.
    #[must_use]
    pub fn new(options: Arc<Options>) -> Self {
        Self {
            reorder: ReorderBuffer::default(),
            connections: HashMap::default(),
            stalled: HashSet::default(),
            pending_bytes: 0,
            unfollowed: Unfollowed::default(),
            attempts: Attempts::default(),
            packets: None,
            leaving: HashSet::default(),
            timed: HashSet::default(),
            datagrams: HashSet::default(),
            options,
            events: Events::default(),
            decisions: Vec::new(),
            expired_ns: 0,
            idle_ns: 0,
            now_ns: 0,
        }
    }

    /// Follows packets too.
    #[must_use]
    pub fn with_packets(self) -> Self {
        Self { packets: Some(Packets::default()), ..self }
    }

    /// Takes what is told of packets.
    pub fn packets(&mut self, take: impl FnOnce(&mut Packets)) {
        self.events.notices += 1;
        if let Some(packets) = &mut self.packets {
            take(packets);
        }
    }

    /// Takes a call that moved bytes.
    pub fn moved(&mut self, head: &layout::Moved, payload: &[u8], pieces: Vec<Run>) {
        let event = CallEvent::new(head, payload, pieces);
        let at_ns = event.at_ns();
        let timed = TimedEvent { at_ns, connection: head.connection, kind: EventKind::Moved(event) };
        self.reorder.push(timed, head.exit_ns);
    }

    /// Takes the end of a connection.
    pub fn ended(&mut self, ended: &layout::Ended) {
        let layout::Ended { kind: _, reserved: _, connection, at_ns, unseen_out, unseen_in } = *ended;
        self.events.notices += 1;
        let kind = EventKind::Ended { unseen: [unseen_out, unseen_in] };
        self.reorder.push(TimedEvent { at_ns, connection, kind }, at_ns);
    }

    /// Takes a connection that was over before a byte went either way.
    pub fn attempted(&mut self, attempt: &layout::Attempt, next: &mut impl NextStage) {
        self.events.notices += 1;
        self.attempts.ended(attempt, next);
    }

    /// Takes a connection that nobody has answered when the capture ends, at `now_ns`.
    pub fn unanswered(&mut self, attempt: &layout::Attempt, now_ns: u64, next: &mut impl NextStage) {
        self.attempts.waiting(attempt, now_ns, next);
    }

    /// Deals with what is due at `now_ns`; `drained` says that the rings were empty.
    pub fn advance(&mut self, now_ns: u64, drained: bool, next: &mut impl NextStage) {
        self.now_ns = now_ns;
        let watermark = self.reorder.watermark(now_ns, drained);
        while let Some(timed) = self.reorder.pop(watermark) {
            self.arrive(timed, self.reorder.passed_ns(watermark), next);
        }
        let stalled: Vec<u64> = self.stalled.iter().copied().collect();
        for id in stalled {
            self.with(id, |tracked, events| tracked.advance(watermark, false, events));
            self.settle(id, next);
        }
        let leaving: Vec<u64> = self.leaving.iter().copied().collect();
        for id in leaving {
            self.let_go(id, next);
        }
        if watermark.saturating_sub(self.expired_ns) >= EXPIRE_EVERY_NS {
            self.expired_ns = watermark;
            self.expire(watermark, next);
            if let Some(packets) = &mut self.packets {
                packets.expire(watermark);
            }
        }
    }

    /// Ends everything: what waits is dealt with, requests without a response come out.
    pub fn finish(&mut self, now_ns: u64, next: &mut impl NextStage) {
        while let Some(timed) = self.reorder.pop(u64::MAX) {
            self.arrive(timed, self.reorder.passed_ns(now_ns), next);
        }
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            self.stop(id, now_ns, next);
        }
    }

    /// Follows the connections no longer that were last used by such callers, and drops what is pending of them.
    pub fn refuse(&mut self, which: impl Fn(Caller) -> bool) {
        let refused: Vec<(u64, Caller)> = self
            .connections
            .iter()
            .filter(|(_, tracked)| which(tracked.caller))
            .map(|(id, tracked)| (*id, tracked.caller))
            .collect();
        for (id, caller) in refused {
            self.drop_pending(id);
            self.unfollowed.add(id, Some(caller));
        }
    }

    /// Follows the connections again that were refused for such callers.
    pub fn resume(&mut self, which: impl Fn(Caller) -> bool) {
        self.unfollowed.resume(which);
    }

    /// Returns what the kernel is to be told, by connection.
    pub fn decisions(&mut self) -> Vec<(u64, layout::Verdict)> {
        std::mem::take(&mut self.decisions)
    }

    /// Returns the fates of the calls so far.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events
    }

    /// Returns whether something waits for its time.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.reorder.is_empty() || !self.stalled.is_empty() || !self.leaving.is_empty()
    }

    /// Returns how many connections are decoded.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    fn arrive(&mut self, timed: TimedEvent, now_ns: u64, next: &mut impl NextStage) {
        let TimedEvent { at_ns, connection, kind } = timed;
        match kind {
            EventKind::Moved(event) => self.place(&connection, event, now_ns, next),
            EventKind::Ended { unseen } => {
                let was_followed = !self.unfollowed.ended(connection.id);
                self.end(connection.id, at_ns, next);
                if was_followed && unseen != [0, 0] {
                    self.events.unseen += 1;
                }
            }
        }
    }

    /// Gives a call to its connection, which begins with it if it is the first.
    fn place(
        &mut self,
        connection: &layout::Connection,
        event: CallEvent,
        now_ns: u64,
        next: &mut impl NextStage,
    ) {
        let (id, caller) = (connection.id, event.caller());
        let follows = next.follows(caller);
        if !follows || self.unfollowed.contains(id) {
            if !follows {
                self.unfollowed.add(id, Some(caller));
            }
            if event.flags & flag::FAULT == 0 {
                self.events.filtered += 1;
            }
            return;
        }
        if !self.connections.contains_key(&id) {
            self.make_room(now_ns, next);
            let side = next.side(connection, caller, event.exit_ns);
            let late = self.unfollowed.was_resumed(id);
            let tracked = Tracked::new(*connection, caller, side, Arc::clone(&self.options), late);
            if tracked.stream.is_none() {
                self.datagrams.insert(id);
            }
            self.connections.insert(id, tracked);
            if let Some(packets) = &mut self.packets {
                packets.claim(id, now_ns);
            }
        }
        let crowded = self.pending_bytes > PENDING_BYTES;
        self.with(id, |tracked, events| tracked.take(connection, event, now_ns, crowded, events));
        self.settle(id, next);
    }

    /// Runs on a connection and keeps account of what waits.
    fn with(&mut self, id: u64, run: impl FnOnce(&mut Tracked, &mut Events)) {
        let Some(tracked) = self.connections.get_mut(&id) else {
            self.stalled.remove(&id);
            return;
        };
        let before = tracked.pending_bytes();
        run(tracked, &mut self.events);
        self.pending_bytes = (self.pending_bytes + tracked.pending_bytes()).saturating_sub(before);
        if tracked.is_waiting() {
            self.stalled.insert(id);
        } else {
            self.stalled.remove(&id);
        }
    }

    /// Takes what a conversation has to say.
    fn settle(&mut self, id: u64, next: &mut impl NextStage) {
        self.harvest(id, next);
        let Some(tracked) = self.connections.get_mut(&id) else { return };
        let Some(decision) = tracked.decoding.decision() else { return };
        self.decisions.push((id, decision));
        if decision.mode == layout::verdict::IGNORE {
            self.drop_pending(id);
            self.unfollowed.add(id, None);
        }
    }

    fn harvest(&mut self, id: u64, next: &mut impl NextStage) {
        let Some(tracked) = self.connections.get_mut(&id) else { return };
        while let Some(outcome) = tracked.decoding.conversation.take() {
            match outcome {
                Outcome::Exchange(exchange) => {
                    tracked.leaving.push(exchange, self.now_ns);
                }
                Outcome::Unparsable { .. } => tracked.decoding.unparsable(&mut self.events),
                Outcome::Unpaired => next.unpaired(tracked.caller),
                Outcome::Gap => next.gap(tracked.caller),
            }
        }
        if tracked.decoding.conversation.is_timed() {
            self.timed.insert(id);
        }
        self.let_go(id, next);
    }

    /// Passes on the exchanges of a connection whose last byte has left, in order.
    fn let_go(&mut self, id: u64, next: &mut impl NextStage) {
        let Some(tracked) = self.connections.get_mut(&id) else {
            self.leaving.remove(&id);
            return;
        };
        if tracked.leaving.is_empty() {
            // Packets are asked only for exchanges: they are looked through when one is told.
            tracked.prune(None);
            return;
        }
        let mut leaving = std::mem::take(&mut tracked.leaving);
        loop {
            let vain = leaving.is_vain();
            let context = tracked.context(self.packets.as_ref().and_then(|packets| packets.of(id)));
            let has_left = |exchange: &decoders::Exchange| {
                let (request, response) = (exchange.request.as_ref(), exchange.response.as_ref());
                vain || !path::is_under_way(&context, exchange.side, request, response)
            };
            let Some(exchange) = leaving.pop(self.now_ns, has_left) else { break };
            tell(tracked, self.packets.as_mut(), exchange, next);
        }
        if leaving.is_empty() {
            self.leaving.remove(&id);
        } else {
            self.leaving.insert(id);
        }
        tracked.leaving = leaving;
        tracked.prune(self.packets.as_mut());
    }

    /// Passes on all exchanges of a connection that ends or is followed no longer.
    fn let_all_go(&mut self, id: u64, next: &mut impl NextStage) {
        let Some(tracked) = self.connections.get_mut(&id) else { return };
        let mut leaving = std::mem::take(&mut tracked.leaving);
        while let Some(exchange) = leaving.pop_any() {
            tell(tracked, self.packets.as_mut(), exchange, next);
        }
    }

    /// The connection ended.
    fn end(&mut self, id: u64, at_ns: u64, next: &mut impl NextStage) {
        self.with(id, |tracked, events| {
            tracked.advance(at_ns, true, events);
            tracked.decoding.conversation.end(at_ns);
        });
        self.harvest(id, next);
        self.let_all_go(id, next);
        self.remove(id);
    }

    /// The connection goes on, but is followed no longer.
    fn stop(&mut self, id: u64, at_ns: u64, next: &mut impl NextStage) {
        self.with(id, |tracked, events| {
            tracked.advance(at_ns, true, events);
            tracked.decoding.conversation.stop();
        });
        self.harvest(id, next);
        self.let_all_go(id, next);
        self.remove(id);
    }

    fn remove(&mut self, id: u64) -> Option<Tracked> {
        self.stalled.remove(&id);
        self.leaving.remove(&id);
        self.timed.remove(&id);
        self.datagrams.remove(&id);
        if let Some(packets) = &mut self.packets {
            packets.forget(id);
        }
        let tracked = self.connections.remove(&id)?;
        self.pending_bytes = self.pending_bytes.saturating_sub(tracked.pending_bytes());
        Some(tracked)
    }

    /// Drops a connection with the calls that wait in it.
    fn drop_pending(&mut self, id: u64) {
        if let Some(tracked) = self.remove(id) {
            self.events.filtered += tracked.pending_calls();
        }
    }

    fn make_room(&mut self, now_ns: u64, next: &mut impl NextStage) {
        if self.connections.len() < CONNECTIONS {
            return;
        }
        let silent = self
            .connections
            .iter()
            .take(CANDIDATES)
            .min_by_key(|(_, tracked)| tracked.last_ns)
            .map(|(id, tracked)| (*id, tracked.pending_calls()));
        if let Some((id, pending)) = silent {
            if pending > 0 {
                self.remove(id);
                self.events.map += pending;
            } else {
                self.stop(id, now_ns, next);
            }
        }
    }

    fn expire(&mut self, now_ns: u64, next: &mut impl NextStage) {
        for id in std::mem::take(&mut self.timed) {
            self.with(id, |tracked, _| tracked.decoding.conversation.expire(now_ns));
            self.harvest(id, next);
        }
        if now_ns.saturating_sub(self.idle_ns) < IDLE_EVERY_NS {
            return;
        }
        self.idle_ns = now_ns;
        let last_ns = |id: &u64| self.connections.get(id).map_or(0, |tracked| tracked.last_ns);
        let silent = |id: &&u64| now_ns.saturating_sub(last_ns(id)) > DATAGRAM_IDLE_NS;
        let silent: Vec<u64> = self.datagrams.iter().filter(silent).copied().collect();
        for id in silent {
            self.stop(id, now_ns, next);
        }
    }
}

/// Passes an exchange on, with what its packets tell of it.
fn tell(
    tracked: &Tracked,
    packets: Option<&mut Packets>,
    exchange: decoders::Exchange,
    next: &mut impl NextStage,
) {
    let id = tracked.connection.id;
    let mut seen = packets.and_then(|packets| packets.of_mut(id));
    let opening = seen.as_mut().and_then(|seen| seen.take_opening());
    let (own, _) = path::sides(exchange.side, exchange.request.as_ref(), exchange.response.as_ref());
    let shifts = tracked.context(None).shifts;
    let retransmits = seen
        .as_mut()
        .map(|seen| own.map_or(0, |message| seen.take_sent_again(number(message.end, shifts[OUT]))));
    let context = tracked.context(seen.as_deref());
    let retransmits = retransmits.filter(|_| context.packets.is_some());
    next.exchange(&ExchangeContext { retransmits, opening, ..context }, exchange);
}

#[cfg(test)]
mod tests;
