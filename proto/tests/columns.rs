//! The columns against an exchange with another value in every field.

#[path = "samples/full.rs"]
mod full;

use std::collections::BTreeSet;

use proto::columns::exchange::{FIELDS, Reading, Source};
use proto::columns::found::Found;
use proto::columns::hop::{self, HopSource};
use proto::columns::{Cell, Column};
use proto::v1;
use proto::v1::value::Kind;

const SESSION: &str = "abcde";

/// What a store makes of a cell.
fn kind(cell: Cell<'_>) -> Option<Kind> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Number(number) | Cell::Time(number) => Kind::Integer(number.cast_signed()),
        Cell::Signed(number) => Kind::Integer(number),
        Cell::Flag(flag) => Kind::Integer(flag.into()),
        Cell::Text(text) => Kind::Text(text.to_owned()),
        Cell::Address(address) => Kind::Text(address.to_string()),
        Cell::Payload(bytes) => Kind::Blob(bytes.to_vec()),
    })
}

fn source(exchange: &v1::Exchange) -> Source<'_> {
    Source { session: SESSION, payload_bytes: usize::MAX, exchange }
}

fn row(exchange: &v1::Exchange) -> v1::Row {
    let cells = FIELDS.iter().map(|field| (field.get)(source(exchange)));
    v1::Row { values: cells.map(|cell| v1::Value { kind: kind(cell) }).collect() }
}

#[test]
fn every_field_is_in_its_column() {
    for full in full::all() {
        let row = row(&full.exchange);
        let mut told = BTreeSet::from(["session", "start_time", "end_time"]);
        for (field, value) in FIELDS.iter().zip(&row.values) {
            let name = field.column.name;
            let Some((name, expected)) = full.columns.iter().find(|(known, _)| *known == name) else {
                assert!(told.contains(name), "{name} is not known");
                continue;
            };
            assert_eq!(value.kind.as_ref(), Some(expected), "{name}");
            told.insert(name);
        }
        assert_eq!(told.len(), full.columns.len() + 3, "every value has a column");
    }
}

#[test]
fn every_column_is_read_back() {
    let names: Vec<String> = FIELDS.iter().map(|field| field.column.name.to_owned()).collect();
    for full in full::all() {
        let stored = Reading::new(&names).row(&row(&full.exchange));
        let hops = full.stored.hops.clone();
        assert_eq!(v1::Exchange { hops, ..stored.exchange }, full.stored);
        assert_eq!(stored.session, SESSION);
    }
    let nothing = v1::Exchange { sample_weight: 1, ..v1::Exchange::default() };
    assert_eq!(Reading::new(&names).row(&row(&nothing)).exchange, nothing, "what is unknown stays so");
    assert_eq!(Reading::new(&[]).row(&row(&nothing)).exchange, v1::Exchange::default());
}

#[test]
fn every_hop_is_in_its_columns_and_read_back() {
    for full in full::all() {
        for (hop, values) in full.exchange.hops.iter().zip(&full.hops) {
            let mut back = v1::Hop::default();
            let fields = hop::FIELDS.iter().filter_map(|field| Some((field, field.set?)));
            for (field, set) in fields.clone() {
                let cell = (field.get)(HopSource { session: SESSION, exchange: 1, seq: 2, hop });
                let found = kind(cell).expect("known");
                let expected = values.iter().find(|(name, _)| *name == field.column.name);
                assert_eq!(expected.map(|(_, kind)| kind), Some(&found), "{}", field.column.name);
                set(&mut back, Found(&found));
            }
            assert_eq!(back, *hop);
            assert_eq!(fields.count(), values.len(), "every value has a column");
        }
    }
}

#[test]
fn any_two_columns_that_are_swapped_are_noticed() {
    let fulls = full::all();
    for (place, one) in FIELDS.iter().enumerate() {
        for other in FIELDS.iter().skip(place + 1) {
            let differ = fulls.iter().any(|full| {
                let source = source(&full.exchange);
                (one.get)(source) != (other.get)(source)
            });
            assert!(differ, "{} and {} hold the same", one.column.name, other.column.name);
        }
    }
}

#[test]
fn names_are_unique_and_explained() {
    for columns in [proto::columns::exchange::COLUMNS, hop::COLUMNS] {
        let names: BTreeSet<&str> = columns.iter().map(|column| column.name).collect();
        assert_eq!(names.len(), columns.len());
        for Column { name, help, .. } in columns {
            assert!(help.len() > 3 && !help.contains(['\n', '|']) && !help.ends_with('.'), "{name}: {help}");
        }
    }
}
