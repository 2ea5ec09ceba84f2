//! Pieces of calls that moved more than fits one record, until the record of their call comes.
//!
//! The kernel writes the pieces of a call first and its own record last, all to one ring and in one run, so nothing
//! waits for a clock here. Where the last record found no room in the ring (it is counted there) its pieces are dropped
//! when their thread's next record comes, or when they are the oldest of too many.

use capturer_ebpf::layout::{Moved, Piece};
use foldhash::HashMap;

/// Calls of a ring whose pieces are held at a time: a ring has the records of at most eight CPUs, each in one call,
/// besides those whose last record was lost.
pub const PENDING_CALLS: usize = 64;

/// Bytes of pieces held at most: a call has a budget far below, and a ring holds no more.
pub const PENDING_BYTES: usize = 4 << 20;

/// Some bytes of a call that lie side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many bytes of the call come before them.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The pieces of one ring.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// By thread.
    pending: HashMap<u32, Pending>,
    serial: u64,
    bytes: usize,
}

/// The pieces of one call.
#[derive(Debug)]
struct Pending {
    call: Call,
    serial: u64,
    runs: Vec<Run>,
    bytes: usize,
}

/// What tells a call from others of its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    connection: u64,
    direction: u8,
    counter: u64,
}

// === impl Pieces ===

impl Pieces {
    /// Takes a piece in.
    pub(super) fn push(&mut self, piece: &Piece, bytes: &[u8]) {
        let Piece { connection, direction, counter, tid, offset, .. } = *piece;
        let call = Call { connection, direction, counter };
        if self.pending.get(&tid).is_some_and(|pending| pending.call != call) {
            self.drop_thread(tid);
        }
        let serial = self.serial;
        let pending = self.pending.entry(tid).or_insert_with(|| {
            self.serial += 1;
            Pending { call, serial, runs: Vec::new(), bytes: 0 }
        });
        append(&mut pending.runs, u64::from(offset), bytes);
        pending.bytes += bytes.len();
        self.bytes += bytes.len();
        while self.pending.len() > PENDING_CALLS || self.bytes > PENDING_BYTES {
            let oldest = self.pending.iter().min_by_key(|(_, pending)| pending.serial).map(|(tid, _)| *tid);
            let Some(oldest) = oldest else { break };
            self.drop_thread(oldest);
        }
    }

    /// Returns the pieces that came before the record of a call.
    pub(super) fn take(&mut self, head: &Moved) -> Vec<Run> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let call = Call { connection: head.connection.id, direction: head.direction, counter: head.counter };
        let Some(pending) = self.drop_thread(head.tid) else { return Vec::new() };
        if head.pieces > 0 && pending.call == call { pending.runs } else { Vec::new() }
    }

    fn drop_thread(&mut self, tid: u32) -> Option<Pending> {
        let pending = self.pending.remove(&tid)?;
        self.bytes -= pending.bytes;
        Some(pending)
    }
}

/// Adds bytes behind those that are there; what does not lie behind them is none of the call's.
fn append(runs: &mut Vec<Run>, offset: u64, bytes: &[u8]) {
    match runs.last_mut() {
        Some(last) if last.offset + last.bytes.len() as u64 == offset => last.bytes.extend_from_slice(bytes),
        Some(last) if last.offset + last.bytes.len() as u64 > offset => {}
        Some(_) | None => runs.push(Run { offset, bytes: bytes.to_vec() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn piece(tid: u32, counter: u64, offset: u32) -> Piece {
        let (kind, direction, reserved, captured) = (0, 0, 0, 0);
        Piece { kind, direction, reserved, captured, connection: 1, counter, tid, offset }
    }

    fn head(tid: u32, counter: u64, pieces: u32) -> Moved {
        Moved { tid, counter, pieces, ..fixtures::head(0) }
    }

    fn run(offset: u64, bytes: &[u8]) -> Run {
        Run { offset, bytes: bytes.to_vec() }
    }

    #[test]
    fn neighbours_are_one_run_and_holes_stay() {
        let mut pieces = Pieces::default();
        pieces.push(&piece(7, 0, 0), b"abc");
        pieces.push(&piece(7, 0, 3), b"def");
        pieces.push(&piece(7, 0, 100), b"xyz");
        assert_eq!(pieces.take(&head(7, 0, 3)), [run(0, b"abcdef"), run(100, b"xyz")]);
        assert_eq!(pieces.take(&head(7, 0, 3)), []);
        assert_eq!(pieces.bytes, 0);
    }

    #[test]
    fn calls_of_several_threads_are_kept_apart() {
        let mut pieces = Pieces::default();
        pieces.push(&piece(7, 0, 0), b"seven");
        pieces.push(&piece(8, 0, 0), b"eight");
        assert_eq!(pieces.take(&head(8, 0, 1)), [run(0, b"eight")]);
        assert_eq!(pieces.take(&head(7, 0, 1)), [run(0, b"seven")]);
    }

    #[test]
    fn pieces_whose_record_was_lost_are_no_part_of_the_next_call() {
        let mut pieces = Pieces::default();
        pieces.push(&piece(7, 0, 0), b"lost");
        assert_eq!(pieces.take(&head(7, 9, 0)), []);
        pieces.push(&piece(7, 0, 0), b"lost");
        pieces.push(&piece(7, 9, 0), b"next");
        assert_eq!(pieces.take(&head(7, 9, 1)), [run(0, b"next")]);
        assert_eq!((pieces.bytes, pieces.pending.len()), (0, 0));
    }

    #[test]
    fn what_is_held_is_bounded_and_the_oldest_goes_first() {
        let mut pieces = Pieces::default();
        for tid in 0..1_000 {
            pieces.push(&piece(tid, 0, 0), b"orphan");
            assert!(pieces.pending.len() <= PENDING_CALLS);
        }
        assert_eq!(pieces.take(&head(0, 0, 1)), []);
        assert_eq!(pieces.take(&head(999, 0, 1)), [run(0, b"orphan")]);
        for step in 0..1_000 {
            pieces.push(&piece(7, 0, step * 16_384), &[0; 16_384]);
            assert!(pieces.bytes <= PENDING_BYTES);
        }
    }
}
