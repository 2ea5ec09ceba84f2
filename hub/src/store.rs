//! Where exchanges are kept: one trait, two engines, one schema.
//!
//! The embedded store ([`sqlite`]) is also what the plugin reads saved and kept files with, so it builds without the
//! server.

pub mod earlier;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod mysql;
pub mod row;
pub mod schema;
pub mod sqlite;
#[cfg(feature = "server")]
pub mod writer;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proto::account::{Stage, Unit};
use proto::v1;
use tokio::sync::mpsc;

use self::earlier::Earlier;

/// Longest a statement of `query` may run.
pub const QUERY_TIME: Duration = Duration::from_secs(30);

/// Rows in one response of a query or pull; with [`CHUNK_BYTES`] it bounds what reading holds in memory.
pub const CHUNK_ROWS: usize = 256;

/// Bytes after which a response of a query or pull is sent; one row more may follow.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes of the file for what waits for a store. Minutes of a busy cluster, which is as long as the first pull of a
/// database's image takes; the pod's volume holds twice as much, since the kubelet evicts a pod that fills its own.
pub const SPOOL_BYTES: u64 = 512 << 20;

/// What is written at once; [`row`] says how it becomes rows.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Exchanges, with their hops.
    pub exchanges: Vec<Arc<v1::Exchange>>,
    /// Capturers as they are now; replaces what the store knew of each.
    pub capturers: Vec<CapturerRow>,
    /// Loss totals that changed.
    pub losses: Vec<LossRow>,
}

/// A row of table `capturers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturerRow {
    /// Node name.
    pub node: String,
    /// Slot in the upper bits of the node's exchange ids.
    pub slot: u16,
    /// Kernel release.
    pub kernel: String,
    /// Capturer version.
    pub version: String,
    /// First heard of, nanoseconds since the Unix epoch.
    pub first_seen_ns: u64,
    /// Last heard of, nanoseconds since the Unix epoch.
    pub last_seen_ns: u64,
}

/// A row of table `losses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossRow {
    /// When the total was read, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Node that lost, empty for the hub itself.
    pub node: String,
    /// Where it was lost.
    pub stage: Stage,
    /// What was lost.
    pub unit: Unit,
    /// Total since the session began.
    pub total: u64,
}

/// What a write did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Exchanges that are new.
    pub stored: u64,
    /// Exchanges that were there already: sent again after a lost acknowledgement.
    pub ignored: u64,
    /// Exchanges that the database refused for what they contain.
    pub refused: u64,
    /// Bytes of the new rows, roughly.
    pub bytes: u64,
}

/// Whose rows are written and how large they may be.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Session name, first column of every key.
    pub session: String,
    /// Payload bytes kept per message.
    pub max_store_bytes: u32,
}

/// An engine that exchanges are written to.
pub trait Store: Send + 'static {
    /// Connects, or connects again, and brings the schema to this version.
    fn open(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads what it holds of this session, before anything is written.
    fn earlier(&mut self) -> impl Future<Output = Result<Earlier, StoreError>> + Send;

    /// Writes a batch in one transaction; repeating it changes nothing.
    fn write(&mut self, batch: Arc<Batch>) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Bytes that this session takes, roughly.
    fn size(&mut self) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Removes this many of the session's oldest exchanges, and returns how many went.
    fn trim(&mut self, exchanges: u64) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Ends the connection and leaves the store readable without this process.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// Where a query's responses go; a closed channel ends the query.
pub type QuerySink = mpsc::Sender<Result<v1::QueryResponse, StoreError>>;

/// Where a pull's responses go; a closed channel ends the pull.
pub type PullSink = mpsc::Sender<Result<v1::PullResponse, StoreError>>;

/// The reading half of an engine, with a login or handle that cannot write.
pub trait Archive: Send + Sync + 'static {
    /// Runs one statement, at most [`QUERY_TIME`] long.
    fn query(&self, sql: String, sink: QuerySink) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Streams the session's rows, table by table.
    fn pull(&self, sink: PullSink) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What goes wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or created; its folder may be missing or not writable.
    #[error("cannot open the store `{path}`: {reason}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The engine's reason.
        reason: String,
    },
    /// The embedded database failed while this was done.
    #[error("{doing} the store failed: {reason}")]
    Embedded {
        /// What was done, as in "writing to".
        doing: &'static str,
        /// The engine's reason.
        reason: String,
    },
    /// The statement was refused; the message is the database's own.
    #[error("{message}")]
    Statement {
        /// The database's message.
        message: String,
    },
    /// The statement tried to change something, which its login or handle cannot do.
    #[error("the store is read-only here: {message}")]
    ReadOnly {
        /// The database's message.
        message: String,
    },
    /// The statement ran longer than allowed.
    #[error("the statement was stopped after {seconds} s")]
    TimedOut {
        /// The limit.
        seconds: u64,
    },
    /// The database was made by a newer version: use that one.
    #[error("the store has schema version {found}, this version knows up to {known}")]
    Newer {
        /// Version of the database.
        found: u32,
        /// Newest version known.
        known: u32,
    },
    /// The file is a database, but not of Kyanos.
    #[error("`{path}` holds no Kyanos store", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The URL of a store cannot be read; it is never repeated, since it holds a password.
    #[error("invalid store URL: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// No server could be reached or the connection broke; the writer tries again.
    #[error("store unreachable: {reason}")]
    Unreachable {
        /// What was tried and how it failed.
        reason: String,
    },
    /// There is no login that can only read, so statements are refused.
    #[error("no read-only login for `query` on this store: {reason}")]
    NoReader {
        /// Why the hub could not make one.
        reason: String,
    },
    /// The task that ran the statement ended early.
    #[error("the store's task ended early")]
    Ended,
}

// === impl Batch ===

impl Batch {
    /// Says whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { exchanges, capturers, losses } = self;
        exchanges.is_empty() && capturers.is_empty() && losses.is_empty()
    }
}

// === impl StoreError ===

impl StoreError {
    /// What the user can try.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open { .. } => Some("check that the file's folder exists and may be written"),
            Self::Newer { .. } => Some("use the newer version of kubectl-kyanos"),
            Self::Foreign { .. } => Some("name a file that `--save` or `--keep` made"),
            Self::Url { .. } => Some("mysql://USER:PASSWORD@HOST:PORT[,HOST:PORT]/DATABASE or sqlite:PATH"),
            Self::NoReader { .. } => Some("give a SELECT-only login with --store-reader"),
            Self::ReadOnly { .. } => Some("`query` can only read"),
            Self::TimedOut { .. } => Some("add conditions or a LIMIT"),
            Self::Unreachable { .. } => {
                Some("check that the server runs and that host, port, login and database are right")
            }
            Self::Embedded { .. } | Self::Statement { .. } | Self::Ended => None,
        }
    }

    /// Says of what kind it is to whoever asked the hub for what failed.
    #[must_use]
    pub fn refusal(&self) -> v1::RefusalKind {
        match self {
            Self::Statement { .. } => v1::RefusalKind::Statement,
            Self::ReadOnly { .. } => v1::RefusalKind::ReadOnly,
            Self::NoReader { .. } => v1::RefusalKind::NoReader,
            Self::TimedOut { .. } => v1::RefusalKind::TimedOut,
            Self::Open { .. } | Self::Unreachable { .. } => v1::RefusalKind::StoreAway,
            Self::Embedded { .. } | Self::Ended => v1::RefusalKind::StoreFailed,
            Self::Newer { .. } | Self::Foreign { .. } | Self::Url { .. } => v1::RefusalKind::StoreUnusable,
        }
    }

    /// Says whether trying again can help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.refusal().is_passing()
    }
}
