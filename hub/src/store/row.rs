//! Exchanges, capturers and losses as rows.

use std::borrow::Cow;

use proto::columns::capturer::CapturerSource;
use proto::columns::exchange::Source;
use proto::columns::hop::HopSource;
use proto::columns::loss::LossSource;
use proto::columns::{self, Column, Kind, capturer, exchange, hop, loss};
use proto::v1;

use super::schema::Dialect;
use super::{CapturerRow, LossRow, Scope};

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Unknown.
    Null,
    /// Integer or flag.
    Integer(i64),
    /// Text or time.
    Text(Cow<'a, str>),
    /// Payload.
    Bytes(&'a [u8]),
}

/// The row of an exchange, in the order of the table's columns.
#[must_use]
pub fn exchange<'a>(scope: &'a Scope, dialect: Dialect, exchange: &'a v1::Exchange) -> Vec<Cell<'a>> {
    let payload_bytes = usize::try_from(scope.max_store_bytes).unwrap_or(usize::MAX);
    let source = Source { session: &scope.session, payload_bytes, exchange };
    let fields = exchange::FIELDS.iter();
    fields.map(|field| cell(scope, dialect, &field.column, (field.get)(source))).collect()
}

/// The rows of an exchange's hops.
#[must_use]
pub fn hops<'a>(scope: &'a Scope, dialect: Dialect, exchange: &'a v1::Exchange) -> Vec<Vec<Cell<'a>>> {
    (0_u64..)
        .zip(&exchange.hops)
        .map(|(seq, hop)| {
            let source = HopSource { session: &scope.session, exchange: exchange.id, seq, hop };
            let fields = hop::FIELDS.iter();
            fields.map(|field| cell(scope, dialect, &field.column, (field.get)(source))).collect()
        })
        .collect()
}

/// The row of a capturer.
#[must_use]
pub fn capturer<'a>(scope: &'a Scope, dialect: Dialect, row: &'a CapturerRow) -> Vec<Cell<'a>> {
    let CapturerRow { node, slot, kernel, version, first_seen_ns, last_seen_ns } = row;
    let (slot, first_seen_ns, last_seen_ns) = (*slot, *first_seen_ns, *last_seen_ns);
    let source =
        CapturerSource { session: &scope.session, node, slot, kernel, version, first_seen_ns, last_seen_ns };
    let fields = capturer::FIELDS.iter();
    fields.map(|field| cell(scope, dialect, &field.column, (field.get)(source))).collect()
}

/// The row of a loss.
#[must_use]
pub fn loss<'a>(scope: &'a Scope, dialect: Dialect, row: &'a LossRow) -> Vec<Cell<'a>> {
    let LossRow { at_ns, node, stage, unit, total } = row;
    let (at_ns, stage, unit, total) = (*at_ns, *stage, *unit, *total);
    let source = LossSource { session: &scope.session, at_ns, node, stage, unit, total };
    let fields = loss::FIELDS.iter();
    fields.map(|field| cell(scope, dialect, &field.column, (field.get)(source))).collect()
}

/// Bytes that a row takes, roughly.
#[must_use]
pub fn size(cells: &[Cell<'_>]) -> usize {
    /// An integer, or the length of what is longer.
    const FIXED_CELL_BYTES: usize = 8;
    cells
        .iter()
        .map(|cell| match cell {
            Cell::Null => 1,
            Cell::Integer(_) => FIXED_CELL_BYTES,
            Cell::Text(text) => FIXED_CELL_BYTES + text.len(),
            Cell::Bytes(bytes) => FIXED_CELL_BYTES + bytes.len(),
        })
        .sum()
}

/// Writes a time as the engine's type wants it.
#[must_use]
pub fn time(ns: u64, dialect: Dialect) -> String {
    let stamp = i128::from(ns);
    let stamp = jiff::Timestamp::from_nanosecond(stamp).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let civil = jiff::tz::Offset::UTC.to_datetime(stamp);
    let (year, month, day) = (civil.year(), civil.month(), civil.day());
    let (hour, minute, second) = (civil.hour(), civil.minute(), civil.second());
    // Cut, not rounded, to microseconds: both engines must say the same.
    let micros = civil.subsec_nanosecond() / 1000;
    let (join, end) = match dialect {
        Dialect::Sqlite => ('T', "Z"),
        Dialect::Mysql => (' ', ""),
    };
    format!("{year:04}-{month:02}-{day:02}{join}{hour:02}:{minute:02}:{second:02}.{micros:06}{end}")
}

/// What a column's cell is in SQL.
fn cell<'a>(scope: &Scope, dialect: Dialect, column: &Column, value: columns::Cell<'a>) -> Cell<'a> {
    match value {
        columns::Cell::Null => Cell::Null,
        // What names nothing is NULL where it may be.
        columns::Cell::Number(0) if column.kind == Kind::Id && !column.required => Cell::Null,
        columns::Cell::Number(value) => integer(value),
        columns::Cell::Signed(value) => Cell::Integer(value),
        columns::Cell::Flag(value) => Cell::Integer(value.into()),
        columns::Cell::Text(text) => Cell::Text(fitting(column, text.into())),
        columns::Cell::Address(address) => Cell::Text(address.to_string().into()),
        columns::Cell::Time(ns) => Cell::Text(time(ns, dialect).into()),
        columns::Cell::Payload(payload) => {
            Cell::Bytes(cut(payload, usize::try_from(scope.max_store_bytes).unwrap_or(usize::MAX)))
        }
    }
}

/// Shortens a payload, where it is text at a character.
#[must_use]
pub fn cut(payload: &[u8], limit: usize) -> &[u8] {
    /// Continuation bytes a character of UTF-8 can have.
    const CONTINUATION_BYTES: usize = 3;
    let Some(head) = payload.get(..limit).filter(|head| head.len() < payload.len()) else {
        return payload;
    };
    let is_continuation = |at: usize| payload.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    if !is_continuation(limit) {
        return head;
    }
    // Inside a character, or in bytes that are no text: step back to the character's first byte if it is near.
    let start = (limit.saturating_sub(CONTINUATION_BYTES)..limit).rev().find(|at| !is_continuation(*at));
    match start.and_then(|start| payload.get(..start).zip(payload.get(start))) {
        Some((shorter, first)) if *first >= 0xC0 => shorter,
        _ => head,
    }
}

/// Cuts text to its column and replaces NUL, at which some clients stop reading.
fn fitting<'a>(column: &Column, mut text: Cow<'a, str>) -> Cow<'a, str> {
    let Some(chars) = column.kind.chars() else { return text };
    // No character is shorter than a byte.
    let may_be_long = text.len() > chars;
    if may_be_long && let Some((at, _)) = text.char_indices().nth(chars) {
        text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.get(..at).unwrap_or_default()),
            Cow::Owned(mut text) => {
                text.truncate(at);
                Cow::Owned(text)
            }
        };
    }
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { text }
}

/// A number; the few that exceed the signed range keep their bits.
fn integer<'a>(value: u64) -> Cell<'a> {
    Cell::Integer(value.cast_signed())
}

#[cfg(test)]
mod tests {
    use proto::account::{Stage, Unit};

    use super::super::schema::{CAPTURERS, EXCHANGES, HOPS, LOSSES, Table};
    use super::*;

    fn named<'a>(table: &Table, cells: Vec<Cell<'a>>) -> Vec<(&'static str, Cell<'a>)> {
        assert_eq!(table.columns.len(), cells.len());
        table.column_names().zip(cells).collect()
    }

    fn words(text: &str) -> Cell<'_> {
        Cell::Text(text.into())
    }

    #[test]
    fn every_column_of_a_capturer_and_of_a_loss_has_its_own_value() {
        let scope = Scope { session: "s".to_owned(), max_store_bytes: 4 };
        let row = CapturerRow {
            node: "n".to_owned(),
            slot: 3,
            kernel: "6.1\0".to_owned(),
            version: "v".repeat(300),
            first_seen_ns: 1_000_000_000,
            last_seen_ns: 2_000_000_000,
        };
        let expected = [
            ("session", words("s")),
            ("node", words("n")),
            ("slot", Cell::Integer(3)),
            ("kernel", words("6.1\u{FFFD}")),
            ("version", Cell::Text("v".repeat(253).into())),
            ("first_seen", words("1970-01-01T00:00:01.000000Z")),
            ("last_seen", words("1970-01-01T00:00:02.000000Z")),
        ];
        assert_eq!(named(&CAPTURERS, capturer(&scope, Dialect::Sqlite, &row)), expected);
        let unknown = CapturerRow { kernel: String::new(), version: String::new(), ..row };
        let cells = named(&CAPTURERS, capturer(&scope, Dialect::Mysql, &unknown));
        assert_eq!((&cells[3], &cells[4]), (&("kernel", Cell::Null), &("version", Cell::Null)));

        let row = LossRow {
            at_ns: u64::MAX,
            node: String::new(),
            stage: Stage::Gap,
            unit: Unit::Exchange,
            total: 7,
        };
        let expected = [
            ("session", words("s")),
            // The few that exceed the signed range keep their bits.
            ("at_ns", Cell::Integer(-1)),
            ("node", words("")),
            ("stage", words("gap")),
            ("total", Cell::Integer(7)),
            ("unit", words("exchanges")),
        ];
        for dialect in [Dialect::Sqlite, Dialect::Mysql] {
            assert_eq!(named(&LOSSES, loss(&scope, dialect, &row)), expected);
        }
    }

    #[test]
    fn times_are_cut_to_microseconds() {
        let ns = 1_700_000_000_123_456_789;
        assert_eq!(time(ns, Dialect::Sqlite), "2023-11-14T22:13:20.123456Z");
        assert_eq!(time(ns, Dialect::Mysql), "2023-11-14 22:13:20.123456");
    }

    #[test]
    fn payloads_are_cut_at_a_character_and_bytes_anywhere() {
        assert_eq!(cut(b"abc", 3), b"abc");
        assert_eq!(cut(b"abcd", 3), b"abc");
        assert_eq!(cut("ab\u{1F980}".as_bytes(), 4), b"ab");
        assert_eq!(cut("ab\u{1F980}c".as_bytes(), 6), "ab\u{1F980}".as_bytes());
        assert_eq!(cut(&[0x80; 10], 6), [0x80; 6]);
        assert_eq!(cut(b"abc", 0), b"");
    }

    #[test]
    fn every_table_has_one_cell_per_column() {
        let scope = Scope { session: "s".to_owned(), max_store_bytes: 4 };
        let mut full = v1::Exchange {
            operation: "\u{1F980}".repeat(600),
            target: "a\0b".to_owned(),
            handshake: true,
            announced: Some(v1::Endpoint { address: vec![203, 0, 113, 7], ..Default::default() }),
            reason: v1::Reason::Unreadable.into(),
            segments: Some(v1::Segments::default()),
            request: Some(v1::Message { payload: b"12345".to_vec(), ..Default::default() }),
            ..Default::default()
        };
        full.hops.push(v1::Hop::default());
        for dialect in [Dialect::Sqlite, Dialect::Mysql] {
            for value in [&full, &v1::Exchange::default()] {
                assert_eq!(exchange(&scope, dialect, value).len(), EXCHANGES.columns.len());
            }
        }
        let cells = exchange(&scope, Dialect::Sqlite, &full);
        let at = |name: &str| &cells[EXCHANGES.column_names().position(|column| column == name).unwrap()];
        assert_eq!(at("operation"), &Cell::Text("\u{1F980}".repeat(512).into()));
        assert_eq!(at("target"), &Cell::Text("a\u{FFFD}b".into()));
        assert_eq!(at("request"), &Cell::Bytes(b"1234"));
        assert_eq!(at("request_truncated"), &Cell::Integer(1));
        assert_eq!(at("response_truncated"), &Cell::Null);
        assert_eq!(at("total_ns"), &Cell::Integer(0));
        assert_eq!(at("handshake"), &Cell::Integer(1));
        assert_eq!(
            (at("announced_addr"), at("announced_port")),
            (&Cell::Text("203.0.113.7".into()), &Cell::Null)
        );
        assert_eq!(at("reason"), &Cell::Text("unreadable".into()));
        assert_eq!(hops(&scope, Dialect::Sqlite, &full)[0].len(), HOPS.columns.len());
    }
}
