//! Exchanges as rows.

use std::borrow::Cow;

use proto::{reason, v1};

use super::schema::{CAPTURERS, Dialect, EXCHANGES, HOPS, LOSSES, Table};
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
    let total = exchange.segments.as_ref().map(|segments| segments.total_ns);
    let mut cells = Vec::with_capacity(EXCHANGES.columns.len());
    cells.extend([text(&scope.session), integer(exchange.id)]);
    origin(&mut cells, exchange);
    ends(&mut cells, exchange);
    cells.extend([text(&exchange.operation), text(&exchange.target), text(&exchange.status)]);
    cells.push(Cell::Integer(exchange.error.into()));
    cells.push(Cell::Text(time(exchange.start_ns, dialect).into()));
    cells.push(total.map_or(Cell::Null, |total| {
        Cell::Text(time(exchange.start_ns.saturating_add(total), dialect).into())
    }));
    cells.push(integer(exchange.start_ns));
    segments(&mut cells, exchange.segments.as_ref());
    cells.push(maybe(exchange.retransmits.map(u64::from)));
    cells.push(integer(u64::from(exchange.sample_weight.max(1))));
    messages(&mut cells, scope, exchange);
    findings(&mut cells, exchange);
    fit(&EXCHANGES, &mut cells);
    cells
}

/// The rows of an exchange's hops.
#[must_use]
pub fn hops<'a>(scope: &'a Scope, exchange: &'a v1::Exchange) -> Vec<Vec<Cell<'a>>> {
    (0_u64..)
        .zip(&exchange.hops)
        .map(|(seq, hop)| {
            let v1::Hop { at_ns, place, name, netns, direction, message, bytes } = hop;
            let mut cells = vec![
                text(&scope.session),
                integer(exchange.id),
                integer(seq),
                Cell::Integer(*at_ns),
                Cell::Text(place.into()),
                text(name),
                known(u64::from(*netns)),
                text(direction),
                text(message),
                integer(*bytes),
            ];
            fit(&HOPS, &mut cells);
            cells
        })
        .collect()
}

/// The row of a capturer.
#[must_use]
pub fn capturer<'a>(scope: &'a Scope, dialect: Dialect, row: &'a CapturerRow) -> Vec<Cell<'a>> {
    let CapturerRow { node, slot, kernel, version, first_seen_ns, last_seen_ns } = row;
    let mut cells = vec![
        text(&scope.session),
        Cell::Text(node.into()),
        integer(u64::from(*slot)),
        text(kernel),
        text(version),
        Cell::Text(time(*first_seen_ns, dialect).into()),
        Cell::Text(time(*last_seen_ns, dialect).into()),
    ];
    fit(&CAPTURERS, &mut cells);
    cells
}

/// The row of a loss.
#[must_use]
pub fn loss<'a>(scope: &'a Scope, row: &'a LossRow) -> Vec<Cell<'a>> {
    let LossRow { at_ns, node, stage, unit, total } = row;
    let mut cells = vec![
        text(&scope.session),
        integer(*at_ns),
        Cell::Text(node.into()),
        Cell::Text(stage.word().into()),
        integer(*total),
        Cell::Text(unit.plural().into()),
    ];
    fit(&LOSSES, &mut cells);
    cells
}

/// Bytes that a row takes, roughly.
#[must_use]
pub fn size(cells: &[Cell<'_>]) -> usize {
    /// An integer, or the length of what is longer.
    const FIXED: usize = 8;
    cells
        .iter()
        .map(|cell| match cell {
            Cell::Null => 1,
            Cell::Integer(_) => FIXED,
            Cell::Text(text) => FIXED + text.len(),
            Cell::Bytes(bytes) => FIXED + bytes.len(),
        })
        .sum()
}

/// Writes a time as the engine's type wants it.
#[must_use]
pub fn time(ns: u64, dialect: Dialect) -> String {
    let stamp = i128::from(ns);
    let stamp = jiff::Timestamp::from_nanosecond(stamp).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    // Cut, not rounded, to microseconds: both engines must say the same.
    let micros = stamp.subsec_nanosecond() / 1000;
    let (join, end) = match dialect {
        Dialect::Sqlite => ('T', "Z"),
        Dialect::Mysql => (' ', ""),
    };
    format!("{}{join}{}.{micros:06}{end}", stamp.strftime("%Y-%m-%d"), stamp.strftime("%H:%M:%S"))
}

fn origin<'a>(cells: &mut Vec<Cell<'a>>, exchange: &'a v1::Exchange) {
    match &exchange.origin {
        Some(v1::Origin { node, pid, comm, container_id: _, namespace, pod, container, workload }) => {
            cells.extend([text(node), text(namespace), text(pod), text(container), text(workload)]);
            cells.extend([known(u64::from(*pid)), text(comm)]);
        }
        None => cells.extend(std::iter::repeat_n(Cell::Null, 7)),
    }
    cells.push(known(exchange.connection_id));
    cells.push(match exchange.side() {
        v1::Side::Client => Cell::Text("client".into()),
        v1::Side::Server => Cell::Text("server".into()),
        v1::Side::Unspecified => Cell::Null,
    });
    cells.push(Cell::Text((&exchange.protocol).into()));
    cells.push(Cell::Integer((exchange.encryption() != v1::Encryption::None).into()));
}

fn ends<'a>(cells: &mut Vec<Cell<'a>>, exchange: &'a v1::Exchange) {
    cells.extend(place(exchange.local.as_ref()));
    cells.extend(place(exchange.remote.as_ref()));
    match &exchange.remote {
        Some(end) => cells.extend([text(&end.namespace), text(&end.pod), text(&end.service)]),
        None => cells.extend(std::iter::repeat_n(Cell::Null, 3)),
    }
}

/// Address and port.
fn place<'a>(end: Option<&v1::Endpoint>) -> [Cell<'a>; 2] {
    let address = end.and_then(proto::filter::address);
    [
        address.map_or(Cell::Null, |address| Cell::Text(address.to_string().into())),
        end.map_or(Cell::Null, |end| known(u64::from(end.port))),
    ]
}

/// What decoders found out beside request and response.
fn findings(cells: &mut Vec<Cell<'_>>, exchange: &v1::Exchange) {
    cells.push(Cell::Integer(exchange.handshake.into()));
    cells.extend(place(exchange.announced.as_ref()));
    cells.push(reason::word(exchange.reason()).map_or(Cell::Null, |word| Cell::Text(word.into())));
}

fn segments(cells: &mut Vec<Cell<'_>>, segments: Option<&v1::Segments>) {
    match segments {
        Some(v1::Segments {
            total_ns,
            send_ns,
            network_ns,
            transfer_ns,
            receive_ns,
            queue_ns,
            internal_ns,
            read_ns,
        }) => {
            cells.push(integer(*total_ns));
            cells.extend(
                [send_ns, network_ns, transfer_ns, receive_ns, queue_ns, internal_ns, read_ns]
                    .map(|part| maybe(*part)),
            );
        }
        None => cells.extend(std::iter::repeat_n(Cell::Null, 8)),
    }
}

fn messages<'a>(cells: &mut Vec<Cell<'a>>, scope: &Scope, exchange: &'a v1::Exchange) {
    let both = [exchange.request.as_ref(), exchange.response.as_ref()];
    let limit = usize::try_from(scope.max_store_bytes).unwrap_or(usize::MAX);
    cells.extend(both.map(|message| maybe(message.map(|message| message.bytes))));
    cells.extend(both.map(|message| maybe(message.and_then(|message| message.plain_bytes))));
    cells.extend(
        both.map(|message| message.map_or(Cell::Null, |message| Cell::Bytes(cut(&message.payload, limit)))),
    );
    cells.extend(both.map(|message| {
        message.map_or(Cell::Null, |message| {
            Cell::Integer((message.truncated || message.payload.len() > limit).into())
        })
    }));
}

/// Shortens a payload, where it is text at a character.
#[must_use]
pub fn cut(payload: &[u8], limit: usize) -> &[u8] {
    /// Continuation bytes a character of UTF-8 can have.
    const CONTINUATIONS: usize = 3;
    let Some(head) = payload.get(..limit).filter(|head| head.len() < payload.len()) else {
        return payload;
    };
    let is_continuation = |at: usize| payload.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    if !is_continuation(limit) {
        return head;
    }
    // Inside a character, or in bytes that are no text: step back to the character's first byte if it is near.
    let start = (limit.saturating_sub(CONTINUATIONS)..limit).rev().find(|at| !is_continuation(*at));
    match start.and_then(|start| payload.get(..start).zip(payload.get(start))) {
        Some((shorter, first)) if *first >= 0xC0 => shorter,
        _ => head,
    }
}

/// Cuts text to its column and replaces NUL, at which some clients stop reading.
fn fit(table: &Table, cells: &mut [Cell<'_>]) {
    debug_assert_eq!(table.columns.len(), cells.len(), "{}", table.name);
    for (column, cell) in table.columns.iter().zip(cells) {
        let Cell::Text(text) = cell else { continue };
        let Some(chars) = column.kind.chars() else { continue };
        if let Some((at, _)) = text.char_indices().nth(chars) {
            *text = Cow::Owned(text.get(..at).unwrap_or_default().to_owned());
        }
        if text.contains('\0') {
            *text = Cow::Owned(text.replace('\0', "\u{FFFD}"));
        }
    }
}

/// Text; empty is unknown.
fn text(value: &str) -> Cell<'_> {
    if value.is_empty() { Cell::Null } else { Cell::Text(value.into()) }
}

/// A number whose zero is unknown.
fn known<'a>(value: u64) -> Cell<'a> {
    if value == 0 { Cell::Null } else { integer(value) }
}

fn maybe<'a>(value: Option<u64>) -> Cell<'a> {
    value.map_or(Cell::Null, integer)
}

/// A number; the few that exceed the signed range keep their bits.
fn integer<'a>(value: u64) -> Cell<'a> {
    Cell::Integer(value.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(hops(&scope, &full)[0].len(), HOPS.columns.len());
    }
}
