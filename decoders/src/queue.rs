//! Requests that wait for their responses in order, of which those beyond a limit keep nothing but their places.

use std::collections::VecDeque;

use crate::decoder::MAX_PENDING;

/// Places that an empty queue keeps: more than most clients ask ahead.
const KEPT_PLACES: usize = 4096;

/// What waits, oldest first. Of what came when [`MAX_PENDING`] others waited only the place is kept, so that those
/// behind it get their own responses.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    kept: VecDeque<T>,
    /// Where the dropped ones stood.
    gaps: VecDeque<Gap>,
    /// How many of those kept went in, and came out.
    entered: u64,
    left: u64,
}

/// Neighbours that were dropped.
#[derive(Debug)]
struct Gap {
    /// How many of those kept went in before.
    behind: u64,
    count: u64,
}

// === impl Queue ===

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { kept: VecDeque::new(), gaps: VecDeque::new(), entered: 0, left: 0 }
    }
}

impl<T> Queue<T> {
    /// Adds `item`; `false` when only its place is kept.
    pub(crate) fn push(&mut self, item: T) -> bool {
        if self.kept.len() < MAX_PENDING {
            self.entered = self.entered.saturating_add(1);
            self.kept.push_back(item);
            return true;
        }
        match self.gaps.back_mut() {
            Some(gap) if gap.behind == self.entered => gap.count = gap.count.saturating_add(1),
            _ => self.gaps.push_back(Gap { behind: self.entered, count: 1 }),
        }
        false
    }

    /// Whether what waits longest was dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.gaps.front().is_some_and(|gap| gap.behind == self.left)
    }

    /// Takes out what waits longest if it was dropped.
    pub(crate) fn pop_dropped(&mut self) -> bool {
        let Some(gap) = self.gaps.front_mut().filter(|gap| gap.behind == self.left) else { return false };
        gap.count = gap.count.saturating_sub(1);
        if gap.count == 0 {
            self.gaps.pop_front();
        }
        true
    }

    /// Returns what waits longest, unless it was dropped.
    pub(crate) fn front(&self) -> Option<&T> {
        self.kept.front().filter(|_| !self.is_dropped())
    }

    /// Returns what waits longest, unless it was dropped.
    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        if self.is_dropped() { None } else { self.kept.front_mut() }
    }

    /// Returns the newest, unless it was dropped.
    pub(crate) fn back(&self) -> Option<&T> {
        self.kept.back().filter(|_| !self.is_newest_dropped())
    }

    /// Returns the newest, unless it was dropped.
    pub(crate) fn back_mut(&mut self) -> Option<&mut T> {
        if self.is_newest_dropped() { None } else { self.kept.back_mut() }
    }

    /// Takes out what waits longest, unless it was dropped.
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        if self.is_dropped() {
            return None;
        }
        let item = self.kept.pop_front()?;
        self.left = self.left.saturating_add(1);
        self.give_back();
        Some(item)
    }

    /// Returns one of those kept, counted from the oldest.
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.kept.get(at)
    }

    /// Takes out one of those kept, counted from the oldest.
    pub(crate) fn remove(&mut self, at: usize) -> Option<T> {
        let item = self.kept.remove(at)?;
        let place = self.left.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
        for gap in self.gaps.iter_mut().filter(|gap| gap.behind > place) {
            gap.behind = gap.behind.saturating_sub(1);
        }
        self.entered = self.entered.saturating_sub(1);
        self.give_back();
        Some(item)
    }

    /// Returns those kept, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.kept.iter()
    }

    /// Returns how many are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing waits, kept or dropped.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.gaps.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// One that asked far ahead once must not hold the memory for the rest of a long connection.
    fn give_back(&mut self) {
        if self.kept.is_empty() && self.kept.capacity() > KEPT_PLACES {
            self.kept.shrink_to(KEPT_PLACES);
        }
    }

    fn is_newest_dropped(&self) -> bool {
        self.gaps.back().is_some_and(|gap| gap.behind == self.entered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_keeps_its_place() {
        let mut queue = Queue::default();
        for number in 0..MAX_PENDING + 3 {
            assert_eq!(queue.push(number), number < MAX_PENDING);
        }
        assert_eq!((queue.front(), queue.back(), queue.is_dropped()), (Some(&0), None, false));
        assert_eq!(queue.pop_front(), Some(0));
        // There is room for one, and one more is dropped behind it.
        assert!(queue.push(MAX_PENDING + 3));
        assert_eq!(queue.back(), Some(&(MAX_PENDING + 3)));
        assert!(!queue.push(MAX_PENDING + 4));
        assert_eq!(queue.back_mut(), None);
        for number in 1..MAX_PENDING {
            assert!(!queue.pop_dropped());
            assert_eq!(queue.pop_front(), Some(number));
        }
        for _ in 0..3 {
            assert!(queue.is_dropped() && !queue.is_empty());
            assert_eq!(queue.front(), None);
            assert_eq!(queue.pop_front(), None);
            assert!(queue.pop_dropped());
        }
        assert_eq!(queue.front_mut(), Some(&mut (MAX_PENDING + 3)));
        assert_eq!(queue.pop_front(), Some(MAX_PENDING + 3));
        assert!(queue.pop_dropped() && !queue.pop_dropped() && queue.is_empty());
        assert!(queue.push(7) && queue.front() == Some(&7) && queue.len() == 1);
        queue.clear();
        assert!(queue.is_empty() && queue.front().is_none());
    }

    #[test]
    fn one_that_is_taken_out_of_its_turn_moves_no_other() {
        let mut queue = Queue::default();
        (0..MAX_PENDING).for_each(|number| assert!(queue.push(number)));
        assert!(!queue.push(0));
        assert_eq!((queue.remove(3), queue.get(3)), (Some(3), Some(&4)));
        assert!(queue.push(MAX_PENDING) && !queue.push(0));
        assert_eq!(queue.remove(MAX_PENDING - 1), Some(MAX_PENDING));
        assert_eq!(queue.remove(MAX_PENDING), None);
        while queue.pop_front().is_some() {}
        assert!(queue.kept.capacity() <= 2 * KEPT_PLACES, "{}", queue.kept.capacity());
        assert!(queue.pop_dropped() && queue.pop_dropped() && queue.is_empty());
    }
}
