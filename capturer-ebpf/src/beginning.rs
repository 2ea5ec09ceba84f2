//! The moments when the capture begins and ends.
//!
//! Programs are attached one after the other, milliseconds apart. Were calls followed meanwhile, a thread's request could
//! be seen and its response not: every answer would then stand one request too early. So nothing is followed until all
//! programs are attached, and then everything from one moment on. In the same way all ends at one moment, before the first
//! program is detached.

use aya_ebpf::{macros::map, maps::Array};
use capturer_ebpf::settings::OVER;

/// When all programs were attached, `CLOCK_MONOTONIC` nanoseconds; 0 until then, and [`OVER`] in the end.
#[map]
static BEGUN: Array<u64> = Array::with_max_entries(1, 0);

#[inline(always)]
fn moment() -> u64 {
    // SAFETY: the array's only value.
    BEGUN.get_ptr(0).map_or(0, |begun| unsafe { begun.read_volatile() })
}

/// When the capture began, 0 when it has not or is over.
#[inline(always)]
pub(crate) fn begun_ns() -> u64 {
    let moment = moment();
    if moment == OVER { 0 } else { moment }
}

/// Whether the capture has begun and is not over.
#[inline(always)]
pub(crate) fn begun() -> bool {
    begun_ns() != 0
}

/// Whether the capture is over.
#[inline(always)]
pub(crate) fn over() -> bool {
    moment() == OVER
}
