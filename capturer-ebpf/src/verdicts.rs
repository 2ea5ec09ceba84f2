//! Verdicts: what the capturer decided about connections.

use aya_ebpf::{
    macros::map,
    maps::{Array, LruHashMap},
};
use capturer_ebpf::{
    layout::{Framing, Verdict, verdict},
    settings::{DECISION_SLOTS, STREAMS},
};

use crate::memory::StreamEntry;

/// As many as there are entries of streams and of datagrams together.
#[map]
static VERDICTS: LruHashMap<u64, Verdict> = LruHashMap::with_max_entries(STREAMS + 16_384, 0);

/// How often anything was decided about the connections of a slot, by the lowest bits of their ids. It is next to what
/// is read anyway, and a verdict in its own map is not.
#[map]
static DECISIONS: Array<u64> = Array::with_max_entries(DECISION_SLOTS, 0);

/// What the capturer decided about the connection of an entry.
#[inline(always)]
pub(crate) fn of(entry: &mut StreamEntry) -> Verdict {
    let slot = entry.connection.id as u32 & (DECISION_SLOTS - 1);
    // SAFETY: a value of the array, valid while this program runs.
    let decision = DECISIONS.get_ptr(slot).map_or(0, |count| unsafe { count.read_volatile() }) + 1;
    if entry.decision != decision {
        entry.verdict = decided(entry.connection.id);
        // In this order: another thread's call may read both meanwhile.
        // SAFETY: a part of the entry.
        unsafe { (&raw mut entry.decision).write_volatile(decision) };
    }
    entry.verdict
}

/// What the capturer decided about a connection.
#[inline(always)]
pub(crate) fn decided(id: u64) -> Verdict {
    let framing = Framing { kind: 0, header: 0, at: 0, width: 0, beyond: 0, big_endian: 0, keep: 0 };
    let undecided = Verdict { mode: verdict::UNDECIDED, framing, skip_until: [0; 2] };
    // SAFETY: a value of the map, valid while this program runs.
    VERDICTS.get_ptr(id).map_or(undecided, |verdict| unsafe { *verdict })
}

/// Forgets what was decided about a connection that is gone.
#[inline(always)]
pub(crate) fn forget(id: u64) {
    let _: Result<(), i32> = VERDICTS.remove(id);
}
