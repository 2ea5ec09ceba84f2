//! The few calls that end a session or keep it.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use proto::launch::CAPTURE_ENDED_ANNOTATION;
use serde_json::json;

use super::{LEASE_PERIOD, RENEW_PERIOD, RENEW_PERIOD_BEFORE_OTHERS};

/// Names of the session's objects, as the manifests give them.
const LEASE: &str = "session";
const DEADMAN: &str = "deadman";
const CAPTURER: &str = "capturer";

/// Label with the part of a session that a pod is of.
const COMPONENT: &str = "app.kubernetes.io/component";

/// Longest wait for one answer of the API server.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call did not succeed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server refused it or could not be reached.
    #[error("{0}")]
    Api(Box<kube::Error>),
    /// It did not answer.
    #[error("no answer within {} s", API_TIMEOUT.as_secs())]
    Silent,
    /// Another hub took the Lease: this one does not lead any more.
    #[error("hub `{by}` leads now")]
    Deposed {
        /// Its pod.
        by: String,
    },
}

/// A session's objects.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: String,
    holder: String,
    /// Whether other hubs may hold the Lease.
    several: bool,
}

/// A Lease as it was found.
#[derive(Debug)]
pub(super) struct Held {
    /// Pod of the hub that holds it; empty when none does.
    pub(super) by: String,
    /// Its version.
    pub(super) version: String,
    lease: Lease,
}

// === impl Held ===

impl Held {
    /// Whether a hub ever held it; one that gave it up left no name.
    pub(super) fn had_holder(&self) -> bool {
        let changes = self.lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
        !self.by.is_empty() || changes > 0
    }
}

// === impl Cluster ===

impl Cluster {
    /// Names the session's namespace and the hub's pod, and whether there are others.
    #[must_use]
    pub fn new(client: Client, namespace: String, holder: String, several: bool) -> Self {
        Self { client, namespace, holder, several }
    }

    /// The hub's pod.
    pub(super) fn holder(&self) -> &str {
        &self.holder
    }

    /// How often the Lease is renewed: oftener where another hub waits for it.
    pub(super) fn renews(&self) -> Duration {
        if self.several { RENEW_PERIOD_BEFORE_OTHERS } else { RENEW_PERIOD }
    }

    /// Reads the Lease.
    pub(super) async fn held(&self) -> Result<Held, LeaseError> {
        let lease = call(self.leases().get(LEASE)).await?;
        let by = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        Ok(Held { by, version: lease.metadata.resource_version.clone().unwrap_or_default(), lease })
    }

    /// Takes the Lease as it was found and returns the turn; `None` when somebody else wrote it meanwhile.
    pub(super) async fn take(&self, held: Held) -> Result<Option<u64>, LeaseError> {
        match self.write_turn(held.lease, &self.holder).await {
            Err(LeaseError::Api(error)) if code(&error) == Some(409) => Ok(None),
            result => result.map(Some),
        }
    }

    /// Lets another hub take the Lease at once, if it is ours.
    pub async fn give_up(&self) -> Result<(), LeaseError> {
        let held = self.held().await?;
        if held.by == self.holder { self.write(held.lease, "").await } else { Ok(()) }
    }

    /// Says whether a hub's pod is gone, ends or has ended.
    pub(super) async fn is_gone(&self, pod: &str) -> Result<bool, LeaseError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let this = ListParams::default().fields(&format!("metadata.name={pod}"));
        let found = call(pods.list(&this)).await?.items.into_iter().next();
        Ok(found.is_none_or(|pod| {
            let phase = pod.status.and_then(|status| status.phase);
            pod.metadata.deletion_timestamp.is_some()
                || matches!(phase.as_deref(), Some("Succeeded" | "Failed"))
        }))
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Whether a hub of this session held the Lease before; false where that cannot be read.
    pub(super) async fn had_holder(&self) -> bool {
        self.held().await.is_ok_and(|held| held.had_holder())
    }

    /// Renews the Lease.
    pub(super) async fn renew(&self) -> Result<(), LeaseError> {
        twice(|| self.renew_once()).await
    }

    /// How long ago capture ended, where a hub of a kept session noted it.
    pub(super) async fn ended_since(&self) -> Result<Option<Duration>, LeaseError> {
        let held = self.held().await?;
        let noted =
            held.lease.metadata.annotations.as_ref().and_then(|all| all.get(CAPTURE_ENDED_ANNOTATION));
        let at = noted.and_then(|at| at.parse::<Timestamp>().ok());
        Ok(at.map(|at| Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default()))
    }

    /// Notes when capture ended, for hubs after this one and for whoever asks how long the session stays.
    pub(super) async fn note_end(&self, at: Timestamp) -> Result<(), LeaseError> {
        // A renewal may be under way.
        twice(|| self.note_end_once(at)).await
    }

    async fn note_end_once(&self, at: Timestamp) -> Result<(), LeaseError> {
        let Held { mut lease, .. } = self.held().await?;
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(CAPTURE_ENDED_ANNOTATION.to_owned(), at.to_string());
        self.write(lease, &self.holder).await
    }

    async fn renew_once(&self) -> Result<(), LeaseError> {
        let Held { by, lease, version: _ } = self.held().await?;
        if self.several && by != self.holder {
            return Err(LeaseError::Deposed { by });
        }
        self.write(lease, &self.holder).await
    }

    async fn write(&self, lease: Lease, holder: &str) -> Result<(), LeaseError> {
        self.write_turn(lease, holder).await.map(drop)
    }

    /// Writes the Lease; returns how often its holder changed, which is the turn of a hub that holds it.
    async fn write_turn(&self, mut lease: Lease, holder: &str) -> Result<u64, LeaseError> {
        let spec = lease.spec.get_or_insert_default();
        let now = MicroTime(Timestamp::now());
        if spec.holder_identity.as_deref() != Some(holder) {
            spec.holder_identity = Some(holder.to_owned());
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
        }
        spec.renew_time = Some(now);
        spec.lease_duration_seconds = i32::try_from(LEASE_PERIOD.as_secs()).ok();
        let turn = spec.lease_transitions.and_then(|turn| u64::try_from(turn).ok()).unwrap_or_default();
        call(self.leases().replace(LEASE, &PostParams::default(), &lease)).await.map(|_written| turn)
    }

    /// Holds the dead man's switch this far ahead of now; it counts from the Job's start.
    pub(super) async fn extend(&self, ahead: Duration) -> Result<(), LeaseError> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        let patch = |body| {
            let jobs = jobs.clone();
            async move { call(jobs.patch(DEADMAN, &PatchParams::default(), &Patch::Merge(body))).await }
        };
        // The role allows no reading; a patch that changes nothing answers with the object.
        let job = patch(json!({})).await?;
        let started = job.status.and_then(|status| status.start_time).or(job.metadata.creation_timestamp);
        let Some(started) = started else { return Ok(()) };
        let since = Timestamp::now().as_second().saturating_sub(started.0.as_second()).max(0);
        let seconds = since.saturating_add(i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX));
        patch(json!({"spec": {"activeDeadlineSeconds": seconds}})).await.map(drop)
    }

    /// Deletes the capturers, at once where their node does not answer.
    pub(super) async fn delete_capturers(&self) -> Result<(), LeaseError> {
        self.delete_set().await?;
        self.delete_pods(&capturers()).await
    }

    /// Deletes the DaemonSet, the very one that its pods name: the role allows no reading of it.
    async fn delete_set(&self) -> Result<(), LeaseError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = call(pods.list(&capturers())).await?.items;
        let delete = match set_of(&found) {
            Some(uid) => only(Some(uid)),
            None => DeleteParams::background(),
        };
        ours(call(sets.delete(CAPTURER, &delete)).await.map(drop))
    }

    /// Deletes everything of the session; says whether all of it is gone.
    pub(super) async fn delete_session(&self) -> Result<bool, LeaseError> {
        // Whatever remains goes with the namespace, unless a node is lost: with capturers, or with an earlier hub.
        let pods = match self.delete_set().await {
            Ok(()) => self.delete_pods(&ListParams::default()).await,
            refused => refused,
        };
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let this = ListParams::default().fields(&format!("metadata.name={}", self.namespace));
        let found = call(namespaces.list(&this)).await?.items.into_iter().next();
        let Some(uid) = found.and_then(|namespace| namespace.metadata.uid) else {
            return pods.map(|()| true);
        };
        // A conflict also says that it is ending already.
        ours(call(namespaces.delete(&self.namespace, &only(Some(uid)))).await.map(drop))?;
        pods.map(|()| false)
    }

    /// Deletes the capturers among these pods, and whatever was on lost nodes.
    async fn delete_pods(&self, which: &ListParams) -> Result<(), LeaseError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = call(pods.list(which)).await?.items;
        let ready = self.ready_nodes().await?;
        let deleted = found.iter().filter_map(|pod| {
            let name = pod.metadata.name.as_deref()?;
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
            // A lost node confirms nothing: its pod would hold the namespace for ever.
            let lost = node.is_some_and(|node| !ready.contains(node));
            let labels = pod.metadata.labels.as_ref();
            let part = labels.and_then(|labels| labels.get(COMPONENT)).map(String::as_str);
            if !lost && part != Some(CAPTURER) {
                return None;
            }
            let delete = only(pod.metadata.uid.clone()).grace_period(u32::from(!lost));
            let pods = pods.clone();
            Some(async move { ours(call(pods.delete(name, &delete)).await.map(drop)) })
        });
        join_all(deleted).await.into_iter().collect()
    }

    async fn ready_nodes(&self) -> Result<HashSet<String>, LeaseError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let found = call(nodes.list(&ListParams::default())).await?.items;
        Ok(found.into_iter().filter(is_ready).filter_map(|node| node.metadata.name).collect())
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Tries once more after a conflict, which is someone else's write in between.
async fn twice<F: Future<Output = Result<(), LeaseError>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<(), LeaseError> {
    match attempt().await {
        Err(LeaseError::Api(error)) if code(&error) == Some(409) => attempt().await,
        result => result,
    }
}

async fn call<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    match tokio::time::timeout(API_TIMEOUT, request).await {
        Ok(result) => result.map_err(|error| LeaseError::Api(Box::new(error))),
        Err(_) => Err(LeaseError::Silent),
    }
}

/// What is not there is deleted, and another one of its name is not the one that was seen.
fn ours(result: Result<(), LeaseError>) -> Result<(), LeaseError> {
    match gone(result) {
        Err(LeaseError::Api(error)) if code(&error) == Some(409) => Ok(()),
        result => result,
    }
}

fn only(uid: Option<String>) -> DeleteParams {
    DeleteParams::background().preconditions(Preconditions { uid, resource_version: None })
}

/// The UID of the DaemonSet that pods name as their owner.
fn set_of(pods: &[Pod]) -> Option<String> {
    let mut owners = pods.iter().filter_map(|pod| pod.metadata.owner_references.as_ref()).flatten();
    owners.find(|owner| owner.kind == "DaemonSet").map(|owner| owner.uid.clone())
}

fn capturers() -> ListParams {
    ListParams::default().labels(&format!("{COMPONENT}={CAPTURER}"))
}

/// What is not there is deleted.
fn gone(result: Result<(), LeaseError>) -> Result<(), LeaseError> {
    match result {
        Err(LeaseError::Api(error)) if code(&error) == Some(404) => Ok(()),
        result => result,
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = error { Some(status.code) } else { None }
}

#[cfg(test)]
mod tests;
