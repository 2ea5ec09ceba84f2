//! The moment when the capture begins.
//!
//! Programs are attached one after the other, milliseconds apart. Were calls followed meanwhile, a thread's request could
//! be seen and its response not: every answer would then stand one request too early. So nothing is followed until all
//! programs are attached, and then everything from one moment on.

use aya_ebpf::{macros::map, maps::Array};

/// When all programs were attached, `CLOCK_MONOTONIC` nanoseconds; 0 until then.
#[map]
static BEGUN: Array<u64> = Array::with_max_entries(1, 0);

/// When the capture began, 0 when it has not.
#[inline(always)]
pub(crate) fn begun_ns() -> u64 {
    // SAFETY: the array's only value.
    BEGUN.get_ptr(0).map_or(0, |begun| unsafe { *begun })
}

/// Whether the capture has begun.
#[inline(always)]
pub(crate) fn begun() -> bool {
    begun_ns() != 0
}
