//! Which traffic is shown.

use xtask::process::wait_until;

use crate::{PATIENCE, Stage};

/// Enough to show what a filter lets through.
const SOME: usize = 30;

#[test]
fn a_workload_a_label_a_pod_and_a_container_select() {
    let Some(stage) = Stage::open() else { return };
    let pod = stage.shop.pods("web").unwrap().remove(0);
    let choices: [(&str, &[&str]); 4] = [
        ("workload", &["--workload", "Deployment/web"]),
        ("selector", &["-l", "app=cache"]),
        ("pod", &["--pod-name", &pod]),
        ("container", &["--container", "mariadb"]),
    ];
    for (what, flags) in choices {
        let (name, session) = stage.watch(flags, SOME);
        let report = stage.end(&name, session);
        crate::all(&report.exchanges, what, |one| match what {
            "workload" => one.text("workload") == "Deployment/web",
            "selector" => one.text("workload") == "Deployment/cache",
            "pod" => one.text("pod") == pod,
            _ => one.text("container") == "mariadb",
        });
    }
}

#[test]
fn one_node_can_be_chosen() {
    let Some(stage) = Stage::open() else { return };
    let node = stage.cluster.kubectl().ready_nodes().unwrap().pop().expect("a node");
    let (name, session) = stage.watch(&["--node", &node], SOME);
    let capturers = stage.capturers(&name);
    assert_eq!(capturers.len(), 1, "{capturers:?}");
    let report = stage.end(&name, session);
    crate::all(&report.exchanges, "the node", |one| one.text("node") == node);
}

#[test]
fn pods_that_come_during_the_session_are_followed() {
    let Some(stage) = Stage::open() else { return };
    let (name, session) = stage.watch(&["--workload", "Deployment/web"], SOME);
    let before = stage.shop.pods("web").unwrap();
    stage.shop.scale("web", before.len() + 1).unwrap();
    let pods = stage.shop.pods("web").unwrap();
    let new = pods.into_iter().find(|pod| !before.contains(pod)).expect("a new pod");
    let followed = wait_until("the new pod", PATIENCE, || session.count(|one| one.text("pod") == new) > 0);
    stage.shop.scale("web", before.len()).unwrap();
    stage.end(&name, session);
    assert!(followed.is_ok(), "no exchange of `{new}`");
}
