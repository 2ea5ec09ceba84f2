//! Bad input and bad machines: a clear error, a hint, the right exit code, and nothing left behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use xtask::kyanos::{self, Report, Session, machine};
use xtask::process::{Plan, free_port};
use xtask::servers::Mariadb;
use xtask::workload::http::{HttpClient, Origin};

/// Checks how a command was refused, and that nothing of it remains.
fn assert_refused(what: &str, report: &Report, code: i32, words: &[&str]) {
    let said = report.stderr.to_lowercase();
    println!("{what}: {}", report.stderr.trim().replace('\n', " | "));
    assert_eq!(report.code(), code, "{what}: {}", report.stderr);
    assert!(said.lines().any(|line| line.starts_with("error: ")), "{what}: no `error:` in {said}");
    assert!(said.lines().any(|line| line.starts_with("hint: ")), "{what}: no `hint:` in {said}");
    for word in words {
        assert!(said.contains(&word.to_lowercase()), "{what}: no `{word}` in {said}");
    }
    assert!(!said.contains("panicked"), "{what}: {said}");
    assert!(report.exchanges.is_empty() && report.noise.is_empty(), "{what}: {:?}", report.noise);
    let helpers = kyanos::helpers();
    assert!(helpers.is_empty(), "{what}: left running: {helpers:?}");
}

/// Runs `watch --local` with these arguments, which must be refused.
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let session = Session::begin(arguments).unwrap();
    let name = session.name().to_owned();
    let report = session.finish(Duration::from_secs(30)).unwrap();
    assert_refused(&arguments.join(" "), &report, code, words);
    assert_eq!(kyanos::files(&name), [] as [std::path::PathBuf; 0], "{arguments:?}");
}

#[test]
fn a_wrong_command_line_is_refused_with_a_suggestion() {
    let Some(_alone) = machine().unwrap() else { return };
    refused(&["htpt"], 2, &["htpt", "http"]);
    refused(&["gopher"], 2, &["gopher"]);
    refused(&["--remote-prots", "80"], 2, &["--remote-prots", "--remote-ports"]);
    refused(&["--remote-ports", "eighty"], 2, &["eighty", "--remote-ports"]);
    refused(&["--remote-ports", "70000"], 2, &["70000"]);
    refused(&["--side", "cleint"], 2, &["cleint", "client"]);
    refused(&["--remote-ips", "300.1.2.3"], 2, &["300.1.2.3"]);
    refused(&["--remote-ips", "10.0.0.0/40"], 2, &["10.0.0.0/40"]);
    refused(&["--latency", "soon"], 2, &["soon"]);
    refused(&["--path-regex", "/orders/(", "http"], 2, &["/orders/("]);
    refused(&["--statement-regex", "[a-", "mysql"], 2, &["[a-"]);
    refused(&["--ring-size", "1000"], 2, &["1000"]);
    refused(&["--sample", "0"], 2, &["0"]);
    let named = kyanos::run(&["watch", "--local", "--name", "No Name"]).unwrap();
    assert_refused("--name", &named, 2, &["No Name"]);
    refused(&["--store", "mongo://somewhere"], 2, &["mongo"]);
    refused(&["--store", "mysql://user@"], 2, &["mysql"]);
    refused(&["--ttl", "1h"], 2, &["--keep"]);
    refused(&["--hub-replicas", "2"], 2, &["--hub-replicas"]);
}

#[test]
fn what_comes_later_does_not_exist_yet() {
    let Some(_alone) = machine().unwrap() else { return };
    refused(&["kafka"], 2, &["kafka"]);
    refused(&["--namespace", "shop"], 2, &["--namespace"]);
    refused(&["--selector", "app=shop"], 2, &["--selector"]);
    for command in ["watch", "stat", "overview"] {
        let help = kyanos::run(&[command, "--help"]).unwrap();
        assert_eq!(help.code(), 0);
        let text = help.noise.join("\n");
        for later in ["--trace-ssl-event", "--topic"] {
            assert!(!text.contains(later), "{command} --help mentions {later}");
        }
    }
}

#[test]
fn a_container_or_pod_name_needs_names() {
    let Some(_alone) = machine().unwrap() else { return };
    for flag in ["--container-name", "--pod-name"] {
        let session = Session::begin(&[flag, "shop", "--time", "1"]).unwrap();
        let report = session.finish(Duration::from_secs(30)).unwrap();
        assert!([1, 2].contains(&report.code()), "{}", report.stderr);
        assert_refused(flag, &report, report.code(), &[flag]);
    }
}

#[test]
fn a_user_who_is_not_root_is_told_so() {
    let Some(_alone) = machine().unwrap() else { return };
    // The plugin's own folder may be closed to others.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in xtask::workspace::BINARIES {
        let program = folder.path().join(name);
        std::fs::copy(xtask::workspace::binary(name).unwrap(), &program).unwrap();
    }
    let plan = Plan::at(&folder.path().join("kubectl-kyanos")).user(65_534, 65_534);
    for arguments in [["watch", "--local"], ["stat", "--local"], ["overview", "--local"]] {
        let mut command = plan.command();
        command.args(arguments);
        let report = Session::spawn(&plan, command).unwrap().finish(Duration::from_secs(20)).unwrap();
        assert_refused(&arguments.join(" "), &report, 1, &["root", "sudo"]);
    }
}

#[test]
fn a_machine_without_type_information_is_told_so() {
    let Some(_alone) = machine().unwrap() else { return };
    refused(&["--btf", "/nonexistent/vmlinux"], 1, &["/nonexistent/vmlinux", "btf"]);
    let garbage = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(garbage.path(), "no type information").unwrap();
    refused(&["--btf", garbage.path().to_str().unwrap()], 1, &["btf"]);
}

#[test]
fn a_name_in_use_is_refused_and_its_session_goes_on() {
    let Some(_alone) = machine().unwrap() else { return };
    let mut session = Session::watch(&[]).unwrap();
    let second = kyanos::run(&["watch", "--local", "--name", session.name()]).unwrap();
    assert_eq!(second.code(), 1, "{}", second.stderr);
    assert!(second.stderr.contains("error: ") && second.stderr.contains(session.name()), "{}", second.stderr);
    assert!(session.process().is_running());
    assert_eq!(session.stop().unwrap().code(), 130);
    let nobody = kyanos::run(&["watch", "--local", "--session", "nobody-has-this"]).unwrap();
    assert_refused("--session", &nobody, nobody.code().max(1), &["nobody-has-this"]);
}

#[test]
fn an_unreachable_or_refusing_store_is_told_soon_and_its_password_never() {
    let Some(_alone) = machine().unwrap() else { return };
    let begun = Instant::now();
    let closed = free_port().unwrap();
    refused(
        &["--store", &format!("mysql://app:hunter2@127.0.0.1:{closed}/kyanos")],
        1,
        &[&closed.to_string()],
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    refused(&["--store", "sqlite:/nonexistent/folder/file.sqlite"], 1, &["/nonexistent/folder"]);
    let mariadb = Mariadb::start().unwrap();
    let port = mariadb.port();
    let denied =
        Session::begin(&["--store", &format!("mysql://store:hunter2@127.0.0.1:{port}/shop")]).unwrap();
    let denied = denied.finish(Duration::from_secs(30)).unwrap();
    assert_refused("a wrong password", &denied, 1, &["denied"]);
    assert!(!denied.stderr.contains("hunter2"), "{}", denied.stderr);
    let unknown = format!("mysql://store:secret@127.0.0.1:{port}/no_such_database");
    refused(&["--store", &unknown], 1, &["no_such_database"]);
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_anything_starts() {
    let Some(_alone) = machine().unwrap() else { return };
    refused(&["--save", "/nonexistent/folder/out.sqlite"], 1, &["/nonexistent/folder"]);
    refused(&["--json-output", "/nonexistent/folder/out.jsonl"], 1, &["/nonexistent/folder"]);
    refused(&["--save", "/tmp/out.parquet"], 2, &["out.parquet"]);
    if Path::new("/dev/full").exists() {
        // The disk fills up in mid-capture.
        let origin = Origin::start("127.0.0.1:0".parse().unwrap()).unwrap();
        let session = Session::watch(&["--json-output", "/dev/full"]).unwrap();
        let mut client = HttpClient::connect(origin.address()).unwrap();
        (0..10).for_each(|_| drop(client.get("/full").unwrap()));
        let report = session.finish(Duration::from_secs(10)).unwrap();
        assert_eq!(report.code(), 1, "{}", report.stderr);
        assert!(
            report.stderr.contains("error: ") && report.stderr.contains("/dev/full"),
            "{}",
            report.stderr
        );
    }
}

/// Runs a statement on a live session or a saved file.
fn query(place: &[&str], sql: &str) -> Report {
    let mut arguments = vec!["query"];
    arguments.extend(place);
    arguments.extend(["-o", "csv", sql]);
    kyanos::run(&arguments).unwrap()
}

const WRITES: [&str; 10] = [
    "INSERT INTO exchanges (session, id) VALUES ('x', 1)",
    "UPDATE exchanges SET operation = 'x'",
    "DELETE FROM exchanges",
    "DROP TABLE exchanges",
    "CREATE TABLE mine (id int)",
    "ALTER TABLE exchanges ADD COLUMN mine int",
    "/* SELECT */ DELETE FROM exchanges",
    "WITH x AS (SELECT 1) DELETE FROM exchanges",
    "SELECT 1; DROP TABLE exchanges",
    "CREATE TEMPORARY TABLE mine (id int)",
];

/// Checks errors, writes and reads on one store.
fn assert_only_reads(place: &[&str], rows: usize) {
    for sql in WRITES {
        let report = query(place, sql);
        println!("{sql}: {}", report.stderr.trim().replace('\n', " | "));
        assert_ne!(report.code(), 0, "{place:?}: `{sql}` was not refused");
        assert!(report.stderr.starts_with("error: "), "{sql}: {}", report.stderr);
    }
    for (sql, word) in [("SELECT no_such_column FROM exchanges", "no_such_column"), ("SELEKT 1", "SELEKT")] {
        let report = query(place, sql);
        assert!([1, 2].contains(&report.code()), "{}", report.stderr);
        assert!(
            report.stderr.contains("error: ") && report.stderr.contains(word),
            "{sql}: {}",
            report.stderr
        );
    }
    let report = query(place, "SELECT COUNT(*) AS n FROM exchanges");
    assert_eq!(report.code(), 0, "{}", report.stderr);
    assert_eq!(report.noise, ["n".to_owned(), rows.to_string()]);
}

#[test]
fn queries_cannot_write_and_give_the_databases_own_errors() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = Origin::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = origin.port().to_string();
    let mariadb = Mariadb::start().unwrap();
    mariadb.sql("CREATE DATABASE kyanos").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.sqlite").display().to_string();
    let url = mariadb.url("kyanos");
    for arguments in [&["--save", &saved][..], &["--store", &url]] {
        let mut all = vec!["--remote-ports", &port];
        all.extend(arguments);
        let session = Session::watch(&all).unwrap();
        let mut client = HttpClient::connect(origin.address()).unwrap();
        (0..5).for_each(|number| drop(client.get(&format!("/{number}")).unwrap()));
        session.settle(5, Duration::from_secs(5), |_| true);
        let place = ["--local", "--session", session.name()];
        let stored =
            || query(&place, "SELECT COUNT(*) AS n FROM exchanges").noise.get(1).is_some_and(|n| n == "5");
        xtask::process::wait_until("the store to have 5 rows", Duration::from_secs(5), stored).unwrap();
        assert_only_reads(&place, 5);
        let report = session.stop().unwrap();
        assert_eq!(report.code(), 130, "{}", report.stderr);
    }
    assert_only_reads(&["--store", &format!("sqlite:{saved}")], 5);
    let missing = query(&["--store", "sqlite:/nonexistent/file.sqlite"], "SELECT 1");
    assert_refused("a missing file", &missing, 1, &["/nonexistent/file.sqlite"]);
}
