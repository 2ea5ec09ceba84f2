//! Losses and holes: reading goes on at the next message, and text within a body is none.

use super::*;

/// Takes turns until the engine is sure of the pairs again.
fn turn(server: &mut Server) {
    for _ in 0..12 {
        server.ask(NEXT).answer(OK);
    }
}

const PHANTOM: &[u8] = b"--part\r\n\r\nGET /phantom HTTP/1.1\r\nHost: x\r\n\r\n--part--\r\n";

#[test]
fn text_in_a_body_is_no_request_after_a_loss() {
    let chunked = b"POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n".as_slice();
    for head in [b"POST /u HTTP/1.1\r\nContent-Length: 4096\r\n\r\n".as_slice(), chunked] {
        for text in [
            PHANTOM,
            b"GET /phantom HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /phantom HTTP/1.1\r\n",
            b"a\nPUT /phantom HTTP/1.1\r\n\r\n",
        ] {
            for size in [0, 7] {
                let mut server = Server::new();
                server.ask(GET).answer(OK).ask(head).ask([b'x'; 100]).loss(Direction::In, 1000);
                server.size = size;
                server.ask(text).ask(text).answer(OK);
                turn(&mut server);
                let told = server.told();
                assert!(told.iter().all(|told| !told.contains("phantom")), "{size} {told:?}");
                assert_eq!(told.last().map(String::as_str), Some("GET /b 200"), "{size}: {told:?}");
            }
        }
    }
}

#[test]
fn text_in_a_body_that_cannot_be_read_is_no_request() {
    let mut server = Server::new();
    server.ask(b"POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n");
    server.ask(b"GET /phantom HTTP/1.1\r\nHost: x\r\n\r\n").answer(OK).ask(NEXT).answer(OK);
    let told = server.told();
    assert!(told.iter().all(|told| !told.contains("phantom")), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("GET /b 200"), "{told:?}");
}

#[test]
fn text_in_a_body_is_no_response_after_a_loss() {
    let mut server = Server::new();
    server.ask(GET).answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n").answer([b'x'; 100]);
    server.loss(Direction::Out, 9000).answer(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\ntext");
    server.ask(NEXT).answer(OK);
    assert_eq!(server.told().last().map(String::as_str), Some("GET /b 200"));
}

#[test]
fn no_row_is_made_of_a_cut_word() {
    // The end of a body, of which the beginning is lost, and a request behind it.
    for tail in ["end", "abc\nend", "G", "200 OK", "see /path", "x\r\nPO"] {
        let mut server = Server::new();
        server.ask(GET).answer(OK).loss(Direction::In, 500).ask(tail).answer(OK);
        turn(&mut server);
        for told in server.told() {
            assert!(matches!(told.as_str(), "GET /a 200" | "GET /b 200"), "{tail:?}: {told}");
        }
    }
    // A head that is lost in its middle.
    let long = format!("PURGE /{} HTTP/1.1\r\n\r\n", "a".repeat(6000));
    for cut in [1, 3, 500, 5999] {
        let mut server = Server::new();
        server.ask(GET).answer(OK).ask(&long[..cut]).loss(Direction::In, 1).ask(&long[cut + 1..]).answer(OK);
        turn(&mut server);
        for told in server.told() {
            assert!(matches!(told.as_str(), "GET /a 200" | "GET /b 200"), "{cut}: {}", &told[..20]);
        }
    }
}

#[test]
fn reading_goes_on_with_any_method_behind_a_loss() {
    for method in ["GET", "purge", "X-Own"] {
        let mut server = Server::new();
        server.ask(GET).answer(OK).loss(Direction::In, 20).ask(b"tail of it").answer(OK);
        server.ask(format!("{method} /b HTTP/1.1\r\nHost: a\r\n\r\n")).answer(OK);
        assert_eq!(server.told().last().cloned(), Some(format!("{method} /b 200")));
    }
}

#[test]
fn bodies_pass_over_holes_exactly() {
    let head = "POST /u HTTP/1.1\r\nContent-Length: 300000\r\n\r\n";
    for first in [0, 10, 2000] {
        let mut server = Server::new();
        server.ask(head).ask(vec![b'x'; first]).hole(Direction::In, 299_000 - first).ask([b'y'; 1000]);
        server.answer(OK).ask(NEXT).answer(OK);
        let exchanges = server.exchanges();
        let request = exchanges[0].request.as_ref().unwrap();
        assert_eq!((request.end - request.start, request.truncated), (head.len() as u64 + 300_000, true));
        assert_eq!(exchanges[1].operation, "GET /b");
        assert!(!exchanges[1].request.as_ref().unwrap().truncated);
    }
}

#[test]
fn chunks_pass_over_holes() {
    let head = "POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
    let body = [chunk.repeat(20), b"0\r\n\r\n".to_vec()].concat();
    for from in [10, 3000, 4090, 4102, 4104] {
        for to in [from + 1, 5000, 8210, 70_000, body.len() - 5, body.len()] {
            if to <= from {
                continue;
            }
            let mut server = Server::new();
            server.ask(head).ask(&body[..from]).hole(Direction::In, to - from).ask(&body[to..]);
            server.answer(OK).ask(NEXT).answer(OK);
            let exchanges = server.exchanges();
            let told: Vec<&str> = exchanges.iter().map(|exchange| exchange.operation.as_str()).collect();
            assert_eq!(told, ["POST /u", "GET /b"], "{from}..{to}");
            let request = exchanges[0].request.as_ref().unwrap();
            assert_eq!(request.end - request.start, (head.len() + body.len()) as u64, "{from}..{to}");
        }
    }
}

#[test]
fn text_behind_a_hole_among_chunks_is_no_request() {
    let head = "POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n";
    let mut server = Server::new();
    server.ask(head).hole(Direction::In, 9000).ask(b"GET /phantom HTTP/1.1\r\nHost: x\r\n\r\n").ask(PHANTOM);
    server.ask(b"\r\n0\r\n\r\n").answer(OK).ask(NEXT).answer(OK);
    assert_eq!(server.told(), ["POST /u 200", "GET /b 200"]);
}

#[test]
fn a_connection_joined_within_text_is_told_from_a_request() {
    for text in [
        "GET /phantom HTTP/1.1\r\n200 12 -\r\n",
        "GET /phantom HTTP/1.1 200\r\n",
        "HTTP/1.1 200 OK, it said\r\n",
    ] {
        let mut server = Server::over(1000, false);
        server.ask(text).answer(text).ask(GET).answer(OK);
        turn(&mut server);
        let told = server.told();
        assert!(
            told.iter().all(|told| matches!(told.as_str(), "GET /a 200" | "GET /b 200")),
            "{text:?}: {told:?}"
        );
        assert!(told.len() >= 8, "{text:?}: {told:?}");
    }
}
