//! What both ends of an exchange are called, the same in lines, blocks and groups.
//!
//! A name says what kind of thing it is: `svc/shop/web:80` is a Service, `pod/shop/web-0:8080` a pod, `node/n3:22` an
//! address of a node, `node/n3/kubelet:10250` and `node/n1/apiserver:6443` parts of Kubernetes, `loopback:6379` what a
//! pod says to itself. What has no name is its address.

use std::net::IpAddr;

use crate::filter::address;
use crate::v1::{Component, Endpoint, Exchange, Origin, Side};

/// What is not known.
const UNKNOWN: &str = "-";

/// What a pod says to itself.
const LOOPBACK: &str = "loopback";

/// Names the other end with its port.
#[must_use]
pub fn remote(exchange: &Exchange) -> String {
    let Some(end) = &exchange.remote else { return UNKNOWN.to_owned() };
    with_port(&remote_host(exchange, end), end.port)
}

/// Names the other end, with its port where that is a server's: a client's says nothing.
#[must_use]
pub fn partner(exchange: &Exchange) -> String {
    match (&exchange.remote, exchange.side()) {
        (Some(end), Side::Server) => remote_host(exchange, end),
        (Some(_) | None, _) => remote(exchange),
    }
}

/// Names one's own end with its port: never by a Service, since whoever is behind one is a pod.
#[must_use]
pub fn local(exchange: &Exchange) -> String {
    let Some(end) = &exchange.local else { return UNKNOWN.to_owned() };
    with_port(&own_host(end), end.port)
}

/// Names an end with its port, by itself.
#[must_use]
pub fn named(end: &Endpoint) -> String {
    with_port(&host(end), end.port)
}

/// Names a process outside pods on its node: `node/n1/containerd`.
#[must_use]
pub fn process(origin: &Origin) -> String {
    process_of(&origin.node, &origin.comm)
}

/// Names who asked, whichever end was observed: the workload `shop/Deployment/web`, the process `node/n1/containerd`, or
/// where neither is known a node or an address. A client's port says nothing, and is left out.
#[must_use]
pub fn source(exchange: &Exchange) -> String {
    match (&exchange.remote, exchange.side()) {
        (Some(end), Side::Server) if !is_loopback(exchange, end) => workload_host(end),
        (Some(_) | None, _) => observed(exchange),
    }
}

/// Names who was asked, whichever end was observed, with the port: the Service that was used, the workload, or where
/// neither is known a node or an address.
#[must_use]
pub fn destination(exchange: &Exchange) -> String {
    match (&exchange.local, &exchange.remote, exchange.side()) {
        (Some(own), Some(remote), Side::Server) if is_loopback(exchange, remote) => {
            with_port(LOOPBACK, own.port)
        }
        (Some(own), _, Side::Server) if is_in_pod(exchange) => with_port(&observed(exchange), own.port),
        (Some(own), _, Side::Server) => with_port(&own_host(own), own.port),
        (_, Some(end), _) if is_loopback(exchange, end) => with_port(LOOPBACK, end.port),
        (_, Some(end), _) => with_port(&workload_host(end), end.port),
        (_, None, _) => UNKNOWN.to_owned(),
    }
}

/// Names the workload or the process that was observed.
fn observed(exchange: &Exchange) -> String {
    let Some(origin) = &exchange.origin else { return UNKNOWN.to_owned() };
    let Origin { namespace, pod, workload, comm, .. } = origin;
    if !pod.is_empty() {
        return workload_of(namespace, pod, workload);
    }
    match exchange.local.as_ref().map(|end| end.node.as_str()) {
        Some(node) if !node.is_empty() => process_of(node, comm),
        // On one machine there are no nodes.
        Some(_) | None => known(comm).to_owned(),
    }
}

fn process_of(node: &str, comm: &str) -> String {
    format!("node/{node}/{}", known(comm))
}

fn known(text: &str) -> &str {
    if text.is_empty() { UNKNOWN } else { text }
}

fn remote_host(exchange: &Exchange, end: &Endpoint) -> String {
    if is_loopback(exchange, end) { LOOPBACK.to_owned() } else { host(end) }
}

fn host(end: &Endpoint) -> String {
    if end.service.is_empty() { own_host(end) } else { format!("svc/{}", end.service) }
}

/// As [`host`], but no Service.
fn own_host(end: &Endpoint) -> String {
    let Endpoint { address: _, port: _, namespace, pod, service: _, workload: _, node, component } = end;
    match component_word(Component::try_from(*component).unwrap_or_default()) {
        Some(word) if !node.is_empty() => format!("node/{node}/{word}"),
        Some(word) => word.to_owned(),
        None if !pod.is_empty() => format!("pod/{namespace}/{pod}"),
        None if !node.is_empty() => format!("node/{node}"),
        None => address_text(end),
    }
}

/// As [`host`], but pods by their workloads: of these there are few.
fn workload_host(end: &Endpoint) -> String {
    let Endpoint { namespace, pod, service, workload, component, .. } = end;
    if service.is_empty() && !pod.is_empty() && *component == i32::from(Component::Unspecified) {
        return workload_of(namespace, pod, workload);
    }
    host(end)
}

fn workload_of(namespace: &str, pod: &str, workload: &str) -> String {
    if workload.is_empty() { format!("{namespace}/Pod/{pod}") } else { format!("{namespace}/{workload}") }
}

fn component_word(component: Component) -> Option<&'static str> {
    match component {
        Component::Unspecified => None,
        Component::Kubelet => Some("kubelet"),
        Component::ApiServer => Some("apiserver"),
    }
}

fn is_in_pod(exchange: &Exchange) -> bool {
    exchange.origin.as_ref().is_some_and(|origin| !origin.pod.is_empty())
}

/// Whether a pod talks to itself.
fn is_loopback(exchange: &Exchange, remote: &Endpoint) -> bool {
    is_in_pod(exchange) && address(remote).is_some_and(|address| address.is_loopback())
}

fn address_text(end: &Endpoint) -> String {
    match address(end) {
        Some(IpAddr::V6(address)) => format!("[{address}]"),
        Some(address) => address.to_string(),
        None => UNKNOWN.to_owned(),
    }
}

fn with_port(host: &str, port: u32) -> String {
    if port == 0 { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(last: u8, port: u32) -> Endpoint {
        Endpoint { address: vec![10, 0, 0, last], port, ..Endpoint::default() }
    }

    fn word(word: &str) -> String {
        word.to_owned()
    }

    fn service(name: &str) -> Endpoint {
        Endpoint { namespace: word("shop"), service: word(name), ..end(9, 80) }
    }

    fn pod(name: &str, workload: &str) -> Endpoint {
        Endpoint { namespace: word("shop"), pod: word(name), workload: word(workload), ..end(8, 8080) }
    }

    fn node(component: Component) -> Endpoint {
        Endpoint { node: word("n3"), component: component.into(), ..end(7, 10250) }
    }

    /// What a pod said or heard.
    fn of_pod(side: Side, local: Endpoint, remote: Endpoint) -> Exchange {
        let origin = Origin {
            namespace: word("shop"),
            pod: word("orders-1-x"),
            workload: word("Deployment/orders"),
            comm: word("java"),
            ..Origin::default()
        };
        Exchange {
            side: side.into(),
            origin: Some(origin),
            local: Some(local),
            remote: Some(remote),
            ..Exchange::default()
        }
    }

    fn loopback(port: u32) -> Endpoint {
        Endpoint { address: vec![127, 0, 0, 1], port, ..Endpoint::default() }
    }

    #[test]
    fn kinds_of_remote_ends_are_told_apart() {
        let own = || Endpoint { service: word("shop/orders"), ..pod("orders-1-x", "Deployment/orders") };
        let elsewhere = Endpoint { component: Component::ApiServer.into(), ..end(6, 6443) };
        let mapped =
            Endpoint { address: [[0; 10].as_slice(), &[255, 255, 127, 0, 0, 1]].concat(), ..end(0, 6379) };
        let six = Endpoint { address: vec![0x20; 16], port: 53, ..Endpoint::default() };
        for (remote_end, name, asked) in [
            (service("shop/redis"), "svc/shop/redis:80", "svc/shop/redis:80"),
            (
                Endpoint { pod: word("redis-0"), ..service("shop/redis") },
                "svc/shop/redis:80",
                "svc/shop/redis:80",
            ),
            (pod("redis-0", "StatefulSet/redis"), "pod/shop/redis-0:8080", "shop/StatefulSet/redis:8080"),
            (pod("alone", ""), "pod/shop/alone:8080", "shop/Pod/alone:8080"),
            (node(Component::Unspecified), "node/n3:10250", "node/n3:10250"),
            (node(Component::Kubelet), "node/n3/kubelet:10250", "node/n3/kubelet:10250"),
            (node(Component::ApiServer), "node/n3/apiserver:10250", "node/n3/apiserver:10250"),
            (elsewhere, "apiserver:6443", "apiserver:6443"),
            (loopback(6379), "loopback:6379", "loopback:6379"),
            (mapped, "loopback:6379", "loopback:6379"),
            (end(1, 80), "10.0.0.1:80", "10.0.0.1:80"),
            (
                six,
                "[2020:2020:2020:2020:2020:2020:2020:2020]:53",
                "[2020:2020:2020:2020:2020:2020:2020:2020]:53",
            ),
            (Endpoint::default(), "-", "-"),
        ] {
            let exchange = of_pod(Side::Client, own(), remote_end);
            assert_eq!((remote(&exchange), destination(&exchange)), (word(name), word(asked)));
            assert_eq!(source(&exchange), "shop/Deployment/orders");
            assert_eq!(local(&exchange), "pod/shop/orders-1-x:8080");
        }
    }

    #[test]
    fn whoever_serves_is_asked_by_the_other_end() {
        let own = || pod("orders-1-x", "Deployment/orders");
        for (client, asks) in [
            (Endpoint { port: 40_000, ..pod("web-0", "StatefulSet/web") }, "shop/StatefulSet/web"),
            (node(Component::Unspecified), "node/n3"),
            (end(1, 40_000), "10.0.0.1"),
        ] {
            let exchange = of_pod(Side::Server, own(), client);
            assert_eq!(source(&exchange), asks);
            assert_eq!(destination(&exchange), "shop/Deployment/orders:8080");
        }
        let itself = of_pod(Side::Server, loopback(6379), loopback(40_000));
        assert_eq!(
            (source(&itself), destination(&itself)),
            (word("shop/Deployment/orders"), word("loopback:6379"))
        );
    }

    #[test]
    fn processes_outside_pods_have_their_node_in_a_cluster_and_none_on_one_machine() {
        let origin = Some(Origin { comm: word("kubelet"), node: word("n3"), ..Origin::default() });
        let of = |side: Side, local: Endpoint| Exchange {
            side: side.into(),
            origin: origin.clone(),
            local: Some(local),
            remote: Some(loopback(10248)),
            ..Exchange::default()
        };
        let cluster = of(Side::Client, Endpoint { port: 40_000, ..node(Component::Kubelet) });
        assert_eq!(
            (source(&cluster), destination(&cluster)),
            (word("node/n3/kubelet"), word("127.0.0.1:10248"))
        );
        let served = of(Side::Server, node(Component::Kubelet));
        assert_eq!(
            (source(&served), destination(&served)),
            (word("127.0.0.1"), word("node/n3/kubelet:10250"))
        );
        let machine = of(Side::Client, loopback(40_000));
        assert_eq!((source(&machine), local(&machine)), (word("kubelet"), word("127.0.0.1:40000")));
        assert_eq!((source(&Exchange::default()), destination(&Exchange::default())), (word("-"), word("-")));
    }
}
