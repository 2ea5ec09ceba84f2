//! How an exchange's id is laid out: the node's slot, which of its processes, and a number that the process counts.
//!
//! A hub gives the upper two parts to each capturer process, which counts the third: ids are unique in a session's store
//! without a word between nodes. The top bit is 0, since databases keep ids signed.

use std::ops::RangeInclusive;

/// Bits of the node's slot.
const SLOT_BITS: u32 = 15;

/// Bits that tell the processes of a node apart.
const BOOT_BITS: u32 = 8;

/// Bits that a capturer counts: ten thousand exchanges a second for three years.
const COUNTER_BITS: u32 = 40;

/// Bits below the slot.
const BELOW_SLOT: u32 = BOOT_BITS + COUNTER_BITS;

/// Nodes of one session that ids have room for.
pub const MAX_SLOTS: u16 = 1 << SLOT_BITS;

/// All ids.
pub const ALL: RangeInclusive<u64> = 0..=(1 << (SLOT_BITS + BELOW_SLOT)) - 1;

/// Upper bits of the ids of one capturer process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The node's slot.
    pub slot: u16,
    /// Which of its processes.
    pub boot: u8,
}

// === impl Base ===

impl From<u64> for Base {
    /// Reads the upper bits of an id, or of what [`Base::in_place`] returns.
    fn from(id: u64) -> Self {
        let slot = u16::try_from(id >> BELOW_SLOT).unwrap_or(u16::MAX);
        let boot = (id >> COUNTER_BITS) & ((1 << BOOT_BITS) - 1);
        Self { slot, boot: u8::try_from(boot).unwrap_or(u8::MAX) }
    }
}

impl Base {
    /// Returns the bits where they stand in an id, which is how the wire carries them.
    #[must_use]
    pub fn in_place(self) -> u64 {
        (u64::from(self.slot) << BELOW_SLOT) | (u64::from(self.boot) << COUNTER_BITS)
    }

    /// Returns the id of a process's exchange by its number.
    #[must_use]
    pub fn id(self, number: u64) -> u64 {
        self.in_place() | (number & ((1 << COUNTER_BITS) - 1))
    }
}

/// Returns the ids that processes of a slot can give.
#[must_use]
pub fn of_slot(slot: u16) -> RangeInclusive<u64> {
    let first = Base { slot, boot: 0 }.in_place();
    first..=first | ((1 << BELOW_SLOT) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The highest of everything.
    const LAST: Base = Base { slot: MAX_SLOTS - 1, boot: u8::MAX };

    #[test]
    fn ids_fit_what_databases_keep() {
        assert_eq!(*ALL.end(), u64::try_from(i64::MAX).unwrap());
        assert_eq!(LAST.id(u64::MAX), *ALL.end());
    }

    #[test]
    fn slots_share_no_ids() {
        assert_eq!(of_slot(0), 0..=(1 << 48) - 1);
        assert_eq!(of_slot(1), 1 << 48..=(2 << 48) - 1);
        assert_eq!(of_slot(LAST.slot).end(), ALL.end());
    }

    #[test]
    fn what_is_no_id_has_no_slot_of_a_node() {
        assert!(Base::from(u64::MAX).slot >= MAX_SLOTS);
        assert!(Base::from(1 << 63).slot >= MAX_SLOTS);
    }

    proptest! {
        #[test]
        fn the_parts_of_an_id_are_read_back(slot in 0..MAX_SLOTS, boot: u8, number: u64) {
            let base = Base { slot, boot };
            prop_assert_eq!(Base::from(base.in_place()), base);
            prop_assert_eq!(Base::from(base.id(number)), base);
            prop_assert_eq!(base.id(number) - base.in_place(), number % (1 << 40));
            prop_assert!(of_slot(slot).contains(&base.id(number)));
        }
    }
}
