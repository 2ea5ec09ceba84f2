//! Against a faked API: lists, watches that break, and what capturers are told.

use std::sync::Mutex;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use super::*;

type Handle = mock::Handle<Request<Body>, Response<Body>>;

/// Serves lists, and for pods' watches one answer after the other; counts watches by path.
async fn serve(mut handle: Handle, pods: Arc<Mutex<Vec<Value>>>, seen: Arc<Mutex<Vec<String>>>) {
    let mut watches = 0;
    let mut open = Vec::new();
    while let Some((request, send)) = handle.next_request().await {
        let uri = request.uri().clone();
        let watch = uri.query().is_some_and(|query| query.contains("watch=true"));
        let is_pods = uri.path().ends_with("/pods");
        let kind = uri.path().rsplit('/').next().unwrap().to_owned();
        seen.lock().unwrap().push(format!("{} {kind}", if watch { "watch" } else { "list" }));
        if !watch {
            let items = if is_pods { pods.lock().unwrap().clone() } else { Vec::new() };
            let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
            send.send_response(Response::new(Body::from(list.to_string().into_bytes())));
        } else if is_pods && watches == 0 {
            watches += 1;
            // The version is too old: everything is listed again.
            let gone = json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}});
            pods.lock().unwrap().truncate(1);
            send.send_response(Response::new(Body::from(format!("{gone}\n").into_bytes())));
        } else {
            open.push(send);
        }
    }
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "shop", "name": name, "uid": format!("uid-{name}"), "resourceVersion": "1",
            "labels": {"app": name},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true}],
        },
        "spec": {"nodeName": node, "containers": [{"name": "main"}]},
        "status": {
            "phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
            "containerStatuses": [{"name": "main", "containerID": "containerd://abc", "image": "", "imageID": "", "ready": true, "restartCount": 0}],
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_node_is_told_whole_then_changes_and_an_expired_watch_lists_again() {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let pods = Arc::new(Mutex::new(vec![pod("a", "one"), pod("b", "one"), pod("c", "two")]));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = tokio::spawn(serve(handle, Arc::clone(&pods), Arc::clone(&seen)));
    let filter = v1::Filter { selector: "app=a".to_owned(), ..Default::default() };
    let workloads = Arc::new(Workloads::new(&filter).unwrap());
    let _watches = workloads.watch(&Client::new(service, "default"));
    let mut node = workloads.node("one".to_owned());
    let first = node.next().await;
    assert!(first.complete);
    let told: Vec<_> = first.pods.iter().map(|pod| (pod.uid.as_str(), pod.wanted, pod.ours)).collect();
    assert_eq!(told, [("uid-a", true, false), ("uid-b", false, false)]);
    assert_eq!(first.sessions, Some(v1::SessionAddresses::default()));
    assert_eq!(first.pods[0].workload, "StatefulSet/db");
    assert_eq!(first.pods[0].containers[0].id, "abc");
    let change = tokio::time::timeout(Duration::from_mins(1), node.next()).await.unwrap();
    assert_eq!((change.complete, change.pods.len(), change.gone), (false, 0, vec!["uid-b".to_owned()]));
    let seen = seen.lock().unwrap().clone();
    for kind in ["pods", "services", "endpointslices", "nodes", "replicasets", "jobs"] {
        let wanted = if kind == "pods" { 2 } else { 1 };
        let lists = seen.iter().filter(|line| **line == format!("list {kind}")).count();
        let watches = seen.iter().filter(|line| **line == format!("watch {kind}")).count();
        assert!(lists == wanted && watches <= wanted, "{kind}: {seen:?}");
    }
    server.abort();
}

#[test]
fn what_is_about_a_session_is_told_from_what_only_looks_like_it() {
    let workloads = Workloads::new(&v1::Filter::default()).unwrap();
    let add = |namespace: &str, name: &str, ip: [u8; 4], labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let pod = Pod { ips: vec![ip.into()], labels, ..Pod::default() };
        workloads.write().set_pod(&(namespace.into(), name.into()), pod);
    };
    let ours = [MANAGED_BY, (SESSION_LABEL, "abcde")];
    add("kyanos-abcde", "hub", [10, 0, 0, 1], &ours);
    add("shop", "hub", [10, 0, 0, 2], &ours);
    add("kyanos-fans", "web", [10, 0, 0, 3], &[("app", "web")]);
    let about = |ip: [u8; 4]| {
        let remote = Some(v1::Endpoint { address: ip.to_vec(), port: 4000, ..Default::default() });
        let mut exchanges = [v1::Exchange { remote, ..Default::default() }];
        workloads.resolve(&mut exchanges);
        workloads.is_about_sessions(&exchanges[0])
    };
    assert_eq!([1, 2, 3, 4].map(|last| about([10, 0, 0, last])), [true, false, false, false]);
}

#[tokio::test]
async fn a_pod_is_waited_for_until_its_address_is_known() {
    let workloads = Arc::new(Workloads::new(&v1::Filter::default()).unwrap());
    let mut known = std::pin::pin!(workloads.has_address("kyanos-abcde", "hub"));
    let set = |name: &str, ips: Vec<std::net::IpAddr>| {
        workloads.write().set_pod(&("kyanos-abcde".into(), name.into()), Pod { ips, ..Pod::default() });
        workloads.change();
    };
    let is_done = async |known: std::pin::Pin<&mut _>| {
        tokio::select! { biased; () = known => true, () = std::future::ready(()) => false }
    };
    assert!(!is_done(known.as_mut()).await);
    set("hub", Vec::new());
    set("other", vec![[10, 0, 0, 1].into()]);
    assert!(!is_done(known.as_mut()).await);
    set("hub", vec![[10, 0, 0, 2].into()]);
    assert!(is_done(known.as_mut()).await);
}

#[tokio::test(start_paused = true)]
async fn capturers_are_told_where_sessions_are_when_that_changes() {
    let workloads = Arc::new(Workloads::new(&v1::Filter::default()).unwrap());
    workloads.listed.send_replace(BEFORE_PODS);
    let set = |namespace: &str, ip: [u8; 4], node: &str| {
        let labels =
            [MANAGED_BY, (SESSION_LABEL, "abcde")].map(|(key, value)| (key.into(), value.into())).to_vec();
        let pod = Pod { ips: vec![ip.into()], labels, node: node.into(), uid: "u".into(), ..Pod::default() };
        workloads.write().set_pod(&(namespace.into(), "hub".into()), pod);
        workloads.change();
    };
    let mut node = workloads.node("one".to_owned());
    assert_eq!(node.next().await.sessions, Some(v1::SessionAddresses::default()));
    set("kyanos-abcde", [10, 0, 0, 1], "two");
    let told = node.next().await;
    assert!(told.pods.is_empty(), "it is on another node");
    assert_eq!(told.sessions.unwrap().addresses, [vec![10, 0, 0, 1]]);
    // None of a session, and nothing of this node.
    set("shop", [10, 0, 0, 2], "two");
    let quiet = tokio::time::timeout(Duration::from_secs(9), node.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    set("kyanos-fghij", [10, 0, 0, 3], "two");
    assert_eq!(node.next().await.sessions.unwrap().addresses, [vec![10, 0, 0, 1], vec![10, 0, 0, 3]]);
}

#[test]
fn addresses_and_ports_of_nodes_are_read_from_what_the_api_says() {
    let workloads = Workloads::new(&v1::Filter::default()).unwrap();
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "n3", "annotations": {
            "projectcalico.org/IPv4VXLANTunnelAddr": "10.50.3.64",
            "network.cilium.io/ipv4-cilium-host": "10.60.3.8",
        }},
        "spec": {"podCIDRs": ["10.244.3.0/24", "fd00:3::/64"]},
        "status": {"addresses": [
            {"type": "InternalIP", "address": "192.0.2.3"},
            {"type": "Hostname", "address": "n3"},
        ]},
    }))
    .unwrap();
    let mut mapped = pod("ingress", "n3");
    mapped["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 443, "hostPort": 8443}, {"containerPort": 80}]);
    mapped["status"]["hostIPs"] = json!([{"ip": "192.0.2.3"}]);
    let mapped: ApiPod = serde_json::from_value(mapped).unwrap();
    {
        let mut index = workloads.write();
        watched::set(&node, &mut index);
        watched::set(&mapped, &mut index);
    }
    let shown = |side: v1::Side, address: IpAddr, port| {
        let remote = Some(v1::Endpoint { address: octets(address), port, ..Default::default() });
        let mut exchanges = [v1::Exchange { side: side.into(), remote, ..Default::default() }];
        workloads.resolve(&mut exchanges);
        proto::ends::remote(&exchanges[0])
    };
    // The bridge and the way to other nodes, tunnels, and no other address of the range of pods.
    for (address, name) in [
        ("192.0.2.3", "node/n3:4000"),
        ("10.244.3.1", "node/n3:4000"),
        ("10.244.3.0", "node/n3:4000"),
        ("fd00:3::1", "node/n3:4000"),
        ("10.50.3.64", "node/n3:4000"),
        ("10.60.3.8", "node/n3:4000"),
        ("10.244.3.2", "10.244.3.2:4000"),
        ("10.0.0.1", "pod/shop/ingress:4000"),
    ] {
        assert_eq!(shown(v1::Side::Server, address.parse().unwrap(), 4000), name);
    }
    let node: IpAddr = "192.0.2.3".parse().unwrap();
    assert_eq!(shown(v1::Side::Client, node, 8443), "pod/shop/ingress:8443");
    assert_eq!(shown(v1::Side::Client, node, 443), "node/n3:443", "only what is mapped is the node's");
    assert_eq!(shown(v1::Side::Client, node, 10250), "node/n3/kubelet:10250");
}
