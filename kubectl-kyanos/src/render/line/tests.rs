//! Lines as a terminal and a pipe show them.

use super::super::{detail, samples};
use super::*;
use crate::written_down;

fn renderer(wide: bool, width: Option<usize>) -> LineRenderer {
    of(Who::Processes, wide, width)
}

fn of(who: Who, wide: bool, width: Option<usize>) -> LineRenderer {
    LineRenderer::new(Look { zone: TimeZone::UTC, who, wide, colour: false }, width)
}

fn at(line: &str, word: &str) -> Option<usize> {
    line.find(word).map(|at| line[..at].chars().count())
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

/// Widths of terminals whose lines are kept in a file.
const WIDTHS: [usize; 4] = [60, 80, 120, 200];

#[test]
fn a_terminal_s_width_shows_what_matters_first() {
    let mut text = String::new();
    for width in WIDTHS {
        for (name, who) in [
            ("on one machine", Who::Processes),
            ("in one namespace", Who::Pods),
            ("in all namespaces", Who::PodsOfNamespaces),
        ] {
            let renderer = of(who, false, Some(width));
            let titles = format!("{width} characters, {name}:\n{}\n", renderer.header());
            text.push_str(&titles);
            for exchange in [samples::client(), samples::in_pod(), samples::unanswered(), samples::slow()] {
                text.push_str(&renderer.line(&exchange));
                text.push('\n');
            }
            text.push('\n');
        }
    }
    written_down::must_be("src/render/line/widths.txt", &text);
}

#[test]
fn wide_says_where_the_time_of_either_side_went() {
    let mut text = String::new();
    for (name, who) in [("on one machine", Who::Processes), ("in all namespaces", Who::PodsOfNamespaces)] {
        let renderer = of(who, true, Some(80));
        let titles = format!("{name}:\n{}\n", renderer.header());
        text.push_str(&titles);
        for exchange in [
            samples::traced_client(),
            samples::traced_server(),
            samples::untraced_client(),
            samples::unanswered(),
        ] {
            text.push_str(&renderer.line(&exchange));
            text.push('\n');
        }
        text.push('\n');
    }
    written_down::must_be("src/render/line/wide.txt", &text);
    let wide = of(Who::PodsOfNamespaces, true, None);
    for (exchange, figures) in [
        (
            samples::traced_client(),
            [("NETWORK", "8.00ms"), ("QUEUE", "760µs"), ("INTERNAL", "-"), ("RETR", "1")],
        ),
        (
            samples::traced_server(),
            [("NETWORK", "-"), ("QUEUE", "1.49ms"), ("INTERNAL", "4.47ms"), ("RETR", "0")],
        ),
        (samples::unanswered(), [("NETWORK", "-"), ("QUEUE", "-"), ("INTERNAL", "-"), ("RETR", "-")]),
    ] {
        let line: Vec<char> = wide.line(&exchange).chars().collect();
        for (title, figure) in figures {
            let end = at(&wide.header(), title).expect("a title") + title.len();
            let found: String = line[..end].iter().rev().take_while(|letter| **letter != ' ').collect();
            assert_eq!(found.chars().rev().collect::<String>(), figure, "{title}");
        }
    }
}

#[test]
fn a_terminal_s_width_is_kept_and_operation_and_status_stay() {
    for who in [Who::Processes, Who::Pods, Who::PodsOfNamespaces] {
        for width in 1..300 {
            let renderer = of(who, false, Some(width));
            let header = renderer.header();
            for line in [
                &header,
                &renderer.line(&samples::in_pod()),
                &renderer.line(&samples::unanswered()),
                &renderer.line(&samples::slow()),
            ] {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            let shows = |title| header.contains(title);
            assert!(width < 26 || (shows("OPERATION") && shows("STATUS")), "{width}: {header}");
            assert!(width < 44 || shows(if who == Who::Processes { "PROCESS" } else { "POD" }), "{header}");
        }
    }
}

#[test]
fn what_is_wide_is_shown_whole_whatever_the_terminal() {
    let wide = renderer(true, Some(80));
    assert_eq!(wide.line(&samples::client()), renderer(true, None).line(&samples::client()));
    assert_eq!(at(&wide.header(), "OPERATION"), at(&wide.line(&samples::client()), "GET /orders"));
    assert!(wide.header().contains("CONTAINER") && wide.header().contains("TARGET"));
}

#[test]
fn another_width_is_followed() {
    let mut renderer = renderer(false, Some(80));
    assert!(!renderer.resize(80) && renderer.resize(120));
    assert_eq!(renderer.header(), self::renderer(false, Some(120)).header());
    assert!(!self::renderer(true, Some(80)).resize(120), "what is wide has no width");
    assert!(!self::renderer(false, None).resize(120), "nor has a pipe");
}

#[test]
fn errors_are_red_only_where_colours_are_wanted() {
    let look = Look { zone: TimeZone::UTC, who: Who::Processes, wide: false, colour: true };
    let coloured = LineRenderer::new(look, None);
    assert!(coloured.line(&samples::unanswered()).starts_with("\u{1b}[31m"));
    assert!(!coloured.line(&samples::client()).contains('\u{1b}'));
    assert!(!renderer(false, None).line(&samples::unanswered()).contains('\u{1b}'));
    assert!(!coloured.line(&samples::announced()).contains('\u{1b}'), "what a library tries is no error");
}

#[test]
fn a_block_shows_both_messages_and_the_sum() {
    let block = detail::block(&samples::client(), Some(100), None);
    assert!(block.contains("segments   5.00s = network 4.00s + transfer 500ms + receive 0ns"), "{block}");
    assert!(block.contains("  │ GET /orders/7 HTTP/1.1\n"), "{block}");
    assert!(block.contains("\\x00\\xffbody"), "{block}");
    assert!(detail::block(&samples::unanswered(), None, None).contains("response   none"));
}

#[test]
fn what_was_found_out_is_shown() {
    let mut announced = samples::announced();
    announced.status.clear();
    let line = renderer(false, None).line(&announced);
    assert!(line.contains("  unreadable  select $$"), "{line}");
    let block = detail::block(&announced, Some(100), None);
    for row in [
        "  announced  203.0.113.7:5000 (by a proxy, as its client)\n",
        "  handshake  yes: sent by a client library as it connected\n",
        "  response   unreadable\n",
    ] {
        assert!(block.contains(row), "{row}{block}");
    }
    let plain = detail::block(&samples::client(), Some(100), None);
    assert!(!plain.contains("announced") && !plain.contains("handshake"), "{plain}");
}

#[test]
fn a_cluster_names_pods_first_and_processes_outside_them() {
    let cluster = of(Who::Pods, false, None);
    let lines = [cluster.header(), cluster.line(&samples::in_pod()), cluster.line(&samples::client())];
    let expected = [
        "POD                                   TIME          SIDE    PROTOCOL  REMOTE",
        "orders-6d5f7c9b8-x2x4z                22:13:20.123  server  http      svc/shop/redis:6379",
        "node/box/curl                         22:13:20.123  client  http      10.1.2.3:8080",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    for hidden in ["python3", "node-1", "app", "Deployment", "shop/orders"] {
        assert!(!lines[1].contains(hidden), "{hidden}: {}", lines[1]);
    }
    let several = of(Who::PodsOfNamespaces, false, None);
    assert!(several.line(&samples::in_pod()).starts_with("shop/orders-6d5f7c9b8-x2x4z  "));
}

#[test]
fn long_names_of_pods_keep_both_ends_on_a_terminal_and_are_whole_elsewhere() {
    let mut long = samples::in_pod();
    long.origin.as_mut().expect("one").pod = format!("{}-x2x4z", "orders".repeat(9));
    let line = of(Who::Pods, false, Some(80)).line(&long);
    assert!(line.starts_with("orderso…rs-x2x4z  22:13:20  "), "{line}");
    assert!(of(Who::Pods, false, None).line(&long).contains("ordersorders-x2x4z  "), "a pipe has it whole");
}

#[test]
fn wide_adds_node_container_workload_and_process() {
    let wide = of(Who::Pods, true, None);
    let line = wide.line(&samples::in_pod());
    for (title, word) in [
        ("POD", "orders-6d5f7c9b8-x2x4z"),
        ("NODE", "node-1"),
        ("CONTAINER", "app"),
        ("WORKLOAD", "Deployment/orders"),
        ("PROCESS", "python3/26278"),
        ("OPERATION", "GET /orders"),
    ] {
        assert_eq!(at(&wide.header(), title), at(&line, word), "{title}: {line}");
    }
    // On one machine nothing is named that is not known there.
    let local = renderer(true, None);
    assert!(local.header().contains("PROCESS") && !local.header().contains("NODE"));
}

#[test]
fn one_s_own_end_is_never_a_service() {
    let wide = of(Who::Pods, true, None);
    let block = detail::block(&samples::in_pod(), None, None);
    let mut unnamed = samples::in_pod();
    unnamed.local.as_mut().expect("an end").pod.clear();
    for (text, own) in [
        (wide.line(&samples::in_pod()), "pod/shop/orders-6d5f7c9b8-x2x4z:8080"),
        (block.clone(), "pod/shop/orders-6d5f7c9b8-x2x4z:8080 ↔ svc/shop/redis:6379"),
        (wide.line(&unnamed), "10.0.0.4:8080"),
        (detail::block(&unnamed, None, None), "10.0.0.4:8080 ↔ svc/shop/redis:6379"),
    ] {
        assert!(text.contains(own) && text.contains("svc/shop/redis:6379"), "{text}");
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
    for who in [Who::Processes, Who::Pods, Who::PodsOfNamespaces] {
        for (wide, width) in [(false, None), (true, None), (false, Some(120))] {
            let line = of(who, wide, width).line(&exchange);
            assert!(line.chars().all(|letter| !hidden(letter)), "{line:?}");
        }
    }
    let block = detail::block(&exchange, Some(1000), None);
    assert!(block.chars().all(|letter| letter == '\n' || !hidden(letter)), "{block:?}");
    assert!(block.contains("  │ a\\xe2\\x80\\xaeb"), "{block}");
}

fn hidden(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202e}' | '\u{2066}' | '\u{feff}' | '\u{2028}')
}

#[test]
fn a_request_that_has_no_answer_is_told_from_one_whose_answer_never_came() {
    let mut exchange = samples::unanswered();
    let status = |exchange: &v1::Exchange, width| {
        let column = COLUMNS.iter().find(|column| column.name == column::Name::Status).expect("a column");
        (column.text)(
            &Look { zone: TimeZone::UTC, who: Who::Pods, wide: false, colour: false },
            exchange,
            width,
        )
    };
    assert_eq!(status(&exchange, 10), "no answer");
    assert_eq!(status(&exchange, 6), "none", "nothing of it is cut off");
    exchange.error = false;
    assert_eq!(status(&exchange, 10), "-");
    assert_eq!(status(&samples::client(), 6), "200");
}
