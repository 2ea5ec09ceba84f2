//! Paths of made exchanges: calls and packets as a kernel would tell of them.

use capturer_ebpf::layout::{self, INTERFACE_NAME_LEN};

use super::*;
use crate::context::Caller;
use crate::fixtures;
use crate::marks::Calls;
use crate::packets::{Packets, Seen};

/// Namespaces: the own pod's, its host's, and the peer's.
const OWN: u32 = 1;
const HOST: u32 = 2;
const PEER: u32 = 3;

/// Both streams begin here.
const FIRST: u32 = 1_000;

struct World {
    calls: [Calls; 2],
    packets: Packets,
    /// The namespace of the peer's socket, 0 where it is on another machine.
    peer: u32,
}

impl World {
    fn new(peer: u32) -> Self {
        Self { calls: Default::default(), packets: Packets::default(), peer }
    }

    fn call(&mut self, direction: usize, bytes: std::ops::Range<u64>, enter_ns: u64, exit_ns: u64) {
        let (start, end) = (position(bytes.start), position(bytes.end));
        self.calls[direction].push(Call { start, end, enter_ns, exit_ns, bytes: end - start, pid: 7 });
    }

    /// A packet of the own end's direction crosses an interface.
    fn packet(
        &mut self,
        direction: usize,
        (name, netns, transmit): (&str, u32, bool),
        bytes: std::ops::Range<u32>,
        at_ns: u64,
    ) {
        let mut padded = [0; INTERFACE_NAME_LEN];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        let (ids, sockets) =
            if direction == OUT { ([1, 0], [OWN, self.peer]) } else { ([0, 1], [self.peer, OWN]) };
        self.packets.crossed(&layout::Packet {
            kind: layout::Kind::Packet as u8,
            flags: if transmit { layout::packet::TRANSMIT } else { 0 },
            reserved: 0,
            netns,
            connections: ids,
            at_ns,
            seq: FIRST + bytes.start,
            bytes: bytes.end - bytes.start,
            sockets,
            name: padded,
        });
    }

    fn arrival(&mut self, bytes: u32, at_ns: u64) {
        self.packets.arrived(&layout::Arrival {
            kind: layout::Kind::Arrival as u8,
            alone: 0,
            reserved: 0,
            seq: FIRST + bytes,
            connection: 1,
            at_ns,
            bytes: 0,
            unused: 0,
        });
    }

    fn path(&self, side: Side, request: &Message, response: &Message) -> Path {
        self.with(|context| Path::of(context, side, Some(request), Some(response), true))
    }

    fn with<T>(&self, run: impl for<'a> FnOnce(&'a ExchangeContext<'a>) -> T) -> T {
        let connection = fixtures::connection(1);
        let packets: Option<&Seen> = self.packets.of(1);
        run(&ExchangeContext {
            connection: &connection,
            calls: &self.calls,
            caller: Caller { pid: 7, cgroup: 0 },
            last_ns: 0,
            span: None,
            packets,
            shifts: [0; 2],
            retransmits: None,
            opening: None,
        })
    }
}

/// The position of a byte of either stream.
fn position(byte: u64) -> u64 {
    (1 << 32) + u64::from(FIRST) + byte
}

fn message(bytes: std::ops::Range<u64>) -> Message {
    Message {
        start: position(bytes.start),
        end: position(bytes.end),
        datagram: None,
        plain_bytes: None,
        payload: Vec::new(),
        truncated: false,
    }
}

/// A client's exchange from a pod over its host to another machine, with 100 bytes asked and 200 answered in two packets.
fn remote_client() -> World {
    let mut world = World::new(0);
    world.call(OUT, 0..100, 0, 30);
    for (name, netns, transmit, at_ns) in
        [("eth0", OWN, true, 10), ("veth1", HOST, false, 12), ("ens3", HOST, true, 15)]
    {
        world.packet(OUT, (name, netns, transmit), 0..100, at_ns);
    }
    for (bytes, at_ns) in [(0..150, 1_000), (150..200, 1_500)] {
        for (name, netns, transmit, after) in
            [("ens3", HOST, false, 0), ("veth1", HOST, true, 3), ("eth0", OWN, false, 5)]
        {
            world.packet(IN, (name, netns, transmit), bytes.clone(), at_ns + after);
        }
    }
    world.arrival(150, 1_006);
    world.arrival(200, 1_507);
    world.call(IN, 0..200, 1_600, 1_610);
    world
}

#[test]
fn a_client_to_another_machine_is_cut_at_the_uplink() {
    let path = remote_client().path(Side::Client, &message(0..100), &message(0..200));
    let segments = path.timing.segments;
    let parts = [
        segments.send_ns,
        segments.network_ns,
        segments.transfer_ns,
        segments.receive_ns,
        segments.queue_ns,
        segments.read_ns,
    ];
    assert_eq!(parts.map(Option::unwrap), [15, 985, 500, 7, 93, 10]);
    assert_eq!((segments.total_ns, path.timing.clamped), (1_610, false));
    assert_eq!((path.place, path.zero_windows), (Some((FIRST, FIRST)), Some(0)));
    let names: Vec<String> = path
        .hops
        .iter()
        .map(|hop| match hop.place {
            HopPlace::Process => "process".to_owned(),
            HopPlace::Socket => "socket".to_owned(),
            HopPlace::Nic(interface) => {
                format!("{} {}", interface.name(), if hop.out { "out" } else { "in" })
            }
        })
        .collect();
    let expected = [
        "process",
        "eth0 out",
        "veth1 in",
        "ens3 out",
        "ens3 in",
        "veth1 out",
        "eth0 in",
        "socket",
        "process",
    ];
    assert_eq!(names, expected);
    let (requests, responses): (Vec<_>, Vec<_>) = path.hops.iter().partition(|hop| hop.request);
    assert!(requests.iter().all(|hop| hop.bytes == 100) && responses.iter().all(|hop| hop.bytes == 200));
}

#[test]
fn what_happens_in_the_peers_namespace_is_the_peers() {
    for (side, asks, answers) in [(Side::Client, OUT, IN), (Side::Server, IN, OUT)] {
        let mut world = World::new(PEER);
        let (near, far) = (("eth0", OWN, "veth1"), ("eth0", PEER, "veth2"));
        let (from, to) = if side == Side::Client { (near, far) } else { (far, near) };
        let mut cross = |direction, from: (&str, u32, &str), to: (&str, u32, &str), at_ns| {
            world.packet(direction, (from.0, from.1, true), 0..10, at_ns);
            world.packet(direction, (from.2, HOST, false), 0..10, at_ns + 1);
            world.packet(direction, (to.2, HOST, true), 0..10, at_ns + 2);
            world.packet(direction, (to.0, to.1, false), 0..10, at_ns + 3);
        };
        cross(asks, from, to, 100);
        cross(answers, to, from, 900);
        world.arrival(10, if side == Side::Client { 910 } else { 110 });
        let (own_request, own_response) =
            if side == Side::Client { ((90, 95), (800, 920)) } else { ((20, 120), (890, 950)) };
        world.call(asks, 0..10, own_request.0, own_request.1);
        world.call(answers, 0..10, own_response.0, own_response.1);
        let segments = world.path(side, &message(0..10), &message(0..10)).timing.segments;
        match side {
            // veth2 is the host's end of the peer's pair: out at 102, in at 901.
            Side::Client => {
                assert_eq!(
                    (segments.send_ns, segments.network_ns, segments.receive_ns),
                    (Some(12), Some(799), Some(9))
                );
            }
            // veth2 again: in at 101, out at 902.
            Side::Server => {
                assert_eq!((segments.receive_ns, segments.queue_ns), (Some(9), Some(10)));
                assert_eq!(
                    (segments.internal_ns, segments.send_ns, segments.total_ns),
                    (Some(770), Some(12), 801)
                );
            }
        }
    }
}

#[test]
fn on_loopback_the_boundary_is_lo() {
    let mut world = World::new(OWN);
    world.call(OUT, 0..10, 0, 20);
    for (direction, transmit, at_ns) in [(OUT, true, 5), (OUT, false, 6), (IN, true, 80), (IN, false, 82)] {
        world.packet(direction, ("lo", OWN, transmit), 0..10, at_ns);
    }
    world.arrival(10, 83);
    world.call(IN, 0..10, 30, 90);
    let path = world.path(Side::Client, &message(0..10), &message(0..10));
    let segments = path.timing.segments;
    assert_eq!((segments.send_ns, segments.network_ns, segments.transfer_ns), (Some(5), Some(77), Some(0)));
    assert_eq!((segments.receive_ns, segments.queue_ns, segments.read_ns), (Some(1), Some(0), Some(7)));
    assert_eq!(path.hops.len(), 4 + 2 + 1, "lo sends and receives either message");
}

#[test]
fn an_early_answer_ends_the_request_where_it_stood() {
    let mut world = World::new(0);
    world.call(OUT, 0..300, 0, 900);
    for (bytes, at_ns) in [(0..100, 10), (100..200, 20), (200..300, 800)] {
        world.packet(OUT, ("ens3", HOST, true), bytes, at_ns);
    }
    world.packet(IN, ("ens3", HOST, false), 0..50, 500);
    world.call(IN, 0..50, 510, 520);
    let segments = world.path(Side::Client, &message(0..300), &message(0..50)).timing.segments;
    assert_eq!((segments.send_ns, segments.network_ns), (Some(20), Some(480)));
}

#[test]
fn pipelined_requests_share_packets_and_calls() {
    let mut world = World::new(0);
    // Three requests in one write and one packet; answers in one packet, read at once.
    world.call(OUT, 0..30, 0, 8);
    world.packet(OUT, ("ens3", HOST, true), 0..30, 5);
    for (bytes, at_ns) in [(0..20, 100), (20..60, 200)] {
        world.packet(IN, ("ens3", HOST, false), bytes, at_ns);
    }
    world.arrival(20, 101);
    world.arrival(60, 201);
    world.call(IN, 0..60, 300, 310);
    for (number, network, transfer) in [(0, 95, 0), (1, 195, 0), (2, 195, 0)] {
        let (request, response) =
            (message(number * 10..number * 10 + 10), message(number * 20..number * 20 + 20));
        let segments = world.path(Side::Client, &request, &response).timing.segments;
        assert_eq!((segments.network_ns, segments.transfer_ns), (Some(network), Some(transfer)), "{number}");
        assert_eq!(segments.total_ns, 310);
    }
}

#[test]
fn a_retransmission_moves_no_mark() {
    let mut world = remote_client();
    world.packet(OUT, ("ens3", HOST, true), 0..100, 700);
    world.packet(IN, ("ens3", HOST, false), 150..200, 1_590);
    let segments = world.path(Side::Client, &message(0..100), &message(0..200)).timing.segments;
    assert_eq!((segments.send_ns, segments.transfer_ns), (Some(15), Some(500)));
}

#[test]
fn bytes_out_of_order_are_received_when_the_hole_is_filled() {
    let mut world = World::new(0);
    world.call(OUT, 0..10, 0, 5);
    world.packet(OUT, ("ens3", HOST, true), 0..10, 2);
    for (bytes, at_ns) in [(0..100, 100), (200..300, 120), (100..200, 400)] {
        world.packet(IN, ("ens3", HOST, false), bytes, at_ns);
    }
    world.arrival(100, 101);
    world.arrival(300, 401);
    world.call(IN, 0..300, 90, 410);
    let segments = world.path(Side::Client, &message(0..10), &message(0..300)).timing.segments;
    assert_eq!(
        (segments.transfer_ns, segments.receive_ns, segments.queue_ns),
        (Some(20), Some(281), Some(0))
    );
}

#[test]
fn what_was_read_before_packets_were_seen_did_not_arrive_with_later_bytes() {
    let mut world = World::new(0);
    world.call(IN, 0..10, 90, 100);
    world.call(OUT, 0..5, 150, 160);
    world.arrival(20, 250);
    world.call(IN, 10..20, 170, 300);
    world.call(OUT, 5..9, 350, 360);
    let first = world.path(Side::Server, &message(0..10), &message(0..5));
    assert_eq!((first.timing.start_ns, first.timing.clamped), (100, false));
    assert!(first.hops.iter().all(|hop| hop.place != HopPlace::Socket));
    let second = world.path(Side::Server, &message(10..20), &message(5..9));
    assert_eq!((second.timing.start_ns, second.timing.segments.queue_ns), (250, Some(50)));
}

#[test]
fn without_packets_calls_alone_say_what_they_do_today() {
    let mut world = World::new(0);
    world.call(IN, 0..10, 0, 10);
    world.call(OUT, 0..10, 50, 60);
    let path = world.path(Side::Server, &message(0..10), &message(0..10));
    let segments = path.timing.segments;
    assert_eq!((segments.receive_ns, segments.queue_ns), (None, Some(0)));
    assert_eq!((segments.internal_ns, segments.send_ns, segments.total_ns), (Some(40), Some(10), 50));
    assert_eq!((path.hops.len(), path.zero_windows), (2, None));
}

#[test]
fn a_server_waits_for_its_last_byte_only_where_the_first_came_by_an_interface() {
    let (request, response) = (message(0..10), message(0..10));
    let mut world = World::new(0);
    let waits = |world: &World, side| {
        world.with(|context| is_under_way(context, side, Some(&request), Some(&response)))
    };
    assert!(!waits(&world, Side::Server), "nothing was seen of packets");
    world.packet(IN, ("ens3", HOST, false), 0..10, 5);
    assert!(waits(&world, Side::Server));
    assert!(!waits(&world, Side::Client));
    world.packet(OUT, ("ens3", HOST, true), 0..9, 50);
    assert!(waits(&world, Side::Server), "one byte is to come");
    world.packet(OUT, ("ens3", HOST, true), 9..10, 60);
    assert!(!waits(&world, Side::Server));
}

proptest::proptest! {
    /// Whatever is observed, in whatever order: segments sum to the total, to the nanosecond.
    #[test]
    fn segments_sum_whatever_is_seen(
        times in proptest::collection::vec(0_u64..5_000, 24),
        present in proptest::bits::u32::ANY,
        server in proptest::bool::ANY,
    ) {
        let mut world = World::new(PEER);
        let mut next = times.iter().copied().enumerate().filter(|(index, _)| present >> index & 1 == 1);
        let (asks, answers) = if server { (IN, OUT) } else { (OUT, IN) };
        if let (Some((_, enter)), Some((_, took))) = (next.next(), next.next()) {
            world.call(asks, 0..10, enter, enter + took);
        }
        if let (Some((_, enter)), Some((_, took))) = (next.next(), next.next()) {
            world.call(answers, 0..10, enter, enter + took);
        }
        for (index, at_ns) in next {
            let direction = if index % 3 == 0 { asks } else { answers };
            let (name, netns) = [("eth0", OWN), ("veth1", HOST), ("eth0", PEER)][index % 3];
            world.packet(direction, (name, netns, index % 2 == 0), 0..10, at_ns);
            world.arrival(10, at_ns);
        }
        let side = if server { Side::Server } else { Side::Client };
        let path = world.path(side, &message(0..10), &message(0..10));
        let segments = path.timing.segments;
        let parts = [
            segments.send_ns, segments.network_ns, segments.transfer_ns, segments.receive_ns,
            segments.queue_ns, segments.internal_ns, segments.read_ns,
        ];
        proptest::prop_assert_eq!(parts.into_iter().flatten().sum::<u64>(), segments.total_ns);
        proptest::prop_assert!(path.hops.is_sorted_by_key(|hop| hop.at_ns));
    }
}
