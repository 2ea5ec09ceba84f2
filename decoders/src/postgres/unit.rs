//! What the client asked for in one go, and how far the server has answered.

use std::collections::VecDeque;
use std::sync::Arc;

use super::effects::Effect;
use super::statement::{Portal, PostgresStatement};
use super::values::PostgresColumn;
use crate::decoder::Response;
use crate::sql::{self, Dialect, Secrets, table::Table};

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitKind {
    /// Start-up and authentication, up to the first `ReadyForQuery`.
    Login,
    /// A question whether encryption is possible, answered by one byte.
    Encryption,
    /// A simple query or a function call, up to `ReadyForQuery`.
    Query,
    /// Messages of the extended protocol.
    Extended,
}

/// An answer that is still to come for a message of the extended protocol.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    /// The message's number on its connection.
    pub(super) number: u64,
    pub(super) step: ExtendedStep,
}

/// A message of the extended protocol, with the name that it changes when it is accepted.
#[derive(Clone, Debug)]
pub(super) enum ExtendedStep {
    Parse(Vec<u8>, Arc<PostgresStatement>),
    Bind(Vec<u8>, Arc<Portal>),
    /// Of the statement with this name.
    Describe(Vec<u8>),
    Execute,
    CloseStatement(Vec<u8>),
    ClosePortal(Vec<u8>),
}

/// One request and its answer as it is read.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact of the answer, and they are independent")]
pub(super) struct Unit {
    pub(super) kind: UnitKind,
    pub(super) expects: VecDeque<Expect>,
    /// `ReadyForQuery` ends it.
    pub(super) sync: bool,
    /// The name of the statement that is executed.
    pub(super) statement: Vec<u8>,
    /// How the client wants the result's columns.
    pub(super) formats: Vec<u16>,
    pub(super) columns: Vec<PostgresColumn>,
    pub(super) table: Table,
    /// Rows are being read, so their number is still to be written.
    pub(super) in_rows: bool,
    /// Some rows passed unseen, so their number is not known.
    pub(super) uncounted: bool,
    /// The client sends rows.
    pub(super) copies_in: bool,
    /// The state of the error that ended it.
    pub(super) error: Option<String>,
    /// Some of its answer was read.
    pub(super) open: bool,
    /// At least one of its commands is complete.
    pub(super) completed: bool,
    /// Some of its messages were not seen in full.
    pub(super) cut: bool,
    /// What its statements do to names.
    pub(super) effects: VecDeque<Effect>,
    /// What is executed, where that is not what its name seemed to mean.
    pub(super) better: Option<Arc<Portal>>,
    /// What messages may repeat and must not come out; absent where secrets are kept.
    pub(super) secrets: Option<Secrets>,
}

// === impl Unit ===

impl Unit {
    pub(super) fn new(kind: UnitKind, limit: usize) -> Self {
        Self {
            kind,
            expects: VecDeque::new(),
            sync: kind != UnitKind::Extended,
            statement: Vec::new(),
            formats: Vec::new(),
            columns: Vec::new(),
            table: Table::new(limit),
            in_rows: false,
            uncounted: false,
            copies_in: false,
            error: None,
            open: false,
            completed: false,
            cut: false,
            effects: VecDeque::new(),
            better: None,
            secrets: None,
        }
    }

    /// Tells whether nothing of the extended protocol is left to answer.
    pub(super) fn is_answered(&self) -> bool {
        self.kind == UnitKind::Extended && self.expects.is_empty()
    }

    /// Tells whether one of its messages is a `Parse`.
    pub(super) fn parses(&self) -> bool {
        self.expects.iter().any(|expect| matches!(expect.step, ExtendedStep::Parse(..)))
    }

    /// Tells whether its answer has begun and nothing but `ReadyForQuery` can follow: notifications come there.
    pub(super) fn is_complete(&self) -> bool {
        let done = match self.kind {
            UnitKind::Query => self.completed || self.error.is_some(),
            UnitKind::Extended => self.expects.is_empty(),
            UnitKind::Login | UnitKind::Encryption => false,
        };
        self.open && done && !self.in_rows
    }

    /// Adds the text of an error or a notice.
    pub(super) fn say(&mut self, mut text: Vec<u8>) {
        if let Some(secrets) = &self.secrets {
            secrets.hide(&mut text);
            text = sql::redact_value(&text, Dialect::Postgres).into_owned();
        }
        self.table.line(&text);
    }

    /// Ends the rows of one result.
    pub(super) fn end_rows(&mut self) {
        if std::mem::take(&mut self.in_rows) && !std::mem::take(&mut self.uncounted) {
            self.table.end_rows();
        }
    }

    /// Turns the answer into what is shown of it.
    pub(super) fn finish(mut self, database: &str) -> Response {
        self.end_rows();
        let skipped = self.kind == UnitKind::Extended && self.error.is_none() && !self.expects.is_empty();
        let status = match self.error {
            Some(state) => format!("ERR {state}"),
            None if skipped => SKIPPED.to_owned(),
            None => "OK".to_owned(),
        };
        let error = status != "OK";
        let (payload, truncated) = self.table.finish();
        let mut response = Response { status, error, payload, truncated, ..Response::default() };
        if let Some(portal) = self.better {
            let request = portal.request(database);
            response.operation = Some(request.operation);
            response.attributes = request.attributes;
            response.request = Some(request.payload);
        }
        response
    }

    /// Returns what is shown of one that the server did not execute: an error came before it, and it got no answer.
    pub(super) fn skipped() -> Response {
        Response { status: SKIPPED.to_owned(), error: true, ..Response::default() }
    }
}

/// The status of what the server passed over after an error.
const SKIPPED: &str = "SKIPPED";
