//! HTTP/1.0 and 1.1: every method, chunked bodies both ways, interim responses, pipelining; upgrades end decoding.
//!
//! Source: RFC 9112 (message syntax) and RFC 9110 (semantics).

mod body;
mod head;

use std::collections::VecDeque;

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Evidence, Options, Probe, Request, Response, Rest, Side, Step};
use crate::redact::{self, REDACTED};
use crate::registry::{Comparison, Field, Protocol};
use body::{Body, Read};
use head::{Framing, Head, Parsed};

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "http",
    title: "HTTP/1",
    summary: "HTTP/1.0 and 1.1: all methods, chunked bodies, pipelining; decoding ends at an upgrade",
    ports: &[80, 8080],
    transports: &[Transport::Tcp],
    fields: &[
        Field { name: "method", flag: "method", help: "Request methods", comparison: Comparison::Caseless },
        Field {
            name: "host",
            flag: "host",
            help: "Values of the Host header",
            comparison: Comparison::Caseless,
        },
        Field {
            name: "path",
            flag: "path",
            help: "Exact paths, without the query",
            comparison: Comparison::Exact,
        },
        Field {
            name: "path",
            flag: "path-prefix",
            help: "Beginnings of paths",
            comparison: Comparison::Prefix,
        },
        Field {
            name: "path",
            flag: "path-regex",
            help: "Regular expression on paths",
            comparison: Comparison::Regex,
        },
    ],
    probe: judge,
    open: |options, _| Box::new(Http::new(options)),
    datagrams: None,
};

/// Methods that need no whole first line to be recognised.
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// A first line longer than this is recognised by its method.
const LONG_LINE: usize = 2048;

/// Requests whose methods are remembered until their responses: as many as the engine pairs.
const MAX_PENDING: usize = 64 * 1024;

/// Decodes one connection.
#[derive(Debug)]
struct Http {
    options: Options,
    request: Option<Body>,
    /// The open request's body waits for `100 Continue`: after another answer it may never come.
    expecting: bool,
    response: Option<(Body, Response)>,
    pending: VecDeque<Method>,
    done: bool,
}

/// What a response's framing depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Head,
    Connect,
    Other,
}

/// Judges the first bytes of a side.
fn judge(evidence: &Evidence<'_>) -> Probe {
    probe(evidence.sender, evidence.head)
}

fn probe(side: Side, head: &[u8]) -> Probe {
    match side {
        Side::Client => probe_request(head),
        Side::Server => probe_response(head),
    }
}

fn probe_request(head: &[u8]) -> Probe {
    // Empty lines before a request are tolerated (RFC 9112, section 2.2).
    let empty = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let head = head.get(empty..).unwrap_or_default();
    let method_end = memchr::memchr(b' ', head.get(..head.len().min(33)).unwrap_or_default());
    let method = head.get(..method_end.unwrap_or(head.len())).unwrap_or_default();
    if !method.is_empty() && !head::is_method(method) {
        return Probe::No;
    }
    match memchr::memchr(b'\n', head) {
        Some(end) => {
            let line = head.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if head::request_line(line).is_some() { Probe::Yes } else { Probe::No }
        }
        None if head.len() < LONG_LINE => Probe::NeedMore,
        None if METHODS.contains(&method) => Probe::Yes,
        None => Probe::No,
    }
}

fn probe_response(head: &[u8]) -> Probe {
    let start = head.get(..head.len().min(13)).unwrap_or_default();
    let line = start.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    if head::status_line(line).is_some() && (start.len() >= 13 || line.len() < start.len()) {
        return Probe::Yes;
    }
    let shape = b"HTTP/1.? ### ";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'?' => matches!(byte, b'0' | b'1'),
        b'#' => byte.is_ascii_digit(),
        other => byte == other,
    };
    if start.len() < 13 && start.iter().zip(shape).all(fits) { Probe::NeedMore } else { Probe::No }
}

// === impl Http ===

impl Http {
    fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
            request: None,
            expecting: false,
            response: None,
            pending: VecDeque::new(),
            done: false,
        }
    }

    fn begin_request(&mut self, head: &Head<'_>) -> Step {
        let Some(line) = head::request_line(head.line) else { return Step::Malformed };
        let method = String::from_utf8_lossy(line.method).into_owned();
        let target = self.address(&String::from_utf8_lossy(line.target));
        let kind = match line.method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        if self.pending.len() < MAX_PENDING {
            self.pending.push_back(kind);
        }
        let host = head.text("host").unwrap_or_default();
        let payload = self.text(head, &format!("{method} {target}"));
        // Without a length a request has no body: a server could not tell where it ends.
        let framing = match head.framing() {
            None | Some(Framing::UntilClose) => Framing::None,
            Some(framing) => framing,
        };
        let attributes = vec![("method", method.clone()), ("host", host.clone()), ("path", path(&target))];
        let (payload, truncated) = shortened(payload, self.options.payload_bytes);
        let request = Request {
            operation: format!("{method} {target}"),
            target: host,
            attributes,
            payload: payload.clone(),
            truncated,
            ..Request::default()
        };
        if framing != Framing::None {
            self.expecting = head.values("expect").any(|value| value.eq_ignore_ascii_case(b"100-continue"));
            self.request = Some(Body::new(framing, payload, self.options.payload_bytes));
        }
        Step::Take { consumed: head.length, skip: 0, event: Event::Request(request) }
    }

    fn begin_response(&mut self, head: &Head<'_>) -> Step {
        let Some(status) = head::status_line(head.line) else { return Step::Malformed };
        let consumed = head.length;
        if (100..200).contains(&status) && status != 101 {
            return Step::Take { consumed, skip: 0, event: Event::Discard };
        }
        let method = self.pending.pop_front().unwrap_or(Method::Other);
        let tunnel = status == 101 || method == Method::Connect && (200..300).contains(&status);
        let bodiless = tunnel || method == Method::Head || matches!(status, 204 | 304);
        let framing = if bodiless { Framing::None } else { head.framing().unwrap_or(Framing::UntilClose) };
        let line = String::from_utf8_lossy(head.line).into_owned();
        let payload = self.text(head, &line);
        let response = Response { status: status.to_string(), error: status >= 400, ..Response::default() };
        let body = Body::new(framing, payload, self.options.payload_bytes);
        if framing == Framing::None {
            self.done |= tunnel;
            return Step::Take { consumed, skip: 0, event: Event::Response(complete(body, response)) };
        }
        self.response = Some((body, response));
        Step::Take { consumed, skip: 0, event: Event::Part }
    }

    fn read_body(&mut self, from: Side, bytes: &[u8]) -> Option<Step> {
        if from == Side::Client && self.expecting {
            if bytes.is_empty() {
                return Some(Step::NeedMore { at_least: 1 });
            }
            // A client that was refused may go on with its next request instead (RFC 9110, section 10.1.1).
            match if self.pending.is_empty() { probe_request(bytes) } else { Probe::No } {
                Probe::Yes => return Some(Step::Take { consumed: 0, skip: 0, event: self.end_body(from)? }),
                Probe::NeedMore => return Some(Step::NeedMore { at_least: bytes.len().saturating_add(1) }),
                Probe::Maybe | Probe::No => self.expecting = false,
            }
        }
        let body = match from {
            Side::Client => self.request.as_mut()?,
            Side::Server => &mut self.response.as_mut()?.0,
        };
        // The next message shows that a body ended whose framing was not captured.
        if body.is_blind() && !bytes.is_empty() && (from == Side::Client || !self.pending.is_empty()) {
            match probe(from, bytes) {
                Probe::Yes => return Some(Step::Take { consumed: 0, skip: 0, event: self.end_body(from)? }),
                Probe::NeedMore if from == Side::Server => {
                    return Some(Step::NeedMore { at_least: bytes.len().saturating_add(1) });
                }
                Probe::NeedMore | Probe::Maybe | Probe::No => {}
            }
        }
        Some(match body.read(bytes) {
            Read::More { consumed: 0, skip: 0 } => Step::NeedMore { at_least: bytes.len().saturating_add(1) },
            Read::More { consumed, skip } => Step::Take { consumed, skip, event: Event::Part },
            Read::Malformed => Step::Malformed,
            Read::Done { consumed, skip } => Step::Take { consumed, skip, event: self.end_body(from)? },
        })
    }

    fn end_body(&mut self, from: Side) -> Option<Event> {
        Some(match from {
            Side::Client => {
                let body = self.request.take()?;
                self.expecting = false;
                Event::Amend(Rest { payload: body.payload, truncated: body.truncated, plain_bytes: None })
            }
            Side::Server => {
                let (body, response) = self.response.take()?;
                Event::Response(complete(body, response))
            }
        })
    }

    /// Returns a head as shown: `first` for its first line, secrets hidden.
    fn text(&self, head: &Head<'_>, first: &str) -> Vec<u8> {
        let redaction = &self.options.redaction;
        let mut text = first.as_bytes().to_vec();
        if head.line.ends_with(b" HTTP/1.0") {
            text.extend_from_slice(b" HTTP/1.0");
        } else if head.line.ends_with(b" HTTP/1.1") {
            text.extend_from_slice(b" HTTP/1.1");
        }
        let mut secret = false;
        for line in &head.fields {
            text.extend_from_slice(b"\r\n");
            let folded = line.first().is_some_and(u8::is_ascii_whitespace);
            match head::field(line) {
                Some((name, value)) if !folded && redaction.enabled => {
                    let name = String::from_utf8_lossy(name);
                    secret = redact::is_secret_header(&name, &redaction.headers);
                    let value = if secret { REDACTED.to_owned() } else { hidden_address(value) };
                    text.extend_from_slice(format!("{name}: {value}").as_bytes());
                }
                // The rest of a secret is one too.
                _ if folded && secret => text.extend_from_slice(REDACTED.as_bytes()),
                _ => text.extend_from_slice(line),
            }
        }
        text.extend_from_slice(b"\r\n\r\n");
        text
    }

    fn address(&self, target: &str) -> String {
        if self.options.redaction.enabled { redact::address(target) } else { target.to_owned() }
    }
}

impl Decoder for Http {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        if let Some(step) = self.read_body(from, bytes) {
            return step;
        }
        // Empty lines before a message are tolerated (RFC 9112, section 2.2).
        let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if empty > 0 {
            return Step::Take { consumed: empty, skip: 0, event: Event::Discard };
        }
        match (head::parse(bytes), from) {
            (Parsed::Head(head), Side::Client) => self.begin_request(&head),
            (Parsed::Head(head), Side::Server) => self.begin_response(&head),
            (Parsed::Malformed, _) => Step::Malformed,
            (Parsed::Incomplete, _) if probe(from, bytes) == Probe::No => Step::Malformed,
            (Parsed::Incomplete, _) => Step::NeedMore { at_least: bytes.len().saturating_add(1) },
        }
    }

    fn unseen(&mut self, from: Side, len: u64) -> u64 {
        match from {
            Side::Client => self.request.as_mut().map_or(0, |body| body.unseen(len)),
            Side::Server => self.response.as_mut().map_or(0, |(body, _)| body.unseen(len)),
        }
    }

    fn lost(&mut self, from: Side) {
        match from {
            Side::Client => {
                self.request = None;
                self.expecting = false;
            }
            Side::Server => self.response = None,
        }
        self.pending.clear();
    }

    fn garbled(&mut self, from: Side) -> bool {
        if from == Side::Server {
            self.lost(from);
            return false;
        }
        self.request = None;
        self.expecting = false;
        true
    }

    fn is_request_open(&self) -> bool {
        self.request.is_some() && !self.expecting
    }

    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize> {
        match from {
            Side::Client => memchr::memmem::find_iter(bytes, b" HTTP/1.")
                .find_map(|version| request_start(bytes, version)),
            Side::Server => memchr::memmem::find_iter(bytes, b"HTTP/1.")
                .find(|start| probe_response(bytes.get(*start..).unwrap_or_default()) != Probe::No),
        }
    }

    fn completed(&mut self, from: Side) -> Option<Event> {
        // A client that asks again has the whole answer to what it asked before.
        let blind = self.response.as_ref().is_some_and(|(body, _)| body.is_blind());
        if from == Side::Server && blind && !self.pending.is_empty() { self.end_body(from) } else { None }
    }

    fn finish(&mut self, from: Side) -> Option<Event> {
        if from == Side::Client {
            return None;
        }
        let whole = self.response.as_ref()?.0.ends_with_connection();
        let (body, response) = self.response.take()?;
        let complete = complete(body, response);
        Some(Event::Response(Response { truncated: complete.truncated || !whole, ..complete }))
    }

    fn done(&self) -> bool {
        self.done
    }
}

/// Returns where the request begins whose version stands at `version`.
fn request_start(bytes: &[u8], version: usize) -> Option<usize> {
    let before = bytes.get(..version)?;
    let target = memchr::memrchr(b' ', before)?;
    let method = before.get(..target)?;
    let letters = method.iter().rev().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    let start = target.saturating_sub(letters);
    (letters > 0).then_some(start)
}

fn complete(body: Body, response: Response) -> Response {
    Response { payload: body.payload, truncated: body.truncated, ..response }
}

fn shortened(mut payload: Vec<u8>, limit: usize) -> (Vec<u8>, bool) {
    let truncated = payload.len() > limit;
    payload.truncate(limit);
    (payload, truncated)
}

fn hidden_address(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    if value.contains("://") || value.starts_with('/') { redact::address(&value) } else { value.into_owned() }
}

/// Returns the path of a target: without query, scheme and authority.
fn path(target: &str) -> String {
    let place = target.split(['?', '#']).next().unwrap_or_default();
    match place.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/").to_owned(),
        None => place.to_owned(),
    }
}
