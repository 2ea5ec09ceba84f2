//! The objects of a session, from the YAML templates in `manifests/`.

mod selector;

use kube::core::DynamicObject;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use proto::launch::INGEST_PORT;
use serde::{Deserialize, Serialize};

use super::request::Request;
use crate::failure::Failure;

/// What stands for a value that is only made when a session starts.
pub(crate) const GENERATED: &str = "<generated>";

/// How long a hub's hold on its Lease lasts unrenewed; see `--timeout` and the heartbeat for the other clocks.
pub(crate) const LEASE_SECONDS: u32 = 60;

/// Architectures that hub and capturer are built for, as Kubernetes names them.
pub(crate) const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Bytes that a hub may take in a small cluster.
const HUB_MEMORY: u64 = 256 << 20;

/// Bytes that it may take more for each node, with the pods on it: `cargo xtask bench cluster` finds half of it.
const HUB_MEMORY_OF_NODE: u64 = 320 << 10;

/// Bytes beside the rows that a store of its own may fill: the server's system tables, logs and indexes.
const STORE_OVERHEAD: u64 = 1 << 30;

/// The templates, in the order in which they are printed.
const PARTS: [(Part, &str); 10] = [
    (Part::Namespace, include_str!("../../../manifests/namespace.yaml")),
    (Part::Deadman, include_str!("../../../manifests/deadman.yaml")),
    (Part::Service, include_str!("../../../manifests/service.yaml")),
    (Part::Secrets, include_str!("../../../manifests/secrets.yaml")),
    (Part::Rbac, include_str!("../../../manifests/rbac.yaml")),
    (Part::OpenShift, include_str!("../../../manifests/openshift.yaml")),
    (Part::NetworkPolicy, include_str!("../../../manifests/networkpolicy.yaml")),
    (Part::Lease, include_str!("../../../manifests/lease.yaml")),
    (Part::Hub, include_str!("../../../manifests/hub.yaml")),
    (Part::Capturer, include_str!("../../../manifests/capturer.yaml")),
];

/// Objects that are made together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The Namespace.
    Namespace,
    /// The dead man's switch.
    Deadman,
    /// Where capturers find the hub.
    Service,
    /// What hub, store, capturers and viewers are told.
    Secrets,
    /// Accounts and what they may do.
    Rbac,
    /// What OpenShift asks for beside the namespace's labels; applied only there.
    OpenShift,
    /// Who reaches the hub.
    NetworkPolicy,
    /// Which hub leads.
    Lease,
    /// The hub, with the session's own store.
    Hub,
    /// The capturers.
    Capturer,
}

/// The session's own store.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoreValues {
    /// Its image.
    pub(crate) image: String,
    /// Password of `root`, which nobody uses.
    pub(crate) root_password: String,
    /// Password of the hub's login.
    pub(crate) password: String,
    /// Statements that make the login of `query`.
    pub(crate) reader_sql: String,
    /// The volume of its data.
    pub(crate) data_volume: DataVolume,
}

/// An emptyDir.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DataVolume {
    /// Bytes after which the kubelet evicts the pod; unlimited when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_limit: Option<String>,
}

/// What a cluster is, where that changes what may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Platform {
    /// Kubernetes as it comes.
    #[default]
    Kubernetes,
    /// Its SCC `anyuid` refuses every pod that names a seccomp profile.
    OpenShift,
}

/// What the templates are filled with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Values {
    /// The session's name.
    pub(crate) session: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Who starts it.
    pub(crate) owner: String,
    /// Version of this plugin.
    pub(crate) version: String,
    /// Now, RFC 3339.
    pub(crate) started: String,
    /// Whether hub and store outlive the plugin.
    pub(crate) keep: bool,
    /// Seconds a kept session lives after capture ended.
    pub(crate) ttl_seconds: u64,
    /// First deadline of the dead man's switch, seconds from its start.
    pub(crate) deadline_seconds: u64,
    /// Seconds of the hub's Lease.
    pub(crate) lease_seconds: u32,
    /// The hub's image.
    pub(crate) hub_image: String,
    /// The capturer's image.
    pub(crate) capturer_image: String,
    /// `imagePullPolicy`, where one was asked for.
    pub(crate) pull_policy: Option<String>,
    /// Content of the Secret that images are pulled with.
    pub(crate) pull_secret: Option<String>,
    /// Hubs.
    pub(crate) hub_replicas: u32,
    /// The session's own store, where it brings one.
    pub(crate) store: Option<StoreValues>,
    /// Architectures that can run hub and capturer.
    pub(crate) architectures: Vec<String>,
    /// Requirements on nodes that capture, beside the built-in ones.
    pub(crate) node_expressions: Vec<Requirement>,
    /// Nodes that capture, by name; all when empty.
    pub(crate) nodes: Vec<String>,
    /// Whether capturers get an exact list of capabilities instead of everything.
    pub(crate) capabilities_only: bool,
    /// Port of the hub's ingest service.
    pub(crate) ingest_port: u16,
    /// Ports at which the API server is reached; empty where that is not known.
    pub(crate) api_ports: Vec<u16>,
    /// What the cluster is.
    pub(crate) platform: Platform,
    /// Bytes that the hub may take.
    pub(crate) hub_memory: u64,
    /// Ports of a store of the user's own.
    pub(crate) store_ports: Vec<u16>,
    /// Whether a host of that store is given by name.
    pub(crate) store_by_name: bool,
    /// The hub's launch, JSON.
    pub(crate) hub_launch: String,
    /// The capturers' launch, JSON.
    pub(crate) capturer_launch: String,
    /// A viewer's identity, JSON.
    pub(crate) viewer: String,
}

/// One requirement of a node selector term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Requirement {
    /// Label.
    pub(crate) key: String,
    /// How it is compared.
    pub(crate) operator: &'static str,
    /// With what; empty for operators that compare with nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<String>,
}

/// Bytes that a hub may need in a cluster of so many nodes: it knows all their pods.
pub(crate) fn hub_memory(nodes: usize) -> u64 {
    let nodes = u64::try_from(nodes).unwrap_or(u64::MAX);
    HUB_MEMORY.saturating_add(nodes.saturating_mul(HUB_MEMORY_OF_NODE))
}

// === impl Values ===

impl Values {
    /// Fills in what a request says; launches and passwords stand as [`GENERATED`].
    ///
    /// That is enough for a dry run of every part, since nothing reads those values before a pod starts.
    pub(crate) fn new(request: &Request, owner: &str) -> Result<Self, Failure> {
        let node_expressions = match &request.node_selector {
            Some(text) => selector::parse(text)?,
            None => Vec::new(),
        };
        let generated = || GENERATED.to_owned();
        let store = request.own_store.then(|| StoreValues {
            image: request.images.store.clone(),
            root_password: generated(),
            password: generated(),
            reader_sql: generated(),
            data_volume: DataVolume::above(request.store_limit),
        });
        Ok(Self {
            session: request.name.clone(),
            namespace: super::names::namespace(&request.name),
            owner: owner.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: jiff::Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default().to_string(),
            keep: request.keep,
            ttl_seconds: request.ttl.as_secs(),
            deadline_seconds: request.deadline().as_secs(),
            lease_seconds: LEASE_SECONDS,
            hub_image: request.images.hub.clone(),
            capturer_image: request.images.capturer.clone(),
            pull_policy: request.pull_policy.clone(),
            pull_secret: request.pull_secret.as_ref().map(|_| generated()),
            hub_replicas: request.hub_replicas.max(1),
            store,
            architectures: ARCHITECTURES.map(str::to_owned).to_vec(),
            node_expressions,
            nodes: request.nodes.clone(),
            capabilities_only: request.capabilities_only,
            ingest_port: INGEST_PORT,
            api_ports: Vec::new(),
            platform: Platform::default(),
            hub_memory: HUB_MEMORY,
            store_ports: Vec::new(),
            store_by_name: false,
            hub_launch: generated(),
            capturer_launch: generated(),
            viewer: generated(),
        })
    }
}

// === impl DataVolume ===

impl DataVolume {
    /// Holds a store of `limit` bytes of rows; 0 is no limit.
    fn above(limit: u64) -> Self {
        // Rows lie in pages that are half full at worst, and are trimmed after the limit was passed.
        let size = (limit > 0).then(|| limit.saturating_mul(2).saturating_add(STORE_OVERHEAD));
        Self { size_limit: size.map(|bytes| bytes.to_string()) }
    }
}

/// Returns the objects of a part.
pub(crate) fn render(values: &Values, part: Part) -> Result<Vec<DynamicObject>, Failure> {
    let text = text(values, part)?;
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let object = serde_json::Value::deserialize(document).map_err(|error| unreadable(part, &error))?;
        objects.push(serde_json::from_value(object).map_err(|error| unreadable(part, &error))?);
    }
    Ok(objects)
}

/// Returns all parts as one YAML text.
pub(crate) fn print(values: &Values) -> Result<String, Failure> {
    let mut all = Vec::new();
    for (part, _) in PARTS.iter().filter(|(part, _)| *part != Part::OpenShift) {
        all.push(text(values, *part)?);
    }
    Ok(all.join("---\n"))
}

fn text(values: &Values, part: Part) -> Result<String, Failure> {
    let source = PARTS.iter().find(|(each, _)| *each == part).map_or("", |(_, source)| *source);
    let mut environment = Environment::new();
    // Values that need quotes say so in the template.
    environment.set_auto_escape_callback(|_name| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    // JSON is YAML; the filter of this name that comes with the engine writes it for HTML.
    environment.add_filter("tojson", json);
    environment.render_str(source, values).map_err(|error| unreadable(part, &error))
}

fn json(value: &minijinja::Value) -> Result<String, minijinja::Error> {
    serde_json::to_string(value).map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::BadSerialization, "a value is no JSON").with_source(error)
    })
}

fn unreadable(part: Part, error: &dyn std::error::Error) -> Failure {
    Failure::new(format!("the manifest {part:?} cannot be filled in: {error}"))
}

#[cfg(test)]
mod tests;
