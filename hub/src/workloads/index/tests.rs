//! Names of addresses, and what keeps them for a while.

use proto::{ends, v1};

use super::*;

fn key(name: &str) -> Key {
    ("shop".into(), name.into())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pod(address: &str) -> Pod {
    Pod { uid: address.into(), node: "one".into(), ips: vec![ip(address)], ..Pod::default() }
}

fn end(address: &str, port: u32) -> v1::Endpoint {
    let address = match ip(address) {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    v1::Endpoint { address, port, ..Default::default() }
}

/// Resolves the other end of what a pod says, or of what it answers.
fn remote(index: &Index, side: v1::Side, address: &str, port: u32) -> v1::Endpoint {
    let remote = Some(end(address, port));
    let mut exchange = v1::Exchange { side: side.into(), remote, ..Default::default() };
    index.resolve(&mut exchange);
    exchange.remote.unwrap()
}

fn named(index: &Index, address: &str, port: u32) -> (String, String, String) {
    let end = remote(index, v1::Side::Client, address, port);
    (end.namespace, end.pod, end.service)
}

/// The same as users read it.
fn shown(index: &Index, side: v1::Side, address: &str, port: u32) -> String {
    let remote = Some(remote(index, side, address, port));
    let origin = Some(v1::Origin { pod: "asking".into(), ..Default::default() });
    ends::remote(&v1::Exchange { remote, origin, ..Default::default() })
}

fn names(namespace: &str, pod: &str, service: &str) -> (String, String, String) {
    (namespace.to_owned(), pod.to_owned(), service.to_owned())
}

fn slice(endpoints: &[(&str, bool, &str)]) -> Slice {
    let endpoints = endpoints.iter().map(|(address, ready, pod)| (ip(address), *ready, Some((*pod).into())));
    Slice { service: "web".into(), ports: vec![8080], endpoints: endpoints.collect() }
}

#[test]
fn services_are_found_by_every_address_and_name_their_only_pod() {
    let mut index = Index::default();
    let web = Service { ips: vec![ip("10.96.0.7"), ip("fd00::7")], ports: vec![80], node_ports: vec![30080] };
    index.set_service(&key("web"), web);
    index.set_node(&"one".into(), vec![ip("192.0.2.1")]);
    index.set_slice(&key("web-1"), slice(&[("10.0.0.1", true, "a"), ("10.0.0.2", false, "b")]));
    index.set_pod(&key("a"), pod("10.0.0.1"));
    let both = names("shop", "a", "shop/web");
    assert_eq!(named(&index, "10.96.0.7", 80), both);
    assert_eq!(named(&index, "fd00::7", 80), both);
    assert_eq!(named(&index, "192.0.2.1", 30080), both);
    for (address, port) in [("10.96.0.7", 81), ("192.0.2.1", 80), ("192.0.2.9", 30080)] {
        assert_eq!(named(&index, address, port), names("", "", ""), "{address} {port}");
    }
    index.set_slice(&key("web-1"), slice(&[("10.0.0.1", true, "a"), ("10.0.0.2", true, "b")]));
    assert_eq!(named(&index, "10.96.0.7", 80), names("shop", "", "shop/web"));
    index.remove_service(&key("web"));
    assert_eq!(named(&index, "10.96.0.7", 80), names("", "", ""));
}

#[test]
fn a_service_is_named_where_it_was_used_and_not_where_a_pod_is_behind_one() {
    let mut index = Index::default();
    let web = Service { ips: vec![ip("10.96.0.7")], ports: vec![80], node_ports: vec![30080] };
    index.set_service(&key("web"), web);
    index.set_node(&"one".into(), vec![ip("192.0.2.1")]);
    index.set_slice(&key("web-1"), slice(&[("10.0.0.1", true, "a")]));
    let owner = Some(("StatefulSet".into(), "a".into()));
    index.set_pod(&key("a"), Pod { owner, ..pod("10.0.0.1") });
    for (side, address, port, name) in [
        (v1::Side::Client, "10.96.0.7", 80, "svc/shop/web:80"),
        (v1::Side::Client, "192.0.2.1", 30080, "svc/shop/web:30080"),
        (v1::Side::Client, "10.0.0.1", 8080, "pod/shop/a:8080"),
        (v1::Side::Client, "10.0.0.1", 9, "pod/shop/a:9"),
        // Whoever asks is no Service, by whatever port it does so.
        (v1::Side::Server, "10.0.0.1", 8080, "pod/shop/a:8080"),
        (v1::Side::Server, "192.0.2.1", 30080, "node/one:30080"),
        (v1::Side::Server, "10.96.0.7", 80, "10.96.0.7:80"),
    ] {
        assert_eq!(shown(&index, side, address, port), name, "{side:?}");
    }
    let end = remote(&index, v1::Side::Client, "10.0.0.1", 8080);
    assert_eq!((end.workload.as_str(), end.node.as_str()), ("StatefulSet/a", "one"));
}

#[test]
fn one_s_own_end_is_the_pod_of_its_process_or_its_node() {
    let mut index = Index::default();
    index.set_slice(&key("web-1"), slice(&[("10.0.0.1", true, "a")]));
    index.set_pod(&key("a"), pod("10.0.0.1"));
    let own = |pod: &str, comm: &str, address: &str, port| {
        let origin = v1::Origin {
            node: "one".into(),
            namespace: if pod.is_empty() { String::new() } else { "shop".into() },
            pod: pod.into(),
            comm: comm.into(),
            ..Default::default()
        };
        let local = Some(end(address, port));
        let mut exchange = v1::Exchange { local, origin: Some(origin), ..Default::default() };
        index.resolve(&mut exchange);
        ends::local(&exchange)
    };
    for (pod, comm, address, port, name) in [
        ("a", "java", "10.0.0.1", 8080, "pod/shop/a:8080"),
        ("b", "java", "127.0.0.1", 8080, "pod/shop/b:8080"),
        // In its node's network: another one may declare the port.
        ("c", "java", "192.0.2.1", 8080, "pod/shop/c:8080"),
        // Not known yet whose process it is.
        ("", "java", "10.0.0.1", 8080, "pod/shop/a:8080"),
        ("", "sshd", "192.0.2.1", 22, "node/one:22"),
        ("", "kubelet", "192.0.2.1", 10250, "node/one/kubelet:10250"),
        ("", "kube-apiserver", "192.0.2.1", 6443, "node/one/apiserver:6443"),
    ] {
        assert_eq!(own(pod, comm, address, port), name, "{comm}");
    }
}

#[test]
fn nodes_their_kubelets_and_the_api_server_are_named() {
    let mut index = Index::default();
    index.set_node(&"one".into(), vec![ip("192.0.2.1"), ip("10.244.1.1")]);
    index.set_node(&"two".into(), vec![ip("192.0.2.2")]);
    let api = |address: &str| Slice {
        service: "kubernetes".into(),
        ports: vec![6443],
        endpoints: vec![(ip(address), true, None)],
    };
    let default = |name: &str| -> Key { ("default".into(), name.into()) };
    index.set_slice(&default("kubernetes"), api("192.0.2.1"));
    index.set_slice(&default("elsewhere"), api("198.51.100.7"));
    // A Service of the same name, and nobody's API server.
    index.set_slice(&key("kubernetes"), api("192.0.2.2"));
    for (side, address, port, name) in [
        (v1::Side::Client, "192.0.2.1", 6443, "node/one/apiserver:6443"),
        (v1::Side::Client, "198.51.100.7", 6443, "apiserver:6443"),
        (v1::Side::Client, "192.0.2.2", 6443, "node/two:6443"),
        (v1::Side::Client, "192.0.2.2", 10250, "node/two/kubelet:10250"),
        (v1::Side::Client, "192.0.2.2", 22, "node/two:22"),
        (v1::Side::Client, "203.0.113.9", 10250, "203.0.113.9:10250"),
        (v1::Side::Client, "127.0.0.1", 10250, "loopback:10250"),
        (v1::Side::Client, "::1", 6443, "loopback:6443"),
        // A probe comes from the node's end of the bridge to its pods.
        (v1::Side::Server, "10.244.1.1", 40_000, "node/one:40000"),
        (v1::Side::Server, "192.0.2.2", 10250, "node/two:10250"),
    ] {
        assert_eq!(shown(&index, side, address, port), name, "{side:?}");
    }
    index.set_node(&"three".into(), vec![ip("192.0.2.2")]);
    assert_eq!(
        shown(&index, v1::Side::Client, "192.0.2.2", 22),
        "192.0.2.2:22",
        "two nodes say that it is theirs"
    );
    index.remove_node(&"three".into());
    assert_eq!(shown(&index, v1::Side::Client, "192.0.2.2", 22), "node/two:22");
}

#[test]
fn a_port_of_a_node_that_leads_to_a_pod_is_the_pod() {
    let mut index = Index::default();
    index.set_node(&"one".into(), vec![ip("192.0.2.1")]);
    let mapped = Pod { host_ips: vec![ip("192.0.2.1")], host_ports: vec![8443], ..pod("10.0.0.1") };
    index.set_pod(&key("ingress"), mapped);
    assert_eq!(shown(&index, v1::Side::Client, "192.0.2.1", 8443), "pod/shop/ingress:8443");
    assert_eq!(shown(&index, v1::Side::Client, "192.0.2.1", 22), "node/one:22");
    assert_eq!(shown(&index, v1::Side::Client, "10.0.0.1", 80), "pod/shop/ingress:80");
    assert_eq!(
        shown(&index, v1::Side::Server, "192.0.2.1", 8443),
        "node/one:8443",
        "a client's port is none"
    );
    index.remove_pod(&key("ingress"));
    assert_eq!(shown(&index, v1::Side::Client, "192.0.2.1", 8443), "node/one:8443");
    index.tidy();
    assert!(index.by_ip.is_empty());
}

#[test]
fn pods_in_their_nodes_network_are_named_by_port_alone() {
    let mut index = Index::default();
    let host = |port| Pod { host_network: true, host_ports: vec![port], ..pod("192.0.2.1") };
    index.set_pod(&key("a"), host(1));
    index.set_pod(&key("b"), host(2));
    index.set_pod(&key("c"), host(2));
    assert_eq!(named(&index, "192.0.2.1", 1), names("shop", "a", ""));
    assert_eq!(named(&index, "192.0.2.1", 2), names("", "", ""));
    assert_eq!(named(&index, "192.0.2.1", 3), names("", "", ""));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_is_named_for_a_minute_unless_its_address_is_anothers() {
    let mut index = Index::default();
    index.set_pod(&key("a"), pod("10.0.0.1"));
    index.remove_pod(&key("a"));
    assert_eq!(named(&index, "10.0.0.1", 1), names("shop", "a", ""));
    assert!(index.pod("shop", "a").is_some());
    index.set_pod(&key("b"), pod("10.0.0.1"));
    assert_eq!(named(&index, "10.0.0.1", 1), names("shop", "b", ""));
    index.remove_pod(&key("b"));
    tokio::time::advance(TOMBSTONE_PERIOD + Duration::from_secs(1)).await;
    assert_eq!(named(&index, "10.0.0.1", 1), names("", "", ""));
    assert!(index.pod("shop", "a").is_none());
}

#[tokio::test(start_paused = true)]
async fn of_pods_that_had_a_name_or_an_address_one_after_another_the_last_one_counts() {
    let mut index = Index::default();
    let owned = |name: &str| Pod { owner: Some(("Job".into(), name.into())), ..pod("10.0.0.1") };
    let die = |index: &mut Index, name: &str, pod: Pod| {
        index.set_pod(&key(name), pod);
        index.remove_pod(&key(name));
    };
    die(&mut index, "a", owned("first"));
    tokio::time::advance(TOMBSTONE_PERIOD / 2).await;
    die(&mut index, "a", owned("second"));
    die(&mut index, "b", pod("10.0.0.2"));
    // One that had ended had given its address back.
    die(&mut index, "c", Pod { ended: true, ..pod("10.0.0.2") });
    let workload = |index: &Index| index.pod("shop", "a").map(|pod| index.workload(&key("a"), pod));
    assert_eq!(workload(&index).as_deref(), Some("Job/second"));
    tokio::time::advance(TOMBSTONE_PERIOD / 2 + Duration::from_secs(1)).await;
    // The first one is forgotten now, and takes nothing of the second along.
    die(&mut index, "d", pod("10.0.0.3"));
    assert_eq!(index.dead.len(), 4);
    assert_eq!(workload(&index).as_deref(), Some("Job/second"));
    assert_eq!(named(&index, "10.0.0.1", 1), names("shop", "a", ""));
    assert_eq!(named(&index, "10.0.0.2", 1), names("shop", "b", ""));
    tokio::time::advance(TOMBSTONE_PERIOD / 2).await;
    assert_eq!(named(&index, "10.0.0.1", 1), names("", "", ""));
}

#[test]
fn tombstones_are_bounded() {
    let mut index = Index::default();
    for number in 0..=MAX_TOMBSTONES {
        let key = key(&number.to_string());
        index.set_pod(&key, pod("10.0.0.1"));
        index.remove_pod(&key);
    }
    assert_eq!(index.dead.len(), MAX_TOMBSTONES);
    index.tidy();
    assert!(index.by_ip.is_empty() && index.by_node.is_empty() && index.names.is_empty());
}

#[test]
fn workloads_are_followed_up() {
    let mut index = Index::default();
    let owned = |kind: &str, name: &str| Pod { owner: Some((kind.into(), name.into())), ..pod("10.0.0.1") };
    let of = |index: &Index, pod: &Pod| index.workload(&key("p"), pod);
    assert_eq!(of(&index, &pod("10.0.0.1")), "Pod/p");
    assert_eq!(of(&index, &owned("ReplicaSet", "web-1")), "ReplicaSet/web-1");
    assert!(index.set_owner("ReplicaSet", key("web-1"), Some(("Deployment".into(), "web".into()))));
    assert!(index.set_owner("Job", key("tick-1"), Some(("CronJob".into(), "tick".into()))));
    assert_eq!(of(&index, &owned("ReplicaSet", "web-1")), "Deployment/web");
    assert_eq!(of(&index, &owned("Job", "tick-1")), "CronJob/tick");
    assert_eq!(of(&index, &owned("StatefulSet", "db")), "StatefulSet/db");
}
