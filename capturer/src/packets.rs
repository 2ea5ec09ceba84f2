//! Packets of followed connections: where and when each byte was seen between two processes.
//!
//! The kernel tells of packets before it is known whether anybody wants their connection: those of a connection that
//! accepts come before its first call. So they are kept by themselves, and asked when an exchange is complete. Nothing here
//! is an event of a call: what is not seen leaves a time unknown.

mod passage;

use capturer_ebpf::layout;
use foldhash::{HashMap, HashSet};

use crate::direction::{IN, OUT};
use crate::segments::Span;
pub use passage::{Crossing, Interface, Passage, SIGHTINGS};

/// Connections whose packets are kept; as many as are decoded and half as many about which is not known yet. Beyond it new
/// ones are not seen.
pub const CONNECTIONS: usize = 12_288;

/// Sightings kept of all connections together. Beyond it new ones are not seen.
pub const ALL_SIGHTINGS: usize = 512 << 10;

/// Bytes that they take: a twelfth of the capturer's memory.
pub const SIGHTINGS_BYTES: usize = ALL_SIGHTINGS * passage::SIGHTING_BYTES;

/// How long packets are kept of a connection of which no call comes: its process may not be followed.
pub const UNCLAIMED_NS: u64 = 1_000_000_000;

/// How often the unclaimed are looked for.
const EXPIRE_EVERY_NS: u64 = 250_000_000;

/// Packets by connection.
#[derive(Debug, Default)]
pub struct Packets {
    connections: HashMap<u64, Seen>,
    /// Those of which no call has come yet.
    unclaimed: HashSet<u64>,
    /// Sightings of all connections.
    sightings: usize,
    expired_ns: u64,
}

/// What was seen of a connection's packets.
#[derive(Debug, Default)]
pub struct Seen {
    /// By direction, seen from the connection's own end.
    passages: [Passage; 2],
    /// Namespaces of its own socket and of its peer's, where both are on this machine.
    own_netns: u32,
    peer_netns: u32,
    /// How long it took to open, until somebody asks.
    opening: Option<Span>,
    /// Segments sent again so far, as the kernel counts them.
    sent_again: Option<u32>,
    last_ns: u64,
}

// === impl Packets ===

impl Packets {
    /// Takes a packet that crossed an interface.
    pub fn crossed(&mut self, packet: &layout::Packet) {
        let layout::Packet { flags, netns, connections, at_ns, seq, bytes, sockets, name, .. } = *packet;
        let transmit = flags & layout::packet::TRANSMIT != 0;
        let interface = Interface { netns, name };
        let [sender, receiver] = sockets;
        let crowded = self.sightings >= ALL_SIGHTINGS;
        for (id, direction, own, peer) in
            [(connections[0], OUT, sender, receiver), (connections[1], IN, receiver, sender)]
        {
            let Some(seen) = self.entry(id, at_ns) else { continue };
            seen.own_netns = if own == 0 { seen.own_netns } else { own };
            seen.peer_netns = if peer == 0 { seen.peer_netns } else { peer };
            let Some(passage) = seen.passages.get_mut(direction) else { continue };
            let mut more = 0;
            if bytes > 0 && !crowded {
                more = passage.crossed(interface, transmit, seq, bytes, at_ns);
            }
            if flags & layout::packet::ZERO_WINDOW != 0 {
                passage.had_no_room(interface, transmit, at_ns);
            }
            self.sightings += more;
        }
    }

    /// Takes bytes that came into a socket.
    pub fn arrived(&mut self, arrival: &layout::Arrival) {
        let layout::Arrival { kind: _, alone, reserved: _, seq, connection, at_ns, bytes, unused: _ } =
            *arrival;
        let Some(seen) = self.entry(connection, at_ns) else { return };
        let Some(passage) = seen.passages.get_mut(IN) else { return };
        if alone == 0 {
            passage.arrived(seq, at_ns);
        } else {
            passage.arrived_alone(seq, bytes, at_ns);
        }
    }

    /// Takes bytes that were sent again.
    pub fn sent_again(&mut self, again: &layout::Retransmit) {
        let layout::Retransmit { kind: _, reserved: _, seq, connection, at_ns, bytes: _, total } = *again;
        let Some(seen) = self.entry(connection, at_ns) else { return };
        // The first one says only that it happened.
        let segments = seen.sent_again.map_or(1, |before| total.wrapping_sub(before));
        seen.sent_again = Some(total);
        if let Some(passage) = seen.passages.get_mut(OUT) {
            passage.sent_again(seq, segments);
        }
    }

    /// Takes how long a connection took to open.
    pub fn connected(&mut self, connected: &layout::Connected) {
        let layout::Connected { kind: _, reserved: _, connection, begun_ns, at_ns } = *connected;
        if let Some(seen) = self.entry(connection, at_ns) {
            seen.opening = Some(Span { begun_ns, ended_ns: at_ns });
        }
    }

    /// Keeps the packets of a connection from now on, since its calls are followed.
    pub fn claim(&mut self, connection: u64, at_ns: u64) {
        if self.entry(connection, at_ns).is_some() {
            self.unclaimed.remove(&connection);
        }
    }

    /// Returns what was seen of a connection.
    #[must_use]
    pub fn of(&self, connection: u64) -> Option<&Seen> {
        self.connections.get(&connection)
    }

    /// Returns what was seen of a connection, to take from it what is told once.
    pub fn of_mut(&mut self, connection: u64) -> Option<&mut Seen> {
        self.connections.get_mut(&connection)
    }

    /// Forgets what of a connection lies wholly before these sequence numbers, by direction.
    pub fn prune(&mut self, connection: u64, floors: [Option<u32>; 2]) {
        let Some(seen) = self.connections.get_mut(&connection) else { return };
        let before = seen.sightings();
        for (passage, floor) in seen.passages.iter_mut().zip(floors) {
            if let Some(floor) = floor {
                passage.prune(floor);
            }
        }
        self.sightings = self.sightings.saturating_sub(before - seen.sightings());
    }

    /// Forgets a connection.
    pub fn forget(&mut self, connection: u64) {
        self.unclaimed.remove(&connection);
        if let Some(seen) = self.connections.remove(&connection) {
            self.sightings = self.sightings.saturating_sub(seen.sightings());
        }
    }

    /// Forgets the packets of connections of which no call came in time.
    pub fn expire(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.expired_ns) < EXPIRE_EVERY_NS {
            return;
        }
        self.expired_ns = now_ns;
        let is_due = |id: &&u64| {
            let seen = self.connections.get(id);
            seen.is_none_or(|seen| now_ns.saturating_sub(seen.last_ns) >= UNCLAIMED_NS)
        };
        let due: Vec<u64> = self.unclaimed.iter().filter(is_due).copied().collect();
        for connection in due {
            self.forget(connection);
        }
    }

    /// Returns how many connections are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Returns whether no connection is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    fn entry(&mut self, connection: u64, at_ns: u64) -> Option<&mut Seen> {
        if connection == 0 {
            return None;
        }
        if self.connections.len() >= CONNECTIONS && !self.connections.contains_key(&connection) {
            return None;
        }
        let unclaimed = &mut self.unclaimed;
        let seen = self.connections.entry(connection).or_insert_with(|| {
            unclaimed.insert(connection);
            Seen::default()
        });
        seen.last_ns = seen.last_ns.max(at_ns);
        Some(seen)
    }
}

// === impl Seen ===

impl Seen {
    /// Returns what was seen of one direction.
    #[must_use]
    pub fn passage(&self, direction: usize) -> Option<&Passage> {
        self.passages.get(direction)
    }

    /// Returns whether an interface is one of the peer's own, behind which no wire lies: what happens there is the peer's.
    #[must_use]
    pub fn is_peers_own(&self, interface: &Interface) -> bool {
        self.peer_netns != 0 && interface.netns == self.peer_netns && self.peer_netns != self.own_netns
    }

    /// Takes how long the connection took to open: told to the first who asks.
    pub fn take_opening(&mut self) -> Option<Span> {
        self.opening.take()
    }

    /// Takes how many segments were sent again that begin before a sequence number.
    pub fn take_sent_again(&mut self, end: u32) -> u32 {
        self.passages.get_mut(OUT).map_or(0, |passage| passage.take_sent_again(end))
    }

    fn sightings(&self) -> usize {
        self.passages.iter().map(Passage::sightings).sum()
    }
}

#[cfg(test)]
mod tests;
