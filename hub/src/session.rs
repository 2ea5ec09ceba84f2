//! One session: what it wants, who takes part, and how it ends.

pub mod capturers;
pub mod slots;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::filter::{FilterError, Match};
use proto::launch::{HubLaunch, HubPlace};
use proto::{WIRE_REVISION, v1};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use self::capturers::{Capturers, Judged};
use self::slots::Slots;
use crate::live::Live;
use crate::store::engine::{AnyArchive, Engine};
use crate::store::writer::{State, Writer};
use crate::store::{LossRow, Scope, StoreError};
use crate::workloads::Workloads;

/// How often loss totals and capturers are written to the store while they change.
const LOSS_PERIOD: Duration = Duration::from_secs(10);

/// Share of a drain's time that capturers get: the rest is for viewers and the store.
const CAPTURERS_SHARE: f64 = 0.6;

/// A session.
#[derive(Debug)]
pub struct Session {
    name: String,
    started_ns: u64,
    filter: v1::Filter,
    payload_bytes: u32,
    redaction: v1::Redaction,
    sample: u32,
    /// Whether processes are told apart by pods.
    cluster: bool,
    /// Whether the store alone knows what bases were given.
    store_remembers: AtomicBool,
    /// Whether the filter tests pods, which processes outside pods fail.
    pods_only: bool,
    /// Who captures.
    pub capturers: Capturers,
    /// Who watches.
    pub live: Live,
    workloads: OnceLock<Arc<Workloads>>,
    writer: Option<Writer>,
    archive: Option<Arc<AnyArchive>>,
    file: Option<PathBuf>,
    viewers: AtomicU32,
    draining: watch::Sender<bool>,
    ended: watch::Sender<String>,
    drained: OnceCell<v1::DrainSessionResponse>,
    /// Totals that the store knows, by node and stage.
    recorded: Mutex<BTreeMap<(String, String), u64>>,
}

/// Why a session cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Its store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its filter does not compile; the error names field, value and reason.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// A viewer's heartbeat stream, counted while it lives.
#[derive(Debug)]
pub struct Connected<'a>(&'a AtomicU32);

// === impl Session ===

impl Session {
    /// Opens the store and begins.
    pub async fn begin(launch: &HubLaunch) -> Result<Arc<Self>, SessionError> {
        let pods_only =
            Match::try_from(&launch.filter)?.wants_pods_only() || !launch.filter.selector.is_empty();
        let scope = Scope { session: launch.session.clone(), max_store_bytes: launch.max_store_bytes };
        let engine = match &launch.place {
            // What is wrong with the store is said before anything else runs.
            HubPlace::Local { .. } => Engine::open(&launch.store, scope, launch.store_limit).await?,
            HubPlace::Cluster { .. } => Engine::begin(&launch.store, scope, launch.store_limit).await?,
        };
        let (writer, archive, file, folder) = match engine {
            Some(Engine { writer, archive, file, folder }) => {
                (Some(writer), Some(Arc::new(archive)), file, folder)
            }
            None => (None, None, None, None),
        };
        let session = Arc::new(Self {
            name: launch.session.clone(),
            started_ns: now_ns(),
            filter: launch.filter.clone(),
            payload_bytes: launch.payload_bytes,
            redaction: launch.redaction.clone(),
            sample: launch.sample,
            cluster: matches!(launch.place, HubPlace::Cluster { .. }),
            store_remembers: AtomicBool::new(false),
            pods_only,
            capturers: Capturers::default(),
            live: Live::default(),
            workloads: OnceLock::new(),
            writer,
            archive,
            file,
            viewers: AtomicU32::new(0),
            draining: watch::Sender::new(false),
            ended: watch::Sender::new(String::new()),
            drained: OnceCell::new(),
            recorded: Mutex::default(),
        });
        tokio::spawn(record(Arc::downgrade(&session)));
        session.begin_ids(folder.as_deref());
        Ok(session)
    }

    /// Lets capturers begin once it is known what ids earlier hubs gave: at once, except where only a store knows
    /// that does not answer yet.
    fn begin_ids(self: &Arc<Self>, folder: Option<&Path>) {
        let Some(writer) = &self.writer else { return self.capturers.begin(Slots::default()) };
        let mut earlier = writer.earlier();
        if let Some(earlier) = earlier.borrow().as_deref() {
            return self.capturers.begin(Slots::above(earlier));
        }
        match folder.map(Slots::beside) {
            Some(Ok(slots)) => return self.capturers.begin(slots),
            Some(Err(error)) => tracing::warn!(%error, "capturers wait for the store"),
            None => {}
        }
        self.store_remembers.store(true, Ordering::Relaxed);
        let session = Arc::downgrade(self);
        tokio::spawn(async move {
            let Ok(earlier) = earlier.wait_for(Option::is_some).await else { return };
            if let (Some(session), Some(earlier)) = (session.upgrade(), earlier.as_deref()) {
                session.capturers.begin(Slots::above(earlier));
            }
        });
    }

    /// What a capturer is told.
    #[must_use]
    pub fn settings(&self, id_base: u64) -> v1::CapturerSettings {
        v1::CapturerSettings {
            wire_revision: WIRE_REVISION,
            id_base,
            filter: Some(self.filter.clone()),
            payload_bytes: self.payload_bytes,
            redaction: Some(self.redaction.clone()),
            sample: self.sample,
            cluster: self.cluster,
            host_processes: !(self.cluster && self.pods_only),
        }
    }

    /// Takes a batch to viewers and store, once; returns the number to acknowledge.
    pub fn take_batch(&self, node: &str, connection: u64, mut batch: v1::Batch) -> u64 {
        let (sequence, last) = (batch.sequence, batch.r#final);
        if self.capturers.judge(node, connection, &mut batch) == Judged::Stale {
            return self.capturers.taken(node, connection, 0, false);
        }
        if let Some(workloads) = self.workloads.get() {
            workloads.resolve(&mut batch.exchanges);
        }
        let exchanges: Vec<_> = batch.exchanges.into_iter().map(Arc::new).collect();
        if !exchanges.is_empty() {
            self.live.publish(&exchanges);
            if let Some(writer) = &self.writer {
                writer.offer(&exchanges);
            }
        }
        self.capturers.taken(node, connection, sequence, last)
    }

    /// Names what exchanges talk to from now on, and tells capturers of their pods.
    pub fn follow(&self, workloads: Arc<Workloads>) {
        self.live.follow(Arc::clone(&workloads));
        if self.workloads.set(workloads).is_err() {
            tracing::debug!("the session follows its cluster already");
        }
    }

    /// The cluster's pods, once they are followed.
    #[must_use]
    pub fn workloads(&self) -> Option<&Arc<Workloads>> {
        self.workloads.get()
    }

    /// Waits until no later hub of the session can give a node's base again: where the store alone remembers, until
    /// it has the node's row.
    pub async fn claimed(&self, node: &str) {
        let Some(writer) = &self.writer else { return };
        let number = writer.note_capturers(self.capturers.rows());
        let number = self.capturers.noted(node, number);
        if self.store_remembers.load(Ordering::Relaxed) {
            writer.recorded(number).await;
        }
    }

    /// Writes the capturers as they are now.
    pub fn note_capturers(&self) {
        if let Some(writer) = &self.writer {
            writer.note_capturers(self.capturers.rows());
        }
    }

    /// The reading half of the store, where there is one.
    #[must_use]
    pub fn archive(&self) -> Option<&Arc<AnyArchive>> {
        self.archive.as_ref()
    }

    /// Whether the store has not answered yet.
    #[must_use]
    pub fn store_is_starting(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.state() == State::Starting)
    }

    /// Becomes true when capture is to end.
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Becomes the name of who ended the session.
    #[must_use]
    pub fn ended(&self) -> watch::Receiver<String> {
        self.ended.subscribe()
    }

    /// Counts a viewer while the returned value lives.
    pub fn viewer_connected(&self) -> Connected<'_> {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        Connected(&self.viewers)
    }

    /// Plugins whose heartbeat is there.
    #[must_use]
    pub fn viewers(&self) -> u32 {
        self.viewers.load(Ordering::Relaxed)
    }

    /// The session's state.
    #[must_use]
    pub fn describe(&self) -> v1::DescribeResponse {
        let totals = self.writer.as_ref().map(Writer::totals).unwrap_or_default();
        let store = match self.writer.as_ref().map(Writer::state) {
            None => "none".to_owned(),
            Some(State::Starting) => "starting".to_owned(),
            Some(State::Ready) => "ready".to_owned(),
            Some(State::Down(reason)) => format!("down: {reason}"),
            Some(State::Closed) => "closed".to_owned(),
        };
        v1::DescribeResponse {
            wire_revision: WIRE_REVISION,
            session: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ns: self.started_ns,
            capturers: self.capturers.states(),
            store,
            balances: self.balances(),
            viewers: self.viewers.load(Ordering::Relaxed),
            stored: totals.stored.saturating_sub(totals.trimmed),
            trimmed: totals.trimmed,
            payload_bytes: self.payload_bytes,
        }
    }

    /// Ends capture: asks every capturer for what it still has, waits until viewers and store have all of it, and
    /// returns the final ledgers. Whoever asks again gets the same answer.
    pub async fn drain(&self, by: &str, timeout: Duration) -> v1::DrainSessionResponse {
        self.drained.get_or_init(|| self.drain_once(by, timeout)).await.clone()
    }

    async fn drain_once(&self, by: &str, timeout: Duration) -> v1::DrainSessionResponse {
        let deadline = Instant::now() + timeout;
        self.draining.send_replace(true);
        let unconfirmed = self.capturers.drained(Instant::now() + timeout.mul_f64(CAPTURERS_SHARE)).await;
        if !unconfirmed.is_empty() {
            tracing::warn!(nodes = unconfirmed.join(", "), "capturers did not confirm their end");
        }
        self.live.close();
        self.live.flush(deadline).await;
        self.record_losses();
        self.note_capturers();
        if let Some(writer) = &self.writer
            && !writer.flush(deadline).await
        {
            writer.abandon();
            let lost = writer.totals().lost;
            tracing::warn!(exchanges = lost, "the store did not take everything in time");
        }
        self.ended.send_replace(if by.is_empty() { "unknown".to_owned() } else { by.to_owned() });
        v1::DrainSessionResponse { balances: self.balances(), unconfirmed }
    }

    /// Closes the store: writes what waits until the deadline, and removes the embedded database's file unless kept.
    pub async fn close(&self, keep: bool, deadline: Instant) {
        if let Some(writer) = &self.writer {
            // What is removed anyway need not be written.
            let until = if keep || self.file.is_none() { deadline } else { Instant::now() };
            writer.close(until).await;
        }
        if let Some(archive) = &self.archive
            && tokio::time::timeout_at(deadline, archive.close()).await.is_err()
        {
            tracing::warn!("the store's server did not answer in time");
        }
    }

    /// Ledgers of every consumer.
    #[must_use]
    pub fn balances(&self) -> Vec<v1::Balance> {
        let mut balances: Vec<_> =
            self.capturers.balances().into_iter().flat_map(|(_, balances)| balances).collect();
        balances.extend(self.live.balances());
        balances.extend(self.writer.as_ref().map(|writer| self.store_balance(writer)));
        balances
    }

    fn store_balance(&self, writer: &Writer) -> v1::Balance {
        writer.note_acknowledged(self.capturers.acknowledged_before());
        writer.balance()
    }

    /// Writes the loss totals that changed since the last time.
    fn record_losses(&self) {
        let Some(writer) = &self.writer else { return };
        let mut totals: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut add = |node: &str, balance: &v1::Balance| {
            for loss in balance.lost.iter().filter(|loss| loss.total > 0) {
                *totals.entry((node.to_owned(), loss.stage.clone())).or_default() += loss.total;
            }
        };
        for (node, balances) in self.capturers.balances() {
            for balance in &balances {
                add(&node, balance);
            }
        }
        for balance in self.live.balances() {
            add("", &balance);
        }
        add("", &self.store_balance(writer));
        let at_ns = now_ns();
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        for ((node, stage), total) in totals {
            let key = (node, stage);
            if recorded.get(&key) != Some(&total) {
                let (node, stage) = key.clone();
                rows.push(LossRow { at_ns, node, stage, total });
                recorded.insert(key, total);
            }
        }
        drop(recorded);
        if !rows.is_empty() {
            writer.note_losses(rows);
        }
    }
}

// === impl Connected ===

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Writes capturers and losses now and then while the session lives.
async fn record(session: std::sync::Weak<Session>) {
    loop {
        tokio::time::sleep(LOSS_PERIOD).await;
        let Some(session) = session.upgrade() else { return };
        session.record_losses();
        session.note_capturers();
    }
}

/// Nanoseconds since the Unix epoch.
#[must_use]
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
