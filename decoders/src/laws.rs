//! Laws that hold for every protocol of the registry, over recorded conversations.
//!
//! A fixture is one connection: lines `C BYTES` and `S BYTES`, in the order in which they moved, escaped as by
//! `<[u8]>::escape_ascii`; `# transport udp` makes every line a datagram. Beside it lies its golden text, which
//! `KYANOS_BLESS=1 cargo test -p decoders laws` writes anew.

mod example;
mod foreign;
mod tunnel;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::conversation::{Context, Conversation, Direction, Exchange, Message, Outcome, Transport, Verdict};
use crate::decoder::{Evidence, Options, Probe, Redaction, Side};
use crate::registry::{Comparison, Protocol, registry};
use crate::tcp::{Attempt, Ending};

/// Payload bytes kept: long values of the fixtures are shortened by it.
const PAYLOAD: usize = 1500;

struct Fixture {
    name: String,
    protocol: String,
    path: PathBuf,
    transport: Transport,
    /// Who sent what, and when.
    chunks: Vec<(Side, u64, Vec<u8>)>,
}

fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|folder| folder.unwrap().path())
        .filter(|folder| folder.file_name().is_some_and(|name| name != foreign::FOLDER))
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    paths.into_iter().map(load).collect()
}

fn load(path: PathBuf) -> Fixture {
    let text = std::fs::read_to_string(&path).unwrap();
    let chunks = text
        .lines()
        .enumerate()
        .filter_map(|(line, text)| {
            let side = match text.get(..2)? {
                "C " => Side::Client,
                "S " => Side::Server,
                _other => return None,
            };
            let at_ns = (u64::try_from(line).unwrap() + 1) * 1_000_000;
            Some((side, at_ns, unescape(&text.as_bytes()[2..])))
        })
        .collect();
    let transport = if text.contains("# transport udp") { Transport::Udp } else { Transport::Tcp };
    let protocol = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let name = format!("{protocol}/{}", path.file_stem().unwrap().to_str().unwrap());
    Fixture { name, protocol, path, transport, chunks }
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        match rest[0] {
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'x' => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[1..3]).unwrap(), 16).unwrap());
                rest = &rest[2..];
            }
            other => bytes.push(other),
        }
        rest = &rest[1..];
    }
    bytes
}

fn options(protocols: Vec<String>) -> Options {
    Options { payload_bytes: PAYLOAD, redaction: Redaction { enabled: true, headers: Vec::new() }, protocols }
}

/// Feeds a conversation as the server's process would see it.
struct Feed {
    conversation: Conversation,
    positions: [u64; 2],
    transport: Transport,
}

impl Feed {
    fn new(transport: Transport, from_start: bool) -> Self {
        let context =
            Context { transport, side: Some(Side::Server), local_port: 0, remote_port: 0, from_start };
        let conversation = Conversation::new(context, Arc::new(options(Vec::new())));
        Self { conversation, positions: [0, 0], transport }
    }

    /// Looks for some protocols only, from the connection's start.
    fn ask_for(&mut self, protocols: Vec<String>) {
        let transport = self.transport;
        let context =
            Context { transport, side: Some(Side::Server), local_port: 0, remote_port: 0, from_start: true };
        self.conversation = Conversation::new(context, Arc::new(options(protocols)));
    }

    fn direction(side: Side) -> (Direction, usize) {
        match side {
            Side::Client => (Direction::In, 0),
            Side::Server => (Direction::Out, 1),
        }
    }

    fn chunk(&mut self, side: Side, at_ns: u64, bytes: &[u8]) {
        let (direction, index) = Self::direction(side);
        let length = u64::try_from(bytes.len()).unwrap();
        if self.transport == Transport::Udp {
            self.conversation.datagram(direction, self.positions[index], at_ns, bytes, length);
            self.positions[index] += 1;
        } else {
            self.conversation.bytes(direction, self.positions[index], at_ns, bytes);
            self.positions[index] += length;
        }
    }

    fn gap(&mut self, side: Side, at_ns: u64, length: usize) {
        let (direction, index) = Self::direction(side);
        let length = u64::try_from(length).unwrap();
        self.conversation.gap(direction, self.positions[index], at_ns, Some(length));
        self.positions[index] += length;
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        std::iter::from_fn(|| self.conversation.take()).collect()
    }

    fn end(mut self) -> Vec<Outcome> {
        self.conversation.end(u64::MAX);
        self.outcomes()
    }
}

fn run(fixture: &Fixture, chunks: &[(Side, u64, Vec<u8>)]) -> Vec<Outcome> {
    let mut feed = Feed::new(fixture.transport, true);
    for (side, at_ns, bytes) in chunks {
        feed.chunk(*side, *at_ns, bytes);
    }
    feed.end()
}

fn golden(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Exchange(exchange) => write_exchange(&mut text, exchange),
            Outcome::Unparsable { .. } | Outcome::Unpaired | Outcome::Gap => {
                writeln!(text, "{outcome:?}").unwrap();
            }
        }
    }
    text
}

fn write_exchange(text: &mut String, exchange: &Exchange) {
    let Exchange {
        protocol,
        side: _,
        tls,
        request,
        response,
        operation,
        target,
        status,
        error,
        attributes,
        handshake,
        announced,
        reason,
    } = exchange;
    let flags: String = [(*error, " error"), (*tls, " tls"), (*handshake, " handshake")]
        .into_iter()
        .filter_map(|(set, flag)| set.then_some(flag))
        .collect();
    writeln!(text, "{protocol} {operation:?} target={target:?} status={status:?}{flags}").unwrap();
    for (name, value) in attributes {
        writeln!(text, "  {name}={value:?}").unwrap();
    }
    if let Some(announced) = announced {
        writeln!(text, "  announced={announced}").unwrap();
    }
    if let Some(reason) = reason {
        writeln!(text, "  reason={reason:?}").unwrap();
    }
    for (name, message) in [("request", request), ("response", response)] {
        match message {
            None => writeln!(text, "  {name} none").unwrap(),
            Some(Message { start, end, datagram: _, plain_bytes, payload, truncated }) => {
                let cut = if *truncated { " truncated" } else { "" };
                let plain = plain_bytes.map(|plain| format!(" plain={plain}")).unwrap_or_default();
                writeln!(text, "  {name} {start}..{end}{plain}{cut} {}", payload.escape_ascii()).unwrap();
            }
        }
    }
}

#[test]
fn the_registry_knows_what_no_bytes_tell() {
    let endings = [Ending::Refused, Ending::TimedOut, Ending::Reset, Ending::Unreachable, Ending::Failed(92)];
    for (side, ending) in [Side::Client, Side::Server].into_iter().zip([endings; 2]) {
        for ending in ending {
            let exchange = Attempt { side, server: ([10, 0, 0, 7], 80).into(), ending }.exchange();
            let protocol = registry().iter().find(|protocol| protocol.name == exchange.protocol).unwrap();
            check_entry(protocol, &exchange, &format!("{ending:?}"));
        }
    }
}

#[test]
fn a_protocol_has_fixtures_or_reads_no_bytes() {
    let fixtures = fixtures();
    for protocol in registry() {
        let own = fixtures.iter().filter(|fixture| fixture.protocol == protocol.name).count();
        assert_eq!(own == 0, protocol.transports.is_empty(), "{}: {own} fixtures", protocol.name);
    }
}

#[test]
fn who_asks_only_for_what_no_bytes_tell_reads_none() {
    let silent = registry().iter().filter(|protocol| protocol.transports.is_empty());
    let silent: Vec<String> = silent.map(|protocol| protocol.name.to_owned()).collect();
    for fixture in fixtures() {
        let mut feed = Feed::new(fixture.transport, true);
        feed.ask_for(silent.clone());
        for (side, at, bytes) in &fixture.chunks {
            feed.chunk(*side, *at, bytes);
        }
        let outcomes = feed.end();
        let shown = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Exchange(_)));
        assert!(!shown, "{}: {}", fixture.name, golden(&outcomes));
    }
}

/// A small generator, so that every run damages alike.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

#[test]
fn fixtures_decode_to_their_golden_text_and_leave_nothing() {
    let mut failed = Vec::new();
    for fixture in fixtures() {
        let outcomes = run(&fixture, &fixture.chunks);
        let clean = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Exchange(_)));
        let text = golden(&outcomes);
        let path = fixture.path.with_extension("golden");
        if std::env::var_os("KYANOS_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let want = std::fs::read_to_string(&path).unwrap_or_default();
        if !clean || text != want || text.is_empty() {
            failed.push(format!("{}:\n{text}", fixture.name));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Checks what the registry says of an exchange.
fn check_entry(protocol: &Protocol, exchange: &Exchange, whose: &str) {
    let Exchange { status, attributes, .. } = exchange;
    let named = |text: &str| status.is_empty() || (protocol.statuses.fits)(text);
    assert!(named(status), "{whose}: `statuses` do not know {status:?}");
    let begin = status.split(' ').next().unwrap_or_default();
    assert!(named(begin), "{whose}: a filter for {begin:?} finds {status:?}, and `statuses` do not know it");
    for (name, value) in attributes {
        let fields: Vec<_> = protocol.fields.iter().filter(|field| field.name == *name).collect();
        assert!(!fields.is_empty(), "{whose}: no field is called {name}");
        let any_case = fields.iter().any(|field| field.comparison == Comparison::Caseless);
        let mixed = value.to_ascii_lowercase() != *value && value.to_ascii_uppercase() != *value;
        assert!(!any_case || !mixed, "{whose}: {name}={value:?} is one of several groups that are the same");
    }
}

#[test]
fn the_registry_knows_every_status_and_attribute() {
    let mut checked = 0;
    for fixture in fixtures() {
        let protocol = registry().iter().find(|protocol| protocol.name == fixture.protocol).unwrap();
        for outcome in run(&fixture, &fixture.chunks) {
            let Outcome::Exchange(exchange) = outcome else { continue };
            check_entry(protocol, &exchange, &fixture.name);
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked}");
    for protocol in registry() {
        for word in protocol.statuses.words {
            assert!((protocol.statuses.fits)(word), "{}: {word}", protocol.name);
        }
        assert!(!(protocol.statuses.fits)(""), "{}", protocol.name);
    }
}

#[test]
fn chunking_never_changes_the_messages() {
    for fixture in fixtures() {
        if fixture.transport == Transport::Udp {
            continue;
        }
        let whole = golden(&run(&fixture, &fixture.chunks));
        for size in [1, 2, 3, 5, 7, 64, 1460] {
            let split: Vec<_> = fixture
                .chunks
                .iter()
                .flat_map(|(side, at, bytes)| bytes.chunks(size).map(|part| (*side, *at, part.to_vec())))
                .collect();
            assert_eq!(golden(&run(&fixture, &split)), whole, "{} by {size}", fixture.name);
        }
        let mut merged: Vec<(Side, u64, Vec<u8>)> = Vec::new();
        for (side, at, bytes) in &fixture.chunks {
            match merged.last_mut().filter(|(last, ..)| last == side) {
                Some((_, _, last)) => last.extend_from_slice(bytes),
                None => merged.push((*side, *at, bytes.clone())),
            }
        }
        assert_eq!(golden(&run(&fixture, &merged)), whole, "{} merged", fixture.name);
    }
}

#[test]
fn what_a_prefix_gives_is_never_taken_back() {
    for fixture in fixtures() {
        if fixture.transport == Transport::Udp {
            continue;
        }
        let whole = golden(&run(&fixture, &fixture.chunks));
        let total: usize = fixture.chunks.iter().map(|(.., bytes)| bytes.len()).sum();
        let mut cut = 0;
        while cut <= total {
            let mut feed = Feed::new(Transport::Tcp, true);
            let mut left = cut;
            for (side, at, bytes) in &fixture.chunks {
                let part = &bytes[..bytes.len().min(left)];
                left -= part.len();
                if !part.is_empty() {
                    feed.chunk(*side, *at, part);
                }
            }
            let text = golden(&feed.outcomes());
            assert!(whole.starts_with(&text), "{} cut at {cut}:\n{text}", fixture.name);
            cut += 1 + total / 300;
        }
    }
}

#[test]
fn exactly_one_decoder_claims_each_fixture() {
    for fixture in fixtures() {
        let mut feed = Feed::new(fixture.transport, true);
        let mut heads = [Vec::new(), Vec::new()];
        for (side, at, bytes) in &fixture.chunks {
            feed.chunk(*side, *at, bytes);
            heads[usize::from(*side == Side::Server)].extend_from_slice(bytes);
        }
        match feed.conversation.verdict() {
            Verdict::Trace { protocol, .. } => assert_eq!(protocol, fixture.protocol, "{}", fixture.name),
            // It was recognised and then found to be of no further use.
            Verdict::Ignore => {
                let Some(Outcome::Exchange(exchange)) = feed.conversation.take() else {
                    panic!("{} is ignored", fixture.name)
                };
                assert_eq!(exchange.protocol, fixture.protocol, "{}", fixture.name);
            }
            Verdict::Undecided { .. } => panic!("{} is not recognised", fixture.name),
        }
        if fixture.transport == Transport::Udp {
            continue;
        }
        for (side, head) in [(Side::Client, &heads[0]), (Side::Server, &heads[1])] {
            for length in 1..=head.len() {
                for protocol in registry().iter().filter(|protocol| protocol.name != fixture.protocol) {
                    let evidence = Evidence {
                        sender: side,
                        head: &head[..length],
                        other: &[],
                        from_start: true,
                        spoke_first: true,
                        usual_port: false,
                        port: 0,
                    };
                    let claim = (protocol.probe)(&evidence);
                    assert_ne!(claim, Probe::Yes, "{} by {} at {length}", fixture.name, protocol.name);
                }
                if length > 2000 {
                    break;
                }
            }
        }
    }
}

#[test]
fn damage_never_panics_or_overruns() {
    let fixtures = fixtures();
    let mut random = Random(7);
    for fixture in &fixtures {
        for round in 0..40 {
            let mut chunks = fixture.chunks.clone();
            let other = &fixtures[random.below(fixtures.len())];
            for _ in 0..=random.below(3) {
                let at = random.below(chunks.len());
                if chunks.is_empty() || other.chunks.is_empty() {
                    continue;
                }
                let bytes = &mut chunks[at].2;
                if bytes.is_empty() {
                    continue;
                }
                let place = random.below(bytes.len());
                match round % 4 {
                    0 => bytes.truncate(place),
                    1 => bytes[place] ^= 1 << random.below(8),
                    2 => bytes[place] = u8::try_from(random.below(256)).unwrap(),
                    _ => {
                        let (.., donor) = &other.chunks[random.below(other.chunks.len())];
                        let from = random.below(donor.len());
                        bytes.splice(place..place, donor[from..].iter().copied());
                    }
                }
            }
            let mut feed = Feed::new(fixture.transport, round % 2 == 0);
            for (side, at, bytes) in &chunks {
                feed.chunk(*side, *at, bytes);
            }
            let ends = feed.positions;
            for outcome in feed.end() {
                let Outcome::Exchange(exchange) = outcome else { continue };
                for (message, end) in [(&exchange.request, ends[0]), (&exchange.response, ends[1])] {
                    let Some(message) = message else { continue };
                    assert!(message.start <= message.end, "{}: {exchange:?}", fixture.name);
                    assert!(message.start <= end, "{}: {exchange:?}", fixture.name);
                    assert!(message.payload.len() <= PAYLOAD, "{}: {exchange:?}", fixture.name);
                }
            }
        }
    }
}

#[test]
fn after_a_loss_later_messages_decode_again() {
    let mut checked = 0;
    for fixture in fixtures() {
        if fixture.transport == Transport::Udp || fixture.chunks.len() < 12 {
            continue;
        }
        let whole = run(&fixture, &fixture.chunks);
        let Some(last) = whole.iter().rev().find_map(paired) else { continue };
        for lost in 2..fixture.chunks.len() / 2 {
            let mut feed = Feed::new(Transport::Tcp, true);
            for (index, (side, at, bytes)) in fixture.chunks.iter().enumerate() {
                // A client that pipelines is read again after a silence: each chunk comes seconds after the one before.
                let at = at * 2000;
                if index == lost {
                    feed.gap(*side, at, bytes.len());
                } else {
                    feed.chunk(*side, at, bytes);
                }
            }
            if feed.conversation.verdict() == Verdict::Ignore {
                continue;
            }
            let outcomes = feed.end();
            let found = outcomes.iter().filter_map(paired).any(|pair| pair == last);
            assert!(found, "{} without chunk {lost}: {last:?}\n{}", fixture.name, golden(&outcomes));
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked}");
}

/// Returns where request and response of a complete exchange lie, and its status.
fn paired(outcome: &Outcome) -> Option<(u64, u64, u64, u64, String)> {
    let Outcome::Exchange(exchange) = outcome else { return None };
    let (request, response) = (exchange.request.as_ref()?, exchange.response.as_ref()?);
    Some((request.start, request.end, response.start, response.end, exchange.status.clone()))
}
