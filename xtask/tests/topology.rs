//! The networks in which segments are measured are what they are taken for: paths, delays, limits, losses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::time::Duration;

use xtask::topology::{BURST_BYTES, Between, Netns, Reach, Talk, Tcpdump, Topology, machine};
use xtask::workload::paused::Pauses;

const PORT: u16 = 8080;

fn talk(topology: &Topology, requests: usize, pauses: Pauses) -> Talk {
    Talk::hold(topology, "talk", requests, pauses, || {}).unwrap()
}

#[test]
fn a_namespace_ends_with_its_owner_also_by_a_panic() {
    let Some(_alone) = machine().unwrap() else { return };
    let kept = Netns::new("kept").unwrap();
    let has_end = || kept.command("ip -o link show dev near").is_ok();
    let panicked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let lost = Netns::new("lost").unwrap();
                kept.ip(&format!("link add near type veth peer name far netns {}", lost.path())).unwrap();
                assert!(has_end());
                panic!("as a test that fails");
            })
            .join()
    });
    assert!(panicked.is_err());
    // With a namespace its ends of veth pairs go, and with those the other ends.
    xtask::process::wait_until("the namespace to end", Duration::from_secs(10), || !has_end()).unwrap();
}

#[test]
fn every_network_carries_requests_along_its_path() {
    let Some(_alone) = machine().unwrap() else { return };
    for (between, reach) in [
        (Between::Bridge, Reach::Plain),
        (Between::Bridge, Reach::Service),
        (Between::Bridge, Reach::Masquerade),
        (Between::Vxlan, Reach::Service),
        (Between::Cable, Reach::Service),
        (Between::FarCable, Reach::Service),
    ] {
        let topology = Topology::build(between, reach, PORT).unwrap();
        let witnesses = topology.witnesses("").unwrap();
        let talk = talk(&topology, 3, Pauses { body: 100, ..Pauses::default() });
        println!("{between:?} {reach:?}: {:.3} ms", talk.median_ms());
        let mut before = 0;
        for (place, seen) in Tcpdump::finish(witnesses).unwrap() {
            let first = seen.iter().find(|segment| segment.bytes.starts_with(b"GET /talk/0 "));
            let under_cover = between == Between::Vxlan && matches!(place, (_, "nic0" | "port-a" | "port-b"));
            let Some(first) = first else {
                assert!(under_cover, "{between:?} {reach:?}: nothing at {place:?}");
                continue;
            };
            assert!(!under_cover, "{between:?}: not encapsulated at {place:?}");
            assert!(first.at_ns >= before, "{between:?} {reach:?}: {place:?} comes earlier on the path");
            before = first.at_ns;
            let (source, target) = (first.source.ip(), first.destination);
            match place {
                ("client", _) => assert_eq!(target, topology.target()),
                ("server", _) => {
                    assert_eq!(target, (topology.server_address(), PORT).into());
                    assert_eq!(
                        source == topology.client_address(),
                        reach != Reach::Masquerade && between != Between::FarCable,
                        "{between:?} {reach:?}: the server sees {source}"
                    );
                }
                _ => {}
            }
        }
    }
}

#[test]
fn delays_come_where_they_are_put() {
    let Some(_alone) = machine().unwrap() else { return };
    let near = |name: &str, talk: &Talk, expected: f64| {
        let found = talk.median_ms();
        println!("{name}: {found:.2} ms of {expected} ms put in");
        assert!(
            (expected..expected * 1.1 + 5.0).contains(&found),
            "{name}: {found} ms, put in {expected} ms"
        );
    };
    let bridge = Topology::build(Between::Bridge, Reach::Plain, PORT).unwrap();
    let none = Pauses { body: 1000, ..Pauses::default() };
    let ms = Duration::from_millis;
    near("nothing", &talk(&bridge, 9, none), 0.0);
    near("handler", &talk(&bridge, 5, Pauses { handler: ms(80), ..none }), 80.0);
    near("server's read", &talk(&bridge, 5, Pauses { before_request_read: ms(60), ..none }), 60.0);
    near("client's read", &talk(&bridge, 5, Pauses { before_response_read: ms(100), ..none }), 100.0);
    bridge.limit(&bridge.host_b, 10).unwrap();
    // 500 KB in 1448 bytes a packet, with 66 bytes of headers each, at 10 Mbit/s.
    let limited = talk(&bridge, 3, Pauses { body: 500_000, ..none });
    let slowed = 500_000.0 * (1514.0 / 1448.0) - f64::from(BURST_BYTES);
    near("limited link", &limited, slowed * 8.0 / 10_000.0);
    assert_eq!((limited.client.retransmits, limited.server.retransmits), (0, 0));
    drop(bridge);
    for kind in [Between::Cable, Between::FarCable] {
        let topology = Topology::build(kind, Reach::Plain, PORT).unwrap();
        let cable = topology.cable().unwrap();
        near("cable", &talk(&topology, 9, none), 0.0);
        cable.there().delay(ms(30));
        near("requests alone", &talk(&topology, 5, none), 30.0);
        cable.there().delay(ms(0));
        cable.back().delay(ms(30));
        near("answers alone", &talk(&topology, 5, none), 30.0);
    }
}

#[test]
fn losses_are_counted_alike_by_connections_and_by_namespaces() {
    let Some(_alone) = machine().unwrap() else { return };
    let topology = Topology::build(Between::Cable, Reach::Plain, PORT).unwrap();
    let cable = topology.cable().unwrap();
    let lossy = Pauses { body: 40_000, ..Pauses::default() };
    let lose = || {
        cable.there().lose(20);
        cable.back().lose(20);
    };
    let talk = Talk::hold(&topology, "talk", 60, lossy, lose).unwrap();
    let namespaces =
        [&topology.client, &topology.server].map(|netns| netns.counter("Tcp", "RetransSegs").unwrap());
    println!(
        "lost {} of requests' packets and {} of answers'; sent again {} and {}",
        cable.there().dropped(),
        cable.back().dropped(),
        talk.client.retransmits,
        talk.server.retransmits
    );
    assert!(cable.back().dropped() > 10);
    assert!(u64::from(talk.server.retransmits) >= cable.back().dropped() / 2);
    // One connection each: what it sent again is what its namespace has.
    assert_eq!(namespaces, [talk.client.retransmits, talk.server.retransmits].map(u64::from));
    assert_eq!((talk.client.retransmits_before, talk.server.retransmits_before), (0, 0));
}
