//! Turns the client's packets into requests and queues what will be answered.

use super::command::{self, Rendered, Statement, code, name};
use super::login::{self, Login};
use super::packet::Packet;
use super::{LAST_PREPARED, MAX_PENDING, MAX_STATEMENTS, MAX_TEXT, Mysql, Pending, Phase, Shape, described};
use crate::decoder::{Event, Request};
use crate::sql::{self, Dialect, REDACTED, cursor::Cursor};

impl Mysql {
    /// Takes the next packet of the client.
    pub(super) fn client(&mut self, packet: &Packet<'_>) -> Option<Event> {
        if self.phase == Phase::File {
            if packet.length == 0 {
                self.phase = Phase::Command;
            }
            return Some(Event::Extend);
        }
        if packet.sequence > 0 {
            let front = self.pending.front().map(|pending| pending.shape);
            return match front {
                Some(Shape::Login) => Some(Event::Extend),
                None if self.phase != Phase::Command && login::is_login(packet.head) => self.login(packet),
                // The rest of something that began before the capture.
                None | Some(_) => Some(Event::Discard),
            };
        }
        self.phase = Phase::Command;
        self.command(packet)
    }

    /// After a packet of the client the server goes on counting from its number.
    /// Numbers wrap, so a packet of a `filed` upload belongs to the open answer whatever its number.
    pub(super) fn renumber(&mut self, sequence: u8, filed: bool) {
        let next = sequence.wrapping_add(1);
        if self.answer.is_some() && (sequence > 0 || filed) {
            self.next = next;
        } else if let Some(newest) = self.pending.back_mut() {
            newest.first = next;
        }
    }

    fn login(&mut self, packet: &Packet<'_>) -> Option<Event> {
        match Login::read(packet.head, self.greeting)? {
            Login::Tls => {
                self.done = true;
                let request = Request {
                    operation: "LOGIN".to_owned(),
                    status: "TLS".to_owned(),
                    tls: true,
                    ..Request::default()
                };
                Some(Event::Single(request))
            }
            Login::User { name, database, agreed } => {
                self.agreed = agreed;
                let payload = if self.redact { REDACTED.as_bytes().to_vec() } else { packet.head.to_vec() };
                let status = if agreed.compressed { "COMPRESSED" } else { "OK" };
                self.wait(Shape::Login, None, Some(database.clone()), status);
                Some(Event::Request(Request {
                    operation: format!("LOGIN {name}"),
                    target: database,
                    attributes: vec![("command", "LOGIN".to_owned())],
                    payload,
                    ..Request::default()
                }))
            }
        }
    }

    fn command(&mut self, packet: &Packet<'_>) -> Option<Event> {
        let kind = packet.kind()?;
        let body = packet.body();
        let request = match kind {
            code::QUERY => {
                let text = command::query_text(body, self.agreed);
                let redacted = sql::redact(text, Dialect::Mysql);
                let shown: &[u8] = if self.redact { &redacted.text } else { text };
                self.wait(Shape::Text, None, sql::used_database(text), "OK");
                self.shown(shown, packet.is_cut())
            }
            code::PREPARE => {
                let statement = Statement::new(body, self.redact);
                self.store(LAST_PREPARED, statement.clone());
                let mut request = self.shown(&statement.text, packet.is_cut());
                request.operation.insert_str(0, "PREPARE ");
                request.attributes =
                    vec![("statement", text(&statement.text)), ("command", "PREPARE".to_owned())];
                self.wait(Shape::Prepare, Some((LAST_PREPARED, statement)), None, "OK");
                request
            }
            code::EXECUTE | code::BULK_EXECUTE => self.execute(kind, packet)?,
            code::FETCH | code::RESET | code::CLOSE | code::LONG_DATA => {
                return self.statement_command(kind, body);
            }
            code::CHANGE_USER => {
                let (user, database) = login::change_user(body);
                self.statements.clear();
                let mut request = self.named(kind, &user);
                request.target.clone_from(&database);
                request.payload =
                    if self.redact { REDACTED.as_bytes().to_vec() } else { packet.head.to_vec() };
                self.wait(Shape::Login, None, Some(database), "OK");
                request
            }
            code::INIT_DB => {
                let database = text(body);
                let request = self.named(kind, &database);
                self.wait(Shape::Ok, None, Some(database), "OK");
                request
            }
            code::FIELD_LIST => {
                let table = text(Cursor::new(body).text());
                self.wait(Shape::Fields, None, None, "OK");
                self.named(kind, &table)
            }
            code::QUIT => return Some(Event::Single(self.named(kind, ""))),
            code::BINLOG_DUMP | code::BINLOG_DUMP_GTID | code::TABLE_DUMP => {
                self.done = true;
                return Some(Event::Single(self.named(kind, "")));
            }
            _ => {
                self.wait(
                    match kind {
                        code::STATISTICS => Shape::Line,
                        code::PROCESS_INFO => Shape::Text,
                        _ => Shape::Ok,
                    },
                    None,
                    None,
                    "OK",
                );
                self.named(kind, "")
            }
        };
        Some(Event::Request(request))
    }

    fn execute(&mut self, kind: u8, packet: &Packet<'_>) -> Option<Request> {
        let mut cursor = Cursor::new(packet.body());
        let number = cursor.u32_le()?;
        let (limit, agreed) = (self.payload_bytes, self.agreed);
        let Some(statement) = self.statements.get_mut(&number) else {
            self.wait(Shape::Binary, Some((number, Statement::default())), None, "OK");
            return Some(self.named(kind, &number.to_string()));
        };
        let mut rendered = Rendered::new(&statement.text, limit);
        // What the values cannot be read from is shown without them.
        let read = match kind {
            code::EXECUTE => statement.execute(cursor.rest(), agreed, &mut rendered),
            _ => statement.bulk(cursor.rest(), &mut rendered),
        };
        let statement = statement.clone();
        let mut request = described(&statement.text, &self.database);
        (request.payload, request.truncated) = rendered.finish();
        request.truncated |= read.is_none() || packet.is_cut();
        self.wait(Shape::Binary, Some((number, statement)), None, "OK");
        Some(request)
    }

    /// Takes a command about a prepared statement that carries no values.
    fn statement_command(&mut self, kind: u8, body: &[u8]) -> Option<Event> {
        let mut cursor = Cursor::new(body);
        let number = cursor.u32_le()?;
        let mut request = self.named(kind, &number.to_string());
        if let Some(statement) = self.statements.get(&number) {
            request.operation = format!("{} {}", name(kind), sql::line(&statement.text));
            request.attributes.push(("statement", text(&statement.text)));
            request.payload = statement.text.to_vec();
            request.truncated = request.payload.len() > self.payload_bytes;
            request.payload.truncate(self.payload_bytes);
        }
        match kind {
            code::LONG_DATA => {
                let parameter = cursor.u16_le()?;
                if let Some(statement) = self.statements.get_mut(&number) {
                    if !statement.long.contains(&parameter) {
                        statement.long.push(parameter);
                    }
                    if !statement.secret.contains(usize::from(parameter)) {
                        request.payload = cursor.rest().to_vec();
                        request.truncated = request.payload.len() > self.payload_bytes;
                        request.payload.truncate(self.payload_bytes);
                    }
                }
                return Some(Event::Single(request));
            }
            code::CLOSE => {
                self.statements.remove(&number);
                return Some(Event::Single(request));
            }
            code::RESET => {
                if let Some(statement) = self.statements.get_mut(&number) {
                    statement.long.clear();
                }
                self.wait(Shape::Ok, None, None, "OK");
            }
            _ => {
                let statement = self.statements.get(&number).cloned().unwrap_or_default();
                self.wait(Shape::Fetch, Some((number, statement)), None, "OK");
            }
        }
        Some(Event::Request(request))
    }

    /// Remembers a prepared statement; what does not fit is shown by its number later.
    pub(super) fn store(&mut self, number: u32, statement: Statement) {
        self.statements.remove(&number);
        let texts = self.statements.values().map(|statement| statement.text.len());
        let held = texts.fold(statement.text.len(), usize::saturating_add);
        if self.statements.len() < MAX_STATEMENTS && held <= MAX_TEXT {
            self.statements.insert(number, statement);
        }
    }

    fn wait(
        &mut self,
        shape: Shape,
        statement: Option<(u32, Statement)>,
        database: Option<String>,
        status: &'static str,
    ) {
        if self.pending.len() < MAX_PENDING {
            self.pending.push_back(Pending { shape, first: 1, statement, database, status });
        }
    }

    /// Describes a request whose payload is its statement.
    fn shown(&self, statement: &[u8], cut: bool) -> Request {
        let mut request = described(statement, &self.database);
        let (payload, truncated) = Rendered::new(statement, self.payload_bytes).finish();
        request.payload = payload;
        request.truncated = truncated || cut;
        request
    }

    /// Describes a request that is a bare command with at most one word.
    fn named(&self, kind: u8, word: &str) -> Request {
        let command = name(kind);
        let operation = if word.is_empty() { command.clone() } else { format!("{command} {word}") };
        let payload = operation.clone().into_bytes();
        Request {
            operation,
            target: self.database.clone(),
            attributes: vec![("command", command)],
            payload,
            ..Request::default()
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
