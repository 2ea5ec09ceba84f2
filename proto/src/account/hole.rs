//! Times of which nobody saw what happened on a node.

use super::{AccountError, Balance, Consumer, Stage, Unit};
use crate::v1;

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Why nobody could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoleKind {
    /// The capturer is not heard; it may come back with what it saw.
    Silent,
    /// The capturer is gone, and no other one is there.
    Gone,
    /// The capturer was gone, and another process took its place.
    Restarted,
    /// The hub itself did not run; of nodes that says nothing.
    Paused,
}

/// A time of which nobody saw what happened on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The node; empty where the hub itself did not run.
    pub node: String,
    /// When its capturer was last heard, nanoseconds since the Unix epoch by the hub's clock.
    pub since_ns: u64,
    /// When it was heard again, or capture began again; `None` while it has not.
    pub until_ns: Option<u64>,
    /// Why.
    pub kind: HoleKind,
}

/// Whole seconds that a time takes, the begun one included: what was not seen is never told as less than it was.
#[must_use]
pub fn seconds_in(ns: u64) -> u64 {
    ns.div_ceil(SECOND_NS)
}

// === impl HoleKind ===

impl HoleKind {
    /// Whether nothing of that time can come any more.
    #[must_use]
    pub fn is_lost(self) -> bool {
        match self {
            Self::Silent | Self::Paused => false,
            Self::Gone | Self::Restarted => true,
        }
    }
}

impl From<HoleKind> for v1::HoleKind {
    fn from(kind: HoleKind) -> Self {
        match kind {
            HoleKind::Silent => Self::Silent,
            HoleKind::Gone => Self::Gone,
            HoleKind::Restarted => Self::Restarted,
            HoleKind::Paused => Self::Paused,
        }
    }
}

impl TryFrom<v1::HoleKind> for HoleKind {
    type Error = AccountError;

    fn try_from(kind: v1::HoleKind) -> Result<Self, AccountError> {
        match kind {
            v1::HoleKind::Unspecified => Err(AccountError::Hole(kind.into())),
            v1::HoleKind::Silent => Ok(Self::Silent),
            v1::HoleKind::Gone => Ok(Self::Gone),
            v1::HoleKind::Restarted => Ok(Self::Restarted),
            v1::HoleKind::Paused => Ok(Self::Paused),
        }
    }
}

// === impl Hole ===

impl Hole {
    /// How long it is, at a time at which it may still be open.
    #[must_use]
    pub fn length_ns(&self, now_ns: u64) -> u64 {
        self.until_ns.unwrap_or(now_ns).saturating_sub(self.since_ns)
    }

    /// Whether it was a silence whose capturer is heard again, and brought what it saw.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.kind == HoleKind::Silent && self.until_ns.is_some()
    }

    /// What of it is lost for good, as an account of its own.
    #[must_use]
    pub fn balance(&self, now_ns: u64) -> Balance {
        let lost = if self.kind.is_lost() { seconds_in(self.length_ns(now_ns)) } else { 0 };
        let consumer = Consumer::Capturer(self.node.clone());
        Balance::of_fates(consumer, Unit::Second, 0, 0, (Stage::Silent, lost).into())
    }

    /// Reads the holes of a message.
    pub fn read_all(holes: Vec<v1::Hole>) -> Result<Vec<Self>, AccountError> {
        holes.into_iter().map(Self::try_from).collect()
    }
}

impl From<Hole> for v1::Hole {
    fn from(hole: Hole) -> Self {
        let Hole { node, since_ns, until_ns, kind } = hole;
        let kind = v1::HoleKind::from(kind).into();
        Self { node, since_ns, until_ns: until_ns.unwrap_or_default(), kind }
    }
}

impl TryFrom<v1::Hole> for Hole {
    type Error = AccountError;

    fn try_from(hole: v1::Hole) -> Result<Self, AccountError> {
        let v1::Hole { node, since_ns, until_ns, kind } = hole;
        let known = v1::HoleKind::try_from(kind).map_err(|_unknown| AccountError::Hole(kind))?;
        Ok(Self { node, since_ns, until_ns: (until_ns > 0).then_some(until_ns), kind: known.try_into()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(until_ns: Option<u64>, kind: HoleKind) -> Hole {
        Hole { node: "n2".to_owned(), since_ns: 5 * SECOND_NS, until_ns, kind }
    }

    #[test]
    fn a_hole_goes_over_the_wire_whole_and_damage_is_refused() {
        let until = Some(7 * SECOND_NS);
        for (until, kind) in [
            (None, HoleKind::Silent),
            (until, HoleKind::Silent),
            (None, HoleKind::Gone),
            (until, HoleKind::Restarted),
            (until, HoleKind::Paused),
        ] {
            let hole = hole(until, kind);
            assert_eq!(Hole::try_from(v1::Hole::from(hole.clone())), Ok(hole));
        }
        for kind in [0, 99] {
            let damaged = v1::Hole { kind, ..v1::Hole::default() };
            assert_eq!(Hole::try_from(damaged), Err(AccountError::Hole(kind)));
        }
    }

    #[test]
    fn what_is_lost_for_good_is_counted_in_begun_seconds() {
        let now = 15 * SECOND_NS;
        let lost = |hole: Hole| {
            let balance = hole.balance(now);
            assert!(balance.holds() && balance.unit == Unit::Second);
            balance.lost.at(Stage::Silent)
        };
        assert_eq!(lost(hole(Some(7 * SECOND_NS + 300_000_000), HoleKind::Restarted)), 3);
        assert_eq!(lost(hole(Some(7 * SECOND_NS), HoleKind::Restarted)), 2);
        assert_eq!(lost(hole(None, HoleKind::Gone)), 10);
        assert_eq!(lost(hole(None, HoleKind::Silent)), 0, "it may still come");
        assert_eq!(lost(hole(Some(7 * SECOND_NS), HoleKind::Silent)), 0, "it came");
        assert_eq!(lost(hole(Some(7 * SECOND_NS), HoleKind::Paused)), 0, "capturers ran");
        // A clock that was set back makes no time.
        assert_eq!(lost(hole(Some(1), HoleKind::Restarted)), 0);
    }
}
