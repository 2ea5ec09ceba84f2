//! A connection whose protocol is known: stretches become steps, steps become messages, messages exchanges.

mod ending;
mod loss;

use std::collections::VecDeque;

use super::detect::{Claim, Held};
use super::early::Early;
use super::flow::{Both, Flow, Span, length};
use super::pairing::{Missing, Pairing};
use super::trial::Trial;
use super::turns::Turns;
use super::{Content, Context, Direction, Ending, Outcome, Stretch, Transport};
use crate::decoder::{Decoder, Event, Options, Request, Response, Side, Step};
use crate::registry::Protocol;

/// Bytes a decoder may ask to see at once; what does not fit is not a message of its protocol.
pub(super) const MAX_BUFFER: usize = 256 * 1024;

/// Bytes kept while looking for the next message after a loss: a message's start may be cut at their end.
const RESYNC_TAIL: usize = 4096;

/// Silence after which a client that pipelines has all its answers: longer than servers on a network pause between them.
const QUIET_NS: u64 = 1_000_000_000;

/// How long a query over datagrams may wait: resolvers ask again after 5 s and give up after twice that.
const DATAGRAM_PATIENCE_NS: u64 = 10_000_000_000;

/// The state of a decoded connection.
pub(super) struct Session {
    protocol: &'static Protocol,
    side: Side,
    /// Nobody asked for the protocol: it is read for the sake of what follows it, and nothing of it comes out.
    unasked: bool,
    transport: Transport,
    decoder: Box<dyn Decoder>,
    flows: Both<Flow>,
    pairing: Pairing,
    /// Whether a request was read since the beginning or the last loss; before, responses answer unseen ones.
    asked: bool,
    /// Whether requests may have been under way when the connection was joined: until the client was silent once.
    unsettled: bool,
    /// Whether responses can be given to requests that wait in order.
    turns: Turns,
    /// When the newest stretch came, of either direction.
    newest_ns: u64,
    /// An exchange that waits for the rest of its request.
    early: Option<Early>,
    /// Absent once the protocol is certain.
    trial: Option<Trial>,
}

// === impl Session ===

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("protocol", &self.protocol.name).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(claim: Claim, context: Context, options: &Options) -> Self {
        let Claim { protocol, side, on_trial } = claim;
        let decoder = match (context.transport, &protocol.datagrams) {
            (Transport::Udp, Some(datagrams)) => (datagrams.open)(options),
            (Transport::Udp | Transport::Tcp, _) => (protocol.open)(options, context.from_start),
        };
        Self {
            protocol,
            side,
            unasked: !options.wants(protocol.name),
            transport: context.transport,
            decoder,
            flows: Both::default(),
            pairing: Pairing::new(protocol.name, side),
            asked: context.from_start,
            unsettled: !context.from_start,
            turns: Turns::default(),
            newest_ns: 0,
            early: None,
            trial: on_trial.then(|| Trial::new(context.from_start)),
        }
    }

    /// Whether the connection was taken for the wrong protocol.
    pub(super) fn is_wrong(&self) -> bool {
        self.trial.as_ref().is_some_and(Trial::is_wrong)
    }

    /// Takes the news that `len` bytes were lost before the protocol was known.
    pub(super) fn lost_before(&mut self, direction: Direction, len: u64) {
        if len > 0 {
            self.turns.lose(self.side.sender(direction), Some(len), 0);
        }
    }

    pub(super) fn protocol(&self) -> &'static Protocol {
        self.protocol
    }

    /// Whether the rest of the connection is of no use.
    pub(super) fn is_done(&self) -> bool {
        self.decoder.done()
    }

    /// Whether the rest of the connection is a conversation of its own.
    pub(super) fn is_tunnel(&self) -> bool {
        self.decoder.is_tunnel()
    }

    /// Which end the observed process is.
    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// Returns what came and was not read. A client may speak before a tunnel is open, a server only behind that news.
    pub(super) fn unread(&self) -> [Held; 2] {
        let client = if self.side == Side::Client { Direction::Out } else { Direction::In };
        [client, client.other()].map(|direction| {
            let flow = self.flows.of(direction);
            Held::bytes(direction, flow.position(), flow.at_ns, flow.front())
        })
    }

    /// Returns how many bytes of memory the unread ones of both directions take.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        [Direction::Out, Direction::In].map(|direction| self.flows.of(direction).capacity()).iter().sum()
    }

    pub(super) fn skip_until(&self) -> [Option<u64>; 2] {
        [Direction::Out, Direction::In].map(|direction| {
            let flow = self.flows.of(direction);
            (flow.skip > 0).then(|| flow.next.unwrap_or_default().saturating_add(flow.skip))
        })
    }

    pub(super) fn floor(&self, direction: Direction) -> u64 {
        let flow = self.flows.of(direction);
        let open = flow.open.map_or_else(|| flow.position(), |open| open.start);
        let waiting = self.pairing.floor().filter(|_| self.side.sender(direction) == Side::Client);
        // An exchange whose response is still passing waits no longer, and refers to its request when it comes out.
        let answered = self.flows.of(direction.other()).answered().map(|request| request.start);
        let early = self.early.as_ref().and_then(|early| {
            let [request, response] = early.floors();
            if self.side.sender(direction) == Side::Client { request } else { response }
        });
        waiting.into_iter().chain(answered).chain(early).fold(open, u64::min)
    }

    pub(super) fn take(&mut self, stretch: Stretch<'_>, outcomes: &mut VecDeque<Outcome>) {
        self.if_asked(outcomes, |session, outcomes| session.read_on(stretch, outcomes));
    }

    /// Acts, and drops what comes out of it unless somebody asked for the protocol.
    fn if_asked(
        &mut self,
        outcomes: &mut VecDeque<Outcome>,
        act: impl FnOnce(&mut Self, &mut VecDeque<Outcome>),
    ) {
        let before = outcomes.len();
        act(self, outcomes);
        if self.unasked {
            outcomes.truncate(before);
        }
    }

    fn read_on(&mut self, stretch: Stretch<'_>, outcomes: &mut VecDeque<Outcome>) {
        let Some(trial) = &mut self.trial else { return self.take_stretch(stretch, outcomes) };
        let bytes = match stretch.content {
            Content::Bytes(bytes) => length(bytes),
            Content::Uncaptured(len) => len,
            Content::Lost(len) => len.unwrap_or_default(),
        };
        trial.hear(stretch.direction, bytes);
        let mut withheld = std::mem::take(&mut trial.withheld);
        self.take_stretch(stretch, &mut withheld);
        if let Some(trial) = &mut self.trial {
            for direction in [Direction::Out, Direction::In] {
                trial.note_passing(direction, self.flows.of(direction).next);
            }
            if trial.is_right() {
                outcomes.append(&mut withheld);
                self.trial = None;
            } else {
                trial.withheld = withheld;
            }
        }
    }

    fn take_stretch(&mut self, stretch: Stretch<'_>, outcomes: &mut VecDeque<Outcome>) {
        let Stretch { direction, mut position, at_ns, content } = stretch;
        let next = *self.flows.of_mut(direction).next.get_or_insert(position);
        self.flows.of_mut(direction).at_ns = at_ns;
        self.note_quiet(direction, at_ns);
        if position > next {
            self.lose(direction, Some(position.saturating_sub(next)), outcomes);
        }
        let known = next.saturating_sub(position);
        position = position.saturating_add(known);
        match content {
            Content::Bytes(bytes) => {
                let fresh =
                    usize::try_from(known).ok().and_then(|known| bytes.get(known..)).unwrap_or_default();
                self.flows.of_mut(direction).next = Some(position);
                self.flows.of_mut(direction).push(fresh);
                self.advance(direction, false, outcomes);
            }
            Content::Uncaptured(len) => self.pass(direction, len.saturating_sub(known), outcomes),
            Content::Lost(Some(len)) => self.lose(direction, Some(len.saturating_sub(known)), outcomes),
            Content::Lost(None) => self.lose(direction, None, outcomes),
        }
        self.settle_early(outcomes);
    }

    /// Takes a whole datagram of `len` bytes; those of `stretch` were captured.
    pub(super) fn datagram(&mut self, stretch: Stretch<'_>, len: u64, outcomes: &mut VecDeque<Outcome>) {
        let Stretch { direction, position, at_ns, content } = stretch;
        let Content::Bytes(bytes) = content else { return };
        let next = position.saturating_add(1);
        let flow = self.flows.of_mut(direction);
        flow.next = Some(next);
        flow.at_ns = at_ns;
        match self.decoder.decode(self.side.sender(direction), bytes) {
            Step::Take { event, .. } => {
                let span = Span { start: position, end: next, began_ns: at_ns, datagram: Some(len) };
                self.handle(direction, event, span, outcomes);
            }
            Step::NeedMore { .. } | Step::Malformed => {
                outcomes.push_back(Outcome::Unparsable { direction, bytes: len });
            }
        }
    }

    /// Pairs again when a client asks after nothing was said for a while: what it asked before is answered.
    fn note_quiet(&mut self, direction: Direction, at_ns: u64) {
        let silence = at_ns.saturating_sub(self.newest_ns);
        self.newest_ns = self.newest_ns.max(at_ns);
        let asks =
            self.side.sender(direction) == Side::Client && !self.flows.of(direction).is_within_message();
        // A client that pauses within a message has not asked again.
        let asks = asks && self.flows.of(direction).skip == 0 && !self.decoder.is_request_open();
        if asks && silence >= QUIET_NS {
            self.unsettled = false;
        }
        if !self.turns.are_sure() && silence >= QUIET_NS && asks {
            self.turns.rest();
            self.decoder.lost(Side::Client);
        }
    }

    /// Whether something waits that time alone may end.
    pub(super) fn is_timed(&self) -> bool {
        self.early.is_some() || self.transport == Transport::Udp && self.pairing.len() > 0
    }

    pub(super) fn expire(&mut self, now_ns: u64, outcomes: &mut VecDeque<Outcome>) {
        self.if_asked(outcomes, |session, outcomes| session.release_expired(now_ns, outcomes));
    }

    fn release_expired(&mut self, now_ns: u64, outcomes: &mut VecDeque<Outcome>) {
        if self.transport == Transport::Udp {
            let before = now_ns.saturating_sub(DATAGRAM_PATIENCE_NS);
            while let Some(exchange) = self.pairing.take_unanswered(before) {
                outcomes.push_back(Outcome::Exchange(exchange));
            }
        }
        if self.early.as_ref().is_some_and(|early| early.is_due(now_ns)) {
            self.release_early(outcomes);
        }
    }

    pub(super) fn end(&mut self, ending: Ending, outcomes: &mut VecDeque<Outcome>) {
        self.if_asked(outcomes, |session, outcomes| session.finish(ending, outcomes));
    }

    fn finish(&mut self, ending: Ending, outcomes: &mut VecDeque<Outcome>) {
        let Some(trial) = &mut self.trial else { return self.conclude(ending, outcomes) };
        let mut withheld = std::mem::take(&mut trial.withheld);
        self.conclude(ending, &mut withheld);
        if let Some(mut trial) = self.trial.take() {
            if trial.is_right() {
                outcomes.append(&mut withheld);
            } else {
                trial.withheld = withheld;
                outcomes.extend(trial.end());
            }
        }
    }

    /// Reads as many steps as the bytes of `direction` give. `poke` gives the decoder one call even without bytes.
    fn advance(&mut self, direction: Direction, mut poke: bool, outcomes: &mut VecDeque<Outcome>) {
        while !self.is_done() {
            let flow = self.flows.of_mut(direction);
            if flow.skip > 0 {
                return;
            }
            if let Some(mut outcome) = flow.completing.take() {
                flow.open = None;
                if std::mem::take(&mut flow.hole) {
                    ending::mark_truncated(&mut outcome);
                }
                self.emit(outcome, outcomes);
                continue;
            }
            if !flow.synced && !self.resync(direction, outcomes) {
                return;
            }
            if !self.step(direction, poke, outcomes) {
                return;
            }
            poke = false;
        }
    }

    /// Reads one step; `false` when more bytes are needed.
    fn step(&mut self, direction: Direction, poke: bool, outcomes: &mut VecDeque<Outcome>) -> bool {
        let sender = self.side.sender(direction);
        let flow = self.flows.of_mut(direction);
        let here = flow.front().len();
        if !poke && here < flow.at_least.max(1) {
            return false;
        }
        match self.decoder.decode(sender, flow.front()) {
            Step::Take { consumed, skip, event } => {
                if consumed == 0 && skip == 0 && event == Event::Part {
                    return false;
                }
                flow.opened();
                flow.consume(consumed);
                flow.begin_skip(skip);
                let answered = matches!(event, Event::Response(_));
                self.read(direction, event, outcomes);
                self.complete_other(direction, outcomes);
                if answered {
                    self.wake(direction.other(), outcomes);
                }
                true
            }
            Step::NeedMore { at_least } if here < MAX_BUFFER => {
                flow.at_least = at_least.clamp(here.saturating_add(1), MAX_BUFFER);
                false
            }
            Step::NeedMore { .. } | Step::Malformed => {
                // Whatever begins here cannot be read: go on behind its first byte.
                flow.consume(1);
                flow.open = None;
                self.garble(direction, 1, outcomes);
                true
            }
        }
    }

    /// Lets the decoder look again at what waits of a direction: an answer of the other one may say what it is.
    fn wake(&mut self, direction: Direction, outcomes: &mut VecDeque<Outcome>) {
        let flow = self.flows.of(direction);
        if flow.synced && flow.at_least > flow.front().len() && !flow.front().is_empty() {
            self.advance(direction, true, outcomes);
        }
    }

    /// Ends the other direction's open message where what `direction` brought shows that it is over.
    fn complete_other(&mut self, direction: Direction, outcomes: &mut VecDeque<Outcome>) {
        let other = direction.other();
        if let Some(event) = self.decoder.completed(self.side.sender(other)) {
            let flow = self.flows.of_mut(other);
            let span = flow.close(flow.position());
            self.handle(other, event, span, outcomes);
            if self.side.sender(other) == Side::Client && self.decoder.is_request_open() {
                // What was told is its beginning.
                self.flows.of_mut(other).opened();
            }
        }
    }

    /// Handles an event at once; what a response gives comes out when all its bytes have passed.
    fn read(&mut self, direction: Direction, event: Event, outcomes: &mut VecDeque<Outcome>) {
        if event == Event::Part {
            return;
        }
        let flow = self.flows.of_mut(direction);
        let passing = flow.skip > 0 && matches!(event, Event::Response(_) | Event::Push(_));
        let end = flow.position().saturating_add(flow.skip);
        let open = flow.open;
        let span = flow.close(end);
        if passing {
            let outcome = self.outcome(direction, event, span);
            let flow = self.flows.of_mut(direction);
            flow.open = open;
            flow.completing = outcome;
        } else {
            self.handle(direction, event, span, outcomes);
        }
    }

    fn handle(&mut self, direction: Direction, event: Event, span: Span, outcomes: &mut VecDeque<Outcome>) {
        if self.side.sender(direction) == Side::Client
            && matches!(event, Event::Request(_) | Event::Single(_))
        {
            self.release_early(outcomes);
            self.leave_unreadable(direction.other(), outcomes);
        }
        if let Some(outcome) = self.outcome(direction, event, span) {
            self.emit(outcome, outcomes);
        }
        self.settle_early(outcomes);
    }

    /// Notes whose turn it is after an event: what a key pairs needs none.
    fn note_turn(&mut self, direction: Direction, event: &Event, span: Span) {
        match event {
            Event::Request(Request { key: None, .. }) => {
                let answering = self.flows.of(direction.other()).open.is_some();
                self.turns.ask(span.end.saturating_sub(span.start), answering);
            }
            Event::Response(Response { key: None, .. }) | Event::Unanswered(_) => self.turns.answer(),
            Event::Request(_)
            | Event::Response(_)
            | Event::Part
            | Event::Amend(_)
            | Event::Push(_)
            | Event::Single(_)
            | Event::Extend
            | Event::Discard => {}
        }
    }

    /// Takes an event of a message that lies at `span`, and returns what comes out of it.
    fn outcome(&mut self, direction: Direction, event: Event, span: Span) -> Option<Outcome> {
        let hole = std::mem::take(&mut self.flows.of_mut(direction).hole);
        if let Some(trial) = &mut self.trial
            && !matches!(event, Event::Part | Event::Discard | Event::Extend)
        {
            let by_itself = matches!(&event, Event::Push(push) if push.by_itself);
            trial.announce(direction, span.end, by_itself);
            trial.note_passing(direction, self.flows.of(direction).next);
        }
        self.note_turn(direction, &event, span);
        // What a key pairs needs no turns.
        let keyed = event.key().is_some();
        let sure = keyed || self.turns.are_sure();
        Some(match event {
            Event::Part | Event::Discard => return None,
            Event::Extend => {
                if self.side.sender(direction) == Side::Client {
                    self.pairing.extend(span.end);
                }
                return None;
            }
            Event::Request(_) if !sure => Outcome::Gap,
            Event::Request(mut request) => {
                request.truncated |= hole;
                self.asked = true;
                if self.pairing.push(request, span) {
                    return None;
                }
                Outcome::Unpaired
            }
            Event::Amend(mut rest) => {
                rest.truncated |= hole;
                // Its exchange may be on its way already, for as long as the response passes, or the request.
                let answered = self.flows.of_mut(direction.other()).answered_mut();
                let early = self.early.as_mut().and_then(Early::request_mut);
                match answered.into_iter().chain(early).find(|request| request.end == span.start) {
                    Some(request) => rest.complete(request, span.end),
                    None => self.pairing.amend(rest, span.end),
                }
                return None;
            }
            Event::Single(mut request) => {
                request.truncated |= hole;
                Outcome::Exchange(self.pairing.single(request, span))
            }
            Event::Push(mut push) if push.by_itself => {
                push.truncated |= hole;
                Outcome::Exchange(self.pairing.push_message(push, span))
            }
            // Before the first request is seen, what looks like a push may answer an unseen one.
            Event::Response(_) | Event::Push(_) | Event::Unanswered(_) if !sure || !self.asked => {
                Outcome::Unpaired
            }
            Event::Unanswered(outcome) => match self.pairing.unanswered(outcome, span) {
                Ok(exchange) => Outcome::Exchange(exchange),
                Err(Missing::Unasked) => Outcome::Unpaired,
                Err(Missing::Dropped) => return None,
            },
            Event::Push(mut push) => {
                push.truncated |= hole;
                Outcome::Exchange(self.pairing.push_message(push, span))
            }
            Event::Response(mut response) => {
                response.truncated |= hole;
                match self.pairing.answer(response, span) {
                    Ok(exchange) => Outcome::Exchange(exchange),
                    Err(Missing::Dropped) => return None,
                    Err(Missing::Unasked) => {
                        if !keyed && self.unsettled {
                            self.turns.doubt();
                        }
                        Outcome::Unpaired
                    }
                }
            }
        })
    }
}
