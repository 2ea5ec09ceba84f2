//! Turns the client's messages into requests and queues what will be answered.

use std::sync::Arc;

use super::effects::Effect;
use super::handshake;
use super::statement::{Portal, PostgresStatement};
use super::unit::{Expect, ExtendedStep, Unit, UnitKind};
use super::{MAX_AHEAD, MAX_EXPECTS, Postgres, startup};
use crate::decoder::{Event, Request};
use crate::sql::{self, Dialect, REDACTED, cursor::Cursor};

impl Postgres {
    /// Takes the next message of the client; nothing when there is no such message.
    pub(super) fn client(&mut self, kind: u8, body: &[u8], cut: bool) -> Option<Event> {
        let mut event = match kind {
            0 => return self.startup(body),
            b'Q' => self.query(body, cut),
            b'P' => self.parse(body, cut),
            b'B' => self.bind(body, cut),
            b'D' => self.describe(body)?,
            b'E' => self.execute(body),
            b'C' => self.close(body)?,
            b'H' => self.flush(),
            b'S' => self.sync(),
            b'F' => {
                let oid = Cursor::new(body).u32_be()?;
                self.wait(Unit::new(UnitKind::Query, self.payload_bytes));
                Event::Request(self.named("FUNCTION_CALL", &oid.to_string()))
            }
            b'd' | b'c' | b'f' | b'p' if self.pending.is_empty() => Event::Discard,
            b'd' | b'c' | b'f' | b'p' => Event::Extend,
            b'X' => Event::Single(self.named("TERMINATE", "")),
            _ => return None,
        };
        if let Event::Request(request) = &mut event {
            self.in_handshake &= request.handshake || request.operation == "SYNC";
        }
        Some(event)
    }

    /// Takes out what is being collected when the client's next message, of type `kind`, begins another request.
    pub(super) fn released(&mut self, kind: u8) -> Option<Event> {
        // Each statement that is prepared has an outcome of its own.
        let parses = kind == b'P' && self.building.as_ref().is_some_and(Unit::parses);
        let other = matches!(kind, b'Q' | b'F' | b'X') && self.building.is_some();
        (parses || other).then(|| Event::Request(self.prepared()))
    }

    fn startup(&mut self, body: &[u8]) -> Option<Event> {
        let mut cursor = Cursor::new(body);
        let code = cursor.u32_be()?;
        match code {
            startup::SSL | startup::GSS => {
                self.wait(Unit::new(UnitKind::Encryption, self.payload_bytes));
                let mut request =
                    self.named(if code == startup::SSL { "SSL_REQUEST" } else { "GSSENC_REQUEST" }, "");
                // Servers that do not know it refuse it in their own ways, and the client asks for TLS.
                request.handshake = code == startup::GSS;
                return Some(Event::Request(request));
            }
            startup::CANCEL => {
                return Some(Event::Single(self.named("CANCEL", &cursor.u32_be()?.to_string())));
            }
            0x0003_0000..=0x0003_ffff => {}
            _ => return None,
        }
        let startup::Startup { user, database, mut payload } = startup::read(cursor, self.redact);
        self.database = database;
        self.in_handshake = true;
        self.wait(Unit::new(UnitKind::Login, self.payload_bytes));
        let mut request = self.named("LOGIN", &user);
        request.truncated = payload.len() > self.payload_bytes;
        payload.truncate(self.payload_bytes);
        request.payload = payload;
        Some(Event::Request(request))
    }

    fn query(&mut self, body: &[u8], cut: bool) -> Event {
        let text = Cursor::new(body).text();
        let mut statement = PostgresStatement::new(text, self.redact);
        statement.cut = cut;
        if let Some(hidden) = self.hidden_execute(text) {
            statement = PostgresStatement { text: hidden.into(), ..statement };
        }
        let mut unit = Unit::new(UnitKind::Query, self.payload_bytes);
        unit.secrets.clone_from(&statement.secrets);
        unit.effects = Effect::of(text).into();
        self.wait(unit);
        let mut request = statement.request(&self.database, self.payload_bytes);
        request.handshake = self.in_handshake && handshake::is_library_made(text);
        Event::Request(request)
    }

    /// Returns `EXECUTE name(…)` without its values, where some of those are secrets in what was prepared.
    fn hidden_execute(&self, text: &[u8]) -> Option<Vec<u8>> {
        let parts = if self.redact { sql::parts(text, Dialect::Postgres) } else { Vec::new() };
        let secret = parts.iter().any(|part| {
            let name =
                part.words.get(1).filter(|_| part.words.first().is_some_and(|word| word == b"execute"));
            name.and_then(|name| self.statements.next(name)).is_some_and(|known| !known.secret.is_empty())
        });
        let values = memchr::memchr(b'(', text).filter(|_| secret)?;
        let mut hidden = text.get(..values)?.to_vec();
        hidden.extend_from_slice(format!("({REDACTED})").as_bytes());
        Some(hidden)
    }

    fn parse(&mut self, body: &[u8], cut: bool) -> Event {
        let mut cursor = Cursor::new(body);
        let name = cursor.text().to_vec();
        let mut statement = PostgresStatement::new(cursor.text(), self.redact);
        statement.cut = cut;
        let count = usize::from(cursor.u16_be().unwrap_or(0));
        statement.parameters = (0..count).map_while(|_| cursor.u32_be()).collect();
        let unit = self.building();
        unit.secrets.clone_from(&statement.secrets);
        unit.statement.clone_from(&name);
        unit.cut |= cut;
        self.collect(ExtendedStep::Parse(name, Arc::new(statement)))
    }

    fn bind(&mut self, body: &[u8], cut: bool) -> Event {
        let mut cursor = Cursor::new(body);
        let name = cursor.text().to_vec();
        let statement = cursor.text();
        let known = self.statements.next(statement).cloned().unwrap_or_default();
        let portal = Portal::read(statement, known, &mut cursor, self.payload_bytes);
        let unit = self.building();
        if unit.expects.is_empty() {
            unit.statement.clone_from(&portal.name);
        }
        unit.cut |= cut;
        self.collect(ExtendedStep::Bind(name, Arc::new(portal)))
    }

    fn describe(&mut self, body: &[u8]) -> Option<Event> {
        let mut cursor = Cursor::new(body);
        let kind = cursor.byte()?;
        let name = cursor.text();
        let statement = match kind {
            b'S' => name.to_vec(),
            _ => self.portals.next(name).map(|portal| portal.name.clone()).unwrap_or_default(),
        };
        let unit = self.building();
        if unit.expects.is_empty() {
            unit.statement.clone_from(&statement);
        }
        Some(self.collect(ExtendedStep::Describe(statement)))
    }

    fn close(&mut self, body: &[u8]) -> Option<Event> {
        let mut cursor = Cursor::new(body);
        let kind = cursor.byte()?;
        let name = cursor.text().to_vec();
        let step =
            if kind == b'S' { ExtendedStep::CloseStatement(name) } else { ExtendedStep::ClosePortal(name) };
        Some(self.collect(step))
    }

    fn execute(&mut self, body: &[u8]) -> Event {
        let name = Cursor::new(body).text();
        let portal = self.portals.next(name).cloned();
        let number = self.number();
        let unit = self.building();
        unit.expects.push_back(Expect { number, step: ExtendedStep::Execute });
        let mut request = match portal {
            Some(portal) => {
                unit.statement.clone_from(&portal.name);
                unit.formats.clone_from(&portal.formats);
                unit.secrets.clone_from(&portal.statement.secrets);
                unit.effects.extend(Effect::of(&portal.statement.text));
                let mut request = portal.request(&self.database);
                request.handshake = self.in_handshake && handshake::is_library_made(&portal.statement.text);
                request
            }
            None => self.named("EXECUTE", &String::from_utf8_lossy(name)),
        };
        request.truncated |= self.building().cut;
        self.release();
        Event::Request(request)
    }

    fn flush(&mut self) -> Event {
        if self.building.is_some() { Event::Request(self.prepared()) } else { self.lengthen() }
    }

    fn sync(&mut self) -> Event {
        if self.building.is_some() {
            self.building().sync = true;
            return Event::Request(self.prepared());
        }
        if let Some(newest) =
            self.pending.back_mut().filter(|unit| unit.kind == UnitKind::Extended && !unit.sync)
        {
            newest.sync = true;
            return Event::Extend;
        }
        let mut unit = Unit::new(UnitKind::Extended, self.payload_bytes);
        unit.sync = true;
        self.wait(unit);
        let mut request = self.named("SYNC", "");
        request.handshake = self.in_handshake;
        Event::Request(request)
    }

    fn lengthen(&self) -> Event {
        let extended = self.pending.back().is_some_and(|unit| unit.kind == UnitKind::Extended);
        if extended { Event::Extend } else { Event::Discard }
    }

    /// Ends what was collected without an `Execute`, and describes it.
    fn prepared(&mut self) -> Request {
        let unit = self.building();
        let (name, cut) = (unit.statement.clone(), unit.cut);
        let first = unit.expects.front().map(|expect| expect.step.clone());
        let parsed = unit.parses();
        let command = match first {
            _ if parsed => "PREPARE",
            Some(ExtendedStep::Describe(_)) => "DESCRIBE",
            Some(ExtendedStep::CloseStatement(_) | ExtendedStep::ClosePortal(_)) => "CLOSE",
            Some(ExtendedStep::Bind(..)) => "BIND",
            Some(ExtendedStep::Execute | ExtendedStep::Parse(..)) | None => "SYNC",
        };
        let named = parsed || matches!(first, Some(ExtendedStep::Describe(_) | ExtendedStep::Bind(..)));
        self.release();
        let known = self.statements.next(&name).filter(|_| named).cloned();
        let Some(statement) = known else { return self.named(command, "") };
        let mut request = statement.request(&self.database, self.payload_bytes);
        request.operation = format!("{command} {}", sql::line(&statement.text));
        request.attributes.retain(|(name, _)| *name != "command");
        request.attributes.push(("command", command.to_owned()));
        request.truncated |= cut;
        request.handshake = self.in_handshake && handshake::is_library_made(&statement.text);
        request
    }

    /// Adds a message of the extended protocol to what is being collected.
    fn collect(&mut self, step: ExtendedStep) -> Event {
        let number = self.number();
        self.propose(number, &step);
        let unit = self.building();
        unit.expects.push_back(Expect { number, step });
        if unit.expects.len() >= MAX_EXPECTS { Event::Request(self.prepared()) } else { Event::Part }
    }

    /// A message that changes a name is on its way to the server.
    fn propose(&mut self, number: u64, step: &ExtendedStep) {
        match step {
            ExtendedStep::Parse(name, statement) => {
                self.ahead = self.ahead.saturating_add(statement.text.len());
                if self.ahead > MAX_AHEAD {
                    self.statements.forget_ahead();
                    self.portals.forget_ahead();
                    self.ahead = 0;
                }
                self.statements.propose(name, number, Some(Arc::clone(statement)));
            }
            ExtendedStep::Bind(name, portal) => self.portals.propose(name, number, Some(Arc::clone(portal))),
            ExtendedStep::CloseStatement(name) => self.statements.propose(name, number, None),
            ExtendedStep::ClosePortal(name) => self.portals.propose(name, number, None),
            ExtendedStep::Describe(_) | ExtendedStep::Execute => {}
        }
    }

    fn number(&mut self) -> u64 {
        self.messages = self.messages.wrapping_add(1);
        self.messages
    }

    fn building(&mut self) -> &mut Unit {
        let limit = self.payload_bytes;
        self.building.get_or_insert_with(|| Unit::new(UnitKind::Extended, limit))
    }

    fn release(&mut self) {
        if let Some(unit) = self.building.take() {
            self.wait(unit);
        }
    }

    fn wait(&mut self, unit: Unit) {
        self.pending.push(unit);
    }

    /// Describes a request that is a bare command with at most one word.
    fn named(&self, command: &str, word: &str) -> Request {
        let operation = if word.is_empty() { command.to_owned() } else { format!("{command} {word}") };
        let payload = operation.clone().into_bytes();
        let attributes = vec![("command", command.to_owned())];
        Request { operation, target: self.database.clone(), attributes, payload, ..Request::default() }
    }
}
