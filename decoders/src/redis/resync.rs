//! Finds where commands and pushes begin: among bytes of which the beginning was not seen, and for probes.

use super::commands::{is_name, known, parse};
use super::request::Command;
use super::resp::{MAX_LINE, RespScanner, Scanned};
use super::secrets::is_monitored;

/// Bytes of a candidate that are read on to see whether it holds: longer than most commands and messages.
const PROOF_BYTES: usize = 4096;

/// Longest name of a command: those of modules are the longest.
const MAX_NAME: usize = 64;

/// Longest head of a monitored line: its time.
const MAX_TIME: usize = 20;

/// Pushes of RESP2, and of how many elements they are.
const PUSHES: [(u8, &str); 9] = [
    (3, "message"),
    (4, "pmessage"),
    (3, "smessage"),
    (3, "subscribe"),
    (3, "unsubscribe"),
    (3, "psubscribe"),
    (3, "punsubscribe"),
    (3, "ssubscribe"),
    (3, "sunsubscribe"),
];

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start<'a> {
    /// A command in RESP, of this name.
    Command(&'a [u8]),
    /// It may be one, but too few bytes are there.
    Partial,
    /// Something else.
    Not,
}

/// Where a push begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There.
    At(usize),
    /// Perhaps there: too few bytes follow.
    Perhaps(usize),
    /// Nowhere.
    No,
}

/// Reads `*N\r\n$L\r\nNAME\r\n`, the start of a command.
pub(super) fn start(bytes: &[u8]) -> Start<'_> {
    let mut rest = bytes;
    let mut number = 0;
    for (mark, most) in [(b'*', 1024 * 1024), (b'$', MAX_NAME)] {
        let Some((kind, tail)) = rest.split_first() else { return Start::Partial };
        let digits = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, tail) = tail.split_at_checked(digits).unwrap_or_default();
        let padded = digits.first() == Some(&b'0');
        if *kind != mark || padded || digits.is_empty() && !tail.is_empty() {
            return Start::Not;
        }
        if tail.len() < 2 {
            return if b"\r\n".starts_with(tail) && digits.len() < 8 { Start::Partial } else { Start::Not };
        }
        number = parse::<usize>(digits).unwrap_or(usize::MAX);
        match tail.strip_prefix(b"\r\n") {
            Some(tail) if number <= most => rest = tail,
            Some(_) | None => return Start::Not,
        }
    }
    let name = rest.get(..rest.len().min(number)).unwrap_or_default();
    let end = rest.get(name.len()..).unwrap_or_default();
    let end = end.get(..end.len().min(2)).unwrap_or_default();
    if !is_name(name) && !name.is_empty() || !b"\r\n".starts_with(end) {
        Start::Not
    } else if name.len() < number || end.len() < 2 {
        Start::Partial
    } else {
        Start::Command(name)
    }
}

/// Finds the first place where a command surely begins. Where the client writes `inline` commands, a line that begins
/// with a command's name is one.
pub(super) fn command(bytes: &[u8], inline: bool) -> Option<usize> {
    line_starts(bytes).find(|at| {
        let rest = bytes.get(*at..).unwrap_or_default();
        match start(rest) {
            Start::Command(name) => holds(rest, known(name)),
            Start::Partial => false,
            Start::Not => inline && *at > 0 && is_inline_command(rest),
        }
    })
}

/// Finds the first place where a message begins that the server sends without being asked.
pub(super) fn push(bytes: &[u8]) -> Found {
    for at in line_starts(bytes) {
        match begins_push(bytes.get(at..).unwrap_or_default()) {
            Found::At(_) => return Found::At(at),
            Found::Perhaps(_) => return Found::Perhaps(at),
            Found::No => {}
        }
    }
    Found::No
}

/// Tells whether `bytes` begin with a message that the server sends without being asked.
pub(super) fn begins_push(bytes: &[u8]) -> Found {
    match bytes.first() {
        None => Found::Perhaps(0),
        Some(b'>') => begins_push3(bytes),
        Some(b'*') => {
            let heads = PUSHES.map(|(count, name)| format!("*{count}\r\n${}\r\n{name}\r\n", name.len()));
            if heads.iter().any(|head| bytes.starts_with(head.as_bytes())) {
                Found::At(0)
            } else if heads.iter().any(|head| head.as_bytes().starts_with(bytes)) {
                Found::Perhaps(0)
            } else {
                Found::No
            }
        }
        Some(b'+') => {
            let text = bytes.get(1..).unwrap_or_default();
            let partial = text.len() < MAX_TIME
                && text.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b' '));
            if is_monitored(text) {
                Found::At(0)
            } else if partial {
                Found::Perhaps(0)
            } else {
                Found::No
            }
        }
        Some(_) => Found::No,
    }
}

/// Tells whether a byte may be part of an inline command.
pub(super) fn is_inline(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t' || byte == b'\r' || byte == b'\n'
}

/// Tells whether `bytes` begin with `>N\r\n$L\r\n` and a name.
fn begins_push3(bytes: &[u8]) -> Found {
    let named = [b"*".as_slice(), bytes.get(1..).unwrap_or_default()].concat();
    match start(&named) {
        Start::Command(_) => Found::At(0),
        Start::Partial => Found::Perhaps(0),
        Start::Not => Found::No,
    }
}

/// Tells whether the command that `bytes` begin with is one as far as it is there, and another one follows it. A name
/// that is not known counts only where the whole command is there.
fn holds(bytes: &[u8], known: bool) -> bool {
    let window = bytes.get(..bytes.len().min(PROOF_BYTES)).unwrap_or_default();
    let mut command = Command::new(0);
    match RespScanner::default().scan(window, &mut command) {
        _ if command.is_malformed() => false,
        Err(_) => false,
        Ok((used, Scanned::Done(skip))) => {
            let used = usize::try_from(skip).unwrap_or(usize::MAX).saturating_add(used);
            bytes.get(used..).and_then(<[u8]>::first).is_none_or(|next| *next == b'*')
        }
        Ok((_, Scanned::More | Scanned::Skip(_))) => known,
    }
}

/// Tells whether `bytes`, which begin with a command, go on with commands as far as they are there.
pub(super) fn go_on(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while rest.first() == Some(&b'*') {
        let mut command = Command::new(0);
        let scanned = RespScanner::default().scan(rest, &mut command);
        match scanned {
            Ok(_) if command.is_malformed() => return false,
            Ok((used, Scanned::Done(skip))) => {
                let used = usize::try_from(skip).unwrap_or(usize::MAX).saturating_add(used);
                rest = rest.get(used..).unwrap_or_default();
            }
            Ok((_, Scanned::More | Scanned::Skip(_))) => return true,
            Err(_) => return false,
        }
    }
    rest.is_empty()
}

fn is_inline_command(bytes: &[u8]) -> bool {
    let window = bytes.get(..bytes.len().min(MAX_LINE)).unwrap_or_default();
    let Some(end) = memchr::memchr(b'\n', window) else { return false };
    let line = window.get(..end).unwrap_or_default();
    let name = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    known(name) && line.iter().all(|byte| is_inline(*byte))
}

fn line_starts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let starts = memchr::memchr_iter(b'\n', bytes).map(|end| end.saturating_add(1));
    std::iter::once(0).chain(starts)
}

#[cfg(test)]
mod tests;
