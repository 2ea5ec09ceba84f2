//! Control groups: which one a process is in, told to the capturer by name at first sight, and what it decided.
//!
//! A container is a control group. Its names come from the kernel's own tree, so they are known for a process however
//! short it lives, whatever part of the tree the capturer's own mounts show.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated as helper, macros::map, maps::LruHashMap};
use capturer_ebpf::{
    layout::{CGROUP_LEVELS, CGROUP_NAME_LEN, Cgroup, Kind, placement},
    settings::{ABSENT, filter, total},
};

use crate::{
    kernel::{self, follow, limit, offset, read},
    losses, rings,
};

/// Decisions by the group's id. One that falls out is asked for again.
#[map]
static CGROUPS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(8192, 0);

/// The kernel's set of control groups of a task, 0 for none. Tasks of the same groups share it.
#[inline(always)]
pub(crate) fn groups(task: u64) -> u64 {
    let at = offset!(task_cgroups);
    if at == ABSENT { 0 } else { read::<u64>(task, at).unwrap_or(0) }
}

/// The tree node of the group that a set has in the hierarchy that names containers, 0 for none.
#[inline(never)]
pub(crate) fn node(groups: u64) -> u64 {
    if groups == 0 {
        return 0;
    }
    let subsystem = offset!(css_set_subsys);
    let group = if subsystem == ABSENT {
        follow(groups, offset!(css_set_dfl_cgrp))
    } else {
        follow(groups, subsystem).and_then(|state| follow(state, offset!(css_cgroup)))
    };
    group.and_then(|group| follow(group, offset!(cgroup_kn))).unwrap_or(0)
}

/// The id of a tree node, 0 for none.
#[inline(always)]
pub(crate) fn id(node: u64) -> u64 {
    if node == 0 { 0 } else { read::<u64>(node, offset!(kernfs_id)).unwrap_or(0) }
}

/// What was decided about a group.
#[inline(always)]
pub(crate) fn decided(cgroup: u64) -> u8 {
    // SAFETY: a value of the map, valid while this program runs.
    CGROUPS.get_ptr(cgroup).map_or(placement::UNDECIDED, |decided| unsafe { *decided })
}

/// What was decided about the running task's group; asks for a decision that has been forgotten.
#[inline(always)]
pub(crate) fn placement(cgroup: u64, task: u64) -> u8 {
    if limit!(filters) & filter::CGROUPS == 0 {
        return placement::WANTED;
    }
    if let Some(decided) = CGROUPS.get_ptr(cgroup) {
        // SAFETY: a value of the map, valid while this program runs.
        return unsafe { *decided };
    }
    announce(node(groups(task)), cgroup);
    placement::UNDECIDED
}

/// Whether a decision keeps a group's processes out.
#[inline(always)]
pub(crate) fn refused(decided: u8) -> bool {
    decided == placement::UNWANTED || decided == placement::OURS
}

/// What a map says of a key that it has.
const EEXIST: i32 = -17;

/// Tells the capturer of a group, once; 0 when the map or a ring had no room, which is tried again and so no loss.
/// Verified once, as [`gather`](crate::gather) says why.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn announce(node: u64, id: u64) -> u32 {
    if node == 0 {
        return 1;
    }
    if let Err(error) = CGROUPS.insert(&id, &placement::UNDECIDED, u64::from(BPF_NOEXIST)) {
        return u32::from(error == EEXIST);
    }
    let room = rings::reserve(size_of::<Cgroup>() as u64);
    if room.is_null() {
        let _: Result<(), i32> = CGROUPS.remove(&id);
        return 0;
    }
    let record = room.cast::<Cgroup>();
    let mut at = node;
    let mut level = 0;
    while level < CGROUP_LEVELS {
        // SAFETY: the level is one of the record's.
        let name = unsafe { &raw mut (*record).names[level] };
        if !name_of(at, name.cast()) {
            break;
        }
        level += 1;
        at = follow(at, offset!(kernfs_parent)).unwrap_or(0);
    }
    // SAFETY: the room was reserved with this type's size; records are aligned to eight bytes.
    unsafe {
        (*record).kind = Kind::Cgroup as u8;
        (*record).levels = level as u8;
        (*record).reserved = [0; 6];
        (*record).id = id;
        (*record).at_ns = kernel::now();
    }
    rings::submit(room);
    losses::count(total::SEEN);
    losses::count(total::DELIVERED);
    1
}

/// Copies a node's name; `false` when there is none.
#[inline(always)]
fn name_of(node: u64, into: *mut u8) -> bool {
    if node == 0 {
        return false;
    }
    let Some(name) = follow(node, offset!(kernfs_name)) else { return false };
    // SAFETY: the helper checks the source address and writes at most as many bytes as a name has.
    unsafe { helper::bpf_probe_read_kernel_str(into.cast(), CGROUP_NAME_LEN as u32, name as *const _) > 0 }
}
