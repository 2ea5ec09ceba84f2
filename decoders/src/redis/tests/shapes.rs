//! Commands and replies of any size and shape.

use super::*;
use crate::decoder::MAX_PENDING;

/// Builds the reply to `COMMAND` as Redis 7 sends it in RESP2: lists within lists, some hundred.
fn command_reply(commands: usize) -> Vec<u8> {
    let mut bytes = format!("*{commands}\r\n").into_bytes();
    for at in 0..commands {
        bytes.extend(b"*10\r\n");
        bytes.extend(bulk(format!("command{at}").as_bytes()));
        bytes
            .extend(b":-2\r\n*3\r\n+write\r\n+denyoom\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*1\r\n+@write\r\n*0\r\n");
        bytes.extend(b"*1\r\n*6\r\n$5\r\nflags\r\n*1\r\n+RW\r\n$5\r\nbegin\r\n*2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nfind\r\n*-1\r\n*0\r\n");
    }
    bytes
}

#[test]
fn a_reply_of_hundreds_of_nested_lists_is_one_exchange() {
    let reply = command_reply(241);
    for size in [usize::MAX, 16_384, 100, 1] {
        let mut talk = Talk::new(true);
        talk.ask(&words("COMMAND"));
        reply.chunks(size.min(reply.len())).for_each(|part| _ = talk.answer(part));
        talk.ask(&words("PING")).answer(b"+PONG\r\n");
        let rows = talk.outcomes();
        assert_eq!(rows.len(), 2, "{size}");
        let Outcome::Exchange(row) = &rows[0] else { panic!("{rows:?}") };
        assert_eq!(row.response.as_ref().unwrap().end, reply.len() as u64);
    }
}

#[test]
fn a_pipeline_of_thousands_is_paired() {
    let mut talk = Talk::new(true);
    let asked: Vec<u8> = (0..6000).flat_map(|at| words(&format!("SET key:{at} v"))).collect();
    asked.chunks(65_536).for_each(|part| _ = talk.ask(part));
    b"+OK\r\n".repeat(6000).chunks(16_384).for_each(|part| _ = talk.answer(part));
    talk.ask(&words("GET after")).answer(b"$1\r\nx\r\n");
    let rows = talk.exchanges();
    assert_eq!(rows.len(), 6001);
    assert!(rows.iter().take(6000).enumerate().all(|(at, row)| row.operation == format!("SET key:{at}")));
    assert_eq!(rows[6000].response.as_ref().unwrap().payload, b"x");
}

/// Lists of bulks of these sizes, of which more than `seen` bytes of a body were not captured: where a hole ends is up to
/// the call that moved it.
#[test]
fn bodies_that_were_not_captured_leave_lists_whole() {
    let sizes = [10, 5000, 300, 100_000, 2, 4097];
    for beyond in [0, 1, 2] {
        for seen in [0, 1, 300, 4000] {
            let mut talk = Talk::new(true);
            talk.ask(&words("MGET a b c d e f")).answer(format!("*{}\r\n", sizes.len()).as_bytes());
            let mut total = 4;
            for size in sizes {
                let whole = bulk(&vec![b'v'; size]);
                total += whole.len() as u64;
                let head = whole.len() - size - 2;
                if size <= seen + 2 {
                    talk.answer(&whole);
                    continue;
                }
                talk.answer(&whole[..head + seen]).skip(Side::Server, size - seen + beyond);
                if beyond < 2 {
                    talk.answer(&whole[whole.len() - 2 + beyond..]);
                }
            }
            talk.ask(&words("GET a")).answer(b"$1\r\nx\r\n");
            let rows = talk.exchanges();
            let ends: Vec<_> = rows.iter().map(|row| row.response.as_ref().unwrap().end).collect();
            assert_eq!(ends, [total, total + 7], "{beyond} {seen}");
            assert!(rows[0].response.as_ref().unwrap().truncated);
        }
    }
}

#[test]
fn a_large_request_whose_value_was_not_captured_is_whole() {
    for size in [4096_usize, 128 * 1024, 3_000_000] {
        for seen in [0, 1000] {
            let value = vec![b'v'; size];
            let set = command(&[b"SET".as_slice(), b"big", &value, b"EX", b"9"]);
            let head = set.len() - size - 2 - 8 - 7;
            let mut talk = Talk::new(true);
            talk.ask(&words("GET a")).answer(b"$1\r\nx\r\n").ask(&set[..head + seen]);
            talk.skip(Side::Client, size - seen + 2).ask(&set[head + size + 2..]).answer(b"+OK\r\n");
            talk.ask(&words("PING")).answer(b"+PONG\r\n");
            let rows = talk.exchanges();
            let names: Vec<_> = rows.iter().map(|row| row.operation.as_str()).collect();
            assert_eq!(names, ["GET a", "SET big", "PING"], "{size} {seen}");
            let request = rows[1].request.as_ref().unwrap();
            assert_eq!((request.end - request.start, request.truncated), (set.len() as u64, true));
            assert!(!rows[2].request.as_ref().unwrap().truncated);
        }
    }
}

#[test]
fn text_of_other_protocols_stays_a_value() {
    for value in [
        b"HTTP/1.1 503 Busy\r\n\r\nPOST /x HTTP/1.1\r\nHost: y\r\n\r\n".as_slice(),
        b"\x02\x1a\xfeupdate stock set n = 1; select n from stock",
        b"*1\r\n$4\r\nPING\r\n+PONG\r\n",
        b"-ERR Protocol error\r\n",
    ] {
        for size in [usize::MAX, 1, 3] {
            let set = command(&[b"SET".as_slice(), b"page", value]);
            let mut talk = Talk::new(true);
            set.chunks(size.min(set.len())).for_each(|part| _ = talk.ask(part));
            talk.answer(b"+OK\r\n").ask(&words("GET page"));
            let reply = bulk(value);
            reply.chunks(size.min(reply.len())).for_each(|part| _ = talk.answer(part));
            let rows = talk.exchanges();
            assert_eq!(rows.len(), 2);
            assert_eq!(rows[1].response.as_ref().unwrap().payload, value);
        }
    }
}

#[test]
fn a_request_cut_by_the_end_has_what_moved() {
    let set = command(&[b"SET".as_slice(), b"k", &[b'v'; 50]]);
    for cut in 1..set.len() {
        let mut talk = Talk::new(true);
        talk.ask(&words("PING")).answer(b"+PONG\r\n").ask(&set[..cut]).end();
        let rows = talk.exchanges();
        if cut < 13 {
            assert_eq!(rows.len(), 1, "a cut name is no row: {cut}");
            continue;
        }
        let row = &rows[1];
        let operation = if cut < 20 { "SET" } else { "SET k" };
        let request = row.request.as_ref().unwrap();
        assert_eq!((row.operation.as_str(), request.truncated), (operation, true), "{cut}");
        assert_eq!(request.end - request.start, cut as u64);
        assert_eq!((row.status.as_str(), row.response.is_none()), ("", true));
    }
}

#[test]
fn a_cut_password_is_hidden() {
    let auth = words("AUTH user hunter2");
    for cut in 14..auth.len() {
        let mut talk = Talk::new(true);
        talk.ask(&words("PING")).answer(b"+PONG\r\n").ask(&auth[..cut]).end();
        let rows = talk.exchanges();
        let shown = String::from_utf8(rows[1].request.clone().unwrap().payload).unwrap();
        assert!(!shown.contains("us") && !shown.contains("hun"), "{shown}");
    }
}

#[test]
fn an_error_before_the_end_of_a_request_answers_it() {
    let error = b"-ERR Protocol error: invalid bulk length\r\n";
    for size in [usize::MAX, 1] {
        let mut talk = Talk::new(true);
        talk.ask(&words("PING")).answer(b"+PONG\r\n");
        talk.ask(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\nvvvv");
        error.chunks(size.min(error.len())).for_each(|part| _ = talk.answer(part));
        talk.ask(b"vvvvvvvv").end();
        let rows = talk.exchanges();
        let [_, row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.operation.as_str(), row.status.as_str(), row.error), ("SET k", "ERR", true));
        assert!(row.request.as_ref().unwrap().truncated);
    }
}

#[test]
fn a_refusal_of_what_is_no_command_is_shown() {
    for (asked, error) in [
        (b"*1\r\n!4\r\nPING\r\n".as_slice(), "expected '$', got '!'"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*2\r\n$4\r\nECHO\r\n$-5\r\n", "invalid bulk length"),
        (b"*2\r\n$4\r\nECHO\r\n$99999999999999999999\r\n", "invalid bulk length"),
    ] {
        let error = format!("-ERR Protocol error: {error}\r\n");
        for size in [usize::MAX, 1] {
            let mut talk = Talk::new(true);
            talk.ask(&words("PING")).answer(b"+PONG\r\n");
            asked.chunks(size).for_each(|part| _ = talk.ask(part));
            error.as_bytes().chunks(size).for_each(|part| _ = talk.answer(part));
            let lines = talk.end().lines();
            assert!(lines.contains(&"<ERROR ERR!".to_owned()), "{lines:?}");
            assert!(!lines.contains(&"unpaired".to_owned()), "{lines:?}");
        }
    }
}

#[test]
fn what_is_truncated_says_so_and_the_next_does_not() {
    let mut talk = Talk::new(true);
    talk.ask(&command(&[b"SET".as_slice(), b"k", &[b'v'; 5000]])).answer(b"+OK\r\n");
    talk.ask(&words("GET k")).answer(&bulk(&[b'v'; 5000])).ask(&words("GET j")).answer(b"$1\r\nx\r\n");
    let cut = |message: &Option<crate::conversation::Message>| message.as_ref().unwrap().truncated;
    let shown: Vec<_> = talk.exchanges().iter().map(|row| (cut(&row.request), cut(&row.response))).collect();
    assert_eq!(shown, [(true, false), (false, true), (false, false)]);
}

#[test]
fn a_request_is_not_forgotten_for_what_follows_it() {
    let mut talk = Talk::new(true);
    talk.ask(&words("PING")).answer(b"+PONG\r\n");
    talk.ask(&words("GET a")).ask(b"*1\r\nx not a command\r\n").answer(b"$1\r\nx\r\n");
    let rows = talk.exchanges();
    assert_eq!(rows.last().unwrap().operation, "GET a", "{rows:?}");
}

#[test]
fn messages_of_a_subscriber_do_not_answer_what_it_may_not_ask() {
    let message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n";
    let mut talk = Talk::new(true);
    talk.ask(&words("SUBSCRIBE a")).answer(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    talk.ask(&words("GET k")).answer(message).answer(b"-ERR Can't execute 'get'\r\n");
    assert_eq!(talk.lines(), ["SUBSCRIBE a OK", "<MESSAGE a OK", "GET k ERR!"]);
    // After `RESET` nothing is subscribed, and in RESP3 no list is a message.
    talk.ask(&words("RESET")).answer(b"+RESET\r\n").ask(&words("LRANGE l 0 -1")).answer(message);
    assert_eq!(talk.lines(), ["RESET OK", "LRANGE l OK"]);
    talk.ask(&words("HELLO 3")).answer(b"%1\r\n+proto\r\n:3\r\n");
    talk.ask(&words("SUBSCRIBE a")).answer(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    talk.ask(&words("LRANGE l 0 -1"))
        .answer(message)
        .answer(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
    assert_eq!(talk.lines(), ["HELLO OK", "SUBSCRIBE a OK", "LRANGE l OK", "<MESSAGE a OK"]);
}

#[test]
fn long_monitored_lines_are_pushes() {
    for length in [100, 70_000, 300_000] {
        let line =
            format!("+1700000000.123456 [0 127.0.0.1:4000] \"SET\" \"k\" \"{}\"\r\n", "v".repeat(length));
        for size in [16_384, 1_000_000] {
            let mut talk = Talk::new(true);
            talk.ask(&words("MONITOR")).answer(b"+OK\r\n");
            for part in line
                .as_bytes()
                .chunks(size)
                .chain([b"+1700000001.123456 [0 127.0.0.1:4000] \"PING\"\r\n".as_slice()])
            {
                talk.answer(part);
            }
            assert_eq!(talk.lines(), ["MONITOR OK", "<MONITOR OK", "<MONITOR OK"], "{length} by {size}");
        }
    }
}

/// A command, what an older server answers, and whether that is left out of errors.
type Tried = (&'static str, &'static str, bool);

/// What libraries send when they connect.
const CONNECTS: &[(&str, &[Tried])] = &[
    (
        "redis-py 8.1",
        &[
            ("HELLO 3", "-ERR unknown command 'HELLO'", true),
            (
                "CLIENT MAINT_NOTIFICATIONS ON",
                "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.",
                true,
            ),
            ("CLIENT SETINFO LIB-NAME redis-py", "-ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.", true),
            ("SELECT 99", "-ERR DB index is out of range", false),
            ("CLIENT SETINFO LIB-VER 8.1.0", "-ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.", true),
            ("GET a", "-WRONGTYPE no", false),
            ("CLIENT SETINFO LIB-VER 8.1.0", "-ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.", false),
        ],
    ),
    (
        "node-redis 6, ioredis 6",
        &[
            ("HELLO 3 AUTH u p", "-NOPROTO unsupported protocol version", true),
            ("AUTH u p", "-WRONGPASS invalid", false),
            ("CLIENT SETNAME x", "-NOPERM no permissions", true),
            ("CLIENT TRACKING ON", "-ERR unknown subcommand", true),
            ("READONLY", "-ERR This instance has cluster support disabled", true),
            ("INFO", "-NOPERM no permissions", true),
        ],
    ),
    (
        "a wrong password",
        &[
            ("HELLO 3 AUTH u p", "-WRONGPASS invalid username-password pair", false),
            ("HELLO 3", "-NOAUTH HELLO must", false),
        ],
    ),
    (
        "go-redis 9, lettuce 7, jedis 7",
        &[
            ("PING", "-NOAUTH Authentication required.", false),
            ("CLIENT CAPA redirect", "-ERR unknown subcommand", true),
            ("CLUSTER SHARDS", "-ERR unknown subcommand", true),
            ("CLIENT NO-TOUCH ON", "-ERR unknown subcommand", true),
            ("SENTINEL masters", "-ERR unknown command 'SENTINEL'", true),
        ],
    ),
    (
        "redis-cli 7",
        &[
            ("COMMAND DOCS", "-ERR Unknown subcommand", true),
            ("SET a", "-ERR wrong number", false),
            ("COMMAND DOCS", "-ERR", false),
        ],
    ),
];

#[test]
fn what_libraries_try_when_they_connect_is_marked() {
    for (name, steps) in CONNECTS {
        let mut talk = Talk::new(true);
        for (asked, answered, _) in *steps {
            talk.ask(&words(asked)).answer(format!("{answered}\r\n").as_bytes());
        }
        for (row, (asked, _, want)) in talk.exchanges().iter().zip(*steps) {
            assert_eq!((row.handshake, row.error), (*want, true), "{name}: {asked}");
        }
    }
    let mut late = Talk::new(false);
    late.ask(&words("GET a"))
        .answer(b"$1\r\nx\r\n")
        .ask(&words("CLIENT SETINFO LIB-VER 1"))
        .answer(b"-ERR no\r\n");
    assert!(late.exchanges().iter().all(|row| !row.handshake));
}

#[test]
fn a_pipeline_beyond_what_is_remembered_keeps_what_can_be_kept() {
    const ASKED: usize = MAX_PENDING + 4000;
    let asked =
        |from: usize, to| (from..to).flat_map(|at| words(&format!("INCR key:{at}"))).collect::<Vec<u8>>();
    let told =
        |from: usize, to| (from..to).map(|at| format!(":{at}\r\n")).collect::<Vec<_>>().concat().into_bytes();
    for from_start in [true, false] {
        for size in [usize::MAX, 65_536, 997] {
            let mut talk = Talk::new(from_start);
            talk.ask(&words("PING")).answer(b"+PONG\r\n").ask(&words("PING")).answer(b"+PONG\r\n");
            asked(0, ASKED).chunks(size).for_each(|part| _ = talk.ask(part));
            // There is room again before those that were dropped are answered.
            told(0, 5000).chunks(size).for_each(|part| _ = talk.answer(part));
            asked(ASKED, ASKED + 3000).chunks(size).for_each(|part| _ = talk.ask(part));
            told(5000, ASKED + 3000).chunks(size).for_each(|part| _ = talk.answer(part));
            talk.ask(&words("GET after")).answer(b"$1\r\nx\r\n");
            let outcomes = talk.outcomes();
            let dropped = outcomes.iter().filter(|outcome| **outcome == Outcome::Unpaired).count();
            assert_eq!(
                (dropped, outcomes.len()),
                (ASKED - MAX_PENDING, 2 + ASKED + 3000 + 1),
                "{from_start} {size}"
            );
            let row = |outcome| match outcome {
                Outcome::Exchange(row) => Some(row),
                Outcome::Unpaired | Outcome::Gap | Outcome::Unparsable { .. } => None,
            };
            let rows: Vec<Exchange> = outcomes.into_iter().filter_map(row).collect();
            for row in &rows[2..rows.len() - 1] {
                let number = String::from_utf8(row.response.as_ref().unwrap().payload.clone()).unwrap();
                assert_eq!(row.operation, format!("INCR key:{number}"));
            }
            assert_eq!(rows.last().map(|row| row.operation.as_str()), Some("GET after"));
        }
    }
}
