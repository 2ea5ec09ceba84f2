//! Calls that move bytes: noted when they enter, reported when they return.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::HashMap};
use capturer_ebpf::{
    layout::{Verdict, coordinate, direction, flag, framing, placement, verdict},
    settings::{ABSENT, total},
};

use crate::{
    arguments::{
        self, Arguments, GO_MESSAGES, MAX_MESSAGES, MESSAGES_STRIDE, MSG_ERRQUEUE, MSG_OOB, MSG_PEEK,
        MSG_TRUNC, message_moved,
    },
    attempt, beginning, cgroup, connection, datagram, flow,
    gather::CALL_STEPS,
    kernel::{self, add, barrier, load, offset, read_user, store},
    losses,
    memory::{Call, Cursor, Draft, Grip, Message, Protocol, Scratch, Shape, StreamEntry},
    payload, process,
    scratch::{User, scratch},
    socket, verdicts,
};

#[map]
static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(32_768, 0);

/// `sys_enter`.
#[inline(always)]
pub(crate) fn entered(regs: u64, number: u64) {
    let Some(operation) = arguments::operation(number) else { return };
    if !beginning::begun() {
        return;
    }
    let Some(scratch) = scratch(User::Calls) else { return };
    let key = bpf_get_current_pid_tgid();
    scratch.call.shape = operation.shape;
    scratch.call.direction = operation.direction;
    if follow(scratch, regs, key) && CALLS.insert(key, &scratch.call, 0).is_err() {
        losses::lost(total::MAP);
    }
}

/// `sys_exit`.
#[inline(always)]
pub(crate) fn returned(regs: u64, result: i64) {
    let Some(number) = arguments::number(regs) else { return };
    if arguments::accepts(number) {
        attempt::taken(result);
        return;
    }
    let Some(operation) = arguments::operation(number) else { return };
    let begun_ns = beginning::begun_ns();
    if begun_ns == 0 {
        return;
    }
    let Some(scratch) = scratch(User::Calls) else { return };
    let key = bpf_get_current_pid_tgid();
    if let Some(call) = CALLS.get_ptr(key) {
        // SAFETY: a value of the map, valid while this program runs; copied before it is removed.
        unsafe { kernel::copy(&raw mut scratch.call, call) };
        let _: Result<(), i32> = CALLS.remove(key);
    } else if process::known(key) {
        return;
    } else {
        // The thread's first return since the capture began: its call may have entered before.
        scratch.call.shape = operation.shape;
        scratch.call.direction = operation.direction;
        let known = process::current(key, kernel::current_task());
        if known.is_none() || !follow(scratch, regs, key) {
            return;
        }
        scratch.call.enter_ns = begun_ns;
        scratch.call.no_enter = 1;
        scratch.call.unmarked = 1;
    }
    if result <= 0 {
        return;
    }
    scratch.cursor.steps = CALL_STEPS;
    report(scratch.call.protocol == Protocol::Udp, scratch.call.shape == Shape::Messages, result as u64);
}

/// Reports a call by what is noted of it in the working memory, which the functions called here find by themselves.
#[inline(always)]
fn report(datagrams: bool, several: bool, result: u64) {
    if datagrams && several {
        datagram::many(result);
    } else if datagrams {
        if datagram::one(result) != 0 {
            payload::deliver();
        }
    } else {
        let bytes = if several { sum(result) } else { result };
        if moved(bytes, result) != 0 {
            payload::deliver();
        }
    }
}

/// Notes what is known of a call and its connection; `false` when it is not followed.
#[inline(always)]
fn follow(scratch: &mut Scratch, regs: u64, key: u64) -> bool {
    // One after the other, not nested: all frames of a program share 512 bytes.
    let followed = begin(scratch, regs, key);
    if followed != UNRELATED {
        attend(scratch, followed == EXCLUDED);
    }
    followed == FOLLOWED
}

/// What [`begin`] says of a call: it is no call on a followed socket.
const UNRELATED: u64 = 0;
/// It is one of an excluded process.
const EXCLUDED: u64 = 1;
/// It is to be followed.
const FOLLOWED: u64 = 2;

/// Notes what is known of a call from its arguments.
#[inline(never)]
fn begin(scratch: &mut Scratch, regs: u64, key: u64) -> u64 {
    prepare(scratch, regs, key).unwrap_or(UNRELATED)
}

/// Finds the connection of a call.
#[inline(never)]
fn attend(scratch: &mut Scratch, excluded: bool) -> u64 {
    if excluded {
        exclude(scratch);
    } else if scratch.call.protocol != Protocol::Udp {
        mark(scratch);
    }
    0
}

#[inline(always)]
fn prepare(scratch: &mut Scratch, regs: u64, key: u64) -> Option<u64> {
    let call = &mut scratch.call;
    let Arguments([first, second, third, fourth, fifth]) = arguments::arguments(regs)?;
    let task = kernel::current_task();
    let sk = match socket::of_descriptor(task, first) {
        Some(sk) => sk,
        None if call.shape == Shape::Splice => {
            call.direction = direction::OUT;
            socket::of_descriptor(task, third)?
        }
        None => return None,
    };
    call.protocol = socket::protocol(sk)?;
    let thread = process::current(key, task)?;
    if thread.pid == 0 {
        return None;
    }
    call.sk = sk;
    call.enter_ns = kernel::now();
    call.base = second;
    call.count = third;
    call.address = if call.shape == Shape::Addressed { fifth } else { 0 };
    call.whole = 0;
    call.s0 = 0;
    call.start = 0;
    call.pid = thread.pid;
    call.tid = thread.tid;
    call.cgroup = thread.cgroup;
    call.message_flags = match call.shape {
        Shape::Addressed | Shape::Messages => fourth as u32,
        Shape::Message => third as u32,
        Shape::Buffer | Shape::Vector | Shape::Sendfile | Shape::Splice | Shape::Elsewhere => 0,
    };
    call.unmarked = 0;
    call.no_enter = 0;
    call.unmapped = 0;
    call.grip = Grip::None;
    call.reserved = 0;
    let placement = cgroup::placement(thread.cgroup, task);
    if placement == placement::OURS || process::excluded(thread.pid) {
        return Some(EXCLUDED);
    }
    if placement == placement::UNWANTED {
        connection::forget(sk);
        return None;
    }
    if looks(call.direction, call.message_flags) {
        return None;
    }
    if !process::wanted(thread.pid, task) {
        // Its packets were followed from the moment it was opened.
        if flow::of_socket(sk).is_some() {
            connection::forget(sk);
        }
        return None;
    }
    Some(FOLLOWED)
}

/// Whether a call only looks at bytes, or takes those that are no part of the stream.
#[inline(always)]
pub(crate) fn looks(direction: u8, flags: u32) -> bool {
    direction == direction::IN && flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB) != 0
}

/// Excludes the connection of an excluded process's call, and its peer on this machine.
#[inline(always)]
pub(crate) fn exclude(scratch: &mut Scratch) {
    let (sk, protocol) = (scratch.call.sk, scratch.call.protocol);
    if protocol == Protocol::Udp {
        datagram::exclude(scratch, sk);
    } else if let Some(entry) = connection::lookup_or_make(sk, protocol) {
        // SAFETY: a value of the map, valid while this program runs.
        connection::exclude(&mut scratch.tuple, unsafe { &mut *entry }, sk);
    }
}

/// `tcp_sendmsg_locked`: the running thread's call is about to append a piece of `message`, whose place no other
/// thread can change now. Other threads' calls move the stream between a call's entry and its turn.
#[inline(always)]
pub(crate) fn appending(sk: u64, message: u64) {
    if offset!(message_left) == ABSENT {
        return;
    }
    let Some(call) = CALLS.get_ptr_mut(bpf_get_current_pid_tgid()) else { return };
    // SAFETY: a value of the map, valid while this program runs; its thread runs here and so nowhere else.
    let call = unsafe { &mut *call };
    let single = matches!(call.shape, Shape::Buffer | Shape::Addressed | Shape::Vector | Shape::Message);
    if call.sk != sk || call.direction != direction::OUT || call.unmarked != 0 || !single {
        return;
    }
    let Some(left) = kernel::read::<u64>(message, offset!(message_left)) else { return };
    let at = socket::sequence(sk, direction::OUT);
    if call.grip == Grip::None {
        call.grip = Grip::Whole;
        call.whole = left;
    }
    let appended = call.whole.wrapping_sub(left) as u32;
    if appended == 0 {
        call.start = at;
    } else if at != call.start.wrapping_add(appended) {
        call.grip = Grip::Torn;
    }
}

/// Finds the connection and notes where its stream stands.
#[inline(always)]
fn mark(scratch: &mut Scratch) {
    let (sk, protocol) = (scratch.call.sk, scratch.call.protocol);
    if connection::lookup_or_make(sk, protocol).is_none() {
        scratch.call.unmapped = 1;
    }
    if connection::unopened(socket::tcp_state(sk)) {
        scratch.call.unmarked = 1;
    }
    if protocol == Protocol::Tcp {
        scratch.call.s0 = socket::sequence(sk, scratch.call.direction);
    }
}

/// A call on a stream moved bytes, in as many messages or as many bytes as its result says; 0 when there is nothing to
/// send.
#[inline(never)]
fn moved(bytes: u64, result: u64) -> u64 {
    let Some(Scratch { call, draft, cursor, tuple, .. }) = scratch(User::Calls) else { return 0 };
    // Another process that shares the socket, and is not followed, may have had its entry dropped meanwhile.
    let entry = if call.unmapped == 0 { connection::lookup(call.sk) } else { None };
    let Some(entry) = entry else {
        losses::lost(total::MAP);
        return 0;
    };
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &mut *entry };
    if entry.fresh != 0 && !connection::unopened(socket::tcp_state(call.sk)) {
        connection::refresh(entry, call.sk, call.protocol);
    }
    if connection::is_excluded(tuple, entry) {
        return 0;
    }
    payload::fill(draft, call, bytes);
    position(draft, call, entry, bytes);
    let decided = verdicts::of(entry);
    losses::count(total::SEEN);
    if entry.filtered != 0 || decided.mode == verdict::IGNORE {
        losses::count(total::FILTERED);
        flow::unfollow(&entry.connection, call.sk);
        return 0;
    }
    let followed = want(draft, cursor, call, entry, &decided, bytes);
    point(draft, cursor, call, result);
    if followed {
        draft.buffer = 0;
    }
    1
}

/// Says which bytes of the call are wanted; `true` where messages are followed through it.
#[inline(always)]
pub(crate) fn want(
    draft: &mut Draft,
    cursor: &mut Cursor,
    call: &Call,
    entry: &mut StreamEntry,
    decided: &Verdict,
    bytes: u64,
) -> bool {
    entry.reported = 1;
    // SAFETY: both are aligned fields of structures of words.
    unsafe { kernel::copy(&raw mut draft.head.connection, &raw const entry.connection) };
    let (skip_until, boundary) = if call.direction == direction::OUT {
        (decided.skip_until[0], entry.boundary[0])
    } else {
        (decided.skip_until[1], entry.boundary[1])
    };
    let skipped = skip_until.saturating_sub(draft.head.counter);
    // Counts of calls that overlapped may have changed places: those are skipped whole or not at all.
    let unsure = skipped < bytes && draft.head.flags & flag::UNANCHORED != 0;
    draft.from = if unsure { 0 } else { skipped };
    cursor.frames(decided.framing, draft.head.counter, skip_until.max(boundary));
    cursor.mode = u64::from(decided.mode);
    // Where messages were followed through a large call, they are until the calls begin where messages do.
    decided.framing.kind != framing::NONE
        && boundary > draft.head.counter
        && boundary < draft.head.counter + bytes
}

/// Says which bytes of the stream the call moved.
#[inline(always)]
fn position(draft: &mut Draft, call: &Call, entry: &mut StreamEntry, bytes: u64) {
    let direction = usize::from(call.direction & 1);
    draft.head.counter = entry.counter[direction];
    add(&raw mut entry.counter[direction], bytes);
    if call.protocol != Protocol::Tcp {
        return;
    }
    if socket::has_upper_protocol(call.sk) {
        entry.connection.coordinate = coordinate::COUNTER;
        draft.head.flags |= flag::KERNEL_TLS;
    }
    let gripped = call.grip == Grip::Whole && bytes <= call.whole;
    let bytes = bytes as u32;
    let now = socket::sequence(call.sk, call.direction);
    let (s0, s1) = if gripped {
        (call.start, call.start.wrapping_add(bytes))
    } else if call.unmarked == 0 {
        (call.s0, now)
    } else {
        (now.wrapping_sub(bytes), now)
    };
    draft.head.s0 = s0;
    draft.head.s1 = s1;
    let span = s1.wrapping_sub(s0);
    if span < bytes {
        // The stream did not pass through TCP's queues (sockmap): its numbers say nothing.
        entry.connection.coordinate = coordinate::COUNTER;
    }
    if entry.connection.coordinate != coordinate::SEQUENCE {
        return;
    }
    // A read may eat a FIN or an urgent byte, which have numbers of their own.
    let exact = span == bytes || (call.direction == direction::IN && span == bytes.wrapping_add(1));
    if !exact {
        draft.head.flags |= flag::UNANCHORED;
    }
    if entry.sighted[direction] == 0 {
        entry.sighted[direction] = 1;
        entry.first[direction] = s0;
    }
    add(&raw mut entry.covered[direction], u64::from(if exact { span } else { bytes }));
}

/// Points at the payload.
#[inline(always)]
pub(crate) fn point(draft: &mut Draft, cursor: &mut Cursor, call: &Call, result: u64) {
    if call.direction == direction::OUT && call.message_flags & MSG_OOB != 0 {
        draft.head.flags |= flag::URGENT;
        draft.head.moved -= 1;
    }
    draft.until = draft.head.moved;
    match call.shape {
        Shape::Buffer | Shape::Addressed => payload::take_buffer(draft, cursor, call.base, call.count),
        Shape::Vector => payload::take_vectors(draft, cursor, call.base, call.count),
        Shape::Message => {
            let message = read_user::<Message>(call.base).unwrap_or(Message::NONE);
            payload::take_vectors(draft, cursor, message.vectors, message.count);
        }
        Shape::Messages => {
            draft.buffer = 0;
            cursor.point_messages(call.base, result);
        }
        Shape::Sendfile | Shape::Splice | Shape::Elsewhere => {
            draft.head.flags |= flag::NO_PAYLOAD;
            draft.until = 0;
        }
    }
    if call.direction == direction::IN && call.message_flags & MSG_TRUNC != 0 {
        draft.head.flags |= flag::DISCARDED;
        draft.until = 0;
    }
}

/// Bytes that the messages of one call moved.
#[inline(always)]
fn sum(messages: u64) -> u64 {
    add_messages(messages);
    scratch(User::Calls).map_or(0, |scratch| load(&raw const scratch.bytes))
}

/// Adds up what so many messages moved. Verified once, and not again with all that follows each way out of the loop.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn add_messages(messages: u64) -> u32 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    store(&raw mut scratch.bytes, 0);
    let mut first = 0;
    while first < MAX_MESSAGES && first < messages {
        add_some(first, messages);
        first = barrier(first + GO_MESSAGES);
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn add_some(first: u64, messages: u64) -> u32 {
    let mut step = 0;
    while step < GO_MESSAGES && first + step < messages {
        add_message(first + step);
        step = barrier(step + 1);
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn add_message(index: u64) -> u32 {
    if let Some(scratch) = scratch(User::Calls) {
        scratch.bytes += message_moved(scratch.call.base.wrapping_add(index * MESSAGES_STRIDE));
    }
    0
}
