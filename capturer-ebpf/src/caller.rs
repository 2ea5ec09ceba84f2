//! Who makes calls: what is decided about a process, and what a connection's entry keeps of its last caller.

use capturer_ebpf::layout::placement;

use crate::{
    cgroup,
    memory::{Call, Caller},
    process,
};

/// Notes who calls, as the connection's entry has it; `false` where it has somebody else or no longer holds.
#[inline(always)]
pub(crate) fn recall(call: &mut Call, caller: &Caller, thread: u32, groups: u64, as_of: u32) -> bool {
    // SAFETY: a part of the entry. Another thread may be about to take it over, which is seen before or afterwards.
    let its_thread = || unsafe { (&raw const caller.thread).read_volatile() };
    if its_thread() != thread || caller.groups != groups || caller.as_of != as_of {
        return false;
    }
    call.pid = caller.pid;
    call.tid = caller.tid;
    call.cgroup = caller.cgroup;
    its_thread() == thread
}

/// Notes in a connection's entry who calls, as [`recall`] reads it: it is nobody's while it changes.
#[inline(always)]
pub(crate) fn remember(caller: &mut Caller, by: Caller) {
    let Caller { groups, cgroup, thread, as_of, pid, tid } = by;
    let at = &raw mut *caller;
    // SAFETY: a part of the entry.
    unsafe {
        (&raw mut (*at).thread).write_volatile(0);
        (&raw mut (*at).groups).write_volatile(groups);
        (&raw mut (*at).cgroup).write_volatile(cgroup);
        (&raw mut (*at).as_of).write_volatile(as_of);
        (&raw mut (*at).pid).write_volatile(pid);
        (&raw mut (*at).tid).write_volatile(tid);
        (&raw mut (*at).thread).write_volatile(thread);
    }
}

/// What is decided about whose calls are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Followed,
    Unwanted,
    Excluded,
}

/// What is decided about a process in a control group.
#[inline(always)]
pub(crate) fn standing(pid: u32, cgroup: u64, task: u64) -> Standing {
    let placement = cgroup::placement(cgroup, task);
    if placement == placement::OURS || process::excluded(pid) {
        Standing::Excluded
    } else if placement == placement::UNWANTED || !process::wanted(pid, task) {
        Standing::Unwanted
    } else {
        Standing::Followed
    }
}
