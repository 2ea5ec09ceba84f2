//! Records that lead to another host: IPSECKEY, AMTRELAY and HIP.

use super::data::Data;
use super::encoding;

/// Writes a key and the gateway that holds it (RFC 4025).
pub(super) fn ipsec(data: &mut Data<'_>) -> Option<String> {
    let (precedence, kind, algorithm) = (data.u8()?, data.u8()?, data.u8()?);
    let gateway = gateway(data, kind)?;
    let key = encoding::base64(data.rest()?);
    Some(format!("{precedence} {kind} {algorithm} {gateway} {key}").trim_end().to_owned())
}

/// Writes a relay of multicast (RFC 8777).
pub(super) fn relay(data: &mut Data<'_>) -> Option<String> {
    let (precedence, kind) = (data.u8()?, data.u8()?);
    let (discovery, kind) = (kind >> 7, kind & 0x7f);
    Some(format!("{precedence} {discovery} {kind} {}", gateway(data, kind)?))
}

fn gateway(data: &mut Data<'_>, kind: u8) -> Option<String> {
    match kind {
        0 => Some(".".to_owned()),
        1 => data.ipv4(),
        2 => data.ipv6(),
        3 => data.name(),
        _ => None,
    }
}

/// Writes a host's identity and its rendezvous servers (RFC 8005).
pub(super) fn host_identity(data: &mut Data<'_>) -> Option<String> {
    let (tag, algorithm, key) = (data.u8()?, data.u8()?, data.u16()?);
    let tag = data.take(usize::from(tag)).filter(|tag| !tag.is_empty())?;
    let key = data.take(usize::from(key)).filter(|key| !key.is_empty())?;
    let mut written = format!("{algorithm} {} {}", encoding::upper_hex(tag), encoding::base64(key));
    while !data.is_empty() {
        written.push(' ');
        written.push_str(&data.name()?);
    }
    Some(written)
}
