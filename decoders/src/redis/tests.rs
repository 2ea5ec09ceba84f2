//! Whole conversations: detection, losses, ends and what libraries send when they connect.

mod foreign;
mod joined;
mod pushes;
mod shapes;

use std::sync::Arc;

use crate::conversation::{Context, Conversation, Direction, Exchange, Outcome, Transport};
use crate::decoder::{Options, Redaction, Side};

/// Payload bytes kept.
const PAYLOAD: usize = 400;

/// A connection as its server sees it.
pub(super) struct Talk {
    conversation: Conversation,
    at: [u64; 2],
    now: u64,
    side: Side,
}

impl Talk {
    pub(super) fn new(from_start: bool) -> Self {
        Self::with(from_start, Some(Side::Server), Side::Server, 7000)
    }

    /// Where no other protocol is looked for.
    fn alone(from_start: bool) -> Self {
        let mut talk = Self::new(from_start);
        let context = Context {
            transport: Transport::Tcp,
            side: Some(Side::Server),
            local_port: 7000,
            remote_port: 40_000,
            from_start,
        };
        let redaction = Redaction { enabled: true, headers: Vec::new() };
        let options = Options { payload_bytes: PAYLOAD, redaction, protocols: vec!["redis".to_owned()] };
        talk.conversation = Conversation::new(context, Arc::new(options));
        talk
    }

    /// `known` is what is known of `side`, which the observed process is.
    fn with(from_start: bool, known: Option<Side>, side: Side, port: u16) -> Self {
        let (local_port, remote_port) = if side == Side::Server { (port, 40_000) } else { (40_000, port) };
        let context = Context { transport: Transport::Tcp, side: known, local_port, remote_port, from_start };
        let redaction = Redaction { enabled: true, headers: Vec::new() };
        let options = Options { payload_bytes: PAYLOAD, redaction, protocols: Vec::new() };
        Self { conversation: Conversation::new(context, Arc::new(options)), at: [0, 0], now: 0, side }
    }

    fn direction(&self, from: Side) -> Direction {
        if from == self.side { Direction::Out } else { Direction::In }
    }

    fn step(&mut self, from: Side, len: usize) -> (Direction, u64, u64) {
        self.now += 1_000_000;
        let at = &mut self.at[usize::from(from == Side::Server)];
        let position = *at;
        *at += len as u64;
        (self.direction(from), position, self.now)
    }

    fn say(&mut self, from: Side, bytes: &[u8]) -> &mut Self {
        let (direction, position, now) = self.step(from, bytes.len());
        self.conversation.bytes(direction, position, now, bytes);
        self
    }

    pub(super) fn ask(&mut self, bytes: &[u8]) -> &mut Self {
        self.say(Side::Client, bytes)
    }

    pub(super) fn answer(&mut self, bytes: &[u8]) -> &mut Self {
        self.say(Side::Server, bytes)
    }

    fn skip(&mut self, from: Side, len: usize) -> &mut Self {
        let (direction, position, now) = self.step(from, len);
        self.conversation.skipped(direction, position, now, len as u64);
        self
    }

    fn lose(&mut self, from: Side, len: usize) -> &mut Self {
        let (direction, position, now) = self.step(from, len);
        self.conversation.gap(direction, position, now, Some(len as u64));
        self
    }

    fn end(&mut self) -> &mut Self {
        self.conversation.end(self.now);
        self
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        std::iter::from_fn(|| self.conversation.take()).collect()
    }

    pub(super) fn exchanges(&mut self) -> Vec<Exchange> {
        let exchange = |outcome| match outcome {
            Outcome::Exchange(exchange) => Some(exchange),
            Outcome::Unparsable { .. } | Outcome::Unpaired | Outcome::Gap => None,
        };
        self.outcomes().into_iter().filter_map(exchange).collect()
    }

    /// Returns what came out: `operation status`, or the name of the outcome.
    fn lines(&mut self) -> Vec<String> {
        let line = |outcome| match outcome {
            Outcome::Exchange(Exchange { operation, status, error, request, .. }) => {
                let push = if request.is_none() { "<" } else { "" };
                format!("{push}{operation} {status}{}", if error { "!" } else { "" })
            }
            Outcome::Unparsable { bytes, .. } => format!("unparsable {bytes}"),
            Outcome::Unpaired => "unpaired".to_owned(),
            Outcome::Gap => "gap".to_owned(),
        };
        self.outcomes().into_iter().map(line).collect()
    }
}

/// Writes a command as libraries do.
fn command<B: AsRef<[u8]>>(words: &[B]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(bulk(word.as_ref()));
    }
    bytes
}

fn bulk(word: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat()
}

/// Writes the command whose words `line` has.
pub(super) fn words(line: &str) -> Vec<u8> {
    command(&line.split(' ').collect::<Vec<_>>())
}
