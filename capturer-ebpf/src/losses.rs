//! Totals of events, per CPU: what came, what went on, what was lost and where.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use capturer_ebpf::settings::total;

use crate::kernel;

#[map]
static TOTALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(total::COUNT, 0);

/// Counts one event under `index`, one of [`total`].
#[inline(always)]
pub(crate) fn count(index: u32) {
    if let Some(counter) = TOTALS.get_ptr_mut(index) {
        kernel::add(counter, 1);
    }
}

/// Counts one event that is lost as `stage`, one of [`total`].
#[inline(always)]
pub(crate) fn lost(stage: u32) {
    count(total::SEEN);
    count(stage);
}

/// Counts `events` under `index`, one of [`total`].
#[inline(always)]
pub(crate) fn count_many(index: u32, events: u64) {
    if let Some(counter) = TOTALS.get_ptr_mut(index) {
        kernel::add(counter, events);
    }
}
