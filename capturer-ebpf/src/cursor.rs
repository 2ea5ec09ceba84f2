//! The walk through the buffers of a call: which of its bytes lie in a window, and where the next buffer is.

use capturer_ebpf::{
    layout::{Framing, framing, verdict},
    settings::CLASSES,
};

use crate::{
    arguments::{MESSAGES_STRIDE, message_moved},
    kernel::{limit, read_user, store},
    memory::{Cursor, Message, Vector},
    rings,
    scratch::{LONGEST_HEADER, User, scratch},
};

/// Bytes that are copied while messages are followed, the last window not counted: as many as a small ring can take.
const COPY_BUDGET: u64 = 1 << 20;

/// Messages of one call that are followed: many small ones are copied faster than they are looked at.
const MOST_FRAMES: u64 = 16_384;

/// What a step says: there is more to do.
pub(crate) const WALK_ON: u32 = 1;
/// The walk is over.
pub(crate) const WALK_OVER: u32 = 0;

// === impl Cursor ===

impl Cursor {
    /// Points at one buffer.
    #[inline(always)]
    pub(crate) fn point(&mut self, buffer: u64, len: u64) {
        self.messages_left = 0;
        // Each by itself: what is cleared as a whole is cleared byte by byte.
        store(&raw mut self.vectors_left, 0);
        store(&raw mut self.buffer, buffer);
        store(&raw mut self.buffer_left, len);
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
        self.left = COPY_BUDGET;
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
    pub(crate) fn open(&mut self) -> bool {
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
    pub(crate) fn unread(&self) -> u64 {
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
    pub(crate) fn pass(&mut self, count: u64) {
        self.buffer = self.buffer.wrapping_add(count);
        self.buffer_left = self.buffer_left.wrapping_sub(count);
        self.message_left = self.message_left.wrapping_sub(count);
        self.at = self.at.wrapping_add(count);
    }

    /// Goes on to the next buffer or message.
    #[inline(always)]
    pub(crate) fn turn(&mut self) -> Option<u32> {
        if self.vectors_left == 0 || self.message_left == 0 {
            if self.messages_left == 0 {
                return Some(WALK_OVER);
            }
            let message = read_user::<Message>(self.messages)?;
            self.message_left = message_moved(self.messages);
            self.vectors = message.vectors;
            self.vectors_left = message.count;
            self.buffer_left = 0;
            self.messages = self.messages.wrapping_add(MESSAGES_STRIDE);
            self.messages_left -= 1;
            return Some(WALK_ON);
        }
        let vector = read_user::<Vector>(self.vectors)?;
        self.buffer = vector.base;
        self.buffer_left = vector.len;
        self.vectors = self.vectors.wrapping_add(size_of::<Vector>() as u64);
        self.vectors_left -= 1;
        Some(WALK_ON)
    }
}

/// Bytes at the front of a large call that are read. While nobody knows what a new connection speaks, many small messages
/// in one call are found only by reading them all.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn front_of_call() -> u32 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let usual = 2 * largest_payload();
    let unknown =
        scratch.cursor.mode == u64::from(verdict::UNDECIDED) && scratch.draft.head.counter < COPY_BUDGET;
    let front = if unknown { (rings::size() / 4).clamp(usual, COPY_BUDGET) } else { usual };
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
