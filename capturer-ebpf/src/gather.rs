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

use aya_ebpf::{helpers::generated as helper, macros::map, maps::PerCpuArray};
use capturer_ebpf::{
    layout::{Framing, Kind, Moved, Piece, flag, framing, verdict, way},
    settings::{CLASSES, HEAD_BYTES, STEP, total},
};

use crate::{
    call::{MESSAGES_STRIDE, Message, message_moved},
    connection, frames,
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
pub(crate) const FILL_MASK: u64 = 2 * FULL - 1;

/// Bytes that are copied while messages are followed, the last window not counted: as many as a small ring can take.
const BUDGET: u64 = 1 << 20;

/// Messages of one call that are followed: many small ones are copied faster than they are looked at.
const MOST_FRAMES: u64 = 16_384;

/// Longest header of a message that is followed, a multiple of eight bytes.
pub(crate) const LONGEST_HEADER: u64 = 128;

pub(crate) const HEAD: u64 = HEAD_BYTES as u64;
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
    pub(crate) at: u64,
    /// Bytes of the call.
    pub(crate) end: u64,
    /// The window.
    from: u64,
    pub(crate) until: u64,
    /// Where the next window begins; 0 when none is known.
    pub(crate) next: u64,
    /// Where the last window begins; 0 when this one is it.
    tail: u64,
    /// Where the next message begins, if messages are followed.
    pub(crate) frame: u64,
    /// 1 when it is known that a message begins there.
    sure: u64,
    /// 1 while messages are followed.
    following: u64,
    /// Everything before this is copied, wherever messages seem to begin.
    pub(crate) front: u64,
    /// Bytes that may yet be copied while messages are followed, and how many of those may be followed.
    pub(crate) left: u64,
    pub(crate) frames_left: u64,
    /// Where in the call the bytes gathered begin, and how many they are.
    pub(crate) begin: u64,
    pub(crate) fill: u64,
    /// 1 when some memory of the process could not be read.
    failed: u64,
    /// Steps left of the whole call.
    pub(crate) steps: u64,
    /// What was decided of the connection.
    pub(crate) mode: u64,
    /// How messages are followed.
    pub(crate) framing: Framing,
    reserved: u8,
}

/// Bytes gathered, with room for either head in front of them.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Gathered {
    bytes: [u8; (HEAD + FILL_MASK + 1 + LONGEST_HEADER) as usize],
}

#[map]
static GATHERED: PerCpuArray<Gathered> = PerCpuArray::with_max_entries(1, 0);

/// What is gathered on this CPU, behind [`HEAD`] bytes.
#[inline(always)]
pub(crate) fn gathered() -> Option<*mut u8> {
    GATHERED.get_ptr_mut(0).map(<*mut Gathered>::cast)
}

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

    /// Follows no messages.
    #[inline(always)]
    pub(crate) fn unframed(&mut self) {
        self.framing.kind = framing::NONE;
    }

    /// Follows messages from where one is known to begin, `boundary` by the count of the stream, or from the beginning
    /// of a call that begins at `counter`.
    #[inline(always)]
    pub(crate) fn frames(&mut self, framing: Framing, counter: u64, boundary: u64) {
        self.framing = framing;
        self.sure = u64::from(boundary >= counter && boundary != 0);
        self.frame = boundary.saturating_sub(counter);
    }

    /// Sets the windows for the bytes `from..end` of a call, of which a record may take `limit`.
    #[inline(always)]
    pub(crate) fn plan(&mut self, from: u64, end: u64, limit: u64) {
        let largest = largest_payload();
        let (head, tail) =
            if limit < largest { (limit, limit) } else { (u64::from(front_of_call()), largest / 2) };
        self.at = 0;
        self.end = end;
        self.from = from;
        self.until = end;
        self.tail = 0;
        self.begin = 0;
        self.fill = 0;
        self.failed = 0;
        self.next = 0;
        self.following = 0;
        self.left = BUDGET;
        self.frames_left = MOST_FRAMES;
        if limit < largest {
            self.unframed();
        }
        let framed = self.framing.kind != framing::NONE;
        if end - from <= head + tail {
            // Nothing is left out; followed only for what comes behind.
            self.front = end;
            self.following = u64::from(framed && self.sure != 0);
            return;
        }
        self.front = from + head;
        self.until = self.front;
        self.tail = end - tail;
        if !framed {
            return;
        }
        self.following = 1;
        if self.frame > self.front {
            // In the middle of a large message: the next one is known.
            self.next = self.frame;
        } else {
            self.until = end;
        }
        if self.sure != 0 {
            self.front = from;
        }
    }

    /// Goes on to the next window; `false` when there is none.
    #[inline(always)]
    fn open(&mut self) -> bool {
        if self.at >= self.end {
            return false;
        }
        if self.next > self.at && self.next < self.end {
            self.from = self.next;
            self.until = self.end;
            self.next = 0;
            return true;
        }
        if self.tail == 0 {
            return false;
        }
        self.from = self.tail;
        self.until = self.end;
        self.tail = 0;
        self.following = 0;
        true
    }

    /// Bytes at the end of what is gathered that begin a header of which the rest is not here.
    #[inline(always)]
    fn unread(&self) -> u64 {
        let behind = self.frame.wrapping_sub(self.begin);
        let followed = self.following != 0 && behind < self.fill;
        let unread = self.fill.wrapping_sub(behind);
        if followed && unread <= LONGEST_HEADER { unread } else { 0 }
    }

    /// Follows messages no longer: what is left of the front is copied or `more` bytes, and the end.
    #[inline(always)]
    pub(crate) fn give_up(&mut self, more: u64) {
        self.unframed();
        self.following = 0;
        self.next = 0;
        self.until = self.front.max(self.at + more).min(self.end);
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

/// Bytes at the front of a large call that are read. While nobody knows what a new connection speaks, many small messages
/// in one call are found only by reading them all.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn front_of_call() -> u32 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let usual = 2 * largest_payload();
    let unknown = scratch.cursor.mode == u64::from(verdict::UNDECIDED) && scratch.draft.head.counter < BUDGET;
    let front = if unknown { (rings::size() / 4).clamp(usual, BUDGET) } else { usual };
    front as u32
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
    let (Some(scratch), Some(gathered)) = (scratch(User::Calls), gathered()) else { return STOP };
    let Scratch { draft, cursor, .. } = scratch;
    if cursor.steps == 0 {
        return STOP;
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
    if call.way == way::OUT {
        entry.boundary[0] = boundary;
    } else {
        entry.boundary[1] = boundary;
    }
}

#[inline(always)]
fn step(draft: &mut Draft, cursor: &mut Cursor, gathered: *mut u8) -> u32 {
    if cursor.at >= cursor.until && !cursor.open() {
        return STOP;
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
        flush(draft, cursor, gathered, if apart { 0 } else { cursor.unread() });
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
    if cursor.following != 0 {
        cursor.left = cursor.left.saturating_sub(len);
        if cursor.left == 0 {
            cursor.give_up(0);
        } else if cursor.frame < cursor.at {
            frames::follow();
        }
    }
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

/// Sends what is gathered as a piece, but for the last `unread` bytes; where the ring has no room, it is as if it had
/// not been captured.
#[inline(always)]
fn flush(draft: &mut Draft, cursor: &mut Cursor, gathered: *mut u8, unread: u64) {
    let fill = cursor.fill - unread;
    let Moved { way, connection, counter, tid, .. } = draft.head;
    let piece = Piece {
        kind: Kind::Piece as u8,
        way,
        reserved: 0,
        captured: fill as u32,
        connection: connection.id,
        counter,
        tid,
        offset: cursor.begin as u32,
    };
    // SAFETY: there is room for the larger head in front of the payload, aligned to eight bytes.
    let record = unsafe { gathered.add((HEAD - PIECE_HEAD) as usize) };
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
                let from = gathered.add((HEAD + (barrier(fill + word) & FILL_MASK)) as usize);
                let to = gathered.add((HEAD + word) as usize);
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
