//! The schema, written once for both engines.

mod rekey;
mod units;

use std::fmt::Write as _;

/// Newest schema version; a database with a higher one is refused.
pub const VERSION: u32 = 3;

/// Table that holds the versions a database went through.
pub const VERSION_TABLE: &str = "kyanos_schema";

/// Characters of a name: the longest DNS name.
pub const NAME_CHARS: usize = 253;

/// Characters of an operation.
pub const OPERATION_CHARS: usize = 512;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name of at most [`NAME_CHARS`] characters.
    Name,
    /// A word of at most this many characters.
    Word(usize),
    /// Text of at most [`OPERATION_CHARS`] characters.
    Operation,
    /// A 64-bit integer.
    Integer,
    /// Yes or no, 1 or 0.
    Flag,
    /// Date and time in UTC with microseconds.
    Time,
    /// Bytes of a payload.
    Bytes,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name in SQL and JSON.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it is never NULL.
    pub required: bool,
    /// The schema version that brought it.
    pub since: u32,
}

/// A table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns, in order; later versions add theirs at the end.
    pub columns: &'static [Column],
    /// Its primary key, which begins with `session`.
    pub primary: &'static [&'static str],
    /// Further indexes: name, whether unique, columns.
    pub indexes: &'static [(&'static str, bool, &'static [&'static str])],
}

/// An SQL dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded database.
    Sqlite,
    /// MySQL and what speaks like it.
    Mysql,
}

const fn required(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, required: true, since: 1 }
}

const fn optional(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, required: false, since: 1 }
}

const fn since(version: u32, column: Column) -> Column {
    Column { since: version, ..column }
}

/// Characters of a session name (`--name`).
const SESSION: Kind = Kind::Word(40);

/// One row per exchange.
pub const EXCHANGES: Table = Table {
    name: "exchanges",
    columns: &[
        required("session", SESSION),
        required("id", Kind::Integer),
        optional("node", Kind::Name),
        optional("namespace", Kind::Name),
        optional("pod", Kind::Name),
        optional("container", Kind::Name),
        optional("workload", Kind::Name),
        optional("pid", Kind::Integer),
        optional("comm", Kind::Name),
        optional("connection_id", Kind::Integer),
        optional("side", Kind::Word(8)),
        required("protocol", Kind::Word(32)),
        required("tls", Kind::Flag),
        optional("local_addr", Kind::Word(45)),
        optional("local_port", Kind::Integer),
        optional("remote_addr", Kind::Word(45)),
        optional("remote_port", Kind::Integer),
        optional("remote_namespace", Kind::Name),
        optional("remote_pod", Kind::Name),
        optional("remote_service", Kind::Name),
        optional("operation", Kind::Operation),
        optional("target", Kind::Name),
        optional("status", Kind::Name),
        required("error", Kind::Flag),
        required("start_time", Kind::Time),
        optional("end_time", Kind::Time),
        required("start_ns", Kind::Integer),
        optional("total_ns", Kind::Integer),
        optional("send_ns", Kind::Integer),
        optional("network_ns", Kind::Integer),
        optional("transfer_ns", Kind::Integer),
        optional("receive_ns", Kind::Integer),
        optional("queue_ns", Kind::Integer),
        optional("internal_ns", Kind::Integer),
        optional("read_ns", Kind::Integer),
        optional("retransmits", Kind::Integer),
        required("sample_weight", Kind::Integer),
        optional("request_bytes", Kind::Integer),
        optional("response_bytes", Kind::Integer),
        optional("request_plain_bytes", Kind::Integer),
        optional("response_plain_bytes", Kind::Integer),
        optional("request", Kind::Bytes),
        optional("response", Kind::Bytes),
        optional("request_truncated", Kind::Flag),
        optional("response_truncated", Kind::Flag),
        since(2, required("handshake", Kind::Flag)),
        since(2, optional("announced_addr", Kind::Word(45))),
        since(2, optional("announced_port", Kind::Integer)),
        since(2, optional("reason", Kind::Word(16))),
    ],
    primary: &["session", "id"],
    indexes: &[
        ("exchanges_start", false, &["session", "start_ns"]),
        ("exchanges_total", false, &["session", "total_ns"]),
        ("exchanges_error", false, &["session", "error", "start_ns"]),
        ("exchanges_workload", false, &["session", "namespace", "workload", "start_ns"]),
    ],
};

/// One row per place an exchange was seen at.
pub const HOPS: Table = Table {
    name: "hops",
    columns: &[
        required("session", SESSION),
        required("exchange_id", Kind::Integer),
        required("seq", Kind::Integer),
        required("at_ns", Kind::Integer),
        required("place", Kind::Word(16)),
        optional("name", Kind::Name),
        optional("netns", Kind::Integer),
        optional("direction", Kind::Word(8)),
        optional("message", Kind::Word(16)),
        optional("bytes", Kind::Integer),
    ],
    primary: &["session", "exchange_id", "seq"],
    indexes: &[],
};

/// One row per capturer.
pub const CAPTURERS: Table = Table {
    name: "capturers",
    columns: &[
        required("session", SESSION),
        required("node", Kind::Name),
        required("slot", Kind::Integer),
        optional("kernel", Kind::Name),
        optional("version", Kind::Name),
        required("first_seen", Kind::Time),
        required("last_seen", Kind::Time),
    ],
    primary: &["session", "node"],
    indexes: &[("capturers_slot", true, &["session", "slot"])],
};

/// One row per reading of a loss total that had changed.
pub const LOSSES: Table = Table {
    name: "losses",
    columns: &[
        required("session", SESSION),
        required("at_ns", Kind::Integer),
        required("node", Kind::Name),
        required("stage", Kind::Word(32)),
        required("total", Kind::Integer),
        // Empty in rows of earlier versions, which added up both units, where the stage does not tell.
        since(3, required("unit", Kind::Word(16))),
    ],
    primary: &["session", "at_ns", "node", "stage", "unit"],
    indexes: &[],
};

/// All tables, in the order they are pulled.
pub const TABLES: [Table; 4] = [EXCHANGES, HOPS, CAPTURERS, LOSSES];

// === impl Table ===

impl Table {
    /// Finds a table by name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Table> {
        const ALL: &[Table] = &TABLES;
        ALL.iter().find(|table| table.name == name)
    }

    /// Names of the columns, in order.
    pub fn column_names(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|column| column.name)
    }

    /// Columns that a version brought.
    pub fn brought_by(&self, version: u32) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().filter(move |column| column.since == version)
    }

    /// The primary key as a version has it.
    fn key(&self, version: u32) -> String {
        let is_there =
            |name: &&str| self.columns.iter().any(|column| column.name == *name && column.since <= version);
        self.primary.iter().copied().filter(is_there).collect::<Vec<_>>().join(", ")
    }

    /// Statements that create the table as version 1 has it, and its indexes.
    fn create(&self, dialect: Dialect) -> Vec<String> {
        let mut lines: Vec<String> = self.brought_by(1).map(|column| column.definition(dialect)).collect();
        lines.push(format!("PRIMARY KEY ({})", self.key(1)));
        let indexes = self.indexes.iter();
        match dialect {
            Dialect::Mysql => {
                lines.extend(indexes.map(|(name, unique, columns)| {
                    let unique = if *unique { "UNIQUE " } else { "" };
                    format!("{unique}INDEX {name} ({})", columns.join(", "))
                }));
                vec![format!(
                    "CREATE TABLE IF NOT EXISTS {} ({}) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                    self.name,
                    lines.join(", ")
                )]
            }
            Dialect::Sqlite => {
                let table =
                    format!("CREATE TABLE IF NOT EXISTS {} ({}) WITHOUT ROWID", self.name, lines.join(", "));
                // Large rows do badly without a rowid; only the narrow tables go without.
                let table =
                    if self.name == EXCHANGES.name { table.replace(" WITHOUT ROWID", "") } else { table };
                let mut statements = vec![table];
                statements.extend(indexes.map(|(name, unique, columns)| {
                    let unique = if *unique { "UNIQUE " } else { "" };
                    format!(
                        "CREATE {unique}INDEX IF NOT EXISTS {name} ON {} ({})",
                        self.name,
                        columns.join(", ")
                    )
                }));
                statements
            }
        }
    }

    /// Statements that add the columns of a later version, one each: where another hub was faster, or an attempt ended
    /// half-way, the rest still follows. Then those that give it its key, where that version changed it.
    fn extend(&self, dialect: Dialect, version: u32) -> Vec<String> {
        let add =
            |column: &Column| format!("ALTER TABLE {} ADD COLUMN {}", self.name, column.definition(dialect));
        let mut statements: Vec<String> = self.brought_by(version).map(add).collect();
        if self.key(version) != self.key(version.saturating_sub(1)) {
            statements.extend(rekey::statements(self, dialect, version));
        }
        statements
    }

    /// Statement that inserts this many rows and passes over those whose key is there already.
    #[must_use]
    pub fn insert(&self, dialect: Dialect, rows: usize) -> String {
        self.insert_columns(dialect, rows, &self.column_names().collect::<Vec<_>>())
    }

    /// As [`Self::insert`], of these columns only.
    #[must_use]
    pub fn insert_columns(&self, dialect: Dialect, rows: usize, names: &[&str]) -> String {
        let verb = match dialect {
            Dialect::Sqlite => "INSERT OR IGNORE",
            Dialect::Mysql => "INSERT IGNORE",
        };
        let one = format!("({})", vec!["?"; names.len()].join(","));
        let mut sql = format!("{verb} INTO {} ({}) VALUES {one}", self.name, names.join(", "));
        for _ in 1..rows {
            let _written = write!(sql, ",{one}");
        }
        sql
    }

    /// Statement that inserts one row or replaces the one with its key.
    #[must_use]
    pub fn replace(&self) -> String {
        let names: Vec<_> = self.column_names().collect();
        format!(
            "REPLACE INTO {} ({}) VALUES ({})",
            self.name,
            names.join(", "),
            vec!["?"; names.len()].join(",")
        )
    }

    /// Statement that reads the rows of one session, in the order of the key; times as the embedded store writes them.
    #[must_use]
    pub fn select(&self, dialect: Dialect) -> String {
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|column| match (dialect, column.kind) {
                (Dialect::Mysql, Kind::Time) => {
                    format!("DATE_FORMAT({0}, '%Y-%m-%dT%H:%i:%s.%fZ') AS {0}", column.name)
                }
                _ => column.name.to_owned(),
            })
            .collect();
        format!(
            "SELECT {} FROM {} WHERE session = ? ORDER BY {}",
            names.join(", "),
            self.name,
            self.primary.join(", ")
        )
    }
}

// === impl Column ===

impl Column {
    /// Name, type and what it must be; a column that comes to rows that are there already is 0 or empty in them, or
    /// unknown.
    fn definition(&self, dialect: Dialect) -> String {
        let null = match (self.required, self.since) {
            (true, 1) => " NOT NULL",
            (true, _) => &format!(" NOT NULL DEFAULT {}", self.kind.nothing()),
            (false, _) => "",
        };
        format!("{} {}{null}", self.name, self.kind.sql(dialect))
    }

    /// An expression for what it is in rows of a store that does not have it.
    #[must_use]
    pub fn absent(&self) -> String {
        format!("{} AS {}", if self.required { self.kind.nothing() } else { "NULL" }, self.name)
    }
}

// === impl Kind ===

impl Kind {
    /// Characters of text that fit; `None` for what is not text.
    #[must_use]
    pub fn chars(self) -> Option<usize> {
        match self {
            Self::Name => Some(NAME_CHARS),
            Self::Word(chars) => Some(chars),
            Self::Operation => Some(OPERATION_CHARS),
            Self::Integer | Self::Flag | Self::Time | Self::Bytes => None,
        }
    }

    /// What is in rows that came before the column.
    fn nothing(self) -> &'static str {
        if self.chars().is_some() { "''" } else { "0" }
    }

    fn sql(self, dialect: Dialect) -> String {
        match (dialect, self) {
            (Dialect::Sqlite, Self::Name | Self::Word(_) | Self::Operation | Self::Time) => "TEXT".to_owned(),
            (Dialect::Sqlite, Self::Integer | Self::Flag) => "INTEGER".to_owned(),
            (Dialect::Sqlite, Self::Bytes) => "BLOB".to_owned(),
            (Dialect::Mysql, Self::Name) => format!("VARCHAR({NAME_CHARS})"),
            (Dialect::Mysql, Self::Word(chars)) => format!("VARCHAR({chars})"),
            (Dialect::Mysql, Self::Operation) => format!("VARCHAR({OPERATION_CHARS})"),
            (Dialect::Mysql, Self::Integer) => "BIGINT".to_owned(),
            (Dialect::Mysql, Self::Flag) => "TINYINT".to_owned(),
            (Dialect::Mysql, Self::Time) => "DATETIME(6)".to_owned(),
            (Dialect::Mysql, Self::Bytes) => "LONGBLOB".to_owned(),
        }
    }
}

/// Statements that bring a database from a version to the next. A new database takes every step too, so that there is
/// one way to each version.
#[must_use]
pub fn migration(from: u32, dialect: Dialect) -> Vec<String> {
    match from {
        0 => TABLES.iter().flat_map(|table| table.create(dialect)).collect(),
        2 => {
            let brought = TABLES.iter().flat_map(|table| table.extend(dialect, 3));
            brought.chain(units::of_stages(dialect)).collect()
        }
        _ => TABLES.iter().flat_map(|table| table.extend(dialect, from + 1)).collect(),
    }
}

/// Statement that creates [`VERSION_TABLE`].
#[must_use]
pub fn create_version_table() -> String {
    format!("CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version INTEGER NOT NULL PRIMARY KEY)")
}

#[cfg(test)]
mod tests;
