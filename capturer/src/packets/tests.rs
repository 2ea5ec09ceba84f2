//! Packets as the kernel would tell of them, of a connection with the id 1.

use super::*;

fn interface(name: &str, netns: u32) -> Interface {
    let mut padded = [0; layout::INTERFACE_NAME_LEN];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    Interface { netns, name: padded }
}

fn packet(name: &str, transmit: bool, seq: u32, bytes: u32, at_ns: u64) -> layout::Packet {
    let Interface { netns, name } = interface(name, 7);
    layout::Packet {
        kind: layout::Kind::Packet as u8,
        flags: if transmit { layout::packet::TRANSMIT } else { 0 },
        reserved: 0,
        netns,
        connections: [1, 0],
        at_ns,
        seq,
        bytes,
        sockets: [7, 0],
        name,
    }
}

fn arrival(seq: u32, bytes: u32, at_ns: u64) -> layout::Arrival {
    layout::Arrival {
        kind: layout::Kind::Arrival as u8,
        alone: u8::from(bytes > 0),
        reserved: 0,
        seq,
        connection: 1,
        at_ns,
        bytes,
        unused: 0,
    }
}

#[test]
fn a_retransmission_never_replaces_what_was_seen_first() {
    let mut packets = Packets::default();
    for (seq, at_ns) in [(100, 10), (200, 20), (100, 90), (150, 95)] {
        packets.crossed(&packet("eth0", true, seq, 100, at_ns));
    }
    let passage = packets.of(1).unwrap().passage(OUT).unwrap();
    let crossing = passage.crossing(&interface("eth0", 7), true).unwrap();
    let start = passage.position(100);
    assert_eq!(crossing.at(start), Some(10));
    assert_eq!(crossing.at(start + 199), Some(20));
    assert_eq!(crossing.at(start + 200), None);
    assert_eq!(crossing.bytes(start, start + 200), 200, "bytes that crossed again count once");
    assert_eq!(crossing.bytes(start + 50, start + 120), 70);
}

#[test]
fn the_last_byte_before_a_time_is_found_in_the_middle_of_a_message() {
    let mut packets = Packets::default();
    for (seq, at_ns) in [(0, 10), (100, 20), (200, 60)] {
        packets.crossed(&packet("eth0", true, seq, 100, at_ns));
    }
    let passage = packets.of(1).unwrap().passage(OUT).unwrap();
    let crossing = passage.crossing(&interface("eth0", 7), true).unwrap();
    let start = passage.position(0);
    assert_eq!(crossing.last_before(start, start + 300, 50), Some(20), "an early answer");
    assert_eq!(crossing.last_before(start, start + 300, 99), Some(60));
    assert_eq!(crossing.last_before(start, start + 150, 99), Some(20), "the next message does not count");
    assert_eq!(crossing.last_before(start, start + 300, 9), None);
}

#[test]
fn a_socket_has_a_byte_when_all_before_it_came() {
    for alone in [false, true] {
        let mut packets = Packets::default();
        if alone {
            // The second one is late; the third waits for it.
            for (end, bytes, at_ns) in [(100, 100, 10), (300, 100, 20), (200, 100, 70), (200, 100, 80)] {
                packets.arrived(&arrival(end, bytes, at_ns));
            }
        } else {
            for (reached, at_ns) in [(100, 10), (100, 20), (300, 70), (300, 80)] {
                packets.arrived(&arrival(reached, 0, at_ns));
            }
        }
        let passage = packets.of(1).unwrap().passage(IN).unwrap();
        let start = passage.position(0);
        let times: Vec<_> = [50, 100, 101, 300, 301].map(|bytes| passage.in_socket(start + bytes)).into();
        assert_eq!(times, [Some(10), Some(10), Some(70), Some(70), None], "alone: {alone}");
    }
}

#[test]
fn sequence_numbers_wrap() {
    let mut packets = Packets::default();
    packets.crossed(&packet("eth0", true, u32::MAX - 49, 100, 10));
    packets.crossed(&packet("eth0", true, 50, 100, 20));
    let passage = packets.of(1).unwrap().passage(OUT).unwrap();
    let crossing = passage.crossing(&interface("eth0", 7), true).unwrap();
    let start = passage.position(u32::MAX - 49);
    assert_eq!((crossing.at(start + 99), crossing.at(start + 100)), (Some(10), Some(20)));
    assert_eq!(passage.position(150), start + 200);
}

#[test]
fn a_long_message_keeps_its_ends_within_the_limit() {
    let mut packets = Packets::default();
    for number in 0..10_000_u32 {
        packets.crossed(&packet("eth0", true, number * 1000, 1000, number.into()));
        packets.arrived(&arrival((number + 1) * 1000, 0, number.into()));
    }
    let seen = packets.of(1).unwrap();
    let (out, inward) = (seen.passage(OUT).unwrap(), seen.passage(IN).unwrap());
    let crossing = out.crossing(&interface("eth0", 7), true).unwrap();
    let start = out.position(0);
    assert_eq!(crossing.at(start), Some(0));
    assert_eq!(crossing.at(start + 9_999_999), Some(9_999));
    assert_eq!(crossing.at(start + 5_000_000), None);
    assert_eq!(inward.in_socket(inward.position(10_000_000)), Some(9_999));
    assert!(crossing.bytes(start, start + 10_000_000) <= SIGHTINGS as u64 * 1000);
}

#[test]
fn what_was_answered_is_forgotten() {
    let mut packets = Packets::default();
    for (seq, at_ns) in [(0, 10), (100, 20)] {
        packets.crossed(&packet("eth0", true, seq, 100, at_ns));
    }
    assert_eq!(packets.sightings, 2);
    packets.prune(1, [Some(100), None]);
    assert_eq!(packets.sightings, 1);
    let passage = packets.of(1).unwrap().passage(OUT).unwrap();
    let crossing = passage.crossing(&interface("eth0", 7), true).unwrap();
    assert_eq!((crossing.at(passage.position(50)), crossing.at(passage.position(150))), (None, Some(20)));
}

#[test]
fn retransmissions_are_told_once_and_to_the_message_they_are_of() {
    let mut packets = Packets::default();
    packets.crossed(&packet("eth0", true, 0, 300, 10));
    for (seq, total) in [(0, 4), (0, 6), (250, 7)] {
        packets.sent_again(&layout::Retransmit {
            kind: layout::Kind::Retransmit as u8,
            reserved: [0; 3],
            seq,
            connection: 1,
            at_ns: 20,
            bytes: 10,
            total,
        });
    }
    let seen = packets.of_mut(1).unwrap();
    assert_eq!(seen.take_sent_again(200), 3, "the first counts as one, the second as the kernel says");
    assert_eq!(seen.take_sent_again(200), 0);
    assert_eq!(seen.take_sent_again(300), 1);
}

#[test]
fn a_sender_without_room_is_counted_at_one_place() {
    let mut packets = Packets::default();
    for (name, transmit, at_ns) in
        [("eth0", true, 10), ("br0", false, 11), ("eth0", true, 30), ("br0", false, 31)]
    {
        let mut without = packet(name, transmit, 0, 0, at_ns);
        without.flags |= layout::packet::ZERO_WINDOW;
        packets.crossed(&without);
    }
    let passage = packets.of(1).unwrap().passage(OUT).unwrap();
    assert_eq!((passage.zero_windows(0, 99), passage.zero_windows(0, 20)), (2, 1));
    assert!(passage.crossings().is_empty(), "it carries nothing");
}

#[test]
fn all_sightings_together_are_bounded() {
    let mut packets = Packets::default();
    for number in 0..ALL_SIGHTINGS as u64 + 1_000 {
        let id = number % 8_000 + 1;
        let seq = u32::try_from(number).unwrap();
        packets.crossed(&layout::Packet { connections: [id, 0], ..packet("lo", true, seq, 1, number) });
    }
    assert_eq!(packets.sightings, ALL_SIGHTINGS);
    packets.forget(1);
    assert!(packets.sightings < ALL_SIGHTINGS);
}

#[test]
fn packets_of_nobody_are_dropped_in_time_and_room_is_bounded() {
    let mut packets = Packets::default();
    for id in 1..=CONNECTIONS as u64 + 5 {
        packets.crossed(&layout::Packet { connections: [id, 0], ..packet("lo", true, 0, 10, 1_000) });
    }
    assert_eq!(packets.len(), CONNECTIONS);
    packets.claim(1, 1_000);
    packets.expire(UNCLAIMED_NS + 2_000);
    assert_eq!(packets.len(), 1);
    packets.forget(1);
    assert!(packets.is_empty());
}

#[test]
fn both_ends_on_this_machine_see_the_same_packet() {
    let mut packets = Packets::default();
    let both = layout::Packet { connections: [1, 2], sockets: [7, 8], ..packet("veth1", true, 0, 10, 5) };
    packets.crossed(&both);
    let [sender, receiver] = [1, 2].map(|id| packets.of(id).unwrap());
    assert_eq!(sender.passage(OUT).unwrap().crossings().len(), 1);
    assert_eq!(receiver.passage(IN).unwrap().crossings().len(), 1);
    assert!(sender.is_peers_own(&interface("eth0", 8)) && !sender.is_peers_own(&interface("eth0", 7)));
    assert!(receiver.is_peers_own(&interface("eth0", 7)) && !receiver.is_peers_own(&interface("br0", 9)));
}
