//! One viewer's streams from the other hubs.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use proto::v1;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tonic::{Status, Streaming};

use super::Peer;
use crate::live::{Relay, Stat, Takes, Watch};
use crate::stats::SAMPLE_PAYLOAD;

/// How a stream of responses is opened at another hub.
trait Ask<R>: Clone + Send + Sync + 'static {
    fn ask(&self, peer: &Peer, from_start: bool)
    -> impl Future<Output = Result<Streaming<R>, Status>> + Send;
}

/// A stream from another hub, which ends however its task does.
struct Open<R, V: Takes<R>> {
    viewer: Weak<V>,
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
    if request.count == 0 && !request.prefer_client {
        return begin(peers, request, true, viewer);
    }
    let payload = if request.samples > 0 { SAMPLE_PAYLOAD } else { 0 };
    let request = v1::WatchRequest {
        filter: request.filter,
        payload_bytes: u32::try_from(payload).unwrap_or_default(),
        from_start: true,
    };
    begin(peers, request, true, viewer)
}

fn begin<R: Send + 'static, V: Takes<R>>(
    mut peers: watch::Receiver<Vec<Arc<Peer>>>,
    ask: impl Ask<R>,
    from_start: bool,
    viewer: &Arc<V>,
) -> JoinSet<()> {
    let viewer = Arc::downgrade(viewer);
    let mut pulls = JoinSet::new();
    let mut known = HashSet::new();
    let mut running: Vec<(Arc<Peer>, AbortHandle)> = Vec::new();
    // Those that are there now count as open before the viewer reads its first response.
    for peer in peers.borrow_and_update().iter() {
        known.insert(peer.instance);
        let task = pulls.spawn(pull(Arc::clone(peer), ask.clone(), from_start, Open::new(&viewer)));
        running.push((Arc::clone(peer), task));
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
            for peer in &now {
                if running.iter().any(|(other, _)| Arc::ptr_eq(peer, other)) {
                    continue;
                }
                // All of a hub that came later is new to the viewer; one that is back goes on where it is.
                let all = known.insert(peer.instance);
                let task = pulls.spawn(pull(Arc::clone(peer), ask.clone(), all, Open::new(&viewer)));
                running.push((Arc::clone(peer), task));
            }
            while pulls.try_join_next().is_some() {}
        }
    });
    tasks
}

async fn pull<R, V: Takes<R>>(peer: Arc<Peer>, ask: impl Ask<R>, from_start: bool, open: Open<R, V>) {
    let mut stream = match ask.ask(&peer, from_start).await {
        Ok(stream) => stream,
        Err(status) => return tracing::warn!(hub = peer.name, %status, "a hub's stream does not open"),
    };
    loop {
        match stream.message().await {
            Ok(Some(response)) => {
                let Some(viewer) = open.viewer.upgrade() else { return };
                if viewer.relay(open.relay, response) {
                    return;
                }
            }
            Ok(None) => return,
            Err(status) => return tracing::warn!(hub = peer.name, %status, "a hub's stream broke"),
        }
    }
}

// === impl Open ===

impl<R, V: Takes<R>> Open<R, V> {
    fn new(viewer: &Weak<V>) -> Self {
        let relay = viewer.upgrade().map_or(0, |viewer| viewer.relay_begins());
        Self { viewer: Weak::clone(viewer), relay, responses: std::marker::PhantomData }
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
        let request = v1::WatchRequest { from_start, ..self.clone() };
        Ok(peer.client().watch(request).await?.into_inner())
    }
}

impl Ask<v1::StatPart> for v1::StatRequest {
    async fn ask(&self, peer: &Peer, _from_start: bool) -> Result<Streaming<v1::StatPart>, Status> {
        Ok(peer.client().stat(self.clone()).await?.into_inner())
    }
}
