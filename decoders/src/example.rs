//! Ident tells whose a connection is: one line asks, one line answers.
//!
//! Source: RFC 1413.

use memchr::memchr;

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Evidence, Options, Probe, Request, Response, Side, Step};
use crate::registry::{Comparison, Field, Framing, Protocol, Statuses};

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "ident",
    title: "Ident",
    summary: "queries for the owner of a connection, with their answers",
    ports: &[113],
    transports: &[Transport::Tcp],
    fields: &[Field {
        name: "owner",
        flag: "owner",
        help: "Owners of connections",
        comparison: Comparison::Exact,
    }],
    statuses: Statuses {
        // A server may have errors of its own, which begin with `X`.
        fits: |status| STATUSES.contains(&status) || status.starts_with('X'),
        allowed: "has USERID and the names of errors, such as NO-USER",
        words: &STATUSES,
    },
    framing: Framing::Hidden,
    probe,
    open: |options, _from_start| Box::new(Ident::new(options)),
    datagrams: None,
};

/// What RFC 1413, section 4, has for answers.
const STATUSES: [&str; 5] = ["USERID", "INVALID-PORT", "NO-USER", "HIDDEN-USER", "UNKNOWN-ERROR"];

/// Decodes one connection. Each line stands for itself, so nothing is remembered but what the user wants to see.
#[derive(Debug)]
struct Ident {
    /// Payload bytes kept per message.
    limit: usize,
}

// === impl Ident ===

impl Ident {
    fn new(options: &Options) -> Self {
        Self { limit: options.payload_bytes }
    }
}

impl Decoder for Ident {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        let Some((line, consumed)) = first_line(bytes) else {
            return Step::NeedMore { at_least: bytes.len().saturating_add(1) };
        };
        let taken = |event| Step::Take { consumed, skip: 0, event };
        message(from, line, self.limit).map_or(Step::Malformed, taken)
    }

    fn lost(&mut self, _from: Side) {}

    fn resync(&mut self, _from: Side, bytes: &[u8]) -> Option<usize> {
        // Nobody knows whether the first line is whole: `0113, 25` may be the end of `40113, 25`.
        first_line(bytes).map(|(_, consumed)| consumed)
    }
}

/// Judges the first bytes of a side.
fn probe(evidence: &Evidence<'_>) -> Probe {
    let Some((line, _)) = first_line(evidence.head) else {
        // Both sides begin with a number.
        let begins = evidence.head.first().is_none_or(u8::is_ascii_digit);
        return if begins { Probe::NeedMore } else { Probe::No };
    };
    match (evidence.sender, message(evidence.sender, line, 0)) {
        (_, None) => Probe::No,
        // Two numbers in a line may be another protocol's: the server's answer decides.
        (Side::Client, Some(_)) => Probe::Maybe,
        // Two ports and one of two words are no other protocol's.
        (Side::Server, Some(_)) => Probe::Yes,
    }
}

/// Returns the first line without its end, and how many bytes it has with it.
fn first_line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr(b'\n', bytes)?;
    let line = bytes.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), end.checked_add(1)?))
}

/// Reads a line; `None` is none of this protocol.
fn message(from: Side, line: &[u8], limit: usize) -> Option<Event> {
    let text = String::from_utf8_lossy(line);
    let mut fields = text.splitn(4, ':').map(str::trim);
    let operation = ports(fields.next()?)?;
    let kept = line.get(..limit).unwrap_or(line);
    let (payload, truncated) = (kept.to_vec(), kept.len() < line.len());
    match (from, fields.next()) {
        (Side::Client, None) => {
            Some(Event::Request(Request { operation, payload, truncated, ..Request::default() }))
        }
        (Side::Server, Some("USERID")) => {
            let (_system, owner) = (fields.next()?, fields.next()?);
            Some(Event::Response(Response {
                status: "USERID".to_owned(),
                attributes: vec![("owner", owner.to_owned())],
                payload,
                truncated,
                ..Response::default()
            }))
        }
        (Side::Server, Some("ERROR")) => {
            let status = fields.next()?.to_owned();
            Some(Event::Response(Response { status, error: true, payload, truncated, ..Response::default() }))
        }
        _ => None,
    }
}

/// Reads the two ports that name a connection.
fn ports(text: &str) -> Option<String> {
    let (server, client) = text.split_once(',')?;
    let (server, client): (u16, u16) = (server.trim().parse().ok()?, client.trim().parse().ok()?);
    Some(format!("{server},{client}"))
}
