//! What the client asked for in one go, and how far the server has answered.

use std::collections::VecDeque;

use super::values::Column;
use crate::decoder::Response;
use crate::sql::{self, Dialect, Secrets, table::Table};

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Parse,
    Bind,
    /// Of the statement with this name.
    Describe(Vec<u8>),
    Execute,
    Close,
}

/// One request and its answer as it is read.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) kind: Kind,
    pub(super) expects: VecDeque<Expect>,
    /// `ReadyForQuery` ends it.
    pub(super) sync: bool,
    /// The name of the statement that is executed.
    pub(super) statement: Vec<u8>,
    /// How the client wants the result's columns.
    pub(super) formats: Vec<u16>,
    pub(super) columns: Vec<Column>,
    pub(super) table: Table,
    /// Rows are being read, so their number is still to be written.
    pub(super) in_rows: bool,
    /// The state of the error that ended it.
    pub(super) error: Option<String>,
    /// Some of its answer was read.
    pub(super) open: bool,
    /// What messages may repeat and must not come out; absent where secrets are kept.
    pub(super) secrets: Option<Secrets>,
}

// === impl Unit ===

impl Unit {
    pub(super) fn new(kind: Kind, limit: usize) -> Self {
        Self {
            kind,
            expects: VecDeque::new(),
            sync: kind != Kind::Extended,
            statement: Vec::new(),
            formats: Vec::new(),
            columns: Vec::new(),
            table: Table::new(limit),
            in_rows: false,
            error: None,
            open: false,
            secrets: None,
        }
    }

    /// Tells whether nothing of the extended protocol is left to answer.
    pub(super) fn is_answered(&self) -> bool {
        self.kind == Kind::Extended && self.expects.is_empty()
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
        if std::mem::take(&mut self.in_rows) {
            self.table.end_rows();
        }
    }

    /// Turns the answer into what is shown of it.
    pub(super) fn finish(mut self) -> Response {
        self.end_rows();
        let skipped = self.kind == Kind::Extended && self.error.is_none() && !self.expects.is_empty();
        let status = match self.error {
            Some(state) => format!("ERR {state}"),
            None if skipped => "SKIPPED".to_owned(),
            None => "OK".to_owned(),
        };
        let error = status != "OK";
        let (payload, truncated) = self.table.finish();
        Response { status, error, payload, truncated, ..Response::default() }
    }
}
