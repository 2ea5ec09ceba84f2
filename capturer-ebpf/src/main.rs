//! The kernel programs: raw tracepoints, attached without tracefs.
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

mod arguments;
mod attempt;
mod beginning;
mod call;
mod cgroup;
mod connection;
mod cursor;
mod datagram;
mod frames;
mod gather;
mod kernel;
mod losses;
mod memory;
mod payload;
mod process;
mod rings;
mod scratch;
mod socket;

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

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

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
