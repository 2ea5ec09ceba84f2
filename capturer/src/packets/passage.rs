//! One direction of a connection: which interfaces its bytes crossed, and when they came into the socket.

use std::collections::VecDeque;

use capturer_ebpf::layout::INTERFACE_NAME_LEN;

use crate::sequence::Sequence;

/// Packets kept for each interface, and arrivals: those of a long message's ends.
pub const SIGHTINGS: usize = 192;

/// Of these, how many are the first ones.
const FRONT: usize = 48;

/// Interfaces that are kept, sending and receiving: two veth pairs, a bridge and an uplink at either end, with a tunnel.
const INTERFACES: usize = 24;

/// Room for packets that a resting connection keeps at each place.
const KEPT: usize = 4;

/// Ranges kept that came before what lies in front of them.
const EARLY: usize = 64;

/// Retransmissions kept until somebody asks.
const RETRANSMISSIONS: usize = 1024;

/// Times kept at which a sender had no room.
const ZERO_WINDOWS: usize = 64;

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Inode of its network namespace.
    pub netns: u32,
    /// Its name, NUL padded.
    pub name: [u8; INTERFACE_NAME_LEN],
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Passage {
    sequence: Sequence,
    crossings: Vec<Crossing>,
    /// Up to where the socket had all bytes, and when.
    arrivals: VecDeque<Arrival>,
    /// Where packets that were seen alone leave no hole.
    covered: Option<u64>,
    early: Vec<(u64, u64)>,
    /// Where something was sent again, and how many segments.
    retransmissions: VecDeque<(u64, u32)>,
    /// When its sender had no room, as seen at one place.
    zero_windows: VecDeque<u64>,
    window_place: Option<(Interface, bool)>,
}

/// Packets that crossed an interface one way.
#[derive(Debug)]
pub struct Crossing {
    /// The interface.
    pub interface: Interface,
    /// Whether it sends.
    pub transmit: bool,
    sightings: VecDeque<Sighting>,
}

/// Bytes of a packet at one place.
pub(super) const SIGHTING_BYTES: usize = size_of::<Sighting>();

/// One packet's payload at one place.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    start: u64,
    end: u64,
    at_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    end: u64,
    at_ns: u64,
}

// === impl Interface ===

impl Interface {
    /// Returns the name as text.
    #[must_use]
    pub fn name(&self) -> String {
        let len = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(self.name.get(..len).unwrap_or_default()).into_owned()
    }
}

// === impl Passage ===

impl Passage {
    /// Takes a packet that crossed an interface; returns how many more are kept.
    pub(super) fn crossed(
        &mut self,
        interface: Interface,
        transmit: bool,
        seq: u32,
        bytes: u32,
        at_ns: u64,
    ) -> usize {
        let start = self.sequence.advance(seq);
        let end = start + u64::from(bytes);
        let same = |crossing: &Crossing| crossing.interface == interface && crossing.transmit == transmit;
        let index = match self.crossings.iter().position(same) {
            Some(index) => index,
            None if self.crossings.len() < INTERFACES => {
                self.crossings.push(Crossing { interface, transmit, sightings: VecDeque::new() });
                self.crossings.len() - 1
            }
            None => return 0,
        };
        let Some(crossing) = self.crossings.get_mut(index) else { return 0 };
        crossing.sightings.push_back(Sighting { start, end, at_ns });
        if crossing.sightings.len() <= SIGHTINGS {
            return 1;
        }
        crossing.sightings.remove(FRONT);
        0
    }

    /// Returns how many packets are kept, each interface's by themselves.
    pub(super) fn sightings(&self) -> usize {
        self.crossings.iter().map(|crossing| crossing.sightings.len()).sum()
    }

    /// Takes that all bytes before `seq` are in the socket.
    pub(super) fn arrived(&mut self, seq: u32, at_ns: u64) {
        let end = self.sequence.advance(seq);
        self.reached(end, at_ns);
    }

    /// Takes a packet that came to the socket, and ends at `seq`.
    pub(super) fn arrived_alone(&mut self, seq: u32, bytes: u32, at_ns: u64) {
        let end = self.sequence.advance(seq);
        let start = end.saturating_sub(u64::from(bytes));
        let mut covered = *self.covered.get_or_insert(start);
        if start > covered {
            if self.early.len() < EARLY {
                self.early.push((start, end));
            }
            return;
        }
        covered = covered.max(end);
        while let Some(index) = self.early.iter().position(|(start, _)| *start <= covered) {
            covered = covered.max(self.early.swap_remove(index).1);
        }
        self.covered = Some(covered);
        self.reached(covered, at_ns);
    }

    fn reached(&mut self, end: u64, at_ns: u64) {
        if self.arrivals.back().is_some_and(|last| last.end >= end) {
            return;
        }
        self.arrivals.push_back(Arrival { end, at_ns });
        if self.arrivals.len() > SIGHTINGS {
            self.arrivals.remove(FRONT);
        }
    }

    /// Takes that so many segments were sent again from `seq` on.
    pub(super) fn sent_again(&mut self, seq: u32, segments: u32) {
        if self.retransmissions.len() < RETRANSMISSIONS {
            self.retransmissions.push_back((self.sequence.position(seq), segments));
        }
    }

    /// Takes that the sender had no room; the same packet is counted where it was seen first.
    pub(super) fn had_no_room(&mut self, interface: Interface, transmit: bool, at_ns: u64) {
        if *self.window_place.get_or_insert((interface, transmit)) != (interface, transmit) {
            return;
        }
        self.zero_windows.push_back(at_ns);
        if self.zero_windows.len() > ZERO_WINDOWS {
            self.zero_windows.pop_front();
        }
    }

    /// Takes how many segments were sent again that begin before `end`.
    pub(super) fn take_sent_again(&mut self, end: u32) -> u32 {
        let end = self.sequence.position(end);
        let (before, behind): (VecDeque<_>, _) =
            self.retransmissions.drain(..).partition(|(start, _)| *start < end);
        self.retransmissions = behind;
        before.into_iter().map(|(_, segments)| segments).fold(0, u32::saturating_add)
    }

    /// Forgets what lies wholly before a sequence number.
    pub(super) fn prune(&mut self, floor: u32) {
        let floor = self.sequence.position(floor);
        for crossing in &mut self.crossings {
            crossing.sightings.retain(|sighting| sighting.end > floor);
            give_back(&mut crossing.sightings);
        }
        while self.arrivals.front().is_some_and(|arrival| arrival.end <= floor) {
            self.arrivals.pop_front();
        }
        give_back(&mut self.arrivals);
        give_back(&mut self.zero_windows);
    }

    /// Returns the places that bytes of this direction crossed.
    #[must_use]
    pub fn crossings(&self) -> &[Crossing] {
        &self.crossings
    }

    /// Returns the packets that crossed an interface one way.
    #[must_use]
    pub fn crossing(&self, interface: &Interface, transmit: bool) -> Option<&Crossing> {
        self.crossings
            .iter()
            .find(|crossing| crossing.interface == *interface && crossing.transmit == transmit)
    }

    /// Returns the place of a sequence number in this direction, for asking its crossings.
    #[must_use]
    pub fn position(&self, seq: u32) -> u64 {
        self.sequence.position(seq)
    }

    /// Returns when all bytes before `end` were in the socket.
    #[must_use]
    pub fn in_socket(&self, end: u64) -> Option<u64> {
        let index = self.arrivals.partition_point(|arrival| arrival.end < end);
        self.arrivals.get(index).map(|arrival| arrival.at_ns)
    }

    /// Returns how often the sender of this direction had no room within a time.
    #[must_use]
    pub fn zero_windows(&self, from_ns: u64, to_ns: u64) -> u32 {
        let within = self.zero_windows.iter().filter(|at_ns| (from_ns..=to_ns).contains(*at_ns));
        u32::try_from(within.count()).unwrap_or(u32::MAX)
    }
}

/// Gives memory back that one large message took; what the usual exchange takes stays.
fn give_back<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > 2 * KEPT {
        queue.shrink_to(KEPT);
    }
}

// === impl Crossing ===

impl Crossing {
    /// Returns when the byte at `position` crossed first.
    #[must_use]
    pub fn at(&self, position: u64) -> Option<u64> {
        let covers = |sighting: &&Sighting| sighting.start <= position && position < sighting.end;
        self.sightings.iter().filter(covers).map(|sighting| sighting.at_ns).min()
    }

    /// Returns when the last byte of `start..end` crossed that did so up to `limit_ns`.
    #[must_use]
    pub fn last_before(&self, start: u64, end: u64, limit_ns: u64) -> Option<u64> {
        let within = self
            .sightings
            .iter()
            .filter(|sighting| sighting.start < end && start < sighting.end && sighting.at_ns <= limit_ns);
        let reach = within.map(|sighting| sighting.end.min(end)).max()?;
        self.at(reach.saturating_sub(1))
    }

    /// Returns the bytes of `start..end` that crossed, those that did so again not counted.
    #[must_use]
    pub fn bytes(&self, start: u64, end: u64) -> u64 {
        let mut parts: Vec<(u64, u64)> = self
            .sightings
            .iter()
            .map(|sighting| (sighting.start.max(start), sighting.end.min(end)))
            .filter(|(start, end)| start < end)
            .collect();
        parts.sort_unstable();
        let mut reached = start;
        let mut bytes = 0;
        for (start, end) in parts {
            bytes += end.saturating_sub(start.max(reached));
            reached = reached.max(end);
        }
        bytes
    }
}
