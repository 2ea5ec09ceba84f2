//! Lines as a terminal and a pipe show them.

use super::super::{detail, samples};
use super::*;

fn renderer(wide: bool, width: Option<usize>) -> LineRenderer {
    LineRenderer { zone: TimeZone::UTC, cluster: false, wide, colour: false, width }
}

#[test]
fn lines_are_aligned_with_their_header() {
    let renderer = renderer(false, None);
    let lines = [renderer.header(), renderer.line(&samples::client()), renderer.line(&samples::unanswered())];
    let expected = [
        "TIME          PROCESS               SIDE    PROTOCOL  REMOTE                   TOTAL  STATUS      OPERATION                                         SEGMENTS",
        "22:13:20.123  curl/4242             client  http      10.1.2.3:8080            5.00s  200         GET /orders/7                                     network 4.00s transfer 500ms queue 400ms read 100ms",
        "22:13:20.000  -                     server  redis     [::1]:6379                   -  no answer   GET key with\\x1b[31mcolour",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_terminal_s_width_is_kept_but_for_the_segments() {
    let renderer = renderer(true, Some(220));
    let header = renderer.header();
    let at = |line: &str, word: &str| line.find(word).map(|at| line[..at].chars().count());
    assert_eq!(at(&header, "OPERATION"), at(&renderer.line(&samples::client()), "GET /orders"));
    for width in [20, 80, 100, 220] {
        let renderer = LineRenderer { width: Some(width), ..renderer.clone() };
        for line in
            [renderer.header(), renderer.line(&samples::client()), renderer.line(&samples::unanswered())]
        {
            assert!(line.chars().count() <= width, "{line}");
        }
    }
    assert!(header.contains("CONTAINER") && header.contains("TARGET"));
}

#[test]
fn errors_are_red_only_where_colours_are_wanted() {
    let coloured = LineRenderer { colour: true, ..renderer(false, None) };
    assert!(coloured.line(&samples::unanswered()).starts_with("\u{1b}[31m"));
    assert!(!coloured.line(&samples::client()).contains('\u{1b}'));
    assert!(!renderer(false, None).line(&samples::unanswered()).contains('\u{1b}'));
    assert!(!coloured.line(&samples::announced()).contains('\u{1b}'), "what a library tries is no error");
}

#[test]
fn a_block_shows_both_messages_and_the_sum() {
    let block = detail::block(&samples::client(), Some(100));
    assert!(block.contains("segments   5.00s = network 4.00s + transfer 500ms + receive 0ns"), "{block}");
    assert!(block.contains("  │ GET /orders/7 HTTP/1.1\n"), "{block}");
    assert!(block.contains("\\x00\\xffbody"), "{block}");
    assert!(detail::block(&samples::unanswered(), None).contains("response   none"));
}

#[test]
fn what_was_found_out_is_shown() {
    let mut announced = samples::announced();
    announced.status.clear();
    let line = renderer(false, None).line(&announced);
    assert!(line.contains("  unreadable  select $$"), "{line}");
    let block = detail::block(&announced, Some(100));
    for row in [
        "  announced  203.0.113.7:5000 (by a proxy, as its client)\n",
        "  handshake  yes: sent by a client library as it connected\n",
        "  response   unreadable\n",
    ] {
        assert!(block.contains(row), "{row}{block}");
    }
    let plain = detail::block(&samples::client(), Some(100));
    assert!(!plain.contains("announced") && !plain.contains("handshake"), "{plain}");
}

#[test]
fn a_cluster_names_pods_and_their_containers_and_processes_outside_them() {
    let cluster = LineRenderer { cluster: true, ..renderer(false, None) };
    let lines = [cluster.header(), cluster.line(&samples::in_pod()), cluster.line(&samples::client())];
    let expected = [
        "TIME          POD/CONTAINER                         SIDE    PROTOCOL  REMOTE",
        "22:13:20.123  orders-6d5f7c9b8-x2x4z/app            server  http      shop/redis:6379",
        "22:13:20.123  curl/4242                             client  http      10.1.2.3:8080",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    assert!(!lines[1].contains("python3") && !lines[1].contains("node-1"), "{}", lines[1]);
    let mut long = samples::in_pod();
    long.origin.as_mut().expect("one").pod = format!("{}-x2x4z", "orders".repeat(9));
    let terminal = LineRenderer { width: Some(200), ..cluster.clone() };
    assert!(
        terminal.line(&long).contains("  ordersordersorder…rsorders-x2x4z/app  "),
        "{}",
        terminal.line(&long)
    );
    assert!(cluster.line(&long).contains("ordersorders-x2x4z/app  "), "a pipe has it whole");
    let mut alone = samples::in_pod();
    alone.origin.as_mut().expect("one").container.clear();
    assert!(cluster.line(&alone).contains("  orders-6d5f7c9b8-x2x4z  "));
    let wide = LineRenderer { cluster: true, ..renderer(true, None) };
    let line = wide.line(&samples::in_pod());
    for word in ["  orders-6d5f7c9b8-x2x4z/app  ", "  shop  ", "  node-1  ", "  python3/26278  "] {
        assert!(line.contains(word), "{word}: {line}");
    }
    let at = |line: &str, word: &str| line.find(word).map(|at| line[..at].chars().count());
    assert_eq!(at(&wide.header(), "NODE"), at(&line, "node-1"));
    assert_eq!(at(&wide.header(), "OPERATION"), at(&line, "GET /orders"));
    // On one machine nothing is named that is not known there.
    let local = renderer(true, None);
    assert!(local.header().contains("PROCESS") && !local.header().contains("NODE"));
}

#[test]
fn one_s_own_end_is_never_a_service() {
    let wide = LineRenderer { cluster: true, ..renderer(true, None) };
    let block = detail::block(&samples::in_pod(), None);
    let mut unnamed = samples::in_pod();
    unnamed.local.as_mut().expect("an end").pod.clear();
    for (text, own) in [
        (wide.line(&samples::in_pod()), "orders-6d5…x2x4z:8080"),
        (block.clone(), "orders-6d5f7c9b8-x2x4z:8080 ↔ shop/redis:6379"),
        (wide.line(&unnamed), "10.0.0.4:8080"),
        (detail::block(&unnamed, None), "10.0.0.4:8080 ↔ shop/redis:6379"),
    ] {
        assert!(text.contains(own) && text.contains("shop/redis:6379"), "{text}");
        assert!(!text.contains("shop/orders:"), "{text}");
    }
    assert!(
        block.contains(
            "  pod        shop/orders-6d5f7c9b8-x2x4z, container app, workload Deployment/orders\n"
        ),
        "{block}"
    );
    assert!(block.contains("  process    python3/26278\n"), "{block}");
}

#[test]
fn what_changes_the_direction_of_text_reaches_no_terminal() {
    let hostile = "a\u{202e}b\u{2066}\u{feff}\u{2028}\r\u{9b}1m\u{301}".to_owned();
    let mut exchange = samples::in_pod();
    exchange.operation.clone_from(&hostile);
    exchange.target.clone_from(&hostile);
    exchange.status.clone_from(&hostile);
    exchange.protocol.clone_from(&hostile);
    let origin = exchange.origin.as_mut().expect("one");
    for name in
        [&mut origin.node, &mut origin.comm, &mut origin.container_id, &mut origin.namespace, &mut origin.pod]
    {
        name.clone_from(&hostile);
    }
    origin.container.clone_from(&hostile);
    origin.workload.clone_from(&hostile);
    for end in [&mut exchange.local, &mut exchange.remote] {
        let end = end.as_mut().expect("an end");
        end.pod.clone_from(&hostile);
        end.service.clone_from(&hostile);
    }
    for message in [&mut exchange.request, &mut exchange.response] {
        message.as_mut().expect("one").payload = format!("{hostile}\n\tx\n\u{301}").into_bytes();
    }
    for cluster in [false, true] {
        for wide in [false, true] {
            let line = LineRenderer { cluster, ..renderer(wide, None) }.line(&exchange);
            assert!(line.chars().all(|letter| !hidden(letter)), "{line:?}");
        }
    }
    let block = detail::block(&exchange, Some(1000));
    assert!(block.chars().all(|letter| letter == '\n' || !hidden(letter)), "{block:?}");
    assert!(block.contains("  │ a\\xe2\\x80\\xaeb"), "{block}");
}

fn hidden(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202e}' | '\u{2066}' | '\u{feff}' | '\u{2028}')
}
