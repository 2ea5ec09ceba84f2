//! The end of a session in a cluster: everything of it at once, and nothing of anybody else.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::apply::said;
use super::connect::Connection;
use super::sessions::{self, SessionRef, is_ours};
use super::{MANAGED_BY, SESSION_LABEL};
use crate::console::Console;
use crate::failure::Failure;
use crate::session::Remains;

/// Seconds that pods have: hub, store and capturer handle SIGTERM at once.
const GRACE_SECONDS: u32 = 1;

/// Longest wait for the namespace to be gone: several times what a healthy cluster takes.
pub(crate) const TEARDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// After this pods are struck off whose node is Ready by its last word and does not say that they ended: it was lost
/// less than a minute ago. A node that lives needs a fraction of it once all deletions were heard.
const STRIKE_OFF_AFTER: Duration = Duration::from_secs(10);

/// Between two attempts to delete what an API server did not delete.
const DELETE_PAUSE: Duration = Duration::from_secs(1);

/// Of which so many follow the namespace's end.
const LATE_DELETES: u32 = 5;

/// Longest wait for a namespace that has been ending for long, once its pods were struck off.
const STUCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How often the namespace is looked at.
const NAMESPACE_POLL: Duration = Duration::from_millis(100);

/// What deletions were asked for in vain.
#[derive(Debug, Default)]
struct Refused {
    /// The session's namespace itself.
    namespace: Option<String>,
    /// Within it, with which it goes.
    within: Vec<String>,
    /// Outside it.
    outside: Vec<String>,
}

/// The end of one session.
struct Removal<'a> {
    client: &'a Client,
    session: &'a SessionRef,
    /// Selects everything of it.
    all: ListParams,
    /// Nodes whose pods were struck off.
    unconfirmed: BTreeSet<String>,
}

/// Removes a session; returns what is left of it after [`TEARDOWN_TIMEOUT`], in words, and nodes that did not confirm
/// the end.
pub(crate) async fn remove(client: &Client, session: &SessionRef) -> Remains {
    let mut removal = Removal::new(client, session);
    let left = removal.run().await;
    Remains { left, unconfirmed: removal.unconfirmed.into_iter().collect(), ..Remains::default() }
}

/// Asks for the namespace alone, some time before [`remove`]: a cluster removes nothing of it in the first 5 s
/// (`namespaceDeletionGracePeriod` of its controller), in which what runs there goes on.
pub(crate) async fn announce(client: &Client, session: &SessionRef) {
    // What is refused here is asked for again.
    drop(remove_namespace(client, session).await);
}

/// Asks once more for what holds a session that has been ending for long, and waits a moment only.
async fn nudge(client: &Client, session: &SessionRef) -> Remains {
    let mut removal = Removal::new(client, session);
    let refused = removal.ask(true).await;
    let began = Instant::now();
    let mut left = vec![format!("namespace `{}`", session.namespace())];
    while began.elapsed() < STUCK_TIMEOUT {
        match removal.look().await {
            Ok(None) => {
                left = refused.outside;
                break;
            }
            Ok(Some(still)) => left = vec![still],
            Err(error) => left = vec![format!("namespace `{}` ({})", session.namespace(), said(&error))],
        }
        sleep(NAMESPACE_POLL).await;
    }
    Remains { left, unconfirmed: removal.unconfirmed.into_iter().collect(), ..Remains::default() }
}

// === impl Refused ===

impl Refused {
    /// Whether all deletions were heard.
    fn is_empty(&self) -> bool {
        let Self { namespace, within, outside } = self;
        namespace.is_none() && within.is_empty() && outside.is_empty()
    }
}

// === impl Removal ===

impl<'a> Removal<'a> {
    fn new(client: &'a Client, session: &'a SessionRef) -> Self {
        let all = ListParams::default()
            .labels(&format!("{}={},{SESSION_LABEL}={}", MANAGED_BY.0, MANAGED_BY.1, session.name));
        Self { client, session, all, unconfirmed: BTreeSet::new() }
    }

    /// Asks for all deletions, again where they were refused, until the namespace is gone; says what is left.
    async fn run(&mut self) -> Vec<String> {
        let began = Instant::now();
        let mut refused = self.ask(false).await;
        let (mut asked, mut heard) = (Instant::now(), Instant::now());
        let mut holds = format!("namespace `{}`", self.session.namespace());
        while began.elapsed() < TEARDOWN_TIMEOUT {
            match self.look().await {
                Ok(None) => return self.outside(refused.outside).await,
                Ok(Some(still)) => holds = still,
                Err(error) => holds = format!("namespace `{}` ({})", self.session.namespace(), said(&error)),
            }
            let all_heard = refused.is_empty();
            if !all_heard {
                heard = Instant::now();
            }
            if asked.elapsed() >= if all_heard { STRIKE_OFF_AFTER } else { DELETE_PAUSE } {
                refused = self.ask(heard.elapsed() >= STRIKE_OFF_AFTER).await;
                asked = Instant::now();
            }
            sleep(NAMESPACE_POLL).await;
        }
        // Of the namespace it is said what holds it, not once more that it was refused.
        refused.within.into_iter().chain(refused.outside).chain([holds]).collect()
    }

    /// Asks for everything to be deleted; `strike` does not wait for the nodes of pods.
    async fn ask(&mut self, strike: bool) -> Refused {
        let namespace = self.session.namespace();
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), &namespace);
        let daemons = Api::<DaemonSet>::namespaced(self.client.clone(), &namespace);
        let (client, session) = (self.client, self.session);
        let (namespace, deployments, daemons, pods, outside) = tokio::join!(
            remove_namespace(client, session),
            remove_listed(deployments, &self.all, session),
            remove_listed(daemons, &self.all, session),
            remove_pods(client, session, &self.all, strike),
            remove_outside(client, session, &self.all),
        );
        let (pods, unconfirmed) = pods;
        self.unconfirmed.extend(unconfirmed);
        let within = deployments.into_iter().chain(daemons).chain(pods).collect();
        Refused { namespace, within, outside }
    }

    /// Looks at the namespace: what holds it, or nothing when it is gone.
    async fn look(&self) -> Result<Option<String>, kube::Error> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let name = self.session.namespace();
        // Another one of this name is somebody else's.
        let same = |found: &Namespace| found.uid().as_deref() == Some(&self.session.namespace_uid);
        let found = namespaces.get_opt(&name).await?.filter(same);
        Ok(found.map(|still| holding(&name, &still)))
    }

    /// Asks again for what is outside the namespace and was refused.
    async fn outside(&self, mut refused: Vec<String>) -> Vec<String> {
        for _ in 0..LATE_DELETES {
            if refused.is_empty() {
                break;
            }
            sleep(DELETE_PAUSE).await;
            refused = remove_outside(self.client, self.session, &self.all).await;
        }
        refused
    }
}

/// Removes what sessions left whose dead man's switch has gone off, and says which; every command of a cluster does.
pub(crate) async fn remove_ended(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut ended = Vec::new();
    for (session, namespace) in sessions::list(connection).await? {
        let hangs = sessions::ending(&namespace).map(|since| since > TEARDOWN_TIMEOUT * 2);
        if hangs.unwrap_or(!sessions::is_live(connection, &namespace).await?) {
            ended.push((session, hangs.is_some()));
        }
    }
    let removed = ended.iter().map(|(session, hangs)| async move {
        let client = &connection.client;
        // A node that was lost meanwhile may hold it, which striking its pods off mends; else it may hang for long.
        let remains = if *hangs { nudge(client, session).await } else { remove(client, session).await };
        let confirmed = remains.unconfirmed.is_empty();
        let name = &session.name;
        match (remains.left.is_empty(), confirmed) {
            (true, true) => format!("removed what the ended session {name} had left"),
            (true, false) => format!(
                "removed what the ended session {name} had left; not confirmed by {}",
                remains.unconfirmed.join(", ")
            ),
            (false, _) => format!("the ended session {name} has left {}", remains.left.join(", ")),
        }
    });
    Ok(join_all(removed).await)
}

/// Does the same beside a command that needs no right to it.
pub(crate) async fn sweep(connection: &Connection, console: &Console) {
    match remove_ended(connection).await {
        Ok(lines) => lines.iter().for_each(|line| console.say(line)),
        Err(failure) => console.detail(&format!("looking for ended sessions: {}", failure.what)),
    }
}

fn exactly(uid: Option<String>, grace: u32) -> DeleteParams {
    DeleteParams {
        grace_period_seconds: Some(grace),
        preconditions: Some(Preconditions { resource_version: None, uid }),
        ..DeleteParams::background()
    }
}

/// Says what is left where a deletion failed; one that finds nothing, or another object, has nothing to do.
fn refused<T>(what: &str, result: Result<T, kube::Error>) -> Option<String> {
    match result {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => None,
        Err(kube::Error::Api(status)) => Some(format!("{what} ({})", status.message)),
        Err(error) => Some(format!("{what} ({})", said(&error))),
    }
}

async fn remove_namespace(client: &Client, session: &SessionRef) -> Option<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let name = session.namespace();
    let parameters = exactly(Some(session.namespace_uid.clone()), GRACE_SECONDS);
    let deleted = namespaces.delete(&name, &parameters).await;
    refused(&format!("namespace `{name}`"), deleted)
}

async fn remove_listed<K>(api: Api<K>, all: &ListParams, session: &SessionRef) -> Vec<String>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let kind = K::kind(&()).to_string();
    let found = match api.list(all).await {
        Ok(found) => found.items,
        Err(error) => {
            return refused(&format!("objects of kind {kind}"), Err::<(), _>(error)).into_iter().collect();
        }
    };
    let ours = found.into_iter().filter(|object| is_ours(object.meta(), &session.name));
    let deleted = ours.map(|object| {
        let api = &api;
        let kind = &kind;
        async move {
            let name = object.name_any();
            let result = api.delete(&name, &exactly(object.uid(), GRACE_SECONDS)).await;
            refused(&format!("{kind} `{name}`"), result)
        }
    });
    join_all(deleted).await.into_iter().flatten().collect()
}

async fn remove_outside(client: &Client, session: &SessionRef, all: &ListParams) -> Vec<String> {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let (mut left, bindings) =
        tokio::join!(remove_listed(roles, all, session), remove_listed(bindings, all, session));
    left.extend(bindings);
    left
}

/// Deletes the pods; those on nodes that cannot confirm are struck off, else the namespace would hang for ever. Returns
/// what was refused, and those nodes.
async fn remove_pods(
    client: &Client,
    session: &SessionRef,
    all: &ListParams,
    strike: bool,
) -> (Vec<String>, Vec<String>) {
    let api: Api<Pod> = Api::namespaced(client.clone(), &session.namespace());
    let found = match api.list(all).await {
        Ok(found) => found.items,
        Err(error) => return (refused("pods", Err::<(), _>(error)).into_iter().collect(), Vec::new()),
    };
    let ready = ready_nodes(client).await;
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let struck = |pod: &Pod| strike || !confirms(node(pod).as_deref(), ready.as_ref());
    let unconfirmed = found.iter().filter(|pod| struck(pod)).filter_map(node).collect();
    let deleted = found.iter().map(|pod| {
        let api = &api;
        let grace = if struck(pod) { 0 } else { GRACE_SECONDS };
        async move {
            let name = pod.name_any();
            refused(&format!("pod `{name}`"), api.delete(&name, &exactly(pod.uid(), grace)).await)
        }
    });
    (join_all(deleted).await.into_iter().flatten().collect(), unconfirmed)
}

/// Names of nodes that are Ready; `None` where nodes may not be seen.
async fn ready_nodes(client: &Client) -> Option<BTreeSet<String>> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.ok()?;
    Some(nodes.items.into_iter().filter(is_ready).map(|node| node.name_any()).collect())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether a pod's node can say that its processes ended; a pod that was never placed has none to end.
fn confirms(node: Option<&str>, ready: Option<&BTreeSet<String>>) -> bool {
    match (node, ready) {
        (Some(node), Some(ready)) => ready.contains(node),
        (None, _) | (_, None) => true,
    }
}

/// Says what a namespace that does not go waits for, as the cluster's own controller reports it.
fn holding(name: &str, namespace: &Namespace) -> String {
    let conditions = namespace.status.as_ref().and_then(|status| status.conditions.as_ref());
    let reasons: Vec<&str> = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition.status == "True")
        .filter_map(|condition| condition.message.as_deref())
        .collect();
    let finalizers = namespace.finalizers();
    match (reasons.is_empty(), finalizers.is_empty()) {
        (false, _) => format!("namespace `{name}` ({})", reasons.join("; ")),
        (true, false) => format!("namespace `{name}` (finalizers {})", finalizers.join(", ")),
        (true, true) => format!("namespace `{name}`"),
    }
}

#[cfg(test)]
mod tests;
