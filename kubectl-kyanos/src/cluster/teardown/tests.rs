//! What is deleted, with which conditions, and what is said when it stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

type Calls = Arc<Mutex<Vec<(Method, String, Value)>>>;

fn metadata(name: &str, uid: &str, manager: &str) -> Value {
    json!({
        "name": name,
        "uid": uid,
        "namespace": "kyanos-a",
        "labels": { MANAGED_BY.0: MANAGED_BY.1, SESSION_LABEL: "a" },
        "managedFields": [{ "manager": manager }],
    })
}

/// A fake API server: answers by path, and a namespace that goes when `stuck` is false.
fn server(stuck: bool) -> (Client, Calls) {
    serving(move |method, path| answer(method, path, stuck))
}

fn serving(answer: impl Fn(&Method, &str) -> (u16, Value) + Send + 'static) -> (Client, Calls) {
    let calls: Calls = Arc::default();
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let seen = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let body = request.into_body().collect_bytes().await.expect("a body");
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let (code, answer) = answer(&method, &path);
            seen.lock().expect("unpoisoned").push((method, path, body));
            let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
            send.send_response(answer.expect("a response"));
        }
    });
    (Client::new(service, "default"), calls)
}

fn answer(method: &Method, path: &str, stuck: bool) -> (u16, Value) {
    if method == Method::DELETE {
        return (200, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }));
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    match last {
        "kyanos-a" if stuck => (
            200,
            json!({
                "metadata": { "name": "kyanos-a", "uid": "n" },
                "status": { "conditions": [
                    { "type": "NamespaceFinalizersRemaining", "status": "True", "message": "a finalizer remains" }
                ] },
            }),
        ),
        "kyanos-a" => {
            (404, json!({ "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404 }))
        }
        "pods" => (
            200,
            json!({ "metadata": {}, "items": [
                { "metadata": metadata("on-live", "p1", "kubelet"), "spec": { "containers": [], "nodeName": "n1" } },
                { "metadata": metadata("on-dead", "p2", "kubelet"), "spec": { "containers": [], "nodeName": "n2" } },
                { "metadata": metadata("on-none", "p3", "kubelet"), "spec": { "containers": [], "nodeName": "gone" } },
            ] }),
        ),
        "nodes" => {
            let node = |name: &str, ready: &str| {
                json!({ "metadata": { "name": name },
                        "status": { "conditions": [{ "type": "Ready", "status": ready }] } })
            };
            (200, json!({ "metadata": {}, "items": [node("n1", "True"), node("n2", "Unknown")] }))
        }
        "clusterroles" => (
            200,
            json!({ "metadata": {}, "items": [
                { "metadata": metadata("kyanos-a", "c1", crate::cluster::FIELD_MANAGER) },
                { "metadata": metadata("foreign", "c2", "kubectl") },
            ] }),
        ),
        _ => (200, json!({ "metadata": {}, "items": [] })),
    }
}

fn session() -> SessionRef {
    SessionRef { name: "a".to_owned(), namespace_uid: "n".to_owned() }
}

#[tokio::test]
async fn everything_goes_with_its_uid_and_dead_nodes_pods_at_once() {
    let (client, calls) = server(false);
    let remains = remove(&client, &session()).await;
    assert!(remains.left.is_empty());
    assert_eq!(remains.unconfirmed, ["gone", "n2"]);
    let calls = calls.lock().expect("unpoisoned");
    let deleted: BTreeMap<&str, (&Value, &Value)> = calls
        .iter()
        .filter(|(method, ..)| *method == Method::DELETE)
        .map(|(_, path, body)| {
            let name =
                path.trim_start_matches("/api/v1/").trim_start_matches("/apis/rbac.authorization.k8s.io/v1/");
            (name, (&body["preconditions"]["uid"], &body["gracePeriodSeconds"]))
        })
        .collect();
    let expected = [
        ("clusterroles/kyanos-a", ("c1", 1)),
        ("namespaces/kyanos-a", ("n", 1)),
        ("namespaces/kyanos-a/pods/on-dead", ("p2", 0)),
        ("namespaces/kyanos-a/pods/on-live", ("p1", 1)),
        ("namespaces/kyanos-a/pods/on-none", ("p3", 0)),
    ];
    assert_eq!(deleted.len(), expected.len(), "{deleted:?}");
    for (path, (uid, grace)) in expected {
        assert_eq!(deleted.get(path), Some(&(&json!(uid), &json!(grace))), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_hangs_is_named_with_what_holds_it() {
    let (client, _calls) = server(true);
    let left = remove(&client, &session()).await.left;
    assert_eq!(left, ["namespace `kyanos-a` (a finalizer remains)"]);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_was_away_is_asked_again() {
    let began = Instant::now();
    let away = move || began.elapsed() < Duration::from_secs(4);
    let (client, calls) = serving(move |method, path| {
        if away() {
            return (503, json!({ "kind": "Status", "status": "Failure", "message": "away", "code": 503 }));
        }
        answer(method, path, began.elapsed() < Duration::from_secs(8))
    });
    let remains = remove(&client, &session()).await;
    assert!(remains.left.is_empty(), "{:?}", remains.left);
    assert!(began.elapsed() < STRIKE, "{:?}", began.elapsed());
    // The node that lives had its time.
    let calls = calls.lock().expect("unpoisoned");
    let at_once = |path: &str, body: &Value| path.ends_with("/on-live") && body["gracePeriodSeconds"] == 0;
    assert!(!calls.iter().any(|(_, path, body)| at_once(path, body)));
}

#[tokio::test(start_paused = true)]
async fn a_ready_node_that_confirms_nothing_is_not_waited_for() {
    let began = Instant::now();
    let (client, calls) = serving(move |method, path| answer(method, path, began.elapsed() < STRIKE + AGAIN));
    let remains = remove(&client, &session()).await;
    assert!(remains.left.is_empty(), "{:?}", remains.left);
    assert_eq!(remains.unconfirmed, ["gone", "n1", "n2"]);
    let calls = calls.lock().expect("unpoisoned");
    let graces: Vec<_> = calls
        .iter()
        .filter(|(method, path, _)| *method == Method::DELETE && path.ends_with("/on-live"))
        .map(|(_, _, body)| body["gracePeriodSeconds"].clone())
        .collect();
    assert_eq!(graces, [json!(1), json!(0)]);
}
