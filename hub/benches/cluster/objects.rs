//! What a cluster of a given size holds, as the API tells it.
//!
//! Objects are as large as they are in clusters: a pod takes some four kilobytes.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Map, Value, json};

use crate::NAMESPACE;

/// Pods of one `Deployment`, and with it of one `ReplicaSet`, `Service` and `EndpointSlice`.
const REPLICAS: usize = 10;

/// Namespaces that pods are spread over.
const NAMESPACES: usize = 100;

/// Kinds that hubs watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pod,
    Service,
    EndpointSlice,
    Node,
    ReplicaSet,
    Job,
}

/// The objects of a cluster, made as they are asked for.
pub(crate) struct Objects {
    nodes: usize,
    hubs: Vec<Ipv4Addr>,
    /// How often each pod was replaced by another one.
    generations: Vec<AtomicU32>,
}

// === impl Kind ===

impl Kind {
    /// Tells which kind a path lists in all namespaces.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/api/v1/pods" => Some(Self::Pod),
            "/api/v1/services" => Some(Self::Service),
            "/apis/discovery.k8s.io/v1/endpointslices" => Some(Self::EndpointSlice),
            "/api/v1/nodes" => Some(Self::Node),
            "/apis/apps/v1/replicasets" => Some(Self::ReplicaSet),
            "/apis/batch/v1/jobs" => Some(Self::Job),
            _ => None,
        }
    }
}

// === impl Objects ===

impl Objects {
    pub(crate) fn new(nodes: usize, pods: usize, hubs: Vec<Ipv4Addr>) -> Self {
        Self { nodes, hubs, generations: (0..pods).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Returns how many objects of a kind there are.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Pod => self.generations.len() + self.hubs.len(),
            Kind::Service | Kind::EndpointSlice | Kind::ReplicaSet => {
                self.generations.len().div_ceil(REPLICAS)
            }
            Kind::Node => self.nodes,
            Kind::Job => 0,
        }
    }

    /// Makes one object.
    pub(crate) fn object(&self, kind: Kind, number: usize) -> Value {
        match kind {
            Kind::Pod => match number.checked_sub(self.generations.len()) {
                None => self.pod(number),
                Some(hub) => self.hub(hub),
            },
            Kind::Service => service(number),
            Kind::EndpointSlice => self.slice(number),
            Kind::Node => node(number),
            Kind::ReplicaSet => replica_set(number),
            Kind::Job => Value::Null,
        }
    }

    /// Replaces a pod by another one of its workload; returns the old and the new.
    pub(crate) fn replace(&self, number: usize) -> Option<(Value, Value)> {
        let generation = self.generations.get(number)?;
        let old = self.pod(number);
        generation.fetch_add(1, Ordering::Relaxed);
        Some((old, self.pod(number)))
    }

    /// Returns UID and name of the pods that are on a node now.
    pub(crate) fn pods_of(&self, node: usize) -> impl Iterator<Item = (String, String)> {
        let numbers = (node..self.generations.len()).step_by(self.nodes.max(1));
        numbers.map(|number| (self.uid(number), self.name(number)))
    }

    fn generation(&self, number: usize) -> u32 {
        self.generations.get(number).map_or(0, |generation| generation.load(Ordering::Relaxed))
    }

    fn uid(&self, number: usize) -> String {
        format!("0f7d3c9e-8a52-4b6e-{:04x}-{number:012x}", self.generation(number) & 0xffff)
    }

    fn name(&self, number: usize) -> String {
        format!("orders-{}-7d4b9c6f5-{number:06}-{}", number / REPLICAS, self.generation(number))
    }

    fn pod(&self, number: usize) -> Value {
        let fields: Map<_, _> = (0..60).map(|field| (format!("f:field-{field}"), json!({}))).collect();
        let environment: Vec<_> =
            (0..30).map(|name| json!({"name": format!("NAME_{name}"), "value": "v".repeat(60)})).collect();
        let generation = self.generation(number);
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "namespace": namespace(number), "name": self.name(number), "uid": self.uid(number), "resourceVersion": "1",
                "labels": {"app": format!("orders-{}", number / REPLICAS), "pod-template-hash": "7d4b9c6f5"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                    "name": format!("orders-{}-7d4b9c6f5", number / REPLICAS), "uid": "u", "controller": true}],
                "managedFields": [{"manager": "kubelet", "operation": "Update", "apiVersion": "v1",
                    "fieldsType": "FieldsV1", "fieldsV1": fields}],
            },
            "spec": {"nodeName": node_name(number % self.nodes),
                "containers": [{"name": "main", "image": "i", "env": environment}]},
            "status": {
                "phase": "Running", "podIPs": [{"ip": address(number).to_string()}],
                "containerStatuses": [{"name": "main", "containerID": format!("containerd://{generation:08x}{number:056x}"),
                    "image": "", "imageID": "", "ready": true, "restartCount": 0}],
            },
        })
    }

    fn hub(&self, number: usize) -> Value {
        let address = self.hubs.get(number).copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "namespace": NAMESPACE, "name": hub_name(number), "uid": format!("hub-{number}"), "resourceVersion": "1",
                "labels": {"app.kubernetes.io/managed-by": "kyanos", "app.kubernetes.io/component": "hub",
                    "kyanos.io/session": crate::SESSION},
            },
            "spec": {"nodeName": node_name(number % self.nodes), "containers": [{"name": "hub", "image": "i"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": address.to_string()}]},
        })
    }

    fn slice(&self, number: usize) -> Value {
        let pods = number * REPLICAS..((number + 1) * REPLICAS).min(self.generations.len());
        let endpoints: Vec<_> = pods
            .map(|pod| {
                json!({"addresses": [address(pod).to_string()], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "name": self.name(pod)}})
            })
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": namespace(number * REPLICAS), "name": format!("orders-{number}-x"),
                "resourceVersion": "1", "labels": {"kubernetes.io/service-name": format!("orders-{number}")}},
            "ports": [{"port": 8080}], "endpoints": endpoints,
        })
    }
}

/// Returns the name of a node.
pub(crate) fn node_name(number: usize) -> String {
    format!("node-{number}")
}

/// Returns the name of a hub's pod.
pub(crate) fn hub_name(number: usize) -> String {
    format!("hub-{number}")
}

fn namespace(pod: usize) -> String {
    format!("team-{}", (pod / REPLICAS) % NAMESPACES)
}

/// Pods are in 100.64.0.0/10, which holds four million addresses.
fn address(pod: usize) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(100, 64, 0, 0));
    Ipv4Addr::from(first.saturating_add(u32::try_from(pod).unwrap_or(u32::MAX)))
}

fn service(number: usize) -> Value {
    let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 20, 0, 0)) + u32::try_from(number).unwrap_or(0));
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace(number * REPLICAS), "name": format!("orders-{number}"), "resourceVersion": "1"},
        "spec": {"clusterIP": ip.to_string(), "clusterIPs": [ip.to_string()], "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn node(number: usize) -> Value {
    let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 28, 0, 0)) + u32::try_from(number).unwrap_or(0));
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node_name(number), "resourceVersion": "1"},
        "status": {"addresses": [{"type": "InternalIP", "address": ip.to_string()}],
            "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn replica_set(number: usize) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"namespace": namespace(number * REPLICAS), "name": format!("orders-{number}-7d4b9c6f5"),
            "resourceVersion": "1",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("orders-{number}"),
                "uid": "u", "controller": true}]},
    })
}
