//! Answers that nobody asked for, and messages that end before their time: what moved is what is told.

use super::*;

const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";

fn upload(length: usize) -> Vec<u8> {
    format!("POST /u HTTP/1.1\r\nHost: shop\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

#[test]
fn an_answer_nobody_asked_for_is_a_push_with_its_status() {
    for (answer, status) in [
        (TIMEOUT, "408"),
        (b"HTTP/1.0 408 Request Time-out\r\nCache-Control: no-cache\r\n\r\n<html>".as_slice(), "408"),
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "400"),
        (b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "503"),
        (b"HTTP/1.1 414 Long\r\nConnection: Close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "414"),
    ] {
        for asked in [false, true] {
            let mut server = Server::new();
            if asked {
                server.ask(GET).answer(OK);
            }
            server.answer(answer).end();
            let exchanges = server.exchanges();
            assert_eq!(exchanges.len(), usize::from(asked) + 1, "{status}");
            let push = exchanges.last().unwrap();
            assert!(push.request.is_none() && push.error, "{push:?}");
            assert_eq!(push.status, status);
            assert!(push.operation.starts_with(status), "{}", push.operation);
        }
    }
}

#[test]
fn a_head_that_was_answered_before_its_end_is_the_request() {
    for (sent, size) in [("GET /half HTTP/1.1\r\nHost: x\r\n", 29), ("GET /half HTTP/1.1\r\nHo", 22)] {
        for before in [false, true] {
            let mut server = Server::new();
            if before {
                server.ask(GET).answer(OK);
                assert_eq!(server.told(), ["GET /a 200"]);
            }
            server.ask(sent).answer(TIMEOUT);
            let (exchange, sizes, cut) = server.only();
            assert_eq!((exchange.operation.as_str(), exchange.status.as_str()), ("GET /half", "408"));
            assert_eq!((sizes, cut), ([size, TIMEOUT.len() as u64], [true, false]));
            // The rest of it comes all the same.
            server.ask(b"st: y\r\n\r\n").ask(NEXT).answer(OK).end();
            assert_eq!(server.all(), ["GET /b 200"]);
        }
    }
}

#[test]
fn half_a_line_is_no_request() {
    let mut server = Server::new();
    server.ask(GET).answer(OK).ask(b"PURGE /hal").answer(TIMEOUT).end();
    assert_eq!(server.told(), ["GET /a 200", "!408 Request Time-out 408"]);
}

#[test]
fn a_head_without_end_or_answer_is_told_as_far_as_it_came() {
    let mut server = Server::new();
    server.ask(b"GET /half HTTP/1.1\r\nHost: x\r\n").end();
    let (exchange, sizes, cut) = server.only();
    assert_eq!(
        (exchange.operation.as_str(), exchange.target.as_str(), exchange.error),
        ("GET /half", "x", true)
    );
    assert_eq!((sizes, cut), ([29, 0], [true, false]));
}

#[test]
fn a_response_whose_head_has_no_end_has_its_status() {
    let mut server = Server::new();
    server.ask(GET).answer(b"HTTP/1.1 502 Bad Gateway\r\nContent-Le").end();
    let (exchange, sizes, cut) = server.only();
    assert_eq!((exchange.status.as_str(), sizes[1], cut), ("502", 36, [false, true]));
}

#[test]
fn the_size_of_an_upload_is_what_moved() {
    let refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let chunked = b"POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for (head, part) in [
        (upload(5000), vec![b'x'; 100]),
        (upload(5_000_000), vec![b'x'; 70_000]),
        (chunked.clone(), b"ff\r\nabc".to_vec()),
        (chunked, [b"fffff\r\n".as_slice(), "x".repeat(70_000).as_bytes()].concat()),
    ] {
        for answered in [true, false] {
            for size in [0, 1000] {
                let mut server = Server::new();
                server.size = size;
                server.ask(&head).ask(&part);
                if answered {
                    server.answer(refusal);
                }
                server.end();
                let (exchange, sizes, cut) = server.only();
                assert_eq!(sizes[0], (head.len() + part.len()) as u64, "{answered} {}", part.len());
                assert!(cut[0] && exchange.error);
                let payload = exchange.request.unwrap().payload;
                assert!(payload.len() > head.len(), "what came of the body is shown: {answered}");
            }
        }
    }
}

#[test]
fn a_whole_upload_is_not_truncated() {
    for (head, body) in [
        (upload(500), vec![b'x'; 500]),
        (
            b"POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            b"3\r\nabc\r\n0\r\n\r\n".to_vec(),
        ),
    ] {
        for size in [0, 1, 100] {
            let mut server = Server::new();
            server.size = size;
            server.ask(&head).ask(&body).answer(OK);
            let (_, sizes, cut) = server.only();
            assert_eq!((sizes[0], cut), ((head.len() + body.len()) as u64, [false, false]));
        }
    }
}

#[test]
fn truncation_does_not_reach_the_next_request() {
    let head = upload(100_000);
    let mut server = Server::new();
    // Most of the body passes uncaptured, after its answer and before it.
    server.ask(&head).ask([b'x'; 2000]).answer(OK).hole(Direction::In, 98_000).ask(NEXT).answer(OK);
    server.ask(&head).ask([b'x'; 2000]).hole(Direction::In, 98_000).answer(OK).ask(NEXT).answer(OK);
    let exchanges = server.exchanges();
    let requests: Vec<_> = exchanges.iter().map(|exchange| exchange.request.as_ref().unwrap()).collect();
    let cut: Vec<bool> = requests.iter().map(|request| request.truncated).collect();
    assert_eq!(cut, [true, false, true, false]);
    let sizes: Vec<u64> = requests.iter().map(|request| request.end - request.start).collect();
    let (head, next) = (head.len() as u64, NEXT.len() as u64);
    assert_eq!(sizes, [head + 100_000, next, head + 100_000, next]);
}

#[test]
fn an_early_answer_that_passes_for_long_has_the_whole_upload() {
    let head = upload(3000);
    let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n".as_slice(), &[b'y'; 10_000]].concat();
    let mut server = Server::new();
    server.ask(&head).ask([b'x'; 10]).answer(&answer);
    for _ in 0..13 {
        server.ask([b'x'; 230]);
    }
    server.answer(vec![b'y'; 40_000]);
    let (_, sizes, cut) = server.only();
    assert_eq!((sizes[0], cut[0]), (head.len() as u64 + 3000, true));
}

#[test]
fn a_refused_body_that_never_came_has_no_size() {
    let head = b"POST /u HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3000\r\n\r\n";
    let mut server = Server::new();
    server.ask(head).answer(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n").ask(GET).answer(OK);
    let exchanges = server.exchanges();
    let request = exchanges[0].request.as_ref().unwrap();
    assert_eq!((request.end - request.start, request.truncated), (head.len() as u64, true));
    let request = exchanges[1].request.as_ref().unwrap();
    assert_eq!((request.end - request.start, request.truncated), (GET.len() as u64, false));
}

#[test]
fn a_request_whose_later_bytes_cannot_be_read_has_its_answer() {
    let refusal = b"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let mut server = Server::new();
    server.ask(b"GET /x HTTP/1.1\r\nHost: a\r\nX: \x01\x02\r\n\r\n").answer(refusal).end();
    assert_eq!(server.told(), ["GET /x 400"]);
    let mut server = Server::new();
    server.ask(b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n");
    server.answer(refusal).end();
    assert_eq!(server.told(), ["POST /x 400"]);
}

#[test]
fn a_complete_request_is_not_forgotten_for_what_its_client_sent_later() {
    let mut server = Server::new();
    server.ask(GET).ask(b"\x00\x01\x02 nonsense\r\n\r\n").answer(OK).ask(NEXT).answer(OK);
    assert_eq!(server.told(), ["GET /a 200", "GET /b 200"]);
}
