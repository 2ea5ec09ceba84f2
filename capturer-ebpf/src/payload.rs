//! Records with payload. One buffer that fits one record is copied by the kernel into ring space of its size class;
//! everything else is gathered ([`gather`]).
//!
//! Every bound is masked in the register that the helper takes, right before the call: verifiers of old kernels
//! forget bounds of values that were stored and loaded again.

use aya_ebpf::helpers::generated as helper;
use capturer_ebpf::{
    layout::{Kind, Moved, flag},
    settings::total,
};

use crate::{
    cursor::largest_payload,
    gather,
    kernel::{self, barrier, read_user},
    losses,
    memory::{Call, Cursor, Draft, Scratch, Vector},
    process, rings,
    scratch::{LARGEST_HEAD, User, scratch},
};

/// Fills in what every record says.
#[inline(never)]
pub(crate) fn fill(draft: &mut Draft, call: &Call, bytes: u64) -> u64 {
    let head = &mut draft.head;
    head.kind = Kind::Moved as u8;
    head.direction = call.direction;
    head.flags = if call.no_enter == 0 { 0 } else { flag::NO_ENTER };
    head.captured = 0;
    head.enter_ns = call.enter_ns;
    head.exit_ns = kernel::now();
    head.moved = bytes;
    // Side by side, these would be cleared byte by byte.
    kernel::store(&raw mut head.counter, 0);
    head.s0 = 0;
    head.s1 = 0;
    head.pid = call.pid;
    head.tid = call.tid;
    head.cgroup = call.cgroup;
    head.offset = 0;
    head.pieces = 0;
    // SAFETY: the head is aligned to eight bytes, and so is the name in it.
    unsafe { process::write_comm(kernel::current_task(), &raw mut head.comm) };
    0
}

/// Points at one buffer.
#[inline(always)]
pub(crate) fn take_buffer(draft: &mut Draft, cursor: &mut Cursor, base: u64, len: u64) {
    draft.buffer = base;
    if draft.until > len {
        draft.until = len;
    }
    cursor.point(base, len);
}

/// Points at an array of buffers; a single one is taken without the detour.
#[inline(always)]
pub(crate) fn take_vectors(draft: &mut Draft, cursor: &mut Cursor, base: u64, count: u64) {
    if count == 1
        && let Some(only) = read_user::<Vector>(base)
    {
        take_buffer(draft, cursor, only.base, only.len);
    } else {
        draft.buffer = 0;
        cursor.point_vectors(base, count);
    }
}

/// Sends the draft of the working memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn deliver() -> u32 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    if !send_whole(scratch) {
        gather::gather();
    }
    0
}

/// Sends the draft of the working memory without its bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn deliver_bare() -> u32 {
    if let Some(scratch) = scratch(User::Calls) {
        bare(&mut scratch.draft);
    }
    0
}

/// Sends a draft whose bytes are one buffer and fit one record; `false` when they have to be gathered.
#[inline(always)]
fn send_whole(scratch: &mut Scratch) -> bool {
    let Scratch { draft, cursor, .. } = scratch;
    if draft.from >= draft.until {
        bare(draft);
        return true;
    }
    let want = draft.until - draft.from;
    let limit = rings::payload_limit();
    if draft.buffer != 0 && want <= limit && want <= largest_payload() {
        draft.head.offset = draft.from as u32;
        draft.buffer = draft.buffer.wrapping_add(draft.from);
        direct_by_class(draft, want);
        return true;
    }
    cursor.plan(draft.from, draft.until, limit);
    false
}

/// One buffer needs little to verify, so there is a class for every power of two.
#[inline(always)]
fn direct_by_class(draft: &mut Draft, want: u64) {
    if want <= 64 {
        direct::<64>(draft, want);
    } else if want <= 128 {
        direct::<128>(draft, want);
    } else if want <= 256 {
        direct::<256>(draft, want);
    } else if want <= 512 {
        direct::<512>(draft, want);
    } else if want <= 1024 {
        direct::<1024>(draft, want);
    } else if want <= 2048 {
        direct::<2048>(draft, want);
    } else if want <= 4096 {
        direct::<4096>(draft, want);
    } else if want <= 8192 {
        direct::<8192>(draft, want);
    } else if want <= 16_384 {
        direct::<16_384>(draft, want);
    } else if want <= 32_768 {
        direct::<32_768>(draft, want);
    } else if want <= 65_536 {
        direct::<65_536>(draft, want);
    } else {
        direct::<131_072>(draft, want);
    }
}

#[inline(always)]
fn bare(draft: &mut Draft) {
    let room = rings::reserve(LARGEST_HEAD);
    if room.is_null() {
        losses::count(total::RING);
        return;
    }
    finish(draft, room, 0, false);
}

#[inline(always)]
fn direct<const CLASS: u64>(draft: &mut Draft, want: u64) {
    let room = rings::reserve(LARGEST_HEAD + CLASS);
    if room.is_null() {
        losses::count(total::RING);
        return;
    }
    let len = (barrier(want.wrapping_sub(1)) & (CLASS - 1)) + 1;
    // SAFETY: the reserved room has `CLASS` bytes behind the head, and `len` is at most that.
    let failed = unsafe {
        helper::bpf_probe_read_user(
            room.add(LARGEST_HEAD as usize).cast(),
            len as u32,
            draft.buffer as *const _,
        )
    };
    let captured = if failed == 0 { want } else { 0 };
    finish(draft, room, captured, failed != 0);
}

/// Writes the head in front of the payload and hands the record over.
#[inline(always)]
fn finish(draft: &mut Draft, room: *mut u8, captured: u64, failed: bool) {
    draft.head.captured = captured as u32;
    if failed {
        draft.head.flags |= flag::FAULT;
    }
    // SAFETY: every record has room for the head; records are aligned to eight bytes.
    unsafe { kernel::copy(room.cast::<Moved>(), &raw const draft.head) };
    rings::submit(room);
    losses::count(if failed { total::FAULT } else { total::DELIVERED });
}
