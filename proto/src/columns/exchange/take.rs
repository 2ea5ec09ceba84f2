//! Cells of what an exchange holds within itself.

use super::Source;
use crate::columns::Cell;
use crate::filter;
use crate::v1;

// === impl Source ===

impl<'a> Source<'a> {
    /// Text of the observed process.
    pub(super) fn origin(self, part: fn(&v1::Origin) -> &str) -> Cell<'a> {
        self.exchange.origin.as_ref().map_or(Cell::Null, |origin| Cell::text(part(origin)))
    }

    /// A part of the time.
    pub(super) fn segment(self, part: fn(&v1::Segments) -> Option<u64>) -> Cell<'a> {
        Cell::maybe(self.exchange.segments.as_ref().and_then(part))
    }

    /// Something of both ways.
    pub(super) fn ways(self, part: fn(&v1::Ways) -> Cell<'_>) -> Cell<'a> {
        self.exchange.ways.as_ref().map_or(Cell::Null, part)
    }

    /// Something of the request.
    pub(super) fn request(self, part: fn(&v1::Message) -> Cell<'_>) -> Cell<'a> {
        self.exchange.request.as_ref().map_or(Cell::Null, part)
    }

    /// Something of the response.
    pub(super) fn response(self, part: fn(&v1::Message) -> Cell<'_>) -> Cell<'a> {
        self.exchange.response.as_ref().map_or(Cell::Null, part)
    }

    /// Whether not all of a message is kept.
    pub(super) fn truncated(self, message: Option<&v1::Message>) -> Cell<'a> {
        message.map_or(Cell::Null, |message| {
            Cell::Flag(message.truncated || message.payload.len() > self.payload_bytes)
        })
    }
}

/// The address of one end.
pub(super) fn address<'a>(end: Option<&v1::Endpoint>) -> Cell<'a> {
    end.and_then(filter::address).map_or(Cell::Null, Cell::Address)
}

/// The port of one end.
pub(super) fn port<'a>(end: Option<&v1::Endpoint>) -> Cell<'a> {
    end.map_or(Cell::Null, |end| Cell::known(end.port.into()))
}

/// A name of one end.
pub(super) fn named(end: Option<&v1::Endpoint>, part: fn(&v1::Endpoint) -> &str) -> Cell<'_> {
    end.map_or(Cell::Null, |end| Cell::text(part(end)))
}
