//! Reads one RESP2 or RESP3 value piece by piece, without holding more of it than the listener keeps.

use super::commands::parse;

/// Deepest nesting followed; Redis' own replies stay below ten.
const MAX_DEPTH: usize = 32;

/// Longest line of a value that is not a bulk: simple strings, errors and numbers are shorter.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// Longest bulk: the server's own bound on `proto-max-bulk-len` is far above what fits in one reply.
const MAX_BULK: u64 = 1 << 32;

/// Most elements of one aggregate: `redisReader`'s bound.
const MAX_ELEMENTS: u64 = (1 << 32) - 1;

/// Hears the parts of a value in order.
pub(super) trait Listener {
    /// An aggregate of `kind` begins.
    fn open(&mut self, depth: usize, kind: u8, elements: u64);
    /// A value on one line: `kind` is its first byte, `text` what follows.
    fn line(&mut self, depth: usize, kind: u8, text: &[u8]);
    /// A bulk of `length` bytes begins.
    fn bulk(&mut self, depth: usize, kind: u8, length: u64);
    /// The next bytes of the bulk; `false`: the rest need not be heard.
    fn part(&mut self, bytes: &[u8]) -> bool;
    /// The bulk ended; `whole`: all of it was heard.
    fn bulk_end(&mut self, whole: bool);
}

/// Where the reading of a value stands.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    levels: Vec<Level>,
    bulk: Bulk,
    /// Bytes of the open bulk were not captured: the rest of it is of no use.
    holed: bool,
    /// How far the unfinished line was searched for its end.
    searched: usize,
}

/// How the bytes given to a scanner ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
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
    left: u64,
    attribute: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Bulk {
    #[default]
    None,
    Data(u64),
    End,
}

// === impl Scanner ===

impl Scanner {
    /// Reads on in `bytes`, which follow what was used before; returns how many were used.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        listener: &mut dyn Listener,
    ) -> Result<(usize, Progress), NotResp> {
        let mut used = 0_usize;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            match self.bulk {
                Bulk::Data(left) => {
                    let take = usize::try_from(left).map_or(rest.len(), |left| rest.len().min(left));
                    let wants = !self.holed && listener.part(rest.get(..take).unwrap_or_default());
                    used = used.saturating_add(take);
                    let left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
                    self.bulk = if left == 0 { Bulk::End } else { Bulk::Data(left) };
                    if left > 0 && !wants {
                        self.bulk = Bulk::None;
                        self.holed = false;
                        listener.bulk_end(false);
                        let skip = left.saturating_add(2);
                        let done = self.finish();
                        return Ok((used, if done { Progress::Done(skip) } else { Progress::Skip(skip) }));
                    }
                    if left > 0 {
                        return Ok((used, Progress::More));
                    }
                }
                Bulk::End => match rest {
                    [b'\r', b'\n', ..] => {
                        used = used.saturating_add(2);
                        self.bulk = Bulk::None;
                        listener.bulk_end(!std::mem::take(&mut self.holed));
                        if self.finish() {
                            return Ok((used, Progress::Done(0)));
                        }
                    }
                    [] | [b'\r'] => return Ok((used, Progress::More)),
                    _ => return Err(NotResp),
                },
                Bulk::None => {
                    let Some(line) = self.line(rest)? else { return Ok((used, Progress::More)) };
                    used = used.saturating_add(line.len()).saturating_add(2);
                    if self.value(line, listener)? {
                        return Ok((used, Progress::Done(0)));
                    }
                }
            }
        }
    }

    /// Counts bytes that were not captured; returns how many belong to the open bulk.
    pub(super) fn unseen(&mut self, len: u64) -> u64 {
        let Bulk::Data(left) = self.bulk else { return 0 };
        let taken = len.min(left);
        self.holed |= taken > 0;
        let left = left.saturating_sub(taken);
        self.bulk = if left == 0 { Bulk::End } else { Bulk::Data(left) };
        taken
    }

    /// Returns the line at the start of `rest` without its end, if all of it is there.
    fn line<'a>(&mut self, rest: &'a [u8]) -> Result<Option<&'a [u8]>, NotResp> {
        if rest.first().is_some_and(|kind| !b"+-:$*_#,(!=%~>|".contains(kind)) {
            return Err(NotResp);
        }
        let from = self.searched.min(rest.len());
        if let Some(offset) = memchr::memchr(b'\n', rest.get(from..).unwrap_or_default()) {
            self.searched = 0;
            let end = from.saturating_add(offset);
            let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r"));
            return line.map(Some).ok_or(NotResp);
        }
        if rest.len() > MAX_LINE {
            return Err(NotResp);
        }
        self.searched = rest.len();
        Ok(None)
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
                let length = count(text, MAX_BULK)?;
                listener.bulk(depth, *kind, length);
                self.bulk = if length == 0 { Bulk::End } else { Bulk::Data(length) };
                return Ok(false);
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let elements = count(text, MAX_ELEMENTS)?;
                let attribute = *kind == b'|';
                let pairs = attribute || *kind == b'%';
                listener.open(depth, *kind, elements);
                let left = elements.checked_mul(if pairs { 2 } else { 1 }).ok_or(NotResp)?;
                if left > 0 {
                    if depth >= MAX_DEPTH {
                        return Err(NotResp);
                    }
                    self.levels.push(Level { left, attribute });
                    return Ok(false);
                }
                if attribute {
                    return Ok(false);
                }
            }
            _ => return Err(NotResp),
        }
        Ok(self.finish())
    }

    /// Counts a value that ended, and the aggregates that end with it; `true` when nothing is open any more.
    fn finish(&mut self) -> bool {
        while let Some(level) = self.levels.last_mut() {
            level.left = level.left.saturating_sub(1);
            if level.left > 0 {
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
