//! Times agree with what a client measures, and exchanges are shown soon.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use xtask::kyanos::{Exchange, Session, machine};
use xtask::run;
use xtask::workload::http::{HttpClient, Origin};

fn origin() -> Origin {
    Origin::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty());
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn milliseconds(line: &Exchange) -> f64 {
    let total = line.number("total_ns").expect("a total");
    Duration::from_nanos(total).as_secs_f64() * 1e3
}

#[test]
fn a_handler_of_50_ms_takes_what_curl_measures_within_1_ms_at_the_median() {
    const REQUESTS: usize = 40;
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let session = Session::watch(&[]).unwrap();
    let port = origin.port();
    let urls: Vec<String> = (0..REQUESTS).map(|_| format!("http://127.0.0.1:{port}/sleep/50")).collect();
    // One connection; what passes before the request can be sent is not the exchange's.
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-w", "\ntime %{time_pretransfer} %{time_total}\n"]).args(&urls);
    let measured: Vec<f64> = run::output(&mut curl)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("time "))
        .map(|times| {
            let (before, total) = times.split_once(' ').unwrap();
            (total.parse::<f64>().unwrap() - before.parse::<f64>().unwrap()) * 1e3
        })
        .collect();
    assert_eq!(measured.len(), REQUESTS);
    session.settle(2 * REQUESTS, Duration::from_secs(5), |line| line.has_port(port));
    let report = session.stop().unwrap();
    let mut shown: Vec<&Exchange> = report.seen("client", port);
    assert_eq!(shown.len(), REQUESTS, "{}", report.stderr);
    shown.sort_by_key(|line| line.time_ns("start_time"));
    let differences: Vec<f64> =
        shown.iter().zip(&measured).map(|(line, curl)| (milliseconds(line) - curl).abs()).collect();
    let difference = median(differences);
    let (curl, total) = (median(measured), median(shown.iter().map(|line| milliseconds(line)).collect()));
    println!("curl {curl:.3} ms, total {total:.3} ms, difference {difference:.3} ms at the median");
    assert!(difference <= 1.0, "{difference} ms");
    for line in report.seen("server", port) {
        let internal = line.number("internal_ns").expect("a server's own time");
        assert!(internal >= 49_000_000, "{internal} ns of a handler that sleeps 50 ms");
    }
}

#[test]
fn segments_sum_to_the_total() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let session = Session::watch(&[]).unwrap();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    for size in [1, 1_000, 1_000_000] {
        client.get(&format!("/bytes/{size}")).unwrap();
    }
    session.settle(6, Duration::from_secs(5), |line| line.has_port(origin.port()));
    let report = session.stop().unwrap();
    let lines: Vec<&Exchange> = report.exchanges.iter().filter(|line| line.has_port(origin.port())).collect();
    assert_eq!(lines.len(), 6, "{}", report.stderr);
    let parts = ["send_ns", "network_ns", "transfer_ns", "receive_ns", "queue_ns", "internal_ns", "read_ns"];
    for line in lines {
        let sum: u64 = parts.iter().filter_map(|part| line.number(part)).sum();
        assert_eq!(line.number("total_ns"), Some(sum), "{:?}", line.value);
        let between = line.time_ns("end_time").unwrap() - line.time_ns("start_time").unwrap();
        assert_eq!(Some(between), line.number("total_ns").map(i128::from));
    }
}

#[test]
fn a_handler_of_5_s_takes_5_s() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let session = Session::watch(&[]).unwrap();
    let begun = Instant::now();
    HttpClient::connect(origin.address()).unwrap().get("/sleep/5000").unwrap();
    let took = begun.elapsed().as_secs_f64() * 1e3;
    session.settle(2, Duration::from_secs(5), |line| line.has_port(origin.port()));
    let report = session.stop().unwrap();
    for side in ["client", "server"] {
        let seen = report.seen(side, origin.port());
        assert_eq!(seen.len(), 1, "{side}: {}", report.stderr);
        let total = milliseconds(seen[0]);
        println!("{side} {total:.3} ms of {took:.3} ms");
        assert!((5_000.0..=took).contains(&total), "{side} {total} ms of {took} ms");
    }
}

#[test]
fn the_first_exchange_is_shown_within_2_s_and_each_next_within_100_ms() {
    const REQUESTS: usize = 100;
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let port = origin.port();
    let session = Session::begin(&["--remote-ports", &port.to_string()]).unwrap();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    let patience = Duration::from_secs(20);
    while session.count(|line| line.has_port(port)) == 0 && session.started().elapsed() < patience {
        client.get("/trickle").unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let first = session.started().elapsed();
    println!("first exchange after {} ms", first.as_millis());
    std::thread::sleep(Duration::from_millis(500));
    for number in 0..REQUESTS {
        client.get(&format!("/next/{number}")).unwrap();
        std::thread::sleep(Duration::from_millis(17));
    }
    let next = |line: &Exchange| line.text("operation").starts_with("GET /next/");
    session.settle(REQUESTS, Duration::from_secs(5), next);
    let report = session.stop().unwrap();
    let shown: Vec<&Exchange> = report.exchanges.iter().filter(|line| next(line)).collect();
    // The server says what it was asked for: an answer that stands at another request shows.
    for line in &shown {
        let operation = line.text("operation");
        assert!(line.text("response").contains(operation), "{:?}\n{}", line.value, report.stderr);
    }
    let delays: Vec<f64> = shown
        .iter()
        .map(|line| (line.arrived_ns() - line.time_ns("end_time").expect("an end")) as f64 / 1e6)
        .collect();
    assert_eq!(delays.len(), REQUESTS, "{}", report.stderr);
    let worst = delays.iter().copied().fold(0.0, f64::max);
    let delay = median(delays);
    println!("each next {delay:.1} ms after its response at the median, {worst:.1} ms at worst");
    assert!(first <= Duration::from_secs(2), "{first:?}: {}", report.stderr);
    assert!(delay <= 100.0, "{delay} ms");
}
