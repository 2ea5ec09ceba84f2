//! Which parts of commands, replies and errors are secrets.

use super::line::split_quoted;
use super::reply::quoted;
use crate::sql::REDACTED;

/// Settings whose values are secrets, of Redis, its Sentinel and Valkey.
const SECRET_SETTINGS: &[&[u8]] = &[
    b"requirepass",
    b"masterauth",
    b"masteruser",
    b"primaryauth",
    b"primaryuser",
    b"tls-key-file-pass",
    b"tls-client-key-file-pass",
    b"auth-pass",
    b"auth-user",
    b"sentinel-pass",
    b"sentinel-user",
];

/// Commands that may hold a secret, or whose replies may.
const GUARDED_COMMANDS: &[&[u8]] = &[
    b"ACL",
    b"AUTH",
    b"COMMAND",
    b"COMMANDLOG",
    b"CONFIG",
    b"HELLO",
    b"MIGRATE",
    b"MODULE",
    b"SENTINEL",
    b"SLOWLOG",
];

/// Subcommands of `ACL` of which no word is a password, though it may begin like one.
const HARMLESS_ACL: &[&[u8]] = &[b"CAT", b"DELUSER", b"GETUSER", b"GENPASS", b"HELP", b"LOG"];

/// Secrets shorter than this are looked for in errors as whole words only: they may stand in any other word.
const SHORT_SECRET: usize = 4;

/// A secret longer than this may have been shortened when it was read.
const LONG_SECRET: usize = 500;

/// Which parts of a reply are secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Secret {
    /// None.
    #[default]
    Nothing,
    /// The values behind the names of secret settings.
    Settings,
    /// The values behind the names of users: people enter a password there.
    Users,
    /// The secret words of the commands that it lists.
    Commands,
    /// All of it.
    Everything,
}

/// What must be hidden in the reply to a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Guard {
    pub(super) secret: Secret,
    /// The command's secret words: errors quote what they refuse.
    words: Vec<Vec<u8>>,
}

// === impl Guard ===

impl Guard {
    /// Returns what the reply to the command of these words must hide.
    pub(super) fn of(words: &[Vec<u8>]) -> Self {
        let name = words.first().map(Vec::as_slice).unwrap_or_default();
        if !GUARDED_COMMANDS.iter().any(|guarded| name.eq_ignore_ascii_case(guarded)) {
            return Self::default();
        }
        let secrets = (0..words.len()).filter(|index| is_secret(words, *index));
        Self {
            secret: secret_of_reply(words),
            words: secrets.filter_map(|index| words.get(index)).cloned().collect(),
        }
    }

    /// Adds what the reply to another command must hide: one reply answers a whole transaction.
    pub(super) fn join(&mut self, other: &Self) {
        self.secret = match (self.secret, other.secret) {
            (one, Secret::Nothing) | (Secret::Nothing, one) => one,
            (one, two) if one == two => one,
            _ => Secret::Everything,
        };
        self.words.extend(other.words.iter().cloned());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.secret == Secret::Nothing && self.words.is_empty()
    }

    /// Returns an error's text without the words that it quotes.
    pub(super) fn error(&self, text: &[u8]) -> Vec<u8> {
        if self.words.is_empty() {
            return text.to_vec();
        }
        // It quotes all words, the last one in part.
        let quotes = b"with args beginning with:";
        let quoting = memchr::memmem::find(text, quotes).map(|at| at.saturating_add(quotes.len()));
        let code = || text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
        let cut =
            if self.words.iter().any(|word| word.len() >= LONG_SECRET) { Some(code()) } else { quoting };
        let mut text = text.to_vec();
        if let Some(cut) = cut {
            text.truncate(cut);
            text.push(b' ');
            text.extend_from_slice(REDACTED.as_bytes());
            return text;
        }
        let mut words: Vec<Vec<u8>> = self.words.iter().flat_map(|word| spellings(word)).collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words.iter().fold(text, |text, word| without(&text, word))
    }
}

/// Tells whether word `index` of the command that begins with `words` is a secret.
pub(super) fn is_secret(words: &[Vec<u8>], index: usize) -> bool {
    let word = |at: usize| words.get(at).map(Vec::as_slice).unwrap_or_default();
    let is = |at: usize, other: &[u8]| word(at).eq_ignore_ascii_case(other);
    let before =
        |distance: usize, other: &[u8]| index.checked_sub(distance).is_some_and(|at| at > 0 && is(at, other));
    if index == 0 {
        return false;
    }
    if is(0, b"AUTH") {
        return true;
    }
    if is(0, b"HELLO") {
        return before(1, b"AUTH") || before(2, b"AUTH");
    }
    if is(0, b"MIGRATE") {
        return before(1, b"AUTH") || before(1, b"AUTH2") || before(2, b"AUTH2");
    }
    // Commands about commands.
    let inner = match () {
        () if is(0, b"ACL") && is(1, b"DRYRUN") => 3,
        () if is(0, b"COMMAND") && (is(1, b"GETKEYS") || is(1, b"GETKEYSANDFLAGS")) => 2,
        () => 0,
    };
    if inner > 0 {
        let inside = index.checked_sub(inner).zip(words.get(inner..));
        return inside.is_some_and(|(index, words)| is_secret(words, index));
    }
    if is(0, b"ACL") && index > 1 && !HARMLESS_ACL.iter().any(|other| is(1, other)) {
        return matches!(word(index).first(), Some(b'>' | b'<' | b'#' | b'!'));
    }
    let settings = is(0, b"CONFIG") && is(1, b"SET")
        || is(0, b"SENTINEL") && (is(1, b"SET") || is(1, b"CONFIG"))
        || is(0, b"MODULE") && is(1, b"LOADEX");
    settings && index > 2 && index.checked_sub(1).is_some_and(|at| is_secret_setting(word(at)))
}

/// Tells whether the value of the setting `name` is a secret.
pub(super) fn is_secret_setting(name: &[u8]) -> bool {
    SECRET_SETTINGS.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Tells whether a simple string is what `MONITOR` sends: `1700000000.000000 [0 127.0.0.1:1] "GET"…`.
pub(super) fn is_monitored(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    digits > 10 && text.get(digits..).is_some_and(|rest| rest.starts_with(b" ["))
}

/// Returns what `MONITOR` sent without the secrets of the command in it.
pub(super) fn monitored(text: &[u8]) -> Vec<u8> {
    let Some(at) = memchr::memmem::find(text, b"] \"").map(|at| at.saturating_add(2)) else {
        return text.to_vec();
    };
    let (head, quoted) = text.split_at_checked(at).unwrap_or((text, b""));
    let (words, raw) = split_quoted(quoted);
    if !(0..words.len()).any(|index| is_secret(&words, index)) {
        return text.to_vec();
    }
    let mut shown = head.to_vec();
    for (index, raw) in raw.iter().enumerate() {
        if index > 0 {
            shown.push(b' ');
        }
        shown.extend_from_slice(if is_secret(&words, index) { REDACTED.as_bytes() } else { raw });
    }
    shown
}

fn secret_of_reply(words: &[Vec<u8>]) -> Secret {
    let is = |at: usize, other: &[u8]| words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(other));
    match () {
        () if is(0, b"ACL") && (is(1, b"LIST") || is(1, b"GETUSER") || is(1, b"GENPASS")) => {
            Secret::Everything
        }
        () if is(0, b"ACL") && is(1, b"LOG") => Secret::Users,
        () if is(0, b"CONFIG") || is(0, b"SENTINEL") => Secret::Settings,
        () if is(0, b"SLOWLOG") || is(0, b"COMMANDLOG") => Secret::Commands,
        () => Secret::Nothing,
    }
}

/// Returns how an error may spell a secret word: as it is, without the mark that `ACL SETUSER` has before it, quoted.
fn spellings(word: &[u8]) -> Vec<Vec<u8>> {
    // An error is one line: the server puts spaces for the ends of others.
    let line = |word: &[u8]| -> Vec<u8> {
        word.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
    };
    let mut all = vec![line(word), quoted(word)];
    if let Some((b'>' | b'<' | b'#' | b'!', rest)) = word.split_first() {
        all.push(line(rest));
    }
    all.retain(|word| !word.is_empty());
    all
}

/// Returns `text` with each `word` in it replaced.
fn without(text: &[u8], word: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, word) {
        let (before, found) = rest.split_at_checked(at).unwrap_or((rest, b""));
        let behind = found.get(word.len()..).unwrap_or_default();
        let inside = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let last = before.last().or_else(|| shown.last()).copied();
        let part = word.len() < SHORT_SECRET && (inside(last.as_ref()) || inside(behind.first()));
        shown.extend_from_slice(before);
        shown.extend_from_slice(if part { word } else { REDACTED.as_bytes() });
        rest = behind;
    }
    shown.extend_from_slice(rest);
    shown
}

#[cfg(test)]
mod tests;
