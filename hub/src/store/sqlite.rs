//! The embedded store.
//!
//! [`Database`] writes, [`Reader`] reads through a handle that cannot write, [`Saver`] writes what `--save` pulls. All
//! three block; [`SqliteStore`] and [`SqliteArchive`] put them on the runtime's threads for blocking work.

mod reader;
mod saver;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::id;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Statement, ToSql, params_from_iter};

pub use self::reader::Reader;
pub use self::saver::Saver;
use super::earlier::{self, Earlier, EarlierNode};
use super::row::Cell;
use super::schema::{CAPTURERS, Dialect, EXCHANGES, HOPS, LOSSES, SCHEMA_VERSION, VERSION_TABLE};
use super::{
    Archive, Batch, PullSink, QUERY_TIME, QuerySink, Scope, Store, StoreError, Written, row, schema,
};

/// Page cache of each connection in KiB: part of the hub's memory goal.
const CACHE_KIB: u32 = 4096;

/// How long a connection waits for another one's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages after which the write-ahead log goes into the file: 8 MiB keeps the log small at full load.
const CHECKPOINT_PAGES: u32 = 2048;

/// A connection that writes.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    scope: Scope,
}

/// The embedded store as the writer uses it.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    scope: Scope,
    database: Option<Arc<Mutex<Database>>>,
}

/// The embedded store as queries use it.
#[derive(Clone, Debug)]
pub struct SqliteArchive {
    path: PathBuf,
    session: String,
}

// === impl Database ===

impl Database {
    /// Opens or creates the file, readable by its owner alone, and brings its schema to this version.
    pub fn open(path: &Path, scope: Scope) -> Result<Self, StoreError> {
        restrict(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = |error| unopened(path, &error);
        let mut connection = Connection::open_with_flags(path, flags).map_err(open)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
        connection
            .execute_batch(&format!(
                "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;
                 PRAGMA cache_size=-{CACHE_KIB}; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};"
            ))
            .map_err(open)?;
        migrate(&mut connection)?;
        Ok(Self { connection, scope })
    }

    /// Writes a batch in one transaction.
    pub fn write(&mut self, batch: &Batch) -> Result<Written, StoreError> {
        self.write_all(batch).map_err(|error| embedded("writing to", &error))
    }

    fn write_all(&mut self, batch: &Batch) -> rusqlite::Result<Written> {
        let Batch { exchanges, capturers, losses } = batch;
        let mut written = Written::default();
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(&EXCHANGES.insert(Dialect::Sqlite, 1))?;
            let mut insert_hop = transaction.prepare_cached(&HOPS.insert(Dialect::Sqlite, 1))?;
            for exchange in exchanges {
                let cells = row::exchange(&self.scope, Dialect::Sqlite, exchange);
                if execute(&mut insert, &cells)? == 0 {
                    written.ignored += 1;
                    continue;
                }
                written.stored += 1;
                written.bytes = written.bytes.saturating_add(row::size(&cells) as u64);
                for cells in row::hops(&self.scope, Dialect::Sqlite, exchange) {
                    execute(&mut insert_hop, &cells)?;
                    written.bytes = written.bytes.saturating_add(row::size(&cells) as u64);
                }
            }
            let mut replace = transaction.prepare_cached(&CAPTURERS.replace())?;
            for capturer in capturers {
                execute(&mut replace, &row::capturer(&self.scope, Dialect::Sqlite, capturer))?;
            }
            let mut insert_loss = transaction.prepare_cached(&LOSSES.insert(Dialect::Sqlite, 1))?;
            for loss in losses {
                execute(&mut insert_loss, &row::loss(&self.scope, Dialect::Sqlite, loss))?;
            }
        }
        transaction.commit()?;
        Ok(written)
    }

    /// Reads what is there of the session.
    pub fn earlier(&self) -> Result<Earlier, StoreError> {
        self.earlier_all().map_err(|error| embedded("reading", &error))
    }

    fn earlier_all(&self) -> rusqlite::Result<Earlier> {
        let session = self.scope.session.as_str();
        let mut newest = self.connection.prepare(earlier::NEWEST_ID)?;
        let mut newest = |ids: std::ops::RangeInclusive<i64>| {
            newest.query_row((session, ids.start(), ids.end()), |row| row.get::<_, Option<u64>>(0))
        };
        let mut found = Earlier { newest_id: newest(earlier::signed(&id::ALL))?, ..Earlier::default() };
        let mut nodes = self.connection.prepare(earlier::NODE_SLOTS)?;
        let rows = nodes.query_map([session], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for row in rows {
            let (node, slot) = row?;
            found.nodes.push(EarlierNode {
                node,
                slot,
                newest_id: newest(earlier::signed(&id::of_slot(slot)))?,
            });
        }
        if found.newest_id.is_some() {
            found.exchanges =
                self.connection.query_row(earlier::COUNT_EXCHANGES, [session], |row| row.get(0))?;
        }
        Ok(found)
    }

    /// Bytes of the file that are in use.
    pub fn size(&self) -> Result<u64, StoreError> {
        self.pages().map_err(|error| embedded("measuring", &error))
    }

    fn pages(&self) -> rusqlite::Result<u64> {
        let number = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        let used = number("page_count")?.saturating_sub(number("freelist_count")?);
        Ok(used.saturating_mul(number("page_size")?))
    }

    /// Removes the oldest exchanges of the session and gives their pages back to the file system.
    pub fn trim(&mut self, exchanges: u64) -> Result<u64, StoreError> {
        self.trim_all(exchanges).map_err(|error| embedded("trimming", &error))
    }

    fn trim_all(&mut self, exchanges: u64) -> rusqlite::Result<u64> {
        let session = self.scope.session.as_str();
        let oldest = "SELECT id FROM exchanges WHERE session = ?1 ORDER BY start_ns, id LIMIT ?2";
        let transaction = self.connection.transaction()?;
        transaction.execute(
            &format!("DELETE FROM hops WHERE session = ?1 AND exchange_id IN ({oldest})"),
            (session, exchanges),
        )?;
        let removed = transaction.execute(
            &format!("DELETE FROM exchanges WHERE session = ?1 AND id IN ({oldest})"),
            (session, exchanges),
        )?;
        transaction.commit()?;
        self.connection.execute_batch("PRAGMA incremental_vacuum;")?;
        Ok(removed as u64)
    }

    /// Folds the log into the file and leaves write-ahead mode, so that the file alone is the whole store and can be
    /// read where its folder cannot be written.
    pub fn finish(self) -> Result<(), StoreError> {
        self.connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=DELETE;")
            .map_err(|error| embedded("closing", &error))
    }
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Names the file; [`Store::open`] opens it.
    #[must_use]
    pub fn new(path: PathBuf, scope: Scope) -> Self {
        Self { path, scope, database: None }
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(database) = self.database.clone() else {
            return Err(StoreError::Unreachable { reason: "not open".to_owned() });
        };
        blocking(move || work(&mut database.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

impl Store for SqliteStore {
    async fn open(&mut self) -> Result<(), StoreError> {
        self.database = None;
        let (path, scope) = (self.path.clone(), self.scope.clone());
        let database = blocking(move || Database::open(&path, scope)).await?;
        self.database = Some(Arc::new(Mutex::new(database)));
        Ok(())
    }

    async fn earlier(&mut self) -> Result<Earlier, StoreError> {
        self.with(|database| database.earlier()).await
    }

    async fn write(&mut self, batch: Arc<Batch>) -> Result<Written, StoreError> {
        self.with(move |database| database.write(&batch)).await
    }

    async fn size(&mut self) -> Result<u64, StoreError> {
        self.with(|database| database.size()).await
    }

    async fn trim(&mut self, exchanges: u64) -> Result<u64, StoreError> {
        self.with(move |database| database.trim(exchanges)).await
    }

    async fn close(&mut self) {
        let Some(database) = self.database.take().and_then(Arc::into_inner) else { return };
        let database = database.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = blocking(move || database.finish()).await {
            tracing::warn!(%error, "the store was not closed cleanly");
        }
    }
}

// === impl SqliteArchive ===

impl SqliteArchive {
    /// Names the file and the session whose rows a pull streams.
    #[must_use]
    pub fn new(path: PathBuf, session: String) -> Self {
        Self { path, session }
    }
}

impl Archive for SqliteArchive {
    async fn query(&self, sql: String, sink: QuerySink) -> Result<(), StoreError> {
        let path = self.path.clone();
        blocking(move || {
            Reader::open(&path)?
                .query(&sql, QUERY_TIME, &mut |response| sink.blocking_send(Ok(response)).is_ok())
        })
        .await
    }

    async fn pull(&self, sink: PullSink) -> Result<(), StoreError> {
        let (path, session) = (self.path.clone(), self.session.clone());
        blocking(move || {
            Reader::open(&path)?
                .pull(Some(&session), &mut |response| sink.blocking_send(Ok(response)).is_ok())
        })
        .await
    }
}

// === impl Cell ===

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn execute(statement: &mut Statement<'_>, cells: &[Cell<'_>]) -> rusqlite::Result<usize> {
    statement.execute(params_from_iter(cells))
}

/// Creates the file for its owner alone before the engine would create it for all.
fn restrict(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // An existing file keeps its mode; any other error meets the engine too, which says it better.
    drop(options.open(path));
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let failed = |error| embedded("preparing", &error);
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    transaction.execute_batch(&schema::create_version_table()).map_err(failed)?;
    let found = version(&transaction).map_err(failed)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { found, known: SCHEMA_VERSION });
    }
    for from in found..SCHEMA_VERSION {
        for statement in schema::migration(from, Dialect::Sqlite) {
            transaction.execute_batch(&statement).map_err(failed)?;
        }
        transaction
            .execute(&format!("INSERT INTO {VERSION_TABLE} (version) VALUES (?1)"), [from + 1])
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    let newest = connection
        .query_row(&format!("SELECT MAX(version) FROM {VERSION_TABLE}"), [], |row| {
            row.get::<_, Option<u32>>(0)
        })
        .optional()?;
    Ok(newest.flatten().unwrap_or(0))
}

fn embedded(doing: &'static str, error: &rusqlite::Error) -> StoreError {
    StoreError::Embedded { doing, reason: error.to_string() }
}

fn unopened(path: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::Open { path: path.to_owned(), reason: error.to_string() }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Ended))
}

#[cfg(test)]
mod tests;
