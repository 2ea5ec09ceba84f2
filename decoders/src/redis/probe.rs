//! Whether the first bytes of a connection are Redis.
//!
//! A command in RESP is Redis and nothing else. A line of text may be any protocol's: what the other side says decides,
//! which must be RESP too. A server of Redis speaks only when it is spoken to, but for a few refusals.

use super::PROTOCOL_ERROR;
use super::commands::{is_name, known, may_become_known};
use super::resp::read_values;
use super::resync::{Found, Start, begins_push, go_on, is_inline, push, start};
use crate::decoder::{Evidence, Probe, Side};

/// How the lines begin that a server sends to a connection that it does not want, before anything was asked.
const TURNED_AWAY: [&[u8]; 2] =
    [b"-ERR max number of clients", b"-DENIED Redis is running in protected mode"];

/// Lines of a client's that are looked at: more than another protocol says without one that is no command.
const MAX_LINES: usize = 16;

/// Longest line that holds a number or nothing but its kind.
const MAX_NUMBER: usize = 24;

/// Judges the first bytes of a side.
pub(super) fn judge(evidence: &Evidence<'_>) -> Probe {
    match evidence.sender {
        Side::Client => judge_client(evidence),
        Side::Server => judge_server(evidence),
    }
}

fn judge_client(evidence: &Evidence<'_>) -> Probe {
    let mut rest = skip_ends(evidence.head);
    let mut lines = 0;
    while !rest.is_empty() && lines < MAX_LINES {
        if rest.first() == Some(&b'*') {
            return judge_command(evidence, rest, lines);
        }
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return match (is_begun_line(evidence, rest), lines) {
                (false, _) => Probe::No,
                (true, 0) => Probe::NeedMore,
                (true, _) => Probe::Maybe,
            };
        };
        if !is_command_line(evidence, rest.get(..end).unwrap_or_default()) {
            return Probe::No;
        }
        lines = lines.saturating_add(1);
        rest = skip_ends(rest.get(end..).unwrap_or_default());
    }
    if lines == 0 { Probe::NeedMore } else { Probe::Maybe }
}

/// Judges a command in RESP, behind so many lines.
fn judge_command(evidence: &Evidence<'_>, bytes: &[u8], lines: usize) -> Probe {
    let first = evidence.from_start && evidence.spoke_first || evidence.usual_port;
    match start(bytes) {
        Start::Not => Probe::No,
        // What begins within a value goes on with the rest of it.
        Start::Command(_) if !evidence.from_start && !go_on(bytes) => Probe::No,
        Start::Partial if lines > 0 => Probe::Maybe,
        Start::Partial => Probe::NeedMore,
        // A list in an answer looks alike: there, only a command's name says more.
        Start::Command(name) if first || known(name) => Probe::Yes,
        Start::Command(_) => Probe::Maybe,
    }
}

/// Tells whether a whole line is an inline command that the server knows, as far as its name says.
fn is_command_line(evidence: &Evidence<'_>, line: &[u8]) -> bool {
    let name = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    (known(name) || evidence.usual_port && is_name(name))
        && line.iter().all(|byte| is_inline(*byte))
        && memchr::memmem::find(line, b" HTTP/").is_none()
}

/// Tells whether the beginning of a line may become an inline command.
fn is_begun_line(evidence: &Evidence<'_>, line: &[u8]) -> bool {
    let name = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let ended = name.len() < line.len();
    let named = if ended { known(name) } else { may_become_known(name) };
    (named || evidence.usual_port && is_name(name)) && line.iter().all(|byte| is_inline(*byte))
}

fn judge_server(evidence: &Evidence<'_>) -> Probe {
    // A master that prepares a replica's copy sends empty lines.
    let head = skip_ends(evidence.head);
    if head.is_empty() {
        return Probe::NeedMore;
    }
    if evidence.from_start && evidence.spoke_first {
        return judge_refusal(head);
    }
    // No other server says so; the client's line may have no end.
    if head.strip_prefix(b"-").is_some_and(|text| text.starts_with(PROTOCOL_ERROR)) {
        return Probe::Yes;
    }
    match begins_push(head) {
        Found::At(_) => return Probe::Yes,
        Found::Perhaps(_) => return Probe::NeedMore,
        Found::No => {}
    }
    // On a connection that was open before, it may come behind the rest of another message.
    if !evidence.from_start
        && let Found::At(at) = push(head)
        && read_values(head.get(at..).unwrap_or_default()).is_ok_and(|(whole, _)| whole > 0)
    {
        return Probe::Yes;
    }
    let Ok((values, at)) = read_values(head) else { return Probe::No };
    let rest = head.get(at..).unwrap_or_default();
    let client = skip_ends(evidence.other);
    if !is_begun_value(rest) || client.first() != Some(&b'*') && !are_answers(head) {
        return Probe::No;
    }
    if values == 0 && memchr::memchr(b'\n', rest).is_none() {
        return Probe::NeedMore;
    }
    // `+OK` and `-ERR` are other servers' answers too. Where the greeting was missed, only data tells.
    let told = head.split(|byte| *byte == b'\n').any(|line| {
        !matches!(line.first(), None | Some(b'+' | b'-')) || matches!(line, b"+PONG\r" | b"+QUEUED\r")
    });
    if told || evidence.from_start || evidence.usual_port || client.first() == Some(&b'*') {
        Probe::Maybe
    } else {
        Probe::NeedMore
    }
}

fn judge_refusal(head: &[u8]) -> Probe {
    if TURNED_AWAY.iter().any(|line| head.starts_with(line)) {
        Probe::Yes
    } else if TURNED_AWAY.iter().any(|line| line.starts_with(head)) {
        Probe::NeedMore
    } else {
        Probe::No
    }
}

/// Tells whether `rest`, which follows whole values, may become one.
fn is_begun_value(rest: &[u8]) -> bool {
    let line = memchr::memchr(b'\n', rest).map_or(rest, |end| rest.get(..end).unwrap_or_default());
    match line.split_first() {
        None => true,
        Some((b'+' | b'-', text)) => text.iter().all(|byte| is_inline(*byte)),
        // A number is checked where it is whole; before, it is short and has no spaces.
        Some(_) => line.len() <= MAX_NUMBER && line.iter().all(u8::is_ascii) && !line.contains(&b' '),
    }
}

/// Tells whether the simple strings and errors that `head` begins with are such as Redis gives to a line of text, and not
/// those of POP3 and its like: `+OK Logged in.`, `+ go ahead`, `-ERR [AUTH] Authentication failed.`.
fn are_answers(head: &[u8]) -> bool {
    // What follows the first other line is data, in which anything may stand.
    let lines = head.split(|byte| *byte == b'\n').take(MAX_LINES);
    let mut lines = lines.take_while(|line| matches!(line.first(), Some(b'+' | b'-')));
    lines.all(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.split_first() {
            Some((b'+', text)) => {
                let word = text.split(|byte| *byte == b' ').next().unwrap_or_default();
                text.first().is_none_or(u8::is_ascii_alphanumeric) && (word != b"OK" || text == b"OK")
            }
            Some((b'-', text)) => {
                let code = text.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
                let behind = text.get(code..).unwrap_or_default();
                let word = behind.strip_prefix(b" ").unwrap_or(behind);
                behind.is_empty() || code > 0 && word.first().is_none_or(u8::is_ascii_alphanumeric)
            }
            _ => true,
        }
    })
}

fn skip_ends(bytes: &[u8]) -> &[u8] {
    let ends = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    bytes.get(ends..).unwrap_or_default()
}
