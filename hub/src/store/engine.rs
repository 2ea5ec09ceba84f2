//! The engine that a session's launch chose, opened.

use std::path::{Path, PathBuf};

use proto::launch::StoreChoice;

use super::mysql::{MysqlArchive, MysqlStore, Target};
use super::sqlite::{SqliteArchive, SqliteStore};
use super::writer::Writer;
use super::{Archive, PullSink, QuerySink, Scope, Store as _, StoreError};

/// The reading half of either engine.
#[derive(Debug)]
pub enum AnyArchive {
    /// The embedded database.
    Sqlite(SqliteArchive),
    /// MySQL and what speaks like it.
    Mysql(MysqlArchive),
}

/// Both halves of a session's store.
#[derive(Debug)]
pub struct Engine {
    /// The way in.
    pub writer: Writer,
    /// The way out.
    pub archive: AnyArchive,
    /// The embedded database's file.
    pub file: Option<PathBuf>,
    /// A folder that hub and store share and that lives as long as the store, where it answers later.
    pub folder: Option<PathBuf>,
}

// === impl Engine ===

impl Engine {
    /// Begins with the chosen store without waiting for it: the writer reaches it in its own time, once it may where
    /// the store is another's, and exchanges wait in its buffer and in folder `spool` meanwhile. Only what no waiting
    /// can mend is an error.
    pub async fn begin(
        choice: &StoreChoice,
        scope: Scope,
        limit: u64,
        may: impl Future<Output = ()> + Send + 'static,
        spool: Option<&Path>,
    ) -> Result<Option<Self>, StoreError> {
        let StoreChoice::Mysql { url, reader } = choice else {
            return Self::open(choice, scope, limit).await;
        };
        let target = Target::parse(url)?;
        let archive = MysqlArchive::later(target.clone(), reader.as_deref(), scope.session.clone())?;
        let folder = target.socket_folder().map(Path::to_owned);
        let store = MysqlStore::new(target, scope);
        let writer = match &folder {
            Some(_own) => Writer::start_once(std::future::ready(()), store, limit, None, spool),
            None => Writer::start_once(may, store, limit, None, spool),
        };
        Ok(Some(Self { writer, archive: AnyArchive::Mysql(archive), file: None, folder }))
    }

    /// Opens the chosen store once, so that what is wrong with it is said at start; later outages are waited out.
    pub async fn open(choice: &StoreChoice, scope: Scope, limit: u64) -> Result<Option<Self>, StoreError> {
        let session = scope.session.clone();
        Ok(match choice {
            StoreChoice::None => None,
            StoreChoice::Sqlite { path } => {
                let mut store = SqliteStore::new(path.clone(), scope);
                store.open().await?;
                let earlier = Some(store.earlier().await?);
                let archive = AnyArchive::Sqlite(SqliteArchive::new(path.clone(), session));
                let writer = Writer::start(store, limit, earlier);
                Some(Self { writer, archive, file: Some(path.clone()), folder: None })
            }
            StoreChoice::Mysql { url, reader } => {
                let target = Target::parse(url)?;
                let mut store = MysqlStore::new(target.clone(), scope);
                store.open().await?;
                let earlier = Some(store.earlier().await?);
                let archive = MysqlArchive::new(target, reader.as_deref(), session).await?;
                let writer = Writer::start(store, limit, earlier);
                Some(Self { writer, archive: AnyArchive::Mysql(archive), file: None, folder: None })
            }
        })
    }
}

// === impl AnyArchive ===

impl AnyArchive {
    /// Takes back what reading needed on the server.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(_) => {}
            Self::Mysql(archive) => archive.close().await,
        }
    }
}

impl Archive for AnyArchive {
    async fn query(&self, sql: String, sink: QuerySink) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(archive) => archive.query(sql, sink).await,
            Self::Mysql(archive) => archive.query(sql, sink).await,
        }
    }

    async fn pull(&self, sink: PullSink) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(archive) => archive.pull(sink).await,
            Self::Mysql(archive) => archive.pull(sink).await,
        }
    }
}
