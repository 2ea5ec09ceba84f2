//! The pods that are selected at the moment.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use proto::filter::Match;
use proto::v1;

use super::super::connect::Connection;
use super::makers::Makers;
use crate::failure::Failure;
use crate::suggestion::meant;

/// Pods of one page of a list.
const PAGE_PODS: u32 = 500;

/// Pods that are looked at for a container; where there are more, nothing is said.
const MAX_LOOKED_AT_PODS: usize = 4_000;

/// What was seen of the pods.
#[derive(Debug, Default)]
struct Seen {
    /// Whether one is selected, containers aside.
    any: bool,
    /// Containers of those that are selected.
    containers: BTreeSet<String>,
    /// Whether all of them were looked at.
    whole: bool,
}

/// What there is to say of the pods that are selected; fails where a container is named that none of them has.
///
/// Nothing is said where that cannot be known.
pub(super) async fn look(
    connection: &Connection,
    filter: &v1::Filter,
    notes: &mut Vec<String>,
) -> Result<Option<String>, Failure> {
    let exact = !(filter.pods.is_empty() && filter.workloads.is_empty() && filter.containers.is_empty());
    if !exact {
        return Ok(nothing_yet(connection, filter).await);
    }
    let places = places(filter);
    if places.is_empty() && filter.containers.is_empty() {
        return Ok(None);
    }
    let Some(seen) = seen(connection, filter, &places).await else {
        if !filter.containers.is_empty() {
            notes.push(format!(
                "`{}` may not list the pods: whether they have a container {} was not checked",
                connection.owner,
                filter.containers.join(", ")
            ));
        }
        return Ok(None);
    };
    if seen.any
        && seen.whole
        && let Some(absent) = filter.containers.iter().find(|name| !seen.containers.contains(*name))
    {
        let known: Vec<String> = seen.containers.into_iter().collect();
        let hint = meant(absent, "", &known).unwrap_or_else(|| "see `kubectl get pods`".to_owned());
        return Err(Failure::usage(format!("no selected pod has a container `{absent}`")).hint(hint));
    }
    Ok((seen.whole && !seen.any).then(|| none_of(filter, &places)))
}

/// The namespaces that the pods are in; all when empty.
fn places(filter: &v1::Filter) -> BTreeSet<&str> {
    if filter.namespaces.is_empty() {
        let mut named = BTreeSet::new();
        for pod in &filter.pods {
            let Some((namespace, _)) = pod.split_once('/') else { return BTreeSet::new() };
            named.insert(namespace);
        }
        return named;
    }
    filter.namespaces.iter().map(String::as_str).collect()
}

async fn seen(connection: &Connection, filter: &v1::Filter, places: &BTreeSet<&str>) -> Option<Seen> {
    let wanted = Match::try_from(&v1::Filter { containers: Vec::new(), ..filter.clone() }).ok()?;
    let mut seen = Seen { whole: true, ..Seen::default() };
    let client = || connection.client.clone();
    let apis: Vec<(Api<Pod>, Option<&str>)> = if places.is_empty() {
        vec![(Api::all(client()), None)]
    } else {
        places.iter().map(|place| (Api::namespaced(client(), place), Some(*place))).collect()
    };
    let mut looked_at = 0;
    for (api, place) in apis {
        let asks = !filter.workloads.is_empty();
        let makers = if asks { Makers::of(connection, place).await } else { Makers::default() };
        let mut page = ListParams::default().limit(PAGE_PODS).labels(&filter.selector);
        loop {
            let found = api.list(&page).await.ok()?;
            for pod in found.items.iter().filter(|pod| is_selected(&wanted, &makers, pod)) {
                seen.any = true;
                seen.containers.extend(containers(pod));
            }
            looked_at += found.items.len();
            // Once one is selected and has all that is asked for, the rest is none of interest.
            if seen.any && filter.containers.iter().all(|name| seen.containers.contains(name)) {
                return Some(seen);
            }
            match found.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(_) if looked_at >= MAX_LOOKED_AT_PODS => {
                    seen.whole = false;
                    return Some(seen);
                }
                Some(more) => page = page.continue_token(&more),
                None => break,
            }
        }
    }
    Some(seen)
}

fn is_selected(wanted: &Match, makers: &Makers, pod: &Pod) -> bool {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    makers.workloads(pod).iter().any(|workload| wanted.wants_pod(&namespace, &name, workload))
}

/// Names of all its containers; init containers may run beside the others.
fn containers(pod: &Pod) -> impl Iterator<Item = String> {
    pod.spec.iter().flat_map(|spec| {
        let plain = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let names = plain.map(|each| each.name.clone());
        names.chain(spec.ephemeral_containers.iter().flatten().map(|each| each.name.clone()))
    })
}

/// Says that no pod is of those that are named.
fn none_of(filter: &v1::Filter, places: &BTreeSet<&str>) -> String {
    let of =
        |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
    let named: Vec<String> =
        [of("pod", &filter.pods), of("workload", &filter.workloads), of("container", &filter.containers)]
            .into_iter()
            .flatten()
            .collect();
    let places: Vec<&str> = places.iter().copied().collect();
    let place =
        if places.is_empty() { String::new() } else { format!(" in namespace {}", places.join(", ")) };
    format!(
        "no pod{place} is of {} yet: the session waits for one; `kubectl get pods -A` shows all",
        named.join(" and ")
    )
}

/// Says that no pod is selected at the moment where none is named.
async fn nothing_yet(connection: &Connection, filter: &v1::Filter) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_pod_is_found_by_its_name_its_workload_and_its_containers() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": "shop", "name": "web-7d4-x2k9p", "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4", "uid": "u", "controller": true },
            ] },
            "spec": {
                "containers": [{ "name": "nginx" }], "initContainers": [{ "name": "proxy" }],
                "ephemeralContainers": [{ "name": "debug" }],
            },
        }))
        .expect("a pod");
        let wants = |pods: &str, workloads: &str| {
            let filter =
                v1::Filter { pods: words(pods), workloads: words(workloads), ..v1::Filter::default() };
            is_selected(&Match::try_from(&filter).expect("a filter"), &Makers::default(), &pod)
        };
        assert!(wants("web-7d4-x2k9p", "") && wants("shop/web-7d4-x2k9p", ""));
        for workload in
            ["Deployment/web", "deploy/web", "rs/web-7d4", "po/web-7d4-x2k9p", "sts/db deploy/web"]
        {
            assert!(wants("", workload), "{workload}");
        }
        assert!(!wants("web", "") && !wants("", "deploy/we") && !wants("", "rs/web") && !wants("", "po/web"));
        assert_eq!(containers(&pod).collect::<Vec<_>>(), ["nginx", "proxy", "debug"]);
    }
}
