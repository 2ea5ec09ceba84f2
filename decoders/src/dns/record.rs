//! Resource records and what they say (RFC 1035, section 3; RFC 3597 for those without a reading here).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::name;
use crate::reader::Reader;

/// The record that carries the extensions (RFC 6891).
const OPT: u16 = 41;

/// Types with their names (IANA registry of resource record types).
const TYPES: [(u16, &str); 35] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (24, "SIG"),
    (25, "KEY"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (37, "CERT"),
    (39, "DNAME"),
    (OPT, "OPT"),
    (43, "DS"),
    (44, "SSHFP"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (257, "CAA"),
];

/// One record; its data lies in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    name: String,
    kind: u16,
    class: u16,
    ttl: u32,
    /// Where the data begins in the message.
    at: usize,
    data: &'a [u8],
}

/// Reads a record and leaves the reader behind it; absent when it is damaged or not all there.
pub(super) fn read<'a>(reader: &mut Reader<'a>, whole: &'a [u8]) -> Option<Record<'a>> {
    let name = name::read(reader, whole)?;
    let (kind, class, ttl) = (reader.u16()?, reader.u16()?, reader.u32()?);
    let length = reader.u16()?;
    let at = reader.at();
    Some(Record { name, kind, class, ttl, at, data: reader.take(usize::from(length))? })
}

/// Returns a type's name: `TYPE1234` where it has none (RFC 3597, section 5).
pub(super) fn type_name(kind: u16) -> String {
    let known = TYPES.iter().find(|(number, _)| *number == kind);
    known.map_or_else(|| format!("TYPE{kind}"), |(_, name)| (*name).to_owned())
}

// === impl Record ===

impl Record<'_> {
    /// Returns what the extensions add to the response code.
    pub(super) fn extended_rcode(&self) -> u16 {
        let [high, ..] = self.ttl.to_be_bytes();
        if self.kind == OPT { u16::from(high) << 4 } else { 0 }
    }

    /// Writes the record as a line; `whole` is the message that it lies in.
    pub(super) fn describe(&self, section: &str, whole: &[u8]) -> String {
        let Self { name, kind, class, ttl, .. } = self;
        if *kind == OPT {
            return format!("{section} OPT udp {class}\n");
        }
        // A reading that does not fill the data exactly is wrong: the raw form is always right.
        let data = self.read_data(whole).unwrap_or_else(|| raw(self.data));
        format!("{section} {name} {ttl} {} {data}\n", type_name(*kind))
    }

    fn read_data(&self, whole: &[u8]) -> Option<String> {
        let end = self.at.checked_add(self.data.len())?;
        let mut reader = Reader::new(whole.get(..end)?, self.at);
        let data = match self.kind {
            1 => Ipv4Addr::from(<[u8; 4]>::try_from(reader.take(4)?).ok()?).to_string(),
            28 => Ipv6Addr::from(<[u8; 16]>::try_from(reader.take(16)?).ok()?).to_string(),
            2 | 5 | 12 | 39 => name::read(&mut reader, whole)?,
            15 => format!("{} {}", reader.u16()?, name::read(&mut reader, whole)?),
            16 => return texts(self.data),
            33 => {
                let (priority, weight, port) = (reader.u16()?, reader.u16()?, reader.u16()?);
                format!("{priority} {weight} {port} {}", name::read(&mut reader, whole)?)
            }
            6 => {
                let (server, mailbox) = (name::read(&mut reader, whole)?, name::read(&mut reader, whole)?);
                let [serial, refresh, retry] = [reader.u32()?, reader.u32()?, reader.u32()?];
                let [expire, minimum] = [reader.u32()?, reader.u32()?];
                format!("{server} {mailbox} {serial} {refresh} {retry} {expire} {minimum}")
            }
            64 | 65 => {
                let (priority, target) = (reader.u16()?, name::read(&mut reader, whole)?);
                let rest = reader.take(end.checked_sub(reader.at())?)?;
                if rest.is_empty() {
                    format!("{priority} {target}")
                } else {
                    format!("{priority} {target} {}", raw(rest))
                }
            }
            _ => return None,
        };
        (reader.at() == end).then_some(data)
    }
}

/// Writes character strings (RFC 1035, section 3.3.14).
fn texts(data: &[u8]) -> Option<String> {
    let mut reader = Reader::new(data, 0);
    let mut written = Vec::new();
    while reader.at() < data.len() {
        let length = reader.u8()?;
        written.push(format!("\"{}\"", reader.take(usize::from(length))?.escape_ascii()));
    }
    Some(written.join(" "))
}

/// Writes data of unknown meaning (RFC 3597, section 5).
fn raw(data: &[u8]) -> String {
    let digits: Vec<String> = data.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\\# {} {}", data.len(), digits.concat()).trim_end().to_owned()
}
