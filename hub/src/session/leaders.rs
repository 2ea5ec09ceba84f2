//! Who leads, where a session has several hubs.
//!
//! A hub leads by a turn: the number that the Lease counts at every change of its holder. A leader that is cut off from
//! the cluster's API alone does not see that another one took the Lease, but every hub that both can reach has heard of
//! the newer turn: it follows that one alone, and says so to the older, who then steps down.

use tokio::sync::{Notify, watch};

/// The leaders that this hub heard of, itself included.
#[derive(Debug, Default)]
pub struct Leaders {
    newest: watch::Sender<Newest>,
    /// Told when one of them is heard no more.
    left_alone: Notify,
}

/// A leader that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    turn: u64,
    visit: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Newest {
    /// Newest turn that was heard of.
    turn: u64,
    /// Counts leaders that came: one may come again.
    visit: u64,
    /// Turn by which this hub leads itself; 0 while it does not.
    own: u64,
}

// === impl Leaders ===

impl Leaders {
    /// This hub leads from now on, by this turn.
    pub fn lead(&self, turn: u64) {
        self.newest.send_modify(|newest| {
            newest.own = turn;
            newest.turn = newest.turn.max(turn);
        });
    }

    /// The turn by which this hub leads; 0 while it does not.
    #[must_use]
    pub fn own(&self) -> u64 {
        self.newest.borrow().own
    }

    /// Newest turn that was heard of.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest.borrow().turn
    }

    /// Follows a hub that says it leads; `None` where a newer leader was heard of, or this hub is that one.
    #[must_use]
    pub fn follow(&self, turn: u64) -> Option<Following> {
        let mut following = None;
        self.newest.send_if_modified(|newest| {
            let is_older = turn < newest.turn || (newest.own > 0 && turn <= newest.own);
            if !is_older {
                newest.turn = turn;
                newest.visit = newest.visit.wrapping_add(1);
                following = Some(Following { turn, visit: newest.visit });
            }
            !is_older
        });
        following
    }

    /// Waits until another leader is followed.
    pub async fn superseded(&self, following: Following) {
        let other = |newest: &Newest| newest.turn != following.turn || newest.visit != following.visit;
        drop(self.newest.subscribe().wait_for(other).await);
    }

    /// Takes note of a turn that another hub heard of.
    pub fn note(&self, turn: u64) {
        self.newest.send_if_modified(|newest| {
            let is_newer = turn > newest.turn;
            newest.turn = newest.turn.max(turn);
            is_newer
        });
    }

    /// Waits until this hub leads and a newer leader was heard of.
    pub async fn deposed(&self) {
        drop(self.newest.subscribe().wait_for(|newest| newest.own > 0 && newest.turn > newest.own).await);
    }

    /// Says that a hub which led is heard no more.
    pub fn is_away(&self) {
        self.left_alone.notify_one();
    }

    /// Waits until a hub which led is heard no more.
    pub async fn left_alone(&self) {
        self.left_alone.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn comes(event: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(Duration::from_secs(1), event).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_turn_is_followed_and_no_older_one_again() {
        let leaders = Leaders::default();
        let first = leaders.follow(1).unwrap();
        assert!(!comes(leaders.superseded(first)).await);
        // The same one comes again.
        let again = leaders.follow(1).unwrap();
        assert!(comes(leaders.superseded(first)).await && !comes(leaders.superseded(again)).await);
        let second = leaders.follow(3).unwrap();
        assert!(comes(leaders.superseded(again)).await);
        assert_eq!(leaders.follow(1), None);
        assert_eq!(leaders.follow(2), None);
        assert!(!comes(leaders.superseded(second)).await);
        assert_eq!(leaders.newest(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_steps_down_before_a_newer_turn_alone() {
        let leaders = Leaders::default();
        leaders.note(4);
        assert!(!comes(leaders.deposed()).await, "it does not lead");
        leaders.lead(5);
        assert_eq!((leaders.own(), leaders.follow(5), leaders.follow(4)), (5, None, None));
        leaders.note(5);
        assert!(!comes(leaders.deposed()).await);
        assert!(leaders.follow(6).is_some());
        assert!(comes(leaders.deposed()).await);
        let told = Leaders::default();
        told.lead(1);
        told.note(2);
        assert!(comes(told.deposed()).await);
    }
}
