//! What servers and clients rarely send, and must not lead astray.

use super::*;

/// A `PostgreSQL` message: type, length, body.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], length.as_slice(), body].concat()
}

/// A `MySQL` packet: length, number, body.
pub(super) fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&length[..3], &[number], body].concat()
}

#[test]
fn a_body_that_was_refused_before_it_came_takes_no_later_request() {
    let post = b"POST /u HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 3000\r\n\r\n";
    let refusal = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let mut client = Client::new(true);
    client.ask(post).answer(refusal).ask(GET).answer(OK);
    assert_eq!(client.outcomes(), ["POST /u 417!", "GET /a 200"]);
    // The same refusal, and the body comes all the same.
    client.ask(post).answer(refusal).ask(&[b'x'; 3000]).ask(GET).answer(OK);
    assert_eq!(client.outcomes(), ["POST /u 417!", "GET /a 200"]);
}

#[test]
fn a_fatal_error_is_the_answer_when_the_connection_ends_with_it() {
    let mut client = Client::new(true);
    client.ask(b"\0\0\0\x10\0\x03\0\0user\0a\0\0");
    client.answer(&message(b'R', &[0; 4])).answer(&message(b'Z', b"I"));
    assert_eq!(client.outcomes(), ["LOGIN a OK"]);
    client.ask(&message(b'Q', b"select pg_sleep(9)\0"));
    client.answer(&message(b'E', b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0")).end();
    assert_eq!(client.outcomes(), ["select pg_sleep(9) ERR 57P01!"]);
}

#[test]
fn a_reset_ends_the_silence_of_redis() {
    let mut client = Client::new(true);
    client.ask(b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n").ask(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    client.ask(b"*1\r\n$5\r\nRESET\r\n").answer(b"+RESET\r\n");
    client.ask(b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n").answer(b"$1\r\n1\r\n");
    assert_eq!(client.outcomes(), ["CLIENT REPLY ", "GET a ", "RESET OK", "GET b OK"]);
}

#[test]
fn empty_lines_before_a_replicas_copy_are_no_reply() {
    let mut client = Client::new(true);
    client.ask(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n").answer(b"\n\n");
    client.answer(b"+FULLRESYNC 8de1787ba490483314a4d30f1c628bc5025eb761 0\r\n");
    assert_eq!(client.outcomes(), ["PSYNC OK"]);
}

#[test]
fn an_upload_whose_packet_numbers_wrap_gets_its_answer() {
    let mut client = Client::new(false);
    client.ask(&packet(0, b"\x03load data local infile 'f' into table t"));
    client.answer(&packet(1, b"\xfbf"));
    for number in 2..=255 {
        client.ask(&packet(number, b"1\n"));
    }
    client.ask(&packet(0, b"")).answer(&packet(1, b"\0\xfe\0\x02\0\0\0"));
    assert_eq!(client.outcomes(), ["load data local infile 'f' into table t OK"]);
}

#[test]
fn the_next_factor_of_an_authentication_is_part_of_the_login() {
    let greeting = b"\x0a8.4.0\0\x01\0\0\x0012345678\0\xff\xff\x21\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\x00123456789012\0mysql_native_password\0";
    let login = b"\x05\xa2\x1b\0\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0u\0\0";
    let mut client = Client::new(true);
    client.answer(&packet(0, greeting)).ask(&packet(1, login));
    client.answer(&packet(2, b"\x02mysql_clear_password\0")).ask(&packet(3, b"secret\0"));
    client.answer(&packet(4, b"\0\0\0\x02\0\0\0"));
    client.ask(&packet(0, b"\x03select 1")).answer(&packet(1, b"\0\0\0\x02\0\0\0"));
    assert_eq!(client.outcomes(), ["LOGIN u OK", "select 1 OK"]);
}
