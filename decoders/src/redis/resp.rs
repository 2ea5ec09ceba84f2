//! Reads one RESP2 or RESP3 value piece by piece, without holding more of it than the listener keeps.

use super::commands::parse;

/// Deepest nesting followed: Redis' own replies stay below ten, but a script returns what tables it likes.
const MAX_DEPTH: usize = 1024;

/// Longest line held: the server takes no longer inline command. Longer simple strings, as `MONITOR` sends them, are
/// heard piece by piece, and numbers are shorter.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// Longest bulk: the server's own bound on `proto-max-bulk-len` is far above what fits in one reply.
const MAX_BULK: u64 = 1 << 32;

/// Most elements of one aggregate: `redisReader`'s bound.
const MAX_ELEMENTS: u64 = (1 << 32) - 1;

/// Longest line that holds a number: its kind, 20 digits and a line end.
const MAX_NUMBER: usize = 24;

/// Bytes of a line end.
const LINE_END: u8 = 2;

/// Hears the parts of a value in order.
pub(super) trait Listener {
    /// An aggregate of `kind` begins.
    fn open(&mut self, depth: usize, kind: u8, elements: u64);
    /// A value on one line: `kind` is its first byte, `text` what follows.
    fn line(&mut self, depth: usize, kind: u8, text: &[u8]);
    /// A bulk begins, or a line longer than is held.
    fn bulk(&mut self, depth: usize, kind: u8);
    /// The next bytes of the bulk; `false`: the rest need not be heard.
    fn part(&mut self, bytes: &[u8]) -> bool;
    /// The bulk ended; `whole`: all of it was heard.
    fn bulk_end(&mut self, whole: bool);
}

/// Hears nothing.
struct Deaf;

/// Where the reading of a value stands.
#[derive(Debug, Default)]
pub(super) struct RespScanner {
    levels: Vec<Level>,
    bulk: Bulk,
    /// The open bulk comes in chunks.
    chunked: bool,
    /// Bytes of the open bulk were not captured: the rest of it is of no use.
    holed: bool,
    /// How far the unfinished line was searched for its end.
    searched: usize,
}

/// How the bytes given to a scanner ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// All was used or no whole line is there: more bytes are needed.
    More,
    /// The next bytes, as many as this, need not be captured; then the reading goes on.
    Skip(u64),
    /// As `Skip`, and the value ends there.
    Done(u64),
}

/// The bytes are not RESP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotResp;

#[derive(Debug)]
struct Level {
    /// Values to come; absent where a `.` ends them.
    left: Option<u64>,
    attribute: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Bulk {
    #[default]
    None,
    /// So many bytes are to come.
    Data(u64),
    /// So many bytes of the line end behind the data are to come.
    Tail(u8),
    /// It ended in bytes that were not captured, and the listener does not know yet.
    Ended,
    /// The size of the next chunk comes.
    Chunk,
    /// The rest of a long line comes.
    Line,
}

/// What stands at the place where a line is expected.
enum Line<'a> {
    Whole(&'a [u8]),
    /// A line of text longer than is held.
    Long(u8),
    Partial,
}

/// Reads values from the start of `bytes`, and returns how many are whole and where the first that is not begins.
pub(super) fn read_values(bytes: &[u8]) -> Result<(usize, usize), NotResp> {
    let (mut count, mut at) = (0_usize, 0_usize);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok((count, at));
        }
        match RespScanner::default().scan(rest, &mut Deaf)? {
            (used, Scanned::Done(_)) => {
                at = at.saturating_add(used);
                count = count.saturating_add(1);
            }
            (_, Scanned::More | Scanned::Skip(_)) => return Ok((count, at)),
        }
    }
}

// === impl Deaf ===

impl Listener for Deaf {
    fn open(&mut self, _depth: usize, _kind: u8, _elements: u64) {}

    fn line(&mut self, _depth: usize, _kind: u8, _text: &[u8]) {}

    fn bulk(&mut self, _depth: usize, _kind: u8) {}

    fn part(&mut self, _bytes: &[u8]) -> bool {
        true
    }

    fn bulk_end(&mut self, _whole: bool) {}
}

// === impl RespScanner ===

impl RespScanner {
    /// Reads on in `bytes`, which follow what was used before; returns how many were used.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        listener: &mut dyn Listener,
    ) -> Result<(usize, Scanned), NotResp> {
        let mut used = 0_usize;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let (taken, progress) = match self.bulk {
                Bulk::None => self.scan_line(rest, listener)?,
                Bulk::Data(left) => self.scan_data(rest, left, listener),
                Bulk::Tail(left) => self.scan_tail(rest, left, listener)?,
                Bulk::Ended => (0, self.end_bulk(listener)),
                Bulk::Chunk => self.scan_chunk(rest, listener)?,
                Bulk::Line => self.scan_long_line(rest, listener),
            };
            used = used.saturating_add(taken);
            if let Some(progress) = progress {
                return Ok((used, progress));
            }
        }
    }

    /// Counts bytes that were not captured; returns how many belong to the open bulk.
    pub(super) fn unseen(&mut self, len: u64) -> u64 {
        let mut taken = 0_u64;
        if let Bulk::Data(left) = self.bulk {
            taken = len.min(left);
            let left = left.saturating_sub(taken);
            self.bulk = if left == 0 { Bulk::Tail(LINE_END) } else { Bulk::Data(left) };
        }
        if let Bulk::Tail(left) = self.bulk {
            let rest = len.saturating_sub(taken).min(u64::from(left));
            taken = taken.saturating_add(rest);
            let left = left.saturating_sub(u8::try_from(rest).unwrap_or(left));
            self.bulk = if left > 0 {
                Bulk::Tail(left)
            } else if self.chunked {
                Bulk::Chunk
            } else {
                Bulk::Ended
            };
        }
        self.holed |= taken > 0;
        taken
    }

    fn scan_line(
        &mut self,
        rest: &[u8],
        listener: &mut dyn Listener,
    ) -> Result<(usize, Option<Scanned>), NotResp> {
        match self.line(rest)? {
            Line::Partial => Ok((0, Some(Scanned::More))),
            Line::Long(kind) => {
                listener.bulk(self.levels.len(), kind);
                self.bulk = Bulk::Line;
                Ok((1, None))
            }
            Line::Whole(line) => {
                let done = self.value(line, listener)?;
                Ok((line.len().saturating_add(2), done.then_some(Scanned::Done(0))))
            }
        }
    }

    fn scan_data(&mut self, rest: &[u8], left: u64, listener: &mut dyn Listener) -> (usize, Option<Scanned>) {
        let take = usize::try_from(left).map_or(rest.len(), |left| rest.len().min(left));
        let wants = !self.holed && listener.part(rest.get(..take).unwrap_or_default());
        let left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
        self.bulk = if left == 0 { Bulk::Tail(LINE_END) } else { Bulk::Data(left) };
        if left == 0 {
            return (take, None);
        }
        if wants {
            return (take, Some(Scanned::More));
        }
        let skip = left.saturating_add(u64::from(LINE_END));
        self.holed = true;
        if self.chunked {
            self.bulk = Bulk::Chunk;
            return (take, Some(Scanned::Skip(skip)));
        }
        let done = self.end_bulk(listener).is_some();
        (take, Some(if done { Scanned::Done(skip) } else { Scanned::Skip(skip) }))
    }

    fn scan_tail(
        &mut self,
        rest: &[u8],
        left: u8,
        listener: &mut dyn Listener,
    ) -> Result<(usize, Option<Scanned>), NotResp> {
        let end: &[u8] = if left == LINE_END { b"\r\n" } else { b"\n" };
        if rest.len() < end.len() {
            return if end.starts_with(rest) { Ok((0, Some(Scanned::More))) } else { Err(NotResp) };
        }
        if !rest.starts_with(end) {
            return Err(NotResp);
        }
        if self.chunked {
            self.bulk = Bulk::Chunk;
            return Ok((end.len(), None));
        }
        Ok((end.len(), self.end_bulk(listener)))
    }

    /// Reads `;SIZE`, the head of a chunk; a size of 0 ends the string.
    fn scan_chunk(
        &mut self,
        rest: &[u8],
        listener: &mut dyn Listener,
    ) -> Result<(usize, Option<Scanned>), NotResp> {
        if rest.first().is_some_and(|byte| *byte != b';') {
            return Err(NotResp);
        }
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return if rest.len() > MAX_NUMBER { Err(NotResp) } else { Ok((0, Some(Scanned::More))) };
        };
        let size = rest.get(1..end).and_then(|size| size.strip_suffix(b"\r")).ok_or(NotResp)?;
        let size = count(size, MAX_BULK)?;
        let used = end.saturating_add(1);
        if size == 0 {
            return Ok((used, self.end_bulk(listener)));
        }
        self.bulk = Bulk::Data(size);
        Ok((used, None))
    }

    fn scan_long_line(&mut self, rest: &[u8], listener: &mut dyn Listener) -> (usize, Option<Scanned>) {
        let end = memchr::memchr(b'\n', rest);
        let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        listener.part(text);
        match end {
            Some(end) => (end.saturating_add(1), self.end_bulk(listener)),
            None => (text.len(), Some(Scanned::More)),
        }
    }

    /// Ends the open bulk; says so when the value ends with it.
    fn end_bulk(&mut self, listener: &mut dyn Listener) -> Option<Scanned> {
        self.bulk = Bulk::None;
        self.chunked = false;
        listener.bulk_end(!std::mem::take(&mut self.holed));
        self.finish().then_some(Scanned::Done(0))
    }

    /// Returns the line at the start of `rest` without its end, if all of it is there.
    fn line<'a>(&mut self, rest: &'a [u8]) -> Result<Line<'a>, NotResp> {
        let Some(kind) = rest.first() else { return Ok(Line::Partial) };
        if !b"+-:$*_#,(!=%~>|.".contains(kind) {
            return Err(NotResp);
        }
        let from = self.searched.min(rest.len());
        let end = memchr::memchr(b'\n', rest.get(from..).unwrap_or_default());
        let end = end.map(|offset| from.saturating_add(offset));
        if end.unwrap_or(rest.len()) > MAX_LINE {
            self.searched = 0;
            return if matches!(kind, b'+' | b'-') { Ok(Line::Long(*kind)) } else { Err(NotResp) };
        }
        let Some(end) = end else {
            self.searched = rest.len();
            return Ok(Line::Partial);
        };
        self.searched = 0;
        let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        line.map(Line::Whole).ok_or(NotResp)
    }

    /// Takes one line; `true` when it ends the value.
    fn value(&mut self, line: &[u8], listener: &mut dyn Listener) -> Result<bool, NotResp> {
        let depth = self.levels.len();
        let (kind, text) = line.split_first().ok_or(NotResp)?;
        match kind {
            b'+' | b'-' => listener.line(depth, *kind, text),
            b':' if parse::<i64>(text).is_some() => listener.line(depth, *kind, text),
            b'_' if text.is_empty() => listener.line(depth, *kind, text),
            b'#' if matches!(text, b"t" | b"f") => listener.line(depth, *kind, text),
            b',' | b'(' if is_number(text) => listener.line(depth, *kind, text),
            b'$' | b'=' | b'!' | b'*' if text == b"-1" => listener.line(depth, b'_', b""),
            b'$' | b'=' | b'!' => {
                listener.bulk(depth, *kind);
                self.chunked = text == b"?";
                self.bulk = match text {
                    b"?" => Bulk::Chunk,
                    _ => match count(text, MAX_BULK)? {
                        0 => Bulk::Tail(LINE_END),
                        length => Bulk::Data(length),
                    },
                };
                return Ok(false);
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => return self.open(*kind, text, listener),
            // The end of an aggregate of which the number of elements was not known.
            b'.' if text.is_empty() && self.levels.last().is_some_and(|level| level.left.is_none()) => {
                self.levels.pop();
            }
            _ => return Err(NotResp),
        }
        Ok(self.finish())
    }

    /// Begins an aggregate; `true` when it is empty and ends the value.
    fn open(&mut self, kind: u8, text: &[u8], listener: &mut dyn Listener) -> Result<bool, NotResp> {
        let depth = self.levels.len();
        let attribute = kind == b'|';
        let pairs = if attribute || kind == b'%' { 2 } else { 1 };
        let elements = if text == b"?" { None } else { Some(count(text, MAX_ELEMENTS)?) };
        listener.open(depth, kind, elements.unwrap_or(u64::MAX));
        let left = elements.map(|elements| elements.saturating_mul(pairs));
        if left == Some(0) {
            return Ok(!attribute && self.finish());
        }
        if depth >= MAX_DEPTH {
            return Err(NotResp);
        }
        self.levels.push(Level { left, attribute });
        Ok(false)
    }

    /// Counts a value that ended, and the aggregates that end with it; `true` when nothing is open any more.
    fn finish(&mut self) -> bool {
        while let Some(level) = self.levels.last_mut() {
            let Some(left) = &mut level.left else { return false };
            *left = left.saturating_sub(1);
            if *left > 0 {
                return false;
            }
            // What follows an attribute is the value it belongs to.
            if self.levels.pop().is_some_and(|level| level.attribute) {
                return false;
            }
        }
        true
    }
}

fn count(text: &[u8], most: u64) -> Result<u64, NotResp> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return Err(NotResp);
    }
    parse::<u64>(text).filter(|count| *count <= most).ok_or(NotResp)
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests;
