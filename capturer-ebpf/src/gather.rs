//! The bytes of a call that does not fit one record, or lies in several buffers: walked step by step, and sent in
//! pieces of which the last follows the call's own record.
//!
//! **Why functions without arguments.** Verifiers follow a loop round by round, and what a round does as often as there
//! are rounds. A global function they look at once, by itself, and then only step over its calls; before Linux 5.12 it
//! takes plain numbers only. So the state of the walk is kept in the working memory, which each step finds anew.
//!
//! **Windows.** Only what lies in a window is copied, the rest is passed over: the front of a call up to its budget,
//! and its end, so that what begins behind a large message is read.

use aya_ebpf::{helpers::generated as helper, macros::map, maps::PerCpuArray};
use capturer_ebpf::{
    layout::{Kind, Moved, Piece, flag},
    settings::{CLASSES, HEAD_BYTES, STEP, total},
};

use crate::{
    call::{MESSAGES_STRIDE, Message, message_moved},
    kernel::{barrier, limit, read_user},
    losses,
    payload::Draft,
    rings,
    scratch::{Scratch, User, scratch},
};

/// Steps of one message or stream call: as many buffers as the kernel takes in a call, empty ones and those of further
/// messages included, and the copying of a whole budget.
const MAX_STEPS: u32 = 4096;

/// Steps of one call, all its messages together: a process with a thousand messages of a thousand buffers each must not
/// keep its CPU for long.
pub(crate) const CALL_STEPS: u64 = 16_384;

/// Bytes that are gathered before they are sent as a piece.
const FULL: u64 = STEP as u64;

/// Masks what is gathered: less than [`FULL`], and one step more.
const FILL_MASK: u64 = 2 * FULL - 1;

const HEAD: u64 = HEAD_BYTES as u64;
const PIECE_HEAD: u64 = size_of::<Piece>() as u64;

/// What a step says: there is more to do.
const MORE: u32 = 1;
/// The walk is over.
const STOP: u32 = 0;

/// Where the walk through a call's buffers stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    /// The array of messages, from the next one on, and how many it has.
    messages: u64,
    messages_left: u64,
    /// The array of buffers, from the next one on, and how many it has.
    vectors: u64,
    vectors_left: u64,
    /// The rest of the buffer.
    buffer: u64,
    buffer_left: u64,
    /// Bytes that the message moved, less those passed.
    message_left: u64,
    /// Bytes of the call passed.
    at: u64,
    /// Bytes of the call.
    end: u64,
    /// The window.
    from: u64,
    until: u64,
    /// Where the last window begins; 0 when this one is it.
    tail: u64,
    /// Where in the call the bytes gathered begin, and how many they are.
    begin: u64,
    fill: u64,
    /// 1 when some memory of the process could not be read.
    failed: u64,
    /// Steps left of the whole call.
    pub(crate) steps: u64,
}

/// Bytes gathered, with room for either head in front of them.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Gathered {
    bytes: [u8; (HEAD + FILL_MASK + 1) as usize],
}

#[map]
static GATHERED: PerCpuArray<Gathered> = PerCpuArray::with_max_entries(1, 0);

/// `struct iovec` of the process.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Vector {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

// === impl Cursor ===

impl Cursor {
    /// Points at one buffer.
    #[inline(always)]
    pub(crate) fn point(&mut self, buffer: u64, len: u64) {
        self.messages_left = 0;
        self.vectors_left = 0;
        self.buffer = buffer;
        self.buffer_left = len;
        self.message_left = u64::MAX;
    }

    /// Points at an array of buffers.
    #[inline(always)]
    pub(crate) fn point_vectors(&mut self, vectors: u64, count: u64) {
        self.point(0, 0);
        self.vectors = vectors;
        self.vectors_left = count;
    }

    /// Points at an array of messages.
    #[inline(always)]
    pub(crate) fn point_messages(&mut self, messages: u64, count: u64) {
        self.point(0, 0);
        self.messages = messages;
        self.messages_left = count;
    }

    /// Sets the windows for the bytes `from..end` of a call, of which a record may take `limit`.
    #[inline(always)]
    pub(crate) fn plan(&mut self, from: u64, end: u64, limit: u64) {
        let largest = largest_payload();
        let (head, tail) = if limit < largest { (limit, limit) } else { (2 * largest, largest / 2) };
        self.at = 0;
        self.end = end;
        self.from = from;
        self.until = end;
        self.tail = 0;
        self.begin = 0;
        self.fill = 0;
        self.failed = 0;
        if end - from > head + tail {
            self.until = from + head;
            self.tail = end - tail;
        }
    }

    #[inline(always)]
    fn pass(&mut self, count: u64) {
        self.buffer = self.buffer.wrapping_add(count);
        self.buffer_left = self.buffer_left.wrapping_sub(count);
        self.message_left = self.message_left.wrapping_sub(count);
        self.at = self.at.wrapping_add(count);
    }

    /// Goes on to the next buffer or message.
    #[inline(always)]
    fn turn(&mut self) -> Option<u32> {
        if self.vectors_left == 0 || self.message_left == 0 {
            if self.messages_left == 0 {
                return Some(STOP);
            }
            let message = read_user::<Message>(self.messages)?;
            self.message_left = message_moved(self.messages);
            self.vectors = message.vectors;
            self.vectors_left = message.count;
            self.buffer_left = 0;
            self.messages = self.messages.wrapping_add(MESSAGES_STRIDE);
            self.messages_left -= 1;
            return Some(MORE);
        }
        let vector = read_user::<Vector>(self.vectors)?;
        self.buffer = vector.base;
        self.buffer_left = vector.len;
        self.vectors = self.vectors.wrapping_add(size_of::<Vector>() as u64);
        self.vectors_left -= 1;
        Some(MORE)
    }
}

/// Payload of the largest record that the rings take.
#[inline(always)]
pub(crate) fn largest_payload() -> u64 {
    u64::from(match limit!(largest_class) {
        0 => CLASSES[0],
        1 => CLASSES[1],
        2 => CLASSES[2],
        3 => CLASSES[3],
        4 => CLASSES[4],
        _ => CLASSES[5],
    })
}

/// Walks through what the cursor of the working memory points at, and sends the draft's record with what it gathered.
#[inline(always)]
pub(crate) fn gather() {
    let mut step = 0;
    while step < MAX_STEPS {
        if gather_step() == STOP {
            break;
        }
        step += 1;
    }
    gather_end();
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gather_step() -> u32 {
    let (Some(scratch), Some(gathered)) = (scratch(User::Calls), GATHERED.get_ptr_mut(0)) else {
        return STOP;
    };
    let Scratch { draft, cursor, .. } = scratch;
    if cursor.steps == 0 {
        return STOP;
    }
    cursor.steps -= 1;
    step(draft, cursor, gathered.cast())
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gather_end() -> u32 {
    if let (Some(scratch), Some(gathered)) = (scratch(User::Calls), GATHERED.get_ptr_mut(0)) {
        finish(&mut scratch.draft, &mut scratch.cursor, gathered.cast());
    }
    0
}

#[inline(always)]
fn step(draft: &mut Draft, cursor: &mut Cursor, gathered: *mut u8) -> u32 {
    if cursor.at >= cursor.until {
        if cursor.tail == 0 {
            return STOP;
        }
        cursor.from = cursor.tail;
        cursor.until = cursor.end;
        cursor.tail = 0;
    }
    if cursor.buffer_left == 0 || cursor.message_left == 0 {
        let Some(more) = cursor.turn() else {
            cursor.failed = 1;
            return STOP;
        };
        return more;
    }
    let here = cursor.buffer_left.min(cursor.message_left);
    if cursor.at < cursor.from {
        cursor.pass(here.min(cursor.from - cursor.at));
        return MORE;
    }
    let largest = largest_payload();
    let apart = cursor.begin.wrapping_add(cursor.fill) != cursor.at;
    if cursor.fill != 0 && (apart || cursor.fill >= FULL || cursor.fill >= largest) {
        flush(draft, cursor, gathered);
    }
    if cursor.fill == 0 {
        cursor.begin = cursor.at;
    }
    let len = here.min(cursor.until - cursor.at).min(FULL).min(largest);
    if copy(cursor.buffer, len, gathered, cursor.fill) {
        cursor.fill += len;
    } else {
        cursor.failed = 1;
    }
    cursor.pass(len);
    MORE
}

/// Copies memory of the process behind what is gathered; `len` is at least 1.
#[inline(always)]
fn copy(from: u64, len: u64, gathered: *mut u8, fill: u64) -> bool {
    let at = HEAD + (barrier(fill) & (FULL - 1));
    let len = (barrier(len.wrapping_sub(1)) & (FULL - 1)) + 1;
    // SAFETY: `at` is below the head and one step, `len` at most a step, and there is room for two behind the head.
    let failed = unsafe {
        helper::bpf_probe_read_user(gathered.add(at as usize).cast(), len as u32, from as *const _)
    };
    failed == 0
}

/// Sends what is gathered as a piece; where the ring has no room, it is as if it had not been captured.
#[inline(always)]
fn flush(draft: &mut Draft, cursor: &mut Cursor, gathered: *mut u8) {
    let Moved { way, connection, counter, tid, .. } = draft.head;
    let piece = Piece {
        kind: Kind::Piece as u8,
        way,
        reserved: 0,
        captured: cursor.fill as u32,
        connection: connection.id,
        counter,
        tid,
        offset: cursor.begin as u32,
    };
    // SAFETY: there is room for the larger head in front of the payload, aligned to eight bytes.
    let record = unsafe { gathered.add((HEAD - PIECE_HEAD) as usize) };
    // SAFETY: as above.
    unsafe { record.cast::<Piece>().write(piece) };
    if rings::output(record, PIECE_HEAD + (barrier(cursor.fill) & FILL_MASK)) {
        draft.head.pieces += 1;
    }
    cursor.fill = 0;
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
    unsafe { gathered.cast::<Moved>().write(draft.head) };
    if !rings::output(gathered, HEAD + (barrier(cursor.fill) & FILL_MASK)) {
        draft.head.captured = 0;
        // SAFETY: as above.
        unsafe { gathered.cast::<Moved>().write(draft.head) };
        if !rings::output(gathered, HEAD) {
            losses::count(total::RING);
            return;
        }
    }
    losses::count(if failed { total::FAULT } else { total::DELIVERED });
}
