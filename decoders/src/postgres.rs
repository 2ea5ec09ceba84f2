//! `PostgreSQL`: protocol 3, simple and extended, copies, notifications.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol.html>.

mod client;
mod effects;
mod handshake;
mod names;
mod probe;
mod server;
mod startup;
mod statement;
#[cfg(test)]
mod tests;
mod unit;
mod values;

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Options, Side, Step};
use crate::queue::Queue;
use crate::registry::{Comparison, Field, Framing, Protocol, Statuses};
use crate::sql;
use crate::sql::frame::{Frames, Header, NoHeader};
use names::Names;
use probe::Chain;
use statement::{Portal, PostgresStatement};
use unit::{Unit, UnitKind};

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
    statuses: Statuses {
        fits: |status| sql::is_status(status, &STATUSES, is_sqlstate),
        allowed: "has OK, ERR for every error, and `ERR SQLSTATE` for one, such as `ERR 23505`",
        words: &STATUSES,
    },
    framing: Framing::Prefixed { header: 5, at: 1, width: 4, big_endian: true, beyond: 1 },
    probe: probe::judge,
    datagrams: None,
    open: |options, _| Box::new(Postgres::new(options)),
};

/// Statuses but for those of one error; `N` is the answer of a server that does not encrypt.
const STATUSES: [&str; 6] = ["OK", "ERR", "SKIPPED", "TLS", "GSS", "N"];

/// Most messages of the extended protocol that make up one request.
const MAX_EXPECTS: usize = 1024;

/// Most bytes of statements that were sent and not answered; beyond it they are forgotten until they are accepted.
const MAX_AHEAD: usize = 4 * 1024 * 1024;

/// Longest message: `PostgreSQL`'s own bound on one allocation.
const MAX_MESSAGE: u32 = 0x3fff_ffff;

/// Bytes kept while looking for the next message among rows that were not seen in full: one may begin at their end.
const BLIND_TAIL: usize = 4096;

/// Decodes one connection of a client and its server.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact of the connection, and they are independent"
)]
struct Postgres {
    payload_bytes: usize,
    redact: bool,
    frames: [Frames; 2],
    database: String,
    statements: Names<PostgresStatement>,
    portals: Names<Portal>,
    /// Messages of the extended protocol so far: their numbers.
    messages: u64,
    /// Bytes of the statements that were sent and not answered.
    ahead: usize,
    /// Messages of the extended protocol that nothing asked to answer yet.
    building: Option<Unit>,
    pending: Queue<Unit>,
    /// The server passes over what it reads, up to the next `Sync`.
    skipping: bool,
    /// `ReadyForQuery` is still to come for an answer that ended before it.
    ready_is_late: bool,
    /// Nothing but what libraries send by themselves came since the log-in.
    in_handshake: bool,
    /// Rows of this side passed unseen: where the next message begins is not known.
    blind: [bool; 2],
    done: bool,
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
            messages: 0,
            ahead: 0,
            building: None,
            pending: Queue::default(),
            skipping: false,
            ready_is_late: false,
            in_handshake: false,
            blind: [false; 2],
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

    fn blind(&mut self, from: Side) -> &mut bool {
        let [client, server] = &mut self.blind;
        match from {
            Side::Client => client,
            Side::Server => server,
        }
    }

    /// Takes what is no message with a header, or is no message at all.
    fn before_message(&mut self, from: Side, bytes: &[u8]) -> Option<Step> {
        let kind = *bytes.first()?;
        let take = |consumed, event| Step::Take { consumed, skip: 0, event };
        if from == Side::Client {
            return self.released(kind).map(|event| take(0, event));
        }
        let front = self.pending.front().map(|front| front.kind);
        if front == Some(UnitKind::Encryption) && matches!(kind, b'S' | b'G' | b'N') {
            return Some(self.encryption(kind).map_or(Step::Malformed, |event| take(1, event)));
        }
        let text = bytes.get(1).is_some_and(u8::is_ascii_graphic);
        if matches!(front, Some(UnitKind::Encryption | UnitKind::Login)) && kind == b'E' && text {
            let Some(end) = memchr::memchr(0, bytes) else {
                return Some(Step::NeedMore { at_least: bytes.len().saturating_add(1) });
            };
            let refusal = self.refusal(bytes.get(1..end).unwrap_or_default());
            return Some(refusal.map_or(Step::Malformed, |event| take(end.saturating_add(1), event)));
        }
        self.passed_over(kind).map(|event| take(0, event))
    }

    /// Looks for the next message behind rows that were not seen.
    fn find(&mut self, from: Side, bytes: &[u8]) -> Option<Step> {
        let take = |consumed| Step::Take { consumed, skip: 0, event: Event::Part };
        let found = probe::next_message(from, bytes);
        if found.is_some() {
            *self.blind(from) = false;
        }
        match found {
            Some(0) => None,
            Some(at) => Some(take(at)),
            None if bytes.len() > BLIND_TAIL => Some(take(bytes.len().saturating_sub(BLIND_TAIL))),
            None => Some(Step::NeedMore { at_least: bytes.len().saturating_add(1) }),
        }
    }

    /// Whether rows come from this side: nobody needs all of them.
    fn in_rows(&self, from: Side) -> bool {
        self.pending.front().is_some_and(|front| match from {
            Side::Client => front.copies_in,
            Side::Server => front.in_rows,
        })
    }
}

impl Decoder for Postgres {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        if *self.blind(from)
            && let Some(step) = self.find(from, bytes)
        {
            return step;
        }
        if !self.frames(from).is_open()
            && let Some(step) = self.before_message(from, bytes)
        {
            return step;
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
        let taken = self.frames(from).unseen(len);
        if taken > 0 || !self.in_rows(from) {
            return taken;
        }
        *self.blind(from) = true;
        if let Some(front) = self.pending.front_mut().filter(|_| from == Side::Server) {
            front.uncounted = true;
            front.table.cut();
        }
        len
    }

    fn lost(&mut self, from: Side) {
        self.frames(from).clear();
        *self.blind(from) = false;
        self.building = None;
        self.pending.clear();
        self.skipping = false;
        self.ready_is_late = false;
        self.statements.lose();
        self.portals.lose();
    }

    fn garbled(&mut self, from: Side) -> bool {
        if from == Side::Server {
            self.lost(from);
            return false;
        }
        self.frames(from).clear();
        self.building = None;
        self.statements.forget_ahead();
        self.portals.forget_ahead();
        true
    }

    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize> {
        if probe::chain(from, bytes) == Chain::Weak {
            return Some(0);
        }
        probe::next_message(from, bytes)
    }

    fn finish(&mut self, from: Side) -> Option<Event> {
        // A fatal error is the last message of a connection: no `ReadyForQuery` follows it.
        let failed = |unit: &Unit| unit.open && unit.error.is_some();
        if from == Side::Client || !self.pending.front().is_some_and(failed) {
            return None;
        }
        Some(Event::Response(self.pending.pop_front()?.finish(&self.database)))
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
        [a, b, c, d, ..] if startup => ([*a, *b, *c, *d], 4, startup::MAX_STARTUP),
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

/// Says whether text is the code of an error: five digits and capitals (ISO 9075, SQLSTATE).
fn is_sqlstate(text: &str) -> bool {
    text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}
