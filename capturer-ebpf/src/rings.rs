//! The rings to the capturer: one per eight CPUs, at most four.
//!
//! The kernel wakes the reader when it had read everything before; the reader paces itself, so a loaded machine is
//! woken a bounded number of times per second.

use aya_ebpf::{
    bindings::BPF_RB_AVAIL_DATA, cty::c_void, helpers::generated as helper, macros::map, maps::RingBuf,
};
use capturer_ebpf::settings::{CPUS_PER_RING, total};

use crate::{
    kernel::{self, cpu, limit},
    losses,
};

/// The smallest size a ring can have; the loader sets the real one.
const SMALLEST_RING: u32 = 4096;

/// Payload of a record while its ring is more than half full: enough for heads and small messages.
const LIMIT_HALF_FULL: u64 = 4096;

/// Payload of a record while its ring is more than three quarters full: enough for most first lines.
const LIMIT_NEARLY_FULL: u64 = 512;

#[map]
static RING_0: RingBuf = RingBuf::with_byte_size(SMALLEST_RING, 0);
#[map]
static RING_1: RingBuf = RingBuf::with_byte_size(SMALLEST_RING, 0);
#[map]
static RING_2: RingBuf = RingBuf::with_byte_size(SMALLEST_RING, 0);
#[map]
static RING_3: RingBuf = RingBuf::with_byte_size(SMALLEST_RING, 0);

/// This CPU's ring.
#[inline(always)]
fn ring() -> *mut c_void {
    let ring = match limit!(rings) {
        0 | 1 => 0,
        2 => (cpu() / CPUS_PER_RING) & 1,
        3 => (cpu() / CPUS_PER_RING) % 3,
        _ => (cpu() / CPUS_PER_RING) & 3,
    };
    let map = match ring {
        0 => &raw const RING_0,
        1 => &raw const RING_1,
        2 => &raw const RING_2,
        _ => &raw const RING_3,
    };
    map.cast_mut().cast()
}

/// Reserves `size` bytes, a constant, in this CPU's ring; null when it is full.
#[inline(always)]
pub(crate) fn reserve(size: u64) -> *mut u8 {
    // SAFETY: the map is one of this program's rings, the size a constant.
    unsafe { helper::bpf_ringbuf_reserve(ring(), size, 0) }.cast()
}

/// Reserves `size` bytes, a constant, for what calls come before: null already while the ring is more than three
/// quarters full. A call that is lost costs its exchange, a packet one mark of it.
#[inline(always)]
pub(crate) fn reserve_spare(size: u64) -> *mut u8 {
    if used() > self::size() / 4 * 3 { core::ptr::null_mut() } else { reserve(size) }
}

/// Bytes of a ring.
#[inline(always)]
pub(crate) fn size() -> u64 {
    u64::from(limit!(ring_bytes))
}

/// Bytes in this CPU's ring that nobody has read yet.
#[inline(always)]
fn used() -> u64 {
    // SAFETY: the map is one of this program's rings.
    unsafe { helper::bpf_ringbuf_query(ring(), u64::from(BPF_RB_AVAIL_DATA)) }
}

/// Payload bytes that a record may take while the ring is as full as it is now: large bodies are left out before
/// whole events are lost.
#[inline(never)]
pub(crate) fn payload_limit() -> u64 {
    let (used, size) = (used(), size());
    if used > size / 4 * 3 {
        LIMIT_NEARLY_FULL
    } else if used > size / 2 {
        LIMIT_HALF_FULL
    } else {
        u64::MAX
    }
}

/// Copies a record to this CPU's ring; `false` when that is full. The size may be a variable.
#[inline(always)]
pub(crate) fn output(record: *mut u8, size: u64) -> bool {
    // SAFETY: the map is one of this program's rings, and the verifier knows that there are `size` bytes.
    unsafe { helper::bpf_ringbuf_output(ring(), record.cast(), size, 0) == 0 }
}

/// Hands a reserved record to the capturer.
#[inline(always)]
pub(crate) fn submit(record: *mut u8) {
    // SAFETY: `record` came from `reserve` and is not used again.
    unsafe { helper::bpf_ringbuf_submit(record.cast(), 0) };
}

/// Counts and sends a record of fixed size.
#[inline(always)]
pub(crate) fn send<T: Copy>(record: &T) {
    losses::count(total::SEEN);
    let room = reserve(size_of::<T>() as u64);
    if room.is_null() {
        losses::count(total::RING);
        return;
    }
    // SAFETY: the room was reserved with this type's size; records are aligned to eight bytes.
    unsafe { kernel::copy(room.cast::<T>(), record) };
    submit(room);
    losses::count(total::DELIVERED);
}
