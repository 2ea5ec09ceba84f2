//! A session: a hub to talk to, and what must be removed when it ends.
//!
//! Where hub and capturers run is the business of the kind of session; commands see a [`Session`].

pub(crate) mod local;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use proto::launch::StoreChoice;
use proto::v1;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;
use crate::stop::{Stop, Stops};

/// Notices that may wait to be heard.
const QUEUE: usize = 8;

/// What a new session shall be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its name; made up when absent.
    pub(crate) name: Option<String>,
    /// Where exchanges are stored; the session's own store has an empty path.
    pub(crate) store: StoreChoice,
    /// Bytes the store may hold; 0 is no limit.
    pub(crate) store_limit: u64,
    /// Payload bytes stored per message.
    pub(crate) max_store_bytes: u32,
    /// Payload bytes kept per message.
    pub(crate) payload_bytes: u32,
    /// Whether the store outlives the session.
    pub(crate) keep: bool,
    /// How long a kept session lives.
    pub(crate) ttl: Duration,
    /// Longest each of its parts may take to start; an old kernel's verifier is slow.
    pub(crate) timeout: Duration,
    /// Which traffic.
    pub(crate) filter: v1::Filter,
    /// What is hidden.
    pub(crate) redaction: v1::Redaction,
    /// Keep every Nth exchange.
    pub(crate) sample: u32,
    /// Bytes of each event ring.
    pub(crate) ring_bytes: u32,
    /// Type information of the kernel.
    pub(crate) btf: Option<PathBuf>,
}

/// What happens to a running session.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A part of it is gone.
    Lost(Failure),
    /// Somebody ended it.
    Ended(String),
}

/// A running session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its name.
    pub(crate) name: String,
    /// The connection to its hub.
    pub(crate) client: Client,
    /// What happens to it.
    pub(crate) notices: mpsc::Receiver<Notice>,
    /// When this plugin began to capture or joined.
    pub(crate) began: Instant,
    /// Payload bytes that it keeps per message, where this plugin did not choose it.
    pub(crate) payload_bytes: Option<u32>,
    /// Who ended it, once that is known.
    pub(crate) ended_by: Option<String>,
    place: Place,
}

/// What came of beginning a session.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It runs.
    Running(Box<Session>),
    /// It was stopped before it ran.
    Stopped(Stop, Remains),
}

/// Where a session's parts are.
#[derive(Debug)]
enum Place {
    /// Children of this process.
    Local(Box<local::Local>),
    /// Somebody else's.
    Joined,
}

/// What remains when a session ended.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// The store's file, where it was kept.
    pub(crate) kept: Option<PathBuf>,
    /// What could not be removed.
    pub(crate) left: Vec<String>,
}

// === impl Session ===

impl Session {
    /// Starts a session on this machine; where that fails or is stopped, its parts end by themselves and what they made
    /// goes. A second signal, or dropping the future, kills and removes them at once.
    pub(crate) async fn start_local(
        wanted: Wanted,
        console: &mut Console,
        stops: &mut Stops,
    ) -> Result<Begun, Failure> {
        let (sender, notices) = mpsc::channel(QUEUE);
        let mut local = local::Local::create(wanted, console)?;
        let outcome = tokio::select! {
            started = start(&mut local, &sender, console) => started.map(Ok),
            stop = stops.next() => Ok(Err(stop)),
        };
        let client = match outcome {
            Ok(Ok(client)) => client,
            Ok(Err(stop)) => return Ok(Begun::Stopped(stop, cancel(local, stops).await)),
            Err(failure) => {
                console.clear();
                for left in cancel(local, stops).await.left {
                    console.warning(&format!("could not remove {left}"));
                }
                return Err(failure);
            }
        };
        tokio::spawn(client.clone().keep_alive(sender));
        let name = local.name().to_owned();
        Ok(Begun::Running(Box::new(Self {
            name,
            client,
            notices,
            began: Instant::now(),
            payload_bytes: None,
            ended_by: None,
            place: Place::Local(Box::new(local)),
        })))
    }

    /// Joins a running session on this machine.
    pub(crate) async fn join_local(name: &str) -> Result<Self, Failure> {
        let (sender, notices) = mpsc::channel(QUEUE);
        let mut client = local::connect(&local::Places::default(), name).await?;
        let payload_bytes = Some(client.describe().await?.payload_bytes);
        tokio::spawn(client.clone().keep_alive(sender));
        Ok(Self {
            name: name.to_owned(),
            client,
            notices,
            began: Instant::now(),
            payload_bytes,
            ended_by: None,
            place: Place::Joined,
        })
    }

    /// Whether this plugin started it, so that its end is the session's.
    pub(crate) fn is_own(&self) -> bool {
        match self.place {
            Place::Local(_) => true,
            Place::Joined => false,
        }
    }

    /// Ends what this plugin started and removes it.
    pub(crate) async fn finish(self) -> Remains {
        match self.place {
            Place::Local(local) => local.finish().await,
            Place::Joined => Remains::default(),
        }
    }

    /// Ends what this plugin started without waiting for anything, and removes it.
    pub(crate) fn abort(self) -> Remains {
        match self.place {
            Place::Local(local) => local.abort(),
            Place::Joined => Remains::default(),
        }
    }
}

/// Starts hub and capturer.
async fn start(
    local: &mut local::Local,
    notices: &mpsc::Sender<Notice>,
    console: &mut Console,
) -> Result<Client, Failure> {
    console.step("starting the hub …");
    let port = local.start_hub(notices, console).await?;
    console.done("hub started");
    let client = Client::connect(&local.viewer(), port).await?;
    console.step("attaching the capturer's programs …");
    let capturing = local.start_capturer(notices, console).await?;
    console.clear();
    console.say(&capturing);
    Ok(client)
}

/// Lets what was started end by itself, unless a signal says that this takes too long.
async fn cancel(local: local::Local, stops: &mut Stops) -> Remains {
    tokio::select! {
        remains = local.cancel() => remains,
        // Dropping it kills and removes.
        _signal = stops.next_signal() => Remains::default(),
    }
}
