//! Turns the client's messages into requests and queues what will be answered.

use super::statement::{Portal, Statement};
use super::unit::{Expect, Kind, Unit};
use super::{MAX_EXPECTS, MAX_PENDING, Postgres};
use crate::decoder::{Event, Request};
use crate::sql::{self, Dialect, cursor::Cursor};

/// `SSLRequest`.
const SSL: u32 = 80_877_103;
/// `GSSENCRequest`.
const GSS: u32 = 80_877_104;
/// `CancelRequest`.
const CANCEL: u32 = 80_877_102;

impl Postgres {
    /// Takes the next message of the client; nothing when there is no such message.
    pub(super) fn client(&mut self, kind: u8, body: &[u8], cut: bool) -> Option<Event> {
        let mut event = match kind {
            0 => return self.startup(body),
            b'Q' => self.query(body),
            b'P' => self.parse(body),
            b'B' => self.bind(body),
            b'D' => self.describe(body)?,
            b'E' => return Some(self.execute(body)),
            b'C' => {
                self.close(body);
                self.collect(Expect::Close)
            }
            b'H' => self.flush(),
            b'S' => self.sync(),
            b'F' => {
                let oid = Cursor::new(body).u32_be()?;
                self.wait(Unit::new(Kind::Query, self.payload_bytes));
                Event::Request(self.named("FUNCTION_CALL", &oid.to_string()))
            }
            b'd' | b'c' | b'f' | b'p' if self.pending.is_empty() => Event::Discard,
            b'd' | b'c' | b'f' | b'p' => Event::Extend,
            b'X' => Event::Single(self.named("TERMINATE", "")),
            _ => return None,
        };
        if let Event::Request(request) = &mut event {
            request.truncated |= cut;
        }
        Some(event)
    }

    fn startup(&mut self, body: &[u8]) -> Option<Event> {
        let mut cursor = Cursor::new(body);
        let code = cursor.u32_be()?;
        match code {
            SSL | GSS => {
                self.wait(Unit::new(Kind::Encryption, self.payload_bytes));
                return Some(Event::Request(
                    self.named(if code == SSL { "SSL_REQUEST" } else { "GSSENC_REQUEST" }, ""),
                ));
            }
            CANCEL => return Some(Event::Single(self.named("CANCEL", &cursor.u32_be()?.to_string()))),
            0x0003_0000..=0x0003_ffff => {}
            _ => return None,
        }
        let mut payload = Vec::new();
        let (mut user, mut database) = (String::new(), None);
        loop {
            let name = cursor.text();
            if name.is_empty() {
                break;
            }
            let value = String::from_utf8_lossy(cursor.text()).into_owned();
            if !payload.is_empty() {
                payload.push(b' ');
            }
            payload.extend_from_slice(name);
            payload.extend_from_slice(format!("={value}").as_bytes());
            match name {
                b"user" => user = value,
                b"database" => database = Some(value),
                _ => {}
            }
        }
        self.database = database.unwrap_or_else(|| user.clone());
        self.wait(Unit::new(Kind::Login, self.payload_bytes));
        let mut request = self.named("LOGIN", &user);
        request.truncated = payload.len() > self.payload_bytes;
        payload.truncate(self.payload_bytes);
        request.payload = payload;
        Some(Event::Request(request))
    }

    fn query(&mut self, body: &[u8]) -> Event {
        let statement = Statement::new(Cursor::new(body).text(), self.redact);
        self.building = None;
        let mut unit = Unit::new(Kind::Query, self.payload_bytes);
        unit.secrets.clone_from(&statement.secrets);
        self.wait(unit);
        let (payload, truncated) = Portal::new(&statement, self.payload_bytes).finish();
        Event::Request(Request { payload, truncated, ..self.described(&statement) })
    }

    fn parse(&mut self, body: &[u8]) -> Event {
        let mut cursor = Cursor::new(body);
        let name = cursor.text().to_vec();
        let mut statement = Statement::new(cursor.text(), self.redact);
        let count = usize::from(cursor.u16_be().unwrap_or(0));
        statement.parameters = (0..count).map_while(|_| cursor.u32_be()).collect();
        let bytes = statement.text.len();
        self.building().secrets.clone_from(&statement.secrets);
        self.statements.insert(name.clone(), statement, bytes);
        self.building().statement = name;
        self.collect(Expect::Parse)
    }

    fn bind(&mut self, body: &[u8]) -> Event {
        let mut cursor = Cursor::new(body);
        let name = cursor.text().to_vec();
        let statement = cursor.text().to_vec();
        let known = self.statements.get(&statement).cloned().unwrap_or_default();
        let mut portal = Portal::new(&known, self.payload_bytes);
        portal.statement = statement;
        // Values that cannot be read are left out.
        if portal.bind(&known, &mut cursor).is_none() {
            portal.cut();
        }
        let unit = self.building();
        if unit.expects.is_empty() {
            unit.statement.clone_from(&portal.statement);
        }
        let bytes = portal.len();
        self.portals.insert(name, portal, bytes);
        self.collect(Expect::Bind)
    }

    fn describe(&mut self, body: &[u8]) -> Option<Event> {
        let mut cursor = Cursor::new(body);
        let kind = cursor.byte()?;
        let name = cursor.text();
        let statement = match kind {
            b'S' => name.to_vec(),
            _ => self.portals.get(name).map(|portal| portal.statement.clone()).unwrap_or_default(),
        };
        let unit = self.building();
        if unit.expects.is_empty() {
            unit.statement.clone_from(&statement);
        }
        Some(self.collect(Expect::Describe(statement)))
    }

    fn close(&mut self, body: &[u8]) {
        let mut cursor = Cursor::new(body);
        let kind = cursor.byte();
        let name = cursor.text();
        if kind == Some(b'S') {
            self.statements.remove(name);
        } else {
            self.portals.remove(name);
        }
    }

    fn execute(&mut self, body: &[u8]) -> Event {
        let name = Cursor::new(body).text();
        let portal = self.portals.get(name).cloned();
        let unit = self.building();
        unit.expects.push_back(Expect::Execute);
        let request = match portal {
            Some(portal) => {
                unit.statement.clone_from(&portal.statement);
                unit.formats.clone_from(&portal.formats);
                let statement = self.statements.get(&portal.statement).cloned().unwrap_or_default();
                self.building().secrets.clone_from(&statement.secrets);
                let (payload, truncated) = portal.finish();
                Request { payload, truncated, ..self.described(&statement) }
            }
            None => self.named("EXECUTE", &String::from_utf8_lossy(name)),
        };
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
        if let Some(newest) = self.pending.back_mut().filter(|unit| unit.kind == Kind::Extended && !unit.sync)
        {
            newest.sync = true;
            return Event::Extend;
        }
        let mut unit = Unit::new(Kind::Extended, self.payload_bytes);
        unit.sync = true;
        self.wait(unit);
        Event::Request(self.named("SYNC", ""))
    }

    fn lengthen(&self) -> Event {
        let extended = self.pending.back().is_some_and(|unit| unit.kind == Kind::Extended);
        if extended { Event::Extend } else { Event::Discard }
    }

    /// Ends what was collected without an `Execute`, and describes it.
    fn prepared(&mut self) -> Request {
        let unit = self.building();
        let (name, first) = (unit.statement.clone(), unit.expects.front().cloned());
        let parsed = unit.expects.contains(&Expect::Parse);
        self.release();
        let known = self
            .statements
            .get(&name)
            .filter(|_| parsed || matches!(first, Some(Expect::Describe(_) | Expect::Bind)))
            .cloned();
        let command = match first {
            _ if parsed => "PREPARE",
            Some(Expect::Describe(_)) => "DESCRIBE",
            Some(Expect::Close) => "CLOSE",
            Some(Expect::Bind) => "BIND",
            Some(Expect::Execute | Expect::Parse) | None => "SYNC",
        };
        let Some(statement) = known else { return self.named(command, "") };
        let (payload, truncated) = Portal::new(&statement, self.payload_bytes).finish();
        let operation = format!("{command} {}", sql::line(&statement.text));
        let attributes = vec![("statement", text(&statement.text)), ("command", command.to_owned())];
        Request {
            operation,
            target: self.database.clone(),
            attributes,
            payload,
            truncated,
            ..Request::default()
        }
    }

    /// Adds a message of the extended protocol to what is being collected.
    fn collect(&mut self, expect: Expect) -> Event {
        let unit = self.building();
        unit.expects.push_back(expect);
        if unit.expects.len() >= MAX_EXPECTS { Event::Request(self.prepared()) } else { Event::Part }
    }

    fn building(&mut self) -> &mut Unit {
        let limit = self.payload_bytes;
        self.building.get_or_insert_with(|| Unit::new(Kind::Extended, limit))
    }

    fn release(&mut self) {
        if let Some(unit) = self.building.take() {
            self.wait(unit);
        }
    }

    fn wait(&mut self, unit: Unit) {
        if self.pending.len() < MAX_PENDING {
            self.pending.push_back(unit);
        }
    }

    /// Describes a request by its statement.
    fn described(&self, statement: &Statement) -> Request {
        let line = sql::line(&statement.text);
        Request {
            operation: if line.is_empty() { "QUERY".to_owned() } else { line },
            target: self.database.clone(),
            attributes: vec![
                ("statement", text(&statement.text)),
                ("command", sql::command(&statement.text, Dialect::Postgres)),
            ],
            ..Request::default()
        }
    }

    /// Describes a request that is a bare command with at most one word.
    fn named(&self, command: &str, word: &str) -> Request {
        let operation = if word.is_empty() { command.to_owned() } else { format!("{command} {word}") };
        let payload = operation.clone().into_bytes();
        let attributes = vec![("command", command.to_owned())];
        Request { operation, target: self.database.clone(), attributes, payload, ..Request::default() }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
