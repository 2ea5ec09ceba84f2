//! Tells whether bytes are `PostgreSQL`'s.

use super::{read_header, startup};
use crate::decoder::{Evidence, Probe, Side};
use crate::sql::cursor::Cursor;
use crate::sql::frame::NoHeader;

/// What bytes are when they are read as messages one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// Something else.
    No,
    /// Too little to say.
    Open,
    /// Messages that say nothing but their type: other protocols' bytes may look so.
    Weak,
    /// Messages whose content is that of their type.
    Sure,
}

/// Judges the first bytes of a side.
pub(super) fn judge(evidence: &Evidence<'_>) -> Probe {
    let Evidence { sender, head, other, from_start, spoke_first, .. } = *evidence;
    if head.is_empty() {
        return Probe::NeedMore;
    }
    match sender {
        // Whatever the client wants, it says so in a start-up packet first.
        Side::Client if from_start => startup_packet(head),
        Side::Client if head.first() == Some(&0) => startup_packet(head),
        // The server answers; and it answers a start-up packet.
        Side::Server if from_start && spoke_first => Probe::No,
        Side::Server if from_start => first_answer(head, other),
        Side::Client | Side::Server => match chain(sender, head) {
            Chain::Sure => Probe::Yes,
            Chain::Weak => Probe::Maybe,
            Chain::Open => Probe::NeedMore,
            Chain::No => Probe::No,
        },
    }
}

fn startup_packet(head: &[u8]) -> Probe {
    match startup::is_startup(head) {
        Some(true) => Probe::Yes,
        Some(false) => Probe::No,
        None => Probe::NeedMore,
    }
}

/// Judges what a server says first, to a client that began with `asked`.
fn first_answer(head: &[u8], asked: &[u8]) -> Probe {
    let code = asked.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
    let known: &[u8] = match code {
        None => return Probe::NeedMore,
        Some(startup::SSL) => b"SNE",
        Some(startup::GSS) => b"GNE",
        Some(startup::CANCEL) => b"",
        Some(_) => b"RENSv",
    };
    match head.first() {
        Some(kind) if known.contains(kind) => Probe::Yes,
        Some(_) => Probe::No,
        None => Probe::NeedMore,
    }
}

/// Finds the first place in `bytes` where messages of `side` begin for sure.
pub(super) fn next_message(side: Side, bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|start| {
        let rest = bytes.get(*start..).unwrap_or_default();
        rest.first() != Some(&0) && chain(side, rest) == Chain::Sure
    })
}

/// Tells whether `bytes` are messages of `side` one after the other.
pub(super) fn chain(side: Side, bytes: &[u8]) -> Chain {
    let mut rest = bytes;
    let (mut messages, mut telling) = (0_usize, 0_usize);
    loop {
        let known = if messages > 1 && telling > 0 { Chain::Sure } else { Chain::Open };
        let header = match read_header(side, rest) {
            Ok(header) if header.tag != 0 => header,
            Err(NoHeader::NeedMore(_)) if rest.is_empty() && messages > 0 => {
                return if telling > 0 { Chain::Sure } else { Chain::Weak };
            }
            Err(NoHeader::NeedMore(_)) => return known,
            Ok(_) | Err(NoHeader::Malformed) => return Chain::No,
        };
        let body = rest.get(header.bytes..).unwrap_or_default();
        let length = usize::try_from(header.body).unwrap_or(usize::MAX);
        let whole = body.len() >= length;
        let content = body.get(..length).unwrap_or(body);
        match is_content(side, header.tag, content, length) {
            Content::No => return Chain::No,
            Content::Telling if whole => telling = telling.saturating_add(1),
            // Of a long statement its beginning tells.
            Content::Telling if matches!(header.tag, b'Q' | b'P') && content.len() > 8 => return Chain::Sure,
            Content::Telling | Content::Possible => {}
        }
        messages = messages.saturating_add(1);
        match body.get(length..) {
            Some(next) => rest = next,
            None if messages > 2 && telling > 0 => return Chain::Sure,
            None => return Chain::Open,
        }
    }
}

/// How well a body fits its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    No,
    /// It has the right length, and nothing else to tell by.
    Possible,
    /// It says what such a message says.
    Telling,
}

/// Tells whether `body`, of `length` bytes when all of it is there, can be the content of a message of type `kind`.
fn is_content(side: Side, kind: u8, body: &[u8], length: usize) -> Content {
    let whole = body.len() == length;
    let telling = |is: bool| if is { Content::Telling } else { Content::No };
    let possible = |is: bool| if is { Content::Possible } else { Content::No };
    match (side, kind) {
        (Side::Client, b'Q') => {
            let text = body.get(..length.saturating_sub(1).min(body.len())).unwrap_or_default();
            telling(length > 0 && (!whole || body.last() == Some(&0)) && is_text(text))
        }
        (Side::Client, b'P') => telling(length >= 4 && is_parse(body)),
        (Side::Client, b'H' | b'S' | b'X' | b'c')
        | (Side::Server, b'1' | b'2' | b'3' | b'n' | b'I' | b's' | b'c') => possible(length == 0),
        (Side::Client, b'D' | b'C') => telling(
            length >= 2 && body.first().is_none_or(|kind| b"SP".contains(kind)) && ends_in_nul(body, whole),
        ),
        (Side::Client, b'E') => {
            let name = memchr::memchr(0, body);
            telling(length >= 5 && (!whole || name.and_then(|name| name.checked_add(5)) == Some(length)))
        }
        (Side::Client, b'B') => possible(length >= 8),
        (Side::Client, b'd') => {
            // What a standby tells its primary: a letter and numbers.
            if length == 34 && body.first() == Some(&b'r') { Content::Telling } else { Content::Possible }
        }
        (Side::Server, b'd') => match body.first() {
            // What a primary tells its standby.
            Some(b'k') if length == 18 => Content::Telling,
            _ => Content::Possible,
        },
        (Side::Server, b'T') => telling(length >= 2 && (!whole || is_description(body))),
        (Side::Server, b'D') => telling(length >= 2 && (!whole || is_row(body))),
        (Side::Server, b't') => {
            let count = Cursor::new(body).u16_be().map(usize::from);
            telling(
                length >= 2 && count.is_none_or(|count| count.saturating_mul(4).saturating_add(2) == length),
            )
        }
        (Side::Server, b'K') => possible((8..=260).contains(&length)),
        (Side::Server, b'Z') => {
            telling(length == 1 && body.first().is_none_or(|state| b"ITE".contains(state)))
        }
        (Side::Server, b'C') => {
            telling(length > 1 && body.first().is_none_or(u8::is_ascii_uppercase) && ends_in_nul(body, whole))
        }
        (Side::Server, b'E' | b'N') => {
            telling(length > 8 && body.first().is_none_or(|field| *field == b'S') && ends_in_nul(body, whole))
        }
        (Side::Server, b'R') => telling(length >= 4 && body.get(..3).is_none_or(|code| code == [0, 0, 0])),
        (Side::Server, b'S') => telling(!whole || are_texts(body, 2)),
        (Side::Server, b'A') => {
            telling(length > 5 && (!whole || body.get(4..).is_some_and(|rest| are_texts(rest, 2))))
        }
        _ => Content::Possible,
    }
}

/// Tells whether a body that is all there ends as texts do.
fn ends_in_nul(body: &[u8], whole: bool) -> bool {
    !whole || body.last() == Some(&0)
}

fn is_text(text: &[u8]) -> bool {
    text.iter().take(32).all(|byte| *byte >= b' ' || byte.is_ascii_whitespace())
}

/// Tells whether a `Parse` message holds a name and a statement.
fn is_parse(body: &[u8]) -> bool {
    let mut parts = body.splitn(2, |byte| *byte == 0);
    let name = parts.next().unwrap_or_default();
    let statement = parts.next().unwrap_or_default();
    let end = memchr::memchr(0, statement).unwrap_or(statement.len());
    name.len() < 256 && is_text(name) && is_text(statement.get(..end).unwrap_or_default())
}

/// Tells whether `body` is so many texts, each with its end, and nothing else.
fn are_texts(body: &[u8], count: usize) -> bool {
    body.last() == Some(&0)
        && memchr::memchr_iter(0, body).count() == count
        && body.first().is_some_and(|byte| byte.is_ascii_graphic() || *byte >= 0x80)
}

/// Tells whether the cells of a row fill it.
fn is_row(body: &[u8]) -> bool {
    let mut cursor = Cursor::new(body);
    let Some(count) = cursor.u16_be() else { return false };
    for _ in 0..count {
        let Some(length) = cursor.u32_be() else { return false };
        let missing = length == u32::MAX;
        if !missing && cursor.bytes(usize::try_from(length).unwrap_or(usize::MAX)).is_none() {
            return false;
        }
    }
    cursor.rest().is_empty()
}

/// Tells whether the columns of a description fill it.
fn is_description(body: &[u8]) -> bool {
    let mut cursor = Cursor::new(body);
    let Some(count) = cursor.u16_be() else { return false };
    for _ in 0..count {
        cursor.text();
        if cursor.bytes(18).is_none() {
            return false;
        }
    }
    cursor.rest().is_empty()
}
