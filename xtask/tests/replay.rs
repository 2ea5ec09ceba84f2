//! Captures of real programs, made here, are read as tshark reads them: straight, in pieces, joined late, over sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::process::{Plan, Process, scratch, wait_until};
use xtask::servers::{Dnsmasq, Mariadb, Nginx, Postgres, Redis};
use xtask::workload::dns;
use xtask::{kyanos, run};

/// A capture made by a test.
struct Capture {
    folder: tempfile::TempDir,
    program: Option<Process>,
}

/// Puts this test's thread, and what it starts, into a network namespace of their own; says so where that or tshark is
/// missing.
fn alone() -> bool {
    if !run::is_root() {
        println!("skipped: making a network namespace needs root");
        return false;
    }
    for program in ["tshark", "dumpcap", "ip"] {
        if run::find(program).is_none() {
            println!("skipped: `{program}` is missing; `cargo xtask setup --for replay` installs it");
            return false;
        }
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    run::check(Command::new("ip").args(["link", "set", "lo", "up"])).expect("a loopback interface");
    true
}

impl Capture {
    fn begin() -> Self {
        let folder = scratch("replay").unwrap();
        let plan = Plan::new("dumpcap").unwrap().stop_by(Signal::SIGINT);
        let mut command = plan.command();
        let file = folder.path().join("capture.pcapng");
        command.args(["-q", "-i", "lo", "-w"]).arg(&file);
        let log = folder.path().join("log");
        let program = plan.start(&mut command, &log).unwrap();
        let begun = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("File: "));
        wait_until("dumpcap", Duration::from_secs(10), begun).unwrap();
        Self { folder, program: Some(program) }
    }

    /// Ends the capture once its file no longer grows.
    fn end(&mut self) -> PathBuf {
        let file = self.folder.path().join("capture.pcapng");
        // Packets come to dumpcap in blocks, the last of them after a moment.
        std::thread::sleep(Duration::from_millis(500));
        self.program.take().unwrap().stop().unwrap();
        file
    }
}

/// Runs `cargo xtask replay` and returns the totals of whole and partial streams together.
fn replay(file: &Path, arguments: &[&str]) -> (Vec<Value>, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["replay", "--built", "-o", "json"]).args(arguments).arg(file);
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let totals = lines.pop().expect("totals");
    let sum = |name: &str| {
        let part = |part: &str| totals.pointer(&format!("/{part}/{name}")).and_then(Value::as_u64).unwrap();
        Value::from(part("whole") + part("partial"))
    };
    let sums = ["tshark", "ours", "missing", "extra", "bytes", "foreign"].map(sum).to_vec();
    if !lines.is_empty() {
        println!("{arguments:?}: {lines:#?}");
    }
    (sums, output.status.success())
}

/// Checks that at least so many requests are read as tshark reads them, in every way of replaying.
fn agrees(capture: Capture, least: u64, hint: Option<(u16, &str)>) {
    agrees_but(capture, least, hint, 0);
}

/// The same where so many connections, when joined late, show a last message of five bytes and no more, which does not
/// tell whose it is.
fn agrees_but(mut capture: Capture, least: u64, hint: Option<(u16, &str)>, lone: u64) {
    let file = capture.end();
    let hint: Vec<String> =
        hint.iter().map(|(port, protocol)| format!("--port-protocol={port}={protocol}")).collect();
    let hints: Vec<&str> = hint.iter().map(String::as_str).collect();
    let mut ways: Vec<Vec<&str>> = vec![
        vec!["--direct"],
        vec!["--direct", "--side", "client"],
        vec!["--direct", "--chunk", "7"],
        vec!["--direct", "--join-late", "2"],
        vec!["--direct", "--join-late", "half"],
    ];
    let machine = kyanos::machine().unwrap();
    if machine.is_some() {
        ways.extend([vec![], vec!["--side", "client"], vec!["--join-late", "half"]]);
    }
    for mut way in ways {
        let late = way.contains(&"--join-late");
        way.extend(&hints);
        let (sums, success) = replay(&file, &way);
        let sums: Vec<u64> = sums.iter().map(|sum| sum.as_u64().unwrap()).collect();
        let allowed = if late { lone } else { 0 };
        let [witnessed, ours, missing, extra, bytes, foreign] = sums[..] else { panic!("{sums:?}") };
        assert!(missing <= allowed && extra + bytes + foreign == 0, "{way:?}: {sums:?}");
        assert_eq!(success, missing == 0, "{way:?}: {sums:?}");
        assert_eq!(witnessed, ours + missing, "{way:?}");
        assert!(late || witnessed >= least, "{way:?}: {sums:?}");
    }
}

fn curl(arguments: &[&str]) {
    run::output(Command::new("curl").args(["-s", "-o", "/dev/null", "--max-time", "20"]).args(arguments))
        .unwrap();
}

#[test]
fn http_with_kept_connections() {
    if !alone() {
        return;
    }
    let nginx = Nginx::start().unwrap();
    let capture = Capture::begin();
    curl(&[
        &nginx.url("/hello"),
        "-o",
        "/dev/null",
        &nginx.url("/json"),
        "-o",
        "/dev/null",
        &nginx.url("/status/404"),
    ]);
    curl(&["-X", "POST", "-d", "a=1&b=2", &nginx.url("/post")]);
    agrees(capture, 4, Some((nginx.port(), "http")));
}

#[test]
fn http_over_ipv6() {
    if !alone() {
        return;
    }
    let nginx = Nginx::start().unwrap();
    let capture = Capture::begin();
    for path in ["hello", "text", "status/500"] {
        curl(&[&format!("http://[::1]:{}/{path}", nginx.port())]);
    }
    agrees(capture, 3, Some((nginx.port(), "http")));
}

#[test]
fn http_with_long_and_chunked_bodies() {
    if !alone() {
        return;
    }
    let nginx = Nginx::start().unwrap();
    let long = nginx.root().join("long.bin");
    std::fs::write(&long, vec![b'x'; 700_000]).unwrap();
    let upload = format!("@{}", long.display());
    let capture = Capture::begin();
    curl(&[&nginx.url("/long.bin")]);
    curl(&[
        "-H",
        "Transfer-Encoding: chunked",
        "-H",
        "Expect:",
        "-X",
        "PUT",
        "--data-binary",
        &upload,
        &nginx.url("/upload/a"),
    ]);
    curl(&["-H", "Expect:", "-T", &long.display().to_string(), &nginx.url("/upload/b")]);
    curl(&["-I", &nginx.url("/long.bin")]);
    agrees(capture, 4, Some((nginx.port(), "http")));
}

/// tshark finds HTTP on any port by itself, so this holds without a hint.
#[test]
fn http_without_a_hint() {
    if !alone() {
        return;
    }
    let nginx = Nginx::start().unwrap();
    let capture = Capture::begin();
    curl(&[&nginx.url("/hello")]);
    agrees(capture, 1, None);
}

fn redis_cli(redis: &Redis, host: &str, arguments: &[&str]) {
    let port = redis.port().to_string();
    run::output(Command::new("redis-cli").args(["-h", host, "-p", &port]).args(arguments)).unwrap();
}

#[test]
fn redis_commands() {
    if !alone() {
        return;
    }
    let redis = Redis::start().unwrap();
    let capture = Capture::begin();
    for command in [
        vec!["SET", "a", "1"],
        vec!["INCR", "a"],
        vec!["GET", "none"],
        vec!["LPUSH", "a", "x"],
        vec!["NOSUCH"],
    ] {
        redis_cli(&redis, "127.0.0.1", &command);
    }
    redis_cli(&redis, "127.0.0.1", &["-3", "HSET", "h", "f", "a long value\r\n with lines"]);
    agrees(capture, 6, Some((redis.port(), "redis")));
}

#[test]
fn redis_over_ipv6_with_many_on_one_connection() {
    if !alone() {
        return;
    }
    let redis = Redis::start().unwrap();
    let capture = Capture::begin();
    redis_cli(&redis, "::1", &["-r", "20", "LPUSH", "list", "value"]);
    redis_cli(&redis, "::1", &["LRANGE", "list", "0", "-1"]);
    agrees(capture, 21, Some((redis.port(), "redis")));
}

#[test]
fn mariadb_statements() {
    if !alone() {
        return;
    }
    let mariadb = Mariadb::start().unwrap();
    let capture = Capture::begin();
    let statements = "SELECT 1; CREATE TABLE shop.t(a INT, b TEXT); INSERT INTO shop.t VALUES (1, 'x'), (2, 'y'); \
                      SELECT * FROM shop.t; SELECT nocolumn; SELECT 'after'";
    run::output(mariadb.client().unwrap().args(["--force", "-e", "CREATE DATABASE IF NOT EXISTS shop"]))
        .unwrap();
    run::output(mariadb.client().unwrap().args(["--force", "-e", statements])).unwrap_or_default();
    agrees(capture, 8, Some((mariadb.port(), "mysql")));
}

#[test]
fn mariadb_refuses_a_log_in() {
    if !alone() {
        return;
    }
    let mariadb = Mariadb::start().unwrap();
    let capture = Capture::begin();
    assert!(!run::succeeds(mariadb.client().unwrap().args([
        "--user=nosuch",
        "--password=wrong",
        "-e",
        "SELECT 1"
    ])));
    agrees(capture, 1, Some((mariadb.port(), "mysql")));
}

#[test]
fn postgres_statements() {
    if !alone() {
        return;
    }
    let postgres = Postgres::start().unwrap();
    let capture = Capture::begin();
    let statements = [
        "SELECT 1",
        "CREATE TABLE t(a INT)",
        "INSERT INTO t SELECT generate_series(1, 500)",
        "SELECT * FROM t",
    ];
    let mut psql = postgres.client("psql");
    for statement in statements {
        psql.args(["-c", statement]);
    }
    run::output(&mut psql).unwrap();
    assert!(!run::succeeds(postgres.client("psql").args(["-c", "SELECT nocolumn"])));
    agrees(capture, 7, Some((postgres.port(), "postgres")));
}

#[test]
fn postgres_with_parameters_and_prepared() {
    if !alone() {
        return;
    }
    let postgres = Postgres::start().unwrap();
    let folder = scratch("pgbench").unwrap();
    let script = folder.path().join("script.sql");
    std::fs::write(&script, "\\set n random(1, 9)\nSELECT :n::int;\n").unwrap();
    let capture = Capture::begin();
    for mode in ["extended", "prepared"] {
        let mut pgbench = postgres.client("pgbench");
        run::output(pgbench.args(["-n", "-t", "5", "-M", mode, "-f"]).arg(&script)).unwrap();
    }
    agrees_but(capture, 10, Some((postgres.port(), "postgres")), 2);
}

#[test]
fn dns_over_datagrams() {
    if !alone() {
        return;
    }
    let dnsmasq = Dnsmasq::start().unwrap();
    let capture = Capture::begin();
    for (id, name, kind) in
        [(1, "db.test", dns::A), (2, "db.test", dns::AAAA), (3, "absent.zone.test", dns::A)]
    {
        dns::ask(dnsmasq.address(), id, name, kind).unwrap();
    }
    agrees(capture, 3, None);
}

#[test]
fn dns_over_streams() {
    if !alone() {
        return;
    }
    let dnsmasq = Dnsmasq::start().unwrap();
    let capture = Capture::begin();
    for (id, name) in [(1, "db.test"), (2, "absent.zone.test")] {
        dns::ask_tcp(dnsmasq.address(), id, name, dns::A).unwrap();
    }
    agrees(capture, 2, None);
}

#[test]
fn other_protocols_give_no_rows() {
    if !alone() {
        return;
    }
    let folder = scratch("foreign").unwrap();
    let port = xtask::process::free_port().unwrap();
    let capture = Capture::begin();
    // A server of lines that speaks first, as FTP, SMTP and POP3 do.
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{BufRead, BufReader, Write};
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"+OK ready\r\n").unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let line = line.unwrap();
            stream.write_all(format!("+OK {line} done\r\n").as_bytes()).unwrap();
            if line == "QUIT" {
                break;
            }
        }
    });
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; read -r a <&3; for c in CAPA 'USER me' 'PASS word' STAT LIST QUIT; do \
         printf '%s\\r\\n' \"$c\" >&3; read -r a <&3; done"
    );
    run::output(Command::new("bash").args(["-c", &script]).current_dir(folder.path())).unwrap();
    server.join().unwrap();
    agrees(capture, 0, None);
}
