//! The store in MySQL and what speaks like it.

mod archive;
mod conflict;
mod shared;
mod size;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, IoError, Opts, OptsBuilder, Params, Transaction, TxOpts, Value};
use proto::id;

pub use self::archive::{MysqlArchive, Reading};
use self::conflict::Tries;
pub use self::shared::Shared;
use super::earlier::{self, Earlier, EarlierNode};
use super::row::Cell;
use super::schema::{CAPTURERS, Dialect, EXCHANGES, HOPS, LOSSES, SCHEMA_VERSION, Table, VERSION_TABLE};
use super::{Batch, Scope, Store, StoreError, Written, row, schema};

/// Longest wait for one host: first before the next one is tried, then, where none answered in that time, once more.
/// A server that looks up its clients' names where there are none to be had takes some ten seconds to greet.
const CONNECT_TIMEOUTS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(20)];

/// Rows of one INSERT. Only these numbers of rows are sent, so that few statements are prepared; all columns of 64
/// rows stay far below the 65,535 parameters that the protocol allows.
const INSERT_ROWS: [usize; 3] = [64, 8, 1];

/// Part of `max_allowed_packet` that rows may fill; the rest is for the protocol and what is counted roughly.
const PACKET_SHARE: usize = 2;

/// Bytes kept free beside the two payloads of a row.
const ROW_RESERVE: usize = 16 * 1024;

/// Exchanges that one transaction removes: with their hops these are as many rows as a cluster of databases takes at once.
const TRIM_EXCHANGES: u64 = 1000;

/// What the smallest servers allow, taken where the server does not say.
const LEAST_PACKET: usize = 1 << 20;

/// Errors that pass: a table or database gone (opening makes it again), shutting down, too many connections, lock waits, deadlocks, disk full, fail-over, killed, and a node of a cluster that has lost the others (1047).
const PASSING_ERRORS: [u16; 19] = [
    1047, 1049, 1146, 1021, 1040, 1053, 1077, 1114, 1158, 1159, 1160, 1161, 1205, 1213, 1290, 1317, 1836,
    1927, 2013,
];

/// Error by which a server says that another hub has added a column already: only MariaDB can be told to add it where
/// it is missing.
const COLUMN_EXISTS: u16 = 1060;

/// The hosts, login and database of a store URL.
#[derive(Clone)]
pub struct Target {
    hosts: Vec<Opts>,
    names: String,
}

/// The store as the writer uses it.
pub struct MysqlStore {
    target: Target,
    scope: Scope,
    connection: Option<Conn>,
    /// Bytes of one INSERT.
    packet: usize,
}

// === impl Target ===

impl Target {
    /// Reads `mysql://USER:PASSWORD@HOST:PORT[,HOST:PORT]/DATABASE`; `?socket=PATH` goes through a Unix socket instead.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let wrong = |reason: &str| StoreError::Url { reason: reason.to_owned() };
        let rest = url.strip_prefix("mysql://").ok_or_else(|| wrong("it does not begin with mysql://"))?;
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, database) = place.split_once('/').ok_or_else(|| wrong("no database"))?;
        if database.split('?').next().is_none_or(str::is_empty) {
            return Err(wrong("no database"));
        }
        let at = if login.is_empty() { "" } else { "@" };
        let mut targets = Vec::new();
        for host in hosts.split(',') {
            if host.is_empty() {
                return Err(wrong("an empty host"));
            }
            // The reason is dropped: it may repeat the URL.
            let Ok(options) = Opts::from_url(&format!("mysql://{login}{at}{host}/{database}")) else {
                return Err(StoreError::Url {
                    reason: format!("cannot read host `{host}`, login or database"),
                });
            };
            let plain = OptsBuilder::from_opts(options).prefer_socket(Some(false)).tcp_nodelay(true);
            targets.push(Opts::from(plain));
        }
        Ok(Self { hosts: targets, names: hosts.to_owned() })
    }

    /// Connects to the first host that answers.
    pub async fn connect(&self) -> Result<Conn, StoreError> {
        let mut reasons = Vec::new();
        for limit in CONNECT_TIMEOUTS {
            reasons.clear();
            let mut slow = false;
            for options in &self.hosts {
                let place = match options.socket() {
                    Some(socket) => socket.to_owned(),
                    None => format!("{}:{}", options.ip_or_hostname(), options.tcp_port()),
                };
                match tokio::time::timeout(limit, Conn::new(options.clone())).await {
                    Ok(Ok(connection)) => return Ok(connection),
                    Ok(Err(error)) => reasons.push(format!("{place}: {}", said(&error))),
                    Err(_elapsed) => {
                        slow = true;
                        reasons.push(format!("{place}: no answer within {} s", limit.as_secs()));
                    }
                }
            }
            if !slow {
                break;
            }
        }
        Err(StoreError::Unreachable { reason: reasons.join("; ") })
    }

    /// Name of the database.
    #[must_use]
    pub fn database(&self) -> &str {
        self.hosts.first().and_then(Opts::db_name).unwrap_or_default()
    }

    /// Folder of the Unix socket that all hosts are reached by.
    #[must_use]
    pub fn socket_folder(&self) -> Option<&Path> {
        let mut sockets = self.hosts.iter().map(Opts::socket);
        let first = sockets.next()??;
        sockets.all(|socket| socket == Some(first)).then(|| Path::new(first).parent())?
    }

    /// The same place with another login.
    #[must_use]
    pub fn with_login(&self, user: &str, password: &str) -> Self {
        let hosts = self.hosts.iter().map(|options| {
            let options = OptsBuilder::from_opts(options.clone());
            options.user(Some(user)).pass(Some(password)).into()
        });
        Self { hosts: hosts.collect(), names: self.names.clone() }
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("hosts", &self.names).finish_non_exhaustive()
    }
}

// === impl MysqlStore ===

impl MysqlStore {
    /// Names the place; [`Store::open`] connects.
    #[must_use]
    pub fn new(target: Target, scope: Scope) -> Self {
        Self { target, scope, connection: None, packet: LEAST_PACKET }
    }

    fn connection(&mut self) -> Result<&mut Conn, StoreError> {
        self.connection.as_mut().ok_or_else(|| StoreError::Unreachable { reason: "not connected".to_owned() })
    }

    async fn trim_portion(&mut self, exchanges: u64) -> Result<u64, StoreError> {
        let session = self.scope.session.clone();
        let connection = self.connection()?;
        let mut tries = Tries::new();
        let result = loop {
            let result = trim(connection, &session, exchanges).await;
            if !tries.again(&result) {
                break result;
            }
            tries.pause().await;
        };
        self.seen(result)
    }

    /// A connection whose error left it in doubt is not used again.
    fn seen<T>(&mut self, result: Result<T, Error>) -> Result<T, StoreError> {
        result.map_err(|error| {
            let error = store_error(&error);
            if error.is_passing() {
                self.connection = None;
            }
            error
        })
    }
}

impl Store for MysqlStore {
    async fn open(&mut self) -> Result<(), StoreError> {
        self.connection = None;
        let mut connection = self.target.connect().await?;
        let packet: Option<usize> = connection
            .query_first("SELECT @@max_allowed_packet")
            .await
            .map_err(|error| store_error(&error))?;
        self.packet = packet.unwrap_or(LEAST_PACKET) / PACKET_SHARE;
        let fits = self.packet.saturating_sub(ROW_RESERVE) / 2;
        let fits = u32::try_from(fits).unwrap_or(u32::MAX);
        if fits < self.scope.max_store_bytes {
            tracing::warn!(bytes = fits, "the server's max_allowed_packet shortens payloads");
            self.scope.max_store_bytes = fits;
        }
        migrate(&mut connection).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn earlier(&mut self) -> Result<Earlier, StoreError> {
        let session = self.scope.session.clone();
        let result = read_earlier(self.connection()?, &session).await;
        self.seen(result)
    }

    async fn write(&mut self, batch: Arc<Batch>) -> Result<Written, StoreError> {
        let (scope, packet) = (self.scope.clone(), self.packet);
        let connection = self.connection()?;
        // Hubs that write at once deadlock now and then.
        let mut tries = Tries::new();
        let result = loop {
            let result = write(connection, &scope, packet, &batch).await;
            if !tries.again(&result) {
                break result;
            }
            tries.pause().await;
        };
        self.seen(result)
    }

    async fn size(&mut self) -> Result<u64, StoreError> {
        let session = self.scope.session.clone();
        let result = size::of(self.connection()?, &session).await;
        self.seen(result)
    }

    async fn trim(&mut self, exchanges: u64) -> Result<u64, StoreError> {
        let mut removed = 0_u64;
        while removed < exchanges {
            match self.trim_portion((exchanges - removed).min(TRIM_EXCHANGES)).await {
                Ok(0) => break,
                Ok(went) => removed = removed.saturating_add(went),
                // What went is counted: whoever goes on meets the error again.
                Err(_) if removed > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    async fn close(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.disconnect().await
        {
            tracing::debug!(error = said(&error), "the store's connection did not end cleanly");
        }
    }
}

async fn migrate(connection: &mut Conn) -> Result<(), StoreError> {
    let failed = |error: Error| store_error(&error);
    connection.query_drop(schema::create_version_table()).await.map_err(failed)?;
    let newest = format!("SELECT MAX(version) FROM {VERSION_TABLE}");
    let found: Option<Option<u32>> = connection.query_first(newest).await.map_err(failed)?;
    // Data that was lost takes its tables along, maybe not all of them.
    let there = connection.query_drop(format!("SELECT 1 FROM {} LIMIT 0", EXCHANGES.name)).await.is_ok();
    let found = found.flatten().filter(|found| there || *found > SCHEMA_VERSION).unwrap_or(0);
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { found, known: SCHEMA_VERSION });
    }
    // Every step can be repeated, so hubs that start together do no harm.
    for from in found..SCHEMA_VERSION {
        for statement in schema::migration(from, Dialect::Mysql) {
            match connection.query_drop(statement).await {
                Err(Error::Server(error)) if error.code == COLUMN_EXISTS => {}
                done => done.map_err(failed)?,
            }
        }
        let done = format!("INSERT IGNORE INTO {VERSION_TABLE} (version) VALUES (?)");
        connection.exec_drop(done, (from + 1,)).await.map_err(failed)?;
    }
    Ok(())
}

async fn read_earlier(connection: &mut Conn, session: &str) -> Result<Earlier, Error> {
    let newest = connection.prep(earlier::NEWEST_ID).await?;
    let (first, last) = earlier::signed(&id::ALL).into_inner();
    let newest_id = connection.exec_first::<Option<u64>, _, _>(&newest, (session, first, last)).await?;
    let mut found = Earlier { newest_id: newest_id.flatten(), ..Earlier::default() };
    for (node, slot) in connection.exec::<(String, u16), _, _>(earlier::NODE_SLOTS, (session,)).await? {
        let (first, last) = earlier::signed(&id::of_slot(slot)).into_inner();
        let newest_id = connection.exec_first::<Option<u64>, _, _>(&newest, (session, first, last)).await?;
        found.nodes.push(EarlierNode { node, slot, newest_id: newest_id.flatten() });
    }
    if found.newest_id.is_some() {
        found.exchanges = connection.exec_first(earlier::COUNT_EXCHANGES, (session,)).await?.unwrap_or(0);
    }
    Ok(found)
}

async fn write(connection: &mut Conn, scope: &Scope, packet: usize, batch: &Batch) -> Result<Written, Error> {
    let Batch { exchanges, capturers, losses } = batch;
    let mut transaction = connection.start_transaction(TxOpts::default()).await?;
    let mut rows = Vec::with_capacity(exchanges.len());
    let mut bytes = 0_usize;
    for exchange in exchanges {
        let cells = row::exchange(scope, Dialect::Mysql, exchange);
        bytes = bytes.saturating_add(row::size(&cells));
        rows.push(cells);
    }
    let stored = insert(&mut transaction, &EXCHANGES, packet, rows).await?;
    let hops: Vec<_> =
        exchanges.iter().flat_map(|exchange| row::hops(scope, Dialect::Mysql, exchange)).collect();
    bytes = hops.iter().map(|cells| row::size(cells)).fold(bytes, usize::saturating_add);
    insert(&mut transaction, &HOPS, packet, hops).await?;
    for capturer in capturers {
        let cells = row::capturer(scope, Dialect::Mysql, capturer);
        transaction.exec_drop(CAPTURERS.replace(), parameters(&[cells])).await?;
    }
    let losses = losses.iter().map(|loss| row::loss(scope, Dialect::Mysql, loss)).collect();
    insert(&mut transaction, &LOSSES, packet, losses).await?;
    transaction.commit().await?;
    let offered = exchanges.len() as u64;
    let bytes = (bytes as u64).saturating_mul(stored) / offered.max(1);
    Ok(Written { stored, ignored: offered.saturating_sub(stored), refused: 0, bytes })
}

async fn insert(
    transaction: &mut Transaction<'_>,
    table: &Table,
    packet: usize,
    rows: Vec<Vec<Cell<'_>>>,
) -> Result<u64, Error> {
    let mut inserted = 0_u64;
    let mut rest = rows.as_slice();
    while !rest.is_empty() {
        let fits = fitting(rest, packet);
        let (now, later) = rest.split_at(fits);
        transaction.exec_drop(table.insert(Dialect::Mysql, fits), parameters(now)).await?;
        inserted = inserted.saturating_add(transaction.affected_rows());
        rest = later;
    }
    Ok(inserted)
}

/// How many rows go into the next INSERT: one of [`INSERT_ROWS`], within the packet.
fn fitting(rows: &[Vec<Cell<'_>>], packet: usize) -> usize {
    let mut bytes = 0_usize;
    let within = rows
        .iter()
        .take_while(|row| {
            bytes = bytes.saturating_add(row::size(row));
            bytes <= packet
        })
        .count();
    INSERT_ROWS.into_iter().find(|count| *count <= within).unwrap_or(1)
}

fn parameters(rows: &[Vec<Cell<'_>>]) -> Params {
    let values = rows.iter().flatten().map(|cell| match cell {
        Cell::Null => Value::NULL,
        Cell::Integer(value) => Value::Int(*value),
        Cell::Text(text) => Value::Bytes(text.as_bytes().to_vec()),
        Cell::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
    });
    Params::Positional(values.collect())
}

async fn trim(connection: &mut Conn, session: &str, exchanges: u64) -> Result<u64, Error> {
    let oldest =
        "SELECT id FROM (SELECT id FROM exchanges WHERE session = ? ORDER BY start_ns, id LIMIT ?) AS oldest";
    let mut transaction = connection.start_transaction(TxOpts::default()).await?;
    let hops = format!("DELETE FROM hops WHERE session = ? AND exchange_id IN ({oldest})");
    transaction.exec_drop(hops, (session, session, exchanges)).await?;
    let rows = format!("DELETE FROM exchanges WHERE session = ? AND id IN ({oldest})");
    transaction.exec_drop(rows, (session, session, exchanges)).await?;
    let removed = transaction.affected_rows();
    transaction.commit().await?;
    Ok(removed)
}

/// The server's message, or the system's, or the driver's.
fn said(error: &Error) -> String {
    match error {
        Error::Server(server) => server.to_string(),
        Error::Io(IoError::Io(system)) => system.to_string(),
        Error::Driver(_) | Error::Other(_) | Error::Url(_) => error.to_string(),
    }
}

/// Tells what passes from what the statement or its rows cause.
fn store_error(error: &Error) -> StoreError {
    match error {
        Error::Server(server) if !PASSING_ERRORS.contains(&server.code) => {
            StoreError::Statement { message: server.to_string() }
        }
        Error::Server(_) | Error::Io(_) | Error::Driver(_) | Error::Other(_) | Error::Url(_) => {
            StoreError::Unreachable { reason: said(error) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_hosts_login_and_database() {
        let target = Target::parse("mysql://me:p%40ss@one:3307,[::1]:3308,three/db").unwrap();
        let seen: Vec<_> =
            target.hosts.iter().map(|host| (host.ip_or_hostname().to_owned(), host.tcp_port())).collect();
        assert_eq!(seen[0], ("one".to_owned(), 3307));
        assert_eq!(seen[1].1, 3308);
        assert_eq!(seen[2], ("three".to_owned(), 3306));
        assert_eq!((target.hosts[0].user(), target.hosts[0].pass()), (Some("me"), Some("p@ss")));
        assert_eq!(target.database(), "db");
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_its_password() {
        for url in [
            "postgres://u:secret@h/d",
            "mysql://u:secret@h",
            "mysql://u:secret@h/",
            "mysql://u:secret@,h/d",
            "mysql://u:secret@h:x/d",
        ] {
            let error = Target::parse(url).unwrap_err();
            assert!(matches!(error, StoreError::Url { .. }), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let target = Target::parse("mysql://u:secret@h/d").unwrap();
        assert!(!format!("{target:?}").contains("secret"));
    }

    #[test]
    fn inserts_stay_within_rows_and_packet() {
        let row = || vec![Cell::Bytes(&[0; 92])];
        let rows: Vec<_> = std::iter::repeat_with(row).take(200).collect();
        assert_eq!(fitting(&rows, 1 << 20), 64);
        assert_eq!(fitting(&rows, 1000), 8);
        assert_eq!(fitting(&rows, 10), 1);
        assert_eq!(fitting(&rows[..7], 1 << 20), 1);
    }
}
