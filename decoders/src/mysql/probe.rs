//! Tells from a connection's first bytes, or from those at any call, whether they are of this protocol.
//!
//! The server speaks first. So on a connection that was seen from its start nothing but its greeting, or an error in place
//! of that, tells; of one that was open before, weak messages such as `QUIT` are believed only when the other side fits.

use super::login::{self, Agreed, Fit, fits_greeting};
use super::{command, packet};
use crate::decoder::{Evidence, Probe, Side};
use crate::sql::cursor::Cursor;

/// Bytes ahead of a packet's body.
const HEADER_BYTES: usize = 4;

/// Numbers of errors: servers have theirs from 1000 on, proxies from 9000.
const ERROR_NUMBERS: std::ops::RangeInclusive<u16> = 1000..=9999;

/// Status flags of a server that mean something.
const STATUS_FLAGS: u16 = 0xfffb;

/// The least body of an OK packet, and of the packet that opens the description of a prepared statement.
const OK_BYTES: usize = 7;
const PREPARED_BYTES: usize = 12;

/// The longest packet that opens a result with its number of columns.
const COUNT_BYTES: usize = 10;

/// How column definitions begin: the catalogue is always this one.
const COLUMN_BEGIN: &[u8] = b"\x03def";

/// How the state of a server begins.
const STATE_BEGIN: &[u8] = b"Uptime: ";

/// The least body of a client's answer to a greeting.
const LOGIN_BYTES: usize = 32;

/// Bytes of the command by which a prepared statement is executed, up to the number of iterations.
const EXECUTE_BYTES: usize = 10;

/// Packets that follow each other in sequence by chance only once in many millions of places.
const ENOUGH_PACKETS: usize = 3;

/// Bytes of a statement that are waited for: the longest of its first words, behind attributes that are none.
const STATEMENT_BYTES: usize = 16;

/// Words that statements begin with.
const VERBS: [&str; 64] = [
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "BINLOG",
    "CACHE",
    "CALL",
    "CHANGE",
    "CHECK",
    "CHECKSUM",
    "CLONE",
    "COMMIT",
    "CREATE",
    "DEALLOCATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DO",
    "DROP",
    "EXECUTE",
    "EXPLAIN",
    "FLUSH",
    "GET",
    "GRANT",
    "HANDLER",
    "HELP",
    "IF",
    "IMPORT",
    "INSERT",
    "INSTALL",
    "KILL",
    "LOAD",
    "LOCK",
    "OPTIMIZE",
    "PREPARE",
    "PURGE",
    "RELEASE",
    "RENAME",
    "REPAIR",
    "REPLACE",
    "RESET",
    "RESIGNAL",
    "RESTART",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "SHUTDOWN",
    "SIGNAL",
    "START",
    "STOP",
    "TABLE",
    "TRUNCATE",
    "UNINSTALL",
    "UNLOCK",
    "UPDATE",
    "USE",
    "VALUES",
    "WITH",
    "XA",
    "CASE",
    "LOOP",
    "WHILE",
];

/// Judges the first bytes of a side.
pub(super) fn judge(evidence: &Evidence<'_>) -> Probe {
    let Evidence { sender, head, other, from_start, spoke_first, .. } = *evidence;
    if from_start && spoke_first == (sender == Side::Client) {
        return Probe::No;
    }
    let Some((length, sequence)) = packet::header(head) else { return Probe::NeedMore };
    let body = head.get(HEADER_BYTES..).unwrap_or_default();
    let body = body.get(..length.min(body.len())).unwrap_or_default();
    if length == 0 {
        return Probe::No;
    }
    match sender {
        Side::Client if sequence == 1 => login(body, length, from_start),
        // Behind the greeting, which is known by then, anything may come.
        Side::Client if from_start => {
            if sequence == 0 {
                Probe::Maybe
            } else {
                Probe::No
            }
        }
        Side::Client if sequence == 0 => command(head, body, length),
        Side::Server if sequence == 0 => greeting(body, length, from_start),
        Side::Server if sequence == 1 && from_start => refusal(body, length, false),
        Side::Server if sequence == 1 && other.get(HEADER_BYTES) == Some(&command::code::FETCH) => {
            // Rows and nothing ahead of them.
            if is_chain(head) { Probe::Maybe } else { opening(head) }
        }
        Side::Server if sequence == 1 => opening(head),
        Side::Client | Side::Server => Probe::No,
    }
}

/// Finds the first place in `bytes`, which `from` sent, where a packet begins that opens a message.
pub(super) fn find(from: Side, bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|start| {
        let rest = bytes.get(*start..).unwrap_or_default();
        match from {
            Side::Client => is_command(rest),
            Side::Server => is_answer(rest),
        }
    })
}

/// Finds where a packet begins in `bytes`, which come somewhere behind an answer's beginning; packets follow each other
/// there up to the end of `bytes`, or the answer ends with them.
pub(super) fn find_within(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|start| is_chain(bytes.get(*start..).unwrap_or_default()))
}

/// Tells whether a packet can be the error that a server sends without being asked.
pub(super) fn is_unasked_error(head: &[u8], length: usize) -> bool {
    refusal(head, length, false) != Probe::No
}

/// Judges the answer to a greeting. That of a client of before 4.1 is told by nothing, but there is the greeting.
fn login(body: &[u8], length: usize, from_start: bool) -> Probe {
    let otherwise = if from_start { Probe::Maybe } else { Probe::No };
    match body.get(..LOGIN_BYTES) {
        None if length < LOGIN_BYTES => otherwise,
        None => Probe::NeedMore,
        Some(_) if login::is_login(body) => Probe::Yes,
        Some(_) => otherwise,
    }
}

fn greeting(body: &[u8], length: usize, from_start: bool) -> Probe {
    match body.first() {
        None => Probe::NeedMore,
        Some(0xff) => refusal(body, length, !from_start),
        Some(_) => match fits_greeting(body, length) {
            Fit::Yes => Probe::Yes,
            Fit::No => Probe::No,
            Fit::NeedMore => Probe::NeedMore,
        },
    }
}

/// Judges an error that nobody asked for: in place of a greeting, before anything is agreed on, it may have no SQL state;
/// `late`: on a connection that was open before.
fn refusal(body: &[u8], length: usize, late: bool) -> Probe {
    let mut cursor = Cursor::new(body);
    let (Some(kind), Some(number)) = (cursor.byte(), cursor.u16_le()) else {
        return if body.first().is_none_or(|kind| *kind == 0xff) { Probe::NeedMore } else { Probe::No };
    };
    let text = cursor.rest();
    let is_error = kind == 0xff && ERROR_NUMBERS.contains(&number) && text.iter().copied().all(is_text);
    if !is_error || late && text.first().is_some_and(|mark| *mark != b'#') {
        return Probe::No;
    }
    match body.len() < length {
        true => Probe::NeedMore,
        false if text.is_empty() => Probe::No,
        false if late => Probe::Maybe,
        false => Probe::Yes,
    }
}

/// Judges a command on a connection that was open before.
fn command(head: &[u8], body: &[u8], length: usize) -> Probe {
    let Some((kind, tail)) = body.split_first() else { return Probe::NeedMore };
    if !command::is_plausible(*kind, length.saturating_sub(1)) {
        return Probe::No;
    }
    match *kind {
        command::code::QUERY | command::code::PREPARE => statement(tail, body.len() == length),
        command::code::EXECUTE => match body.get(5..EXECUTE_BYTES) {
            None => Probe::NeedMore,
            // Flags of cursors and attributes; and the number of iterations, which is always one.
            Some([0..=0x0f, 1, 0, 0, 0]) => Probe::Yes,
            Some(_) => Probe::No,
        },
        _ if body.len() < length => Probe::NeedMore,
        // What follows must be a command too.
        _ => match head.get(HEADER_BYTES.saturating_add(length)..) {
            Some([_, _, _, 1..=u8::MAX, ..] | [_, _, _, _, 0, ..]) => Probe::No,
            Some(_) | None => Probe::Maybe,
        },
    }
}

/// Judges the statement of a command, of which this much is there; `whole`: it is all.
fn statement(tail: &[u8], whole: bool) -> Probe {
    if tail.len() < STATEMENT_BYTES && !whole {
        return Probe::NeedMore;
    }
    let text = command::query_text(tail, Agreed::default());
    if !is_statement(text) {
        return Probe::No;
    }
    match first_word(text) {
        Some(word) if VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb.as_bytes())) => Probe::Yes,
        _ => Probe::Maybe,
    }
}

/// Judges the first packet of an answer, on a connection that was open before.
fn opening(head: &[u8]) -> Probe {
    let Some((length, _)) = packet::header(head) else { return Probe::NeedMore };
    let body = head.get(HEADER_BYTES..).unwrap_or_default();
    let rest = body.get(length.min(body.len())..).unwrap_or_default();
    let body = body.get(..length.min(body.len())).unwrap_or_default();
    let whole = body.len() == length;
    match body.first() {
        None => Probe::NeedMore,
        Some(0xff) => match refusal(body, length, false) {
            Probe::Yes if body.get(3) == Some(&b'#') => Probe::Yes,
            Probe::NeedMore => Probe::NeedMore,
            Probe::Yes | Probe::Maybe | Probe::No => Probe::No,
        },
        Some(0x00) if length < OK_BYTES => Probe::No,
        Some(0x00) if !whole => Probe::NeedMore,
        Some(0x00) if is_prepared(body) && definitions(rest, 1) == Probe::Yes => Probe::Yes,
        Some(0x00) if is_ok(body) || is_prepared(body) => Probe::Maybe,
        // Two packets that end something, alone or ahead of a log-in's next words; and the state of a server.
        Some(0xfe) if whole && (is_end(body) || is_switch(body)) => Probe::Maybe,
        Some(b'U') if whole && body.starts_with(STATE_BEGIN) => Probe::Maybe,
        Some(0xfe | b'U') if !whole => Probe::NeedMore,
        // The fields of a table, without their number.
        Some(3) if length > COLUMN_BEGIN.len() => definition(body),
        // The name of a file that is wanted.
        Some(0xfb) if whole && body.len() > 1 && body.iter().skip(1).copied().all(is_text) => Probe::Maybe,
        Some(1..=0xfa | 0xfc) if length <= COUNT_BYTES => {
            let mut cursor = Cursor::new(body);
            match cursor.lenenc() {
                _ if !whole => Probe::NeedMore,
                // Before or behind the number stands whether definitions follow.
                Some(1) => definitions(rest, 1),
                Some(count @ 1..) if cursor.rest().len() <= 1 => definitions(rest, count),
                Some(_) | None => Probe::No,
            }
        }
        Some(_) => Probe::No,
    }
}

/// Judges what follows the opening of a result of `count` columns, or of a prepared statement's description.
fn definitions(bytes: &[u8], count: u64) -> Probe {
    let mut rest = bytes;
    let mut sequence = 2_u8;
    for _ in 0..count {
        let Some((length, number)) = packet::header(rest) else { break };
        let body = rest.get(HEADER_BYTES..).unwrap_or_default();
        if number != sequence || length <= COLUMN_BEGIN.len() {
            return Probe::No;
        }
        match definition(body) {
            Probe::NeedMore => {}
            decided @ (Probe::Yes | Probe::Maybe | Probe::No) => return decided,
        }
        sequence = sequence.wrapping_add(1);
        rest = body.get(length..).unwrap_or_default();
    }
    Probe::NeedMore
}

/// Judges the beginning of a column definition.
fn definition(body: &[u8]) -> Probe {
    let there = COLUMN_BEGIN.len().min(body.len());
    match body.get(..there) == COLUMN_BEGIN.get(..there) {
        true if there == COLUMN_BEGIN.len() => Probe::Yes,
        true => Probe::NeedMore,
        false => Probe::No,
    }
}

/// Tells whether `bytes` begin with a command packet.
fn is_command(bytes: &[u8]) -> bool {
    let Some((length, 0)) = packet::header(bytes) else { return false };
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let Some((kind, tail)) = body.split_first() else { return false };
    if !command::is_plausible(*kind, length.saturating_sub(1)) {
        return false;
    }
    match *kind {
        command::code::QUERY | command::code::PREPARE => {
            is_statement(command::query_text(tail, Agreed::default()))
        }
        _ => {
            body.len() == length
                || body.get(length..).is_some_and(|next| is_command(next) || next.len() <= HEADER_BYTES)
        }
    }
}

/// Tells whether `bytes` begin with an answer, as far as they go.
pub(super) fn is_answer(bytes: &[u8]) -> bool {
    let Some((length, 1)) = packet::header(bytes) else { return false };
    let next = bytes.get(HEADER_BYTES.saturating_add(length)..);
    match opening(bytes) {
        Probe::Yes => true,
        // Alone it is too little to be found by, unless all is told by it.
        Probe::Maybe => next.is_some_and(|next| next.is_empty() || is_answer(next)),
        Probe::No | Probe::NeedMore => false,
    }
}

/// Tells whether `bytes` are packets in sequence up to their end, or up to the end of an answer.
fn is_chain(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut expected = None;
    let mut packets = 0_usize;
    while let Some((length, sequence)) = packet::header(rest) {
        if length == 0 || expected.is_some_and(|expected| expected != sequence) {
            return false;
        }
        let body = rest.get(HEADER_BYTES..).unwrap_or_default();
        match body.get(length..) {
            // The last packet is not all there: believable after others.
            None => return packets >= ENOUGH_PACKETS,
            Some([]) => return packets >= ENOUGH_PACKETS || is_end(body),
            Some(next) => rest = next,
        }
        packets = packets.saturating_add(1);
        expected = Some(sequence.wrapping_add(1));
    }
    packets >= ENOUGH_PACKETS
}

/// Tells whether `body` ends an answer with rows: an EOF packet, an OK packet in its clothes, or an error.
fn is_end(body: &[u8]) -> bool {
    let mut cursor = Cursor::new(body);
    match (cursor.byte(), body.len()) {
        (Some(0xfe), 5) => cursor.u16_le().and_then(|_| cursor.u16_le()).is_some_and(is_status),
        (Some(0xfe), OK_BYTES..) => is_ok(body),
        (Some(0xff), _) => body.get(3) == Some(&b'#') && refusal(body, body.len(), false) == Probe::Yes,
        _ => false,
    }
}

/// Tells whether `body` asks for another method of authentication: its name, and data for it.
fn is_switch(body: &[u8]) -> bool {
    let name = body.get(1..).and_then(|rest| rest.split(|byte| *byte == 0).next());
    name.is_some_and(|name| {
        name.len() > 1 && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    })
}

/// Tells whether `body` is all of an OK packet and nothing else.
fn is_ok(body: &[u8]) -> bool {
    let mut cursor = Cursor::new(body);
    cursor.byte();
    let (Some(_), Some(_), Some(status), Some(_)) =
        (cursor.lenenc(), cursor.lenenc(), cursor.u16_le(), cursor.u16_le())
    else {
        return false;
    };
    let length = cursor.lenenc();
    let text =
        length.is_none_or(|length| u64::try_from(cursor.rest().len()).is_ok_and(|rest| rest >= length));
    is_status(status) && text
}

/// Tells whether `body` opens the description of a prepared statement: its numbers, a filler and the warnings.
fn is_prepared(body: &[u8]) -> bool {
    matches!(body.len().checked_sub(PREPARED_BYTES), Some(0 | 1)) && body.get(9) == Some(&0)
}

fn is_status(status: u16) -> bool {
    status & !STATUS_FLAGS == 0
}

/// Tells whether `text` begins like a statement.
fn is_statement(text: &[u8]) -> bool {
    let head = text.get(..text.len().min(24)).unwrap_or_default();
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
    let opens =
        first.is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'(' | b'/' | b'-' | b'#'));
    opens && head.iter().all(|byte| *byte >= b' ' || byte.is_ascii_whitespace())
}

/// Returns the first word of a statement, behind comments and brackets.
fn first_word(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        let next = if let Some(comment) = rest.strip_prefix(b"/*") {
            memchr::memmem::find(comment, b"*/").and_then(|end| comment.get(end.saturating_add(2)..))
        } else if rest.starts_with(b"--") || rest.starts_with(b"#") {
            memchr::memchr(b'\n', rest).and_then(|end| rest.get(end..))
        } else if rest.starts_with(b"(") {
            rest.get(1..)
        } else {
            let length = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            return rest.get(..length).filter(|word| !word.is_empty());
        };
        rest = next?;
    }
}

/// Tells whether a byte can be part of a message to people, in any language.
fn is_text(byte: u8) -> bool {
    byte >= b' ' || byte.is_ascii_whitespace()
}

#[cfg(test)]
mod tests;
