//! Requests: their heads, their bodies, and what else a client sends.

use super::body::{Body, Read};
use super::head::{BodyFraming, Head};
use super::{Beyond, Http, line, resync, shown, take};
use crate::decoder::{Event, Probe, Request, Rest, Side, Step};

/// A request's body.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) body: Body,
    /// It waits for `100 Continue`: after another answer it may never come.
    pub(super) expecting: bool,
    /// A response to its request has begun.
    pub(super) answered: bool,
}

/// What the framing of a request's response depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestTraits {
    pub(super) method: Method,
    /// It asks to go on with another protocol.
    pub(super) upgrade: bool,
}

/// Methods that matter to their responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Post,
    Connect,
    #[default]
    Other,
}

// === impl Http ===

impl Http {
    pub(super) fn begin_request(&mut self, head: &Head<'_>, whole: bool) -> Option<Event> {
        let line = line::request_line(head.line)?;
        let redaction = &self.options.redaction;
        let method = String::from_utf8_lossy(line.method).into_owned();
        let target = shown::target(line.method, line.target, redaction);
        let kind = match line.method {
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let asked = RequestTraits { method: kind, upgrade: head.lists("connection", "upgrade") };
        self.pending.push(asked);
        // What the server says next is an answer.
        self.server.held = false;
        let host = head.text("host").unwrap_or_else(|| shown::host(line.method, &target));
        let operation = format!("{method} {target}");
        let first = format!("{operation}{}", version(head.line));
        let (payload, truncated) =
            shortened(shown::head(head, &first, redaction), self.options.payload_bytes);
        let attributes = vec![
            ("method", method),
            ("host", host.to_ascii_lowercase()),
            ("path", shown::path(&target).to_owned()),
        ];
        // Without a length a request has no body: a server could not tell where it ends.
        let framing = head.framing().filter(|framing| whole && *framing != BodyFraming::UntilClose);
        let framing = framing.unwrap_or(BodyFraming::None);
        let open = framing != BodyFraming::None;
        if open {
            self.upload = Some(Upload {
                body: Body::new(framing, payload.clone(), self.options.payload_bytes),
                expecting: head.lists("expect", "100-continue"),
                answered: false,
            });
        }
        // Until its end is told, what moved of a request is not all of it.
        let truncated = truncated || open || !whole;
        Some(Event::Request(Request {
            operation,
            target: host,
            attributes,
            payload,
            truncated,
            ..Request::default()
        }))
    }

    /// Handles bytes of the client's that begin no request.
    pub(super) fn strange(&mut self, bytes: &[u8]) -> Step {
        let tunnel = self.pending.iter().any(|asked| asked.method == Method::Connect || asked.upgrade);
        if tunnel && bytes.len() <= line::MAX_LINE {
            // What it says in the tunnel that it has asked for.
            return Step::NeedMore { at_least: bytes.len().saturating_add(1) };
        }
        // Behind a response that only the end of the connection ends, no request can be answered: both talk freely.
        let endless = self.reply.as_ref().is_some_and(|reply| reply.body.ends_with_connection());
        if endless && self.pending.is_empty() {
            self.beyond = Some(Beyond::Other);
            return take(bytes.len(), Event::Discard);
        }
        Step::Malformed
    }

    pub(super) fn read_upload(&mut self, bytes: &[u8]) -> Option<Step> {
        // Holes in what passed are none in the next request.
        if std::mem::take(&mut self.passed) {
            return Some(take(0, Event::Discard));
        }
        let upload = self.upload.as_mut()?;
        if upload.expecting {
            if bytes.is_empty() {
                return Some(Step::NeedMore { at_least: 1 });
            }
            // A client that was refused may go on with its next request instead (RFC 9110, section 10.1.1).
            match if upload.answered { line::judge(Side::Client, bytes, true) } else { Probe::No } {
                Probe::Yes => return self.end_upload(false),
                Probe::NeedMore => return Some(Step::NeedMore { at_least: bytes.len().saturating_add(1) }),
                Probe::Maybe | Probe::No => upload.expecting = false,
            }
        }
        // The next request shows that a body ended whose framing was not captured; before an answer, it is text in it.
        let over = upload.body.is_blind() && upload.answered;
        if over && !bytes.is_empty() && resync::is_message(Side::Client, bytes) {
            return self.end_upload(true);
        }
        Some(match upload.body.read(bytes, !upload.answered) {
            Read::More { consumed: 0, skip: 0 } => Step::NeedMore { at_least: bytes.len().saturating_add(1) },
            // Its exchange may be on its way already, and is completed as long as that takes.
            Read::More { consumed, skip: 0 } if upload.answered => {
                take(consumed, Event::Amend(upload.rest(false)))
            }
            Read::More { consumed, skip } => Step::Take { consumed, skip, event: Event::Part },
            Read::Done { consumed, skip } => {
                self.passed = skip > 0;
                let event = Event::Amend(self.upload.take()?.rest(true));
                Step::Take { consumed, skip, event }
            }
            Read::Malformed => {
                self.client.held = !upload.answered;
                return self.end_upload(false);
            }
        })
    }

    pub(super) fn end_upload(&mut self, whole: bool) -> Option<Step> {
        let upload = self.upload.take()?;
        Some(take(0, Event::Amend(upload.rest(whole))))
    }

    /// Lets pass what is left of a head that was answered before its end.
    pub(super) fn pass_answered(&mut self, bytes: &[u8]) -> Option<Step> {
        if !self.client.answered || bytes.is_empty() {
            return None;
        }
        if resync::is_message(Side::Client, bytes) {
            self.client.answered = false;
            return None;
        }
        let end = memchr::memmem::find(bytes, b"\n\r\n").map(|end| end.saturating_add(3));
        self.client.answered = end.is_none();
        Some(take(end.unwrap_or(bytes.len()), Event::Discard))
    }
}

// === impl Upload ===

impl Upload {
    /// Returns what is known of it; `whole` says that it is at its end.
    pub(super) fn rest(&self, whole: bool) -> Rest {
        let payload = self.body.payload.clone();
        Rest { payload, truncated: self.body.truncated || !whole, plain_bytes: None }
    }
}

/// Returns the version that ends a request's first line, with the space before it.
fn version(line: &[u8]) -> String {
    let line = line.trim_ascii_end();
    let version = memchr::memrchr(b' ', line).and_then(|space| line.get(space..)).unwrap_or_default();
    String::from_utf8_lossy(version).into_owned()
}

fn shortened(mut payload: Vec<u8>, limit: usize) -> (Vec<u8>, bool) {
    let truncated = payload.len() > limit;
    payload.truncate(limit);
    (payload, truncated)
}
