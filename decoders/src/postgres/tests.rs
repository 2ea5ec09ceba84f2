//! The decoder on what clients and servers say to each other.

use std::sync::Arc;

use crate::conversation::{Context, Conversation, Direction, Exchange, Outcome, Transport, Verdict};
use crate::decoder::{MAX_PENDING, Options, Redaction};

/// A conversation as its client sees it.
struct Talk {
    conversation: Conversation,
    at: [u64; 2],
    now: u64,
}

impl Talk {
    fn new(from_start: bool) -> Self {
        let context = Context {
            transport: Transport::Tcp,
            side: None,
            local_port: 40_000,
            remote_port: 6000,
            from_start,
        };
        let redaction = Redaction { enabled: true, headers: Vec::new() };
        let options = Options { payload_bytes: 1000, redaction, protocols: Vec::new() };
        Self { conversation: Conversation::new(context, Arc::new(options)), at: [0, 0], now: 0 }
    }

    /// Begins behind the log-in.
    fn logged_in() -> Self {
        let mut talk = Self::new(true);
        talk.ask(&login()).answer(&[m(b'R', &[0; 4]), ready()].concat());
        assert_eq!(talk.outcomes(), ["LOGIN a OK"]);
        talk
    }

    fn place(&mut self, direction: Direction, len: usize) -> (u64, u64) {
        self.now += 1_000_000;
        let at = &mut self.at[usize::from(direction == Direction::In)];
        let position = *at;
        *at += u64::try_from(len).unwrap();
        (position, self.now)
    }

    fn ask(&mut self, bytes: &[u8]) -> &mut Self {
        let (position, now) = self.place(Direction::Out, bytes.len());
        self.conversation.bytes(Direction::Out, position, now, bytes);
        self
    }

    fn answer(&mut self, bytes: &[u8]) -> &mut Self {
        let (position, now) = self.place(Direction::In, bytes.len());
        self.conversation.bytes(Direction::In, position, now, bytes);
        self
    }

    fn unseen(&mut self, direction: Direction, len: usize) -> &mut Self {
        let (position, now) = self.place(direction, len);
        self.conversation.skipped(direction, position, now, u64::try_from(len).unwrap());
        self
    }

    fn exchange(&mut self) -> Exchange {
        match self.conversation.take() {
            Some(Outcome::Exchange(exchange)) => exchange,
            other => panic!("{other:?}"),
        }
    }

    fn protocol(&self) -> Option<&'static str> {
        match self.conversation.verdict() {
            Verdict::Trace { protocol, .. } => Some(protocol),
            Verdict::Undecided { .. } | Verdict::Ignore => None,
        }
    }

    /// Returns what came out: `operation status`, `!` for an error and `-` for no response, or the outcome's name.
    fn outcomes(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.conversation.take())
            .map(|outcome| match outcome {
                Outcome::Exchange(Exchange { operation, status, error, response, .. }) => {
                    let (error, none) =
                        (if error { "!" } else { "" }, if response.is_none() { "-" } else { "" });
                    format!("{operation} {status}{error}{none}")
                }
                other @ (Outcome::Unparsable { .. } | Outcome::Unpaired | Outcome::Gap) => {
                    format!("{other:?}")
                }
            })
            .collect()
    }
}

/// A message.
fn m(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

fn login() -> Vec<u8> {
    packet(0x0003_0000, b"user\0a\0\0")
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    m(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

fn bind(portal: &str, name: &str) -> Vec<u8> {
    m(b'B', format!("{portal}\0{name}\0\0\0\0\0\0\0").as_bytes())
}

fn bind_text(name: &str, value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    m(b'B', &[b"\0", name.as_bytes(), b"\0\0\0\0\x01", &length, value.as_bytes(), b"\0\0"].concat())
}

fn execute(portal: &str) -> Vec<u8> {
    m(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
}

fn sync() -> Vec<u8> {
    m(b'S', b"")
}

fn query(text: &str) -> Vec<u8> {
    m(b'Q', format!("{text}\0").as_bytes())
}

fn ready() -> Vec<u8> {
    m(b'Z', b"I")
}

fn complete(tag: &str) -> Vec<u8> {
    m(b'C', format!("{tag}\0").as_bytes())
}

fn error(state: &str, text: &str) -> Vec<u8> {
    m(b'E', format!("SERROR\0C{state}\0M{text}\0\0").as_bytes())
}

fn row(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    m(b'D', &[&[0, 1][..], &length, text.as_bytes()].concat())
}

fn columns() -> Vec<u8> {
    m(b'T', b"\0\x01c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0")
}

fn notification(text: &str) -> Vec<u8> {
    m(b'A', format!("\0\0\0\x01ch\0{text}\0").as_bytes())
}

const PARSED: &[u8] = b"1\0\0\0\x04";
const BOUND: &[u8] = b"2\0\0\0\x04";
const CLOSED: &[u8] = b"3\0\0\0\x04";
const NO_DATA: &[u8] = b"n\0\0\0\x04";

fn run(name: &str) -> Vec<u8> {
    [bind("", name), execute(""), sync()].concat()
}

fn ran(tag: &str) -> Vec<u8> {
    [BOUND, &complete(tag), &ready()].concat()
}

#[test]
fn a_parse_that_failed_changes_nothing() {
    let mut talk = Talk::logged_in();
    talk.ask(&[parse("s", "SELECT 1"), sync()].concat()).answer(&[PARSED, &ready()].concat());
    talk.ask(&[parse("s", "SELECT 2"), sync()].concat());
    talk.answer(&[error("42P05", "exists"), ready()].concat());
    talk.ask(&run("s")).answer(&ran("SELECT 1"));
    assert_eq!(talk.outcomes(), ["PREPARE SELECT 1 OK", "PREPARE SELECT 2 ERR 42P05!", "SELECT 1 OK"]);
}

#[test]
fn a_statement_is_what_the_server_accepted_also_for_what_was_asked_before_that_was_known() {
    let mut talk = Talk::logged_in();
    talk.ask(&[parse("s", "SELECT 1"), sync()].concat()).answer(&[PARSED, &ready()].concat());
    talk.ask(&[parse("s", "SELECT 2"), sync(), run("s")].concat());
    talk.answer(&[error("42P05", "exists"), ready(), ran("SELECT 1")].concat());
    assert_eq!(talk.exchange().operation, "PREPARE SELECT 1");
    assert_eq!(talk.exchange().status, "ERR 42P05");
    let third = talk.exchange();
    assert_eq!(
        (third.operation.as_str(), third.request.unwrap().payload),
        ("SELECT 1", b"SELECT 1".to_vec())
    );
    assert!(third.attributes.contains(&("statement", "SELECT 1".to_owned())), "{:?}", third.attributes);
}

#[test]
fn what_is_passed_over_after_an_error_has_no_answer_and_changes_nothing() {
    let mut talk = Talk::logged_in();
    talk.ask(&[parse("a", "SELECT 1"), sync()].concat()).answer(&[PARSED, &ready()].concat());
    let close = m(b'C', b"Sa\0");
    let batch = [parse("x", "SELEC"), parse("b", "SELECT 2"), close, parse("a", "SELECT 3"), sync()];
    talk.ask(&batch.concat()).answer(&[error("42601", "syntax"), ready()].concat());
    talk.ask(&run("a")).answer(&ran("SELECT 1"));
    talk.ask(&run("b")).answer(&[error("26000", "none"), ready()].concat());
    let outcomes = talk.outcomes();
    assert_eq!(
        outcomes,
        [
            "PREPARE SELECT 1 OK",
            "PREPARE SELEC ERR 42601!",
            "PREPARE SELECT 2 SKIPPED!-",
            "PREPARE SELECT 3 SKIPPED!-",
            "SELECT 1 OK",
            "QUERY ERR 26000!",
        ]
    );
}

#[test]
fn each_parse_of_a_batch_has_its_own_outcome() {
    let mut talk = Talk::logged_in();
    let batch = [parse("a", "SELECT 1"), parse("b", "SELECT b"), parse("c", "SELECT 3"), sync()].concat();
    talk.ask(&batch).answer(&[PARSED, &error("42703", "b"), &ready()].concat());
    assert_eq!(
        talk.outcomes(),
        ["PREPARE SELECT 1 OK", "PREPARE SELECT b ERR 42703!", "PREPARE SELECT 3 SKIPPED!-"]
    );
    talk.ask(&batch).answer(&[PARSED, PARSED, PARSED, &ready()].concat());
    assert_eq!(talk.outcomes(), ["PREPARE SELECT 1 OK", "PREPARE SELECT b OK", "PREPARE SELECT 3 OK"]);
}

#[test]
fn a_simple_query_is_passed_over_too_until_the_next_sync() {
    let mut talk = Talk::logged_in();
    talk.ask(&[parse("", "SELEC"), m(b'H', b"")].concat()).answer(&error("42601", "syntax"));
    talk.ask(&query("DROP TABLE t")).ask(&sync()).answer(&ready());
    talk.ask(&query("SELECT 1")).answer(&[complete("SELECT 1"), ready()].concat());
    assert_eq!(
        talk.outcomes(),
        ["PREPARE SELEC ERR 42601!", "DROP TABLE t SKIPPED!-", "SYNC OK", "SELECT 1 OK"]
    );
}

#[test]
fn statements_change_names_when_the_server_did_what_they_say() {
    for (text, tag, known) in [
        ("DEALLOCATE s", "DEALLOCATE", false),
        ("deallocate prepare \"s\"", "DEALLOCATE", false),
        ("DEALLOCATE ALL", "DEALLOCATE ALL", false),
        ("DISCARD ALL", "DISCARD ALL", false),
        ("BEGIN; DEALLOCATE s", "BEGIN;DEALLOCATE", false),
        ("DEALLOCATE other", "DEALLOCATE", true),
        ("DEALLOCATE PREPARE other", "DEALLOCATE", true),
        ("CLOSE ALL", "CLOSE CURSOR ALL", true),
    ] {
        for done in [true, false] {
            let mut talk = Talk::logged_in();
            talk.ask(&[parse("s", "SELECT 1"), sync()].concat()).answer(&[PARSED, &ready()].concat());
            let done_by = tag.split(';').flat_map(complete).collect();
            let outcome: Vec<u8> = if done { done_by } else { error("55000", "no") };
            talk.ask(&query(text)).answer(&[outcome, ready()].concat());
            talk.ask(&run("s")).answer(&ran("SELECT 1"));
            let last = talk.outcomes().pop().unwrap();
            let want = if known || !done { "SELECT 1 OK" } else { "QUERY OK" };
            assert_eq!(last, want, "{text} {done}");
        }
    }
}

#[test]
fn a_statement_prepared_by_sql_has_its_name() {
    let mut talk = Talk::logged_in();
    talk.ask(&query("PREPARE s (int) AS SELECT $1")).answer(&[complete("PREPARE"), ready()].concat());
    talk.ask(&run("s")).answer(&ran("SELECT 1"));
    talk.ask(&[m(b'C', b"Ss\0"), sync()].concat()).answer(&[CLOSED, &ready()].concat());
    talk.ask(&run("s")).answer(&ran("SELECT 1"));
    assert_eq!(talk.outcomes(), ["PREPARE s (int) AS SELECT $1 OK", "SELECT $1 OK", "CLOSE OK", "QUERY OK"]);
}

#[test]
fn values_of_secrets_are_hidden_wherever_they_are_bound() {
    let mut talk = Talk::logged_in();
    let statement = parse("s", "SELECT crypt($1, gen_salt('bf'))");
    talk.ask(&[statement, bind_text("s", "hush"), execute(""), sync()].concat());
    talk.answer(&[PARSED, BOUND, &error("42883", "no crypt of hush here"), &ready()].concat());
    let exchange = talk.exchange();
    assert_eq!(exchange.request.unwrap().payload, b"SELECT crypt($1, gen_salt('bf'))\n-- [[redacted]]");
    // By the statement `PREPARE`.
    talk.ask(&query("PREPARE p AS SELECT crypt($1, s)")).answer(&[complete("PREPARE"), ready()].concat());
    talk.ask(&query("EXECUTE p('hush')")).answer(&[complete("SELECT 1"), ready()].concat());
    talk.exchange();
    assert_eq!(talk.exchange().operation, "EXECUTE p([redacted])");
    // In an address, whatever takes it.
    talk.ask(&[parse("", "SELECT $1"), bind_text("", "postgres://u:hush@h/d"), execute(""), sync()].concat());
    talk.answer(&[PARSED, BOUND, &complete("SELECT 1"), &ready()].concat());
    let request = talk.exchange().request.unwrap();
    assert_eq!(request.payload, b"SELECT $1\n-- ['postgres://[redacted]@h/d']");
}

#[test]
fn errors_and_rows_do_not_repeat_secrets() {
    let mut talk = Talk::logged_in();
    talk.ask(&query("ALTER ROLE a PASSWORD 'hushhush' x"));
    talk.answer(&[error("42601", "syntax error at or near \"'hushhush'\""), ready()].concat());
    let text = String::from_utf8(talk.exchange().response.unwrap().payload).unwrap();
    assert_eq!(text, "ERROR 42601: syntax error at or near \"'[redacted]'\"");
    talk.ask(&query("SELECT subconninfo FROM pg_subscription"));
    talk.answer(&[columns(), row("host=h password=hush"), complete("SELECT 1"), ready()].concat());
    let text = String::from_utf8(talk.exchange().response.unwrap().payload).unwrap();
    assert_eq!(text, "c\nhost=h password=[redacted]\n(1 row)\nSELECT 1");
}

#[test]
fn notifications_come_out_wherever_they_stand() {
    let mut talk = Talk::logged_in();
    talk.ask(&query("NOTIFY ch"));
    talk.answer(&[complete("NOTIFY"), notification("1"), notification("2"), ready()].concat());
    talk.answer(&notification("3"));
    talk.ask(&query("SELECT 1")).answer(&notification("4"));
    talk.answer(&[columns(), row("1"), complete("SELECT 1"), m(b'S', b"TimeZone\0UTC\0"), ready()].concat());
    talk.answer(&[m(b'S', b"TimeZone\0GMT\0"), m(b'N', b"SWARNING\0C01000\0Mcareful\0\0")].concat());
    assert_eq!(
        talk.outcomes(),
        [
            "NOTIFY ch OK",
            "NOTIFICATION ch OK",
            "NOTIFICATION ch OK",
            "NOTIFICATION ch OK",
            "NOTIFICATION ch OK",
            "SELECT 1 OK",
            "NOTICE OK",
        ]
    );
}

#[test]
fn a_client_begins_with_a_start_up_packet_and_nothing_else() {
    for first in
        [sync(), m(b'X', b""), m(b'H', b""), query("SELECT 1"), [bind("", ""), execute(""), sync()].concat()]
    {
        let mut talk = Talk::new(true);
        talk.ask(&first).answer(&[complete("SELECT 1"), ready()].concat());
        assert_eq!((talk.protocol(), talk.outcomes()), (None, Vec::new()), "{first:?}");
    }
    for first in [
        login(),
        packet(0x0003_0002, b"user\0a\0_pq_.x\0on\0\0"),
        packet(80_877_103, b""),
        packet(80_877_104, b""),
        packet(80_877_102, &[7; 8]),
        packet(80_877_102, &[7; 4 + 32]),
    ] {
        let mut talk = Talk::new(true);
        talk.ask(&first);
        assert_eq!(talk.protocol(), Some("postgres"), "{first:?}");
    }
    for first in [
        // A request for metadata of Kafka, which has the version's number where the code lies.
        packet(0x0003_0000, b"\0\0\0\x01\0\x04user\0\0\0\0"),
        packet(80_877_103, b"\0"),
        packet(80_877_102, b"\0\0\0\0"),
        packet(0x0002_0000, b"user\0a\0\0"),
    ] {
        let mut talk = Talk::new(true);
        talk.ask(&first);
        assert_eq!(talk.protocol(), None, "{first:?}");
    }
}

#[test]
fn another_protocols_answer_is_a_veto() {
    let mut talk = Talk::new(true);
    talk.answer(&m(b'R', &[0; 4])).ask(&login());
    assert_eq!((talk.protocol(), talk.outcomes()), (None, Vec::new()), "the server speaks first");
    for messages in [sync(), [sync(), sync(), sync()].concat(), m(b'X', b"")] {
        let mut talk = Talk::new(false);
        talk.ask(&messages).answer(b"\x01\x02\x03\x04\x05\x06\x07\x08").ask(&messages);
        talk.conversation.end(talk.now);
        let outcomes = talk.outcomes();
        assert!(!outcomes.iter().any(|outcome| outcome.contains("SYNC")), "{outcomes:?}");
        let mut talk = Talk::new(false);
        talk.ask(&sync()).answer(&ready());
        talk.ask(&query("SELECT 1")).answer(&[complete("SELECT 1"), ready()].concat());
        assert!(talk.outcomes().contains(&"SELECT 1 OK".to_owned()));
    }
}

#[test]
fn a_refusal_is_the_outcome_of_what_was_asked() {
    for (state, text) in [("3D000", "no database"), ("53300", "too many"), ("28P01", "no password")] {
        let refusal = error(state, text);
        let mut talk = Talk::new(true);
        talk.ask(&login()).answer(&refusal);
        assert_eq!(talk.outcomes(), [format!("LOGIN a ERR {state}!")]);
        let mut talk = Talk::new(true);
        talk.ask(&packet(80_877_103, b"")).answer(&refusal);
        assert_eq!(talk.outcomes(), [format!("SSL_REQUEST  ERR {state}!").replace("  ", " ")]);
    }
    // What a server that cannot start a process says, as protocol 2 did.
    let mut talk = Talk::new(true);
    talk.ask(&login()).answer(b"Ecould not fork new process for connection: no memory\n\0");
    assert_eq!(talk.outcomes(), ["LOGIN a ERR!"]);
}

#[test]
fn a_version_is_negotiated_and_long_keys_are_part_of_the_log_in() {
    let mut talk = Talk::new(true);
    talk.ask(&packet(0x0003_0002, b"user\0a\0_pq_.x\0on\0\0"));
    let versions = m(b'v', b"\0\x03\0\0\0\0\0\x01_pq_.x\0");
    let key = m(b'K', &[9; 4 + 32]);
    talk.answer(&[versions, m(b'R', &[0; 4]), key, ready()].concat());
    talk.ask(&query("SELECT 1")).answer(&[complete("SELECT 1"), ready()].concat());
    assert_eq!(talk.outcomes(), ["LOGIN a OK", "SELECT 1 OK"]);
}

#[test]
fn rows_may_pass_unseen_and_the_end_is_found() {
    let last = [row("last"), complete("SELECT 9"), ready()].concat();
    // The header of a row is seen, and its content is not; then whole rows are not.
    for rows in [1, 40] {
        let mut talk = Talk::logged_in();
        talk.ask(&query("SELECT 1"));
        let long = row(&"x".repeat(70_000));
        let unseen: Vec<u8> = (0..rows).flat_map(|_| long.clone()).collect();
        talk.answer(&[columns(), row("first"), unseen[..9].to_vec()].concat());
        talk.unseen(Direction::In, unseen.len() - 9).answer(&last);
        let exchange = talk.exchange();
        let response = exchange.response.unwrap();
        let total = columns().len() + row("first").len() + unseen.len() + last.len();
        assert_eq!(response.end - response.start, u64::try_from(total).unwrap());
        assert!(response.truncated && exchange.status == "OK");
        talk.ask(&query("SELECT 2")).answer(&[complete("SELECT 2"), ready()].concat());
        assert_eq!(talk.outcomes(), ["SELECT 2 OK"]);
    }
}

#[test]
fn messages_inside_of_unseen_rows_are_no_messages() {
    let mut talk = Talk::logged_in();
    talk.ask(&query("SELECT 1"));
    // The rows hold what looks like messages: the middle of one comes first.
    let inside = [b"text Z\0\0\0\x05I more".to_vec(), m(b'1', b""), b" text".to_vec()].concat();
    talk.answer(&[columns(), row("first")].concat()).unseen(Direction::In, 100_000).answer(&inside);
    talk.answer(&[row("a"), row("b"), complete("SELECT 9"), ready()].concat());
    assert_eq!(talk.outcomes(), ["SELECT 1 OK"]);
}

#[test]
fn a_long_statement_and_a_long_copy_are_read_without_their_bodies() {
    let mut talk = Talk::logged_in();
    let long = query(&format!("INSERT INTO t VALUES ('{}')", "x".repeat(900_000)));
    talk.ask(&long[..100]).unseen(Direction::Out, long.len() - 100);
    talk.answer(&[complete("INSERT 0 1"), ready()].concat());
    let exchange = talk.exchange();
    let request = exchange.request.unwrap();
    assert_eq!((request.end - request.start, request.truncated), (u64::try_from(long.len()).unwrap(), true));
    assert_eq!(exchange.response.map(|response| response.truncated), Some(false));
    talk.ask(&query("COPY t FROM STDIN")).answer(&m(b'G', b"\0\0\x01\0\0"));
    talk.ask(&m(b'd', b"1\n")).unseen(Direction::Out, 500_000);
    talk.ask(&[m(b'd', b"2\n"), m(b'd', b"3\n"), m(b'c', b"")].concat());
    talk.answer(&[complete("COPY 9"), ready()].concat());
    talk.ask(&query("SELECT 1")).answer(&[complete("SELECT 1"), ready()].concat());
    assert_eq!(talk.outcomes(), ["COPY t FROM STDIN OK", "SELECT 1 OK"]);
}

#[test]
fn a_truncated_statement_marks_its_own_requests_only() {
    let mut talk = Talk::logged_in();
    let long = parse("long", &format!("SELECT '{}'", "x".repeat(400_000)));
    talk.ask(&long).ask(&[bind("", "long"), execute(""), sync()].concat());
    talk.answer(&[PARSED, BOUND, &complete("SELECT 1"), &ready()].concat());
    assert!(talk.exchange().request.unwrap().truncated);
    talk.ask(&query("SELECT 1")).answer(&[complete("SELECT 1"), ready()].concat());
    assert!(!talk.exchange().request.unwrap().truncated);
    talk.ask(&run("long")).answer(&ran("SELECT 1"));
    assert!(talk.exchange().request.unwrap().truncated);
}

#[test]
fn a_whole_request_is_not_forgotten_for_what_follows_it() {
    for after in [m(b'X', b""), b"Q\0\0\0\x20SELECT".to_vec(), b"\xff\xff\xff\xff\xff".to_vec()] {
        let mut talk = Talk::logged_in();
        talk.ask(&query("SELECT 1")).ask(&after).answer(&[complete("SELECT 1"), ready()].concat());
        talk.conversation.end(talk.now);
        assert!(talk.outcomes().contains(&"SELECT 1 OK".to_owned()), "{after:?}");
    }
}

#[test]
fn what_libraries_ask_by_themselves_is_marked_until_something_else_comes() {
    let mut talk = Talk::logged_in();
    for (text, marked) in [
        ("SET extra_float_digits = 3", true),
        ("SELECT pg_catalog.set_config('search_path', '', false);", true),
        ("SELECT set_config('search_path', 'x', false)", false),
        ("SET extra_float_digits = 3", false),
    ] {
        talk.ask(&[parse("", text), bind("", ""), execute(""), sync()].concat());
        talk.answer(&[PARSED, BOUND, &complete("SET"), &ready()].concat());
        assert_eq!(talk.exchange().handshake, marked, "{text}");
    }
}

#[test]
fn a_connection_that_was_open_before_is_found() {
    // A subscriber hears only; rows end; a pipeline goes on.
    let mut talk = Talk::new(false);
    talk.answer(&notification("1")).answer(&notification("2")).answer(&notification("3"));
    assert_eq!(talk.outcomes(), ["NOTIFICATION ch OK"; 3]);
    let mut talk = Talk::new(false);
    talk.answer(&[m(b'd', b"1\n"), m(b'd', b"2\n")].concat());
    talk.answer(&[m(b'c', b""), complete("COPY 9"), ready()].concat());
    talk.ask(&query("SELECT 1")).answer(&[columns(), row("1"), complete("SELECT 1"), ready()].concat());
    talk.ask(&query("SELECT 2")).answer(&[complete("SELECT 2"), ready()].concat());
    assert!(talk.outcomes().contains(&"SELECT 2 OK".to_owned()));
    let mut talk = Talk::new(false);
    talk.ask(&run("s")).answer(&[BOUND, NO_DATA, &complete("SELECT 1"), &ready()].concat());
    talk.ask(&query("SELECT 2")).answer(&[complete("SELECT 2"), ready()].concat());
    assert!(talk.outcomes().contains(&"SELECT 2 OK".to_owned()));
}

#[test]
fn every_request_that_is_asked_ahead_gets_its_own_answer() {
    let names = |from: usize, count: usize| (from..from + count).map(|number| format!("SELECT {number}"));
    let asked = |from, count| names(from, count).flat_map(|text| query(&text)).collect::<Vec<u8>>();
    let told = |from, count| {
        names(from, count).flat_map(|text| [complete(&text), ready()].concat()).collect::<Vec<u8>>()
    };
    let shown = |from, count| names(from, count).map(|text| format!("{text} OK")).collect::<Vec<_>>();
    let mut talk = Talk::logged_in();
    talk.ask(&asked(0, 12_000)).answer(&told(0, 12_000));
    assert!(talk.outcomes() == shown(0, 12_000));
    // More than are remembered: those are dropped and counted once, and none takes the answer of another.
    talk.ask(&asked(0, MAX_PENDING + 5)).answer(&told(0, 9)).ask(&asked(MAX_PENDING + 5, 3));
    talk.answer(&told(9, MAX_PENDING + 8 - 9))
        .ask(&query("SELECT 1"))
        .answer(&[complete("SELECT 1"), ready()].concat());
    let outcomes = talk.outcomes();
    let exchanges: Vec<_> = outcomes.iter().filter(|outcome| outcome.ends_with(" OK")).cloned().collect();
    let last = vec!["SELECT 1 OK".to_owned()];
    assert!(exchanges == [shown(0, MAX_PENDING), shown(MAX_PENDING + 5, 3), last].concat());
    assert_eq!(outcomes.len() - exchanges.len(), 5);
}

#[test]
fn every_execution_before_one_sync_gets_its_own_answer() {
    let mut talk = Talk::logged_in();
    talk.ask(&[parse("s", "SELECT 7"), sync()].concat()).answer(&[PARSED, &ready()].concat());
    let each = [bind("", "s"), execute("")].concat();
    talk.ask(&[each.repeat(6_000), sync()].concat());
    talk.answer(&[[BOUND, &complete("SELECT 1")].concat().repeat(6_000), ready()].concat());
    talk.ask(&query("SELECT 8")).answer(&[complete("SELECT 1"), ready()].concat());
    let outcomes = talk.outcomes();
    assert_eq!(outcomes.last().map(String::as_str), Some("SELECT 8 OK"));
    assert_eq!(
        outcomes.iter().filter(|outcome| *outcome == "SELECT 7 OK").count(),
        6_000,
        "{:?}",
        &outcomes[..9]
    );
}

#[test]
fn names_are_forgotten_beyond_their_limits() {
    let mut talk = Talk::logged_in();
    for number in 0..=super::names::MAX_NAMES {
        talk.ask(&[parse(&format!("s{number}"), "SELECT 1"), sync()].concat());
        talk.answer(&[PARSED, &ready()].concat());
    }
    talk.outcomes();
    let newest = format!("s{}", super::names::MAX_NAMES);
    talk.ask(&run(&newest)).answer(&ran("SELECT 1"));
    talk.ask(&run("s0")).answer(&ran("SELECT 1"));
    assert_eq!(talk.outcomes(), ["SELECT 1 OK", "QUERY OK"]);
}

#[test]
fn recorded_secrets_do_not_come_out() {
    let (recorded, shown) = (
        include_str!("../../fixtures/postgres/secrets.txt"),
        include_str!("../../fixtures/postgres/secrets.golden"),
    );
    assert!(recorded.matches("hush").count() > 12);
    assert!(!shown.contains("hush"));
}
