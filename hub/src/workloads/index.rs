//! What is known of a cluster's pods, services and nodes, in the few fields that names need.

mod dead;
mod ends;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use self::dead::Dead;
use super::changes::{Changes, Item};

/// How long the address of a deleted pod still names it: its last exchanges arrive after it.
pub const TOMBSTONE_PERIOD: Duration = Duration::from_mins(1);

/// Deleted pods that are remembered; a cluster that deletes more within a minute loses the oldest names.
pub const MAX_TOMBSTONES: usize = 4096;

/// Namespace and name.
pub type Key = (Arc<str>, Arc<str>);

/// What controls an object: kind and name.
pub type Owner = (Arc<str>, Arc<str>);

/// One pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// What its containers' cgroup paths carry.
    pub uid: Arc<str>,
    /// Its node, empty before it is scheduled.
    pub node: Arc<str>,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Addresses of its node, where it has ports there.
    pub host_ips: Vec<IpAddr>,
    /// Ports of its node's addresses that are its own: all that it declares where it lives in its node's network, else
    /// those that are mapped.
    pub host_ports: Vec<u16>,
    /// Whether it lives in its node's network.
    pub host_network: bool,
    /// What controls it.
    pub owner: Option<Owner>,
    /// Names and ids of containers that have started.
    pub containers: Vec<(Arc<str>, String)>,
    /// Labels.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Whether it has ended and its address may be another's.
    pub ended: bool,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Cluster, external and load-balancer addresses.
    pub ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<u16>,
    /// Its ports on every node.
    pub node_ports: Vec<u16>,
}

/// The endpoints of one slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The service, in the slice's namespace.
    pub service: Arc<str>,
    /// Ports.
    pub ports: Vec<u16>,
    /// Addresses, whether ready, and the pod behind.
    pub endpoints: Vec<(IpAddr, bool, Option<Arc<str>>)>,
}

/// Everything known.
#[derive(Debug, Default)]
pub struct Index {
    names: HashSet<Arc<str>>,
    pods: BTreeMap<Key, Pod>,
    by_ip: HashMap<IpAddr, Vec<Key>>,
    by_node: HashMap<Arc<str>, BTreeSet<Key>>,
    dead: Dead,
    services: HashMap<Key, Service>,
    service_at: HashMap<(IpAddr, u16), BTreeSet<Key>>,
    service_on: HashMap<u16, BTreeSet<Key>>,
    slices: HashMap<Key, Slice>,
    slices_of: HashMap<Key, BTreeSet<Key>>,
    backend_at: HashMap<(IpAddr, u16), Vec<Key>>,
    nodes: HashMap<Arc<str>, Vec<IpAddr>>,
    node_ips: HashMap<IpAddr, Vec<Arc<str>>>,
    /// Owners of replica sets and jobs, by kind, namespace and name.
    owners: HashMap<(&'static str, Key), Owner>,
    /// Pods that were forgotten since texts were.
    forgotten: usize,
    /// Who is told what changes.
    followers: Vec<Weak<Changes>>,
}

// === impl Pod ===

impl Pod {
    /// Addresses that are its own alone.
    fn own_ips(&self) -> &[IpAddr] {
        if self.host_network { &[] } else { &self.ips }
    }

    /// Addresses of its node at which ports are its own.
    fn node_ips(&self) -> &[IpAddr] {
        match (self.host_ports.is_empty(), self.host_network) {
            (true, _) => &[],
            (false, true) => &self.ips,
            (false, false) => &self.host_ips,
        }
    }
}

// === impl Index ===

impl Index {
    /// One copy of each text: labels, names and namespaces repeat thousands of times.
    pub fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = text.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    /// Forgets texts that nothing uses any more.
    pub fn tidy(&mut self) {
        self.names.retain(|name| Arc::strong_count(name) > 1);
    }

    /// Tells a follower of all that is known, and from now on of what changes.
    pub fn tell(&mut self, follower: &Arc<Changes>) {
        follower.add(self.items());
        self.followers.retain(|known| known.strong_count() > 0);
        self.followers.push(Arc::downgrade(follower));
    }

    /// Everything that is known.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let pods = self.pods.keys().cloned().map(Item::Pod);
        let services = self.services.keys().cloned().map(Item::Service);
        let slices = self.slices.keys().cloned().map(Item::Slice);
        let nodes = self.nodes.keys().cloned().map(Item::Node);
        let owners = self.owners.keys().cloned().map(|(kind, key)| Item::Owner(kind, key));
        pods.chain(services).chain(slices).chain(nodes).chain(owners)
    }

    fn changed(&self, item: impl Fn() -> Item) {
        for follower in self.followers.iter().filter_map(Weak::upgrade) {
            follower.add(std::iter::once(item()));
        }
    }

    /// Takes a new or changed pod; says whether anything changed.
    pub fn set_pod(&mut self, key: &Key, pod: Pod) -> bool {
        if self.pods.get(key) == Some(&pod) {
            return false;
        }
        self.unlink_pod(key);
        if !pod.ended {
            for ip in pod.own_ips().iter().chain(pod.node_ips()) {
                self.by_ip.entry(*ip).or_default().push(key.clone());
            }
        }
        self.by_node.entry(Arc::clone(&pod.node)).or_default().insert(key.clone());
        self.pods.insert(key.clone(), pod);
        self.changed(|| Item::Pod(key.clone()));
        true
    }

    /// Forgets a pod, but for the names of its addresses.
    pub fn remove_pod(&mut self, key: &Key) {
        self.unlink_pod(key);
        let Some(pod) = self.pods.remove(key) else { return };
        self.changed(|| Item::Pod(key.clone()));
        self.dead.add(key, pod);
        self.forgotten += 1;
        if self.forgotten >= MAX_TOMBSTONES {
            self.forgotten = 0;
            self.tidy();
        }
    }

    fn unlink_pod(&mut self, key: &Key) {
        let Some(pod) = self.pods.get(key) else { return };
        for ip in pod.own_ips().iter().chain(pod.node_ips()) {
            if let Some(keys) = self.by_ip.get_mut(ip) {
                keys.retain(|known| known != key);
                if keys.is_empty() {
                    self.by_ip.remove(ip);
                }
            }
        }
        if let Some(keys) = self.by_node.get_mut(&pod.node) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_node.remove(&pod.node);
            }
        }
    }

    /// Takes a new or changed service.
    pub fn set_service(&mut self, key: &Key, service: Service) {
        if self.services.get(key) == Some(&service) {
            return;
        }
        self.unlink_service(key);
        for place in places(&service.ips, &service.ports) {
            self.service_at.entry(place).or_default().insert(key.clone());
        }
        for port in &service.node_ports {
            self.service_on.entry(*port).or_default().insert(key.clone());
        }
        self.services.insert(key.clone(), service);
        self.changed(|| Item::Service(key.clone()));
    }

    /// Forgets a service.
    pub fn remove_service(&mut self, key: &Key) {
        if self.unlink_service(key) {
            self.changed(|| Item::Service(key.clone()));
        }
    }

    fn unlink_service(&mut self, key: &Key) -> bool {
        let Some(service) = self.services.remove(key) else { return false };
        for place in places(&service.ips, &service.ports) {
            forget(&mut self.service_at, &place, key);
        }
        for port in service.node_ports {
            forget(&mut self.service_on, &port, key);
        }
        true
    }

    /// Takes a new or changed slice.
    pub fn set_slice(&mut self, key: &Key, slice: Slice) {
        if self.slices.get(key) == Some(&slice) {
            return;
        }
        self.unlink_slice(key);
        let service: Key = (Arc::clone(&key.0), Arc::clone(&slice.service));
        for (ip, _, _) in &slice.endpoints {
            for port in &slice.ports {
                self.backend_at.entry((*ip, *port)).or_default().push(service.clone());
            }
        }
        self.slices_of.entry(service).or_default().insert(key.clone());
        self.slices.insert(key.clone(), slice);
        self.changed(|| Item::Slice(key.clone()));
    }

    /// Forgets a slice.
    pub fn remove_slice(&mut self, key: &Key) {
        if self.unlink_slice(key) {
            self.changed(|| Item::Slice(key.clone()));
        }
    }

    fn unlink_slice(&mut self, key: &Key) -> bool {
        let Some(slice) = self.slices.remove(key) else { return false };
        let service: Key = (Arc::clone(&key.0), slice.service);
        for (ip, _, _) in &slice.endpoints {
            for port in &slice.ports {
                let place = (*ip, *port);
                let Some(services) = self.backend_at.get_mut(&place) else { continue };
                // One of them: another slice may name the same place.
                if let Some(at) = services.iter().position(|known| *known == service) {
                    services.swap_remove(at);
                }
                if services.is_empty() {
                    self.backend_at.remove(&place);
                }
            }
        }
        forget(&mut self.slices_of, &service, key);
        true
    }

    /// Takes a new or changed node.
    pub fn set_node(&mut self, name: &Arc<str>, ips: Vec<IpAddr>) {
        // A node's status is renewed all the time.
        if self.nodes.get(name) == Some(&ips) {
            return;
        }
        self.remove_node(name);
        for ip in &ips {
            self.node_ips.entry(*ip).or_default().push(Arc::clone(name));
        }
        self.nodes.insert(Arc::clone(name), ips);
        self.changed(|| Item::Node(Arc::clone(name)));
    }

    /// Forgets a node.
    pub fn remove_node(&mut self, name: &Arc<str>) {
        let Some(ips) = self.nodes.remove(name) else { return };
        self.changed(|| Item::Node(Arc::clone(name)));
        for ip in ips {
            if let Some(names) = self.node_ips.get_mut(&ip) {
                names.retain(|known| known != name);
                if names.is_empty() {
                    self.node_ips.remove(&ip);
                }
            }
        }
    }

    /// Notes what controls a replica set or job; says whether that is new.
    pub fn set_owner(&mut self, kind: &'static str, key: Key, owner: Option<Owner>) -> bool {
        let item = Item::Owner(kind, key.clone());
        let new = match owner {
            Some(owner) => self.owners.insert((kind, key), owner.clone()) != Some(owner),
            None => self.owners.remove(&(kind, key)).is_some(),
        };
        if new {
            self.changed(|| item.clone());
        }
        new
    }

    /// The pods of a namespace.
    pub fn pods_in(&self, namespace: &str) -> impl Iterator<Item = (&Key, &Pod)> {
        let from: Key = (namespace.into(), "".into());
        self.pods.range(from..).take_while(move |((of, _), _)| of.as_ref() == namespace)
    }

    /// The pods of all namespaces whose names begin so.
    pub fn pods_below(&self, beginning: &str) -> impl Iterator<Item = (&Key, &Pod)> {
        let from: Key = (beginning.into(), "".into());
        self.pods.range(from..).take_while(move |((of, _), _)| of.starts_with(beginning))
    }

    /// A live pod.
    #[must_use]
    pub fn live_pod(&self, key: &Key) -> Option<&Pod> {
        self.pods.get(key)
    }

    /// A service.
    #[must_use]
    pub fn service(&self, key: &Key) -> Option<&Service> {
        self.services.get(key)
    }

    /// A slice of endpoints.
    #[must_use]
    pub fn slice(&self, key: &Key) -> Option<&Slice> {
        self.slices.get(key)
    }

    /// A node's addresses.
    #[must_use]
    pub fn node(&self, name: &Arc<str>) -> Option<&[IpAddr]> {
        self.nodes.get(name).map(Vec::as_slice)
    }

    /// What controls a replica set or job.
    #[must_use]
    pub fn owner(&self, kind: &'static str, key: &Key) -> Option<&Owner> {
        self.owners.get(&(kind, key.clone()))
    }

    /// Keys of all objects of a kind, for what a new list no longer has.
    #[must_use]
    pub fn pod_keys(&self) -> HashSet<Key> {
        self.pods.keys().cloned().collect()
    }

    /// As [`Self::pod_keys`].
    #[must_use]
    pub fn service_keys(&self) -> HashSet<Key> {
        self.services.keys().cloned().collect()
    }

    /// As [`Self::pod_keys`].
    #[must_use]
    pub fn slice_keys(&self) -> HashSet<Key> {
        self.slices.keys().cloned().collect()
    }

    /// As [`Self::pod_keys`].
    #[must_use]
    pub fn node_keys(&self) -> HashSet<Arc<str>> {
        self.nodes.keys().cloned().collect()
    }

    /// As [`Self::pod_keys`].
    #[must_use]
    pub fn owned_keys(&self, kind: &'static str) -> HashSet<Key> {
        self.owners.keys().filter(|(known, _)| *known == kind).map(|(_, key)| key.clone()).collect()
    }

    /// Pods of a node.
    pub fn pods_of(&self, node: &str) -> impl Iterator<Item = (&Key, &Pod)> {
        let keys = self.by_node.get(node).into_iter().flatten();
        keys.filter_map(|key| self.pods.get_key_value(key))
    }

    /// A pod by namespace and name, also one that was just deleted.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        let key = (namespace.into(), name.into());
        self.pods.get(&key).or_else(|| self.dead.named(&key))
    }

    /// "KIND/NAME" of the workload that a pod belongs to, followed up as far as it is known.
    #[must_use]
    pub fn workload(&self, key: &Key, pod: &Pod) -> String {
        let Some((kind, name)) = &pod.owner else { return format!("Pod/{}", key.1) };
        let followed = match kind.as_ref() {
            "ReplicaSet" => "ReplicaSet",
            "Job" => "Job",
            _ => return format!("{kind}/{name}"),
        };
        let owner = self.owners.get(&(followed, (Arc::clone(&key.0), Arc::clone(name))));
        let (kind, name) = owner.unwrap_or(&(Arc::clone(kind), Arc::clone(name))).clone();
        format!("{kind}/{name}")
    }
}

fn places(ips: &[IpAddr], ports: &[u16]) -> Vec<(IpAddr, u16)> {
    ips.iter().flat_map(|ip| ports.iter().map(|port| (*ip, *port))).collect()
}

fn forget<K: std::hash::Hash + Eq>(map: &mut HashMap<K, BTreeSet<Key>>, place: &K, key: &Key) {
    if let Some(keys) = map.get_mut(place) {
        keys.remove(key);
        if keys.is_empty() {
            map.remove(place);
        }
    }
}

/// The value that all items are; none where they differ.
fn only<T: PartialEq>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.all(|item| item == first).then_some(first)
}

#[cfg(test)]
mod tests;
