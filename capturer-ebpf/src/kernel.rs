//! Reading kernel and user memory, and the constants set at load.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated as helper;
use capturer_ebpf::settings::{Limits, Offsets};

/// Set at load from the running kernel's BTF.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets {
    task_files: 0,
    task_group_leader: 0,
    task_thread_pid: 0,
    task_comm: 0,
    task_signal: 0,
    signal_live: 0,
    files_fdt: 0,
    fdt_max_fds: 0,
    fdt_fd: 0,
    file_inode: 0,
    file_private_data: 0,
    inode_mode: 0,
    socket_sk: 0,
    sock_family: 0,
    sock_state: 0,
    sock_num: 0,
    sock_dport: 0,
    sock_rcv_saddr: 0,
    sock_daddr: 0,
    sock_v6_rcv_saddr: 0,
    sock_v6_daddr: 0,
    sock_net: 0,
    sock_protocol: 0,
    sock_err: 0,
    sock_err_soft: 0,
    inet_sport: 0,
    net_inum: 0,
    icsk_ulp_ops: 0,
    tcp_write_seq: 0,
    tcp_copied_seq: 0,
    tcp_segs_out: 0,
    tcp_bytes_sent: 0,
    tcp_bytes_received: 0,
    pid_level: 0,
    pid_numbers: 0,
    upid_size: 0,
    upid_nr: 0,
    upid_ns: 0,
    pidns_inum: 0,
    task_cgroups: 0,
    css_set_subsys: 0,
    css_cgroup: 0,
    css_set_dfl_cgrp: 0,
    cgroup_kn: 0,
    kernfs_id: 0,
    kernfs_name: 0,
    kernfs_parent: 0,
    message_left: 0,
};

/// Set at load.
#[unsafe(no_mangle)]
static LIMITS: Limits = Limits { pid_namespace: 0, rings: 0, largest_class: 0, filters: 0 };

/// The offset of one field, as set at load.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: reads a static of this program; volatile, because the loader replaces its value.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::kernel::offsets()).$field) }
    };
}

/// One of the limits, as set at load.
macro_rules! limit {
    ($field:ident) => {
        // SAFETY: reads a static of this program; volatile, because the loader replaces its value.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::kernel::limits()).$field) }
    };
}

pub(crate) use {limit, offset};

#[inline(always)]
pub(crate) fn offsets() -> *const Offsets {
    &raw const OFFSETS
}

#[inline(always)]
pub(crate) fn limits() -> *const Limits {
    &raw const LIMITS
}

/// A kernel value `offset` bytes into the structure at `base`; `None` when the address cannot be read.
#[inline(always)]
pub(crate) fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let from = base.wrapping_add(u64::from(offset));
    // SAFETY: the helper checks the source address and writes exactly `size_of::<T>()` bytes.
    let failed = unsafe {
        helper::bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from as *const _)
    };
    // SAFETY: the helper fills the destination, with zeros when it fails.
    if failed == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// A pointer field; `None` also when it is null.
#[inline(always)]
pub(crate) fn follow(base: u64, offset: u32) -> Option<u64> {
    read::<u64>(base, offset).filter(|pointer| *pointer != 0)
}

/// A value of the calling process; `None` when its page cannot be read.
#[inline(always)]
pub(crate) fn read_user<T: Copy>(from: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the source address and writes exactly `size_of::<T>()` bytes.
    let failed = unsafe {
        helper::bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, from as *const _)
    };
    // SAFETY: the helper fills the destination, with zeros when it fails.
    if failed == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// `CLOCK_MONOTONIC` nanoseconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { helper::bpf_ktime_get_ns() }
}

/// The `task_struct` that runs.
#[inline(always)]
pub(crate) fn current_task() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { helper::bpf_get_current_task() }
}

/// The CPU that runs this.
#[inline(always)]
pub(crate) fn cpu() -> u32 {
    // SAFETY: the helper takes nothing.
    unsafe { helper::bpf_get_smp_processor_id() }
}

/// Keeps the compiler from moving a bound away from where the verifier needs it.
#[inline(always)]
pub(crate) fn barrier(mut value: u64) -> u64 {
    // SAFETY: the register keeps its value.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Adds to a counter that other CPUs add to as well.
#[inline(always)]
pub(crate) fn add(counter: *mut u64, value: u64) {
    // SAFETY: callers pass aligned fields of map values; this is the atomic add of the first kernels, without result.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) value, options(nostack));
    }
}

/// Reads a field of the working memory anew, whatever the compiler knows of it.
#[inline(always)]
pub(crate) fn load(field: *const u64) -> u64 {
    // SAFETY: callers pass fields of working memory that they hold.
    unsafe { field.read_volatile() }
}

/// Writes a field of the working memory at once.
#[inline(always)]
pub(crate) fn store(field: *mut u64, value: u64) {
    // SAFETY: callers pass fields of working memory that they hold exclusively.
    unsafe { field.write_volatile(value) }
}
