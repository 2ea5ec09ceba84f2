//! What the user may do, asked before anything is made.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

use super::super::connect::{self, Connection};
use crate::failure::Failure;

/// An API group, a resource, verbs on it, and whether they are asked for within a namespace.
type Rights = (&'static str, &'static str, &'static [&'static str], bool);

/// API groups and resources with the verbs on them that a session cannot do without; the last says whether they are
/// asked for within the session's namespace. What the hub is granted there is among them, since nobody may grant what
/// they do not hold; what only enriches is not asked for.
pub(in super::super) const NEEDED_RIGHTS: [Rights; 16] = [
    ("", "namespaces", &["create", "get", "list", "delete"], false),
    ("", "nodes", &["list"], false),
    ("", "pods", &["list", "watch", "delete", "deletecollection"], true),
    ("", "pods/portforward", &["get", "create"], true),
    ("", "secrets", &["create", "patch"], true),
    ("", "services", &["create", "patch"], true),
    ("", "serviceaccounts", &["create", "patch"], true),
    ("apps", "deployments", &["create", "patch", "list", "delete"], true),
    ("apps", "daemonsets", &["create", "patch", "get", "list", "delete"], true),
    ("batch", "jobs", &["create", "patch", "get"], true),
    ("coordination.k8s.io", "leases", &["create", "patch", "get", "update"], true),
    ("networking.k8s.io", "networkpolicies", &["create", "patch"], true),
    ("rbac.authorization.k8s.io", "roles", &["create", "patch"], true),
    ("rbac.authorization.k8s.io", "rolebindings", &["create", "patch"], true),
    ("rbac.authorization.k8s.io", "clusterroles", &["create", "patch", "list", "delete"], false),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &["create", "patch", "list", "delete"], false),
];

/// The same of removing a session: its namespace takes along what is in it.
const REMOVAL_RIGHTS: [Rights; 3] = [
    ("", "namespaces", &["delete"], false),
    ("rbac.authorization.k8s.io", "clusterroles", &["list", "delete"], false),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &["list", "delete"], false),
];

/// Refuses a user who may not do all that a session needs.
pub(super) async fn check(connection: &Connection, namespace: &str) -> Result<(), Failure> {
    refuse_missing(connection, &NEEDED_RIGHTS, namespace).await
}

/// Refuses a user who may not remove sessions, before any of it goes.
pub(crate) async fn may_remove(connection: &Connection) -> Result<(), Failure> {
    refuse_missing(connection, &REMOVAL_RIGHTS, "").await
}

/// Asks for each verb whether the user may; names all that are missing with the rules to ask for.
async fn refuse_missing(
    connection: &Connection,
    rights: &'static [Rights],
    namespace: &str,
) -> Result<(), Failure> {
    let questions = rights.iter().flat_map(|(group, resource, verbs, within)| {
        let namespace = within.then_some(namespace);
        verbs.iter().map(move |verb| ask(connection, group, resource, verb, namespace))
    });
    let missing: Vec<Missing> = try_join_all(questions).await?.into_iter().flatten().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = missing.iter().map(|(_, resource, verb)| format!("{verb} {resource}")).collect();
    Err(Failure::new(format!("`{}` may not {}", connection.owner, words.join(", "))).hint(format!(
        "ask for the ClusterRole in manifests/deployer.yaml, or for {}",
        rules(&missing).join("; ")
    )))
}

/// What a user may not: group, resource and verb.
type Missing = (&'static str, &'static str, &'static str);

async fn ask(
    connection: &Connection,
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    namespace: Option<&str>,
) -> Result<Option<Missing>, Failure> {
    let (kind, part) = match resource.split_once('/') {
        Some((kind, part)) => (kind, Some(part)),
        None => (resource, None),
    };
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(kind.to_owned()),
        subresource: part.map(str::to_owned),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews = Api::<SelfSubjectAccessReview>::all(connection.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|error| connect::failure(&error, &connection.server))?;
    let allowed = answer.status.is_some_and(|status| status.allowed);
    Ok((!allowed).then_some((group, resource, verb)))
}

/// Writes missing rights as rules of a role, resources of a group together.
fn rules(missing: &[Missing]) -> Vec<String> {
    let places: BTreeSet<(&str, &str)> =
        missing.iter().map(|(group, resource, _)| (*group, *resource)).collect();
    places
        .into_iter()
        .map(|(group, resource)| {
            let verbs: Vec<&str> = missing
                .iter()
                .filter(|(g, r, _)| *g == group && *r == resource)
                .map(|(_, _, verb)| *verb)
                .collect();
            format!("apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{}]", verbs.join(", "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rights_are_written_as_rules() {
        let missing =
            [("apps", "daemonsets", "create"), ("", "pods", "list"), ("apps", "daemonsets", "patch")];
        assert_eq!(
            rules(&missing),
            [
                "apiGroups: [\"\"], resources: [pods], verbs: [list]",
                "apiGroups: [\"apps\"], resources: [daemonsets], verbs: [create, patch]",
            ]
        );
    }
}
