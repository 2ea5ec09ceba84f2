//! Rows of the store as exchanges, so that a saved one reads as a live one does.

use proto::columns::exchange::{Reading, Stored};
use proto::columns::found::Found;
use proto::columns::hop::{self, SetHop};
use proto::v1;
use proto::v1::value::Kind;
use serde_json::Value;

/// Name that [`select`] gives the hops of an exchange.
const HOPS: &str = "hops";

/// Reads the rows of [`select`].
#[derive(Debug)]
pub(crate) struct Reader {
    reading: Reading,
    hops: Option<usize>,
}

/// Statement that reads everything that a saved exchange says; its hops are one value, an array of arrays, in their
/// order.
pub(crate) fn select() -> String {
    let parts: Vec<&str> = parts().map(|(name, _)| name).collect();
    format!(
        "SELECT *, (SELECT json_group_array(json_array({}) ORDER BY seq)
            FROM hops WHERE hops.session = exchanges.session AND exchange_id = id) AS {HOPS}
         FROM exchanges ORDER BY start_ns, id",
        parts.join(", ")
    )
}

// === impl Reader ===

impl Reader {
    /// Finds the columns of a result.
    pub(crate) fn new(columns: &[String]) -> Self {
        let hops = columns.iter().position(|column| column == HOPS);
        Self { reading: Reading::new(columns), hops }
    }

    /// Returns the session of a row and its exchange; what the store does not hold is unknown.
    pub(crate) fn exchange(&self, row: &v1::Row) -> (String, v1::Exchange) {
        let Stored { session, mut exchange } = self.reading.row(row);
        let hops = self.hops.and_then(|place| row.values.get(place)?.kind.as_ref());
        if let Some(Kind::Text(hops)) = hops {
            let hops: Vec<Vec<Value>> = serde_json::from_str(hops).unwrap_or_default();
            exchange.hops = hops.into_iter().map(hop).collect();
        }
        (session, exchange)
    }
}

/// The columns that a hop is read from.
fn parts() -> impl Iterator<Item = (&'static str, SetHop)> {
    hop::FIELDS.iter().filter_map(|field| Some((field.column.name, field.set?)))
}

fn hop(values: Vec<Value>) -> v1::Hop {
    let mut hop = v1::Hop::default();
    for ((_, set), value) in parts().zip(values) {
        if let Some(kind) = kind(value) {
            set(&mut hop, Found(&kind));
        }
    }
    hop
}

fn kind(value: Value) -> Option<Kind> {
    match value {
        Value::String(text) => Some(Kind::Text(text)),
        Value::Number(number) => number.as_i64().map(Kind::Integer),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
