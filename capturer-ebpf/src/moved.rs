//! Bytes where sockets move them: a call is seen when the socket tells of its end, and what it was is read from the
//! registers of its thread. No system call is looked at, so processes that use no sockets pay nothing.
//!
//! Nothing is seen of the beginning of a call but its turns at the stream ([`turn`]). So what is decided about a connection
//! is asked first, and only what is wanted is looked at.

use core::ptr::null_mut;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use capturer_ebpf::{
    layout::{coordinate, direction, flag, verdict},
    settings::{filter, total},
};

use crate::{
    attempt, batch, beginning, call,
    caller::{Standing, recall, remember, standing},
    connection, datagram, flow,
    gather::CALL_STEPS,
    kernel::{self, add, limit},
    losses,
    memory::{Caller, Draft, Grip, Protocol, Scratch, Shape, StreamEntry, Turn},
    payload, process, running,
    scratch::{User, scratch},
    socket, turn, verdicts,
};

/// `sock_send_length`; `true` when there is something to send.
#[inline(always)]
pub(crate) fn sent(sk: u64, result: i32) -> bool {
    passed(sk, result, direction::OUT, 0)
}

/// `sock_recv_length`; `true` when there is something to send.
#[inline(always)]
pub(crate) fn received(sk: u64, result: i32, flags: u32) -> bool {
    passed(sk, result, direction::IN, flags)
}

#[inline(always)]
fn passed(sk: u64, result: i32, direction: u8, flags: u32) -> bool {
    let Some(protocol) = socket::protocol(sk) else { return false };
    if !beginning::begun() {
        return false;
    }
    let entry = if protocol == Protocol::Udp { None } else { connection::lookup(sk) };
    if protocol != Protocol::Udp {
        if result <= 0 || call::looks(direction, flags) {
            nothing(entry, sk, direction, result);
            return false;
        }
        if let Some(entry) = entry {
            // SAFETY: a value of the map, valid while this program runs.
            let entry = unsafe { &mut *entry };
            if (entry.filtered | entry.ignored) != 0 && entry.excluded == 0 && entry.fresh == 0 {
                pass_over(entry, sk, direction, result as u64);
                return false;
            }
        }
    } else if result <= 0 {
        count_empty(sk, direction, result);
        return false;
    } else if call::looks(direction, flags) {
        return false;
    }
    if begin(sk, protocol, direction, flags, entry.unwrap_or(null_mut())) == 0 {
        return false;
    }
    if protocol == Protocol::Udp {
        return datagram_moved(result as u64) != 0;
    }
    // SAFETY: a value of the map, valid while this program runs.
    let entry = entry.map(|entry| unsafe { &mut *entry });
    stream_moved(entry, result as u64) != 0
}

/// A call on a stream moved nothing that counts.
#[inline(always)]
fn nothing(entry: Option<*mut StreamEntry>, sk: u64, direction: u8, result: i32) {
    if let Some(entry) = entry {
        // SAFETY: a value of the map, valid while this program runs.
        turn::over(unsafe { &mut *entry }, sk, direction);
    } else if result < 0 {
        // Its process is the first that is seen to use it.
        attempt::met(sk);
    }
    count_empty(sk, direction, result);
}

/// A message without bytes is one of its call's; an error ends the call.
#[inline(always)]
fn count_empty(sk: u64, direction: u8, result: i32) {
    if result < 0 {
        batch::over(bpf_get_current_pid_tgid());
    } else if result == 0 {
        pass_message(sk, direction);
    }
}

/// Counts a message without bytes.
#[inline(never)]
fn pass_message(sk: u64, direction: u8) -> u64 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let key = bpf_get_current_pid_tgid();
    scratch.call.sk = sk;
    scratch.call.direction = direction;
    running::note(&mut scratch.call, kernel::current_task(), None);
    if scratch.call.shape == Shape::Messages {
        batch::next(&mut scratch.call, key, u64::from(!process::known(key)));
    }
    0
}

/// Counts what moved over a connection of which nothing is wanted.
#[inline(always)]
fn pass_over(entry: &mut StreamEntry, sk: u64, direction: u8, bytes: u64) {
    let at = usize::from(direction & 1);
    turn::over(entry, sk, direction);
    add(&raw mut entry.counter[at], bytes);
    if entry.connection.coordinate == coordinate::SEQUENCE {
        let now = socket::sequence(sk, direction);
        let span = if entry.reached[at] != 0 { now.wrapping_sub(entry.end[at]) } else { bytes as u32 };
        advance(entry, at, now);
        add(&raw mut entry.covered[at], span.into());
    }
    losses::count(total::SEEN);
    losses::count(total::FILTERED);
}

/// Notes who moves bytes over a socket, of which the entry is given or null; 0 when it is nobody who is followed.
#[inline(never)]
fn begin(sk: u64, protocol: Protocol, direction: u8, flags: u32, entry: *mut StreamEntry) -> u64 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let key = bpf_get_current_pid_tgid();
    let call = &mut scratch.call;
    call.sk = sk;
    call.protocol = protocol;
    call.direction = direction;
    call.enter_ns = 0;
    call.address = 0;
    call.message_flags = flags;
    call.no_enter = 0;
    // SAFETY: null, or a value of the map, valid while this program runs.
    let caller = unsafe { entry.as_mut() }.map(|entry| &mut entry.caller);
    let groups = running::groups();
    let as_of = process::as_of();
    // Most connections are used by one thread, about which nothing new was decided since its last call.
    if let Some(caller) = &caller
        && recall(call, caller, key as u32, groups, as_of)
    {
        scratch.bytes = 0;
        return 1;
    }
    if running::in_kernel_thread() {
        return 0;
    }
    let task = kernel::current_task();
    let Some((thread, known)) = process::resolve(key, task) else { return 0 };
    if thread.pid == 0 {
        return 0;
    }
    // The thread's first call may have begun before the capture did.
    scratch.bytes = u64::from(!known);
    call.pid = thread.pid;
    call.tid = thread.tid;
    call.cgroup = thread.cgroup;
    match standing(thread.pid, thread.cgroup, task) {
        Standing::Followed => {
            // A process may change its name without anybody being told.
            if let Some(caller) = caller
                && limit!(filters) & filter::COMMS == 0
            {
                let (pid, tid, cgroup) = (thread.pid, thread.tid, thread.cgroup);
                remember(caller, Caller { thread: key as u32, groups, cgroup, as_of, pid, tid });
            }
            1
        }
        Standing::Excluded => {
            exclude(scratch);
            0
        }
        Standing::Unwanted => {
            if protocol != Protocol::Udp {
                connection::forget(sk);
            }
            0
        }
    }
}

#[inline(never)]
fn exclude(scratch: &mut Scratch) -> u64 {
    call::exclude(scratch);
    0
}

/// Makes the entry of a connection on which the running thread is about to send for the first time; 0 where it has none.
#[inline(never)]
pub(crate) fn admit_sender(sk: u64) -> u64 {
    // Between MPTCP, TLS and TCP the kernel sends for others.
    if socket::protocol(sk) != Some(Protocol::Tcp) || socket::has_upper_protocol(sk) || !socket::has_file(sk)
    {
        return 0;
    }
    let (key, task) = (bpf_get_current_pid_tgid(), kernel::current_task());
    if running::in_kernel_thread() {
        return 0;
    }
    let Some(thread) = process::current(key, task) else { return 0 };
    if thread.pid == 0 || standing(thread.pid, thread.cgroup, task) != Standing::Followed {
        return 0;
    }
    let Some(entry) = connection::lookup_or_make(sk, Protocol::Tcp) else { return 0 };
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &mut *entry };
    let at = usize::from(direction::OUT);
    if entry.reached[at] == 0 && !connection::unopened(socket::tcp_state(sk)) {
        advance(entry, at, socket::sequence(sk, direction::OUT));
    }
    1
}

/// Bytes were taken from a socket to be spliced elsewhere.
#[inline(always)]
pub(crate) fn spliced(sk: u64) {
    if !running::splices_from(sk) || !beginning::begun() {
        return;
    }
    if begin(sk, Protocol::Tcp, direction::IN, 0, null_mut()) != 0 && splice_moved() != 0 {
        payload::deliver_bare();
    }
}

/// A `splice` took bytes from a stream: as many as it went on since the last call.
#[inline(never)]
fn splice_moved() -> u64 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let sk = scratch.call.sk;
    if socket::protocol(sk) != Some(Protocol::Tcp) {
        return 0;
    }
    let Some(entry) = connection::lookup_or_make(sk, Protocol::Tcp) else {
        losses::lost(total::MAP);
        return 0;
    };
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &mut *entry };
    let (at, now) = (usize::from(direction::IN), socket::sequence(sk, direction::IN));
    let bytes = now.wrapping_sub(entry.end[at]);
    if entry.reached[at] == 0 {
        // Where it began nobody knows: the connection is followed from here on.
        advance(entry, at, now);
        entry.first[at] = now;
        return 0;
    }
    if bytes == 0 || bytes.cast_signed() < 0 || turn::is_mine(entry, direction::IN) {
        return 0;
    }
    scratch.call.shape = Shape::Splice;
    report(scratch, entry, u64::from(bytes))
}

/// A call on a stream moved bytes; 0 when there is nothing to send.
#[inline(never)]
fn stream_moved(known: Option<&mut StreamEntry>, bytes: u64) -> u64 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let (sk, protocol, direction) = (scratch.call.sk, scratch.call.protocol, scratch.call.direction);
    let first_call = scratch.bytes;
    let entry = if let Some(known) = known {
        known
    } else {
        if !socket::has_file(sk) {
            return 0;
        }
        let Some(made) = connection::lookup_or_make(sk, protocol) else {
            losses::lost(total::MAP);
            return 0;
        };
        // SAFETY: a value of the map, valid while this program runs.
        let made = unsafe { &mut *made };
        if made.reached[usize::from(direction & 1)] == 0 {
            // Made when the bytes had moved already.
            let first = &mut made.first[usize::from(direction & 1)];
            *first = first.wrapping_sub(bytes as u32);
        }
        made
    };
    scratch.bytes = first_call;
    scratch.call.shape = Shape::Buffer;
    report(scratch, entry, bytes)
}

/// Makes the draft of a call; 0 when there is nothing to send. A [`Shape::Splice`] is known as such, everything else is read
/// from the registers if it is wanted.
#[inline(always)]
fn report(scratch: &mut Scratch, entry: &mut StreamEntry, bytes: u64) -> u64 {
    let Scratch { call, draft, cursor, tuple, bytes: first_call, .. } = scratch;
    if entry.fresh != 0 && !connection::unopened(socket::tcp_state(call.sk)) {
        connection::refresh(entry, call.sk, call.protocol);
    }
    let turn = turn::over(entry, call.sk, call.direction);
    if connection::is_excluded(tuple, entry) {
        return 0;
    }
    call.enter_ns = turn.at_ns;
    payload::fill(draft, call, bytes);
    if turn.thread == 0 {
        draft.head.enter_ns = draft.head.exit_ns;
        draft.head.flags |= flag::ONLY_END;
    }
    let at = usize::from(call.direction & 1);
    draft.head.counter = entry.counter[at];
    add(&raw mut entry.counter[at], bytes);
    if call.protocol == Protocol::Tcp {
        position(draft, call.sk, entry, &turn, bytes as u32);
    }
    let decided = verdicts::of(entry);
    losses::count(total::SEEN);
    if entry.filtered != 0 || decided.mode == verdict::IGNORE {
        entry.ignored = 1;
        losses::count(total::FILTERED);
        flow::unfollow(&entry.connection, call.sk);
        return 0;
    }
    let followed = call::want(draft, cursor, call, entry, &decided, bytes);
    cursor.steps = CALL_STEPS;
    if call.shape != Shape::Splice {
        running::note(call, kernel::current_task(), Some(entry));
        if call.shape == Shape::Messages {
            batch::next(call, bpf_get_current_pid_tgid(), *first_call);
        }
    }
    call::point(draft, cursor, call, 1);
    if followed {
        draft.buffer = 0;
    }
    1
}

/// A call on a UDP socket moved a datagram; 0 when there is nothing to send.
#[inline(never)]
fn datagram_moved(bytes: u64) -> u64 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let (first_call, sk) = (scratch.bytes, scratch.call.sk);
    scratch.cursor.steps = CALL_STEPS;
    running::note(&mut scratch.call, kernel::current_task(), None);
    if scratch.call.shape == Shape::Elsewhere && !socket::has_file(sk) {
        return 0;
    }
    if scratch.call.shape == Shape::Messages {
        batch::next(&mut scratch.call, bpf_get_current_pid_tgid(), first_call);
    }
    datagram::at_socket(bytes)
}

/// Says which bytes of the stream the call moved.
#[inline(always)]
fn position(draft: &mut Draft, sk: u64, entry: &mut StreamEntry, turn: &Turn, bytes: u32) {
    let direction = draft.head.direction;
    let at = usize::from(direction & 1);
    if socket::has_upper_protocol(sk) {
        entry.connection.coordinate = coordinate::COUNTER;
        draft.head.flags |= flag::KERNEL_TLS;
    }
    if entry.connection.coordinate != coordinate::SEQUENCE {
        return;
    }
    let now = socket::sequence(sk, direction);
    let (s0, s1) = if direction == direction::OUT {
        sent_range(draft, entry, turn, now, bytes)
    } else {
        received_range(draft, entry, turn, now, bytes)
    };
    draft.head.s0 = s0;
    draft.head.s1 = s1;
    if entry.connection.coordinate != coordinate::SEQUENCE {
        return;
    }
    if entry.sighted[at] == 0 {
        entry.sighted[at] = 1;
        entry.first[at] = s0;
    }
    advance(entry, at, s1);
    add(&raw mut entry.covered[at], s1.wrapping_sub(s0).into());
}

/// Where the bytes that a call sent lie.
#[inline(always)]
fn sent_range(draft: &mut Draft, entry: &mut StreamEntry, turn: &Turn, now: u32, bytes: u32) -> (u32, u32) {
    if turn.grip == Grip::Whole && bytes <= turn.bytes {
        return (turn.start, turn.start.wrapping_add(bytes));
    }
    unturned(draft, entry, turn, now, bytes)
}

/// Where the bytes that a call received lie.
#[inline(always)]
fn received_range(
    draft: &mut Draft,
    entry: &mut StreamEntry,
    turn: &Turn,
    now: u32,
    bytes: u32,
) -> (u32, u32) {
    let end = entry.end[usize::from(direction::IN)];
    let span = now.wrapping_sub(end);
    let alone = entry.crowded == 0 && entry.reached[usize::from(direction::IN)] != 0;
    // A read may eat a FIN or urgent bytes, which have numbers of their own.
    if alone && span.wrapping_sub(bytes) <= 2 {
        return (end, now);
    }
    if turn.grip == Grip::Whole && bytes <= turn.bytes {
        return (turn.start, turn.start.wrapping_add(bytes));
    }
    unturned(draft, entry, turn, now, bytes)
}

/// Where the bytes of a call lie of which no turn tells: behind those of the last one, if it agrees, else maybe just before
/// where the stream stands.
#[inline(always)]
fn unturned(draft: &mut Draft, entry: &mut StreamEntry, turn: &Turn, now: u32, bytes: u32) -> (u32, u32) {
    let at = usize::from(draft.head.direction & 1);
    let span = now.wrapping_sub(entry.end[at]);
    if entry.reached[at] != 0 && span != bytes {
        if span == 0 && turn.grip == Grip::None && entry.crowded == 0 {
            // The stream did not pass through TCP's queues (sockmap): its numbers say nothing.
            entry.connection.coordinate = coordinate::COUNTER;
        } else {
            draft.head.flags |= flag::UNANCHORED;
        }
    }
    (now.wrapping_sub(bytes), now)
}

/// Notes that a call's bytes ended at `end`.
#[inline(always)]
fn advance(entry: &mut StreamEntry, at: usize, end: u32) {
    let at = at & 1;
    if entry.reached[at] == 0 || end.wrapping_sub(entry.end[at]).cast_signed() > 0 {
        entry.end[at] = end;
        entry.reached[at] = 1;
    }
}
