//! The body of an HTTP/1 message: where it ends, and its first bytes for the payload (RFC 9112, sections 6 and 7).

use super::head::{BodyFraming, field_beginning};
use super::line;
use crate::decoder::{Probe, Side};

/// Longest line of a chunk's size with its extensions, and of a trailer.
const MAX_LINE: usize = 16 * 1024;

/// A body while it is read.
#[derive(Debug)]
pub(super) struct Body {
    state: State,
    /// Head and body as shown, up to the limit.
    pub(super) payload: Vec<u8>,
    limit: usize,
    /// Whether the payload is not the whole message.
    pub(super) truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    /// Chunks whose sizes were never captured: only what comes next shows where the body ended.
    Blind,
    Done,
}

/// What reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes were read, the next so many need not be, and the body goes on behind them.
    More { consumed: usize, skip: u64 },
    /// So many bytes were read, and the body ends behind the next so many.
    Done { consumed: usize, skip: u64 },
    /// What is at the front is no body.
    Malformed,
}

// === impl Body ===

impl Body {
    /// Begins a body behind a head of which `payload` is shown.
    pub(super) fn new(framing: BodyFraming, mut payload: Vec<u8>, limit: usize) -> Self {
        let truncated = payload.len() > limit;
        payload.truncate(limit);
        let state = match framing {
            BodyFraming::None => State::Done,
            BodyFraming::Length(length) => State::Length(length),
            BodyFraming::Chunked => State::ChunkSize,
            BodyFraming::UntilClose => State::UntilClose,
        };
        Self { state, payload, limit, truncated }
    }

    /// Says whether only the end of the connection ends it.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Reads on; `skips` allows that what the payload has no room for passes unread.
    pub(super) fn read(&mut self, bytes: &[u8], skips: bool) -> Read {
        let mut consumed = 0_usize;
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            match self.state {
                State::Done => return Read::Done { consumed, skip: 0 },
                State::Blind => {
                    return match last_chunk(rest) {
                        Last::Ends(end) => Read::Done { consumed: consumed.saturating_add(end), skip: 0 },
                        Last::Open(at) => Read::More { consumed: consumed.saturating_add(at), skip: 0 },
                    };
                }
                State::Length(left) => {
                    let (taken, left) = self.keep(rest, left);
                    consumed = consumed.saturating_add(taken);
                    self.state = State::Length(left);
                    if left == 0 || skips && self.is_full() {
                        self.truncated |= left > 0;
                        self.state = State::Done;
                        return Read::Done { consumed, skip: left };
                    }
                    return Read::More { consumed, skip: 0 };
                }
                State::UntilClose => {
                    let (taken, _) = self.keep(rest, u64::MAX);
                    consumed = consumed.saturating_add(taken);
                    let skip = if skips && self.is_full() { u64::MAX } else { 0 };
                    return Read::More { consumed, skip };
                }
                State::ChunkData(left) => {
                    let (taken, left) = self.keep(rest, left);
                    consumed = consumed.saturating_add(taken);
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    if left > 0 && skips && self.is_full() {
                        self.truncated = true;
                        self.state = State::ChunkEnd;
                        return Read::More { consumed, skip: left };
                    }
                    if left > 0 {
                        return Read::More { consumed, skip: 0 };
                    }
                }
                State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        return if rest.len() > MAX_LINE && consumed == 0 {
                            Read::Malformed
                        } else {
                            Read::More { consumed, skip: 0 }
                        };
                    };
                    let line = rest.get(..end).unwrap_or_default();
                    if !self.line(line.strip_suffix(b"\r").unwrap_or(line)) {
                        // What is sound before it is read first.
                        return if consumed == 0 {
                            Read::Malformed
                        } else {
                            Read::More { consumed, skip: 0 }
                        };
                    }
                    consumed = consumed.saturating_add(end).saturating_add(1);
                }
            }
        }
    }

    /// Says whether its end can no longer be read from its framing.
    pub(super) fn is_blind(&self) -> bool {
        self.state == State::Blind
    }

    /// Counts up to `len` bytes that were never captured as read: all that lie within data, and, of chunks, all.
    pub(super) fn unseen(&mut self, len: u64) -> u64 {
        let passed = match &mut self.state {
            State::Length(left) | State::ChunkData(left) => {
                let passed = len.min(*left);
                *left = left.saturating_sub(passed);
                passed
            }
            State::UntilClose | State::Blind => len,
            State::ChunkSize | State::ChunkEnd | State::Trailers => {
                self.state = State::Blind;
                len
            }
            State::Done => 0,
        };
        self.truncated |= passed > 0;
        passed
    }

    fn is_full(&self) -> bool {
        self.payload.len() >= self.limit
    }

    /// Adds to the payload what fits of the next `left` bytes; returns how many were taken and are left.
    fn keep(&mut self, bytes: &[u8], left: u64) -> (usize, u64) {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let kept = bytes.get(..here.min(self.limit.saturating_sub(self.payload.len()))).unwrap_or_default();
        self.payload.extend_from_slice(kept);
        self.truncated |= kept.len() < here;
        (here, left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX)))
    }

    /// Takes a line of the chunked coding.
    fn line(&mut self, line: &[u8]) -> bool {
        match self.state {
            State::ChunkSize => {
                let Some(size) = chunk_size(line) else { return false };
                self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return false,
            State::Trailers if line.is_empty() => self.state = State::Done,
            State::Trailers
            | State::Length(_)
            | State::UntilClose
            | State::ChunkData(_)
            | State::Blind
            | State::Done => {}
        }
        true
    }
}

/// Reads the line ahead of a chunk: its size with any zeros in front, and extensions, which say nothing of its length.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let rest = digits.get(zeros..)?;
    if digits.is_empty() || rest.len() > 15 || !rest.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    if rest.is_empty() {
        return Some(0);
    }
    std::str::from_utf8(rest).ok().and_then(|text| u64::from_str_radix(text, 16).ok())
}

/// Where chunks end whose sizes are not known.
#[derive(Debug, PartialEq, Eq)]
enum Last {
    /// With so many bytes.
    Ends(usize),
    /// Not in the first so many bytes.
    Open(usize),
}

/// Looks for the last chunk: a line that is one, trailers, an empty line, and the next message or nothing behind it.
fn last_chunk(bytes: &[u8]) -> Last {
    let mut at = 0_usize;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest);
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let zero = chunk_size(line) == Some(0);
        let Some(end) = end else {
            let short = rest.len() <= MAX_LINE;
            return Last::Open(if (zero || line.is_empty()) && short { at } else { bytes.len() });
        };
        let next = at.saturating_add(end).saturating_add(1);
        if zero {
            match trailers_end(bytes, next) {
                Trailers::End(end) => return Last::Ends(end),
                Trailers::Open if rest.len() <= MAX_LINE => return Last::Open(at),
                Trailers::Open | Trailers::None => {}
            }
        }
        at = next;
    }
}

/// What lies behind a line that may be the last chunk.
enum Trailers {
    /// Trailers, with which the message ends here.
    End(usize),
    /// Trailers as far as they came.
    Open,
    /// Something else.
    None,
}

fn trailers_end(bytes: &[u8], mut at: usize) -> Trailers {
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match (field_beginning(rest), memchr::memchr(b'\n', rest)) {
            (Some(false), _) => return Trailers::None,
            (Some(true), Some(end)) => {
                let line = rest.get(..end).unwrap_or_default();
                at = at.saturating_add(end).saturating_add(1);
                if line.trim_ascii().is_empty() {
                    let next = bytes.get(at..).unwrap_or_default();
                    let begins = |side| line::judge(side, next, true) != Probe::No;
                    let ends = next.is_empty() || begins(Side::Client) || begins(Side::Server);
                    return if ends { Trailers::End(at) } else { Trailers::None };
                }
            }
            (None, _) | (_, None) => return Trailers::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked() -> Body {
        Body::new(BodyFraming::Chunked, Vec::new(), 1000)
    }

    #[test]
    fn chunk_sizes_have_zeros_extensions_and_spaces() {
        for (line, size) in [
            ("5", Some(5)),
            ("0000000000000000000000a", Some(10)),
            ("FF;name=\"a;b\"", Some(255)),
            (" 1 ;x", Some(1)),
            ("000", Some(0)),
            ("", None),
            (";x", None),
            ("0x5", None),
            ("-1", None),
            ("5 6", None),
            ("fffffffffffffff", Some(0x0fff_ffff_ffff_ffff)),
            ("1ffffffffffffffff", None),
        ] {
            assert_eq!(chunk_size(line.as_bytes()), size, "{line:?}");
        }
    }

    #[test]
    fn trailers_end_a_body() {
        let mut body = chunked();
        let text = b"0003;a=b\r\nabc\r\n00\r\nX: y\r\nZ: \r\n\r\nnext";
        assert_eq!(body.read(text, true), Read::Done { consumed: text.len() - 4, skip: 0 });
        assert_eq!(body.payload, b"abc");
    }

    #[test]
    fn what_is_no_chunk_is_left_at_the_front() {
        let mut body = chunked();
        assert_eq!(body.read(b"3\r\nabc\r\nnonsense\r\n", true), Read::More { consumed: 8, skip: 0 });
        assert_eq!(body.read(b"nonsense\r\n", true), Read::Malformed);
    }

    #[test]
    fn unseen_chunks_end_where_a_last_one_is_followed_by_a_message() {
        for (text, end) in [
            ("abc\r\n0\r\n\r\n", Last::Ends(10)),
            ("0\r\n\r\n", Last::Ends(5)),
            ("c\n000;x\r\nA: b\r\n\r\n", Last::Ends(17)),
            ("x\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", Last::Ends(8)),
            ("x\r\n0\r\n\r\nmore text", Last::Open(17)),
            ("10\r\n\r\n", Last::Open(6)),
            ("text\r\n0\r\n", Last::Open(6)),
            ("text\r\n0", Last::Open(6)),
            ("text\r\n0\r\nno trailer", Last::Open(19)),
            ("text\r\n0\r\n\r", Last::Open(6)),
            ("text", Last::Open(4)),
            ("", Last::Open(0)),
        ] {
            assert_eq!(last_chunk(text.as_bytes()), end, "{text:?}");
        }
    }
}
