//! Prepared statements, and the values that portals bind to them.

use std::sync::Arc;

use super::names::Named;
use super::values::{self, PostgresColumn};
use crate::decoder::Request;
use crate::sql::{self, Dialect, Parameters, REDACTED, Secrets, cursor::Cursor};

/// A prepared statement.
#[derive(Clone, Debug, Default)]
pub(super) struct PostgresStatement {
    /// Its text, without secrets.
    pub(super) text: Arc<[u8]>,
    /// Some of its text was not seen.
    pub(super) cut: bool,
    /// Which of the values bound to it are secrets.
    pub(super) secret: Parameters,
    /// What an error may repeat of it and must not come out; absent where secrets are kept.
    pub(super) secrets: Option<Secrets>,
    /// The types of its parameters; 0 is unknown.
    pub(super) parameters: Vec<u32>,
    /// The columns of its result.
    pub(super) columns: Vec<PostgresColumn>,
}

/// A statement with its values, ready to execute.
#[derive(Clone, Debug, Default)]
pub(super) struct Portal {
    /// The statement's name.
    pub(super) name: Vec<u8>,
    /// What the name meant when the portal was asked for.
    pub(super) statement: Arc<PostgresStatement>,
    /// How the client wants the result's columns.
    pub(super) formats: Vec<u16>,
    /// The values, as text.
    values: Text,
}

/// Bounded text.
#[derive(Clone, Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    limit: usize,
    truncated: bool,
}

// === impl PostgresStatement ===

impl PostgresStatement {
    pub(super) fn new(text: &[u8], redact: bool) -> Self {
        if !redact {
            return Self { text: text.into(), ..Self::default() };
        }
        let redacted = sql::redact(text, Dialect::Postgres);
        Self {
            text: redacted.text.as_ref().into(),
            secret: redacted.parameters,
            secrets: Some(redacted.secrets),
            ..Self::default()
        }
    }

    /// Returns the request that sends it to `database`.
    pub(super) fn request(&self, database: &str, limit: usize) -> Request {
        let line = sql::line(&self.text);
        let payload = self.text.get(..limit).unwrap_or(&self.text).to_vec();
        Request {
            operation: if line.is_empty() { "QUERY".to_owned() } else { line },
            target: database.to_owned(),
            attributes: vec![
                ("statement", String::from_utf8_lossy(&self.text).into_owned()),
                ("command", sql::command(&self.text, Dialect::Postgres)),
            ],
            truncated: self.cut || self.text.len() > payload.len(),
            payload,
            ..Request::default()
        }
    }
}

impl Named for PostgresStatement {
    fn bytes(&self) -> usize {
        self.text.len()
    }
}

// === impl Portal ===

impl Portal {
    /// Reads the rest of a `Bind` message; values that cannot be read are left out.
    pub(super) fn read(
        name: &[u8],
        statement: Arc<PostgresStatement>,
        cursor: &mut Cursor<'_>,
        limit: usize,
    ) -> Self {
        let values = Text { limit, ..Text::default() };
        let mut portal = Self { name: name.to_vec(), statement, formats: Vec::new(), values };
        if portal.bind(cursor).is_none() {
            portal.values.truncated = true;
        }
        portal
    }

    fn bind(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let formats = values::numbers(cursor)?;
        let count = usize::from(cursor.u16_be()?);
        for index in 0..count {
            self.values.write(if index == 0 { b"\n-- [" } else { b", " });
            let binary = values::format(&formats, index) == Some(1);
            match values::field(cursor)? {
                None => self.values.write(b"NULL"),
                Some(_) if self.statement.secret.contains(index) => self.values.write(REDACTED.as_bytes()),
                Some(value) => {
                    let kind = self.statement.parameters.get(index).copied().unwrap_or(0);
                    let text = if binary { values::from_binary(value, kind) } else { value.to_vec() };
                    if self.statement.secrets.is_some() {
                        self.values.value(&sql::redact_value(&text, Dialect::Postgres));
                    } else {
                        self.values.value(&text);
                    }
                }
            }
        }
        if count > 0 {
            self.values.write(b"]");
        }
        self.formats = values::numbers(cursor)?;
        Some(())
    }

    /// Returns the request that executes it on `database`.
    pub(super) fn request(&self, database: &str) -> Request {
        let mut request = self.statement.request(database, self.values.limit);
        let room = self.values.limit.saturating_sub(request.payload.len());
        let values = self.values.bytes.get(..room).unwrap_or(&self.values.bytes);
        request.payload.extend_from_slice(values);
        request.truncated |= self.values.truncated || values.len() < self.values.bytes.len();
        request
    }

    /// Returns it with another statement, which is what its name means; values that are secrets there are left out.
    pub(super) fn of(&self, statement: &Arc<PostgresStatement>) -> Self {
        let mut portal = Self { statement: Arc::clone(statement), ..self.clone() };
        if !statement.secret.is_empty() {
            portal.values.bytes.clear();
        }
        portal
    }
}

impl Named for Portal {
    fn bytes(&self) -> usize {
        self.values.bytes.len()
    }
}

// === impl Text ===

impl Text {
    fn value(&mut self, value: &[u8]) {
        self.write(b"'");
        for part in value.split_inclusive(|byte| *byte == b'\'') {
            self.write(part);
            if part.ends_with(b"'") {
                self.write(b"'");
            }
        }
        self.write(b"'");
    }

    fn write(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.bytes.len());
        self.truncated |= bytes.len() > room;
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}
