//! The schema, written once for both engines.

mod rekey;
mod units;

use std::fmt::Write as _;

use proto::columns::{
    ADDRESS_CHARS, Column, Kind, NAME_CHARS, OPERATION_CHARS, capturer, exchange, hop, loss,
};

/// Newest schema version; a database with a higher one is refused.
pub const SCHEMA_VERSION: u32 = 4;

/// Table that holds the versions a database went through.
pub const VERSION_TABLE: &str = "kyanos_schema";

/// A table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What its rows are.
    pub help: &'static str,
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

/// One row per exchange.
pub const EXCHANGES: Table = Table {
    name: "exchanges",
    help: "One row per exchange.",
    columns: exchange::COLUMNS,
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
    help: "One row per place an exchange was seen at, in time order.",
    columns: hop::COLUMNS,
    primary: &["session", "exchange_id", "seq"],
    indexes: &[],
};

/// One row per capturer.
pub const CAPTURERS: Table = Table {
    name: "capturers",
    help: "One row per node that had a capturer.",
    columns: capturer::COLUMNS,
    primary: &["session", "node"],
    indexes: &[("capturers_slot", true, &["session", "slot"])],
};

/// One row per reading of a loss total that had changed.
pub const LOSSES: Table = Table {
    name: "losses",
    help: "One row per reading of a loss total that had changed.",
    columns: loss::COLUMNS,
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
        let mut lines: Vec<String> = self.brought_by(1).map(|column| definition(column, dialect)).collect();
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
            |column: &Column| format!("ALTER TABLE {} ADD COLUMN {}", self.name, definition(column, dialect));
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

/// Name, type and what it must be; a column that comes to rows that are there already is 0 or empty in them, or unknown.
fn definition(column: &Column, dialect: Dialect) -> String {
    let null = match (column.required, column.since) {
        (true, 1) => " NOT NULL",
        (true, _) => &format!(" NOT NULL DEFAULT {}", nothing(column.kind)),
        (false, _) => "",
    };
    format!("{} {}{null}", column.name, sql_type(column.kind, dialect))
}

/// An expression for what a column is in rows of a store that does not have it.
#[must_use]
pub fn absent(column: &Column) -> String {
    format!("{} AS {}", if column.required { nothing(column.kind) } else { "NULL" }, column.name)
}

/// What is in rows that came before a column that is never NULL.
fn nothing(kind: Kind) -> &'static str {
    if kind.chars().is_some() { "''" } else { "0" }
}

fn sql_type(kind: Kind, dialect: Dialect) -> String {
    match (dialect, kind) {
        (
            Dialect::Sqlite,
            Kind::Name | Kind::Word(_) | Kind::Choice(..) | Kind::Operation | Kind::Address | Kind::Time,
        ) => "TEXT".to_owned(),
        (
            Dialect::Sqlite,
            Kind::Id | Kind::OtherId | Kind::Count | Kind::Positive | Kind::Port | Kind::Signed | Kind::Flag,
        ) => "INTEGER".to_owned(),
        (Dialect::Sqlite, Kind::Payload) => "BLOB".to_owned(),
        (Dialect::Mysql, Kind::Name) => format!("VARCHAR({NAME_CHARS})"),
        (Dialect::Mysql, Kind::Word(chars) | Kind::Choice(chars, _)) => format!("VARCHAR({chars})"),
        (Dialect::Mysql, Kind::Operation) => format!("VARCHAR({OPERATION_CHARS})"),
        (Dialect::Mysql, Kind::Address) => format!("VARCHAR({ADDRESS_CHARS})"),
        (
            Dialect::Mysql,
            Kind::Id | Kind::OtherId | Kind::Count | Kind::Positive | Kind::Port | Kind::Signed,
        ) => "BIGINT".to_owned(),
        (Dialect::Mysql, Kind::Flag) => "TINYINT".to_owned(),
        (Dialect::Mysql, Kind::Time) => "DATETIME(6)".to_owned(),
        (Dialect::Mysql, Kind::Payload) => "LONGBLOB".to_owned(),
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
