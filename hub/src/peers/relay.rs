//! One viewer's streams from the other hubs.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use proto::v1;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tonic::{Status, Streaming};

use super::Peer;
use crate::live::{Relay, Stat, Takes, Watch};
use crate::stats::SAMPLE_PAYLOAD;

/// Between two attempts to open a stream that broke.
const REOPEN_PAUSE: Duration = Duration::from_millis(300);

/// How a stream of responses is opened at another hub.
trait Ask<R>: Clone + Send + Sync + 'static {
    fn ask(&self, peer: &Peer, from_start: bool)
    -> impl Future<Output = Result<Streaming<R>, Status>> + Send;
}

/// A stream from another hub, which ends however its task does.
struct Open<R, V: Takes<R>> {
    viewer: Weak<V>,
    peer: Arc<Peer>,
    relay: Relay,
    responses: std::marker::PhantomData<fn(R)>,
}

/// Passes what other hubs see on to a viewer until the returned tasks are dropped.
#[must_use]
pub fn watch(
    peers: watch::Receiver<Vec<Arc<Peer>>>,
    request: v1::WatchRequest,
    viewer: &Arc<Watch>,
) -> JoinSet<()> {
    let from_start = request.from_start;
    begin(peers, request, from_start, viewer)
}

/// Passes what other hubs count on to a viewer until the returned tasks are dropped.
///
/// Where a number is to be counted exactly, or sides are told apart that different hubs may see, exchanges come one by
/// one; else what each hub counted, with its sketches.
#[must_use]
pub fn stat(
    peers: watch::Receiver<Vec<Arc<Peer>>>,
    request: v1::StatRequest,
    viewer: &Arc<Stat>,
) -> JoinSet<()> {
    let from_start = !request.from_now;
    if request.count == 0 && !request.prefer_client {
        return begin(peers, request, from_start, viewer);
    }
    let payload = if request.samples > 0 { SAMPLE_PAYLOAD } else { 0 };
    let request = v1::WatchRequest {
        filter: request.filter,
        payload_bytes: u32::try_from(payload).unwrap_or_default(),
        from_start,
        resume: None,
    };
    begin(peers, request, from_start, viewer)
}

fn begin<R: Send + 'static, V: Takes<R>>(
    mut peers: watch::Receiver<Vec<Arc<Peer>>>,
    ask: impl Ask<R>,
    from_start: bool,
    viewer: &Arc<V>,
) -> JoinSet<()> {
    let viewer = Arc::downgrade(viewer);
    let mut pulls = JoinSet::new();
    let mut running: Vec<(Arc<Peer>, AbortHandle)> = Vec::new();
    // Those that are there now count as open before the viewer reads its first response.
    let first = peers.borrow_and_update().clone();
    let there: HashSet<u64> = first.iter().map(|peer| peer.instance).collect();
    for peer in first {
        let task = pulls.spawn(pull(ask.clone(), from_start, Open::new(&viewer, &peer)));
        running.push((peer, task));
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while peers.changed().await.is_ok() {
            let now = peers.borrow_and_update().clone();
            running.retain(|(peer, task)| {
                let stays = now.iter().any(|other| Arc::ptr_eq(peer, other));
                if !stays {
                    task.abort();
                }
                stays
            });
            for peer in now {
                if running.iter().any(|(other, _)| Arc::ptr_eq(&peer, other)) {
                    continue;
                }
                // All of a hub that came later is new to the viewer.
                let all = from_start || !there.contains(&peer.instance);
                let task = pulls.spawn(pull(ask.clone(), all, Open::new(&viewer, &peer)));
                running.push((peer, task));
            }
            while pulls.try_join_next().is_some() {}
        }
    });
    tasks
}

/// Follows a hub for a viewer, by one stream after another while it can be called; the first brings `all` that the hub
/// has of the session's start, the next ones go on where the hub is.
async fn pull<R, V: Takes<R>>(ask: impl Ask<R>, all: bool, mut open: Open<R, V>) {
    loop {
        let from_start = all && !open.has_told();
        let status = match follow(&ask, from_start, &open).await {
            Ok(()) => return,
            Err(status) => status,
        };
        tracing::warn!(hub = open.peer.name, %status, "a hub's stream broke");
        // It will not take this viewer, however often it is asked.
        if v1::Refusal::of(&status).is_some_and(|refusal| !refusal.kind().is_passing()) {
            return;
        }
        tokio::time::sleep(REOPEN_PAUSE).await;
        // The next one begins before this one ends: the viewer waits for it.
        open = Open::new(&open.viewer, &open.peer);
    }
}

/// Takes one stream to its end.
async fn follow<R, V: Takes<R>>(
    ask: &impl Ask<R>,
    from_start: bool,
    open: &Open<R, V>,
) -> Result<(), Status> {
    let mut stream = ask.ask(&open.peer, from_start).await?;
    loop {
        let broken = || Status::unavailable("the stream ended without the session");
        let response = stream.message().await?.ok_or_else(broken)?;
        let Some(viewer) = open.viewer.upgrade() else { return Ok(()) };
        if viewer.relay(open.relay, response) {
            return Ok(());
        }
    }
}

// === impl Open ===

impl<R, V: Takes<R>> Open<R, V> {
    fn new(viewer: &Weak<V>, peer: &Arc<Peer>) -> Self {
        let hub = peer.instance;
        let relay = viewer.upgrade().map_or(Relay { hub, stream: 0 }, |viewer| viewer.relay_begins(hub));
        let (viewer, peer) = (Weak::clone(viewer), Arc::clone(peer));
        Self { viewer, peer, relay, responses: std::marker::PhantomData }
    }

    fn has_told(&self) -> bool {
        self.viewer.upgrade().is_some_and(|viewer| viewer.has_told(self.peer.instance))
    }
}

impl<R, V: Takes<R>> Drop for Open<R, V> {
    fn drop(&mut self) {
        if let Some(viewer) = self.viewer.upgrade() {
            viewer.relay_ends();
        }
    }
}

impl Ask<v1::WatchResponse> for v1::WatchRequest {
    async fn ask(&self, peer: &Peer, from_start: bool) -> Result<Streaming<v1::WatchResponse>, Status> {
        let request = v1::WatchRequest { from_start, resume: None, ..self.clone() };
        Ok(peer.client().watch(request).await?.into_inner())
    }
}

impl Ask<v1::StatPart> for v1::StatRequest {
    async fn ask(&self, peer: &Peer, from_start: bool) -> Result<Streaming<v1::StatPart>, Status> {
        let request = v1::StatRequest { from_now: !from_start, resume: None, ..self.clone() };
        Ok(peer.client().stat(request).await?.into_inner())
    }
}
