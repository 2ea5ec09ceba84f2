//! The sessions of a cluster: namespaces that are ours by label, name and field manager.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use proto::launch::CAPTURE_ENDED_ANNOTATION;

use super::connect::{self, Connection};
use super::{FIELD_MANAGER, MANAGED_BY, NAMESPACE_PREFIX, SESSION_LABEL, names};
use crate::failure::Failure;

/// A session by its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRef {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace's UID, so that nobody else's is removed under the same name.
    pub(crate) namespace_uid: String,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It captures, or is about to.
    Live,
    /// Capture ended; hub and store stay for so long.
    Kept(Duration),
    /// Its dead man's switch has gone off.
    Ended,
    /// It is being removed.
    Ending,
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

// === impl Life ===

impl Life {
    /// Reads how far a session is that `lives` by its dead man's switch, from its namespace and, where that may be seen,
    /// its Lease.
    pub(crate) fn of(namespace: &Namespace, lease: Option<&Lease>, lives: bool) -> Self {
        match (ending(namespace), lives) {
            (Some(_), _) => Self::Ending,
            (None, false) => Self::Ended,
            (None, true) => kept_for(namespace, lease).map_or(Self::Live, Self::Kept),
        }
    }

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Kept(_) => "kept",
            Self::Ended => "ended",
            Self::Ending => "ending",
        }
    }
}

/// What is left of a kept session's time; `None` where capture goes on or nothing is kept.
fn kept_for(namespace: &Namespace, lease: Option<&Lease>) -> Option<Duration> {
    let told = |key: &str| namespace.annotations().get(key).map(String::as_str);
    if told(names::KEEP_ANNOTATION) != Some("true") {
        return None;
    }
    let ended: k8s_openapi::jiff::Timestamp =
        lease?.annotations().get(CAPTURE_ENDED_ANNOTATION)?.parse().ok()?;
    let ttl = Duration::from_secs(told(names::TTL_ANNOTATION)?.parse().ok()?);
    // The hub's clock wrote it: one that is ahead of this one does not make the time longer.
    Some(ttl.saturating_sub(since(&Time(ended))))
}

/// Reads the Lease of a session; `None` where it is not there or may not be seen.
pub(crate) async fn lease(connection: &Connection, session: &SessionRef) -> Option<Lease> {
    let leases: Api<Lease> = Api::namespaced(connection.client.clone(), &session.namespace());
    leases.get_opt(names::LEASE).await.ok().flatten()
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
    fn a_kept_session_has_what_is_left_of_its_time() {
        let made = |keep: &str, ttl: &str| {
            let told = [(names::KEEP_ANNOTATION, keep), (names::TTL_ANNOTATION, ttl)];
            let told = told.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let mut made = namespace("kyanos-a", "a", "kyanos", FIELD_MANAGER);
            made.metadata.annotations = Some(BTreeMap::from(told));
            made
        };
        let ended = |ago: i64| {
            let at = k8s_openapi::jiff::Timestamp::now() - k8s_openapi::jiff::SignedDuration::from_secs(ago);
            let noted = (CAPTURE_ENDED_ANNOTATION.to_owned(), at.to_string());
            let metadata = ObjectMeta { annotations: Some(BTreeMap::from([noted])), ..ObjectMeta::default() };
            Lease { metadata, ..Lease::default() }
        };
        let kept = made("true", "3600");
        let Life::Kept(left) = Life::of(&kept, Some(&ended(600)), true) else { panic!("not kept") };
        assert!((2990..=3000).contains(&left.as_secs()), "{left:?}");
        // A hub whose clock is ahead, and one that is late with the removal.
        assert_eq!(Life::of(&kept, Some(&ended(-50)), true), Life::Kept(Duration::from_hours(1)));
        assert_eq!(Life::of(&kept, Some(&ended(4000)), true), Life::Kept(Duration::ZERO));
        // While it captures, where nothing is kept, and where the Lease may not be seen.
        assert_eq!(Life::of(&kept, Some(&Lease::default()), true), Life::Live);
        assert_eq!(Life::of(&made("false", "3600"), Some(&ended(5)), true), Life::Live);
        assert_eq!(Life::of(&kept, None, true), Life::Live);
        assert_eq!(Life::of(&kept, Some(&ended(5)), false), Life::Ended);
        let mut ending = kept;
        ending.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::now()));
        assert_eq!(Life::of(&ending, Some(&ended(5)), true), Life::Ending);
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
