//! Parameters of service bindings: SVCB and HTTPS (RFC 9460, RFC 9461, RFC 9540).

use super::data::Data;
use super::encoding;

/// Writes the parameters; absent where they are damaged or not in rising order.
pub(super) fn parameters(data: &mut Data<'_>) -> Option<String> {
    let (mut written, mut last) = (Vec::new(), None);
    while !data.is_empty() {
        let key = data.u16()?;
        if last.is_some_and(|last| last >= key) {
            return None;
        }
        last = Some(key);
        written.push(parameter(key, data.long_sized()?));
    }
    Some(written.join(" "))
}

/// Writes one parameter, under its number where its value is not as its name demands.
fn parameter(key: u16, value: &[u8]) -> String {
    let known = match key {
        0 => keys(value),
        1 => protocols(value),
        2 | 8 => value.is_empty().then(String::new),
        3 => <[u8; 2]>::try_from(value).ok().map(|port| u16::from_be_bytes(port).to_string()),
        4 => addresses::<4>(value),
        5 => (!value.is_empty()).then(|| encoding::base64(value)),
        6 => addresses::<16>(value),
        7 => (!value.is_empty()).then(|| encoding::quoted(value)),
        9 => groups(value),
        _ => None,
    };
    match (known, name(key)) {
        (Some(text), Some(name)) if text.is_empty() => name.to_owned(),
        (Some(text), Some(name)) => format!("{name}={text}"),
        _ if value.is_empty() => format!("key{key}"),
        _ => format!("key{key}={}", encoding::quoted(value)),
    }
}

/// Returns a parameter's name (IANA registry of service parameter keys).
fn name(key: u16) -> Option<&'static str> {
    Some(match key {
        0 => "mandatory",
        1 => "alpn",
        2 => "no-default-alpn",
        3 => "port",
        4 => "ipv4hint",
        5 => "ech",
        6 => "ipv6hint",
        7 => "dohpath",
        8 => "ohttp",
        9 => "tls-supported-groups",
        _ => return None,
    })
}

fn keys(value: &[u8]) -> Option<String> {
    let names = numbers(value)?.map(|key| name(key).map_or_else(|| format!("key{key}"), str::to_owned));
    Some(names.collect::<Vec<_>>().join(","))
}

fn groups(value: &[u8]) -> Option<String> {
    Some(numbers(value)?.map(|group| group.to_string()).collect::<Vec<_>>().join(","))
}

/// Returns the numbers of two bytes that a value is made of, at least one.
fn numbers(value: &[u8]) -> Option<impl Iterator<Item = u16> + '_> {
    let (pairs, []) = value.as_chunks::<2>() else { return None };
    (!pairs.is_empty()).then(|| pairs.iter().map(|pair| u16::from_be_bytes(*pair)))
}

fn addresses<const SIZE: usize>(value: &[u8]) -> Option<String>
where
    std::net::IpAddr: From<[u8; SIZE]>,
{
    let (chunks, []) = value.as_chunks::<SIZE>() else { return None };
    let written: Vec<String> =
        chunks.iter().map(|chunk| std::net::IpAddr::from(*chunk).to_string()).collect();
    (!written.is_empty()).then(|| written.join(","))
}

/// Writes protocols as a list in quotes: commas and backslashes within one are escaped for the list, then for the string
/// (RFC 9460, appendix A.1).
fn protocols(value: &[u8]) -> Option<String> {
    let mut list: Vec<u8> = Vec::new();
    let mut rest = value;
    while let Some((length, behind)) = rest.split_first() {
        let (protocol, behind) = behind.split_at_checked(usize::from(*length))?;
        if protocol.is_empty() {
            return None;
        }
        if !list.is_empty() {
            list.push(b',');
        }
        for byte in protocol {
            if matches!(byte, b',' | b'\\') {
                list.push(b'\\');
            }
            list.push(*byte);
        }
        rest = behind;
    }
    (!list.is_empty()).then(|| encoding::quoted(&list))
}
