//! The greeting of the server and the client's answer to it.

use super::server::Server;
use crate::sql::cursor::Cursor;

/// `CLIENT_CONNECT_WITH_DB`.
const CONNECT_WITH_DB: u32 = 1 << 3;
/// `CLIENT_COMPRESS`.
const COMPRESS: u32 = 1 << 5;
/// `CLIENT_PROTOCOL_41`.
const PROTOCOL_41: u32 = 1 << 9;
/// `CLIENT_SSL`.
const SSL: u32 = 1 << 11;
/// `CLIENT_SECURE_CONNECTION`.
const SECURE_CONNECTION: u32 = 1 << 15;
/// `CLIENT_MULTI_STATEMENTS`.
const MULTI_STATEMENTS: u32 = 1 << 16;
/// `CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA`.
const AUTH_LENENC: u32 = 1 << 21;
/// `CLIENT_SESSION_TRACK`.
const SESSION_TRACK: u32 = 1 << 23;
/// `CLIENT_DEPRECATE_EOF`.
const DEPRECATE_EOF: u32 = 1 << 24;
/// `CLIENT_OPTIONAL_RESULTSET_METADATA`.
const OPTIONAL_METADATA: u32 = 1 << 25;
/// `CLIENT_ZSTD_COMPRESSION_ALGORITHM`.
const ZSTD: u32 = 1 << 26;
/// `CLIENT_QUERY_ATTRIBUTES`.
const QUERY_ATTRIBUTES: u32 = 1 << 27;
/// `CLIENT_LONG_PASSWORD`, which `MariaDB` leaves unset to say that its extended capabilities follow.
const CLIENT_MYSQL: u32 = 1;
/// `MARIADB_CLIENT_EXTENDED_METADATA`.
const EXTENDED_METADATA: u32 = 1 << 3;
/// `MARIADB_CLIENT_CACHE_METADATA`.
const CACHE_METADATA: u32 = 1 << 4;

/// What both ends agreed on; `None` where the login was not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    /// No EOF packet follows column definitions.
    pub(super) deprecate_eof: Option<bool>,
    /// Statements come with attributes.
    pub(super) query_attributes: Option<bool>,
    /// Several statements may come in one text.
    pub(super) multi_statements: Option<bool>,
    /// OK packets tell changes of the session.
    pub(super) session_track: Option<bool>,
    /// Column definitions have `MariaDB`'s extra field.
    pub(super) extended_metadata: Option<bool>,
    /// `MariaDB` leaves out column definitions that the client has.
    pub(super) cache_metadata: Option<bool>,
    /// `MySQL` leaves out column definitions if the client wants that.
    pub(super) optional_metadata: Option<bool>,
    pub(super) compressed: bool,
}

/// What the server offers in its greeting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Greeting {
    capabilities: u32,
    extended: u32,
    pub(super) server: Option<Server>,
}

/// What the first bytes of a server's packet are to a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    NeedMore,
}

/// What the client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// To go on under TLS.
    Tls,
    /// To be let in.
    User { name: String, database: String, agreed: Agreed },
}

// === impl Greeting ===

impl Greeting {
    /// Reads the greeting packet of protocol version 10.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(packet);
        if cursor.byte()? != 10 {
            return None;
        }
        let version = cursor.text();
        if version.is_empty() || !version.iter().copied().all(is_text) {
            return None;
        }
        cursor.bytes(13)?;
        let low = cursor.u16_le()?;
        cursor.bytes(3)?;
        let high = cursor.u16_le().unwrap_or(0);
        cursor.bytes(7);
        let extended = cursor.u32_le().unwrap_or(0);
        let capabilities = u32::from(high).checked_shl(16).unwrap_or(0) | u32::from(low);
        let extended = if capabilities & CLIENT_MYSQL == 0 { extended } else { 0 };
        Some(Self { capabilities, extended, server: Some(Server::read(version)) })
    }
}

/// Tells whether `head`, the captured start of a packet of `length` bytes, is a greeting. The version in it may be of any
/// length, so only its end tells.
pub(super) fn fits_greeting(head: &[u8], length: usize) -> Fit {
    let Some((version, rest)) = head.split_first().map(|(first, rest)| (*first, rest)) else {
        return Fit::NeedMore;
    };
    let end = memchr::memchr(0, rest);
    let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    if version != 10 || !text.iter().copied().all(is_text) {
        return Fit::No;
    }
    match end {
        Some(0) => Fit::No,
        // Thread number, first part of the salt, and the NUL that ends it.
        Some(end) => match rest.get(end.saturating_add(13)) {
            Some(0) if head.len() >= length => {
                if Greeting::read(head).is_some() {
                    Fit::Yes
                } else {
                    Fit::No
                }
            }
            Some(0) | None if head.len() < length => Fit::NeedMore,
            Some(_) | None => Fit::No,
        },
        None if head.len() < length => Fit::NeedMore,
        None => Fit::No,
    }
}

// === impl Login ===

impl Login {
    /// Reads the client's answer to `greeting` (`None`: not seen, so what the client says holds).
    pub(super) fn read(packet: &[u8], greeting: Option<Greeting>) -> Option<Self> {
        let mut cursor = Cursor::new(packet);
        let capabilities = cursor.u32_le()?;
        if capabilities & PROTOCOL_41 == 0 {
            return None;
        }
        cursor.bytes(5)?;
        cursor.bytes(19)?;
        let extended = cursor.u32_le()?;
        if packet.len() == 32 && capabilities & SSL != 0 {
            return Some(Self::Tls);
        }
        let name = text(cursor.text());
        if capabilities & AUTH_LENENC != 0 {
            cursor.lenenc_bytes()?;
        } else if capabilities & SECURE_CONNECTION != 0 {
            let length = usize::from(cursor.byte()?);
            cursor.bytes(length)?;
        } else {
            cursor.text();
        }
        let database = if capabilities & CONNECT_WITH_DB == 0 { String::new() } else { text(cursor.text()) };
        let both = capabilities & greeting.map_or(u32::MAX, |greeting| greeting.capabilities);
        let extended = if capabilities & CLIENT_MYSQL == 0 { extended } else { 0 };
        let extended = extended & greeting.map_or(u32::MAX, |greeting| greeting.extended);
        let agreed = Agreed {
            deprecate_eof: Some(both & DEPRECATE_EOF != 0),
            query_attributes: Some(both & QUERY_ATTRIBUTES != 0),
            multi_statements: Some(both & MULTI_STATEMENTS != 0),
            session_track: Some(both & SESSION_TRACK != 0),
            extended_metadata: Some(extended & EXTENDED_METADATA != 0),
            cache_metadata: Some(extended & CACHE_METADATA != 0),
            optional_metadata: Some(both & OPTIONAL_METADATA != 0),
            compressed: both & (COMPRESS | ZSTD) != 0,
        };
        Some(Self::User { name, database, agreed })
    }
}

/// Tells whether `packet`, the first of a client, is an answer to a greeting.
pub(super) fn is_login(packet: &[u8]) -> bool {
    let filler = packet.get(9..28);
    packet.len() >= 32
        && filler.is_some_and(|filler| filler.iter().all(|byte| *byte == 0))
        && Login::read(packet, None).is_some()
}

/// Reads user and database of `COM_CHANGE_USER`.
pub(super) fn change_user(body: &[u8]) -> (String, String) {
    let mut cursor = Cursor::new(body);
    let name = text(cursor.text());
    let length = cursor.byte().map_or(0, usize::from);
    cursor.bytes(length);
    (name, text(cursor.text()))
}

/// Tells whether a byte can be part of a version: distributions put spaces and words of any language into it.
fn is_text(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
