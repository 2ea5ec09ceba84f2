//! The bytes of a call that does not fit one record, or lies in several buffers: walked step by step, and sent in
//! pieces of which the last follows the call's own record.
//!
//! **Why functions without arguments.** Verifiers follow a loop round by round, and what a round does as often as there
//! are rounds. A global function they look at once, by itself, and then only step over its calls; before Linux 5.12 it
//! takes plain numbers only. So the state of the walk is kept in the working memory, which each step finds anew.
//!
//! **Windows.** Only what lies in a window is copied, the rest is passed over: the front of a call up to its budget,
//! and its end, so that what begins behind a large message is read. Where it is known how messages announce their
//! length ([`frames`](crate::frames)), of each in a large call only what is wanted is copied.

use aya_ebpf::helpers::generated as helper;
use capturer_ebpf::{
    layout::{Kind, Moved, Piece, direction, flag, framing},
    settings::total,
};

use crate::{
    connection,
    cursor::{WALK_ON, WALK_OVER, largest_payload},
    frames,
    kernel::{self, barrier},
    losses,
    memory::{Cursor, Draft, Scratch},
    rings,
    scratch::{FILL_MASK, LARGEST_HEAD, LONGEST_HEADER, PIECE_BYTES, User, gathered, scratch},
};

/// Steps of one go, and goes of one message or stream call: together as many as the kernel takes buffers in a call, empty
/// ones and those of further messages included, and the copying of a whole budget. A loop of loops, since verifiers walk
/// through each round of one; not unrolled ([`barrier`]), since they walk through all ways of calls.
const GO_STEPS: u64 = 64;
const MAX_GOES: u64 = 64;

/// Steps of one call, all its messages together: a process with a thousand messages of a thousand buffers each must not
/// keep its CPU for long.
pub(crate) const CALL_STEPS: u64 = 16_384;

const PIECE_HEAD: u64 = size_of::<Piece>() as u64;

/// Walks through what the cursor of the working memory points at, and sends the draft's record with what it gathered.
#[inline(always)]
pub(crate) fn gather() {
    let mut go = 0_u64;
    while go < MAX_GOES {
        if gather_steps() == WALK_OVER {
            break;
        }
        go = barrier(go + 1);
    }
    gather_end();
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gather_steps() -> u32 {
    let mut step = 0_u64;
    while step < GO_STEPS {
        if gather_step() == WALK_OVER {
            return WALK_OVER;
        }
        step = barrier(step + 1);
    }
    WALK_ON
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gather_step() -> u32 {
    let (Some(scratch), Some(gathered)) = (scratch(User::Calls), gathered()) else { return WALK_OVER };
    let Scratch { draft, cursor, .. } = scratch;
    if cursor.steps == 0 {
        return WALK_OVER;
    }
    cursor.steps -= 1;
    step(draft, cursor, gathered)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gather_end() -> u32 {
    if let (Some(scratch), Some(gathered)) = (scratch(User::Calls), gathered()) {
        finish(&mut scratch.draft, &mut scratch.cursor, gathered);
        remember(scratch);
    }
    0
}

/// Keeps where the next message begins, if it is behind this call.
#[inline(always)]
fn remember(scratch: &Scratch) {
    let Scratch { call, draft, cursor, .. } = scratch;
    if cursor.framing.kind == framing::NONE || cursor.frame < cursor.end {
        return;
    }
    let Some(entry) = connection::lookup(call.sk) else { return };
    let boundary = draft.head.counter + cursor.frame;
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &mut *entry };
    if call.direction == direction::OUT {
        entry.boundary[0] = boundary;
    } else {
        entry.boundary[1] = boundary;
    }
}

#[inline(always)]
fn step(draft: &mut Draft, cursor: &mut Cursor, gathered: *mut u8) -> u32 {
    if cursor.at >= cursor.until && !cursor.open() {
        return WALK_OVER;
    }
    if cursor.buffer_left == 0 || cursor.message_left == 0 {
        let Some(more) = cursor.turn() else {
            cursor.failed = 1;
            return WALK_OVER;
        };
        return more;
    }
    let here = cursor.buffer_left.min(cursor.message_left);
    if cursor.at < cursor.from {
        cursor.pass(here.min(cursor.from - cursor.at));
        return WALK_ON;
    }
    let largest = largest_payload();
    let apart = cursor.begin.wrapping_add(cursor.fill) != cursor.at;
    if cursor.fill != 0 && (apart || cursor.fill >= PIECE_BYTES || cursor.fill >= largest) {
        flush(draft, cursor, gathered, if apart { 0 } else { cursor.unread() });
    }
    if cursor.fill == 0 {
        cursor.begin = cursor.at;
    }
    let len = here.min(cursor.until - cursor.at).min(PIECE_BYTES).min(largest);
    if copy(cursor.buffer, len, gathered, cursor.fill) {
        cursor.fill += len;
    } else {
        cursor.failed = 1;
    }
    cursor.pass(len);
    if cursor.following != 0 {
        cursor.left = cursor.left.saturating_sub(len);
        if cursor.left == 0 {
            cursor.give_up(0);
        } else if cursor.frame < cursor.at {
            frames::follow();
        }
    }
    WALK_ON
}

/// Copies memory of the process behind what is gathered; `len` is at least 1.
#[inline(always)]
fn copy(from: u64, len: u64, gathered: *mut u8, fill: u64) -> bool {
    let at = LARGEST_HEAD + (barrier(fill) & (PIECE_BYTES - 1));
    let len = (barrier(len.wrapping_sub(1)) & (PIECE_BYTES - 1)) + 1;
    // SAFETY: `at` is below the head and one step, `len` at most a step, and there is room for two behind the head.
    let failed = unsafe {
        helper::bpf_probe_read_user(gathered.add(at as usize).cast(), len as u32, from as *const _)
    };
    failed == 0
}

/// Sends what is gathered as a piece, but for the last `unread` bytes; where the ring has no room, it is as if it had
/// not been captured.
#[inline(always)]
fn flush(draft: &mut Draft, cursor: &mut Cursor, gathered: *mut u8, unread: u64) {
    let fill = cursor.fill - unread;
    let Moved { direction, connection, counter, tid, .. } = draft.head;
    let piece = Piece {
        kind: Kind::Piece as u8,
        direction,
        reserved: 0,
        captured: fill as u32,
        connection: connection.id,
        counter,
        tid,
        offset: cursor.begin as u32,
    };
    // SAFETY: there is room for the larger head in front of the payload, aligned to eight bytes.
    let record = unsafe { gathered.add((LARGEST_HEAD - PIECE_HEAD) as usize) };
    // SAFETY: as above.
    unsafe { record.cast::<Piece>().write(piece) };
    if rings::output(record, PIECE_HEAD + (barrier(fill) & FILL_MASK)) {
        draft.head.pieces += 1;
    }
    cursor.begin += fill;
    cursor.fill = unread;
    if unread != 0 {
        let mut word = 0;
        while word < LONGEST_HEADER {
            // SAFETY: the offset is below the fill's mask, and there is room for the longest header behind that.
            unsafe {
                let from = gathered.add((LARGEST_HEAD + (barrier(fill + word) & FILL_MASK)) as usize);
                let to = gathered.add((LARGEST_HEAD + word) as usize);
                to.cast::<u64>().write(from.cast::<u64>().read_unaligned());
            }
            word += 8;
        }
    }
}

/// Sends the record of the call with what is gathered; without, where the ring has too little room.
#[inline(always)]
fn finish(draft: &mut Draft, cursor: &mut Cursor, gathered: *mut u8) {
    let failed = cursor.failed != 0;
    if failed {
        draft.head.flags |= flag::FAULT;
    }
    draft.head.captured = cursor.fill as u32;
    draft.head.offset = cursor.begin as u32;
    // SAFETY: the head has its room in front of the payload, aligned to eight bytes.
    unsafe { kernel::copy(gathered.cast::<Moved>(), &raw const draft.head) };
    if !rings::output(gathered, LARGEST_HEAD + (barrier(cursor.fill) & FILL_MASK)) {
        draft.head.captured = 0;
        // SAFETY: as above.
        unsafe { kernel::copy(gathered.cast::<Moved>(), &raw const draft.head) };
        if !rings::output(gathered, LARGEST_HEAD) {
            losses::count(total::RING);
            return;
        }
    }
    losses::count(if failed { total::FAULT } else { total::DELIVERED });
}
