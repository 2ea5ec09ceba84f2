//! The pods of this node, as the hub tells them.

use std::collections::HashMap;
use std::sync::Arc;

use proto::v1;

use super::cgroups::{Place, PodPlace, normal_uid};

/// Pods kept at most: some forty times what a kubelet takes by default. Beyond it pods are left out, which is said, and
/// are processes of no pod of this node.
pub const PODS: usize = 4_096;

/// Containers kept of a pod at most; the API takes fewer in any pod that a node can run.
pub const CONTAINERS: usize = 256;

/// The pods of this node.
#[derive(Debug, Default)]
pub struct Pods {
    known: HashMap<String, Arc<Pod>>,
    complete: bool,
    crowded: bool,
}

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// "KIND/NAME" of its workload.
    pub workload: String,
    /// Names of its containers, by id.
    pub containers: HashMap<String, String>,
    /// Whether the session's selection includes it.
    pub wanted: bool,
    /// Whether it belongs to a session of Kyanos.
    pub ours: bool,
}

// === impl Pods ===

impl Pods {
    /// Takes what the hub told.
    pub fn tell(&mut self, told: v1::NodePods) {
        let v1::NodePods { complete, pods, gone, sessions: _ } = told;
        if complete {
            self.known.clear();
            self.complete = true;
        }
        for uid in gone {
            self.known.remove(&normal_uid(&uid));
        }
        for pod in pods {
            let uid = normal_uid(&pod.uid);
            if self.known.len() >= PODS && !self.known.contains_key(&uid) {
                if !self.crowded {
                    tracing::warn!("more than {PODS} pods on this node: the others are not followed");
                }
                self.crowded = true;
                continue;
            }
            self.known.insert(uid, Arc::new(Pod::from(pod)));
        }
    }

    /// Returns whether the hub told all pods at least once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Returns how many pods are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns whether no pod is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Returns the innermost pod of this node that a place lies in, and where in it.
    #[must_use]
    pub fn at<'a>(&self, place: &'a Place) -> Option<(&Arc<Pod>, &'a PodPlace)> {
        place.pods.iter().find_map(|pod| Some((self.known.get(&pod.uid)?, pod)))
    }
}

// === impl Pod ===

impl From<v1::Pod> for Pod {
    fn from(pod: v1::Pod) -> Self {
        let v1::Pod { uid: _, namespace, name, workload, containers, wanted, ours } = pod;
        let containers =
            containers.into_iter().take(CONTAINERS).map(|container| (container.id, container.name)).collect();
        Self { namespace, name, workload, containers, wanted, ours }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, name: &str) -> v1::Pod {
        v1::Pod { uid: uid.to_owned(), name: name.to_owned(), ..v1::Pod::default() }
    }

    fn names(pods: &Pods) -> Vec<String> {
        let mut names: Vec<_> = pods.known.values().map(|pod| pod.name.clone()).collect();
        names.sort();
        names
    }

    #[test]
    fn changes_are_applied_and_a_complete_list_replaces() {
        let mut pods = Pods::default();
        assert!(!pods.is_complete());
        let first = vec![pod("A-1", "a"), pod("b-1", "b")];
        pods.tell(v1::NodePods { complete: true, pods: first, gone: Vec::new(), ..Default::default() });
        assert!(pods.is_complete());
        let change = vec![pod("b-1", "b again"), pod("c-1", "c")];
        pods.tell(v1::NodePods {
            complete: false,
            pods: change,
            gone: vec!["a-1".to_owned()],
            ..Default::default()
        });
        assert_eq!(names(&pods), ["b again", "c"]);
        pods.tell(v1::NodePods {
            complete: true,
            pods: vec![pod("d-1", "d")],
            gone: Vec::new(),
            ..Default::default()
        });
        assert_eq!(names(&pods), ["d"]);
    }

    #[test]
    fn the_innermost_pod_of_this_node_is_meant() {
        let mut pods = Pods::default();
        let at = |uid: &str| PodPlace { uid: uid.to_owned(), container_id: uid.to_uppercase() };
        let place = Place { container_id: String::new(), pods: vec![at("inner"), at("outer")] };
        assert!(pods.at(&place).is_none());
        pods.tell(v1::NodePods { pods: vec![pod("outer", "o")], ..v1::NodePods::default() });
        assert_eq!(
            pods.at(&place).map(|(pod, at)| (pod.name.as_str(), at.uid.as_str())),
            Some(("o", "outer"))
        );
        pods.tell(v1::NodePods { pods: vec![pod("inner", "i")], ..v1::NodePods::default() });
        assert_eq!(pods.at(&place).unwrap().0.name, "i");
    }

    #[test]
    fn the_tables_are_bounded() {
        let mut pods = Pods::default();
        for round in 0..3 {
            let many = (0..PODS).map(|n| pod(&format!("{round}-{n}"), "x")).collect();
            pods.tell(v1::NodePods { pods: many, ..v1::NodePods::default() });
        }
        assert_eq!(pods.len(), PODS);
        pods.tell(v1::NodePods { pods: vec![pod("0-5", "changed")], ..v1::NodePods::default() });
        assert_eq!(pods.known["0-5"].name, "changed", "a known one still changes");
        let container = |n: usize| v1::PodContainer { id: n.to_string(), name: "c".to_owned() };
        let containers = (0..CONTAINERS * 2).map(container).collect();
        let crowded = Pod::from(v1::Pod { containers, ..v1::Pod::default() });
        assert_eq!(crowded.containers.len(), CONTAINERS);
    }
}
