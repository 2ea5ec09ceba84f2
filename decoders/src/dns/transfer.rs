//! Zone transfers: one query that any number of messages answer (RFC 5936, RFC 1995).

use super::message::{self, DnsMessage, Question};
use crate::decoder::Response;
use crate::dns::iana;

/// Asks for what changed since a serial number.
const IXFR: u16 = 251;

/// Asks for a whole zone.
const AXFR: u16 = 252;

/// A transfer that was asked for.
#[derive(Debug)]
pub(super) struct Transfer {
    /// What its messages repeat of the query, where they repeat a question.
    key: u64,
    /// The serial number that the client has, which the server need not have surpassed.
    has: Option<u32>,
    incremental: bool,
    state: State,
    rcode: u16,
    text: Vec<u8>,
    truncated: bool,
}

/// Which record comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The zone's first, with the serial number that it has.
    First,
    /// What tells a whole zone from changes.
    Second { serial: u32 },
    /// A record of the whole zone, or its first once more.
    Whole,
    /// A record that is gone since a serial number, or the first of those that came.
    Deleted { serial: u32 },
    /// A record that came, the first of those that are gone since, or the zone's first once more.
    Added { serial: u32 },
    /// None: all is there.
    Done,
}

/// Says whether a question asks for a transfer.
pub(super) fn is_asked(question: &Question) -> bool {
    matches!(question.kind, IXFR | AXFR)
}

// === impl Transfer ===

impl Transfer {
    /// Begins the transfer that `query`, with this key, asks for.
    pub(super) fn new(query: &DnsMessage, key: u64) -> Self {
        Self {
            key,
            has: query.serial,
            incremental: query.question.as_ref().is_some_and(|question| question.kind == IXFR),
            state: State::First,
            rcode: 0,
            text: Vec::new(),
            truncated: false,
        }
    }

    /// Returns the key of its query.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// Whether a message of it came.
    pub(super) fn has_begun(&self) -> bool {
        self.state != State::First
    }

    /// Takes the next message, which is `bytes`; returns whether it is the last one. Text is kept up to `limit`: all of
    /// the first message, and the answers of those that follow.
    pub(super) fn take(&mut self, message: DnsMessage, bytes: &[u8], limit: usize) -> bool {
        let first = !self.has_begun();
        self.rcode = message.rcode;
        self.follow(bytes);
        let (text, truncated) = if first {
            message.text(limit)
        } else {
            let (records, truncated) = message.into_answers();
            (records.into_bytes(), truncated)
        };
        self.truncated |= truncated;
        self.text.extend_from_slice(&text);
        self.truncated |= self.text.len() > limit;
        self.text.truncate(limit);
        self.state == State::Done
    }

    /// Follows the answer section to see whether the transfer is over.
    fn follow(&mut self, bytes: &[u8]) {
        for record in message::answers(bytes) {
            self.state = self.next(record.serial());
            if self.state == State::Done {
                return;
            }
        }
        // A zone that has not changed is one record, and so is the news that changes do not fit into a message. An
        // error ends a transfer, and so does an answer without an answer.
        let unchanged = match (self.state, self.has) {
            (State::Second { serial }, Some(has)) => self.incremental && !is_later(serial, has),
            (State::Second { .. }, None) => self.incremental,
            (State::First, _) => true,
            _ => false,
        };
        if self.rcode != 0 || unchanged {
            self.state = State::Done;
        }
    }

    /// Returns what comes behind a record, which begins a zone where it has a serial number.
    fn next(&self, begins: Option<u32>) -> State {
        match (self.state, begins) {
            (State::First, Some(serial)) => State::Second { serial },
            (State::Second { serial }, Some(second)) if self.incremental && second != serial => {
                State::Deleted { serial }
            }
            // What does not begin with a zone's first record is no transfer.
            (State::Second { .. } | State::Whole, Some(_)) | (State::First, None) | (State::Done, _) => {
                State::Done
            }
            (State::Second { .. } | State::Whole, None) => State::Whole,
            (State::Deleted { serial }, Some(_)) => State::Added { serial },
            (State::Added { serial }, Some(next)) if next == serial => State::Done,
            (State::Added { serial }, Some(_)) => State::Deleted { serial },
            (state @ (State::Deleted { .. } | State::Added { .. }), None) => state,
        }
    }

    /// Makes the answer of all messages; one that is not whole is truncated.
    pub(super) fn into_response(self) -> Response {
        Response {
            status: iana::rcode_name(self.rcode),
            error: self.rcode != 0,
            payload: self.text,
            truncated: self.truncated || self.state != State::Done,
            key: Some(self.key),
            ..Response::default()
        }
    }
}

/// Says whether serial number `a` is later than `b` (RFC 1982, section 3.2).
fn is_later(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}
