//! Commands, and how the requests of libraries are told from others.

use super::*;

/// An OK packet's body that tells of the current database.
fn tracked(database: &str) -> Vec<u8> {
    let name = [&[u8::try_from(database.len()).unwrap()], database.as_bytes()].concat();
    let change = [&[1, u8::try_from(name.len()).unwrap()], name.as_slice()].concat();
    [b"\0\0\0\x02\x40\0\0\0", [u8::try_from(change.len()).unwrap()].as_slice(), &change].concat()
}

/// An OK packet's body, more results behind it.
const MORE: &[u8] = b"\0\0\0\x0a\0\0\0";

const ERROR: &[u8] = b"\xff\x19\x04#42000Unknown database";

#[test]
fn the_target_follows_what_the_server_did() {
    let mut wire = Wire::logged_in(MULTI);
    wire.ask(&query("/* app=jobs */ USE`depot` -- next")).ask(&query("select 1"));
    wire.client(&query("use nosuch")).server(&packet(1, ERROR)).ask(&query("select 2"));
    wire.client(&query("use shop; use nosuch")).server(&packets(1, &[MORE, ERROR])).ask(&query("select 3"));
    wire.ask(&command(2, b"depot")).ask(&query("select 4"));
    wire.client(&command(2, b"nosuch")).server(&packet(1, ERROR)).ask(&query("select 5"));
    wire.ask(&command(0x1f, b"")).ask(&query("select 6"));
    wire.ask(&query("drop database depot")).ask(&query("select 7"));
    let targets: Vec<String> =
        wire.outcomes().into_iter().filter(|outcome| outcome.contains("select")).collect();
    assert_eq!(
        targets,
        [
            "select 1 @depot OK",
            "select 2 @depot OK",
            "select 3 @shop OK",
            "select 4 @depot OK",
            "select 5 @depot OK",
            "select 6 @depot OK",
            "select 7 @ OK",
        ]
    );
}

#[test]
fn another_user_has_another_database() {
    let mut wire = Wire::logged_in(0);
    wire.client(&command(0x11, b"v\0\x04hashdepot\0\x21\0")).server(&packet(1, OK)).ask(&query("select 1"));
    wire.client(&command(0x11, b"v\0\x04hash\0\x21\0")).server(&packet(1, OK)).ask(&query("select 2"));
    assert_eq!(
        wire.outcomes(),
        ["CHANGE_USER v @depot OK", "select 1 @depot OK", "CHANGE_USER v @ OK", "select 2 @ OK"]
    );
}

#[test]
fn what_the_server_tells_of_the_database_holds() {
    let mut wire = Wire::logged_in(TRACK);
    wire.client(&query("call change_it()")).server(&packet(1, &tracked("Depot"))).ask(&query("select 1"));
    wire.client(&query("drop database if exists depot"))
        .server(&packet(1, &tracked("")))
        .ask(&query("select 2"));
    let outcomes = wire.outcomes();
    assert_eq!((outcomes[1].as_str(), outcomes[3].as_str()), ("select 1 @Depot OK", "select 2 @ OK"));
    // Also where nobody saw what was agreed on.
    let mut wire = Wire::new(false);
    wire.client(&query("select 0")).server(&packet(1, &tracked("shop"))).ask(&query("select 1"));
    assert_eq!(wire.outcomes(), ["select 0 @ OK", "select 1 @shop OK"]);
}

#[test]
fn a_client_that_does_not_wait_is_shown_with_the_database_it_met() {
    let mut wire = Wire::logged_in(0);
    wire.client(&query("use depot")).client(&query("select 1"));
    wire.server(&packet(1, OK)).server(&packet(1, OK));
    assert_eq!(wire.outcomes(), ["use depot @shop OK", "select 1 @depot OK"]);
}

#[test]
fn a_prepared_use_changes_the_database() {
    let mut wire = Wire::logged_in(0);
    wire.client(&command(0x16, b"use depot")).server(&packet(1, b"\0\x01\0\0\0\0\0\0\0\0\0\0"));
    wire.ask(&query("select 1")).ask(&command(0x17, b"\x01\0\0\0\0\x01\0\0\0")).ask(&query("select 2"));
    let outcomes = wire.outcomes();
    assert_eq!((outcomes[1].as_str(), outcomes[3].as_str()), ("select 1 @shop OK", "select 2 @depot OK"));
}

/// Statements of a client that agreed on attributes, joined late.
#[test]
fn attributes_before_a_statement_are_no_part_of_it() {
    let one = b"\x01\x01\0\x01\xfe\0\x05trace\x03abcselect 1";
    let null = b"\x01\x01\x01\x01\xfe\0\x05traceselect 2";
    let two = b"\x02\x01\0\x01\x03\0\x01a\xfe\0\x01b\x07\0\0\0\x01xselect 3";
    for (body, want) in [
        (b"\0\x01select 0".as_slice(), "select 0"),
        (one, "select 1"),
        (null, "select 2"),
        (two, "select 3"),
        (b"\tselect 4", "select 4"),
    ] {
        let mut wire = Wire::new(false);
        wire.ask(&command(3, body)).ask(&command(3, body));
        assert_eq!(wire.outcomes(), [format!("{want} @ OK"), format!("{want} @ OK")], "{body:?}");
        if want != "select 4" {
            let mut wire = Wire::logged_in(ATTRIBUTES);
            assert_eq!(wire.ask(&command(3, body)).outcomes(), [format!("{want} @shop OK")], "{body:?}");
        }
    }
}

/// The description of a statement with one parameter and no columns.
const ONE_PARAMETER: [&[u8]; 2] =
    [b"\0\x07\0\0\0\0\0\x01\0\0\0\0", b"\x03def\0\0\0\x01?\0\x0c\x3f\0\0\0\0\0\xfd\x80\0\0\0\0"];

#[test]
fn parameters_are_read_in_every_layout() {
    for (capabilities, body) in [
        (Some(0), b"\0\x01\0\0\0\0\x01\xfe\0\x02it".as_slice()),
        // With attributes and their flag, as libmysqlclient and mysql2 write it.
        (Some(ATTRIBUTES), b"\x08\x01\0\0\0\x02\0\x01\xfe\0\0\xfe\0\x05trace\x02it\x03abc"),
        // The number without the flag, as the connector for Python writes it.
        (Some(ATTRIBUTES), b"\0\x01\0\0\0\x01\0\x01\xfe\0\0\x02it"),
        (Some(ATTRIBUTES), b"\0\x01\0\0\0\0\x01\xfe\0\x02it"),
        // Joined late.
        (None, b"\0\x01\0\0\0\0\x01\xfe\0\x02it"),
        (None, b"\x08\x01\0\0\0\x01\0\x01\xfe\0\0\x02it"),
        (None, b"\0\x01\0\0\0\x01\0\x01\xfe\0\0\x02it"),
    ] {
        let mut wire = capabilities.map_or_else(|| Wire::new(false), |bits| Wire::logged_in(bits | NO_EOF));
        wire.client(&command(0x16, b"delete from t where a = ?")).server(&packets(1, &ONE_PARAMETER));
        wire.outcomes();
        let execute = [b"\x07\0\0\0", body].concat();
        wire.ask(&command(0x17, &execute));
        let [exchange] = &wire.exchanges()[..] else { panic!("not one: {body:?}") };
        let request = exchange.request.as_ref().unwrap();
        let text = String::from_utf8_lossy(&request.payload);
        assert_eq!((&*text, request.truncated), ("delete from t where a = ?\n-- ['it']", false), "{body:?}");
    }
}

#[test]
fn a_request_that_is_cut_is_shown_as_far_as_it_came() {
    let whole = query(&format!("insert into t values ('{}')", "x".repeat(50_000)));
    for cut in [50, 20_000, 50_000] {
        let mut wire = Wire::logged_in(0);
        wire.client(&whole[..cut]).end();
        let [exchange] = &wire.exchanges()[..] else { panic!("not one at {cut}") };
        let request = exchange.request.as_ref().unwrap();
        assert_eq!(request.end - request.start, u64::try_from(cut).unwrap());
        assert!(request.truncated && exchange.error && exchange.response.is_none(), "{exchange:?}");
        assert!(exchange.operation.starts_with("insert into t values"), "{exchange:?}");
    }
    // Of a packet of which only the length came nothing is known.
    let mut wire = Wire::logged_in(0);
    wire.client(&whole[..4]).end();
    assert!(wire.outcomes().iter().all(|outcome| outcome.starts_with("Unparsable")));
}

#[test]
fn a_client_that_leaves_before_its_answer_is_shown_with_what_it_asked() {
    let mut wire = Wire::logged_in(0);
    wire.client(&query("select sleep(9)")).client(&command(1, b"")).end();
    assert_eq!(wire.outcomes(), ["QUIT @shop ", "select sleep(9) @shop !"]);
}

#[test]
fn a_long_statement_leaves_no_mark_on_the_next() {
    let mut wire = Wire::logged_in(0);
    let long = query(&format!("insert into t values ('{}')", "x".repeat(900_000)));
    wire.client(&long[..100_000]).unseen(Direction::Out, long.len() - 100_000).server(&packet(1, OK));
    wire.ask(&query("select 1"));
    let exchanges = wire.exchanges();
    let marks: Vec<_> = exchanges.iter().filter_map(|exchange| exchange.request.as_ref()).collect();
    assert_eq!(marks.iter().map(|request| request.truncated).collect::<Vec<_>>(), [true, false]);
    assert_eq!(marks[0].end - marks[0].start, u64::try_from(long.len()).unwrap());
}

#[test]
fn what_a_client_sends_later_takes_no_answer_away() {
    let mut wire = Wire::logged_in(0);
    wire.client(&query("select 1")).client(&packet(0, b"\x7fnonsense")).server(&packet(1, OK));
    let outcomes = wire.outcomes();
    assert!(outcomes.contains(&"select 1 @shop OK".to_owned()), "{outcomes:?}");
}
