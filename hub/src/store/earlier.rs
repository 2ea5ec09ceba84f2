//! What a store holds of a session already: an earlier hub's work, or an earlier session's of the same name.

use std::ops::RangeInclusive;

/// What is there before anything is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Nodes with their slots.
    pub nodes: Vec<EarlierNode>,
    /// Highest id of all.
    pub newest_id: Option<u64>,
    /// Number of exchanges.
    pub exchanges: u64,
}

/// A node that had a capturer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierNode {
    /// Its name.
    pub node: String,
    /// Its slot.
    pub slot: u16,
    /// Highest id in that slot.
    pub newest_id: Option<u64>,
}

/// Statement that reads node and slot of the session's capturers.
pub(super) const NODE_SLOTS: &str = "SELECT node, slot FROM capturers WHERE session = ?";

/// Statement that finds the highest id of a session between two.
pub(super) const NEWEST_ID: &str = "SELECT MAX(id) FROM exchanges WHERE session = ? AND id BETWEEN ? AND ?";

/// Statement that counts a session's exchanges.
pub(super) const COUNT_EXCHANGES: &str = "SELECT COUNT(*) FROM exchanges WHERE session = ?";

/// Returns a range of ids as databases keep them; ids have no bit for the sign.
pub(super) fn signed(ids: &RangeInclusive<u64>) -> RangeInclusive<i64> {
    let signed = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
    signed(*ids.start())..=signed(*ids.end())
}
