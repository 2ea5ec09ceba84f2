//! Who sent the datagram that a call receives just now.
//!
//! When the socket tells of it, the process's memory does not have the address yet: the kernel copies it there afterwards.
//! Until then it is in the kernel's own header of the message (`struct msghdr`), which every call that receives keeps on
//! the stack of its thread, below the registers of the call. It is looked for there, and known by what only the running
//! call's can have: so many bytes left to fill as its buffers have less what came, an address on the same stack, and of
//! the length and family that the socket's addresses have.

use aya_ebpf::{helpers::generated as helper, macros::map, maps::PerCpuArray};

use crate::{
    arguments::MSG_TRUNC,
    kernel::{barrier, load, offset, read, read_user, store},
    memory::{Call, Message, Scratch, Shape, Vector},
    running,
    scratch::{User, scratch},
    socket,
};

/// Bytes of a stack that are looked through: the functions on the way to the one that receives take half of it, and as
/// much again is left out at random (`CONFIG_RANDOMIZE_KSTACK_OFFSET`).
const STACK_BYTES: u32 = 3072;

/// Bytes below a call's registers where addresses may be.
const STACK_REACH: u64 = 8192;

/// Masks a place in what is looked through, or in a header there.
const STACK_MASK: u64 = 4095;

/// Most buffers of a message that are looked at.
const MAX_VECTORS: u64 = 64;

/// Most bytes that the kernel takes for one buffer (`MAX_RW_COUNT`).
const MAX_BYTES: u64 = 0x7fff_f000;

/// Lengths of addresses: `sockaddr_in` and `sockaddr_in6`.
const V4_BYTES: u32 = 16;
const V6_BYTES: u32 = 28;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Stack {
    bytes: [u8; STACK_MASK as usize + 1 + size_of::<u64>()],
}

#[map]
static STACK: PerCpuArray<Stack> = PerCpuArray::with_max_entries(1, 0);

/// Completes the message of the working memory, of which `bytes` came: its sender's address, in the kernel's memory, and
/// its flags.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_sender(bytes: u64) -> u32 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let Scratch { call, message, .. } = scratch;
    let asks = message.address != 0 && socket::remote_port(call.sk) == 0;
    message.address = 0;
    message.flags = 0;
    let room = room(call, message);
    if !asks && bytes < room {
        return 0;
    }
    let header = search(room.saturating_sub(bytes), u32::from(socket::is_v6(call.sk)));
    if header == 0 {
        return 0;
    }
    let Some(Scratch { message, inner_address, .. }) = self::scratch(User::Calls) else { return 0 };
    message.flags = read::<u32>(header, offset!(message_flags)).unwrap_or(0) & MSG_TRUNC;
    if asks {
        message.address = read::<u64>(header, offset!(message_name)).unwrap_or(0);
        *inner_address = 1;
    }
    0
}

/// Bytes that the buffers of a message have room for.
#[inline(always)]
fn room(call: &Call, message: &Message) -> u64 {
    if call.shape != Shape::Message {
        return call.count.min(MAX_BYTES);
    }
    let mut room = 0;
    let mut index = 0;
    while index < MAX_VECTORS && index < message.count {
        let at = message.vectors.wrapping_add(index * size_of::<Vector>() as u64);
        room += read_user::<Vector>(at).map_or(0, |vector| vector.len);
        index += 1;
    }
    room.min(MAX_BYTES)
}

/// The header of the message that the running call receives and that has `left` bytes of room left; 0 where it is not
/// found.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search(left: u64, v6: u32) -> u64 {
    let (Some(scratch), Some(stack)) = (scratch(User::Calls), STACK.get_ptr_mut(0)) else { return 0 };
    // As a number: verifiers take it for a pointer until it comes from a map.
    store(&raw mut scratch.registers, running::registers() as u64);
    let top = load(&raw const scratch.registers);
    let bottom = top.wrapping_sub(u64::from(STACK_BYTES));
    // SAFETY: the value has room for as many bytes, and the helper checks where it reads.
    if unsafe { helper::bpf_probe_read_kernel(stack.cast(), STACK_BYTES, bottom as *const _) } != 0 {
        return 0;
    }
    let mut at = 0_u32;
    while at < STACK_BYTES {
        if is_header(at, left, v6) != 0 {
            return bottom.wrapping_add(u64::from(at));
        }
        at += 8;
    }
    0
}

/// Whether what lies so many bytes into the stack is the header; verified once, and not for every place.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_header(at: u32, left: u64, v6: u32) -> u32 {
    let (Some(scratch), Some(stack)) = (scratch(User::Calls), STACK.get_ptr_mut(0)) else { return 0 };
    let field = |offset: u32| {
        let at = barrier(u64::from(at) + u64::from(offset)) & STACK_MASK;
        stack.cast::<u8>().wrapping_add(at as usize)
    };
    let (name, count) = (field(offset!(message_name)), field(offset!(message_left)));
    // SAFETY: there is room for a word behind every place below the mask.
    let (name, count) =
        unsafe { (name.cast::<u64>().read_unaligned(), count.cast::<u64>().read_unaligned()) };
    let top = load(&raw const scratch.registers);
    if count != left || name.wrapping_sub(top.wrapping_sub(STACK_REACH)) >= STACK_REACH {
        return 0;
    }
    let (len, sends) = (field(offset!(message_name_len)), field(offset!(message_sends)));
    // SAFETY: as above.
    let (len, sends) = unsafe { (len.cast::<u32>().read_unaligned(), sends.read()) };
    let expected = if v6 == 0 { V4_BYTES } else { V6_BYTES };
    u32::from(len == expected && sends == 0 && family(name) == v6)
}

/// 0 where an address is one of IPv4, and 1 of IPv6.
#[inline(always)]
fn family(address: u64) -> u32 {
    match read::<u16>(address, 0) {
        Some(socket::AF_INET) => 0,
        Some(socket::AF_INET6) => 1,
        Some(_) | None => 2,
    }
}
