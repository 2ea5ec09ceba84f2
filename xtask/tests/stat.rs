//! Aggregates equal what the single exchanges give.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test fails by panicking, and tells its figures"
)]
use std::time::Duration;

use serde_json::Value;
use xtask::kyanos::{Exchange, Session, machine};
use xtask::workload::http::{HttpClient, Origin, pattern};

/// Each metric's name and the exchange's field it is taken from.
const METRICS: [(&str, &str); 3] =
    [("total-time", "total_ns"), ("reqsize", "request_bytes"), ("respsize", "response_bytes")];

/// The nearest-rank percentile of sorted values, and its neighbours' range: between ranks any value is right.
fn exact(sorted: &[f64], quantile: f64) -> (f64, f64) {
    let rank = quantile * (sorted.len() - 1) as f64;
    let at = |rank: f64| sorted[rank.clamp(0.0, (sorted.len() - 1) as f64) as usize];
    (at(rank.floor()), at(rank.ceil()))
}

fn assert_within(what: &str, found: &Value, low: f64, high: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{what}: {found}"));
    assert!((low * 0.99..=high * 1.01).contains(&found), "{what}: {found}, exact {low} to {high}");
}

#[test]
fn percentiles_are_within_1_percent_of_exact_ones() {
    const REQUESTS: usize = 1000;
    let Some(_alone) = machine().unwrap() else { return };
    let origin = Origin::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = origin.port().to_string();
    let session = Session::watch(&["--remote-ports", &port]).unwrap();
    let names = METRICS.map(|(name, _)| name).join(",");
    let mut stat = Session::command(&[
        "stat",
        "--local",
        "--session",
        session.name(),
        "-o",
        "json",
        "-m",
        &names,
        "-g",
        "none",
    ])
    .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(stat.process().is_running(), "{}", stat.stderr());
    let mut client = HttpClient::connect(origin.address()).unwrap();
    for number in 0..REQUESTS {
        // Sizes over four orders of magnitude, times over three.
        let size = 1 << (number % 17);
        let body = pattern(number, (number * number) % 5000);
        client.request("POST", &format!("/bytes/{size}"), &body).unwrap();
        if number % 50 == 0 {
            client.get(&format!("/sleep/{}", number / 50)).unwrap();
        }
    }
    session.settle(REQUESTS + REQUESTS / 50, Duration::from_secs(5), |_| true);
    let report = session.stop().unwrap();
    let stat = stat.finish(Duration::from_secs(10)).unwrap();
    assert_eq!(stat.code(), 0, "{}", stat.stderr);
    assert_eq!(report.exchanges.len(), REQUESTS + REQUESTS / 50, "{}", report.stderr);
    let shown: Value = serde_json::from_str(&stat.noise.join("\n"))
        .unwrap_or_else(|error| panic!("{error}: {:?} {}", stat.noise, stat.stderr));
    let rows = shown.as_array().unwrap();
    assert_eq!(rows.len(), 1, "{shown:#}");
    assert_eq!(rows[0]["side"], "client");
    assert_eq!(rows[0]["count"], report.exchanges.len());
    for (name, field) in METRICS {
        let value = |line: &Exchange| line.number(field).unwrap() as f64;
        let mut values: Vec<f64> = report.exchanges.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let row = &rows[0]["metrics"][name];
        for (label, quantile) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
            let (low, high) = exact(&values, quantile);
            println!("{name} {label}: {} of {low} to {high}", row[label]);
            assert_within(&format!("{name} {label}"), &row[label], low, high);
        }
        assert_eq!(row["min"].as_f64(), values.first().copied(), "{name}");
        assert_eq!(row["max"].as_f64(), values.last().copied(), "{name}");
        assert_within(&format!("{name} sum"), &row["sum"], values.iter().sum(), values.iter().sum());
    }
}

#[test]
fn intervals_without_a_terminal_print_one_object_each() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = Origin::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = origin.port().to_string();
    let arguments = ["--local", "--remote-ports", &port, "-g", "node/remote-service", "--interval", "0.5"];
    let mut stat = Session::command(&[&["stat"], &arguments[..], &["--time", "3"]].concat()).unwrap();
    stat.wait_capturing().unwrap();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    (0..5).for_each(|number| drop(client.get(&format!("/{number}")).unwrap()));
    let report = stat.finish(Duration::from_secs(15)).unwrap();
    assert_eq!((report.code(), &report.noise[..]), (0, &[][..]), "{}", report.stderr);
    assert!(report.exchanges.len() >= 4, "{}", report.exchanges.len());
    let last = &report.exchanges.last().unwrap().value["rows"][0];
    assert_eq!(last["count"], 5, "{last}");
    assert_eq!(last["keys"][1], format!("127.0.0.1:{port}"), "{last}");
    assert!(last["keys"][0].as_str().is_some_and(|node| !node.is_empty()), "{last}");
}

#[test]
fn as_many_as_asked_for_are_counted_and_no_more() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = Origin::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = origin.port().to_string();
    let arguments = ["stat", "--local", "--remote-ports", &port, "-g", "none", "--count", "5", "-o", "json"];
    let mut stat = Session::command(&arguments).unwrap();
    stat.wait_capturing().unwrap();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    (0..20).for_each(|number| drop(client.get(&format!("/{number}")).unwrap()));
    let report = stat.finish(Duration::from_secs(15)).unwrap();
    assert_eq!(report.code(), 0, "{}", report.stderr);
    let rows: Value = serde_json::from_str(&report.noise.join("\n")).unwrap();
    assert_eq!(rows[0]["count"], 5, "{rows}");
    assert_eq!(report.captured().unwrap(), 5, "{}", report.stderr);
    assert!(!report.stderr.contains("was ended by"), "{}", report.stderr);
}
