//! Which traffic is shown.

use xtask::kyanos::unique_name;
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

#[test]
fn every_form_of_a_workload_selects_as_a_word_and_as_a_flag() {
    let Some(stage) = Stage::open() else { return };
    let pod = stage.shop.pods("web").unwrap().remove(0);
    let set = pod.rsplit_once('-').map(|(set, _)| format!("rs/{set}")).expect("a pod of a ReplicaSet");
    let one = format!("po/{pod}");
    for flags in [
        vec!["deploy/web"],
        vec!["http", "deployments.apps/web"],
        vec!["Deployment/web", "http"],
        vec!["--workload", set.as_str()],
        vec![one.as_str()],
    ] {
        let of_pod = flags[0] == one;
        let (name, session) = stage.watch(&flags, SOME);
        let report = stage.end(&name, session);
        crate::all(&report.exchanges, &format!("{flags:?}"), |exchange| {
            exchange.text("workload") == "Deployment/web" && (!of_pod || exchange.text("pod") == pod)
        });
    }
}

#[test]
fn what_is_not_there_is_refused_before_anything_is_made() {
    let Some(stage) = Stage::open() else { return };
    let shop = stage.shop.namespace();
    let near = format!("{}x", &shop[..shop.len() - 1]);
    let known = format!("did you mean `{shop}`?");
    let cases: [(&[&str], &str, &str); 9] = [
        (&["deploy/wbe", "-n", shop], "no Deployment `wbe`", "did you mean `deploy/web`?"),
        (&["deploy/web", "-n", "kube-system"], "no Deployment `web`", "-n "),
        (&["sts/web", "-n", shop], "no StatefulSet `web`", "`deploy/web`"),
        (&["deplyo/web", "-n", shop], "no kind of workload", "did you mean `deploy/web`?"),
        (&["svc/web", "-n", shop], "a Service is no workload", "-l app=web"),
        (&["-n", &near], "there is no namespace", &known),
        (&["-n", shop, "--container", "ngnix"], "no selected pod has a container", "did you mean `nginx`?"),
        (&["-n", shop, "-l", "app=a=b"], "label selector", "-l app=web"),
        (&["-n", shop, "--node", "no-such-node"], "no node", "node"),
    ];
    for (flags, what, hint) in cases {
        let name = unique_name();
        let arguments = [&["watch", "--name", &name], flags].concat();
        let report = stage.cluster.run(&arguments).unwrap();
        assert_eq!(report.code(), 2, "{flags:?}:\n{}", report.stderr);
        assert!(
            report.stderr.contains(what) && report.stderr.contains(hint),
            "{flags:?}:\n{}",
            report.stderr
        );
        assert_eq!(stage.cluster.left(&name).unwrap(), Vec::<String>::new(), "{flags:?}");
    }
}
