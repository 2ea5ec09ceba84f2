//! One direction of a stream while it is decoded: the bytes not read yet, and how many need not be.

use super::{Direction, Exchange, Message, Outcome};

/// One value per direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Both<T> {
    out: T,
    inward: T,
}

/// Where a message lies, and when its first byte came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) began_ns: u64,
    /// The length of the datagram that it is; `None` in a stream.
    pub(super) datagram: Option<u64>,
}

/// The state of one direction.
#[derive(Debug)]
pub(super) struct Flow {
    /// Where the next stretch is expected; absent before the first and behind a gap of unknown length.
    pub(super) next: Option<u64>,
    buffer: Vec<u8>,
    /// Bytes at the buffer's front that were read.
    read: usize,
    /// Bytes that pass before the next step.
    pub(super) skip: u64,
    /// Whether the front of the bytes is where a step may begin.
    pub(super) synced: bool,
    /// The open message, up to where it is read.
    pub(super) open: Option<Span>,
    /// Whether some of the open message's bytes were not seen.
    pub(super) hole: bool,
    /// What comes out once `skip` bytes have passed. It is paired already: what is asked meanwhile is another request.
    pub(super) completing: Option<Outcome>,
    /// Bytes the decoder waits for.
    pub(super) at_least: usize,
    /// When the newest stretch came.
    pub(super) at_ns: u64,
    /// Set while reading looks for a place to go on behind bytes that came and could not be read.
    pub(super) garbled: Option<Garbled>,
}

/// What became of the requests that waited when a direction could not be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Garbled {
    /// Whether they wait on.
    pub(super) kept: bool,
}

// === impl Both ===

impl<T> Both<T> {
    pub(super) fn of(&self, direction: Direction) -> &T {
        match direction {
            Direction::Out => &self.out,
            Direction::In => &self.inward,
        }
    }

    pub(super) fn of_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Out => &mut self.out,
            Direction::In => &mut self.inward,
        }
    }
}

// === impl Flow ===

impl Default for Flow {
    fn default() -> Self {
        Self {
            next: None,
            buffer: Vec::new(),
            read: 0,
            skip: 0,
            synced: true,
            open: None,
            hole: false,
            completing: None,
            at_least: 1,
            at_ns: 0,
            garbled: None,
        }
    }
}

impl Flow {
    /// Returns the bytes that were not read yet.
    pub(super) fn front(&self) -> &[u8] {
        self.buffer.get(self.read..).unwrap_or_default()
    }

    /// Returns the position of the first of them.
    pub(super) fn position(&self) -> u64 {
        self.next.unwrap_or_default().saturating_sub(length(self.front()))
    }

    /// Returns the open message, which begins here where none is open.
    pub(super) fn opened(&mut self) -> Span {
        let position = self.position();
        *self.open.get_or_insert(Span {
            start: position,
            end: position,
            began_ns: self.at_ns,
            datagram: None,
        })
    }

    /// Whether part of a message is here, or bytes that could not be read.
    pub(super) fn is_within_message(&self) -> bool {
        self.open.is_some() || !self.front().is_empty() || self.garbled.is_some()
    }

    /// Closes the open message at `end` and returns it.
    pub(super) fn close(&mut self, end: u64) -> Span {
        let span = self.opened();
        self.open = None;
        Span { end, ..span }
    }

    /// Returns the request whose response is passing: it waits no longer, and its exchange is yet to come out.
    pub(super) fn answered(&self) -> Option<&Message> {
        let Some(Outcome::Exchange(Exchange { request, .. })) = &self.completing else { return None };
        request.as_ref()
    }

    /// Returns that request, to be completed.
    pub(super) fn answered_mut(&mut self) -> Option<&mut Message> {
        let Some(Outcome::Exchange(Exchange { request, .. })) = &mut self.completing else { return None };
        request.as_mut()
    }

    /// Appends bytes that follow what is there, less those that are to pass.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.next = Some(self.next.unwrap_or_default().saturating_add(length(bytes)));
        let passing = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip = self.skip.saturating_sub(u64::try_from(passing).unwrap_or(u64::MAX));
        self.buffer.extend_from_slice(bytes.get(passing..).unwrap_or_default());
    }

    /// Moves on over bytes that were not captured. They may be the rest of a message that was told already.
    pub(super) fn pass(&mut self, len: u64) {
        self.next = Some(self.next.unwrap_or_default().saturating_add(len));
        self.hole |= len > 0 && self.open.is_some();
    }

    /// Drops `count` bytes at the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.read = self.read.saturating_add(count).min(self.buffer.len());
        self.at_least = 1;
        if self.read == self.buffer.len() {
            self.buffer.clear();
            self.read = 0;
            // One large message must not hold its memory for the rest of a long connection.
            self.buffer.shrink_to(KEPT_CAPACITY);
        } else if self.read >= KEPT_CAPACITY {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
    }

    /// Lets the next `count` bytes pass; those that are here already do at once.
    pub(super) fn begin_skip(&mut self, count: u64) {
        let here = usize::try_from(count).unwrap_or(usize::MAX).min(self.front().len());
        self.consume(here);
        self.skip = count.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
    }

    /// Returns how many bytes of memory the unread ones take.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Forgets the bytes that were not read, and returns how many they were.
    pub(super) fn forget(&mut self) -> u64 {
        let count = length(self.front());
        self.consume(usize::MAX);
        self.open = None;
        self.hole = false;
        self.skip = 0;
        count
    }
}

/// Capacity that an idle direction may keep.
const KEPT_CAPACITY: usize = 16 * 1024;

/// Returns a slice's length as a stream counts.
pub(super) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
