//! Which nodes are chosen, which kernels count as old, and what API servers refuse before anything is made.

use std::sync::{Arc, Mutex};

use http::{Method, Response};
use k8s_openapi::api::core::v1::{NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use kube::client::Body;
use serde_json::{Value, json};

use super::*;

fn node(name: &str, system: &str, architecture: &str, kernel: &str) -> ClusterNode {
    let info = NodeSystemInfo {
        operating_system: system.to_owned(),
        architecture: architecture.to_owned(),
        kernel_version: kernel.to_owned(),
        ..NodeSystemInfo::default()
    };
    let ready = NodeCondition {
        type_: "Ready".to_owned(),
        status: if name == "away" { "Unknown" } else { "True" }.to_owned(),
        ..NodeCondition::default()
    };
    ClusterNode {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        status: Some(NodeStatus {
            node_info: Some(info),
            conditions: Some(vec![ready]),
            ..NodeStatus::default()
        }),
        ..ClusterNode::default()
    }
}

fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": message, "code": code,
    });
    (code, status)
}

/// What is asked of a fake API server, and its answer where that differs from a willing one's.
type Differs = dyn Fn(&Method, &str, &Value) -> Option<(u16, Value)> + Send;

/// Runs the checks against an API server that is willing but for what `differs` answers; also returns all paths of
/// requests that would have changed something.
async fn checked(request: Request, differs: Box<Differs>) -> (Result<Report, Failure>, Vec<String>) {
    let (service, mut handle) = tower_test::mock::pair::<http::Request<Body>, Response<Body>>();
    let changes: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&changes);
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let body = request.into_body().collect_bytes().await.expect("a body");
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            if method != Method::GET
                && !uri.path().ends_with("reviews")
                && !uri.query().is_some_and(|query| query.contains("dryRun=All"))
            {
                seen.lock().expect("unpoisoned").push(uri.to_string());
            }
            let (code, answer) =
                differs(&method, uri.path(), &body).unwrap_or_else(|| willing(uri.path(), body));
            let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
            send.send_response(answer.expect("a response"));
        }
    });
    let connection = Connection {
        client: Client::new(service, "default"),
        namespace: "default".to_owned(),
        server: "https://x".to_owned(),
        owner: "jane".to_owned(),
    };
    let report = check(&connection, &request).await;
    let changes = changes.lock().expect("unpoisoned").clone();
    (report, changes)
}

fn willing(path: &str, body: Value) -> (u16, Value) {
    let answer = match path {
        "/version" => json!({
            "major": "1", "minor": "30", "gitVersion": "v1.30.0", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
        }),
        "/apis" => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
        "/api/v1/nodes" => json!({
            "kind": "NodeList", "apiVersion": "v1", "metadata": {},
            "items": [node("a", "linux", "amd64", "6.1.0")],
        }),
        path if path.ends_with("selfsubjectaccessreviews") => {
            let mut review = body;
            review["status"] = json!({ "allowed": true });
            review
        }
        _ if body.is_null() => json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": [] }),
        // A dry run answers with what it would make.
        _ => body,
    };
    (200, answer)
}

fn request() -> Request {
    Request { name: "abcde".to_owned(), ..Request::default() }
}

#[tokio::test]
async fn a_willing_cluster_passes_and_nothing_is_changed() {
    let (report, changes) = checked(request(), Box::new(|_, _, _| None)).await;
    assert_eq!(report.expect("passed").nodes.len(), 1);
    assert!(changes.is_empty(), "{changes:?}");
}

#[tokio::test]
async fn all_forbidden_verbs_are_named_with_rules_though_lists_are_forbidden_too() {
    let forbidden = [("daemonsets", "create"), ("clusterrolebindings", "create"), ("nodes", "list")];
    let (report, changes) = checked(
        request(),
        Box::new(move |_, path, body| {
            if path.ends_with("selfsubjectaccessreviews") {
                let asked = &body["spec"]["resourceAttributes"];
                let (resource, verb) = (asked["resource"].as_str()?, asked["verb"].as_str()?);
                let mut review = body.clone();
                review["status"] = json!({ "allowed": !forbidden.contains(&(resource, verb)) });
                return Some((201, review));
            }
            (path == "/api/v1/nodes").then(|| status(403, "Forbidden", "nodes is forbidden"))
        }),
    )
    .await;
    let refused = report.expect_err("refused");
    for (resource, verb) in forbidden {
        assert!(refused.what.contains(&format!("{verb} {resource}")), "{}", refused.what);
    }
    let hint = refused.hint.expect("a hint");
    assert!(
        hint.contains("deployer.yaml") && hint.contains("resources: [daemonsets], verbs: [create]"),
        "{hint}"
    );
    assert!(changes.is_empty(), "{changes:?}");
}

#[tokio::test]
async fn a_dry_run_shows_who_may_not_grant_and_what_admission_refuses() {
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/kyanos-abcde";
    for (message, hint) in [
        ("user is attempting to grant RBAC permissions not currently held", "nobody may grant"),
        ("User \"jane\" cannot patch resource \"clusterroles\" in API group", "deployer.yaml"),
        ("admission webhook \"policy\" denied the request", "admission policy"),
    ] {
        let (report, changes) = checked(
            request(),
            Box::new(move |_, path, _| (path == role).then(|| status(403, "Forbidden", message))),
        )
        .await;
        let refused = report.expect_err("refused");
        assert!(refused.what.contains("ClusterRole") && refused.what.contains(message), "{}", refused.what);
        assert!(refused.hint.is_some_and(|said| said.contains(hint)), "{message}");
        assert!(changes.is_empty(), "{changes:?}");
    }
}

#[tokio::test]
async fn credentials_that_expired_and_old_clusters_are_told() {
    let (report, changes) =
        checked(request(), Box::new(|_, _, _| Some(status(401, "Unauthorized", "Unauthorized")))).await;
    let refused = report.expect_err("refused");
    assert!(refused.what.contains("expired") && refused.hint.is_some(), "{}", refused.what);
    assert!(changes.is_empty());
    let (report, _) = checked(
        request(),
        Box::new(|_, path, _| {
            let mut version = willing("/version", Value::Null).1;
            version["minor"] = json!("29+");
            (path == "/version").then_some((200, version))
        }),
    )
    .await;
    assert!(report.expect_err("old").what.contains("Kubernetes 1.29+"));
}

#[tokio::test]
async fn a_wrong_node_selector_is_refused_before_anything_is_asked() {
    let wrong = Request { node_selector: Some("a b".to_owned()), ..request() };
    let (report, _) = checked(wrong, Box::new(|_, path, _| panic!("{path} was asked"))).await;
    assert_eq!(report.expect_err("wrong").exit, crate::failure::USAGE);
}

fn chosen(nodes: Vec<ClusterNode>, names: &[&str]) -> Result<Report, Failure> {
    let nodes_asked = names.iter().map(|name| (*name).to_owned()).collect();
    let request = Request { nodes: nodes_asked, ..Request::default() };
    let mut report = Report::default();
    choose(nodes, &request, &mut report).map(|()| report)
}

#[test]
fn unfit_nodes_are_told_and_the_rest_goes_on() {
    let nodes = vec![
        node("good", "linux", "amd64", "6.1.0-18-cloud-amd64"),
        node("away", "linux", "arm64", "5.10.0"),
        node("old", "linux", "amd64", "5.9.16"),
        node("win", "windows", "amd64", "10.0.20348"),
        node("mini", "linux", "riscv64", "6.12.0"),
    ];
    let report = chosen(nodes, &[]).expect("two nodes");
    let names: Vec<_> = report.nodes.iter().map(|node| (node.name.as_str(), node.ready)).collect();
    assert_eq!(names, [("good", true), ("away", false)]);
    assert_eq!(report.notes[0], "node away is not ready");
    let refused = &report.notes[1];
    for part in ["old (kernel 5.9.16)", "win (operating system windows)", "mini (architecture riscv64)"] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn no_node_is_an_error_before_anything_is_made() {
    let none = chosen(vec![node("a", "linux", "amd64", "6.1.0")], &["b"]).expect_err("no node");
    assert!(none.what.contains("no node") && none.hint.is_some());
    let one = || vec![node("a", "linux", "amd64", "6.1.0")];
    let absent = chosen(one(), &["a", "typo"]).expect_err("one node is not there");
    assert!(absent.what.contains("typo") && !absent.what.contains("called a"), "{}", absent.what);
    let away = chosen(vec![node("away", "linux", "amd64", "6.1.0")], &[]).expect_err("none is ready");
    assert!(away.what.contains("no selected node is ready: away"), "{}", away.what);
    let unfit = chosen(vec![node("a", "linux", "amd64", "4.19.0")], &[]).expect_err("an old kernel");
    assert!(unfit.what.contains("kernel 4.19.0"), "{}", unfit.what);
}

#[test]
fn kernels_compare_as_numbers() {
    assert_eq!(kernel("5.10.0-28-amd64"), Some((5, 10)));
    assert!(kernel("5.8.1") < kernel("5.10.0"));
    assert_eq!(kernel("next"), None);
}
