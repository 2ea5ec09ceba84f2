//! The program on files and on command lines that need no session.

#![expect(clippy::expect_used, reason = "this is a test")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use hub::store::sqlite::Saver;
use proto::v1;
use proto::v1::value::Kind;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubectl-kyanos"))
        .args(arguments)
        // No cluster, whoever runs this.
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Makes a store with three exchanges, as `--save` does.
fn store(path: &Path) {
    let columns =
        ["session", "id", "protocol", "tls", "operation", "error", "start_time", "start_ns", "total_ns"];
    let columns: Vec<String> =
        columns.iter().copied().chain(["sample_weight", "response"]).map(str::to_owned).collect();
    let value = |kind| v1::Value { kind: Some(kind) };
    let rows = (1..=3_i64)
        .map(|id| v1::Row {
            values: vec![
                value(Kind::Text("abcde".to_owned())),
                value(Kind::Integer(id)),
                value(Kind::Text("http".to_owned())),
                value(Kind::Integer(0)),
                value(Kind::Text(format!("GET /{id}"))),
                value(Kind::Integer(i64::from(id == 2))),
                value(Kind::Text(format!("2026-01-01T00:00:0{id}.000000Z"))),
                value(Kind::Integer(id)),
                value(Kind::Integer(id * 1_000_000)),
                value(Kind::Integer(1)),
                value(Kind::Blob(b"\xff\0text".to_vec())),
            ],
        })
        .collect();
    let mut saver = Saver::create(path).expect("made");
    let part = v1::PullResponse { table: "exchanges".to_owned(), columns, rows, total_rows: 3 };
    assert_eq!(saver.insert(&part).expect("inserted"), 3);
    saver.finish().expect("finished");
}

#[test]
fn a_saved_store_is_asked_without_a_session() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("saved.sqlite");
    store(&path);
    let url = format!("sqlite:{}", path.display());
    let ask = |rest: &[&str]| run(&[&["query", "--store", &url], rest].concat());

    let slow = ask(&["--report", "slow", "-o", "json"]);
    assert!(slow.status.success(), "{}", text(&slow.stderr));
    let operations: Vec<String> = text(&slow.stdout)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["operation"].to_string())
        .collect();
    assert_eq!(operations, ["\"GET /3\"", "\"GET /2\"", "\"GET /1\""]);
    for report in ["errors", "top", "services", "loss", "where"] {
        let answer = ask(&["--report", report]);
        assert!(answer.status.success(), "{report}: {}", text(&answer.stderr));
    }
    let csv = ask(&["-o", "csv", "SELECT id, response FROM exchanges WHERE error"]);
    assert_eq!(text(&csv.stdout), "id,response\n2,\\xff\\x00text\n");
    let yaml = ask(&["-o", "yaml", "SELECT id FROM exchanges WHERE id < 3"]);
    assert_eq!(text(&yaml.stdout), "- id: 1\n- id: 2\n");
}

#[test]
fn a_saved_store_cannot_be_changed() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("saved.sqlite");
    store(&path);
    let url = format!("sqlite:{}", path.display());
    for sql in
        ["DELETE FROM exchanges", "DROP TABLE exchanges", "CREATE TABLE x (y)", "PRAGMA user_version=9"]
    {
        let answer = run(&["query", "--store", &url, sql]);
        assert_eq!(answer.status.code(), Some(1), "{sql}");
        assert!(text(&answer.stderr).starts_with("error: "), "{sql}: {}", text(&answer.stderr));
    }
    let count = run(&["query", "--store", &url, "-o", "csv", "SELECT COUNT(*) FROM exchanges"]);
    assert!(text(&count.stdout).ends_with("\n3\n"), "{}", text(&count.stdout));
}

#[test]
fn mistakes_end_with_an_error_a_hint_and_a_code() {
    let folder = tempfile::tempdir().expect("folder");
    let foreign = folder.path().join("foreign.sqlite");
    std::fs::write(&foreign, "not a database").expect("written");
    let foreign = format!("sqlite:{}", foreign.display());
    let cases: [(&[&str], i32); 9] = [
        (&["watch"], 1),
        (&["stat"], 1),
        (&["overview"], 1),
        (&["query", "SELECT 1"], 1),
        (&["query", "--store", "sqlite:/no/such.sqlite", "SELECT 1"], 1),
        (&["query", "--store", &foreign, "SELECT 1"], 1),
        (&["query", "--store", "mysql://u@h/d", "SELECT 1"], 2),
        (&["query", "--store", &foreign, "--report", "slo"], 2),
        (&["watch", "htp", "--local"], 2),
    ];
    for (arguments, code) in cases {
        let answer = run(arguments);
        let errors = text(&answer.stderr);
        assert_eq!(answer.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.starts_with("error: ") && errors.contains("\nhint: "), "{arguments:?}: {errors}");
        assert!(answer.stdout.is_empty(), "{arguments:?}");
    }
}

#[cfg(unix)]
#[test]
fn kubectl_s_completer_is_this_program_by_another_name() {
    let folder = tempfile::tempdir().expect("folder");
    let completer = folder.path().join("kubectl_complete-kyanos");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kubectl-kyanos"), &completer).expect("linked");
    let answer = Command::new(completer).args(["watch", "red"]).output().expect("runs");
    assert_eq!(text(&answer.stdout), "redis\n:4\n");
    assert_eq!(text(&run(&["__complete", "watch", "red"]).stdout), "redis\n:4\n");
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [
        &[][..],
        &["help"],
        &["watch", "--help"],
        &["version"],
        &["version", "-o", "json"],
        &["watch", "--list"],
    ] {
        let answer = run(arguments);
        assert_eq!(answer.status.code(), Some(0), "{arguments:?}");
        assert!(!answer.stdout.is_empty() && answer.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-kyanos"))
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    drop(child.stdout.take());
    let answer = child.wait_with_output().expect("ends");
    assert_eq!((answer.status.code(), text(&answer.stderr)), (Some(0), String::new()));
}

/// A statement that counts up to a number.
fn counting(end: u32) -> String {
    format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {end}) SELECT i FROM n")
}

#[test]
fn a_table_is_cut_only_above_its_limit() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("saved.sqlite");
    store(&path);
    let url = format!("sqlite:{}", path.display());
    for (rows, code) in [(10_000, 0), (10_001, 1)] {
        let answer = run(&["query", "--store", &url, &counting(rows)]);
        let errors = text(&answer.stderr);
        assert_eq!(answer.status.code(), Some(code), "{rows}: {errors}");
        assert_eq!(text(&answer.stdout).lines().count(), 10_001, "{rows}: with the titles");
        assert_eq!(errors.contains("only the first 10000 rows"), code == 1, "{rows}: {errors}");
    }
    let csv = run(&["query", "--store", &url, "-o", "csv", &counting(10_001)]);
    assert_eq!((csv.status.code(), text(&csv.stdout).lines().count()), (Some(0), 10_002));
}

#[test]
fn nobody_who_reads_ends_a_query() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("saved.sqlite");
    store(&path);
    let url = format!("sqlite:{}", path.display());
    for format in ["csv", "json"] {
        let began = std::time::Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-kyanos"))
            .args(["query", "--store", &url, "-o", format, &counting(u32::MAX)])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        drop(child.stdout.take());
        let answer = child.wait_with_output().expect("ends");
        assert_eq!((answer.status.code(), text(&answer.stderr)), (Some(0), String::new()), "{format}");
        assert!(began.elapsed() < std::time::Duration::from_secs(15), "{format}: {:?}", began.elapsed());
    }
}
