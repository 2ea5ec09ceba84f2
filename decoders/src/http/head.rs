//! The head of an HTTP/1 message: first line and header fields (RFC 9112, sections 2 to 5).

/// Longest head read: four times what common servers accept.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// A request's or a response's head.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// The first line, without its end.
    pub(super) line: &'a [u8],
    /// Header lines, without their ends; folded lines are lines of their own.
    pub(super) fields: Vec<&'a [u8]>,
    /// Bytes of the head, the empty line included.
    pub(super) length: usize,
}

/// What the first bytes of a head are.
#[derive(Debug)]
pub(super) enum Parsed<'a> {
    Head(Head<'a>),
    Incomplete,
    Malformed,
}

/// The first line of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
}

/// How long a body is (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Reads a head at the front of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut lines = Vec::new();
    let mut at = 0_usize;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return if bytes.len() > MAX_HEAD { Parsed::Malformed } else { Parsed::Incomplete };
        };
        at = at.saturating_add(end).saturating_add(1);
        if at > MAX_HEAD {
            return Parsed::Malformed;
        }
        let line = rest.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() && !lines.is_empty() {
            let mut lines = lines.into_iter();
            let first = lines.next().unwrap_or_default();
            return Parsed::Head(Head { line: first, fields: lines.collect(), length: at });
        }
        lines.push(line);
    }
}

/// Reads `METHOD target HTTP/1.x`.
pub(super) fn request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let first = memchr::memchr(b' ', line)?;
    let last = memchr::memrchr(b' ', line)?;
    let method = line.get(..first)?;
    let target = line.get(first.saturating_add(1)..last)?;
    let version = line.get(last.saturating_add(1)..)?;
    let sound = is_method(method) && !target.is_empty() && is_version(version);
    (sound && !target.iter().any(u8::is_ascii_control)).then_some(RequestLine { method, target })
}

/// Reads `HTTP/1.x NNN reason` and returns the status.
pub(super) fn status_line(line: &[u8]) -> Option<u16> {
    let version = line.get(..8)?;
    let digits = line.get(9..12)?;
    let ends = matches!(line.get(12), None | Some(b' '));
    if !is_version(version) || line.get(8) != Some(&b' ') || !ends || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|status| (100..1000).contains(status))
}

pub(super) fn is_version(version: &[u8]) -> bool {
    matches!(version, b"HTTP/1.0" | b"HTTP/1.1")
}

/// Says whether bytes are a token of a length that methods have (RFC 9110, section 5.6.2).
pub(super) fn is_method(method: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !method.is_empty() && method.len() <= 32 && method.iter().all(token)
}

// === impl Head ===

impl<'a> Head<'a> {
    /// Returns the values of a header, in order.
    pub(super) fn values(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter_map(move |line| {
            let (field, value) = field(line)?;
            field.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
        })
    }

    /// Returns the first value of a header as text.
    pub(super) fn text(&self, name: &'a str) -> Option<String> {
        self.values(name).next().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Returns the framing that `Transfer-Encoding` and `Content-Length` give; absent when neither is there.
    pub(super) fn framing(&self) -> Option<Framing> {
        if let Some(codings) = self.values("transfer-encoding").last() {
            let last = codings.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
            let chunked = last.eq_ignore_ascii_case(b"chunked");
            return Some(if chunked { Framing::Chunked } else { Framing::UntilClose });
        }
        // Repeated lengths must agree; a reader that sees them differ can only trust the first.
        let value = self.values("content-length").next()?;
        let first = value.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
        let length = std::str::from_utf8(first).ok()?.parse().ok()?;
        Some(if length == 0 { Framing::None } else { Framing::Length(length) })
    }
}

/// Splits `Name: value`.
pub(super) fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?;
    let value = line.get(colon.saturating_add(1)..)?.trim_ascii();
    (!name.is_empty()).then_some((name, value))
}
