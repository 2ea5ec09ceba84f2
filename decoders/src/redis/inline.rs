//! Commands that a client writes as lines.

use std::borrow::Cow;

use super::resp::MAX_LINE;
use super::resync::is_inline;

/// Where the reading of a line stands.
#[derive(Debug, Default)]
pub(super) struct Inline {
    /// The line was searched for its end so far.
    searched: usize,
    /// The beginning of a line that is longer than the server waits for: it refuses such a one, unless its end comes with
    /// the same read.
    long: Option<Vec<u8>>,
}

/// What the bytes given are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line of so many bytes, its end included. Of a long one only the beginning is kept.
    Whole { text: Cow<'a, [u8]>, cut: bool, consumed: usize },
    /// A part of a long line.
    Part,
    /// More bytes are needed.
    NeedMore,
    /// No line of text.
    Not,
}

// === impl Inline ===

impl Inline {
    /// Reads on in `bytes`; of a long line the first `keep` bytes are kept.
    pub(super) fn read<'a>(&mut self, bytes: &'a [u8], keep: usize) -> Line<'a> {
        let from = self.searched.min(bytes.len());
        let Some(offset) = memchr::memchr(b'\n', bytes.get(from..).unwrap_or_default()) else {
            return self.begun(bytes, keep);
        };
        self.searched = 0;
        let end = from.saturating_add(offset);
        let text = bytes.get(..end).unwrap_or_default();
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let long = self.long.take();
        if !text.iter().all(|byte| is_inline(*byte)) {
            return Line::Not;
        }
        let cut = long.is_some();
        let text = long.map_or(Cow::Borrowed(text), Cow::Owned);
        Line::Whole { text, cut, consumed: end.saturating_add(1) }
    }

    /// Takes bytes in which no line ends.
    fn begun<'a>(&mut self, bytes: &[u8], keep: usize) -> Line<'a> {
        if self.long.is_none() && bytes.len() < MAX_LINE {
            self.searched = bytes.len();
            let begins = bytes.first().is_some_and(|byte| is_inline(*byte));
            return if begins { Line::NeedMore } else { Line::Not };
        }
        self.searched = 0;
        if !bytes.iter().all(|byte| is_inline(*byte)) {
            self.long = None;
            return Line::Not;
        }
        if bytes.is_empty() {
            return Line::NeedMore;
        }
        self.long.get_or_insert_with(|| bytes.get(..keep.min(bytes.len())).unwrap_or_default().to_vec());
        Line::Part
    }

    /// Counts bytes that were not captured; returns how many belong to the open line.
    pub(super) fn unseen(&self, len: u64) -> u64 {
        if self.long.is_some() { len } else { 0 }
    }

    /// Returns the beginning of a long line that is open.
    pub(super) fn long(&self) -> Option<&[u8]> {
        self.long.as_deref()
    }

    /// Forgets the open line, and returns its beginning if it is a long one.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        self.searched = 0;
        self.long.take()
    }
}
