//! What a message's OPT record says, in dig's words on one line (RFC 6891 and its options).

use super::data::Data;
use super::{address, encoding};
use crate::dns::iana;

/// The mark that a client wants signatures (RFC 3225).
const DNSSEC_OK: u16 = 0x8000;

/// Writes version, flags, size and options; the class of the record is the size, its time to live holds the rest.
pub(super) fn write(class: u16, ttl: u32, mut data: Data<'_>) -> String {
    let [_, version, high, low] = ttl.to_be_bytes();
    let flags = u16::from_be_bytes([high, low]);
    let signed = if flags & DNSSEC_OK == 0 { "" } else { " do" };
    let rest = match flags & !DNSSEC_OK {
        0 => String::new(),
        unknown => format!(" 0x{unknown:04x}"),
    };
    let mut written = format!("version: {version}, flags:{signed}{rest}; udp: {class}");
    while !data.is_empty() {
        let Some((code, value)) = data.u16().zip(data.long_sized()) else {
            return format!("{written}; damaged");
        };
        written.push_str("; ");
        written.push_str(&option(code, value));
    }
    written
}

fn option(code: u16, value: &[u8]) -> String {
    let known = match code {
        3 => Some(identifier(value)),
        8 => subnet(value),
        9 => <[u8; 4]>::try_from(value).ok().map(|seconds| u32::from_be_bytes(seconds).to_string()),
        11 => keepalive(value),
        12 => Some(format!("({} bytes)", value.len())),
        14 => tags(value),
        15 => error(value),
        18 => agent(value),
        _ => None,
    };
    let text = known.unwrap_or_else(|| encoding::hex(value));
    let name = iana::option_name(code).map_or_else(|| format!("OPT={code}"), str::to_owned);
    if text.is_empty() { name } else { format!("{name}: {text}") }
}

/// Writes a name server's identifier: any bytes, most often text.
fn identifier(value: &[u8]) -> String {
    if value.is_empty() {
        return String::new();
    }
    format!("{} ({})", encoding::hex(value), encoding::quoted(value))
}

/// Writes a client's network (RFC 7871).
fn subnet(value: &[u8]) -> Option<String> {
    let mut data = Data::new(value, 0, value.len())?;
    let (family, source, scope) = (data.u16()?, data.u8()?, data.u8()?);
    let known = data.rest()?;
    let address = match family {
        1 => std::net::IpAddr::from(address::padded::<4>(known)?).to_string(),
        2 => std::net::IpAddr::from(address::padded::<16>(known)?).to_string(),
        0 if known.is_empty() => "0".to_owned(),
        _ => return None,
    };
    Some(format!("{address}/{source}/{scope}"))
}

/// Writes how long an idle connection stays, given in tenths of a second (RFC 7828).
fn keepalive(value: &[u8]) -> Option<String> {
    if value.is_empty() {
        return Some(String::new());
    }
    let tenths = u16::from_be_bytes(<[u8; 2]>::try_from(value).ok()?);
    Some(format!("{}.{} secs", tenths / 10, tenths % 10))
}

fn tags(value: &[u8]) -> Option<String> {
    let (pairs, []) = value.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|tag| u16::from_be_bytes(*tag).to_string()).collect::<Vec<_>>().join(", "))
}

/// Writes an extended error (RFC 8914).
fn error(value: &[u8]) -> Option<String> {
    let (code, text) = value.split_at_checked(2)?;
    let code = u16::from_be_bytes(<[u8; 2]>::try_from(code).ok()?);
    let meaning = iana::extended_error(code).map_or_else(String::new, |meaning| format!(" ({meaning})"));
    let text = if text.is_empty() { String::new() } else { format!(": ({})", encoding::quoted(text)) };
    Some(format!("{code}{meaning}{text}"))
}

/// Writes the domain that errors are reported to (RFC 9567).
fn agent(value: &[u8]) -> Option<String> {
    let mut data = Data::new(value, 0, value.len())?;
    data.name().filter(|_| data.is_empty())
}
