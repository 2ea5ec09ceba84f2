//! How often a connection is looked at that was open before the capture and has not shown its protocol.
//!
//! The end of a long transfer is the first place where a message can begin, so nobody can say after how many calls
//! looking is in vain. It is done less and less often instead: between two looks, bytes pass uncaptured.
//!
//! Each direction has looks of its own. The side that was silent during a transfer is the one whose next word shows the
//! protocol, and what it says is looked at together with the answer.

use crate::conversation::Direction;
use crate::conversation::flow::Both;

/// Calls looked at before the first pause, which passes over the rest of most transfers.
const FIRST_LOOK_CALLS: u32 = 256;

/// Calls looked at between two pauses.
const LATER_LOOK_CALLS: u32 = 32;

/// Bytes that the first pause of a direction passes over; each later one is twice as long.
const FIRST_PAUSE: u64 = 256 * 1024;

/// Pauses of each direction after which looking ends: by then some hundred MiB have passed in both and nothing of ours
/// was among them.
const MAX_PAUSES: u32 = 10;

/// Wrong claims that cost a connection a look's worth of calls, so that one that goes on to mislead is left soon.
const MISTAKE_CALLS: u32 = FIRST_LOOK_CALLS / 8;

/// When the next look is.
#[derive(Debug, Default)]
pub(super) struct Pause {
    directions: Both<Look>,
}

/// The looks at one direction.
#[derive(Debug)]
struct Look {
    /// Calls left of this look.
    left: u32,
    pauses: u32,
    until: Option<u64>,
}

// === impl Look ===

impl Default for Look {
    fn default() -> Self {
        Self { left: FIRST_LOOK_CALLS, pauses: 0, until: None }
    }
}

// === impl Pause ===

impl Pause {
    /// Begins on a connection that misled once.
    pub(super) fn after_a_mistake() -> Self {
        let mut pause = Self::default();
        for direction in [Direction::Out, Direction::In] {
            pause.directions.of_mut(direction).left = FIRST_LOOK_CALLS.saturating_sub(MISTAKE_CALLS);
        }
        pause
    }

    /// Whether bytes of a direction that end at `end` are to be looked at.
    pub(super) fn is_over(&mut self, direction: Direction, end: u64) -> bool {
        let until = &mut self.directions.of_mut(direction).until;
        if until.is_some_and(|until| end <= until) {
            return false;
        }
        *until = None;
        true
    }

    /// Looks at a direction again: the other side said what may be ours.
    pub(super) fn wake(&mut self, direction: Direction) {
        self.directions.of_mut(direction).until = None;
    }

    /// A call of a direction that ends at `end` was looked at in vain; `false` when looking ends for good.
    pub(super) fn fruitless(&mut self, direction: Direction, end: u64) -> bool {
        let look = self.directions.of_mut(direction);
        look.left = look.left.saturating_sub(1);
        if look.left > 0 {
            return true;
        }
        look.left = LATER_LOOK_CALLS;
        let bytes = FIRST_PAUSE.checked_shl(look.pauses.min(MAX_PAUSES)).unwrap_or(u64::MAX);
        look.pauses = look.pauses.saturating_add(1);
        look.until = Some(end.saturating_add(bytes));
        [Direction::Out, Direction::In]
            .iter()
            .any(|direction| self.directions.of(*direction).pauses <= MAX_PAUSES)
    }

    /// Returns up to where payload is of no use, by direction.
    pub(super) fn until(&self) -> [Option<u64>; 2] {
        [Direction::Out, Direction::In].map(|direction| self.directions.of(direction).until)
    }
}
