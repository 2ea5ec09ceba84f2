//! Conversations of every protocol by calls of every kind, from the kernel to the exchanges: each message is seen, and
//! its size is what was sent.

use std::{
    collections::BTreeMap,
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    path::PathBuf,
    thread,
    time::Duration,
};

use capturer::{kernel::Kernel, ledger, pipeline::Pipeline};
use proto::v1;

use super::{
    Capture,
    frames::Dice,
    large::{Call, transfer},
};

/// A ring that is never more than half full here.
const RING: u32 = 64 << 20;

/// Payload of the messages of one batch, each counted with at most what is kept of it: with it a large call is within
/// its budget.
const BATCH: usize = 600_000;

/// What one side sends after the other.
#[derive(Default)]
struct Round {
    requests: Vec<u8>,
    responses: Vec<u8>,
}

/// The sizes of request and response, by the first words of each request.
pub(super) type Truth = BTreeMap<String, (u64, u64)>;

/// A conversation, and the sizes of what it asks and answers by the first words of each request.
#[derive(Default)]
struct Script {
    rounds: Vec<Round>,
    truth: Truth,
    asked: usize,
}

impl Script {
    /// Adds a request and its response to the last round.
    fn ask(&mut self, words: String, request: &[u8], response: &[u8]) {
        self.asked += 1;
        self.truth.insert(words, (request.len() as u64, response.len() as u64));
        let round = self.rounds.last_mut().unwrap();
        round.requests.extend_from_slice(request);
        round.responses.extend_from_slice(response);
    }

    fn turn(&mut self) {
        self.rounds.push(Round::default());
    }
}

/// Says how large the messages of a batch are: many small ones, some large, within the budget of a call.
fn batch(dice: &mut Dice, most: usize) -> Vec<usize> {
    let mut left = BATCH;
    let mut sizes = Vec::new();
    while sizes.len() < most && left > 0 {
        let len = dice.len();
        left = left.saturating_sub(len.min(80_000) + 200);
        sizes.push(len);
    }
    sizes
}

fn redis(dice: &mut Dice) -> Script {
    let mut script = Script::default();
    let bulk = |text: &[u8]| [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat();
    for round in 0..8 {
        script.turn();
        for len in if round == 0 { vec![3] } else { batch(dice, 4_000) } {
            let key = format!("k{}", script.asked);
            let value = vec![b'v'; len];
            let (words, request, response) = if dice.roll(2) == 0 {
                let parts = [b"*3\r\n".to_vec(), bulk(b"SET"), bulk(key.as_bytes()), bulk(&value)];
                (format!("SET {key}"), parts.concat(), b"+OK\r\n".to_vec())
            } else {
                let parts = [b"*2\r\n".to_vec(), bulk(b"GET"), bulk(key.as_bytes())];
                (format!("GET {key}"), parts.concat(), bulk(&value))
            };
            script.ask(words, &request, &response);
        }
    }
    pipeline(&mut script, 6_000);
    script
}

/// Adds a turn of many small commands, as a client puts them into one write.
fn pipeline(script: &mut Script, commands: usize) {
    script.turn();
    for _ in 0..commands {
        let key = format!("k{}", script.asked);
        let request = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$5\r\nsmall\r\n", key.len());
        script.ask(format!("SET {key}"), request.as_bytes(), b"+OK\r\n");
    }
}

/// HTTP tells its lengths within its heads, which the kernel does not read: one large message in a batch.
fn http(dice: &mut Dice) -> Script {
    let mut script = Script::default();
    for round in 0..8 {
        script.turn();
        let count = 1 + dice.roll(40);
        let large = dice.roll(count);
        for index in 0..count {
            let path = format!("/n/{}", script.asked);
            let len = if index == large && round > 0 { 1_000 + dice.roll(5_000_000) } else { dice.roll(400) };
            let body = vec![b'b'; len];
            let post = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n");
            let chunked = |body: &[u8]| {
                let mut text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
                if !body.is_empty() {
                    text.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
                    text.extend_from_slice(body);
                    text.extend_from_slice(b"\r\n");
                }
                text.extend_from_slice(b"0\r\n\r\n");
                text
            };
            let plain = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
            let get = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
            match dice.roll(3) {
                0 => {
                    let request = [post.as_bytes(), body.as_slice()].concat();
                    let response = b"HTTP/1.1 204 No Content\r\n\r\n";
                    script.ask(format!("POST {path}"), &request, response);
                }
                1 => script.ask(format!("GET {path}"), &get, &chunked(&body)),
                _ => {
                    let response = [plain.as_bytes(), body.as_slice()].concat();
                    script.ask(format!("GET {path}"), &get, &response);
                }
            }
        }
    }
    script
}

fn postgres(dice: &mut Dice) -> Script {
    let message = |tag: u8, body: &[u8]| {
        let len = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [[tag].as_slice(), &len, body].concat()
    };
    let ready = message(b'Z', b"I");
    let mut script = Script::default();
    script.turn();
    let round = script.rounds.last_mut().unwrap();
    let parameters = b"\0\x03\0\0user\0app\0database\0shop\0\0";
    round.requests =
        [&u32::try_from(parameters.len() + 4).unwrap().to_be_bytes(), parameters.as_slice()].concat();
    round.responses = [message(b'R', &[0; 4]), ready.clone()].concat();
    for _ in 0..14 {
        script.turn();
        let (asked, len) = (script.asked, dice.len());
        if dice.roll(2) == 0 {
            let text = format!("INSERT INTO t{asked} VALUES ('{}')\0", "x".repeat(len));
            let response = [message(b'C', b"INSERT 0 1\0"), ready.clone()].concat();
            script.ask(format!("INSERT INTO t{asked}"), &message(b'Q', text.as_bytes()), &response);
        } else {
            let text = format!("SELECT * FROM t{asked}\0");
            let column = [b"\0\x01v\0".as_slice(), &[0; 6], &[0, 0, 0, 25], &[255; 6], &[0; 2]].concat();
            let mut response = message(b'T', &column);
            let rows = batch(dice, 3_000);
            for len in &rows {
                let head = [&[0, 1], u32::try_from(*len).unwrap().to_be_bytes().as_slice()].concat();
                response.extend(message(b'D', &[head, vec![b'r'; *len]].concat()));
            }
            response.extend(message(b'C', format!("SELECT {}\0", rows.len()).as_bytes()));
            response.extend_from_slice(&ready);
            script.ask(format!("SELECT * FROM t{asked}"), &message(b'Q', text.as_bytes()), &response);
        }
    }
    script
}

/// A packet of MySQL, in as many parts as its length takes; `number` counts them.
fn packet(number: &mut u8, body: &[u8]) -> Vec<u8> {
    const LONGEST: usize = 0xff_ffff;
    let mut text = Vec::new();
    let mut rest = body;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(LONGEST));
        text.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes()[..3]);
        text.push(*number);
        *number = number.wrapping_add(1);
        text.extend_from_slice(part);
        rest = behind;
        if part.len() < LONGEST {
            return text;
        }
    }
}

/// A length and the bytes, as rows of MySQL hold them.
fn counted(bytes: &[u8]) -> Vec<u8> {
    match u8::try_from(bytes.len()) {
        Ok(len) if len < 251 => [&[len], bytes].concat(),
        _ => [&[0xfd], &u32::try_from(bytes.len()).unwrap().to_le_bytes()[..3], bytes].concat(),
    }
}

fn mysql(dice: &mut Dice) -> Script {
    let mut script = Script::default();
    // Protocol 4.1, transactions, secure connection, plugin authentication; the server speaks first.
    let greeting = [
        b"\x0a8.4.0\0\x01\0\0\0abcdefgh\0\x00\xa2\x21\x02\0\x08\0\x15".as_slice(),
        &[0; 10],
        b"abcdefghijkl\0mysql_native_password\0",
    ]
    .concat();
    script.turn();
    script.rounds.last_mut().unwrap().responses = packet(&mut 0, &greeting);
    script.turn();
    let login =
        [b"\x00\xa2\x08\0\0\0\0\x01\x21".as_slice(), &[0; 23], b"app\0\0mysql_native_password\0"].concat();
    let done = b"\0\0\0\x02\0\0\0";
    let round = script.rounds.last_mut().unwrap();
    (round.requests, round.responses) = (packet(&mut 1, &login), packet(&mut 2, done));
    for turn in 0..12 {
        script.turn();
        let asked = script.asked;
        let len = if turn == 5 { 18 << 20 } else { dice.len() };
        if turn == 5 || dice.roll(2) == 0 {
            let text = format!("\x03INSERT INTO t{asked} VALUES ('{}')", "x".repeat(len));
            let mut number = 0;
            let request = packet(&mut number, text.as_bytes());
            script.ask(format!("INSERT INTO t{asked}"), &request, &packet(&mut number, done));
        } else {
            let text = format!("\x03SELECT * FROM t{asked}");
            let mut number = 1;
            let column = [b"\x03def\0\0\0\x01v\0\x0c\x21\0\0\0\0\0\xfb\0\0\0\0\0".as_slice()].concat();
            let mut response = packet(&mut number, &[1]);
            response.extend(packet(&mut number, &column));
            response.extend(packet(&mut number, b"\xfe\0\0\x02\0"));
            for len in batch(dice, 3_000) {
                response.extend(packet(&mut number, &counted(&vec![b'r'; len])));
            }
            response.extend(packet(&mut number, b"\xfe\0\0\x02\0"));
            script.ask(format!("SELECT * FROM t{asked}"), &packet(&mut 0, text.as_bytes()), &response);
        }
    }
    script
}

fn dns(dice: &mut Dice) -> Script {
    let mut script = Script::default();
    let framed = |message: Vec<u8>| {
        [u16::try_from(message.len()).unwrap().to_be_bytes().as_slice(), &message].concat()
    };
    for round in 0..8 {
        script.turn();
        for _ in 0..=if round == 0 { 0 } else { dice.roll(400) } {
            let (words, query, response) = lookup(dice, script.asked);
            script.ask(words, &framed(query), &framed(response));
        }
    }
    script
}

/// A lookup by its number: its words, the query and a response of some records.
pub(super) fn lookup(dice: &mut Dice, number: usize) -> (String, Vec<u8>, Vec<u8>) {
    let label = format!("n{number}");
    let id = u16::try_from(number).unwrap().to_be_bytes();
    let name = [&[label.len() as u8], label.as_bytes(), b"\x07example\0"].concat();
    let question = [name.as_slice(), b"\0\x01\0\x01"].concat();
    let query = [id.as_slice(), b"\x01\0\0\x01\0\0\0\0\0\0", &question].concat();
    let mut records = Vec::new();
    let count = dice.roll(200) as u16;
    for _ in 0..count {
        records.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
    }
    let header = [id.as_slice(), b"\x81\x80\0\x01", &count.to_be_bytes(), b"\0\0\0\0"].concat();
    (format!("A {label}.example"), query, [header, question, records].concat())
}

/// A kind of call, and how many buffers it has.
fn any_call(dice: &mut Dice) -> (Call, usize) {
    match dice.roll(5) {
        0 => (Call::Plain, 1),
        1 => (Call::Addressed, 1),
        2 => (Call::Vectors, 1 + dice.roll(1_000)),
        3 => (Call::Message, 1 + dice.roll(70)),
        _ => {
            let many = 1 + dice.roll(30);
            (Call::Messages(many), many * (1 + dice.roll(4)))
        }
    }
}

/// Sends bytes by calls of any kind: mostly all in one.
fn send(socket: &TcpStream, mut bytes: Vec<u8>, dice: &mut Dice) {
    let mut at = 0;
    while at < bytes.len() {
        let (call, count) = any_call(dice);
        let left = bytes.len() - at;
        let len = if dice.roll(4) == 0 { 1 + dice.roll(left) } else { left };
        at += transfer(socket.as_raw_fd(), true, call, count, &mut bytes[at..at + len]);
    }
}

/// Receives so many bytes by calls of any kind and size that is captured whole.
fn receive(socket: &TcpStream, mut left: usize, dice: &mut Dice) {
    while left > 0 {
        let (call, count) = any_call(dice);
        let len = [4_096, 16_384, 65_536, 262_144, 320_000][dice.roll(5)].min(left);
        left -= transfer(socket.as_raw_fd(), false, call, count, &mut vec![0; len]);
    }
}

/// Lets both sides talk; returns when all is said.
fn talk(rounds: Vec<Round>, client: &TcpStream, server: &TcpStream, seed: u64) {
    let sizes: Vec<(usize, usize)> =
        rounds.iter().map(|round| (round.requests.len(), round.responses.len())).collect();
    let (requests, responses): (Vec<_>, Vec<_>) =
        rounds.into_iter().map(|round| (round.requests, round.responses)).unzip();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = Dice(seed);
            for (bytes, (asked, _)) in responses.into_iter().zip(&sizes) {
                receive(server, *asked, &mut dice);
                send(server, bytes, &mut dice);
            }
        });
        let mut dice = Dice(seed + 1);
        for (bytes, (_, answered)) in requests.into_iter().zip(&sizes) {
            send(client, bytes, &mut dice);
            receive(client, *answered, &mut dice);
            // So that what was decided reaches the kernel.
            thread::sleep(Duration::from_millis(40));
        }
    });
}

fn now_ns() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(time.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap()
}

/// Brings records to the stages and decisions back, as the capturer does.
fn drive(kernel: &mut Kernel, pipeline: &mut Pipeline, exchanges: &mut Vec<v1::Exchange>) {
    let mut taken = 0;
    while kernel.drain(&mut |record| pipeline.take(record), 1024) > 0 {
        taken += 1;
        if taken > 100 {
            break;
        }
    }
    pipeline.advance(now_ns(), taken <= 100);
    for (connection, verdict) in pipeline.decisions() {
        kernel.decide(connection, verdict).unwrap();
    }
    exchanges.extend(std::iter::from_fn(|| pipeline.exchange()));
}

/// Watches a port of this process while both sides talk, and compares what comes out on each side with the truth.
pub(super) fn check(
    what: &str,
    protocol: &str,
    port: u16,
    truth: &Truth,
    talk: impl FnOnce() + Send + 'static,
) {
    let Some(mut capture) = Capture::start(port, RING) else { return };
    let filter = v1::Filter { protocols: vec![protocol.to_owned()], ..v1::Filter::default() };
    let settings =
        v1::CapturerSettings { payload_bytes: 1_024, id_base: 1, filter: Some(filter), ..Default::default() };
    let mut pipeline = Pipeline::new(&settings, "here".to_owned(), PathBuf::from("/nonexistent")).unwrap();
    let mut exchanges = Vec::new();
    let talking = thread::spawn(talk);
    while !talking.is_finished() {
        drive(&mut capture.kernel, &mut pipeline, &mut exchanges);
        thread::sleep(Duration::from_millis(1));
    }
    talking.join().unwrap();
    capture.kernel.detach();
    for _ in 0..30 {
        drive(&mut capture.kernel, &mut pipeline, &mut exchanges);
        thread::sleep(Duration::from_millis(5));
    }
    pipeline.finish(now_ns());
    exchanges.extend(std::iter::from_fn(|| pipeline.exchange()));
    let what = format!("{what}, {:?}", pipeline.ledger());
    for side in [v1::Side::Client, v1::Side::Server] {
        let mut found: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for exchange in exchanges.iter().filter(|exchange| exchange.side == side as i32) {
            let words: Vec<&str> = exchange.operation.split_whitespace().collect();
            let known = (2..=words.len()).map(|count| words[..count].join(" "));
            let Some(key) = known.into_iter().find(|key| truth.contains_key(key)) else { continue };
            let size = |message: &Option<v1::Message>| message.as_ref().map_or(0, |message| message.bytes);
            let sizes = (size(&exchange.request), size(&exchange.response));
            assert_eq!(found.insert(key, sizes), None, "{what}, {side:?}: found twice: {words:?}");
        }
        let wrong: Vec<_> = truth
            .iter()
            .filter(|(words, sizes)| found.get(*words) != Some(*sizes))
            .map(|(words, sizes)| (words, sizes, found.get(words)))
            .take(8)
            .collect();
        assert!(wrong.is_empty(), "{what}, {side:?}: {} of {} found; {wrong:?}", found.len(), truth.len());
    }
    let totals = capture.kernel.totals();
    assert_eq!((totals.ring, totals.miss, totals.fault, totals.map), (0, 0, 0, 0), "{what}");
    let ledger::Events { unanchored, gap, unparsable, unseen, .. } = pipeline.ledger().events;
    assert_eq!((unanchored, gap, unparsable, unseen), (0, 0, 0, 0), "{what}");
    let ledger::Exchanges { unpaired, gap, .. } = pipeline.ledger().exchanges;
    assert_eq!((unpaired, gap), (0, 0), "{what}");
}

/// Lets a script be spoken over TCP.
fn check_stream(protocol: &str, script: Script, seed: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Script { rounds, truth, .. } = script;
    check(&format!("{protocol}, seed {seed}"), protocol, port, &truth, move || {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        talk(rounds, &client, &server, seed);
    });
}

#[test]
fn redis_by_calls_of_any_kind() {
    for seed in [1, 2] {
        check_stream("redis", redis(&mut Dice(seed)), seed);
    }
}

#[test]
fn many_commands_in_a_connections_first_call_are_all_seen() {
    for seed in [13, 14, 15] {
        let mut script = Script::default();
        pipeline(&mut script, 20_000);
        assert!((700_000..1_000_000).contains(&script.rounds[0].requests.len()));
        check_stream("redis", script, seed);
    }
}

#[test]
fn http_by_calls_of_any_kind() {
    for seed in [3, 4] {
        check_stream("http", http(&mut Dice(seed)), seed);
    }
}

#[test]
fn mysql_by_calls_of_any_kind() {
    for seed in [5, 6] {
        check_stream("mysql", mysql(&mut Dice(seed)), seed);
    }
}

#[test]
fn postgres_by_calls_of_any_kind() {
    for seed in [7, 8] {
        check_stream("postgres", postgres(&mut Dice(seed)), seed);
    }
}

#[test]
fn dns_by_calls_of_any_kind() {
    for seed in [9, 10] {
        check_stream("dns", dns(&mut Dice(seed)), seed);
    }
}
