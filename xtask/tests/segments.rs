//! Delays put in at known places show in their own segment, and the path of a message names every interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

#[path = "segments/scene.rs"]
mod scene;

use std::time::Duration;

use scene::{assert_only, end, median_ms, seen};
use xtask::kyanos::{Exchange, Hop, Session};
use xtask::topology::{Between, Reach, Talk, Topology, machine};
use xtask::workload::paused::Pauses;

/// Port of the server in its container.
const PORT: u16 = 8080;

/// Exchanges of a conversation whose median counts.
const REQUESTS: usize = 7;

/// An answer that fits into a socket's buffer: the kernel takes it while the client does not read.
const SMALL_BODY: usize = 1_000;
const BODY_BELOW_64_KIB: usize = 40_000;

/// A delay, and the parts it belongs to on both sides; empty where a side cannot see it.
#[derive(Clone, Copy)]
struct Put {
    name: &'static str,
    pauses: Pauses,
    delay_ms: f64,
    client: &'static str,
    server: &'static str,
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Watches what this process does, and nothing else.
fn watch() -> Session {
    Session::watch(&["--pids", &std::process::id().to_string()]).unwrap()
}

#[test]
fn each_delay_shows_in_its_own_segment_and_in_no_other() {
    let Some(_alone) = machine().unwrap() else { return };
    // As if each host had a kernel of its own: what lies between them is nobody's but the network's.
    let topology = Topology::build(Between::FarCable, Reach::Plain, PORT).unwrap();
    let cable = topology.cable().unwrap();
    let none = Pauses { body: SMALL_BODY, ..Pauses::default() };
    let late_reader = Pauses { before_response_read: ms(100), body: BODY_BELOW_64_KIB, ..none };
    let rested = [
        Put {
            name: "handler",
            pauses: Pauses { handler: ms(80), ..none },
            delay_ms: 80.0,
            client: "network",
            server: "internal",
        },
        Put { name: "late-reader", pauses: late_reader, delay_ms: 100.0, client: "queue", server: "" },
        Put {
            name: "late-server",
            pauses: Pauses { before_request_read: ms(60), ..none },
            delay_ms: 60.0,
            client: "network",
            server: "queue",
        },
    ];
    let session = watch();
    let mut talks = Vec::new();
    for put in &rested {
        talks.push(Talk::hold(&topology, put.name, REQUESTS, put.pauses, || {}).unwrap());
    }
    cable.there().delay(ms(60));
    talks.push(Talk::hold(&topology, "request-delayed", REQUESTS, none, || {}).unwrap());
    cable.there().delay(ms(0));
    cable.back().delay(ms(60));
    talks.push(Talk::hold(&topology, "response-delayed", REQUESTS, none, || {}).unwrap());
    cable.back().delay(ms(0));
    let large = Pauses { body: 500_000, ..none };
    topology.limit(&topology.host_b, 50).unwrap();
    talks.push(Talk::hold(&topology, "limited", REQUESTS, large, || {}).unwrap());
    topology.limit(&topology.host_b, 10).unwrap();
    talks.push(Talk::hold(&topology, "slow-link", 3, large, || {}).unwrap());
    let report = end(session, &talks.iter().collect::<Vec<_>>());

    let [put_1, put_2, put_3] = rested;
    let delayed = |name| Put { name, pauses: none, delay_ms: 60.0, client: "network", server: "" };
    // 500 KB in 1448 bytes a packet, with 66 bytes of headers each.
    let link = |megabits: f64| 500_000.0 * (1514.0 / 1448.0) * 8.0 / (megabits * 1_000.0);
    let limited =
        Put { name: "limited", pauses: large, delay_ms: link(50.0), client: "transfer", server: "send" };
    // The server's exchange is held for 100 ms at most: it does not see the end of this one leave.
    let slow = Put { name: "slow-link", delay_ms: link(10.0), server: "", ..limited };
    // On a busy machine a rest is longer than told.
    let [put_1, put_2, put_3] = [(put_1, 0), (put_2, 1), (put_3, 2)]
        .map(|(put, index): (Put, usize)| Put { delay_ms: talks[index].rested_ms(), ..put });
    for put in [put_1, put_2, put_3, delayed("request-delayed"), delayed("response-delayed"), limited, slow] {
        for (side, part) in [("client", put.client), ("server", put.server)] {
            let what = format!("{} at the {side}", put.name);
            assert_only(&seen(&report, put.name, side), &what, part, put.delay_ms);
        }
        assert_agree(&seen(&report, put.name, "client"), &seen(&report, put.name, "server"));
    }
}

/// Checks that both sides of exchanges agree.
fn assert_agree(clients: &[&Exchange], servers: &[&Exchange]) {
    assert_eq!(clients.len(), servers.len());
    for (client, server) in clients.iter().zip(servers) {
        assert_eq!(client.text("operation"), server.text("operation"));
        let total = |line: &Exchange| line.number("total_ns").unwrap();
        let sum = |line: &Exchange, parts: &[&str]| -> u64 {
            parts.iter().filter_map(|part| line.part(part)).sum()
        };
        let both = format!("{:#} {:#}", client.value, server.value);
        assert!(total(client) >= total(server), "the server takes longer than its client: {both}");
        assert!(
            sum(client, &["network", "transfer"]) >= sum(server, &["queue", "internal", "send"]),
            "the server's work is not within the client's network: {both}"
        );
    }
}

#[test]
fn a_path_names_every_interface_once_also_through_nat_and_tunnels() {
    let Some(_alone) = machine().unwrap() else { return };
    for (between, reach) in [
        (Between::Bridge, Reach::Plain),
        (Between::Bridge, Reach::Service),
        (Between::Bridge, Reach::Masquerade),
        (Between::Vxlan, Reach::Service),
        (Between::Cable, Reach::Masquerade),
    ] {
        let topology = Topology::build(between, reach, PORT).unwrap();
        let session = watch();
        let pauses = Pauses { handler: ms(60), body: 100, ..Pauses::default() };
        let talked = Talk::hold(&topology, "path", REQUESTS, pauses, || {}).unwrap();
        let report = end(session, &[&talked]);
        let there = topology.path();
        let back: Vec<_> = there.iter().rev().copied().collect();
        for side in ["client", "server"] {
            for line in seen(&report, "path", side) {
                for (request, expected) in [(true, &there), (false, &back)] {
                    let what = format!("{between:?} {reach:?} {side} request {request}: {:#}", line.value);
                    let hops: Vec<Hop> =
                        line.hops().unwrap().into_iter().filter(|hop| hop.request == request).collect();
                    // The process itself stands at the end that is its own.
                    let leaves = request == (side == "client");
                    let process = if leaves { hops.first() } else { hops.last() }.expect("a hop");
                    assert_eq!((process.place.as_str(), process.out), ("process", leaves), "{what}");
                    let nics = hops.iter().filter(|hop| hop.place == "nic");
                    let names = nics.map(|hop| (role(&topology, hop).expect("ours"), hop.name.clone()));
                    let names: Vec<_> = names.collect();
                    let names: Vec<_> = names.iter().map(|(role, name)| (*role, name.as_str())).collect();
                    assert_eq!(&names, expected, "{what}");
                }
            }
        }
        let (clients, servers) = (seen(&report, "path", "client"), seen(&report, "path", "server"));
        assert_interleaved(&clients, &servers, &topology);
        assert_only(&clients, &format!("{between:?} {reach:?} at the client"), "network", talked.rested_ms());
        assert_only(
            &servers,
            &format!("{between:?} {reach:?} at the server"),
            "internal",
            talked.rested_ms(),
        );
    }
}

fn role(topology: &Topology, hop: &Hop) -> Option<&'static str> {
    hop.netns.and_then(|netns| topology.role(netns))
}

/// Checks that both sides saw the same packets at the same times.
fn assert_interleaved(clients: &[&Exchange], servers: &[&Exchange], topology: &Topology) {
    let mut differences = Vec::new();
    for (client, server) in clients.iter().zip(servers) {
        let times = |line: &Exchange| -> Vec<((bool, &str, String), i128)> {
            let start = line.time_ns("start_time").unwrap();
            let hops = line.hops().unwrap().into_iter().filter(|hop| hop.place == "nic");
            hops.map(|hop| {
                let place = (hop.request, role(topology, &hop).unwrap(), hop.name);
                (place, start + i128::from(hop.at_ns))
            })
            .collect()
        };
        for ((place, at), (other, other_at)) in times(client).into_iter().zip(times(server)) {
            assert_eq!(place, other);
            differences.push((at - other_at).unsigned_abs());
        }
    }
    differences.sort_unstable();
    let most = differences.last().copied().unwrap();
    println!("the same packet seen from both sides: at most {most} ns apart");
    assert!(most <= 1_000, "{most} ns");
}

#[test]
fn retransmissions_are_those_that_the_kernel_counts() {
    let Some(_alone) = machine().unwrap() else { return };
    let topology = Topology::build(Between::FarCable, Reach::Plain, PORT).unwrap();
    let cable = topology.cable().unwrap();
    let session = watch();
    let lossy = Pauses { body: 40_000, ..Pauses::default() };
    let lose = || {
        cable.there().lose(20);
        cable.back().lose(20);
    };
    let talked = Talk::hold(&topology, "loss", 60, lossy, lose).unwrap();
    let report = end(session, &[&talked]);
    for (side, ends, netns) in
        [("client", talked.client, &topology.client), ("server", talked.server, &topology.server)]
    {
        let shown: u64 =
            seen(&report, "loss", side).iter().map(|line| line.number("retransmits").unwrap()).sum();
        let counted = netns.counter("Tcp", "RetransSegs").unwrap();
        println!("{side}: {shown} shown, {ends:?}, {counted} in its namespace");
        assert_eq!(shown, u64::from(ends.retransmits - ends.retransmits_before), "{side}");
        assert_eq!(counted, u64::from(ends.retransmits), "{side}");
    }
    assert!(talked.server.retransmits > 5);
    let waits = median_ms(&seen(&report, "loss", "server"), "send");
    println!("the server's median send takes {waits:.2} ms");
}
