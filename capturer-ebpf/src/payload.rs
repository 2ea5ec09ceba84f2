//! Records with payload: reserve a size class of ring space and let the kernel copy the process's bytes into it.
//!
//! Every bound is masked in the register that the helper takes, right before the call: verifiers of old kernels
//! forget bounds of values that were stored and loaded again.

use aya_ebpf::helpers::generated as helper;
use capturer_ebpf::{
    layout::{Moved, flag},
    settings::{CLASSES, PIECE, total},
};

use crate::{
    kernel::{barrier, limit, read_user},
    losses, rings,
};

/// Most buffers of one call that are gathered.
const MAX_VECTORS: u64 = 64;

/// Most buffers of one datagram that are gathered.
const MAX_DATAGRAM_VECTORS: u64 = 8;

const HEAD: u64 = size_of::<Moved>() as u64;

/// A record being made.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Draft {
    pub(crate) head: Moved,
    /// The buffer, or the array of `count` buffers.
    pub(crate) base: u64,
    /// 0 when `base` is the buffer itself.
    pub(crate) count: u64,
    /// Payload bytes to send, at most.
    pub(crate) want: u64,
    /// The buffer that is being gathered.
    vector: Vector,
    /// Bytes gathered so far.
    gathered: u64,
}

/// `struct iovec` of the process.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Vector {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

/// Points a draft at an array of buffers; a single one is copied without the detour.
#[inline(always)]
pub(crate) fn take_vectors(draft: &mut Draft, base: u64, count: u64) {
    draft.base = base;
    draft.count = count;
    if count == 1
        && let Some(only) = read_user::<Vector>(base)
    {
        draft.base = only.base;
        draft.count = 0;
        if draft.want > only.len {
            draft.want = only.len;
        }
    }
}

/// Sends a draft with the payload class that holds it.
#[inline(never)]
pub(crate) fn emit(draft: &mut Draft) -> u64 {
    let largest = match limit!(largest_class) {
        0 => CLASSES[0],
        1 => CLASSES[1],
        2 => CLASSES[2],
        3 => CLASSES[3],
        4 => CLASSES[4],
        _ => CLASSES[5],
    };
    if draft.want > u64::from(largest) {
        draft.want = u64::from(largest);
    }
    let limit = rings::payload_limit();
    if draft.want > limit {
        draft.want = limit;
    }
    let want = draft.want;
    if want == 0 {
        bare(draft);
    } else if draft.count == 0 {
        direct_by_class(draft, want);
    } else {
        gather_by_class(draft, want);
    }
    0
}

/// One buffer needs no spare room and little to verify, so there is a class for every power of two.
#[inline(always)]
fn direct_by_class(draft: &mut Draft, want: u64) {
    if want <= 64 {
        direct::<64>(draft);
    } else if want <= 128 {
        direct::<128>(draft);
    } else if want <= 256 {
        direct::<256>(draft);
    } else if want <= 512 {
        direct::<512>(draft);
    } else if want <= 1024 {
        direct::<1024>(draft);
    } else if want <= 2048 {
        direct::<2048>(draft);
    } else if want <= 4096 {
        direct::<4096>(draft);
    } else if want <= 8192 {
        direct::<8192>(draft);
    } else if want <= 16_384 {
        direct::<16_384>(draft);
    } else if want <= 32_768 {
        direct::<32_768>(draft);
    } else if want <= 65_536 {
        direct::<65_536>(draft);
    } else {
        direct::<131_072>(draft);
    }
}

#[inline(always)]
fn gather_by_class(draft: &mut Draft, want: u64) {
    // Every class is verified for itself, step by step, so there are few.
    if want <= 256 {
        gather::<256, MAX_VECTORS>(draft);
    } else if want <= 1024 {
        gather::<1024, MAX_VECTORS>(draft);
    } else if want <= 4096 {
        gather::<4096, MAX_VECTORS>(draft);
    } else if want <= 16_384 {
        gather::<16_384, MAX_VECTORS>(draft);
    } else if want <= 65_536 {
        gather::<65_536, MAX_VECTORS>(draft);
    } else {
        gather::<131_072, MAX_VECTORS>(draft);
    }
}

/// Sends one message of a call that moves several: of its buffers only the first has its bytes captured, since the
/// verifier follows every message anew.
#[inline(never)]
pub(crate) fn emit_message(draft: &mut Draft) -> u64 {
    if draft.want > u64::from(PIECE) {
        draft.want = u64::from(PIECE);
    }
    if draft.count != 0 {
        let first = read_user::<Vector>(draft.base).unwrap_or(Vector { base: 0, len: 0 });
        draft.base = first.base;
        if draft.want > first.len {
            draft.want = first.len;
        }
    }
    if draft.want == 0 {
        bare(draft);
    } else if draft.want <= 128 {
        direct::<128>(draft);
    } else if draft.want <= 512 {
        direct::<512>(draft);
    } else {
        direct::<4096>(draft);
    }
    0
}

/// Sends one datagram; its payload is at most one piece.
#[inline(never)]
pub(crate) fn emit_datagram(draft: &mut Draft) -> u64 {
    if draft.want > u64::from(PIECE) {
        draft.want = u64::from(PIECE);
    }
    if draft.want == 0 {
        bare(draft);
    } else if draft.count != 0 {
        gather::<4096, MAX_DATAGRAM_VECTORS>(draft);
    } else if draft.want <= 128 {
        direct::<128>(draft);
    } else if draft.want <= 512 {
        direct::<512>(draft);
    } else {
        direct::<4096>(draft);
    }
    0
}

#[inline(always)]
fn bare(draft: &mut Draft) {
    let room = rings::reserve(HEAD);
    if room.is_null() {
        losses::count(total::RING);
        return;
    }
    finish(draft, room, 0, false);
}

#[inline(always)]
fn direct<const CLASS: u64>(draft: &mut Draft) {
    let room = rings::reserve(HEAD + CLASS);
    if room.is_null() {
        losses::count(total::RING);
        return;
    }
    let len = (barrier(draft.want.wrapping_sub(1)) & (CLASS - 1)) + 1;
    // SAFETY: the reserved room has `CLASS` bytes behind the head, and `len` is at most that.
    let failed = unsafe {
        helper::bpf_probe_read_user(room.add(HEAD as usize).cast(), len as u32, draft.base as *const _)
    };
    let captured = if failed == 0 { draft.want } else { 0 };
    finish(draft, room, captured, failed != 0);
}

#[inline(always)]
fn gather<const CLASS: u64, const VECTORS: u64>(draft: &mut Draft) {
    let piece = if CLASS < u64::from(PIECE) { CLASS } else { u64::from(PIECE) };
    let room = rings::reserve(HEAD + CLASS + piece);
    if room.is_null() {
        losses::count(total::RING);
        return;
    }
    draft.vector = Vector { base: 0, len: 0 };
    draft.gathered = 0;
    let mut step = 0;
    let mut going = Step::More;
    while step < VECTORS + CLASS / piece && matches!(going, Step::More) {
        step += 1;
        going = gather_step::<CLASS>(draft, room, piece);
    }
    finish(draft, room, load(&raw const draft.gathered), matches!(going, Step::Failed));
}

/// What a step of gathering came to.
enum Step {
    More,
    Done,
    Failed,
}

/// Copies one piece of one buffer.
///
/// What changes from step to step is kept in the draft, not in registers: what is loaded from a map is just a number
/// to the verifier, so it sees every step as the same and does not follow each history of lengths.
#[inline(always)]
fn gather_step<const CLASS: u64>(draft: &mut Draft, room: *mut u8, piece: u64) -> Step {
    if load(&raw const draft.vector.len) == 0 {
        let (base, count) = (load(&raw const draft.base), load(&raw const draft.count));
        if count == 0 {
            return Step::Done;
        }
        let Some(vector) = read_user::<Vector>(base) else { return Step::Failed };
        store(&raw mut draft.vector.base, vector.base);
        store(&raw mut draft.vector.len, vector.len);
        store(&raw mut draft.base, base.wrapping_add(size_of::<Vector>() as u64));
        store(&raw mut draft.count, count - 1);
    }
    let gathered = load(&raw const draft.gathered);
    let open = load(&raw const draft.want).wrapping_sub(gathered);
    if open == 0 || open > CLASS {
        return Step::Done;
    }
    let (base, left) = (load(&raw const draft.vector.base), load(&raw const draft.vector.len));
    if left == 0 {
        return Step::More;
    }
    let mut len = left;
    if len > open {
        len = open;
    }
    if len > piece {
        len = piece;
    }
    let at = barrier(gathered) & (CLASS - 1);
    let bound = (barrier(len.wrapping_sub(1)) & (piece - 1)) + 1;
    store(&raw mut draft.gathered, gathered.wrapping_add(len));
    store(&raw mut draft.vector.base, base.wrapping_add(len));
    store(&raw mut draft.vector.len, left.wrapping_sub(len));
    // SAFETY: the payload lies behind the head; `at` is below `CLASS` and `bound` at most one piece, for which there
    // is room behind the class.
    let error = unsafe {
        helper::bpf_probe_read_user(
            room.add(HEAD as usize).add(at as usize).cast(),
            bound as u32,
            base as *const _,
        )
    };
    if error == 0 {
        return Step::More;
    }
    store(&raw mut draft.gathered, gathered);
    Step::Failed
}

/// Reads a field of the working memory anew: to the verifier just a number, whatever led to it.
#[inline(always)]
pub(crate) fn load(field: *const u64) -> u64 {
    // SAFETY: callers pass fields of working memory that they hold.
    unsafe { field.read_volatile() }
}

/// Writes a field of the working memory at once.
#[inline(always)]
pub(crate) fn store(field: *mut u64, value: u64) {
    // SAFETY: callers pass fields of working memory that they hold exclusively.
    unsafe { field.write_volatile(value) }
}

/// Writes the head in front of the payload and hands the record over.
#[inline(always)]
fn finish(draft: &mut Draft, room: *mut u8, captured: u64, failed: bool) {
    draft.head.captured = captured as u32;
    if failed {
        draft.head.flags |= flag::FAULT;
    }
    // SAFETY: every record has room for the head; records are aligned to eight bytes.
    unsafe { room.cast::<Moved>().write(draft.head) };
    rings::submit(room);
    losses::count(if failed { total::FAULT } else { total::DELIVERED });
}
