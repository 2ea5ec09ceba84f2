//! The engine on HTTP and DNS: losses, bodies that pass uncaptured, connections joined late, limits.

mod detection;
mod ends;
mod losses;
mod rarities;

use std::sync::Arc;

use super::*;
use crate::decoder::{MAX_PENDING, Redaction};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A conversation as its client sees it, and where each direction stands.
struct Client {
    conversation: Conversation,
    at: [u64; 2],
    now: u64,
}

impl Client {
    fn new(from_start: bool) -> Self {
        Self::over(Transport::Tcp, from_start)
    }

    fn over(transport: Transport, from_start: bool) -> Self {
        let context = Context { transport, side: None, local_port: 40_000, remote_port: 80, from_start };
        let redaction = Redaction { enabled: true, headers: Vec::new() };
        let options = Options { payload_bytes: 100, redaction, protocols: Vec::new() };
        Self { conversation: Conversation::new(context, Arc::new(options)), at: [0, 0], now: 0 }
    }

    fn step(&mut self, direction: Direction, len: u64) -> (u64, u64) {
        self.now += 1_000_000;
        let at = &mut self.at[usize::from(direction == Direction::In)];
        let position = *at;
        *at += len;
        (position, self.now)
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        let (position, now) = self.step(direction, bytes.len() as u64);
        self.conversation.bytes(direction, position, now, bytes);
        self
    }

    fn ask(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes(Direction::Out, bytes)
    }

    fn answer(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes(Direction::In, bytes)
    }

    fn skipped(&mut self, direction: Direction, len: u64) -> &mut Self {
        let (position, now) = self.step(direction, len);
        self.conversation.skipped(direction, position, now, len);
        self
    }

    fn gap(&mut self, direction: Direction, len: u64) -> &mut Self {
        let (position, now) = self.step(direction, len);
        self.conversation.gap(direction, position, now, Some(len));
        self
    }

    fn datagram(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        let (position, now) = self.step(direction, 1);
        self.conversation.datagram(direction, position, now, bytes, bytes.len() as u64);
        self
    }

    fn end(&mut self) -> &mut Self {
        self.conversation.end(self.now);
        self
    }

    /// Returns what came out: `operation status`, or the name of the outcome.
    fn outcomes(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.conversation.take())
            .map(|outcome| match outcome {
                Outcome::Exchange(Exchange { operation, status, error, .. }) => {
                    format!("{operation} {status}{}", if error { "!" } else { "" })
                }
                Outcome::Unparsable { bytes, .. } => format!("unparsable {bytes}"),
                Outcome::Unpaired => "unpaired".to_owned(),
                Outcome::Gap => "gap".to_owned(),
            })
            .collect()
    }

    fn exchange(&mut self) -> Exchange {
        match self.conversation.take() {
            Some(Outcome::Exchange(exchange)) => exchange,
            other => panic!("{other:?}"),
        }
    }
}

fn answer_of(length: u64) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

#[test]
fn a_long_body_passes_uncaptured() {
    let mut client = Client::new(true);
    let head = answer_of(1_000_000);
    client.ask(GET).answer(&head).answer(&[b'x'; 5000]);
    let whole = head.len() as u64 + 1_000_000;
    let skip_until = [None, Some(whole)];
    assert_eq!(client.conversation.verdict(), Verdict::Trace { protocol: "http", skip_until });
    assert_eq!(client.outcomes(), [""; 0]);
    client.skipped(Direction::In, 995_000).ask(GET).answer(OK);
    let long = client.exchange();
    let response = long.response.unwrap();
    assert_eq!((response.start, response.end, response.truncated), (0, whole, true));
    assert_eq!(response.payload.len(), 100);
    assert_eq!(client.outcomes(), ["GET /a 200"]);
}

#[test]
fn a_request_is_referred_to_until_its_whole_response_has_passed() {
    for (side, asking) in [(Side::Client, Direction::Out), (Side::Server, Direction::In)] {
        let mut client = Client::new(true);
        let head = answer_of(70_000);
        // An exchange before, so that neither message lies where its direction begins.
        client.bytes(asking, GET).bytes(asking.other(), OK);
        assert_eq!(client.exchange().side, side);
        client.bytes(asking, GET).bytes(asking.other(), &head);
        for _ in 0..7 {
            assert_eq!(client.conversation.floor(asking), GET.len() as u64, "{side:?}");
            assert_eq!(client.conversation.floor(asking.other()), OK.len() as u64, "{side:?}");
            assert_eq!(client.outcomes(), [""; 0]);
            client.bytes(asking.other(), &[b'x'; 10_000]);
        }
        assert_eq!(client.outcomes(), ["GET /a 200"]);
        assert_eq!(client.conversation.floor(asking), 2 * GET.len() as u64, "{side:?}");
        let answered = (OK.len() + head.len() + 70_000) as u64;
        assert_eq!(client.conversation.floor(asking.other()), answered, "{side:?}");
    }
}

#[test]
fn a_request_that_ends_while_its_response_passes_has_its_whole_body() {
    let mut client = Client::new(true);
    let post = b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 900\r\n\r\n";
    client.ask(post).ask(&[b'a'; 10]).answer(&answer_of(900)).answer(&[b'a'; 300]);
    client.ask(&[b'a'; 890]).ask(GET).answer(&[b'a'; 600]).answer(OK);
    let echo = client.exchange();
    let request = echo.request.unwrap();
    assert_eq!((request.start, request.end), (0, post.len() as u64 + 900));
    assert!(request.truncated, "of which the payload is the beginning");
    assert_eq!(request.payload.len(), 100);
    let next = client.exchange();
    assert_eq!((next.operation.as_str(), next.request.unwrap().start), ("GET /a", post.len() as u64 + 900));
}

#[test]
fn a_sent_file_without_captured_bytes_has_its_length() {
    let mut client = Client::new(true);
    let head = answer_of(70_000);
    client.ask(GET).answer(&head).skipped(Direction::In, 70_000).ask(GET).answer(OK);
    assert_eq!(client.exchange().response.unwrap().end, head.len() as u64 + 70_000);
    assert_eq!(client.outcomes(), ["GET /a 200"]);
}

/// A chunked body of which a call moved more than was captured: a chunk's head is cut, the others were never seen.
fn cut_chunks() -> Vec<u8> {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n".to_vec();
    [head, vec![b'x'; 0x1000], b"\r\n10".to_vec()].concat()
}

#[test]
fn chunks_that_were_not_captured_end_with_the_next_request() {
    let mut client = Client::new(true);
    let seen = cut_chunks();
    client.ask(GET).answer(&seen).skipped(Direction::In, 90_000);
    assert_eq!(client.outcomes(), [""; 0]);
    client.ask(b"GET /b HTTP/1.1\r\n\r\n");
    let response = client.exchange().response.unwrap();
    assert_eq!((response.start, response.end, response.truncated), (0, seen.len() as u64 + 90_000, true));
    client.answer(OK);
    assert_eq!(client.outcomes(), ["GET /b 200"]);
}

#[test]
fn chunks_that_were_not_captured_end_with_a_last_chunk_or_the_next_response() {
    let mut client = Client::new(true);
    client.ask(GET).answer(&cut_chunks()).skipped(Direction::In, 90_000).answer(b"0\r\n\r\n");
    assert_eq!(client.outcomes(), ["GET /a 200"]);
    client
        .ask(GET)
        .ask(b"GET /b HTTP/1.1\r\n\r\n")
        .answer(&cut_chunks())
        .skipped(Direction::In, 90_000)
        .answer(OK);
    assert_eq!(client.outcomes(), ["GET /a 200", "GET /b 200"]);
}

#[test]
fn a_response_whose_request_was_lost_never_pairs_with_a_later_one() {
    for length in [50, 5000] {
        let mut client = Client::new(true);
        client.ask(GET).answer(OK);
        // The next request is lost, which shows only when the one after it comes.
        let (lost, position) = (30, client.at[0]);
        client.answer(&answer_of(length)).answer(&[b'x'; 10]);
        client.now += 1_000_000;
        client.at[0] = position + lost;
        client.ask(b"GET /b HTTP/1.1\r\n\r\n").skipped(Direction::In, length - 10).answer(OK);
        assert_eq!(client.outcomes(), ["GET /a 200", "unpaired", "GET /b 200"], "{length}");
    }
}

#[test]
fn a_client_that_pipelines_pairs_again_only_after_silence() {
    let mut client = Client::new(true);
    client.ask(GET).ask(GET).ask(GET).answer(OK).gap(Direction::Out, 60).ask(GET);
    client.answer(OK).answer(OK).answer(OK).answer(OK);
    let expected = ["GET /a 200", "gap", "gap", "gap", "unpaired", "unpaired", "unpaired", "unpaired"];
    assert_eq!(client.outcomes(), expected);
    client.ask(GET).answer(OK);
    assert_eq!(client.outcomes(), ["gap", "unpaired"]);
    client.now += 1_000_000_000;
    client.ask(GET).answer(OK);
    assert_eq!(client.outcomes(), ["GET /a 200"]);
}

#[test]
fn a_pause_within_an_upload_is_no_new_request() {
    let head = b"PUT /u HTTP/1.1\r\nContent-Length: 10\r\n\r\n".as_slice();
    let large = b"PUT /u HTTP/1.1\r\nContent-Length: 9000\r\n\r\n".as_slice();
    let chunked = b"PUT /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n".as_slice();
    let (half, line) = (b"GET /h HT".as_slice(), b"TP/1.1\r\n\r\n".as_slice());
    for (first, rest) in [
        (head, b"0123456789".as_slice()),
        (large, &[b'x'; 9000]),
        (chunked, b"GET /\r\n0\r\n\r\n"),
        (half, line),
    ] {
        let mut client = Client::new(true);
        client.ask(GET).ask(GET).ask(GET).answer(OK).gap(Direction::Out, 60).ask(GET);
        client.answer(OK).answer(OK).answer(OK).answer(OK);
        client.outcomes();
        client.ask(first);
        client.now += 1_000_000_000;
        client.ask(rest).answer(OK);
        let outcomes = client.outcomes();
        assert!(outcomes.iter().all(|outcome| outcome == "gap" || outcome == "unpaired"), "{outcomes:?}");
        client.now += 1_000_000_000;
        client.ask(GET).answer(OK);
        assert_eq!(client.outcomes(), ["GET /a 200"]);
    }
}

#[test]
fn a_lost_answer_shows_late_and_is_no_pipelining() {
    let mut client = Client::new(true);
    client.ask(GET).answer(OK).ask(GET);
    // The answer is lost; the client has it, and asks again.
    client.at[1] += 40;
    client.ask(GET).answer(OK).ask(GET).answer(OK);
    assert_eq!(client.outcomes(), ["GET /a 200", "gap", "gap", "unpaired", "GET /a 200"]);
}

#[test]
fn a_response_whose_end_is_lost_has_no_time_and_is_a_gap() {
    let mut client = Client::new(true);
    client.ask(GET).answer(&answer_of(5000)).answer(&[b'x'; 1000]).gap(Direction::In, 6000);
    client.ask(b"GET /b HTTP/1.1\r\n\r\n").answer(OK);
    assert_eq!(client.outcomes(), ["gap", "GET /b 200"]);
}

#[test]
fn a_loss_within_a_body_only_shortens_it() {
    let mut client = Client::new(true);
    client
        .ask(GET)
        .answer(&answer_of(5000))
        .answer(&[b'x'; 1000])
        .gap(Direction::In, 3000)
        .answer(&[b'x'; 1000]);
    client.ask(GET).answer(OK);
    assert!(client.exchange().response.unwrap().truncated);
    assert_eq!(client.outcomes(), ["GET /a 200"]);
}

#[test]
fn a_lost_response_takes_its_request_and_no_other() {
    let mut client = Client::new(true);
    client.ask(GET).gap(Direction::In, 40).ask(b"GET /b HTTP/1.1\r\n\r\n").answer(OK);
    assert_eq!(client.outcomes(), ["gap", "GET /b 200"]);
}

#[test]
fn a_lost_request_leaves_its_response_unpaired() {
    let mut client = Client::new(true);
    client.ask(GET).answer(OK).gap(Direction::Out, 30).answer(OK).ask(b"GET /b HTTP/1.1\r\n\r\n").answer(OK);
    assert_eq!(client.outcomes(), ["GET /a 200", "unpaired", "GET /b 200"]);
}

#[test]
fn one_damaged_message_does_not_end_decoding() {
    let mut client = Client::new(true);
    client.ask(GET).answer(OK).ask(b"\x00\x01\x02 nonsense\r\n\r\n").ask(GET).answer(OK);
    let outcomes = client.outcomes();
    assert_eq!(outcomes.first().map(String::as_str), Some("GET /a 200"));
    assert_eq!(outcomes.last().map(String::as_str), Some("GET /a 200"));
    assert!(outcomes.iter().any(|outcome| outcome.starts_with("unparsable")), "{outcomes:?}");
}

#[test]
fn a_connection_joined_within_a_body_decodes_from_the_next_request() {
    let mut client = Client::new(false);
    client.answer(&[b'x'; 700]).answer(b"tail\r\n").ask(GET).answer(OK);
    assert_eq!(client.outcomes(), ["GET /a 200"]);
}

#[test]
fn a_connection_joined_before_a_response_does_not_shift_pairs() {
    let mut client = Client::new(false);
    client.answer(OK).ask(GET).answer(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let outcomes = client.outcomes();
    assert_eq!(outcomes.last().map(String::as_str), Some("GET /a 404!"));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.starts_with("GET")).count(), 1);
}

#[test]
fn a_client_that_had_asked_ahead_when_it_was_joined_gets_no_others_answers() {
    let mut client = Client::new(false);
    let answer = |number: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{number:03}");
    let ask = |number: usize| format!("GET /{number:03} HTTP/1.1\r\n\r\n");
    // Always ten ahead: as many answers come at a time as happen to be there, and as much is asked anew.
    let mut next = 0;
    for count in [3, 1, 5, 2, 4].repeat(9) {
        for number in next..next + count {
            client.answer(answer(number).as_bytes());
        }
        for number in next..next + count {
            client.ask(ask(number + 10).as_bytes());
        }
        next += count;
    }
    let (mut right, mut wrong) = (0, 0);
    let mut check = |client: &mut Client| {
        while let Some(outcome) = client.conversation.take() {
            if let Outcome::Exchange(Exchange { operation, response: Some(response), .. }) = outcome {
                let same = response.payload.ends_with(&operation.as_bytes()[5..8]);
                *(if same { &mut right } else { &mut wrong }) += 1;
            }
        }
    };
    check(&mut client);
    client.now += 1_000_000_000;
    for number in 500..510 {
        client.ask(ask(number).as_bytes()).answer(answer(number).as_bytes());
    }
    check(&mut client);
    assert!(wrong <= 4 && right == 10, "{wrong} wrong, {right} right");
}

#[test]
fn the_side_comes_from_who_asks() {
    let mut client = Client::new(true);
    client.answer(GET).ask(OK);
    assert_eq!(client.exchange().side, Side::Server);
}

#[test]
fn tunnels_and_upgrades_end_decoding() {
    for (request, answer) in [
        (b"CONNECT db:5432 HTTP/1.1\r\nHost: db\r\n\r\n".as_slice(), b"HTTP/1.1 200 OK\r\n\r\n".as_slice()),
        (b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ] {
        let mut client = Client::new(true);
        client.ask(request).answer(answer).ask(b"\x81\x05hello").answer(b"\x81\x05hello").end();
        assert_eq!(client.outcomes().len(), 1);
        assert_eq!(client.conversation.verdict(), Verdict::Ignore);
    }
}

#[test]
fn the_end_of_the_connection_ends_a_body_without_length() {
    let mut client = Client::new(true);
    client.ask(b"GET /a HTTP/1.0\r\n\r\n").answer(b"HTTP/1.0 200 OK\r\n\r\nsome").answer(b" text");
    assert_eq!(client.outcomes(), [""; 0]);
    client.end();
    let response = client.exchange().response.unwrap();
    assert_eq!((response.start, response.end), (0, client.at[1]));
    assert!(!response.truncated && response.payload.ends_with(b"some text"));
}

#[test]
fn requests_without_response_come_out_at_the_end() {
    let mut client = Client::new(true);
    client.ask(GET).end();
    let exchange = client.exchange();
    assert!(exchange.error && exchange.response.is_none() && exchange.status.is_empty());
}

#[test]
fn a_request_in_flight_is_no_error_when_only_the_watching_ends() {
    let mut client = Client::new(true);
    client.ask(GET).answer(OK).ask(GET);
    client.conversation.stop();
    assert_eq!(client.outcomes(), ["GET /a 200", "GET /a "]);
    assert_eq!(client.conversation.verdict(), Verdict::Ignore);
    // A request pipelined before the connection became a tunnel: it may be answered inside.
    let mut client = Client::new(true);
    client.ask(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n").ask(GET);
    client.answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    assert_eq!(client.outcomes(), ["GET /ws 101", "GET /a "]);
}

#[test]
fn other_protocols_are_ignored_after_a_bounded_head() {
    for noise in [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), b"SSH-2.0-OpenSSH_9.2\r\n"] {
        let mut client = Client::new(true);
        client.ask(noise);
        for _ in 0..10 {
            client.ask(&[0xee; 1000]).answer(&[0xee; 1000]);
        }
        assert_eq!(client.conversation.verdict(), Verdict::Ignore);
        assert_eq!(client.outcomes(), [""; 0]);
    }
}

#[test]
fn a_head_beyond_its_limit_is_given_up_and_the_next_is_read() {
    let mut client = Client::new(true);
    client.ask(GET).answer(OK);
    client.ask(b"GET /long HTTP/1.1\r\nX: ");
    for _ in 0..600 {
        client.ask(&[b'x'; 1000]);
    }
    client.ask(b"\r\n\r\n").answer(b"HTTP/1.1 431 Too Long\r\nContent-Length: 0\r\n\r\n").ask(GET).answer(OK);
    let outcomes = client.outcomes();
    assert_eq!(outcomes.last().map(String::as_str), Some("GET /a 200"), "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| outcome.starts_with("unparsable")), "{outcomes:?}");
}

#[test]
fn requests_beyond_the_limit_are_dropped_and_counted() {
    let mut client = Client::new(true);
    for _ in 0..MAX_PENDING + 5 {
        client.ask(b"GET / HTTP/1.1\r\n\r\n");
    }
    assert_eq!(client.outcomes(), ["unpaired"; 5]);
    client.answer(OK).ask(GET).end();
    assert_eq!(client.outcomes().len(), MAX_PENDING + 1);
}

#[test]
fn what_is_asked_far_ahead_gets_its_own_answers_and_is_counted_once() {
    // Half of them is answered between; the last ones come behind those that were dropped.
    for (first, answered, second) in
        [(MAX_PENDING + 9, 0, 0), (MAX_PENDING + 9, 4, 4), (70_000, 50_000, 60_000)]
    {
        let mut client = Client::new(true);
        let asked = |from: usize, to: usize| {
            (from..to)
                .map(|number| format!("GET /{number} HTTP/1.1\r\n\r\n"))
                .collect::<Vec<_>>()
                .concat()
                .into_bytes()
        };
        let told = |from: usize, to: usize| {
            (from..to)
                .map(|number| format!("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{number:6}"))
                .collect::<Vec<_>>()
                .concat()
                .into_bytes()
        };
        let all = first + second;
        client.ask(&asked(0, first)).answer(&told(0, answered)).ask(&asked(first, all));
        client.answer(&told(answered, all)).ask(GET).answer(OK);
        let (mut shown, mut dropped) = (Vec::new(), 0);
        while let Some(outcome) = client.conversation.take() {
            match outcome {
                Outcome::Exchange(exchange) => {
                    let body = exchange.response.unwrap().payload;
                    let number = body[body.len() - 6..].trim_ascii().to_vec();
                    shown.push((exchange.operation, String::from_utf8(number).unwrap()));
                }
                Outcome::Unpaired => dropped += 1,
                other @ (Outcome::Unparsable { .. } | Outcome::Gap) => panic!("{other:?}"),
            }
        }
        let last = shown.pop();
        assert!(last.is_some_and(|(operation, _)| operation == "GET /a"));
        assert!(shown.iter().all(|(operation, number)| *operation == format!("GET /{number}")));
        let beyond = first - MAX_PENDING;
        let behind = second.saturating_sub(answered);
        assert_eq!((shown.len(), dropped), (all - beyond - behind, beyond + behind), "{first}");
    }
}

#[test]
fn queries_beyond_the_limit_do_not_end_the_reading() {
    let query = |id: usize| {
        let id = u16::try_from(id % 65_536).unwrap().to_be_bytes();
        [&id[..], b"\x01\0\0\x01\0\0\0\0\0\0\x04shop\0\0\x01\0\x01"].concat()
    };
    let mut client = Client::over(Transport::Udp, true);
    for id in 0..MAX_PENDING + 5 {
        client.datagram(Direction::Out, &query(id));
    }
    assert_eq!(client.outcomes(), ["unpaired"; 5]);
    client.conversation.expire(u64::MAX);
    assert_eq!(client.outcomes().len(), MAX_PENDING);
    client.datagram(Direction::Out, &query(9));
    client.datagram(Direction::In, &[&[0, 9, 0x81, 0x80], &query(9)[4..]].concat());
    assert_eq!(client.outcomes(), ["A shop NOERROR"]);
}

#[test]
fn a_query_without_answer_comes_out_after_its_patience() {
    let mut query =
        b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02db\x04test\x00\x00\x01\x00\x01".to_vec();
    let mut client = Client::over(Transport::Udp, true);
    client.datagram(Direction::Out, &query);
    client.conversation.expire(5_000_000_000);
    assert_eq!(client.outcomes(), [""; 0]);
    client.conversation.expire(60_000_000_000);
    assert_eq!(client.outcomes(), ["A db.test !"]);
    // An answer to something else, and one that comes too late.
    query[2] = 0x81;
    client.datagram(Direction::In, &query);
    assert_eq!(client.outcomes(), ["unpaired"]);
}

#[test]
fn a_datagram_has_the_size_that_it_was_sent_with() {
    let mut client = Client::over(Transport::Udp, true);
    let query = |id: u8| [&[0, id], &b"\x01\0\0\x01\0\0\0\0\0\0\x04shop\0\0\x01\0\x01"[..]].concat();
    for id in 0..9 {
        client.datagram(Direction::Out, &query(id));
    }
    let answer = [&[0, 7, 0x81, 0x80], &query(7)[4..]].concat();
    client.datagram(Direction::In, &answer);
    let exchange = client.exchange();
    let size = |message: &Option<Message>| message.as_ref().map(Message::bytes);
    assert_eq!(size(&exchange.request), Some(query(7).len() as u64));
    assert_eq!(size(&exchange.response), Some(answer.len() as u64));
}

#[test]
fn a_name_that_points_at_itself_is_not_a_message() {
    let mut client = Client::over(Transport::Udp, true);
    client.datagram(
        Direction::Out,
        b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01",
    );
    assert!(matches!(client.conversation.verdict(), Verdict::Undecided { .. }));
}

#[test]
fn memory_does_not_grow_with_announced_lengths() {
    let http = |rest: &str| [GET, format!("POST / HTTP/1.1\r\n{rest}").as_bytes()].concat();
    let redis = |rest: &str| [b"*1\r\n$4\r\nPING\r\n", rest.as_bytes()].concat();
    let startup = b"\x00\x00\x00\x10\x00\x03\x00\x00user\x00u\x00\x00";
    for announced in [
        http("Content-Length: 999999999999999\r\n\r\n"),
        http("Transfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n"),
        http("X: "),
        redis("*2\r\n$3\r\nSET\r\n$536870912\r\n"),
        redis("*1000000\r\n$1\r\n"),
        [startup.as_slice(), b"Q\x7f\xff\xff\xff"].concat(),
    ] {
        let mut client = Client::new(true);
        client.ask(&announced);
        for _ in 0..4096 {
            client.ask(&[b'x'; 1024]);
            if let State::Decoding(session) = &client.conversation.state {
                // A vector doubles; the other direction is empty.
                assert!(session.capacity() <= 2 * session::MAX_BUFFER + 2048, "{}", session.capacity());
            }
        }
        client.end();
        for outcome in std::iter::from_fn(|| client.conversation.take()) {
            if let Outcome::Exchange(Exchange { request: Some(request), .. }) = outcome {
                assert!(request.payload.len() <= 100, "{}", request.payload.len());
            }
        }
    }
}

#[test]
fn what_a_program_only_relays_is_counted() {
    let mut client = Client::new(true);
    client.skipped(Direction::Out, 100).skipped(Direction::In, 200);
    client.skipped(Direction::Out, 100).skipped(Direction::In, 200).end();
    assert_eq!(client.outcomes(), ["unparsable 100"]);
    let mut late = Client::new(false);
    late.skipped(Direction::Out, 100).skipped(Direction::In, 200).end();
    assert_eq!(late.outcomes(), [""; 0]);
}
