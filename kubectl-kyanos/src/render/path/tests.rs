//! Paths as a terminal shows them.

use std::fmt::Write;

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::super::samples;
use super::*;
use crate::written_down;

/// Widths of terminals whose pictures are kept in a file.
const WIDTHS: [usize; 4] = [40, 60, 80, 120];

/// Narrower terminals cut off what they are told.
const LEAST_WIDTH: usize = 40;

#[test]
fn a_path_is_drawn_as_wide_as_there_is_room() {
    let mut text = String::new();
    for width in WIDTHS {
        for (name, exchange) in [
            ("a client", samples::traced_client()),
            ("a client whose server was seen too", samples::joined_client()),
            ("a server", samples::traced_server()),
            ("a client without packets", samples::untraced_client()),
        ] {
            let (path, hops) = (path(&exchange, width), hops(&exchange, width));
            writeln!(text, "{width} characters, {name}:\n{path}{hops}").expect("text");
        }
    }
    written_down::must_be("src/render/path/drawn.txt", &text);
}

#[test]
fn the_guide_shows_a_path_as_it_is_drawn() {
    let guide = include_str!("../../../../docs/guide.md");
    let drawn = path(&samples::traced_client(), 80) + &hops(&samples::traced_client(), 80);
    assert!(guide.contains(&drawn), "docs/guide.md should show:\n{drawn}");
}

#[test]
fn nothing_is_drawn_of_what_took_no_known_time() {
    assert_eq!(path(&samples::unanswered(), 80), "");
    assert_eq!(hops(&samples::unanswered(), 80), "");
}

#[test]
fn parts_that_a_side_cannot_have_are_told_all_the_same() {
    let mut exchange = samples::traced_server();
    exchange.segments = samples::traced_client().segments;
    let told = path(&exchange, 80);
    assert!(told.starts_with("  send 12.0µs 0.1 %\n  network 8.00ms 80.0 %\n"), "{told}");
    exchange.side = v1::Side::Unspecified.into();
    assert_eq!(path(&exchange, 80), told);
}

#[test]
fn shares_are_rounded_and_never_hidden() {
    for (part, total, text) in [
        (0, 10, "0.0 %"),
        (10, 10, "100.0 %"),
        (1, 3, "33.3 %"),
        (2, 3, "66.7 %"),
        (1, 2000, "0.1 %"),
        (1, 2001, "<0.1 %"),
        (-1, 2001, ">-0.1 %"),
        (-5, 1000, "-0.5 %"),
        (-2, 3, "-66.7 %"),
        (1, 0, "-"),
    ] {
        assert_eq!(share(part, total), text, "{part} of {total}");
    }
    assert_eq!(share(u64::MAX.into(), u64::MAX), "100.0 %");
}

#[test]
fn many_hops_are_counted() {
    let mut exchange = samples::traced_client();
    let hop = exchange.hops[4].clone();
    exchange.hops = vec![hop; hops::MAX_SHOWN_HOPS + 5];
    let text = hops(&exchange, 80);
    assert_eq!(text.matches("eth0").count(), hops::MAX_SHOWN_HOPS, "{text}");
    assert!(text.trim_end().ends_with("5 more"), "{text}");
    exchange.hops.truncate(hops::MAX_SHOWN_HOPS);
    assert!(!hops(&exchange, 80).contains("more"));
}

#[test]
fn equal_names_in_two_namespaces_are_two_interfaces() {
    let mut exchange = samples::traced_client();
    let request = exchange.hops.iter_mut().filter(|hop| hop.message() == v1::HopMessage::Request);
    for (hop, netns) in request.zip(1..) {
        hop.name = "eth0".to_owned();
        hop.netns = netns;
    }
    let text = path(&exchange, 120);
    assert!(text.contains("│ eth0 › eth0 › eth0 ├"), "{text}");
}

#[test]
fn interfaces_beyond_the_boundary_are_the_other_end_s() {
    let beyond = |at_ns, message: v1::HopMessage| v1::Hop {
        at_ns,
        message: message.into(),
        name: "peer0".to_owned(),
        ..samples::traced_client().hops[1].clone()
    };
    let mut client = samples::traced_client();
    client.hops.insert(4, beyond(12_001, v1::HopMessage::Request));
    client.hops.insert(5, beyond(8_011_999, v1::HopMessage::Response));
    let mut server = samples::traced_server();
    server.hops.insert(0, beyond(-1, v1::HopMessage::Request));
    server.hops.push(beyond(6_000_001, v1::HopMessage::Response));
    for exchange in [client, server] {
        let (path, hops) = (path(&exchange, 120), hops(&exchange, 120));
        assert!(!path.contains("peer0") && hops.matches("peer0").count() == 2, "{path}{hops}");
    }
    // A server's request that was seen on interfaces before its first mark, which is then no interface's.
    let mut before = samples::traced_server();
    for hop in before.hops.iter_mut().filter(|hop| hop.message() == v1::HopMessage::Request) {
        hop.at_ns -= 5_000;
    }
    assert!(path(&before, 120).contains("│ eth0 › veth77 ├"));
    // Where it is not known when the message left, none is known to be beyond.
    let mut calls = samples::traced_client();
    calls.segments = samples::untraced_client().segments;
    calls.hops.insert(4, beyond(12_001, v1::HopMessage::Request));
    assert!(path(&calls, 120).contains("│ peer0 ├"));
}

prop_compose! {
    fn part()(ns in prop_oneof![Just(None), Just(Some(0)), (1..1_000_u64).prop_map(Some), (1..20_000_000_000_u64).prop_map(Some)])
        -> Option<u64> { ns }
}

prop_compose! {
    fn exchange()(
        client in any::<bool>(),
        parts in [part(), part(), part(), part(), part(), part()],
        turn in 0..10_000_000_000_u64,
        ways in proptest::option::of((-1_000_000..1_000_000_000_i64, -1_000_000..1_000_000_000_i64, 0..9_000_000_u64)),
        remote in "[a-z订\u{301}\u{202e}]{0,40}",
        comm in "[a-z订\u{202e}]{0,16}",
        hops in any::<bool>(),
        name in "[a-z0-9‹网]{0,15}",
    ) -> v1::Exchange {
        let [send, transfer, receive, queue, read, _] = parts;
        let (network, internal) = if client { (Some(turn), None) } else { (None, Some(turn)) };
        let (transfer, read) = if client { (transfer, read) } else { (None, None) };
        let all = [send, network, transfer, receive, queue, internal, read];
        let mut found = if client { samples::traced_client() } else { samples::traced_server() };
        found.segments = Some(v1::Segments {
            total_ns: all.into_iter().flatten().sum(),
            send_ns: send, network_ns: network, transfer_ns: transfer, receive_ns: receive, queue_ns: queue,
            internal_ns: internal, read_ns: read,
        });
        found.ways = ways.map(|(request_ns, response_ns, error_ns)| {
            v1::Ways { request_ns, response_ns, error_ns, node: "n".to_owned(), id: 1 }
        });
        let end = found.remote.get_or_insert_default();
        end.service = remote;
        found.origin.get_or_insert_default().comm = comm;
        if hops {
            for hop in &mut found.hops {
                hop.name.clone_from(&name);
            }
        } else {
            found.hops.clear();
        }
        found
    }
}

/// The shares that a text says, with how far each may be off.
fn shares(text: &str) -> Vec<(f64, f64)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[1] == "%");
    let share = |word: &str| match word {
        "<0.1" => (0.05, 0.05),
        ">-0.1" => (-0.05, 0.05),
        word => (word.parse().expect("a number"), 0.051),
    };
    pairs.map(|pair| share(pair[0])).collect()
}

proptest! {
    #[test]
    fn no_line_is_longer_than_its_terminal(exchange in exchange(), width in 1..220_usize) {
        let text = path(&exchange, width) + &hops(&exchange, width);
        for line in text.lines() {
            prop_assert!(line.width() <= width, "{}: {}\n{}", width, line, text);
        }
    }

    #[test]
    fn every_observed_part_is_there_and_the_shares_make_a_whole(exchange in exchange(), width in LEAST_WIDTH..220) {
        let text = path(&exchange, width);
        let segments = exchange.segments.expect("segments");
        for (name, ns) in line::parts(segments) {
            // Of a network that is split its parts are said.
            if name != "network" || exchange.ways.is_none() {
                prop_assert!(text.contains(name) && text.contains(&units::duration(ns)), "{name}: {text}");
            }
        }
        let shares = shares(&text);
        if segments.total_ns > 0 {
            let sum: f64 = shares.iter().map(|(share, _)| share).sum();
            let error: f64 = shares.iter().map(|(_, error)| error).sum();
            prop_assert!((sum - 100.0).abs() <= error, "{sum} ± {error}: {text}");
        }
        let unseen = line::parts(segments).len() < if segments.internal_ns.is_some() { 4 } else { 6 };
        prop_assert_eq!(text.contains("? not observed"), unseen, "{}", text);
    }
}
