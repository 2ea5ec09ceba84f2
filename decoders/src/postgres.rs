//! `PostgreSQL`: protocol 3, simple and extended, copies, notifications.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol.html>.

mod client;
mod server;
mod statement;
mod unit;
mod values;

use std::collections::VecDeque;

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Evidence, Options, Probe, Side, Step};
use crate::registry::{Comparison, Field, Protocol};
use crate::sql::frame::{Frames, Header, NoHeader};
use statement::{Names, Portal, Statement};
use unit::{Kind, Unit};

/// The entry of the registry.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "postgres",
    title: "PostgreSQL",
    summary: "log-ins, simple and extended queries, copies and notifications with their results",
    ports: &[5432],
    transports: &[Transport::Tcp],
    fields: &[
        Field {
            name: "statement",
            flag: "statement-regex",
            help: "statements that match this regular expression",
            comparison: Comparison::Regex,
        },
        Field {
            name: "command",
            flag: "command",
            help: "statements that begin with this keyword, such as SELECT",
            comparison: Comparison::Caseless,
        },
    ],
    probe: judge,
    datagrams: None,
    open: |options, _| Box::new(Postgres::new(options)),
};

/// Most requests remembered while they wait.
const MAX_PENDING: usize = 4096;

/// Most messages of the extended protocol that make up one request.
const MAX_EXPECTS: usize = 1024;

/// Longest message: `PostgreSQL`'s own bound on one allocation.
const MAX_MESSAGE: u32 = 0x3fff_ffff;

/// Longest start-up packet: `MAX_STARTUP_PACKET_LENGTH` of the server.
const MAX_STARTUP: u32 = 10_000;

/// Decodes one connection of a client and its server.
#[derive(Debug)]
struct Postgres {
    payload_bytes: usize,
    redact: bool,
    frames: [Frames; 2],
    database: String,
    statements: Names<Statement>,
    portals: Names<Portal>,
    /// Messages of the extended protocol that nothing asked to answer yet.
    building: Option<Unit>,
    pending: VecDeque<Unit>,
    done: bool,
}

/// Judges the first bytes of a side.
fn judge(evidence: &Evidence<'_>) -> Probe {
    probe(evidence.sender, evidence.head)
}

/// Tells whether `head`, the first bytes that `side` sent, are `PostgreSQL`.
fn probe(side: Side, head: &[u8]) -> Probe {
    let (Some(kind), read) = (head.first(), read_header(side, head)) else { return Probe::NeedMore };
    match (side, kind, read) {
        (_, _, Err(NoHeader::Malformed)) => Probe::No,
        // What answers a question for encryption is one byte.
        (_, _, Err(NoHeader::NeedMore(_))) => Probe::NeedMore,
        (Side::Client, 0, Ok(_)) => probe_startup(head),
        (_, _, Ok(_)) => match is_chain(side, head) {
            Some(true) => Probe::Yes,
            Some(false) => Probe::No,
            None => Probe::NeedMore,
        },
    }
}

// === impl Postgres ===

impl Postgres {
    fn new(options: &Options) -> Self {
        Self {
            payload_bytes: options.payload_bytes,
            redact: options.redaction.enabled,
            frames: [Frames::default(), Frames::default()],
            database: String::new(),
            statements: Names::default(),
            portals: Names::default(),
            building: None,
            pending: VecDeque::new(),
            done: false,
        }
    }

    fn frames(&mut self, from: Side) -> &mut Frames {
        let [client, server] = &mut self.frames;
        match from {
            Side::Client => client,
            Side::Server => server,
        }
    }
}

impl Decoder for Postgres {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        let asked = self.pending.front().is_some_and(|front| front.kind == Kind::Encryption);
        if let (Side::Server, true, Some(answer @ (b'S' | b'G' | b'N'))) = (from, asked, bytes.first()) {
            return match self.encryption(*answer) {
                Some(event) => Step::Take { consumed: 1, skip: 0, event },
                None => Step::Malformed,
            };
        }
        if from == Side::Server
            && bytes.first() == Some(&b'Z')
            && !self.frames(from).is_open()
            && let Some(event) = self.passed_over()
        {
            return Step::Take { consumed: 0, skip: 0, event };
        }
        let limit = self.payload_bytes;
        let frame = match self.frames(from).take(bytes, limit, |bytes| read_header(from, bytes)) {
            Ok(frame) => frame,
            Err(none) => return none.step(),
        };
        let cut = frame.skip > 0 || u64::try_from(frame.head.len()).unwrap_or(0) < frame.length;
        let event = match from {
            Side::Client => self.client(frame.tag, &frame.head, cut),
            Side::Server => self.server(frame.tag, &frame.head, cut),
        };
        match event {
            Some(event) => Step::Take { consumed: frame.consumed, skip: frame.skip, event },
            None => Step::Malformed,
        }
    }

    fn unseen(&mut self, from: Side, len: u64) -> u64 {
        self.frames(from).unseen(len)
    }

    fn lost(&mut self, from: Side) {
        self.frames(from).clear();
        self.building = None;
        self.pending.clear();
    }

    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|start| {
            let rest = bytes.get(*start..).unwrap_or_default();
            rest.first() != Some(&0) && is_chain(from, rest) == Some(true)
        })
    }

    fn finish(&mut self, from: Side) -> Option<Event> {
        // A fatal error is the last message of a connection: no `ReadyForQuery` follows it.
        let failed = |unit: &Unit| unit.open && unit.error.is_some();
        if from == Side::Client || !self.pending.front().is_some_and(failed) {
            return None;
        }
        Some(Event::Response(self.pending.pop_front()?.finish()))
    }

    fn done(&self) -> bool {
        self.done
    }
}

/// Reads the header of the message at the start of `bytes`: a type and a length, or at a client's start a length only.
fn read_header(from: Side, bytes: &[u8]) -> Result<Header, NoHeader> {
    let Some(kind) = bytes.first() else { return Err(NoHeader::NeedMore(1)) };
    let known: &[u8] = match from {
        Side::Client => b"\0QPBDECHSFdcfpX",
        Side::Server => b"RSKZTDCE123tnINAdcGHWVsv",
    };
    if !known.contains(kind) {
        return Err(NoHeader::Malformed);
    }
    let startup = *kind == 0;
    let (digits, bytes, most) = match bytes {
        [a, b, c, d, ..] if startup => ([*a, *b, *c, *d], 4, MAX_STARTUP),
        [_, a, b, c, d, ..] if !startup => ([*a, *b, *c, *d], 5, MAX_MESSAGE),
        [_, first, ..] if *first > 0x3f => return Err(NoHeader::Malformed),
        _ => return Err(NoHeader::NeedMore(if startup { 4 } else { 5 })),
    };
    let length = u32::from_be_bytes(digits);
    let least = if startup { 8 } else { 4 };
    if length < least || length > most {
        return Err(NoHeader::Malformed);
    }
    Ok(Header { tag: *kind, bytes, body: u64::from(length.saturating_sub(4)) })
}

fn probe_startup(head: &[u8]) -> Probe {
    let Some(code) = head.get(4..8) else { return Probe::NeedMore };
    match code {
        [0, 3, 0, _] | [4, 0xd2, 0x16, 0x2e..=0x30] => Probe::Yes,
        _ => Probe::No,
    }
}

/// Tells whether `bytes` are messages of `side` one after the other; `None` when too little of them is there.
fn is_chain(side: Side, bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes;
    let mut messages = 0_usize;
    loop {
        let header = match read_header(side, rest) {
            Ok(header) if header.tag != 0 => header,
            Err(NoHeader::NeedMore(_)) => return if messages > 1 { Some(true) } else { None },
            Ok(_) | Err(NoHeader::Malformed) => return Some(false),
        };
        let body = rest.get(header.bytes..).unwrap_or_default();
        let length = usize::try_from(header.body).unwrap_or(usize::MAX);
        if !is_plausible(side, header.tag, body.get(..length).unwrap_or(body), length) {
            return Some(false);
        }
        messages = messages.saturating_add(1);
        match body.get(length..) {
            // A lone message of few bytes is believed when its content is distinctive.
            Some([]) => {
                return Some(
                    messages > 1
                        || matches!(
                            header.tag,
                            b'Q' | b'P' | b'X' | b'Z' | b'E' | b'C' | b'R' | b'S' | b'H' | b'1' | b'2' | b'3'
                        ),
                );
            }
            Some(next) => rest = next,
            None if messages > 2 => return Some(true),
            None => {
                let distinctive = matches!(header.tag, b'Q' | b'P') && body.len() > 8;
                return if distinctive { Some(true) } else { None };
            }
        }
    }
}

/// Tells whether `body`, of `length` bytes when all of it is there, can be the content of a message of type `kind`.
fn is_plausible(side: Side, kind: u8, body: &[u8], length: usize) -> bool {
    let whole = body.len() == length;
    let text = |text: &[u8]| text.iter().take(32).all(|byte| *byte >= b' ' || byte.is_ascii_whitespace());
    match (side, kind) {
        (Side::Client, b'Q') => {
            length > 0
                && (!whole || body.last() == Some(&0))
                && text(body.get(..length.saturating_sub(1).min(body.len())).unwrap_or_default())
        }
        (Side::Client, b'P') => {
            let mut parts = body.splitn(2, |byte| *byte == 0);
            let name = parts.next().unwrap_or_default();
            let statement = parts.next().unwrap_or_default();
            let end = memchr::memchr(0, statement).unwrap_or(statement.len());
            length >= 4 && name.len() < 256 && text(name) && text(statement.get(..end).unwrap_or_default())
        }
        (Side::Client, b'H' | b'S' | b'X' | b'c')
        | (Side::Server, b'1' | b'2' | b'3' | b'n' | b'I' | b's' | b'c') => length == 0,
        (Side::Server, b'T' | b'D' | b't') => length >= 2,
        (Side::Client, b'D' | b'C') => {
            length >= 2 && body.first().is_none_or(|kind| matches!(kind, b'S' | b'P'))
        }
        (Side::Client, b'E') => length >= 5,
        (Side::Client, b'B') | (Side::Server, b'K') => length >= 8,
        (Side::Server, b'Z') => {
            length == 1 && body.first().is_none_or(|state| matches!(state, b'I' | b'T' | b'E'))
        }
        (Side::Server, b'C') => {
            length > 1
                && body.first().is_none_or(u8::is_ascii_uppercase)
                && (!whole || body.last() == Some(&0))
        }
        (Side::Server, b'E' | b'N') => length > 8 && body.first().is_none_or(|field| *field == b'S'),
        (Side::Server, b'R') => length >= 4 && body.get(..3).is_none_or(|code| code == [0, 0, 0]),
        _ => true,
    }
}
