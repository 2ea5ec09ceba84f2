//! What a new session asks of a cluster.

use std::time::Duration;

use crate::cli::values::PullSecret;

/// How far the dead man's switch is set beyond the longest start: the hub then keeps it at least this far ahead.
const DEADLINE_RESERVE: Duration = Duration::from_mins(5);

/// Images of a session, whole references.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Images {
    /// The hub's.
    pub(crate) hub: String,
    /// The capturer's.
    pub(crate) capturer: String,
    /// The session's own store's.
    pub(crate) store: String,
}

/// What a new session asks of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The session's name, made up already.
    pub(crate) name: String,
    /// What runs.
    pub(crate) images: Images,
    /// `Always`, `IfNotPresent` or `Never`; Kubernetes' own choice when absent.
    pub(crate) pull_policy: Option<String>,
    /// With what images are pulled.
    pub(crate) pull_secret: Option<PullSecret>,
    /// Nodes that capture, as kubectl writes label selectors.
    pub(crate) node_selector: Option<String>,
    /// Nodes that capture, by name; all when empty.
    pub(crate) nodes: Vec<String>,
    /// Whether capturers get an exact list of capabilities instead of everything.
    pub(crate) capabilities_only: bool,
    /// Hubs; more than one needs a store of the user's own.
    pub(crate) hub_replicas: u32,
    /// Whether the session brings its own store.
    pub(crate) own_store: bool,
    /// Bytes that store may hold; 0 is no limit.
    pub(crate) store_limit: u64,
    /// Whether hub and store outlive the plugin.
    pub(crate) keep: bool,
    /// How long a kept session lives after capture ended.
    pub(crate) ttl: Duration,
    /// Longest the session may take to start.
    pub(crate) timeout: Duration,
}

// === impl Request ===

impl Request {
    /// First deadline of the dead man's switch, counted from its making.
    pub(crate) fn deadline(&self) -> Duration {
        self.timeout.saturating_add(DEADLINE_RESERVE)
    }
}
