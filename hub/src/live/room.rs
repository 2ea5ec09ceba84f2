//! The memory in which exchanges wait for viewers, shared by those who are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may wait for one viewer: some seconds of a busy node, while the viewer's machine does something else.
pub(super) const MOST_BYTES: usize = 24 << 20;

/// Bytes that may wait for all viewers together: what a hub of the smallest size has left.
pub(super) const ALL_BYTES: usize = 48 << 20;

/// Counts the viewers of a hub.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    viewers: Arc<AtomicUsize>,
}

/// One viewer's place in the [`Room`], until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Room,
}

// === impl Room ===

impl Room {
    /// Makes room for one more.
    pub(super) fn enter(&self) -> Place {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        Place { room: self.clone() }
    }
}

// === impl Place ===

impl Place {
    /// Bytes that may wait here: fewer while there are many viewers.
    pub(super) fn bytes(&self) -> usize {
        let viewers = self.room.viewers.load(Ordering::Relaxed).max(1);
        (ALL_BYTES / viewers).min(MOST_BYTES)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_viewers_share_what_few_have_alone() {
        let room = Room::default();
        let first = room.enter();
        assert_eq!(first.bytes(), MOST_BYTES);
        let others: Vec<Place> = (1..64).map(|_| room.enter()).collect();
        assert_eq!(first.bytes(), ALL_BYTES / 64);
        drop(others);
        assert_eq!(first.bytes(), MOST_BYTES);
    }
}
