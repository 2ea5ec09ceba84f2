//! Memory for what is too large for the 512 bytes of stack that all frames of a program share.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use capturer_ebpf::settings::{HEAD_BYTES, STEP};

use crate::memory::Scratch;

/// Bytes in front of what is gathered: the larger head's.
pub(crate) const LARGEST_HEAD: u64 = HEAD_BYTES as u64;

/// Bytes that are gathered before they are sent as a piece.
pub(crate) const PIECE_BYTES: u64 = STEP as u64;

/// Masks what is gathered: less than [`PIECE_BYTES`], and one step more.
pub(crate) const FILL_MASK: u64 = 2 * PIECE_BYTES - 1;

/// Longest header of a message that is followed, a multiple of eight bytes.
pub(crate) const LONGEST_HEADER: u64 = 128;

/// Whose memory: the kernel does not run a program while it runs already on the same CPU, and the two programs of
/// calls do not interrupt each other.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum User {
    Calls = 0,
    States = 1,
}

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(2, 0);

/// The working memory of `user`.
#[inline(always)]
pub(crate) fn scratch(user: User) -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's own value, to which the program that runs holds the only reference.
    SCRATCH.get_ptr_mut(user as u32).map(|scratch| unsafe { &mut *scratch })
}

/// Bytes gathered, with room for either head in front of them.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Gathered {
    bytes: [u8; (LARGEST_HEAD + FILL_MASK + 1 + LONGEST_HEADER) as usize],
}

#[map]
static GATHERED: PerCpuArray<Gathered> = PerCpuArray::with_max_entries(1, 0);

/// What is gathered on this CPU, behind [`LARGEST_HEAD`] bytes.
#[inline(always)]
pub(crate) fn gathered() -> Option<*mut u8> {
    GATHERED.get_ptr_mut(0).map(<*mut Gathered>::cast)
}
