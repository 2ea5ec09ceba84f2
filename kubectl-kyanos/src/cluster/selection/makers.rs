//! What pods belong to, found as the hub finds it: a pod's controller, and what made that where it is a ReplicaSet or Job.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, ListParams};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use proto::filter::{WORKLOAD_KINDS, WorkloadKind};

use super::super::connect::Connection;
use super::kinds::{self, Named};
use crate::failure::Failure;

/// Kinds whose own owner the hub follows, and what makes most of them.
const FOLLOWED: [(&str, &str); 2] = [("ReplicaSet", "Deployment"), ("Job", "CronJob")];

/// Objects of one page of a list.
const PAGE_OBJECTS: u32 = 500;

/// Pages that are looked through of each kind: what made the others is told by their names.
const MAX_PAGES: usize = 8;

/// What made `ReplicaSet`s and Jobs, by namespace, kind and name; `None` where nothing did.
#[derive(Debug, Default)]
pub(super) struct Makers(HashMap<(String, &'static str, String), Option<String>>);

// === impl Makers ===

impl Makers {
    /// Asks the API about a namespace, or about all; whoever may not look goes by names.
    pub(super) async fn of(connection: &Connection, namespace: Option<&str>) -> Self {
        let mut made = HashMap::new();
        for (kind, _) in FOLLOWED {
            let Some(known) = WorkloadKind::named(kind) else { continue };
            for object in objects(connection, &kinds::builtin(known), namespace).await {
                let maker = controller(object.owner_references());
                let maker = maker.map(|maker| format!("{}/{}", maker.kind, maker.name));
                made.insert((object.namespace().unwrap_or_default(), kind, object.name_any()), maker);
            }
        }
        Self(made)
    }

    /// What may be the workload of a pod, "KIND/NAME"; where its owner's maker is not known, what its name says.
    pub(super) fn workloads(&self, pod: &Pod) -> Vec<String> {
        // The kubelet owns what it made itself.
        let owner = controller(pod.owner_references()).filter(|owner| owner.kind != "Node");
        let Some(owner) = owner else { return vec![format!("Pod/{}", pod.name_any())] };
        let own = format!("{}/{}", owner.kind, owner.name);
        let followed = FOLLOWED.into_iter().find(|(kind, _)| is_of(owner, kind));
        let Some((kind, mostly)) = followed else { return vec![own] };
        match self.0.get(&(pod.namespace().unwrap_or_default(), kind, owner.name.clone())) {
            Some(Some(maker)) => vec![maker.clone()],
            Some(None) => vec![own],
            None => {
                let maker = owner.name.rsplit_once('-').map(|(stem, _)| format!("{mostly}/{stem}"));
                std::iter::once(own).chain(maker).collect()
            }
        }
    }
}

/// Looks for what custom kinds made of Kubernetes' own kinds: owners of those are not followed, so their pods are not
/// among the pods of the custom one. Fails where `alone`: then there are no other pods.
pub(super) async fn not_followed(
    connection: &Connection,
    wanted: &[Named],
    namespaces: &[String],
    alone: bool,
) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for Named { workload, resource } in wanted {
        let Some(resource) = resource.as_ref().filter(|_| WorkloadKind::named(&workload.kind).is_none())
        else {
            continue;
        };
        let made = made_by(connection, resource, &workload.name, namespaces).await;
        let Some((kind, name)) = made.first() else { continue };
        let instead: Vec<String> = made
            .iter()
            .map(|(kind, name)| format!("`{}/{name}`", kind.short.unwrap_or(kind.plural)))
            .collect();
        let instead = instead.join(", ");
        let what =
            format!("pods of {} `{name}`, which `{workload}` made, are known by that alone", kind.kind);
        if alone {
            return Err(Failure::usage(what).hint(format!("choose {instead}")));
        }
        notes.push(format!("{what}: {instead} selects them"));
    }
    Ok(notes)
}

/// What an object of a custom kind controls whose owners are not followed.
async fn made_by(
    connection: &Connection,
    resource: &ApiResource,
    name: &str,
    namespaces: &[String],
) -> Vec<(&'static WorkloadKind, String)> {
    let is_it = |owner: &OwnerReference| {
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        owner.kind == resource.kind && owner.name == name && group == resource.group
    };
    let places: Vec<Option<&str>> = match namespaces {
        [] => vec![None],
        some => some.iter().map(|each| Some(each.as_str())).collect(),
    };
    let mut made = Vec::new();
    let is_followed = |kind: &WorkloadKind| FOLLOWED.iter().any(|(followed, _)| *followed == kind.kind);
    for kind in WORKLOAD_KINDS.iter().filter(|kind| !is_followed(kind) && kind.kind != "Pod") {
        for place in &places {
            let objects = objects(connection, &kinds::builtin(kind), *place).await;
            let found =
                objects.iter().filter(|object| controller(object.owner_references()).is_some_and(is_it));
            made.extend(found.map(|object| (kind, object.name_any())));
        }
    }
    made
}

/// Objects of a kind, without what they want and are; none where they may not be listed.
async fn objects(
    connection: &Connection,
    resource: &ApiResource,
    namespace: Option<&str>,
) -> Vec<kube::core::PartialObjectMeta<DynamicObject>> {
    let client = connection.client.clone();
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, resource),
        None => Api::all_with(client, resource),
    };
    let (mut objects, mut page) = (Vec::new(), ListParams::default().limit(PAGE_OBJECTS));
    for _ in 0..MAX_PAGES {
        let Ok(found) = api.list_metadata(&page).await else { break };
        objects.extend(found.items);
        match found.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => page = page.continue_token(&more),
            None => break,
        }
    }
    objects
}

fn controller(owners: &[OwnerReference]) -> Option<&OwnerReference> {
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// Whether an owner is of a kind of Kubernetes' own, rather than of another group's of the same name.
fn is_of(owner: &OwnerReference, kind: &str) -> bool {
    let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    owner.kind == kind && WorkloadKind::named(kind).is_some_and(|known| known.group == group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(owner: &str, kind: &str, name: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": "p", "ownerReferences": [
                { "apiVersion": owner, "kind": kind, "name": name, "uid": "u", "controller": true },
            ] },
        }))
        .expect("a pod")
    }

    #[test]
    fn a_pod_s_workload_is_what_made_its_replica_set_or_job_and_else_its_own_controller() {
        let key = |kind, name: &str| ("shop".to_owned(), kind, name.to_owned());
        let makers = Makers(HashMap::from([
            (key("ReplicaSet", "web-7d4"), Some("Rollout/web".to_owned())),
            (key("ReplicaSet", "alone"), None),
            (key("Job", "flow-1"), Some("Workflow/flow".to_owned())),
        ]));
        let of = |group: &str, kind, name| makers.workloads(&pod(group, kind, name));
        assert_eq!(of("apps/v1", "ReplicaSet", "web-7d4"), ["Rollout/web"]);
        assert_eq!(of("apps/v1", "ReplicaSet", "alone"), ["ReplicaSet/alone"]);
        assert_eq!(of("batch/v1", "Job", "flow-1"), ["Workflow/flow"]);
        assert_eq!(of("apps.kruise.io/v1beta1", "StatefulSet", "db"), ["StatefulSet/db"]);
        assert_eq!(of("v1", "Node", "n1"), ["Pod/p"], "a static pod");
        // What is not known yet is told by its name; another group's kind of that name is followed no further.
        assert_eq!(of("apps/v1", "ReplicaSet", "new-5f"), ["ReplicaSet/new-5f", "Deployment/new"]);
        assert_eq!(of("batch.volcano.sh/v1alpha1", "Job", "flow-1"), ["Job/flow-1"]);
    }
}
