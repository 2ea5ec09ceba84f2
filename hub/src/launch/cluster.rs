//! The hub in a pod: launched by a mounted Secret, ended by SIGTERM.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proto::launch::{HubLaunch, HubPlace, POD_VARIABLE};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::{LaunchError, THREADS, whole};
use crate::lease::{self, Cluster, Terms};
use crate::service::{self, Listen};
use crate::session::Session;
use crate::workloads::{self, Workloads};

/// Of the pod's grace period of 1 s, what closing may take: written is what waits for the store, the rest is counted.
const CLOSE: Duration = Duration::from_millis(700);

/// Runs the hub until SIGTERM.
pub fn run(file: &Path) -> Result<(), LaunchError> {
    let result = start(file);
    if let Err(error) = &result {
        tracing::error!(error = whole(error), "the hub cannot run");
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
    let session = Session::begin(launch).await?;
    // Neither the API nor the store gates the session: watches begin, and begin again, on their own.
    let client = workloads::client()?;
    session.follow(Workloads::start(&client, &launch.filter)?);
    if let HubPlace::Cluster { namespace } = &launch.place {
        let holder = std::env::var(POD_VARIABLE).unwrap_or_else(|_| launch.session.clone());
        let cluster = Cluster::new(client, namespace.clone(), holder);
        tokio::spawn(lease::keep(cluster, Arc::clone(&session), Terms::of(launch)));
    }
    let ports = service::serve(&session, &launch.identity, Listen::Pod).await?;
    tracing::info!(
        session = launch.session,
        ingest = ports.ingest,
        viewer = ports.viewer,
        version = env!("CARGO_PKG_VERSION"),
        "the hub serves"
    );
    terminate.received().await;
    session.close(launch.keep, Instant::now() + CLOSE).await;
    let stored = session.describe().stored;
    tracing::info!(stored, "the hub ended");
    Ok(())
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
