//! The capturer's run: from settings to the final batch, one event after the other.

use std::path::PathBuf;
use std::time::Duration;

use proto::account::Consumer;
use proto::launch::{CapturerLaunch, CapturerReady};
use proto::v1::{ByteSource, CapturerSettings};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use crate::clock::monotonic_ns;
use crate::filter::kernel_filter;
use crate::folds::Folds;
use crate::kernel::{Kernel, KernelError, Prepared, STREAMS, Settings, Source};
use crate::ledger;
use crate::ourselves::sessions::Sessions;
use crate::pipeline::Pipeline;
use crate::uplink::{Address, Command, Uplink, UplinkError};

/// Records decoded before the uplink has its turn: about two milliseconds.
const RECORDS_PER_TURN: usize = 512;

/// How often waiting events, batches and lists are looked at while there are any.
const TICK_PERIOD: Duration = Duration::from_millis(10);

/// How long a hub on this machine may take to answer at start; it listens before capturers are started.
pub const SETTINGS_TIMEOUT: Duration = Duration::from_secs(15);

/// A capturer without a hub for this long ends: the lease period of a session.
pub const HUB_LEASE: Duration = Duration::from_mins(1);

/// How long detaching and handing over the final batch may take after a signal: a pod's grace period is one second.
const FINAL_BATCH_TIMEOUT: Duration = Duration::from_millis(800);

/// Where processes are.
const PROC: &str = "/proc";

/// How often the clocks are compared.
const ANCHOR_PERIOD: Duration = Duration::from_secs(10);

/// Why a capture cannot start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The kernel does not let us.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The hub cannot be reached or does not take us.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// The hub connected and said nothing.
    #[error("the hub at `{hub}` gave no settings within {seconds} s")]
    Silent {
        /// Its address.
        hub: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The hub sent a filter that is none; hub and plugin differ in version.
    #[error(transparent)]
    Filter(#[from] proto::filter::FilterError),
    /// The hub has been gone for a lease period.
    #[error("no hub for {} s", HUB_LEASE.as_secs())]
    Orphaned,
    /// The operating system gives no signal handlers.
    #[error("cannot handle signals")]
    Signals(#[source] std::io::Error),
}

/// How a run ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whoever started us is gone.
    Parent,
    /// We were asked to stop.
    Signal,
}

/// A capture in progress.
pub struct Agent {
    kernel: Kernel,
    pipeline: Pipeline,
    folds: Folds,
    uplink: Uplink,
    sessions: Option<Sessions>,
    consumer: Consumer,
    phase: Phase,
    anchored: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Capturing,
    /// Detached; the rings still hold records.
    Draining,
    /// The final batch is made.
    Finished,
}

enum Event {
    Records(Result<(), KernelError>),
    Hub(Command),
    Sessions,
    Tick,
    ParentGone,
    Terminated,
}

// === impl AgentError ===

impl AgentError {
    /// Returns what the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Kernel(error) => error.hint(),
            Self::Uplink(error) => error.hint(),
            Self::Filter(_) => Some("use hub, capturer and plugin of one version".to_owned()),
            Self::Silent { .. } | Self::Orphaned | Self::Signals(_) => None,
        }
    }
}

// === impl Agent ===

impl Agent {
    /// Connects to the hub and attaches to the kernel.
    ///
    /// `patience` bounds the wait for the hub; nothing is captured meanwhile. Without it the wait has no end. Programs that
    /// are `prepared` are used if they are for what the hub asks for.
    pub async fn start(
        launch: CapturerLaunch,
        patience: Option<Duration>,
        prepared: Option<Prepared>,
    ) -> Result<Self, AgentError> {
        let CapturerLaunch { session: _, node, hub, identity, ring_bytes, btf, sessions } = launch;
        let mut uplink = Uplink::new(Address { hub: hub.clone(), identity }, node.clone(), release());
        let settings = first_settings(&mut uplink);
        let settings = match patience {
            Some(patience) => timeout(patience, settings)
                .await
                .map_err(|_elapsed| AgentError::Silent { hub, seconds: patience.as_secs() })??,
            None => settings.await?,
        };
        let tracing = settings.tracing.unwrap_or_default();
        let source = match tracing.source() {
            ByteSource::Unspecified => None,
            ByteSource::Socket => Some(Source::Socket),
            ByteSource::Syscall => Some(Source::Syscall),
        };
        let pipeline = Pipeline::new(&settings, node.clone(), PathBuf::from(PROC))?;
        let mut filter = kernel_filter(pipeline.matching());
        filter.cgroups = settings.cluster;
        filter.sample = settings.sample;
        filter.packets = !tracing.without_packets;
        let kernel = if let Some(prepared) = prepared.filter(|prepared| prepared.is_for(source, &filter)) {
            prepared.attach()?
        } else {
            Kernel::attach(&Settings { ring_bytes, streams: STREAMS, btf, source, filter })?
        };
        uplink.capturing(true, kernel.source());
        let mut agent = Self {
            kernel,
            pipeline,
            folds: Folds::default(),
            uplink,
            sessions: sessions.map(Sessions::new),
            consumer: Consumer::Capturer(node),
            phase: Phase::Capturing,
            anchored: Instant::now(),
        };
        agent.rescan();
        Ok(agent)
    }

    /// Returns what the parent is told.
    #[must_use]
    pub fn ready(&self) -> CapturerReady {
        CapturerReady::Capturing { kernel: release(), source: self.kernel.source().to_owned() }
    }

    /// Captures until the parent is gone (its pipe ends) or a signal comes.
    pub async fn run(mut self, mut parent: impl AsyncRead + Unpin) -> Result<End, AgentError> {
        let mut terminated = signal(SignalKind::terminate()).map_err(AgentError::Signals)?;
        // The plugin shares our terminal and decides what an interrupt means.
        let _interrupts = signal(SignalKind::interrupt()).map_err(AgentError::Signals)?;
        let _hangups = signal(SignalKind::hangup()).map_err(AgentError::Signals)?;
        let mut tick = interval(TICK_PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match self.event(&mut parent, &mut terminated, &mut tick).await {
                Event::Records(ready) => {
                    ready?;
                    self.drain();
                    // The connection's task lives on this thread too.
                    tokio::task::yield_now().await;
                }
                Event::Hub(command) => self.obey(command)?,
                Event::Sessions => self.rescan(),
                Event::Tick => self.tick()?,
                Event::ParentGone => return Ok(End::Parent),
                Event::Terminated => {
                    self.last_words().await;
                    return Ok(End::Signal);
                }
            }
        }
    }

    async fn event(
        &mut self,
        parent: &mut (impl AsyncRead + Unpin),
        terminated: &mut Signal,
        tick: &mut tokio::time::Interval,
    ) -> Event {
        let mut byte = [0];
        tokio::select! {
            ready = self.kernel.readable(), if self.phase == Phase::Capturing => Event::Records(ready),
            command = self.uplink.command() => Event::Hub(command),
            () = changed(&mut self.sessions) => Event::Sessions,
            _ = tick.tick() => Event::Tick,
            read = parent.read(&mut byte) => match read {
                Ok(1..) => Event::Tick,
                Ok(0) | Err(_) => Event::ParentGone,
            },
            _ = terminated.recv() => Event::Terminated,
        }
    }

    /// Takes records from the rings and passes on what came of them; returns how many there were.
    fn drain(&mut self) -> usize {
        let pipeline = &mut self.pipeline;
        let taken = self.kernel.drain(&mut |record| pipeline.take(record), RECORDS_PER_TURN);
        // Rings have shares of the budget: only nothing at all says that they are empty.
        self.deliver(taken == 0);
        taken
    }

    fn deliver(&mut self, drained: bool) {
        self.pipeline.advance(monotonic_ns(), drained);
        for (connection, verdict) in self.pipeline.decisions() {
            if let Err(error) = self.kernel.decide(connection, verdict) {
                tracing::debug!(connection, %error, "a decision did not reach the kernel");
            }
        }
        for (cgroup, standing) in self.pipeline.placements() {
            if let Err(error) = self.kernel.place(cgroup, standing.placement()) {
                tracing::debug!(cgroup, %error, "a decision did not reach the kernel");
            }
        }
        self.upload();
    }

    fn upload(&mut self) {
        let now = Instant::now();
        while let Some(exchange) = self.pipeline.exchange() {
            let Some(exchange) = self.folds.take(exchange, now) else { continue };
            if !self.uplink.push(exchange) {
                self.pipeline.refused(1);
            }
        }
        if self.folds.is_due(now) {
            self.send_folds();
        }
        if self.phase == Phase::Finished {
            return;
        }
        let (kernel, pipeline, consumer) = (&self.kernel, &mut self.pipeline, &self.consumer);
        self.uplink.flush(|| pipeline.ledger().balances(consumer, &totals(kernel), false));
    }

    /// Sends the sums that are there.
    fn send_folds(&mut self) {
        let folds = self.folds.drain();
        let exchanges = folds.iter().map(|fold| fold.exchanges).sum();
        if !folds.is_empty() && !self.uplink.fold(folds) {
            self.pipeline.refused(exchanges);
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), AgentError> {
        match command {
            Command::Settings(settings) => {
                tracing::info!("connected to the hub");
                self.pipeline.rebase(settings.id_base);
                self.send_folds();
                self.folds.rest();
            }
            Command::Folding(folding) => {
                tracing::debug!(?folding, "told what is wanted");
                self.send_folds();
                if let Err(error) = self.folds.follow(&folding) {
                    tracing::warn!(%error, "whole exchanges are sent instead");
                }
            }
            Command::Pods(pods) => {
                tracing::debug!(
                    pods = pods.pods.len(),
                    gone = pods.gone.len(),
                    complete = pods.complete,
                    "told"
                );
                self.pipeline.tell(pods, monotonic_ns());
                // What was undecided may be on its way now.
                self.deliver(false);
            }
            Command::Acknowledged => {}
            Command::Moved => tracing::info!("going to another hub of the session"),
            Command::Drain => {
                if self.phase == Phase::Capturing {
                    self.detach();
                }
            }
            Command::Lost(error) if error.is_final() => return Err(error.into()),
            Command::Lost(error) => {
                if self.phase == Phase::Finished && self.uplink.is_empty() {
                    tracing::debug!(%error, "the hub has gone after the final batch");
                } else {
                    tracing::warn!(%error, "no hub; trying again");
                }
            }
        }
        Ok(())
    }

    fn rescan(&mut self) {
        let Some(sessions) = &mut self.sessions else { return };
        let change = sessions.scan();
        for pid in change.exclude {
            self.kernel.exclude(pid);
            self.pipeline.exclude(pid);
        }
        for pid in change.include {
            self.kernel.include(pid);
            self.pipeline.include(pid);
        }
    }

    fn tick(&mut self) -> Result<(), AgentError> {
        match self.phase {
            Phase::Capturing => {
                self.drain();
            }
            Phase::Draining => {
                if self.drain() == 0 {
                    self.finish();
                }
            }
            Phase::Finished => {}
        }
        if self.anchored.elapsed() > ANCHOR_PERIOD {
            self.anchored = Instant::now();
            self.pipeline.anchor();
        }
        if self.uplink.silence() > HUB_LEASE {
            self.kernel.detach();
            return Err(AgentError::Orphaned);
        }
        Ok(())
    }

    fn detach(&mut self) {
        self.kernel.detach();
        self.uplink.capturing(false, self.kernel.source());
        self.phase = Phase::Draining;
    }

    /// Makes the final batch.
    fn finish(&mut self) {
        let now_ns = monotonic_ns();
        self.pipeline.unanswered(&self.kernel.waiting(), now_ns);
        self.pipeline.finish(now_ns);
        self.phase = Phase::Finished;
        self.upload();
        self.send_folds();
        let balances = self.pipeline.ledger().balances(&self.consumer, &totals(&self.kernel), true);
        tracing::debug!(kernel = ?totals(&self.kernel), ledger = ?self.pipeline.ledger(), "the final totals");
        self.uplink.finish(balances);
    }

    /// Ends the capture and gives the hub a moment to take the final batch.
    async fn last_words(&mut self) {
        let deadline = Instant::now() + FINAL_BATCH_TIMEOUT;
        if self.phase == Phase::Capturing {
            self.detach();
        }
        if self.phase == Phase::Draining {
            while self.drain() > 0 {}
            self.finish();
        }
        let taken = async {
            while !self.uplink.is_empty() {
                self.uplink.command().await;
            }
        };
        if timeout_at(deadline, taken).await.is_err() {
            tracing::warn!("the hub did not take the final batch in time");
        }
    }
}

async fn first_settings(uplink: &mut Uplink) -> Result<Box<CapturerSettings>, UplinkError> {
    let mut said = false;
    loop {
        match uplink.command().await {
            Command::Settings(settings) => return Ok(settings),
            Command::Lost(error) if error.is_final() => return Err(error),
            Command::Lost(error) if said => tracing::debug!(%error, "the hub does not answer yet"),
            Command::Lost(error) => {
                tracing::info!(%error, "waiting for the hub");
                said = true;
            }
            Command::Acknowledged
            | Command::Drain
            | Command::Moved
            | Command::Pods(_)
            | Command::Folding(_) => {}
        }
    }
}

/// Waits until the sessions of this machine are to be looked at; in a cluster for ever.
async fn changed(sessions: &mut Option<Sessions>) {
    match sessions {
        Some(sessions) => sessions.changed().await,
        None => std::future::pending().await,
    }
}

fn totals(kernel: &Kernel) -> ledger::KernelEvents {
    let crate::kernel::Totals { seen, delivered, filtered, ring, miss, fault, map } = kernel.totals();
    ledger::KernelEvents { seen, delivered, filtered, ring, miss, fault, map }
}

/// Returns the kernel's release.
fn release() -> String {
    nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}
