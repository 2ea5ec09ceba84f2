//! Which nodes are chosen, and which kernels count as old.

use k8s_openapi::api::core::v1::{NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

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
    let unfit = chosen(vec![node("a", "linux", "amd64", "4.19.0")], &[]).expect_err("an old kernel");
    assert!(unfit.what.contains("kernel 4.19.0"), "{}", unfit.what);
}

#[test]
fn kernels_compare_as_numbers() {
    assert_eq!(kernel("5.10.0-28-amd64"), Some((5, 10)));
    assert!(kernel("5.8.1") < kernel("5.10.0"));
    assert_eq!(kernel("next"), None);
}
