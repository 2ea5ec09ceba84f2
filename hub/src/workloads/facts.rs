//! The index on its way to another hub, and there.
//!
//! Only the hub that leads watches the cluster; what it cut out of the API's objects is what the others learn.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use proto::v1::{self, ObjectKind};

use super::changes::{Changes, Item};
use super::index::{Index, Key, Owner, Pod, Service, Slice};
use super::{BEFORE_PODS, Workloads};

/// Objects of one message: pods with many labels take some kilobytes each.
const MESSAGE_OBJECTS: usize = 256;

/// Kinds whose owners are known, as the wire and as the API names them.
const OWNED_KINDS: [(ObjectKind, &str); 2] =
    [(ObjectKind::ReplicaSet, "ReplicaSet"), (ObjectKind::Job, "Job")];

/// What one other hub is told: everything, then changes.
#[derive(Debug)]
pub struct Telling {
    workloads: Arc<Workloads>,
    changes: Arc<Changes>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The lists are not there yet.
    Waiting,
    /// What was known at first is being told.
    Beginning,
    /// Changes are told.
    Following,
}

/// Takes what the leader tells over one stream.
#[derive(Debug)]
pub struct Learning {
    workloads: Arc<Workloads>,
    /// What was known before and was not told yet; absent once all was told.
    stale: Option<HashSet<Item>>,
}

// === impl Telling ===

impl Telling {
    pub(super) fn new(workloads: Arc<Workloads>) -> Self {
        Self { workloads, changes: Arc::default(), phase: Phase::Waiting }
    }

    /// Waits for what is to be told next. What a call that is given up had taken is lost: the stream begins anew then.
    pub async fn next(&mut self) -> v1::Facts {
        if self.phase == Phase::Waiting {
            let mut listed = self.workloads.listed.subscribe();
            if listed.wait_for(|listed| *listed >= BEFORE_PODS).await.is_err() {
                return std::future::pending().await;
            }
            self.workloads.write().tell(&self.changes);
            self.phase = Phase::Beginning;
        }
        if self.phase == Phase::Following {
            self.changes.filled().await;
        }
        let taken = self.changes.take(MESSAGE_OBJECTS);
        let complete = self.phase == Phase::Beginning && taken.len() < MESSAGE_OBJECTS;
        if complete {
            self.phase = Phase::Following;
        }
        let index = self.workloads.read();
        let mut facts = v1::Facts { complete, ..v1::Facts::default() };
        for item in &taken {
            add(&mut facts, &index, item);
        }
        facts
    }
}

// === impl Learning ===

impl Learning {
    pub(super) fn new(workloads: Arc<Workloads>) -> Self {
        let stale = workloads.read().items().collect();
        Self { workloads, stale: Some(stale) }
    }

    /// Takes what was told.
    pub fn take(&mut self, facts: v1::Facts) {
        let v1::Facts { pods, services, slices, nodes, owners, gone, complete } = facts;
        let mut index = self.workloads.write();
        let mut told = Vec::new();
        told.extend(pods.into_iter().map(|fact| set_pod(&mut index, fact)));
        told.extend(services.into_iter().map(|fact| set_service(&mut index, fact)));
        told.extend(slices.into_iter().map(|fact| set_slice(&mut index, fact)));
        told.extend(nodes.into_iter().map(|fact| set_node(&mut index, &fact)));
        told.extend(owners.into_iter().filter_map(|fact| set_owner(&mut index, &fact)));
        for fact in gone {
            if let Some(item) = named(&mut index, &fact) {
                remove(&mut index, &item);
                told.push(item);
            }
        }
        if let Some(stale) = &mut self.stale {
            for item in &told {
                stale.remove(item);
            }
        }
        if complete {
            for item in self.stale.take().unwrap_or_default() {
                remove(&mut index, &item);
            }
            index.tidy();
        }
        drop(index);
        self.workloads.change();
        if complete {
            self.workloads.listed.send_if_modified(|listed| {
                let first = *listed < BEFORE_PODS;
                *listed = BEFORE_PODS.max(*listed);
                first
            });
        }
    }
}

fn add(facts: &mut v1::Facts, index: &Index, item: &Item) {
    let told = match item {
        Item::Pod(key) => index.live_pod(key).map(|pod| facts.pods.push(pod_fact(key, pod))),
        Item::Service(key) => {
            index.service(key).map(|service| facts.services.push(service_fact(key, service)))
        }
        Item::Slice(key) => index.slice(key).map(|slice| facts.slices.push(slice_fact(key, slice))),
        Item::Node(name) => index.node(name).map(|ips| {
            facts.nodes.push(v1::NodeFact { name: name.to_string(), ips: octets(ips) });
        }),
        Item::Owner(kind, key) => index.owner(kind, key).map(|owner| {
            facts.owners.push(v1::OwnerFact {
                kind: told_as(kind).into(),
                namespace: key.0.to_string(),
                name: key.1.to_string(),
                owner: Some(owner_name(owner)),
            });
        }),
    };
    if told.is_none() {
        facts.gone.push(gone_fact(item));
    }
}

fn gone_fact(item: &Item) -> v1::GoneFact {
    let none: Arc<str> = "".into();
    let (kind, namespace, name) = match item {
        Item::Pod((namespace, name)) => (ObjectKind::Pod, namespace, name),
        Item::Service((namespace, name)) => (ObjectKind::Service, namespace, name),
        Item::Slice((namespace, name)) => (ObjectKind::EndpointSlice, namespace, name),
        Item::Node(name) => (ObjectKind::Node, &none, name),
        Item::Owner(kind, (namespace, name)) => (told_as(kind), namespace, name),
    };
    v1::GoneFact { kind: kind.into(), namespace: namespace.to_string(), name: name.to_string() }
}

/// The object that is no more; `None` of a kind that this version does not know.
fn named(index: &mut Index, fact: &v1::GoneFact) -> Option<Item> {
    let key = key(index, &fact.namespace, &fact.name);
    match fact.kind() {
        ObjectKind::Pod => Some(Item::Pod(key)),
        ObjectKind::Service => Some(Item::Service(key)),
        ObjectKind::EndpointSlice => Some(Item::Slice(key)),
        ObjectKind::Node => Some(Item::Node(key.1)),
        kind @ (ObjectKind::ReplicaSet | ObjectKind::Job | ObjectKind::Unspecified) => {
            owned(kind).map(|kind| Item::Owner(kind, key))
        }
    }
}

fn remove(index: &mut Index, item: &Item) {
    match item {
        Item::Pod(key) => index.remove_pod(key),
        Item::Service(key) => index.remove_service(key),
        Item::Slice(key) => index.remove_slice(key),
        Item::Node(name) => index.remove_node(name),
        Item::Owner(kind, key) => drop(index.set_owner(kind, key.clone(), None)),
    }
}

fn pod_fact(key: &Key, pod: &Pod) -> v1::PodFact {
    let Pod { uid, node, ips, host_ips, host_ports, host_network, owner, containers, labels, ended } = pod;
    v1::PodFact {
        namespace: key.0.to_string(),
        name: key.1.to_string(),
        uid: uid.to_string(),
        node: node.to_string(),
        ips: octets(ips),
        host_ports: host_ports.iter().copied().map(u32::from).collect(),
        host_network: *host_network,
        owner: owner.as_ref().map(owner_name),
        containers: containers
            .iter()
            .map(|(name, id)| v1::PodContainer { id: id.clone(), name: name.to_string() })
            .collect(),
        labels: labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        ended: *ended,
        host_ips: octets(host_ips),
    }
}

fn set_pod(index: &mut Index, fact: v1::PodFact) -> Item {
    let v1::PodFact {
        namespace,
        name,
        uid,
        node,
        ips,
        host_ports,
        host_network,
        owner,
        containers,
        labels,
        ended,
        host_ips,
    } = fact;
    let key = key(index, &namespace, &name);
    let mut labels: Vec<_> =
        labels.iter().map(|(name, value)| (index.intern(name), index.intern(value))).collect();
    // As the API has them: maps on the wire have no order.
    labels.sort_unstable();
    let pod = Pod {
        uid: index.intern(&uid),
        node: index.intern(&node),
        ips: addresses(&ips),
        host_ips: addresses(&host_ips),
        host_ports: ports(&host_ports),
        host_network,
        owner: owner.map(|owner| self::owner(index, &owner)),
        containers: containers
            .into_iter()
            .map(|container| (index.intern(&container.name), container.id))
            .collect(),
        labels,
        ended,
    };
    index.set_pod(&key, pod);
    Item::Pod(key)
}

fn service_fact(key: &Key, service: &Service) -> v1::ServiceFact {
    let Service { ips, ports, node_ports } = service;
    v1::ServiceFact {
        namespace: key.0.to_string(),
        name: key.1.to_string(),
        ips: octets(ips),
        ports: ports.iter().copied().map(u32::from).collect(),
        node_ports: node_ports.iter().copied().map(u32::from).collect(),
    }
}

fn set_service(index: &mut Index, fact: v1::ServiceFact) -> Item {
    let v1::ServiceFact { namespace, name, ips, ports, node_ports } = fact;
    let key = key(index, &namespace, &name);
    let service =
        Service { ips: addresses(&ips), ports: self::ports(&ports), node_ports: self::ports(&node_ports) };
    index.set_service(&key, service);
    Item::Service(key)
}

fn slice_fact(key: &Key, slice: &Slice) -> v1::SliceFact {
    let Slice { service, ports, endpoints } = slice;
    v1::SliceFact {
        namespace: key.0.to_string(),
        name: key.1.to_string(),
        service: service.to_string(),
        ports: ports.iter().copied().map(u32::from).collect(),
        endpoints: endpoints
            .iter()
            .map(|(ip, ready, pod)| v1::EndpointFact {
                ip: octet(*ip),
                ready: *ready,
                pod: pod.as_deref().unwrap_or_default().to_owned(),
            })
            .collect(),
    }
}

fn set_slice(index: &mut Index, fact: v1::SliceFact) -> Item {
    let v1::SliceFact { namespace, name, service, ports, endpoints } = fact;
    let key = key(index, &namespace, &name);
    let endpoints = endpoints
        .into_iter()
        .filter_map(|endpoint| {
            let pod = (!endpoint.pod.is_empty()).then(|| index.intern(&endpoint.pod));
            Some((address(&endpoint.ip)?, endpoint.ready, pod))
        })
        .collect();
    let slice = Slice { service: index.intern(&service), ports: self::ports(&ports), endpoints };
    index.set_slice(&key, slice);
    Item::Slice(key)
}

fn set_node(index: &mut Index, fact: &v1::NodeFact) -> Item {
    let name = index.intern(&fact.name);
    index.set_node(&name, addresses(&fact.ips));
    Item::Node(name)
}

fn set_owner(index: &mut Index, fact: &v1::OwnerFact) -> Option<Item> {
    let kind = owned(fact.kind())?;
    let key = key(index, &fact.namespace, &fact.name);
    let owner = fact.owner.as_ref().map(|name| owner(index, name));
    index.set_owner(kind, key.clone(), owner);
    Some(Item::Owner(kind, key))
}

fn key(index: &mut Index, namespace: &str, name: &str) -> Key {
    (index.intern(namespace), index.intern(name))
}

fn owner(index: &mut Index, name: &v1::OwnerName) -> Owner {
    (index.intern(&name.kind), index.intern(&name.name))
}

fn owner_name(owner: &Owner) -> v1::OwnerName {
    v1::OwnerName { kind: owner.0.to_string(), name: owner.1.to_string() }
}

/// The API's name of a kind whose owners are known.
fn owned(kind: ObjectKind) -> Option<&'static str> {
    OWNED_KINDS.into_iter().find(|(known, _)| *known == kind).map(|(_, name)| name)
}

/// The wire's name of a kind whose owners are known.
fn told_as(kind: &str) -> ObjectKind {
    OWNED_KINDS
        .into_iter()
        .find(|(_, name)| *name == kind)
        .map_or(ObjectKind::Unspecified, |(known, _)| known)
}

fn octets(ips: &[IpAddr]) -> Vec<Vec<u8>> {
    ips.iter().copied().map(octet).collect()
}

fn octet(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn addresses(ips: &[Vec<u8>]) -> Vec<IpAddr> {
    ips.iter().filter_map(|ip| address(ip)).collect()
}

fn address(ip: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(ip)
        .map(IpAddr::from)
        .or_else(|_not_four| <[u8; 16]>::try_from(ip).map(IpAddr::from))
        .ok()
}

fn ports(ports: &[u32]) -> Vec<u16> {
    ports.iter().filter_map(|port| u16::try_from(*port).ok()).collect()
}

#[cfg(test)]
mod tests;
