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

use super::connect::Connection;
use super::sessions::{self, SessionRef, is_ours};
use super::{MANAGED_BY, SESSION_LABEL};
use crate::console::Console;
use crate::failure::Failure;

/// Seconds that pods have: hub, store and capturer handle SIGTERM at once.
const GRACE_SECONDS: u32 = 1;

/// Longest wait for the namespace to be gone: several times what a healthy cluster takes.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// How often the namespace is looked at.
const POLL: Duration = Duration::from_millis(250);

/// Removes a session and returns what is left of it after [`LONGEST`], in words; nothing when all is gone.
pub(crate) async fn remove(client: &Client, session: &SessionRef) -> Vec<String> {
    let namespace = session.namespace();
    let all = ListParams::default()
        .labels(&format!("{}={},{SESSION_LABEL}={}", MANAGED_BY.0, MANAGED_BY.1, session.name));
    let within = (client, namespace.as_str());
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let (mut left, deployments, daemons, pods, roles, bindings) = tokio::join!(
        remove_namespace(client, session),
        remove_listed(Api::<Deployment>::namespaced(within.0.clone(), within.1), &all, session),
        remove_listed(Api::<DaemonSet>::namespaced(within.0.clone(), within.1), &all, session),
        remove_pods(client, session, &all),
        remove_listed(roles, &all, session),
        remove_listed(bindings, &all, session),
    );
    let gone = wait(client, session, &all).await;
    if gone.is_empty() {
        // Namespaced objects went with it, whatever their own deletion said.
        left.extend(roles.into_iter().chain(bindings));
        return left;
    }
    left.extend(deployments.into_iter().chain(daemons).chain(pods).chain(roles).chain(bindings));
    left.extend(gone);
    left
}

/// Removes what sessions left whose dead man's switch has gone off, and says which; every command of a cluster does.
pub(crate) async fn remove_ended(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut ended = Vec::new();
    for (session, namespace) in sessions::list(connection).await? {
        let ending = namespace.metadata.deletion_timestamp.is_some();
        if !ending && !sessions::is_live(connection, &namespace).await? {
            ended.push(session);
        }
    }
    let removed = ended.iter().map(|session| async move {
        let left = remove(&connection.client, session).await;
        if left.is_empty() {
            format!("removed what the ended session {} had left", session.name)
        } else {
            format!("the ended session {} has left {}", session.name, left.join(", "))
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
        Err(error) => Some(format!("{what} ({error})")),
    }
}

async fn remove_namespace(client: &Client, session: &SessionRef) -> Vec<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let name = session.namespace();
    let parameters = exactly(Some(session.namespace_uid.clone()), GRACE_SECONDS);
    let deleted = namespaces.delete(&name, &parameters).await;
    refused(&format!("namespace `{name}`"), deleted).into_iter().collect()
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

/// Deletes the pods; those on nodes that cannot confirm are struck off, else the namespace would hang for ever.
async fn remove_pods(client: &Client, session: &SessionRef, all: &ListParams) -> Vec<String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &session.namespace());
    let found = match api.list(all).await {
        Ok(found) => found.items,
        Err(error) => return refused("pods", Err::<(), _>(error)).into_iter().collect(),
    };
    let ready = ready_nodes(client).await;
    let deleted = found.into_iter().map(|pod| {
        let (api, ready) = (&api, &ready);
        async move {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            let grace = if confirms(node, ready.as_ref()) { GRACE_SECONDS } else { 0 };
            let name = pod.name_any();
            refused(&format!("pod `{name}`"), api.delete(&name, &exactly(pod.uid(), grace)).await)
        }
    });
    join_all(deleted).await.into_iter().flatten().collect()
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

/// Waits until the namespace is gone, strikes off pods whose nodes went meanwhile, and says what holds it.
async fn wait(client: &Client, session: &SessionRef, all: &ListParams) -> Vec<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let name = session.namespace();
    let began = Instant::now();
    let mut last = format!("namespace `{name}`");
    let mut retried = false;
    while began.elapsed() < LONGEST {
        match namespaces.get_opt(&name).await {
            Ok(None) => return Vec::new(),
            // Somebody made another one.
            Ok(Some(other)) if other.uid().as_deref() != Some(&session.namespace_uid) => return Vec::new(),
            Ok(Some(still)) => last = holding(&name, &still),
            Err(error) => last = format!("namespace `{name}` ({error})"),
        }
        if !retried && began.elapsed() > LONGEST / 3 {
            retried = true;
            remove_pods(client, session, all).await;
            remove_namespace(client, session).await;
        }
        sleep(POLL).await;
    }
    vec![last]
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
