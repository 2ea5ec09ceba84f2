//! Which protocol a connection speaks: what waits, what is refuted, what is looked for again, and what is counted.

use super::rarities::packet;
use super::*;

const QUIT: &[u8] = b"*1\r\n$4\r\nQUIT\r\n";

#[test]
fn a_head_in_hundreds_of_small_pieces_is_read() {
    let head = format!("GET /a HTTP/1.1\r\nHost: shop\r\nCookie: {}\r\n\r\n", "c".repeat(4000));
    for from_start in [true, false] {
        let mut client = Client::new(from_start);
        for piece in head.as_bytes().chunks(7) {
            client.ask(piece);
        }
        client.answer(OK);
        assert_eq!(client.outcomes(), ["GET /a 200"], "{from_start}");
    }
}

#[test]
fn a_connection_joined_within_a_long_transfer_is_found_behind_it() {
    for calls in [300, 3000, 10_000] {
        let mut client = Client::new(false);
        let (mut looked, mut passed) = (0, 0);
        for _ in 0..calls {
            // What the verdict asks to skip is not captured, as the kernel does it.
            let at = client.at[1];
            let Verdict::Undecided { skip_until: [_, until] } = client.conversation.verdict() else {
                panic!("{:?} after {looked} and {passed}", client.conversation.verdict())
            };
            if until.is_some_and(|until| at + 16_384 <= until) {
                passed += 1;
                client.skipped(Direction::In, 16_384);
            } else {
                looked += 1;
                client.answer(&[0xee; 16_384]);
            }
        }
        assert!(looked <= 256 + 32 * 11, "{looked} of {calls}");
        // What is skipped may reach beyond the transfer's end.
        let mut asked = 0;
        while client.outcomes().is_empty() {
            asked += 1;
            let at = client.at;
            let Verdict::Undecided { skip_until: [out, inward] } = client.conversation.verdict() else {
                client.ask(GET).answer(OK);
                continue;
            };
            assert!(asked < 600_000, "{calls}");
            if out.is_some_and(|until| at[0] + 64 <= until) {
                client.skipped(Direction::Out, 1 << 20).skipped(Direction::In, 1 << 20);
            } else if inward.is_some_and(|until| at[1] + 64 <= until) {
                client.skipped(Direction::In, 1 << 20);
            } else {
                client.ask(GET).answer(OK);
            }
        }
    }
}

#[test]
fn a_connection_that_says_nothing_of_ours_is_left_in_the_end() {
    let mut client = Client::new(false);
    let mut calls = 0;
    while client.conversation.verdict() != Verdict::Ignore {
        calls += 1;
        assert!(calls < 3_000);
        for direction in [Direction::Out, Direction::In] {
            say(&mut client, direction, b"\x17\x03\x03\x40\x00 encrypted");
        }
    }
    assert_eq!(client.outcomes(), [""; 0], "it was nobody's, and nothing is lost");
}

/// Says something, or, where a direction is passed over, as much as that.
fn say(client: &mut Client, direction: Direction, bytes: &[u8]) {
    let Verdict::Undecided { skip_until } = client.conversation.verdict() else {
        client.bytes(direction, bytes);
        return;
    };
    let (until, at) = match direction {
        Direction::Out => (skip_until[0], client.at[0]),
        Direction::In => (skip_until[1], client.at[1]),
    };
    match until {
        Some(until) if at < until => client.skipped(direction, until - at),
        Some(_) | None => client.bytes(direction, bytes),
    };
}

#[test]
fn a_connection_joined_within_a_transfer_is_found_with_the_next_request() {
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".as_slice();
    let select = packet(0, b"\x03select 1");
    let result =
        [packet(1, b"\x01"), packet(2, b"\x03def\0\0\0\x01a\0\x0c\x21\0\0\0\0\0\x03\0\0\0\0\0")].concat();
    let result =
        [result, packet(3, b"\xfe\0\0\x02\0"), packet(4, b"\x011"), packet(5, b"\xfe\0\0\x02\0")].concat();
    for (ask, answer, shown) in
        [(GET, OK, "GET /a 200"), (get, b"$1\r\n6\r\n", "GET k OK"), (&select, &result, "select 1 OK")]
    {
        for calls in [1, 200, 300, 3_000, 100_000] {
            let mut client = Client::new(false);
            for _ in 0..calls {
                say(&mut client, Direction::In, b"the inside of a transfer that began before");
            }
            // Bytes of the first answer may pass before the kernel knows that they are wanted.
            for _ in 0..2 {
                client.ask(ask).answer(answer);
            }
            assert!(client.outcomes().contains(&shown.to_owned()), "{shown} after {calls}");
            // The other way about.
            let mut client = Client::new(false);
            for _ in 0..calls {
                say(&mut client, Direction::Out, b"the inside of a transfer that began before");
            }
            for _ in 0..3 {
                client.answer(answer).ask(ask);
            }
            assert!(client.outcomes().contains(&shown.to_owned()), "{shown} after {calls} of the client's");
        }
    }
}

#[test]
fn text_that_looks_like_a_request_makes_no_row_when_the_answer_is_anothers() {
    for (text, answer) in [
        (GET, b"250 2.0.0 Ok: queued as 12345\r\n".as_slice()),
        (QUIT, b"221 Bye\r\n"),
        (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"\x00\x00\x01\x02\x03\x04\x05\x06"),
    ] {
        let mut client = Client::new(false);
        for _ in 0..3 {
            client.ask(text).answer(answer);
        }
        client.end();
        let rows = client.outcomes().into_iter().filter(|outcome| !outcome.starts_with("unparsable")).count();
        assert_eq!(rows, 0, "{}", text.escape_ascii());
    }
}

#[test]
fn a_connection_that_misled_once_is_still_found() {
    let mut client = Client::new(false);
    client.ask(b"GET /in/a/mail HTTP/1.1\r\n\r\n").ask(b"\x01\x02\x03\x04 and so on").answer(b"\0\0\0");
    for _ in 0..3 {
        client.ask(GET).answer(OK);
    }
    let outcomes = client.outcomes();
    assert_eq!(outcomes.last().map(String::as_str), Some("GET /a 200"), "{outcomes:?}");
    assert!(!outcomes.iter().any(|outcome| outcome.contains("mail")), "{outcomes:?}");
}

#[test]
fn a_connection_that_misleads_again_and_again_is_left() {
    let mut client = Client::new(false);
    for _ in 0..MAX_MISTAKES {
        client.ask(GET).ask(b"\x01\x02\x03\x04 and so on").answer(b"\0\0\0");
    }
    assert_eq!(client.conversation.verdict(), Verdict::Ignore);
    assert_eq!(client.outcomes(), [""; 0]);
}

#[test]
fn what_stays_undecided_or_half_is_counted() {
    let mut client = Client::new(true);
    client.ask(b"GET /half").end();
    assert_eq!(client.outcomes(), ["unparsable 9"]);
    let mut client = Client::new(true);
    client.ask(GET).answer(OK).ask(b"GET /half").end();
    assert_eq!(client.outcomes(), ["GET /a 200", "unparsable 9"]);
}

#[test]
fn a_request_on_a_late_connection_without_any_answer_comes_out() {
    let mut client = Client::new(false);
    client.ask(GET).end();
    assert_eq!(client.outcomes(), ["GET /a !"]);
}

#[test]
fn a_refusal_of_what_is_no_request_is_shown_and_the_rest_counted() {
    for garbage in [
        b"OPTIONSHTTP/1.1\r\nHost: shop\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PUT /\r\n\r\n",
        b"\0\0\0\0 GET /txt HTTP/1.1\r\n\r\n",
    ] {
        let mut client = Client::new(true);
        client
            .ask(garbage)
            .answer(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n")
            .end();
        let mut outcomes = client.outcomes();
        outcomes.sort();
        assert_eq!(outcomes.len(), 2, "{outcomes:?}");
        assert!(outcomes[0].ends_with("400!"), "{outcomes:?}");
        assert_eq!(outcomes[1], format!("unparsable {}", garbage.len()));
    }
    // Nobody waits for ever.
    let mut client = Client::new(true);
    for _ in 0..50 {
        client.ask(
            b"<34>Oct 11 22:14:15 shop su: failed for ann, and so on and on and on and on and on and on\n",
        );
    }
    assert_eq!(client.conversation.verdict(), Verdict::Ignore);
    assert_eq!(client.end().outcomes(), [""; 0]);
}

#[test]
fn half_an_answer_on_a_late_connection_is_no_contradiction() {
    let mut client = Client::new(false);
    client.ask(GET).answer(b"HTTP/1.1 200 OK\r\nContent-").end();
    let exchange = client.exchange();
    assert_eq!((exchange.operation.as_str(), exchange.reason), ("GET /a", Some(Reason::Unreadable)));
    // A hole within the answer, behind which nothing was seen.
    let mut client = Client::new(false);
    client
        .ask(GET)
        .answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\nx")
        .gap(Direction::In, 20_000)
        .end();
    assert_eq!(client.outcomes(), ["gap"]);
    // The same, and more of it behind the hole, where no message begins.
    let mut client = Client::new(false);
    client.ask(GET).answer(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\nx").gap(Direction::In, 95_000);
    client.answer(&[0xee; 9000]).end();
    let outcomes = client.outcomes();
    assert!(outcomes.contains(&"gap".to_owned()), "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| outcome.starts_with("unparsable")), "{outcomes:?}");
}

#[test]
fn half_a_message_on_a_late_connection_is_none() {
    // PPTP, whose first bytes could announce a long log-in, and a line of letters that could announce a long query.
    let pptp = [b"\0\x9c\0\x01\x1a\x2b\x3c\x4d\0\x01\0\0\x01\0\0\0".as_slice(), &[0; 140]].concat();
    let line = [b"Q\0\0\xc0\x18".as_slice(), "1ExxfNQsIPMPq2ogrt67cUCa".repeat(40).as_bytes()].concat();
    for bytes in [pptp, line] {
        let mut client = Client::new(false);
        client.ask(&bytes).end();
        assert_eq!(client.outcomes(), [""; 0]);
        let mut client = Client::new(false);
        client.ask(&bytes).answer(b"250 ok\r\n").end();
        assert_eq!(client.outcomes(), [""; 0]);
    }
}

#[test]
fn a_message_on_a_late_connection_is_whole_once_its_announced_bytes_came() {
    const LEN: u64 = 10_000_000;
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".as_slice();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n");
    let bulk = format!("${}\r\n", LEN - 2);
    for (ask, answer, shown) in [(GET, head, "GET /a 200"), (get, bulk, "GET k OK")] {
        let mut client = Client::new(false);
        client.ask(ask).answer(answer.as_bytes()).answer(&[b'x'; 2_000]);
        assert_eq!(client.outcomes(), [""; 0], "{shown}");
        client.skipped(Direction::In, LEN - 2_000);
        assert_eq!(client.outcomes(), [shown]);
        client.ask(ask).answer(answer.as_bytes()).skipped(Direction::In, LEN);
        assert_eq!(client.outcomes(), [shown]);
    }
    let put = format!("PUT /a HTTP/1.1\r\nContent-Length: {LEN}\r\n\r\n");
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", LEN - 2);
    for (ask, answer, shown) in [(put, OK, "PUT /a 200"), (set, b"+OK\r\n", "SET k OK")] {
        let mut client = Client::new(false);
        client.ask(ask.as_bytes()).skipped(Direction::Out, LEN).answer(answer);
        assert_eq!(client.outcomes(), [shown]);
    }
}

#[test]
fn ends_of_a_late_connection_are_not_swapped() {
    let ask = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    for side in [None, Some(Side::Client)] {
        let mut client = Client::new(false);
        client.conversation.context.side = side;
        for _ in 0..3 {
            client.ask(ask).answer(b"$1\r\n6\r\n");
        }
        assert_eq!(client.outcomes(), ["GET k OK"; 3], "{side:?}");
        let mut server = Client::new(false);
        for _ in 0..3 {
            server.answer(ask).ask(b"+OK\r\n");
        }
        assert_eq!(server.exchange().side, Side::Server);
    }
}

#[test]
fn a_certain_connection_is_never_given_up_and_what_is_not_read_counts() {
    let mut client = Client::new(true);
    client.ask(GET).answer(OK).ask(GET);
    for _ in 0..3000 {
        client.answer(&[0xee; 1024]);
    }
    client.ask(b"GET /b HTTP/1.1\r\n\r\n").answer(OK);
    let unread = client.outcomes();
    let bytes: u64 =
        unread.iter().filter_map(|outcome| outcome.strip_prefix("unparsable ")?.parse::<u64>().ok()).sum();
    assert_eq!(bytes, 3000 * 1024);
    client.ask(b"GET /c HTTP/1.1\r\n\r\n").answer(OK);
    assert_eq!(client.outcomes(), ["GET /c 200"]);
}

#[test]
fn a_preamble_of_a_proxy_is_no_part_of_the_conversation() {
    let announced = "203.0.113.7:51234".parse().ok();
    let v1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 80\r\n".as_slice();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xc8\x22\0\x50".as_slice();
    // Proxies in a row may each send one.
    let (chained, long) = ([v1, v2].concat(), [v2, b"PROXY UNKNOWN\r\n", v1].concat());
    for preamble in [v1, v2, &chained, &long] {
        let mut client = Client::new(true);
        client.ask(preamble).ask(GET).answer(OK);
        let exchange = client.exchange();
        assert_eq!(exchange.announced, announced);
        assert_eq!(exchange.request.unwrap().start, preamble.len() as u64);
        let mut client = Client::new(true);
        client.ask(&[preamble, GET].concat()).answer(OK).ask(GET).answer(OK);
        assert_eq!((client.exchange().announced, client.exchange().announced), (announced, announced));
        // A server that speaks first has read it before.
        let mut client = Client::new(true);
        client.ask(preamble).answer(&packet(0, MYSQL_GREETING));
        client.ask(&packet(1, MYSQL_LOGIN)).answer(&packet(2, MYSQL_OK));
        let login = client.exchange();
        assert_eq!((login.operation.as_str(), login.announced), ("LOGIN u", announced));
    }
}

#[test]
fn a_preamble_in_each_datagram_is_no_part_of_the_query() {
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xc8\x22\0\x35".as_slice();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".as_slice();
    let query = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x04shop\0\0\x01\0\x01".as_slice();
    let answer = [b"\0\x07\x81\x80".as_slice(), &query[4..]].concat();
    for from_start in [true, false] {
        let mut client = Client::over(Transport::Udp, from_start);
        for ahead in [v2.to_vec(), local.to_vec(), [v2, local].concat(), Vec::new()] {
            client
                .datagram(Direction::Out, &[ahead.as_slice(), query].concat())
                .datagram(Direction::In, &answer);
            let exchange = client.exchange();
            assert_eq!((exchange.operation.as_str(), exchange.status.as_str()), ("A shop", "NOERROR"));
            assert_eq!(exchange.request.unwrap().bytes(), (ahead.len() + query.len()) as u64);
        }
        // Half of one, and nothing behind it.
        client.datagram(Direction::Out, &v2[..20]).datagram(Direction::Out, v2);
        assert!(client.outcomes().iter().all(|outcome| outcome.starts_with("unparsable")));
    }
}

/// A greeting, a log-in as `u`, and the server's agreement.
const MYSQL_GREETING: &[u8] =
    b"\x0a8.4.0\0\x01\0\0\x0012345678\0\xff\xff\x21\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\x00123456789012\0mysql_native_password\0";
const MYSQL_LOGIN: &[u8] = b"\x05\xa2\x1b\0\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0u\0\0";
const MYSQL_OK: &[u8] = b"\0\0\0\x02\0\0\0";
