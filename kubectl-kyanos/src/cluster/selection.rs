//! Which pods' traffic: kubectl's flags into the filter that hub and capturers evaluate.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use proto::filter::Match;
use proto::v1;

use super::connect::Connection;
use crate::cli::{FilterArgs, PodArgs};
use crate::failure::Failure;

/// Pods of a namespace that are looked at for one that is named; where there are more, nothing is said.
const LISTED_PODS: u32 = 500;

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

/// Says that no pod is selected at the moment; `None` where one is, or where that cannot be known.
pub(crate) async fn nothing_yet(connection: &Connection, filter: &v1::Filter) -> Option<String> {
    let exact = !(filter.pods.is_empty() && filter.workloads.is_empty() && filter.containers.is_empty());
    if exact {
        return none_of(connection, filter).await;
    }
    let list = ListParams::default().limit(1).labels(&filter.selector);
    if filter.namespaces.is_empty() {
        if filter.selector.is_empty() {
            return None;
        }
        let pods = Api::<Pod>::all(connection.client.clone());
        let none = pods.list_metadata(&list).await.ok()?.items.is_empty();
        return none.then(|| format!("no pod has the labels `{}` yet; the session waits", filter.selector));
    }
    for namespace in &filter.namespaces {
        let pods = Api::<Pod>::namespaced(connection.client.clone(), namespace);
        if !pods.list_metadata(&list).await.ok()?.items.is_empty() {
            return None;
        }
    }
    let labels =
        if filter.selector.is_empty() { String::new() } else { format!(" with `{}`", filter.selector) };
    Some(format!(
        "0 pods{labels} in namespace {} yet: the session waits for them; `-n` names another namespace, `-A` takes all",
        filter.namespaces.join(", ")
    ))
}

/// The same where pods, workloads or containers are named.
async fn none_of(connection: &Connection, filter: &v1::Filter) -> Option<String> {
    let wanted = Match::try_from(filter).ok()?;
    let mut namespaces: BTreeSet<&str> = filter.namespaces.iter().map(String::as_str).collect();
    if namespaces.is_empty() {
        namespaces = filter.pods.iter().filter_map(|pod| Some(pod.split_once('/')?.0)).collect();
    }
    if namespaces.is_empty() {
        return None;
    }
    let list = ListParams::default().limit(LISTED_PODS).labels(&filter.selector);
    for namespace in &namespaces {
        let pods = Api::<Pod>::namespaced(connection.client.clone(), namespace);
        let found = pods.list(&list).await.ok()?;
        let more = found.metadata.continue_.is_some_and(|more| !more.is_empty());
        if more || found.items.iter().any(|pod| selects(&wanted, pod)) {
            return None;
        }
    }
    let of =
        |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
    let named: Vec<String> =
        [of("pod", &filter.pods), of("workload", &filter.workloads), of("container", &filter.containers)]
            .into_iter()
            .flatten()
            .collect();
    Some(format!(
        "no pod in namespace {} is of {} yet: the session waits for one; `kubectl get pods -A` shows all",
        namespaces.into_iter().collect::<Vec<_>>().join(", "),
        named.join(" and ")
    ))
}

fn selects(wanted: &Match, pod: &Pod) -> bool {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let of_workload = workloads(pod).iter().any(|workload| wanted.wants_pod(&namespace, &name, workload));
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    of_workload && containers.into_iter().any(|container| wanted.wants_container(&container.name))
}

/// What may be the workload of a pod, "KIND/NAME": its controller, and what that is made by, as its name says.
fn workloads(pod: &Pod) -> Vec<String> {
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    let Some(owner) = owner else { return vec![format!("Pod/{}", pod.name_any())] };
    let above = match owner.kind.as_str() {
        "ReplicaSet" => Some("Deployment"),
        "Job" => Some("CronJob"),
        _ => None,
    };
    let made_by = above.and_then(|kind| Some(format!("{kind}/{}", owner.name.rsplit_once('-')?.0)));
    std::iter::once(format!("{}/{}", owner.kind, owner.name)).chain(made_by).collect()
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
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn namespaces(pods: &PodArgs, names: &str, everywhere: bool) -> Vec<String> {
        let names = FilterArgs { pod_name: words(names), ..FilterArgs::default() };
        let asked = Asked { pods, names: &names, nodes: &[], everywhere };
        select(asked, "mine", &words("shop"), v1::Filter::default()).expect("a filter").namespaces
    }

    #[test]
    fn the_context_says_the_namespace_where_no_flag_does() {
        let none = PodArgs::default();
        let all = PodArgs { all_namespaces: true, ..PodArgs::default() };
        let two = PodArgs { namespace: words("a b"), ..PodArgs::default() };
        assert_eq!(namespaces(&none, "", false), ["mine"]);
        assert_eq!(namespaces(&none, "", true), words(""));
        assert_eq!(namespaces(&all, "", false), words(""));
        assert_eq!(namespaces(&two, "", true), ["a", "b"]);
        assert_eq!(namespaces(&none, "web", false), ["mine"]);
        assert_eq!(namespaces(&none, "shop/web db.shop", false), words(""));
        assert_eq!(namespaces(&none, "shop/web db.other", false), ["mine"]);
    }

    #[test]
    fn a_dot_splits_only_before_a_namespace_that_exists() {
        let exists = words("shop");
        assert_eq!(qualified("web.shop", &exists), "shop/web");
        assert_eq!(qualified("web.v2", &exists), "web.v2");
        assert_eq!(qualified("a/web.shop", &exists), "a/web.shop");
        assert_eq!(dotted(&words("a/web.shop db.shop web")), ["shop"]);
    }

    #[test]
    fn a_pod_is_found_by_its_name_its_workload_and_its_containers() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": "shop", "name": "web-7d4-x", "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4", "uid": "u", "controller": true },
            ] },
            "spec": { "containers": [{ "name": "nginx" }, { "name": "log" }] },
        }))
        .expect("a pod");
        let wants = |pods: &str, workloads: &str, containers: &str| {
            let filter = v1::Filter {
                pods: words(pods),
                workloads: words(workloads),
                containers: words(containers),
                ..v1::Filter::default()
            };
            selects(&Match::try_from(&filter).expect("a filter"), &pod)
        };
        assert!(wants("web-7d4-x", "", "") && wants("shop/web-7d4-x", "", ""));
        assert!(wants("", "Deployment/web", "") && wants("", "ReplicaSet/web-7d4", ""));
        assert!(wants("", "", "log") && wants("web-7d4-x", "Deployment/web", "nginx"));
        assert!(!wants("web", "", "") && !wants("", "Deployment/we", "") && !wants("", "", "redis"));
    }

    #[test]
    fn a_workload_without_kind_is_refused() {
        let pods = PodArgs { workload: words("orders"), ..PodArgs::default() };
        let names = FilterArgs::default();
        let asked = Asked { pods: &pods, names: &names, nodes: &[], everywhere: false };
        assert!(select(asked, "mine", &[], v1::Filter::default()).is_err());
    }
}
