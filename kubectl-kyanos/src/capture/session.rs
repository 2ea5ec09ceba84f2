//! The session that a command follows, of either kind: a hub to talk to, and what must be removed when it ends.
//!
//! Here alone is chosen between this machine and a cluster; the kinds do not know each other.

use std::time::Instant;

use tokio::sync::{mpsc, watch};

use crate::client::Client;
use crate::cluster::connect::Connection;
use crate::cluster::progress::Pods;
use crate::cluster::request::Request;
use crate::cluster::session::{self as cluster, Begun, Cluster};
use crate::cluster::teardown;
use crate::cluster::witness::ClusterWitness;
use crate::console::Console;
use crate::failure::Failure;
use crate::local::{self, Local};
use crate::session::{Notice, Remains, Wanted};
use crate::sight::{HubWord, News, Sight};
use crate::stop::{Stop, Stops};

/// Notices that may wait to be heard.
const QUEUED_NOTICES: usize = 8;

/// Where a session is or shall be.
#[derive(Clone, Debug)]
pub(crate) enum Where {
    /// On this machine.
    Local,
    /// In a cluster.
    Cluster(Box<Connection>),
}

/// A session to begin.
#[derive(Clone, Debug)]
pub(crate) struct New {
    /// What it shall be.
    pub(crate) wanted: Wanted,
    /// What a cluster is asked for; unused on this machine.
    pub(crate) cluster: Request,
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
    /// What its hub tells of the nodes, and by which clock.
    pub(crate) sights: watch::Receiver<HubWord>,
    /// The same, with what earlier hubs told.
    pub(crate) sight: Sight,
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
pub(crate) enum Started {
    /// It runs.
    Running(Box<Session>),
    /// It was stopped before it ran.
    Stopped(Stop, Remains),
}

/// Where a session's parts are.
#[derive(Debug)]
enum Place {
    /// Children of this process.
    Local(Box<Local>),
    /// Objects that this process made.
    Cluster(Box<Cluster>),
    /// Somebody else's.
    Joined(Where),
}

// === impl Session ===

impl Session {
    /// Starts a session; what it made in a cluster is in `begun`.
    ///
    /// On this machine, where that fails or is stopped, its parts end by themselves and what they made goes; a second
    /// signal, or dropping the future, kills and removes them at once.
    pub(crate) async fn start(
        place: &Where,
        New { wanted, cluster: request }: New,
        begun: &Begun,
        console: &mut Console,
        stops: &mut Stops,
    ) -> Result<Started, Failure> {
        match place {
            Where::Local => Self::start_local(wanted, console, stops).await,
            Where::Cluster(connection) => tokio::select! {
                started = Cluster::start(connection, &wanted, &request, begun, console) => {
                    let (cluster, client) = started?;
                    let name = cluster.name().to_owned();
                    Ok(Started::Running(Box::new(Self::new(name, client, Place::Cluster(Box::new(cluster))))))
                }
                stop = stops.next() => Ok(Started::Stopped(stop, Remains::default())),
            },
        }
    }

    /// Joins a running session.
    pub(crate) async fn join(place: &Where, name: &str, console: &Console) -> Result<Self, Failure> {
        let mut client = match place {
            Where::Local => local::connect(&local::Places::default(), name).await?,
            Where::Cluster(connection) => {
                let (joined, ()) =
                    tokio::join!(cluster::join(connection, name), teardown::sweep(connection, console));
                joined?
            }
        };
        let state = client.describe().await?;
        console.say(&format!("capturers {} ready", crate::render::session::capturers(&state)));
        let payload_bytes = Some(state.payload_bytes);
        let joined = Self::new(name.to_owned(), client, Place::Joined(place.clone()));
        Ok(Self { payload_bytes, ..joined })
    }

    async fn start_local(
        wanted: Wanted,
        console: &mut Console,
        stops: &mut Stops,
    ) -> Result<Started, Failure> {
        let (sender, notices) = mpsc::channel(QUEUED_NOTICES);
        let mut local = Local::create(wanted, console)?;
        let outcome = tokio::select! {
            started = local.start(&sender, console) => started.map(Ok),
            stop = stops.next() => Ok(Err(stop)),
        };
        let client = match outcome {
            Ok(Ok(client)) => client,
            Ok(Err(stop)) => return Ok(Started::Stopped(stop, cancel(local, stops).await)),
            Err(failure) => {
                console.clear();
                for left in cancel(local, stops).await.left {
                    console.warning(&format!("could not remove {left}"));
                }
                return Err(failure);
            }
        };
        let name = local.name().to_owned();
        let session = Self::with(name, client, Place::Local(Box::new(local)), (sender, notices));
        Ok(Started::Running(Box::new(session)))
    }

    fn new(name: String, client: Client, place: Place) -> Self {
        Self::with(name, client, place, mpsc::channel(QUEUED_NOTICES))
    }

    fn with(
        name: String,
        client: Client,
        place: Place,
        (sender, notices): (mpsc::Sender<Notice>, mpsc::Receiver<Notice>),
    ) -> Self {
        let (told, sights) = watch::channel(HubWord::default());
        tokio::spawn(client.clone().keep_alive(sender, told, place.witness(&name)));
        Self {
            name,
            client,
            notices,
            sights,
            sight: Sight::default(),
            began: Instant::now(),
            payload_bytes: None,
            ended_by: None,
            place,
        }
    }

    /// Whether this plugin started it, so that its end is the session's.
    pub(crate) fn is_own(&self) -> bool {
        match self.place {
            Place::Local(_) | Place::Cluster(_) => true,
            Place::Joined(_) => false,
        }
    }

    /// Whether a stream that broke can be opened again: the path to the hub, or the hub's pod, may come back.
    pub(crate) fn resumes(&self) -> bool {
        match &self.place {
            Place::Cluster(_) | Place::Joined(Where::Cluster(_)) => true,
            Place::Local(_) | Place::Joined(Where::Local) => false,
        }
    }

    /// How many nodes ever captured, as far as this plugin heard.
    pub(crate) fn nodes(&self) -> usize {
        let began = match &self.place {
            Place::Cluster(cluster) => cluster.nodes(),
            Place::Local(_) | Place::Joined(_) => 1,
        };
        self.sight.nodes().max(began)
    }

    /// Takes what its hub told last of the nodes; returns what is new.
    pub(crate) fn hear(&mut self) -> Vec<News> {
        let told = self.sights.borrow_and_update().sight.clone();
        self.sight.take(told)
    }

    /// What its hub's clock says now, nanoseconds since the Unix epoch.
    pub(crate) fn hub_now_ns(&self) -> u64 {
        self.sights.borrow().clock.now_ns()
    }

    /// Waits until all its nodes capture, or those that do not are named.
    pub(crate) fn whole(&self) -> impl Future<Output = ()> + use<> {
        let whole = match &self.place {
            Place::Cluster(cluster) => Some(cluster.whole()),
            // Their one node captures, or they were begun before.
            Place::Local(_) | Place::Joined(_) => None,
        };
        async move {
            if let Some(mut whole) = whole {
                drop(whole.wait_for(|whole| *whole).await);
            }
        }
    }

    /// Whether its nodes begin to capture one by one while this plugin waits.
    pub(crate) fn grows(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }

    /// Command that removes what it leaves.
    pub(crate) fn cleanup(&self) -> String {
        match &self.place {
            Place::Cluster(_) => format!("kubectl kyanos cleanup {}", self.name),
            Place::Local(_) | Place::Joined(_) => local::CLEANUP_COMMAND.to_owned(),
        }
    }

    /// What to say when [`Session::finish`] is stopped; `None` where it takes too short for that.
    pub(crate) fn remains(&self) -> Option<Remains> {
        match &self.place {
            Place::Cluster(cluster) => Some(cluster.remains()),
            Place::Local(_) | Place::Joined(_) => None,
        }
    }

    /// Follows its pods, where it has some of its own.
    pub(crate) fn pods(&self) -> Option<Pods> {
        match &self.place {
            Place::Cluster(cluster) => Some(cluster.pods()),
            Place::Local(_) | Place::Joined(_) => None,
        }
    }

    /// Does not keep it after all: its end removes everything.
    pub(crate) fn forgo_keeping(&mut self) {
        if let Place::Cluster(cluster) = &mut self.place {
            cluster.forgo_keeping();
        }
    }

    /// Asks beforehand for what [`Session::finish`] asks for and a cluster takes its time for. What still runs goes on for
    /// some seconds.
    pub(crate) fn announce_end(&self) -> impl Future<Output = ()> + use<> {
        let announced = match &self.place {
            Place::Cluster(cluster) => Some(cluster.announce_end()),
            Place::Local(_) | Place::Joined(_) => None,
        };
        async move {
            if let Some(announced) = announced {
                announced.await;
            }
        }
    }

    /// Ends what this plugin started and removes it.
    pub(crate) async fn finish(self) -> Remains {
        match self.place {
            Place::Local(local) => local.finish().await,
            Place::Cluster(cluster) => cluster.finish().await,
            Place::Joined(_) => Remains::default(),
        }
    }

    /// Ends what this plugin started without waiting for anything, and removes it.
    pub(crate) async fn abort(self) -> Remains {
        match self.place {
            Place::Local(local) => local.abort(),
            Place::Cluster(cluster) => cluster.abort().await,
            Place::Joined(_) => Remains::default(),
        }
    }
}

// === impl Place ===

impl Place {
    /// Who knows whether the session stands when its hub does not answer.
    fn witness(&self, session: &str) -> ClusterWitness {
        match self {
            Self::Local(_) | Self::Joined(Where::Local) => ClusterWitness::default(),
            Self::Cluster(cluster) => cluster.witness(),
            Self::Joined(Where::Cluster(connection)) => ClusterWitness::of(&connection.client, session),
        }
    }
}

/// Lets what was started end by itself, unless a signal says that this takes too long.
async fn cancel(local: Local, stops: &mut Stops) -> Remains {
    tokio::select! {
        remains = local.cancel() => remains,
        // Dropping it kills and removes.
        _signal = stops.next_signal() => Remains::default(),
    }
}
