//! The kernel programs: raw tracepoints, attached without tracefs; those of packets by their types, where the kernel has them.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    unsafe_code,
    clippy::cast_possible_truncation,
    clippy::cast_ptr_alignment,
    clippy::cast_sign_loss,
    clippy::inline_always,
    reason = "programs of the kernel work on raw memory and registers, and old verifiers want flat functions"
)]
#![expect(
    clippy::let_underscore_must_use,
    reason = "a map that takes no more, or has no such key, changes nothing where the result is dropped"
)]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, keys and values of maps would be copied to the 512 bytes of stack"
)]
#![expect(clippy::needless_pass_by_value, reason = "the entry points' signature")]

mod alias;
mod arguments;
mod attempt;
mod batch;
mod beginning;
mod call;
mod caller;
mod cgroup;
mod connection;
mod cursor;
mod datagram;
mod filters;
mod flow;
mod frames;
mod gather;
mod header;
mod kernel;
mod lane;
mod losses;
mod memory;
mod moved;
mod nat;
mod packet;
mod payload;
mod peer;
mod process;
mod rings;
mod running;
mod scratch;
mod socket;
mod turn;
mod verdicts;

use aya_ebpf::{
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::ProgramArray,
    programs::{BtfTracePointContext, RawTracePointContext},
};
use capturer_ebpf::settings::total;
use kernel::Typed;

/// Programs that read kernel memory must be GPL-compatible.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// `sys_enter(regs, id)`.
#[raw_tracepoint]
fn sys_enter(context: RawTracePointContext) -> i32 {
    call::entered(context.arg(0), context.arg(1));
    0
}

/// `sys_exit(regs, ret)`.
#[raw_tracepoint]
fn sys_exit(context: RawTracePointContext) -> i32 {
    call::returned(context.arg(0), context.arg(1));
    0
}

/// `tcp_sendmsg_locked(sk, msg, skb, size_goal)`, since Linux 6.16: a call appends to the stream, holding its lock.
#[raw_tracepoint]
fn tcp_sendmsg_locked(context: RawTracePointContext) -> i32 {
    call::appending(context.arg(0), context.arg(1));
    0
}

/// `sock_send_length(sk, ret, flags)`, since Linux 6.3: a socket's operation that sends is over.
#[raw_tracepoint]
fn sock_send_length(context: RawTracePointContext) -> i32 {
    if moved::sent(context.arg(0), context.arg(1)) {
        go_on(&context);
    }
    0
}

/// `sock_recv_length(sk, ret, flags)`, since Linux 6.3: a socket's operation that receives is over.
#[raw_tracepoint]
fn sock_recv_length(context: RawTracePointContext) -> i32 {
    let flags: i32 = context.arg(2);
    if moved::received(context.arg(0), context.arg(1), flags as u32) {
        go_on(&context);
    }
    0
}

/// The program in which those of both directions go on: verifying it takes most of the time of a start.
#[map]
static DELIVERY: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Goes on in [`moved_payload`].
#[inline(always)]
fn go_on(context: &RawTracePointContext) {
    // SAFETY: what it needs is in the working memory of this CPU.
    unsafe { DELIVERY.tail_call(context, 0) };
    // It did not.
    losses::count(total::MISS);
}

/// Sends the draft in the working memory.
#[raw_tracepoint]
fn moved_payload(_context: RawTracePointContext) -> i32 {
    payload::deliver();
    0
}

/// `tcp_sendmsg_locked`, for the source at sockets.
#[raw_tracepoint]
fn stream_appended(context: RawTracePointContext) -> i32 {
    let (sk, message) = (context.arg(0), context.arg(1));
    if !turn::appending(sk, message) && moved::admit_sender(sk) != 0 {
        turn::appending(sk, message);
    }
    0
}

/// `skb_copy_datagram_iovec(skb, len)`: bytes in a socket's queue are about to be copied to whoever receives them.
#[raw_tracepoint]
fn skb_copy_datagram_iovec(context: RawTracePointContext) -> i32 {
    let bytes: i32 = context.arg(1);
    turn::copying(context.arg(0), bytes as u32);
    0
}

/// `tcp_rcv_space_adjust(sk)`: bytes were taken from a socket's queue.
#[raw_tracepoint]
fn tcp_rcv_space_adjust(context: RawTracePointContext) -> i32 {
    moved::spliced(context.arg(0));
    0
}

/// `inet_sock_set_state(sk, oldstate, newstate)`.
#[raw_tracepoint]
fn inet_sock_set_state(context: RawTracePointContext) -> i32 {
    let (old, new): (i32, i32) = (context.arg(1), context.arg(2));
    attempt::state_changed(context.arg(0), old as u8, new as u8);
    connection::state_changed(context.arg(0), old as u8, new as u8);
    0
}

/// `tcp_destroy_sock(sk)`.
#[raw_tracepoint]
fn tcp_destroy_sock(context: RawTracePointContext) -> i32 {
    attempt::left(context.arg(0));
    connection::ended(context.arg(0));
    0
}

/// `sched_process_exec(task, old_pid, bprm)`.
#[raw_tracepoint]
fn sched_process_exec(context: RawTracePointContext) -> i32 {
    process::executed(context.arg(0));
    0
}

/// `sched_process_exit(task)`.
#[raw_tracepoint]
fn sched_process_exit(context: RawTracePointContext) -> i32 {
    process::exited(context.arg(0));
    0
}

/// `net_dev_start_xmit(skb, dev)`.
#[btf_tracepoint(function = "net_dev_start_xmit")]
fn transmitted(context: BtfTracePointContext) -> i32 {
    packet::transmitted(Typed(context.arg(0)), Typed(context.arg(1)));
    0
}

/// The same, where the kernel has no types.
#[raw_tracepoint]
fn net_dev_start_xmit(context: RawTracePointContext) -> i32 {
    packet::transmitted::<u64>(context.arg(0), context.arg(1));
    0
}

/// `netif_receive_skb(skb)`.
#[btf_tracepoint(function = "netif_receive_skb")]
fn received(context: BtfTracePointContext) -> i32 {
    packet::received(Typed(context.arg(0)));
    0
}

/// The same, where the kernel has no types.
#[raw_tracepoint]
fn netif_receive_skb(context: RawTracePointContext) -> i32 {
    packet::received::<u64>(context.arg(0));
    0
}

/// `sk_data_ready(sk)`, since Linux 6.3.
#[raw_tracepoint]
fn sk_data_ready(context: RawTracePointContext) -> i32 {
    packet::readable(context.arg(0));
    0
}

/// `tcp_probe(sk, skb)`, where there is no `sk_data_ready`.
#[raw_tracepoint]
fn tcp_probe(context: RawTracePointContext) -> i32 {
    packet::probed(context.arg(0), context.arg(1));
    0
}

/// `tcp_retransmit_skb(sk, skb, …)`.
#[raw_tracepoint]
fn tcp_retransmit_skb(context: RawTracePointContext) -> i32 {
    packet::sent_again(context.arg(0), context.arg(1));
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
