//! Requests that wait for their responses.

use super::flow::Span;
use super::{Exchange, Message};
use crate::decoder::{MAX_PENDING, Request, Response, Rest, Side};
use crate::queue::Queue;

/// Payload bytes that waiting requests of one connection hold together; later ones wait without.
const MAX_PAYLOAD: usize = 1024 * 1024;

/// Waiting requests, oldest first.
#[derive(Debug)]
pub(super) struct Pairing {
    protocol: &'static str,
    side: Side,
    pending: Queue<PendingRequest>,
    payload: usize,
    pipelines: bool,
}

#[derive(Debug)]
struct PendingRequest {
    request: Request,
    span: Span,
}

/// Why a response has no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It was dropped at the limit, and counted then.
    Dropped,
    /// None was seen.
    Unasked,
}

// === impl Rest ===

impl Rest {
    /// Completes a request that was paired before its end, which lies at `end`.
    pub(super) fn complete(self, request: &mut Message, end: u64) {
        let Self { payload, truncated, plain_bytes } = self;
        let start = request.start;
        *request = Message { start, end, datagram: request.datagram, plain_bytes, payload, truncated };
    }
}

// === impl Pairing ===

impl Pairing {
    pub(super) fn new(protocol: &'static str, side: Side) -> Self {
        Self { protocol, side, pending: Queue::default(), payload: 0, pipelines: false }
    }

    /// Adds a request; `false` when there are too many.
    #[must_use]
    pub(super) fn push(&mut self, mut request: Request, span: Span) -> bool {
        if request.key.is_some() && self.pending.len() >= MAX_PENDING {
            // It holds no place among others.
            return false;
        }
        if self.payload.saturating_add(request.payload.len()) > MAX_PAYLOAD {
            request.truncated |= !request.payload.is_empty();
            request.payload = Vec::new();
        }
        let payload = request.payload.len();
        let kept = self.pending.push(PendingRequest { request, span });
        if kept {
            self.payload = self.payload.saturating_add(payload);
        }
        kept
    }

    /// Lengthens the newest request up to `end`.
    pub(super) fn extend(&mut self, end: u64) {
        if let Some(newest) = self.pending.back_mut() {
            newest.span.end = newest.span.end.max(end);
        }
    }

    /// Completes the newest request, which ends at `end`; one that was answered before its end stays as it is.
    pub(super) fn amend(&mut self, rest: Rest, end: u64) {
        self.extend(end);
        let Some(newest) = self.pending.back_mut() else { return };
        let others = self.payload.saturating_sub(newest.request.payload.len());
        newest.request.plain_bytes = rest.plain_bytes;
        newest.request.truncated = rest.truncated;
        if others.saturating_add(rest.payload.len()) <= MAX_PAYLOAD {
            self.payload = others.saturating_add(rest.payload.len());
            newest.request.payload = rest.payload;
        } else {
            newest.request.truncated = true;
        }
    }

    /// Ends the newest request, of which the beginning ended at `begun`, at `end`: the connection did so, or what follows
    /// cannot be read.
    pub(super) fn cut(&mut self, begun: u64, end: u64) {
        if let Some(newest) = self.pending.back_mut().filter(|newest| newest.span.end == begun) {
            newest.span.end = end.max(begun);
            newest.request.truncated = true;
        }
    }

    /// Pairs a response. What was asked after it began is not what it answers.
    pub(super) fn answer(&mut self, response: Response, span: Span) -> Result<Exchange, Missing> {
        let keyed = response.key.is_some();
        if !keyed && self.pending.pop_dropped() {
            return Err(Missing::Dropped);
        }
        let same = |pending: &PendingRequest| pending.request.key == response.key;
        let at = if keyed { self.pending.iter().position(same) } else { Some(0) };
        let at = at.ok_or(Missing::Unasked)?;
        if self.pending.get(at).is_some_and(|pending| pending.span.began_ns > span.began_ns) {
            return Err(Missing::Unasked);
        }
        let next = self.pending.get(1).map(|next| next.span.began_ns);
        self.pipelines |= !keyed && next.is_some_and(|next| next < span.began_ns);
        let pending = self.pending.remove(at).ok_or(Missing::Unasked)?;
        self.payload = self.payload.saturating_sub(pending.request.payload.len());
        Ok(self.exchange(Some(pending), Some((response, span))))
    }

    /// Takes out the oldest request with an outcome that no message brought.
    pub(super) fn unanswered(&mut self, outcome: Response, span: Span) -> Result<Exchange, Missing> {
        self.answer(outcome, span).map(|exchange| Exchange { response: None, ..exchange })
    }

    /// Makes the exchange of a message that nobody asked for.
    pub(super) fn push_message(&self, push: Response, span: Span) -> Exchange {
        self.exchange(None, Some((push, span)))
    }

    /// Makes the exchange of a request that nobody answers.
    pub(super) fn single(&self, request: Request, span: Span) -> Exchange {
        let pending = PendingRequest { request, span };
        Exchange { error: false, ..self.exchange(Some(pending), None) }
    }

    /// Takes out the oldest request that began before `before_ns`, without a response.
    pub(super) fn take_unanswered(&mut self, before_ns: u64) -> Option<Exchange> {
        let at = self.pending.iter().position(|pending| pending.span.began_ns < before_ns)?;
        let pending = self.pending.remove(at)?;
        self.payload = self.payload.saturating_sub(pending.request.payload.len());
        Some(self.exchange(Some(pending), None))
    }

    /// Returns how many requests wait.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Forgets all that waits, and returns how many requests that were.
    pub(super) fn forget(&mut self) -> usize {
        let count = self.pending.len();
        self.pending.clear();
        self.payload = 0;
        count
    }

    /// Whether the client was seen to ask again before an answer that came in the order of requests.
    ///
    /// That two requests wait is no sign of it: the first one's answer may be lost, which shows only when the next comes.
    pub(super) fn pipelines(&self) -> bool {
        self.pipelines
    }

    /// Returns the lowest position of a waiting request.
    pub(super) fn floor(&self) -> Option<u64> {
        self.pending.front().map(|pending| pending.span.start)
    }

    fn exchange(&self, asked: Option<PendingRequest>, answered: Option<(Response, Span)>) -> Exchange {
        let (mut request, mut said) = match asked {
            Some(pending) => {
                let (request, said) = split_request(pending);
                (Some(request), said)
            }
            None => (None, Said::default()),
        };
        let (mut status, mut error, mut message) = (std::mem::take(&mut said.status), true, None);
        if let Some((response, span)) = answered {
            said.tls |= response.tls;
            status = response.status;
            error = response.error;
            said.operation = response.operation.unwrap_or(said.operation);
            said.target = response.target.unwrap_or(said.target);
            said.attributes.retain(|(name, _)| response.attributes.iter().all(|(better, _)| better != name));
            said.attributes.extend(response.attributes);
            if let (Some(request), Some(better)) = (&mut request, response.request) {
                request.payload = better;
            }
            said.handshake = response.handshake.unwrap_or(said.handshake);
            let (payload, truncated) = (response.payload, response.truncated);
            message = Some(message_at(span, response.plain_bytes, payload, truncated));
        }
        Exchange {
            protocol: self.protocol,
            side: self.side,
            tls: said.tls,
            request,
            response: message,
            operation: said.operation,
            target: said.target,
            status,
            error,
            attributes: said.attributes,
            handshake: said.handshake,
            announced: None,
            reason: None,
        }
    }
}

/// What a request says beside its bytes.
#[derive(Default)]
struct Said {
    operation: String,
    target: String,
    attributes: Vec<(&'static str, String)>,
    status: String,
    tls: bool,
    handshake: bool,
}

fn split_request(pending: PendingRequest) -> (Message, Said) {
    let PendingRequest { request, span } = pending;
    let Request {
        operation,
        target,
        attributes,
        payload,
        truncated,
        plain_bytes,
        key: _,
        status,
        tls,
        handshake,
    } = request;
    let said = Said { operation, target, attributes, status, tls, handshake };
    (message_at(span, plain_bytes, payload, truncated), said)
}

fn message_at(span: Span, plain_bytes: Option<u64>, payload: Vec<u8>, truncated: bool) -> Message {
    let Span { start, end, began_ns: _, datagram } = span;
    Message { start, end, datagram, plain_bytes, payload, truncated }
}
