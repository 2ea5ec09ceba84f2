//! The first line of an HTTP/1 message (RFC 9112, sections 3 and 4), whole or as far as it came.

use crate::decoder::{Probe, Side};

/// Longest first line read: servers that take more than 64 KiB are rare. Less than the engine buffers, so that what is
/// too long is refused here.
pub(super) const MAX_LINE: usize = 192 * 1024;

/// The first line of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
}

/// The first line of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatusLine {
    pub(super) status: u16,
}

/// Reads `METHOD target HTTP/1.x`. More spaces than one are tolerated, as servers do.
pub(super) fn request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let line = line.trim_ascii_end();
    let first = memchr::memchr(b' ', line)?;
    let last = memchr::memrchr(b' ', line)?;
    let method = line.get(..first)?;
    let target = line.get(first.saturating_add(1)..last)?.trim_ascii();
    let version = line.get(last.saturating_add(1)..)?;
    let sound = is_token(method) && !target.is_empty() && is_version(version);
    (sound && !target.iter().any(u8::is_ascii_control)).then_some(RequestLine { method, target })
}

/// Reads `HTTP/1.x NNN reason` or `ICY NNN reason`.
pub(super) fn status_line(line: &[u8]) -> Option<StatusLine> {
    // Servers of sound say `ICY` in place of a version.
    let rest = match line.strip_prefix(b"ICY ") {
        Some(rest) => rest,
        None if is_version(line.get(..8)?) => line.get(8..)?.strip_prefix(b" ")?,
        None => return None,
    };
    let digits = rest.get(..3)?;
    let ends = matches!(rest.get(3), None | Some(b' '));
    if !ends || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (100..1000).contains(&status).then_some(StatusLine { status })
}

/// Says whether a status line can have a status, or one of a class such as `5xx`. RFC 9110, section 15, knows 100 to 599;
/// servers send others too.
pub(super) fn is_status(word: &str) -> bool {
    match word.as_bytes() {
        [b'1'..=b'9', b'x' | b'X', b'x' | b'X'] => true,
        [b'1'..=b'9', rest @ ..] => rest.len() == 2 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Methods that a request behind a loss may have when its first line came in pieces: IANA's, and those of caches, of
/// service discovery and of sound sources.
const METHODS: [&str; 45] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
    "PURGE",
    "BAN",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "SOURCE",
];

/// Schemes that the targets of such a request may have while it is not whole.
const SCHEMES: [&str; 5] = ["http://", "https://", "ws://", "wss://", "ftp://"];

/// Judges the front of what a side sent by its first line alone. `strict` is for bytes that may lie within anything, as
/// behind a loss: the target must be one that a server takes, and a word alone the beginning of a known method.
pub(super) fn judge(side: Side, bytes: &[u8], strict: bool) -> Probe {
    let (line, whole) = match memchr::memchr(b'\n', bytes) {
        Some(end) => (bytes.get(..end).unwrap_or_default(), true),
        None => (bytes, false),
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match (side, whole) {
        (Side::Client, true) => {
            let sound = request_line(line).is_some_and(|line| !strict || is_target(&line));
            if sound { Probe::Yes } else { Probe::No }
        }
        (Side::Server, true) => {
            if status_line(line).is_some() {
                Probe::Yes
            } else {
                Probe::No
            }
        }
        (Side::Client, false) => request_beginning(line, strict),
        (Side::Server, false) => status_beginning(line),
    }
}

/// Says whether bytes are a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_version(version: &[u8]) -> bool {
    matches!(version, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit())
}

/// Says whether a request's target has one of the four forms (RFC 9112, section 3.2).
fn is_target(line: &RequestLine<'_>) -> bool {
    let form = line.target.starts_with(b"/")
        || line.target == b"*"
        || scheme(line.target).is_some()
        || line.method == b"CONNECT" && line.target.contains(&b':');
    form && !line.target.contains(&b' ')
}

/// Says whether the first line at the front has a known method.
pub(super) fn is_known(bytes: &[u8]) -> bool {
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    METHODS.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(method))
}

fn begins_known(word: &[u8]) -> bool {
    METHODS
        .iter()
        .any(|known| known.as_bytes().get(..word.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(word)))
}

/// Returns where the authority begins of a target in absolute form.
pub(super) fn scheme(target: &[u8]) -> Option<usize> {
    let end = target.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
    let rest = target.get(end..)?;
    (end > 0 && rest.starts_with(b"://")).then_some(end.saturating_add(3))
}

fn request_beginning(line: &[u8], strict: bool) -> Probe {
    let Some(end) = memchr::memchr(b' ', line) else {
        let fits = if strict { begins_known(line) } else { line.iter().copied().all(is_token_byte) };
        return if fits { Probe::NeedMore } else { Probe::No };
    };
    let target = line.get(end.saturating_add(1)..).unwrap_or_default().trim_ascii_start();
    if !is_token(line.get(..end).unwrap_or_default()) || target.iter().any(u8::is_ascii_control) {
        return Probe::No;
    }
    // Behind the target, a strict line has its version and nothing else.
    let (form, version) = match memchr::memchr(b' ', target) {
        Some(end) => (target.get(..end).unwrap_or_default(), target.get(end.saturating_add(1)..)),
        None => (target, None),
    };
    let scheme = |known: &&str| known.as_bytes().starts_with(form) || form.starts_with(known.as_bytes());
    let begins = form.first().is_none_or(|byte| matches!(byte, b'/' | b'*'))
        || SCHEMES.iter().any(scheme)
        || line.starts_with(b"CONNECT ");
    let fits = begins
        && version.is_none_or(|version| b"HTTP/1.".starts_with(version) || version.starts_with(b"HTTP/1."));
    if strict && !fits { Probe::No } else { Probe::NeedMore }
}

fn status_beginning(line: &[u8]) -> Probe {
    if status_line(line).is_some_and(|_| line.len() > 12 || line.starts_with(b"ICY") && line.len() > 7) {
        return Probe::Yes;
    }
    let fits = |shape: &[u8]| {
        let fits = |(byte, shape): (&u8, &u8)| match shape {
            b'#' => byte.is_ascii_digit(),
            other => byte == other,
        };
        line.len() <= shape.len() && line.iter().zip(shape).all(fits)
    };
    if fits(b"HTTP/1.# ###") || fits(b"ICY ###") { Probe::NeedMore } else { Probe::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_a_method_and_minor_versions_are_digits() {
        for line in [
            "M-SEARCH /x HTTP/1.1",
            "purge /x HTTP/1.9",
            "!#$%&'*+-.^_`|~ * HTTP/1.0",
            "GET  /x  HTTP/1.1",
            "GET /x HTTP/1.1 ",
            "GET /a b HTTP/1.1",
            "VERY-LONG-METHOD-OF-MORE-THAN-THIRTY-TWO-BYTES / HTTP/1.1",
        ] {
            assert!(request_line(line.as_bytes()).is_some(), "{line}");
        }
        for line in [
            "GET /x",
            "GET HTTP/1.1",
            "GET /x HTTP/2.0",
            "PRI * HTTP/2.0",
            "G(T /x HTTP/1.1",
            "GET /x HTTP/1.10",
            "DESCRIBE rtsp://h/x RTSP/1.0",
            "REGISTER sip:h SIP/2.0",
            "OPTIONS icap://h/x ICAP/1.0",
            " /x HTTP/1.1",
            "GET /\x07 HTTP/1.1",
        ] {
            assert!(request_line(line.as_bytes()).is_none(), "{line}");
        }
    }

    #[test]
    fn status_lines_have_three_digits() {
        for (line, status) in [
            ("HTTP/1.1 200 OK", Some(200)),
            ("HTTP/1.7 204", Some(204)),
            ("ICY 200 OK", Some(200)),
            ("ICY 401", Some(401)),
            ("HTTP/1.1 2000", None),
            ("HTTP/1.1 20", None),
            ("HTTP/2 200", None),
            ("RTSP/1.0 200 OK", None),
            ("ICY", None),
            ("SIP/2.0 200 OK", None),
            ("HTTP/1.1  200", None),
            ("HTTP/1.1 099 x", None),
        ] {
            assert_eq!(status_line(line.as_bytes()).map(|line| line.status), status, "{line}");
        }
    }

    #[test]
    fn a_beginning_is_undecided_for_as_long_as_it_fits() {
        let long = [b"PURGE /".as_slice(), "a".repeat(100_000).as_bytes()].concat();
        assert_eq!(judge(Side::Client, &long, true), Probe::NeedMore);
        assert_eq!(judge(Side::Client, b"PUR", true), Probe::NeedMore);
        assert_eq!(judge(Side::Client, b"GET (", true), Probe::No);
        assert_eq!(judge(Side::Client, b"\x16\x03\x01", false), Probe::No);
        assert_eq!(judge(Side::Server, b"HTTP/1.1 20", false), Probe::NeedMore);
        assert_eq!(judge(Side::Server, b"HTTP/1.1 200 O", false), Probe::Yes);
        assert_eq!(judge(Side::Server, b"HTTP/1.1 200\r\n", false), Probe::Yes);
        assert_eq!(judge(Side::Server, b"ICY 200", false), Probe::NeedMore);
        assert_eq!(judge(Side::Server, b"HTTP/2", false), Probe::No);
    }
}
