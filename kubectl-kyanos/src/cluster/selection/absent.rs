//! Objects that are named and not there, told with those that are.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, ListParams};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use proto::filter::{WORKLOAD_KINDS, WorkloadKind};
use proto::v1;

use super::super::connect::{self, Connection};
use super::kinds::{self, Named};
use crate::failure::Failure;
use crate::suggestion::meant;

/// Names that are looked through for one that was meant.
const LISTED_NAMES: u32 = 500;

/// Whether a named object is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    There,
    Absent,
    /// The user may not look.
    Barred,
}

/// An object that must be there in one of some namespaces, or in any where none is given.
struct Sought<'a> {
    resource: &'a ApiResource,
    name: &'a str,
    namespaces: &'a [String],
}

/// Looks for each namespace; `named` says whether a flag names them, else they are the context's.
pub(super) async fn namespaces(
    connection: &Connection,
    wanted: &[String],
    named: bool,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let api = Api::<Namespace>::all(connection.client.clone());
    for name in wanted {
        let look = match api.get_metadata_opt(name).await {
            Ok(Some(_)) => Look::There,
            Ok(None) => Look::Absent,
            Err(error) => barred(connection, &error)?,
        };
        match look {
            Look::Barred if named => notes.push(format!(
                "`{}` may not read namespaces: whether there is one called `{name}` was not checked",
                connection.owner
            )),
            // One that may not be looked at was not asked for.
            Look::There | Look::Barred => {}
            Look::Absent => {
                let known = api.list_metadata(&ListParams::default().limit(LISTED_NAMES)).await;
                let known: Vec<String> = known
                    .map(|list| list.items.iter().map(ResourceExt::name_any).collect())
                    .unwrap_or_default();
                let whose = if named { "" } else { ", which the context names" };
                return Err(Failure::usage(format!("there is no namespace `{name}`{whose}")).hint(
                    meant(name, "", &known).unwrap_or_else(|| "see `kubectl get namespaces`".to_owned()),
                ));
            }
        }
    }
    Ok(())
}

/// Looks for each workload.
pub(super) async fn workloads(
    connection: &Connection,
    wanted: &[Named],
    filter: &v1::Filter,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    for Named { workload, resource } in wanted {
        let Some(resource) = resource else {
            notes.push(format!(
                "a part of the cluster's API does not answer: whether `{workload}` is there was not checked"
            ));
            continue;
        };
        let sought = Sought { resource, name: &workload.name, namespaces: &filter.namespaces };
        sought.check(connection, notes).await?;
    }
    Ok(())
}

/// Looks for each pod that is named.
pub(super) async fn pods(
    connection: &Connection,
    filter: &v1::Filter,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let Some(kind) = WorkloadKind::named("pod") else { return Ok(()) };
    let resource = &kinds::builtin(kind);
    for pod in &filter.pods {
        let Some((namespace, name)) = pod.split_once('/') else {
            let sought = Sought { resource, name: pod, namespaces: &filter.namespaces };
            sought.check(connection, notes).await?;
            continue;
        };
        let namespace = [namespace.to_owned()];
        if !(filter.namespaces.is_empty() || filter.namespaces.contains(&namespace[0])) {
            return Err(Failure::usage(format!("pod `{pod}` is in none of the namespaces that `-n` names"))
                .hint(format!("leave `-n` out, or add `{}` to it", namespace[0])));
        }
        namespaces(connection, &namespace, true, notes).await?;
        Sought { resource, name, namespaces: &namespace }.check(connection, notes).await?;
    }
    Ok(())
}

// === impl Sought ===

impl Sought<'_> {
    async fn check(&self, connection: &Connection, notes: &mut Vec<String>) -> Result<(), Failure> {
        match self.look(connection).await? {
            Look::There => Ok(()),
            Look::Barred => {
                notes.push(format!(
                    "`{}` may not list {}{}: whether `{}` is there was not checked",
                    connection.owner,
                    self.resource.plural,
                    self.place(),
                    self.called(self.name)
                ));
                Ok(())
            }
            Look::Absent if self.may_come(connection).await => Ok(()),
            Look::Absent => Err(self.refusal(connection).await),
        }
    }

    async fn look(&self, connection: &Connection) -> Result<Look, Failure> {
        let list = ListParams::default().fields(&format!("metadata.name={}", self.name));
        let mut seen = Look::Absent;
        for api in self.apis(connection) {
            match api.list_metadata(&list).await {
                Ok(found) if found.items.iter().any(|each| each.name_any() == self.name) => {
                    return Ok(Look::There);
                }
                Ok(_) => {}
                Err(error) => seen = barred(connection, &error)?,
            }
        }
        Ok(seen)
    }

    /// Whether it is a pod that a StatefulSet makes as soon as it has so many: those alone have names that are known
    /// before.
    async fn may_come(&self, connection: &Connection) -> bool {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (Some((set, ordinal)), Some(kind)) =
            (self.name.rsplit_once('-'), WorkloadKind::named("statefulset"))
        else {
            return false;
        };
        if self.resource.kind != "Pod" || !number(ordinal) {
            return false;
        }
        let resource = &kinds::builtin(kind);
        let set = Sought { resource, name: set, namespaces: self.namespaces };
        matches!(set.look(connection).await, Ok(Look::There | Look::Barred))
    }

    async fn refusal(&self, connection: &Connection) -> Failure {
        let what = format!("there is no {} `{}`{}", self.resource.kind, self.name, self.place());
        let hint = match self.elsewhere(connection).await {
            Some(hint) => Some(hint),
            None => match self.of_another_kind(connection).await {
                Some(hint) => Some(hint),
                None => meant(self.name, &self.called(""), &self.names(connection).await),
            },
        };
        let all = || format!("see `kubectl get {}{}`", self.resource.plural, self.flags());
        Failure::usage(what).hint(hint.unwrap_or_else(all))
    }

    /// Says in which other namespace there is one of this name.
    async fn elsewhere(&self, connection: &Connection) -> Option<String> {
        if self.namespaces.is_empty() {
            return None;
        }
        let all = Sought { namespaces: &[], ..*self };
        let list = ListParams::default().fields(&format!("metadata.name={}", self.name));
        let found = all.apis(connection).pop()?.list_metadata(&list).await.ok()?;
        let mut there = found.items.iter().filter(|each| each.name_any() == self.name);
        let namespace = there.find_map(ResourceExt::namespace)?;
        Some(format!("namespace `{namespace}` has one: `-n {namespace}`"))
    }

    /// Says of which other kind there is one of this name.
    async fn of_another_kind(&self, connection: &Connection) -> Option<String> {
        for kind in WORKLOAD_KINDS.iter().filter(|kind| kind.kind != self.resource.kind) {
            let resource = &kinds::builtin(kind);
            let other = Sought { resource, name: self.name, namespaces: self.namespaces };
            if other.look(connection).await == Ok(Look::There) {
                return Some(format!("there is a {} of that name: `{}`", kind.kind, other.called(self.name)));
            }
        }
        None
    }

    /// The names that there are.
    async fn names(&self, connection: &Connection) -> Vec<String> {
        let mut names = Vec::new();
        for api in self.apis(connection) {
            let found = api.list_metadata(&ListParams::default().limit(LISTED_NAMES)).await;
            names.extend(found.iter().flat_map(|list| &list.items).map(ResourceExt::name_any));
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    fn apis(&self, connection: &Connection) -> Vec<Api<DynamicObject>> {
        let client = || connection.client.clone();
        match self.namespaces {
            [] => vec![Api::all_with(client(), self.resource)],
            some => some.iter().map(|each| Api::namespaced_with(client(), each, self.resource)).collect(),
        }
    }

    /// A name with the shortest form of the kind.
    fn called(&self, name: &str) -> String {
        let short = WorkloadKind::named(&self.resource.kind).and_then(|kind| kind.short);
        let kind = short.map_or_else(|| self.resource.kind.to_ascii_lowercase(), str::to_owned);
        format!("{kind}/{name}")
    }

    fn place(&self) -> String {
        match self.namespaces {
            [] => String::new(),
            [one] => format!(" in namespace {one}"),
            some => format!(" in namespaces {}", some.join(", ")),
        }
    }

    fn flags(&self) -> String {
        match self.namespaces {
            [one] => format!(" -n {one}"),
            _ => " -A".to_owned(),
        }
    }
}

/// Says that the user may not look, where the API server says so.
fn barred(connection: &Connection, error: &kube::Error) -> Result<Look, Failure> {
    if let kube::Error::Api(status) = error {
        if status.is_forbidden() {
            return Ok(Look::Barred);
        }
        // The path of a kind that the API no longer has.
        if status.is_not_found() {
            return Ok(Look::Absent);
        }
    }
    Err(connect::failure(error, &connection.server))
}
