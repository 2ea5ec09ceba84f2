//! Connections that are not followed: their calls come until the kernel has heard of it, and they may be followed again.

use std::collections::VecDeque;

use foldhash::{HashMap, HashSet};

use super::Caller;

/// Ids of such connections remembered, for events that were on their way when the kernel was told.
pub const UNFOLLOWED: usize = 16_384;

/// Connections that are not followed, or were not.
#[derive(Debug, Default)]
pub(super) struct Unfollowed {
    /// By id: the caller that is not wanted; nothing where the decoders cannot read it.
    known: HashMap<u64, Option<Caller>>,
    order: VecDeque<u64>,
    /// Those that no longer are.
    resumed: HashSet<u64>,
}

// === impl Unfollowed ===

impl Unfollowed {
    /// Notes a connection, with the caller that is not wanted if that is why.
    pub(super) fn add(&mut self, id: u64, why: Option<Caller>) {
        self.resumed.remove(&id);
        if self.known.insert(id, why).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > UNFOLLOWED {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Returns whether a connection is not followed.
    pub(super) fn contains(&self, id: u64) -> bool {
        self.known.contains_key(&id)
    }

    /// Forgets a connection that has ended, and returns whether it was not followed.
    pub(super) fn ended(&mut self, id: u64) -> bool {
        self.resumed.remove(&id);
        self.known.remove(&id).is_some()
    }

    /// Lets connections be followed again whose caller was not wanted.
    pub(super) fn resume(&mut self, which: impl Fn(Caller) -> bool) {
        let resumed = self.known.extract_if(|_, why| why.is_some_and(&which)).map(|(id, _)| id);
        // Of those that the kernel forgot no end is heard.
        if self.resumed.len() > UNFOLLOWED {
            self.resumed.clear();
        }
        self.resumed.extend(resumed);
    }

    /// Returns whether a connection that begins was not followed before.
    pub(super) fn was_resumed(&mut self, id: u64) -> bool {
        self.resumed.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut unfollowed = Unfollowed::default();
        for id in 0..UNFOLLOWED as u64 + 10 {
            unfollowed.add(id, None);
        }
        assert!(!unfollowed.contains(9) && unfollowed.contains(10));
        assert_eq!((unfollowed.known.len(), unfollowed.order.len()), (UNFOLLOWED, UNFOLLOWED));
    }

    #[test]
    fn only_callers_that_are_wanted_again_are_resumed() {
        let mut unfollowed = Unfollowed::default();
        let of = |cgroup| Some(Caller { pid: 1, cgroup });
        for (id, why) in [(1, of(7)), (2, of(8)), (3, None)] {
            unfollowed.add(id, why);
        }
        unfollowed.resume(|caller| caller.cgroup == 7);
        assert_eq!([1, 2, 3].map(|id| unfollowed.contains(id)), [false, true, true]);
        assert_eq!([1, 1, 2].map(|id| unfollowed.was_resumed(id)), [true, false, false], "told once");
        unfollowed.resume(|_| true);
        unfollowed.add(2, of(8));
        assert!(!unfollowed.was_resumed(2), "refused again");
        assert!(unfollowed.ended(2) && !unfollowed.ended(2));
    }

    #[test]
    fn those_resumed_are_bounded() {
        let mut unfollowed = Unfollowed::default();
        for round in 0..4 {
            for id in 0..UNFOLLOWED as u64 {
                unfollowed.add(round << 32 | id, Some(Caller::default()));
            }
            unfollowed.resume(|_| true);
            assert!(unfollowed.resumed.len() <= 2 * UNFOLLOWED);
        }
    }
}
