//! How exchanges come out: whole, or where their bytes ended.

use std::collections::VecDeque;

use super::{Session, loss};
use crate::conversation::early::{self, Early};
use crate::conversation::{Direction, Ending, Message, Outcome, Reason, Transport};
use crate::decoder::Side;

impl Session {
    pub(super) fn conclude(&mut self, ending: Ending, outcomes: &mut VecDeque<Outcome>) {
        let unreadable = ending == Ending::Connection && self.has_unreadable_answer();
        self.end_open_request();
        for direction in [Direction::Out, Direction::In] {
            let sender = self.side.sender(direction);
            let flow = self.flows.of_mut(direction);
            let end = flow.next.unwrap_or_default();
            let (span, synced) = (flow.close(end), flow.synced);
            if let Some(mut outcome) = flow.completing.take() {
                cut_at(&mut outcome, end);
                self.emit(outcome, outcomes);
            } else if synced
                // Half a message shows nobody that a claim is right.
                && self.trial.as_ref().is_none_or(|trial| trial.has_message(direction.other()))
                && let Some(event) = self.decoder.finish(sender)
            {
                self.handle(direction, event, span, outcomes);
            } else if sender == Side::Client && ending == Ending::Connection {
                // Half a request, of which nothing else is told.
                let left = self.flows.of_mut(direction).forget();
                loss::drop_bytes(direction, left, outcomes);
            }
        }
        self.release_early(outcomes);
        let mut reason = unreadable.then_some(Reason::Unreadable);
        while let Some(mut exchange) = self.pairing.take_unanswered(u64::MAX) {
            exchange.reason = reason.take();
            exchange.error &= ending == Ending::Connection && exchange.reason.is_none();
            early::limit(&mut exchange, self.moved());
            outcomes.push_back(Outcome::Exchange(exchange));
        }
    }

    /// Whether bytes of an answer came of which the connection's end leaves no message.
    fn has_unreadable_answer(&self) -> bool {
        [Direction::Out, Direction::In].into_iter().any(|direction| {
            let flow = self.flows.of(direction);
            self.side.sender(direction) == Side::Server
                && flow.completing.is_none()
                && flow.is_within_message()
        })
    }

    /// Ends the newest request where its bytes end, when it was told before its end.
    fn end_open_request(&mut self) {
        let client = if self.side == Side::Client { Direction::Out } else { Direction::In };
        let flow = self.flows.of(client);
        let Some(open) = flow.open.filter(|_| self.decoder.is_request_open()) else { return };
        let (start, end) = (open.start, flow.next.unwrap_or_default());
        let answered = self.flows.of_mut(client.other()).answered_mut();
        let early = self.early.as_mut().and_then(Early::request_mut);
        match answered.into_iter().chain(early).find(|request| request.end == start) {
            Some(request) => {
                request.end = end;
                request.truncated = true;
            }
            None => self.pairing.cut(start, end),
        }
    }

    /// Returns where the client's bytes end.
    fn moved(&self) -> u64 {
        let client = if self.side == Side::Client { Direction::Out } else { Direction::In };
        self.flows.of(client).next.filter(|_| self.transport == Transport::Tcp).unwrap_or(u64::MAX)
    }

    /// Lets an outcome come out, unless the rest of its request is still on its way.
    pub(super) fn emit(&mut self, outcome: Outcome, outcomes: &mut VecDeque<Outcome>) {
        let Outcome::Exchange(mut exchange) = outcome else { return outcomes.push_back(outcome) };
        let client = if self.side == Side::Client { Direction::Out } else { Direction::In };
        let moved = self.moved();
        let flow = self.flows.of(client);
        let goes_on = exchange.response.is_some()
            && exchange.request.as_ref().is_some_and(|request| {
                let parts = flow.open.is_some_and(|open| open.start == request.end);
                let begun = parts || request.end == moved;
                request.end > moved || begun && self.decoder.is_request_open()
            });
        if goes_on && self.early.is_none() {
            self.early = Some(Early::new(exchange, flow.at_ns.max(self.newest_ns)));
            return;
        }
        early::limit(&mut exchange, moved);
        outcomes.push_back(Outcome::Exchange(exchange));
    }

    pub(super) fn release_early(&mut self, outcomes: &mut VecDeque<Outcome>) {
        let moved = self.moved();
        if let Some(early) = self.early.take() {
            outcomes.push_back(Outcome::Exchange(early.release(moved)));
        }
    }

    /// Lets the early exchange come out once its request has ended.
    pub(super) fn settle_early(&mut self, outcomes: &mut VecDeque<Outcome>) {
        let moved = self.moved();
        let is_over = |early: &mut Early| {
            let ended = early.request_mut().is_none_or(|request| request.end <= moved);
            ended && !self.decoder.is_request_open()
        };
        if self.early.as_mut().is_some_and(is_over) {
            self.release_early(outcomes);
        }
    }
}

/// Returns the response of an exchange that is about to come out.
fn response_of(outcome: &mut Outcome) -> Option<&mut Message> {
    match outcome {
        Outcome::Exchange(exchange) => exchange.response.as_mut(),
        Outcome::Unparsable { .. } | Outcome::Unpaired | Outcome::Gap => None,
    }
}

/// Says that bytes of the response were not seen.
pub(super) fn mark_truncated(outcome: &mut Outcome) {
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
