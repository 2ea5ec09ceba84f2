//! One session: what it wants, who takes part, and how it ends.

pub mod capturers;
mod drain;
mod intake;
mod joins;
pub mod leaders;
mod passed;
mod sight;
pub mod slots;
pub mod viewers;

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use proto::account::{Balance, Consumer};
use proto::filter::{FilterError, Match};
use proto::id::Base;
use proto::launch::{HubLaunch, HubPlace, SPOOL_FOLDER, StoreChoice};
use proto::{WIRE_REVISION, v1};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use self::capturers::{Capturers, CapturersError, Claim};
use self::drain::Confirmations;
pub use self::drain::{Drained, Lag};
use self::leaders::Leaders;
use self::passed::Passed;
use self::sight::Sight;
use self::slots::{Slots, SlotsError};
use self::viewers::Viewers;
use crate::account;
use crate::account::losses::Recorded;
use crate::clock::{Clock, Moment, epoch_ns};
use crate::join::Joins;
use crate::live::Live;
use crate::peers::{HubState, Peers};
use crate::store::engine::{AnyArchive, Engine};
use crate::store::mysql::Shared;
use crate::store::writer::{Totals, Writer, WriterState};
use crate::store::{Scope, StoreError};
use crate::workloads::Workloads;

/// How often loss totals and capturers are written to the store while they change.
const LOSS_PERIOD: Duration = Duration::from_secs(10);

/// Between two attempts to agree with other hubs through a database that does not answer.
const AGREE_PAUSE: Duration = Duration::from_millis(500);

/// A session.
#[derive(Debug)]
pub struct Session {
    name: String,
    /// The hub's pod where the session has several hubs; else empty.
    hub: String,
    /// Random number of this process.
    instance: u64,
    started_ns: u64,
    filter: v1::Filter,
    payload_bytes: u32,
    redaction: v1::Redaction,
    sample: u32,
    tracing: v1::Tracing,
    /// Whether processes are told apart by pods.
    cluster: bool,
    /// Whether the store alone knows what bases were given.
    store_remembers: AtomicBool,
    /// Whether the filter tests pods, which processes outside pods fail.
    pods_only: bool,
    /// What passes, and how long this hub did not run.
    clock: Arc<Clock>,
    /// Who captures.
    pub capturers: Capturers,
    /// Who watches.
    pub live: Live,
    /// The session's other hubs, where this one leads.
    pub peers: Peers,
    /// What hubs agree on through the database, where there are several.
    shared: Option<Shared>,
    /// Both sides of exchanges brought together, before anybody sees them.
    joins: Joins,
    /// Exchanges of which a mark was observed out of order and moved.
    clamped: AtomicU64,
    /// Who leads, where there are several hubs.
    pub leaders: Leaders,
    workloads: OnceLock<Arc<Workloads>>,
    /// Whether what this hub asks of a store can be told from others' traffic.
    is_known: watch::Sender<bool>,
    writer: Option<Writer>,
    /// Whose rows those are, and how large they may be.
    scope: Scope,
    /// Whether hub and store outlive the plugin: what waits for the store then goes on waiting.
    keeps: bool,
    archive: Option<Arc<AnyArchive>>,
    passed: Passed,
    file: Option<PathBuf>,
    /// Plugins that watch, or did.
    pub viewers: Viewers,
    draining: watch::Sender<bool>,
    /// Nothing is taken any more: what capturers have goes to another hub, or to the next one.
    closing: watch::Sender<bool>,
    ended: watch::Sender<Option<String>>,
    drained: OnceCell<Confirmations>,
    /// The final account, once nothing waits for the store or what did was given up.
    settled: OnceCell<Drained>,
    /// Who is seen, who not, and what was told of it.
    sight: Sight,
    /// Loss totals that the store knows.
    recorded: Mutex<Recorded>,
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

// === impl Session ===

impl Session {
    /// Opens the store and begins, as the session's only hub.
    pub async fn begin(launch: &HubLaunch) -> Result<Arc<Self>, SessionError> {
        Self::begin_as(launch, "", std::future::ready(())).await
    }

    /// Opens the store and begins; `hub` names this hub where the launch has several. In a cluster a store that is
    /// not the session's own is left alone until `known` is done: until its traffic with this hub can be told apart.
    pub async fn begin_as(
        launch: &HubLaunch,
        hub: &str,
        known: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Arc<Self>, SessionError> {
        let pods_only =
            Match::try_from(&launch.filter)?.wants_pods_only() || !launch.filter.selector.is_empty();
        let scope = Scope { session: launch.session.clone(), max_store_bytes: launch.max_store_bytes };
        let several = launch.hubs > 1;
        let shared = match &launch.store {
            StoreChoice::Mysql { url, .. } if several => Some(Shared::new(url, &launch.session)?),
            StoreChoice::Mysql { .. } | StoreChoice::Sqlite { .. } | StoreChoice::None => None,
        };
        let is_known = watch::Sender::new(false);
        let may = {
            let mut is_known = is_known.subscribe();
            async move { drop(is_known.wait_for(|known| *known).await) }
        };
        let engine = open(launch, scope.clone(), may).await?;
        let (writer, archive, file, folder) = match engine {
            Some(Engine { writer, archive, file, folder }) => {
                (Some(writer), Some(Arc::new(archive)), file, folder)
            }
            None => (None, None, None, None),
        };
        let passed = passed_over(folder.as_deref());
        let sums_may_suffice = writer.is_none() && !several;
        let clock = Arc::new(Clock::default());
        let session = Arc::new(Self {
            name: launch.session.clone(),
            hub: if several { hub.to_owned() } else { String::new() },
            instance: RandomState::new().hash_one(std::process::id()),
            started_ns: epoch_ns(),
            filter: launch.filter.clone(),
            payload_bytes: launch.payload_bytes,
            redaction: launch.redaction.clone(),
            sample: launch.sample,
            tracing: launch.tracing,
            cluster: matches!(launch.place, HubPlace::Cluster { .. }),
            store_remembers: AtomicBool::new(false),
            pods_only,
            capturers: Capturers::on(Arc::clone(&clock)),
            sight: Sight::new(!several),
            clock,
            live: Live::new(sums_may_suffice.then(|| launch.filter.clone())),
            peers: Peers::default(),
            shared,
            joins: Joins::default(),
            clamped: AtomicU64::new(0),
            leaders: Leaders::default(),
            workloads: OnceLock::new(),
            is_known,
            writer,
            scope,
            keeps: launch.keep && matches!(launch.place, HubPlace::Cluster { .. }),
            archive,
            passed,
            file,
            viewers: Viewers::default(),
            draining: watch::Sender::new(false),
            closing: watch::Sender::new(false),
            ended: watch::Sender::new(None),
            drained: OnceCell::new(),
            settled: OnceCell::new(),
            recorded: Mutex::default(),
        });
        tokio::spawn(record(Arc::downgrade(&session)));
        tokio::spawn(sight::look(Arc::downgrade(&session)));
        tokio::spawn(joins::give_up(Arc::downgrade(&session)));
        let knowing = session.is_known.clone();
        tokio::spawn(async move {
            known.await;
            knowing.send_replace(true);
        });
        if several {
            // Only the hub that leads trims, and ids are agreed on one by one.
            session.leads(false);
            session.capturers.begin(Slots::default());
        } else {
            session.begin_ids(folder.as_deref());
        }
        Ok(session)
    }

    /// The hub's pod, where the session has several; else empty.
    #[must_use]
    pub fn hub_name(&self) -> &str {
        &self.hub
    }

    /// Random number of this process.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Notes a capturer's connection and gives it its ids, with several hubs by agreement: a process keeps what any of
    /// them gave it, and a new one gets what none gave before, which takes as long as the database is away.
    pub async fn connect(&self, hello: v1::CapturerHello) -> Result<Claim, CapturersError> {
        self.joins.know_clock(&hello.node, &hello.boot);
        let Some(shared) = &self.shared else { return self.capturers.connect(hello) };
        let known = self.capturers.base_of(&hello.node, hello.instance).or(hello.id_base.map(Base::from));
        let base = match known {
            Some(base) => base,
            None => Base { slot: self.agree(shared, &hello).await?, boot: 0 },
        };
        Ok(self.capturers.connect_as(hello, base))
    }

    async fn agree(&self, shared: &Shared, hello: &v1::CapturerHello) -> Result<u16, CapturersError> {
        drop(self.is_known.subscribe().wait_for(|known| *known).await);
        loop {
            match shared.claim(&hello.node, &hello.kernel, &hello.version).await {
                Ok(Some(slot)) => return Ok(slot),
                Ok(None) => return Err(CapturersError::Slots(SlotsError::TooMany)),
                Err(error) => tracing::debug!(%error, node = hello.node, "no ids yet"),
            }
            tokio::time::sleep(AGREE_PAUSE).await;
        }
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
            tracing: Some(self.tracing),
        }
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
        let number = writer.note_capturers(self.capturers.rows(self.shared.is_some()));
        let number = self.capturers.noted(node, number);
        if self.store_remembers.load(Ordering::Relaxed) {
            writer.recorded(number).await;
        }
    }

    /// Writes the capturers as they are now.
    pub fn note_capturers(&self) {
        if let Some(writer) = &self.writer {
            writer.note_capturers(self.capturers.rows(self.shared.is_some()));
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
        self.writer.as_ref().is_some_and(|writer| matches!(writer.state(), WriterState::Starting(_)))
    }

    /// Becomes true when capture is to end.
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Becomes true when nothing is taken any more.
    #[must_use]
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Becomes the name of who ended the session.
    #[must_use]
    pub fn ended(&self) -> watch::Receiver<Option<String>> {
        self.ended.subscribe()
    }

    /// The session's state, with those of all hubs that this one leads.
    #[must_use]
    pub fn describe(&self) -> v1::DescribeResponse {
        self.state().into()
    }

    /// This moment on the hub's clock.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// As [`Self::describe`], with the account to reckon with.
    #[must_use]
    pub fn state(&self) -> HubState {
        let now = self.now();
        let mut state = self.peers.describe(&self.hub, self.own(now));
        self.look(&mut state, now);
        state
    }

    /// This hub's own state.
    #[must_use]
    pub fn own_state(&self) -> v1::DescribeResponse {
        let balances = self.balances().into_iter().map(v1::Balance::from).collect();
        v1::DescribeResponse { balances, ..self.told(self.now()) }
    }

    fn own(&self, now: Moment) -> HubState {
        let HubState { told, balances: _, heard } = HubState::of(self.told(now), now);
        HubState { told, balances: self.balances(), heard }
    }

    /// What this hub says of itself now, but for its account.
    fn told(&self, now: Moment) -> v1::DescribeResponse {
        let totals = self.writer.as_ref().map(Writer::totals).unwrap_or_default();
        v1::DescribeResponse {
            wire_revision: WIRE_REVISION,
            session: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ns: self.started_ns,
            capturers: self.capturers.states(now),
            store: self.writer.as_ref().map(|writer| writer.state().into()),
            balances: Vec::new(),
            viewers: self.viewers.count(),
            stored: totals.stored.saturating_sub(totals.trimmed),
            trimmed: totals.trimmed,
            payload_bytes: self.payload_bytes,
            clamped: self.clamped.load(Ordering::Relaxed),
            sight: None,
            waiting: self
                .writer
                .as_ref()
                .map(|writer| writer.waiting() + self.joins.waiting())
                .unwrap_or_default(),
        }
    }

    /// Takes nothing more and closes the store: writes what waits until the deadline, and removes the embedded database's file unless kept.
    pub async fn close(&self, keep: bool, deadline: Instant) {
        self.closing.send_replace(true);
        self.joins.close(|passed| self.give_on(passed));
        if let Some(writer) = &self.writer {
            // What is removed anyway need not be written, but its engine must have let go of the file: one that finds it
            // gone would make it again.
            if !keep && self.file.is_some() {
                writer.abandon();
            }
            writer.close(deadline).await;
        }
        if let Some(archive) = &self.archive
            && tokio::time::timeout_at(deadline, archive.close()).await.is_err()
        {
            tracing::warn!("the store's server did not answer in time");
        }
    }

    /// Ledgers of every consumer.
    #[must_use]
    pub fn balances(&self) -> Vec<Balance> {
        let mut balances: Vec<_> =
            self.capturers.balances().into_iter().flat_map(|(_, balances)| balances).collect();
        balances.extend(self.live.balances());
        balances.extend(self.writer.as_ref().map(|writer| self.store_balance(writer)));
        balances
    }

    fn store_balance(&self, writer: &Writer) -> Balance {
        // With several hubs what one acknowledged may be another's to store.
        let acknowledged = match &self.shared {
            Some(_) => 0,
            None => self.capturers.acknowledged_before().saturating_sub(self.passed.before()),
        };
        let totals = writer.totals();
        let before = account::store::lost_before(acknowledged, writer.held(), totals.ignored);
        account::store::balance(&totals, before)
    }

    /// Writes the loss totals that grew since the last time.
    fn record_losses(&self) {
        let Some(writer) = &self.writer else { return };
        let Totals { filtered, trimmed, .. } = writer.totals();
        self.passed.note(filtered.saturating_add(trimmed));
        let nodes = self.capturers.balances();
        let of_nodes = nodes
            .iter()
            .flat_map(|(node, balances)| balances.iter().map(move |balance| (node.as_str(), balance)));
        let mut own = self.live.totals();
        own.push(self.store_balance(writer));
        let of_hub = own.iter().map(|balance| (self.hub.as_str(), balance));
        let seconds = self.seconds();
        let silent = seconds.iter().filter_map(|balance| match &balance.consumer {
            Consumer::Capturer(node) => Some((node.as_str(), balance)),
            Consumer::Viewer(_) | Consumer::Store => None,
        });
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = recorded.grown(epoch_ns(), of_nodes.chain(of_hub).chain(silent));
        drop(recorded);
        if !rows.is_empty() {
            writer.note_losses(rows);
        }
    }
}

/// The folder for what waits for a store; in a pod it is mounted, elsewhere there is memory alone.
fn spool() -> Option<&'static Path> {
    Some(Path::new(SPOOL_FOLDER)).filter(|folder| folder.is_dir())
}

/// Opens the store; in a cluster it may come later, and is left alone until it `may` be spoken to.
async fn open(
    launch: &HubLaunch,
    scope: Scope,
    may: impl Future<Output = ()> + Send + 'static,
) -> Result<Option<Engine>, SessionError> {
    let engine = match &launch.place {
        // What is wrong with the store is said before anything else runs.
        HubPlace::Local { .. } => Engine::open(&launch.store, scope, launch.store_limit).await?,
        HubPlace::Cluster { .. } => {
            Engine::begin(&launch.store, scope, launch.store_limit, may, spool()).await?
        }
    };
    Ok(engine)
}

/// Reads what earlier hubs passed over, where they could note it.
fn passed_over(folder: Option<&Path>) -> Passed {
    let passed = folder.map(Passed::beside).transpose().unwrap_or_else(|error| {
        tracing::warn!(%error, "what earlier hubs passed over counts as lost");
        None
    });
    passed.unwrap_or_default()
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
