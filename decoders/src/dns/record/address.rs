//! Addresses and places: prefixes, network service points, locators, hardware addresses, positions on the Earth.

use super::data::{Data, set_bits};
use super::encoding;

/// What latitude and longitude count from, and how many thousandths of a second of arc a degree has (RFC 1876).
const EQUATOR: i64 = 1 << 31;

/// Altitudes count from so many centimetres below the reference (RFC 1876).
const DEEPEST_CM: i64 = 10_000_000;

/// Writes an address of the Chaos class.
pub(super) fn octal(data: &mut Data<'_>) -> Option<String> {
    data.u16().map(|address| format!("{address:o}"))
}

/// Writes a protocol and its ports (RFC 1035, section 3.4.2).
pub(super) fn services(data: &mut Data<'_>) -> Option<String> {
    let mut written = vec![data.u8()?.to_string()];
    let mut port = 0_u32;
    for byte in data.rest()? {
        written.extend(set_bits(&[*byte]).map(|bit| port.saturating_add(u32::from(bit)).to_string()));
        port = port.saturating_add(8);
    }
    Some(written.join(" "))
}

/// Writes a network service access point (RFC 1706).
pub(super) fn nsap(data: &mut Data<'_>) -> Option<String> {
    data.some_rest().map(|point| format!("0x{}", encoding::hex(point)))
}

/// Writes an address of an ATM network: digits, or a number of the telephone network.
pub(super) fn atm(data: &mut Data<'_>) -> Option<String> {
    let (format, address) = (data.u8()?, data.some_rest()?);
    match format {
        0 => Some(encoding::hex(address)),
        1 if address.iter().all(u8::is_ascii_digit) => Some(format!("+{}", encoding::escaped(address))),
        _ => None,
    }
}

/// Writes the types of a bitmap without windows (RFC 2535, section 5.2).
pub(super) fn old_types(data: &mut Data<'_>) -> Option<String> {
    let bits = data.rest().filter(|bits| bits.len() <= 16)?;
    let types: Vec<String> = set_bits(bits).map(|bit| crate::dns::iana::type_name(u16::from(bit))).collect();
    Some(types.join(" "))
}

/// Writes part of an address and the name that holds the rest (RFC 2874).
pub(super) fn a6(data: &mut Data<'_>) -> Option<String> {
    let prefix = data.u8().filter(|prefix| *prefix <= 128)?;
    let count = usize::from(16_u8.saturating_sub(prefix / 8));
    let mut address = [0_u8; 16];
    let suffix = data.take(count)?;
    address.get_mut(16_usize.checked_sub(count)?..)?.copy_from_slice(suffix);
    let mut written = vec![prefix.to_string()];
    if prefix < 128 {
        written.push(std::net::Ipv6Addr::from(address).to_string());
    }
    if prefix > 0 {
        written.push(data.name()?);
    }
    Some(written.join(" "))
}

/// Writes address prefixes (RFC 3123).
pub(super) fn prefixes(data: &mut Data<'_>) -> Option<String> {
    let mut written = Vec::new();
    while !data.is_empty() {
        let (family, prefix, length) = (data.u16()?, data.u8()?, data.u8()?);
        let not = if length & 0x80 == 0 { "" } else { "!" };
        let known = data.take(usize::from(length & 0x7f))?;
        let address = match family {
            1 if prefix <= 32 => std::net::IpAddr::from(padded::<4>(known)?),
            2 if prefix <= 128 => std::net::IpAddr::from(padded::<16>(known)?),
            _ => return None,
        };
        written.push(format!("{not}{family}:{address}/{prefix}"));
    }
    Some(written.join(" "))
}

/// Returns the bytes followed by zeros; absent where they are too many.
pub(super) fn padded<const SIZE: usize>(bytes: &[u8]) -> Option<[u8; SIZE]> {
    let mut address = [0; SIZE];
    address.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(address)
}

/// Writes an identifier or locator of 64 bits (RFC 6742).
pub(super) fn locator(data: &mut Data<'_>) -> Option<String> {
    let groups = [data.u16()?, data.u16()?, data.u16()?, data.u16()?];
    Some(groups.map(|group| format!("{group:x}")).join(":"))
}

/// Writes a hardware address of `count` bytes (RFC 7043).
pub(super) fn dashes(data: &mut Data<'_>, count: usize) -> Option<String> {
    let bytes: Vec<String> = data.take(count)?.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(bytes.join("-"))
}

/// Writes a position (RFC 1876, section 3). Only version 0 is known.
pub(super) fn location(data: &mut Data<'_>) -> Option<String> {
    data.u8().filter(|version| *version == 0)?;
    let sizes = [data.u8()?, data.u8()?, data.u8()?];
    let (latitude, longitude, altitude) = (data.u32()?, data.u32()?, data.u32()?);
    let [size, horizontal, vertical] = sizes;
    let latitude = angle(latitude, 90, ["N", "S"])?;
    let longitude = angle(longitude, 180, ["E", "W"])?;
    let height = i64::from(altitude).saturating_sub(DEEPEST_CM);
    let (sign, height) = (if height < 0 { "-" } else { "" }, height.unsigned_abs());
    let altitude = format!("{sign}{}.{:02}m", height / 100, height % 100);
    let (size, horizontal, vertical) = (metres(size)?, metres(horizontal)?, metres(vertical)?);
    Some(format!("{latitude} {longitude} {altitude} {size} {horizontal} {vertical}"))
}

/// Writes degrees, minutes, seconds and which half.
fn angle(value: u32, most: u64, [positive, negative]: [&str; 2]) -> Option<String> {
    let from = i64::from(value).saturating_sub(EQUATOR);
    let half = if from < 0 { negative } else { positive };
    let thousandths = from.unsigned_abs();
    let (degrees, minutes) = (thousandths / 3_600_000, thousandths / 60_000 % 60);
    let (seconds, rest) = (thousandths / 1000 % 60, thousandths % 1000);
    (thousandths <= most.saturating_mul(3_600_000))
        .then(|| format!("{degrees} {minutes} {seconds}.{rest:03} {half}"))
}

/// Writes a size: digit and power of ten, in centimetres.
fn metres(value: u8) -> Option<String> {
    let (digit, power) = (u64::from(value >> 4), u32::from(value & 0xf));
    let centimetres = digit.checked_mul(10_u64.checked_pow(power)?)?;
    let whole = centimetres / 100;
    (digit <= 9 && power <= 9).then(|| match centimetres % 100 {
        0 if whole > 0 => format!("{whole}m"),
        rest => format!("{whole}.{rest:02}m"),
    })
}
