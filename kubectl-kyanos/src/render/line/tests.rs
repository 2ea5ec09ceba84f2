//! Lines as a terminal and a pipe show them.

use super::super::{detail, samples};
use super::*;

fn renderer(wide: bool, width: Option<usize>) -> Renderer {
    Renderer { zone: TimeZone::UTC, wide, colour: false, width }
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
        let renderer = Renderer { width: Some(width), ..renderer.clone() };
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
    let coloured = Renderer { colour: true, ..renderer(false, None) };
    assert!(coloured.line(&samples::unanswered()).starts_with("\u{1b}[31m"));
    assert!(!coloured.line(&samples::client()).contains('\u{1b}'));
    assert!(!renderer(false, None).line(&samples::unanswered()).contains('\u{1b}'));
}

#[test]
fn a_block_shows_both_messages_and_the_sum() {
    let block = detail::block(&samples::client(), Some(100));
    assert!(block.contains("segments   5.00s = network 4.00s + transfer 500ms + receive 0ns"), "{block}");
    assert!(block.contains("  │ GET /orders/7 HTTP/1.1\n"), "{block}");
    assert!(block.contains("\\x00\\xffbody"), "{block}");
    assert!(detail::block(&samples::unanswered(), None).contains("response   none"));
}
