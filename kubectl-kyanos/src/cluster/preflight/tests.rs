//! Which nodes are chosen, which kernels count as old, and what API servers refuse before anything is made.

use k8s_openapi::api::core::v1::{NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::*;
use crate::cluster::fake_api::{Call, FakeApi, scenarios};

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

/// An API server of one node that is willing but for what a test adds.
fn one_node() -> FakeApi {
    FakeApi::willing().but(scenarios::holds("nodes", json!([node("a", "linux", "amd64", "6.1.0")])))
}

/// Runs the checks; also returns all requests that would have changed something.
async fn checked(request: Request, api: &FakeApi) -> (Result<Report, Failure>, Vec<Call>) {
    let report = check(&api.connection(), &request).await;
    (report, api.calls().into_iter().filter(Call::changes).collect())
}

fn request() -> Request {
    Request { name: "abcde".to_owned(), ..Request::default() }
}

#[tokio::test]
async fn a_willing_cluster_passes_and_nothing_is_changed() {
    let (report, changes) = checked(request(), &one_node()).await;
    assert_eq!(report.expect("passed").nodes.len(), 1);
    assert!(changes.is_empty(), "{changes:?}");
}

#[tokio::test]
async fn the_ports_of_the_api_server_are_read_and_not_guessed() {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "kubernetes", "namespace": "default" },
        "endpoints": [{ "addresses": ["10.1.0.1"] }], "ports": [{ "name": "https", "port": 16443 }],
    });
    let (report, _) =
        checked(request(), &one_node().but(scenarios::holds("endpointslices", json!([slice])))).await;
    assert_eq!(report.expect("passed").api_ports, [443, 16443]);
    let barred = one_node().but(scenarios::forbidden(&[("endpointslices", "list")]));
    let (report, _) = checked(request(), &barred).await;
    assert!(report.expect("passed").api_ports.is_empty());
}

#[tokio::test]
async fn all_forbidden_verbs_are_named_with_rules_though_lists_are_forbidden_too() {
    const FORBIDDEN: [(&str, &str); 3] =
        [("daemonsets", "create"), ("clusterrolebindings", "create"), ("nodes", "list")];
    let (report, changes) = checked(request(), &one_node().but(scenarios::forbidden(&FORBIDDEN))).await;
    let refused = report.expect_err("refused");
    for (resource, verb) in FORBIDDEN {
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
    for (code, reason, message, hint) in [
        (403, "Forbidden", "user is attempting to grant RBAC permissions not currently held", RIGHTS_HINT),
        (403, "Forbidden", "User \"jane\" cannot patch resource \"clusterroles\" in API group", RIGHTS_HINT),
        (400, "BadRequest", "admission webhook \"policy\" denied the request", "admission policy"),
        (422, "Invalid", "ValidatingAdmissionPolicy: attempting to grant what it cannot", "admission policy"),
    ] {
        let api = one_node().but(scenarios::writes_refused("clusterroles", code, reason, message));
        let (report, changes) = checked(request(), &api).await;
        let refused = report.expect_err("refused");
        assert!(refused.what.contains("ClusterRole") && refused.what.contains(message), "{}", refused.what);
        assert!(refused.hint.is_some_and(|said| said.contains(hint)), "{message}");
        assert!(changes.is_empty(), "{changes:?}");
    }
}

#[tokio::test]
async fn credentials_that_expired_and_old_clusters_are_told() {
    let (report, changes) = checked(request(), &one_node().but(scenarios::expired_credentials())).await;
    let refused = report.expect_err("refused");
    assert!(refused.what.contains("expired") && refused.hint.is_some(), "{}", refused.what);
    assert!(changes.is_empty());
    let (report, _) = checked(request(), &one_node().but(scenarios::old_cluster("29+"))).await;
    assert!(report.expect_err("old").what.contains("Kubernetes 1.29+"));
}

#[tokio::test]
async fn a_wrong_node_selector_is_refused_before_anything_is_asked() {
    let wrong = Request { node_selector: Some("a b".to_owned()), ..request() };
    let api = one_node();
    let (report, _) = checked(wrong, &api).await;
    assert_eq!(report.expect_err("wrong").exit, crate::failure::USAGE);
    assert!(api.calls().is_empty(), "{:?}", api.calls());
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
    assert!(none.what.contains("no node") && none.what.contains('b'), "{}", none.what);
    assert_eq!((none.exit, none.hint.as_deref()), (crate::failure::USAGE, Some("there are a")));
    let selected = chosen(Vec::new(), &[]).expect_err("no label fits");
    assert_eq!(selected.exit, crate::failure::USAGE);
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
