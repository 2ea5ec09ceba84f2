//! What the ends of an exchange are.

use std::net::IpAddr;
use std::sync::Arc;

use proto::filter::address;
use proto::v1::{Component, Endpoint, Exchange, Origin, Side};

use super::{Index, Key, only};

/// Port of every node's kubelet, and command name of its process.
const KUBELET: (u16, &str) = (10250, "kubelet");

/// Namespace and name of the Service whose endpoints are the API servers.
const API_SERVER: (&str, &str) = ("default", "kubernetes");

/// Command name of the API server's process.
const API_SERVER_COMM: &str = "kube-apiserver";

// === impl Index ===

impl Index {
    /// Names both ends: one's own by the process that was observed, the other one by its address.
    pub fn resolve(&self, exchange: &mut Exchange) {
        let is_server = exchange.side() == Side::Server;
        if let Some(own) = &mut exchange.local {
            self.resolve_own(own, exchange.origin.as_ref());
        }
        if let Some(remote) = &mut exchange.remote {
            self.resolve_remote(remote, is_server);
        }
    }

    /// Names the end of the process that was observed: its pod, which is no Service, or its node.
    fn resolve_own(&self, end: &mut Endpoint, origin: Option<&Origin>) {
        if let Some(origin) = origin {
            end.node.clone_from(&origin.node);
        }
        if let Some(origin) = origin.filter(|origin| !origin.pod.is_empty()) {
            end.namespace.clone_from(&origin.namespace);
            end.pod.clone_from(&origin.pod);
            end.workload.clone_from(&origin.workload);
            return;
        }
        // A process in a pod's network of which it is not known yet whose it is.
        if let Some(pod) = place(end).and_then(|(ip, port)| self.pod_at(ip, port)) {
            return self.name_pod(end, &pod);
        }
        end.component = origin.map_or(Component::Unspecified, |origin| component_of(&origin.comm)).into();
    }

    /// Names the other end, as far as it is unambiguous. A Service is named where a client connected to one: behind an
    /// address of a pod there may be many, none of which was used.
    fn resolve_remote(&self, end: &mut Endpoint, is_client: bool) {
        let Some((ip, port)) = place(end) else { return };
        if ip.is_loopback() {
            return;
        }
        // A client's port is by chance the one of something else.
        let port_served = (!is_client).then_some(port);
        if let Some(service) = port_served.and_then(|port| self.service_at(ip, port)) {
            end.namespace = service.0.to_string();
            end.service = format!("{}/{}", service.0, service.1);
            if let Some(pod) = self.only_pod(&service) {
                self.name_pod(end, &pod);
            }
            return;
        }
        let node = self.node_at(ip);
        if let Some(node) = node {
            end.node = node.to_string();
        }
        if port_served.is_some_and(|port| self.is_api_server(ip, port)) {
            end.component = Component::ApiServer.into();
        } else if node.is_some() && port_served == Some(KUBELET.0) {
            end.component = Component::Kubelet.into();
        }
        let alive = self.pod_at(ip, port_served.unwrap_or_default());
        if let Some(pod) = alive.or_else(|| node.is_none().then(|| self.dead_pod_at(ip)).flatten()) {
            self.name_pod(end, &pod);
        }
    }

    fn name_pod(&self, end: &mut Endpoint, key: &Key) {
        end.namespace = key.0.to_string();
        end.pod = key.1.to_string();
        if let Some(pod) = self.pod(&key.0, &key.1) {
            end.node = pod.node.to_string();
            end.workload = self.workload(key, pod);
        }
    }

    fn service_at(&self, ip: IpAddr, port: u16) -> Option<Key> {
        let found = self
            .service_at
            .get(&(ip, port))
            .or_else(|| self.node_ips.contains_key(&ip).then(|| self.service_on.get(&port)).flatten())?;
        only(found.iter()).cloned()
    }

    /// Whether the endpoints of the API server's Service say that it is here.
    fn is_api_server(&self, ip: IpAddr, port: u16) -> bool {
        let services = self.backend_at.get(&(ip, port));
        services.is_some_and(|services| {
            services.iter().any(|(namespace, name)| (namespace.as_ref(), name.as_ref()) == API_SERVER)
        })
    }

    fn node_at(&self, ip: IpAddr) -> Option<&Arc<str>> {
        only(self.node_ips.get(&ip)?.iter())
    }

    /// The live pod whose address it is, or the one whose port of its node it is.
    fn pod_at(&self, ip: IpAddr, port: u16) -> Option<Key> {
        let has = |key: &&Key| {
            self.pods
                .get(*key)
                .is_some_and(|pod| pod.own_ips().contains(&ip) || pod.host_ports.contains(&port))
        };
        only(self.by_ip.get(&ip)?.iter().filter(has)).cloned()
    }

    /// The pod that was deleted a moment ago, and whose address no other one has.
    fn dead_pod_at(&self, ip: IpAddr) -> Option<Key> {
        if self.by_ip.contains_key(&ip) { None } else { self.dead.at(ip).cloned() }
    }

    /// The pod of a service that has exactly one ready endpoint.
    fn only_pod(&self, service: &Key) -> Option<Key> {
        let slices = self.slices_of.get(service)?.iter().filter_map(|slice| self.slices.get(slice));
        let ready = slices.flat_map(|slice| &slice.endpoints).filter(|(_, ready, _)| *ready);
        // A Service of a thousand pods is left at the second.
        only(ready.map(|(ip, _, pod)| pod.as_ref().ok_or(ip)))?
            .ok()
            .map(|pod| (Arc::clone(&service.0), Arc::clone(pod)))
    }
}

fn component_of(comm: &str) -> Component {
    match comm {
        _ if comm == KUBELET.1 => Component::Kubelet,
        API_SERVER_COMM => Component::ApiServer,
        _ => Component::Unspecified,
    }
}

fn place(end: &Endpoint) -> Option<(IpAddr, u16)> {
    Some((address(end)?, u16::try_from(end.port).ok()?))
}
