//! Reading a store through a handle that cannot write.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proto::v1;
use proto::v1::value::Kind;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::schema::{self, Dialect, EXCHANGES, SCHEMA_VERSION, TABLES, Table, VERSION_TABLE};
use super::super::{CHUNK_BYTES, CHUNK_ROWS, StoreError};
use super::{embedded, unopened};

/// Largest value or row that reading takes into memory.
const MAX_VALUE_BYTES: i32 = 64 << 20;

/// Instructions of the engine between two looks at the clock: well under a millisecond.
const CLOCK_OPERATIONS: i32 = 10_000;

/// Page cache in KiB.
const CACHE_KIB: u32 = 2048;

/// Pragmas that only tell of the schema.
const SCHEMA_PRAGMAS: [&str; 8] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "function_list",
    "foreign_key_list",
];

/// A handle that reads a store.
///
/// Three things keep it from writing, none of which reads the statement's text: the file is opened read-only, so is
/// every file that a statement could attach, and an authoriser refuses all but reading while a statement is compiled.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

/// Gathers rows until a response is full.
struct Chunks {
    rows: Vec<v1::Row>,
    bytes: usize,
}

// === impl Reader ===

impl Reader {
    /// Opens a store; the file must exist and be one of ours.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => StoreError::Foreign { path: path.to_owned() },
            _ => unopened(path, &error),
        };
        let mut connection = connect(path).map_err(open)?;
        connection.busy_timeout(super::BUSY_TIMEOUT).map_err(open)?;
        let found = check(&connection, path)?;
        complete(&connection, found).map_err(open)?;
        connection
            .execute_batch(&format!("PRAGMA query_only=ON; PRAGMA cache_size=-{CACHE_KIB};"))
            .map_err(open)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES).map_err(open)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0).map_err(open)?;
        connection.authorizer(Some(|context: AuthContext<'_>| authorize(&context))).map_err(open)?;
        Ok(Self { connection })
    }

    /// Runs one statement and hands out columns first, then rows; `take` returning false ends it without error.
    pub fn query(
        &mut self,
        sql: &str,
        limit: Duration,
        take: &mut dyn FnMut(v1::QueryResponse) -> bool,
    ) -> Result<(), StoreError> {
        let deadline = Instant::now() + limit;
        let failed = |error: rusqlite::Error| said(&error, limit);
        self.connection
            .progress_handler(CLOCK_OPERATIONS, Some(move || Instant::now() >= deadline))
            .map_err(failed)?;
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let width = columns.len();
        if !take(v1::QueryResponse { columns, rows: Vec::new() }) {
            return Ok(());
        }
        let mut rows = statement.query([]).map_err(failed)?;
        let mut chunks = Chunks::new();
        while let Some(row) = rows.next().map_err(failed)? {
            if let Some(rows) = chunks.push(read(row, width).map_err(failed)?)
                && !take(v1::QueryResponse { columns: Vec::new(), rows })
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(StoreError::TimedOut { seconds: limit.as_secs() });
            }
        }
        if let Some(rows) = chunks.rest() {
            take(v1::QueryResponse { columns: Vec::new(), rows });
        }
        Ok(())
    }

    /// Streams all tables, of one session or of all; `take` returning false ends it without error.
    pub fn pull(
        &mut self,
        session: Option<&str>,
        take: &mut dyn FnMut(v1::PullResponse) -> bool,
    ) -> Result<(), StoreError> {
        for table in &TABLES {
            let more = self.pull_table(table, session, take).map_err(|error| embedded("reading", &error))?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn pull_table(
        &self,
        table: &Table,
        session: Option<&str>,
        take: &mut dyn FnMut(v1::PullResponse) -> bool,
    ) -> rusqlite::Result<bool> {
        let (condition, bound) = match session {
            Some(session) => ("session = ?", session),
            None => ("? IS NOT NULL", ""),
        };
        let count = format!("SELECT COUNT(*) FROM {} WHERE {condition}", table.name);
        let total_rows: u64 = self.connection.query_row(&count, [bound], |row| row.get(0))?;
        let response =
            |columns, rows| v1::PullResponse { table: table.name.to_owned(), columns, rows, total_rows };
        if !take(response(table.column_names().map(str::to_owned).collect(), Vec::new())) {
            return Ok(false);
        }
        let select = table.select(Dialect::Sqlite).replace("session = ?", condition);
        let mut statement = self.connection.prepare(&select)?;
        let mut rows = statement.query([bound])?;
        let mut chunks = Chunks::new();
        while let Some(row) = rows.next()? {
            if let Some(rows) = chunks.push(read(row, table.columns.len())?)
                && !take(response(Vec::new(), rows))
            {
                return Ok(false);
            }
        }
        Ok(chunks.rest().is_none_or(|rows| take(response(Vec::new(), rows))))
    }
}

// === impl Chunks ===

impl Chunks {
    fn new() -> Self {
        Self { rows: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, (row, bytes): (v1::Row, usize)) -> Option<Vec<v1::Row>> {
        self.rows.push(row);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.rows.len() < CHUNK_ROWS && self.bytes < CHUNK_BYTES {
            return None;
        }
        self.bytes = 0;
        Some(std::mem::take(&mut self.rows))
    }

    fn rest(self) -> Option<Vec<v1::Row>> {
        (!self.rows.is_empty()).then_some(self.rows)
    }
}

/// Opens the file read-only. A log beside it is read with it; without one, in a folder that cannot be written, the
/// engine needs to be told that the file will not change.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let probe = |connection: &Connection| {
        connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get::<_, u64>(0))
    };
    let connection = Connection::open_with_flags(path, flags)?;
    match probe(&connection) {
        Err(error)
            if error.sqlite_error_code() == Some(ErrorCode::CannotOpen)
                && path.exists()
                && !beside(path, "-wal").exists() =>
        {
            let uri = format!("file:{}?immutable=1", percent(path));
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        }
        Ok(_) | Err(_) => Ok(connection),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Escapes what has a meaning in a URI.
fn percent(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

/// Says which version of the schema the file has, if it is one that can be read.
fn check(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let foreign = || StoreError::Foreign { path: path.to_owned() };
    let tables: u64 = connection
        .query_row(
            "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name IN (?1, ?2)",
            [EXCHANGES.name, VERSION_TABLE],
            |row| row.get(0),
        )
        .map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => foreign(),
            _ => unopened(path, &error),
        })?;
    if tables < 2 {
        return Err(foreign());
    }
    let found = super::version(connection).map_err(|error| unopened(path, &error))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { found, known: SCHEMA_VERSION });
    }
    Ok(found)
}

/// Gives the tables of an earlier version the columns that it lacks, by views of this handle alone: the file cannot be
/// changed, and reports and pulls ask for them.
fn complete(connection: &Connection, found: u32) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA temp_store=MEMORY;")?;
    for table in &TABLES {
        let missing: Vec<String> =
            table.columns.iter().filter(|column| column.since > found).map(schema::absent).collect();
        if !missing.is_empty() {
            let (name, missing) = (table.name, missing.join(", "));
            connection.execute_batch(&format!(
                "CREATE TEMP VIEW {name} AS SELECT *, {missing} FROM main.{name};"
            ))?;
        }
    }
    Ok(())
}

fn authorize(context: &AuthContext<'_>) -> Authorization {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not known to read is refused, later actions too"
    )]
    let allowed = match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => !function_name.eq_ignore_ascii_case("load_extension"),
        AuthAction::Pragma { pragma_name, .. } => {
            SCHEMA_PRAGMAS.iter().any(|name| name.eq_ignore_ascii_case(pragma_name))
        }
        _ => false,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

/// What the engine said, told apart by its code.
fn said(error: &rusqlite::Error, limit: Duration) -> StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others say it themselves")]
    let message = match error {
        // The engine's own words without the wrapper's repetition of the statement.
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::MultipleStatement => "more than one statement".to_owned(),
        rusqlite::Error::Empty => "no statement".to_owned(),
        other => other.to_string(),
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => StoreError::TimedOut { seconds: limit.as_secs() },
        Some(ErrorCode::ReadOnly | ErrorCode::AuthorizationForStatementDenied) => {
            StoreError::ReadOnly { message }
        }
        _ => StoreError::Statement { message },
    }
}

fn read(row: &rusqlite::Row<'_>, width: usize) -> rusqlite::Result<(v1::Row, usize)> {
    /// What a value takes beside its text or bytes.
    const VALUE_BYTES: usize = size_of::<v1::Value>();
    let mut bytes = 0_usize;
    let mut values = Vec::with_capacity(width);
    for index in 0..width {
        let kind = match row.get_ref(index)? {
            ValueRef::Null => None,
            ValueRef::Integer(value) => Some(Kind::Integer(value)),
            ValueRef::Real(value) => Some(Kind::Real(value)),
            ValueRef::Text(text) => Some(match std::str::from_utf8(text) {
                Ok(text) => Kind::Text(text.to_owned()),
                Err(_) => Kind::Blob(text.to_vec()),
            }),
            ValueRef::Blob(blob) => Some(Kind::Blob(blob.to_vec())),
        };
        bytes = bytes.saturating_add(VALUE_BYTES).saturating_add(match &kind {
            Some(Kind::Text(text)) => text.len(),
            Some(Kind::Blob(blob)) => blob.len(),
            Some(Kind::Integer(_) | Kind::Unsigned(_) | Kind::Real(_)) | None => 0,
        });
        values.push(v1::Value { kind });
    }
    Ok((v1::Row { values }, bytes))
}
