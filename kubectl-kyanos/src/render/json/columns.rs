//! The columns of an exchange as keys of a JSON object.

use proto::columns::exchange::{FIELDS, Source};
use proto::columns::{Cell, Kind};
use proto::v1;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::render::text::payload;
use crate::render::units::rfc3339;

/// All columns that JSON has too, in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    source: Source<'a>,
    print_bytes: Option<usize>,
}

/// One value.
struct Shown<'a> {
    kind: Kind,
    cell: Cell<'a>,
    print_bytes: Option<usize>,
}

// === impl Columns ===

impl<'a> Columns<'a> {
    /// Takes them of an exchange, of whose payloads at most `print_bytes` each are shown; `None` leaves them out.
    pub(super) fn new(session: &'a str, print_bytes: Option<usize>, exchange: &'a v1::Exchange) -> Self {
        let payload_bytes = print_bytes.unwrap_or(usize::MAX);
        Self { source: Source { session, payload_bytes, exchange }, print_bytes }
    }
}

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in FIELDS.iter().filter(|field| field.column.json) {
            let cell = (field.get)(self.source);
            let shown = Shown { kind: field.column.kind, cell, print_bytes: self.print_bytes };
            map.serialize_entry(field.column.name, &shown)?;
        }
        map.end()
    }
}

// === impl Shown ===

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.cell {
            Cell::Null => serializer.serialize_none(),
            // A reader's numbers may have 53 bits.
            Cell::Number(number) if matches!(self.kind, Kind::Id | Kind::OtherId) => {
                serializer.collect_str(&number)
            }
            Cell::Number(number) => serializer.serialize_u64(number),
            Cell::Signed(number) => serializer.serialize_i64(number),
            Cell::Flag(flag) => serializer.serialize_bool(flag),
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Address(address) => serializer.collect_str(&address),
            Cell::Time(ns) => serializer.serialize_str(&rfc3339(ns)),
            Cell::Payload(bytes) => match self.print_bytes {
                Some(limit) => serializer.serialize_str(&payload(bytes, limit).0),
                None => serializer.serialize_none(),
            },
        }
    }
}
