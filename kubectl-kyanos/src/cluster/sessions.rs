//! The sessions of a cluster: namespaces that are ours by label, name and field manager.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::connect::{self, Connection};
use super::{FIELD_MANAGER, MANAGED_BY, NAMESPACE_PREFIX, SESSION_LABEL};
use crate::failure::Failure;

/// A session by its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRef {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace's UID, so that nobody else's is removed under the same name.
    pub(crate) namespace_uid: String,
}

// === impl SessionRef ===

impl SessionRef {
    /// Name of its namespace.
    pub(crate) fn namespace(&self) -> String {
        format!("{NAMESPACE_PREFIX}{}", self.name)
    }

    /// Reads a namespace; `None` unless labels, name and field manager say that it is a session's.
    pub(crate) fn of(namespace: &Namespace) -> Option<Self> {
        let name = namespace.labels().get(SESSION_LABEL)?;
        let named = namespace.metadata.name.as_deref() == Some(format!("{NAMESPACE_PREFIX}{name}").as_str());
        if !named || !is_ours(&namespace.metadata, name) {
            return None;
        }
        Some(Self { name: name.clone(), namespace_uid: namespace.metadata.uid.clone()? })
    }
}

/// Says whether labels and field manager make an object one of this session.
pub(crate) fn is_ours(metadata: &ObjectMeta, session: &str) -> bool {
    let labels = metadata.labels.as_ref();
    let label =
        |key: &str, value: &str| labels.and_then(|all| all.get(key)).is_some_and(|found| found == value);
    let managers = metadata.managed_fields.iter().flatten();
    label(MANAGED_BY.0, MANAGED_BY.1)
        && label(SESSION_LABEL, session)
        && managers.into_iter().any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
}

/// Selector of everything that Kyanos made.
pub(crate) fn selector() -> ListParams {
    ListParams::default().labels(&format!("{}={},{SESSION_LABEL}", MANAGED_BY.0, MANAGED_BY.1))
}

/// Lists the sessions' namespaces, by name.
pub(crate) async fn list(connection: &Connection) -> Result<Vec<(SessionRef, Namespace)>, Failure> {
    let namespaces: Api<Namespace> = Api::all(connection.client.clone());
    let found = namespaces.list(&selector()).await;
    let found = found.map_err(|error| connect::failure(&error, &connection.server))?;
    Ok(found
        .items
        .into_iter()
        .filter_map(|namespace| Some((SessionRef::of(&namespace)?, namespace)))
        .collect())
}

/// Finds the session to ask when none is named: the only live one.
pub(crate) async fn only_live(connection: &Connection) -> Result<String, Failure> {
    let mut live = Vec::new();
    for (session, namespace) in list(connection).await? {
        if is_live(connection, &namespace).await? {
            live.push(session.name);
        }
    }
    match live.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::usage("no session is running in this cluster")
            .hint("start one with `kubectl kyanos watch`, or ask a saved store with `--store sqlite:FILE`")),
        several => Err(Failure::usage(format!("several sessions are running: {}", several.join(", ")))
            .hint("choose one with `--session NAME`")),
    }
}

/// Name of the Job whose end is the session's.
const DEADMAN: &str = "deadman";

/// How long after its namespace a session's Job may still be on its way.
const JOB_PATIENCE: Duration = Duration::from_mins(2);

/// Says whether a session lives: its dead man's switch is there, or it has only just begun.
pub(crate) async fn is_live(connection: &Connection, namespace: &Namespace) -> Result<bool, Failure> {
    if ending(namespace).is_some() {
        return Ok(false);
    }
    let jobs: Api<Job> = Api::namespaced(connection.client.clone(), &namespace.name_any());
    let found = jobs.get_metadata_opt(DEADMAN).await;
    let found = found.map_err(|error| connect::failure(&error, &connection.server))?;
    Ok(match found {
        Some(job) => job.metadata.deletion_timestamp.is_none(),
        None => age(namespace) < JOB_PATIENCE,
    })
}

/// Time since a namespace was made; none where the clocks disagree.
pub(crate) fn age(namespace: &Namespace) -> Duration {
    namespace.creation_timestamp().map(|made| since(&made)).unwrap_or_default()
}

/// For how long a namespace has been ending; `None` where it is not.
pub(crate) fn ending(namespace: &Namespace) -> Option<Duration> {
    namespace.metadata.deletion_timestamp.as_ref().map(since)
}

fn since(time: &Time) -> Duration {
    let since = k8s_openapi::jiff::Timestamp::now().duration_since(time.0);
    Duration::try_from(since).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    use super::*;

    fn namespace(name: &str, session: &str, by: &str, manager: &str) -> Namespace {
        let labels = [(MANAGED_BY.0, by), (SESSION_LABEL, session)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                uid: Some("u".to_owned()),
                labels: Some(BTreeMap::from(labels)),
                managed_fields: Some(vec![ManagedFieldsEntry {
                    manager: Some(manager.to_owned()),
                    ..ManagedFieldsEntry::default()
                }]),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        }
    }

    #[test]
    fn only_name_labels_and_manager_together_make_a_session() {
        for (name, session, by, manager, ours) in [
            ("kyanos-a", "a", "kyanos", FIELD_MANAGER, true),
            ("kyanos-b", "a", "kyanos", FIELD_MANAGER, false),
            ("kyanos-a", "a", "helm", FIELD_MANAGER, false),
            ("kyanos-a", "a", "kyanos", "kubectl", false),
            ("a", "a", "kyanos", FIELD_MANAGER, false),
        ] {
            let found = SessionRef::of(&namespace(name, session, by, manager));
            assert_eq!(found.is_some(), ours, "{name} {session} {by} {manager}");
        }
        let bare = Namespace::default();
        assert_eq!(SessionRef::of(&bare), None);
    }
}
