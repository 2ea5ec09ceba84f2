//! What the data of each record type is made of, as zone files and dig write it.
//!
//! Sources: RFC 1035 and 1183 (first types), 2782 (SRV), 3403 (NAPTR), 4034 and 5155 (signatures), 4255 (SSHFP), 6698
//! (TLSA), 6742 (locators), 7043 (EUI), 7477 (CSYNC), 7553 (URI), 8659 (CAA), 8945 (TSIG), 8976 (ZONEMD), 9859 (DSYNC).

use super::data::Data;
use super::{address, encoding, gateway, service};
use crate::dns::iana;

/// The Internet's class; the data of some types means something in it only.
const INTERNET: u16 = 1;

/// The Chaos class.
const CHAOS: u16 = 3;

/// One piece of a record's data.
#[derive(Clone, Copy)]
enum Field {
    /// A number of one byte.
    U8,
    /// A number of two bytes.
    U16,
    /// A number of four bytes.
    U32,
    /// A domain name.
    Name,
    /// A character string.
    Text,
    /// All character strings that are left.
    Texts,
    /// A tag without quotes: letters and digits behind a length.
    Tag,
    /// All that is left, as one string.
    Long,
    /// An address.
    Ipv4,
    /// An address.
    Ipv6,
    /// All that is left, in base 64.
    Base64,
    /// All that is left, in hexadecimal digits.
    Hex,
    /// The types of a bitmap that takes all that is left.
    Types,
    /// A record type.
    Type,
    /// A moment.
    Time,
    /// Bytes behind a length of two bytes, in base 64 behind that length.
    Sized,
    /// A response code, which may be one of signatures.
    Rcode,
    /// What is written in a way of its own.
    Own(fn(&mut Data<'_>) -> Option<String>),
}

use Field::{
    Base64, Hex, Ipv4, Ipv6, Long, Name, Own, Rcode, Sized, Tag, Text, Texts, Time, Type, Types, U8, U16, U32,
};

/// Writes the data of a record; absent where it is damaged or its form is not known.
pub(super) fn write(kind: u16, class: u16, mut data: Data<'_>) -> Option<String> {
    let mut written: Vec<String> = Vec::new();
    for field in fields(kind, class)? {
        let text = field.write(&mut data)?;
        if !text.is_empty() {
            written.push(text);
        }
    }
    data.is_empty().then(|| written.join(" "))
}

/// Returns what a type's data is made of; absent for types without a known form.
fn fields(kind: u16, class: u16) -> Option<&'static [Field]> {
    Some(match kind {
        1 if class == CHAOS => &[Name, Own(address::octal)],
        // These have a meaning in the Internet's class only.
        1 | 11 | 22 | 23 | 26 | 28 | 38 | 42 if class != INTERNET => return None,
        1 => &[Ipv4],
        28 => &[Ipv6],
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NSAP-PTR, DNAME
        2..=5 | 7..=9 | 12 | 23 | 39 => &[Name],
        6 => &[Name, Name, U32, U32, U32, U32, U32],
        11 => &[Ipv4, Own(address::services)],
        13 => &[Text, Text],
        // MINFO, RP, TALINK
        14 | 17 | 58 => &[Name, Name],
        // MX, AFSDB, RT, KX, LP
        15 | 18 | 21 | 36 | 107 => &[U16, Name],
        // TXT, ISDN, NINFO, SPF, AVC, RESINFO, WALLET, CLA
        16 | 20 | 56 | 99 | 258 | 261..=263 => &[Texts],
        19 => &[Text],
        22 => &[Own(address::nsap)],
        // SIG, RRSIG
        24 | 46 => &[Type, U8, U8, U32, Time, Time, U16, Name, Base64],
        // KEY, DNSKEY, RKEY, CDNSKEY
        25 | 48 | 57 | 60 => &[U16, U8, U8, Base64],
        26 => &[U16, Name, Name],
        27 => &[Text, Text, Text],
        29 => &[Own(address::location)],
        30 => &[Name, Own(address::old_types)],
        // EID, NIMLOC
        31 | 32 => &[Hex],
        33 => &[U16, U16, U16, Name],
        34 => &[Own(address::atm)],
        35 => &[U16, U16, Text, Text, Text, Name],
        37 => &[Own(certificate), U16, Own(algorithm), Base64],
        38 => &[Own(address::a6)],
        40 => &[U8, U8, U8, Base64],
        42 => &[Own(address::prefixes)],
        // DS, CDS, TA, DLV
        43 | 59 | 32768 | 32769 => &[U16, U8, U8, Hex],
        44 => &[U8, U8, Hex],
        45 => &[Own(gateway::ipsec)],
        47 => &[Name, Types],
        // DHCID, OPENPGPKEY
        49 | 61 => &[Base64],
        50 => &[U8, U8, U16, Own(salt), Own(hashed), Types],
        51 => &[U8, U8, U16, Own(salt)],
        // TLSA, SMIMEA
        52 | 53 => &[U8, U8, U8, Hex],
        55 => &[Own(gateway::host_identity)],
        62 => &[U32, U16, Types],
        63 => &[U32, U8, U8, Hex],
        64 | 65 => &[U16, Name, Own(service::parameters)],
        66 => &[Type, Own(scheme), U16, Name],
        104 | 106 => &[U16, Own(address::locator)],
        105 => &[U16, Ipv4],
        108 => &[Own(|data| address::dashes(data, 6))],
        109 => &[Own(|data| address::dashes(data, 8))],
        128 => &[],
        249 => &[Name, Time, Time, U16, Rcode, Sized, Sized],
        250 => &[Name, Own(seconds), U16, Sized, U16, Rcode, Sized],
        256 => &[U16, U16, Long],
        257 => &[U8, Tag, Long],
        259 => &[U32, U32, U8, Text, Own(base64_or_dash)],
        260 => &[Own(gateway::relay)],
        _ => return None,
    })
}

// === impl Field ===

impl Field {
    fn write(self, data: &mut Data<'_>) -> Option<String> {
        Some(match self {
            U8 => data.u8()?.to_string(),
            U16 => data.u16()?.to_string(),
            U32 => data.u32()?.to_string(),
            Name => data.name()?,
            Text => encoding::quoted(data.sized()?),
            Texts => data.texts()?,
            Tag => tag(data.sized()?)?,
            Long => encoding::quoted(data.rest()?),
            Ipv4 => data.ipv4()?,
            Ipv6 => data.ipv6()?,
            Base64 => encoding::base64(data.some_rest()?),
            Hex => encoding::upper_hex(data.some_rest()?),
            Types => data.types()?.trim_start().to_owned(),
            Type => iana::type_name(data.u16()?),
            Time => encoding::time(data.u32()?),
            Sized => sized(data.long_sized()?),
            Rcode => match data.u16()? {
                16 => "BADSIG".to_owned(),
                other => iana::rcode_name(other),
            },
            Own(write) => write(data)?,
        })
    }
}

fn tag(bytes: &[u8]) -> Option<String> {
    let plain = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_alphanumeric);
    plain.then(|| encoding::escaped(bytes))
}

fn sized(bytes: &[u8]) -> String {
    format!("{} {}", bytes.len(), encoding::base64(bytes)).trim_end().to_owned()
}

fn certificate(data: &mut Data<'_>) -> Option<String> {
    data.u16().map(iana::certificate_name)
}

fn algorithm(data: &mut Data<'_>) -> Option<String> {
    data.u8().map(iana::algorithm_name)
}

/// Writes how changes are told of (RFC 9859, section 2).
fn scheme(data: &mut Data<'_>) -> Option<String> {
    Some(match data.u8()? {
        1 => "NOTIFY".to_owned(),
        other => other.to_string(),
    })
}

/// Writes the salt of hashed names (RFC 5155, section 3.3).
fn salt(data: &mut Data<'_>) -> Option<String> {
    let salt = data.sized()?;
    Some(if salt.is_empty() { "-".to_owned() } else { encoding::upper_hex(salt) })
}

/// Writes a hashed name.
fn hashed(data: &mut Data<'_>) -> Option<String> {
    data.sized().filter(|hash| !hash.is_empty()).map(encoding::base32)
}

/// Writes a time of 48 bits.
fn seconds(data: &mut Data<'_>) -> Option<String> {
    let (high, low) = (u64::from(data.u16()?), u64::from(data.u32()?));
    Some((high << 32 | low).to_string())
}

fn base64_or_dash(data: &mut Data<'_>) -> Option<String> {
    let rest = data.rest()?;
    Some(if rest.is_empty() { "-".to_owned() } else { encoding::base64(rest) })
}
