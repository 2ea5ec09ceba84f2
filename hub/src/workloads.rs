//! The cluster's pods, services and nodes: whose processes are whose, and what an address is called.

mod changes;
pub mod facts;
pub mod index;
mod watched;

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod as ApiPod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PartialObjectMeta;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Config};
use prost::Message as _;
use proto::filter::{FilterError, Match};
use proto::selector::{Selector, SelectorError};
use proto::v1;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use kube::Client;

use self::facts::{Learning, Telling};
use self::index::{Index, Key, Pod};
use self::watched::follow;

/// Objects of one page of a list: a page is held whole, and pods may take 20 KiB each.
const PAGE_OBJECTS: u32 = 200;

/// Changes of pods within this time are told at once; capturers learn of a pod well within a second.
const PODS_GATHER_PERIOD: Duration = Duration::from_millis(200);

/// Label that marks what a session consists of, and its value.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kyanos");

/// Label that tells the parts of a session apart, and a hub's value.
const HUB_COMPONENT: (&str, &str) = ("app.kubernetes.io/component", "hub");

/// Label with a session's name.
const SESSION_LABEL: &str = "kyanos.io/session";

/// How namespaces of sessions begin.
const NAMESPACE: &str = "kyanos-";

/// Kinds that must be listed before a node's pods are told whole: pods, replica sets, jobs.
const BEFORE_PODS: u32 = 3;

/// Why workloads cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadsError {
    /// The pod's service account cannot be read; it is mounted by the manifests.
    #[error("cannot read the pod's service account")]
    Account(#[source] kube::config::InClusterError),
    /// The API client cannot be made.
    #[error("cannot make a client of the cluster's API")]
    Client(#[source] kube::Error),
    /// The session's filter does not compile.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Its label selector cannot be read.
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

/// What the cluster's objects tell, kept up to date by one watch per kind.
#[derive(Debug)]
pub struct Workloads {
    index: RwLock<Index>,
    filter: Match,
    selector: Selector,
    /// Counts changes of pods and owners.
    changed: watch::Sender<u64>,
    /// Kinds of [`BEFORE_PODS`] that have been listed.
    listed: watch::Sender<u32>,
}

/// The pods of one node as one connection of its capturer was told of them.
#[derive(Debug)]
pub struct NodeWatch {
    workloads: Arc<Workloads>,
    node: String,
    changed: watch::Receiver<u64>,
    told: HashMap<String, u64>,
    /// Addresses of sessions' pods that it was told.
    sessions: BTreeSet<IpAddr>,
    began: bool,
    /// Count of changes that was last looked at.
    told_at: u64,
    /// Until when changes are gathered.
    until: Option<Instant>,
}

/// Makes the client that a pod uses.
pub fn client() -> Result<Client, WorkloadsError> {
    let config = Config::incluster().map_err(WorkloadsError::Account)?;
    Client::try_from(config).map_err(WorkloadsError::Client)
}

// === impl Workloads ===

impl Workloads {
    /// Knows nothing yet: it watches, or learns from another hub.
    pub fn new(filter: &v1::Filter) -> Result<Self, WorkloadsError> {
        Ok(Self {
            index: RwLock::default(),
            filter: Match::try_from(filter)?,
            selector: Selector::parse(&filter.selector)?,
            changed: watch::Sender::new(0),
            listed: watch::Sender::new(0),
        })
    }

    /// Begins to follow the cluster, one watch per kind, until the returned tasks are dropped.
    #[must_use]
    pub fn watch(self: &Arc<Self>, client: &Client) -> JoinSet<()> {
        let config = || watcher::Config::default().page_size(PAGE_OBJECTS);
        let weak = || Arc::downgrade(self);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(watcher(Api::<ApiPod>::all(client.clone()), config()), weak()));
        tasks.spawn(follow(watcher(Api::<Service>::all(client.clone()), config()), weak()));
        tasks.spawn(follow(watcher(Api::<EndpointSlice>::all(client.clone()), config()), weak()));
        tasks.spawn(follow(watcher(Api::<Node>::all(client.clone()), config()), weak()));
        let replica_sets: Api<PartialObjectMeta<ReplicaSet>> = Api::all(client.clone());
        tasks.spawn(follow(watcher(replica_sets, config()), weak()));
        let jobs: Api<PartialObjectMeta<Job>> = Api::all(client.clone());
        tasks.spawn(follow(watcher(jobs, config()), weak()));
        tasks
    }

    /// What another hub is to be told.
    #[must_use]
    pub fn telling(self: &Arc<Self>) -> Telling {
        Telling::new(Arc::clone(self))
    }

    /// Takes what the hub that leads tells over a new stream.
    #[must_use]
    pub fn learning(self: &Arc<Self>) -> Learning {
        Learning::new(Arc::clone(self))
    }

    /// Names and addresses of a session's hubs, from its namespace.
    #[must_use]
    pub fn hubs(&self, namespace: &str) -> Vec<(String, IpAddr)> {
        let index = self.read();
        let hubs = index.pods_in(namespace).filter(|(_, pod)| {
            !pod.ended
                && label(pod, HUB_COMPONENT.0) == Some(HUB_COMPONENT.1)
                && label(pod, SESSION_LABEL).is_some()
        });
        hubs.filter_map(|(key, pod)| Some((key.1.to_string(), *pod.ips.first()?))).collect()
    }

    /// Waits until a pod is known by its address.
    pub fn has_address(self: &Arc<Self>, namespace: &str, name: &str) -> impl Future<Output = ()> + use<> {
        let this = Arc::clone(self);
        let key: Key = (namespace.into(), name.into());
        let mut changed = self.changed.subscribe();
        async move {
            let has = |_: &u64| this.read().live_pod(&key).is_some_and(|pod| !pod.ips.is_empty());
            drop(changed.wait_for(has).await);
        }
    }

    /// Tells of every change of a pod or an owner.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Names both ends of exchanges.
    pub fn resolve(&self, exchanges: &mut [v1::Exchange]) {
        let index = self.read();
        for exchange in exchanges {
            index.resolve(exchange);
        }
    }

    /// Says whether the remote end is a part of a session of Kyanos, this one or another.
    #[must_use]
    pub fn is_about_sessions(&self, exchange: &v1::Exchange) -> bool {
        let Some(remote) = &exchange.remote else { return false };
        remote.namespace.starts_with(NAMESPACE)
            && self
                .read()
                .pod(&remote.namespace, &remote.pod)
                .is_some_and(|pod| is_ours(&remote.namespace, pod))
    }

    /// Says whether a selector takes a pod.
    #[must_use]
    pub fn selects(&self, selector: &Selector, namespace: &str, pod: &str) -> bool {
        self.read().pod(namespace, pod).is_some_and(|pod| selector.passes(|key| label(pod, key)))
    }

    /// The pods of a node, whole and then their changes.
    #[must_use]
    pub fn node(self: &Arc<Self>, node: String) -> NodeWatch {
        NodeWatch {
            workloads: Arc::clone(self),
            node,
            changed: self.changed.subscribe(),
            told: HashMap::new(),
            sessions: BTreeSet::new(),
            began: false,
            told_at: 0,
            until: None,
        }
    }

    fn tell(&self, index: &Index, key: &Key, pod: &Pod) -> v1::Pod {
        let workload = index.workload(key, pod);
        let is = |name: &str| label(pod, name);
        let containers = pod.containers.iter();
        v1::Pod {
            uid: pod.uid.to_string(),
            namespace: key.0.to_string(),
            name: key.1.to_string(),
            wanted: self.filter.wants_pod(&key.0, &key.1, &workload) && self.selector.passes(is),
            ours: is_ours(&key.0, pod),
            workload,
            containers: containers
                .map(|(name, id)| v1::PodContainer { id: id.clone(), name: name.to_string() })
                .collect(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

// === impl NodeWatch ===

impl NodeWatch {
    /// Waits for what is to be told next. A call that is given up loses nothing.
    pub async fn next(&mut self) -> v1::NodePods {
        if !self.began {
            let mut listed = self.workloads.listed.subscribe();
            if listed.wait_for(|listed| *listed >= BEFORE_PODS).await.is_err() {
                return std::future::pending().await;
            }
            self.told_at = *self.changed.borrow_and_update();
            self.began = true;
            return self.difference(true);
        }
        loop {
            // Seen only after the pause: a call that is given up within it leaves the change to the next one.
            let seen = *self.changed.borrow();
            if seen == self.told_at && self.changed.changed().await.is_err() {
                return std::future::pending().await;
            }
            // Kept over calls that are given up: a busy uplink puts nothing off.
            let until = *self.until.get_or_insert_with(|| Instant::now() + PODS_GATHER_PERIOD);
            tokio::time::sleep_until(until).await;
            self.until = None;
            self.told_at = *self.changed.borrow_and_update();
            let pods = self.difference(false);
            if !(pods.pods.is_empty() && pods.gone.is_empty() && pods.sessions.is_none()) {
                return pods;
            }
        }
    }

    fn difference(&mut self, complete: bool) -> v1::NodePods {
        let workloads = Arc::clone(&self.workloads);
        let index = workloads.read();
        let mut now = HashMap::new();
        let mut changed = Vec::new();
        for (key, pod) in index.pods_of(&self.node).filter(|(_, pod)| !pod.uid.is_empty()) {
            let pod = workloads.tell(&index, key, pod);
            let mut hasher = DefaultHasher::new();
            pod.encode_to_vec().hash(&mut hasher);
            let print = hasher.finish();
            if complete || self.told.get(&pod.uid) != Some(&print) {
                changed.push(pod.clone());
            }
            now.insert(pod.uid, print);
        }
        let gone = self.told.keys().filter(|uid| !now.contains_key(*uid)).cloned().collect();
        self.told = now;
        let ours = index.pods_below(NAMESPACE).filter(|(key, pod)| !pod.ended && is_ours(&key.0, pod));
        let sessions: BTreeSet<IpAddr> = ours.flat_map(|(_, pod)| pod.ips.iter().copied()).collect();
        let changed_sessions = (complete || sessions != self.sessions)
            .then(|| v1::SessionAddresses { addresses: sessions.iter().copied().map(octets).collect() });
        self.sessions = sessions;
        v1::NodePods { complete, pods: changed, gone, sessions: changed_sessions }
    }
}

fn is_ours(namespace: &str, pod: &Pod) -> bool {
    namespace.starts_with(NAMESPACE)
        && label(pod, MANAGED_BY.0) == Some(MANAGED_BY.1)
        && label(pod, SESSION_LABEL).is_some()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.labels.iter().find(|(name, _)| name.as_ref() == key).map(|(_, value)| value.as_ref())
}

#[cfg(test)]
mod tests;
