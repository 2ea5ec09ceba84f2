//! A database that stops answering in mid-capture.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::time::{Duration, Instant};

use xtask::kyanos::{Session, machine};
use xtask::servers::Mariadb;
use xtask::workload::http::{HttpClient, Origin};

const OUTAGE: Duration = Duration::from_secs(10);

/// Sends a request every 10 ms for so long, and returns how many.
fn trickle(client: &mut HttpClient, time: Duration) -> usize {
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < time {
        client.get(&format!("/trickle/{sent}")).unwrap();
        sent += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    sent
}

/// Runs a capture into MariaDB through an outage, and checks that every exchange shown is stored.
fn survives(mut mariadb: Mariadb, stop: impl Fn(&mut Mariadb), go_on: impl Fn(&mut Mariadb)) {
    mariadb.sql("CREATE DATABASE kyanos").unwrap();
    let origin = Origin::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = origin.port().to_string();
    let session =
        Session::watch(&["-d", "--remote-ports", &port, "--store", &mariadb.url("kyanos")]).unwrap();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    let mut sent = trickle(&mut client, Duration::from_secs(1));
    stop(&mut mariadb);
    let before = session.exchanges().len();
    sent += trickle(&mut client, OUTAGE);
    let shown = session.exchanges().len() - before;
    go_on(&mut mariadb);
    sent += trickle(&mut client, Duration::from_secs(1));
    session.settle(sent, Duration::from_secs(5), |_| true);
    let name = session.name().to_owned();
    let report = session.stop().unwrap();
    println!("{sent} requests, {shown} shown during the outage; {:?} lost", report.lost().unwrap());
    assert_eq!(report.code(), 130, "{}", report.stderr);
    assert_eq!(report.exchanges.len(), sent, "{}", report.stderr);
    assert!(shown > 100, "the live view waited for the store: {shown}");
    let stored =
        mariadb.sql(&format!("SELECT COUNT(*) FROM kyanos.exchanges WHERE session = '{name}'")).unwrap();
    assert_eq!(stored.trim(), sent.to_string(), "{}", report.stderr);
    assert!(report.lost().unwrap().is_empty(), "{}", report.stderr);
    assert!(
        report.stderr.to_lowercase().contains("store"),
        "nothing was said of the outage: {}",
        report.stderr
    );
}

#[test]
fn a_database_that_hangs_for_10_s_loses_nothing() {
    let Some(_alone) = machine().unwrap() else { return };
    survives(
        Mariadb::start().unwrap(),
        |mariadb| mariadb.pause(true).unwrap(),
        |mariadb| mariadb.pause(false).unwrap(),
    );
}

#[test]
fn a_database_that_is_restarted_after_10_s_loses_nothing() {
    let Some(_alone) = machine().unwrap() else { return };
    survives(
        Mariadb::start().unwrap(),
        |mariadb| mariadb.stop().unwrap(),
        |mariadb| mariadb.start_again().unwrap(),
    );
}
