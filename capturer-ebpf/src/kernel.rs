//! Reading kernel and user memory, and the constants set at load.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated as helper;
use capturer_ebpf::settings::{CAST, Limits, Offsets, filter};

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
    skb_dev: 0,
    skb_len: 0,
    skb_head: 0,
    skb_data: 0,
    skb_protocol: 0,
    skb_network_header: 0,
    skb_nfct: 0,
    skb_seq: 0,
    skb_end_seq: 0,
    dev_name: 0,
    dev_net: 0,
    tcp_rcv_nxt: 0,
    tcp_total_retrans: 0,
    ct_status: 0,
    ct_tuples: 0,
    ct_tuple_size: 0,
    task_flags: 0,
    skb_sk: 0,
    sock_socket: 0,
    socket_file: 0,
    message_name: 0,
    message_name_len: 0,
    message_flags: 0,
    message_sends: 0,
};

/// Set at load.
#[unsafe(no_mangle)]
static LIMITS: Limits = Limits {
    pid_namespace: 0,
    rings: 0,
    ring_bytes: 0,
    largest_class: 0,
    filters: 0,
    sample: 0,
    direct: 0,
    lane_slots: 0,
};

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

/// Whether bytes are seen where sockets move them, and not at system calls.
#[inline(always)]
pub(crate) fn at_sockets() -> bool {
    limit!(filters) & filter::SOCKETS != 0
}

#[inline(always)]
pub(crate) fn offsets() -> *const Offsets {
    &raw const OFFSETS
}

#[inline(always)]
pub(crate) fn limits() -> *const Limits {
    &raw const LIMITS
}

/// An address as memory that is read without a helper; what cannot be read is zero. A helper takes fifty times as long.
#[inline(always)]
fn cast<T>(address: u64) -> *const T {
    let memory: *const T;
    // SAFETY: a call of the kernel's that changes the registers of calls and nothing else.
    unsafe {
        core::arch::asm!(
            "r2 = 0",
            ".8byte {cast}",
            cast = const CAST,
            inlateout("r1") address => _,
            lateout("r0") memory,
            out("r2") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            options(nomem, nostack),
        );
    }
    memory
}

/// A kernel value `offset` bytes into the structure at `base`; `None` when it is known that the address cannot be read.
#[inline(always)]
pub(crate) fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let from = base.wrapping_add(u64::from(offset));
    if matches!(size_of::<T>(), 1 | 2 | 4 | 8) && limit!(direct) != 0 {
        // SAFETY: the kernel reads zeros where nothing is.
        return Some(unsafe { cast::<T>(from).read_volatile() });
    }
    // SAFETY: the helper checks the source address and writes exactly `size_of::<T>()` bytes.
    let failed = unsafe {
        helper::bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from as *const _)
    };
    // SAFETY: the helper fills the destination, with zeros when it fails.
    if failed == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// Copies a structure word by word. What the compiler makes of a larger copy is a loop over its bytes, which takes longer
/// than all the rest of a short program.
///
/// # Safety
///
/// Both places must be aligned to eight bytes and have room for `T`, of which the size must be a multiple of eight.
#[inline(always)]
pub(crate) unsafe fn copy<T: Copy>(to: *mut T, from: *const T) {
    let (to, from) = (to.cast::<u64>(), from.cast::<u64>());
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: within the structure, by the caller's word.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
        word += 1;
    }
}

/// Clears memory word by word, for the reason of [`copy`].
///
/// # Safety
///
/// The place must be aligned to eight bytes and have room for `T`, of which the size must be a multiple of eight.
#[inline(always)]
pub(crate) unsafe fn clear<T>(at: *mut T) {
    let at = at.cast::<u64>();
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: within the structure, by the caller's word.
        unsafe { at.add(word).write_volatile(0) };
        word += 1;
    }
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

/// A field of the `task_struct` that runs, read without a helper.
///
/// # Safety
///
/// The structure has a field of this size so many bytes in.
#[inline(always)]
pub(crate) unsafe fn task_field<T: Copy>(offset: u32) -> T {
    if limit!(direct) != 0 {
        // Not by its type: for each pointer that it follows from a typed task, a verifier searches the types of all the
        // kernel by name.
        // SAFETY: by the caller's word; the kernel reads zeros where nothing is.
        return unsafe { cast::<T>(current_task().wrapping_add(u64::from(offset))).read_volatile() };
    }
    // SAFETY: the helper takes nothing, and the caller knows the field.
    unsafe { peek(helper::bpf_get_current_task_btf().cast_const().cast(), offset) }
}

/// A field of a structure whose type the kernel knows, read without a helper.
///
/// # Safety
///
/// The structure came from a helper that says what it is, and has a field of this size so many bytes in.
#[inline(always)]
pub(crate) unsafe fn peek<T: Copy>(structure: *const u8, offset: u32) -> T {
    // SAFETY: by the caller's word; the verifier checks it, and the kernel what is read.
    unsafe { structure.add(offset as usize).cast::<T>().read_volatile() }
}

/// A structure of the kernel's: by its address, which a helper reads for whoever asks, or as a [`Typed`] one.
pub(crate) trait Structure: Copy {
    /// A field so many bytes in; `None` when it cannot be read.
    fn field<T: Copy>(self, offset: u32) -> Option<T>;

    /// The structure that a field points at; `None` also when that is null.
    fn pointed(self, offset: u32) -> Option<Self>;

    /// Where it is.
    fn address(self) -> u64;
}

impl Structure for u64 {
    #[inline(always)]
    fn field<T: Copy>(self, offset: u32) -> Option<T> {
        read(self, offset)
    }

    #[inline(always)]
    fn pointed(self, offset: u32) -> Option<Self> {
        follow(self, offset)
    }

    #[inline(always)]
    fn address(self) -> u64 {
        self
    }
}

/// A structure whose type the kernel knows, since it came from the kernel as an argument: its fields are read without a
/// helper, which is many times as fast.
#[derive(Clone, Copy)]
pub(crate) struct Typed(pub(crate) *const u8);

impl Structure for Typed {
    #[inline(always)]
    fn field<T: Copy>(self, offset: u32) -> Option<T> {
        // SAFETY: the kernel said what it is, and the offset is the field's.
        Some(unsafe { peek(self.0, offset) })
    }

    #[inline(always)]
    fn pointed(self, offset: u32) -> Option<Self> {
        // SAFETY: as above; the field is a pointer.
        let pointer = unsafe { peek::<*const u8>(self.0, offset) };
        if pointer.is_null() { None } else { Some(Self(pointer)) }
    }

    #[inline(always)]
    fn address(self) -> u64 {
        self.0 as u64
    }
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
