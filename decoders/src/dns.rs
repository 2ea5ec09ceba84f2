//! DNS over datagrams and over streams: queries and answers, met by identifier and question.
//!
//! Source: RFC 1035 (messages), RFC 1995 and 5936 (zone transfers), RFC 1996 (notifications), RFC 2136 (updates),
//! RFC 6891 (extensions), RFC 7766 (over TCP), RFC 8490 (stateful operations), RFC 9460 (service bindings).

mod iana;
mod message;
mod name;
mod probe;
mod record;
#[cfg(test)]
mod tests;
mod transfer;
mod update;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Evidence, Options, Probe, Request, Response, Side, Step};
use crate::reader::Reader;
use crate::registry::{Comparison, Datagrams, Field, Framing, Protocol, Statuses};
use message::{DnsHeader, DnsMessage, HEADER, Question};
use transfer::Transfer;

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "dns",
    title: "DNS",
    summary: "DNS over UDP and TCP: queries, zone transfers, updates, notifications and their outcomes",
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
    statuses: Statuses {
        fits: iana::is_rcode_name,
        allowed: "has response codes by name, such as NOERROR, NXDOMAIN, SERVFAIL or RCODE24",
        words: &iana::RCODES,
    },
    framing: Framing::Prefixed { header: 2, at: 0, width: 2, big_endian: true, beyond: 2 },
    probe: probe::stream,
    open: |options, _| Box::new(Dns::new(options, Carrier::Stream)),
    datagrams: Some(Datagrams {
        probe: probe::datagram,
        open: |options| Box::new(Dns::new(options, Carrier::Datagrams)),
    }),
};

/// Bytes of the length before each message of a stream (RFC 1035, section 4.2.2).
const PREFIX_BYTES: usize = 2;

/// Zone transfers that may be under way on one connection: each keeps text, and no client asks for so many at once.
const MAX_TRANSFERS: usize = 16;

/// Bytes of a message up to which each piece is kept as it comes: in them stands what is asked.
const PIECEMEAL_BYTES: usize = 512;

/// The key of an answer to a query that was not seen.
const NOBODYS_KEY: u64 = u64::MAX;

/// Decodes one connection, or one socket and peer.
#[derive(Debug)]
struct Dns {
    limit: usize,
    carrier: Carrier,
    /// By identifier the key of the newest query: an answer to a query that could not be read repeats no question.
    /// Bounded by the identifiers there are.
    asked: BTreeMap<u16, u64>,
    /// By identifier the transfers asked for.
    transfers: BTreeMap<u16, Transfer>,
    /// The transfer of which the beginning was not seen or is lost.
    headless: Option<Headless>,
    /// What is here of a message that is not all there, by side.
    partial: [Vec<u8>; 2],
}

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Stream,
    Datagrams,
}

/// A transfer whose messages cannot be paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Headless {
    id: u16,
    /// Whether its query was seen, and so counted as lost.
    counted: bool,
}

// === impl Dns ===

impl Dns {
    fn new(options: &Options, carrier: Carrier) -> Self {
        Self {
            limit: options.payload_bytes,
            carrier,
            asked: BTreeMap::new(),
            transfers: BTreeMap::new(),
            headless: None,
            partial: [Vec::new(), Vec::new()],
        }
    }

    /// Reads one message of `length` bytes, of which `bytes` are here.
    fn message(&mut self, from: Side, bytes: &[u8], length: usize) -> Option<Event> {
        let message = DnsMessage::read(bytes, self.limit)?;
        let header = message.header;
        if !self.is_sound(header, from, length) {
            return None;
        }
        Some(match from {
            Side::Client if header.is_response() => Event::Discard,
            Side::Client => self.query(message),
            Side::Server if header.is_response() => self.answer(message, bytes),
            Side::Server => self.push(message),
        })
    }

    /// Says whether `from` may have sent this header of a message of `length` bytes. An answer to what was asked is one,
    /// however wrong its counts are.
    fn is_sound(&self, header: DnsHeader, from: Side, length: usize) -> bool {
        let awaited = from == Side::Server && self.asked.contains_key(&header.id);
        header.is_sound(from) && (awaited || header.fits(length))
    }

    fn query(&mut self, message: DnsMessage) -> Event {
        let header = message.header;
        let question = message.question.clone();
        let key = key(header, question.as_ref());
        self.asked.insert(header.id, key);
        self.transfers.remove(&header.id);
        let transfers = self.carrier == Carrier::Stream && question.as_ref().is_some_and(transfer::is_asked);
        if transfers && self.transfers.len() < MAX_TRANSFERS {
            self.transfers.insert(header.id, Transfer::new(&message, key));
        }
        let operation = operation(&message);
        let (mut attributes, mut target) = (Vec::new(), String::new());
        if let Some(Question { name, kind, .. }) = question {
            target.clone_from(&name);
            attributes.push(("host", name.to_ascii_lowercase()));
            // An update names its zone by the type of the zone's first record: nobody asks for that.
            if header.opcode() != message::UPDATE {
                attributes.push(("type", iana::type_name(kind)));
            }
        }
        let (payload, truncated) = message.text(self.limit);
        let request = Request {
            operation,
            target,
            attributes,
            payload,
            truncated,
            key: Some(key),
            ..Request::default()
        };
        // Without an identifier a stateful operation wants no answer (RFC 8490, section 5.4.1).
        if header.opcode() == message::STATEFUL && header.id == 0 {
            self.asked.remove(&header.id);
            return Event::Single(Request { key: None, ..request });
        }
        Event::Request(request)
    }

    fn answer(&mut self, message: DnsMessage, bytes: &[u8]) -> Event {
        let (header, rcode) = (message.header, message.rcode);
        let newest = self.asked.get(&header.id).copied();
        let own = key(header, message.question.as_ref());
        let key = if message.question.is_some() { own } else { newest.unwrap_or(own) };
        if let Some(transfer) = self.transfers.get_mut(&header.id).filter(|transfer| transfer.key() == key) {
            if !transfer.take(message, bytes, self.limit) {
                return Event::Part;
            }
            self.asked.remove(&header.id);
            let whole = self.transfers.remove(&header.id);
            return whole.map_or(Event::Discard, |transfer| Event::Response(transfer.into_response()));
        }
        if newest.is_none()
            && let Some(event) = self.headless(&message, bytes)
        {
            return event;
        }
        if newest == Some(key) {
            self.asked.remove(&header.id);
        }
        let (payload, truncated) = message.text(self.limit);
        Event::Response(Response {
            status: iana::rcode_name(rcode),
            error: rcode != 0,
            payload,
            truncated,
            key: Some(key),
            ..Response::default()
        })
    }

    /// Passes a message of a transfer whose query was not seen or is lost: all its messages are one answer. Its last
    /// one ends with the record that begins a zone.
    fn headless(&mut self, message: &DnsMessage, bytes: &[u8]) -> Option<Event> {
        let id = message.header.id;
        let continues = self.headless.is_some_and(|headless| headless.id == id);
        let transfers = message.question.as_ref().is_none_or(transfer::is_asked);
        let readable = message.rcode == 0 && message.header.answers > 0;
        if self.carrier == Carrier::Datagrams || !transfers || !readable {
            return None;
        }
        let headless = self.headless.filter(|_| continues).unwrap_or(Headless { id, counted: false });
        let last = message::answers(bytes).last().is_some_and(|record| record.serial().is_some());
        let ends = last && (continues || message.header.answers > 1);
        self.headless = if ends { None } else { Some(headless) };
        if ends && !headless.counted { None } else { Some(Event::Discard) }
    }

    /// Reads what a server says unasked (RFC 8765).
    fn push(&mut self, message: DnsMessage) -> Event {
        let operation = operation(&message);
        let (payload, truncated) = message.text(self.limit);
        Event::Push(Response { operation: Some(operation), payload, truncated, ..Response::default() })
    }

    /// Returns where what is here of this side's open message is kept.
    fn partial(&mut self, from: Side) -> &mut Vec<u8> {
        let [client, server] = &mut self.partial;
        match from {
            Side::Client => client,
            Side::Server => server,
        }
    }

    /// Keeps what is here of a message that ends at `end`, in case the connection does first.
    ///
    /// Of a longer one twice as much is waited for, so that a message in many pieces is not copied at each.
    fn wait(&mut self, from: Side, bytes: &[u8], end: usize) -> Step {
        let header =
            bytes.get(PREFIX_BYTES..).and_then(|behind| DnsHeader::read(&mut Reader::new(behind, 0)));
        let length = end.saturating_sub(PREFIX_BYTES);
        if header.is_some_and(|header| !self.is_sound(header, from, length)) {
            return Step::Malformed;
        }
        let partial = self.partial(from);
        partial.clear();
        partial.extend_from_slice(bytes);
        let next = bytes.len().saturating_add(if bytes.len() < PIECEMEAL_BYTES { 1 } else { bytes.len() });
        Step::NeedMore { at_least: end.min(next) }
    }
}

impl Decoder for Dns {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        if self.carrier == Carrier::Datagrams {
            // Of a datagram not all may be here.
            let taken = |event| Step::Take { consumed: bytes.len(), skip: 0, event };
            return self.message(from, bytes, usize::from(u16::MAX)).map_or(Step::Malformed, taken);
        }
        let Some(length) = Reader::new(bytes, 0).u16().map(usize::from) else {
            return Step::NeedMore { at_least: PREFIX_BYTES };
        };
        if length < HEADER {
            return Step::Malformed;
        }
        let end = PREFIX_BYTES.saturating_add(length);
        let Some(whole) = bytes.get(PREFIX_BYTES..end) else { return self.wait(from, bytes, end) };
        self.partial(from).clear();
        let taken = |event| Step::Take { consumed: end, skip: 0, event };
        self.message(from, whole, length).map_or(Step::Malformed, taken)
    }

    fn lost(&mut self, from: Side) {
        let begun = self.transfers.iter().find(|(_, transfer)| transfer.has_begun()).map(|(id, _)| *id);
        self.headless = begun.map(|id| Headless { id, counted: true }).or(self.headless);
        self.asked.clear();
        self.transfers.clear();
        self.partial(from).clear();
    }

    fn garbled(&mut self, from: Side) -> bool {
        // Answers name their queries; of a transfer nobody knows what is left.
        self.partial(from).clear();
        if from == Side::Server {
            self.transfers.retain(|_, transfer| !transfer.has_begun());
        }
        true
    }

    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|at| {
            let head = bytes.get(*at..).unwrap_or_default();
            let evidence = Evidence {
                sender: from,
                head,
                other: &[],
                from_start: false,
                spoke_first: false,
                usual_port: false,
                port: 0,
            };
            probe::stream(&evidence) == Probe::Yes
        })
    }

    fn finish(&mut self, from: Side) -> Option<Event> {
        let cut = std::mem::take(self.partial(from));
        if from == Side::Server
            && let Some(Headless { counted: false, .. }) = self.headless.take()
        {
            return Some(Event::Response(Response { key: Some(NOBODYS_KEY), ..Response::default() }));
        }
        let begun = self.transfers.iter().find(|(_, transfer)| transfer.has_begun()).map(|(id, _)| *id);
        if from == Side::Server
            && let Some(transfer) = begun.and_then(|id| self.transfers.remove(&id))
        {
            return Some(Event::Response(transfer.into_response()));
        }
        // What is here of an answer says what it says, be it one of a transfer.
        if from == Side::Server {
            self.transfers.clear();
        }
        let length = Reader::new(&cut, 0).u16().map(usize::from)?;
        let mut event = self.message(from, cut.get(PREFIX_BYTES..)?, length)?;
        if let Event::Request(Request { truncated, .. }) | Event::Response(Response { truncated, .. }) =
            &mut event
        {
            *truncated = true;
        }
        Some(event)
    }
}

/// Returns what an answer repeats of its query. Names compare without case, and servers may change it.
fn key(header: DnsHeader, question: Option<&Question>) -> u64 {
    let mut hasher = DefaultHasher::new();
    header.id.hash(&mut hasher);
    if let Some(Question { name, kind, class }) = question {
        (name.to_ascii_lowercase(), kind, class).hash(&mut hasher);
    }
    hasher.finish()
}

/// Returns what a query wants in one line: `AAAA host`, `UPDATE zone`, `DSO KEEPALIVE`.
fn operation(message: &DnsMessage) -> String {
    let opcode = iana::opcode_name(message.header.opcode());
    match (&message.question, &message.stateful) {
        (Some(Question { name, kind, .. }), _) if message.header.opcode() == message::QUERY => {
            format!("{} {name}", iana::type_name(*kind))
        }
        (Some(Question { name, .. }), _) => format!("{opcode} {name}"),
        (None, Some(stateful)) => format!("{opcode} {stateful}"),
        (None, None) => opcode,
    }
}
