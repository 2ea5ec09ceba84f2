//! Exchanges from rows, so that a saved one reads as a live one does.

use super::{FIELDS, Set};
use crate::columns::found::Found;
use crate::v1;

/// What a row says; what the store does not hold is unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Session name.
    pub session: String,
    /// The exchange, without its hops, which are rows of their own.
    pub exchange: v1::Exchange,
}

/// Reads rows whose columns are named once.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Where a value stands, and what it is put into.
    places: Vec<(usize, Set)>,
}

// === impl Reading ===

impl Reading {
    /// Finds the columns that an exchange is read from among those of a result; others are passed over.
    #[must_use]
    pub fn new(columns: &[String]) -> Self {
        let place = |name: &str| columns.iter().position(|column| column == name);
        let places = FIELDS.iter().filter_map(|field| Some((place(field.column.name)?, field.set?)));
        Self { places: places.collect() }
    }

    /// Reads a row.
    #[must_use]
    pub fn row(&self, row: &v1::Row) -> Stored {
        let mut stored = Stored::default();
        for (place, set) in &self.places {
            if let Some(kind) = row.values.get(*place).and_then(|value| value.kind.as_ref()) {
                set(&mut stored, Found(kind));
            }
        }
        stored
    }
}

/// The observed process.
pub(super) fn origin(to: &mut Stored) -> &mut v1::Origin {
    to.exchange.origin.get_or_insert_default()
}

/// Puts what is known of one end there.
pub(super) fn end<T>(to: &mut Option<v1::Endpoint>, found: Option<T>, part: fn(&mut v1::Endpoint) -> &mut T) {
    if let Some(found) = found {
        *part(to.get_or_insert_default()) = found;
    }
}

/// The request or the response.
pub(super) fn message(to: &mut Option<v1::Message>) -> &mut v1::Message {
    to.get_or_insert_default()
}

/// Puts a part of the time there; parts of no total are none.
pub(super) fn part(to: &mut Stored, found: Found<'_>, part: fn(&mut v1::Segments) -> &mut Option<u64>) {
    if let Some(segments) = &mut to.exchange.segments {
        *part(segments) = found.number();
    }
}

/// Puts what is known of both ways there.
pub(super) fn travel<T>(to: &mut Stored, found: Option<T>, part: fn(&mut v1::Ways) -> &mut T) {
    if let Some(found) = found {
        *part(to.exchange.ways.get_or_insert_default()) = found;
    }
}
