//! The system call that the running thread is in, and whether it is the one that moves a socket's bytes.
//!
//! A thread may move bytes by no call that names them: `io_uring` does it within `io_uring_enter`, at the end of any other
//! call (as task work), and in threads of its own, which have a copy of the registers of whoever made them. File systems
//! and block devices use sockets of their own within a `write` to something else. So a call counts only while it has not
//! returned, and if its descriptor is the socket.

use aya_ebpf::helpers::generated as helper;
use capturer_ebpf::{layout::direction, settings::ABSENT};

use crate::{
    arguments::{self, Arguments, Operation},
    kernel::{self, barrier, offset},
    memory::{Call, Shape, StreamEntry},
    socket,
};

/// Bits of `task_struct.flags`: a thread of `io_uring`, and one of the kernel's own.
const PF_IO_WORKER: u32 = 0x10;
const PF_KTHREAD: u32 = 0x20_0000;

/// Whether the running thread is one of the kernel's own.
#[inline(always)]
pub(crate) fn in_kernel_thread() -> bool {
    flags() & PF_KTHREAD != 0
}

#[inline(always)]
fn flags() -> u32 {
    let at = offset!(task_flags);
    // SAFETY: the offset is this field's.
    unsafe { kernel::task_field(at) }
}

/// The kernel's set of control groups of the running thread, 0 for none.
#[inline(always)]
pub(crate) fn groups() -> u64 {
    let at = offset!(task_cgroups);
    if at == ABSENT {
        return 0;
    }
    // SAFETY: the offset is this field's. As a number: verifiers compare no pointers of this kind.
    barrier(unsafe { kernel::task_field(at) })
}

/// The call that the running thread is in; `None` when it is in none, or a thread of `io_uring`.
#[inline(always)]
pub(crate) fn call() -> Option<(u64, Arguments)> {
    if flags() & PF_IO_WORKER != 0 {
        return None;
    }
    arguments::running(registers())
}

/// Where the registers of the running thread's call are.
#[inline(always)]
pub(crate) fn registers() -> *const u8 {
    // SAFETY: the helpers take the running task, which is there.
    unsafe { helper::bpf_task_pt_regs(helper::bpf_get_current_task_btf()) as *const u8 }
}

/// Notes how the running thread's call names the bytes that a socket moved; `entry` knows by which descriptor that was
/// last.
#[inline(always)]
pub(crate) fn note(call: &mut Call, task: u64, entry: Option<&mut StreamEntry>) {
    let (shape, arguments) = find(call, task, entry);
    let Arguments([_, second, third, fourth, fifth]) = arguments;
    call.shape = shape;
    call.base = second;
    call.count = third;
    call.address = if shape == Shape::Addressed { fifth } else { 0 };
    if call.direction == direction::OUT {
        call.message_flags = match shape {
            Shape::Addressed | Shape::Messages => fourth as u32,
            Shape::Message => third as u32,
            Shape::Buffer | Shape::Vector | Shape::Sendfile | Shape::Splice | Shape::Elsewhere => 0,
        };
    }
}

const NOWHERE: (Shape, Arguments) = (Shape::Elsewhere, Arguments([0; 5]));

#[inline(always)]
fn find(call: &Call, task: u64, entry: Option<&mut StreamEntry>) -> (Shape, Arguments) {
    let Some((number, arguments)) = self::call() else { return NOWHERE };
    let Some(Operation { shape, direction }) = arguments::operation(number) else { return NOWHERE };
    if matches!(shape, Shape::Sendfile | Shape::Splice) {
        return (shape, arguments);
    }
    let Arguments([descriptor, ..]) = arguments;
    if direction == call.direction && is_socket(task, descriptor as u32, call.sk, entry) {
        (shape, arguments)
    } else {
        NOWHERE
    }
}

/// Whether a descriptor is the socket. What it was for the socket's last call it is still: to be wrong, it would have to
/// name something else by now whose kernel side uses this very socket.
#[inline(always)]
fn is_socket(task: u64, descriptor: u32, sk: u64, entry: Option<&mut StreamEntry>) -> bool {
    let at = offset!(task_files);
    // SAFETY: the offset is this field's. As a number: verifiers compare no pointers of this kind.
    let files = barrier(unsafe { kernel::task_field::<u64>(at) });
    let Some(entry) = entry else { return walks_to(task, descriptor, sk) != 0 };
    if entry.files == files && entry.descriptor == descriptor && files != 0 {
        return true;
    }
    let found = walks_to(task, descriptor, sk) != 0;
    if found {
        entry.files = files;
        entry.descriptor = descriptor;
    }
    found
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walks_to(task: u64, descriptor: u32, sk: u64) -> u32 {
    // The compiler compares what is not there, unless it cannot know.
    let found = barrier(socket::of_descriptor(task, u64::from(descriptor)).unwrap_or(0));
    u32::from(found == sk)
}

/// Whether the running thread is in a `splice` that takes from the socket.
#[inline(always)]
pub(crate) fn splices_from(sk: u64) -> bool {
    let Some((number, Arguments([descriptor, ..]))) = call() else { return false };
    arguments::splices(number) && walks_to(kernel::current_task(), descriptor as u32, sk) != 0
}
