//! What became of the exchanges that were for one viewer.
//!
//! Where a session has several hubs, a viewer's stream from each of the others has an account of its own there. A
//! stream that breaks while its hub lives is followed by another one: each says how many exchanges its hub had for
//! viewers before it began, so what came between what was told last and the next beginning is known, and lost.

use std::collections::BTreeMap;

use proto::account::{Balance, Consumer, Stage, Unit};

/// A viewer's ledger: what waits for it is neither delivered nor lost yet, so it is not yet seen.
#[must_use]
pub fn balance(viewer: u64, delivered: u64, filtered: u64, lost: u64) -> Balance {
    let lost = (Stage::Viewer, lost).into();
    Balance::of_fates(Consumer::Viewer(viewer), Unit::Exchange, delivered, filtered, lost)
}

/// What other hubs told of one viewer's streams.
#[derive(Debug, Default)]
pub struct Elsewhere(BTreeMap<u64, Hub>);

/// A viewer's streams from one hub, one after another.
#[derive(Debug)]
struct Hub {
    /// Number of the stream that told last.
    stream: u64,
    /// Where it began, counted in what its hub had for viewers.
    began_at: u64,
    /// Its account, as it told it last.
    newest: Balance,
    /// What came between its streams.
    missed: u64,
    /// Filtered and lost in streams before this one.
    before: (u64, u64),
}

// === impl Elsewhere ===

impl Elsewhere {
    /// Takes what a hub tells of one of its streams.
    pub fn tell(&mut self, hub: u64, stream: u64, began_at: u64, balance: Balance) {
        let hub = self.0.entry(hub).or_insert_with(|| Hub {
            stream,
            began_at,
            newest: balance.clone(),
            missed: 0,
            before: (0, 0),
        });
        if hub.stream != stream {
            let told = hub.began_at.saturating_add(hub.newest.seen);
            hub.missed = hub.missed.saturating_add(began_at.saturating_sub(told));
            let (filtered, lost) = hub.before;
            hub.before =
                (filtered.saturating_add(hub.newest.filtered), lost.saturating_add(hub.newest.lost.total()));
            (hub.stream, hub.began_at) = (stream, began_at);
        }
        hub.newest = balance;
    }

    /// Whether a hub told anything of this viewer.
    #[must_use]
    pub fn has_told(&self, hub: u64) -> bool {
        self.0.contains_key(&hub)
    }

    /// Filtered there.
    #[must_use]
    pub fn filtered(&self) -> u64 {
        let of = |hub: &Hub| hub.before.0.saturating_add(hub.newest.filtered);
        self.0.values().map(of).fold(0, u64::saturating_add)
    }

    /// Lost there, and on the way here.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let of = |hub: &Hub| hub.before.1.saturating_add(hub.newest.lost.total()).saturating_add(hub.missed);
        self.0.values().map(of).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_while_a_link_was_broken_is_lost() {
        let mut elsewhere = Elsewhere::default();
        let told = |delivered, filtered, lost| balance(1, delivered, filtered, lost);
        assert!(!elsewhere.has_told(7));
        elsewhere.tell(7, 1, 5, told(0, 0, 0));
        elsewhere.tell(7, 1, 5, told(3, 2, 1));
        assert!(elsewhere.has_told(7) && !elsewhere.has_told(8));
        assert_eq!((elsewhere.filtered(), elsewhere.lost()), (2, 1));
        // Of 11 that were told the next stream begins after 20.
        elsewhere.tell(7, 2, 20, told(1, 0, 0));
        assert_eq!((elsewhere.filtered(), elsewhere.lost()), (2, 10));
        elsewhere.tell(7, 2, 20, told(4, 4, 2));
        assert_eq!((elsewhere.filtered(), elsewhere.lost()), (6, 12));
        // One that follows at once has missed nothing.
        elsewhere.tell(7, 3, 30, told(0, 0, 0));
        elsewhere.tell(8, 4, 99, told(1, 1, 1));
        assert_eq!((elsewhere.filtered(), elsewhere.lost()), (7, 13));
    }
}
