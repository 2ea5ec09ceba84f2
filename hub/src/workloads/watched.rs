//! From API objects to the index: one watch per kind, each object cut down as it arrives.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::{Arc, Weak};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod as ApiPod, PodSpec, Service as ApiService};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Error, Event};

use super::Workloads;
use super::index::{Index, Key, Owner, Pod, Service, Slice};

/// Annotation with what a static pod's cgroup is named by.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// Label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Annotations with the address by which a node talks to its pods, of networks that choose one: Calico's and Cilium's.
const INNER_ADDRESSES: [&str; 5] = [
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
];

/// A kind of object that the index knows.
pub(super) trait Watched: Send + 'static {
    /// Whether a node's pods are told only after this kind was listed.
    const BEFORE_PODS: bool;

    fn meta(&self) -> &ObjectMeta;
    /// Takes it; says whether what capturers are told may have changed.
    fn set(&self, index: &mut Index, key: &Key) -> bool;
    fn remove(index: &mut Index, key: &Key);
    fn known(index: &Index) -> HashSet<Key>;
}

/// Follows one kind until the workloads are gone. A broken or refused watch begins again with a new list, and what is
/// known stays known until that list is complete.
pub(super) async fn follow<K>(
    stream: impl Stream<Item = Result<Event<K>, Error>> + Send,
    workloads: Weak<Workloads>,
) where
    K: Watched,
{
    let mut stream = pin!(stream.default_backoff());
    let mut stale = HashSet::new();
    let mut listed = false;
    while let Some(event) = stream.next().await {
        let Some(workloads) = workloads.upgrade() else { return };
        match event {
            Ok(event) => {
                let done = matches!(event, Event::InitDone);
                let changed = apply(&mut workloads.write(), event, &mut stale);
                if changed {
                    workloads.change();
                }
                if done && !listed {
                    listed = true;
                    if K::BEFORE_PODS {
                        workloads.listed.send_modify(|kinds| *kinds += 1);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, kind = std::any::type_name::<K>(), "a watch broke, it begins again");
            }
        }
    }
}

fn apply<K: Watched>(index: &mut Index, event: Event<K>, stale: &mut HashSet<Key>) -> bool {
    match event {
        Event::Init => {
            *stale = K::known(index);
            false
        }
        Event::InitApply(object) | Event::Apply(object) => {
            let key = key(index, object.meta());
            stale.remove(&key);
            object.set(index, &key)
        }
        Event::Delete(object) => {
            let key = key(index, object.meta());
            K::remove(index, &key);
            true
        }
        Event::InitDone => {
            for key in stale.drain() {
                K::remove(index, &key);
            }
            index.tidy();
            true
        }
    }
}

/// Takes one object.
#[cfg(test)]
pub(super) fn set<K: Watched>(object: &K, index: &mut Index) {
    let key = key(index, object.meta());
    object.set(index, &key);
}

fn key(index: &mut Index, meta: &ObjectMeta) -> Key {
    let namespace = index.intern(meta.namespace.as_deref().unwrap_or_default());
    (namespace, index.intern(meta.name.as_deref().unwrap_or_default()))
}

fn owner(index: &mut Index, meta: &ObjectMeta) -> Option<Owner> {
    let owners = meta.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true))?;
    Some((index.intern(&owner.kind), index.intern(&owner.name)))
}

impl Watched for ApiPod {
    const BEFORE_PODS: bool = true;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn set(&self, index: &mut Index, key: &Key) -> bool {
        let pod = project(index, self);
        index.set_pod(key, pod)
    }

    fn remove(index: &mut Index, key: &Key) {
        index.remove_pod(key);
    }

    fn known(index: &Index) -> HashSet<Key> {
        index.pod_keys()
    }
}

fn project(index: &mut Index, pod: &ApiPod) -> Pod {
    let status = pod.status.as_ref();
    let spec = pod.spec.as_ref();
    let uid = pod.annotations().get(CONFIG_HASH).or(pod.metadata.uid.as_ref());
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let statuses = status.into_iter().flat_map(|status| {
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses]
    });
    let containers = statuses.flatten().flatten().filter_map(|status| {
        let id = container_id(status)?;
        Some((index.intern(&status.name), id.to_owned()))
    });
    let containers = containers.collect();
    let ips = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
    let host_ports = spec.map(|spec| ports(spec, host_network)).unwrap_or_default();
    let host_ips = status.and_then(|status| status.host_ips.as_ref()).into_iter().flatten();
    let host_ips = host_ips.filter(|_| !host_network && !host_ports.is_empty());
    let phase = status.and_then(|status| status.phase.as_deref());
    let labels = pod.metadata.labels.iter().flatten();
    Pod {
        uid: index.intern(uid.map(String::as_str).unwrap_or_default()),
        node: index.intern(spec.and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()),
        ips: ips.filter_map(|ip| address(&ip.ip)).collect(),
        host_ips: host_ips.filter_map(|ip| address(&ip.ip)).collect(),
        host_ports,
        host_network,
        owner: owner(index, &pod.metadata).filter(|(kind, _)| kind.as_ref() != "Node"),
        containers,
        labels: labels.map(|(name, value)| (index.intern(name), index.intern(value))).collect(),
        ended: matches!(phase, Some("Succeeded" | "Failed")),
    }
}

/// The id of a container that has started, without the runtime's scheme.
fn container_id(status: &ContainerStatus) -> Option<&str> {
    let id = status.container_id.as_deref()?;
    let id = id.split_once("://").map_or(id, |(_, id)| id);
    (!id.is_empty()).then_some(id)
}

/// The ports of its node that a pod has: in its node's network what it declares, else what is mapped.
fn ports(spec: &PodSpec, host_network: bool) -> Vec<u16> {
    let ports = spec.containers.iter().filter_map(|container| container.ports.as_ref()).flatten();
    let of_node =
        ports.filter_map(|port| if host_network { Some(port.container_port) } else { port.host_port });
    of_node.filter_map(port_number).collect()
}

fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// The addresses of a node in its range of pods: networks of bridges give the first one to the bridge, and the range's own
/// to the interface that leads to other nodes.
fn bridges(range: &str) -> Vec<IpAddr> {
    let first = range.split_once('/').and_then(|(network, _)| address(network));
    let next = match first {
        Some(IpAddr::V4(first)) => {
            first.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        Some(IpAddr::V6(first)) => {
            first.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into())
        }
        None => None,
    };
    first.into_iter().chain(next).collect()
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

impl Watched for ApiService {
    const BEFORE_PODS: bool = false;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn set(&self, index: &mut Index, key: &Key) -> bool {
        let Some(spec) = &self.spec else { return false };
        let own = spec.cluster_ips.iter().chain(&spec.external_ips).flatten().chain(&spec.cluster_ip);
        let status = self.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let balanced = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
        let mut ips: Vec<_> = own
            .chain(balanced.filter_map(|ingress| ingress.ip.as_ref()))
            .filter_map(|ip| address(ip))
            .collect();
        ips.sort_unstable();
        ips.dedup();
        let ports = || spec.ports.iter().flatten();
        let service = Service {
            ips,
            ports: ports().filter_map(|port| port_number(port.port)).collect(),
            node_ports: ports().filter_map(|port| port_number(port.node_port?)).collect(),
        };
        index.set_service(key, service);
        false
    }

    fn remove(index: &mut Index, key: &Key) {
        index.remove_service(key);
    }

    fn known(index: &Index) -> HashSet<Key> {
        index.service_keys()
    }
}

impl Watched for EndpointSlice {
    const BEFORE_PODS: bool = false;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn set(&self, index: &mut Index, key: &Key) -> bool {
        let Some(service) = self.labels().get(SERVICE_NAME) else { return false };
        let mut endpoints = Vec::new();
        for endpoint in &self.endpoints {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
            let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
            let pod = target.and_then(|target| target.name.as_deref()).map(|name| index.intern(name));
            let addresses = endpoint.addresses.iter().filter_map(|text| address(text));
            endpoints.extend(addresses.map(|address| (address, ready, pod.clone())));
        }
        let ports = self.ports.iter().flatten().filter_map(|port| port_number(port.port?)).collect();
        let service = index.intern(service);
        index.set_slice(key, Slice { service, ports, endpoints });
        false
    }

    fn remove(index: &mut Index, key: &Key) {
        index.remove_slice(key);
    }

    fn known(index: &Index) -> HashSet<Key> {
        index.slice_keys()
    }
}

impl Watched for Node {
    const BEFORE_PODS: bool = false;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn set(&self, index: &mut Index, key: &Key) -> bool {
        let addresses = self.status.as_ref().and_then(|status| status.addresses.as_ref());
        let addresses = addresses.into_iter().flatten().map(|found| found.address.as_str());
        let annotated = INNER_ADDRESSES.iter().filter_map(|name| self.annotations().get(*name));
        let mut ips: Vec<IpAddr> =
            addresses.chain(annotated.map(String::as_str)).filter_map(address).collect();
        let ranges = self.spec.as_ref().and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
        ips.extend(ranges.flat_map(|range| bridges(range)));
        ips.sort_unstable();
        ips.dedup();
        index.set_node(&key.1, ips);
        false
    }

    fn remove(index: &mut Index, key: &Key) {
        index.remove_node(&key.1);
    }

    fn known(index: &Index) -> HashSet<Key> {
        let none: Arc<str> = "".into();
        index.node_keys().into_iter().map(|name| (Arc::clone(&none), name)).collect()
    }
}

macro_rules! watched_owner {
    ($kind:ty, $name:literal) => {
        impl Watched for PartialObjectMeta<$kind> {
            const BEFORE_PODS: bool = true;

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn set(&self, index: &mut Index, key: &Key) -> bool {
                let owner = owner(index, &self.metadata);
                index.set_owner($name, key.clone(), owner)
            }

            fn remove(index: &mut Index, key: &Key) {
                index.set_owner($name, key.clone(), None);
            }

            fn known(index: &Index) -> HashSet<Key> {
                index.owned_keys($name)
            }
        }
    };
}

watched_owner!(ReplicaSet, "ReplicaSet");
watched_owner!(Job, "Job");
