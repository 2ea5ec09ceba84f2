//! Where reading can go on behind a loss: at a first line that begins a line or a call, with a head behind it.
//!
//! Text that looks like a message may lie within a body. What is taken here is only looked for where no open body is
//! known to go on, and what follows it must fit too.

use super::head::{BodyFraming, Head, field_beginning};
use super::line;
use crate::decoder::{Probe, Side};

/// Finds the first place where a message of `from` begins. The front counts as one only where it begins a call.
pub(super) fn find(from: Side, bytes: &[u8], front: bool) -> Option<usize> {
    let lines = memchr::memchr_iter(b'\n', bytes).map(|end| end.saturating_add(1));
    front.then_some(0).into_iter().chain(lines).find(|start| {
        let rest = bytes.get(*start..).unwrap_or_default();
        !rest.is_empty() && is_message(from, rest)
    })
}

/// Says whether a message begins at the front, as far as it came.
pub(super) fn is_message(from: Side, bytes: &[u8]) -> bool {
    match line::judge(from, bytes, true) {
        Probe::No => return false,
        Probe::NeedMore | Probe::Maybe => return true,
        Probe::Yes => {}
    }
    let Some(mut at) = next_line(bytes, 0) else { return true };
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let folded = matches!(rest.first(), Some(b' ' | b'\t'));
        if !folded && field_beginning(rest) == Some(false) {
            return false;
        }
        let Some(next) = next_line(bytes, at) else { return true };
        let line = bytes.get(at..next).unwrap_or_default();
        at = next;
        if matches!(line, b"\n" | b"\r\n") {
            return from == Side::Server || is_followed(bytes, at);
        }
    }
}

/// Says whether what is behind a request, whose head ends at `end`, may be the next one.
fn is_followed(bytes: &[u8], end: usize) -> bool {
    let (head, rest) = bytes.split_at(end.min(bytes.len()));
    let body = match Head::parse(head).framing() {
        None | Some(BodyFraming::None | BodyFraming::UntilClose) => 0,
        Some(BodyFraming::Length(length)) => usize::try_from(length).unwrap_or(usize::MAX),
        Some(BodyFraming::Chunked) => return true,
    };
    let Some(next) = rest.get(body..) else { return true };
    let empty = next.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let next = next.get(empty..).unwrap_or_default();
    next.is_empty() || line::judge(Side::Client, next, true) != Probe::No
}

fn next_line(bytes: &[u8], at: usize) -> Option<usize> {
    let end = memchr::memchr(b'\n', bytes.get(at..)?)?;
    Some(at.saturating_add(end).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_begins_a_line_or_a_call() {
        let find = |text: &str, front| find(Side::Client, text.as_bytes(), front);
        assert_eq!(find("GET /b HTTP/1.1\r\n\r\n", true), Some(0));
        assert_eq!(find("URGE /b HTTP/1.1\r\n\r\n", false), None);
        assert_eq!(find("tail\r\npurge /b HTTP/1.1\r\nHost: a\r\n\r\n", true), Some(6));
        assert_eq!(find("tail\r\nPROPFIND /long", true), Some(6));
        assert_eq!(find("tail GET /b HTTP/1.1\r\n\r\n", true), None);
        assert_eq!(find("a=1GET /b HTTP/1.1\r\n\r\n", true), None);
        assert_eq!(find("one\ntwo\nend", true), None);
        assert_eq!(find("one\n", true), None);
    }

    #[test]
    fn text_that_looks_like_a_request_is_passed_over() {
        for text in [
            "x\r\nGET /log HTTP/1.1\r\n200 512\r\n",
            "x\r\nGET /log HTTP/1.1 and more\r\n\r\n",
            "x\r\nGET /part HTTP/1.1\r\nHost: a\r\n\r\n--boundary--\r\n",
            "x\nsee /path HTTP/1.1\nHost: a\n\nand so on",
            "x\r\nPOST /part HTTP/1.1\r\nContent-Length: 2\r\n\r\nab--boundary--\r\n",
        ] {
            assert_eq!(find(Side::Client, text.as_bytes(), true), None, "{text:?}");
        }
        assert_eq!(find(Side::Server, b"HTTP/1.1 200 OK is what it said\r\nand so on\r\n", true), None);
    }

    #[test]
    fn a_request_is_followed_by_the_next() {
        let text = b"x\r\nPOST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nabGET /b HTTP/1.1\r\n\r\n";
        assert_eq!(find(Side::Client, text, true), Some(3));
        assert_eq!(find(Side::Server, b"x\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", true), Some(3));
    }
}
