//! Conversations of clients and servers, as the client's process sees them.

mod columns;
mod login;
mod long;
mod requests;

use std::sync::Arc;

use crate::conversation::{Context, Conversation, Direction, Exchange, Outcome, Transport};
use crate::decoder::{Options, Redaction, Side};

/// The greeting of `MySQL` 8.4, which offers everything but compression and TLS.
const GREETING: &[u8] = b"\x0a8.4.0\0\x01\0\0\x0012345678\0\xdf\xf7\x21\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\x00123456789012\0mysql_native_password\0";

/// An OK packet's body: nothing was changed, the session is as it was.
const OK: &[u8] = b"\0\0\0\x02\0\0\0";

/// Capabilities of clients.
const PROTOCOL_41: u32 = 1 << 9;
const SECURE: u32 = 1 << 15;
const WITH_DB: u32 = 1 << 3;
const MULTI: u32 = 1 << 16;
const TRACK: u32 = 1 << 23;
const NO_EOF: u32 = 1 << 24;
const OPTIONAL: u32 = 1 << 25;
const ATTRIBUTES: u32 = 1 << 27;

/// A packet: length, number, body.
fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&length[..3], &[number], body].concat()
}

/// Packets that follow each other in sequence, the first one with number `first`.
fn packets(first: u8, bodies: &[&[u8]]) -> Vec<u8> {
    let numbers = (0..=u8::MAX).cycle().skip(usize::from(first));
    bodies.iter().zip(numbers).flat_map(|(body, number)| packet(number, body)).collect()
}

/// A column definition.
fn column(name: &str, kind: u8) -> Vec<u8> {
    let name = [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    [b"\x03def\0\0\0", name.as_slice(), b"\0\x0c\x3f\0\x0b\0\0\0", &[kind], b"\x01\0\0\0\0"].concat()
}

/// The first packet of a client: who it is, what it can, and which database it wants.
fn login(capabilities: u32, database: &str) -> Vec<u8> {
    let capabilities = capabilities | PROTOCOL_41 | SECURE | WITH_DB | 1;
    let head = [&capabilities.to_le_bytes(), b"\0\0\0\x01\x21".as_slice(), &[0; 23]].concat();
    packet(1, &[&head, b"u\0\x04hash".as_slice(), database.as_bytes(), b"\0"].concat())
}

/// A command.
fn command(kind: u8, body: &[u8]) -> Vec<u8> {
    packet(0, &[&[kind], body].concat())
}

fn query(text: &str) -> Vec<u8> {
    command(3, text.as_bytes())
}

/// A connection and what was seen of it.
struct Wire {
    conversation: Conversation,
    at: [u64; 2],
    now: u64,
}

impl Wire {
    fn new(from_start: bool) -> Self {
        Self::keeping(from_start, 300)
    }

    fn keeping(from_start: bool, payload_bytes: usize) -> Self {
        let context = Context {
            transport: Transport::Tcp,
            side: Some(Side::Client),
            local_port: 40_000,
            remote_port: 13_306,
            from_start,
        };
        let redaction = Redaction { enabled: true, headers: Vec::new() };
        let options = Options { payload_bytes, redaction, protocols: Vec::new() };
        Self { conversation: Conversation::new(context, Arc::new(options)), at: [0, 0], now: 0 }
    }

    /// A connection on which a client with such capabilities was let in, to the database `shop`.
    fn logged_in(capabilities: u32) -> Self {
        let mut wire = Self::new(true);
        wire.server(&packet(0, GREETING)).client(&login(capabilities, "shop")).server(&packet(2, OK));
        assert_eq!(wire.outcomes(), ["LOGIN u @shop OK"]);
        wire
    }

    fn step(&mut self, direction: Direction, len: usize) -> (u64, u64) {
        self.now += 1_000_000;
        let at = &mut self.at[usize::from(direction == Direction::In)];
        let position = *at;
        *at += u64::try_from(len).unwrap();
        (position, self.now)
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        let (position, now) = self.step(direction, bytes.len());
        self.conversation.bytes(direction, position, now, bytes);
        self
    }

    fn client(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes(Direction::Out, bytes)
    }

    fn server(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes(Direction::In, bytes)
    }

    /// Bytes that moved and were not captured.
    fn unseen(&mut self, direction: Direction, len: usize) -> &mut Self {
        let (position, now) = self.step(direction, len);
        self.conversation.skipped(direction, position, now, u64::try_from(len).unwrap());
        self
    }

    /// A command and its answer of one OK packet.
    fn ask(&mut self, command: &[u8]) -> &mut Self {
        self.client(command).server(&packet(1, OK))
    }

    fn end(&mut self) -> &mut Self {
        self.conversation.end(self.now);
        self
    }

    fn exchanges(&mut self) -> Vec<Exchange> {
        std::iter::from_fn(|| self.conversation.take())
            .map(|outcome| match outcome {
                Outcome::Exchange(exchange) => exchange,
                Outcome::Unparsable { .. } | Outcome::Unpaired | Outcome::Gap => panic!("{outcome:?}"),
            })
            .collect()
    }

    /// Returns how many exchanges came out.
    fn count(&mut self) -> usize {
        std::iter::from_fn(|| self.conversation.take())
            .filter(|outcome| matches!(outcome, Outcome::Exchange(_)))
            .count()
    }

    /// Returns what came out: `operation @target status`, or the name of the outcome.
    fn outcomes(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.conversation.take())
            .map(|outcome| match outcome {
                Outcome::Exchange(exchange) => {
                    let Exchange { operation, target, status, error, .. } = exchange;
                    format!("{operation} @{target} {status}{}", if error { "!" } else { "" })
                }
                Outcome::Unparsable { .. } | Outcome::Unpaired | Outcome::Gap => format!("{outcome:?}"),
            })
            .collect()
    }

    /// Returns the text of the only response that came out.
    fn response(&mut self) -> String {
        let [exchange] = &self.exchanges()[..] else { panic!("not one") };
        String::from_utf8(exchange.response.as_ref().unwrap().payload.clone()).unwrap()
    }
}
