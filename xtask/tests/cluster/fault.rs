//! Parts of a running session are taken away.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use xtask::cluster::Relay;
use xtask::process::wait_until;

use crate::{PATIENCE, Stage};

impl Stage {
    /// Returns the names of a session's capturer pods.
    pub(crate) fn capturers(&self, session: &str) -> Vec<String> {
        self.pods_of(session, "capturer")
    }

    fn pods_of(&self, session: &str, component: &str) -> Vec<String> {
        let namespace = format!("kyanos-{session}");
        let selector = format!("app.kubernetes.io/component={component}");
        let get = ["get", "pods", "-n", &namespace, "-l", &selector, "-o", "name"];
        self.cluster.kubectl().run(&get).unwrap().lines().map(str::to_owned).collect()
    }

    /// Deletes the pods of a component and fails unless exchanges from every node come again from new ones.
    fn survives_the_loss_of(&self, component: &str) {
        let nodes = self.cluster.kubectl().ready_nodes().unwrap();
        let (name, session) = self.watch(&[], 1);
        let namespace = format!("kyanos-{name}");
        let pods = self.pods_of(&name, component);
        assert!(!pods.is_empty(), "no {component}");
        // Returns when they are gone.
        let mut delete = vec!["delete", "-n", &namespace];
        delete.extend(pods.iter().map(String::as_str));
        let from = Instant::now();
        self.cluster.kubectl().run(&delete).unwrap();
        let before = session.exchanges().len();
        let goes_on = wait_until("exchanges from every node", PATIENCE, || {
            let seen = session.exchanges();
            let fresh = seen.get(before..).unwrap_or_default();
            nodes.iter().all(|node| fresh.iter().any(|one| one.text("node") == node))
        });
        println!("{component}: {} ms until all nodes stream again", from.elapsed().as_millis());
        let report = self.end(&name, session);
        assert!(goes_on.is_ok(), "{goes_on:?}; it said:\n{}", report.stderr);
    }
}

#[test]
fn a_deleted_hub_comes_back_and_the_session_goes_on() {
    let Some(stage) = Stage::open() else { return };
    stage.survives_the_loss_of("hub");
}

#[test]
fn deleted_capturers_come_back_and_the_session_goes_on() {
    let Some(stage) = Stage::open() else { return };
    stage.survives_the_loss_of("capturer");
}

#[test]
fn a_killed_capturer_is_told_with_the_time_that_nobody_saw() {
    let Some(stage) = Stage::open() else { return };
    let (name, session) = stage.watch(&["-d"], 1);
    let namespace = format!("kyanos-{name}");
    let pod = stage.capturers(&name).into_iter().next().expect("a capturer");
    let kubectl = stage.cluster.kubectl();
    let node = kubectl.run(&["get", "-n", &namespace, &pod, "-o", "jsonpath={.spec.nodeName}"]).unwrap();
    let seen = || session.count(|one| one.text("node") == node);
    wait_until("exchanges from its node", PATIENCE, || seen() > 0).unwrap();
    kubectl.run(&["delete", "-n", &namespace, &pod, "--grace-period=0", "--force"]).unwrap();
    let told = wait_until("the hole to be told", PATIENCE, || {
        session.stderr().contains(&format!("capturer on {node} restarted, "))
    });
    let before = seen();
    let goes_on = wait_until("exchanges from its node again", PATIENCE, || seen() > before);
    let status = stage.cluster.run(&["status"]).unwrap();
    let report = stage.end(&name, session);
    assert!(told.is_ok() && goes_on.is_ok(), "{told:?} {goes_on:?}; it said:\n{}", report.stderr);
    let lost = report.lost().unwrap();
    let seconds = lost.get(&("seconds".to_owned(), "silent".to_owned())).copied().unwrap_or_default();
    println!("a killed capturer: {seconds} s not seen");
    assert!((1..60).contains(&seconds), "{lost:?}");
    assert!(status.stderr.contains(&format!("capturer on {node} restarted, ")), "{}", status.stderr);
    let nodes = kubectl.ready_nodes().unwrap().len();
    assert!(report.stderr.contains(&format!("on {nodes} nodes in")), "{}", report.stderr);
}

#[test]
fn an_api_server_that_pauses_costs_a_viewer_nothing_that_is_not_counted() {
    /// Longer than any ping is waited for.
    const PAUSE: Duration = Duration::from_secs(22);
    let Some(stage) = Stage::open() else { return };
    let relay = Relay::open(stage.cluster.kubectl()).unwrap();
    let flags = relay.flags();
    let mut arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
    arguments.push("-d");
    let (name, session) = stage.watch(&arguments, 50);
    relay.pause(PAUSE);
    let back = wait_until("the stream to be back", PATIENCE, || {
        session.stderr().contains("the stream is back after")
    });
    let before = session.count(|_| true);
    let goes_on = wait_until("exchanges again", PATIENCE, || session.count(|_| true) > before + 50);
    let report = stage.end(&name, session);
    assert!(back.is_ok() && goes_on.is_ok(), "{back:?} {goes_on:?}; it said:\n{}", report.stderr);
    let balances = report.balances().unwrap();
    let mut exchanges = balances.iter().filter(|one| one.unit == "exchanges");
    let captured = exchanges.clone().filter(|one| one.consumer.starts_with("capturer"));
    let delivered: u64 = captured.map(|one| one.delivered).sum();
    // The viewer that was there from the start.
    let viewer = exchanges.find(|one| one.consumer.starts_with("viewer")).expect("the viewer's ledger");
    let lost: u64 = viewer.lost.values().sum();
    println!("paused: {delivered} captured, {} shown, {lost} lost", report.exchanges.len());
    assert_eq!(viewer.seen, delivered, "{}", report.stderr);
    assert_eq!(viewer.seen, viewer.delivered + viewer.filtered + lost);
    assert_eq!(viewer.delivered, u64::try_from(report.exchanges.len()).unwrap(), "{}", report.stderr);
}

#[test]
fn a_namespace_that_is_deleted_by_hand_hides_no_node() {
    let Some(stage) = Stage::open() else { return };
    let kubectl = stage.cluster.kubectl();
    let nodes = kubectl.ready_nodes().unwrap();
    let (name, session) = stage.watch(&[], 1);
    let all = wait_until("all capturers", PATIENCE, || {
        session.stderr().contains(&format!("capturers {0}/{0} ready", nodes.len()))
    });
    // The next look of the hub at its nodes.
    std::thread::sleep(Duration::from_secs(2));
    kubectl.run(&["delete", "namespace", &format!("kyanos-{name}"), "--wait=false"]).unwrap();
    let report = session.finish(PATIENCE).unwrap();
    drop(stage.cluster.run(&["cleanup", &name, "--yes"]));
    assert!(all.is_ok(), "{}", report.stderr);
    assert_eq!(report.code(), 1, "{}", report.stderr);
    assert!(report.stderr.contains(&format!("on {} nodes in", nodes.len())), "{}", report.stderr);
}

#[test]
fn an_image_that_cannot_be_pulled_is_explained_and_nothing_stays() {
    let Some(stage) = Stage::open() else { return };
    let arguments = ["--hub-image", "registry.invalid/none:0", "--timeout", "20s"];
    let (name, session) = stage.cluster.session("watch", &arguments).unwrap();
    let report = session.finish(PATIENCE).unwrap();
    assert_eq!(report.code(), 1, "{}", report.stderr);
    assert!(report.stderr.contains("registry.invalid/none:0"), "{}", report.stderr);
    let gone = stage.cluster.wait_gone(&name, PATIENCE);
    assert!(gone.is_ok(), "{gone:?}");
}

#[test]
fn a_killed_store_comes_back_with_its_rows() {
    let Some(stage) = Stage::open() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.sqlite");
    let path = file.to_str().unwrap();
    let (name, session) = stage.watch(&["--save", path], 1);
    let stored = || {
        let sql = "SELECT COUNT(*) AS n FROM exchanges";
        let counted = stage.cluster.run(&["query", "--session", &name, "-o", "json", sql]);
        counted.ok().and_then(|report| report.exchanges.first()?.number("n")).unwrap_or_default()
    };
    wait_until("rows", PATIENCE, || stored() > 0).unwrap();
    let namespace = format!("kyanos-{name}");
    let kubectl = stage.cluster.kubectl();
    let restarts = "jsonpath={.items[*].status.containerStatuses[?(@.name=='store')].restartCount}";
    let get = ["get", "pods", "-n", &namespace, "-l", "app.kubernetes.io/component=hub", "-o", restarts];
    // The first process of a container heeds only signals that it handles: this one is a crash to it. Root without the
    // right to signal others becomes whose process it is.
    let crash = "exec setpriv --reuid=$(stat -c %u /proc/1) --clear-groups sh -c 'kill -ABRT 1'";
    let kill = ["exec", "-n", &namespace, "deployment/hub", "-c", "store", "--", "sh", "-c", crash];
    let killed = kubectl.run(&kill);
    let restarted = wait_until("the store's new container", PATIENCE, || {
        kubectl.run(&get).is_ok_and(|n| n.trim() != "0")
    });
    // The command itself may end with the container.
    let restarted = restarted.with_context(|| format!("after killing it: {killed:?}"));
    let from = stored();
    let goes_on = wait_until("more rows", PATIENCE, || stored() > from.max(1));
    let report = stage.end(&name, session);
    assert!(restarted.is_ok() && goes_on.is_ok(), "{restarted:?} {goes_on:?}; it said:\n{}", report.stderr);
    let store = format!("sqlite:{path}");
    let saved = ["query", "--store", &store, "-o", "json", "SELECT COUNT(DISTINCT id) AS n FROM exchanges"];
    let rows = stage.cluster.run(&saved).unwrap().exchanges[0].number("n").unwrap();
    let shown = u64::try_from(report.exchanges.len()).unwrap();
    let lost = report.lost().unwrap();
    let lost: u64 = lost.iter().filter(|((unit, _), _)| unit == "exchanges").map(|(_, count)| count).sum();
    println!("shown {shown}, saved {rows}, lost {lost}");
    assert!(shown.abs_diff(rows) <= lost, "{shown} shown, {rows} saved:\n{}", report.stderr);
}

#[test]
fn a_plugin_that_is_cut_off_loses_its_session_and_says_so() {
    /// Until the hub counts the connection as broken, the lease period, the hub's teardown, and room.
    const END: Duration = Duration::from_secs(20 + 60 + 10 + 20);
    /// The plugin tries for a lease period, and then removes what is gone already.
    const TRIES: Duration = Duration::from_secs(60 + 20);
    let Some(stage) = Stage::open() else { return };
    let (name, mut session) = stage.watch(&[], 1);
    session.process().signal(Signal::SIGSTOP).unwrap();
    let gone = stage.cluster.wait_gone(&name, END);
    session.process().signal(Signal::SIGCONT).unwrap();
    let report = session.finish(TRIES).unwrap();
    println!("cut off: {} s until nothing was left", gone.as_ref().map_or(0, Duration::as_secs));
    if gone.is_err() {
        drop(stage.cluster.run(&["cleanup", &name, "--yes"]));
    }
    assert!(gone.is_ok(), "{gone:?}");
    assert_eq!(report.code(), 1, "{}", report.stderr);
    assert!(report.stderr.contains("error: "), "{}", report.stderr);
}

#[test]
fn what_killed_commands_began_goes_by_itself() {
    /// Milliseconds after the command at which it is killed, before there is a plugin that the hub hears.
    const KILLED: [u64; 5] = [150, 300, 500, 900, 1_500];
    /// The dead man's switch with `--timeout 5s`, and room for the cluster's controllers.
    const END: Duration = Duration::from_secs(5 + 300 + 45);
    let Some(stage) = Stage::open() else { return };
    let mut names = Vec::new();
    let mut begin = |arguments: &[&str], after: u64| {
        let mut all = vec!["-n", stage.shop.namespace(), "--timeout", "5s"];
        all.extend(arguments);
        let (name, session) = stage.cluster.session("watch", &all).unwrap();
        std::thread::sleep(Duration::from_millis(after));
        session.stop_by(Signal::SIGKILL).unwrap();
        names.push(name);
    };
    for after in KILLED {
        begin(&[], after);
    }
    begin(&["--hub-image", "registry.invalid/none:0"], 2_000);
    let powerless = |object: &String| {
        ["namespace/", "clusterrole."].iter().any(|kind| object.starts_with(kind))
            || object.starts_with("clusterrolebinding.")
    };
    let left = |name: &String| stage.cluster.left(name).unwrap_or_default();
    let over = |name: &String| left(name).iter().all(powerless);
    let took = wait_until("the sessions to end", END, || names.iter().all(over));
    println!("ended by the cluster after {:?}", took.as_ref().map(Duration::as_secs));
    let rest: Vec<_> = names.iter().map(left).collect();
    let report = stage.cluster.run(&["status"]).unwrap();
    let gone: Vec<_> = names.iter().map(|name| stage.cluster.wait_gone(name, PATIENCE)).collect();
    if gone.iter().any(Result::is_err) {
        for name in &names {
            drop(stage.cluster.run(&["cleanup", name, "--yes"]));
        }
    }
    assert!(took.is_ok(), "{took:?}: {rest:?}");
    assert!(gone.iter().all(Result::is_ok), "{gone:?}");
    let removed = report.stderr.matches("removed what the ended session").count();
    assert_eq!(removed, rest.iter().filter(|left| !left.is_empty()).count(), "{rest:?}\n{}", report.stderr);
}
