//! Processes as the capturer sees them: ids in its PID namespace, names, who is excluded, who is asked for.

use core::mem::MaybeUninit;

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated as helper},
    macros::map,
    maps::{Array, HashMap, LruHashMap},
};
use capturer_ebpf::{
    layout::{Attempt, COMM_LEN, Kind, Process, placement},
    settings::filter,
};

use crate::{
    beginning, cgroup,
    kernel::{self, follow, limit, offset, read},
    rings,
};

/// Deepest nesting of PID namespaces that the kernel allows.
const MAX_PID_LEVELS: u32 = 32;

/// How often something was decided about processes or their groups.
#[map]
static STANDINGS: Array<u64> = Array::with_max_entries(1, 0);

/// A thread that made a call since the capture began.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Thread {
    /// Process id in the capturer's PID namespace; 0 when it is not visible there.
    pub(crate) pid: u32,
    /// Thread id there.
    pub(crate) tid: u32,
    /// The kernel's set of control groups that `cgroup` was found in; 0 when it is to be found again.
    pub(crate) groups: u64,
    /// Id of its control group, 0 for none.
    pub(crate) cgroup: u64,
}

#[map]
static THREADS: LruHashMap<u64, Thread> = LruHashMap::with_max_entries(32_768, 0);

#[map]
static EXCLUDED: HashMap<u32, u8> = HashMap::with_max_entries(4096, 0);

#[map]
static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(4096, 0);

#[map]
static COMMS: HashMap<[u8; COMM_LEN], u8> = HashMap::with_max_entries(1024, 0);

/// The running thread, if it made a call since the capture began.
#[inline(always)]
pub(crate) fn known(key: u64) -> bool {
    THREADS.get_ptr(key).is_some()
}

/// The running thread's ids, resolved once per thread, and its control group, resolved when it moved.
#[inline(always)]
pub(crate) fn current(key: u64, task: u64) -> Option<Thread> {
    resolve(key, task).map(|(thread, _)| thread)
}

/// The same, and whether it was known before.
#[inline(always)]
pub(crate) fn resolve(key: u64, task: u64) -> Option<(Thread, bool)> {
    let groups = cgroup::groups(task);
    let (mut thread, known) = if let Some(thread) = THREADS.get_ptr(key) {
        // SAFETY: a value of the map, valid while this program runs.
        let thread = unsafe { *thread };
        if thread.groups == groups || thread.pid == 0 {
            return Some((thread, true));
        }
        (thread, true)
    } else {
        let leader = follow(task, offset!(task_group_leader))?;
        (Thread { pid: visible_id(leader), tid: visible_id(task), groups: 0, cgroup: 0 }, false)
    };
    // Groups of processes that are not visible here are another capturer's.
    if thread.pid != 0 {
        let node = cgroup::node(groups);
        thread.cgroup = cgroup::id(node);
        thread.groups = if cgroup::announce(node, thread.cgroup) == 0 { 0 } else { groups };
    }
    // A full map only means that the ids are resolved again. Before the beginning nobody is known: a call that is on its
    // way then has no entry that was seen.
    if beginning::begun() {
        let _: Result<(), i32> = THREADS.insert(key, thread, 0);
    }
    Some((thread, known))
}

/// The id of a task in the capturer's PID namespace, 0 when it has none there. Verified once, as
/// [`gather`](crate::gather) says why.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn visible_id(task: u64) -> u32 {
    let Some(pid) = follow(task, offset!(task_thread_pid)) else { return 0 };
    let Some(level) = read::<u32>(pid, offset!(pid_level)) else { return 0 };
    for at in 0..MAX_PID_LEVELS {
        if at > level {
            break;
        }
        let number = pid.wrapping_add(u64::from(offset!(pid_numbers) + at * offset!(upid_size)));
        let Some(namespace) = follow(number, offset!(upid_ns)) else { break };
        if read::<u32>(namespace, offset!(pidns_inum)).unwrap_or(0) == limit!(pid_namespace) {
            return read::<u32>(number, offset!(upid_nr)).unwrap_or(0);
        }
    }
    0
}

/// How often something was decided about processes and their groups.
#[inline(always)]
pub(crate) fn as_of() -> u32 {
    // SAFETY: the array's only value.
    STANDINGS.get_ptr(0).map_or(0, |count| unsafe { count.read_volatile() }) as u32
}

/// Whether a process belongs to a session of this program.
#[inline(always)]
pub(crate) fn excluded(pid: u32) -> bool {
    EXCLUDED.get_ptr(pid).is_some()
}

/// Whether the running process belongs to a session of this program; for hooks outside the calls.
#[inline(always)]
pub(crate) fn current_excluded() -> bool {
    let task = kernel::current_task();
    current(bpf_get_current_pid_tgid(), task).is_some_and(|thread| {
        thread.pid != 0 && (excluded(thread.pid) || cgroup::placement(thread.cgroup, task) == placement::OURS)
    })
}

/// Notes the running process as the owner of a socket that it opens, unless nobody asks for it; returns whether it is
/// excluded.
#[inline(never)]
pub(crate) fn sign(attempt: &mut Attempt) -> u64 {
    attempt.pid = 0;
    let task = kernel::current_task();
    let Some(thread) = current(bpf_get_current_pid_tgid(), task) else { return 0 };
    if thread.pid == 0 {
        return 0;
    }
    let placement = cgroup::placement(thread.cgroup, task);
    if placement == placement::OURS || excluded(thread.pid) {
        return 1;
    }
    let asked = limit!(filters) & filter::NO_ATTEMPTS == 0 && placement != placement::UNWANTED;
    if asked && wanted(thread.pid, task) {
        attempt.pid = thread.pid;
        attempt.comm = comm(task);
        attempt.cgroup = thread.cgroup;
    }
    0
}

/// Whether the filters ask for a process.
#[inline(always)]
pub(crate) fn wanted(pid: u32, task: u64) -> bool {
    let filters = limit!(filters);
    if filters & filter::PIDS != 0 && PIDS.get_ptr(pid).is_none() {
        return false;
    }
    filters & filter::COMMS == 0 || COMMS.get_ptr(comm(task)).is_some()
}

/// The command name of a task's thread group.
#[inline(always)]
pub(crate) fn comm(task: u64) -> [u8; COMM_LEN] {
    let mut name = MaybeUninit::<[u8; COMM_LEN]>::uninit();
    // SAFETY: the stack is aligned to eight bytes.
    unsafe {
        write_comm(task, name.as_mut_ptr());
        name.assume_init()
    }
}

/// Writes the command name of a task's thread group, up to its terminator: the kernel may leave bytes of an older name
/// behind it.
///
/// # Safety
///
/// The place must be aligned to eight bytes.
#[inline(always)]
pub(crate) unsafe fn write_comm(task: u64, to: *mut [u8; COMM_LEN]) {
    let leader = follow(task, offset!(task_group_leader)).unwrap_or(task);
    let (to, at) = (to.cast::<[u64; COMM_LEN / 8]>(), offset!(task_comm));
    if limit!(direct) != 0 {
        let first = read::<u64>(leader, at).unwrap_or(0);
        let second = read::<u64>(leader, at + 8).unwrap_or(0);
        let second = if first_zero(first) == 0 { until_zero(second) } else { 0 };
        // SAFETY: a name is two words, as the caller's place has them.
        unsafe { to.write_volatile([until_zero(first), second]) };
        return;
    }
    let from = leader.wrapping_add(u64::from(at));
    // SAFETY: the helper checks the source address and writes at most as many bytes as the name has.
    unsafe {
        kernel::clear(to);
        let _: i64 = helper::bpf_probe_read_kernel_str(to.cast(), COMM_LEN as u32, from as *const _);
    }
}

/// The highest bit of the first byte of a word that is zero; none where there is none.
#[inline(always)]
fn first_zero(word: u64) -> u64 {
    let zeros = word.wrapping_sub(u64::from_ne_bytes([1; 8])) & !word & u64::from_ne_bytes([0x80; 8]);
    zeros & zeros.wrapping_neg()
}

/// A word without what is behind its first byte that is zero; the target is little-endian.
#[inline(always)]
fn until_zero(word: u64) -> u64 {
    word & (first_zero(word) >> 7).wrapping_sub(1)
}

/// `sched_process_exec`: a process runs another program.
#[inline(always)]
pub(crate) fn executed(task: u64) {
    let Some(thread) = current(bpf_get_current_pid_tgid(), task) else { return };
    if thread.pid != 0 && !cgroup::refused(cgroup::placement(thread.cgroup, task)) {
        report(Kind::Exec, thread.pid, thread.cgroup, task);
    }
}

/// `sched_process_exit`: a thread ends; reported when it is the last of its process.
#[inline(always)]
pub(crate) fn exited(task: u64) {
    let key = bpf_get_current_pid_tgid();
    // SAFETY: a value of the map, valid while this program runs; copied before it is removed.
    let cgroup = THREADS.get_ptr(key).map_or(0, |thread| unsafe { (*thread).cgroup });
    let _: Result<(), i32> = THREADS.remove(key);
    let last = follow(task, offset!(task_signal))
        .and_then(|signal| read::<u32>(signal, offset!(signal_live)))
        .is_some_and(|live| live == 0);
    if !last || cgroup::refused(cgroup::decided(cgroup)) {
        return;
    }
    let Some(leader) = follow(task, offset!(task_group_leader)) else { return };
    let pid = visible_id(leader);
    if pid != 0 {
        report(Kind::Exit, pid, cgroup, task);
    }
}

#[inline(always)]
fn report(kind: Kind, pid: u32, cgroup: u64, task: u64) {
    let (at_ns, comm) = (kernel::now(), comm(task));
    let record = Process { kind: kind as u8, reserved: [0; 3], pid, at_ns, comm, cgroup };
    rings::send(&record);
}
