//! Whole connections: what is unusual and valid, ends before their time, and text that only looks like a message.

mod ends;
mod losses;

use std::sync::Arc;

use crate::conversation::{Context, Conversation, Direction, Exchange, Outcome, Transport, Verdict};
use crate::decoder::{Options, Redaction, Side};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n";
const NEXT: &[u8] = b"GET /b HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A connection as its server sees it.
struct Server {
    conversation: Conversation,
    at: [u64; 2],
    now: u64,
    /// Bytes per call; 0 is all of them.
    size: usize,
}

impl Server {
    fn new() -> Self {
        Self::over(1000, true)
    }

    fn over(payload_bytes: usize, from_start: bool) -> Self {
        let (local_port, remote_port) = (80, 40_000);
        let context = Context {
            transport: Transport::Tcp,
            side: Some(Side::Server),
            local_port,
            remote_port,
            from_start,
        };
        let redaction = Redaction { enabled: true, headers: Vec::new() };
        let options = Options { payload_bytes, redaction, protocols: Vec::new() };
        Self { conversation: Conversation::new(context, Arc::new(options)), at: [0, 0], now: 0, size: 0 }
    }

    fn step(&mut self, direction: Direction, len: usize) -> (u64, u64) {
        self.now += 1_000_000;
        let at = &mut self.at[usize::from(direction == Direction::Out)];
        let position = *at;
        *at += len as u64;
        (position, self.now)
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        let size = if self.size == 0 { bytes.len().max(1) } else { self.size };
        for piece in bytes.chunks(size) {
            let (position, now) = self.step(direction, piece.len());
            self.conversation.bytes(direction, position, now, piece);
        }
        self
    }

    fn ask(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.bytes(Direction::In, bytes.as_ref())
    }

    fn answer(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.bytes(Direction::Out, bytes.as_ref())
    }

    /// So many bytes were moved and not captured.
    fn hole(&mut self, direction: Direction, len: usize) -> &mut Self {
        let (position, now) = self.step(direction, len);
        self.conversation.skipped(direction, position, now, len as u64);
        self
    }

    fn loss(&mut self, direction: Direction, len: usize) -> &mut Self {
        let (position, now) = self.step(direction, len);
        self.conversation.gap(direction, position, now, Some(len as u64));
        self
    }

    fn end(&mut self) -> &mut Self {
        self.conversation.end(self.now);
        self
    }

    fn exchanges(&mut self) -> Vec<Exchange> {
        let outcomes = std::iter::from_fn(|| self.conversation.take());
        let exchange = |outcome| match outcome {
            Outcome::Exchange(exchange) => Some(exchange),
            Outcome::Unparsable { .. } | Outcome::Unpaired | Outcome::Gap => None,
        };
        outcomes.filter_map(exchange).collect()
    }

    /// Returns `operation status`, by exchange; a push has `!` before it.
    fn told(&mut self) -> Vec<String> {
        let tell = |exchange: Exchange| {
            let push = if exchange.request.is_none() { "!" } else { "" };
            format!("{push}{} {}", exchange.operation, exchange.status)
        };
        self.exchanges().into_iter().map(tell).collect()
    }

    /// Returns the exchanges and, by name, what else came out.
    fn all(&mut self) -> Vec<String> {
        let outcomes = std::iter::from_fn(|| self.conversation.take());
        let tell = |outcome| match outcome {
            Outcome::Exchange(exchange) => format!("{} {}", exchange.operation, exchange.status),
            Outcome::Unparsable { bytes, .. } => format!("unparsable {bytes}"),
            Outcome::Unpaired => "unpaired".to_owned(),
            Outcome::Gap => "gap".to_owned(),
        };
        outcomes.map(tell).collect()
    }

    /// Returns where the only exchange's messages lie, and which are truncated.
    fn only(&mut self) -> (Exchange, [u64; 2], [bool; 2]) {
        let mut exchanges = self.exchanges();
        assert_eq!(exchanges.len(), 1, "{exchanges:?}");
        let exchange = exchanges.remove(0);
        let sizes = [&exchange.request, &exchange.response]
            .map(|message| message.as_ref().map_or(0, |message| message.end - message.start));
        let cut = [&exchange.request, &exchange.response]
            .map(|message| message.as_ref().is_some_and(|message| message.truncated));
        (exchange, sizes, cut)
    }
}

/// Plays a connection in whole calls and in pieces, and returns what is told of it, which must not depend on that.
fn play(said: &[(Direction, &[u8])]) -> Vec<String> {
    let run = |size| {
        let mut server = Server::new();
        server.size = size;
        for (direction, bytes) in said {
            server.bytes(*direction, bytes);
        }
        server.end().all()
    };
    let whole = run(0);
    for size in [1, 7, 1000] {
        assert_eq!(run(size), whole, "by {size}");
    }
    whole
}

#[test]
fn every_method_is_read_with_a_line_of_any_length() {
    for method in ["GET", "PROPFIND", "PURGE", "report", "M-SEARCH", "BASELINE-CONTROL", "!#$%&'*+-.^_`|~x"] {
        for length in [1, 3000, 6000, 65_000] {
            let ask = format!("{method} /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length));
            let mut server = Server::new();
            // On a known connection, in two reads, and as the first.
            for (first, second) in
                [(&ask[..], ""), ask.split_at(ask.len().saturating_sub(20)), ask.split_at(5)]
            {
                server.ask(first).ask(second).answer(OK);
                let told = server.told();
                assert_eq!(told.len(), 1, "{method} {length}: {told:?}");
                assert!(told[0].starts_with(&format!("{method} /aa")) || length == 1, "{}", told[0]);
            }
        }
    }
}

#[test]
fn heads_of_many_kilobytes_are_read() {
    let ask = format!("GET /a HTTP/1.1\r\nX: {}\r\nY: {}\r\n\r\n", "x".repeat(200_000), "y".repeat(200_000));
    for size in [0, 1000, 40_000] {
        let mut server = Server::new();
        server.size = size;
        server.ask(GET).answer(OK).ask(&ask).answer(OK).ask(NEXT).answer(OK);
        let exchanges = server.exchanges();
        assert_eq!(exchanges.len(), 3);
        let request = exchanges[1].request.as_ref().unwrap();
        assert_eq!((request.end - request.start, request.truncated), (ask.len() as u64, true));
        assert!(!exchanges[2].request.as_ref().unwrap().truncated);
    }
}

#[test]
fn unusual_heads_and_bodies_are_read() {
    let post = |fields: &str, body: &str| format!("POST /p HTTP/1.9\r\n{fields}\r\n\r\n{body}");
    for (fields, body) in [
        ("Transfer-Encoding:\r\n chunked", "0003\r\nabc\r\n0000\r\n\r\n"),
        ("Transfer-Encoding: gzip,\r\n\tchunked", "3;x=\"y\"\r\nabc\r\n0;last\r\nTrailer: z\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\nContent-Length: 100", "00000000000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("Content-Length:\r\n 3", "abc"),
        ("Content-Length : 3\r\nContent-Length: 3", "abc"),
        ("Content-Length: 3, 3\r\nTransfer-Encoding: identity", "abc"),
    ] {
        let ask = post(fields, body);
        let answer = format!("HTTP/1.7 201\r\n{fields}\r\n\r\n{body}");
        let said = [
            (Direction::In, ask.as_bytes()),
            (Direction::Out, answer.as_bytes()),
            (Direction::In, GET),
            (Direction::Out, OK),
        ];
        assert_eq!(play(&said), ["POST /p 201", "GET /a 200"], "{fields:?}");
    }
    let bare = b"\n\r\nPOST /p HTTP/1.0\nContent-Length: 1\n\na".as_slice();
    let said = [
        (Direction::In, bare),
        (Direction::Out, b"HTTP/1.0 200 OK\nContent-Length: 0\n\n".as_slice()),
        (Direction::In, GET),
        (Direction::Out, OK),
    ];
    assert_eq!(play(&said), ["POST /p 200", "GET /a 200"]);
}

#[test]
fn responses_without_content_have_none() {
    let with_length = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n".as_slice();
    for (method, answer) in [
        ("HEAD", with_length), ("GET", b"HTTP/1.1 204 None\r\n\r\n"), ("GET", b"HTTP/1.1 205 Reset\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Same\r\nContent-Length: 500\r\n\r\n"),
        ("GET", b"HTTP/1.1 205 Reset\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 102 Wait\r\nX: y\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 None\r\n\r\n"),
    ] {
        let ask = format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let told = play(&[(Direction::In, ask.as_bytes()), (Direction::Out, answer), (Direction::In, GET), (Direction::Out, OK)]);
        assert_eq!(told.last().map(String::as_str), Some("GET /a 200"), "{method}");
        assert_eq!(told.len(), 2, "{told:?}");
    }
}

#[test]
fn interim_responses_are_no_part_of_the_final_one() {
    let mut server = Server::new();
    server.ask(GET).answer(b"HTTP/1.1 100 Continue\r\n\r\n").answer(OK);
    let (exchange, sizes, _) = server.only();
    assert_eq!((exchange.response.unwrap().start, sizes[1]), (25, OK.len() as u64));
}

#[test]
fn targets_have_four_forms() {
    for (ask, host, path) in [
        ("GET http://u:p@shop.test/a?x=1 HTTP/1.1\r\n\r\n", "shop.test", "/a"),
        ("GET http://shop.test HTTP/1.1\r\nHost: other\r\n\r\n", "other", "/"),
        ("OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n", "shop", "*"),
        (
            "GET /resize/http://pictures.test/a.png HTTP/1.1\r\nHost: shop\r\n\r\n",
            "shop",
            "/resize/http://pictures.test/a.png",
        ),
        ("CONNECT u:p@db:5432 HTTP/1.1\r\n\r\n", "db:5432", "[redacted]@db:5432"),
    ] {
        let mut server = Server::new();
        server.ask(ask).answer(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
        let (exchange, ..) = server.only();
        assert_eq!(exchange.target, host, "{ask:?}");
        assert!(exchange.attributes.contains(&("path", path.to_owned())), "{:?}", exchange.attributes);
        assert!(!exchange.operation.contains("u:p"), "{}", exchange.operation);
    }
}

#[test]
fn a_stream_of_sound_is_read_to_its_end() {
    let ask = b"GET /radio HTTP/1.0\r\nIcy-MetaData: 1\r\n\r\n".as_slice();
    let answer = b"ICY 200 OK\r\nicy-name: radio\r\n\r\n\xff\xfb\x90\x00sound".as_slice();
    assert_eq!(
        play(&[(Direction::In, ask), (Direction::Out, answer), (Direction::Out, b"more")]),
        ["GET /radio 200"]
    );
    let told = play(&[(Direction::In, ask), (Direction::Out, b"ICY 401 Unauthorized\r\n\r\n")]);
    assert_eq!(told, ["GET /radio 401"]);
}

#[test]
fn hijacked_connections_end_decoding() {
    let stream = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n".as_slice();
    let upgraded = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".as_slice();
    for (ask, answer) in [
        ("POST /v1.24/containers/x/attach?stream=1 HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n", stream),
        (
            "POST /exec/x/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}",
            upgraded,
        ),
        ("GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", upgraded),
    ] {
        let mut server = Server::new();
        server.ask(ask).answer(answer);
        let (exchange, _, cut) = server.only();
        assert_eq!(cut, [false, false], "{ask:?}");
        assert!(matches!(exchange.status.as_str(), "200" | "101"));
        server.ask(b"GET / HTTP/1.1\r\n\r\n").answer(b"\x01\0\0\0\0\0\0\x05hello").end();
        assert_eq!(server.all(), [""; 0]);
        assert_eq!(server.conversation.verdict(), Verdict::Ignore);
    }
}

#[test]
fn what_a_client_says_behind_an_endless_response_takes_nothing_away() {
    let mut server = Server::new();
    server.ask(b"POST /attach HTTP/1.1\r\nHost: d\r\n\r\n").answer(b"HTTP/1.1 200 OK\r\n\r\n$ ");
    server.ask(b"ls -la\n").answer(b"total 0\r\n").end();
    assert_eq!(server.all(), ["POST /attach 200"]);
}

#[test]
fn a_tunnel_may_be_used_before_it_is_open() {
    let hello = [b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".as_slice(), &[0x5a; 506]].concat();
    let mut server = Server::new();
    server.ask(b"CONNECT db:443 HTTP/1.1\r\nHost: db\r\n\r\n").ask(hello);
    server.answer(b"HTTP/1.1 200 OK\r\n\r\n").answer(b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03");
    assert_eq!(server.all(), ["CONNECT db:443 200"]);
    assert_eq!(server.conversation.verdict(), Verdict::Ignore);
}

#[test]
fn what_is_announced_of_a_tunnels_body_is_none() {
    let mut server = Server::new();
    server.ask(b"CONNECT web:80 HTTP/1.1\r\nHost: web\r\n\r\n");
    server.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    server.ask(b"GET /in HTTP/1.1\r\nHost: web\r\n\r\n").answer(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(server.all(), ["CONNECT web:80 200", "GET /in 204"]);
}

#[test]
fn a_tunnel_that_is_refused_is_none() {
    let mut server = Server::new();
    server.ask(b"CONNECT web:80 HTTP/1.1\r\nHost: web\r\n\r\n");
    server.answer(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    server.ask(b"CONNECT web:80 HTTP/1.1\r\nHost: web\r\nProxy-Authorization: Basic eA==\r\n\r\n");
    server.answer(b"HTTP/1.1 200 OK\r\n\r\n");
    server.ask(b"PING\r\n").answer(b"+PONG\r\n");
    assert_eq!(server.all(), ["CONNECT web:80 407", "CONNECT web:80 200", "PING OK"]);
}

#[test]
fn what_is_said_before_a_tunnel_is_open_is_said_in_it() {
    let connect = b"CONNECT web:80 HTTP/1.1\r\nHost: web\r\n\r\n".as_slice();
    let get = b"GET /early HTTP/1.1\r\nHost: web\r\n\r\n".as_slice();
    for asked in [vec![[connect, get].concat()], vec![connect.to_vec(), get.to_vec()]] {
        let mut server = Server::new();
        for bytes in &asked {
            server.ask(bytes);
        }
        server.answer(b"HTTP/1.1 200 OK\r\n\r\n").answer(b"HTTP/1.1 204 No Content\r\n\r\n");
        server.ask(b"GET /late HTTP/1.1\r\nHost: web\r\n\r\n").answer(b"HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(server.all(), ["CONNECT web:80 200", "GET /early 204", "GET /late 204"]);
        let mut server = Server::new();
        for bytes in &asked {
            server.ask(bytes);
        }
        server.answer(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
        server.answer(b"HTTP/1.1 204 No Content\r\n\r\n").end();
        assert_eq!(server.all(), ["CONNECT web:80 405", "GET /early 204"], "no proxy");
    }
}

#[test]
fn tunnels_lie_within_each_other_so_deep() {
    let mut server = Server::new();
    for _ in 0..9 {
        server.ask(b"CONNECT next:80 HTTP/1.1\r\nHost: next\r\n\r\n").answer(b"HTTP/1.1 200 OK\r\n\r\n");
    }
    server.ask(b"GET / HTTP/1.1\r\n\r\n").answer(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(server.all(), ["CONNECT next:80 200"; 9]);
    assert_eq!(server.conversation.verdict(), Verdict::Ignore);
}

#[test]
fn bodies_of_an_answer_without_a_head_are_not_guessed() {
    let mut server = Server::new();
    server.ask(b"GET /old HTTP/1.0\r\n\r\n").answer(b"<html>no head</html>").end();
    assert!(server.exchanges().iter().all(|exchange| exchange.response.is_none()));
}
