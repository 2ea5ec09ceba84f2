//! Writing a session's objects: what owns what, in which order, and what refusals mean.

use std::time::Duration;

use futures_util::future::try_join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{ApiResource, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind};
use proto::causes::with_causes;

use super::connect::Connection;
use super::manifests::{self, Part, Platform, Values};
use super::names;
use crate::cli::values::PullSecret;
use crate::failure::Failure;

/// How often a write is tried again that the API server was too busy for, or that a connection swallowed.
const WRITE_RETRIES: u32 = 4;

/// Pause before the first of them; each next one is twice as long.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The same for a binding whose role the API server wrote and does not see yet.
const RETRY_PAUSE_UNSEEN: Duration = Duration::from_millis(50);

/// Type of the Secrets that kubelets pull images with.
const PULL_TYPE: &str = "kubernetes.io/dockerconfigjson";

/// Key of their content.
const PULL_KEY: &str = ".dockerconfigjson";

/// Cause that the API server gives where it makes nothing in a namespace since that is being deleted.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// Kinds that the templates hold, and their plurals.
const PLURALS: [(&str, &str); 13] = [
    ("Namespace", "namespaces"),
    ("Job", "jobs"),
    ("Service", "services"),
    ("Secret", "secrets"),
    ("ServiceAccount", "serviceaccounts"),
    ("Role", "roles"),
    ("RoleBinding", "rolebindings"),
    ("ClusterRole", "clusterroles"),
    ("ClusterRoleBinding", "clusterrolebindings"),
    ("NetworkPolicy", "networkpolicies"),
    ("Lease", "leases"),
    ("Deployment", "deployments"),
    ("DaemonSet", "daemonsets"),
];

/// Is told of each object that was written.
pub(crate) type Tell<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Writes the objects of one session.
#[derive(Clone)]
pub(crate) struct Applier<'a> {
    client: kube::Client,
    tell: Tell<'a>,
    /// The Namespace, which owns what is not in it.
    namespace: OwnerReference,
    /// The dead man's switch, which owns everything in the Namespace.
    deadman: Option<OwnerReference>,
}

// === impl Applier ===

impl<'a> Applier<'a> {
    /// Writes into a Namespace that was just made.
    pub(crate) fn new(client: kube::Client, values: &Values, namespace_uid: &str, tell: Tell<'a>) -> Self {
        let namespace = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            name: values.namespace.clone(),
            uid: namespace_uid.to_owned(),
            ..OwnerReference::default()
        };
        Self { client, tell, namespace, deadman: None }
    }

    /// Writes the dead man's switch and the role that the Namespace owns outside itself.
    pub(crate) async fn foundation(&mut self, values: &Values) -> Result<(), Failure> {
        let deadman = manifests::render(values, Part::Deadman)?;
        let rbac = manifests::render(values, Part::Rbac)?;
        let outside =
            rbac.into_iter().filter(|object| object.metadata.namespace.is_none() && !is_binding(object));
        let (deadman, _) = futures_util::try_join!(self.all(deadman), self.all(outside))?;
        let Some(uid) = deadman.into_iter().next().and_then(|job| job.metadata.uid) else {
            return Err(Failure::new("the API server gave the Job `deadman` no UID"));
        };
        self.deadman = Some(OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            name: names::DEADMAN.to_owned(),
            uid,
            ..OwnerReference::default()
        });
        Ok(())
    }

    /// Writes what pods need before they start; returns the address of the hub's Service.
    pub(crate) async fn surroundings(&self, values: &Values) -> Result<String, Failure> {
        let mut objects = Vec::new();
        for part in [Part::Service, Part::Secrets, Part::Rbac, Part::NetworkPolicy, Part::Lease] {
            objects.extend(manifests::render(values, part)?);
        }
        if values.platform == Platform::OpenShift {
            objects.extend(manifests::render(values, Part::OpenShift)?);
        }
        let (bindings, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_binding);
        let others = others
            .into_iter()
            .filter(|object| object.metadata.namespace.is_some() && !is_capturers_secret(object));
        let made = self.all(others).await?;
        // Who may not grant at will binds only roles that are there.
        self.all(bindings).await?;
        let address = made
            .iter()
            .filter(|object| kind(object) == "Service")
            .find_map(|service| service.data.pointer("/spec/clusterIP")?.as_str())
            .filter(|address| !address.is_empty() && *address != "None");
        address.map(str::to_owned).ok_or_else(|| {
            Failure::new("the API server gave the Service `hub` no address")
                .hint("a session needs Services with a ClusterIP")
        })
    }

    /// Writes the hub.
    pub(crate) async fn hub(&self, values: &Values) -> Result<(), Failure> {
        self.all(manifests::render(values, Part::Hub)?).await.map(|_made| ())
    }

    /// Writes the capturers with what they are told.
    pub(crate) async fn capturers(&self, values: &Values) -> Result<(), Failure> {
        let secrets = manifests::render(values, Part::Secrets)?;
        self.all(secrets.into_iter().filter(is_capturers_secret)).await?;
        self.all(manifests::render(values, Part::Capturer)?).await.map(|_made| ())
    }

    async fn all(
        &self,
        objects: impl IntoIterator<Item = DynamicObject>,
    ) -> Result<Vec<DynamicObject>, Failure> {
        try_join_all(objects.into_iter().map(|object| self.one(object))).await
    }

    async fn one(&self, mut object: DynamicObject) -> Result<DynamicObject, Failure> {
        let resource = resource(&object)?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let (api, owner) = match &object.metadata.namespace {
            Some(namespace) => (
                Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource),
                self.deadman.clone(),
            ),
            None => (Api::all_with(self.client.clone(), &resource), Some(self.namespace.clone())),
        };
        // The switch itself has no owner: it goes with its Namespace.
        object.metadata.owner_references = owner.map(|owner| vec![owner]);
        let parameters = PatchParams::apply(names::FIELD_MANAGER);
        let patch = Patch::Apply(&object);
        let binding = is_binding(&object);
        let mut pause = if binding { RETRY_PAUSE_UNSEEN } else { RETRY_PAUSE };
        for _ in 0..WRITE_RETRIES {
            match api.patch(&name, &parameters, &patch).await {
                Err(error) if is_passing(&error) || (binding && is_unseen(&error)) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return self.told(done, &resource.kind, &name),
            }
        }
        self.told(api.patch(&name, &parameters, &patch).await, &resource.kind, &name)
    }

    fn told(
        &self,
        written: Result<DynamicObject, kube::Error>,
        kind: &str,
        name: &str,
    ) -> Result<DynamicObject, Failure> {
        let made = written.map_err(|error| refused(kind, name, &error))?;
        (self.tell)(&format!("made {kind} {name}"));
        Ok(made)
    }
}

/// Makes the Namespace of a session and returns its UID; one that exists already is left alone.
pub(crate) async fn create_namespace(client: &kube::Client, values: &Values) -> Result<String, Failure> {
    let Some(object) = manifests::render(values, Part::Namespace)?.into_iter().next() else {
        return Err(Failure::new("the manifest of the Namespace is empty"));
    };
    let name = values.namespace.as_str();
    let unreadable = |error: &dyn std::error::Error| {
        Failure::new(format!("the manifest of the Namespace is no Namespace: {error}"))
    };
    let namespace: Namespace = object.try_parse().map_err(|error| unreadable(&error))?;
    let namespaces = Api::<Namespace>::all(client.clone());
    // An apply would take over a session of this name; a create cannot.
    let parameters = PostParams { dry_run: false, field_manager: Some(names::FIELD_MANAGER.to_owned()) };
    match namespaces.create(&parameters, &namespace).await {
        Ok(made) => Ok(made.metadata.uid.unwrap_or_default()),
        Err(error) => {
            let exists = matches!(&error, kube::Error::Api(status) if status.is_already_exists());
            let there = if exists || is_passing(&error) {
                namespaces.get_opt(name).await.ok().flatten()
            } else {
                None
            };
            match there {
                // The API server made it, and the answer was lost.
                Some(made) if is_this_start(&made, &namespace) => Ok(made.metadata.uid.unwrap_or_default()),
                there if exists => Err(in_use(&values.session, there.as_ref())),
                _ => Err(refused("Namespace", name, &error)),
            }
        }
    }
}

/// Whether a Namespace was made by the same start: by the same user, with the same words, at the same second.
fn is_this_start(made: &Namespace, wanted: &Namespace) -> bool {
    let said = |of: &Namespace| {
        let annotations = of.metadata.annotations.as_ref();
        [names::OWNER_ANNOTATION, names::STARTED_ANNOTATION, names::VERSION_ANNOTATION]
            .map(|key| annotations.and_then(|all| all.get(key)).cloned())
    };
    made.metadata.deletion_timestamp.is_none() && said(wanted)[1].is_some() && said(made) == said(wanted)
}

/// Reads the Secret that images are pulled with.
pub(crate) async fn pull_secret(connection: &Connection, wanted: &PullSecret) -> Result<String, Failure> {
    let PullSecret { namespace, name } = wanted;
    let namespace = namespace.as_deref().unwrap_or(&connection.namespace);
    let secrets = Api::<Secret>::namespaced(connection.client.clone(), namespace);
    let secret = match secrets.get_opt(name).await {
        Ok(Some(secret)) => secret,
        Ok(None) => {
            return Err(Failure::usage(format!(
                "there is no Secret `{namespace}/{name}` to pull images with"
            ))
            .hint("`--image-pull-secret NAMESPACE/NAME` names one of type kubernetes.io/dockerconfigjson"));
        }
        Err(error) => {
            return Err(Failure::new(format!(
                "reading Secret `{namespace}/{name}` failed: {}",
                said(&error)
            )));
        }
    };
    let content = secret.data.unwrap_or_default().remove(PULL_KEY);
    match content.map(|ByteString(bytes)| String::from_utf8(bytes)) {
        Some(Ok(text)) if secret.type_.as_deref() == Some(PULL_TYPE) => Ok(text),
        Some(_) | None => Err(Failure::usage(format!(
            "Secret `{namespace}/{name}` is of type `{}`, not {PULL_TYPE}",
            secret.type_.as_deref().unwrap_or("Opaque")
        ))
        .hint(format!("make one with `kubectl create secret docker-registry {name} …`"))),
    }
}

/// Returns what an error of the API says, without what the client wraps around it.
pub(crate) fn said(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error
        && !status.message.is_empty()
    {
        return status.message.clone();
    }
    with_causes(error)
}

fn in_use(session: &str, there: Option<&Namespace>) -> Failure {
    let name = names::namespace(session);
    let Some(there) = there else {
        return Failure::new(format!("the session name `{session}` is in use"))
            .hint("choose another one with `--name`");
    };
    let label = |key: &str| there.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    if there.metadata.deletion_timestamp.is_some() {
        return Failure::new(format!("the last session `{session}` is still being removed"))
            .hint("try again in some seconds, or choose another name with `--name`");
    }
    if label(names::MANAGED_BY.0).map(String::as_str) != Some(names::MANAGED_BY.1) {
        return Failure::new(format!("namespace `{name}` exists and is none of Kyanos"))
            .hint("it is left alone; choose another name with `--name`");
    }
    Failure::new(format!("the session name `{session}` is in use")).hint(format!(
        "join it with `--session {session}`, remove it with `kubectl kyanos cleanup {session}`, or choose another `--name`"
    ))
}

/// Says what a refused write means.
fn refused(kind: &str, name: &str, error: &kube::Error) -> Failure {
    let failed = Failure::new(format!("making {kind} `{name}` failed: {}", said(error)));
    let kube::Error::Api(status) = error else {
        return failed;
    };
    if status.is_conflict() {
        return Failure::new(format!(
            "{kind} `{name}` exists and is written by somebody else: {}",
            status.message
        ))
        .hint("it is left alone; choose another name with `--name`");
    }
    if status.is_forbidden() {
        let what = &status.message;
        let causes = status.details.iter().flat_map(|details| &details.causes);
        if causes.into_iter().any(|cause| cause.reason == NAMESPACE_TERMINATING) {
            return Failure::new(format!("the session's namespace was deleted while it started: {what}"));
        }
        return Failure::new(format!("making {kind} `{name}` is forbidden: {what}"))
            .hint("ask for the rules of `manifests/deployer.yaml`, which are all that a session needs");
    }
    failed
}

/// Whether the same request may succeed a moment later.
fn is_passing(error: &kube::Error) -> bool {
    if let kube::Error::Api(status) = error {
        return matches!(status.code, 429 | 500 | 502 | 503 | 504);
    }
    matches!(error, kube::Error::HyperError(_) | kube::Error::Service(_))
}

/// Whether a binding's role is not there, or not yet for the part of the API server that checks it.
fn is_unseen(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

fn is_binding(object: &DynamicObject) -> bool {
    matches!(kind(object), "RoleBinding" | "ClusterRoleBinding")
}

fn is_capturers_secret(object: &DynamicObject) -> bool {
    kind(object) == "Secret" && object.metadata.name.as_deref() == Some(names::CAPTURER)
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}

fn resource(object: &DynamicObject) -> Result<ApiResource, Failure> {
    let found = object.types.as_ref().and_then(|types| {
        let (_, plural) = PLURALS.iter().find(|(kind, _)| *kind == types.kind)?;
        let group = GroupVersionKind::try_from(types).ok()?;
        Some(ApiResource::from_gvk_with_plural(&group, plural))
    });
    found.ok_or_else(|| Failure::new(format!("a manifest holds a {} that is not known", kind(object))))
}

#[cfg(test)]
mod tests;
