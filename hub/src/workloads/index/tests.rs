//! Names of addresses, and what keeps them for a while.

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

fn named(index: &Index, address: &str, port: u32) -> (String, String, String) {
    let bytes = match ip(address) {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut end = v1::Endpoint { address: bytes, port, ..Default::default() };
    index.resolve(&mut end);
    (end.namespace, end.pod, end.service)
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
    assert_eq!(named(&index, "10.0.0.1", 8080), both);
    assert_eq!(named(&index, "10.0.0.1", 9), names("shop", "a", ""));
    for (address, port) in [("10.96.0.7", 81), ("192.0.2.1", 80), ("192.0.2.9", 30080)] {
        assert_eq!(named(&index, address, port), names("", "", ""), "{address} {port}");
    }
    index.set_slice(&key("web-1"), slice(&[("10.0.0.1", true, "a"), ("10.0.0.2", true, "b")]));
    assert_eq!(named(&index, "10.96.0.7", 80), names("shop", "", "shop/web"));
    let other = Slice { service: "other".into(), ..slice(&[("10.0.0.1", true, "a")]) };
    index.set_slice(&key("other-1"), other);
    assert_eq!(named(&index, "10.0.0.1", 8080), names("shop", "a", ""));
    index.remove_slice(&key("other-1"));
    assert_eq!(named(&index, "10.0.0.1", 8080), both);
    index.remove_service(&key("web"));
    assert_eq!(named(&index, "10.96.0.7", 80), names("", "", ""));
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

#[test]
fn tombstones_are_bounded() {
    let mut index = Index::default();
    for number in 0..=MAX_TOMBSTONES {
        let key = key(&number.to_string());
        index.set_pod(&key, pod("10.0.0.1"));
        index.remove_pod(&key);
    }
    assert_eq!(index.tombstones.len(), MAX_TOMBSTONES);
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
