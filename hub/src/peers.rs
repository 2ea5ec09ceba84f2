//! The other hubs of a session, as the one that leads sees them: it tells them what it knows of the cluster, passes
//! their streams and statistics on to its viewers, and adds up their ledgers.

pub mod link;
mod merge;
pub mod relay;
mod spread;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use proto::v1;
use proto::v1::peer_client::PeerClient;
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;

pub use self::merge::HubState;
pub use self::spread::spread;
use crate::session::{Drained, Lag};

/// Time that a peer's answer to a drain may take beyond what the drain itself may.
const DRAIN_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Commands on their way to a peer; there is one at a time.
const QUEUED_COMMANDS: usize = 4;

/// All other hubs that were heard of.
#[derive(Debug)]
pub struct Peers {
    /// Those that can be called now.
    connected: watch::Sender<Vec<Arc<Peer>>>,
    /// By instance, newest state of each, also of those that are gone.
    known: Mutex<BTreeMap<u64, Known>>,
    /// Whether another hub, or an earlier process of this one, led before.
    succeeds: AtomicBool,
}

/// Another hub that is connected.
#[derive(Debug)]
pub struct Peer {
    /// Random number of its process.
    pub instance: u64,
    /// Name of its pod.
    pub name: String,
    /// `HOST:PORT` of its ingest service.
    pub address: String,
    client: PeerClient<Channel>,
    commands: mpsc::Sender<v1::follow_request::Kind>,
}

#[derive(Debug)]
struct Known {
    name: String,
    state: HubState,
    connected: bool,
}

// === impl Peers ===

impl Default for Peers {
    fn default() -> Self {
        Self {
            connected: watch::Sender::new(Vec::new()),
            known: Mutex::default(),
            succeeds: AtomicBool::new(false),
        }
    }
}

impl Peers {
    /// Those that can be called now, and their changes.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<Vec<Arc<Peer>>> {
        self.connected.subscribe()
    }

    /// A hub answers.
    fn add(&self, peer: Arc<Peer>, state: HubState) {
        let known = Known { name: peer.name.clone(), state, connected: true };
        self.known().insert(peer.instance, known);
        self.connected.send_modify(|peers| {
            peers.retain(|other| other.instance != peer.instance);
            peers.push(peer);
        });
    }

    fn note(&self, instance: u64, state: HubState) {
        if let Some(known) = self.known().get_mut(&instance) {
            known.state = state;
        }
    }

    /// The connection to a hub is over.
    fn remove(&self, peer: &Arc<Peer>) {
        if let Some(known) = self.known().get_mut(&peer.instance) {
            known.connected = false;
        }
        self.connected.send_modify(|peers| peers.retain(|other| !Arc::ptr_eq(other, peer)));
    }

    /// Notes that another hub led before: it is gone, and so may be others of which only it knew.
    pub fn succeed(&self) {
        self.succeeds.store(true, Ordering::Relaxed);
    }

    /// Whether a hub that took exchanges may be gone: what it had not stored is then known to the database alone.
    #[must_use]
    pub fn lost_one(&self) -> bool {
        self.succeeds.load(Ordering::Relaxed) || self.known().values().any(|known| !known.connected)
    }

    /// The whole session's state: `own` with those of all other hubs.
    #[must_use]
    pub fn describe(&self, name: &str, own: HubState) -> HubState {
        let known = self.known();
        let others: Vec<_> = known
            .values()
            .map(|Known { name, state, connected }| merge::Other { name, state, connected: *connected })
            .collect();
        merge::describe(name, own, &others)
    }

    /// Ends capture at all other hubs; returns what they say at the end, of each that is there.
    pub async fn drain(&self, by: &str, timeout: Duration, lag: Lag) -> Vec<Drained> {
        let request = v1::DrainSessionRequest {
            by: by.to_owned(),
            timeout_ns: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
            store_may_lag: lag == Lag::Borne,
        };
        let peers = self.connected.borrow().clone();
        let drained = join_all(peers.iter().map(|peer| {
            let (mut client, request) = (peer.client.clone(), request.clone());
            async move {
                (peer, tokio::time::timeout(timeout + DRAIN_ANSWER_TIMEOUT, client.drain(request)).await)
            }
        }));
        let mut answers = Vec::new();
        for (peer, answer) in drained.await {
            match answer {
                Ok(Ok(response)) => match Drained::try_from(response.into_inner()) {
                    Ok(drained) => {
                        if let Some(known) = self.known().get_mut(&peer.instance) {
                            // Later than the state that it last told.
                            known.state.balances.clone_from(&drained.balances);
                            known.state.told.clamped = drained.clamped;
                            known.state.told.waiting = drained.waiting;
                        }
                        answers.push(drained);
                    }
                    Err(error) => tracing::warn!(hub = peer.name, %error, "a hub's account cannot be read"),
                },
                Ok(Err(status)) => tracing::warn!(hub = peer.name, %status, "a hub did not drain"),
                Err(_elapsed) => tracing::warn!(hub = peer.name, "a hub did not drain in time"),
            }
        }
        answers
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Peer ===

impl Peer {
    /// Calls it.
    #[must_use]
    pub fn client(&self) -> PeerClient<Channel> {
        self.client.clone()
    }

    /// Asks it to send a capturer to another hub; it is asked again later where that does not get through.
    fn release(&self, node: &str, hub: &str) {
        let release = v1::Release { node: node.to_owned(), hub: hub.to_owned() };
        drop(self.commands.try_send(v1::follow_request::Kind::Release(release)));
    }
}
