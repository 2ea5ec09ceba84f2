//! Which objects of the API the workloads are that a user names, custom ones among them.

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource};
use kube::api::{ApiResource, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use proto::filter::{WORKLOAD_KINDS, Workload, WorkloadKind};

use super::super::connect::Connection;
use crate::failure::Failure;
use crate::suggestion::nearest;

/// Groups whose resources are asked for at a time.
const GROUPS_AT_A_TIME: usize = 8;

/// A workload that is asked for, and where the API keeps its kind.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// What the filter asks for.
    pub(super) workload: Workload,
    /// Its kind; `None` where the API did not say all that it has.
    pub(super) resource: Option<ApiResource>,
}

/// What a kind's name stands for among kinds that are not Kubernetes' own workloads.
enum Custom {
    /// This resource.
    Known(ApiResource),
    /// One of each of several groups.
    Several(Vec<ApiResource>),
    /// None that the API has.
    Unknown,
    /// Nobody knows: a part of the API did not answer.
    Unclear,
}

/// Finds the kind of each; fails where there is none of that name.
pub(super) async fn resolve(
    connection: &Connection,
    namespaces: &[String],
    workloads: &[String],
) -> Result<Vec<Named>, Failure> {
    let mut found = Vec::new();
    for text in workloads {
        // Its form was checked with the rest of the filter.
        let parsed = Workload::parse(text).map_err(|error| Failure::usage(error.to_string()))?;
        found.push(one(connection, namespaces, parsed).await?);
    }
    Ok(found)
}

async fn one(connection: &Connection, namespaces: &[String], workload: Workload) -> Result<Named, Failure> {
    if let Some(kind) = WorkloadKind::named(&workload.kind) {
        return Ok(Named { workload, resource: Some(builtin(kind)) });
    }
    if let Some(failure) = other_meaning(connection, namespaces, &workload).await {
        return Err(failure);
    }
    match custom(connection, &workload.kind).await {
        Custom::Known(resource) => {
            let workload = Workload { kind: resource.kind.clone(), name: workload.name };
            Ok(Named { workload, resource: Some(resource) })
        }
        Custom::Several(resources) => Err(of_several_groups(&workload, &resources)),
        Custom::Unclear => Ok(Named { workload, resource: None }),
        Custom::Unknown => Err(unknown(&workload)),
    }
}

/// Where the API keeps a kind of Kubernetes' own.
pub(super) fn builtin(kind: &WorkloadKind) -> ApiResource {
    let group = GroupVersionKind::gvk(kind.group, "v1", kind.kind);
    ApiResource::from_gvk_with_plural(&group, kind.plural)
}

fn unknown(workload: &Workload) -> Failure {
    let words: Vec<&str> = WORKLOAD_KINDS
        .iter()
        .flat_map(|kind| [Some(kind.kind), Some(kind.plural), kind.short])
        .flatten()
        .collect();
    let lower = workload.kind.to_ascii_lowercase();
    let lowered: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let lowered: Vec<&str> = lowered.iter().map(String::as_str).collect();
    let meant = nearest(&lower, &lowered);
    let short: Vec<&str> = WORKLOAD_KINDS.iter().map(|kind| kind.short.unwrap_or("job")).collect();
    Failure::usage(format!("`{}` is no kind of workload that the cluster has", workload.kind)).hint(
        match meant {
            Some(kind) => format!("did you mean `{kind}/{}`?", workload.name),
            None => format!(
                "one of {}, their long forms, or the kind of a custom controller of the cluster",
                short.join(", ")
            ),
        },
    )
}

/// Says which groups there are: whose object is meant nobody can tell, and the first may be the wrong one.
fn of_several_groups(workload: &Workload, resources: &[ApiResource]) -> Failure {
    let forms: Vec<String> = resources
        .iter()
        .map(|resource| format!("`{}.{}/{}`", resource.plural, resource.group, workload.name))
        .collect();
    Failure::usage(format!("`{}` is a kind of {} API groups", workload.kind, resources.len()))
        .hint(format!("name the group: {}", forms.join(" or ")))
}

/// What users also write before a slash, of which this plugin has another flag.
async fn other_meaning(
    connection: &Connection,
    namespaces: &[String],
    workload: &Workload,
) -> Option<Failure> {
    let Workload { kind, name } = workload;
    let refused = |what: &str, hint: String| Failure::usage(format!("a {what} is no workload")).hint(hint);
    match kind.to_ascii_lowercase().as_str() {
        "service" | "services" | "svc" => {
            let hint = match labels_of_service(connection, namespaces, name).await {
                Some(labels) => format!("its pods have labels: `-l {labels}`"),
                None => "choose its pods by their labels with `-l`".to_owned(),
            };
            Some(refused("Service", hint))
        }
        "node" | "nodes" | "no" => Some(refused("node", format!("capture on it alone with `--node {name}`"))),
        "namespace" | "namespaces" | "ns" => Some(refused("namespace", format!("name it with `-n {name}`"))),
        _ => None,
    }
}

/// The labels by which a Service chooses its pods, as `-l` takes them; `None` where that cannot be known.
async fn labels_of_service(connection: &Connection, namespaces: &[String], name: &str) -> Option<String> {
    let list = ListParams::default().fields(&format!("metadata.name={name}"));
    let apis = match namespaces {
        [] => vec![Api::<Service>::all(connection.client.clone())],
        some => some.iter().map(|each| Api::namespaced(connection.client.clone(), each)).collect(),
    };
    for api in apis {
        let Ok(services) = api.list(&list).await else { continue };
        let service = services.items.into_iter().find(|service| service.name_any() == name);
        let labels = service.and_then(|service| service.spec?.selector).unwrap_or_default();
        if !labels.is_empty() {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            return Some(labels.join(","));
        }
    }
    None
}

/// Looks through the API's groups for a kind of somebody else's.
async fn custom(connection: &Connection, word: &str) -> Custom {
    let client = &connection.client;
    let Ok(groups) = client.list_api_groups().await else { return Custom::Unclear };
    let preferred = |group: APIGroup| {
        let version = group.preferred_version.or_else(|| group.versions.into_iter().next())?;
        Some((group.name, version.version, version.group_version))
    };
    let asked = groups.groups.into_iter().filter_map(preferred).map(|(group, version, both)| async move {
        let resources = client.list_api_group_resources(&both).await;
        (group, version, resources)
    });
    let mut answers = stream::iter(asked).buffered(GROUPS_AT_A_TIME);
    let (mut unclear, mut known) = (false, Vec::new());
    while let Some((group, version, resources)) = answers.next().await {
        let Ok(resources) = resources else {
            unclear = true;
            continue;
        };
        if let Some(found) = resources.resources.iter().find(|each| is_called(each, &group, &version, word)) {
            let group = GroupVersionKind::gvk(&group, &version, &found.kind);
            known.push(ApiResource::from_gvk_with_plural(&group, &found.name));
        }
    }
    match known.len() {
        0 if unclear => Custom::Unclear,
        0 => Custom::Unknown,
        1 => known.pop().map_or(Custom::Unknown, Custom::Known),
        _ => Custom::Several(known),
    }
}

/// Whether a word is a resource's name, plural, short form or kind, alone or with its group.
fn is_called(resource: &APIResource, group: &str, version: &str, word: &str) -> bool {
    let (name, place) = word.split_once('.').map_or((word, None), |(name, place)| (name, Some(place)));
    let short = resource.short_names.iter().flatten();
    let mut names = [&resource.name, &resource.singular_name, &resource.kind].into_iter().chain(short);
    // Parts of resources have a slash in their names.
    resource.namespaced
        && !resource.name.contains('/')
        && names.any(|known| known.eq_ignore_ascii_case(name))
        && place.is_none_or(|place| place == group || place == format!("{version}.{group}"))
}
