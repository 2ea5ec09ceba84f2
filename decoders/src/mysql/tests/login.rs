//! Greetings, log-ins and refusals.

use super::*;

/// The greeting of a server of `MariaDB` with this version.
fn mariadb(version: &str) -> Vec<u8> {
    let tail = b"\0\x01\0\0\x0012345678\0\xfe\xf7\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\x3d\0\0\x00123456789012\0mysql_native_password\0";
    [b"\x0a", version.as_bytes(), tail].concat()
}

#[test]
fn an_error_in_place_of_the_greeting_is_told() {
    for (number, body, status) in [
        (0, b"\xff\x10\x04Too many connections".as_slice(), "ERR 1040"),
        (0, b"\xff\x10\x04#08004Too many connections", "ERR 1040"),
        (0, b"\xff\x69\x04Host '10.0.0.9' is blocked because of many connection errors", "ERR 1129"),
        (0, b"\xff\x6a\x04Host 'web' is not allowed to connect to this MariaDB server", "ERR 1130"),
        (1, b"\xff\xb3\x04User app already has more than 'max_user_connections' active", "ERR 1203"),
        (0, b"\xff\x29\x23ProxySQL Error: connection is locked", "ERR 9001"),
        (0, b"\xff\x10\x04\xd0\xa1\xd0\xbb\xd0\xb8\xd1\x88\xd0\xba\xd0\xbe\xd0\xbc", "ERR 1040"),
    ] {
        for piece in [1, 5, 1000] {
            let mut wire = Wire::new(true);
            packet(number, body).chunks(piece).for_each(|bytes| {
                wire.server(bytes);
            });
            let exchanges = wire.end().exchanges();
            let [exchange] = &exchanges[..] else { panic!("{exchanges:?}") };
            assert_eq!((exchange.status.as_str(), exchange.error), (status, true));
            assert!(exchange.request.is_none());
            let response = exchange.response.as_ref().unwrap();
            assert_eq!(response.end - response.start, u64::try_from(body.len()).unwrap() + 4);
        }
    }
}

#[test]
fn what_is_no_error_of_this_protocol_is_none() {
    for body in [
        b"\xff\x01\x00Too few".as_slice(),
        b"\xff\xff\xff\x01\x02\x03",
        b"\xff\x10\x04\x00\x01\x02",
        b"\xff\x10\x04",
        b"\xfe\x10\x04Too many connections",
    ] {
        assert_eq!(Wire::new(true).server(&packet(0, body)).end().count(), 0, "{body:?}");
    }
    // Whoever speaks first is not a client of this protocol.
    let error = packet(0, b"\xff\x10\x04Too many connections");
    assert_eq!(Wire::new(true).client(&error).end().count(), 0);
}

#[test]
fn a_version_may_be_long_and_hold_spaces() {
    for version in [
        "11.8.9-MariaDB-4 from Debian",
        "11.8.9-MariaDB-4 from Debian-log",
        "5.5.5-10.11.19-MariaDB-0+deb12u1-log",
        "8.0.36 (Ubuntu) with words of any length, which distributions put behind the number as they like it to be",
        "8.4.0-\u{c9}dition",
        &format!("8.4.0-{}", "x".repeat(5000)),
    ] {
        for piece in [3, 96, 10_000] {
            let mut wire = Wire::new(true);
            packet(0, &mariadb(version)).chunks(piece).for_each(|bytes| {
                wire.server(bytes);
            });
            wire.client(&login(0, "shop")).server(&packet(2, OK)).ask(&query("select 1"));
            assert_eq!(wire.outcomes(), ["LOGIN u @shop OK", "select 1 @shop OK"], "{version} by {piece}");
        }
    }
}

#[test]
fn what_is_no_greeting_is_told_without_a_limit_of_length() {
    for body in
        [b"\x0a\0\x01\0\0\x0012345678\0\xff\xf7".as_slice(), b"\x0a8.4\x01.0\0", b"\x098.4.0\0", b"\x0aabc"]
    {
        assert_eq!(Wire::new(true).server(&packet(0, body)).end().count(), 0, "{body:?}");
    }
}

#[test]
fn what_a_server_proves_by_the_password_is_hidden() {
    let proof = [b"\0\0\0\x02\0\0\0\x41\x01".as_slice(), &b"0123456789abcdef".repeat(4)].concat();
    let mut wire = Wire::new(true);
    wire.server(&packet(0, &mariadb("11.8.9-MariaDB-4 from Debian"))).client(&login(0, "shop"));
    let answer = packet(2, &proof);
    wire.server(&answer);
    let [exchange] = &wire.exchanges()[..] else { panic!("not one") };
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(response.payload, b"OK\n[redacted]");
    assert_eq!(response.end - response.start, u64::try_from(answer.len()).unwrap());
    // The same text behind a statement is the statement's.
    let text = [b"\0\x02\0\x02\0\0\0\x06".as_slice(), b"Rows: "].concat();
    wire.client(&query("update t set a = 1")).server(&packet(1, &text));
    assert_eq!(wire.response(), "OK, 2 rows affected\nRows: ");
}

#[test]
fn packets_of_an_authentication_never_come_out() {
    for (asked, said) in [
        (b"\xfemysql_clear_password\0salt".as_slice(), b"hush\0".as_slice()),
        (b"\x01\x04", b"hush\0"),
        (b"\x01-----BEGIN PUBLIC KEY-----hush", b"hush"),
        (b"\x04Password hush:", b"hush\0"),
        (b"PAhush0123456789012", b"hush"),
        (b"\x00hush", b"hush"),
    ] {
        let mut wire = Wire::new(true);
        wire.server(&packet(0, GREETING)).client(&login(0, "shop"));
        wire.server(&packet(2, asked)).client(&packet(3, said)).server(&packet(4, OK));
        wire.ask(&query("select 1"));
        let exchanges = wire.exchanges();
        assert_eq!(exchanges.len(), 2, "{asked:?}");
        assert!(!format!("{exchanges:?}").contains("104, 117, 115, 104"), "{asked:?} {exchanges:?}");
        let request = exchanges[0].request.as_ref().unwrap();
        let sent = login(0, "shop").len() + packet(3, said).len();
        assert_eq!(request.end - request.start, u64::try_from(sent).unwrap());
    }
}

#[test]
fn what_an_error_repeats_of_a_secret_is_hidden() {
    let mut wire = Wire::logged_in(0);
    wire.client(&query("CREATE USER z IDENTIFIED BY 'hush-hush' WITH"));
    wire.server(&packet(1, b"\xff\x28\x04#42000You have an error near ''hush-hush' WITH' at line 1"));
    assert_eq!(wire.response(), "1064 (42000): You have an error near ''[redacted]' WITH' at line 1");
}

#[test]
fn what_a_columns_name_repeats_of_a_secret_is_hidden() {
    for (statement, name, shown) in [
        ("SELECT PASSWORD('hush-hush')", "PASSWORD('hush-hush')", "PASSWORD('[redacted]')"),
        ("SELECT OLD_PASSWORD(\"hush-hush\")", "OLD_PASSWORD(\"hush-hush\")", "OLD_PASSWORD(\"[redacted]\")"),
        ("SELECT PASSWORD('hush-hush') AS hash", "hash", "hash"),
        ("SELECT 'plain-words'", "plain-words", "plain-words"),
    ] {
        let mut wire = Wire::logged_in(0);
        wire.client(&query(statement));
        let result = [
            b"\x01".to_vec(),
            column(name, 0xfd),
            b"\xfe\0\0\x02\0".to_vec(),
            b"\x02*9".to_vec(),
            b"\xfe\0\0\x02\0".to_vec(),
        ];
        wire.server(&packets(1, &result.each_ref().map(Vec::as_slice)));
        assert_eq!(wire.response().lines().next(), Some(shown), "{statement}");
    }
}

#[test]
fn a_librarys_own_statements_are_marked_up_to_the_users_first() {
    let mut wire = Wire::logged_in(0);
    let error = packet(1, b"\xff\x28\x04#42000You have an error");
    wire.client(&query("select $$")).server(&error);
    wire.ask(&query("/* mysql-connector-j-9.1.0 (Revision: cf29) */SELECT @@session.time_zone"));
    wire.client(&query("select nonsense")).server(&error);
    wire.client(&query("select $$")).server(&error);
    let marks: Vec<bool> = wire.exchanges().iter().map(|exchange| exchange.handshake).collect();
    assert_eq!(marks, [true, true, false, false]);
    // Of a connection that was open before nobody knows what came since the log-in.
    let mut wire = Wire::new(false);
    wire.client(&query("select $$")).server(&error).client(&query("select 1")).server(&error);
    assert!(wire.exchanges().iter().all(|exchange| !exchange.handshake));
}

#[test]
fn a_server_that_ends_an_idle_connection_says_why() {
    for (body, status) in [
        (b"\xff\x87\x07#70100Connection was killed".as_slice(), "ERR 1927"),
        (b"\xff\xbf\x0f#HY000The client was disconnected by the server because of inactivity.", "ERR 4031"),
        (b"\xff\x1d\x04#08S01Server shutdown in progress", "ERR 1053"),
    ] {
        let mut wire = Wire::logged_in(0);
        wire.server(&packet(0, body)).end();
        assert_eq!(wire.outcomes(), [format!("CONNECTION @shop {status}!")]);
        let mut wire = Wire::new(false);
        wire.ask(&query("select 1")).server(&packet(0, body)).end();
        assert_eq!(wire.outcomes(), ["select 1 @ OK".to_owned(), format!("CONNECTION @ {status}!")]);
    }
}
