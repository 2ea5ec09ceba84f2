//! Large statements, results and files, with ranges that nobody saw.

use super::*;
use crate::decoder::MAX_PENDING;

/// Rows of one short column, numbered from `first` on.
fn rows(first: u8, count: usize) -> Vec<u8> {
    packets(first, &vec![b"\x04rrrr".as_slice(); count])
}

/// The opening of a result of one column, without its rows.
fn opening() -> Vec<u8> {
    packets(1, &[b"\x01", &column("a", 0xfd)])
}

const END: &[u8] = b"\xfe\0\0\x02\0\0\0";

fn size(wire: &mut Wire) -> (String, u64, bool) {
    let exchanges = wire.exchanges();
    let exchange = &exchanges[0];
    let response = exchange.response.as_ref().unwrap();
    (exchange.status.clone(), response.end - response.start, response.truncated)
}

#[test]
fn every_command_that_is_asked_ahead_gets_its_own_answer() {
    let texts = |from: usize, count: usize| (from..from + count).map(|number| format!("do {number}"));
    let asked = |from, count| texts(from, count).flat_map(|text| query(&text)).collect::<Vec<u8>>();
    let shown = |from, count| texts(from, count).map(|text| format!("{text} @shop OK")).collect::<Vec<_>>();
    let mut wire = Wire::logged_in(NO_EOF);
    wire.client(&asked(0, 12_000)).server(&packet(1, OK).repeat(12_000)).ask(&query("do 12000"));
    assert!(wire.outcomes() == shown(0, 12_001));
    // More than are remembered: those are dropped and counted once, and none takes the answer of another.
    wire.client(&asked(0, MAX_PENDING + 5))
        .server(&packet(1, OK).repeat(9))
        .client(&asked(MAX_PENDING + 5, 3));
    wire.server(&packet(1, OK).repeat(MAX_PENDING + 8 - 9)).ask(&query("do 1"));
    let outcomes = wire.outcomes();
    let exchanges: Vec<_> = outcomes.iter().filter(|outcome| outcome.ends_with(" OK")).cloned().collect();
    assert!(exchanges == [shown(0, MAX_PENDING), shown(MAX_PENDING + 5, 3), shown(1, 1)].concat());
    assert_eq!(outcomes.len() - exchanges.len(), 5);
}

/// A result of which an inner part was not captured, its packets' beginnings among it.
#[test]
fn rows_pass_unseen_and_the_end_is_found_again() {
    let all = [opening(), rows(3, 30_000), packet(51, END)].concat();
    let head = opening().len();
    for (from, to) in [
        // Within a row, at its beginning, in the middle of its header; up to just before the end, and up to a row.
        (head + 1000 * 9 + 6, all.len() - 11),
        (head + 1000 * 9, all.len() - 11),
        (head + 1000 * 9 + 2, all.len() - 11 - 9 * 100),
        (head, all.len() - 5000),
        (head + 9, all.len() - 12),
    ] {
        let mut wire = Wire::logged_in(NO_EOF);
        wire.client(&query("select a from t")).server(&all[..from]).unseen(Direction::In, to - from);
        wire.server(&all[to..]);
        assert_eq!(
            size(&mut wire),
            ("OK".to_owned(), u64::try_from(all.len()).unwrap(), true),
            "{from}..{to}"
        );
        wire.ask(&query("select 2"));
        assert_eq!(wire.outcomes(), ["select 2 @shop OK"], "{from}..{to}");
    }
}

#[test]
fn a_result_whose_end_nobody_saw_ends_with_the_next_command() {
    let all = [opening(), rows(3, 30_000), packet(51, END)].concat();
    let mut wire = Wire::logged_in(NO_EOF);
    wire.client(&query("select a from t")).server(&all[..50_000]).unseen(Direction::In, all.len() - 50_000);
    assert_eq!(wire.outcomes(), [""; 0]);
    wire.client(&query("select 2"));
    assert_eq!(size(&mut wire), (String::new(), u64::try_from(all.len()).unwrap(), true));
    wire.server(&packet(1, OK)).ask(&query("select 3"));
    assert_eq!(wire.outcomes(), ["select 2 @shop OK", "select 3 @shop OK"]);
    // Or with the connection.
    wire.client(&query("select a from t"))
        .server(&all[..50_000])
        .unseen(Direction::In, all.len() - 50_000)
        .end();
    assert_eq!(size(&mut wire), (String::new(), u64::try_from(all.len()).unwrap(), true));
}

/// A client that does not wait asks again while rows are on their way.
#[test]
fn the_next_command_of_a_client_that_asks_ahead_ends_nothing() {
    let all = [opening(), rows(3, 30_000), packet(51, END)].concat();
    let second = [opening(), rows(3, 2), packet(5, END)].concat();
    let bytes = |response: &Exchange| {
        let response = response.response.as_ref().unwrap();
        usize::try_from(response.end - response.start).unwrap()
    };
    for seen in [true, false] {
        let mut wire = Wire::logged_in(NO_EOF);
        wire.client(&query("do 1")).client(&query("do 2")).server(&packet(1, OK)).server(&packet(1, OK));
        wire.client(&query("select a from t")).server(&all[..50_000]);
        let rest = if seen { 9 * 1000 + 11 } else { 0 };
        wire.unseen(Direction::In, all.len() - 50_000 - rest).client(&query("select a from u"));
        wire.server(&all[all.len() - rest..]).server(&second).ask(&query("do 3"));
        let exchanges = wire.exchanges();
        let told: Vec<_> = exchanges[2..].iter().map(|it| (it.status.as_str(), bytes(it))).collect();
        let first = if seen { "OK" } else { "" };
        assert_eq!(told, [(first, all.len()), ("OK", second.len()), ("OK", 11)], "seen: {seen}");
    }
}

#[test]
fn an_error_after_unseen_rows_is_the_answer() {
    let error = packet(9, b"\xff\x25\x05#70100Query execution was interrupted");
    let mut wire = Wire::logged_in(NO_EOF);
    wire.client(&query("select a from t")).server(&opening()).unseen(Direction::In, 100_000).server(&error);
    assert_eq!(wire.outcomes(), ["select a from t @shop ERR 1317!"]);
}

#[test]
fn several_holes_are_one_result() {
    let mut wire = Wire::logged_in(NO_EOF);
    let part = rows(200, 400);
    wire.client(&query("select a from t")).server(&opening());
    for _ in 0..20 {
        wire.unseen(Direction::In, 9 * 7 + 3).server(&part);
    }
    wire.unseen(Direction::In, 77).server(&packet(3, END));
    let bytes = opening().len() + 20 * (9 * 7 + 3 + part.len()) + 77 + 11;
    assert_eq!(size(&mut wire), ("OK".to_owned(), u64::try_from(bytes).unwrap(), true));
}

/// Each packet's header is seen, and nothing of its body.
#[test]
fn packets_whose_bodies_are_holes_are_read() {
    let mut wire = Wire::logged_in(NO_EOF);
    wire.client(&query("select a from t")).server(&opening());
    for number in 3..=60 {
        wire.server(&packet(number, &vec![0; 20_000])[..4]).unseen(Direction::In, 20_000);
    }
    wire.server(&packet(61, END));
    let bytes = opening().len() + 58 * 20_004 + 11;
    assert_eq!(size(&mut wire), ("OK".to_owned(), u64::try_from(bytes).unwrap(), true));
}

/// Rows of a result of which the beginning was not seen: their numbers pass 0 and 1 again and again.
#[test]
fn rows_of_an_unseen_result_are_no_answers() {
    let binary: Vec<u8> = packets(3, &vec![b"\0\0\x07\0\0\0\0\0\0\0".as_slice(); 3000]);
    for rows in [rows(3, 3000), binary] {
        let mut wire = Wire::new(false);
        wire.server(&packets(1, &[b"\x01", &column("a", 0x03)])).server(&rows).server(&packet(187, END));
        wire.ask(&query("select 1")).ask(&query("select 2"));
        let outcomes = wire.outcomes();
        let unpaired = outcomes.iter().filter(|outcome| *outcome == "Unpaired").count();
        assert!(unpaired <= 1, "{outcomes:?}");
        assert_eq!(outcomes.last().unwrap(), "select 2 @ OK");
    }
}

/// A file of which packets pass unseen on the way to the server.
#[test]
fn a_file_passes_unseen() {
    let mut wire = Wire::logged_in(0);
    let load = query("load data local infile 'f' into table t");
    wire.client(&load).server(&packet(1, b"\xfbf"));
    wire.client(&packet(2, &[b'1'; 5000])).unseen(Direction::Out, 3_000_000).client(&packet(77, b""));
    wire.server(&packet(78, b"\0\x05\0\x02\0\0\0")).ask(&query("select 2"));
    let exchanges = wire.exchanges();
    assert_eq!((exchanges[0].status.as_str(), exchanges[1].operation.as_str()), ("OK", "select 2"));
    let request = exchanges[0].request.as_ref().unwrap();
    assert_eq!(request.end - request.start, u64::try_from(load.len() + 5004 + 3_000_000 + 4).unwrap());
}

/// A statement and a row of more than 16 MiB: each in two packets.
#[test]
fn what_is_longer_than_a_packet_goes_on_in_the_next() {
    const FULL: usize = 0x00ff_ffff;
    for hole in [false, true] {
        let mut wire = Wire::logged_in(NO_EOF);
        let mut text = b"\x03insert into t values ('".to_vec();
        text.resize(FULL, b'x');
        let (first, rest) = (packet(0, &text), packet(1, b"xx')"));
        if hole {
            wire.client(&first[..100_000]).unseen(Direction::Out, first.len() - 100_000 + rest.len());
        } else {
            wire.client(&first).client(&rest);
        }
        wire.server(&packet(2, OK));
        let exchanges = wire.exchanges();
        let request = exchanges[0].request.as_ref().unwrap();
        assert_eq!(request.end - request.start, u64::try_from(first.len() + rest.len()).unwrap(), "{hole}");
        assert!(request.truncated);
        let mut row = vec![0xfe];
        row.extend_from_slice(&16_777_300_u64.to_le_bytes());
        row.resize(FULL, b'x');
        let (first, rest) = (packet(3, &row), packet(4, &[b'x'; 94]));
        wire.client(&query("select a from t")).server(&opening());
        if hole {
            wire.server(&first[..50_000]).unseen(Direction::In, first.len() - 50_000 + rest.len());
        } else {
            wire.server(&first).server(&rest);
        }
        wire.server(&packet(5, END)).ask(&query("select 2"));
        let bytes = opening().len() + first.len() + rest.len() + 11;
        let exchanges = wire.exchanges();
        let response = exchanges[0].response.as_ref().unwrap();
        assert_eq!(response.end - response.start, u64::try_from(bytes).unwrap(), "{hole}");
        assert_eq!((exchanges[0].status.as_str(), exchanges[1].operation.as_str()), ("OK", "select 2"));
    }
}
