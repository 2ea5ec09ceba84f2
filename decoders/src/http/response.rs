//! Responses: their heads, their bodies, and answers that nobody asked for.

use super::body::{Body, Read};
use super::head::{BodyFraming, Head};
use super::request::Method;
use super::{Beyond, Http, line, shown, take};
use crate::decoder::{Event, Probe, Response, Side, Step};

/// Types of a response behind which a container's streams pass, both ways and as they are.
const HIJACKED_TYPES: [&str; 2] =
    ["application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"];

/// A response whose body is read.
#[derive(Debug)]
pub(super) struct OpenResponse {
    pub(super) body: Body,
    response: Response,
    push: bool,
}

/// What the engine is told of the client's open message when a response to it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Telling {
    /// No response has begun.
    #[default]
    Not,
    /// What came of the body.
    Body,
    /// What came of the head.
    Head,
    /// Nothing more.
    Told,
}

// === impl Http ===

impl Http {
    /// Whether the engine must be told of the client's open message before a final response is read.
    pub(super) fn must_tell(&mut self, bytes: &[u8]) -> bool {
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let interim = line::status_line(line).is_none_or(|line| is_interim(line.status));
        if interim || self.telling != Telling::Not {
            return false;
        }
        let body = self.upload.as_ref().is_some_and(|upload| !upload.answered) && self.pending.len() == 1;
        let silent = self.pending.is_empty() && self.certain;
        let head = silent && !self.client.head.is_empty() && !self.client.answered;
        self.telling = if body {
            Telling::Body
        } else if head {
            Telling::Head
        } else {
            Telling::Told
        };
        body || head
    }

    /// Tells the engine what there is of the client's open message: a response to it has begun.
    pub(super) fn tell(&mut self) -> Option<Event> {
        match self.telling {
            Telling::Not | Telling::Told => None,
            Telling::Body => {
                self.telling = Telling::Told;
                self.upload.as_ref().map(|upload| Event::Amend(upload.rest(false)))
            }
            Telling::Head => {
                self.telling = Telling::Told;
                self.client.answered = true;
                let bytes = self.client.head.take();
                self.begin_request(&Head::parse(&bytes), false)
            }
        }
    }

    pub(super) fn begin_response(&mut self, head: &Head<'_>, whole: bool) -> Option<Event> {
        let status = line::status_line(head.line)?.status;
        if is_interim(status) {
            return Some(Event::Discard);
        }
        self.telling = Telling::default();
        // What the client says next is a request, and begins one.
        (self.client.held, self.client.head.cut) = (false, false);
        let asked = self.pending.pop_front();
        // Whether a request was lost shows only with the next: what comes unasked says an error and ends the connection.
        let parting = status >= 400
            && (head.lists("connection", "close")
                || !head.lists("connection", "keep-alive") && head.line.starts_with(b"HTTP/1.0"));
        let unasked = asked.is_none() && !self.pending.pop_dropped();
        let push = unasked && self.certain && parting;
        if asked.is_some() && self.pending.is_empty() {
            self.certain = true;
            if let Some(upload) = &mut self.upload {
                upload.answered = true;
            }
        }
        let asked = asked.unwrap_or_default();
        let stream = head
            .values("content-type")
            .any(|kind| HIJACKED_TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known.as_bytes())));
        let connected = asked.method == Method::Connect && (200..300).contains(&status);
        let freed =
            status == 101 || connected || asked.method == Method::Post && stream && head.framing().is_none();
        let bodiless = freed || !whole || asked.method == Method::Head || matches!(status, 204 | 304);
        let framing = match head.framing() {
            _ if bodiless => BodyFraming::None,
            Some(framing) => framing,
            // It has no content (RFC 9110, section 15.3.6), and clients expect none.
            None if status == 205 && !head.lists("connection", "close") => BodyFraming::None,
            None => BodyFraming::UntilClose,
        };
        let line = String::from_utf8_lossy(head.line);
        let payload = shown::head(head, &line, &self.options.redaction);
        // Of a message that nobody asked for, the line says what it is.
        let operation = push.then(|| line.split_once(' ').map_or("", |(_, status)| status).trim().to_owned());
        let response =
            Response { status: status.to_string(), error: status >= 400, operation, ..Response::default() };
        let reply =
            OpenResponse { body: Body::new(framing, payload, self.options.payload_bytes), response, push };
        if framing == BodyFraming::None {
            if freed {
                self.beyond = Some(if connected { Beyond::Tunnel } else { Beyond::Other });
            }
            return Some(reply.end(whole));
        }
        self.reply = Some(reply);
        Some(Event::Part)
    }

    pub(super) fn read_reply(&mut self, bytes: &[u8]) -> Option<Step> {
        let reply = self.reply.as_mut()?;
        // The next response shows that a body ended whose framing was not captured.
        if reply.body.is_blind() && !bytes.is_empty() && !self.pending.is_empty() {
            match line::judge(Side::Server, bytes, true) {
                Probe::Yes => return self.end_reply(true),
                Probe::NeedMore => return Some(Step::NeedMore { at_least: bytes.len().saturating_add(1) }),
                Probe::Maybe | Probe::No => {}
            }
        }
        Some(match reply.body.read(bytes, true) {
            Read::More { consumed: 0, skip: 0 } => Step::NeedMore { at_least: bytes.len().saturating_add(1) },
            Read::More { consumed, skip } => Step::Take { consumed, skip, event: Event::Part },
            Read::Done { consumed, skip } => {
                let event = self.reply.take()?.end(true);
                Step::Take { consumed, skip, event }
            }
            Read::Malformed => {
                self.hold(Side::Server);
                return self.end_reply(false);
            }
        })
    }

    pub(super) fn end_reply(&mut self, whole: bool) -> Option<Step> {
        Some(take(0, self.reply.take()?.end(whole)))
    }
}

// === impl OpenResponse ===

impl OpenResponse {
    /// Ends it; `whole` says that it is at its end.
    pub(super) fn end(self, whole: bool) -> Event {
        let Self { body, response, push } = self;
        let response = Response { truncated: body.truncated || !whole, payload: body.payload, ..response };
        if push { Event::Push(response) } else { Event::Response(response) }
    }
}

/// Whether a final response follows; 101 is the last of HTTP.
fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}
