//! What a store holds of a session already: an earlier hub's work, or an earlier session's of the same name.

use std::ops::RangeInclusive;

/// Bits of an exchange id, from the top: node slot, boot, counter.
pub const SLOT_BITS: u32 = 15;
/// Second part of an exchange id.
pub const BOOT_BITS: u32 = 8;
/// Last part of an exchange id, which the capturer counts.
pub const COUNTER_BITS: u32 = 40;

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
pub(super) const NODES: &str = "SELECT node, slot FROM capturers WHERE session = ?";

/// Statement that finds the highest id of a session between two.
pub(super) const NEWEST: &str = "SELECT MAX(id) FROM exchanges WHERE session = ? AND id BETWEEN ? AND ?";

/// Statement that counts a session's exchanges.
pub(super) const COUNT: &str = "SELECT COUNT(*) FROM exchanges WHERE session = ?";

/// All ids.
pub(super) const IDS: RangeInclusive<i64> = 0..=i64::MAX;

/// Ids of one slot.
#[must_use]
pub(super) fn ids_of(slot: u16) -> RangeInclusive<i64> {
    let first = i64::from(slot & 0x7fff) << (BOOT_BITS + COUNTER_BITS);
    first..=first | ((1 << (BOOT_BITS + COUNTER_BITS)) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_share_no_ids() {
        assert_eq!(ids_of(0), 0..=(1 << 48) - 1);
        assert_eq!(ids_of(1), 1 << 48..=(2 << 48) - 1);
        assert_eq!(*ids_of(0x7fff).end(), i64::MAX);
    }
}
