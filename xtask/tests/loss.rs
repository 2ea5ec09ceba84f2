//! Nothing vanishes: what was seen was delivered, filtered or counted as lost, in every unit and for every consumer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use xtask::kyanos::{Balance, Exchange, Report, Session, machine};
use xtask::process::Plan;
use xtask::run;
use xtask::servers::Nginx;
use xtask::workload::http::HttpClient;

/// Checks every ledger and that consecutive ones join.
fn assert_balanced(report: &Report) -> Vec<Balance> {
    let balances = report.balances().unwrap();
    let of = |consumer: &str, unit: &str| {
        let found: Vec<&Balance> =
            balances.iter().filter(|b| b.consumer.starts_with(consumer) && b.unit == unit).collect();
        assert_eq!(found.len(), 1, "ledgers of {consumer} in {unit}: {balances:#?}\n{}", report.stderr);
        found[0]
    };
    for balance in &balances {
        let lost: u64 = balance.lost.values().sum();
        assert_eq!(balance.seen, balance.delivered + balance.filtered + lost, "{balance:#?}");
    }
    let (events, exchanges) = (of("capturer", "events"), of("capturer", "exchanges"));
    let (viewer, store) = (of("viewer", "exchanges"), of("store", "exchanges"));
    assert!(events.seen > 0 && exchanges.seen > 0, "{balances:#?}");
    assert_eq!(viewer.seen, exchanges.delivered, "what capturers sent, viewers got: {balances:#?}");
    assert_eq!(store.seen, exchanges.delivered, "what capturers sent, the store got: {balances:#?}");
    assert_eq!(viewer.delivered, report.exchanges.len() as u64, "what was delivered is what was printed");
    assert_eq!(report.captured().unwrap(), viewer.delivered);
    // The summary's losses are the ledgers'.
    let summary: u64 = report.lost().unwrap().values().sum();
    let ledgers: u64 = balances.iter().flat_map(|balance| balance.lost.values()).sum();
    assert_eq!(summary, ledgers, "{}", report.stderr);
    balances
}

fn load(nginx: &Nginx, path: &str, seconds: u32) -> u64 {
    let time = format!("{seconds}s");
    let mut wrk = Command::new("wrk");
    let said = run::output(wrk.args(["-t", "2", "-c", "32", "-d", &time, &nginx.url(path)])).unwrap();
    let count = said.lines().find_map(|line| line.trim().split_once(" requests in "));
    count.unwrap_or_else(|| panic!("{said}")).0.parse().unwrap()
}

fn address(nginx: &Nginx) -> std::net::SocketAddr {
    format!("127.0.0.1:{}", nginx.port()).parse().unwrap()
}

#[test]
fn ledgers_add_up_under_load_with_a_filter() {
    let Some(_alone) = machine().unwrap() else { return };
    let nginx = Nginx::start().unwrap();
    let port = nginx.port().to_string();
    let session = Session::watch(&["-d", "--remote-ports", &port, "--path-prefix", "/status/404"]).unwrap();
    let requests = load(&nginx, "/hello", 3);
    let mut client = HttpClient::connect(address(&nginx)).unwrap();
    for _ in 0..100 {
        client.get("/status/404").unwrap();
    }
    session.settle(100, Duration::from_secs(5), |line| line.text("status") == "404");
    let report = session.stop().unwrap();
    let balances = assert_balanced(&report);
    let filtered: u64 = balances.iter().filter(|b| b.unit == "exchanges").map(|b| b.filtered).sum();
    let lost: u64 = report.lost().unwrap().values().sum();
    println!("{requests} requests, {filtered} filtered, {} shown, {lost} lost", report.exchanges.len());
    assert!(filtered + lost >= requests, "{requests} requests, {balances:#?}");
    if lost == 0 {
        assert_eq!(report.seen("client", nginx.port()).len(), 100);
    }
}

#[test]
fn a_ring_of_64_kib_under_full_load_loses_counts_it_and_decodes_correctly_afterwards() {
    let Some(_alone) = machine().unwrap() else { return };
    let nginx = Nginx::start().unwrap();
    let mut before = HttpClient::connect(address(&nginx)).unwrap();
    let session = Session::watch(&["-d", "--ring-size", "64Ki", "--no-payload"]).unwrap();
    before.get("/hello?before").unwrap();
    let requests = load(&nginx, "/blob-20000", 4);
    std::thread::sleep(Duration::from_secs(1));
    let mut after = HttpClient::connect(address(&nginx)).unwrap();
    for number in 0..100 {
        before.get(&format!("/hello?before={number}")).unwrap();
        after.get(&format!("/hello?after={number}")).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    session.settle(400, Duration::from_secs(10), |line| line.text("operation").starts_with("GET /hello?"));
    let report = session.stop().unwrap();
    let balances = assert_balanced(&report);
    let lost = report.lost().unwrap();
    println!("{requests} requests, {} lines, lost {lost:?}", report.exchanges.len());
    let ring: u64 = balances.iter().filter_map(|balance| balance.lost.get("ring")).sum();
    assert!(ring > 0, "nothing was lost in a ring of 64 KiB: {balances:#?}");
    for side in ["client", "server"] {
        let seen = report.seen(side, nginx.port());
        for connection in ["before", "after"] {
            for number in 0..100 {
                let operation = format!("GET /hello?{connection}={number}");
                let found: Vec<_> = seen.iter().filter(|line| line.text("operation") == operation).collect();
                assert_eq!(found.len(), 1, "{side} {operation}: {}", report.stderr);
                assert_eq!(found[0].text("status"), "200");
            }
        }
        // Whatever was decoded while events were missing is right.
        let wrong: Vec<_> = seen
            .iter()
            .filter(|line| line.text("operation").starts_with("GET /blob"))
            .filter(|line| !is_right(line))
            .collect();
        println!("{side}: {} seen, {} wrong", seen.len(), wrong.len());
        assert!(wrong.is_empty(), "{side}: {} wrong, first {:#}", wrong.len(), wrong[0].value);
    }
}

/// Says whether an exchange of a file of 20,000 bytes can be true: all of its response, or none.
fn is_right(line: &Exchange) -> bool {
    let sizes = (line.text("status"), line.number("response_bytes"));
    let times = |name: &str| line.value[name].as_array().cloned().unwrap_or_default();
    let time = |event: Option<&Value>| event.and_then(|event| event["Timestamp"].as_u64());
    let asked = time(times("req_syscall_events").first());
    let answered = time(times("resp_syscall_events").last());
    let in_order = asked.zip(answered).is_none_or(|(asked, answered)| asked <= answered);
    line.text("operation") == "GET /blob-20000"
        && matches!(sizes, ("200", Some(20_000..21_000)) | ("", None))
        && in_order
}

#[test]
fn a_reader_that_stops_reading_costs_only_itself() {
    let Some(_alone) = machine().unwrap() else { return };
    let nginx = Nginx::start().unwrap();
    let mut session = Session::watch(&["-d", "--remote-ports", &nginx.port().to_string()]).unwrap();
    // A second viewer whose output nobody reads.
    let plan = Plan::at(&xtask::workspace::binary("kubectl-kyanos").unwrap());
    let mut command = plan.command();
    command.args(["watch", "--local", "-o", "json", "--session", session.name()]);
    let mut stuck = plan.spawn(command.stdout(Stdio::piped()).stderr(Stdio::null())).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let requests = load(&nginx, "/hello", 3);
    session.settle(usize::try_from(requests).unwrap(), Duration::from_secs(10), |line| {
        line.has_port(nginx.port())
    });
    assert!(session.process().is_running());
    let report = session.stop().unwrap();
    let balances = report.balances().unwrap();
    let lost: u64 = report.lost().unwrap().values().sum();
    println!("{requests} requests, {} lines, lost {:?}", report.exchanges.len(), report.lost().unwrap());
    assert!(report.exchanges.len() as u64 + lost >= requests, "{balances:#?}");
    stuck.stop().unwrap();
}
