//! Resource records and what they say (RFC 1035, section 3; RFC 3597 for those without a reading here).

mod address;
mod data;
mod edns;
mod encoding;
mod gateway;
mod layout;
mod service;

use super::{iana, name};
use crate::reader::Reader;
use data::Data;
pub(super) use encoding::raw;

/// The record that begins a zone (RFC 1035, section 3.3.13).
const SOA: u16 = 6;

/// The record that carries the extensions (RFC 6891).
const OPT: u16 = 41;

/// The Internet's class.
pub(super) const INTERNET: u16 = 1;

/// Bytes of the numbers that end the data of a zone's first record, its serial number being the first of them.
const SOA_NUMBERS: usize = 20;

/// One record; name and data lie in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Where the name begins in the message.
    name_at: usize,
    pub(super) kind: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
    /// Where the data begins in the message.
    at: usize,
    pub(super) data: &'a [u8],
}

/// Reads a record and leaves the reader behind it; absent when it is damaged or not all there.
pub(super) fn read<'a>(reader: &mut Reader<'a>, whole: &'a [u8]) -> Option<Record<'a>> {
    let name_at = reader.at();
    name::pass(reader, whole)?;
    let (kind, class, ttl) = (reader.u16()?, reader.u16()?, reader.u32()?);
    let length = reader.u16()?;
    let at = reader.at();
    Some(Record { name_at, kind, class, ttl, at, data: reader.take(usize::from(length))? })
}

// === impl Record ===

impl Record<'_> {
    /// Whether it carries a message's extensions, and says nothing of a name.
    pub(super) fn is_extension(&self) -> bool {
        self.kind == OPT
    }

    /// Returns what the extensions add to the response code.
    pub(super) fn extended_rcode(&self) -> u16 {
        let [high, ..] = self.ttl.to_be_bytes();
        if self.is_extension() { u16::from(high) << 4 } else { 0 }
    }

    /// Returns a zone's serial number, if this is its first record.
    pub(super) fn serial(&self) -> Option<u32> {
        let at = self.data.len().checked_sub(SOA_NUMBERS)?;
        if self.kind == SOA { Reader::new(self.data, at).u32() } else { None }
    }

    /// Returns whose record it is; `whole` is the message that it lies in.
    pub(super) fn name(&self, whole: &[u8]) -> String {
        name::read(&mut Reader::new(whole, self.name_at), whole).unwrap_or_default()
    }

    /// Writes name, time to live, class unless it is the Internet's, type and data, as a zone file does.
    pub(super) fn describe(&self, whole: &[u8]) -> String {
        let Self { class, ttl, .. } = self;
        if self.is_extension() {
            return match self.fields(whole) {
                Some(fields) => format!("OPT {}", edns::write(*class, *ttl, fields)),
                None => "OPT".to_owned(),
            };
        }
        let shown = if *class == INTERNET { String::new() } else { format!("{} ", iana::class_name(*class)) };
        let (name, kind) = (self.name(whole), iana::type_name(self.kind));
        format!("{name} {ttl} {shown}{kind} {}", self.data(*class, whole)).trim_end().to_owned()
    }

    /// Writes the data as `class` gives it a meaning. A reading that does not fill the data exactly is wrong: the raw
    /// form is always right.
    pub(super) fn data(&self, class: u16, whole: &[u8]) -> String {
        let read = self.fields(whole).and_then(|fields| layout::write(self.kind, class, fields));
        read.unwrap_or_else(|| raw(self.data))
    }

    fn fields<'a>(&self, whole: &'a [u8]) -> Option<Data<'a>> {
        Data::new(whole, self.at, self.at.checked_add(self.data.len())?)
    }
}
