//! What is deleted, with which conditions, and what is said when it stays.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::cluster::fake_api::{FakeApi, scenarios};

fn metadata(name: &str, uid: &str, manager: &str) -> Value {
    json!({
        "name": name,
        "uid": uid,
        "namespace": "kyanos-a",
        "labels": { MANAGED_BY.0: MANAGED_BY.1, SESSION_LABEL: "a" },
        "managedFields": [{ "manager": manager }],
    })
}

/// An API server with what session `a` has made, and one thing that it has not: a role of the same labels.
fn lived_in() -> FakeApi {
    let pod = |name: &str, uid: &str, node: &str| {
        let spec = json!({ "containers": [], "nodeName": node });
        json!({ "metadata": metadata(name, uid, "kubelet"), "spec": spec })
    };
    let node = |name: &str, ready: &str| {
        let ready = json!({ "type": "Ready", "status": ready });
        json!({ "metadata": { "name": name }, "status": { "conditions": [ready] } })
    };
    let role = |name: &str, uid: &str, manager: &str| json!({ "metadata": metadata(name, uid, manager) });
    let pods = [pod("on-live", "p1", "n1"), pod("on-dead", "p2", "n2"), pod("on-none", "p3", "gone")];
    let roles = [role("kyanos-a", "c1", crate::cluster::FIELD_MANAGER), role("foreign", "c2", "kubectl")];
    FakeApi::willing()
        .but(scenarios::holds("pods", json!(pods)))
        .but(scenarios::holds("nodes", json!([node("n1", "True"), node("n2", "Unknown")])))
        .but(scenarios::holds("clusterroles", json!(roles)))
}

/// How long the pod of the node that lives was given, each time that it was deleted.
fn graces(api: &FakeApi) -> Vec<Value> {
    let deleted = api.calls().into_iter().filter(|call| call.verb() == "delete");
    let deleted = deleted.filter(|call| call.path().ends_with("/on-live"));
    deleted.map(|call| call.body["gracePeriodSeconds"].clone()).collect()
}

fn session() -> SessionRef {
    SessionRef { name: "a".to_owned(), namespace_uid: "n".to_owned() }
}

#[tokio::test]
async fn everything_goes_with_its_uid_and_dead_nodes_pods_at_once() {
    let api = lived_in();
    let remains = remove(&api.client(), &session()).await;
    assert!(remains.left.is_empty());
    assert_eq!(remains.unconfirmed, ["gone", "n2"]);
    let calls = api.calls();
    let deleted: BTreeMap<&str, (&Value, &Value)> = calls
        .iter()
        .filter(|call| call.verb() == "delete")
        .map(|call| {
            let name = call.path().trim_start_matches("/api/v1/");
            let name = name.trim_start_matches("/apis/rbac.authorization.k8s.io/v1/");
            (name, (&call.body["preconditions"]["uid"], &call.body["gracePeriodSeconds"]))
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

#[tokio::test]
async fn announced_is_the_namespace_alone_and_of_this_session_only() {
    let api = lived_in();
    announce(&api.client(), &session()).await;
    let calls = api.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!((calls[0].verb(), calls[0].path()), ("delete", "/api/v1/namespaces/kyanos-a"));
    assert_eq!(calls[0].body["preconditions"]["uid"], json!("n"));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_hangs_is_named_with_what_holds_it() {
    let api = lived_in().but(scenarios::namespace_hangs_for(Duration::MAX));
    let left = remove(&api.client(), &session()).await.left;
    assert_eq!(left, ["namespace `kyanos-a` (a finalizer remains)"]);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_was_away_is_asked_again() {
    let began = Instant::now();
    let api = lived_in()
        .but(scenarios::namespace_hangs_for(Duration::from_secs(8)))
        .but(scenarios::away_for(Duration::from_secs(4)));
    let remains = remove(&api.client(), &session()).await;
    assert!(remains.left.is_empty(), "{:?}", remains.left);
    assert!(began.elapsed() < STRIKE_OFF_AFTER, "{:?}", began.elapsed());
    // The node that lives had its time.
    let graces = graces(&api);
    assert!(!graces.is_empty() && !graces.contains(&json!(0)), "{graces:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ready_node_that_confirms_nothing_is_not_waited_for() {
    let api = lived_in().but(scenarios::namespace_hangs_for(STRIKE_OFF_AFTER + DELETE_PAUSE));
    let remains = remove(&api.client(), &session()).await;
    assert!(remains.left.is_empty(), "{:?}", remains.left);
    assert_eq!(remains.unconfirmed, ["gone", "n1", "n2"]);
    assert_eq!(graces(&api), [json!(1), json!(0)]);
}
