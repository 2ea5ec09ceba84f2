//! The body of an HTTP/1 message: where it ends, and its first bytes for the payload (RFC 9112, sections 6 and 7).

use super::head::Framing;

/// Longest line of a chunk's size with its extensions, and of a trailer.
const MAX_LINE: usize = 16 * 1024;

/// What ends a chunked body without trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

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
    /// These bytes are no body.
    Malformed,
}

// === impl Body ===

impl Body {
    /// Begins a body behind a head of which `payload` is shown.
    pub(super) fn new(framing: Framing, mut payload: Vec<u8>, limit: usize) -> Self {
        let truncated = payload.len() > limit;
        payload.truncate(limit);
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, payload, limit, truncated }
    }

    /// Says whether only the end of the connection ends it.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Reads on.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Read {
        let mut consumed = 0_usize;
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            match self.state {
                State::Done => return Read::Done { consumed, skip: 0 },
                State::Blind if rest.ends_with(LAST_CHUNK) => {
                    return Read::Done { consumed: bytes.len(), skip: 0 };
                }
                State::Blind => return Read::More { consumed: bytes.len(), skip: 0 },
                State::Length(left) => {
                    let (taken, left) = self.keep(rest, left);
                    consumed = consumed.saturating_add(taken);
                    self.state = State::Length(left);
                    if left == 0 || self.is_full() {
                        self.truncated |= left > 0;
                        self.state = State::Done;
                        return Read::Done { consumed, skip: left };
                    }
                    return Read::More { consumed, skip: 0 };
                }
                State::UntilClose => {
                    let (taken, _) = self.keep(rest, u64::MAX);
                    consumed = consumed.saturating_add(taken);
                    let skip = if self.is_full() { u64::MAX } else { 0 };
                    return Read::More { consumed, skip };
                }
                State::ChunkData(left) => {
                    let (taken, left) = self.keep(rest, left);
                    consumed = consumed.saturating_add(taken);
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    if left > 0 && self.is_full() {
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
                        return if rest.len() > MAX_LINE {
                            Read::Malformed
                        } else {
                            Read::More { consumed, skip: 0 }
                        };
                    };
                    let line = rest.get(..end).unwrap_or_default();
                    if !self.line(line.strip_suffix(b"\r").unwrap_or(line)) {
                        return Read::Malformed;
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
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                let Some(size) = hexadecimal(size) else { return false };
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

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let sound = !digits.is_empty() && digits.len() <= 15 && digits.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits).ok().filter(|_| sound).and_then(|text| u64::from_str_radix(text, 16).ok())
}
