//! The one port-forward to a session's hub, opened again whenever it broke or the hub's pod was replaced.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use proto::launch::VIEWER_PORT;
use tokio::io::DuplexStream;
use tonic::transport::Uri;

use super::apply::said;
use super::names;

/// Why there is no way to the hub at the moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// The API server does not say which pods there are: it is away, or the user may not list pods there.
    #[error("finding the hub's pod failed: {reason}")]
    Pods {
        /// What the API server or the connection to it said.
        reason: String,
    },
    /// None of the hub's pods runs; it is starting, is being replaced, or is gone with its session.
    #[error("no pod of the hub is running")]
    NoPod,
    /// The API server or the node's kubelet does not forward.
    #[error("forwarding a port of pod `{pod}` failed: {reason}")]
    Refused {
        /// The hub's pod.
        pod: String,
        /// What was said.
        reason: String,
    },
}

/// Opens connections to the viewer port of a session's hub, as tonic asks for them.
#[derive(Clone)]
pub(crate) struct Forward {
    pods: Api<Pod>,
    leases: Api<Lease>,
    selector: String,
    /// Connections opened so far: of several hubs the next one is tried when one does not answer.
    tries: Arc<AtomicUsize>,
    trouble: Arc<Mutex<Option<String>>>,
}

// === impl Forward ===

impl Forward {
    /// Leads to the hub of a session; nothing is opened yet.
    pub(crate) fn new(client: &kube::Client, session: &str) -> Self {
        Self {
            pods: Api::namespaced(client.clone(), &names::namespace(session)),
            leases: Api::namespaced(client.clone(), &names::namespace(session)),
            selector: names::part_selector(session, names::HUB),
            tries: Arc::default(),
            trouble: Arc::default(),
        }
    }

    /// What the far end last said when it refused a connection.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn open(self) -> Result<TokioIo<DuplexStream>, ForwardError> {
        let list = ListParams::default().labels(&self.selector);
        let pods = self.pods.list(&list).await;
        let pods = pods.map_err(|error| ForwardError::Pods { reason: said(&error) })?;
        let names = running(&pods.items);
        let Some(pod) = self.choose(&names).await else {
            return Err(ForwardError::NoPod);
        };
        let refused = |reason: String| ForwardError::Refused { pod: pod.clone(), reason };
        let opened = self.pods.portforward(&pod, &[VIEWER_PORT]).await;
        let mut forward = opened.map_err(|error| refused(said(&error)))?;
        let (Some(stream), Some(error)) = (forward.take_stream(VIEWER_PORT), forward.take_error(VIEWER_PORT))
        else {
            return Err(refused("the port was not opened".to_owned()));
        };
        let trouble = Arc::clone(&self.trouble);
        tokio::spawn(async move {
            // An error is said once; nothing is forwarded after it, though the connection may stay open.
            if let Some(reason) = error.await {
                let reason = reason.trim().to_owned();
                *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
            }
            forward.abort();
        });
        Ok(TokioIo::new(stream))
    }

    /// The hub that leads; while that is not known, or where it did not answer, one after the other.
    async fn choose(&self, names: &[&str]) -> Option<String> {
        let tries = self.tries.fetch_add(1, Ordering::Relaxed);
        // The leader has every second try: its name may be that of a hub that is gone.
        if names.len() > 1 && tries.is_multiple_of(2) {
            let lease = self.leases.get(names::LEASE).await.ok().and_then(|lease| lease.spec);
            let leader = lease.and_then(|spec| spec.holder_identity);
            if let Some(leader) = leader.filter(|leader| names.contains(&leader.as_str())) {
                return Some(leader);
            }
        }
        names.get(tries.checked_rem(names.len())?).map(|name| (*name).to_owned())
    }
}

impl tower::Service<Uri> for Forward {
    type Response = TokioIo<DuplexStream>;
    type Error = ForwardError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        Box::pin(self.clone().open())
    }
}

/// Returns the names of pods whose hub runs, those on nodes that answer first.
///
/// A pod's phase does not say it: beside a hub that runs, the store's image may still be on its way.
pub(super) fn running<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Vec<&'a str> {
    let mut found: Vec<(bool, &str)> = pods
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| {
            let status = pod.status.as_ref()?;
            let runs = status.container_statuses.iter().flatten().any(|container| {
                container.name == names::HUB
                    && container.state.as_ref().is_some_and(|state| state.running.is_some())
            });
            // The node's controller sets this when the kubelet is silent.
            let silent = status.conditions.iter().flatten().any(|condition| {
                condition.type_ == "Ready" && condition.reason.as_deref() == Some("NodeNotReady")
            });
            Some((silent, pod.metadata.name.as_deref()?)).filter(|_| runs)
        })
        .collect();
    found.sort_unstable();
    let answer = found.iter().any(|(silent, _)| !silent);
    found.into_iter().filter(|(silent, _)| !(answer && *silent)).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests;
