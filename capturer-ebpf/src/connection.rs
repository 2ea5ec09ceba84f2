//! Connections: one entry per socket, made at first sight and ended with the socket.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use capturer_ebpf::{
    layout::{Connection, Ended, Kind, Opened, coordinate, direction, phase, role, transport},
    settings::{STREAMS, filter, total},
};

use crate::{
    beginning,
    filters::wanted,
    flow,
    kernel::{self, add, cpu, limit},
    losses,
    memory::{Ends, Protocol, Scratch, StreamEntry, Tuple},
    packet, process, rings,
    scratch::{User, scratch},
    socket::{self, state, words},
    verdicts,
};

/// A listening socket of a session of this program.
#[repr(C)]
#[derive(Clone, Copy)]
struct Listener {
    netns: u32,
    port: u32,
}

#[map]
static CONNECTIONS: HashMap<u64, StreamEntry> = HashMap::with_max_entries(STREAMS, 0);

/// How sockets were opened. Each has an end, so nothing needs to fall out: that would be a loss that nobody counts.
#[map]
static OPENED: HashMap<u64, Opened> = HashMap::with_max_entries(STREAMS, 0);

#[map]
static PEERS: LruHashMap<Tuple, u8> = LruHashMap::with_max_entries(8192, 0);

#[map]
static LISTENERS: LruHashMap<Listener, u8> = LruHashMap::with_max_entries(1024, 0);

/// Counts insertions into [`PEERS`].
#[map]
static PEERS_GENERATION: Array<u64> = Array::with_max_entries(1, 0);

/// Ids given on this CPU, by [`User`].
#[map]
static IDS: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// A new connection id. Calls do not interrupt each other on one CPU, and neither do state changes, but these do calls.
#[inline(always)]
pub(crate) fn next_id(user: User) -> u64 {
    let Some(given) = IDS.get_ptr_mut(user as u32) else { return 0 };
    // SAFETY: this CPU's own value.
    unsafe {
        *given += 1;
        (u64::from(cpu() + 1) << 44) | (u64::from(user as u32) << 43) | *given
    }
}

/// The entry of a socket seen before.
#[inline(always)]
pub(crate) fn lookup(sk: u64) -> Option<*mut StreamEntry> {
    CONNECTIONS.get_ptr_mut(sk)
}

/// The entry of a socket, made at first sight; `None` when the map is full.
#[inline(always)]
pub(crate) fn lookup_or_make(sk: u64, protocol: Protocol) -> Option<*mut StreamEntry> {
    if let Some(entry) = CONNECTIONS.get_ptr_mut(sk) {
        return Some(entry);
    }
    make(sk, protocol as u32);
    CONNECTIONS.get_ptr_mut(sk)
}

/// Makes the entry of a socket in the working memory of calls. Verified once, as [`gather`](crate::gather) says why.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn make(sk: u64, protocol: u32) -> u32 {
    let Some(Scratch { entry, tuple, .. }) = scratch(User::Calls) else { return 0 };
    let protocol = if protocol == Protocol::Tcp as u32 { Protocol::Tcp } else { Protocol::Mptcp };
    let born = socket::tcp_state(sk);
    let open = !unopened(born);
    let opened = opened(sk);
    // One that was seen to open has its id already: packets came before the first call.
    let given = opened.as_ref().map_or(0, |opened| opened.attempt.connection.id);
    let id = if given == 0 { next_id(User::Calls) } else { given };
    // SAFETY: the entry is a structure of words, all of which may be zero.
    unsafe { kernel::clear(&raw mut *entry) };
    identify(&mut entry.connection, sk, protocol, id);
    let sighted = u8::from(open);
    entry.sighted = [sighted, sighted];
    entry.fresh = u8::from(!open);
    entry.born = born;
    if protocol == Protocol::Tcp && open {
        entry.first = [socket::sequence(sk, direction::OUT), socket::sequence(sk, direction::IN)];
    }
    if let Some(opened) = opened {
        if kernel::at_sockets() && protocol == Protocol::Tcp && open {
            // Made when the first call is over, or in its middle: what it received, it received from the first byte on.
            entry.first[1] = socket::first_received(sk);
            entry.end[1] = entry.first[1];
            entry.reached[1] = 1;
        }
        entry.connection.role = opened.attempt.connection.role;
        entry.excluded = u8::from(opened.excluded != 0);
    }
    entry.filtered = u8::from(!wanted(&entry.connection));
    if open && entry.excluded == 0 && entry.filtered == 0 && !peer_excluded(tuple, &entry.connection) {
        if given == 0 {
            flow::follow(tuple, &entry.connection, sk);
        } else if let Some(opened) = self::opened(sk)
            && opened.attempt.connection.role == role::CLIENT
        {
            packet::connected(id, opened.attempt.begun_ns, opened.attempt.at_ns);
        }
    }
    // Another CPU may have made it first, then that one counts; a full map is seen by the caller.
    let _: Result<(), i32> = CONNECTIONS.insert(sk, &*entry, u64::from(aya_ebpf::bindings::BPF_NOEXIST));
    0
}

/// Whether a TCP state comes before the ends and sequence numbers are known.
#[inline(always)]
pub(crate) fn unopened(tcp_state: u8) -> bool {
    tcp_state == state::CLOSE || tcp_state == state::SYN_SENT
}

/// Reads the ends again, once they are known.
#[inline(never)]
pub(crate) fn refresh(entry: &mut StreamEntry, sk: u64, protocol: Protocol) -> u64 {
    let (id, role) = (entry.connection.id, entry.connection.role);
    identify(&mut entry.connection, sk, protocol, id);
    entry.connection.role = role;
    entry.filtered = u8::from(!wanted(&entry.connection));
    entry.generation = 0;
    entry.fresh = 0;
    0
}

/// Follows the packets of a connection that is established just now, before its first call.
#[inline(always)]
fn established(sk: u64, opened: &mut Opened, tuple: &mut Tuple) {
    if !flow::asked() || opened.excluded != 0 || socket::has_upper_protocol(sk) {
        return;
    }
    let role = opened.attempt.connection.role;
    identify(&mut opened.attempt.connection, sk, Protocol::Tcp, next_id(User::States));
    opened.attempt.connection.role = role;
    let connection = &opened.attempt.connection;
    if wanted(connection) && !peer_excluded(tuple, connection) {
        flow::follow(tuple, connection, sk);
    }
}

#[inline(always)]
pub(crate) fn identify(connection: &mut Connection, sk: u64, protocol: Protocol, id: u64) {
    connection.id = id;
    connection.netns = socket::network_namespace(sk);
    connection.transport = protocol.transport();
    connection.role = role::UNKNOWN;
    connection.coordinate =
        if protocol == Protocol::Tcp { coordinate::SEQUENCE } else { coordinate::COUNTER };
    connection.reserved = 0;
    let Ends { family, local_port, remote_port, local, remote } = socket::ends(sk);
    connection.family = family;
    connection.local_port = local_port;
    connection.remote_port = remote_port;
    connection.local = local;
    connection.remote = remote;
}

// === exclusion ===

#[inline(always)]
fn generation() -> u64 {
    // SAFETY: the array's only value.
    PEERS_GENERATION.get_ptr(0).map_or(0, |generation| unsafe { *generation }) + 1
}

/// A connection as this machine's peer would see itself.
#[inline(always)]
fn reversed(tuple: &mut Tuple, connection: &Connection) {
    *tuple = Tuple {
        netns: loopback_namespace(connection),
        local_port: connection.remote_port,
        remote_port: connection.local_port,
        local: words(&connection.remote),
        remote: words(&connection.local),
    };
}

/// Loopback addresses mean something in their namespace only; others are known by themselves.
#[inline(always)]
fn loopback_namespace(connection: &Connection) -> u32 {
    if socket::loopback(connection.family, &connection.remote) { connection.netns } else { 0 }
}

/// Marks the peer of an excluded connection, should it be on this machine.
#[inline(never)]
pub(crate) fn exclude_peer(tuple: &mut Tuple, connection: &Connection) -> u64 {
    if connection.local_port == 0 || connection.remote_port == 0 {
        return 0;
    }
    reversed(tuple, connection);
    if PEERS.get_ptr(&*tuple).is_some() {
        return 0;
    }
    if PEERS.insert(&*tuple, 1, 0).is_ok()
        && let Some(generation) = PEERS_GENERATION.get_ptr_mut(0)
    {
        add(generation, 1);
    }
    0
}

/// Whether a connection's peer is excluded.
#[inline(never)]
pub(crate) fn peer_excluded(tuple: &mut Tuple, connection: &Connection) -> bool {
    *tuple = Tuple {
        netns: loopback_namespace(connection),
        local_port: connection.local_port,
        remote_port: connection.remote_port,
        local: words(&connection.local),
        remote: words(&connection.remote),
    };
    PEERS.get_ptr(&*tuple).is_some()
}

/// Excludes the connection of a socket, and its peer.
#[inline(always)]
pub(crate) fn exclude(tuple: &mut Tuple, entry: &mut StreamEntry, sk: u64) {
    if entry.excluded == 0 {
        entry.excluded = 1;
        flow::unfollow(&entry.connection, sk);
        exclude_peer(tuple, &entry.connection);
    }
}

/// Whether a connection is excluded, compared with what was learnt since it was last asked.
#[inline(always)]
pub(crate) fn is_excluded(tuple: &mut Tuple, entry: &mut StreamEntry) -> bool {
    if entry.excluded == 0 {
        let generation = generation();
        if entry.generation != generation {
            entry.generation = generation;
            entry.excluded = u8::from(peer_excluded(tuple, &entry.connection));
        }
    }
    entry.excluded != 0
}

// === hooks ===

/// `inet_sock_set_state`: who opened the socket, and whose it is.
#[inline(always)]
pub(crate) fn state_changed(sk: u64, old: u8, new: u8) {
    let Some(protocol @ (Protocol::Tcp | Protocol::Mptcp)) = socket::protocol(sk) else { return };
    match (old, new) {
        (state::CLOSE, state::SYN_SENT) => {
            connecting(sk, protocol);
        }
        (state::SYN_SENT, state::ESTABLISHED) => {
            let Some(opened) = opened(sk) else { return };
            opened.attempt.phase = phase::OPEN;
            opened.attempt.at_ns = kernel::now();
            if opened.excluded != 0 {
                exclude_peer_of(sk, protocol);
            }
            if protocol == Protocol::Tcp
                && let Some(Scratch { tuple, .. }) = scratch(User::States)
            {
                established(sk, opened, tuple);
            }
        }
        (state::SYN_RECV, state::ESTABLISHED) => accepted(sk, protocol),
        (state::CLOSE, state::LISTEN) => {
            if process::current_excluded() {
                let _: Result<(), i32> = LISTENERS.insert(listener(sk), 1, 0);
            }
        }
        (state::LISTEN, state::CLOSE) => {
            let _: Result<(), i32> = LISTENERS.remove(listener(sk));
        }
        // MPTCP sockets do not pass through `tcp_destroy_sock`.
        (_, state::CLOSE) if protocol == Protocol::Mptcp => ended(sk),
        (_, state::CLOSE) => closed(sk),
        _ => {}
    }
}

/// Notes where the stream ends. What was received may still be read.
#[inline(always)]
fn closed(sk: u64) {
    let Some(entry) = lookup(sk) else { return };
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &mut *entry };
    entry.last = [socket::sequence(sk, direction::OUT), socket::sequence(sk, direction::IN)];
    entry.closed = 1;
}

/// How a socket was opened, if that was seen.
#[inline(always)]
pub(crate) fn opened(sk: u64) -> Option<&'static mut Opened> {
    // SAFETY: a value of the map, valid while this program runs.
    OPENED.get_ptr_mut(sk).map(|opened| unsafe { &mut *opened })
}

/// Notes how a socket is opened, for [`opened`]. Where that fails, nobody will tell should the connection come to nothing:
/// this counts as lost at once, since at its end it looks like one that was opened before the capture.
#[inline(always)]
fn note(opened: &mut Opened, sk: u64, role: u8, phase: u8) {
    opened.attempt.kind = Kind::Attempt as u8;
    opened.attempt.phase = phase;
    opened.attempt.reserved = 0;
    opened.attempt.error = 0;
    opened.attempt.connection.role = role;
    opened.attempt.begun_ns = kernel::now();
    opened.attempt.at_ns = 0;
    opened.attempt.unused = 0;
    let noted = OPENED.insert(sk, &*opened, 0).is_ok();
    let asked = limit!(filters) & filter::NO_ATTEMPTS == 0 && opened.excluded == 0;
    if !noted && asked && (role == role::SERVER || opened.attempt.pid != 0) {
        losses::lost(total::MAP);
    }
}

/// The process itself connects: whose the socket is can be told now, and not when an answer comes.
#[inline(always)]
fn connecting(sk: u64, protocol: Protocol) {
    let Some(Scratch { opened, .. }) = scratch(User::States) else { return };
    let excluded = process::sign(&mut opened.attempt) as u8;
    opened.excluded = u64::from(excluded);
    if protocol == Protocol::Mptcp {
        // Its inner sockets tell how they fare.
        opened.attempt.pid = 0;
    }
    identify(&mut opened.attempt.connection, sk, protocol, 0);
    note(opened, sk, role::CLIENT, phase::OPENING);
    let Some(entry) = lookup(sk) else { return };
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &mut *entry };
    if unopened(entry.born) && entry.counter == [0; 2] {
        // Fast open: the call that connects made the entry.
        entry.connection.role = role::CLIENT;
        entry.excluded |= excluded;
    } else {
        end(sk, entry);
    }
}

#[inline(always)]
fn accepted(sk: u64, protocol: Protocol) {
    if let Some(opened) = opened(sk)
        && opened.attempt.connection.role == role::CLIENT
    {
        // Both ends connected to each other.
        opened.attempt.phase = phase::OPEN;
        return;
    }
    let excluded = u8::from(LISTENERS.get_ptr(listener(sk)).is_some());
    if excluded != 0 {
        exclude_peer_of(sk, protocol);
    }
    if let Some(Scratch { opened, tuple, .. }) = scratch(User::States) {
        // Nobody has taken it yet.
        opened.attempt.pid = 0;
        opened.excluded = u64::from(excluded);
        opened.attempt.connection.id = 0;
        opened.attempt.connection.role = role::SERVER;
        if protocol == Protocol::Tcp {
            established(sk, opened, tuple);
        }
        note(opened, sk, role::SERVER, phase::OPEN);
    }
    let Some(entry) = lookup(sk) else { return };
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &mut *entry };
    if entry.born == state::SYN_RECV {
        // Fast open: the server read before the handshake ended.
        entry.connection.role = role::SERVER;
        entry.excluded |= excluded;
    } else {
        end(sk, entry);
    }
}

/// Excludes the peer of an excluded socket that was opened just now.
#[inline(always)]
fn exclude_peer_of(sk: u64, protocol: Protocol) {
    if let Some(scratch) = scratch(User::States) {
        identify(&mut scratch.entry.connection, sk, protocol, 0);
        exclude_peer(&mut scratch.tuple, &scratch.entry.connection);
    }
}

#[inline(always)]
fn listener(sk: u64) -> Listener {
    Listener { netns: socket::network_namespace(sk), port: u32::from(socket::local_port(sk)) }
}

/// `tcp_destroy_sock`: the socket is gone, its address may be reused at once.
#[inline(always)]
pub(crate) fn ended(sk: u64) {
    if beginning::over() {
        // What it moved since is not missing.
        return;
    }
    if let Some(opened) = opened(sk) {
        if unheard(sk, opened) {
            losses::lost(total::MISS);
        }
        flow::unfollow(&opened.attempt.connection, sk);
        let _: Result<(), i32> = OPENED.remove(sk);
    }
    let Some(entry) = lookup(sk) else { return };
    // SAFETY: a value of the map, valid while this program runs.
    end(sk, unsafe { &*entry });
}

/// Whether a socket that waited for an answer goes without its end having been seen: the kernel skipped that run, and it
/// does not always count what it skips.
#[inline(always)]
fn unheard(sk: u64, opened: &Opened) -> bool {
    let attempt = &opened.attempt;
    let waits = attempt.phase == phase::OPENING && attempt.at_ns == 0;
    let asked = attempt.pid != 0 && opened.excluded == 0;
    waits && asked && socket::spoke(sk) && !socket::carried(sk)
}

/// Drops what is known of a socket whose process is not followed: bytes that it moves are not missed at its end, and
/// should the process be wanted later, it is like one that was open before the capture began.
#[inline(always)]
pub(crate) fn forget(sk: u64) {
    if let Some(opened) = opened(sk) {
        flow::unfollow(&opened.attempt.connection, sk);
        let _: Result<(), i32> = OPENED.remove(sk);
    }
    let Some(entry) = lookup(sk) else { return };
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &*entry };
    flow::unfollow(&entry.connection, sk);
    verdicts::forget(entry.connection.id);
    let _: Result<(), i32> = CONNECTIONS.remove(sk);
}

#[inline(always)]
fn end(sk: u64, entry: &StreamEntry) {
    if entry.excluded == 0 && entry.filtered == 0 {
        let unseen_out = unseen(sk, entry, direction::OUT);
        let unseen_in = unseen(sk, entry, direction::IN);
        if entry.reported != 0 || unseen_out != 0 || unseen_in != 0 {
            rings::send(&Ended {
                kind: Kind::Ended as u8,
                reserved: [0; 7],
                connection: entry.connection,
                at_ns: kernel::now(),
                unseen_out,
                unseen_in,
            });
        }
    }
    flow::unfollow(&entry.connection, sk);
    verdicts::forget(entry.connection.id);
    let _: Result<(), i32> = CONNECTIONS.remove(sk);
}

/// Stream bytes that passed without a call that was seen, modulo 4 GiB.
#[inline(always)]
fn unseen(sk: u64, entry: &StreamEntry, direction: u8) -> u64 {
    let at = usize::from(direction & 1);
    let followed = entry.connection.coordinate == coordinate::SEQUENCE
        && entry.connection.transport == transport::TCP
        && entry.sighted[at] != 0;
    if !followed {
        return 0;
    }
    let last = if entry.closed != 0 { entry.last[at] } else { socket::sequence(sk, direction) };
    let passed = last.wrapping_sub(entry.first[at]);
    let unseen = passed.wrapping_sub(entry.covered[at] as u32);
    if entry.closed != 0 && unseen.cast_signed() < 0 {
        // Read after the close.
        return 0;
    }
    // One for the FIN, which has a sequence number; a little below zero when a call counted a byte twice.
    if unseen > u32::MAX - 0xffff { 0 } else { u64::from(unseen.saturating_sub(1)) }
}
