//! `MySQL` and `MariaDB`: login, text and binary protocol, several results, local files.
//!
//! Source: <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html> and
//! <https://mariadb.com/docs/server/reference/clientserver-protocol>.

mod answer;
mod command;
mod database;
mod drift;
mod handshake;
mod login;
mod metadata;
mod packet;
mod probe;
mod requests;
mod scan;
mod server;
mod statements;
#[cfg(test)]
mod tests;
mod values;

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Options, Request, Response, Side, Step};
use crate::queue::Queue;
use crate::registry::{Comparison, Field, Framing, Protocol, Statuses};
use crate::sql;
use crate::sql::frame::Frames;
use answer::{Answer, Asked, Failure, Known, Piece, Shape};
use drift::Drift;
use login::Greeting;
use packet::Packet;
use statements::{Key, Statements};

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
    statuses: Statuses {
        fits: |status| sql::is_status(status, &STATUSES, is_error_number),
        allowed: "has OK, ERR for every error, and `ERR NUMBER` for one, such as `ERR 1062`",
        words: &STATUSES,
    },
    framing: Framing::Prefixed { header: 4, at: 0, width: 3, big_endian: false, beyond: 4 },
    probe: probe::judge,
    datagrams: None,
    open: |options, from_start| Box::new(Mysql::new(options, from_start)),
};

/// Statuses but for those of one error.
const STATUSES: [&str; 4] = ["OK", "ERR", "TLS", "COMPRESSED"];

/// Decodes one connection of a client and its server.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Mysql {
    payload_bytes: usize,
    redact: bool,
    phase: Phase,
    greeting: Option<Greeting>,
    known: Known,
    statements: Statements,
    pending: Queue<Pending>,
    answer: Option<Answer>,
    /// The sequence number of the server's next packet in an open answer, or in one to something unseen.
    next: u8,
    /// The answer to something unseen is passing.
    orphan: bool,
    frames: [Frames; 2],
    /// A packet of the longest kind came: the next is its rest.
    rest: [Option<Held>; 2],
    drift: Drift,
    /// An EOF that may follow a complete answer.
    maybe_eof: bool,
    /// The client was seen to ask again before it was answered.
    ahead: bool,
    /// The log-in was the last thing that the user's program asked for: what comes may be its library's own.
    greeted: bool,
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
#[derive(Debug, Default)]
struct Pending {
    asked: Asked,
    /// The sequence number of the answer's first packet.
    first: u8,
    /// What is executed or prepared.
    statement: Option<Key>,
    /// The database that was the current one when the answer began.
    target: Option<String>,
    /// The outcome if all goes well; `OK` where nothing is said.
    status: Option<&'static str>,
}

/// What becomes of a packet once its rest has come.
#[derive(Debug)]
enum Held {
    Event(Box<Event>),
    Part,
}

// === impl Mysql ===

impl Mysql {
    fn new(options: &Options, from_start: bool) -> Self {
        Self {
            payload_bytes: options.payload_bytes,
            redact: options.redaction.enabled,
            phase: if from_start { Phase::Greeting } else { Phase::Unknown },
            greeting: None,
            known: Known::default(),
            statements: Statements::default(),
            pending: Queue::default(),
            answer: None,
            next: 0,
            orphan: false,
            frames: [Frames::default(), Frames::default()],
            rest: [None, None],
            drift: Drift::default(),
            maybe_eof: false,
            ahead: false,
            greeted: false,
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
        if self.answer.is_none() {
            if self.orphan && packet.sequence == self.next {
                return Some(Event::Discard);
            }
            if packet.sequence == 0 {
                return self.unasked(packet);
            }
        }
        if std::mem::take(&mut self.maybe_eof)
            && packet.sequence == self.next
            && packet.length == 5
            && packet.kind() == Some(0xfe)
        {
            self.known.agreed.deprecate_eof = Some(false);
            return Some(Event::Discard);
        }
        if self.pending.front().is_none() {
            if self.phase == Phase::Greeting {
                // Some servers count the error in place of a greeting as the second packet.
                return self.unasked(packet);
            }
            // The first packet of an answer to something not seen counts; what follows it does not.
            self.orphan = true;
            return Some(if packet.sequence == 1 {
                self.pending.pop_dropped();
                Event::Response(Response::default())
            } else {
                Event::Discard
            });
        }
        if self.answer.is_none() {
            if !self.begin(packet.sequence) {
                return Some(Event::Discard);
            }
        } else if packet.sequence != self.next && !self.drift.take_landing() {
            return None;
        }
        self.next = packet.sequence.wrapping_add(1);
        let answer = self.answer.as_mut()?;
        match answer.take(packet, &mut self.known)? {
            Piece::Part => Some(Event::Part),
            Piece::Interim => {
                self.reopen();
                Some(Event::Discard)
            }
            Piece::File => {
                self.phase = Phase::File;
                Some(Event::Discard)
            }
            Piece::Last => self.finish_answer(),
        }
    }

    /// Begins to read the answer to the request that waits longest; `false` when a packet of this number does not open
    /// it.
    fn begin(&mut self, sequence: u8) -> bool {
        let Some(front) = self.pending.front_mut() else { return false };
        let shape = front.asked.shape;
        if shape != Shape::Login && sequence != front.first && !self.drift.take_landing() {
            return false;
        }
        // A client that does not wait may have asked before the database was this one.
        if shape != Shape::Login {
            front.target = Some(self.known.database.current.clone());
        }
        let asked = std::mem::replace(&mut front.asked, Asked { shape, ..Asked::default() });
        let statement = front.statement.and_then(|key| self.statements.get(key));
        self.answer = Some(Answer::new(asked, statement, self.payload_bytes, self.redact));
        true
    }

    /// Forgets an answer that only began with interim packets.
    fn reopen(&mut self) {
        let next = self.next;
        if let (Some(front), Some(answer)) = (self.pending.front_mut(), self.answer.take()) {
            front.first = next;
            front.asked = answer.into_asked();
        }
    }

    /// Takes a server packet that opens a conversation or ends it unasked.
    fn unasked(&mut self, packet: &Packet<'_>) -> Option<Event> {
        if packet.kind() == Some(0xff) && probe::is_unasked_error(packet.head, packet.length) {
            let failure = Failure::read(packet)?;
            let response = Response {
                operation: Some("CONNECTION".to_owned()),
                target: Some(self.known.database.current.clone()),
                status: format!("ERR {}", failure.number),
                error: true,
                by_itself: true,
                payload: failure.text,
                truncated: packet.is_cut(),
                ..Response::default()
            };
            return Some(Event::Push(response));
        }
        if self.phase == Phase::Command || self.phase == Phase::File {
            return None;
        }
        let greeting = Greeting::read(packet.head)?;
        self.greeting = Some(greeting);
        self.phase = Phase::Login;
        Some(Event::Discard)
    }

    /// Ends the open answer and says how it went.
    fn finish_answer(&mut self) -> Option<Event> {
        let answer = self.answer.take()?;
        let pending = self.pending.pop_front()?;
        self.maybe_eof = answer.maybe_eof;
        self.drift.land();
        let status = match answer.error {
            Some(number) => format!("ERR {number}"),
            None => pending.status.unwrap_or("OK").to_owned(),
        };
        // The end of a file may have passed unseen.
        if pending.asked.shape == Shape::Login || self.phase == Phase::File {
            self.phase = Phase::Command;
        }
        if pending.asked.shape == Shape::Login {
            self.done |= answer.error.is_none() && self.known.agreed.compressed;
        }
        Some(self.respond(answer, pending, status))
    }

    /// Ends the open answer although its end was not seen: how it went is not known.
    fn abandon_answer(&mut self) -> Option<Event> {
        let mut answer = self.answer.take()?;
        let pending = self.pending.pop_front()?;
        self.drift.land();
        answer.table.cut();
        Some(self.respond(answer, pending, String::new()))
    }

    fn respond(&mut self, mut answer: Answer, pending: Pending, status: String) -> Event {
        self.remember(&mut answer, pending.statement);
        let (payload, truncated) = answer.table.finish();
        Event::Response(Response {
            status,
            error: answer.error.is_some(),
            payload,
            truncated,
            target: pending.target,
            ..Response::default()
        })
    }

    /// Keeps what an answer tells about a prepared statement.
    fn remember(&mut self, answer: &mut Answer, statement: Option<Key>) {
        let Some(key) = statement else { return };
        if answer.is_preparation() && answer.prepared.is_none() {
            return self.statements.forget(key);
        }
        if let Some(statement) = self.statements.get_mut(key) {
            if !answer.columns.is_empty() && answer.error.is_none() {
                statement.columns = std::mem::take(&mut answer.columns);
            }
            if let Some((_, parameters)) = answer.prepared {
                statement.parameters = parameters;
            }
        }
        if let Some((number, _)) = answer.prepared {
            self.statements.number(key, number);
        }
        let over = self.statements.get(key).is_some_and(|statement| statement.closed)
            && !self.pending.iter().any(|pending| pending.statement == Some(key));
        if over {
            self.statements.forget(key);
        }
    }
}

impl Decoder for Mysql {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        if let Some(step) = self.drift_on(from, bytes) {
            return step;
        }
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
        match self.frames(from).unseen(len) {
            0 => self.begin_drift(from, len),
            taken => taken,
        }
    }

    fn lost(&mut self, from: Side) {
        *self.held(from) = None;
        self.frames(from).clear();
        self.drift = Drift::default();
        self.pending.clear();
        self.answer = None;
        self.orphan = false;
        self.maybe_eof = false;
        if self.phase == Phase::File || from == Side::Client {
            self.phase = Phase::Unknown;
        }
    }

    fn garbled(&mut self, from: Side) -> bool {
        if from == Side::Server {
            self.lost(from);
            return false;
        }
        *self.held(from) = None;
        self.frames(from).clear();
        true
    }

    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize> {
        probe::find(from, bytes)
    }

    fn completed(&mut self, from: Side) -> Option<Event> {
        let ended = from == Side::Server && self.drift.take_ended();
        if ended { self.abandon_answer() } else { None }
    }

    fn finish(&mut self, from: Side) -> Option<Event> {
        match from {
            Side::Client => self.cut_request(),
            Side::Server if self.drift.is_adrift(from) => self.abandon_answer(),
            Side::Server => None,
        }
    }

    fn done(&self) -> bool {
        self.done
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

/// Says whether text is the number of an error as [`STATUSES`] have it after `ERR`.
fn is_error_number(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|number| number.to_string() == text)
}
