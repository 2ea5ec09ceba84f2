//! System calls: their numbers, their arguments as user registers hold them, and the arrays of messages these name.
//!
//! `pt_regs` of user space is part of the kernel's interface (ptrace), so its layout is fixed per architecture.

use crate::{
    kernel::{read, read_user},
    memory::{Message, Shape},
};

/// A call that moves bytes.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) shape: Shape,
    /// One of [`capturer_ebpf::layout::direction`].
    pub(crate) direction: u8,
}

const OUT: u8 = capturer_ebpf::layout::direction::OUT;
const IN: u8 = capturer_ebpf::layout::direction::IN;

#[cfg(bpf_target_arch = "x86_64")]
mod number {
    pub(super) const ACCEPT: u64 = 43;
    pub(super) const ACCEPT4: u64 = 288;
    pub(super) const READ: u64 = 0;
    pub(super) const WRITE: u64 = 1;
    pub(super) const READV: u64 = 19;
    pub(super) const WRITEV: u64 = 20;
    pub(super) const SENDFILE: u64 = 40;
    pub(super) const SENDTO: u64 = 44;
    pub(super) const RECVFROM: u64 = 45;
    pub(super) const SENDMSG: u64 = 46;
    pub(super) const RECVMSG: u64 = 47;
    pub(super) const SPLICE: u64 = 275;
    pub(super) const RECVMMSG: u64 = 299;
    pub(super) const SENDMMSG: u64 = 307;
}

#[cfg(not(bpf_target_arch = "x86_64"))]
mod number {
    pub(super) const ACCEPT: u64 = 202;
    pub(super) const ACCEPT4: u64 = 242;
    pub(super) const READ: u64 = 63;
    pub(super) const WRITE: u64 = 64;
    pub(super) const READV: u64 = 65;
    pub(super) const WRITEV: u64 = 66;
    pub(super) const SENDFILE: u64 = 71;
    pub(super) const SPLICE: u64 = 76;
    pub(super) const SENDTO: u64 = 206;
    pub(super) const RECVFROM: u64 = 207;
    pub(super) const SENDMSG: u64 = 211;
    pub(super) const RECVMSG: u64 = 212;
    pub(super) const RECVMMSG: u64 = 243;
    pub(super) const SENDMMSG: u64 = 269;
}

/// What a system call does with bytes; `None` for every other call.
#[inline(always)]
pub(crate) fn operation(call: u64) -> Option<Operation> {
    let (shape, direction) = match call {
        number::READ => (Shape::Buffer, IN),
        number::WRITE => (Shape::Buffer, OUT),
        number::READV => (Shape::Vector, IN),
        number::WRITEV => (Shape::Vector, OUT),
        number::SENDFILE => (Shape::Sendfile, OUT),
        number::SENDTO => (Shape::Addressed, OUT),
        number::RECVFROM => (Shape::Addressed, IN),
        number::SENDMSG => (Shape::Message, OUT),
        number::RECVMSG => (Shape::Message, IN),
        number::SPLICE => (Shape::Splice, IN),
        number::RECVMMSG => (Shape::Messages, IN),
        number::SENDMMSG => (Shape::Messages, OUT),
        _ => return None,
    };
    Some(Operation { shape, direction })
}

/// Whether a system call moves bytes between a pipe and something else.
#[inline(always)]
pub(crate) fn splices(call: u64) -> bool {
    call == number::SPLICE
}

/// Whether a system call returns the descriptor of a connection that somebody else opened.
#[inline(always)]
pub(crate) fn accepts(call: u64) -> bool {
    call == number::ACCEPT || call == number::ACCEPT4
}

/// The first five arguments of a call.
#[derive(Clone, Copy)]
pub(crate) struct Arguments(pub(crate) [u64; 5]);

#[cfg(bpf_target_arch = "x86_64")]
mod registers {
    use super::{Arguments, read};
    use crate::kernel::peek;

    const R10: u32 = 56;
    const ORIG_AX: u32 = 120;
    /// Code segment of 32-bit programs, whose calls have other numbers.
    const USER32_CS: u64 = 0x23;
    /// What stands where the result comes until the call has one: `-ENOSYS`.
    const NO_RESULT: u64 = -38_i64 as u64;

    pub(crate) fn number(regs: u64) -> Option<u64> {
        read::<u64>(regs, ORIG_AX)
    }

    #[inline(always)]
    pub(crate) fn arguments(regs: u64) -> Option<Arguments> {
        // r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs
        let [r10, _r9, r8, _ax, _cx, dx, si, di, _call, _ip, cs] = read::<[u64; 11]>(regs, R10)?;
        if cs == USER32_CS {
            return None;
        }
        Some(Arguments([di, si, dx, r10, r8]))
    }

    #[inline(always)]
    pub(crate) fn running(regs: *const u8) -> Option<(u64, Arguments)> {
        const R8: u32 = 72;
        const AX: u32 = 80;
        const DX: u32 = 96;
        const SI: u32 = 104;
        const DI: u32 = 112;
        const CS: u32 = 136;
        // SAFETY: these are the offsets of registers, each of a word.
        let [ax, call, cs] = unsafe { [peek(regs, AX), peek(regs, ORIG_AX), peek(regs, CS)] };
        // Calls of 32-bit programs that move bytes have no number that one of these has, by whatever gate they come.
        if cs == USER32_CS || ax != NO_RESULT {
            return None;
        }
        // SAFETY: as above.
        let arguments =
            unsafe { [peek(regs, DI), peek(regs, SI), peek(regs, DX), peek(regs, R10), peek(regs, R8)] };
        Some((call, Arguments(arguments)))
    }
}

#[cfg(not(bpf_target_arch = "x86_64"))]
mod registers {
    use super::{Arguments, read};

    const PSTATE: u32 = 264;
    /// The state bit of 32-bit programs, whose calls have other numbers.
    const PSTATE_32: u64 = 0x10;
    const ORIG_X0: u32 = 272;
    const CALL: u32 = 280;

    pub(crate) fn number(regs: u64) -> Option<u64> {
        read::<i32>(regs, CALL).map(|call| call as u64)
    }

    #[inline(always)]
    pub(crate) fn arguments(regs: u64) -> Option<Arguments> {
        let [_x0, x1, x2, x3, x4] = read::<[u64; 5]>(regs, 0)?;
        let [pstate, first] = read::<[u64; 2]>(regs, PSTATE)?;
        let _: u32 = ORIG_X0;
        if pstate & PSTATE_32 != 0 {
            return None;
        }
        Some(Arguments([first, x1, x2, x3, x4]))
    }

    #[inline(always)]
    pub(crate) fn running(regs: *const u8) -> Option<(u64, Arguments)> {
        let regs = regs as u64;
        let [x0, x1, x2, x3, x4] = read::<[u64; 5]>(regs, 0)?;
        let [pstate, first] = read::<[u64; 2]>(regs, PSTATE)?;
        // The first argument's register takes the result.
        if pstate & PSTATE_32 != 0 || x0 != first {
            return None;
        }
        Some((number(regs)?, Arguments([first, x1, x2, x3, x4])))
    }
}

/// The number and arguments of a call that has not returned; of 32-bit programs' calls nothing is known.
pub(crate) use registers::running;
pub(crate) use registers::{arguments, number};

// === flags and messages ===

/// Flags of receiving calls, from `include/linux/socket.h`.
pub(crate) const MSG_OOB: u32 = 0x1;
pub(crate) const MSG_PEEK: u32 = 0x2;
pub(crate) const MSG_TRUNC: u32 = 0x20;
pub(crate) const MSG_DONTWAIT: u32 = 0x40;
pub(crate) const MSG_ERRQUEUE: u32 = 0x2000;
pub(crate) const MSG_WAITFORONE: u32 = 0x1_0000;

/// Offset of `mmsghdr.msg_len`: the bytes that an element of an array of messages moved.
const MESSAGE_MOVED: u64 = size_of::<Message>() as u64;

/// The bytes that the message at `at`, one of an array, moved.
#[inline(always)]
pub(crate) fn message_moved(at: u64) -> u64 {
    u64::from(read_user::<u32>(at.wrapping_add(MESSAGE_MOVED)).unwrap_or(0))
}

/// Size of `struct mmsghdr`: a message, the bytes it moved, and padding.
pub(crate) const MESSAGES_STRIDE: u64 = 64;

/// Most messages of one call that are looked at: twice as many as the kernel sends at once.
pub(crate) const MAX_MESSAGES: u64 = 2048;

/// As many of them as are looked at in one go: a loop of loops, since verifiers walk through each round of one.
pub(crate) const GO_MESSAGES: u64 = 32;
