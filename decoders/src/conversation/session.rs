//! A connection whose protocol is known: stretches become steps, steps become messages, messages exchanges.

use std::collections::VecDeque;

use super::flow::{Both, Flow, Span, length};
use super::pairing::Pairing;
use super::turns::Turns;
use super::{Content, Context, Ending, Exchange, Message, Outcome, Stretch, Transport, Way};
use crate::decoder::{Decoder, Event, Options, Request, Response, Side, Step};
use crate::registry::Protocol;

/// Bytes a decoder may ask to see at once; what does not fit is not a message of its protocol.
pub(super) const MAX_BUFFER: usize = 256 * 1024;

/// Bytes kept while looking for the next message after a loss: a message's start may be cut at their end.
const RESYNC_TAIL: usize = 4096;

/// Unreadable bytes in a row after which the connection was taken for the wrong protocol.
const MAX_UNREADABLE: u64 = 1024 * 1024;

/// Silence after which a client that pipelines has all its answers: longer than servers on a network pause between them.
const QUIET_NS: u64 = 1_000_000_000;

/// How long a query over datagrams may wait: resolvers ask again after 5 s and give up after twice that.
const DATAGRAM_PATIENCE_NS: u64 = 10_000_000_000;

/// The state of a decoded connection.
pub(super) struct Session {
    protocol: &'static Protocol,
    side: Side,
    transport: Transport,
    decoder: Box<dyn Decoder>,
    flows: Both<Flow>,
    pairing: Pairing,
    /// Whether a request was read since the beginning or the last loss; before, responses answer unseen ones.
    asked: bool,
    /// Whether responses can be given to requests that wait in order.
    turns: Turns,
    /// When the newest stretch came, of either way.
    newest_ns: u64,
    /// Unreadable bytes since the last step.
    unreadable: u64,
}

// === impl Session ===

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("protocol", &self.protocol.name).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(protocol: &'static Protocol, side: Side, context: Context, options: &Options) -> Self {
        let decoder = match (context.transport, &protocol.datagrams) {
            (Transport::Udp, Some(datagrams)) => (datagrams.open)(options),
            (Transport::Udp | Transport::Tcp, _) => (protocol.open)(options, context.from_start),
        };
        Self {
            protocol,
            side,
            transport: context.transport,
            decoder,
            flows: Both::default(),
            pairing: Pairing::new(protocol.name, side),
            asked: context.from_start,
            turns: Turns::default(),
            newest_ns: 0,
            unreadable: 0,
        }
    }

    /// Takes the news that `len` bytes were lost before the protocol was known.
    pub(super) fn lost_before(&mut self, way: Way, len: u64) {
        if len > 0 {
            self.turns.lose(self.side.sender(way), Some(len), 0);
        }
    }

    pub(super) fn protocol(&self) -> &'static str {
        self.protocol.name
    }

    /// Whether the rest of the connection is of no use.
    pub(super) fn is_done(&self) -> bool {
        self.decoder.done() || self.unreadable >= MAX_UNREADABLE
    }

    /// Returns how many bytes of memory the unread ones of both ways take.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        [Way::Out, Way::In].map(|way| self.flows.of(way).capacity()).iter().sum()
    }

    pub(super) fn skip_until(&self) -> [Option<u64>; 2] {
        [Way::Out, Way::In].map(|way| {
            let flow = self.flows.of(way);
            (flow.skip > 0).then(|| flow.next.unwrap_or_default().saturating_add(flow.skip))
        })
    }

    pub(super) fn floor(&self, way: Way) -> u64 {
        let flow = self.flows.of(way);
        let open = flow.open.map_or_else(|| flow.position(), |open| open.start);
        let waiting = self.pairing.floor().filter(|_| self.side.sender(way) == Side::Client);
        // An exchange whose response is still passing waits no longer, and refers to its request when it comes out.
        let answered = self.flows.of(way.other()).answered().map(|request| request.start);
        waiting.into_iter().chain(answered).fold(open, u64::min)
    }

    pub(super) fn take(&mut self, stretch: Stretch<'_>, outcomes: &mut VecDeque<Outcome>) {
        let Stretch { way, mut position, at_ns, content } = stretch;
        let next = *self.flows.of_mut(way).next.get_or_insert(position);
        self.flows.of_mut(way).at_ns = at_ns;
        self.note_quiet(way, at_ns);
        if position > next {
            self.lose(way, Some(position.saturating_sub(next)), outcomes);
        }
        let known = next.saturating_sub(position);
        position = position.saturating_add(known);
        match content {
            Content::Bytes(bytes) => {
                let fresh =
                    usize::try_from(known).ok().and_then(|known| bytes.get(known..)).unwrap_or_default();
                self.flows.of_mut(way).next = Some(position);
                self.flows.of_mut(way).push(fresh);
                self.advance(way, false, outcomes);
            }
            Content::Uncaptured(len) => self.pass(way, len.saturating_sub(known), outcomes),
            Content::Lost(Some(len)) => self.lose(way, Some(len.saturating_sub(known)), outcomes),
            Content::Lost(None) => self.lose(way, None, outcomes),
        }
    }

    /// Takes a whole datagram of `len` bytes; those of `stretch` were captured.
    pub(super) fn datagram(&mut self, stretch: Stretch<'_>, len: u64, outcomes: &mut VecDeque<Outcome>) {
        let Stretch { way, position, at_ns, content } = stretch;
        let Content::Bytes(bytes) = content else { return };
        let next = position.saturating_add(1);
        let flow = self.flows.of_mut(way);
        flow.next = Some(next);
        flow.at_ns = at_ns;
        match self.decoder.decode(self.side.sender(way), bytes) {
            Step::Take { event, .. } => {
                let span = Span { start: position, end: next, began_ns: at_ns };
                self.handle(way, event, span, outcomes);
            }
            Step::NeedMore { .. } | Step::Malformed => {
                outcomes.push_back(Outcome::Unparsable { way, bytes: len });
            }
        }
    }

    /// Pairs again when a client asks after nothing was said for a while: what it asked before is answered.
    fn note_quiet(&mut self, way: Way, at_ns: u64) {
        let silence = at_ns.saturating_sub(self.newest_ns);
        self.newest_ns = self.newest_ns.max(at_ns);
        if !self.turns.are_sure() && silence >= QUIET_NS && self.side.sender(way) == Side::Client {
            self.turns.rest();
            self.decoder.lost(Side::Client);
        }
    }

    pub(super) fn expire(&mut self, now_ns: u64, outcomes: &mut VecDeque<Outcome>) {
        if self.transport == Transport::Udp {
            let before = now_ns.saturating_sub(DATAGRAM_PATIENCE_NS);
            while let Some(exchange) = self.pairing.take_unanswered(before) {
                outcomes.push_back(Outcome::Exchange(exchange));
            }
        }
    }

    pub(super) fn end(&mut self, ending: Ending, outcomes: &mut VecDeque<Outcome>) {
        for way in [Way::Out, Way::In] {
            let sender = self.side.sender(way);
            let flow = self.flows.of_mut(way);
            let end = flow.next.unwrap_or_default();
            let (span, synced) = (flow.close(end), flow.synced);
            if let Some(mut outcome) = flow.completing.take() {
                cut_at(&mut outcome, end);
                outcomes.push_back(outcome);
            } else if synced && let Some(event) = self.decoder.finish(sender) {
                self.handle(way, event, span, outcomes);
            }
        }
        while let Some(exchange) = self.pairing.take_unanswered(u64::MAX) {
            let error = exchange.error && ending == Ending::Connection;
            outcomes.push_back(Outcome::Exchange(Exchange { error, ..exchange }));
        }
    }

    /// Reads as many steps as the bytes of `way` give. `poke` gives the decoder one call even without bytes.
    fn advance(&mut self, way: Way, mut poke: bool, outcomes: &mut VecDeque<Outcome>) {
        while !self.is_done() {
            let flow = self.flows.of_mut(way);
            if flow.skip > 0 {
                return;
            }
            if let Some(mut outcome) = flow.completing.take() {
                flow.open = None;
                if std::mem::take(&mut flow.hole) {
                    mark_truncated(&mut outcome);
                }
                outcomes.push_back(outcome);
                continue;
            }
            if !flow.synced && !self.resync(way, outcomes) {
                return;
            }
            if !self.step(way, poke, outcomes) {
                return;
            }
            poke = false;
        }
    }

    /// Reads one step; `false` when more bytes are needed.
    fn step(&mut self, way: Way, poke: bool, outcomes: &mut VecDeque<Outcome>) -> bool {
        let sender = self.side.sender(way);
        let flow = self.flows.of_mut(way);
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
                self.unreadable = 0;
                self.read(way, event, outcomes);
                self.complete_other(way, outcomes);
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
                self.desync(way, 1, outcomes);
                true
            }
        }
    }

    /// Ends the other way's open message where what `way` brought shows that it is over.
    fn complete_other(&mut self, way: Way, outcomes: &mut VecDeque<Outcome>) {
        let other = way.other();
        if let Some(event) = self.decoder.completed(self.side.sender(other)) {
            let flow = self.flows.of_mut(other);
            let span = flow.close(flow.position());
            self.handle(other, event, span, outcomes);
        }
    }

    /// Handles an event at once; what a response gives comes out when all its bytes have passed.
    fn read(&mut self, way: Way, event: Event, outcomes: &mut VecDeque<Outcome>) {
        if event == Event::Part {
            return;
        }
        let flow = self.flows.of_mut(way);
        let passing = flow.skip > 0 && matches!(event, Event::Response(_) | Event::Push(_));
        let end = flow.position().saturating_add(flow.skip);
        let open = flow.open;
        let span = flow.close(end);
        if passing {
            let outcome = self.outcome(way, event, span);
            let flow = self.flows.of_mut(way);
            flow.open = open;
            flow.completing = outcome;
        } else {
            self.handle(way, event, span, outcomes);
        }
    }

    fn handle(&mut self, way: Way, event: Event, span: Span, outcomes: &mut VecDeque<Outcome>) {
        outcomes.extend(self.outcome(way, event, span));
    }

    /// Takes an event of a message that lies at `span`, and returns what comes out of it.
    fn outcome(&mut self, way: Way, event: Event, span: Span) -> Option<Outcome> {
        let hole = std::mem::take(&mut self.flows.of_mut(way).hole);
        match &event {
            Event::Request(Request { key: None, .. }) => {
                let answering = self.flows.of(way.other()).open.is_some();
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
        let sure = self.turns.are_sure();
        Some(match event {
            Event::Part | Event::Discard => return None,
            Event::Extend => {
                if self.side.sender(way) == Side::Client {
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
                // Its exchange may be on its way already, for as long as the response passes.
                let answered = self.flows.of_mut(way.other()).answered_mut();
                match answered.filter(|request| request.end == span.start) {
                    Some(request) => rest.complete(request, span.end),
                    None => self.pairing.amend(rest, span.end),
                }
                return None;
            }
            Event::Single(mut request) => {
                request.truncated |= hole;
                Outcome::Exchange(self.pairing.single(request, span))
            }
            // Before the first request is seen, what looks like a push may answer an unseen one.
            Event::Response(_) | Event::Push(_) | Event::Unanswered(_) if !sure || !self.asked => {
                Outcome::Unpaired
            }
            Event::Unanswered(outcome) => {
                self.pairing.unanswered(outcome, span).map_or(Outcome::Unpaired, Outcome::Exchange)
            }
            Event::Push(mut push) => {
                push.truncated |= hole;
                Outcome::Exchange(self.pairing.push_message(push, span))
            }
            Event::Response(mut response) => {
                response.truncated |= hole;
                self.pairing.answer(response, span).map_or(Outcome::Unpaired, Outcome::Exchange)
            }
        })
    }

    /// Takes `len` bytes that were not captured: they pass where nothing needs them, else they are lost.
    fn pass(&mut self, way: Way, mut len: u64, outcomes: &mut VecDeque<Outcome>) {
        let sender = self.side.sender(way);
        while len > 0 {
            let flow = self.flows.of_mut(way);
            let mut passing = flow.skip.min(len);
            flow.skip = flow.skip.saturating_sub(passing);
            if passing == 0 && flow.synced {
                // What is here and could not be read without the rest shares its fate.
                let here = length(flow.front());
                flow.opened();
                passing = self.decoder.unseen(sender, len.saturating_add(here)).min(len.saturating_add(here));
                let of_front = passing.min(here);
                flow.consume(usize::try_from(of_front).unwrap_or(usize::MAX));
                passing = passing.saturating_sub(of_front);
            }
            if passing == 0 {
                return self.lose(way, Some(len), outcomes);
            }
            flow.pass(passing);
            len = len.saturating_sub(passing);
            self.advance(way, true, outcomes);
        }
    }

    /// Takes a loss: inside bytes that nothing needs it only leaves a hole, else reading begins anew behind it.
    fn lose(&mut self, way: Way, len: Option<u64>, outcomes: &mut VecDeque<Outcome>) {
        if len == Some(0) {
            return;
        }
        let flow = self.flows.of_mut(way);
        if let Some(len) = len
            && len <= flow.skip
        {
            flow.skip = flow.skip.saturating_sub(len);
            flow.pass(len);
            return self.advance(way, false, outcomes);
        }
        let next = flow.next;
        if let Some(outcome) = flow.completing.take() {
            // When the response's last byte came, and so how long the exchange took, is lost.
            outcomes.push_back(match outcome {
                Outcome::Exchange(Exchange { request: Some(_), .. }) => Outcome::Gap,
                Outcome::Exchange(_) | Outcome::Unpaired | Outcome::Gap | Outcome::Unparsable { .. } => {
                    Outcome::Unpaired
                }
            });
        }
        let flow = self.flows.of_mut(way);
        let left = flow.forget();
        flow.next = len.and_then(|len| next.map(|next| next.saturating_add(len)));
        let sender = self.side.sender(way);
        self.turns.lose(sender, len, self.pairing.len());
        // What was half seen of a request is lost with the rest of it.
        self.turns.drop_bytes(sender, left);
        self.desync(way, left, outcomes);
    }

    /// Reading of `way` begins anew at the next message; `unread` bytes were dropped.
    fn desync(&mut self, way: Way, unread: u64, outcomes: &mut VecDeque<Outcome>) {
        let flow = self.flows.of_mut(way);
        flow.synced = false;
        flow.hole = false;
        self.decoder.lost(self.side.sender(way));
        self.asked = false;
        if self.pairing.pipelines() {
            self.turns.break_ahead();
        }
        for _ in 0..self.pairing.forget() {
            outcomes.push_back(Outcome::Gap);
        }
        self.drop_bytes(way, unread, outcomes);
    }

    /// Looks for the next message; `false` when it is not in the bytes that are here.
    fn resync(&mut self, way: Way, outcomes: &mut VecDeque<Outcome>) -> bool {
        let sender = self.side.sender(way);
        let flow = self.flows.of_mut(way);
        let here = flow.front().len();
        if here == 0 {
            return false;
        }
        let found = self.decoder.resync(sender, flow.front());
        let dropped = found.unwrap_or_else(|| here.saturating_sub(RESYNC_TAIL)).min(here);
        flow.consume(dropped);
        flow.synced = found.is_some();
        if dropped > 0 {
            // Answers may be among what was dropped: a later one must not go to a request they were for.
            self.decoder.lost(sender);
            self.turns.drop_bytes(sender, u64::try_from(dropped).unwrap_or(u64::MAX));
            for _ in 0..self.pairing.forget() {
                outcomes.push_back(Outcome::Gap);
            }
        }
        self.drop_bytes(way, u64::try_from(dropped).unwrap_or(u64::MAX), outcomes);
        found.is_some()
    }

    fn drop_bytes(&mut self, way: Way, bytes: u64, outcomes: &mut VecDeque<Outcome>) {
        if bytes == 0 {
            return;
        }
        self.unreadable = self.unreadable.saturating_add(bytes);
        // Neighbours are one stretch.
        if let Some(Outcome::Unparsable { way: last, bytes: total }) = outcomes.back_mut()
            && *last == way
        {
            *total = total.saturating_add(bytes);
            return;
        }
        outcomes.push_back(Outcome::Unparsable { way, bytes });
    }
}

/// Returns the response of an exchange that is about to come out.
fn response_of(outcome: &mut Outcome) -> Option<&mut Message> {
    match outcome {
        Outcome::Exchange(exchange) => exchange.response.as_mut(),
        Outcome::Unparsable { .. } | Outcome::Unpaired | Outcome::Gap => None,
    }
}

fn mark_truncated(outcome: &mut Outcome) {
    if let Some(response) = response_of(outcome) {
        response.truncated = true;
    }
}

/// Ends a response where its connection ended.
fn cut_at(outcome: &mut Outcome, end: u64) {
    mark_truncated(outcome);
    if let Some(response) = response_of(outcome) {
        response.end = response.end.min(end);
    }
}
