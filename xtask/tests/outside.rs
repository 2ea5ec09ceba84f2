//! Times agree with those of witnesses who know nothing of us: tcpdump, curl, nginx, a proxy that stamps bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

#[path = "outside/proxy.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use proxy::StampingProxy;
use regex::Regex;
use xtask::kyanos::{self, Exchange, Report, Session};
use xtask::replay::CapturedSegment;
use xtask::run;
use xtask::servers::Nginx;
use xtask::topology::{Between, Reach, Talk, Tcpdump, Topology, machine};
use xtask::workload::http::{HttpClient, Origin};
use xtask::workload::paused::Pauses;

/// Port of the server in its container.
const PORT: u16 = 8080;

/// How long exchanges may take to be shown.
const SHOW_TIMEOUT: Duration = Duration::from_secs(10);

/// How far from tcpdump's a packet's time may be at the median.
const NEAR_TCPDUMP: Duration = Duration::from_micros(50);

fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty());
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn by_start(mut lines: Vec<&Exchange>) -> Vec<&Exchange> {
    lines.sort_by_key(|line| line.time_ns("start_time"));
    lines
}

fn all_sound(report: &Report) {
    for line in &report.exchanges {
        line.check_times().unwrap_or_else(|error| panic!("{error:#}: {:#}", line.value));
    }
}

/// Returns when the payload of each request and each answer of a conversation passed, by number.
fn passed(seen: &[CapturedSegment], name: &str) -> (Vec<u64>, Vec<u64>) {
    let is_request = |segment: &&CapturedSegment| segment.bytes.starts_with(b"GET ");
    let ours = format!("GET /{name}/");
    let requests = seen.iter().filter(|segment| segment.bytes.starts_with(ours.as_bytes()));
    let answers = seen.iter().filter(|segment| !is_request(segment));
    (requests.map(|segment| segment.at_ns).collect(), answers.map(|segment| segment.at_ns).collect())
}

#[test]
fn packets_pass_when_tcpdump_says_they_do() {
    const REQUESTS: usize = 40;
    let Some(_alone) = machine().unwrap() else { return };
    let topology = Topology::build(Between::Bridge, Reach::Service, PORT).unwrap();
    let witnesses = topology.witnesses("tcp").unwrap();
    let session = Session::watch(&["--pids", &std::process::id().to_string()]).unwrap();
    let pauses = Pauses { handler: Duration::from_millis(2), body: 500, ..Pauses::default() };
    Talk::hold(&topology, "tcpdump", REQUESTS, pauses, || {}).unwrap();
    let ours = |line: &Exchange| line.text("operation").starts_with("GET /tcpdump/");
    session.settle(2 * REQUESTS, SHOW_TIMEOUT, ours);
    let report = session.stop().unwrap();
    all_sound(&report);
    for ((role, interface), seen) in Tcpdump::finish(witnesses).unwrap() {
        let (requests, answers) = passed(&seen, "tcpdump");
        assert_eq!((requests.len(), answers.len()), (REQUESTS, REQUESTS), "{role} {interface}");
        for side in ["client", "server"] {
            let lines = report.exchanges.iter().filter(|line| ours(line) && line.text("side") == side);
            let mut differences = Vec::new();
            for (number, line) in by_start(lines.collect()).into_iter().enumerate() {
                let start = line.time_ns("start_time").unwrap();
                for hop in line.hops().unwrap() {
                    if hop.place == "nic"
                        && (hop.netns.and_then(|netns| topology.role(netns)), hop.name.as_str())
                            == (Some(role), interface)
                    {
                        let theirs = if hop.request { requests[number] } else { answers[number] };
                        let ours = start + i128::from(hop.at_ns);
                        differences.push((ours - i128::from(theirs)).unsigned_abs() as f64 / 1e3);
                    }
                }
            }
            let seen = differences.len();
            assert_eq!(seen, 2 * REQUESTS, "{role} {interface} {side}: hops are missing; {}", report.stderr);
            let difference = median(differences);
            println!("{role} {interface} {side}: {difference:.1} µs from tcpdump at the median");
            assert!(
                difference <= NEAR_TCPDUMP.as_secs_f64() * 1e6,
                "{role} {interface} {side}: {difference} µs"
            );
        }
    }
}

/// What curl says of one request, in milliseconds.
struct Curl {
    connect: f64,
    first_byte: f64,
    total: f64,
}

/// What is compared: its name, what curl says and what we say.
type Figure = (&'static str, fn(&Curl) -> f64, fn(&Exchange) -> f64);

fn ms(line: &Exchange, name: &str) -> f64 {
    line.number(name).expect(name) as f64 / 1e6
}

/// Returns the times to connect that blocks of details tell, in milliseconds.
fn connects(report: &Report) -> Vec<f64> {
    let pattern = Regex::new(r"\bconnect ([0-9.]+)(s|ms|µs)\b").unwrap();
    let found = report.noise.iter().filter_map(|line| pattern.captures(line));
    found
        .map(|found| {
            let scale = BTreeMap::from([("s", 1e3), ("ms", 1.0), ("µs", 1e-3)])[&found[2]];
            found[1].parse::<f64>().unwrap() * scale
        })
        .collect()
}

/// Lets curl ask over a connection of its own.
fn curl(topology: &Topology, path: &str) -> Curl {
    let url = format!("http://{}{path}", topology.target());
    let format = "%{time_namelookup} %{time_connect} %{time_pretransfer} %{time_starttransfer} %{time_total}";
    let said = topology
        .client
        .run(|| run::output(Command::new("curl").args(["-sS", "-o", "/dev/null", "-w", format, &url])))
        .unwrap();
    let times: Vec<f64> = said.split(' ').map(|time| time.parse::<f64>().unwrap() * 1e3).collect();
    let [lookup, connect, before, first, total] = times.try_into().unwrap();
    Curl { connect: connect - lookup, first_byte: first - before, total: total - before }
}

#[test]
fn connect_first_byte_and_total_are_what_curl_measures_within_1_ms() {
    const REQUESTS: usize = 15;
    let Some(_alone) = machine().unwrap() else { return };
    let topology = Topology::build(Between::FarCable, Reach::Plain, PORT).unwrap();
    topology.cable().unwrap().back().delay(Duration::from_millis(10));
    topology.limit(&topology.host_b, 50).unwrap();
    let origin = topology.server.run(|| Origin::start((Ipv4Addr::UNSPECIFIED, PORT).into())).unwrap();
    let session = Session::watch(&["--comm", "curl"]).unwrap();
    // How long a connection took to open is told in detail only.
    let name = kyanos::unique_name();
    let mut detail =
        Session::command(&["watch", "--local", "--detail", "--comm", "curl", "--name", &name]).unwrap();
    detail.wait_capturing().unwrap();
    let paths = ["/sleep/20", "/bytes/200000"];
    let said: Vec<Vec<Curl>> =
        paths.iter().map(|path| (0..REQUESTS).map(|_| curl(&topology, path)).collect()).collect();
    session.settle(paths.len() * REQUESTS, SHOW_TIMEOUT, |line| line.has_port(PORT));
    let report = session.stop().unwrap();
    drop(origin);
    all_sound(&report);
    let shown = connects(&detail.stop().unwrap());
    assert_eq!(shown.len(), paths.len() * REQUESTS, "{shown:?}");
    let connects = said.iter().flatten().zip(shown);
    let difference = median(connects.map(|(curl, shown)| (curl.connect - shown).abs()).collect());
    println!("connect: {difference:.3} ms from curl at the median");
    assert!(difference <= 1.0, "connect: {difference} ms");
    for (path, said) in paths.iter().zip(said) {
        let operation = format!("GET {path}");
        let lines =
            report.seen("client", PORT).into_iter().filter(|line| line.text("operation") == operation);
        let lines = by_start(lines.collect());
        assert_eq!(lines.len(), REQUESTS, "{}", report.stderr);
        let figures: [Figure; 2] = [
            ("first byte", |curl| curl.first_byte, |line| ms(line, "send_ns") + ms(line, "network_ns")),
            ("total", |curl| curl.total, |line| ms(line, "total_ns")),
        ];
        for (name, theirs, ours) in figures {
            let difference = median(
                lines.iter().zip(&said).map(|(line, said)| (ours(line) - theirs(said)).abs()).collect(),
            );
            let (theirs, ours) = (
                median(said.iter().map(theirs).collect()),
                median(lines.iter().copied().map(ours).collect()),
            );
            println!(
                "{path} {name}: curl {theirs:.3} ms, ours {ours:.3} ms, {difference:.3} ms apart at the median"
            );
            assert!(difference <= 1.0, "{path} {name}: {difference} ms");
        }
    }
}

#[test]
fn a_proxy_takes_what_nginx_logs_within_its_millisecond() {
    const REQUESTS: usize = 30;
    let Some(_alone) = kyanos::machine().unwrap() else { return };
    let origin = Origin::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let upstream = format!("location /sleep/ {{ proxy_pass http://127.0.0.1:{}; }}", origin.port());
    let nginx = Nginx::start_with(&upstream).unwrap();
    let session = Session::watch(&["--comm", "nginx"]).unwrap();
    let mut client = HttpClient::connect((Ipv4Addr::LOCALHOST, nginx.port()).into()).unwrap();
    for number in 0..REQUESTS {
        assert_eq!(client.get(&format!("/sleep/{}", 10 + number)).unwrap().status, 200);
    }
    session.settle(2 * REQUESTS, SHOW_TIMEOUT, |line| {
        line.has_port(nginx.port()) || line.has_port(origin.port())
    });
    let report = session.stop().unwrap();
    all_sound(&report);
    let logged = nginx.requests().unwrap();
    assert_eq!(logged.len(), REQUESTS);
    let behind = logged.iter().map(|request| request.header_took_ms.expect("a server behind"));
    for (what, lines, theirs) in [
        (
            "request_time",
            report.seen("server", nginx.port()),
            logged.iter().map(|request| request.took_ms).collect(),
        ),
        ("upstream_header_time", report.seen("client", origin.port()), behind.collect::<Vec<u64>>()),
    ] {
        let lines = by_start(lines);
        assert_eq!(lines.len(), REQUESTS, "{what}: {}", report.stderr);
        let differences = lines
            .iter()
            .zip(&theirs)
            .map(|(line, theirs)| (line.number("total_ns").unwrap() as f64 / 1e6 - *theirs as f64).abs());
        let difference = median(differences.collect());
        println!("{what}: {difference:.3} ms from nginx at the median");
        assert!(difference <= 1.0, "{what}: {difference} ms");
    }
}

#[test]
fn calls_begin_and_end_when_a_proxy_stamps_them() {
    const REQUESTS: usize = 50;
    let Some(_alone) = kyanos::machine().unwrap() else { return };
    let origin = Origin::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let proxy = StampingProxy::start(origin.address()).unwrap();
    let session = Session::watch(&["--pids", &std::process::id().to_string()]).unwrap();
    let mut client = HttpClient::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.port()))).unwrap();
    for _ in 0..REQUESTS {
        client.get("/sleep/5").unwrap();
    }
    session.settle(4 * REQUESTS, SHOW_TIMEOUT, |line| {
        line.has_port(proxy.port()) || line.has_port(origin.port())
    });
    drop(client);
    let report = session.stop().unwrap();
    all_sound(&report);
    let front = proxy.port();
    let stamps = proxy.finish().unwrap();
    assert_eq!(stamps.len(), REQUESTS);
    let behind = by_start(report.seen("client", origin.port()));
    let before = by_start(report.seen("server", front));
    assert_eq!((behind.len(), before.len()), (REQUESTS, REQUESTS), "{}", report.stderr);
    let apart = |line: &Exchange, name: &str, stamp: i128| {
        (line.time_ns(name).unwrap() - stamp).unsigned_abs() as f64 / 1e3
    };
    let ahead: Vec<f64> =
        behind.iter().zip(&stamps).map(|(line, stamp)| apart(line, "start_time", stamp.sends)).collect();
    let after: Vec<f64> =
        behind.iter().zip(&stamps).map(|(line, stamp)| apart(line, "end_time", stamp.has_answer)).collect();
    let (ahead, after) = (median(ahead), median(after));
    println!("its request begins {ahead:.1} µs and its answer ends {after:.1} µs from the proxy's stamps");
    assert!(ahead <= 50.0 && after <= 50.0, "{ahead} µs, {after} µs");
    // What the proxy itself takes is what its two stamps at the front say.
    let own: Vec<f64> = before
        .iter()
        .zip(&stamps)
        .map(|(line, stamp)| {
            let stamped = (stamp.answers - stamp.has_request) as f64 / 1e3;
            (line.part("internal").unwrap() as f64 / 1e3 - stamped).abs()
        })
        .collect();
    let own = median(own);
    println!("its own time is {own:.1} µs from its stamps at the median");
    assert!(own <= 50.0, "{own} µs");
}
