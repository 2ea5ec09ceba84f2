//! Which protocol a connection speaks, and which end asks: found from the first bytes, or, on a connection that was
//! open before, from the first call whose bytes begin like a message.

use super::flow::Both;
use super::{Content, Context, Stretch, Transport, Way};
use crate::decoder::{Evidence, Options, Probe, Side};
use crate::registry::{Protocol, registry};

/// Bytes held per way while undecided: longer than the head of any message that tells its protocol.
const MAX_HEAD: usize = 4096;

/// Calls looked at on a connection that was open before: long enough to pass the rest of a long transfer.
const MAX_CALLS: u32 = 256;

/// What is known after another stretch.
#[derive(Debug)]
pub(super) enum Detected {
    /// The protocol, and which end the observed process is.
    Yes(&'static Protocol, Side),
    /// None of ours.
    No,
    /// More is needed.
    NotYet,
}

/// A stretch held until the protocol is known.
#[derive(Debug)]
pub(super) struct Held {
    way: Way,
    position: u64,
    at_ns: u64,
    bytes: Vec<u8>,
}

/// The state of detection.
#[derive(Debug)]
pub(super) struct Detector {
    context: Context,
    held: Vec<Held>,
    calls: u32,
    next: Both<u64>,
    lost: Both<u64>,
}

// === impl Held ===

impl Held {
    pub(super) fn stretch(&self) -> Stretch<'_> {
        Stretch {
            way: self.way,
            position: self.position,
            at_ns: self.at_ns,
            content: Content::Bytes(&self.bytes),
        }
    }

    fn end(&self) -> u64 {
        self.position.saturating_add(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }
}

// === impl Detector ===

impl Detector {
    pub(super) fn new(context: Context) -> Self {
        Self { context, held: Vec::new(), calls: 0, next: Both::default(), lost: Both::default() }
    }

    /// Takes the next stretch of a stream.
    pub(super) fn take(&mut self, stretch: Stretch<'_>, options: &Options) -> Detected {
        self.calls = self.calls.saturating_add(1);
        let bytes = match stretch.content {
            Content::Bytes(bytes) => bytes,
            Content::Uncaptured(_) | Content::Lost(_) => {
                // What was held has an unseen middle now; the next call may begin a message.
                self.held.retain(|held| held.way != stretch.way);
                self.context.from_start = false;
                if let Content::Lost(len) = stretch.content {
                    let lost = self.lost.of_mut(stretch.way);
                    *lost = lost.saturating_add(len.unwrap_or(u64::MAX));
                }
                return self.not_yet();
            }
        };
        if bytes.is_empty() {
            return Detected::NotYet;
        }
        self.hold(stretch, bytes);
        if let Some(found) = self.probe(stretch.way, options, &self.head(stretch.way)) {
            return self.found(found);
        }
        if self.hopeless(options) {
            if self.context.from_start {
                return Detected::No;
            }
            return self.begin_anew(stretch.way, options);
        }
        if self.head(stretch.way).len() >= MAX_HEAD {
            return if self.context.from_start {
                Detected::No
            } else {
                self.begin_anew(stretch.way, options)
            };
        }
        self.not_yet()
    }

    /// Takes a datagram; each is looked at alone.
    pub(super) fn datagram(&mut self, way: Way, bytes: &[u8], options: &Options) -> Detected {
        self.calls = self.calls.saturating_add(1);
        match self.probe(way, options, bytes) {
            Some((protocol, side)) => Detected::Yes(protocol, side),
            None => self.not_yet(),
        }
    }

    /// Returns what was held, in order, for the session to read.
    pub(super) fn release(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// Returns how many bytes of a way are known to be lost.
    pub(super) fn lost(&self, way: Way) -> u64 {
        *self.lost.of(way)
    }

    pub(super) fn floor(&self, way: Way) -> u64 {
        let first = self.held.iter().find(|held| held.way == way).map(|held| held.position);
        first.unwrap_or(*self.next.of(way))
    }

    fn not_yet(&self) -> Detected {
        if self.calls >= MAX_CALLS { Detected::No } else { Detected::NotYet }
    }

    fn hold(&mut self, stretch: Stretch<'_>, bytes: &[u8]) {
        let held = Held {
            way: stretch.way,
            position: stretch.position,
            at_ns: stretch.at_ns,
            bytes: bytes.to_vec(),
        };
        *self.next.of_mut(stretch.way) = held.end();
        self.held.push(held);
    }

    /// Returns the bytes held of one way.
    fn head(&self, way: Way) -> Vec<u8> {
        let held = self.held.iter().filter(|held| held.way == way);
        held.flat_map(|held| held.bytes.iter().copied()).take(MAX_HEAD).collect()
    }

    /// On a connection that was open before, the newest call may begin a message where the older ones did not: forgets
    /// those and looks at it alone.
    fn begin_anew(&mut self, way: Way, options: &Options) -> Detected {
        let newest = self.held.pop();
        self.held.clear();
        let Some(newest) = newest else { return self.not_yet() };
        let found = self.probe(way, options, &newest.bytes);
        let undecided = self.protocols(options).any(|protocol| {
            self.sides(way).any(|(sender, _)| self.ask(protocol, sender, &newest.bytes) == Probe::NeedMore)
        });
        if found.is_some() || undecided && newest.bytes.len() < MAX_HEAD {
            self.held.push(newest);
        }
        match found {
            Some(found) => self.found(found),
            None => self.not_yet(),
        }
    }

    /// On a connection that was open before, what the other end sent earlier belongs to exchanges of which the
    /// beginning was not seen.
    fn found(&mut self, (protocol, side): (&'static Protocol, Side)) -> Detected {
        if !self.context.from_start
            && let Some(last) = self.held.last().map(|held| held.way)
        {
            self.held.retain(|held| held.way == last);
        }
        Detected::Yes(protocol, side)
    }

    /// Returns the protocol that claims `head`, and which end the observed process then is.
    fn probe(&self, way: Way, options: &Options, head: &[u8]) -> Option<(&'static Protocol, Side)> {
        let mut claims = Vec::new();
        for protocol in self.protocols(options) {
            for (sender, side) in self.sides(way) {
                if self.ask(protocol, sender, head) == Probe::Yes {
                    claims.push((protocol, side));
                }
            }
        }
        let usual = |(protocol, side): &&(&'static Protocol, Side)| {
            let port = match side {
                Side::Client => self.context.remote_port,
                Side::Server => self.context.local_port,
            };
            protocol.ports.contains(&port)
        };
        claims.iter().find(usual).or_else(|| claims.first()).copied()
    }

    fn ask(&self, protocol: &Protocol, sender: Side, head: &[u8]) -> Probe {
        let evidence = &Evidence {
            sender,
            head,
            other: &[],
            from_start: self.context.from_start,
            spoke_first: true,
            usual_port: false,
        };
        match (self.context.transport, &protocol.datagrams) {
            (Transport::Udp, Some(datagrams)) => (datagrams.probe)(evidence),
            (Transport::Udp, None) => Probe::No,
            (Transport::Tcp, _) => (protocol.probe)(evidence),
        }
    }

    /// Says whether no protocol can come out of what is held: none wants more of a way that has bytes.
    fn hopeless(&self, options: &Options) -> bool {
        [Way::Out, Way::In].into_iter().all(|way| {
            let head = self.head(way);
            head.is_empty()
                || self.protocols(options).all(|protocol| {
                    self.sides(way).all(|(sender, _)| self.ask(protocol, sender, &head) == Probe::No)
                })
        })
    }

    fn protocols(&self, options: &Options) -> impl Iterator<Item = &'static Protocol> {
        let (wanted, transport) = (options.protocols.clone(), self.context.transport);
        registry().iter().filter(move |protocol| {
            let named = wanted.is_empty() || wanted.iter().any(|name| name == protocol.name);
            named && protocol.transports.contains(&transport)
        })
    }

    /// Returns who may have sent the bytes of `way`, and which end the observed process then is.
    fn sides(&self, way: Way) -> impl Iterator<Item = (Side, Side)> {
        let known = self.context.side;
        [Side::Client, Side::Server]
            .into_iter()
            .filter(move |side| known.is_none_or(|known| known == *side))
            .map(move |side| (side.sender(way), side))
    }
}
