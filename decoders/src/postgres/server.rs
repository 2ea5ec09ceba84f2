//! Reads the server's messages as answers to what the client asked.

use super::Postgres;
use super::unit::{Expect, Kind, Unit};
use super::values;
use crate::decoder::{Event, Response};
use crate::sql::cursor::Cursor;

impl Postgres {
    /// Takes the next message of the server; `None` when it is no answer to anything.
    pub(super) fn server(&mut self, kind: u8, body: &[u8], cut: bool) -> Option<Event> {
        let Some(front) = self.pending.front_mut() else { return Some(self.unasked(kind, body)) };
        if cut {
            front.table.cut();
        }
        match (kind, front.kind) {
            (b'A', _) if !front.open => return Some(Event::Push(self.notification(body))),
            (b'R', Kind::Login) if body != [0, 0, 0, 0] => return Some(Event::Discard),
            // The client sends its data first: the answer proper is still to come.
            (b'G', kind) => {
                // Of a client that copies in, the server ignores each `Sync` before the end of the data.
                front.sync = kind != Kind::Extended;
                return Some(if front.open { Event::Part } else { Event::Discard });
            }
            (b'E', Kind::Login | Kind::Encryption) => {
                fail(front, body);
                return self.finish();
            }
            (b'W', _) => {
                self.done = true;
                return self.finish();
            }
            (b'Z', _) => return self.finish(),
            _ => {}
        }
        if !fits(front, kind) {
            return None;
        }
        front.open = true;
        match kind {
            b'T' | b'n' | b't' => self.describe_result(kind, body),
            b'D' => self.row(body),
            b'd' => copy_row(front, body),
            b'C' | b'I' | b's' => {
                complete(front, kind, body);
                answered(front, &Expect::Execute);
            }
            b'1' => answered(front, &Expect::Parse),
            b'2' => answered(front, &Expect::Bind),
            b'3' => answered(front, &Expect::Close),
            b'E' => {
                fail(front, body);
                front.expects.clear();
            }
            b'N' => notice(front, body),
            b'V' => {
                let value = values::field(&mut Cursor::new(body)).flatten().unwrap_or(b"NULL");
                front.table.line(value);
            }
            // Authentication, parameters, keys, and what opens or ends a copy.
            b'R' | b'S' | b'K' | b'v' | b'H' | b'c' | b'A' => {}
            _ => return None,
        }
        let ended = self.pending.front().is_some_and(|front| front.is_answered() && !front.sync);
        if ended { self.finish() } else { Some(Event::Part) }
    }

    /// Takes the byte that answers a question for encryption.
    pub(super) fn encryption(&mut self, answer: u8) -> Option<Event> {
        let status = match answer {
            b'S' => "TLS",
            b'G' => "GSS",
            b'N' => "N",
            _ => return None,
        };
        self.done = answer != b'N';
        self.pending.pop_front()?;
        Some(Event::Response(Response {
            status: status.to_owned(),
            tls: answer != b'N',
            payload: vec![answer],
            ..Response::default()
        }))
    }

    fn finish(&mut self) -> Option<Event> {
        let unit = self.pending.pop_front()?;
        Some(Event::Response(unit.finish()))
    }

    /// Takes out the oldest unit if the server passed over it, after an error before it: `ReadyForQuery`, which comes
    /// next, is for a later one.
    pub(super) fn passed_over(&mut self) -> Option<Event> {
        let unit = self.pending.pop_front_if(|unit| !unit.sync)?;
        Some(Event::Unanswered(unit.finish()))
    }

    /// Takes a message that comes without a request, or whose request was not seen.
    fn unasked(&self, kind: u8, body: &[u8]) -> Event {
        match kind {
            b'A' => Event::Push(self.notification(body)),
            b'E' | b'N' => {
                let (state, text) = report(body);
                let status = if kind == b'E' { format!("ERR {state}") } else { "OK".to_owned() };
                let operation = if kind == b'E' { "ERROR" } else { "NOTICE" };
                Event::Push(self.pushed(operation.to_owned(), status, text))
            }
            // An answer to something that was not seen counts once, at its end.
            b'Z' => Event::Response(Response::default()),
            _ => Event::Discard,
        }
    }

    fn notification(&self, body: &[u8]) -> Response {
        let mut cursor = Cursor::new(body);
        cursor.u32_be();
        let channel = String::from_utf8_lossy(cursor.text()).into_owned();
        let operation = format!("NOTIFICATION {channel}");
        Response { by_itself: true, ..self.pushed(operation, "OK".to_owned(), cursor.text().to_vec()) }
    }

    fn pushed(&self, operation: String, status: String, mut payload: Vec<u8>) -> Response {
        let command = operation.split(' ').next().unwrap_or_default().to_owned();
        let truncated = payload.len() > self.payload_bytes;
        payload.truncate(self.payload_bytes);
        Response {
            error: status != "OK",
            operation: Some(operation),
            target: Some(self.database.clone()),
            attributes: vec![("command", command)],
            status,
            payload,
            truncated,
            ..Response::default()
        }
    }

    /// Takes the description of a statement's parameters or of a result.
    fn describe_result(&mut self, kind: u8, body: &[u8]) {
        let Some(front) = self.pending.front_mut() else { return };
        let described = match front.expects.front() {
            Some(Expect::Describe(name)) => Some(name.clone()),
            _ => None,
        };
        if kind == b't' {
            let mut cursor = Cursor::new(body);
            let count = usize::from(cursor.u16_be().unwrap_or(0));
            let kinds = (0..count).map_while(|_| cursor.u32_be()).collect();
            if let Some(statement) = described.and_then(|name| self.statements.get_mut(&name)) {
                statement.parameters = kinds;
            }
            return;
        }
        front.columns = if kind == b'T' { values::columns(body) } else { Vec::new() };
        if let Some(name) = described {
            front.expects.pop_front();
            if let Some(statement) = self.statements.get_mut(&name) {
                statement.columns.clone_from(&front.columns);
            }
        } else {
            front.in_rows = kind == b'T';
            head(front);
        }
    }

    fn row(&mut self, body: &[u8]) {
        let Some(front) = self.pending.front_mut() else { return };
        if !front.in_rows {
            front.in_rows = true;
            if front.columns.is_empty() {
                front.columns = self
                    .statements
                    .get(&front.statement)
                    .map(|known| known.columns.clone())
                    .unwrap_or_default();
            }
            head(front);
        }
        if front.table.has_room() {
            let cells = values::row(body, &front.columns, &front.formats);
            front.table.cells(cells.iter().map(Option::as_deref));
        }
        front.table.count_row();
    }
}

/// Tells whether a message of type `kind` can be part of the answer to `unit`: else the two do not belong together.
fn fits(unit: &Unit, kind: u8) -> bool {
    let next = unit.expects.front();
    let extended = unit.kind == Kind::Extended;
    match kind {
        b'1' => next == Some(&Expect::Parse),
        b'2' => next == Some(&Expect::Bind),
        b'3' => next == Some(&Expect::Close),
        b't' | b'n' => matches!(next, Some(Expect::Describe(_))),
        b's' => next == Some(&Expect::Execute),
        b'T' if extended => matches!(next, Some(Expect::Describe(_))),
        b'D' | b'C' | b'I' | b'H' | b'd' | b'c' if extended => next == Some(&Expect::Execute),
        b'E' if extended => next.is_some() || unit.sync,
        b'T' | b'D' | b'C' | b'I' | b'H' | b'd' | b'c' | b'V' => unit.kind == Kind::Query,
        b'R' | b'K' | b'v' => unit.kind == Kind::Login,
        _ => true,
    }
}

/// Writes the names of the columns.
fn head(unit: &mut Unit) {
    if !unit.columns.is_empty() {
        let names: Vec<Vec<u8>> = unit.columns.iter().map(|column| column.name.clone()).collect();
        unit.table.cells(names.iter().map(|name| Some(name.as_slice())));
    }
}

fn copy_row(unit: &mut Unit, body: &[u8]) {
    unit.in_rows = true;
    if unit.table.has_room() {
        unit.table.line(body.strip_suffix(b"\n").unwrap_or(body));
    }
    unit.table.count_row();
}

/// Takes the end of one statement.
fn complete(unit: &mut Unit, kind: u8, body: &[u8]) {
    unit.end_rows();
    match kind {
        b'C' => unit.table.line(Cursor::new(body).text()),
        b's' => unit.table.line(b"(suspended)"),
        _ => {}
    }
}

fn answered(unit: &mut Unit, expect: &Expect) {
    if unit.expects.front() == Some(expect) {
        unit.expects.pop_front();
    }
}

fn fail(unit: &mut Unit, body: &[u8]) {
    unit.end_rows();
    let (state, text) = report(body);
    unit.say(text);
    unit.error = Some(state);
}

fn notice(unit: &mut Unit, body: &[u8]) {
    let (_, text) = report(body);
    unit.say(text);
}

/// Returns the state and the text of an error or a notice.
fn report(body: &[u8]) -> (String, Vec<u8>) {
    let mut cursor = Cursor::new(body);
    let (mut severity, mut state, mut message, mut detail): (&[u8], &[u8], &[u8], &[u8]) =
        (b"", b"", b"", b"");
    while let Some(field) = cursor.byte().filter(|field| *field != 0) {
        let value = cursor.text();
        match field {
            b'S' => severity = value,
            b'C' => state = value,
            b'M' => message = value,
            b'D' => detail = value,
            _ => {}
        }
    }
    let mut text = severity.to_vec();
    for (before, part) in [(" ", state), (": ", message), ("\n", detail)] {
        if !part.is_empty() {
            text.extend_from_slice(before.as_bytes());
            text.extend_from_slice(part);
        }
    }
    (String::from_utf8_lossy(state).into_owned(), text)
}
