//! What streams, what is stored, and how soon.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use xtask::process::wait_until;

use crate::{PATIENCE, START, Stage, TEARDOWN};

/// Enough to have seen every kind of exchange from every node.
const MANY: usize = 300;

#[test]
fn exchanges_of_pods_stream_with_their_identity_from_every_node() {
    let Some(stage) = Stage::open() else { return };
    let nodes: BTreeSet<String> = stage.cluster.kubectl().ready_nodes().unwrap().into_iter().collect();
    let (name, session) = stage.watch(&[], MANY);
    let seen = || session.exchanges().iter().map(|one| one.text("node").to_owned()).collect::<BTreeSet<_>>();
    let waited = wait_until("every node", PATIENCE, || seen() == nodes);
    assert!(waited.is_ok(), "{:?} of {nodes:?}", seen());
    let report = stage.end(&name, session);
    let namespace = stage.shop.namespace();
    crate::all(&report.exchanges, "the namespace is that of the local pod", |one| {
        one.text("namespace") == namespace
    });
    let apps = [
        ("web", "Deployment/web"),
        ("cache", "Deployment/cache"),
        ("db", "Deployment/db"),
        ("loader", "DaemonSet/loader"),
    ];
    for (app, workload) in apps {
        let pods = stage.shop.pods(app).unwrap();
        let of_app: Vec<_> =
            report.exchanges.iter().filter(|one| one.text("workload") == workload).cloned().collect();
        crate::all(&of_app, workload, |one| pods.iter().any(|pod| pod == one.text("pod")));
    }
    for (protocol, service) in [("http", "web"), ("redis", "cache"), ("mysql", "db")] {
        let service = format!("{namespace}/{service}");
        let found = report.exchanges.iter().any(|one| {
            let client = one.text("side") == "client" && one.text("workload") == "DaemonSet/loader";
            client && one.text("protocol") == protocol && one.text("remote_service") == service
        });
        assert!(found, "no {protocol} exchange of a loader names {service}");
    }
    // Whoever asks is a pod or a node, whatever Service is in front of it.
    let served: Vec<_> =
        report.exchanges.iter().filter(|one| one.text("side") == "server").cloned().collect();
    crate::all(&served, "what was served", |one| one.value["remote_service"].is_null());
}

#[test]
fn no_exchange_of_a_pod_appears_twice() {
    let Some(stage) = Stage::open() else { return };
    let (name, session) = stage.watch(&["--side", "client", "--method", "GET"], MANY);
    let report = stage.end(&name, session);
    let mut seen = BTreeSet::new();
    let items = report.exchanges.iter().filter(|one| one.text("operation").starts_with("GET /item/"));
    let mut count = 0;
    for one in items {
        // A loader asks for each item once.
        let key = (one.text("pod").to_owned(), one.text("operation").to_owned());
        assert!(seen.insert(key), "twice: {}", one.value);
        count += 1;
    }
    assert!(count > 0, "no item was asked for");
}

#[test]
fn it_starts_and_ends_in_the_promised_time() {
    let Some(stage) = Stage::open() else { return };
    let (name, session) = stage.watch(&[], 1);
    let start = session.started().elapsed();
    println!("start: {} ms from the command to the first exchange", start.as_millis());
    let from = Instant::now();
    let report = session.stop().unwrap();
    stage.cluster.wait_gone(&name, PATIENCE).unwrap();
    let teardown = from.elapsed();
    println!("teardown: {} ms from the signal until nothing was left", teardown.as_millis());
    assert!(start <= START, "{} ms; it said:\n{}", start.as_millis(), report.stderr);
    assert!(teardown <= TEARDOWN, "{} ms; it said:\n{}", teardown.as_millis(), report.stderr);
}

#[test]
fn what_is_saved_is_what_was_stored_and_shown() {
    let Some(stage) = Stage::open() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.sqlite");
    let path = file.to_str().unwrap();
    let (name, session) = stage.watch(&["--save", path], MANY);
    // The store takes what streamed before it was ready, too.
    let live = || {
        let counted = stage.cluster.run(&[
            "query",
            "--session",
            &name,
            "-o",
            "json",
            "SELECT COUNT(*) AS n FROM exchanges",
        ]);
        counted.ok().and_then(|report| report.exchanges.first()?.number("n"))
    };
    let filled = wait_until("the store", PATIENCE, || live().is_some_and(|count| count > 0));
    assert!(filled.is_ok(), "nothing was stored; it said:\n{}", session.stderr());
    let report = stage.end(&name, session);
    let store = format!("sqlite:{path}");
    let sql = "SELECT id FROM exchanges";
    let saved = stage.cluster.run(&["query", "--store", &store, "-o", "json", sql]).unwrap();
    let ids = |exchanges: &[xtask::kyanos::Exchange]| {
        let id = |one: &xtask::kyanos::Exchange| {
            one.value["id"].as_str().map_or_else(|| one.value["id"].to_string(), str::to_owned)
        };
        exchanges.iter().map(id).collect::<BTreeSet<_>>()
    };
    let (shown, kept) = (ids(&report.exchanges), ids(&saved.exchanges));
    assert_eq!(saved.exchanges.len(), kept.len(), "a row is there twice");
    let lost: u64 =
        report.lost().unwrap().iter().filter(|((unit, _), _)| unit == "exchanges").map(|(_, n)| n).sum();
    let differ = shown.symmetric_difference(&kept).count();
    println!("shown {}, saved {}, lost {lost}, differing {differ}", shown.len(), kept.len());
    assert!(u64::try_from(differ).unwrap() <= lost, "rows and lines differ:\n{}", report.stderr);
}

#[test]
fn stat_sums_up_a_workload() {
    let Some(stage) = Stage::open() else { return };
    let arguments = ["http", "-n", stage.shop.namespace(), "--time", "5", "--group-by", "workload"];
    let (name, session) = stage.cluster.session("stat", &arguments).unwrap();
    let report = session.finish(PATIENCE).unwrap();
    assert_eq!(report.code(), 0, "{}", report.stderr);
    // The whole result is one line.
    let text = report.noise.join("\n");
    assert!(text.contains("Deployment/web") && text.contains("DaemonSet/loader"), "{text}");
    let gone = stage.cluster.wait_gone(&name, Duration::from_secs(1));
    assert!(gone.is_ok(), "{gone:?}");
}
