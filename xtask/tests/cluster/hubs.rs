//! Several hubs on one store: what every node sees is shown and stored, whoever of them dies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use xtask::process::wait_until;

use crate::{PATIENCE, Stage};

/// Hubs of a session.
const HUBS: &str = "3";

/// Enough to have seen traffic of every node.
const MANY: usize = 300;

/// How soon a session goes on when a hub is gone.
const GOES_ON: Duration = Duration::from_secs(20);

/// Kinds that hubs watch in the whole cluster.
const KINDS: [&str; 6] = ["pods", "services", "endpointslices", "nodes", "replicasets", "jobs"];

impl Stage {
    /// Address of the shop's database, where the shop's user may make tables.
    fn store(&self) -> String {
        let service =
            self.cluster.kubectl().json(&["get", "service", "db", "-n", self.shop.namespace()]).unwrap();
        let ip = service["spec"]["clusterIP"].as_str().expect("an address").to_owned();
        format!("mysql://shop:shop@{ip}:3306/shop")
    }

    /// Asks the shop's database.
    fn asked(&self, sql: &str) -> String {
        let pod = self.shop.pods("db").unwrap().remove(0);
        let mut arguments = vec!["exec", "-n", self.shop.namespace(), &pod, "--"];
        arguments.extend(["mariadb", "-ushop", "-pshop", "shop", "-Ne", sql]);
        self.cluster.kubectl().run(&arguments).unwrap().trim().to_owned()
    }

    /// The pod of the hub that leads.
    fn leader(&self, session: &str) -> String {
        let namespace = format!("kyanos-{session}");
        let lease = self.cluster.kubectl().json(&["get", "lease", "session", "-n", &namespace]).unwrap();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// Pods of the session's hubs.
    fn hubs(&self, session: &str) -> BTreeSet<String> {
        let namespace = format!("kyanos-{session}");
        let list = self.cluster.kubectl().json(&[
            "get",
            "pods",
            "-n",
            &namespace,
            "-l",
            "app.kubernetes.io/component=hub",
        ]);
        let list = list.unwrap();
        let names = list["items"].as_array().into_iter().flatten();
        names.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    fn delete_hub(&self, session: &str, pod: &str) {
        let namespace = format!("kyanos-{session}");
        let delete = ["delete", "pod", pod, "-n", &namespace, "--wait=false", "--grace-period=1"];
        self.cluster.kubectl().run(&delete).unwrap();
    }

    fn wait_hub_gone(&self, session: &str, pod: &str) {
        let namespace = format!("kyanos-{session}");
        let wait = ["wait", "--for=delete", "pod", pod, "-n", &namespace, "--timeout=30s"];
        self.cluster.kubectl().run(&wait).unwrap();
    }

    /// Watches on whole clusters that the API server serves, by kind.
    fn watches(&self) -> BTreeMap<&'static str, i64> {
        let metrics = self.cluster.kubectl().run(&["get", "--raw", "/metrics"]).unwrap();
        let of = |kind: &str| {
            let lines = metrics.lines().filter(|line| {
                line.starts_with("apiserver_longrunning_requests{")
                    && line.contains(&format!("resource=\"{kind}\""))
                    && line.contains("scope=\"cluster\"")
                    && line.contains("verb=\"WATCH\"")
            });
            let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<i64>().ok());
            lines.filter_map(count).sum()
        };
        KINDS.into_iter().map(|kind| (kind, of(kind))).collect()
    }
}

#[test]
fn hubs_that_die_take_nothing_with_them() {
    let Some(stage) = Stage::open() else { return };
    let store = stage.store();
    let nodes: BTreeSet<String> = stage.cluster.kubectl().ready_nodes().unwrap().into_iter().collect();
    let (name, session) = stage.watch(&["--hub-replicas", HUBS, "--store", &store], MANY);
    let seen_after = |from: usize| {
        let exchanges = session.exchanges();
        exchanges.iter().skip(from).map(|one| one.text("node").to_owned()).collect::<BTreeSet<_>>()
    };
    let leader = stage.leader(&name);
    let other = stage.hubs(&name).into_iter().find(|hub| *hub != leader).expect("another hub");
    for gone in [&other, &leader] {
        stage.delete_hub(&name, gone);
        // Else what was on its way counts as what comes again.
        stage.wait_hub_gone(&name, gone);
        let from = session.count(|_| true);
        let went_on = wait_until("every node again", GOES_ON, || seen_after(from) == nodes);
        println!("after the loss of a hub every node is seen again after {went_on:?}");
        assert!(went_on.is_ok(), "{:?}; it said:\n{}", seen_after(from), session.stderr());
    }
    assert_ne!(stage.leader(&name), leader, "another hub leads");
    let report = stage.end(&name, session);
    let shown: BTreeSet<String> =
        report.exchanges.iter().map(|one| one.value["id"].as_str().unwrap_or_default().to_owned()).collect();
    let stored: BTreeSet<String> = stage
        .asked(&format!("SELECT id FROM exchanges WHERE session = '{name}'"))
        .lines()
        .map(str::to_owned)
        .collect();
    let lost: u64 =
        report.lost().unwrap().iter().filter(|((unit, _), _)| unit == "exchanges").map(|(_, n)| n).sum();
    let missing = u64::try_from(shown.difference(&stored).count()).unwrap();
    println!("shown {}, stored {}, lost {lost}, shown and not stored {missing}", shown.len(), stored.len());
    assert!(missing <= lost, "shown and not stored:\n{}", report.stderr);
    // The database is watched, too, and what hubs write into it is not.
    let own = report.exchanges.iter().filter(|one| one.text("operation").contains("INSERT IGNORE INTO"));
    assert_eq!(own.count(), 0);
}

#[test]
fn all_hubs_together_watch_each_kind_once() {
    let Some(stage) = Stage::open() else { return };
    let store = stage.store();
    let before = stage.watches();
    assert!(before.values().any(|count| *count > 0), "the API server tells of no watches: {before:?}");
    let (name, session) = stage.watch(&["--hub-replicas", HUBS, "--store", &store], MANY);
    let hubs = stage.hubs(&name).len();
    let more = || {
        let now = stage.watches();
        KINDS.into_iter().map(|kind| (kind, now[kind] - before[kind])).collect::<BTreeMap<_, _>>()
    };
    // Others' watches end and begin, too: it counts when all fit at once.
    let once = wait_until("one watch of each kind", PATIENCE, || more().values().all(|count| *count == 1));
    println!("watches of {hubs} hubs: {:?}", more());
    stage.end(&name, session);
    assert!(once.is_ok(), "{:?}", more());
}
