//! `MySQL` and `MariaDB`: login, text and binary protocol, several results, local files.
//!
//! Source: <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html> and
//! <https://mariadb.com/docs/server/reference/clientserver-protocol>.

mod answer;
mod command;
mod login;
mod packet;
mod requests;
mod values;

use std::collections::{HashMap, VecDeque};

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Evidence, Options, Probe, Request, Response, Side, Step};
use crate::registry::{Comparison, Field, Protocol};
use crate::sql;
use crate::sql::frame::Frames;
use answer::{Answer, Failure, Piece, Shape};
use command::Statement;
use login::{Agreed, Greeting};
use packet::Packet;

/// The entry of the registry.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "mysql",
    title: "MySQL",
    summary: "log-ins, statements and prepared statements of MySQL and MariaDB with their results",
    ports: &[3306],
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
    open: |options, from_start| Box::new(Mysql::new(options, from_start)),
};

/// Most requests remembered while they wait.
const MAX_PENDING: usize = 4096;

/// Most prepared statements remembered per connection, and most bytes of their text: servers allow 16382 in all.
const MAX_STATEMENTS: usize = 4096;
const MAX_TEXT: usize = 1024 * 1024;

/// The number by which `MariaDB` executes what was prepared last.
const LAST_PREPARED: u32 = u32::MAX;

/// Decodes one connection of a client and its server.
#[derive(Debug)]
struct Mysql {
    payload_bytes: usize,
    redact: bool,
    phase: Phase,
    greeting: Option<Greeting>,
    agreed: Agreed,
    database: String,
    statements: HashMap<u32, Statement>,
    pending: VecDeque<Pending>,
    answer: Option<Answer>,
    /// The sequence number of the server's next packet in an open answer.
    next: u8,
    frames: [Frames; 2],
    /// A packet of the longest kind came: the next is its rest.
    rest: [Option<Held>; 2],
    /// An EOF that may follow a complete answer.
    maybe_eof: bool,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The connection was opened before capture began.
    Unknown,
    Greeting,
    Login,
    Command,
    /// The client sends a file.
    File,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    shape: Shape,
    /// The sequence number of the answer's first packet.
    first: u8,
    /// What is executed or prepared.
    statement: Option<(u32, Statement)>,
    /// The database that becomes the current one if all goes well.
    database: Option<String>,
    status: &'static str,
}

/// What becomes of a packet once its rest has come.
#[derive(Debug)]
enum Held {
    Event(Box<Event>),
    Part,
}

/// Judges the first bytes of a side.
fn judge(evidence: &Evidence<'_>) -> Probe {
    probe(evidence.sender, evidence.head)
}

/// Tells whether `head`, the first bytes that `side` sent, are `MySQL`.
fn probe(side: Side, head: &[u8]) -> Probe {
    let Some((length, sequence)) = packet::header(head) else {
        // A greeting or a command is longer; nothing is known from less.
        return if head.get(2).is_some_and(|byte| *byte > 0x20) { Probe::No } else { Probe::NeedMore };
    };
    let body = head.get(4..).unwrap_or_default();
    let body = body.get(..length.min(body.len())).unwrap_or_default();
    let (Some(kind), true) = (body.first(), length > 0) else {
        return if length > 0 && head.len() == 4 { Probe::NeedMore } else { Probe::No };
    };
    let verdict = match side {
        Side::Client => probe_client(*kind, sequence, length, body),
        Side::Server => probe_server(sequence, head),
    };
    match verdict {
        Some(true) => Probe::Yes,
        Some(false) => Probe::No,
        None => Probe::NeedMore,
    }
}

// === impl Mysql ===

impl Mysql {
    fn new(options: &Options, from_start: bool) -> Self {
        Self {
            payload_bytes: options.payload_bytes,
            redact: options.redaction.enabled,
            phase: if from_start { Phase::Greeting } else { Phase::Unknown },
            greeting: None,
            agreed: Agreed::default(),
            database: String::new(),
            statements: HashMap::new(),
            pending: VecDeque::new(),
            answer: None,
            next: 0,
            frames: [Frames::default(), Frames::default()],
            rest: [None, None],
            maybe_eof: false,
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

    fn held(&mut self, from: Side) -> &mut Option<Held> {
        let [client, server] = &mut self.rest;
        match from {
            Side::Client => client,
            Side::Server => server,
        }
    }

    /// Takes the next packet of either side, as if it were whole.
    fn packet(&mut self, from: Side, packet: &Packet<'_>) -> Option<Event> {
        match from {
            Side::Client => self.client(packet),
            Side::Server => self.server(packet),
        }
    }

    fn server(&mut self, packet: &Packet<'_>) -> Option<Event> {
        if packet.sequence == 0 && self.answer.is_none() {
            return self.unasked(packet);
        }
        if std::mem::take(&mut self.maybe_eof)
            && packet.sequence == self.next
            && packet.length == 5
            && packet.kind() == Some(0xfe)
        {
            self.agreed.deprecate_eof = Some(false);
            return Some(Event::Discard);
        }
        let Some(front) = self.pending.front() else {
            // The first packet of an answer to something not seen counts; what follows it does not.
            return Some(if packet.sequence == 1 {
                Event::Response(Response::default())
            } else {
                Event::Discard
            });
        };
        if self.answer.is_none() {
            if front.shape != Shape::Login && packet.sequence != front.first {
                return Some(Event::Discard);
            }
            // What was prepared meanwhile is known better than when it was asked to execute it.
            let statement = front
                .statement
                .as_ref()
                .map(|(number, statement)| self.statements.get(number).unwrap_or(statement));
            self.answer = Some(Answer::new(front.shape, statement, self.payload_bytes));
        } else if packet.sequence != self.next {
            return None;
        }
        self.next = packet.sequence.wrapping_add(1);
        let answer = self.answer.as_mut()?;
        match answer.take(packet, &mut self.agreed)? {
            Piece::Part => Some(Event::Part),
            Piece::Interim => {
                self.reopen();
                Some(Event::Discard)
            }
            Piece::File => {
                self.phase = Phase::File;
                Some(Event::Discard)
            }
            Piece::Last => self.finish(),
        }
    }

    /// Forgets an answer that only began with interim packets.
    fn reopen(&mut self) {
        let next = self.next;
        if let Some(front) = self.pending.front_mut() {
            front.first = next;
        }
        self.answer = None;
    }

    /// Takes a server packet that opens a conversation or ends it unasked.
    fn unasked(&mut self, packet: &Packet<'_>) -> Option<Event> {
        if packet.kind() == Some(0xff) {
            let failure = Failure::read(packet)?;
            let response = Response {
                operation: Some("CONNECTION".to_owned()),
                target: Some(self.database.clone()),
                status: format!("ERR {}", failure.number),
                error: true,
                payload: failure.text,
                ..Response::default()
            };
            return Some(Event::Push(response));
        }
        if self.phase == Phase::Command || self.phase == Phase::File {
            return None;
        }
        self.greeting = Some(Greeting::read(packet.head)?);
        self.phase = Phase::Login;
        Some(Event::Discard)
    }

    /// Ends the open answer and says how it went.
    fn finish(&mut self) -> Option<Event> {
        let mut answer = self.answer.take()?;
        let pending = self.pending.pop_front()?;
        self.maybe_eof = answer.maybe_eof;
        let mut status = pending.status.to_owned();
        if let Some(number) = answer.error {
            status = format!("ERR {number}");
        } else {
            if let Some(database) = answer.database.take().or(pending.database) {
                self.database = database;
            }
            self.remember(&mut answer, pending.statement);
        }
        if pending.shape == Shape::Login {
            self.phase = Phase::Command;
            self.done |= answer.error.is_none() && self.agreed.compressed;
        }
        let (payload, truncated) = answer.table.finish();
        Some(Event::Response(Response {
            status,
            error: answer.error.is_some(),
            payload,
            truncated,
            ..Response::default()
        }))
    }

    /// Keeps what an answer tells about a prepared statement.
    fn remember(&mut self, answer: &mut Answer, statement: Option<(u32, Statement)>) {
        let columns = std::mem::take(&mut answer.columns);
        let Some((number, mut statement)) = statement else { return };
        match answer.prepared {
            Some((number, parameters)) => {
                statement.parameters = parameters;
                statement.columns = columns;
                if let Some(last) =
                    self.statements.get_mut(&LAST_PREPARED).filter(|last| last.text == statement.text)
                {
                    last.clone_from(&statement);
                }
                self.store(number, statement);
            }
            None if !columns.is_empty() => {
                if let Some(statement) = self.statements.get_mut(&number) {
                    statement.columns = columns;
                }
            }
            None => {}
        }
    }
}

impl Decoder for Mysql {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        let limit = self.payload_bytes;
        let frame = match self.frames(from).take(bytes, limit, packet::frame_header) {
            Ok(frame) => frame,
            Err(none) => return none.step(),
        };
        let (packet, consumed, skip) = (Packet::new(&frame), frame.consumed, frame.skip);
        let continued = packet.is_continued();
        let filed = self.phase == Phase::File;
        let event = match self.held(from).take() {
            Some(held) if continued => {
                *self.held(from) = Some(held);
                Event::Part
            }
            Some(Held::Event(event)) => *event,
            Some(Held::Part) => Event::Part,
            None => match self.packet(from, &packet) {
                None => return Step::Malformed,
                Some(event) if continued => {
                    let part = matches!(event, Event::Part);
                    *self.held(from) = Some(if part { Held::Part } else { Held::Event(Box::new(event)) });
                    Event::Part
                }
                Some(event) => event,
            },
        };
        if from == Side::Client {
            self.renumber(packet.sequence, filed);
        } else {
            self.next = packet.sequence.wrapping_add(1);
        }
        Step::Take { consumed, skip, event }
    }

    fn unseen(&mut self, from: Side, len: u64) -> u64 {
        self.frames(from).unseen(len)
    }

    fn lost(&mut self, from: Side) {
        *self.held(from) = None;
        self.frames(from).clear();
        self.pending.clear();
        self.answer = None;
        self.maybe_eof = false;
        if self.phase == Phase::File || from == Side::Client {
            self.phase = Phase::Unknown;
        }
    }

    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|start| {
            let rest = bytes.get(*start..).unwrap_or_default();
            match from {
                Side::Client => is_command(rest),
                Side::Server => is_chain(rest, Some(1)),
            }
        })
    }

    fn done(&self) -> bool {
        self.done
    }
}

fn probe_client(kind: u8, sequence: u8, length: usize, body: &[u8]) -> Option<bool> {
    if sequence == 1 && length >= 32 {
        return if body.len() < 32 { None } else { Some(login::is_login(body)) };
    }
    if sequence != 0 || !command::is_plausible(kind, length.saturating_sub(1)) {
        return Some(false);
    }
    match kind {
        command::code::QUERY | command::code::PREPARE => {
            let text = command::query_text(body.get(1..).unwrap_or_default(), Agreed::default());
            if text.is_empty() { None } else { Some(is_statement(text)) }
        }
        command::code::EXECUTE if body.len() < 10 => None,
        // The number of iterations is always one.
        command::code::EXECUTE => Some(body.get(6..10) == Some(&[1, 0, 0, 0])),
        // Bodies without text are too little to tell by: the server's side or the next command will.
        _ => {
            if body.len() < length {
                None
            } else {
                Some(length == 1 || length == 5)
            }
        }
    }
}

fn probe_server(sequence: u8, head: &[u8]) -> Option<bool> {
    let body = head.get(4..).unwrap_or_default();
    if sequence == 0 {
        return match body.first() {
            Some(10) if Greeting::read(body).is_some() => Some(true),
            Some(10) => (body.len() > 96).then_some(false),
            Some(0xff) => body.get(3).map(|mark| *mark == b'#'),
            _ => Some(false),
        };
    }
    if sequence != 1
        || body.len() > 3 && !opens_answer(body, packet::header(head).map_or(0, |(length, _)| length))
    {
        return Some(false);
    }
    if is_chain(head, Some(1)) { Some(true) } else { (head.len() > 4096).then_some(false) }
}

/// Tells whether `text` begins like a statement.
fn is_statement(text: &[u8]) -> bool {
    let head = text.get(..text.len().min(24)).unwrap_or_default();
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
    let opens =
        first.is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'(' | b'/' | b'-' | b'#'));
    opens && head.iter().all(|byte| *byte >= b' ' || byte.is_ascii_whitespace())
}

/// Tells whether `bytes` begin with a command packet.
fn is_command(bytes: &[u8]) -> bool {
    let Some((length, 0)) = packet::header(bytes) else { return false };
    let body = bytes.get(4..).unwrap_or_default();
    let Some((kind, tail)) = body.split_first() else { return false };
    if !command::is_plausible(*kind, length.saturating_sub(1)) {
        return false;
    }
    match *kind {
        command::code::QUERY | command::code::PREPARE => {
            is_statement(command::query_text(tail, Agreed::default()))
        }
        _ => {
            body.len() == length || body.get(length..).is_some_and(|next| is_command(next) || next.len() < 5)
        }
    }
}

/// Tells whether `bytes` are packets in sequence up to their end, beginning with number `first`.
fn is_chain(bytes: &[u8], first: Option<u8>) -> bool {
    let mut rest = bytes;
    let mut expected = first;
    let mut packets = 0_usize;
    while let Some((length, sequence)) = packet::header(rest) {
        if expected.is_some_and(|expected| expected != sequence && sequence != 1) || length == 0 {
            return false;
        }
        if packets == 0 && !opens_answer(rest.get(4..).unwrap_or_default(), length) {
            return false;
        }
        packets = packets.saturating_add(1);
        expected = Some(sequence.wrapping_add(1));
        match rest.get(length.saturating_add(4)..) {
            Some([]) => return true,
            Some(next) => rest = next,
            // The last packet is not all there: believable after others.
            None => return packets > 2,
        }
    }
    packets > 1
}

/// Tells whether `body` is one of an answer's first packets.
fn opens_answer(body: &[u8], length: usize) -> bool {
    match body.first() {
        Some(0x00) => length >= 7,
        Some(0xff) => length > 3 && body.get(3) == Some(&b'#'),
        Some(1..=0xfa) => length == 1 || length == 2,
        Some(0xfc) => length == 3 || length == 4,
        _ => false,
    }
}

/// Describes a request by its statement.
fn described(statement: &[u8], database: &str) -> Request {
    let text = String::from_utf8_lossy(statement).into_owned();
    let command = sql::command(statement, sql::Dialect::Mysql);
    let line = sql::line(statement);
    Request {
        operation: if line.is_empty() { "QUERY".to_owned() } else { line },
        target: database.to_owned(),
        attributes: vec![("statement", text), ("command", command)],
        ..Request::default()
    }
}
