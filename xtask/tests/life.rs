//! Sessions end in every way a session can end, and leave nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use xtask::kyanos::{self, Session, machine};
use xtask::process::{self, Plan, wait_until};
use xtask::servers::Mariadb;
use xtask::workload::http::{HttpClient, Origin};

/// How soon everything has to be gone.
const SOON: Duration = Duration::from_secs(2);

/// What a running session has that must go.
struct Traces {
    name: String,
    children: [u32; 2],
    objects: BTreeSet<(&'static str, u32)>,
    mounts: String,
}

impl Traces {
    fn of(session: &Session, mounts: String) -> Self {
        let (hub, capturer) = session.children().unwrap();
        let objects = kyanos::kernel_objects(capturer);
        assert!(objects.iter().any(|(kind, _)| *kind == "map"), "the capturer holds no map: {objects:?}");
        if xtask::run::find("bpftool").is_some() {
            let told = objects.iter().all(|(kind, number)| kyanos::kernel_has(kind, *number));
            assert!(told, "`bpftool` does not know what the capturer holds: {objects:?}");
        } else {
            println!("not looked at: `bpftool`, which tells what the kernel keeps, is not installed");
        }
        assert_eq!(mounts, mounted(), "a session mounts nothing");
        Self { name: session.name().to_owned(), children: [hub, capturer], objects, mounts }
    }

    fn remaining(&self) -> Vec<String> {
        let mut remaining: Vec<String> =
            kyanos::files(&self.name).iter().map(|path| path.display().to_string()).collect();
        let running = self.children.iter().filter(|id| process::exists(**id));
        remaining.extend(running.map(|id| format!("process {id}")));
        let kept = self.objects.iter().filter(|(kind, number)| kyanos::kernel_has(kind, *number));
        remaining.extend(kept.map(|(kind, number)| format!("{kind} {number}")));
        if mounted() != self.mounts {
            remaining.push("a mount".to_owned());
        }
        remaining
    }

    /// Fails unless everything is gone within [`SOON`] from now.
    fn assert_gone(&self, how: &str) {
        let mut remaining = Vec::new();
        let gone = wait_until("everything to be gone", SOON, || {
            remaining = self.remaining();
            remaining.is_empty()
        });
        let took = gone.unwrap_or_else(|_| panic!("left after {how}: {remaining:?}"));
        println!("{how}: nothing left after {} ms", took.as_millis());
    }
}

/// Mounts of this process's namespace, pins of programs included.
fn mounted() -> String {
    let pins = std::fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten().count();
    format!("{}{pins} pins", std::fs::read_to_string("/proc/self/mountinfo").unwrap())
}

fn origin() -> Origin {
    Origin::start("127.0.0.1:0".parse().unwrap()).unwrap()
}

fn send(id: u32, signal: Signal) {
    kill(process::pid(id).unwrap(), signal).unwrap();
}

#[test]
fn signals_end_a_session_cleanly_with_their_exit_codes() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mounts = mounted();
        let session = Session::watch(&[]).unwrap();
        let traces = Traces::of(&session, mounts);
        HttpClient::connect(origin.address()).unwrap().get("/last").unwrap();
        let report = session.stop_by(signal).unwrap();
        assert_eq!(report.code(), code, "{}", report.stderr);
        // What had happened before the signal is shown, without any wait before it.
        assert_eq!(report.seen("client", origin.port()).len(), 1, "{}", report.stderr);
        let last: Vec<&str> = report.stderr.lines().rev().take(2).collect();
        assert!(
            report.captured().unwrap() >= 2 && last.iter().any(|line| line.starts_with("lost ")),
            "{last:?}"
        );
        traces.assert_gone(signal.as_str());
    }
}

#[test]
fn enough_exchanges_or_time_end_a_session_with_success() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let port = origin.port().to_string();
    let counted = Session::watch(&["--count", "3", "--remote-ports", &port]).unwrap();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    (0..10).for_each(|number| drop(client.get(&format!("/{number}")).unwrap()));
    let report = counted.finish(Duration::from_secs(10)).unwrap();
    assert_eq!((report.code(), report.exchanges.len()), (0, 3), "{}", report.stderr);

    let timed = Session::watch(&["--time", "2"]).unwrap();
    let begun = Instant::now();
    let report = timed.finish(Duration::from_secs(10)).unwrap();
    assert_eq!(report.code(), 0, "{}", report.stderr);
    assert!((1.5..4.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
}

#[test]
fn a_closed_pipe_ends_a_session_with_success() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let name = kyanos::unique_name();
    let plan = Plan::at(&xtask::workspace::binary("kubectl-kyanos").unwrap());
    let mut command = plan.command();
    command.args(["watch", "--local", "-o", "json", "--name", &name]);
    let mut plugin = plan.spawn(command.stdout(Stdio::piped()).stderr(Stdio::null())).unwrap();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    let out = plugin.child().stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert!(line.starts_with('{'), "{line}");
    });
    let begun = Instant::now();
    while plugin.is_running() && begun.elapsed() < Duration::from_secs(15) {
        client.get("/until/nobody/reads").unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    reader.join().unwrap();
    let status = plugin.wait(Duration::from_secs(1)).unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(kyanos::files(&name), [] as [std::path::PathBuf; 0]);
    assert_eq!(kyanos::helpers(), BTreeSet::new());
}

#[test]
fn a_killed_hub_or_capturer_ends_the_session_with_an_error_within_2_s() {
    let Some(_alone) = machine().unwrap() else { return };
    for victim in ["hub", "capturer"] {
        let mounts = mounted();
        let session = Session::watch(&[]).unwrap();
        let traces = Traces::of(&session, mounts);
        let [hub, capturer] = traces.children;
        send(if victim == "hub" { hub } else { capturer }, Signal::SIGKILL);
        let report = session.finish(Duration::from_secs(10)).unwrap();
        println!("{victim}: ended {} ms after it was killed", report.ending.as_millis());
        assert_eq!(report.code(), 1, "{}", report.stderr);
        let told = report.stderr.lines().any(|line| line.starts_with("error: ") && line.contains(victim));
        assert!(told, "{victim}: {}", report.stderr);
        assert!(report.ending < SOON, "{victim}: {:?}", report.ending);
        traces.assert_gone(victim);
    }
}

#[test]
fn a_killed_plugin_takes_its_session_with_it_within_2_s() {
    let Some(_alone) = machine().unwrap() else { return };
    let mounts = mounted();
    let session = Session::watch(&[]).unwrap();
    let traces = Traces::of(&session, mounts);
    drop(session.stop_by(Signal::SIGKILL).unwrap());
    traces.assert_gone("the plugin's death");
}

#[test]
fn a_plugin_killed_at_any_moment_leaves_no_process_and_the_next_command_no_file() {
    let Some(_alone) = machine().unwrap() else { return };
    let kill_at = |wait: u64, phase: &str, session: Session| {
        std::thread::sleep(Duration::from_millis(wait));
        let name = session.name().to_owned();
        drop(session.stop_by(Signal::SIGKILL).unwrap());
        let gone = wait_until("hub and capturer to end", SOON, || kyanos::helpers().is_empty());
        gone.unwrap_or_else(|error| {
            panic!("killed {wait} ms after {phase}: {error}: {:?}", kyanos::helpers())
        });
        if !kyanos::files(&name).is_empty() {
            let status = kyanos::run(&["status", "--local"]).unwrap();
            assert_eq!(status.code(), 0, "{}", status.stderr);
            assert_eq!(kyanos::files(&name), [] as [std::path::PathBuf; 0], "killed {wait} ms after {phase}");
        }
    };
    for wait in [0, 10, 30, 60, 100, 200, 400, 800] {
        kill_at(wait, "its start", Session::begin(&[]).unwrap());
    }
    for wait in [0, 5, 20, 60] {
        let mut session = Session::watch(&[]).unwrap();
        session.process().signal(Signal::SIGINT).unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        // It may have ended by itself by now.
        if session.process().is_running() {
            kill_at(0, &format!("Ctrl-C and {wait} ms"), session);
        }
    }
}

#[test]
fn what_a_killed_plugin_and_hub_leave_the_next_command_removes() {
    let Some(_alone) = machine().unwrap() else { return };
    let mounts = mounted();
    let mut session = Session::watch(&[]).unwrap();
    let traces = Traces::of(&session, mounts);
    let plugin = session.process().id();
    for id in [traces.children[0], plugin] {
        // Stopped first, so that neither acts on the other's death.
        send(id, Signal::SIGSTOP);
    }
    for id in [traces.children[0], plugin] {
        send(id, Signal::SIGKILL);
    }
    drop(session.finish(SOON).unwrap());
    wait_until("all processes to end", SOON, || kyanos::helpers().is_empty()).unwrap();
    assert!(!kyanos::files(&traces.name).is_empty(), "nothing is left to be removed");
    let dry = kyanos::run(&["cleanup", "--local", "--dry-run"]).unwrap();
    assert_eq!(dry.code(), 0, "{}", dry.stderr);
    assert!(!kyanos::files(&traces.name).is_empty(), "a dry run removes nothing");
    let status = kyanos::run(&["status", "--local"]).unwrap();
    assert_eq!(status.code(), 0, "{}", status.stderr);
    assert!(status.stderr.contains(&traces.name), "it says what it removed: {}", status.stderr);
    traces.assert_gone("the next command");
}

#[test]
fn a_kept_session_stays_readable_also_when_its_plugin_was_killed() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let port = origin.port().to_string();
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let session = Session::watch(&["--keep", "--remote-ports", &port]).unwrap();
        let name = session.name().to_owned();
        let mut client = HttpClient::connect(origin.address()).unwrap();
        (0..5).for_each(|number| drop(client.get(&format!("/kept/{number}")).unwrap()));
        session.settle(5, Duration::from_secs(5), |_| true);
        let report = session.stop_by(signal).unwrap();
        wait_until("hub and capturer to end", SOON, || kyanos::helpers().is_empty()).unwrap();
        let store = format!("{}/{name}.sqlite", kyanos::STORES_FOLDER);
        assert!(std::path::Path::new(&store).exists(), "{signal}: {}", report.stderr);
        let sql = "SELECT operation FROM exchanges ORDER BY start_ns";
        let answer =
            Session::command(&["query", "--store", &format!("sqlite:{store}"), "-o", "csv", sql]).unwrap();
        let answer = answer.finish(Duration::from_secs(10)).unwrap();
        assert_eq!(answer.code(), 0, "{}", answer.stderr);
        let expected: Vec<String> = (0..5).map(|number| format!("GET /kept/{number}")).collect();
        assert_eq!(answer.noise.get(1..).unwrap_or_default(), expected, "{signal}: {}", answer.stderr);
        let cleanup = kyanos::run(&["cleanup", "--local", &name]).unwrap();
        assert_eq!(cleanup.code(), 0, "{}", cleanup.stderr);
        assert_eq!(kyanos::files(&name), [] as [std::path::PathBuf; 0], "{signal}");
    }
}

#[test]
fn tracefs_and_bpffs_are_not_needed() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let name = kyanos::unique_name();
    let script = "for at in /sys/kernel/tracing /sys/kernel/debug /sys/fs/bpf; do umount -lR $at 2>/dev/null; done; \
                  exec \"$0\" \"$@\"";
    let plan = Plan::new("sh").unwrap().unshare(&["--mount"]).stop_by(Signal::SIGINT);
    let mut command = plan.command();
    command.args(["-c", script]).arg(xtask::workspace::binary("kubectl-kyanos").unwrap());
    command.args(["watch", "--local", "-o", "json", "--name", &name]);
    let mut session = Session::spawn(&plan, command).unwrap();
    session.wait_capturing().unwrap();
    let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", session.process().id())).unwrap();
    let present: Vec<&str> =
        mounts.lines().filter(|line| line.contains(" tracefs ") || line.contains(" bpf ")).collect();
    assert!(present.is_empty(), "{present:?}");
    HttpClient::connect(origin.address()).unwrap().get("/without/mounts").unwrap();
    session.settle(2, Duration::from_secs(5), |line| line.has_port(origin.port()));
    let report = session.stop().unwrap();
    assert_eq!(report.code(), 130, "{}", report.stderr);
    for side in ["client", "server"] {
        assert_eq!(report.seen(side, origin.port()).len(), 1, "{}", report.stderr);
    }
}

#[test]
fn a_start_that_fails_or_is_stopped_leaves_no_store_and_no_login() {
    let Some(_alone) = machine().unwrap() else { return };
    let mariadb = Mariadb::start().unwrap();
    mariadb.sql("CREATE DATABASE kyanos").unwrap();
    let users = || mariadb.sql("SELECT User, Host FROM mysql.user ORDER BY 1, 2").unwrap();
    let before = users();
    let url = mariadb.url("kyanos");
    for store in [&["--keep"][..], &["--store", &url]] {
        let failed = Session::begin(&[store, &["--btf", "/nonexistent/btf"]].concat()).unwrap();
        let name = failed.name().to_owned();
        let report = failed.finish(Duration::from_secs(20)).unwrap();
        assert_eq!(report.code(), 1, "{}", report.stderr);
        assert_eq!(kyanos::files(&name), [] as [std::path::PathBuf; 0], "{store:?}: {}", report.stderr);
        assert_eq!(users(), before, "{store:?}: {}", report.stderr);
    }
    for wait in [50, 150, 300, 600] {
        let session = Session::begin(&["--store", &url]).unwrap();
        let name = session.name().to_owned();
        std::thread::sleep(Duration::from_millis(wait));
        let report = session.stop_by(Signal::SIGINT).unwrap();
        assert_eq!(report.code(), 130, "{wait} ms: {}", report.stderr);
        assert_eq!(kyanos::helpers(), BTreeSet::new(), "{wait} ms: {}", report.stderr);
        assert_eq!(kyanos::files(&name), [] as [std::path::PathBuf; 0], "{wait} ms");
        assert_eq!(users(), before, "{wait} ms: {}", report.stderr);
    }
}
