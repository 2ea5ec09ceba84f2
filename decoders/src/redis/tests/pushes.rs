//! What servers send without being asked, on connections of any age.

use super::*;

fn message(kind: &str, words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("{kind}{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(bulk(word.as_bytes()));
    }
    bytes
}

/// What servers send without being asked, and the operation of its row.
fn pushes() -> Vec<(Vec<u8>, &'static str)> {
    let invalidated = [b">2\r\n$10\r\ninvalidate\r\n".as_slice(), &words("a")].concat();
    let redirected =
        [b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n".as_slice(), &words("a")].concat();
    vec![
        (message("*", &["message", "news", "hello"]), "MESSAGE news"),
        (message("*", &["pmessage", "n*", "news", "hello"]), "PMESSAGE n*"),
        (message("*", &["smessage", "news", "hello"]), "SMESSAGE news"),
        (message(">", &["message", "news", "hello"]), "MESSAGE news"),
        (message(">", &["pmessage", "n*", "news", "hello"]), "PMESSAGE n*"),
        (invalidated, "INVALIDATE"),
        (b">2\r\n$10\r\ninvalidate\r\n_\r\n".to_vec(), "INVALIDATE"),
        (redirected, "MESSAGE __redis__:invalidate"),
        (b">3\r\n$6\r\nMOVING\r\n:7\r\n:15\r\n".to_vec(), "MOVING"),
        (b"+1700000000.123456 [0 127.0.0.1:4000] \"GET\" \"a\"\r\n".to_vec(), "MONITOR"),
        (b"+1700000000.123456 [0 lua] \"SET\" \"a\" \"b\"\r\n".to_vec(), "MONITOR"),
        (b"+1700000000.123456 [0 [::1]:4000] \"PING\"\r\n".to_vec(), "MONITOR"),
    ]
}

#[test]
fn pushes_are_pushes_on_connections_of_any_age() {
    for (push, operation) in pushes() {
        for known in [Some(Side::Client), Some(Side::Server), None] {
            for side in [Side::Client, Side::Server]
                .into_iter()
                .filter(|side| known.is_none_or(|known| known == *side))
            {
                let mut talk = Talk::with(false, known, side, 7000);
                (0..5).for_each(|_| _ = talk.answer(&push));
                let rows = talk.end().lines();
                assert_eq!(rows, vec![format!("<{operation} OK"); 5], "{known:?} {side:?}");
            }
        }
    }
}

#[test]
fn pushes_are_found_behind_the_rest_of_one() {
    for (push, operation) in pushes() {
        for cut in 1..push.len() {
            let mut talk = Talk::new(false);
            let joined = [&push[cut..], &push, &push].concat();
            talk.answer(&joined).answer(&push).answer(&push);
            let rows = talk.end().lines();
            assert!(rows.len() >= 4, "{operation} {cut} {rows:?}");
            assert!(rows.iter().all(|row| *row == format!("<{operation} OK")), "{cut} {rows:?}");
        }
    }
}

#[test]
fn a_subscriber_that_lost_bytes_goes_on() {
    for (push, operation) in pushes() {
        let mut talk = Talk::new(true);
        talk.ask(&words("SUBSCRIBE a")).answer(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
        assert_eq!(talk.lines(), ["SUBSCRIBE a OK"]);
        for cut in 1..push.len() {
            talk.lose(Side::Server, cut).answer(&push[cut..]).answer(&push).answer(&push);
            let rows: Vec<_> = talk.exchanges().into_iter().map(|row| row.operation).collect();
            assert!(rows.len() >= 2 && rows.iter().all(|row| *row == operation), "{cut} {rows:?}");
        }
    }
}

#[test]
fn a_replica_that_was_connected_before_is_found() {
    for side in [Side::Client, Side::Server] {
        let mut talk = Talk::with(false, Some(side), side, 7000);
        for at in 0..4 {
            talk.answer(&words(&format!("SET a {at}"))).ask(&words(&format!("REPLCONF ACK {at}")));
        }
        let lines = talk.end().lines();
        let pushed = lines.iter().filter(|line| *line == "<SET a OK").count();
        assert_eq!((pushed, lines.len()), (3, 7), "{lines:?}");
    }
}
