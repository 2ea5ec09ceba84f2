//! What a connection said so far, kept until its protocol is known.

use crate::conversation::flow::{Both, length};
use crate::conversation::{Content, Direction, Stretch};

/// A stretch, or a datagram, held until the protocol is known.
#[derive(Debug)]
pub(in crate::conversation) struct Held {
    pub(in crate::conversation) direction: Direction,
    position: u64,
    at_ns: u64,
    content: Kept,
}

/// What is kept of a stretch.
#[derive(Debug)]
enum Kept {
    Bytes(Vec<u8>),
    /// A datagram's captured bytes, and its length.
    Datagram(Vec<u8>, u64),
    Uncaptured(u64),
    Lost(Option<u64>),
}

/// Everything that is held, in order.
#[derive(Debug, Default)]
pub(super) struct Holding {
    held: Vec<Held>,
    /// Where the next stretch of a direction is expected.
    next: Both<u64>,
    /// Captured bytes of a direction.
    bytes: Both<usize>,
}

// === impl Held ===

impl Held {
    /// Keeps bytes that are to be read again.
    pub(in crate::conversation) fn bytes(
        direction: Direction,
        position: u64,
        at_ns: u64,
        bytes: &[u8],
    ) -> Self {
        Self { direction, position, at_ns, content: Kept::Bytes(bytes.to_vec()) }
    }

    pub(in crate::conversation) fn stretch(&self) -> Stretch<'_> {
        let content = match &self.content {
            Kept::Bytes(bytes) | Kept::Datagram(bytes, _) => Content::Bytes(bytes),
            Kept::Uncaptured(len) => Content::Uncaptured(*len),
            Kept::Lost(len) => Content::Lost(*len),
        };
        Stretch { direction: self.direction, position: self.position, at_ns: self.at_ns, content }
    }

    /// Returns how many bytes moved, as far as known.
    pub(in crate::conversation) fn len(&self) -> u64 {
        match &self.content {
            Kept::Bytes(bytes) => length(bytes),
            Kept::Datagram(_, len) | Kept::Uncaptured(len) => *len,
            Kept::Lost(_) => 0,
        }
    }
}

// === impl Holding ===

impl Holding {
    pub(super) fn push(&mut self, stretch: Stretch<'_>) {
        let Stretch { direction, position, at_ns, content } = stretch;
        let content = match content {
            Content::Bytes(bytes) => {
                let total = self.bytes.of_mut(direction);
                *total = total.saturating_add(bytes.len());
                Kept::Bytes(bytes.to_vec())
            }
            Content::Uncaptured(len) => Kept::Uncaptured(len),
            Content::Lost(len) => Kept::Lost(len),
        };
        let held = Held { direction, position, at_ns, content };
        let next = std::mem::replace(self.next.of_mut(direction), position.saturating_add(held.len()));
        match (self.held.last_mut(), &held.content) {
            // Neighbours that nobody needs are one stretch.
            (Some(Held { direction: last, content: Kept::Uncaptured(total), .. }), Kept::Uncaptured(len))
                if *last == direction && next == position =>
            {
                *total = total.saturating_add(*len);
            }
            _ => self.held.push(held),
        }
    }

    pub(super) fn push_datagram(&mut self, stretch: Stretch<'_>, len: u64) {
        let Stretch { direction, position, at_ns, content } = stretch;
        let Content::Bytes(bytes) = content else { return };
        *self.next.of_mut(direction) = position.saturating_add(1);
        self.held.push(Held { direction, position, at_ns, content: Kept::Datagram(bytes.to_vec(), len) });
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn first(&self) -> Option<&Held> {
        self.held.first()
    }

    pub(super) fn has(&self, direction: Direction) -> bool {
        self.held.iter().any(|held| held.direction == direction)
    }

    /// Returns how many captured bytes of a direction are held.
    pub(super) fn bytes(&self, direction: Direction) -> usize {
        *self.bytes.of(direction)
    }

    /// Takes out the oldest.
    pub(super) fn pop_first(&mut self) -> Option<Held> {
        if self.held.is_empty() {
            return None;
        }
        let oldest = self.held.remove(0);
        if let Kept::Bytes(bytes) = &oldest.content {
            let total = self.bytes.of_mut(oldest.direction);
            *total = total.saturating_sub(bytes.len());
        }
        Some(oldest)
    }

    /// Lets go of the first `count` bytes of one direction.
    pub(super) fn pass(&mut self, direction: Direction, mut count: usize) {
        let of_way = self.held.iter_mut().filter(|held| held.direction == direction);
        for held in of_way {
            let Kept::Bytes(bytes) = &mut held.content else { return };
            let passed = bytes.len().min(count);
            bytes.drain(..passed);
            held.position = held.position.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
            count = count.saturating_sub(passed);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Held> {
        self.bytes = Both::default();
        std::mem::take(&mut self.held)
    }

    /// Returns the bytes held of one direction, up to the first hole.
    pub(super) fn head(&self, direction: Direction) -> Vec<u8> {
        let mut head = Vec::new();
        for held in self.held.iter().filter(|held| held.direction == direction) {
            let Kept::Bytes(bytes) = &held.content else { break };
            head.extend_from_slice(bytes);
        }
        head
    }

    /// Returns the newest datagram's bytes of one direction.
    pub(super) fn newest(&self, direction: Direction) -> Option<&[u8]> {
        let held = self.held.iter().rev().find(|held| held.direction == direction)?;
        match &held.content {
            Kept::Bytes(bytes) | Kept::Datagram(bytes, _) => Some(bytes),
            Kept::Uncaptured(_) | Kept::Lost(_) => None,
        }
    }

    /// Returns the lowest position of a direction that is held, else where its next stretch is expected.
    pub(super) fn floor(&self, direction: Direction) -> u64 {
        let first = self.held.iter().find(|held| held.direction == direction).map(|held| held.position);
        first.unwrap_or(*self.next.of(direction))
    }

    /// Returns where the next stretch of a direction is expected.
    pub(super) fn next(&self, direction: Direction) -> u64 {
        *self.next.of(direction)
    }
}
