//! Turns a reply into readable text and remembers the few words that pairing needs.

use std::borrow::Cow;

use super::resp::Listener;
use super::secrets::{Guard, Secret, is_monitored, is_secret, is_secret_setting, monitored};
use crate::sql::REDACTED;

/// How much of each remembered word is kept.
const WORD_BYTES: usize = 64;

/// How many words are remembered: `message CHANNEL TEXT` needs two, a confirmation three.
const MAX_WORDS: usize = 3;

/// How many words of a listed command are remembered: the server lists 32 at most.
const LISTED_WORDS: usize = 64;

/// Deepest indentation, in columns.
const MAX_INDENT: usize = 96;

/// A reply as it is read.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The first byte of the value, after attributes.
    pub(super) kind: u8,
    /// The readable text.
    pub(super) text: Vec<u8>,
    /// The text is not all of it.
    pub(super) truncated: bool,
    /// The first words: the value itself, or what the outermost aggregate begins with.
    words: Vec<Vec<u8>>,
    limit: usize,
    /// What must be hidden; absent where nothing is.
    guard: Option<Guard>,
    /// The value of a secret setting comes next.
    secret_next: bool,
    /// The words of the innermost list, where they may be a command.
    listed: Vec<Vec<u8>>,
    /// The depth of those words.
    listed_depth: usize,
    /// Per open aggregate: its kind and how many elements began.
    open: Vec<(u8, u64)>,
    /// The depth of the attribute being read: attributes are not shown.
    attribute: Option<usize>,
    bulk: Bulk,
}

/// The bulk being read, as far as it is kept.
#[derive(Debug, Default)]
struct Bulk {
    depth: usize,
    kind: u8,
    kept: Vec<u8>,
    cut: bool,
}

// === impl Reply ===

impl Reply {
    /// Begins a reply of which `guard` says what to hide; without one, nothing is hidden.
    pub(super) fn new(limit: usize, guard: Option<Guard>) -> Self {
        Self { limit, guard, ..Self::default() }
    }

    /// Tells whether the reply is an error.
    pub(super) fn is_error(&self) -> bool {
        matches!(self.kind, b'-' | b'!')
    }

    /// Returns the first word of the reply's text.
    pub(super) fn first_word(&self) -> String {
        let word = self.word(0).split(|byte| *byte == b' ').next().unwrap_or_default();
        String::from_utf8_lossy(word).into_owned()
    }

    /// Returns remembered word `index`, or nothing.
    pub(super) fn word(&self, index: usize) -> &[u8] {
        self.words.get(index).map(Vec::as_slice).unwrap_or_default()
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.text.len())
    }

    fn write(&mut self, bytes: &[u8]) {
        let room = self.room();
        self.truncated |= bytes.len() > room;
        self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Begins a value at `depth`; `false` when it belongs to an attribute.
    fn begin(&mut self, depth: usize, kind: u8) -> bool {
        if self.attribute.is_some_and(|attribute| depth > attribute) {
            return false;
        }
        self.attribute = (kind == b'|').then_some(depth);
        if self.attribute.is_some() {
            return false;
        }
        if depth == 0 {
            self.kind = kind;
        }
        self.open.truncate(depth);
        self.number(depth);
        true
    }

    /// Writes the number of a list's element or the arrow of a map's value.
    fn number(&mut self, depth: usize) {
        let Some((kind, count)) = self.open.last_mut() else { return };
        *count = count.saturating_add(1);
        let (kind, count) = (*kind, *count);
        if self.room() == 0 {
            self.truncated = true;
            return;
        }
        if kind == b'%' && count % 2 == 0 {
            return self.write(b" => ");
        }
        if count > 1 {
            let indent = depth.saturating_sub(1).saturating_mul(3).min(MAX_INDENT);
            self.write(b"\n");
            self.write(&vec![b' '; indent]);
        }
        let (number, mark) = match kind {
            b'%' => (count.div_ceil(2), '#'),
            b'~' => (count, '~'),
            _ => (count, ')'),
        };
        self.write(format!("{number}{mark} ").as_bytes());
    }

    /// Takes a whole value that is not an aggregate.
    fn scalar(&mut self, depth: usize, kind: u8, value: &[u8]) {
        let hidden = self.is_hidden(depth, kind, value);
        if depth <= 1 && self.words.len() < MAX_WORDS {
            self.words.push(value.get(..WORD_BYTES).unwrap_or(value).to_vec());
        }
        if hidden {
            return self.write(REDACTED.as_bytes());
        }
        let shown = match (&self.guard, kind) {
            (Some(guard), b'-' | b'!') => Cow::Owned(guard.error(value)),
            (Some(_), b'+') if is_monitored(value) => Cow::Owned(monitored(value)),
            _ => Cow::Borrowed(value),
        };
        match (kind, value) {
            (b'_', _) => self.write(b"(nil)"),
            (b'#', b"t") => self.write(b"(true)"),
            (b'#', _) => self.write(b"(false)"),
            (b'-' | b'!', _) if depth > 0 => {
                self.write(b"(error) ");
                self.write(&shown);
            }
            (b'$' | b'=' | b'+', _) if depth > 0 => self.write(&quoted(&shown)),
            _ => self.write(&shown),
        }
    }

    /// Tells whether a value is a secret; the values of a reply are asked about in order.
    fn is_hidden(&mut self, depth: usize, kind: u8, value: &[u8]) -> bool {
        let Some(guard) = &self.guard else { return false };
        match guard.secret {
            Secret::Nothing => false,
            // `QUEUED` and `OK` are none.
            Secret::Everything => !matches!(kind, b'-' | b'!') && (depth > 0 || kind != b'+'),
            Secret::Settings | Secret::Users => {
                let users = guard.secret == Secret::Users;
                let next = if users { value == b"username" } else { is_secret_setting(value) };
                let hidden = std::mem::replace(&mut self.secret_next, next);
                self.secret_next &= !hidden;
                hidden
            }
            Secret::Commands if depth != self.listed_depth => false,
            Secret::Commands => {
                if self.listed.len() < LISTED_WORDS {
                    self.listed.push(value.get(..WORD_BYTES).unwrap_or(value).to_vec());
                }
                self.listed.len().checked_sub(1).is_some_and(|last| is_secret(&self.listed, last))
            }
        }
    }
}

impl Listener for Reply {
    fn open(&mut self, depth: usize, kind: u8, elements: u64) {
        if !self.begin(depth, kind) {
            return;
        }
        self.open.push((kind, 0));
        self.listed.clear();
        self.listed_depth = depth.saturating_add(1);
        if elements == 0 {
            self.write(match kind {
                b'%' => b"(empty map)",
                b'~' => b"(empty set)",
                _ => b"(empty list)",
            });
        }
    }

    fn line(&mut self, depth: usize, kind: u8, text: &[u8]) {
        if self.begin(depth, kind) {
            self.scalar(depth, kind, text);
        }
    }

    fn bulk(&mut self, depth: usize, kind: u8) {
        let kind = if self.begin(depth, kind) { kind } else { b'|' };
        self.bulk = Bulk { depth, kind, ..Bulk::default() };
    }

    fn part(&mut self, bytes: &[u8]) -> bool {
        let most = self.room().max(WORD_BYTES);
        let room = if self.bulk.kind == b'|' { 0 } else { most.saturating_sub(self.bulk.kept.len()) };
        self.bulk.cut |= bytes.len() > room;
        self.bulk.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        bytes.len() < room
    }

    fn bulk_end(&mut self, whole: bool) {
        let Bulk { depth, kind, kept, cut } = std::mem::take(&mut self.bulk);
        let cut = cut || !whole;
        match kind {
            b'|' => return,
            // A verbatim string begins with its format: `txt:`.
            b'=' => self.scalar(depth, kind, kept.get(4..).unwrap_or_default()),
            _ => self.scalar(depth, kind, &kept),
        }
        self.truncated |= cut;
    }
}

/// Writes a word so that words separated by spaces can be told apart: quoted when it is empty or has white space or quotes.
pub(super) fn quoted(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !word.is_empty() && word.iter().all(plain) {
        return word.to_vec();
    }
    let mut text = Vec::with_capacity(word.len().saturating_add(2));
    text.push(b'"');
    for byte in word {
        match byte {
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', *byte]),
            _ => text.push(*byte),
        }
    }
    text.push(b'"');
    text
}
