//! One bounded buffer that puts the events of all rings into the order in which things happened.
//!
//! Rings are per group of CPUs, and a write is reported when it returns but happened, for whoever waits for it, when
//! it entered. So events are held for [`HORIZON_NS`] and come out by time: writes by enter, reads by return.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use capturer_ebpf::layout;
use slab::Slab;

use super::stream::CallEvent;

/// How long an event is held back, so that earlier ones in other rings come first. Rings differ by how long a reader
/// takes from one to the next: milliseconds on a loaded machine.
pub const HORIZON_NS: u64 = 10_000_000;

/// Bytes that are held at most, bookkeeping included: a full ring's worth. Beyond it the oldest come out early, out of
/// order at worst, never lost.
pub const HELD_BYTES: usize = 6 << 20;

/// What happened to a connection.
#[derive(Debug)]
pub enum EventKind {
    /// A call moved bytes.
    Moved(CallEvent),
    /// The socket is gone; bytes that no event accounted for, by direction.
    Ended {
        /// Bytes unseen out and in.
        unseen: [u64; 2],
    },
}

/// One event with its connection.
#[derive(Debug)]
pub struct TimedEvent {
    /// When it counts.
    pub at_ns: u64,
    /// The connection.
    pub connection: layout::Connection,
    /// What happened.
    pub kind: EventKind,
}

/// The reorder buffer.
#[derive(Debug, Default)]
pub struct ReorderBuffer {
    /// What is held, where it stays while the heap is put in order.
    held: Slab<TimedEvent>,
    heap: BinaryHeap<Reverse<Turn>>,
    serial: u64,
    bytes: usize,
    newest_ns: u64,
}

/// When it is whose turn: by time, and of one time as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at_ns: u64,
    serial: u64,
    place: usize,
}

// === impl ReorderBuffer ===

impl ReorderBuffer {
    /// Takes an event in; `seen_ns` is when the kernel reported it.
    pub fn push(&mut self, timed: TimedEvent, seen_ns: u64) {
        self.bytes += timed.weight();
        self.newest_ns = self.newest_ns.max(seen_ns);
        self.serial += 1;
        let at_ns = timed.at_ns;
        let place = self.held.insert(timed);
        self.heap.push(Reverse(Turn { at_ns, serial: self.serial, place }));
    }

    /// Returns up to when everything that happened is known: of drained rings a horizon ago, else a horizon before
    /// the newest event.
    #[must_use]
    pub fn watermark(&self, now_ns: u64, drained: bool) -> u64 {
        let known = if drained { now_ns } else { self.newest_ns };
        known.saturating_sub(HORIZON_NS)
    }

    /// Takes the oldest event out if it happened up to `watermark_ns`, or if too much is held.
    pub fn pop(&mut self, watermark_ns: u64) -> Option<TimedEvent> {
        let due = self.heap.peek()?.0.at_ns <= watermark_ns || self.bytes > HELD_BYTES;
        if !due {
            return None;
        }
        let Reverse(turn) = self.heap.pop()?;
        let timed = self.held.try_remove(turn.place)?;
        self.bytes -= timed.weight();
        Some(timed)
    }

    /// Returns up to when everything has been taken out, at most `watermark_ns`: what is held is known, but whom it is
    /// for has not got it yet.
    #[must_use]
    pub fn passed_ns(&self, watermark_ns: u64) -> u64 {
        self.heap.peek().map_or(watermark_ns, |next| next.0.at_ns.min(watermark_ns))
    }

    /// Returns how many calls are held.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.held.iter().filter(|(_, timed)| matches!(timed.kind, EventKind::Moved(_))).count()
    }

    /// Returns whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Returns the bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

// === impl TimedEvent ===

impl TimedEvent {
    fn weight(&self) -> usize {
        let payload = match &self.kind {
            EventKind::Moved(event) => event.payload.weight(),
            EventKind::Ended { .. } => 0,
        };
        size_of::<Turn>() + size_of::<Self>() + payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{direction, fixtures};

    fn timed(at_ns: u64, payload: usize) -> TimedEvent {
        let mut event = fixtures::event(direction::OUT, 0, &vec![0; payload]);
        event.enter_ns = at_ns;
        TimedEvent { at_ns, connection: fixtures::connection(1), kind: EventKind::Moved(event) }
    }

    #[test]
    fn events_come_out_by_time_after_the_horizon() {
        let mut reorder = ReorderBuffer::default();
        for at in [30, 10, 20] {
            reorder.push(timed(at, 1), at);
        }
        assert_eq!(reorder.watermark(HORIZON_NS + 15, true), 15);
        assert_eq!(reorder.watermark(u64::MAX, false), 0, "rings that hold more decide by what was read");
        assert_eq!(reorder.pop(15).unwrap().at_ns, 10);
        assert_eq!((reorder.passed_ns(15), reorder.passed_ns(25)), (15, 20));
        assert!(reorder.pop(15).is_none());
        assert_eq!(reorder.pop(40).unwrap().at_ns, 20);
        assert_eq!(reorder.pop(40).unwrap().at_ns, 30);
        assert_eq!(reorder.passed_ns(25), 25);
        assert!(reorder.is_empty());
        assert_eq!(reorder.bytes(), 0);
    }

    #[test]
    fn too_much_comes_out_early() {
        let mut reorder = ReorderBuffer::default();
        let mut out = 0;
        for at in 0..20_000 {
            reorder.push(timed(at, 1_000), at);
            while reorder.pop(0).is_some() {
                out += 1;
            }
            assert!(reorder.bytes() <= HELD_BYTES);
        }
        assert!(out > 1_000, "{out}");
        assert_eq!(out + reorder.calls(), 20_000);
    }
}
