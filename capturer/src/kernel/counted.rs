//! Counts of decisions: what the programs keep of a decision holds for as long as its count stays the same.

use aya::maps::{Array, Map, MapData};

use super::error::{KernelError, map_error};

/// An array of the programs' in which each slot counts decisions.
pub(super) struct Counted {
    name: &'static str,
    array: Array<MapData, u64>,
    counts: Vec<u64>,
}

// === impl Counted ===

impl Counted {
    /// Counts in the array `name`, which has so many slots.
    pub(super) fn new(map: Map, name: &'static str, slots: u32) -> Result<Self, KernelError> {
        let array = Array::try_from(map).map_err(map_error(name))?;
        Ok(Self { name, array, counts: vec![0; usize::try_from(slots).unwrap_or_default()] })
    }

    /// Counts a decision that was made in a slot.
    pub(super) fn count(&mut self, slot: u32) -> Result<(), KernelError> {
        let index = usize::try_from(slot).unwrap_or(usize::MAX);
        let Some(count) = self.counts.get_mut(index) else { return Ok(()) };
        *count += 1;
        self.array.set(slot, *count, 0).map_err(map_error(self.name))
    }
}
