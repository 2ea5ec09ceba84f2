//! One packet as tshark prints it: values by field.

use super::{FIELDS, VALUE_SEPARATOR};

/// The values of one packet.
#[derive(Debug)]
pub(super) struct WitnessRow<'a> {
    columns: Vec<&'a str>,
}

// === impl WitnessRow ===

impl<'a> WitnessRow<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { columns: line.split('\t').collect() }
    }

    /// Returns the number of the packet.
    pub(super) fn frame(&self) -> Option<u64> {
        self.first("frame.number")?.parse().ok()
    }

    /// Says whether tshark found the packet broken.
    pub(super) fn is_malformed(&self) -> bool {
        self.first("_ws.malformed").is_some()
    }

    /// Returns a field's values.
    pub(super) fn list(&self, field: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let column = FIELDS.iter().position(|known| *known == field);
        debug_assert!(column.is_some(), "`{field}` is not asked for");
        let text = column.and_then(|column| self.columns.get(column)).copied().unwrap_or_default();
        text.split(VALUE_SEPARATOR).filter(|_| !text.is_empty())
    }

    /// Returns a field's first value.
    pub(super) fn first(&self, field: &str) -> Option<&'a str> {
        self.list(field).next()
    }

    /// Returns a field's last value.
    pub(super) fn last(&self, field: &str) -> Option<&'a str> {
        self.list(field).last()
    }
}
