//! Kyanos does not watch itself: not this session, and no other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::time::Duration;

use xtask::kyanos::{self, Exchange, Report, Session, machine};
use xtask::servers::Mariadb;
use xtask::workload::http::{HttpClient, Origin};

const PROGRAMS: [&str; 3] = ["kubectl-kyanos", "hub", "capturer"];

fn assert_only_traffic(name: &str, report: &Report, port: u16, count: usize, forbidden: u16) {
    for side in ["client", "server"] {
        assert_eq!(report.seen(side, port).len(), count, "{name} {side}: {}", report.stderr);
    }
    let about: Vec<&Exchange> = report
        .exchanges
        .iter()
        .filter(|line| PROGRAMS.contains(&line.text("comm")) || line.has_port(forbidden))
        .collect();
    assert!(about.is_empty(), "{name}: {} exchanges about Kyanos, first {:#}", about.len(), about[0].value);
}

#[test]
fn two_sessions_at_once_both_work_and_see_nothing_of_each_other() {
    const REQUESTS: usize = 200;
    let Some(_alone) = machine().unwrap() else { return };
    let mariadb = Mariadb::start().unwrap();
    mariadb.sql("CREATE DATABASE kyanos").unwrap();
    let origin = Origin::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let first = Session::watch(&[]).unwrap();
    // The second one writes to a database over TCP, which the first one could see, and so could the second.
    let second = Session::watch(&["--store", &mariadb.url("kyanos")]).unwrap();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    for number in 0..REQUESTS {
        client.get(&format!("/shared/{number}")).unwrap();
        if number % 50 == 0 {
            // Batches are written, and somebody asks.
            std::thread::sleep(Duration::from_millis(300));
            let count = "SELECT COUNT(*) AS n FROM exchanges";
            let asked =
                kyanos::run(&["query", "--local", "--session", second.name(), "-o", "csv", count]).unwrap();
            assert_eq!(asked.code(), 0, "{}", asked.stderr);
        }
    }
    for session in [&first, &second] {
        session.settle(2 * REQUESTS, Duration::from_secs(5), |line| line.has_port(origin.port()));
    }
    let (first_name, second_name) = (first.name().to_owned(), second.name().to_owned());
    let second = second.stop().unwrap();
    // The first goes on after the second has ended.
    client.get("/afterwards").unwrap();
    first.settle(2, Duration::from_secs(5), |line| line.text("operation") == "GET /afterwards");
    let first = first.stop().unwrap();
    assert_only_traffic("first", &first, origin.port(), REQUESTS + 1, mariadb.port());
    assert_only_traffic("second", &second, origin.port(), REQUESTS, mariadb.port());
    for (name, report) in [(first_name, &first), (second_name, &second)] {
        assert_eq!(report.code(), 130, "{}", report.stderr);
        assert_eq!(kyanos::files(&name), [] as [std::path::PathBuf; 0]);
    }
    let stored = mariadb.sql("SELECT COUNT(*) FROM kyanos.exchanges").unwrap();
    assert_eq!(stored.trim(), second.exchanges.len().to_string());
}
