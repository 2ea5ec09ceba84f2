//! One connection from its bytes to its exchanges: detection, framing, resynchronisation and pairing, written once for
//! all protocols.

mod detect;
mod early;
mod flow;
mod pairing;
mod preamble;
mod session;
#[cfg(test)]
mod tests;
mod trial;
mod turns;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::decoder::{Options, Side};
use crate::registry::Protocol;
use detect::{Claim, Detected, Detector, Held};
use preamble::{Passed, Preamble};
use session::Session;

/// Direction of bytes as the observed process sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It sent them.
    Out,
    /// It received them.
    In,
}

/// Transport under a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A byte stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What is known of a connection before its first byte.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Its transport.
    pub transport: Transport,
    /// Which end the observed process is, where known.
    pub side: Option<Side>,
    /// Local port; 0 when unknown.
    pub local_port: u16,
    /// Remote port; 0 when unknown.
    pub remote_port: u16,
    /// Whether the capture saw it open, so that the first bytes are the first.
    pub from_start: bool,
}

/// What happened on a connection.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all outcomes are exchanges")]
pub enum Outcome {
    /// A request and its response; either may be absent.
    Exchange(Exchange),
    /// Bytes that the protocol's decoder could not read.
    Unparsable {
        /// Their direction.
        direction: Direction,
        /// How many.
        bytes: u64,
    },
    /// A response without a request, or a request dropped at a limit.
    Unpaired,
    /// A request whose response was lost in a gap or could not be read.
    Gap,
}

/// A request and its response; either may be absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Registry name of the protocol.
    pub protocol: &'static str,
    /// Which end the observed process is.
    pub side: Side,
    /// Whether it was seen encrypted only.
    pub tls: bool,
    /// The request; absent for a push.
    pub request: Option<Message>,
    /// The response; absent when the connection or capture ended first, or none is sent.
    pub response: Option<Message>,
    /// What was asked, one line.
    pub operation: String,
    /// Host, database or topic; empty when none.
    pub target: String,
    /// Outcome by the protocol's own word; empty without a response.
    pub status: String,
    /// Whether the outcome is an error, as is a connection that ended before its response.
    pub error: bool,
    /// Fields that filters test.
    pub attributes: Vec<(&'static str, String)>,
    /// Whether a client library sent the request by itself when it connected, to find out what the server can do: an
    /// error is then an answer like any other.
    pub handshake: bool,
    /// The client's address and port as a proxy in front of the server announced them (PROXY protocol).
    pub announced: Option<SocketAddr>,
    /// Why the response is unknown, where that is known.
    pub reason: Option<Reason>,
}

/// Why an exchange has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Bytes of a response came that could not be read.
    Unreadable,
}

/// One direction of an exchange: where its bytes lie and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Position of its first byte; the ordinal of a datagram.
    pub start: u64,
    /// Position behind its last byte.
    pub end: u64,
    /// The length of the datagram that it is; `None` in a stream.
    pub datagram: Option<u64>,
    /// Size of the decoded content where it differs.
    pub plain_bytes: Option<u64>,
    /// Text to show, or raw bytes.
    pub payload: Vec<u8>,
    /// Whether the payload was shortened or partly unseen.
    pub truncated: bool,
}

/// What the conversation wants to see next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The protocol is not known yet.
    Undecided {
        /// By direction, out first: bytes below this position need not be captured.
        skip_until: [Option<u64>; 2],
    },
    /// It is decoded.
    Trace {
        /// Registry name of the protocol.
        protocol: &'static str,
        /// By direction, out first: bytes below this position need not be captured.
        skip_until: [Option<u64>; 2],
    },
    /// Nothing more is of use.
    Ignore,
}

/// One TCP connection, or one UDP socket and peer. Calls come in the order of their times, both directions together.
#[derive(Debug)]
pub struct Conversation {
    context: Context,
    options: Arc<Options>,
    state: State,
    preamble: Preamble,
    /// How often the connection was taken for a protocol that it does not speak.
    mistakes: u32,
    /// Tunnels that were entered, one within the other.
    tunnels: u32,
    outcomes: VecDeque<Outcome>,
}

/// Mistakes after which a connection is left alone: it goes on to mislead.
const MAX_MISTAKES: u32 = 8;

/// Tunnels within each other that are entered: a client reaches a server through a few proxies at most.
const MAX_TUNNELS: u32 = 8;

#[derive(Debug)]
enum State {
    Undecided(Detector),
    Decoding(Box<Session>),
    Ignored,
}

/// What ended; it decides what becomes of requests without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The connection: they failed.
    Connection,
    /// The capture, or only the reading of this connection: how they end is not known.
    Watching,
}

/// A stretch of one direction of the stream.
#[derive(Clone, Copy, Debug)]
struct Stretch<'a> {
    direction: Direction,
    position: u64,
    at_ns: u64,
    content: Content<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Content<'a> {
    /// Captured bytes.
    Bytes(&'a [u8]),
    /// So many bytes were moved and not captured.
    Uncaptured(u64),
    /// So many bytes were lost, as far as known.
    Lost(Option<u64>),
}

// === impl Message ===

impl Message {
    /// Returns how many bytes it took on the wire.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.datagram.unwrap_or(self.end.saturating_sub(self.start))
    }
}

// === impl Direction ===

impl Direction {
    fn other(self) -> Self {
        match self {
            Self::Out => Self::In,
            Self::In => Self::Out,
        }
    }
}

// === impl Side ===

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// Returns which side sends the bytes of `direction`, where `self` is the observed process.
    fn sender(self, direction: Direction) -> Self {
        match direction {
            Direction::Out => self,
            Direction::In => self.other(),
        }
    }
}

// === impl Conversation ===

impl Conversation {
    /// Begins a conversation of which nothing was seen yet.
    #[must_use]
    pub fn new(context: Context, options: Arc<Options>) -> Self {
        let state = State::Undecided(Detector::new(context));
        let announces = context.from_start && context.transport == Transport::Tcp;
        let preamble = if announces { Preamble::default() } else { Preamble::over() };
        Self { context, options, state, preamble, mistakes: 0, tunnels: 0, outcomes: VecDeque::new() }
    }

    /// Begins a conversation in a protocol that need not be in the registry, seen from its first byte.
    #[cfg(test)]
    pub(crate) fn speaking(protocol: &'static Protocol, side: Side, options: Arc<Options>) -> Self {
        let transport = Transport::Tcp;
        let context =
            Context { transport, side: Some(side), local_port: 0, remote_port: 0, from_start: true };
        let session = Session::new(Claim { protocol, side, on_trial: false }, context, &options);
        Self { state: State::Decoding(Box::new(session)), ..Self::new(context, options) }
    }

    /// Takes captured bytes at `position`, which is where the last call for this direction ended, or behind a gap.
    pub fn bytes(&mut self, direction: Direction, position: u64, at_ns: u64, bytes: &[u8]) {
        self.take_stretch(Stretch { direction, position, at_ns, content: Content::Bytes(bytes) });
    }

    /// Takes the news that `len` bytes were moved but not captured.
    pub fn skipped(&mut self, direction: Direction, position: u64, at_ns: u64, len: u64) {
        self.take_stretch(Stretch { direction, position, at_ns, content: Content::Uncaptured(len) });
    }

    /// Takes the news that bytes are lost; `None` is an unknown number.
    pub fn gap(&mut self, direction: Direction, position: u64, at_ns: u64, len: Option<u64>) {
        self.take_stretch(Stretch { direction, position, at_ns, content: Content::Lost(len) });
    }

    /// Takes a datagram of `len` bytes of which `bytes` were captured; `position` is its ordinal in this direction.
    pub fn datagram(&mut self, direction: Direction, position: u64, at_ns: u64, bytes: &[u8], len: u64) {
        let content = Content::Bytes(preamble::behind(bytes));
        let stretch = Stretch { direction, position, at_ns, content };
        match &mut self.state {
            State::Undecided(detector) => match detector.datagram(stretch, len, &self.options) {
                Detected::Yes(claim) => {
                    let mut session = Session::new(claim, self.context, &self.options);
                    for held in detector.release() {
                        session.datagram(held.stretch(), held.len(), &mut self.outcomes);
                    }
                    self.state = State::Decoding(Box::new(session));
                }
                Detected::No => self.state = State::Ignored,
                Detected::NotYet | Detected::Tunnel(_) => {}
            },
            State::Decoding(session) => session.datagram(stretch, len, &mut self.outcomes),
            State::Ignored => {}
        }
    }

    /// Drops what waited too long at `now_ns`: queries over datagrams that got no answer.
    pub fn expire(&mut self, now_ns: u64) {
        if let State::Decoding(session) = &mut self.state {
            session.expire(now_ns, &mut self.outcomes);
        }
    }

    /// Returns whether something waits that time alone may end: whether [`expire`](Self::expire) is to be called.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        matches!(&self.state, State::Decoding(session) if session.is_timed())
    }

    /// The connection ended: open messages come out, and waiting requests as errors, since nobody will answer them.
    pub fn end(&mut self, at_ns: u64) {
        let _ = at_ns;
        self.finish(Ending::Connection);
    }

    /// Watching ended, the connection goes on: open messages and waiting requests come out, and nothing says that the
    /// requests fail.
    pub fn stop(&mut self) {
        self.finish(Ending::Watching);
    }

    fn finish(&mut self, ending: Ending) {
        match &mut self.state {
            State::Undecided(detector) => self.outcomes.extend(detector.end(&self.options)),
            State::Decoding(session) => session.end(ending, &mut self.outcomes),
            State::Ignored => {}
        }
        self.state = State::Ignored;
    }

    /// Returns the next outcome, in the order in which they were completed.
    pub fn take(&mut self) -> Option<Outcome> {
        let mut outcome = self.outcomes.pop_front()?;
        if let Outcome::Exchange(exchange) = &mut outcome {
            exchange.announced = self.preamble.announced();
        }
        Some(outcome)
    }

    /// Returns what the conversation wants to see next.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.state {
            State::Undecided(detector) => Verdict::Undecided { skip_until: detector.skip_until() },
            State::Decoding(session) => {
                Verdict::Trace { protocol: session.protocol().name, skip_until: session.skip_until() }
            }
            State::Ignored => Verdict::Ignore,
        }
    }

    /// Returns the lowest position of `direction` that a later outcome can refer to.
    #[must_use]
    pub fn floor(&self, direction: Direction) -> u64 {
        match &self.state {
            State::Undecided(detector) => detector.floor(direction),
            State::Decoding(session) => session.floor(direction),
            State::Ignored => u64::MAX,
        }
    }

    fn take_stretch(&mut self, stretch: Stretch<'_>) {
        match self.preamble.pass(&stretch) {
            Passed::All => self.take_own(stretch),
            Passed::Nothing => {}
            Passed::From(bytes, position) => {
                self.take_own(Stretch { position, content: Content::Bytes(&bytes), ..stretch });
            }
            Passed::Dropped(bytes) => {
                self.outcomes.push_back(Outcome::Unparsable { direction: stretch.direction, bytes });
                self.take_own(stretch);
            }
        }
    }

    /// Takes a stretch of the connection's own bytes.
    fn take_own(&mut self, stretch: Stretch<'_>) {
        match &mut self.state {
            State::Undecided(detector) => match detector.take(stretch, &self.options) {
                Detected::Yes(claim) => {
                    let (lost, held) = (
                        [Direction::Out, Direction::In]
                            .map(|direction| (direction, detector.lost(direction))),
                        detector.release(),
                    );
                    self.outcomes.extend(detector.given_up());
                    self.context.from_start = detector.is_from_start();
                    self.begin(claim, lost, &held);
                }
                Detected::Tunnel(side) => {
                    let held = detector.release();
                    self.enter(side, &held);
                }
                Detected::No => {
                    self.outcomes.extend(detector.given_up());
                    self.state = State::Ignored;
                }
                Detected::NotYet => {}
            },
            State::Decoding(session) => {
                session.take(stretch, &mut self.outcomes);
                self.settle();
            }
            State::Ignored => {}
        }
    }

    /// Begins to read what was held as the claimed protocol.
    fn begin(&mut self, claim: Claim, lost: [(Direction, u64); 2], held: &[Held]) {
        let mut session = Session::new(claim, self.context, &self.options);
        for (direction, len) in lost {
            session.lost_before(direction, len);
        }
        for held in held {
            session.take(held.stretch(), &mut self.outcomes);
        }
        self.state = State::Decoding(Box::new(session));
        self.settle();
    }

    /// Leaves a connection of which the rest is of no use, or looks again at one that was taken for the wrong protocol.
    fn settle(&mut self) {
        let State::Decoding(session) = &mut self.state else { return };
        if session.is_wrong() {
            self.mistakes = self.mistakes.saturating_add(1);
            let wrong: &'static Protocol = session.protocol();
            self.state = if self.mistakes < MAX_MISTAKES {
                State::Undecided(Detector::again(self.context, wrong))
            } else {
                State::Ignored
            };
            self.context.from_start = false;
        } else if session.is_done() {
            let tunnel = session.is_tunnel().then(|| (session.side(), session.unread()));
            session.end(Ending::Watching, &mut self.outcomes);
            self.state = State::Ignored;
            if let Some((side, unread)) = tunnel {
                self.enter(side, &unread);
            }
        }
    }

    /// Goes on in a tunnel, which is like a connection that was seen from its start; `held` came in it so far.
    fn enter(&mut self, side: Side, held: &[Held]) {
        self.tunnels = self.tunnels.saturating_add(1);
        if self.tunnels > MAX_TUNNELS {
            self.state = State::Ignored;
            return;
        }
        self.context = Context { side: Some(side), from_start: true, ..self.context };
        self.state = State::Undecided(Detector::new(self.context));
        for held in held {
            self.take_own(held.stretch());
        }
    }
}
