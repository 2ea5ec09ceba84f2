//! What is named and not there is refused before anything is made; what may not be looked at is not.

use serde_json::{Value, json};

use super::*;
use crate::cluster::fake_api::{Answer, Call, FakeApi, scenarios};
use crate::failure::USAGE;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn names(kind: &str, namespace: &str, names: &str) -> Vec<Value> {
    let one = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": kind,
            "metadata": { "name": name, "namespace": namespace, "uid": format!("{namespace}-{name}") },
        })
    };
    names.split_whitespace().map(one).collect()
}

/// An object of the shop that another one controls: that one's version, kind and name.
fn made(kind: &str, name: &str, (version, maker, of): (&str, &str, &str)) -> Value {
    let mut object = names(kind, "shop", name).remove(0);
    object["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": version, "kind": maker, "name": of, "uid": "u", "controller": true }]);
    object
}

fn pod(name: &str, owner: (&str, &str), containers: &[&str]) -> Value {
    let containers: Vec<Value> = containers.iter().map(|name| json!({ "name": name })).collect();
    let version = if owner.0 == "Job" { "batch/v1" } else { "apps/v1" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "shop", "ownerReferences": [
            { "apiVersion": version, "kind": owner.0, "name": owner.1, "uid": "u", "controller": true },
        ] },
        "spec": { "containers": containers },
    })
}

/// A cluster with a shop: two Deployments, a StatefulSet and their pods, and a Deployment in another namespace.
fn shop() -> FakeApi {
    let namespaces = json!([
        { "metadata": { "name": "shop" } }, { "metadata": { "name": "billing" } }, { "metadata": { "name": "mine" } },
    ]);
    let mut deployments = names("Deployment", "shop", "web cache");
    deployments.extend(names("Deployment", "billing", "invoices"));
    let pods = json!([
        pod("web-7d4-x2k9p", ("ReplicaSet", "web-7d4"), &["nginx", "log"]),
        pod("cache-5f-abcde", ("ReplicaSet", "cache-5f"), &["redis"]),
        pod("db-0", ("StatefulSet", "db"), &["mariadb"]),
    ]);
    let services = json!([{
        "metadata": { "name": "front", "namespace": "shop" }, "spec": { "selector": { "app": "web", "tier": "f" } },
    }]);
    FakeApi::willing()
        .but(scenarios::holds("namespaces", namespaces))
        .but(scenarios::holds("deployments", json!(deployments)))
        .but(scenarios::holds(
            "replicasets",
            json!([
                made("ReplicaSet", "web-7d4", ("apps/v1", "Deployment", "web")),
                made("ReplicaSet", "cache-5f", ("apps/v1", "Deployment", "cache")),
            ]),
        ))
        .but(scenarios::holds("statefulsets", json!(names("StatefulSet", "shop", "db"))))
        .but(scenarios::holds("services", services))
        .but(scenarios::holds("pods", pods))
}

fn filter(namespaces: &str, pods: &str, workloads: &str, containers: &str) -> v1::Filter {
    v1::Filter {
        namespaces: words(namespaces),
        pods: words(pods),
        workloads: words(workloads),
        containers: words(containers),
        ..v1::Filter::default()
    }
}

async fn checked(api: &FakeApi, mut wanted: v1::Filter) -> Result<(v1::Filter, Vec<String>), Failure> {
    let notes = check(&api.connection(), &mut wanted, true).await;
    assert!(!api.calls().iter().any(Call::changes), "nothing is made");
    notes.map(|notes| (wanted, notes))
}

async fn refused(wanted: v1::Filter) -> (String, String) {
    let failure = checked(&shop(), wanted).await.expect_err("refused");
    assert_eq!(failure.exit, USAGE, "{}", failure.what);
    (failure.what, failure.hint.expect("a hint"))
}

#[tokio::test]
async fn every_form_of_a_workload_is_found_and_written_as_the_hub_knows_it() {
    for (workload, known) in [
        ("deploy/web", "Deployment/web"),
        ("deployment/web", "Deployment/web"),
        ("deployments.apps/web", "Deployment/web"),
        ("Deployment/web", "Deployment/web"),
        ("rs/web-7d4", "ReplicaSet/web-7d4"),
        ("sts/db", "StatefulSet/db"),
        ("po/db-0", "Pod/db-0"),
        ("pods/web-7d4-x2k9p", "Pod/web-7d4-x2k9p"),
    ] {
        let (wanted, notes) = checked(&shop(), filter("shop", "", workload, "")).await.expect(workload);
        assert_eq!(wanted.workloads, [known]);
        assert_eq!(notes, Vec::<String>::new(), "{workload}");
    }
    // One of the namespaces is enough.
    assert!(checked(&shop(), filter("billing shop", "", "deploy/web", "")).await.is_ok());
    assert!(checked(&shop(), filter("", "", "deploy/web", "")).await.is_ok());
}

#[tokio::test]
async fn what_is_absent_is_refused_with_what_there_is() {
    for (wanted, what, hint) in [
        (filter("shpo", "", "", ""), "no namespace `shpo`", "did you mean `shop`?"),
        (filter("shop other", "", "", ""), "no namespace `other`", "there are shop, billing, mine"),
        (
            filter("shop", "", "deploy/wbe", ""),
            "no Deployment `wbe` in namespace shop",
            "did you mean `deploy/web`?",
        ),
        (filter("shop", "", "deploy/orders", ""), "no Deployment `orders`", "there are cache, web"),
        (filter("shop", "", "deploy/invoices", ""), "`invoices` in namespace shop", "`-n billing`"),
        (
            filter("shop", "", "deploy/db", ""),
            "no Deployment `db`",
            "there is a StatefulSet of that name: `sts/db`",
        ),
        (filter("", "", "ds/agent", ""), "no DaemonSet `agent`", "kubectl get daemonsets -A"),
        (filter("shop", "", "job/night", ""), "no Job `night`", "kubectl get jobs -n shop"),
        (filter("shop", "web", "", ""), "no Pod `web`", "there is a Deployment of that name: `deploy/web`"),
        (filter("shop", "web-7d4", "", ""), "no Pod `web-7d4`", "rs/web-7d4"),
        (filter("shop", "", "po/cache-5f-abcdf", ""), "no Pod", "did you mean `po/cache-5f-abcde`?"),
        (filter("", "shpo/db-0", "", ""), "no namespace `shpo`", "did you mean `shop`?"),
        (filter("", "shop/mail", "", ""), "no Pod `mail` in namespace shop", "there are "),
        (filter("mine", "shop/db-0", "", ""), "none of the namespaces", "leave `-n` out"),
        (filter("shop", "", "", "ngnix"), "no selected pod has a container `ngnix`", "did you mean `nginx`?"),
        (
            filter("shop", "", "sts/db", "nginx"),
            "no selected pod has a container `nginx`",
            "there are mariadb",
        ),
        (
            filter("", "", "", "postgres"),
            "no selected pod has a container `postgres`",
            "log, mariadb, nginx, redis",
        ),
        (filter("shop", "", "", "nginx sidecar"), "container `sidecar`", "there are "),
    ] {
        let text = format!("{wanted:?}");
        let (said, hinted) = refused(wanted).await;
        assert!(said.contains(what), "{said} is not {what}: {text}");
        assert!(hinted.contains(hint), "{hinted} is not {hint}: {text}");
    }
}

#[tokio::test]
async fn kinds_that_are_no_workloads_say_what_to_write() {
    for (workload, what, hint) in [
        ("svc/front", "a Service is no workload", "`-l app=web,tier=f`"),
        ("services/back", "a Service is no workload", "with `-l`"),
        ("node/n1", "a node is no workload", "`--node n1`"),
        ("ns/shop", "a namespace is no workload", "`-n shop`"),
        ("deplyo/web", "no kind of workload", "did you mean `deploy/web`?"),
        ("statefullset/db", "no kind of workload", "did you mean `statefulset/db`?"),
        ("widget/a", "no kind of workload", "one of deploy, sts, ds, rs, job, cj, rc, po"),
    ] {
        let (said, hinted) = refused(filter("shop", "", workload, "")).await;
        assert!(said.contains(what), "{workload}: {said}");
        assert!(hinted.contains(hint), "{workload}: {hinted}");
    }
}

#[tokio::test]
async fn kinds_of_custom_controllers_are_found_by_every_name_that_they_have() {
    let resources = json!([
        { "name": "rollouts", "singularName": "rollout", "kind": "Rollout", "namespaced": true, "verbs": [], "shortNames": ["ro"] },
        { "name": "rollouts/status", "singularName": "", "kind": "Rollout", "namespaced": true, "verbs": [] },
    ]);
    let there = json!(names("Rollout", "shop", "web"));
    let api = || {
        shop()
            .but(scenarios::serves(vec![("example.com", "v1alpha1", resources.clone())]))
            .but(scenarios::holds("rollouts", there.clone()))
    };
    for workload in ["ro/web", "rollout/web", "rollouts.example.com/web", "rollouts.v1alpha1.example.com/web"]
    {
        let (wanted, _) = checked(&api(), filter("shop", "", workload, "")).await.expect(workload);
        assert_eq!(wanted.workloads, ["Rollout/web"], "{workload}");
    }
    let absent = checked(&api(), filter("shop", "", "ro/wbe", "")).await.expect_err("absent");
    assert!(absent.what.contains("no Rollout `wbe`"), "{}", absent.what);
    // Who cannot see all that the API has refuses nothing.
    let broken = shop().but(|call: &Call| {
        (call.path() == "/apis").then(|| Answer::refusal(503, "ServiceUnavailable", "no discovery"))
    });
    let (wanted, notes) = checked(&broken, filter("shop", "", "Rollout/web", "")).await.expect("goes on");
    assert_eq!(wanted.workloads, ["Rollout/web"]);
    assert!(
        notes.iter().any(|note| note.contains("`Rollout/web`") && note.contains("not checked")),
        "{notes:?}"
    );
}

/// What discovery says of one kind.
fn resource(plural: &str, kind: &str) -> Value {
    json!([{ "name": plural, "singularName": kind.to_lowercase(), "kind": kind, "namespaced": true, "verbs": [] }])
}

#[tokio::test]
async fn a_kind_of_several_groups_is_asked_for_by_its_group() {
    let groups = vec![
        ("example.com", "v1", resource("rollouts", "Rollout")),
        ("argoproj.io", "v1alpha1", resource("rollouts", "Rollout")),
        ("batch.volcano.sh", "v1alpha1", resource("jobs", "Job")),
    ];
    let api = || {
        shop()
            .but(scenarios::serves(groups.clone()))
            .but(scenarios::holds("rollouts", json!(names("Rollout", "shop", "web"))))
            .but(scenarios::holds("jobs", json!(names("Job", "shop", "train"))))
            // Of the first group there is none.
            .but(|call: &Call| {
                let first = call.path().starts_with("/apis/example.com/v1/namespaces/");
                first.then(|| Answer::list(&json!([])))
            })
    };
    let unclear = checked(&api(), filter("shop", "", "rollout/web", "")).await.expect_err("which one");
    assert_eq!((unclear.exit, unclear.what.as_str()), (USAGE, "`rollout` is a kind of 2 API groups"));
    let hint = unclear.hint.expect("a hint");
    assert_eq!(hint, "name the group: `rollouts.example.com/web` or `rollouts.argoproj.io/web`");
    for workload in
        ["rollouts.argoproj.io/web", "Rollout.argoproj.io/web", "rollout.v1alpha1.argoproj.io/web"]
    {
        let (wanted, _) = checked(&api(), filter("shop", "", workload, "")).await.expect(workload);
        assert_eq!(wanted.workloads, ["Rollout/web"], "{workload}");
    }
    let absent = checked(&api(), filter("shop", "", "rollouts.example.com/web", "")).await.expect_err("none");
    assert!(absent.what.contains("no Rollout `web`"), "{}", absent.what);
    // One that is called as a kind of Kubernetes' own needs its group, and is then no other's.
    let (wanted, _) =
        checked(&api(), filter("shop", "", "jobs.batch.volcano.sh/train", "")).await.expect("one");
    assert_eq!(wanted.workloads, ["Job/train"]);
}

#[tokio::test]
async fn pods_of_custom_controllers_are_found_or_it_is_said_what_has_them() {
    let groups = vec![
        ("argoproj.io", "v1alpha1", resource("rollouts", "Rollout")),
        ("argoproj.example", "v1", resource("workflows", "Workflow")),
        ("pg.example", "v1", resource("clusters", "Cluster")),
        ("apps.example", "v1", resource("stacks", "Stack")),
    ];
    let api = || {
        let deployments = [
            made("Deployment", "web", ("apps.example/v1", "Stack", "front")),
            made("Deployment", "cache", ("apps.example/v1", "Stack", "both")),
            // Another group's of that kind and name.
            made("Deployment", "odd", ("other.example/v1", "Cluster", "pg")),
        ];
        let sets = [
            made("ReplicaSet", "web-7d4", ("apps/v1", "Deployment", "web")),
            made("ReplicaSet", "roll-5f", ("argoproj.io/v1alpha1", "Rollout", "roll")),
        ];
        let pods = [
            pod("web-7d4-x2k9p", ("ReplicaSet", "web-7d4"), &["nginx"]),
            pod("roll-5f-abcde", ("ReplicaSet", "roll-5f"), &["nginx"]),
            pod("flow-1-abcde", ("Job", "flow-1"), &["step"]),
            pod("pg-1", ("Cluster", "pg"), &["postgres"]),
            pod("both-0", ("Stack", "both"), &["app"]),
        ];
        let jobs = [made("Job", "flow-1", ("argoproj.example/v1", "Workflow", "flow"))];
        shop()
            .but(scenarios::serves(groups.clone()))
            .but(scenarios::holds("rollouts", json!(names("Rollout", "shop", "roll"))))
            .but(scenarios::holds("workflows", json!(names("Workflow", "shop", "flow"))))
            .but(scenarios::holds("clusters", json!(names("Cluster", "shop", "pg"))))
            .but(scenarios::holds("stacks", json!(names("Stack", "shop", "front both"))))
            .but(scenarios::holds("deployments", json!(deployments)))
            .but(scenarios::holds("replicasets", json!(sets)))
            .but(scenarios::holds("jobs", json!(jobs)))
            .but(scenarios::holds("pods", json!(pods)))
    };
    for (workload, known) in
        [("rollout/roll", "Rollout/roll"), ("workflow/flow", "Workflow/flow"), ("cluster/pg", "Cluster/pg")]
    {
        let (wanted, notes) = checked(&api(), filter("shop", "", workload, "")).await.expect(workload);
        assert_eq!((wanted.workloads, notes), (vec![known.to_owned()], vec![]), "{workload}");
    }
    // Its pods are known by the Deployment that it made.
    let refused = checked(&api(), filter("shop", "", "stack/front", "")).await.expect_err("not followed");
    assert_eq!(refused.exit, USAGE);
    assert_eq!(refused.what, "pods of Deployment `web`, which `Stack/front` made, are known by that alone");
    assert_eq!(refused.hint.as_deref(), Some("choose `deploy/web`"));
    // Some of its pods are its own.
    let (_, notes) = checked(&api(), filter("shop", "", "stack/both", "")).await.expect("goes on");
    assert_eq!(
        notes,
        [
            "pods of Deployment `cache`, which `Stack/both` made, are known by that alone: `deploy/cache` selects them"
        ]
    );
    // A Rollout's ReplicaSet is no Deployment's, however it is called.
    let (_, notes) = checked(&api(), filter("shop", "", "rs/roll-5f", "")).await.expect("one");
    assert_eq!(notes, Vec::<String>::new());
}

#[tokio::test]
async fn what_may_not_be_read_is_told_and_not_refused() {
    let barred = |rights| shop().but(scenarios::forbidden(rights));
    let (_, notes) = checked(&barred(&[("statefulsets", "list")]), filter("shop", "", "sts/mail", ""))
        .await
        .expect("goes on");
    assert!(notes[0].contains("`jane` may not list statefulsets in namespace shop"), "{notes:?}");
    assert!(notes[0].contains("`sts/mail`") && notes[0].contains("not checked"), "{notes:?}");
    let (_, notes) =
        checked(&barred(&[("namespaces", "get")]), filter("other", "", "", "")).await.expect("on");
    assert!(notes[0].contains("may not read namespaces") && notes[0].contains("`other`"), "{notes:?}");
    let pods = barred(&[("pods", "list")]);
    let (_, notes) = checked(&pods, filter("shop", "db-7", "", "app")).await.expect("goes on");
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[1].contains("may not list the pods") && notes[1].contains("app"), "{notes:?}");
    // The context's namespace nobody named.
    let mut unnamed = filter("mine", "", "", "");
    let api = barred(&[("namespaces", "get")]);
    let notes = check(&api.connection(), &mut unnamed, false).await.expect("goes on");
    assert!(!notes.iter().any(|note| note.contains("namespaces:")), "{notes:?}");
    // A name that may be in the one namespace that cannot be read is not refused either.
    let api = shop().but(|call: &Call| {
        let there = call.namespace() == Some("billing") && call.target().kind == "deployments";
        there.then(|| Answer::refusal(403, "Forbidden", "no"))
    });
    assert!(checked(&api, filter("shop billing", "", "deploy/other", "")).await.is_ok());
    // Other errors are no answer at all.
    let api = shop().but(scenarios::expired_credentials());
    let failure = checked(&api, filter("shop", "", "", "")).await.expect_err("no answer");
    assert!(failure.what.contains("expired"), "{}", failure.what);
}

#[tokio::test]
async fn what_can_still_come_is_waited_for() {
    // The StatefulSet is there and may be made larger.
    let (_, notes) = checked(&shop(), filter("shop", "db-5", "", "")).await.expect("waits");
    assert!(notes.iter().any(|note| note.contains("the session waits")), "{notes:?}");
    let (_, notes) = checked(&shop(), filter("mine", "", "", "")).await.expect("waits");
    assert!(notes[0].contains("0 pods in namespace mine yet"), "{notes:?}");
    // A Deployment without pods.
    let (_, notes) = checked(&shop(), filter("billing", "", "deploy/invoices", "app")).await.expect("waits");
    assert!(notes[0].contains("no pod in namespace billing is of workload Deployment/invoices"), "{notes:?}");
}

#[tokio::test]
async fn more_pods_than_are_looked_at_refuse_no_container() {
    let page = Answer::Object(
        200,
        json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": { "resourceVersion": "1", "continue": "more" },
            "items": vec![pod("web-7d4-x2k9p", ("ReplicaSet", "web-7d4"), &["nginx"]); 500],
        }),
    );
    let endless = move |call: &Call| {
        let (kind, verb) = (call.target().kind, call.verb());
        ((kind, verb) == ("pods", "list")).then(|| page.clone())
    };
    let api = shop().but(endless);
    let (_, notes) = checked(&api, filter("shop", "", "", "sidecar")).await.expect("goes on");
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(api.calls_about("pods").len(), 4_000 / 500);
}

fn namespaces_of(pods: &PodArgs, names: &str, everywhere: bool) -> Vec<String> {
    let names = FilterArgs { pod_name: words(names), ..FilterArgs::default() };
    let asked = Asked { pods, names: &names, nodes: &[], everywhere };
    select(asked, "mine", &words("shop"), v1::Filter::default()).expect("a filter").namespaces
}

#[test]
fn the_context_says_the_namespace_where_no_flag_does() {
    let none = PodArgs::default();
    let all = PodArgs { all_namespaces: true, ..PodArgs::default() };
    let two = PodArgs { namespace: words("a b"), ..PodArgs::default() };
    assert_eq!(namespaces_of(&none, "", false), ["mine"]);
    assert_eq!(namespaces_of(&none, "", true), words(""));
    assert_eq!(namespaces_of(&all, "", false), words(""));
    assert_eq!(namespaces_of(&two, "", true), ["a", "b"]);
    assert_eq!(namespaces_of(&none, "web", false), ["mine"]);
    assert_eq!(namespaces_of(&none, "shop/web db.shop", false), words(""));
    assert_eq!(namespaces_of(&none, "shop/web db.other", false), ["mine"]);
}

#[test]
fn a_dot_splits_only_before_a_namespace_that_exists() {
    let exists = words("shop");
    assert_eq!(qualified("web.shop", &exists), "shop/web");
    assert_eq!(qualified("web.v2", &exists), "web.v2");
    assert_eq!(qualified("a/web.shop", &exists), "a/web.shop");
    assert_eq!(dotted(&words("a/web.shop db.shop web")), ["shop"]);
}

#[test]
fn what_cannot_be_read_is_refused() {
    let refused = |pods: &PodArgs| {
        let names = FilterArgs::default();
        let asked = Asked { pods, names: &names, nodes: &[], everywhere: false };
        select(asked, "mine", &[], v1::Filter::default()).expect_err("refused")
    };
    for workload in ["orders", "deploy/", "deploy/a/b", "deploy/Orders"] {
        let failure = refused(&PodArgs { workload: words(workload), ..PodArgs::default() });
        assert_eq!(failure.exit, crate::failure::USAGE, "{workload}");
    }
    for selector in ["a=b=c", "app in (a", "=x", "app=-x"] {
        let selector = PodArgs { selector: Some(selector.to_owned()), ..PodArgs::default() };
        let failure = refused(&selector);
        assert_eq!(failure.exit, crate::failure::USAGE, "{}", failure.what);
        assert!(failure.what.contains("label selector") && failure.hint.is_some(), "{}", failure.what);
    }
}
