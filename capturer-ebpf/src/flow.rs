//! Flows: which followed connections a packet belongs to, by its addresses and ports.
//!
//! Both ends of a connection may be on this machine, so a flow has two slots; its key has the lower end first, whichever
//! way a packet goes. Loopback addresses mean something in their namespace only; other addresses are looked for whatever
//! namespace a packet crosses. Where two namespaces have a socket with the same ends, nothing tells whose a packet is, and
//! it is nobody's.

use aya_ebpf::{bindings::BPF_NOEXIST, macros::map, maps::HashMap};
use capturer_ebpf::{
    layout::{Connection, coordinate, transport},
    settings::{STREAMS, filter},
};

use crate::{
    alias,
    kernel::{barrier, limit},
    memory::{Flow, Tuple},
    socket::{self, words},
};

#[map]
static FLOWS: HashMap<Tuple, Flow> = HashMap::with_max_entries(STREAMS, 0);

/// Ids of the connections whose packets are followed, by their socket.
#[map]
static SOCKETS: HashMap<u64, u64> = HashMap::with_max_entries(STREAMS, 0);

/// Whether packets are followed at all.
#[inline(always)]
pub(crate) fn asked() -> bool {
    limit!(filters) & filter::PACKETS != 0
}

/// The flow of a key.
#[inline(always)]
pub(crate) fn lookup(key: &Tuple) -> Option<&'static mut Flow> {
    // SAFETY: a value of the map, valid while this program runs.
    FLOWS.get_ptr_mut(key).map(|flow| unsafe { &mut *flow })
}

/// The id of the connection of a socket whose packets are followed.
#[inline(always)]
pub(crate) fn of_socket(sk: u64) -> Option<u64> {
    // SAFETY: a value of the map, valid while this program runs.
    SOCKETS.get_ptr(sk).map(|id| unsafe { *id })
}

/// Puts the lower end first; returns the slot of what was the local end.
#[inline(always)]
pub(crate) fn order(key: &mut Tuple) -> usize {
    let Tuple { netns, local_port, remote_port, local, remote } = *key;
    if (local, local_port) <= (remote, remote_port) {
        return 0;
    }
    *key = Tuple { netns, local_port: remote_port, remote_port: local_port, local: remote, remote: local };
    1
}

/// A slot as old verifiers want it: bounded where it is used, whatever the compiler knows.
#[inline(always)]
pub(crate) fn slot(slot: usize) -> usize {
    (barrier(slot as u64) & 1) as usize
}

/// Makes the key of a connection; returns the slot of its local end.
#[inline(always)]
fn key(key: &mut Tuple, connection: &Connection) -> usize {
    let loopback = socket::loopback(connection.family, &connection.remote);
    *key = Tuple {
        netns: if loopback { connection.netns } else { 0 },
        local_port: connection.local_port,
        remote_port: connection.remote_port,
        local: words(&connection.local),
        remote: words(&connection.remote),
    };
    order(key)
}

/// Follows the packets of a connection. Where no map has room, its packets are not seen, and its calls are.
#[inline(never)]
pub(crate) fn follow(tuple: &mut Tuple, connection: &Connection, sk: u64) -> u64 {
    let tcp = connection.transport == transport::TCP && connection.coordinate == coordinate::SEQUENCE;
    if !asked() || !tcp || connection.local_port == 0 || connection.remote_port == 0 {
        return 0;
    }
    let slot = slot(key(tuple, connection));
    if lookup(tuple).is_none() {
        let made = Flow {
            ids: [0; 2],
            netns: [0; 2],
            claims: [0; 2],
            translated: alias::is_translated(tuple),
            reserved: 0,
        };
        // Another CPU may have made it for the other end.
        let _: Result<(), i32> = FLOWS.insert(&*tuple, &made, u64::from(BPF_NOEXIST));
    }
    let Some(flow) = lookup(tuple) else { return 0 };
    if flow.claims[slot] != 0 && flow.netns[slot] != connection.netns {
        flow.claims[slot] = flow.claims[slot].wrapping_add(1);
    } else {
        // A namespace has one socket with these ends: what was there before has gone.
        flow.claims[slot] = flow.claims[slot].max(1);
        flow.ids[slot] = connection.id;
        flow.netns[slot] = connection.netns;
    }
    let _: Result<(), i32> = SOCKETS.insert(sk, connection.id, 0);
    0
}

/// Follows the packets of a connection no longer.
#[inline(never)]
pub(crate) fn unfollow(connection: &Connection, sk: u64) -> u64 {
    if !asked() || SOCKETS.get_ptr(sk).is_none() {
        return 0;
    }
    let mut tuple = Tuple { netns: 0, local_port: 0, remote_port: 0, local: [0; 2], remote: [0; 2] };
    let _: Result<(), i32> = SOCKETS.remove(sk);
    let slot = slot(key(&mut tuple, connection));
    let Some(flow) = lookup(&tuple) else { return 0 };
    if flow.claims[slot] > 1 {
        flow.claims[slot] -= 1;
    } else if flow.ids[slot] == connection.id {
        flow.claims[slot] = 0;
        flow.ids[slot] = 0;
    }
    if flow.claims == [0; 2] {
        let _: Result<(), i32> = FLOWS.remove(&tuple);
    }
    0
}
