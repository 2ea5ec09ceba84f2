//! Datagrams, each alone, and calls that move many messages at once.
//!
//! A connection of UDP is a socket and a peer. UDP sockets have no end that can be seen, so their entries fall out
//! of the map when they are the oldest.

use aya_ebpf::{macros::map, maps::LruHashMap};
use capturer_ebpf::{
    layout::{Connection, coordinate, direction, flag, role, transport, verdict},
    settings::total,
};

use crate::{
    arguments::{GO_MESSAGES, MAX_MESSAGES, MESSAGES_STRIDE, MSG_TRUNC, message_moved},
    connection, filters,
    kernel::{self, add, barrier, read_user},
    losses,
    memory::{Call, DatagramEntry, DatagramKey, Ends, Message, Scratch, Shape},
    payload, peer,
    scratch::{User, scratch},
    socket, verdicts,
};

#[map]
static DATAGRAMS: LruHashMap<DatagramKey, DatagramEntry> = LruHashMap::with_max_entries(16_384, 0);

/// A call on a UDP socket moved one datagram; 0 when there is nothing to send.
#[inline(never)]
pub(crate) fn one(result: u64) -> u64 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let call = &scratch.call;
    scratch.message = if call.shape == Shape::Message {
        read_user::<Message>(call.base).unwrap_or(Message::NONE)
    } else {
        Message { address: call.address, ..Message::NONE }
    };
    let (bytes, flags) = taken(call, result);
    scratch.bytes = bytes;
    datagram(scratch, flags)
}

/// Returns how many bytes of a datagram a call has, and the flag that says that there were more.
#[inline(always)]
fn taken(call: &Call, result: u64) -> (u64, u16) {
    let single = matches!(call.shape, Shape::Buffer | Shape::Addressed);
    if single && result > call.count { (call.count, flag::CUT) } else { (result, 0) }
}

/// A UDP socket moved one datagram; 0 when there is nothing to send.
#[inline(never)]
pub(crate) fn at_socket(result: u64) -> u64 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let call = &scratch.call;
    scratch.message = match call.shape {
        Shape::Message => read_user::<Message>(call.base).unwrap_or(Message::NONE),
        Shape::Addressed => Message { address: call.address, ..Message::NONE },
        Shape::Buffer
        | Shape::Vector
        | Shape::Messages
        | Shape::Sendfile
        | Shape::Splice
        | Shape::Elsewhere => Message::NONE,
    };
    scratch.inner_address = 0;
    let (bytes, flags) = taken(call, result);
    scratch.bytes = bytes;
    if call.direction == direction::IN && matches!(call.shape, Shape::Addressed | Shape::Message) {
        peer::find_sender(bytes);
    }
    let Some(scratch) = self::scratch(User::Calls) else { return 0 };
    datagram(scratch, flags)
}

/// A call on a UDP socket moved so many datagrams.
#[inline(always)]
pub(crate) fn many(messages: u64) {
    let mut first = 0;
    while first < MAX_MESSAGES && first < messages {
        some_of_many(first, messages);
        first = barrier(first + GO_MESSAGES);
    }
    if messages > MAX_MESSAGES {
        losses::count_many(total::SEEN, messages - MAX_MESSAGES);
        losses::count_many(total::MISS, messages - MAX_MESSAGES);
    }
}

/// Sends those of the messages of a call that are looked at in one go, from the first of them on.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn some_of_many(first: u64, messages: u64) -> u32 {
    let mut step = 0;
    while step < GO_MESSAGES && first + step < messages {
        one_of_many(first + step);
        step = barrier(step + 1);
    }
    0
}

/// Sends one of the messages of a call. Verified once, as everything below it: see [`gather`](crate::gather).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn one_of_many(index: u64) -> u32 {
    let Some(scratch) = scratch(User::Calls) else { return 0 };
    let at = scratch.call.base.wrapping_add(index * MESSAGES_STRIDE);
    scratch.message = read_user::<Message>(at).unwrap_or(Message::NONE);
    scratch.bytes = message_moved(at);
    if datagram(scratch, 0) != 0 {
        payload::deliver();
    }
    0
}

/// Makes the draft of one datagram; 0 when there is nothing to send.
#[inline(never)]
fn datagram(scratch: &mut Scratch, flags: u16) -> u64 {
    scratch.ends = socket::ends(scratch.call.sk);
    if scratch.ends.remote_port == 0 && scratch.message.address != 0 {
        let inner = kernel::at_sockets() && scratch.inner_address != 0;
        let memory = if inner { Memory::Kernel } else { Memory::Process };
        peer(&mut scratch.ends, memory, scratch.message.address);
    }
    let Some(entry) = lookup_or_make(scratch) else {
        losses::lost(total::MAP);
        return 0;
    };
    let Scratch { call, draft, cursor, message, bytes, .. } = scratch;
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &mut *entry };
    if entry.excluded != 0 {
        return 0;
    }
    losses::count(total::SEEN);
    payload::fill(draft, call, *bytes);
    if kernel::at_sockets() {
        draft.head.enter_ns = draft.head.exit_ns;
        draft.head.flags |= flag::ONLY_END;
    }
    if call.direction == direction::OUT {
        draft.head.counter = entry.counter[0];
        add(&raw mut entry.counter[0], 1);
    } else {
        draft.head.counter = entry.counter[1];
        add(&raw mut entry.counter[1], 1);
    }
    if entry.filtered != 0 || verdicts::decided(entry.connection.id).mode == verdict::IGNORE {
        losses::count(total::FILTERED);
        return 0;
    }
    // SAFETY: both are aligned fields of structures of words.
    unsafe { kernel::copy(&raw mut draft.head.connection, &raw const entry.connection) };
    draft.head.flags |= flags;
    draft.from = 0;
    cursor.unframed();
    draft.until = *bytes;
    if matches!(call.shape, Shape::Message | Shape::Messages) {
        if call.direction == direction::IN && message.flags & MSG_TRUNC != 0 {
            draft.head.flags |= flag::CUT;
        }
        payload::take_vectors(draft, cursor, message.vectors, message.count);
    } else if call.shape == Shape::Vector {
        payload::take_vectors(draft, cursor, call.base, call.count);
    } else if call.shape == Shape::Elsewhere {
        draft.head.flags |= flag::NO_PAYLOAD;
        draft.until = 0;
    } else {
        payload::take_buffer(draft, cursor, call.base, call.count);
    }
    1
}

/// Whose memory an address is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Process,
    Kernel,
}

impl Memory {
    #[inline(always)]
    fn read<T: Copy>(self, at: u64) -> Option<T> {
        if self == Memory::Kernel { kernel::read(at, 0) } else { read_user(at) }
    }
}

/// Takes the peer from the address that the process gave or is given.
#[inline(always)]
fn peer(ends: &mut Ends, memory: Memory, address: u64) {
    let Some([family, port]) = memory.read::<[u16; 2]>(address) else { return };
    if family == socket::AF_INET {
        if let Some(remote) = memory.read::<[u8; 4]>(address.wrapping_add(4)) {
            ends.remote = socket::v4(remote);
            ends.family = 4;
        }
    } else if family == socket::AF_INET6 {
        if let Some(remote) = memory.read::<[u8; 16]>(address.wrapping_add(8)) {
            let mapped = socket::mapped(&remote);
            ends.remote = if mapped { socket::unmapped(&remote) } else { remote };
            ends.family = if mapped { 4 } else { 6 };
        }
    } else {
        return;
    }
    ends.remote_port = u16::from_be(port);
}

#[inline(always)]
fn lookup_or_make(scratch: &mut Scratch) -> Option<*mut DatagramEntry> {
    let Scratch { call, tuple, ends, datagram_key: key, datagram_entry: made, .. } = scratch;
    *key = DatagramKey {
        sk: call.sk,
        remote: ends.remote,
        remote_port: ends.remote_port,
        family: u16::from(ends.family),
        reserved: 0,
    };
    if let Some(entry) = DATAGRAMS.get_ptr_mut(&*key) {
        // SAFETY: a value of the map, valid while this program runs.
        if unsafe { (*entry).connection.local_port } == ends.local_port {
            return Some(entry);
        }
        // Another socket at the same address in memory.
    }
    identify(&mut made.connection, call.sk, ends, connection::next_id(User::Calls));
    made.counter = [0; 2];
    made.excluded = u32::from(connection::peer_excluded(tuple, &made.connection));
    made.filtered = u32::from(!filters::wanted(&made.connection));
    let _: Result<(), i32> = DATAGRAMS.insert(&*key, &*made, 0);
    DATAGRAMS.get_ptr_mut(&*key)
}

#[inline(always)]
fn identify(connection: &mut Connection, sk: u64, ends: &Ends, id: u64) {
    *connection = Connection {
        id,
        netns: socket::network_namespace(sk),
        local_port: ends.local_port,
        remote_port: ends.remote_port,
        local: ends.local,
        remote: ends.remote,
        family: ends.family,
        transport: transport::UDP,
        role: role::UNKNOWN,
        coordinate: coordinate::COUNTER,
        reserved: 0,
    };
}

/// Excludes the peer of a connected socket.
#[inline(never)]
pub(crate) fn exclude(scratch: &mut Scratch, sk: u64) -> u64 {
    scratch.ends = socket::ends(sk);
    identify(&mut scratch.datagram_entry.connection, sk, &scratch.ends, 0);
    connection::exclude_peer(&mut scratch.tuple, &scratch.datagram_entry.connection)
}
