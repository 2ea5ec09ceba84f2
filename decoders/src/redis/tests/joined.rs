//! Connections that were open before the capture, and losses.

use super::*;

#[test]
fn the_rest_of_an_answer_is_no_answer() {
    let elements: Vec<u8> = (0..300).flat_map(|at| bulk(format!("value {at}").as_bytes())).collect();
    let (half, rest) = elements.split_at(2000);
    // Joined late, and behind a loss; each element looks like an answer.
    let mut joined = Talk::new(false);
    joined.answer(rest);
    joined.ask(&words("GET a")).answer(b"$1\r\nx\r\n").ask(&words("INCR n")).answer(b":1\r\n");
    assert_eq!(joined.end().lines(), ["GET a OK", "INCR n OK"]);
    let mut lossy = Talk::new(true);
    lossy.ask(&words("LRANGE l 0 -1")).answer(b"*301\r\n").answer(half).lose(Side::Server, 57);
    rest[57..].chunks(100).for_each(|part| _ = lossy.answer(part));
    lossy.ask(&words("GET a")).answer(b"$1\r\nx\r\n").ask(&words("INCR n")).answer(b":1\r\n");
    let lines = lossy.end().lines();
    assert!(!lines.contains(&"unpaired".to_owned()), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| *line == "gap").count(), 1, "{lines:?}");
    assert!(lines.ends_with(&["GET a OK".to_owned(), "INCR n OK".to_owned()]), "{lines:?}");
}

#[test]
fn text_in_a_value_is_no_command_behind_a_loss() {
    let http = b"POST /x HTTP/1.1\r\nHost: y\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let sql = b"\x03select 1;\r\nupdate t set n = 1;\r\n".to_vec();
    let line = b"text\r\nPING\r\nGET secret\r\nQUIT\r\n".to_vec();
    let resp = [words("GET inner"), words("FLUSHALL")].concat();
    for inside in [http, sql, line, resp] {
        let value = [b"head ".as_slice(), &inside, b" tail"].concat();
        let set = command(&[b"SET".as_slice(), b"k", &value]);
        let from = set.len() - value.len() - 2;
        for from_start in [true, false] {
            for cut in from..set.len() {
                let mut talk = Talk::alone(from_start);
                if from_start {
                    talk.ask(&words("GET a")).answer(b"$1\r\nx\r\n").lose(Side::Client, cut);
                }
                talk.ask(&set[cut..]).answer(b"+OK\r\n");
                // Nobody knows how many requests were lost, until turns were taken for a while.
                for _ in 0..12 {
                    talk.ask(&words("GET b")).answer(b"$1\r\ny\r\n");
                }
                talk.ask(&words("INCR n")).answer(b":1\r\n");
                let lines = talk.end().lines();
                let counted = ["unpaired", "gap"];
                let rows = lines
                    .iter()
                    .filter(|line| !counted.contains(&line.as_str()) && !line.starts_with("unparsable"));
                let rows: Vec<_> = rows.cloned().collect();
                let own =
                    rows.iter().all(|row| ["GET a OK", "GET b OK", "INCR n OK"].contains(&row.as_str()));
                assert!(
                    own && rows.contains(&"INCR n OK".to_owned()),
                    "{from_start} {cut} {lines:?} {}",
                    set[cut..].escape_ascii()
                );
            }
        }
    }
}

#[test]
fn inline_commands_are_read_again_behind_a_loss() {
    let mut talk = Talk::new(true);
    talk.ask(b"SET a 1\r\n").answer(b"+OK\r\n").lose(Side::Client, 5);
    // A cut line is nobody's command, not even `GET a` of `MGET a`.
    talk.ask(b"GET a\r\n").answer(b"*1\r\n$1\r\n1\r\n");
    talk.ask(b"INCR n\r\n").answer(b":1\r\n").ask(b"GET a\r\n").answer(b"$1\r\n1\r\n");
    let rows: Vec<_> = talk.end().exchanges().into_iter().map(|row| row.operation).collect();
    assert!(rows.ends_with(&["INCR n".to_owned(), "GET a".to_owned()]), "{rows:?}");
    assert_eq!(rows.iter().filter(|row| *row == "GET a").count(), 1, "{rows:?}");
}

#[test]
fn the_first_line_of_a_connection_joined_late_may_be_cut() {
    let mut talk = Talk::new(false);
    talk.ask(b"GET a\r\n").answer(b"*1\r\n$1\r\n1\r\n");
    talk.ask(b"INCR n\r\n").answer(b":1\r\n").ask(b"TTL a\r\n").answer(b":-1\r\n");
    assert_eq!(talk.end().lines(), ["INCR n OK", "TTL a OK"]);
}

#[test]
fn what_a_master_sends_to_a_replica_is_shown() {
    let stream =
        [words("SELECT 0"), words("SET a 1"), words("PING"), words("CONFIG SET requirepass x")].concat();
    let marked =
        [b"$EOF:".as_slice(), &[b'm'; 40], b"\r\nREDIS0009", &words("GET inner"), &[b'm'; 40]].concat();
    let counted = [b"$9\r\n".as_slice(), b"REDIS0009"].concat();
    for copy in [marked, counted] {
        for size in [usize::MAX, 1, 50] {
            let mut talk = Talk::new(true);
            talk.ask(&words("PING")).answer(b"+PONG\r\n").ask(&words("REPLCONF capa eof")).answer(b"+OK\r\n");
            talk.ask(&words("PSYNC ? -1"))
                .answer(b"+FULLRESYNC 0123456789012345678901234567890123456789 0\r\n");
            talk.answer(b"\n").answer(b"\n");
            let all = [copy.as_slice(), &stream].concat();
            all.chunks(size).for_each(|part| _ = talk.answer(part));
            talk.ask(b"\n").ask(&words("REPLCONF ACK 99")).answer(&words("SET b 2"));
            let rows = talk.end().exchanges();
            let shown: Vec<_> = rows.iter().map(|row| row.operation.as_str()).collect();
            let want = [
                "PING",
                "REPLCONF",
                "PSYNC",
                "RDB",
                "SELECT 0",
                "SET a",
                "PING",
                "CONFIG SET",
                "REPLCONF",
                "SET b",
            ];
            assert_eq!(shown, want, "{size}");
            let copied = rows[3].response.as_ref().unwrap();
            assert!(copied.end - copied.start >= copy.len() as u64 - 4 && copied.truncated);
            assert_eq!(rows[7].response.as_ref().unwrap().payload, b"CONFIG SET requirepass [redacted]");
            assert!(!rows.iter().any(|row| row.error), "{rows:?}");
        }
    }
}

#[test]
fn a_partial_resynchronisation_goes_on_with_commands() {
    let mut talk = Talk::new(true);
    talk.ask(&words("PSYNC 0123 55")).answer(b"+CONTINUE 0123\r\n").answer(&words("SET a 1"));
    assert_eq!(talk.end().lines(), ["PSYNC OK", "<SET a OK"]);
    let mut talk = Talk::new(true);
    talk.ask(&words("SYNC")).answer(b"\n$9\r\nREDIS0009").answer(&words("SET a 1"));
    assert_eq!(talk.end().lines(), ["SYNC OK", "<RDB OK", "<SET a OK"]);
}

#[test]
fn a_copy_with_holes_is_one_push() {
    let mark = [b'm'; 40];
    let mut talk = Talk::new(true);
    talk.ask(&words("PSYNC ? -1")).answer(b"+FULLRESYNC x 0\r\n");
    talk.answer(&[b"$EOF:".as_slice(), &mark, b"\r\nREDIS0009"].concat()).skip(Side::Server, 1_000_000);
    talk.answer(&[b"tail".as_slice(), &mark, &words("SET a 1")].concat()).answer(&words("SET b 1"));
    assert_eq!(talk.end().lines(), ["PSYNC OK", "<RDB OK", "<SET a OK", "<SET b OK"]);
    // The mark itself is in the hole.
    let mut talk = Talk::new(true);
    talk.ask(&words("PSYNC ? -1")).answer(b"+FULLRESYNC x 0\r\n");
    talk.answer(&[b"$EOF:".as_slice(), &mark, b"\r\nREDIS0009"].concat()).skip(Side::Server, 1_000_000);
    talk.answer(&words("SET a 1")).answer(&words("SET b 1"));
    assert_eq!(talk.end().lines(), ["PSYNC OK", "<RDB OK", "<SET a OK", "<SET b OK"]);
}
