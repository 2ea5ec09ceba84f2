//! One direction of a connection: how far it was passed on, and how numbers become positions.

use super::{CallEvent, Fate, Pending, Place, Sink, Step};
use crate::marks::Call;
use crate::sequence::Sequence;

#[derive(Debug, Default)]
pub(super) struct HalfStream {
    pub(super) sequence: Sequence,
    /// First position not yet passed on.
    pub(super) next: Option<u64>,
    /// What to take from a sequence number to get a position: the numbers before it that were no bytes.
    pub(super) eaten: u64,
    /// The same of the bytes that were passed on last: a FIN that their read ate lies behind them.
    pub(super) shift: u64,
    /// Everything from here to `next` was placed.
    pub(super) known_from: u64,
    /// Up to here, what is missing will not come.
    pub(super) lost_until: u64,
    /// Latest return of a call placed.
    pub(super) exit_ns: u64,
    /// What to take from the kernel's count to get a position.
    pub(super) offset: u64,
}

// === impl HalfStream ===

impl HalfStream {
    pub(super) fn step(&self, start: u64) -> Step {
        match self.next {
            None => Step::Pass,
            Some(next) if start == next => Step::Pass,
            Some(next) if start < next => Step::Drop(Fate::Late),
            Some(next) if next < self.lost_until => Step::Gap(start.min(self.lost_until)),
            Some(_) => Step::Stall,
        }
    }

    /// Passes an event on; `unseen` is how many bytes the kernel counted before anything that is known of this
    /// direction.
    pub(super) fn pass(&mut self, pending: &Pending, unseen: u64, sink: &mut impl Sink) {
        let Pending { event, place, piece } = pending;
        let (start, end, eaten) = match *place {
            Place::Exact { start, end, eaten } => (start, end, eaten),
            Place::Guess { start, end } => (start, end, 0),
            Place::Within { .. } | Place::Nowhere => return,
        };
        let position = start.wrapping_sub(self.eaten);
        self.shift = self.eaten;
        if self.next.is_none() {
            self.known_from = start;
            if unseen > 0 && unseen <= position {
                sink.gap(event.direction, position - unseen, event.at_ns(), Some(unseen));
            }
        }
        self.next = Some(end + eaten);
        self.eaten = self.eaten.wrapping_add(eaten);
        self.exit_ns = self.exit_ns.max(event.exit_ns);
        self.offset = event.counter.wrapping_sub(position);
        let call = Call {
            start: position,
            end: position + event.moved,
            enter_ns: event.enter_ns,
            exit_ns: event.exit_ns,
            bytes: event.moved,
            pid: event.pid,
        };
        // A lone urgent byte moves nothing.
        if event.moved > 0 {
            sink.call(event.direction, call, event.counter);
        }
        let (direction, at_ns) = (event.direction, event.at_ns());
        let mut passed = 0;
        for (offset, bytes) in event.captured() {
            if offset > passed {
                sink.skipped(direction, position + passed, at_ns, offset - passed);
            }
            sink.bytes(direction, position + offset, at_ns, bytes);
            passed = offset + bytes.len() as u64;
        }
        if event.moved > passed {
            sink.skipped(direction, position + passed, at_ns, event.moved - passed);
        }
        if !piece {
            sink.fate(event, Fate::Placed);
        }
    }

    pub(super) fn gap(&mut self, direction: usize, until: u64, at_ns: u64, sink: &mut impl Sink) {
        let Some(next) = self.next.filter(|next| *next < until) else { return };
        sink.gap(direction, next.wrapping_sub(self.eaten), at_ns, Some(until - next));
        self.next = Some(until);
        self.known_from = until;
    }

    /// Counts by the kernel's counter from here on.
    pub(super) fn recount(&mut self) {
        let Some(next) = self.next else { return };
        let next = next.wrapping_sub(self.eaten).wrapping_add(self.offset);
        self.eaten = self.offset;
        self.shift = self.eaten;
        self.next = Some(next);
        self.known_from = next;
        self.lost_until = 0;
    }

    /// Goes on at `start` under the position reached so far.
    pub(super) fn anchor(&mut self, event: &CallEvent, start: u64, sink: &mut impl Sink) {
        let position = self.next.unwrap_or(start).wrapping_sub(self.eaten);
        sink.gap(event.direction, position, event.at_ns(), None);
        self.eaten = start.wrapping_sub(position);
        self.shift = self.eaten;
        self.next = Some(start);
        self.known_from = start;
        self.lost_until = 0;
    }
}
