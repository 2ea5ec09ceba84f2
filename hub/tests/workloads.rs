//! A large cluster within the hub's memory.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what the test leans on, too, fails it")]

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hub::workloads::Workloads;
use kube::Client;
use kube::client::Body;
use proto::v1;
use serde_json::{Value, json};
use tower_test::mock;

/// Pods of the cluster, and nodes that they are on.
const PODS: usize = 20_000;
const NODES: usize = 400;

/// What following them may take, of the 256 MiB that the hub's container has: its buffers take the rest.
const LIMIT_KIB: u64 = 96 << 10;

/// Longest wait for all lists.
const LISTED: Duration = Duration::from_mins(2);

fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn pod(number: usize) -> Value {
    let fields: serde_json::Map<_, _> =
        (0..60).map(|field| (format!("f:field-{field}"), json!({}))).collect();
    let environment: Vec<_> =
        (0..30).map(|name| json!({"name": format!("NAME_{name}"), "value": "v".repeat(60)})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": format!("team-{}", number % 100), "name": format!("orders-7d4b9c6f5-{number:05}"),
            "uid": format!("0f7d3c9e-8a52-4b6e-9d1c-{number:012x}"), "resourceVersion": "1",
            "labels": {"app": format!("orders-{}", number % 500), "pod-template-hash": "7d4b9c6f5", "unique": number.to_string()},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("orders-{}-7d4b9c6f5", number % 500), "uid": "u", "controller": true}],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields}],
        },
        "spec": {"nodeName": format!("node-{}", number % NODES), "containers": [{"name": "main", "image": "i", "env": environment}]},
        "status": {
            "phase": "Running", "podIPs": [{"ip": format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255)}],
            "containerStatuses": [{"name": "main", "containerID": format!("containerd://{number:064x}"), "image": "", "imageID": "", "ready": true, "restartCount": 0}],
        },
    })
}

/// Lists pods page by page as the API does, and nothing else; watches stay open.
async fn serve(mut handle: mock::Handle<Request<Body>, Response<Body>>) {
    let mut open = Vec::new();
    while let Some((request, send)) = handle.next_request().await {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let value = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            pair.and_then(|value| value.parse::<usize>().ok())
        };
        // Owners are asked for without what they hold.
        let owners = ["/replicasets", "/jobs"].iter().any(|kind| request.uri().path().ends_with(kind));
        let accepts = request.headers().get(http::header::ACCEPT).map(|value| value.to_str().unwrap());
        let metadata = accepts.is_some_and(|accepts| accepts.contains("as=PartialObjectMetadata"));
        assert_eq!(metadata, owners, "{}", request.uri());
        if query.contains("watch=true") {
            open.push(send);
            continue;
        }
        let of = if request.uri().path().ends_with("/pods") { PODS } else { 0 };
        let first = value("continue").unwrap_or(0);
        let end = of.min(first + value("limit").unwrap());
        let next = if end < of { end.to_string() } else { String::new() };
        let items: Vec<_> = (first..end).map(pod).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1", "continue": next}, "items": items});
        send.send_response(Response::new(Body::from(list.to_string().into_bytes())));
    }
}

#[tokio::test]
async fn twenty_thousand_pods_fit() {
    assert!(pod(0).to_string().len() > 4000, "as large as pods are");
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(serve(handle));
    let before = memory("VmRSS:");
    let workloads = Arc::new(Workloads::new(&v1::Filter::default()).unwrap());
    let _watches = workloads.watch(&Client::new(service, "default"));
    let mut told = 0;
    let mut watches = Vec::new();
    for node in 0..NODES {
        let mut watch = workloads.node(format!("node-{node}"));
        let pods = tokio::time::timeout(LISTED, watch.next()).await.unwrap();
        assert!(pods.complete);
        told += pods.pods.len();
        watches.push(watch);
    }
    let took = memory("VmHWM:").saturating_sub(before);
    assert_eq!(told, PODS);
    assert!(took < LIMIT_KIB, "{took} KiB");
}
