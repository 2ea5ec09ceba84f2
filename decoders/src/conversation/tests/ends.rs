//! Requests and responses that end before, or otherwise than, they announced.

use super::*;

const POST: &[u8] = b"POST /up HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n";
const CHUNKED: &[u8] = b"POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n";
const TOO_LARGE: &[u8] = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";

#[test]
fn an_upload_that_was_answered_early_has_the_size_that_moved() {
    for head in [POST, CHUNKED] {
        let mut client = Client::new(true);
        client.ask(head).ask(&[b'u'; 300]).answer(TOO_LARGE);
        assert_eq!(client.outcomes(), [""; 0], "the rest is on its way");
        client.ask(&[b'u'; 200]).end();
        let exchange = client.exchange();
        let request = exchange.request.unwrap();
        assert_eq!((exchange.status.as_str(), request.start), ("413", 0));
        assert_eq!((request.end, request.truncated), (head.len() as u64 + 500, true));
    }
}

#[test]
fn an_upload_that_goes_on_after_its_answer_is_whole() {
    let mut client = Client::new(true);
    client.ask(POST).ask(&[b'u'; 300]).answer(OK).ask(&[b'u'; 700]);
    let request = client.exchange().request.unwrap();
    assert_eq!(request.end, POST.len() as u64 + 1000);
    client.ask(GET).answer(OK);
    assert!(!client.exchange().request.unwrap().truncated, "of the one before nothing leaks");
}

#[test]
fn an_answered_upload_that_stops_comes_out_after_a_while() {
    let mut client = Client::new(true);
    client.ask(POST).ask(&[b'u'; 300]).answer(TOO_LARGE);
    client.conversation.expire(client.now + 100_000_000);
    assert_eq!(client.outcomes(), [""; 0]);
    assert_eq!(client.conversation.floor(Direction::Out), 0, "its calls are still needed");
    client.conversation.expire(client.now + 2_000_000_000);
    assert_eq!(client.exchange().request.unwrap().end, POST.len() as u64 + 300);
}

#[test]
fn an_upload_cut_in_half_has_the_size_that_moved() {
    for head in [POST, CHUNKED] {
        let mut client = Client::new(true);
        client.ask(GET).answer(OK).ask(head).ask(&[b'u'; 300]).end();
        assert_eq!(client.outcomes().len(), 2);
        let mut client = Client::new(true);
        client.ask(head).ask(&[b'u'; 300]).end();
        let exchange = client.exchange();
        let request = exchange.request.unwrap();
        assert_eq!(
            (request.end, request.truncated),
            (head.len() as u64 + 300, true),
            "{}",
            head.escape_ascii()
        );
        assert!(exchange.error && exchange.reason.is_none());
    }
}

#[test]
fn bytes_of_an_answer_that_cannot_be_read_are_no_missing_answer() {
    let mut client = Client::new(true);
    client.ask(GET).answer(OK).ask(b"GET /b HTTP/1.1\r\n\r\n").answer(b"\x01\x02\x03 no answer\r\n");
    assert_eq!(client.exchange().status, "200");
    let exchange = client.exchange();
    assert_eq!((exchange.operation.as_str(), exchange.reason), ("GET /b", Some(Reason::Unreadable)));
    assert!(!exchange.error && exchange.status.is_empty() && exchange.response.is_none());
    client.ask(GET).answer(OK);
    assert_eq!(client.outcomes().last().map(String::as_str), Some("GET /a 200"));
}

#[test]
fn half_a_line_of_an_answer_is_no_missing_answer() {
    let mut client = Client::new(true);
    client.ask(GET).answer(b"HTTP/1.1 20").end();
    let exchange = client.exchange();
    assert_eq!((exchange.error, exchange.reason), (false, Some(Reason::Unreadable)));
    let mut client = Client::new(true);
    client.ask(GET).end();
    let exchange = client.exchange();
    assert_eq!((exchange.error, exchange.reason), (true, None), "this one was never answered");
}

#[test]
fn a_whole_request_is_not_forgotten_for_what_its_client_sent_later() {
    let mut client = Client::new(true);
    client.ask(GET).ask(b"\x00\x01\x02 nonsense\r\n\r\n").answer(OK);
    let outcomes = client.outcomes();
    assert!(outcomes.contains(&"GET /a 200".to_owned()), "{outcomes:?}");
    assert!(!outcomes.contains(&"gap".to_owned()), "{outcomes:?}");
}
