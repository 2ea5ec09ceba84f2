//! From packets to streams: who talks to whom, and what each end sent, in the order in which it was there.

use std::collections::HashMap;
use std::net::SocketAddr;

use decoders::{Side, Transport, registry};

use super::read::{Capture, Content, Packet, Segment};
use super::reassembly::{Direction, Part};

/// Acknowledgements without data that may come before the captured data they mean, since captures of several queues or
/// interfaces are a little out of order.
const EARLY_ACKNOWLEDGEMENTS: usize = 8;

/// A TCP connection, or the datagrams between two sockets.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) transport: Transport,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    /// The capture holds its opening (always so for datagrams).
    pub(super) opened: bool,
    /// The capture holds its end.
    pub(super) closed: bool,
    pub(super) pieces: Vec<Piece>,
}

/// The next thing that one end sent.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) from: Side,
    /// Number of the packet that made it complete.
    pub(super) frame: u64,
    pub(super) at_ns: u64,
    pub(super) body: Body,
}

/// What a piece is.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// Bytes of the stream.
    Bytes(Vec<u8>),
    /// So many bytes of the stream are missing in the capture.
    Hole(u64),
    /// A datagram: what was captured of it, and its length.
    Datagram(Vec<u8>, u64),
}

/// All streams of a capture.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) all: Vec<Stream>,
    /// By packet: the stream, and who sent it.
    pub(super) by_frame: HashMap<u64, (usize, Side)>,
}

/// A stream while packets are still coming.
#[derive(Debug)]
struct Open {
    transport: Transport,
    ends: [SocketAddr; 2],
    /// Which end is the client, once that is certain.
    client: Option<usize>,
    first_sequence: Option<u32>,
    directions: [Direction; 2],
    /// By direction: what was acknowledged without data, and how many packets ago.
    patience: [Option<(u32, usize)>; 2],
    finished: [bool; 2],
    /// By direction: the place of its end, which counts as one byte.
    ends_at: [Option<u32>; 2],
    reset: bool,
    last: (u64, u64),
    pieces: Vec<(usize, u64, u64, Body)>,
}

// === impl Streams ===

impl Streams {
    /// Sorts a capture's packets into streams.
    pub(super) fn of(capture: Capture, servers: &[u16]) -> Self {
        let mut open: Vec<Open> = Vec::new();
        let mut newest: HashMap<(Transport, [SocketAddr; 2]), usize> = HashMap::new();
        let mut frames: Vec<(u64, usize, usize)> = Vec::new();
        for packet in capture.packets {
            let transport = match &packet.content {
                Content::Tcp(_) => Transport::Tcp,
                Content::Udp(..) => Transport::Udp,
            };
            let mut key = [packet.source, packet.destination];
            key.sort();
            let known = newest.get(&(transport, key)).copied();
            let going_on = |index: &usize| open.get(*index).is_some_and(|open| !open.is_over_by(&packet));
            let index = known.filter(going_on).unwrap_or_else(|| {
                open.push(Open::new(transport, [packet.source, packet.destination]));
                newest.insert((transport, key), open.len() - 1);
                open.len() - 1
            });
            let Some(stream) = open.get_mut(index) else { continue };
            frames.push((packet.number, index, stream.end_of(packet.source)));
            stream.take(packet);
        }
        let mut clients = Vec::new();
        let all = open.into_iter().map(|open| open.finish(servers, &mut clients)).collect();
        let side = |index: usize, end: usize| {
            if clients.get(index) == Some(&end) { Side::Client } else { Side::Server }
        };
        let by_frame =
            frames.into_iter().map(|(frame, index, end)| (frame, (index, side(index, end)))).collect();
        Self { all, by_frame }
    }
}

// === impl Stream ===

impl Stream {
    /// Returns the index of the first piece behind the first `messages`, where a message is all that one end sent until
    /// the other did; never behind the last piece.
    pub(super) fn behind(&self, messages: usize) -> usize {
        let mut passed = 0;
        let mut last = None;
        for (index, piece) in self.pieces.iter().enumerate() {
            if last != Some(piece.from) {
                if passed == messages {
                    return index;
                }
                passed += 1;
                last = Some(piece.from);
            }
        }
        self.pieces.len()
    }

    /// Returns how many messages there are.
    pub(super) fn messages(&self) -> usize {
        let mut last = None;
        self.pieces.iter().filter(|piece| last.replace(piece.from) != Some(piece.from)).count()
    }

    /// Says whether the client begins a piece by a letter, as text protocols do.
    pub(super) fn speaks_lines(&self) -> bool {
        self.pieces.iter().any(|piece| {
            let Body::Bytes(bytes) = &piece.body else { return false };
            piece.from == Side::Client && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        })
    }

    /// Returns how many bytes are missing in the capture.
    pub(super) fn missing(&self) -> u64 {
        self.pieces.iter().map(|piece| if let Body::Hole(length) = piece.body { length } else { 0 }).sum()
    }
}

// === impl Open ===

impl Open {
    fn new(transport: Transport, ends: [SocketAddr; 2]) -> Self {
        Self {
            transport,
            ends,
            client: None,
            first_sequence: None,
            directions: Default::default(),
            patience: [None; 2],
            finished: [false; 2],
            ends_at: [None; 2],
            reset: false,
            last: (0, 0),
            pieces: Vec::new(),
        }
    }

    fn end_of(&self, address: SocketAddr) -> usize {
        usize::from(self.ends[0] != address)
    }

    /// Says whether a packet opens another connection between the same ports.
    fn is_over_by(&self, packet: &Packet) -> bool {
        let Content::Tcp(segment) = &packet.content else { return false };
        let opens = segment.syn && segment.acknowledged.is_none();
        let begun = self.first_sequence.is_some() || !self.pieces.is_empty() || self.reset;
        opens && begun && self.first_sequence != Some(segment.sequence)
    }

    fn take(&mut self, packet: Packet) {
        let end = self.end_of(packet.source);
        self.last = (packet.number, packet.at_ns);
        match packet.content {
            Content::Udp(bytes, length) => {
                self.pieces.push((end, packet.number, packet.at_ns, Body::Datagram(bytes, length)));
            }
            Content::Tcp(segment) => self.segment(end, segment),
        }
    }

    fn segment(&mut self, end: usize, segment: Segment) {
        let other = 1 - end;
        self.open(end, &segment);
        if let Some(place) = segment.acknowledged {
            self.directions[other].begin(place);
            self.acknowledged(other, place, &segment);
        }
        let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
        let length = u32::try_from(segment.bytes.len()).unwrap_or_default();
        // A byte before the place where the direction stands asks whether the other end is there.
        self.directions[end].take(sequence, segment.bytes);
        let mut parts = Vec::new();
        self.directions[end].ready(&mut parts);
        self.give(end, parts);
        self.reset |= segment.reset;
        if segment.fin {
            let place = sequence.wrapping_add(length);
            self.ends_at[end] = Some(place);
            self.finished[end] |= self.directions[end].is_at(place);
        }
    }

    fn open(&mut self, end: usize, segment: &Segment) {
        if !segment.syn {
            self.directions[end].begin(segment.sequence);
            return;
        }
        self.directions[end].begin(segment.sequence.wrapping_add(1));
        if segment.acknowledged.is_none() {
            self.client.get_or_insert(end);
            self.first_sequence.get_or_insert(segment.sequence);
        } else {
            self.client.get_or_insert(1 - end);
        }
    }

    /// What an end acknowledges, the other sent.
    fn acknowledged(&mut self, direction: usize, place: u32, by: &Segment) {
        let waited = match self.patience[direction].take() {
            Some((earlier, packets)) if packets > 0 => {
                self.patience[direction] = Some((earlier, packets - 1));
                None
            }
            Some((earlier, _)) => Some(earlier),
            None => {
                self.patience[direction] = Some((place, EARLY_ACKNOWLEDGEMENTS));
                None
            }
        };
        let place = if by.bytes.is_empty() { waited } else { Some(place) };
        if let Some(place) = place {
            let end = self.ends_at[direction].filter(|end| end.wrapping_add(1) == place);
            let place = end.unwrap_or(place);
            let mut parts = Vec::new();
            self.directions[direction].acknowledged(place, &mut parts);
            self.give(direction, parts);
        }
    }

    fn give(&mut self, end: usize, parts: Vec<Part>) {
        let (frame, at_ns) = self.last;
        for part in parts {
            let body = match part {
                Part::Bytes(bytes) => Body::Bytes(bytes),
                Part::Hole(length) => Body::Hole(length),
            };
            self.pieces.push((end, frame, at_ns, body));
        }
    }

    fn finish(mut self, servers: &[u16], clients: &mut Vec<usize>) -> Stream {
        for end in [0, 1] {
            let mut parts = Vec::new();
            self.directions[end].finish(&mut parts);
            self.give(end, parts);
        }
        let client = self.client.unwrap_or_else(|| self.likely_client(servers));
        clients.push(client);
        let side = |end| if end == client { Side::Client } else { Side::Server };
        Stream {
            transport: self.transport,
            client: self.ends[client],
            server: self.ends[1 - client],
            opened: self.transport == Transport::Udp || self.client.is_some(),
            closed: self.reset || self.finished == [true; 2],
            pieces: (self.pieces.into_iter())
                .map(|(end, frame, at_ns, body)| Piece { from: side(end), frame, at_ns, body })
                .collect(),
        }
    }

    /// Without an opening: the server is the end with the port that servers have, else the client speaks first.
    fn likely_client(&self, servers: &[u16]) -> usize {
        let [first, second] = self.ends.map(|end| rank(end.port(), servers));
        let first_speaker = self.pieces.first().map_or(0, |(end, ..)| *end);
        match first.cmp(&second) {
            std::cmp::Ordering::Less => 1,
            std::cmp::Ordering::Greater => 0,
            std::cmp::Ordering::Equal => first_speaker,
        }
    }
}

// === free functions ===

/// Returns how likely a port is a server's; less is likelier.
fn rank(port: u16, servers: &[u16]) -> u8 {
    if servers.contains(&port) {
        0
    } else if registry().iter().any(|protocol| protocol.ports.contains(&port)) {
        1
    } else if port < 1024 {
        2
    } else {
        3
    }
}
