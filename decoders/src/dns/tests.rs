//! Messages as their senders write them, byte by byte.

mod ends;
mod foreign;
mod names;
mod pipelined;
mod transfers;
mod unusual;

use std::sync::Arc;

use crate::conversation::{Context, Conversation, Direction, Exchange, Outcome, Transport};
use crate::decoder::{Options, Redaction, Side};

/// Payload bytes kept.
const PAYLOAD: usize = 1000;

/// A conversation as the client's process sees it.
struct Talk {
    conversation: Conversation,
    transport: Transport,
    at: [u64; 2],
    now: u64,
}

impl Talk {
    fn new(transport: Transport, port: u16) -> Self {
        Self::joined(transport, port, true)
    }

    fn joined(transport: Transport, port: u16, from_start: bool) -> Self {
        let redaction = Redaction { enabled: true, headers: Vec::new() };
        let options = Options { payload_bytes: PAYLOAD, redaction, protocols: Vec::new() };
        let side = Some(Side::Client);
        let context = Context { transport, side, local_port: 40_000, remote_port: port, from_start };
        Self { conversation: Conversation::new(context, Arc::new(options)), transport, at: [0, 0], now: 0 }
    }

    /// Sends a datagram, or bytes of a stream.
    fn raw(&mut self, side: Side, bytes: &[u8]) {
        let (direction, index) = if side == Side::Client { (Direction::Out, 0) } else { (Direction::In, 1) };
        let length = u64::try_from(bytes.len()).unwrap();
        self.now += 1_000_000;
        match self.transport {
            Transport::Udp => {
                self.conversation.datagram(direction, self.at[index], self.now, bytes, length);
                self.at[index] += 1;
            }
            Transport::Tcp => {
                self.conversation.bytes(direction, self.at[index], self.now, bytes);
                self.at[index] += length;
            }
        }
    }

    /// Sends a message, behind its length in a stream.
    fn say(&mut self, side: Side, message: &[u8]) {
        match self.transport {
            Transport::Udp => self.raw(side, message),
            Transport::Tcp => self.raw(side, &framed(message)),
        }
    }

    fn ask(&mut self, message: &[u8]) {
        self.say(Side::Client, message);
    }

    fn answer(&mut self, message: &[u8]) {
        self.say(Side::Server, message);
    }

    fn lose(&mut self, side: Side, length: u64) {
        let (direction, index) = if side == Side::Client { (Direction::Out, 0) } else { (Direction::In, 1) };
        self.conversation.gap(direction, self.at[index], self.now, Some(length));
        self.at[index] += length;
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        std::iter::from_fn(|| self.conversation.take()).collect()
    }

    fn end(mut self) -> Vec<Outcome> {
        self.conversation.end(self.now);
        self.outcomes()
    }

    /// Ends the conversation, which must be exchanges only.
    fn exchanges(self) -> Vec<Exchange> {
        self.end()
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Exchange(exchange) => exchange,
                other @ (Outcome::Unparsable { .. } | Outcome::Unpaired | Outcome::Gap) => {
                    panic!("{other:?}")
                }
            })
            .collect()
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes
}

/// Writes a header.
fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let [questions, answers, authorities, additionals] = counts;
    [id, flags, questions, answers, authorities, additionals].into_iter().flat_map(u16::to_be_bytes).collect()
}

/// Writes a name without compression.
fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn question(host: &str, kind: u16) -> Vec<u8> {
    [name(host), kind.to_be_bytes().to_vec(), vec![0, 1]].concat()
}

fn record(host: &str, kind: u16, class: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    let fixed = [kind.to_be_bytes(), class.to_be_bytes(), [0, 0], [0, 60], length].concat();
    [name(host), fixed, data.to_vec()].concat()
}

/// Writes a message of one question and these records.
fn message(id: u16, flags: u16, question: &[u8], sections: [&[Vec<u8>]; 3]) -> Vec<u8> {
    let count = |records: &[Vec<u8>]| u16::try_from(records.len()).unwrap();
    let [answers, authorities, additionals] = sections.map(count);
    let questions = u16::from(!question.is_empty());
    let mut bytes = header(id, flags, [questions, answers, authorities, additionals]);
    bytes.extend_from_slice(question);
    bytes.extend(sections.into_iter().flatten().flatten());
    bytes
}

fn query(id: u16, host: &str, kind: u16) -> Vec<u8> {
    message(id, 0x0100, &question(host, kind), [&[], &[], &[]])
}

fn text(payload: &[u8]) -> String {
    String::from_utf8(payload.to_vec()).unwrap()
}

fn response(exchange: &Exchange) -> String {
    text(&exchange.response.as_ref().unwrap().payload)
}

fn request(exchange: &Exchange) -> String {
    text(&exchange.request.as_ref().unwrap().payload)
}
