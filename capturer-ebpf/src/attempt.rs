//! Attempts: connections that were over before a byte went either way, since they were refused, not answered, or reset.
//!
//! Where they end, some other process runs, or none. So their owner is noted where they begin: when the process connects,
//! and when it takes one that came in.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::LruHashMap};
use capturer_ebpf::{
    layout::{Opened, role},
    settings::{filter, total},
};

use crate::{
    beginning, cgroup, connection, filters,
    kernel::{self, limit},
    losses,
    memory::{Protocol, Scratch},
    process, rings, running,
    scratch::{User, scratch},
    socket::{self, state},
};

/// The listening socket that a thread is closing, and with it the connections that nobody took.
#[map]
static CLOSING: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);

/// `inet_sock_set_state`, before the connection is told: one that ends may have been none yet.
#[inline(always)]
pub(crate) fn state_changed(sk: u64, old: u8, new: u8) {
    if kernel::at_sockets() && old == state::LISTEN && new == state::CLOSE {
        let _: Result<(), i32> = CLOSING.insert(bpf_get_current_pid_tgid(), sk, 0);
    }
    if new != state::CLOSE || !asked() {
        return;
    }
    // The inner sockets of MPTCP are TCP's own, and they know why they ended.
    if socket::protocol(sk) != Some(Protocol::Tcp) {
        return;
    }
    if old == state::SYN_SENT {
        unanswered(sk);
    } else if old == state::ESTABLISHED && socket::error(sk) != 0 && !socket::carried(sk) {
        reset(sk);
    }
}

/// A call returned a connection that somebody else opened: the running process is its owner now. Not part of its caller,
/// whose frame lies under the deepest chain of calls.
#[inline(never)]
pub(crate) fn taken(descriptor: i64) -> u64 {
    if descriptor < 0 || !asked() {
        return 0;
    }
    let Some(sk) = socket::of_descriptor(kernel::current_task(), descriptor as u64) else { return 0 };
    own(sk, User::Calls);
    0
}

/// The running process uses a socket that carried nothing yet. Where no call is seen that returns connections, this is the
/// first that is known of who took it.
#[inline(never)]
pub(crate) fn met(sk: u64) -> u64 {
    if asked() && !running::in_kernel_thread() {
        own(sk, User::Calls);
    }
    0
}

/// `tcp_destroy_sock`, before the connection is told: the running process closes a socket that carried nothing.
#[inline(always)]
pub(crate) fn left(sk: u64) {
    if !kernel::at_sockets() {
        return;
    }
    closed_listener(sk);
    let Some(opened) = connection::opened(sk) else { return };
    let waits = opened.attempt.pid == 0 && opened.attempt.at_ns != 0;
    if waits && asked() && !closes_listener() && !running::in_kernel_thread() {
        own_opened(sk, opened, User::States);
    }
}

/// Whether the running thread is closing a listening socket, and with it connections that nobody took.
#[inline(always)]
fn closes_listener() -> bool {
    CLOSING.get_ptr(bpf_get_current_pid_tgid()).is_some()
}

/// Notes that a listening socket is gone, if the running thread closes one.
#[inline(always)]
fn closed_listener(sk: u64) {
    let key = bpf_get_current_pid_tgid();
    // SAFETY: a value of the map, valid while this program runs.
    if CLOSING.get_ptr(key).is_some_and(|closing| unsafe { *closing } == sk) {
        let _: Result<(), i32> = CLOSING.remove(key);
    }
}

/// Makes the running process the owner of a connection that somebody else opened.
#[inline(always)]
fn own(sk: u64, user: User) {
    if let Some(opened) = connection::opened(sk) {
        own_opened(sk, opened, user);
    }
}

#[inline(always)]
fn own_opened(sk: u64, opened: &mut Opened, user: User) {
    if opened.attempt.connection.role != role::SERVER || opened.attempt.pid != 0 {
        return;
    }
    opened.excluded |= process::sign(&mut opened.attempt);
    if opened.attempt.at_ns != 0 {
        // It was reset while it waited to be taken.
        report(sk, opened, user);
    }
}

#[inline(always)]
fn asked() -> bool {
    limit!(filters) & filter::NO_ATTEMPTS == 0
}

/// A socket that waited for an answer does so no more.
#[inline(always)]
fn unanswered(sk: u64) {
    let Some(opened) = connection::opened(sk) else { return };
    opened.attempt.at_ns = kernel::now();
    // A process that gives up has no error; what the network said is known all the same.
    let error = socket::error(sk);
    opened.attempt.error = if error == 0 { socket::soft_error(sk) } else { error };
    // Without a SYN nobody was asked: no route, or no local port was left.
    if socket::spoke(sk) {
        report(sk, opened, User::States);
    }
}

/// The other end, or a silence, ended a connection over which nothing went.
#[inline(always)]
fn reset(sk: u64) {
    let Some(opened) = connection::opened(sk) else { return };
    opened.attempt.at_ns = kernel::now();
    opened.attempt.error = socket::error(sk);
    report(sk, opened, User::States);
}

/// Sends what is known of an attempt, if anybody asks for it.
#[inline(always)]
fn report(sk: u64, opened: &Opened, user: User) {
    let attempt = &opened.attempt;
    if attempt.pid == 0 || opened.excluded != 0 || !beginning::begun() {
        return;
    }
    if process::excluded(attempt.pid) || cgroup::refused(cgroup::decided(attempt.cgroup)) {
        return;
    }
    let Some(Scratch { opened: mine, tuple, .. }) = scratch(user) else { return };
    *mine = *opened;
    let (role, attempt) = (mine.attempt.connection.role, &mut mine.attempt);
    connection::identify(&mut attempt.connection, sk, Protocol::Tcp, 0);
    attempt.connection.role = role;
    // It is taken back before this is told.
    attempt.connection.local_port = socket::former_port(sk);
    if connection::peer_excluded(tuple, &attempt.connection) {
        return;
    }
    if filters::wanted(&attempt.connection) {
        rings::send(&*attempt);
    } else {
        losses::count(total::SEEN);
        losses::count(total::FILTERED);
    }
}
