//! Whether a connection speaks HTTP/1, by what both sides said.

use super::head;
use super::line;
use crate::decoder::{Evidence, Probe, Side};

/// A first line that is longer and not at its end is believed when the other side answers as HTTP does.
const LONG_LINE: usize = 32 * 1024;

/// A longer one is believed for a known method and a target: more is not held of a connection that is not known yet.
const LONGER_LINE: usize = 60 * 1024;

/// Judges the first bytes of a side.
pub(super) fn judge(evidence: &Evidence<'_>) -> Probe {
    let head = after_empty_lines(evidence.head);
    if head.is_empty() {
        return Probe::NeedMore;
    }
    let known = line::judge(evidence.sender, head, !evidence.from_start);
    match known {
        // What a server answers to whoever does not speak HTTP, TLS included.
        Probe::No if evidence.from_start && evidence.sender == Side::Client && is_refusal(evidence.other) => {
            Probe::Maybe
        }
        // Its first word may be the end of a longer one.
        Probe::Yes if !evidence.from_start && evidence.sender == Side::Client && !line::is_known(head) => {
            Probe::No
        }
        // Of a connection that was open before, any line may lie within a body or another protocol.
        Probe::Yes if !evidence.from_start => second_line(head),
        // Others say so too, but never to who asked as HTTP does.
        Probe::Yes if head.starts_with(b"ICY ") => Probe::Maybe,
        Probe::NeedMore if evidence.sender == Side::Client && head.len() > LONG_LINE => {
            let strict = line::judge(Side::Client, head, true) == Probe::NeedMore;
            if strict && line::is_known(head) && head.len() > LONGER_LINE { Probe::Yes } else { Probe::Maybe }
        }
        Probe::Yes | Probe::Maybe | Probe::No | Probe::NeedMore => known,
    }
}

/// Whether a server's first bytes refuse a request.
fn is_refusal(head: &[u8]) -> bool {
    head.strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(1..4))
        .is_some_and(|status| matches!(status, [b' ', b'4' | b'5', digit] if digit.is_ascii_digit()))
}

/// Empty lines before a message are tolerated (RFC 9112, section 2.2).
fn after_empty_lines(head: &[u8]) -> &[u8] {
    let empty = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    head.get(empty..).unwrap_or_default()
}

/// Judges a message whose first line is one by what follows: fields, or the empty line.
fn second_line(head: &[u8]) -> Probe {
    let rest =
        memchr::memchr(b'\n', head).and_then(|end| head.get(end.saturating_add(1)..)).unwrap_or_default();
    match head::field_beginning(rest) {
        Some(true) if head.starts_with(b"ICY ") => Probe::Maybe,
        Some(true) => Probe::Yes,
        Some(false) => Probe::No,
        None => Probe::NeedMore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(sender: Side, head: &[u8], from_start: bool) -> Probe {
        let (other, spoke_first) = (&[], sender == Side::Client);
        judge(&Evidence { sender, head, other, from_start, spoke_first, usual_port: true, port: 0 })
    }

    #[test]
    fn no_window_decides_that_a_request_is_none() {
        for method in ["GET", "PROPFIND", "purge", "X-Y"] {
            let line = format!("\r\n{method} /{} HTTP/1.1\r\n", "a".repeat(60_000));
            for length in [1, 4, 10, 3000, 6000, 30_000] {
                let claim = ask(Side::Client, &line.as_bytes()[..length], true);
                assert_eq!(claim, Probe::NeedMore, "{method} {length}");
            }
            assert_eq!(ask(Side::Client, &line.as_bytes()[..50_000], true), Probe::Maybe);
            assert_eq!(ask(Side::Client, line.as_bytes(), true), Probe::Yes);
        }
    }

    #[test]
    fn what_others_say_is_not_http() {
        for text in [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "DESCRIBE rtsp://h/x RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "USER anonymous\r\n",
            "REGISTER sip:h SIP/2.0\r\n",
            "OPTIONS icap://h/x ICAP/1.0\r\n",
            "/a/gopher/selector\r\n",
            "get key\r\n",
            "set key 0 0 5\r\nhello\r\n",
            "EHLO mail\r\n",
            "*1\r\n$4\r\nPING\r\n",
            "GET key\r\n",
            "HELLO, you\n",
            "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "GET /old\r\n",
        ] {
            for from_start in [true, false] {
                assert_eq!(ask(Side::Client, text.as_bytes(), from_start), Probe::No, "{text:?}");
            }
        }
        for text in [
            "RTSP/1.0 200 OK\r\n",
            "SIP/2.0 200 OK\r\n",
            "ICAP/1.0 200 OK\r\n",
            "220 mail ESMTP\r\n",
            "VALUE a 0 5\r\n",
            "+OK\r\n",
            "HTTP/2 200\r\n",
            "\x16\x03\x03\0\x7a",
            "ICY\r\n",
            "HTTPS",
            "ERROR\r\n",
        ] {
            for from_start in [true, false] {
                assert_eq!(ask(Side::Server, text.as_bytes(), from_start), Probe::No, "{text:?}");
            }
        }
    }

    #[test]
    fn a_line_within_something_is_no_message() {
        for (text, claim) in [
            ("GET /x HTTP/1.1\r\n", Probe::NeedMore),
            ("GET /x HTTP/1.1\r\nHost", Probe::NeedMore),
            ("GET /x HTTP/1.1\r\nHost: a", Probe::Yes),
            ("GET /x HTTP/1.1\r\n\r", Probe::NeedMore),
            ("GET /x HTTP/1.1\r\n\r\n", Probe::Yes),
            ("GET /x HTTP/1.1\nHost : a\n", Probe::Yes),
            ("GET /x HTTP/1.1\r\nGET /y HTTP/1.1\r\n", Probe::No),
            ("GET /x HTTP/1.1\n200 12 \"-\"\n", Probe::No),
            ("GET x HTTP/1.1\r\nHost: a\r\n", Probe::No),
            ("T /x HTTP/1.1\r\nHost: a\r\n", Probe::No),
            ("URGE /x HTTP/1.1\r\nHost: a\r\n", Probe::No),
            ("PURGE /x HTTP/1.1\r\nHost: a\r\n", Probe::Yes),
        ] {
            assert_eq!(ask(Side::Client, text.as_bytes(), false), claim, "{text:?}");
        }
        assert_eq!(ask(Side::Server, b"HTTP/1.1 200 OK\r\nis what it says", false), Probe::No);
        assert_eq!(ask(Side::Server, b"HTTP/1.1 200 OK\r\nDate: now\r\n", false), Probe::Yes);
    }

    #[test]
    fn a_stream_of_sound_needs_who_asked_for_it() {
        assert_eq!(ask(Side::Server, b"ICY 200 OK\r\nicy-name: x\r\n", true), Probe::Maybe);
    }
}
