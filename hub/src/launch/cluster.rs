//! The hub in a pod: launched by a mounted Secret, ended by SIGTERM.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proto::causes::with_causes;
use proto::launch::{HubLaunch, HubPlace, INGEST_PORT, POD_VARIABLE};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{LaunchError, THREADS};
use crate::lease::{self, Cluster, Over, Terms};
use crate::peers;
use crate::peers::link::{self, Addresses};
use crate::service::{self, Listen};
use crate::session::Session;
use crate::workloads::{self, Client, Workloads};

/// Of the pod's grace period of 1 s, what closing may take: written is what waits for the store, the rest is counted.
const STORE_CLOSE_TIMEOUT: Duration = Duration::from_millis(700);

/// The same of a hub that another one replaced as leader.
const DEPOSED_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the store is left alone for want of this pod's address, by which the hub's own traffic is known.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// Until capturers have been told of an address that a hub knows.
const ADDRESS_TOLD_DELAY: Duration = Duration::from_millis(500);

/// Between two looks at how capturers are shared out among hubs.
const SPREAD_PERIOD: Duration = Duration::from_secs(2);

/// Changes of pods within this time are looked at together.
const PODS_GATHER_PERIOD: Duration = Duration::from_millis(100);

/// Runs the hub until SIGTERM.
pub fn run(file: &Path) -> Result<(), LaunchError> {
    let result = start(file);
    if let Err(error) = &result {
        tracing::error!(error = with_causes(error), "the hub cannot run");
    }
    result
}

fn start(file: &Path) -> Result<(), LaunchError> {
    let launch = read(file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(LaunchError::Runtime)?;
    let result = runtime.block_on(serve(&launch));
    runtime.shutdown_background();
    result
}

fn read(file: &Path) -> Result<HubLaunch, LaunchError> {
    let json = std::fs::read(file).map_err(|source| LaunchError::File { file: file.to_owned(), source })?;
    let launch: HubLaunch = serde_json::from_slice(&json).map_err(LaunchError::Launch)?;
    match launch.place {
        HubPlace::Cluster { .. } => Ok(launch),
        HubPlace::Local { .. } => Err(LaunchError::Place { file: file.to_owned() }),
    }
}

async fn serve(launch: &HubLaunch) -> Result<(), LaunchError> {
    // As pid 1 of its container the process has no default for signals: without handlers it would wait for SIGKILL.
    let mut terminate = Signals::new()?;
    let name = std::env::var(POD_VARIABLE).unwrap_or_else(|_| launch.session.clone());
    let namespace = match &launch.place {
        HubPlace::Cluster { namespace } => namespace.clone(),
        HubPlace::Local { .. } => String::new(),
    };
    let workloads = Arc::new(Workloads::new(&launch.filter)?);
    let known = workloads.has_address(&namespace, &name);
    let known = async {
        if timeout(ADDRESS_TIMEOUT, known).await.is_ok() {
            sleep(ADDRESS_TOLD_DELAY).await;
        }
    };
    let session = Session::begin_as(launch, &name, known).await?;
    // Neither the API nor the store gates the session: watches begin, and begin again, on their own.
    let client = workloads::client()?;
    session.follow(Arc::clone(&workloads));
    let cluster = Cluster::new(client.clone(), namespace.clone(), name, launch.hubs > 1);
    let ingest = service::serve_ingest(&session, &launch.identity, Listen::Pod).await?;
    tracing::info!(session = launch.session, ingest, version = env!("CARGO_PKG_VERSION"), "the hub serves");
    let leader = Leader { launch, namespace, client, workloads, session: &session, cluster: &cluster };
    let leads = leader.run();
    let over = tokio::select! {
        over = leads => Some(over?),
        () = terminate.received() => None,
    };
    match over {
        Some(Over::Gone) => {
            // Nothing is left to do but to be ended with the pod.
            terminate.received().await;
            session.close(launch.keep, Instant::now() + STORE_CLOSE_TIMEOUT).await;
        }
        // Nobody ends the pod: the store may have its time.
        Some(Over::Deposed) => session.close(launch.keep, Instant::now() + DEPOSED_CLOSE_TIMEOUT).await,
        None => {
            let give_up = async {
                if launch.hubs > 1 {
                    let given = tokio::time::timeout(STORE_CLOSE_TIMEOUT, cluster.give_up()).await;
                    tracing::debug!(?given, "the Lease is for others to take");
                }
            };
            tokio::join!(session.close(launch.keep, Instant::now() + STORE_CLOSE_TIMEOUT), give_up);
        }
    }
    let stored = session.own_state().stored;
    tracing::info!(stored, "the hub ended");
    Ok(())
}

/// What the hub that leads does beside taking in what its capturers see.
struct Leader<'a> {
    launch: &'a HubLaunch,
    namespace: String,
    client: Client,
    workloads: Arc<Workloads>,
    session: &'a Arc<Session>,
    cluster: &'a Cluster,
}

// === impl Leader ===

impl Leader<'_> {
    /// Leads once this hub may, until the session is gone or another hub leads; the process ends then, and begins
    /// anew as one that follows.
    async fn run(&self) -> Result<Over, LaunchError> {
        let several = self.launch.hubs > 1;
        let won = if several { Some(lease::win(self.cluster, self.session).await) } else { None };
        let earlier = won.map(|won| won.earlier);
        if let Some(won) = won {
            self.session.leaders.lead(won.turn);
        }
        self.session.leads(true);
        if earlier == Some(true) {
            self.session.peers.succeed();
        }
        let _watches = self.workloads.watch(&self.client);
        // Only here: a plugin that reaches a hub that follows is refused, and tries the next.
        service::serve_viewer(self.session, &self.launch.identity, Listen::Pod).await?;
        let terms = Terms::of(self.launch);
        let keep = lease::keep(self.cluster.clone(), Arc::clone(self.session), terms, earlier);
        if !several {
            return Ok(keep.await);
        }
        tracing::info!("this hub leads");
        let (sender, addresses) = watch::channel(Addresses::new());
        let led = link::lead(
            Arc::clone(self.session),
            Arc::clone(&self.workloads),
            self.launch.identity.clone(),
            addresses,
        );
        tokio::select! {
            over = keep => Ok(over),
            // Cut off from the API alone it would renew the Lease in vain; another hub says who leads.
            () = self.session.leaders.deposed() => Ok(Over::Deposed),
            () = led => Ok(Over::Deposed),
            () = self.look_around(&sender) => Ok(Over::Deposed),
        }
    }

    /// Says where the other hubs are, and shares capturers out among all.
    async fn look_around(&self, others: &watch::Sender<Addresses>) {
        let mut changes = self.workloads.changes();
        let own = self.session.hub_name();
        loop {
            let mut hubs: Addresses = self
                .workloads
                .hubs(&self.namespace)
                .into_iter()
                .map(|(name, ip)| (name, SocketAddr::new(ip, INGEST_PORT).to_string()))
                .collect();
            let own_address = hubs.remove(own);
            others.send_if_modified(|known| {
                let new = *known != hubs;
                *known = hubs;
                new
            });
            if let Some(address) = own_address {
                peers::spread(self.session, &address);
            }
            // A change is looked at once the rest of it is there.
            if timeout(SPREAD_PERIOD, changes.changed()).await.is_ok() {
                sleep(PODS_GATHER_PERIOD).await;
            }
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, LaunchError> {
        let terminate = signal(SignalKind::terminate()).map_err(LaunchError::Runtime)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(LaunchError::Runtime)?;
        Ok(Self { terminate, interrupt })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
