//! How often a connection is looked at that was open before the capture and has not shown its protocol.
//!
//! The end of a long transfer is the first place where a message can begin, so nobody can say after how many calls
//! looking is in vain. It is done less and less often instead: between two looks, bytes pass uncaptured.

use super::held::Holding;
use crate::conversation::Way;
use crate::conversation::flow::Both;

/// Calls looked at before the first pause, which passes over the rest of most transfers.
const FIRST_LOOK: u32 = 256;

/// Calls looked at between two pauses.
const LATER_LOOK: u32 = 32;

/// Bytes of each way that the first pause passes over; each later one is twice as long.
const FIRST_PAUSE: u64 = 256 * 1024;

/// Pauses after which looking ends: by then some hundred MiB have passed and nothing of ours was among them.
const MAX_PAUSES: u32 = 10;

/// Wrong claims that cost a connection a look's worth of calls, so that one that goes on to mislead is left soon.
const MISTAKE: u32 = FIRST_LOOK / 8;

/// When the next look is.
#[derive(Debug)]
pub(super) struct Pause {
    /// Calls left of this look.
    left: u32,
    pauses: u32,
    until: Both<Option<u64>>,
}

// === impl Pause ===

impl Default for Pause {
    fn default() -> Self {
        Self { left: FIRST_LOOK, pauses: 0, until: Both::default() }
    }
}

impl Pause {
    /// Begins on a connection that misled once.
    pub(super) fn after_a_mistake() -> Self {
        Self { left: FIRST_LOOK.saturating_sub(MISTAKE), ..Self::default() }
    }

    /// Whether bytes of a way that end at `end` are to be looked at.
    pub(super) fn is_over(&mut self, way: Way, end: u64) -> bool {
        let until = self.until.of_mut(way);
        if until.is_some_and(|until| end <= until) {
            return false;
        }
        *until = None;
        true
    }

    /// A call was looked at in vain; `false` when looking ends for good.
    pub(super) fn fruitless(&mut self, held: &Holding) -> bool {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return true;
        }
        self.left = LATER_LOOK;
        let bytes = FIRST_PAUSE.checked_shl(self.pauses).unwrap_or(u64::MAX);
        self.pauses = self.pauses.saturating_add(1);
        for way in [Way::Out, Way::In] {
            *self.until.of_mut(way) = Some(held.next(way).saturating_add(bytes));
        }
        self.pauses <= MAX_PAUSES
    }

    /// Returns up to where payload is of no use, by way.
    pub(super) fn until(&self) -> [Option<u64>; 2] {
        [Way::Out, Way::In].map(|way| *self.until.of(way))
    }
}
