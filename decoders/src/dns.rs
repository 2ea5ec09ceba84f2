//! DNS over datagrams and over streams: queries and answers, met by identifier and question.
//!
//! Source: RFC 1035 (messages), RFC 7766 (over TCP), RFC 6891 (extensions), RFC 9460 (service bindings).

mod message;
mod name;
mod record;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Options, Probe, Request, Response, Side, Step};
use crate::reader::Reader;
use crate::registry::{Comparison, Datagrams, Field, Protocol};
use message::{Header, Message, Question};

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "dns",
    title: "DNS",
    summary: "DNS over UDP and TCP: questions, answers and response codes",
    ports: &[53],
    transports: &[Transport::Udp, Transport::Tcp],
    fields: &[
        Field { name: "host", flag: "host", help: "Names asked for", comparison: Comparison::Caseless },
        Field {
            name: "type",
            flag: "type",
            help: "Record types asked for",
            comparison: Comparison::Caseless,
        },
    ],
    probe: |evidence| probe_stream(evidence.sender, evidence.head),
    open: |options, _| Box::new(Dns::new(options, Carrier::Stream)),
    datagrams: Some(Datagrams {
        probe: |evidence| probe_message(evidence.sender, evidence.head),
        open: |options| Box::new(Dns::new(options, Carrier::Datagrams)),
    }),
};

/// Bytes of the length before each message of a stream (RFC 1035, section 4.2.2).
const PREFIX: usize = 2;

/// Bytes of the smallest message with a question: header, root name, type and class.
const SMALLEST: u16 = 17;

/// Decodes one connection, or one socket and peer.
#[derive(Debug)]
struct Dns {
    limit: usize,
    carrier: Carrier,
    /// By identifier the key of the newest query: an answer to a query that could not be read repeats no question.
    /// Bounded by the identifiers there are.
    asked: BTreeMap<u16, u64>,
}

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Stream,
    Datagrams,
}

/// Tells whether a stream's first bytes are a message behind its length.
fn probe_stream(side: Side, head: &[u8]) -> Probe {
    let Some(length) = Reader::new(head, 0).u16() else { return Probe::NeedMore };
    if length < SMALLEST {
        return Probe::No;
    }
    let behind = head.get(PREFIX..).unwrap_or_default();
    let whole = behind.get(..usize::from(length));
    message::probe(side, whole.unwrap_or(behind), whole.is_some())
}

/// Tells whether a datagram is a message.
fn probe_message(side: Side, datagram: &[u8]) -> Probe {
    message::probe(side, datagram, true)
}

// === impl Dns ===

impl Dns {
    fn new(options: &Options, carrier: Carrier) -> Self {
        Self { limit: options.payload_bytes, carrier, asked: BTreeMap::new() }
    }

    /// Reads one whole message.
    fn message(&mut self, from: Side, bytes: &[u8]) -> Option<Event> {
        let message = Message::read(bytes, self.limit).filter(|message| message.header.is_sound(from))?;
        Some(match from {
            Side::Client => self.query(message),
            Side::Server => self.answer(message),
        })
    }

    fn query(&mut self, message: Message) -> Event {
        let Message { header, question, text, truncated, .. } = message;
        let key = key(header, question.as_ref());
        self.asked.insert(header.id, key);
        let (name, kind) = named(question);
        Event::Request(Request {
            operation: format!("{kind} {name}"),
            target: name.clone(),
            attributes: vec![("host", name), ("type", kind)],
            payload: text,
            truncated,
            key: Some(key),
            ..Request::default()
        })
    }

    fn answer(&mut self, message: Message) -> Event {
        let Message { header, question, text, truncated, rcode } = message;
        let newest = self.asked.get(&header.id).copied();
        let key = match question {
            Some(_) => key(header, question.as_ref()),
            None => newest.unwrap_or_else(|| key(header, None)),
        };
        if newest == Some(key) {
            self.asked.remove(&header.id);
        }
        Event::Response(Response {
            status: message::rcode_name(rcode),
            error: rcode != 0,
            payload: text,
            truncated,
            key: Some(key),
            ..Response::default()
        })
    }
}

impl Decoder for Dns {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        if self.carrier == Carrier::Datagrams {
            let taken = |event| Step::Take { consumed: bytes.len(), skip: 0, event };
            return self.message(from, bytes).map_or(Step::Malformed, taken);
        }
        match probe_stream(from, bytes) {
            Probe::No => return Step::Malformed,
            Probe::Yes | Probe::Maybe | Probe::NeedMore => {}
        }
        let Some(length) = Reader::new(bytes, 0).u16() else { return Step::NeedMore { at_least: PREFIX } };
        let end = PREFIX.saturating_add(usize::from(length));
        match bytes.get(PREFIX..end) {
            None => Step::NeedMore { at_least: end },
            Some(whole) => self.message(from, whole).map_or(Step::Malformed, |event| Step::Take {
                consumed: end,
                skip: 0,
                event,
            }),
        }
    }

    fn lost(&mut self, _from: Side) {
        self.asked.clear();
    }

    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|at| probe_stream(from, bytes.get(*at..).unwrap_or_default()) == Probe::Yes)
    }
}

/// Returns what an answer repeats of its query. Names compare without case, and servers may change it.
fn key(header: Header, question: Option<&Question>) -> u64 {
    let mut hasher = DefaultHasher::new();
    header.id.hash(&mut hasher);
    if let Some(Question { name, kind, class }) = question {
        (name.to_ascii_lowercase(), kind, class).hash(&mut hasher);
    }
    hasher.finish()
}

/// Returns a question's name and type as text.
fn named(question: Option<Question>) -> (String, String) {
    question.map_or_else(Default::default, |question| (question.name, record::type_name(question.kind)))
}
