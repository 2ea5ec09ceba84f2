//! Turns the client's packets into requests and queues what will be answered.

use super::answer::Asked;
use super::command::{self, MysqlStatement, Rendered, code, name};
use super::database::Plan;
use super::login::{self, Login};
use super::packet::{self, Packet};
use super::scan::Lexis;
use super::statements::Key;
use super::{Held, Mysql, Pending, Phase, Shape, described, handshake};
use crate::decoder::{Event, Request, Side};
use crate::sql::{self, Dialect, REDACTED, Secrets, cursor::Cursor};

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
            let front = self.pending.front().map(|pending| pending.asked.shape);
            return match front {
                Some(Shape::Login) => Some(Event::Extend),
                None if self.phase != Phase::Command && login::is_login(packet.head) => self.login(packet),
                // The rest of something that began before the capture.
                None | Some(_) => Some(Event::Discard),
            };
        }
        self.phase = Phase::Command;
        self.orphan = false;
        if !self.ahead {
            self.drift.note_command();
        }
        self.command(packet)
    }

    /// The client's bytes end: what there is of a command is a request that was cut.
    pub(super) fn cut_request(&mut self) -> Option<Event> {
        let mut event = match self.held(Side::Client).take() {
            Some(Held::Event(event)) => *event,
            Some(Held::Part) => return None,
            None => {
                let limit = self.payload_bytes;
                let frames = self.frames(Side::Client);
                // Nothing more of it will be seen.
                frames.unseen(u64::MAX);
                let frame = frames.take(b"", limit, packet::frame_header).ok()?;
                self.client(&Packet::new(&frame))?
            }
        };
        match &mut event {
            Event::Request(request) | Event::Single(request) => request.truncated = true,
            Event::Part
            | Event::Amend(_)
            | Event::Response(_)
            | Event::Push(_)
            | Event::Unanswered(_)
            | Event::Extend
            | Event::Discard => {}
        }
        Some(event)
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
                self.known.agreed = agreed;
                self.greeted = true;
                let payload = if self.redact { REDACTED.as_bytes().to_vec() } else { packet.head.to_vec() };
                let plan = Plan::to_use(database.clone());
                self.wait(Pending {
                    asked: Asked { shape: Shape::Login, plan, ..Asked::default() },
                    status: agreed.compressed.then_some("COMPRESSED"),
                    ..Pending::default()
                });
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
        let greeted = std::mem::take(&mut self.greeted);
        let request = match kind {
            code::QUERY => self.query(packet, greeted),
            code::PREPARE => self.prepare(packet),
            code::EXECUTE | code::BULK_EXECUTE => self.execute(kind, packet)?,
            code::FETCH | code::RESET | code::CLOSE | code::LONG_DATA => {
                return self.statement_command(kind, body);
            }
            code::CHANGE_USER => self.change_user(packet),
            code::INIT_DB => {
                let database = text(body);
                self.ask(Asked { plan: Plan::to_use(database.clone()), ..Asked::default() });
                self.named(kind, &database)
            }
            code::FIELD_LIST => {
                self.ask(Asked { shape: Shape::Fields, ..Asked::default() });
                self.named(kind, &text(Cursor::new(body).text()))
            }
            code::QUIT => return Some(Event::Single(self.named(kind, ""))),
            code::BINLOG_DUMP | code::BINLOG_DUMP_GTID | code::TABLE_DUMP => {
                self.done = true;
                return Some(Event::Single(self.named(kind, "")));
            }
            _ => self.bare(kind, body),
        };
        Some(Event::Request(request))
    }

    /// Takes a text of statements; `greeted`: nothing but the library's own statements came since the log-in.
    fn query(&mut self, packet: &Packet<'_>, greeted: bool) -> Request {
        let agreed = &mut self.known.agreed;
        if agreed.query_attributes.is_none() && packet.body().len() > 1 {
            agreed.query_attributes = Some(command::has_attributes(packet.body(), *agreed));
        }
        let text = command::query_text(packet.body(), *agreed);
        let redacted = sql::redact(text, Dialect::Mysql);
        let shown: &[u8] = if self.redact { &redacted.text } else { text };
        let many = self.known.agreed.multi_statements != Some(false);
        let plan = Plan::read(text, self.lexis(), many);
        let secrets = if self.redact { redacted.secrets } else { Secrets::default() };
        self.ask(Asked { shape: Shape::Text, plan, secrets });
        self.greeted = greeted && handshake::is_own(text);
        Request { handshake: self.greeted, ..self.shown(shown, packet.is_cut()) }
    }

    fn prepare(&mut self, packet: &Packet<'_>) -> Request {
        let plan = Plan::read(packet.body(), self.lexis(), false);
        let statement = MysqlStatement { plan, ..MysqlStatement::new(packet.body(), self.redact) };
        let mut request = self.shown(&statement.text, packet.is_cut());
        request.operation.insert_str(0, "PREPARE ");
        request.attributes = vec![("statement", text(&statement.text)), ("command", "PREPARE".to_owned())];
        let secrets = statement.secrets.clone();
        let statement = self.statements.prepare(statement);
        let asked = Asked { shape: Shape::Prepare, secrets, ..Asked::default() };
        self.wait(Pending { asked, statement, ..Pending::default() });
        request
    }

    fn change_user(&mut self, packet: &Packet<'_>) -> Request {
        let (user, database) = login::change_user(packet.body());
        self.forget_statements();
        let mut request = self.named(code::CHANGE_USER, &user);
        request.target.clone_from(&database);
        request.payload = if self.redact { REDACTED.as_bytes().to_vec() } else { packet.head.to_vec() };
        self.ask(Asked { shape: Shape::Login, plan: Plan::to_use(database), ..Asked::default() });
        request
    }

    /// Takes a command of which nothing but its name is shown.
    fn bare(&mut self, kind: u8, body: &[u8]) -> Request {
        match (kind, body) {
            (code::RESET_CONNECTION, _) => self.forget_statements(),
            (code::SET_OPTION, [option @ (0 | 1), ..]) => {
                self.known.agreed.multi_statements = Some(*option == 0);
            }
            _ => {}
        }
        let shape = match kind {
            code::STATISTICS => Shape::Line,
            code::PROCESS_INFO => Shape::Text,
            _ => Shape::Ok,
        };
        let plan = if kind == code::DROP_DB { Plan::to_drop(text(body)) } else { Plan::default() };
        self.ask(Asked { shape, plan, ..Asked::default() });
        self.named(kind, "")
    }

    /// The server forgets what was prepared, in packets and by statements.
    fn forget_statements(&mut self) {
        let pending = &self.pending;
        self.statements.clear(|key| pending.iter().any(|pending| pending.statement == Some(key)));
        self.known.database.forget_prepared();
    }

    fn lexis(&self) -> Lexis {
        let server = self.greeting.and_then(|greeting| greeting.server);
        Lexis { server, plain_backslash: self.known.plain_backslash }
    }

    fn execute(&mut self, kind: u8, packet: &Packet<'_>) -> Option<Request> {
        let mut cursor = Cursor::new(packet.body());
        let number = cursor.u32_le()?;
        let (limit, agreed) = (self.payload_bytes, self.known.agreed);
        let key = self.statements.find(number);
        let statement = key.and_then(|key| self.statements.get_mut(key));
        let Some(statement) = statement.filter(|statement| !statement.text.is_empty()) else {
            let asked = Asked { shape: Shape::Binary, ..Asked::default() };
            self.wait(Pending { asked, statement: key, ..Pending::default() });
            return Some(self.named(kind, &number.to_string()));
        };
        let mut rendered = Rendered::new(&statement.text, limit);
        // What the values cannot be read from is shown without them.
        let read = match kind {
            code::EXECUTE => statement.execute(cursor.rest(), agreed, &mut rendered),
            _ => statement.bulk(cursor.rest(), &mut rendered),
        };
        let mut request = described(&statement.text, &self.known.database.current);
        (request.payload, request.truncated) = rendered.finish();
        request.truncated |= read.is_none() || packet.is_cut();
        let (plan, secrets) = (statement.plan.clone(), statement.secrets.clone());
        let asked = Asked { shape: Shape::Binary, plan, secrets };
        self.wait(Pending { asked, statement: key, ..Pending::default() });
        Some(request)
    }

    /// Takes a command about a prepared statement that carries no values.
    fn statement_command(&mut self, kind: u8, body: &[u8]) -> Option<Event> {
        let mut cursor = Cursor::new(body);
        let number = cursor.u32_le()?;
        let mut request = self.named(kind, &number.to_string());
        let key = self.statements.find(number);
        let statement = key.and_then(|key| self.statements.get_mut(key));
        if let Some(statement) = statement.as_ref().filter(|statement| !statement.text.is_empty()) {
            request.operation = format!("{} {}", name(kind), sql::line(&statement.text));
            request.attributes.push(("statement", text(&statement.text)));
            request.payload = statement.text.to_vec();
            request.truncated = request.payload.len() > self.payload_bytes;
            request.payload.truncate(self.payload_bytes);
        }
        match kind {
            code::LONG_DATA => {
                let parameter = cursor.u16_le()?;
                if let Some(statement) = statement {
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
                let pending = &self.pending;
                let awaited = |key: Key| pending.iter().any(|pending| pending.statement == Some(key));
                self.statements.close(number, awaited);
                return Some(Event::Single(request));
            }
            code::RESET => {
                if let Some(statement) = statement {
                    statement.long.clear();
                }
                self.ask(Asked::default());
            }
            _ => {
                let asked = Asked { shape: Shape::Fetch, ..Asked::default() };
                self.wait(Pending { asked, statement: key, ..Pending::default() });
            }
        }
        Some(Event::Request(request))
    }

    fn ask(&mut self, asked: Asked) {
        self.wait(Pending { asked, ..Pending::default() });
    }

    fn wait(&mut self, pending: Pending) {
        // Where the end of an answer may have passed unseen it may have come.
        self.ahead |= !self.pending.is_empty() && !self.drift.is_adrift(Side::Server);
        self.pending.push(Pending { first: 1, ..pending });
    }

    /// Describes a request whose payload is its statement.
    fn shown(&self, statement: &[u8], cut: bool) -> Request {
        let mut request = described(statement, &self.known.database.current);
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
            target: self.known.database.current.clone(),
            attributes: vec![("command", command)],
            payload,
            ..Request::default()
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
