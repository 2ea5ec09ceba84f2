//! Which protocol a connection speaks, and which end asks: found from the first bytes of both sides, or, on a connection
//! that was open before, from the first call on whose bytes begin like a message.

mod held;
mod pause;
mod socks;

use super::flow::{Both, length};
use super::{Content, Context, Direction, Outcome, Stretch, Transport};
use crate::decoder::{Evidence, Options, Probe, Side};
use crate::registry::{Protocol, registry, tunnelled_by};
pub(super) use held::Held;
use held::Holding;
use pause::Pause;
use socks::Handshake;

/// Bytes held per direction while undecided: as long as the longest line that a server of ours takes.
const MAX_HEAD: usize = 64 * 1024;

/// Bytes held of a direction whose other side is still silent: a server reads on for so much before it refuses a line.
const MAX_HELD: usize = 96 * 1024;

/// Bytes of one side that nobody claims after which the other side, still silent, is not waited for.
const MAX_UNHEARD: usize = 4096;

/// Datagrams held while undecided: more than a resolver has open with one server before the first answer.
const MAX_DATAGRAMS: usize = 32;

/// Datagrams that were nobody's after which the rest is not looked at.
const MAX_STRANGE_DATAGRAMS: u32 = 256;

/// What is known after another stretch.
#[derive(Debug)]
pub(super) enum Detected {
    /// The protocol.
    Yes(Claim),
    /// A proxy's agreement with its client was all so far: what is held goes on as a conversation of its own.
    Tunnel(Side),
    /// None of ours.
    No,
    /// More is needed.
    NotYet,
}

/// Who claims a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) protocol: &'static Protocol,
    /// Which end the observed process is.
    pub(super) side: Side,
    /// Whether it must still be shown to be right before anything is said of the connection: the bytes might be
    /// another protocol's, or the inside of a message.
    pub(super) on_trial: bool,
}

/// The state of detection.
#[derive(Debug)]
pub(super) struct Detector {
    context: Context,
    held: Holding,
    pause: Pause,
    /// Datagrams that were nobody's.
    strange: u32,
    lost: Both<u64>,
    /// Protocols that claimed the connection and were wrong.
    refuted: Vec<&'static str>,
    /// Bytes that were held and given up, though they might have been one of our protocols'.
    given_up: Both<u64>,
}

/// How well a protocol fits what both sides said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It does not.
    Not,
    /// More is needed to say.
    Open,
    /// Both sides' bytes may be its.
    Likely,
    /// One side's bytes are its and no other's.
    Sure,
    /// Both sides' are.
    Certain,
}

// === impl Detector ===

impl Detector {
    pub(super) fn new(context: Context) -> Self {
        Self {
            context,
            held: Holding::default(),
            pause: Pause::default(),
            strange: 0,
            lost: Both::default(),
            refuted: Vec::new(),
            given_up: Both::default(),
        }
    }

    /// Looks again at a connection whose protocol was a wrong one. What was read meanwhile is gone.
    pub(super) fn again(context: Context, wrong: &'static Protocol) -> Self {
        // Within a connection that was joined late, the claim may have been right and only its place wrong.
        let refuted = if context.from_start { vec![wrong.name] } else { Vec::new() };
        let context = Context { from_start: false, ..context };
        Self { refuted, pause: Pause::after_a_mistake(), ..Self::new(context) }
    }

    /// Takes the next stretch of a stream.
    pub(super) fn take(&mut self, stretch: Stretch<'_>, options: &Options) -> Detected {
        match stretch.content {
            Content::Bytes([]) => return Detected::NotYet,
            Content::Bytes(bytes) => {
                if !self.pause.is_over(stretch.direction, stretch.position.saturating_add(length(bytes))) {
                    return Detected::NotYet;
                }
                if self.context.from_start && self.held.bytes(stretch.direction) >= MAX_HELD {
                    // What was said is not understood, whatever follows: the other side decides.
                    let content = Content::Uncaptured(length(bytes));
                    self.held.push(Stretch { content, ..stretch });
                    return Detected::NotYet;
                }
                self.held.push(stretch);
            }
            Content::Uncaptured(_) | Content::Lost(_) => {
                if let Content::Lost(len) = stretch.content {
                    let lost = self.lost.of_mut(stretch.direction);
                    *lost = lost.saturating_add(len.unwrap_or(u64::MAX));
                }
                if self.context.from_start && self.held.has(stretch.direction) {
                    // What came before it may still tell the protocol.
                    self.held.push(stretch);
                } else {
                    if let Content::Uncaptured(len) = stretch.content
                        && self.context.from_start
                    {
                        // A program relays what it never looks at itself (`splice`), and nobody sees it there.
                        let given_up = self.given_up.of_mut(stretch.direction);
                        *given_up = given_up.saturating_add(len);
                    }
                    // What the other side said before may have its answer in the hole.
                    self.held.take();
                    self.context.from_start = false;
                }
                return Detected::NotYet;
            }
        }
        self.judge(options)
    }

    /// Takes a datagram of `len` bytes of which `stretch` has the captured ones; each is looked at alone.
    pub(super) fn datagram(&mut self, stretch: Stretch<'_>, len: u64, options: &Options) -> Detected {
        let Content::Bytes(bytes) = stretch.content else { return Detected::NotYet };
        let other = self.held.newest(stretch.direction.other()).map(<[u8]>::to_vec).unwrap_or_default();
        let (fit, claim) = self.best(options, stretch.direction, bytes, &other);
        match claim {
            Some(claim) if fit >= Fit::Likely => {
                self.held.push_datagram(stretch, len);
                Detected::Yes(Claim { on_trial: false, ..claim })
            }
            _ if fit == Fit::Open => {
                self.held.push_datagram(stretch, len);
                if self.held.len() > MAX_DATAGRAMS
                    && let Some(oldest) = self.held.pop_first()
                {
                    let given_up = self.given_up.of_mut(oldest.direction);
                    *given_up = given_up.saturating_add(oldest.len());
                }
                Detected::NotYet
            }
            _ => {
                self.strange = self.strange.saturating_add(1);
                if self.strange >= MAX_STRANGE_DATAGRAMS { Detected::No } else { Detected::NotYet }
            }
        }
    }

    /// Returns what was held, in order, for the session to read.
    pub(super) fn release(&mut self) -> Vec<Held> {
        self.held.take()
    }

    /// Whether what is held begins with the connection's first bytes.
    pub(super) fn is_from_start(&self) -> bool {
        self.context.from_start
    }

    /// Returns how many bytes of a direction are known to be lost.
    pub(super) fn lost(&self, direction: Direction) -> u64 {
        *self.lost.of(direction)
    }

    pub(super) fn floor(&self, direction: Direction) -> u64 {
        self.held.floor(direction)
    }

    /// Returns up to where payload is of no use for now, by direction.
    pub(super) fn skip_until(&self) -> [Option<u64>; 2] {
        self.pause.until()
    }

    /// The connection or the capture ends: says what stays undecided though it might have been ours.
    ///
    /// Of a connection that was open before, most bytes could be the beginning of something; so could the few bytes that
    /// both sides of a short one said.
    pub(super) fn end(&mut self, options: &Options) -> Vec<Outcome> {
        if let Some(first) = self.held.first().map(|held| held.direction) {
            let (head, other) = (self.held.head(first), self.held.head(first.other()));
            let is_open = self.best(options, first, &head, &other).0 == Fit::Open;
            let begun = self.context.from_start && other.is_empty() && is_open;
            if begun || self.is_half_claimed(options, first, &head, &other) {
                self.give_up();
            }
        }
        self.given_up()
    }

    /// Says what was given up so far though it might have been ours.
    pub(super) fn given_up(&mut self) -> Vec<Outcome> {
        let bytes = [Direction::Out, Direction::In]
            .map(|direction| (direction, std::mem::take(self.given_up.of_mut(direction))));
        let counted = bytes.into_iter().filter(|(_, bytes)| *bytes > 0);
        counted.map(|(direction, bytes)| Outcome::Unparsable { direction, bytes }).collect()
    }

    /// Decides on what is held. What is hopeless on a connection that was open before is dropped from the front: a later
    /// call may begin a message.
    fn judge(&mut self, options: &Options) -> Detected {
        while let Some(first) = self.held.first().map(|held| held.direction) {
            let (head, other) = (self.held.head(first), self.held.head(first.other()));
            if let Some(detected) = self.judge_proxy(first, &head, &other) {
                return detected;
            }
            let (fit, claim) = self.best(options, first, &head, &other);
            match claim {
                Some(claim) if fit >= Fit::Likely => return Detected::Yes(claim),
                _ if fit == Fit::Open && head.len().max(other.len()) < MAX_HEAD => {
                    self.pause.wake(first.other());
                    return Detected::NotYet;
                }
                // The other side has not said enough to tell why.
                _ if fit == Fit::Open && self.context.from_start && other.len() < MAX_UNHEARD => {
                    return Detected::NotYet;
                }
                _ if fit == Fit::Open => {
                    self.give_up();
                    self.context.from_start = false;
                }
                // A server may say what it is to whoever asked in another protocol.
                _ if self.context.from_start && other.is_empty() && head.len() < MAX_UNHEARD => {
                    return Detected::NotYet;
                }
                _ if self.context.from_start => return Detected::No,
                _ => {}
            }
            self.held.pop_first();
            if !self.pause.fruitless(first, self.held.next(first)) {
                return Detected::No;
            }
        }
        Detected::NotYet
    }

    /// Judges whether client and proxy agree on a tunnel, and lets go of the bytes by which they did.
    fn judge_proxy(&mut self, first: Direction, head: &[u8], other: &[u8]) -> Option<Detected> {
        if !self.context.from_start {
            return None;
        }
        let (_, side) = self.sides(first).find(|(sender, _)| *sender == Side::Client)?;
        match socks::judge(head, other) {
            Handshake::No => None,
            Handshake::Open => Some(Detected::NotYet),
            Handshake::Granted { client, server } => {
                self.held.pass(first, client);
                self.held.pass(first.other(), server);
                Some(Detected::Tunnel(side))
            }
        }
    }

    /// Counts what is held as bytes that might have been ours.
    fn give_up(&mut self) {
        for held in self.held.take() {
            let given_up = self.given_up.of_mut(held.direction);
            *given_up = given_up.saturating_add(held.len());
        }
    }

    /// Returns the protocol that fits best when the side behind `direction` said `head` first and the other one
    /// `other`.
    fn best(
        &self,
        options: &Options,
        direction: Direction,
        head: &[u8],
        other: &[u8],
    ) -> (Fit, Option<Claim>) {
        let mut best = (Fit::Not, false, None);
        for protocol in self.protocols(options, head) {
            for (sender, side) in self.sides(direction) {
                let evidence = self.evidence(protocol, sender, side, head, other);
                let (fit, usual) = (self.fit(protocol, &evidence), evidence.usual_port);
                if fit > best.0 || fit == best.0 && usual && !best.1 {
                    let on_trial = fit < Fit::Sure || !self.context.from_start;
                    best = (fit, usual, (fit != Fit::Not).then_some(Claim { protocol, side, on_trial }));
                }
            }
        }
        (best.0, best.2)
    }

    /// Says how well a protocol fits what both sides said; `evidence` is about who spoke first.
    fn fit(&self, protocol: &Protocol, evidence: &Evidence<'_>) -> Fit {
        let Evidence { sender, head, other, .. } = *evidence;
        let first = self.ask(protocol, evidence);
        let answer =
            Evidence { sender: sender.other(), head: other, other: head, spoke_first: false, ..*evidence };
        let second = (!other.is_empty()).then(|| self.ask(protocol, &answer));
        match (first, second) {
            (Probe::No, _) | (_, Some(Probe::No)) => Fit::Not,
            (Probe::Yes, Some(Probe::Yes)) => Fit::Certain,
            (Probe::Yes, _) | (_, Some(Probe::Yes)) => Fit::Sure,
            (Probe::Maybe, Some(Probe::Maybe)) => Fit::Likely,
            (Probe::Maybe | Probe::NeedMore, _) => Fit::Open,
        }
    }

    /// Whether a protocol takes what one side said for a whole message of its own.
    fn is_half_claimed(&self, options: &Options, direction: Direction, head: &[u8], other: &[u8]) -> bool {
        self.protocols(options, head).any(|protocol| {
            self.sides(direction).any(|(sender, side)| {
                let evidence = self.evidence(protocol, sender, side, head, other);
                self.fit(protocol, &evidence) == Fit::Open && self.ask(protocol, &evidence) == Probe::Maybe
            })
        })
    }

    fn evidence<'a>(
        &self,
        protocol: &Protocol,
        sender: Side,
        side: Side,
        head: &'a [u8],
        other: &'a [u8],
    ) -> Evidence<'a> {
        let server_port = match side {
            Side::Client => self.context.remote_port,
            Side::Server => self.context.local_port,
        };
        let usual_port = protocol.ports.contains(&server_port);
        Evidence {
            sender,
            head,
            other,
            from_start: self.context.from_start,
            spoke_first: true,
            usual_port,
            port: server_port,
        }
    }

    fn ask(&self, protocol: &Protocol, evidence: &Evidence<'_>) -> Probe {
        match (self.context.transport, &protocol.datagrams) {
            (Transport::Udp, Some(datagrams)) => (datagrams.probe)(evidence),
            (Transport::Udp, None) => Probe::No,
            (Transport::Tcp, _) => (protocol.probe)(evidence),
        }
    }

    fn protocols(&self, options: &Options, head: &[u8]) -> impl Iterator<Item = &'static Protocol> {
        let transport = self.context.transport;
        let refuted = self.refuted.clone();
        // A tunnel may hold what is asked for.
        let tunnel = tunnelled_by(head);
        registry().iter().filter(move |protocol| {
            let named = options.wants(protocol.name) || tunnel == Some(protocol.name);
            named && protocol.transports.contains(&transport) && !refuted.contains(&protocol.name)
        })
    }

    /// Returns who may have sent the bytes of `direction`, the one who asks first, and which end the observed process
    /// then is.
    fn sides(&self, direction: Direction) -> impl Iterator<Item = (Side, Side)> {
        let known = self.context.side;
        [Side::Client, Side::Server]
            .into_iter()
            // Who sends what goes out is the observed process, and so the other way about.
            .map(move |sender| (sender, sender.sender(direction)))
            .filter(move |(_, side)| known.is_none_or(|known| known == *side))
    }
}
