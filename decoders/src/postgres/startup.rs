//! The packets with which a client begins: they have a length and a code, and no type.

use crate::sql::{self, Dialect, cursor::Cursor};

/// `SSLRequest`.
pub(super) const SSL: u32 = 80_877_103;
/// `GSSENCRequest`.
pub(super) const GSS: u32 = 80_877_104;
/// `CancelRequest`.
pub(super) const CANCEL: u32 = 80_877_102;

/// Longest start-up packet: `MAX_STARTUP_PACKET_LENGTH` of the server.
pub(super) const MAX_STARTUP: u32 = 10_000;

/// Longest `CancelRequest`: since protocol 3.2 its key may have up to 256 bytes.
const MAX_CANCEL: u32 = 12 + 256;

/// What a start-up packet says.
pub(super) struct Startup {
    pub(super) user: String,
    pub(super) database: String,
    pub(super) payload: Vec<u8>,
}

/// Reads the names and values of a start-up packet.
pub(super) fn read(mut cursor: Cursor<'_>, redact: bool) -> Startup {
    let mut payload = Vec::new();
    let (mut user, mut database) = (String::new(), None);
    loop {
        let name = cursor.text();
        if name.is_empty() {
            break;
        }
        let value = cursor.text();
        if !payload.is_empty() {
            payload.push(b' ');
        }
        let text = String::from_utf8_lossy(value).into_owned();
        let pair = [name, b"=".as_slice(), text.as_bytes()].concat();
        // Options may set secrets: `options=-c app.password=…`.
        let shown = if redact { sql::redact_value(&pair, Dialect::Postgres) } else { pair.as_slice().into() };
        payload.extend_from_slice(&shown);
        match name {
            b"user" => user = text,
            b"database" => database = Some(text),
            _ => {}
        }
    }
    let database = database.unwrap_or_else(|| user.clone());
    Startup { user, database, payload }
}

/// Tells whether `head` begins like one of the packets; `None` when too little of it is there.
pub(super) fn is_startup(head: &[u8]) -> Option<bool> {
    let mut cursor = Cursor::new(head);
    let Some(length) = cursor.u32_be() else {
        // Lengths have two bytes at most.
        return if head.iter().take(2).any(|byte| *byte != 0) { Some(false) } else { None };
    };
    if !(8..=MAX_STARTUP).contains(&length) {
        return Some(false);
    }
    match cursor.u32_be()? {
        SSL | GSS => Some(length == 8),
        CANCEL => Some((16..=MAX_CANCEL).contains(&length)),
        0x0003_0000..=0x0003_ffff => {
            // The first name follows: other protocols have a number there.
            let body = usize::try_from(length.saturating_sub(8)).unwrap_or(usize::MAX);
            let names = cursor.rest().get(..body).unwrap_or(cursor.rest());
            let text = |byte: &u8| *byte == 0 || *byte >= b' ' || byte.is_ascii_whitespace();
            match names.first() {
                None => (body < 2).then_some(false),
                Some(first) => Some(first.is_ascii_alphabetic() && names.iter().all(text)),
            }
        }
        _ => Some(false),
    }
}
