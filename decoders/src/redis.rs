//! Redis: RESP2, RESP3 and inline commands, pipelining, publish and subscribe.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>, and `networking.c` of the server.

mod commands;
mod pending;
mod reply;
mod request;
mod resp;

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Evidence, Options, Probe, Request, Response, Side, Step};
use crate::registry::{Comparison, Field, Protocol};
use pending::{Answer, Pending};
use reply::Reply;
use request::Command;
use resp::{MAX_LINE, Progress, Scanner};

/// The entry of the registry.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "redis",
    title: "Redis",
    summary: "commands and replies in RESP2, RESP3 and inline, pipelines, transactions, publish and subscribe",
    ports: &[6379],
    transports: &[Transport::Tcp],
    fields: &[
        Field {
            name: "command",
            flag: "command",
            help: "these commands, such as GET",
            comparison: Comparison::Caseless,
        },
        Field { name: "key", flag: "keys", help: "commands on these keys", comparison: Comparison::Exact },
        Field {
            name: "key",
            flag: "key-prefix",
            help: "commands on keys that begin with this",
            comparison: Comparison::Prefix,
        },
    ],
    probe: judge,
    datagrams: None,
    open: |options, _| Box::new(Redis::new(options)),
};

/// Decodes one connection of a Redis client and its server.
#[derive(Debug)]
struct Redis {
    payload_bytes: usize,
    redact: bool,
    command: Option<(Scanner, Command)>,
    reply: Option<(Scanner, Reply)>,
    /// The text of the values that came before in the same answer.
    earlier: Vec<u8>,
    /// A line that may be an inline command was searched so far.
    searched: usize,
    pending: Pending,
    done: bool,
}

/// Judges the first bytes of a side.
fn judge(evidence: &Evidence<'_>) -> Probe {
    probe(evidence.sender, evidence.head)
}

/// Tells whether `head`, the first bytes that `side` sent, are Redis.
fn probe(side: Side, head: &[u8]) -> Probe {
    match side {
        Side::Client => probe_command(head),
        Side::Server => probe_reply(head),
    }
}

// === impl Redis ===

impl Redis {
    fn new(options: &Options) -> Self {
        Self {
            payload_bytes: options.payload_bytes,
            redact: options.redaction.enabled,
            command: None,
            reply: None,
            earlier: Vec::new(),
            searched: 0,
            pending: Pending::default(),
            done: false,
        }
    }

    fn decode_command(&mut self, bytes: &[u8]) -> Step {
        if self.command.is_none() && bytes.first() != Some(&b'*') {
            return self.decode_inline(bytes);
        }
        let limit = self.payload_bytes;
        let (scanner, command) =
            self.command.get_or_insert_with(|| (Scanner::default(), Command::new(limit)));
        let Ok((consumed, progress)) = scanner.scan(bytes, command) else { return Step::Malformed };
        if command.is_malformed() {
            return Step::Malformed;
        }
        match progress {
            Progress::More if consumed == 0 => Step::NeedMore { at_least: bytes.len().saturating_add(1) },
            Progress::More => Step::Take { consumed, skip: 0, event: Event::Part },
            Progress::Skip(skip) => Step::Take { consumed, skip, event: Event::Part },
            Progress::Done(skip) => {
                let command = self.command.take().map(|(_, command)| command).unwrap_or_default();
                let event = self.request(&command);
                Step::Take { consumed, skip, event }
            }
        }
    }

    fn decode_inline(&mut self, bytes: &[u8]) -> Step {
        let from = self.searched.min(bytes.len());
        let Some(offset) = memchr::memchr(b'\n', bytes.get(from..).unwrap_or_default()) else {
            if bytes.len() > MAX_LINE || bytes.first().is_none_or(|byte| !is_inline(*byte)) {
                return Step::Malformed;
            }
            self.searched = bytes.len();
            return Step::NeedMore { at_least: bytes.len().saturating_add(1) };
        };
        self.searched = 0;
        let end = from.saturating_add(offset);
        let line = bytes.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.iter().all(|byte| is_inline(*byte)) {
            return Step::Malformed;
        }
        let command = Command::inline(line, self.payload_bytes);
        let event = self.request(&command);
        Step::Take { consumed: end.saturating_add(1), skip: 0, event }
    }

    /// Queues `command` and says what it is: a request, one that nobody answers, or nothing.
    fn request(&mut self, command: &Command) -> Event {
        if command.is_empty() {
            return Event::Discard;
        }
        let (payload, truncated) = command.payload(self.redact);
        let mut attributes = vec![("command", command.name())];
        attributes.extend(command.keys().into_iter().map(|key| ("key", key)));
        let request =
            Request { operation: command.operation(), attributes, payload, truncated, ..Request::default() };
        if self.pending.push(command, self.redact) { Event::Request(request) } else { Event::Single(request) }
    }

    fn decode_reply(&mut self, bytes: &[u8]) -> Step {
        // While it prepares a replica's copy, the server sends empty lines to keep the connection alive.
        if self.reply.is_none() && bytes.first() == Some(&b'\n') {
            return Step::Take { consumed: 1, skip: 0, event: Event::Discard };
        }
        let (limit, secret) = (self.payload_bytes, self.pending.secret());
        let (scanner, reply) =
            self.reply.get_or_insert_with(|| (Scanner::default(), Reply::new(limit, secret)));
        let Ok((consumed, progress)) = scanner.scan(bytes, reply) else { return Step::Malformed };
        match progress {
            Progress::More if consumed == 0 => Step::NeedMore { at_least: bytes.len().saturating_add(1) },
            Progress::More => Step::Take { consumed, skip: 0, event: Event::Part },
            Progress::Skip(skip) => Step::Take { consumed, skip, event: Event::Part },
            Progress::Done(skip) => {
                let reply = self.reply.take().map(|(_, reply)| reply).unwrap_or_default();
                let event = self.response(reply);
                Step::Take { consumed, skip, event }
            }
        }
    }

    /// Says what a whole reply is: an answer, one of several parts of an answer, or a push.
    fn response(&mut self, reply: Reply) -> Event {
        match self.pending.answer(&reply) {
            Answer::Part => {
                let room = self.payload_bytes.saturating_sub(self.earlier.len());
                self.earlier.extend(reply.text.into_iter().chain([b'\n']).take(room));
                Event::Part
            }
            Answer::Push => {
                let operation = push_operation(&reply);
                let command = operation.split(' ').next().unwrap_or_default().to_owned();
                let response = Response {
                    operation: Some(operation),
                    attributes: vec![("command", command)],
                    ..response(reply)
                };
                Event::Push(response)
            }
            Answer::Whole { last } => {
                self.done |= last;
                let mut response = response(reply);
                if !self.earlier.is_empty() {
                    response.payload.splice(..0, self.earlier.drain(..));
                    response.truncated |= response.payload.len() > self.payload_bytes;
                    response.payload.truncate(self.payload_bytes);
                }
                Event::Response(response)
            }
        }
    }
}

impl Decoder for Redis {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        let open = if from == Side::Client { self.command.is_some() } else { self.reply.is_some() };
        if bytes.is_empty() && !open {
            return Step::NeedMore { at_least: 1 };
        }
        match from {
            Side::Client => self.decode_command(bytes),
            Side::Server => self.decode_reply(bytes),
        }
    }

    fn unseen(&mut self, from: Side, len: u64) -> u64 {
        match from {
            Side::Client => self.command.as_mut().map_or(0, |(scanner, _)| scanner.unseen(len)),
            Side::Server => self.reply.as_mut().map_or(0, |(scanner, _)| scanner.unseen(len)),
        }
    }

    fn lost(&mut self, from: Side) {
        match from {
            Side::Client => {
                self.command = None;
                self.searched = 0;
            }
            Side::Server => {
                self.reply = None;
                self.earlier.clear();
            }
        }
        self.pending.clear();
    }

    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize> {
        let starts = memchr::memchr_iter(b'\n', bytes).map(|end| end.saturating_add(1));
        std::iter::once(0).chain(starts).find(|start| {
            let rest = bytes.get(*start..).unwrap_or_default();
            match from {
                Side::Client => rest.first() == Some(&b'*') && probe_command(rest) == Probe::Yes,
                Side::Server => is_reply_start(rest),
            }
        })
    }

    fn done(&self) -> bool {
        self.done
    }
}

/// Turns a reply into what is shown of it.
fn response(reply: Reply) -> Response {
    let error = reply.is_error();
    let status = if error { reply.first_word() } else { "OK".to_owned() };
    Response { status, error, payload: reply.text, truncated: reply.truncated, ..Response::default() }
}

/// Names a push after what it brings: `MESSAGE channel`, `INVALIDATE`, `MONITOR`.
fn push_operation(reply: &Reply) -> String {
    if reply.kind == b'+' {
        return "MONITOR".to_owned();
    }
    if reply.is_error() {
        return "ERROR".to_owned();
    }
    let name = reply.first_word().to_uppercase();
    let channel =
        matches!(reply.word(0), b"message" | b"pmessage" | b"smessage" | b"subscribe" | b"unsubscribe");
    if channel && !reply.word(1).is_empty() {
        return format!("{name} {}", String::from_utf8_lossy(reply.word(1)));
    }
    name
}

fn is_inline(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t' || byte == b'\r' || byte == b'\n'
}

/// Tells whether `rest` begins like a reply that is unlikely to be the middle of one: a whole header line.
fn is_reply_start(rest: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(rest.get(..rest.len().min(512)).unwrap_or_default(), b"\r\n") else {
        return false;
    };
    let (Some(kind), Some(text)) = (rest.first(), rest.get(1..end)) else { return false };
    let digits = !text.is_empty() && text.len() < 12 && text.iter().all(u8::is_ascii_digit);
    match kind {
        b'*' | b'%' | b'~' | b'>' | b':' => digits,
        b'$' => digits || text == b"-1",
        b'+' => matches!(text, b"OK" | b"QUEUED" | b"PONG"),
        b'-' => text.iter().take_while(|byte| byte.is_ascii_uppercase()).count() >= 3,
        b'#' => matches!(text, b"t" | b"f"),
        _ => false,
    }
}

fn probe_command(head: &[u8]) -> Probe {
    if head.first() == Some(&b'*') {
        return probe_multibulk(head.get(1..).unwrap_or_default());
    }
    // An inline command: a known name and a whole line that is not HTTP's.
    let name_end = head.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(head.len());
    let name = head.get(..name_end).unwrap_or_default();
    if name.is_empty() || name.len() > 24 {
        return Probe::No;
    }
    let Some(end) = memchr::memchr(b'\n', head) else {
        return if head.len() <= 4096 && head.iter().all(|byte| is_inline(*byte)) {
            Probe::NeedMore
        } else {
            Probe::No
        };
    };
    let line = head.get(..end).unwrap_or_default();
    let http = memchr::memmem::find(line, b" HTTP/").is_some();
    if !http && commands::known(name) && line.iter().all(|byte| is_inline(*byte)) {
        Probe::Yes
    } else {
        Probe::No
    }
}

/// Probes `N\r\n$L\r\n`, the start of a command behind its `*`.
fn probe_multibulk(rest: &[u8]) -> Probe {
    let mut rest = rest;
    for next in [b"\r\n$".as_slice(), b"\r\n".as_slice()] {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (tail, first) = (rest.get(digits..).unwrap_or_default(), rest.first());
        if digits > 10 || digits == 0 && !tail.is_empty() || first == Some(&b'0') && digits > 1 {
            return Probe::No;
        }
        if tail.len() < next.len() {
            return if next.starts_with(tail) { Probe::NeedMore } else { Probe::No };
        }
        match tail.strip_prefix(next) {
            Some(behind) => rest = behind,
            None => return Probe::No,
        }
    }
    Probe::Yes
}

fn probe_reply(head: &[u8]) -> Probe {
    let Some(kind) = head.first() else { return Probe::NeedMore };
    if !b"+-:$*%~>_#,".contains(kind) {
        return Probe::No;
    }
    let window = head.get(..head.len().min(64)).unwrap_or_default();
    match memchr::memmem::find(window, b"\r\n") {
        None if (head.len() < 64 || matches!(kind, b'+' | b'-'))
            && window.iter().all(|byte| is_inline(*byte)) =>
        {
            Probe::NeedMore
        }
        // Other protocols greet with `+OK` and `-ERR` too: only the client's words decide then.
        Some(_) if matches!(kind, b'+' | b'-') => Probe::NeedMore,
        Some(_) if is_reply_start(head) => Probe::Yes,
        None | Some(_) => Probe::No,
    }
}
