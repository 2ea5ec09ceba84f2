//! Reading the store with a login that can only SELECT.

use std::fmt::Write as _;
use std::io::Read as _;

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::{Protocol, Queryable};
use mysql_async::{Column, Conn, Error, QueryResult, Value};
use proto::v1;
use proto::v1::value::Kind;
use tokio::sync::OnceCell;

use super::super::schema::{Dialect, TABLES, Table};
use super::super::{Archive, CHUNK_BYTES, CHUNK_ROWS, PullSink, QUERY_TIME, QuerySink, StoreError};
use super::{Target, said, store_error};

/// Bytes of randomness in the name and in the password of a login that the hub makes.
const LOGIN_RANDOM_BYTES: (usize, usize) = (6, 24);

/// Character set number that marks bytes.
const BINARY_CHARSET: u16 = 63;

/// Errors by which a server says that a login may not do this.
const DENIED_ERRORS: [u16; 7] = [1044, 1142, 1143, 1227, 1290, 1370, 1792];

/// Errors by which a server says that a statement took too long.
const TIMEOUT_ERRORS: [u16; 3] = [1969, 3024, 1317];

/// Who reads.
#[derive(Clone, Debug)]
pub enum Reading {
    /// A login that the user gave.
    Given(Target),
    /// A login that the hub made, dropped at the session's end.
    Made {
        /// The place with the made login.
        target: Target,
        /// The login's name.
        user: String,
    },
    /// None, for this reason.
    Refused(String),
}

/// The store as queries use it.
#[derive(Debug)]
pub struct MysqlArchive {
    target: Target,
    /// Made at the first query where the store was not there at the beginning.
    reading: OnceCell<Reading>,
    session: String,
}

// === impl MysqlArchive ===

impl MysqlArchive {
    /// Takes the login the user gave for reading, or makes one where the store's login may.
    pub async fn new(target: Target, reader: Option<&str>, session: String) -> Result<Self, StoreError> {
        let reading = match reader {
            Some(url) => Reading::Given(Target::parse(url)?),
            None => make_login(&target).await,
        };
        if let Reading::Refused(reason) = &reading {
            tracing::warn!(reason, "no read-only login on the store: `query` will be refused");
        }
        Ok(Self { target, reading: OnceCell::new_with(Some(reading)), session })
    }

    /// As [`Self::new`] for a server that need not answer yet.
    pub fn later(target: Target, reader: Option<&str>, session: String) -> Result<Self, StoreError> {
        let reading = reader.map(Target::parse).transpose()?.map(Reading::Given);
        Ok(Self { target, reading: OnceCell::new_with(reading), session })
    }

    async fn reading(&self) -> Result<&Reading, StoreError> {
        let make = || async {
            // A server that does not answer is no refusal: the next query tries again.
            drop(self.target.connect().await?);
            Ok(make_login(&self.target).await)
        };
        self.reading.get_or_try_init(make).await
    }

    /// Drops the login that was made.
    pub async fn close(&self) {
        let Some(Reading::Made { user, .. }) = self.reading.get() else { return };
        let dropped = async {
            let mut connection = self.target.connect().await?;
            let sql = format!("DROP USER '{user}'@'%'");
            connection.query_drop(sql).await.map_err(|error| store_error(&error))
        };
        if let Err(error) = dropped.await {
            tracing::warn!(%error, user, "the read-only login could not be dropped");
        }
    }

    async fn run(&self, sql: String, sink: &QuerySink) -> Result<(), StoreError> {
        let target = match self.reading().await? {
            Reading::Given(target) | Reading::Made { target, .. } => target,
            Reading::Refused(reason) => return Err(StoreError::NoReader { reason: reason.clone() }),
        };
        let mut connection = target.connect().await?;
        limit_time(&mut connection).await;
        // Prepared, because the protocol of plain queries would run several statements.
        let statement = connection.prep(sql).await.map_err(|error| refused(&error))?;
        let mut result = connection.exec_iter(&statement, ()).await.map_err(|error| refused(&error))?;
        let names = result.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
        if sink.send(Ok(v1::QueryResponse { columns: names, rows: Vec::new() })).await.is_err() {
            return Ok(());
        }
        while let Some(rows) = chunk(&mut result).await.map_err(|error| refused(&error))? {
            if sink.send(Ok(v1::QueryResponse { columns: Vec::new(), rows })).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn pull_table(&self, connection: &mut Conn, table: &Table, sink: &PullSink) -> Result<bool, Error> {
        let count = format!("SELECT COUNT(*) FROM {} WHERE session = ?", table.name);
        let total_rows: u64 = connection.exec_first(count, (&self.session,)).await?.unwrap_or(0);
        let response =
            |columns, rows| Ok(v1::PullResponse { table: table.name.to_owned(), columns, rows, total_rows });
        let columns = table.column_names().map(str::to_owned).collect();
        if sink.send(response(columns, Vec::new())).await.is_err() {
            return Ok(false);
        }
        let mut result = connection.exec_iter(table.select(Dialect::Mysql), (&self.session,)).await?;
        while let Some(rows) = chunk(&mut result).await? {
            if sink.send(response(Vec::new(), rows)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Archive for MysqlArchive {
    async fn query(&self, sql: String, sink: QuerySink) -> Result<(), StoreError> {
        match tokio::time::timeout(QUERY_TIME, self.run(sql, &sink)).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::TimedOut { seconds: QUERY_TIME.as_secs() }),
        }
    }

    async fn pull(&self, sink: PullSink) -> Result<(), StoreError> {
        let mut connection = self.target.connect().await?;
        for table in &TABLES {
            let more = self.pull_table(&mut connection, table, &sink).await;
            if !more.map_err(|error| store_error(&error))? {
                break;
            }
        }
        Ok(())
    }
}

/// Tells the server the limit too, so that it stops what nobody waits for; each kind of server knows one of these.
async fn limit_time(connection: &mut Conn) {
    let seconds = QUERY_TIME.as_secs();
    for sql in [
        format!("SET SESSION max_statement_time = {seconds}"),
        format!("SET SESSION max_execution_time = {}", seconds.saturating_mul(1000)),
    ] {
        if connection.query_drop(sql).await.is_ok() {
            return;
        }
    }
    tracing::debug!("the server limits no statement's time");
}

/// Makes a login that can SELECT in the store's database and nothing else.
async fn make_login(target: &Target) -> Reading {
    let made = async {
        let (user, password) = (random(LOGIN_RANDOM_BYTES.0)?, random(LOGIN_RANDOM_BYTES.1)?);
        let user = format!("kyanos_r_{user}");
        let mut connection = target.connect().await.map_err(|error| error.to_string())?;
        let database = target.database().replace('`', "``");
        for sql in [
            format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'"),
            format!("GRANT SELECT ON `{database}`.* TO '{user}'@'%'"),
        ] {
            connection.query_drop(sql).await.map_err(|error| said(&error))?;
        }
        Ok::<_, String>(Reading::Made { target: target.with_login(&user, &password), user })
    };
    made.await.unwrap_or_else(Reading::Refused)
}

fn random(bytes: usize) -> Result<String, String> {
    let mut buffer = vec![0; bytes];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut buffer))
        .map_err(|error| format!("no randomness: {error}"))?;
    let mut text = String::with_capacity(bytes.saturating_mul(2));
    for byte in buffer {
        let _written = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// The next rows, at most a response full; `None` at the end.
async fn chunk<P>(result: &mut QueryResult<'_, '_, P>) -> Result<Option<Vec<v1::Row>>, Error>
where
    P: Protocol + Unpin,
{
    let Some(columns) = result.columns() else { return Ok(None) };
    let (mut rows, mut bytes) = (Vec::new(), 0_usize);
    while rows.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
        let Some(row) = result.next().await? else { break };
        let mut values = Vec::with_capacity(columns.len());
        for (column, value) in columns.iter().zip(row.unwrap()) {
            bytes = bytes.saturating_add(size_of::<v1::Value>());
            if let Value::Bytes(text) = &value {
                bytes = bytes.saturating_add(text.len());
            }
            values.push(v1::Value { kind: kind(column, value) });
        }
        rows.push(v1::Row { values });
    }
    Ok((!rows.is_empty()).then_some(rows))
}

fn kind(column: &Column, value: Value) -> Option<Kind> {
    Some(match value {
        Value::NULL => return None,
        Value::Int(value) => Kind::Integer(value),
        Value::UInt(value) => i64::try_from(value).map_or(Kind::Unsigned(value), Kind::Integer),
        Value::Float(value) => Kind::Real(value.into()),
        Value::Double(value) => Kind::Real(value),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let date = format!("{year:04}-{month:02}-{day:02}");
            let is_date =
                matches!(column.column_type(), ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE);
            Kind::Text(if is_date {
                date
            } else {
                format!("{date} {hour:02}:{minute:02}:{second:02}.{micros:06}")
            })
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let sign = if negative { "-" } else { "" };
            let hours = u64::from(days).saturating_mul(24).saturating_add(hours.into());
            Kind::Text(format!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{micros:06}"))
        }
        Value::Bytes(bytes) if is_blob(column) => Kind::Blob(bytes),
        Value::Bytes(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Kind::Text(text),
            Err(error) => Kind::Blob(error.into_bytes()),
        },
    })
}

/// Bytes rather than text; numbers and dates that travel as text carry the same character set.
fn is_blob(column: &Column) -> bool {
    let holds_bytes = matches!(
        column.column_type(),
        ColumnType::MYSQL_TYPE_BLOB
            | ColumnType::MYSQL_TYPE_TINY_BLOB
            | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
            | ColumnType::MYSQL_TYPE_LONG_BLOB
            | ColumnType::MYSQL_TYPE_STRING
            | ColumnType::MYSQL_TYPE_VAR_STRING
            | ColumnType::MYSQL_TYPE_VARCHAR
            | ColumnType::MYSQL_TYPE_GEOMETRY
            | ColumnType::MYSQL_TYPE_BIT
    );
    holds_bytes
        && column.character_set() == BINARY_CHARSET
        && column.flags().contains(ColumnFlags::BINARY_FLAG)
}

/// What a server says to a reader's statement.
fn refused(error: &Error) -> StoreError {
    match error {
        Error::Server(server) if DENIED_ERRORS.contains(&server.code) => {
            StoreError::ReadOnly { message: server.to_string() }
        }
        Error::Server(server) if TIMEOUT_ERRORS.contains(&server.code) => {
            StoreError::TimedOut { seconds: QUERY_TIME.as_secs() }
        }
        Error::Server(server) => StoreError::Statement { message: server.to_string() },
        Error::Io(_) | Error::Driver(_) | Error::Other(_) | Error::Url(_) => store_error(error),
    }
}
