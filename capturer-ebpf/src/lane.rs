//! Lanes: what is told of packets, in memory of one CPU that the capturer reads by itself.
//!
//! CPUs that share a ring wait for each other, and packets are several for each call. A lane has one writer, and wakes
//! nobody: who reads of a call reads the packets before it then. A full one is no loss, its ring takes the rest.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use capturer_ebpf::layout::{LANE_WORDS, LaneEnds, LaneSlot};

use crate::kernel::{cpu, limit};

/// By CPU, as many slots as the loader says.
#[map]
static LANES: Array<LaneSlot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// By CPU, what is written and read of its lane.
#[map]
static LANE_ENDS: Array<LaneEnds> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The next slot of this CPU's lane.
pub(crate) struct Lane {
    ends: *mut LaneEnds,
    slot: *mut LaneSlot,
    /// How many were written before.
    index: u64,
}

/// Takes the next slot of this CPU's lane; `None` while it is full, or is being written by who was interrupted.
#[inline(always)]
pub(crate) fn next() -> Option<Lane> {
    let slots = limit!(lane_slots);
    let ends = LANE_ENDS.get_ptr_mut(cpu())?;
    // SAFETY: this CPU's own value; the capturer writes nothing of it but `read`.
    let index = unsafe {
        if (&raw const (*ends).busy).read_volatile() != 0 {
            return None;
        }
        (&raw mut (*ends).busy).write_volatile(1);
        let index = (&raw const (*ends).written).read_volatile();
        if index.wrapping_sub((&raw const (*ends).read).read_volatile()) >= u64::from(slots) {
            (&raw mut (*ends).busy).write_volatile(0);
            return None;
        }
        index
    };
    let at = cpu() * slots + (index as u32 & (slots - 1));
    let Some(slot) = LANES.get_ptr_mut(at) else {
        // SAFETY: as above.
        unsafe { (&raw mut (*ends).busy).write_volatile(0) };
        return None;
    };
    Some(Lane { ends, slot, index })
}

impl Lane {
    /// Where the record is to be written.
    #[inline(always)]
    pub(crate) fn room(&self) -> *mut u8 {
        self.slot.cast()
    }

    /// Hands the slot to the capturer.
    #[inline(always)]
    pub(crate) fn written(self) {
        // SAFETY: the slot is this program's until `written` says that it is not. A CPU may let others see that first, so
        // the slot tells by itself that it is whole.
        unsafe {
            let words = &raw const (*self.slot).words;
            let mut check = self.index;
            for at in 0..LANE_WORDS {
                check ^= words.cast::<u64>().add(at).read_volatile();
            }
            (&raw mut (*self.slot).check).write_volatile(check);
            (&raw mut (*self.ends).written).write_volatile(self.index + 1);
            (&raw mut (*self.ends).busy).write_volatile(0);
        }
    }
}
