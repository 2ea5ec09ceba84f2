//! Results whose columns are described in part or not at all.

use super::*;

/// The capabilities of the connectors of `MariaDB`, its extended ones among them: extended metadata, cached metadata.
const CACHING: [u8; 4] = [0x18, 0, 0, 0];

/// A connection of a client of `MariaDB` that keeps the columns of prepared statements.
fn caching() -> Wire {
    let greeting = b"\x0a11.8.9-MariaDB\0\x01\0\0\x0012345678\0\xfe\xf7\x2d\x02\0\xff\xa1\x15\0\0\0\0\0\0\x1d\0\0\x00123456789012\0mysql_native_password\0";
    let mut login = login(NO_EOF, "shop");
    login[4] &= 0xfe;
    login[32..36].copy_from_slice(&CACHING);
    let mut wire = Wire::new(true);
    wire.server(&packet(0, greeting)).client(&login).server(&packet(2, OK));
    assert_eq!(wire.outcomes(), ["LOGIN u @shop OK"]);
    wire
}

/// A definition with `MariaDB`'s extra field.
fn extended(name: &str, kind: u8) -> Vec<u8> {
    let plain = column(name, kind);
    let fixed = plain.len() - 13;
    [&plain[..fixed], b"\0".as_slice(), &plain[fixed..]].concat()
}

/// An OK packet in EOF's clothes.
const END: &[u8] = b"\xfe\0\0\x02\0\0\0";

fn texts(wire: &mut Wire) -> Vec<String> {
    let exchanges = wire.exchanges();
    let responses = exchanges.iter().filter_map(|exchange| exchange.response.as_ref());
    responses.map(|response| String::from_utf8_lossy(&response.payload).into_owned()).collect()
}

#[test]
fn columns_that_are_left_out_are_those_of_the_last_execution() {
    let mut wire = caching();
    let (a, b) = (extended("a", 0xfd), extended("b", 0xfd));
    let parameter = extended("?", 0xfd);
    let (typed_a, typed_b) = (extended("a", 0x03), extended("b", 0xfd));
    // Prepared and executed in one write, by the number of what was prepared last.
    let prepare = command(0x16, b"select ? as a, ? as b");
    let execute =
        |number: &[u8]| command(0x17, &[number, b"\0\x01\0\0\0\0\x01\x03\0\xfe\0\x02\0\0\0\x01x"].concat());
    wire.client(&[prepare, execute(b"\xff\xff\xff\xff")].concat());
    wire.server(&packets(1, &[b"\0\x05\0\0\0\x02\0\x02\0\0\0\0", &parameter, &parameter, &a, &b]));
    wire.server(&packets(1, &[b"\x02\x01", &typed_a, &typed_b, b"\0\0\x02\0\0\0\x01x", END]));
    // Executed again, by its number.
    wire.client(&execute(b"\x05\0\0\0")).server(&packets(1, &[b"\x02\0", b"\0\0\x02\0\0\0\x01x", END]));
    let shown = "a\tb\n2\tx\n(1 row)";
    assert_eq!(texts(&mut wire), ["statement 5, 2 parameters, 2 columns", shown, shown]);
}

#[test]
fn each_execution_of_the_last_one_is_of_what_was_prepared_before_it() {
    let mut wire = caching();
    let (a, b) = (extended("a", 0x03), extended("b", 0xfd));
    let execute = command(0x17, b"\xff\xff\xff\xff\0\x01\0\0\0");
    wire.client(&command(0x16, b"select a from t")).client(&execute);
    wire.client(&command(0x16, b"select b from t")).client(&execute);
    wire.server(&packets(1, &[b"\0\x05\0\0\0\x01\0\0\0\0\0\0", &a]));
    wire.server(&packets(1, &[b"\x01\0", b"\0\0\x02\0\0\0", END]));
    wire.server(&packets(1, &[b"\0\x06\0\0\0\x01\0\0\0\0\0\0", &b]));
    wire.server(&packets(1, &[b"\x01\0", b"\0\0\x01x", END]));
    let exchanges = wire.exchanges();
    let operations: Vec<&str> = exchanges.iter().map(|exchange| exchange.operation.as_str()).collect();
    assert_eq!(
        operations,
        ["PREPARE select a from t", "select a from t", "PREPARE select b from t", "select b from t"]
    );
    let text = |index: usize| exchanges[index].response.as_ref().unwrap().payload.escape_ascii().to_string();
    assert_eq!((text(1).as_str(), text(3).as_str()), ("a\\n2\\n(1 row)", "b\\nx\\n(1 row)"));
}

#[test]
fn a_statement_closed_before_its_answer_still_has_its_columns() {
    let mut wire = caching();
    let a = extended("a", 0x03);
    wire.client(&command(0x16, b"select a from t"));
    wire.server(&packets(1, &[b"\0\x05\0\0\0\x01\0\0\0\0\0\0", &a]));
    wire.client(&command(0x17, b"\x05\0\0\0\0\x01\0\0\0")).client(&command(0x19, b"\x05\0\0\0"));
    wire.server(&packets(1, &[b"\x01\0", b"\0\0\x02\0\0\0", END]));
    assert_eq!(texts(&mut wire)[1], "a\n2\n(1 row)");
    // Another one may have its number now.
    wire.client(&command(0x17, b"\x05\0\0\0\0\x01\0\0\0"));
    wire.server(&packet(1, b"\xff\xdb\x04#HY000Unknown prepared statement handler"));
    assert_eq!(wire.outcomes(), ["EXECUTE 5 @shop ERR 1243!"]);
}

#[test]
fn columns_that_nobody_saw_give_no_values() {
    let mut wire = Wire::new(false);
    let execute = command(0x17, b"\x05\0\0\0\0\x01\0\0\0");
    wire.client(&execute).server(&packets(1, &[b"\x02\0", b"\0\0\x02\0\0\0\x01x", END]));
    let [exchange] = &wire.exchanges()[..] else { panic!("not one") };
    let response = exchange.response.as_ref().unwrap();
    assert_eq!((response.payload.as_slice(), response.truncated), (b"(1 row)".as_slice(), true));
    // Once they were seen they are known.
    let (a, b) = (extended("a", 0x03), extended("b", 0xfd));
    wire.client(&execute).server(&packets(1, &[b"\x02\x01", &a, &b, b"\0\0\x02\0\0\0\x01x", END]));
    wire.client(&execute).server(&packets(1, &[b"\x02\0", b"\0\0\x02\0\0\0\x01x", END]));
    assert_eq!(texts(&mut wire), ["a\tb\n2\tx\n(1 row)"; 2]);
}

#[test]
fn mysql_leaves_out_columns_where_the_client_wants_that() {
    let (a, b) = (column("a", 0xfd), column("b", 0xfd));
    for late in [false, true] {
        let mut wire = if late { Wire::new(false) } else { Wire::logged_in(OPTIONAL | NO_EOF) };
        wire.client(&query("select a, b from t"));
        wire.server(&packets(1, &[b"\x01\x02", &a, &b, b"\x01x\x01y", END]));
        wire.client(&query("select a, b from t")).server(&packets(1, &[b"\0\x02", b"\x01x\x01y", END]));
        wire.client(&command(0x16, b"select a from t")).server(&packet(1, b"\0\x05\0\0\0\x01\0\0\0\0\0\0\0"));
        wire.ask(&query("do 1"));
        assert_eq!(
            texts(&mut wire),
            ["a\tb\nx\ty\n(1 row)", "x\ty\n(1 row)", "statement 5, 0 parameters, 1 columns", "OK"],
            "late: {late}"
        );
    }
}

#[test]
fn definitions_are_followed_by_eof_or_not_in_both_dialects() {
    let (a, extended) = (column("a", 0xfd), extended("a", 0xfd));
    let eof = b"\xfe\0\0\x02\0".as_slice();
    for late in [false, true] {
        let wire = |bits| if late { Wire::new(false) } else { Wire::logged_in(bits) };
        let mut old = wire(0);
        old.client(&query("select a from t")).server(&packets(1, &[b"\x01", &a, eof, b"\x01x", eof]));
        assert_eq!(texts(&mut old), ["a\nx\n(1 row)"], "late: {late}");
        let mut new = wire(NO_EOF);
        new.client(&query("select a from t")).server(&packets(1, &[b"\x01", &a, b"\x01x", END]));
        assert_eq!(texts(&mut new), ["a\nx\n(1 row)"], "late: {late}");
        let mut mariadb = if late { Wire::new(false) } else { caching() };
        mariadb
            .client(&query("select a from t"))
            .server(&packets(1, &[b"\x01\x01", &extended, b"\x01x", END]));
        mariadb
            .client(&query("select a from t"))
            .server(&packets(1, &[b"\x01\x01", &extended, b"\x01x", END]));
        assert_eq!(texts(&mut mariadb), ["a\nx\n(1 row)"; 2], "late: {late}");
    }
}

#[test]
fn progress_of_mariadb_is_no_answer() {
    let progress = b"\xff\xff\xff\x01\x01\x02\x10\x27\0\x04copy".as_slice();
    let more = b"\0\0\0\x0a\0\0\0".as_slice();
    let mut wire = Wire::logged_in(MULTI);
    wire.client(&query("alter table t engine=innodb")).server(&packets(1, &[progress, progress, OK]));
    wire.client(&query("do 1; alter table t force")).server(&packets(1, &[more, progress, OK]));
    assert_eq!(texts(&mut wire), ["OK", "OK\nOK"]);
}

#[test]
fn a_bulk_execution_of_the_last_prepared_is_shown_with_its_rows() {
    let mut wire = caching();
    let parameter = extended("?", 0x03);
    wire.client(&command(0x16, b"insert into t values (?)"));
    wire.client(&command(0xfa, b"\xff\xff\xff\xff\x80\0\x03\0\0\x01\0\0\0\x01\0\x02\0\0\0"));
    wire.server(&packets(1, &[b"\0\x05\0\0\0\0\0\x01\0\0\0\0", &parameter]))
        .server(&packet(1, b"\0\x03\0\x02\0\0\0"));
    let exchanges = wire.exchanges();
    let text = exchanges[1].request.as_ref().unwrap().payload.escape_ascii().to_string();
    assert_eq!(text, "insert into t values (?)\\n-- [1]\\n-- [NULL]\\n-- [2]");
}
