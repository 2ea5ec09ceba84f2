//! Names by which a session's objects are found and recognised as ours.

/// Field manager of everything the plugin writes.
pub(crate) const FIELD_MANAGER: &str = "kubectl-kyanos";

/// Label and value of every object of every session.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kyanos");

/// Label with the session's name, on every object of it.
pub(crate) const SESSION_LABEL: &str = "kyanos.io/session";

/// Label that tells a session's parts apart: [`HUB`], [`CAPTURER`] or [`DEADMAN`].
pub(crate) const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// Who started the session, on its Namespace.
pub(crate) const OWNER_ANNOTATION: &str = "kyanos.io/owner";

/// Version of the plugin that started it, on its Namespace.
pub(crate) const VERSION_ANNOTATION: &str = "kyanos.io/version";

/// Whether hub and store outlive the plugin, on its Namespace.
pub(crate) const KEEP_ANNOTATION: &str = "kyanos.io/keep";

/// Seconds that a kept session lives after capture ended, on its Namespace.
pub(crate) const TTL_ANNOTATION: &str = "kyanos.io/ttl-seconds";

/// When it was started (RFC 3339, UTC), on its Namespace.
pub(crate) const STARTED_ANNOTATION: &str = "kyanos.io/started";

/// Deployment, Service, Secret and component of the hub; also the name of its container.
pub(crate) const HUB: &str = "hub";

/// DaemonSet, Secret, component and container of the capturers.
pub(crate) const CAPTURER: &str = "capturer";

/// Container and Secret of the session's own store, beside the hub.
pub(crate) const STORE: &str = "store";

/// Job that is the dead man's switch; it owns every other namespaced object of the session.
pub(crate) const DEADMAN: &str = "deadman";

/// Lease that bears the name of the hub that leads.
pub(crate) const LEASE: &str = "session";

/// Secret with what a viewer needs to join; mounted nowhere.
pub(crate) const VIEWER: &str = "viewer";

/// Key of the viewer's identity (JSON) in Secret [`VIEWER`].
pub(crate) const VIEWER_KEY: &str = "viewer.json";

/// What the name of a session's namespace begins with.
pub(crate) const NAMESPACE_PREFIX: &str = "kyanos-";

/// Returns the namespace of a session; its ClusterRole and ClusterRoleBinding have the same name.
pub(crate) fn namespace(session: &str) -> String {
    format!("{NAMESPACE_PREFIX}{session}")
}

/// Returns the label selector of every session's objects.
pub(crate) fn ours() -> String {
    format!("{}={}", MANAGED_BY.0, MANAGED_BY.1)
}

/// Returns the label selector of one session's objects.
pub(crate) fn selector(session: &str) -> String {
    format!("{},{SESSION_LABEL}={session}", ours())
}

/// Returns the label selector of one part's pods: [`HUB`] or [`CAPTURER`].
pub(crate) fn part_selector(session: &str, component: &str) -> String {
    format!("{},{COMPONENT_LABEL}={component}", selector(session))
}
