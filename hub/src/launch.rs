//! The hub as a child process: launched by one line on standard input, ended by its end.

pub mod cluster;

use std::io::{BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto::causes::with_causes;
use proto::launch::{HubAnswer, HubFailed, HubLaunch, HubPlace, HubReady, StoreChoice};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::service::{self, Listen, ServiceError};
use crate::session::{Lag, Session, SessionError};
use crate::workloads::WorkloadsError;

/// Longest line of launch that is read: it holds three certificates and a filter.
const MAX_LAUNCH_BYTES: u64 = 4 << 20;

/// From the parent's end to this process's end, whatever hangs.
const EXIT_TIMEOUT: Duration = Duration::from_millis(900);

/// Of which the store has this to close.
const STORE_CLOSE_TIMEOUT: Duration = Duration::from_millis(700);

/// Time for a drain after SIGTERM.
const DRAIN_AFTER_SIGTERM: Duration = Duration::from_secs(3);

/// Threads that serve; each has its own arena of memory.
const THREADS: usize = 2;

/// Why the hub does not run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The mounted launch cannot be read.
    #[error("cannot read the launch `{file}`", file = file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The mounted launch is that of a local session.
    #[error("the launch `{file}` is not one of a cluster", file = file.display())]
    Place {
        /// The file.
        file: PathBuf,
    },
    /// Standard input or output failed.
    #[error("cannot read the launch or answer it")]
    Pipe(#[source] std::io::Error),
    /// The line is not a launch of this version.
    #[error("the launch is not readable: it is one line of JSON, written by kubectl-kyanos")]
    Launch(#[source] serde_json::Error),
    /// The runtime could not be made, or signals not be handled.
    #[error("cannot start")]
    Runtime(#[source] std::io::Error),
    /// The session cannot begin.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The cluster's API cannot be used.
    #[error(transparent)]
    Workloads(#[from] WorkloadsError),
    /// The services cannot be served.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// What is removed at the end.
#[derive(Clone, Debug)]
struct Remains {
    directory: PathBuf,
    store: Option<PathBuf>,
}

enum Event {
    ParentGone,
    Terminated,
}

/// Runs the hub until its parent is gone or it is told to end; what keeps it from starting is answered to the parent.
pub fn run() -> Result<(), LaunchError> {
    let result = start();
    if let Err(error) = &result {
        let failed = HubFailed { error: with_causes(error), hint: hint(error) };
        answer(&HubAnswer::Failed(failed)).map_err(LaunchError::Pipe)?;
    }
    result
}

fn start() -> Result<(), LaunchError> {
    let mut line = String::new();
    let mut input = std::io::stdin().lock().take(MAX_LAUNCH_BYTES);
    input.read_line(&mut line).map_err(LaunchError::Pipe)?;
    drop(input);
    let launch: HubLaunch = serde_json::from_str(&line).map_err(LaunchError::Launch)?;
    drop(line);
    let remains = Remains::of(&launch);
    let parent = watch_parent(remains.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(LaunchError::Runtime)?;
    let result = runtime.block_on(serve(&launch, &remains, parent));
    // Nothing more is waited for: streams and blocking reads end with the process.
    runtime.shutdown_background();
    result
}

async fn serve(
    launch: &HubLaunch,
    remains: &Remains,
    parent: oneshot::Receiver<()>,
) -> Result<(), LaunchError> {
    // Of a terminal's signals only the plugin's own handling counts: it drains the session first.
    let mut ignored = [SignalKind::interrupt(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<Result<Vec<_>, _>>()
        .map_err(LaunchError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(LaunchError::Runtime)?;
    let session = Session::begin(launch).await?;
    if let Err(error) = open(&session, launch).await {
        // What beginning made, in the store's server too, goes as at every end.
        end(Event::ParentGone, &session, launch.keep, remains).await;
        return Err(error);
    }
    tokio::spawn(async move {
        for signal in &mut ignored {
            while signal.recv().await.is_some() {}
        }
    });
    let event = tokio::select! {
        _ = parent => Event::ParentGone,
        _ = terminate.recv() => Event::Terminated,
    };
    end(event, &session, launch.keep, remains).await;
    Ok(())
}

/// Serves, and tells the parent where; one that was stopped meanwhile does not hear it.
async fn open(session: &Arc<Session>, launch: &HubLaunch) -> Result<(), LaunchError> {
    let ports = service::serve(session, &launch.identity, Listen::Loopback).await?;
    let ready = HubReady { ingest_port: ports.ingest, viewer_port: ports.viewer };
    answer(&HubAnswer::Ready(ready)).map_err(LaunchError::Pipe)
}

async fn end(event: Event, session: &Arc<Session>, keep: bool, remains: &Remains) {
    match event {
        Event::Terminated => {
            session.drain("SIGTERM", DRAIN_AFTER_SIGTERM, Lag::GivenUp).await;
            session.close(keep, Instant::now() + STORE_CLOSE_TIMEOUT).await;
            // The parent lives and looks after the directory.
            remains.remove_store();
        }
        Event::ParentGone => {
            session.close(keep, Instant::now() + STORE_CLOSE_TIMEOUT).await;
            remains.remove();
        }
    }
}

// === impl Remains ===

impl Remains {
    fn of(launch: &HubLaunch) -> Self {
        let store = match &launch.store {
            StoreChoice::Sqlite { path } if !launch.keep => Some(path.clone()),
            StoreChoice::Sqlite { .. } | StoreChoice::Mysql { .. } | StoreChoice::None => None,
        };
        let directory = match &launch.place {
            HubPlace::Local { directory } => directory.clone(),
            HubPlace::Cluster { .. } => PathBuf::new(),
        };
        Self { directory, store }
    }

    fn remove(&self) {
        self.remove_store();
        say(&self.directory, std::fs::remove_dir_all(&self.directory));
    }

    fn remove_store(&self) {
        for file in
            self.store.iter().flat_map(|store| ["", "-wal", "-shm", "-journal"].map(|end| with(store, end)))
        {
            say(&file, std::fs::remove_file(&file));
        }
    }
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn say(path: &Path, result: std::io::Result<()>) {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "not removed");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Tells when the parent's end of the pipe is closed, and makes sure that this process follows it.
fn watch_parent(remains: Remains) -> oneshot::Receiver<()> {
    let (gone, parent) = oneshot::channel();
    std::thread::spawn(move || {
        let mut rest = [0; 256];
        let mut input = std::io::stdin().lock();
        // Nothing more is said over the pipe; an error is its end too.
        while matches!(input.read(&mut rest), Ok(1..)) {}
        let _told = gone.send(());
        std::thread::sleep(EXIT_TIMEOUT);
        remains.remove();
        std::process::exit(1);
    });
    parent
}

fn answer(answer: &HubAnswer) -> std::io::Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    let mut output = std::io::stdout().lock();
    output.write_all(line.as_bytes())?;
    output.flush()
}

fn hint(error: &LaunchError) -> Option<String> {
    match error {
        LaunchError::Session(SessionError::Store(error)) => error.hint().map(str::to_owned),
        LaunchError::Launch(_) => Some("use hub and kubectl-kyanos of one version".to_owned()),
        LaunchError::Session(SessionError::Filter(_))
        | LaunchError::Workloads(_)
        | LaunchError::Pipe(_)
        | LaunchError::File { .. }
        | LaunchError::Place { .. }
        | LaunchError::Runtime(_)
        | LaunchError::Service(_) => None,
    }
}
