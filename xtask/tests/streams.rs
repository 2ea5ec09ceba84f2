//! Connections of every make: open before the capture, cut and merged writes, long bodies, many at once, across
//! processes, IPv6, and two network namespaces with the same port.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use xtask::kyanos::{Exchange, Session, machine};
use xtask::process::{Plan, Process, free_port};
use xtask::run;
use xtask::servers::Dnsmasq;
use xtask::workload::http::{HttpClient, Origin, pattern, request};

const SETTLE: Duration = Duration::from_secs(5);

fn origin() -> Origin {
    Origin::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
}

/// Starts an origin server as a process of its own and waits until it listens.
fn peer(plan: &Plan, mode: &str, address: &str) -> Process {
    let mut command = plan.command();
    command.args([mode, address]).stdout(Stdio::piped());
    let mut process = plan.spawn(&mut command).unwrap();
    let mut line = String::new();
    BufReader::new(process.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "listening");
    process
}

fn peer_plan() -> Plan {
    Plan::at(Path::new(env!("CARGO_BIN_EXE_peer")))
}

/// Checks that each side saw exactly these operations, each answered with 200.
fn assert_both_sides(session: Session, port: u16, mut expected: Vec<String>) -> Vec<Exchange> {
    session.settle(2 * expected.len(), SETTLE, |line| line.has_port(port));
    let report = session.stop().unwrap();
    expected.sort();
    for side in ["client", "server"] {
        let seen = report.seen(side, port);
        let mut operations: Vec<String> = seen.iter().map(|line| line.text("operation").to_owned()).collect();
        operations.sort();
        assert_same(side, &operations, &expected);
        let wrong: Vec<&&Exchange> = seen.iter().filter(|line| line.text("status") != "200").collect();
        assert!(wrong.is_empty(), "{side}: {} without 200, first {:?}", wrong.len(), wrong[0].value);
    }
    assert!(report.lost_of(&[port]).unwrap().is_empty(), "{}", report.stderr);
    report.exchanges.into_iter().filter(|line| line.has_port(port)).collect()
}

fn assert_same(side: &str, seen: &[String], expected: &[String]) {
    let missing: Vec<&String> = expected.iter().filter(|entry| !seen.contains(entry)).take(5).collect();
    let extra: Vec<&String> = seen.iter().filter(|entry| !expected.contains(entry)).take(5).collect();
    assert!(
        seen == expected,
        "{side}: {} seen, {} expected; missing {missing:?}, more {extra:?}",
        seen.len(),
        expected.len()
    );
}

#[test]
fn connections_opened_before_the_capture_are_seen() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let mut used = HttpClient::connect(origin.address()).unwrap();
    used.get("/before").unwrap();
    let mut unused = HttpClient::connect(origin.address()).unwrap();
    // Both of the server's threads are blocked in a read by now.
    std::thread::sleep(Duration::from_millis(100));
    let session = Session::watch(&[]).unwrap();
    let mut expected = Vec::new();
    for (name, client) in [("used", &mut used), ("unused", &mut unused)] {
        for number in 0..3 {
            client.get(&format!("/{name}/{number}")).unwrap();
            expected.push(format!("GET /{name}/{number}"));
        }
    }
    assert_both_sides(session, origin.port(), expected);
}

#[test]
fn a_client_blocked_in_a_read_before_the_capture_gets_the_next_exchange_right() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    client.send(&request("GET", "/sleep/4000", &[])).unwrap();
    let reader = std::thread::spawn(move || {
        client.receive("GET").unwrap();
        client.get("/after").unwrap();
    });
    let session = Session::watch(&[]).unwrap();
    assert!(!reader.is_finished(), "the capture took longer to begin than the first answer");
    reader.join().unwrap();
    session.settle(2, SETTLE, |line| line.text("operation") == "GET /after");
    let report = session.stop().unwrap();
    for side in ["client", "server"] {
        let seen = report.seen(side, origin.port());
        let operations: Vec<&str> = seen.iter().map(|line| line.text("operation")).collect();
        // The first request went before the capture: its answer must not be taken for the next one's.
        assert_eq!(
            operations.iter().filter(|operation| **operation == "GET /after").count(),
            1,
            "{operations:?}"
        );
        let after = seen.iter().find(|line| line.text("operation") == "GET /after").unwrap();
        assert!(after.text("response").contains("GET /after 0"), "{:?}", after.value);
    }
}

#[test]
fn requests_cut_into_single_bytes_and_merged_into_one_write_come_out_whole() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let session = Session::watch(&[]).unwrap();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    let mut expected = Vec::new();
    for byte in request("POST", "/cut", b"some body") {
        client.send(&[byte]).unwrap();
    }
    client.receive("POST").unwrap();
    expected.push("POST /cut".to_owned());
    let mut merged = Vec::new();
    for number in 0..50 {
        merged.extend(request("POST", &format!("/merged/{number}"), &pattern(number, number * 7)));
        expected.push(format!("POST /merged/{number}"));
    }
    client.send(&merged).unwrap();
    (0..50).for_each(|_| drop(client.receive("POST").unwrap()));
    let seen = assert_both_sides(session, origin.port(), expected);
    for line in seen.iter().filter(|line| line.text("operation").starts_with("POST /merged/")) {
        let number: usize = line.text("operation").rsplit('/').next().unwrap().parse().unwrap();
        let whole = request("POST", &format!("/merged/{number}"), &pattern(number, number * 7));
        assert_eq!(line.number("request_bytes"), Some(whole.len() as u64));
        let body = String::from_utf8(pattern(number, number * 7)).unwrap();
        assert!(line.text("request").contains(&body), "{:?}", line.value);
        assert!(
            line.text("response").contains(&format!("POST /merged/{number} {}", number * 7)),
            "{:?}",
            line.value
        );
    }
}

#[test]
fn bodies_of_100_mebibytes_keep_their_size_and_the_connection_goes_on() {
    const SIZE: usize = 100 << 20;
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let session = Session::watch(&[]).unwrap();
    let mut client = HttpClient::connect(origin.address()).unwrap();
    let up = request("POST", "/up", &vec![b'u'; SIZE]);
    client.send(&up).unwrap();
    client.receive("POST").unwrap();
    let down = client.get(&format!("/bytes/{SIZE}")).unwrap();
    client.get("/between").unwrap();
    let chunked = client.get(&format!("/chunked/{SIZE}")).unwrap();
    client.get("/after").unwrap();
    let operations = ["POST /up", "GET /between", "GET /after"].map(str::to_owned).into_iter();
    let long = [format!("GET /bytes/{SIZE}"), format!("GET /chunked/{SIZE}")];
    let seen = assert_both_sides(session, origin.port(), operations.chain(long).collect());
    for (operation, field, bytes) in [
        ("POST /up", "request_bytes", up.len() as u64),
        ("GET /bytes/", "response_bytes", down.bytes),
        ("GET /chunked/", "response_bytes", chunked.bytes),
    ] {
        let lines: Vec<&Exchange> =
            seen.iter().filter(|line| line.text("operation").starts_with(operation)).collect();
        assert_eq!(lines.len(), 2);
        for line in lines {
            assert_eq!(line.number(field), Some(bytes), "{operation} {}", line.text("side"));
        }
    }
}

#[test]
fn a_thousand_concurrent_connections_are_kept_apart() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = origin();
    let session = Session::watch(&[]).unwrap();
    let mut clients: Vec<HttpClient> =
        (0..1000).map(|_| HttpClient::connect(origin.address()).unwrap()).collect();
    let mut expected = Vec::new();
    for round in 0..2 {
        for (number, client) in clients.iter_mut().enumerate() {
            let path = format!("/client/{number}/{round}");
            client.send(&request("GET", &path, &[])).unwrap();
            expected.push(format!("GET {path}"));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let body = client.receive("GET").unwrap().body;
            assert_eq!(body, format!("GET /client/{number}/{round} 0\n").into_bytes());
        }
    }
    for line in assert_both_sides(session, origin.port(), expected) {
        assert!(line.text("response").contains(&format!("{} 0", line.text("operation"))), "{:?}", line.value);
    }
}

#[test]
fn a_server_that_forks_for_each_connection_is_seen_in_its_children() {
    let Some(_alone) = machine().unwrap() else { return };
    let port = free_port().unwrap();
    let server = peer(&peer_plan(), "fork", &format!("127.0.0.1:{port}"));
    let session = Session::watch(&[]).unwrap();
    let mut expected = Vec::new();
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = HttpClient::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
        for round in 0..3 {
            client.get(&format!("/{number}/{round}")).unwrap();
            expected.push(format!("GET /{number}/{round}"));
        }
        clients.push(client);
    }
    let seen = assert_both_sides(session, port, expected);
    let mut children: Vec<u64> =
        seen.iter().filter(|line| line.is("server", port)).filter_map(|line| line.number("pid")).collect();
    children.sort_unstable();
    children.dedup();
    assert_eq!(children.len(), 20, "one process per connection");
    assert!(!children.contains(&u64::from(server.id())));
    assert!(seen.iter().filter(|line| line.is("server", port)).all(|line| line.text("comm") == "peer"));
}

#[test]
fn a_connection_handed_to_another_process_goes_on_as_the_same() {
    let Some(_alone) = machine().unwrap() else { return };
    let port = free_port().unwrap();
    let _server = peer(&peer_plan(), "pass", &format!("127.0.0.1:{port}"));
    let session = Session::watch(&[]).unwrap();
    let mut expected = Vec::new();
    for number in 0..10 {
        let mut client = HttpClient::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
        for round in 0..3 {
            client.get(&format!("/{number}/{round}")).unwrap();
            expected.push(format!("GET /{number}/{round}"));
        }
    }
    let seen = assert_both_sides(session, port, expected);
    for number in 0..10 {
        let of = |line: &&Exchange| {
            line.is("server", port) && line.text("operation").starts_with(&format!("GET /{number}/"))
        };
        let mut ids: Vec<&str> = seen.iter().filter(of).map(|line| line.text("connection_id")).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
    }
}

#[test]
fn ipv6_shows_its_addresses() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = Origin::start(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).unwrap();
    // A socket for both families shows IPv4 clients as IPv4.
    let both = Origin::start(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
    let session = Session::watch(&[]).unwrap();
    HttpClient::connect(origin.address()).unwrap().get("/six").unwrap();
    HttpClient::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, both.port())))
        .unwrap()
        .get("/mapped")
        .unwrap();
    session.settle(4, SETTLE, |line| line.has_port(origin.port()) || line.has_port(both.port()));
    let report = session.stop().unwrap();
    for (port, address) in [(origin.port(), "::1"), (both.port(), "127.0.0.1")] {
        for side in ["client", "server"] {
            let seen = report.seen(side, port);
            assert_eq!(seen.len(), 1, "{side} {port}: {}", report.stderr);
            assert_eq!((seen[0].text("local_addr"), seen[0].text("remote_addr")), (address, address));
        }
    }
}

#[test]
fn two_network_namespaces_with_the_same_address_and_port_are_kept_apart() {
    let Some(_alone) = machine().unwrap() else { return };
    let port = free_port().unwrap();
    let script = format!("ip link set lo up && exec \"$0\" thread 127.0.0.1:{port}");
    let servers: Vec<Process> = (0..2)
        .map(|_| {
            let plan = Plan::new("sh").unwrap().unshare(&["--net"]);
            let mut command = plan.command();
            command.args(["-c", &script, env!("CARGO_BIN_EXE_peer")]).stdout(Stdio::piped());
            let mut process = plan.spawn(&mut command).unwrap();
            let mut line = String::new();
            BufReader::new(process.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line.trim(), "listening");
            process
        })
        .collect();
    let session = Session::watch(&[]).unwrap();
    let client_port = free_port().unwrap();
    let mut expected = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        // The same four numbers in both namespaces.
        let urls: Vec<String> =
            (0..5).map(|round| format!("http://127.0.0.1:{port}/space/{number}/{round}")).collect();
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &server.id().to_string(), "curl", "-s", "--local-port"]);
        run::output(command.arg(client_port.to_string()).args(&urls)).unwrap();
        expected.extend((0..5).map(|round| format!("GET /space/{number}/{round}")));
    }
    let seen = assert_both_sides(session, port, expected);
    let mut ids: Vec<Vec<&str>> = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        let of = |line: &&Exchange| line.text("operation").starts_with(&format!("GET /space/{number}/"));
        assert!(seen.iter().filter(of).all(|line| line.client_port() == u64::from(client_port)));
        let served = seen.iter().filter(of).filter(|line| line.is("server", port));
        assert!(
            served.clone().all(|line| line.number("pid") == Some(server.id().into())),
            "{:?}",
            seen[0].value
        );
        let mut of_server: Vec<&str> = served.map(|line| line.text("connection_id")).collect();
        of_server.dedup();
        assert_eq!(of_server.len(), 1);
        ids.push(of_server);
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_resolvers_paired_lookups_are_two_exchanges() {
    let Some(_alone) = machine().unwrap() else { return };
    let dnsmasq = Dnsmasq::start().unwrap();
    let resolver = dnsmasq.resolver().unwrap();
    let session = Session::watch(&["dns"]).unwrap();
    let names: Vec<String> = (0..20).map(|number| format!("paired-{number}.test")).collect();
    let script = format!(
        "mount --bind {} /etc/resolv.conf && for name in {}; do getent ahosts $name; done",
        resolver.display(),
        names.join(" ")
    );
    run::output(Command::new("unshare").args(["--mount", "sh", "-c", &script])).unwrap();
    let address = dnsmasq.address().to_string();
    session.settle(80, SETTLE, |line| line.has_port(53));
    let report = session.stop().unwrap();
    for side in ["client", "server"] {
        let server = if side == "client" { "remote_addr" } else { "local_addr" };
        let seen: Vec<&Exchange> =
            report.seen(side, 53).into_iter().filter(|line| line.text(server) == address).collect();
        for (kind, answer) in [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")] {
            for name in &names {
                let of = |line: &&&Exchange| line.text("operation") == format!("{kind} {name}");
                let found: Vec<&&Exchange> = seen.iter().filter(of).collect();
                assert_eq!(found.len(), 1, "{side} {kind} {name} of {}: {}", seen.len(), report.stderr);
                assert!(found[0].text("response").contains(answer), "{:?}", found[0].value);
            }
        }
        assert_eq!(seen.len(), 40);
    }
}
