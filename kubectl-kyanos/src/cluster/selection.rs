//! Which pods' traffic: kubectl's flags into the filter that hub and capturers evaluate.

mod absent;
mod kinds;
mod makers;
mod pods;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use proto::filter::Match;
use proto::selector::Selector;
use proto::v1;

use super::connect::Connection;
use crate::cli::{FilterArgs, PodArgs};
use crate::failure::Failure;

/// What the flags say of pods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The flags of a cluster.
    pub(crate) pods: &'a PodArgs,
    /// Those that a local session knows too.
    pub(crate) names: &'a FilterArgs,
    /// Nodes that are shown; of a session that is begun, the nodes that capture say it.
    pub(crate) nodes: &'a [String],
    /// Whether all namespaces are meant where none is named.
    pub(crate) everywhere: bool,
}

/// Fills in the tests on pods; `namespace` is the context's.
///
/// `exists` holds the namespaces that a pod's name may end with, see [`dotted`].
pub(crate) fn select(
    asked: Asked<'_>,
    namespace: &str,
    exists: &[String],
    mut filter: v1::Filter,
) -> Result<v1::Filter, Failure> {
    let Asked { pods, names, nodes, everywhere } = asked;
    filter.pods = names.pod_name.iter().map(|name| qualified(name, exists)).collect();
    let all_qualified = !filter.pods.is_empty() && filter.pods.iter().all(|pod| pod.contains('/'));
    filter.namespaces = match (pods.all_namespaces, pods.namespace.is_empty()) {
        (false, false) => pods.namespace.clone(),
        (false, true) if !everywhere && !all_qualified => vec![namespace.to_owned()],
        (true | false, _) => Vec::new(),
    };
    filter.containers = pods.container.iter().chain(&names.container_name).cloned().collect();
    filter.workloads.clone_from(&pods.workload);
    filter.selector = pods.selector.clone().unwrap_or_default();
    filter.nodes = nodes.to_vec();
    if let Err(error) = Selector::parse(&filter.selector) {
        return Err(Failure::usage(error.to_string()).hint("as in `-l app=web,tier!=cache,env in (a,b)`"));
    }
    match Match::try_from(&filter) {
        Ok(_compiled) => Ok(filter),
        Err(error) => Err(Failure::usage(error.to_string()).hint("see `kubectl kyanos watch --help`")),
    }
}

/// Returns what may be the namespace in `NAME.NAMESPACE` of each pod's name.
pub(crate) fn dotted(names: &[String]) -> Vec<&str> {
    names
        .iter()
        .filter(|name| !name.contains('/'))
        .filter_map(|name| name.rsplit_once('.'))
        .map(|(_, namespace)| namespace)
        .collect()
}

/// Tells which of some namespaces exist.
pub(crate) async fn existing(connection: &Connection, names: &[&str]) -> Vec<String> {
    let namespaces = Api::<Namespace>::all(connection.client.clone());
    let mut found = Vec::new();
    for name in names {
        if matches!(namespaces.get_metadata_opt(name).await, Ok(Some(_))) {
            found.push((*name).to_owned());
        }
    }
    found
}

/// Looks for everything that is named before anything is made, and writes workloads as the hub knows them.
///
/// Returns what there is to say: what could not be looked for, and that no pod is selected yet. `named` says whether a
/// flag names the namespaces.
pub(crate) async fn check(
    connection: &Connection,
    filter: &mut v1::Filter,
    named: bool,
) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    absent::namespaces(connection, &filter.namespaces, named, &mut notes).await?;
    let workloads = kinds::resolve(connection, &filter.namespaces, &filter.workloads).await?;
    absent::workloads(connection, &workloads, filter, &mut notes).await?;
    absent::pods(connection, filter, &mut notes).await?;
    filter.workloads = workloads.iter().map(|named| named.workload.to_string()).collect();
    let nothing_yet = pods::look(connection, filter, &mut notes).await?;
    notes.extend(
        makers::not_followed(connection, &workloads, &filter.namespaces, nothing_yet.is_some()).await?,
    );
    notes.extend(nothing_yet);
    Ok(notes)
}

/// Turns `NAME.NAMESPACE` into `NAMESPACE/NAME` where that namespace exists: pods' names may hold dots.
fn qualified(name: &str, exists: &[String]) -> String {
    match name.rsplit_once('.') {
        Some((pod, namespace)) if !name.contains('/') && exists.iter().any(|known| known == namespace) => {
            format!("{namespace}/{pod}")
        }
        Some(_) | None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
