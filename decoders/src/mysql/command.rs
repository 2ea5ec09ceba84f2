//! The commands of a client and what is shown of them.

use std::sync::Arc;

use super::database::Plan;
use super::login::Agreed;
use super::values::{self, MysqlColumn, Value, ValueKind};
use crate::sql::{self, Dialect, Parameters, REDACTED, Secrets, cursor::Cursor};

/// Command bytes.
pub(super) mod code {
    pub(in crate::mysql) const QUIT: u8 = 0x01;
    pub(in crate::mysql) const INIT_DB: u8 = 0x02;
    pub(in crate::mysql) const QUERY: u8 = 0x03;
    pub(in crate::mysql) const FIELD_LIST: u8 = 0x04;
    pub(in crate::mysql) const DROP_DB: u8 = 0x06;
    pub(in crate::mysql) const STATISTICS: u8 = 0x09;
    pub(in crate::mysql) const PROCESS_INFO: u8 = 0x0a;
    pub(in crate::mysql) const CHANGE_USER: u8 = 0x11;
    pub(in crate::mysql) const BINLOG_DUMP: u8 = 0x12;
    pub(in crate::mysql) const TABLE_DUMP: u8 = 0x13;
    pub(in crate::mysql) const PREPARE: u8 = 0x16;
    pub(in crate::mysql) const EXECUTE: u8 = 0x17;
    pub(in crate::mysql) const LONG_DATA: u8 = 0x18;
    pub(in crate::mysql) const CLOSE: u8 = 0x19;
    pub(in crate::mysql) const RESET: u8 = 0x1a;
    pub(in crate::mysql) const SET_OPTION: u8 = 0x1b;
    pub(in crate::mysql) const FETCH: u8 = 0x1c;
    pub(in crate::mysql) const BINLOG_DUMP_GTID: u8 = 0x1e;
    pub(in crate::mysql) const RESET_CONNECTION: u8 = 0x1f;
    pub(in crate::mysql) const BULK_EXECUTE: u8 = 0xfa;
}

/// Flag of `COM_STMT_EXECUTE`: the number of parameters is given.
const PARAMETER_COUNT_AVAILABLE: u8 = 8;

/// Flag of `COM_STMT_BULK_EXECUTE`: the types of the parameters are given.
const SEND_TYPES: u16 = 128;

/// A prepared statement.
#[derive(Clone, Debug, Default)]
pub(super) struct MysqlStatement {
    /// Its text, without secrets.
    pub(super) text: Arc<[u8]>,
    /// Which of the values bound to it are secrets.
    pub(super) secret: Parameters,
    /// What an error may repeat of it and must not come out.
    pub(super) secrets: Secrets,
    /// How many parameters it takes.
    pub(super) parameters: usize,
    /// The types bound last.
    pub(super) kinds: Vec<ValueKind>,
    /// Parameters that were sent ahead as long data.
    pub(super) long: Vec<u16>,
    /// The columns of its result, which the server may leave out later.
    pub(super) columns: Vec<MysqlColumn>,
    /// What it does to the current database.
    pub(super) plan: Plan,
    /// The client closed it, and waits for an answer of it yet.
    pub(super) closed: bool,
}

/// How the parameters of `COM_STMT_EXECUTE` are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// As many as the statement takes.
    Plain,
    /// Their number ahead, and each with a name: those of the statement, and behind them query attributes.
    Attributed,
}

/// The parameters of one execution.
#[derive(Debug, Default)]
struct Bound {
    kinds: Vec<ValueKind>,
    /// Those of the statement: NULL, sent ahead, or a value.
    values: Vec<Parameter>,
    /// Whether all were there, and nothing behind them.
    exact: bool,
}

#[derive(Debug)]
enum Parameter {
    Null,
    SentAhead,
    Value(Value),
}

/// A statement with its values, as text.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    text: Vec<u8>,
    limit: usize,
    pub(super) truncated: bool,
}

// === impl MysqlStatement ===

impl MysqlStatement {
    /// Takes the text of `COM_STMT_PREPARE`.
    pub(super) fn new(text: &[u8], redact: bool) -> Self {
        let redacted = sql::redact(text, Dialect::Mysql);
        let parameters = sql::placeholders(text, Dialect::Mysql);
        if !redact {
            return Self { text: text.into(), parameters, ..Self::default() };
        }
        let (secret, secrets) = (redacted.parameters, redacted.secrets);
        Self { text: (*redacted.text).into(), secret, secrets, parameters, ..Self::default() }
    }

    /// Adds the values of `COM_STMT_EXECUTE`, whose body behind the statement's number is `body`, to `text`.
    pub(super) fn execute(&mut self, body: &[u8], agreed: Agreed, text: &mut Rendered) -> Option<()> {
        let long = std::mem::take(&mut self.long);
        let mut cursor = Cursor::new(body);
        let flags = cursor.byte()?;
        cursor.u32_le()?;
        if self.parameters == 0 {
            return Some(());
        }
        let counted = flags & PARAMETER_COUNT_AVAILABLE != 0;
        // Some clients that agreed on attributes set the flag only when there are some, and write the number always.
        let layouts: &[Layout] = match agreed.query_attributes {
            Some(false) => &[Layout::Plain],
            Some(true) => &[Layout::Attributed, Layout::Plain],
            None if counted => &[Layout::Attributed, Layout::Plain],
            None => &[Layout::Plain, Layout::Attributed],
        };
        let read = || layouts.iter().filter_map(|layout| self.bound(cursor, *layout, &long));
        let bound = read().find(|bound| bound.exact).or_else(|| read().next())?;
        text.write(b"\n-- [");
        for (index, value) in bound.values.iter().enumerate() {
            text.separate(index);
            match value {
                Parameter::Null => text.write(b"NULL"),
                Parameter::SentAhead => text.write(b"(long data)"),
                Parameter::Value(value) => text.value(value, self.secret.contains(index)),
            }
        }
        text.write(b"]");
        let whole = bound.values.len() == self.parameters;
        self.kinds = bound.kinds;
        whole.then_some(())
    }

    /// Reads the parameters of an execution, written as `layout` says; those of which the bytes are there.
    fn bound(&self, mut cursor: Cursor<'_>, layout: Layout, long: &[u16]) -> Option<Bound> {
        let attributed = layout == Layout::Attributed;
        let mut count = self.parameters;
        if attributed {
            count = usize::try_from(cursor.lenenc()?).ok().filter(|count| *count >= self.parameters)?;
        }
        let bitmap = cursor.bytes(count.div_ceil(8))?;
        let mut bound = Bound::default();
        match cursor.byte()? {
            1 => {
                for _ in 0..count {
                    bound.kinds.push(ValueKind::parameter(cursor.array()?));
                    if attributed {
                        cursor.lenenc_bytes()?;
                    }
                }
            }
            0 => bound.kinds.clone_from(&self.kinds),
            _ => return None,
        }
        let mut cut = false;
        for index in 0..count {
            let value = if values::bit(bitmap, index) {
                Parameter::Null
            } else if u16::try_from(index).is_ok_and(|index| long.contains(&index)) {
                Parameter::SentAhead
            } else {
                match bound.kinds.get(index).and_then(|kind| values::value(&mut cursor, *kind)) {
                    Some(value) => {
                        cut |= value.cut;
                        Parameter::Value(value)
                    }
                    None => return Some(bound),
                }
            };
            if index < self.parameters {
                bound.values.push(value);
            }
        }
        bound.exact = cursor.rest().is_empty() && !cut;
        Some(bound)
    }

    /// Adds the rows of `COM_STMT_BULK_EXECUTE` to `text`.
    pub(super) fn bulk(&mut self, body: &[u8], text: &mut Rendered) -> Option<()> {
        let mut cursor = Cursor::new(body);
        if cursor.u16_le()? & SEND_TYPES != 0 {
            self.kinds.clear();
            for _ in 0..self.parameters {
                self.kinds.push(ValueKind::parameter(cursor.array()?));
            }
        }
        while !cursor.rest().is_empty() && !self.kinds.is_empty() && !text.truncated {
            text.write(b"\n-- [");
            for (index, kind) in self.kinds.iter().enumerate() {
                text.separate(index);
                match cursor.byte()? {
                    0 => text.value(&values::value(&mut cursor, *kind)?, self.secret.contains(index)),
                    1 => text.write(b"NULL"),
                    2 => text.write(b"DEFAULT"),
                    _ => text.write(b"(unchanged)"),
                }
            }
            text.write(b"]");
        }
        Some(())
    }
}

// === impl Rendered ===

impl Rendered {
    pub(super) fn new(text: &[u8], limit: usize) -> Self {
        let mut rendered = Self { limit, ..Self::default() };
        rendered.write(text);
        rendered
    }

    pub(super) fn finish(self) -> (Vec<u8>, bool) {
        (self.text, self.truncated)
    }

    fn write(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.text.len());
        self.truncated |= bytes.len() > room;
        self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.write(b", ");
        }
    }

    fn value(&mut self, value: &Value, secret: bool) {
        if secret {
            self.write(REDACTED.as_bytes());
        } else if value.quoted {
            self.write(b"'");
            for part in value.text.split_inclusive(|byte| *byte == b'\'') {
                self.write(part);
                if part.ends_with(b"'") {
                    self.write(b"'");
                }
            }
            self.write(b"'");
        } else {
            self.write(&value.text);
        }
    }
}

/// Returns the statement of `COM_QUERY`: behind its query attributes where there are any.
pub(super) fn query_text(body: &[u8], agreed: Agreed) -> &[u8] {
    if has_attributes(body, agreed) { behind_attributes(body).unwrap_or(body) } else { body }
}

/// Tells whether the body of `COM_QUERY` begins with query attributes. Where the log-in was not seen their second number
/// tells, that of their sets, which is always one: no statement has this character there.
pub(super) fn has_attributes(body: &[u8], agreed: Agreed) -> bool {
    agreed.query_attributes.unwrap_or_else(|| body.get(1) == Some(&1))
}

fn behind_attributes(body: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::new(body);
    let count = usize::try_from(cursor.lenenc()?).ok()?;
    cursor.lenenc()?;
    if count == 0 {
        return Some(cursor.rest());
    }
    let bitmap = cursor.bytes(count.div_ceil(8))?;
    let mut kinds = Vec::new();
    if cursor.byte()? == 1 {
        for _ in 0..count {
            kinds.push(ValueKind::parameter(cursor.array()?));
            cursor.lenenc_bytes()?;
        }
    }
    for (index, kind) in kinds.iter().enumerate() {
        if !values::bit(bitmap, index) {
            values::value(&mut cursor, *kind)?;
        }
    }
    Some(cursor.rest())
}

/// Names a command that has no statement.
pub(super) fn name(command: u8) -> String {
    match command {
        code::QUIT => "QUIT",
        code::INIT_DB => "INIT_DB",
        code::FIELD_LIST => "FIELD_LIST",
        0x05 => "CREATE_DB",
        code::DROP_DB => "DROP_DB",
        0x07 => "REFRESH",
        0x08 => "SHUTDOWN",
        code::STATISTICS => "STATISTICS",
        code::PROCESS_INFO => "PROCESS_INFO",
        0x0c => "PROCESS_KILL",
        0x0d => "DEBUG",
        0x0e => "PING",
        code::CHANGE_USER => "CHANGE_USER",
        code::BINLOG_DUMP | code::BINLOG_DUMP_GTID => "BINLOG_DUMP",
        code::TABLE_DUMP => "TABLE_DUMP",
        0x15 => "REGISTER_REPLICA",
        code::PREPARE => "PREPARE",
        code::EXECUTE => "EXECUTE",
        code::LONG_DATA => "SEND_LONG_DATA",
        code::CLOSE => "CLOSE",
        code::RESET => "RESET",
        code::SET_OPTION => "SET_OPTION",
        code::FETCH => "FETCH",
        code::RESET_CONNECTION => "RESET_CONNECTION",
        0x20 => "CLONE",
        code::BULK_EXECUTE => "BULK_EXECUTE",
        other => return format!("COMMAND_{other}"),
    }
    .to_owned()
}

/// Tells whether `command` with `length` bytes of body behind it is one of the protocol's.
pub(super) fn is_plausible(command: u8, length: usize) -> bool {
    match command {
        code::QUIT | code::STATISTICS | code::PROCESS_INFO | 0x0d | 0x0e | code::RESET_CONNECTION => {
            length == 0
        }
        code::QUERY | code::PREPARE | code::INIT_DB => length > 0,
        code::EXECUTE => length >= 9,
        code::CLOSE | code::RESET | 0x0c => length == 4,
        code::FETCH => length == 8,
        code::LONG_DATA | code::BULK_EXECUTE => length >= 6,
        code::SET_OPTION => length == 2,
        code::CHANGE_USER | code::FIELD_LIST => length > 1,
        _ => false,
    }
}
