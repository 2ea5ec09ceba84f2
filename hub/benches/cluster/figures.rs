//! What one run found.

use std::collections::BTreeMap;

/// One size's figures; printed as one line of JSON.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Figures {
    /// Nodes, each with a capturer.
    pub(crate) nodes: usize,
    /// Pods in the cluster.
    pub(crate) pods: usize,
    /// Hubs of the session.
    pub(crate) hubs: usize,
    /// Exchanges a second that were to be sent.
    pub(crate) rate: u64,
    /// Pods a second that went and came again.
    pub(crate) churn: u64,
    /// Whether exchanges went into a store.
    pub(crate) stored: bool,
    /// From the start of the hubs until the viewer had an exchange of every node.
    pub(crate) streaming_seconds: f64,
    /// From asking for the end until every node had confirmed and everything was delivered and stored.
    pub(crate) drained_seconds: f64,
    /// Processor time of all hubs by the second, while all nodes streamed.
    pub(crate) hub_cores: f64,
    /// Largest resident memory of one hub.
    pub(crate) hub_peak_mib: f64,
    /// By how much the resident memory of all hubs grew while all nodes streamed.
    pub(crate) hub_growth_mib: f64,
    /// Requests to the Kubernetes API until all nodes streamed.
    pub(crate) requests_before: u64,
    /// Requests to the Kubernetes API by the minute, while all nodes streamed.
    pub(crate) requests_per_minute: f64,
    /// Exchanges that capturers sent.
    pub(crate) sent: u64,
    /// Exchanges that the viewer received.
    pub(crate) received: u64,
    /// Lost exchanges by consumer and stage, as the hub tells them.
    pub(crate) lost: BTreeMap<String, u64>,
    /// Pods of which a node was told something else than the API says, at the end.
    pub(crate) wrong_pods: u64,
}
