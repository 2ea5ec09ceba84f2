//! Reads the server's messages as answers to what the client asked.

use std::sync::Arc;

use super::Postgres;
use super::effects::Effect;
use super::statement::PostgresStatement;
use super::unit::{Expect, ExtendedStep, Unit, UnitKind};
use super::values;
use crate::decoder::{Event, Response};
use crate::sql::{self, Dialect, cursor::Cursor};

impl Postgres {
    /// Takes the next message of the server; `None` when it is no answer to anything.
    pub(super) fn server(&mut self, kind: u8, body: &[u8], cut: bool) -> Option<Event> {
        if kind == b'Z' {
            return Some(self.ready(body));
        }
        let Some(front) = self.pending.front_mut() else { return Some(self.unasked(kind, body)) };
        if cut {
            front.table.cut();
        }
        match (kind, front.kind) {
            (b'A', _) if !front.open => return Some(Event::Push(self.notification(body))),
            // What comes between an answer that ended early and its `ReadyForQuery`.
            (b'S', _) if self.ready_is_late => return Some(Event::Discard),
            (b'R', UnitKind::Login) if body != [0, 0, 0, 0] => return Some(Event::Discard),
            // The client sends its data first: the answer proper is still to come.
            (b'G', kind) => {
                // Of a client that copies in, the server ignores each `Sync` before the end of the data.
                front.sync = kind != UnitKind::Extended;
                front.copies_in = true;
                return Some(if front.open { Event::Part } else { Event::Discard });
            }
            (b'E', UnitKind::Login | UnitKind::Encryption) => {
                fail(front, body);
                return self.finish();
            }
            (b'W', _) => {
                self.done = true;
                return self.finish();
            }
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
            b'C' | b'I' | b's' => self.complete(kind, body),
            b'1' | b'2' | b'3' => self.accept(),
            b'E' => self.fail(body),
            b'N' => notice(front, body),
            b'V' => {
                let value = values::field(&mut Cursor::new(body)).flatten().unwrap_or(b"NULL");
                front.table.line(value);
            }
            // Before `ReadyForQuery` come notifications only, and those as messages of their own.
            b'A' => {
                let text = self.notification(body);
                let line = [text.operation.unwrap_or_default().into_bytes(), text.payload].join(&b' ');
                self.pending.front_mut()?.table.line(&line);
            }
            // Authentication, parameters, keys, and what opens or ends a copy.
            b'R' | b'S' | b'K' | b'v' | b'H' | b'c' => {}
            _ => return None,
        }
        let ended = self.pending.front().is_some_and(|front| front.is_answered() && !front.sync);
        if ended { self.finish() } else { Some(Event::Part) }
    }

    /// Takes what answers a question for encryption by one byte.
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

    /// Takes the text by which a server that cannot even start a process refuses a client, as protocol 2 did.
    pub(super) fn refusal(&mut self, text: &[u8]) -> Option<Event> {
        let front = self.pending.front_mut()?;
        front.say(text.trim_ascii_end().to_vec());
        front.error = Some(String::new());
        let response = self.pending.pop_front()?.finish(&self.database);
        Some(Event::Response(Response { status: "ERR".to_owned(), ..response }))
    }

    /// Before a message of type `kind` that the oldest unit gets no part in: takes that unit out.
    pub(super) fn passed_over(&mut self, kind: u8) -> Option<Event> {
        let front = self.pending.front()?;
        if kind == b'Z' {
            // After an error the server reads on at the next `Sync`: what is before that got no answer.
            let before = !front.sync || self.skipping && front.kind == UnitKind::Query;
            let last =
                self.skipping && front.kind == UnitKind::Extended && !front.expects.is_empty() && !front.open;
            if !before && !last {
                return None;
            }
            let unit = self.pending.pop_front()?;
            if last && unit.sync {
                self.ready_is_late = true;
                self.skipping = false;
            }
            self.withdraw(&unit);
            return Some(if unit.open && unit.error.is_none() && !unit.expects.is_empty() {
                Event::Response(unit.finish(&self.database))
            } else {
                Event::Unanswered(Unit::skipped())
            });
        }
        if kind == b'A' && front.is_complete() {
            self.ready_is_late = true;
            return self.finish();
        }
        None
    }

    /// Takes `ReadyForQuery`.
    fn ready(&mut self, body: &[u8]) -> Event {
        if body.first() == Some(&b'I') {
            // Portals end with their transaction.
            self.portals.clear();
        }
        self.skipping = false;
        if std::mem::take(&mut self.ready_is_late) {
            return Event::Discard;
        }
        // An answer to something that was not seen counts once, at its end.
        self.finish().unwrap_or_else(|| {
            self.pending.pop_dropped();
            Event::Response(Response::default())
        })
    }

    fn finish(&mut self) -> Option<Event> {
        let unit = self.pending.pop_front()?;
        self.withdraw(&unit);
        Some(Event::Response(unit.finish(&self.database)))
    }

    /// The server did not do what is left of `unit`.
    fn withdraw(&mut self, unit: &Unit) {
        for expect in &unit.expects {
            self.withdraw_step(expect);
        }
        if self.pending.is_empty() && self.building.is_none() {
            self.ahead = 0;
        }
    }

    fn withdraw_step(&mut self, Expect { number, step }: &Expect) {
        match step {
            ExtendedStep::Parse(name, _) | ExtendedStep::CloseStatement(name) => {
                self.statements.withdraw(name, *number);
            }
            ExtendedStep::Bind(name, _) | ExtendedStep::ClosePortal(name) => {
                self.portals.withdraw(name, *number);
            }
            ExtendedStep::Describe(_) | ExtendedStep::Execute => {}
        }
    }

    /// The server accepted the oldest message that waits.
    fn accept(&mut self) {
        let Some(front) = self.pending.front_mut() else { return };
        let Some(Expect { number, step }) = front.expects.pop_front() else { return };
        match step {
            ExtendedStep::Parse(name, statement) => self.statements.accept(&name, number, Some(statement)),
            ExtendedStep::Bind(name, mut portal) => {
                let known = self.statements.accepted(&portal.name);
                if let Some(known) = known.filter(|known| known.text != portal.statement.text) {
                    portal = Arc::new(portal.of(known));
                    front.better = Some(Arc::clone(&portal));
                }
                self.portals.accept(&name, number, Some(portal));
            }
            ExtendedStep::CloseStatement(name) => self.statements.accept(&name, number, None),
            ExtendedStep::ClosePortal(name) => self.portals.accept(&name, number, None),
            ExtendedStep::Describe(_) | ExtendedStep::Execute => {}
        }
    }

    /// Takes an error: what is left of the unit is not executed, and neither is what follows up to the next `Sync`.
    fn fail(&mut self, body: &[u8]) {
        let Some(front) = self.pending.front_mut() else { return };
        fail(front, body);
        let left = std::mem::take(&mut front.expects);
        front.effects.clear();
        self.skipping |= front.kind == UnitKind::Extended && !front.sync;
        for expect in &left {
            self.withdraw_step(expect);
        }
    }

    /// Takes the end of one statement.
    fn complete(&mut self, kind: u8, body: &[u8]) {
        let Some(front) = self.pending.front_mut() else { return };
        front.end_rows();
        front.completed = true;
        front.copies_in = false;
        let tag = Cursor::new(body).text();
        match kind {
            b'C' => front.table.line(tag),
            b's' => front.table.line(b"(suspended)"),
            _ => {}
        }
        if matches!(front.expects.front(), Some(Expect { step: ExtendedStep::Execute, .. })) {
            front.expects.pop_front();
        }
        if let Some(effect) = front.effects.pop_front_if(|effect| effect.is_done_by(tag)) {
            self.apply(effect);
        }
    }

    /// A statement changed what names mean.
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare(name, text) => {
                let statement = PostgresStatement::new(&text, self.redact);
                self.statements.set(&name, Some(Arc::new(statement)));
            }
            Effect::Deallocate(name) => self.statements.set(&name, None),
            Effect::DeallocateAll => self.statements.clear(),
            Effect::DiscardAll => {
                self.statements.clear();
                self.portals.clear();
            }
            Effect::Close(name) => self.portals.set(&name, None),
            Effect::CloseAll => self.portals.clear(),
        }
    }

    /// Takes a message that comes without a request, or whose request was not seen.
    fn unasked(&self, kind: u8, body: &[u8]) -> Event {
        match kind {
            b'A' => Event::Push(self.notification(body)),
            // It belongs to the answer to a request that is not remembered.
            b'E' | b'N' if self.pending.is_dropped() => Event::Discard,
            b'E' | b'N' => {
                let (state, text) = report(body);
                let status = if kind == b'E' { format!("ERR {state}") } else { "OK".to_owned() };
                let operation = if kind == b'E' { "ERROR" } else { "NOTICE" };
                Event::Push(self.pushed(operation.to_owned(), status, text))
            }
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
        if self.redact {
            payload = sql::redact_value(&payload, Dialect::Postgres).into_owned();
        }
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
            Some(Expect { step: ExtendedStep::Describe(name), .. }) => Some(name.clone()),
            _ => None,
        };
        if kind == b't' {
            let mut cursor = Cursor::new(body);
            let count = usize::from(cursor.u16_be().unwrap_or(0));
            let kinds = (0..count).map_while(|_| cursor.u32_be()).collect();
            if let Some(statement) = described.and_then(|name| self.statements.accepted_mut(&name)) {
                Arc::make_mut(statement).parameters = kinds;
            }
            return;
        }
        front.columns = if kind == b'T' { values::columns(body) } else { Vec::new() };
        if let Some(name) = described {
            front.expects.pop_front();
            if let Some(statement) = self.statements.accepted_mut(&name) {
                Arc::make_mut(statement).columns.clone_from(&front.columns);
            }
        } else {
            front.in_rows = kind == b'T';
            head(front);
        }
    }

    fn row(&mut self, body: &[u8]) {
        let redact = self.redact;
        let Some(front) = self.pending.front_mut() else { return };
        if !front.in_rows {
            front.in_rows = true;
            if front.columns.is_empty() {
                let known = self.statements.accepted(&front.statement);
                front.columns = known.map(|known| known.columns.clone()).unwrap_or_default();
            }
            head(front);
        }
        if front.table.has_room() {
            let cells = values::row(body, &front.columns, &front.formats);
            let shown: Vec<_> = cells
                .iter()
                .map(|cell| {
                    cell.as_deref().map(|cell| {
                        if redact { sql::redact_value(cell, Dialect::Postgres) } else { cell.into() }
                    })
                })
                .collect();
            front.table.cells(shown.iter().map(Option::as_deref));
        }
        front.table.count_row();
    }
}

/// Tells whether a message of type `kind` can be part of the answer to `unit`: else the two do not belong together.
fn fits(unit: &Unit, kind: u8) -> bool {
    let next = unit.expects.front().map(|expect| &expect.step);
    let extended = unit.kind == UnitKind::Extended;
    match kind {
        b'1' => matches!(next, Some(ExtendedStep::Parse(..))),
        b'2' => matches!(next, Some(ExtendedStep::Bind(..))),
        b'3' => matches!(next, Some(ExtendedStep::CloseStatement(_) | ExtendedStep::ClosePortal(_))),
        b't' | b'n' => matches!(next, Some(ExtendedStep::Describe(_))),
        b's' => matches!(next, Some(ExtendedStep::Execute)),
        b'T' if extended => matches!(next, Some(ExtendedStep::Describe(_))),
        b'D' | b'C' | b'I' | b'H' | b'd' | b'c' if extended => matches!(next, Some(ExtendedStep::Execute)),
        b'E' if extended => next.is_some() || unit.sync,
        b'T' | b'D' | b'C' | b'I' | b'H' | b'd' | b'c' | b'V' => unit.kind == UnitKind::Query,
        b'R' | b'K' | b'v' => unit.kind == UnitKind::Login,
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

fn fail(unit: &mut Unit, body: &[u8]) {
    unit.end_rows();
    unit.copies_in = false;
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
