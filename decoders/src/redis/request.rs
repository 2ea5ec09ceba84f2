//! Reads one command, in RESP or inline, and keeps what is shown of it.

use super::commands::{is_container, keys, known};
use super::line::{split, split_roughly};
use super::reply::quoted;
use super::resp::Listener;
use super::secrets::is_secret;
use crate::sql::REDACTED;

/// How many words are kept for finding keys and secrets, and how much of each beyond the payload's limit.
const MAX_WORDS: usize = 1024;
pub(super) const WORD_BYTES: usize = 512;

/// Longest operation text: one key is enough to recognise a command.
const OPERATION_BYTES: usize = 512;

/// A command as it is read.
#[derive(Debug, Default)]
pub(super) struct Command {
    words: Vec<Vec<u8>>,
    /// How many words it has, kept or not.
    count: usize,
    limit: usize,
    kept: usize,
    truncated: bool,
    current: Option<Vec<u8>>,
    /// Words of which a part was not seen: they name nothing.
    cut: Vec<usize>,
    malformed: bool,
}

// === impl Command ===

impl Command {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Returns the words of an inline command, or nothing when its quotes do not match (the server answers with an error).
    pub(super) fn inline(line: &[u8], limit: usize) -> Self {
        let mut command = Self::new(limit);
        for word in split(line).unwrap_or_else(|| split_roughly(line)) {
            command.bulk(1, b'$');
            command.part(&word);
            command.bulk_end(true);
        }
        command
    }

    /// Tells whether this is no command: not a list of bulks.
    pub(super) fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// Tells whether there is no word: the server ignores it.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the words that are kept.
    pub(super) fn words(&self) -> &[Vec<u8>] {
        &self.words
    }

    /// Returns how many words there are, kept or not.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Tells whether word `index` is `other`, whatever its case.
    pub(super) fn is(&self, index: usize, other: &[u8]) -> bool {
        self.words.get(index).is_some_and(|word| word.eq_ignore_ascii_case(other))
    }

    /// Tells whether the server knows its name.
    pub(super) fn is_known(&self) -> bool {
        self.words.first().is_some_and(|name| known(name))
    }

    /// Returns the command's name in upper case.
    pub(super) fn name(&self) -> String {
        let name = self.words.first().map(Vec::as_slice).unwrap_or_default();
        text(name).to_uppercase()
    }

    /// Returns the keys.
    pub(super) fn keys(&self) -> Vec<String> {
        let positions = keys(&self.words, self.count);
        positions.iter().filter_map(|at| self.whole(*at)).map(text).collect()
    }

    /// Returns word `index` if all of it was seen, else nothing.
    fn whole(&self, index: usize) -> Option<&[u8]> {
        self.words.get(index).filter(|_| !self.cut.contains(&index)).map(Vec::as_slice)
    }

    /// Ends a command of which no more comes; `false` when not even its name was seen.
    pub(super) fn cut_off(&mut self) -> bool {
        self.bulk_end(false);
        self.truncated = true;
        self.whole(0).is_some_and(|name| !name.is_empty())
    }

    /// Returns the one-line form: the name, and the first key, channel or subcommand.
    pub(super) fn operation(&self) -> String {
        let name = self.name();
        let second = self.whole(1).unwrap_or_default();
        if self.words.first().is_some_and(|name| is_container(name)) && !second.is_empty() {
            return format!("{name} {}", text(second).to_uppercase());
        }
        if let Some(key) = self.keys().first() {
            return format!("{name} {key}");
        }
        let channel = ["PUBLISH", "SPUBLISH", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "SELECT"];
        if channel.contains(&name.as_str()) && !second.is_empty() {
            return format!("{name} {}", text(second));
        }
        name
    }

    /// Returns the fields that filters test.
    pub(super) fn attributes(&self) -> Vec<(&'static str, String)> {
        let keys = self.keys().into_iter().map(|key| ("key", key));
        std::iter::once(("command", self.name())).chain(keys).collect()
    }

    /// Returns the whole command as one line of words, secrets replaced if so wished, and whether something is missing.
    pub(super) fn payload(&self, redact: bool) -> (Vec<u8>, bool) {
        let mut payload = Vec::new();
        for (index, word) in self.words.iter().enumerate() {
            if index > 0 {
                payload.push(b' ');
            }
            if redact && is_secret(&self.words, index) {
                payload.extend_from_slice(REDACTED.as_bytes());
            } else {
                payload.extend_from_slice(&quoted(word));
            }
        }
        let truncated = self.truncated || self.words.len() < self.count || payload.len() > self.limit;
        payload.truncate(self.limit);
        (payload, truncated)
    }
}

impl Listener for Command {
    fn open(&mut self, depth: usize, kind: u8, _elements: u64) {
        self.malformed |= depth != 0 || kind != b'*';
    }

    fn line(&mut self, _depth: usize, kind: u8, _text: &[u8]) {
        // `*-1` is ignored by the server as an empty command is.
        self.malformed |= kind != b'_';
    }

    fn bulk(&mut self, depth: usize, kind: u8) {
        self.malformed |= depth != 1 || kind != b'$';
        self.count = self.count.saturating_add(1);
        self.current = (self.words.len() < MAX_WORDS).then(Vec::new);
    }

    fn part(&mut self, bytes: &[u8]) -> bool {
        let Some(word) = &mut self.current else {
            self.truncated = true;
            return false;
        };
        let most = self.limit.saturating_sub(self.kept).max(WORD_BYTES);
        let room = most.saturating_sub(word.len());
        self.truncated |= bytes.len() > room;
        word.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        bytes.len() < room
    }

    fn bulk_end(&mut self, whole: bool) {
        self.truncated |= !whole;
        if let Some(word) = self.current.take() {
            // What the limit cuts is long enough to be recognised.
            if !whole && word.len() < WORD_BYTES {
                self.cut.push(self.words.len());
            }
            self.kept = self.kept.saturating_add(word.len());
            self.words.push(word);
        }
    }
}

fn text(word: &[u8]) -> String {
    let head = word.get(..OPERATION_BYTES).unwrap_or(word);
    String::from_utf8_lossy(head).into_owned()
}
