//! Memory for what is too large for the 512 bytes of stack that all frames of a program share.

use aya_ebpf::{macros::map, maps::PerCpuArray};

use crate::{
    call::Call, call::Message, connection, connection::Tuple, datagram, gather::Cursor, payload::Draft,
    socket::Ends,
};

/// One program's working memory on one CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    pub(crate) call: Call,
    pub(crate) draft: Draft,
    pub(crate) cursor: Cursor,
    pub(crate) entry: connection::Entry,
    pub(crate) tuple: Tuple,
    pub(crate) message: Message,
    pub(crate) ends: Ends,
    /// Bytes of the datagram that is looked at, or of the messages of a call.
    pub(crate) bytes: u64,
    pub(crate) datagram_key: datagram::Key,
    pub(crate) datagram_entry: datagram::Entry,
}

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
