//! Prepared statements, and the values that portals bind to them.

use std::collections::HashMap;
use std::sync::Arc;

use super::values::{self, Column};
use crate::sql::{self, Dialect, Parameters, REDACTED, Secrets, cursor::Cursor};

/// Most statements or portals remembered per connection, and most bytes of their text; beyond it all are forgotten,
/// and what is executed is shown without its text until it is prepared again.
const MAX_NAMES: usize = 4096;
const MAX_TEXT: usize = 1024 * 1024;

/// A prepared statement.
#[derive(Clone, Debug, Default)]
pub(super) struct Statement {
    /// Its text, without secrets.
    pub(super) text: Arc<[u8]>,
    /// Which of the values bound to it are secrets.
    secret: Parameters,
    /// What an error may repeat of it and must not come out; absent where secrets are kept.
    pub(super) secrets: Option<Secrets>,
    /// The types of its parameters; 0 is unknown.
    pub(super) parameters: Vec<u32>,
    /// The columns of its result.
    pub(super) columns: Vec<Column>,
}

/// A statement with its values, ready to execute.
#[derive(Clone, Debug, Default)]
pub(super) struct Portal {
    /// The statement's name.
    pub(super) statement: Vec<u8>,
    /// How the client wants the result's columns.
    pub(super) formats: Vec<u16>,
    text: Vec<u8>,
    limit: usize,
    truncated: bool,
}

/// Things by name, so many at most.
#[derive(Debug)]
pub(super) struct Names<V> {
    known: HashMap<Vec<u8>, (V, usize)>,
    /// Bytes held together.
    held: usize,
}

// === impl Statement ===

impl Statement {
    pub(super) fn new(text: &[u8], redact: bool) -> Self {
        let redacted = sql::redact(text, Dialect::Postgres);
        let shown: &[u8] = if redact { &redacted.text } else { text };
        let text = shown.into();
        let (secret, secrets) = if redact {
            (redacted.parameters, Some(redacted.secrets))
        } else {
            (Parameters::default(), None)
        };
        Self { text, secret, secrets, ..Self::default() }
    }
}

// === impl Portal ===

impl Portal {
    /// Begins with the statement's text.
    pub(super) fn new(statement: &Statement, limit: usize) -> Self {
        let mut portal = Self { limit, ..Self::default() };
        portal.write(&statement.text);
        portal
    }

    /// Adds the values of a `Bind` message.
    pub(super) fn bind(&mut self, statement: &Statement, cursor: &mut Cursor<'_>) -> Option<()> {
        let formats = values::numbers(cursor)?;
        let count = usize::from(cursor.u16_be()?);
        for index in 0..count {
            self.write(if index == 0 { b"\n-- [" } else { b", " });
            let binary = values::format(&formats, index) == Some(1);
            match values::field(cursor)? {
                None => self.write(b"NULL"),
                Some(_) if statement.secret.contains(index) => self.write(REDACTED.as_bytes()),
                Some(value) if binary => {
                    let kind = statement.parameters.get(index).copied().unwrap_or(0);
                    self.value(&values::from_binary(value, kind));
                }
                Some(value) => self.value(value),
            }
        }
        if count > 0 {
            self.write(b"]");
        }
        self.formats = values::numbers(cursor)?;
        Some(())
    }

    /// Says that values are missing.
    pub(super) fn cut(&mut self) {
        self.truncated = true;
    }

    /// Returns how many bytes its text has.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Returns the text, and whether something is missing.
    pub(super) fn finish(self) -> (Vec<u8>, bool) {
        (self.text, self.truncated)
    }

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
        let room = self.limit.saturating_sub(self.text.len());
        self.truncated |= bytes.len() > room;
        self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

// === impl Names ===

impl<V> Default for Names<V> {
    fn default() -> Self {
        Self { known: HashMap::new(), held: 0 }
    }
}

impl<V> Names<V> {
    pub(super) fn get(&self, name: &[u8]) -> Option<&V> {
        self.known.get(name).map(|(value, _)| value)
    }

    pub(super) fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        self.known.get_mut(name).map(|(value, _)| value)
    }

    /// Remembers `value`, which holds about `bytes`.
    pub(super) fn insert(&mut self, name: Vec<u8>, value: V, bytes: usize) {
        self.remove(&name);
        let bytes = bytes.saturating_add(name.len());
        if self.known.len() >= MAX_NAMES || self.held.saturating_add(bytes) > MAX_TEXT {
            self.known.clear();
            self.held = 0;
        }
        self.held = self.held.saturating_add(bytes);
        self.known.insert(name, (value, bytes));
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some((_, bytes)) = self.known.remove(name) {
            self.held = self.held.saturating_sub(bytes);
        }
    }
}
