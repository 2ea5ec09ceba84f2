//! What a session stores, described once.
//!
//! From the columns of [`exchange`], [`hop`], [`capturer`] and [`loss`] follow the tables of both engines and their rows, one exchange as JSON
//! and its schema, how a saved row is read back, and `docs/sql.md`. A new one is added here, at the end, with the
//! schema's version that brings it.

pub mod capturer;
pub mod exchange;
pub mod found;
pub mod hop;
pub mod loss;

use std::net::IpAddr;

/// Characters of a name: the longest DNS name.
pub const NAME_CHARS: usize = 253;

/// Characters of an operation.
pub const OPERATION_CHARS: usize = 512;

/// Characters of an address: the longest form of IPv6, which ends in one of IPv4.
pub const ADDRESS_CHARS: usize = 45;

/// Characters of a session's name, which is part of objects' names in a cluster.
pub const SESSION_CHARS: usize = 40;

/// The first column of every table.
pub const SESSION: Column = Column::required("session", Kind::Word(SESSION_CHARS), "Session name");

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name of at most [`NAME_CHARS`] characters.
    Name,
    /// A word of at most this many characters.
    Word(usize),
    /// One of these words, with room for later ones of this many characters.
    Choice(usize, &'static [&'static str]),
    /// Text of at most [`OPERATION_CHARS`] characters.
    Operation,
    /// An IPv4 or IPv6 address as text.
    Address,
    /// A number of 64 bits that names something: text in JSON, whose readers know fewer bits, and never null there.
    Id,
    /// As [`Self::Id`], of something that there may be none of: null then in JSON too.
    OtherId,
    /// A number from 0.
    Count,
    /// A number from 1.
    Positive,
    /// A port, from 1.
    Port,
    /// A number that may be negative.
    Signed,
    /// Yes or no: 1 or 0 in SQL.
    Flag,
    /// Date and time in UTC: to the microsecond in SQL, to the nanosecond in JSON.
    Time,
    /// Bytes of a message: text in JSON.
    Payload,
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in SQL and JSON.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it is never NULL.
    pub required: bool,
    /// The schema's version that brought it.
    pub since: u32,
    /// What it means, in a line that is true in SQL and in JSON.
    pub help: &'static str,
    /// Whether JSON has it too.
    pub json: bool,
}

/// The value of one column, borrowed from what it was taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Unknown.
    Null,
    /// An identifier or number.
    Number(u64),
    /// A number that may be negative.
    Signed(i64),
    /// Yes or no.
    Flag(bool),
    /// Text.
    Text(&'a str),
    /// An address.
    Address(IpAddr),
    /// Nanoseconds since the Unix epoch.
    Time(u64),
    /// The whole payload that is at hand; who shows it shortens it.
    Payload(&'a [u8]),
}

/// A column with how its cell is taken and put back.
#[derive(Clone, Copy, Debug)]
pub struct Field<Get, Set> {
    /// The column.
    pub column: Column,
    /// Takes the cell.
    pub get: Get,
    /// Puts a stored value back, which is not NULL; `None` where it follows from other columns.
    pub set: Option<Set>,
}

// === impl Kind ===

impl Kind {
    /// Characters of text that fit; `None` for what is not text.
    #[must_use]
    pub const fn chars(self) -> Option<usize> {
        match self {
            Self::Name => Some(NAME_CHARS),
            Self::Word(chars) | Self::Choice(chars, _) => Some(chars),
            Self::Operation => Some(OPERATION_CHARS),
            Self::Address => Some(ADDRESS_CHARS),
            Self::Id
            | Self::OtherId
            | Self::Count
            | Self::Positive
            | Self::Port
            | Self::Signed
            | Self::Flag
            | Self::Time
            | Self::Payload => None,
        }
    }
}

// === impl Column ===

impl Column {
    /// Describes a column of the first version that is never NULL.
    #[must_use]
    pub const fn required(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, required: true, since: 1, help, json: true }
    }

    /// Describes a column of the first version that is NULL where nothing is known.
    #[must_use]
    pub const fn optional(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { required: false, ..Self::required(name, kind, help) }
    }

    /// The same, brought by a later version of the schema.
    #[must_use]
    pub const fn since(self, version: u32) -> Self {
        Self { since: version, ..self }
    }

    /// The same, not in JSON.
    #[must_use]
    pub const fn only_sql(self) -> Self {
        Self { json: false, ..self }
    }
}

// === impl Cell ===

impl<'a> Cell<'a> {
    /// Text; empty is unknown.
    #[must_use]
    pub const fn text(value: &'a str) -> Self {
        if value.is_empty() { Self::Null } else { Self::Text(value) }
    }

    /// A number whose zero is unknown.
    #[must_use]
    pub const fn known(value: u64) -> Self {
        if value == 0 { Self::Null } else { Self::Number(value) }
    }

    /// A number that may be unknown.
    #[must_use]
    pub const fn maybe(value: Option<u64>) -> Self {
        match value {
            Some(value) => Self::Number(value),
            None => Self::Null,
        }
    }
}

/// Returns the columns of fields.
const fn columns<Get: Copy, Set: Copy, const N: usize>(fields: &[Field<Get, Set>]) -> [Column; N] {
    let mut columns = [fields[0].column; N];
    let mut at = 0;
    while at < N {
        columns[at] = fields[at].column;
        at += 1;
    }
    columns
}
