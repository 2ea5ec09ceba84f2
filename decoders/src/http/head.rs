//! The head of an HTTP/1 message: first line and header fields (RFC 9112, sections 2 to 6).

use std::borrow::Cow;

use super::line::{is_token, is_token_byte};

/// Longest head kept: twice what any server takes as it comes.
pub(super) const MAX_HEAD: usize = 512 * 1024;

/// A head of which not all lines came yet.
#[derive(Debug, Default)]
pub(super) struct OpenHead {
    bytes: Vec<u8>,
    /// Where its last line begins, which is not whole.
    line: usize,
    /// Whether it lies behind a loss: what only looks like a head must not be taken for one.
    pub(super) doubtful: bool,
    /// Whether some of its first line came, which stays in front until it is whole.
    pub(super) begun: bool,
    /// Whether the word that its first line begins with may have come from elsewhere: it came in pieces, or a loss cut a
    /// head before it. Only a known method is believed then.
    pub(super) cut: bool,
}

/// What reading on gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// So many bytes were read, and the head goes on.
    Open(usize),
    /// So many bytes were read, with which it ends.
    Ended(usize),
    /// So many bytes were read; those behind belong to no head.
    Broken(usize),
}

/// A request's or a response's head.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// The first line, without its end.
    pub(super) line: &'a [u8],
    /// The fields, in order.
    pub(super) fields: Vec<HeaderField<'a>>,
}

/// A header field, folded or not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HeaderField<'a> {
    /// Its name; empty for a line that has none.
    pub(super) name: &'a [u8],
    /// Its value, unfolded.
    pub(super) value: Cow<'a, [u8]>,
    /// Its lines as they came, without the last one's end.
    pub(super) raw: &'a [u8],
}

/// How long a body is (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFraming {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

// === impl OpenHead ===

impl OpenHead {
    /// Begins one; `doubtful` says that what comes may lie within something else.
    pub(super) fn new(doubtful: bool) -> Self {
        Self { doubtful, ..Self::default() }
    }

    /// Says whether nothing of a head came yet.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Reads on; begins with a first line that is known to be one.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Lines {
        let mut at = 0_usize;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let end = memchr::memchr(b'\n', rest).map(|end| end.saturating_add(1));
            let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let room = MAX_HEAD.saturating_sub(self.bytes.len());
            let sound = piece.iter().take(room).take_while(|byte| is_text(**byte)).count();
            self.bytes.extend_from_slice(piece.get(..sound).unwrap_or_default());
            if sound < piece.len() {
                return Lines::Broken(at.saturating_add(sound));
            }
            let line = without_end(self.bytes.get(self.line..).unwrap_or_default());
            let first = self.line == 0;
            if end.is_some() && line.is_empty() {
                return Lines::Ended(at.saturating_add(piece.len()));
            }
            if self.doubtful && !first && end.is_some() && !is_folded(line) && name_end(line).is_none() {
                return Lines::Broken(at);
            }
            at = at.saturating_add(piece.len());
            if end.is_none() {
                return Lines::Open(at);
            }
            self.line = self.bytes.len();
        }
    }

    /// Returns the bytes that came, and is empty.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.bytes);
        *self = Self::default();
        bytes
    }

    /// Forgets what came: a loss, or bytes that are no head.
    pub(super) fn forget(&mut self) {
        let cut = self.cut || self.begun || !self.bytes.is_empty();
        *self = Self { doubtful: true, cut, ..Self::default() };
    }
}

// === impl Head ===

impl<'a> Head<'a> {
    /// Reads the lines of a head, which end with an empty one or where no more came.
    pub(super) fn parse(bytes: &'a [u8]) -> Self {
        let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end.saturating_add(1));
        let (line, mut rest) = bytes.split_at(end);
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let (field, after) = rest.split_at(field_length(rest));
            let line = without_end(field);
            if line.is_empty() {
                break;
            }
            fields.push(HeaderField::parse(line));
            rest = after;
        }
        Self { line: without_end(line), fields }
    }

    /// Returns the values of a header, in order.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = move |field: &&HeaderField<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).map(|field| field.value.as_ref())
    }

    /// Returns the first value of a header as text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.values(name).next().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Says whether a header that is a list names `word`.
    pub(super) fn lists(&self, name: &str, word: &str) -> bool {
        let mut words = self.values(name).flat_map(|value| value.split(|byte| *byte == b','));
        words.any(|given| given.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Returns the framing that `Transfer-Encoding` and `Content-Length` give; absent when neither is there.
    pub(super) fn framing(&self) -> Option<BodyFraming> {
        let codings = self.values("transfer-encoding").flat_map(|value| value.split(|byte| *byte == b','));
        let named =
            codings.map(|coding| coding.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii());
        // `identity`, of RFC 2616, says nothing.
        let last =
            named.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")).last();
        if let Some(last) = last {
            let chunked = last.eq_ignore_ascii_case(b"chunked");
            return Some(if chunked { BodyFraming::Chunked } else { BodyFraming::UntilClose });
        }
        // Repeated lengths must agree; a reader that sees them differ can only trust the first.
        let value = self.values("content-length").next()?;
        let first = value.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
        let digits = first.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(first).ok().filter(|_| digits)?.parse().ok()?;
        Some(if length == 0 { BodyFraming::None } else { BodyFraming::Length(length) })
    }
}

// === impl HeaderField ===

impl<'a> HeaderField<'a> {
    /// Reads a field from its lines. Space before the colon is no part of the name: who wrote it meant the field.
    fn parse(raw: &'a [u8]) -> Self {
        let (name, value) = match memchr::memchr(b':', raw) {
            Some(colon) => {
                let value = raw.get(colon.saturating_add(1)..).unwrap_or_default();
                (raw.get(..colon).unwrap_or_default().trim_ascii(), value.trim_ascii())
            }
            None => (b"".as_slice(), raw),
        };
        let value = if memchr::memchr(b'\n', value).is_some() {
            let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            Cow::Owned(lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(b" ".as_slice()))
        } else {
            Cow::Borrowed(value)
        };
        Self { name, value, raw }
    }
}

/// Says whether bytes behind a first line begin as a field, or are the empty line; absent while that is open.
pub(super) fn field_beginning(bytes: &[u8]) -> Option<bool> {
    if bytes.starts_with(b"\n") || bytes.starts_with(b"\r\n") {
        return Some(true);
    }
    if bytes == b"\r" {
        return None;
    }
    let name = bytes.iter().take_while(|byte| is_token_byte(**byte)).count();
    let rest = bytes.get(name..).unwrap_or_default().trim_ascii_start();
    match rest.first() {
        None if bytes.contains(&b'\n') => Some(false),
        None => None,
        Some(next) => Some(name > 0 && *next == b':'),
    }
}

/// Returns where the name of a header line ends.
fn name_end(line: &[u8]) -> Option<usize> {
    let colon = memchr::memchr(b':', line)?;
    is_token(line.get(..colon)?.trim_ascii_end()).then_some(colon)
}

/// Says whether a byte may stand in a head.
fn is_text(byte: u8) -> bool {
    !byte.is_ascii_control() || matches!(byte, b'\t' | b'\r' | b'\n')
}

/// Says whether a line continues the field before it (RFC 9112, section 5.2).
fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// Returns the length of the field at the front: its line and those that continue it.
fn field_length(bytes: &[u8]) -> usize {
    let mut at = 0_usize;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else { return bytes.len() };
        at = at.saturating_add(end).saturating_add(1);
        if !is_folded(bytes.get(at..).unwrap_or_default()) {
            return at;
        }
    }
}

/// Returns a line without what ends it.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(fields: &str) -> Option<BodyFraming> {
        Head::parse(format!("X\r\n{fields}\r\n\r\n").as_bytes()).framing()
    }

    #[test]
    fn lengths_and_codings_frame_a_body() {
        let (chunked, close) = (Some(BodyFraming::Chunked), Some(BodyFraming::UntilClose));
        for (fields, expected) in [
            ("A: b", None),
            ("Content-Length: 5", Some(BodyFraming::Length(5))),
            ("content-length:\t007 ", Some(BodyFraming::Length(7))),
            ("Content-Length : 5", Some(BodyFraming::Length(5))),
            ("Content-Length: 5, 5", Some(BodyFraming::Length(5))),
            ("Content-Length: 5\r\nContent-Length: 5", Some(BodyFraming::Length(5))),
            ("Content-Length:\r\n 5", Some(BodyFraming::Length(5))),
            ("Content-Length: 0", Some(BodyFraming::None)),
            ("Content-Length: +5", None),
            ("Content-Length: 5x", None),
            ("Content-Length: 99999999999999999999", None),
            ("Transfer-Encoding: chunked", chunked),
            ("Transfer-Encoding: gzip, chunked", chunked),
            ("Transfer-Encoding: gzip,\r\n\tchunked", chunked),
            ("Transfer-Encoding:\r\n  Chunked", chunked),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", chunked),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", chunked),
            ("Transfer-Encoding: chunked, gzip", close),
            ("Transfer-Encoding: identity\r\nContent-Length: 5", Some(BodyFraming::Length(5))),
            ("Transfer-Encoding: identity", None),
            ("Transfer-Encoding: chunked, identity", chunked),
            ("Transfer-Encoding : chunked", chunked),
        ] {
            assert_eq!(framing(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn fields_are_read_whatever_ends_their_lines() {
        let head = Head::parse(b"GET / HTTP/1.1\nA:1\r\n\tand 2\nB : 3\nnonsense\nC:\n\n");
        let told: Vec<(&[u8], &[u8])> =
            head.fields.iter().map(|field| (field.name, field.value.as_ref())).collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"A", b"1 and 2"), (b"B", b"3"), (b"", b"nonsense"), (b"C", b"")];
        assert_eq!(told, expected);
        assert_eq!(head.line, b"GET / HTTP/1.1");
    }

    #[test]
    fn a_head_is_read_in_any_pieces() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n folded\r\n\r\nrest";
        let whole = text.len() - 4;
        for size in 1..text.len() {
            let mut head = OpenHead::default();
            let mut at = 0;
            for piece in text.chunks(size) {
                match head.read(piece) {
                    Lines::Open(consumed) => at += consumed,
                    Lines::Ended(consumed) => {
                        at += consumed;
                        break;
                    }
                    Lines::Broken(_) => panic!("{size}"),
                }
            }
            assert_eq!(at, whole, "{size}");
            assert_eq!(head.take(), &text[..whole], "{size}");
        }
    }

    #[test]
    fn what_is_no_head_is_found_out() {
        let read = |text: &[u8], doubtful| OpenHead::new(doubtful).read(text);
        assert_eq!(read(b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n", false), Lines::Broken(19));
        assert_eq!(read(b"GET / HTTP/1.1\r\nsome text\r\n\r\n", true), Lines::Broken(16));
        assert_eq!(read(b"GET / HTTP/1.1\r\nsome text\r\n\r\n", false), Lines::Ended(29));
        let long =
            [b"GET / HTTP/1.1\r\nA: ".as_slice(), "x".repeat(300 * 1024).as_bytes(), b"\r\n\r\n"].concat();
        assert_eq!(read(&long, false), Lines::Ended(long.len()));
        let long =
            [b"GET / HTTP/1.1\r\nA: ".as_slice(), "x".repeat(MAX_HEAD).as_bytes(), b"\r\n\r\n"].concat();
        assert_eq!(read(&long, false), Lines::Broken(MAX_HEAD));
    }
}
