//! Redis: RESP2, RESP3 and inline commands, pipelining, publish and subscribe.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>, and `networking.c` of the server.

mod commands;
mod copy;
mod handshake;
mod inline;
mod line;
mod pending;
mod probe;
mod reply;
mod request;
mod resp;
mod resync;
mod secrets;
#[cfg(test)]
mod tests;

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Options, Request, Response, Side, Step};
use crate::registry::{Comparison, Field, Framing, Protocol, Statuses};
use copy::Copy;
use inline::{Inline, Line};
use pending::{Pending, ReplyRole};
use reply::Reply;
use request::{Command, WORD_BYTES};
use resp::{MAX_LINE, RespScanner, Scanned};
use resync::Found;

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
    statuses: Statuses {
        // Errors of scripts and modules begin with any word of theirs.
        fits: |status| status.starts_with(char::is_alphabetic) && !status.contains(' '),
        allowed: "has OK and the first words of errors, such as ERR, WRONGTYPE or MOVED",
        words: &["OK", "ERR", "WRONGTYPE", "NOAUTH", "NOPERM", "MOVED", "NOSCRIPT", "READONLY"],
    },
    framing: Framing::Lines,
    probe: probe::judge,
    datagrams: None,
    open: |options, from_start| Box::new(Redis::new(options, from_start)),
};

/// How an error goes by which the server refuses bytes that are no command, and closes the connection.
const PROTOCOL_ERROR: &[u8] = b"ERR Protocol error";

/// Decodes one connection of a Redis client and its server.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a plain fact about the connection")]
struct Redis {
    payload_bytes: usize,
    redact: bool,
    command: Option<(RespScanner, Command)>,
    reply: Option<(RespScanner, Reply)>,
    /// The text of the values that came before in the same answer.
    earlier: Vec<u8>,
    /// The line that may be an inline command.
    line: Inline,
    pending: Pending,
    remains: Remains,
    /// Whether the client's library may still be finding out what the server can do.
    connecting: bool,
    /// Whether the client writes commands as lines.
    inline: bool,
    /// Whether it sends them as libraries do.
    arrays: bool,
    /// What a master sends to a replica.
    copy: Option<Copy>,
    refused: Refused,
    done: bool,
}

/// Whether the server's next bytes may be the rest of an answer of which the beginning was not seen.
///
/// What stands in it may look like an answer, so only pushes are read until the client asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remains {
    No,
    /// The connection was open before the capture.
    Joined,
    /// Bytes were lost.
    Lost,
}

/// Where an error stands that refuses a command before its end.
#[derive(Debug, Default)]
enum Refused {
    #[default]
    No,
    /// All but its last byte came: the command is to be completed before it is answered.
    Answered(Reply),
    /// The command is completed.
    Completed(Reply),
}

// === impl Redis ===

impl Redis {
    fn new(options: &Options, from_start: bool) -> Self {
        Self {
            payload_bytes: options.payload_bytes,
            redact: options.redaction.enabled,
            command: None,
            reply: None,
            earlier: Vec::new(),
            line: Inline::default(),
            pending: Pending::default(),
            remains: if from_start { Remains::No } else { Remains::Joined },
            connecting: from_start,
            inline: false,
            arrays: false,
            copy: None,
            refused: Refused::No,
            done: false,
        }
    }

    fn decode_command(&mut self, bytes: &[u8]) -> Step {
        if self.command.is_none() && (bytes.first() != Some(&b'*') || self.line.long().is_some()) {
            return self.decode_inline(bytes);
        }
        let limit = self.payload_bytes;
        let (scanner, command) =
            self.command.get_or_insert_with(|| (RespScanner::default(), Command::new(limit)));
        let Ok((consumed, progress)) = scanner.scan(bytes, command) else { return Step::Malformed };
        if command.is_malformed() {
            return Step::Malformed;
        }
        match progress {
            Scanned::More if consumed == 0 => Step::NeedMore { at_least: bytes.len().saturating_add(1) },
            Scanned::More => Step::Take { consumed, skip: 0, event: Event::Part },
            Scanned::Skip(skip) => Step::Take { consumed, skip, event: Event::Part },
            Scanned::Done(skip) => {
                let command = self.command.take().map(|(_, command)| command).unwrap_or_default();
                self.arrays |= !command.is_empty();
                let event = self.request(&command);
                Step::Take { consumed, skip, event }
            }
        }
    }

    fn decode_inline(&mut self, bytes: &[u8]) -> Step {
        let keep = self.payload_bytes.saturating_add(WORD_BYTES);
        let (text, cut, consumed) = match self.line.read(bytes, keep) {
            Line::Whole { text, cut, consumed } => (text, cut, consumed),
            Line::Part => return Step::Take { consumed: bytes.len(), skip: 0, event: Event::Part },
            Line::NeedMore => return Step::NeedMore { at_least: bytes.len().saturating_add(1) },
            Line::Not => return Step::Malformed,
        };
        let mut command = Command::inline(&text, self.payload_bytes);
        if cut {
            command.cut_off();
        }
        // A client that sends commands as libraries do does not write lines.
        if self.arrays && !command.is_empty() && !command.is_known() {
            return Step::Malformed;
        }
        // On a connection that was open before, the first line may have begun before, too.
        let first = !self.inline && self.remains == Remains::Joined;
        self.inline |= !command.is_empty();
        let event = if first { Event::Discard } else { self.request(&command) };
        Step::Take { consumed, skip: 0, event }
    }

    /// Queues `command` and says what it is: a request, one that nobody answers, or nothing.
    fn request(&mut self, command: &Command) -> Event {
        if command.is_empty() {
            return Event::Discard;
        }
        let step = handshake::step(command);
        let handshake = self.connecting && step == handshake::HandshakeStep::Probe;
        self.connecting &= step != handshake::HandshakeStep::Other;
        let (payload, truncated) = command.payload(self.redact);
        let request = Request {
            operation: command.operation(),
            attributes: command.attributes(),
            payload,
            truncated,
            handshake,
            ..Request::default()
        };
        // A replica acknowledges what it was sent.
        if command.is(0, b"REPLCONF") && command.is(1, b"ACK") && self.remains != Remains::No {
            self.copy.get_or_insert(Copy::Commands(None));
        }
        self.remains = Remains::No;
        if self.pending.push(command) { Event::Request(request) } else { Event::Single(request) }
    }

    fn decode_answer(&mut self, bytes: &[u8]) -> Step {
        if let Some(copy) = &mut self.copy {
            return copy.decode(bytes, self.payload_bytes, self.redact);
        }
        if self.reply.is_none() && self.remains != Remains::No {
            match resync::push(bytes) {
                Found::At(0) => {}
                Found::Perhaps(0) => return Step::NeedMore { at_least: bytes.len().saturating_add(1) },
                found @ (Found::At(_) | Found::Perhaps(_) | Found::No) => {
                    return self.pass_remains(bytes, found);
                }
            }
        }
        if let Refused::Completed(reply) = std::mem::take(&mut self.refused) {
            self.done = true;
            return Step::Take { consumed: 1, skip: 0, event: self.response(reply) };
        }
        if let Some(step) = self.decode_refusal(bytes) {
            return step;
        }
        if self.reply.is_none() && self.pending.wants_copy() && bytes.first() == Some(&b'$') {
            return self.decode_copy_head(bytes);
        }
        self.decode_reply(bytes)
    }

    /// Passes over what may be the rest of an answer, up to where a push begins.
    fn pass_remains(&self, bytes: &[u8], found: Found) -> Step {
        if self.remains == Remains::Lost {
            return Step::Malformed;
        }
        let consumed = match found {
            Found::At(at) | Found::Perhaps(at) => at,
            Found::No => bytes.len(),
        };
        Step::Take { consumed, skip: 0, event: Event::Discard }
    }

    /// Reads an error that answers a command of which the end is still to come.
    fn decode_refusal(&mut self, bytes: &[u8]) -> Option<Step> {
        let line = self.line.long();
        let early =
            (self.command.is_some() || line.is_some()) && self.reply.is_none() && self.pending.is_empty();
        if !early || !begins_refusal(bytes) {
            return None;
        }
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            return (bytes.len() <= MAX_LINE)
                .then(|| Step::NeedMore { at_least: bytes.len().saturating_add(1) });
        };
        let limit = self.payload_bytes;
        let guard = match &self.command {
            _ if !self.redact => None,
            Some((_, command)) => Some(secrets::Guard::of(command.words())),
            None => Some(secrets::Guard::of(Command::inline(line?, limit).words())),
        };
        let mut reply = Reply::new(limit, guard);
        let (line, mut scanner) = (bytes.get(..=end).unwrap_or_default(), RespScanner::default());
        if !matches!(scanner.scan(line, &mut reply), Ok((_, Scanned::Done(0)))) {
            return None;
        }
        self.refused = Refused::Answered(reply);
        Some(Step::Take { consumed: end, skip: 0, event: Event::Part })
    }

    /// Reads the head of a copy that answers `SYNC`.
    fn decode_copy_head(&mut self, bytes: &[u8]) -> Step {
        match Copy::head(bytes) {
            Ok(Some((consumed, copy))) => {
                self.pending.take_front();
                self.copy = Some(copy);
                let response = Response { status: "OK".to_owned(), ..Response::default() };
                Step::Take { consumed, skip: 0, event: Event::Response(response) }
            }
            Ok(None) => Step::NeedMore { at_least: bytes.len().saturating_add(1) },
            Err(()) => Step::Malformed,
        }
    }

    fn decode_reply(&mut self, bytes: &[u8]) -> Step {
        // While it prepares a replica's copy, the server sends empty lines to keep the connection alive.
        if self.reply.is_none() && bytes.first() == Some(&b'\n') {
            return Step::Take { consumed: 1, skip: 0, event: Event::Discard };
        }
        if self.reply.is_none() {
            let guard = self.redact.then(|| self.pending.guard());
            self.reply = Some((RespScanner::default(), Reply::new(self.payload_bytes, guard)));
        }
        let Some((scanner, reply)) = &mut self.reply else { return Step::Malformed };
        let Ok((consumed, progress)) = scanner.scan(bytes, reply) else { return Step::Malformed };
        match progress {
            Scanned::More if consumed == 0 => Step::NeedMore { at_least: bytes.len().saturating_add(1) },
            Scanned::More => Step::Take { consumed, skip: 0, event: Event::Part },
            Scanned::Skip(skip) => Step::Take { consumed, skip, event: Event::Part },
            Scanned::Done(skip) => {
                let reply = self.reply.take().map(|(_, reply)| reply).unwrap_or_default();
                let event = self.response(reply);
                Step::Take { consumed, skip, event }
            }
        }
    }

    /// Says what a whole reply is: an answer, one of several parts of an answer, or a push.
    fn response(&mut self, reply: Reply) -> Event {
        match self.pending.answer(&reply) {
            ReplyRole::Part => {
                let room = self.payload_bytes.saturating_sub(self.earlier.len());
                self.earlier.extend(reply.text.into_iter().chain([b'\n']).take(room));
                Event::Part
            }
            ReplyRole::Push => {
                let operation = push_operation(&reply);
                let command = operation.split(' ').next().unwrap_or_default().to_owned();
                let response = Response {
                    by_itself: !reply.is_error(),
                    operation: Some(operation),
                    attributes: vec![("command", command)],
                    ..response(reply)
                };
                Event::Push(response)
            }
            ReplyRole::Stray => Event::Response(response(reply)),
            ReplyRole::Replication => {
                self.copy = Some(Copy::Head);
                Event::Response(response(reply))
            }
            ReplyRole::Whole => {
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

    /// Ends a command of which no more comes.
    fn cut_off_command(&mut self) -> Option<Event> {
        let command = self.command.take().map(|(_, command)| command);
        let line = self.line.take();
        let mut command = command.or_else(|| line.map(|line| Command::inline(&line, self.payload_bytes)))?;
        command.cut_off().then(|| self.request(&command))
    }
}

impl Decoder for Redis {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        let open = match from {
            Side::Client => self.command.is_some(),
            Side::Server => self.reply.is_some() || self.copy.as_ref().is_some_and(Copy::is_open),
        };
        if bytes.is_empty() && !open {
            return Step::NeedMore { at_least: 1 };
        }
        match from {
            Side::Client => self.decode_command(bytes),
            Side::Server => self.decode_answer(bytes),
        }
    }

    fn unseen(&mut self, from: Side, len: u64) -> u64 {
        match (from, &mut self.copy) {
            (Side::Client, _) => match &mut self.command {
                Some((scanner, _)) => scanner.unseen(len),
                None => self.line.unseen(len),
            },
            (Side::Server, Some(copy)) => copy.unseen(len),
            (Side::Server, None) => self.reply.as_mut().map_or(0, |(scanner, _)| scanner.unseen(len)),
        }
    }

    fn lost(&mut self, from: Side) {
        match from {
            Side::Client => {
                self.command = None;
                self.line.take();
            }
            Side::Server => {
                self.reply = None;
                self.earlier.clear();
                self.refused = Refused::No;
                match &mut self.copy {
                    Some(copy) => copy.lost(),
                    None => self.remains = Remains::Lost,
                }
            }
        }
        self.pending.clear();
    }

    fn garbled(&mut self, from: Side) -> bool {
        if from == Side::Server {
            self.lost(from);
            return false;
        }
        self.command = None;
        self.line.take();
        true
    }

    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize> {
        match (from, &self.copy) {
            (Side::Client, _) => resync::command(bytes, self.inline),
            (Side::Server, Some(_)) => resync::command(bytes, false),
            (Side::Server, None) if self.remains == Remains::No => Some(0),
            (Side::Server, None) => Some(match resync::push(bytes) {
                Found::At(at) | Found::Perhaps(at) => at,
                Found::No => bytes.len(),
            }),
        }
    }

    fn completed(&mut self, from: Side) -> Option<Event> {
        if from == Side::Server {
            return None;
        }
        match std::mem::take(&mut self.refused) {
            Refused::Answered(reply) => {
                self.refused = Refused::Completed(reply);
                self.cut_off_command()
            }
            other @ (Refused::No | Refused::Completed(_)) => {
                self.refused = other;
                None
            }
        }
    }

    fn finish(&mut self, from: Side) -> Option<Event> {
        // Half an answer is none: it does not say how it would have ended.
        if from == Side::Client { self.cut_off_command() } else { None }
    }

    fn done(&self) -> bool {
        self.done
    }
}

/// Tells whether `bytes` begin, or may begin, with an error by which the server refuses what is no command.
fn begins_refusal(bytes: &[u8]) -> bool {
    let text = bytes.get(1..).unwrap_or_default();
    let same = text.len().min(PROTOCOL_ERROR.len());
    bytes.first().is_none_or(|kind| *kind == b'-') && text.get(..same) == PROTOCOL_ERROR.get(..same)
}

/// Turns a reply into what is shown of it.
fn response(reply: Reply) -> Response {
    let error = reply.is_error();
    let status = if error { reply.first_word() } else { "OK".to_owned() };
    let handshake = (error && !handshake::is_refusal(&status)).then_some(false);
    Response {
        status,
        error,
        payload: reply.text,
        truncated: reply.truncated,
        handshake,
        ..Response::default()
    }
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
