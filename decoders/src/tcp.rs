//! TCP's own exchanges: a connection is asked for, and refused, not answered, or reset before a byte goes either way.
//!
//! No bytes tell of it, so nothing is claimed here and nothing is read: whoever captures has it from the kernel.
//!
//! Source: RFC 9293, sections 3.5 (opening a connection) and 3.5.2 (resets).

use std::net::SocketAddr;

use crate::conversation::Exchange;
use crate::decoder::{Decoder, Probe, Side, Step};
use crate::registry::{Framing, Protocol, Statuses};

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: Attempt::PROTOCOL,
    title: "TCP",
    summary: "connections that were refused, not answered, or reset before a byte went either way",
    ports: &[],
    transports: &[],
    fields: &[],
    statuses: Statuses {
        fits,
        allowed: "has REFUSED, TIMEOUT, RESET, UNREACHABLE and ERR NUMBER",
        words: &STATUSES,
    },
    framing: Framing::Hidden,
    probe: |_| Probe::No,
    open: |_, _| Box::new(Nothing),
    datagrams: None,
};

const REFUSED: &str = "REFUSED";
const TIMEOUT: &str = "TIMEOUT";
const RESET: &str = "RESET";
const UNREACHABLE: &str = "UNREACHABLE";
/// Before the number of an error.
const FAILED: &str = "ERR";

const STATUSES: [&str; 5] = [REFUSED, TIMEOUT, RESET, UNREACHABLE, FAILED];

/// A connection over which nothing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which end the observed process is.
    pub side: Side,
    /// The address that was asked.
    pub server: SocketAddr,
    /// How it ended.
    pub ending: Ending,
}

/// How a connection ended over which nothing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The other end has nobody at that port.
    Refused,
    /// Nobody answered, until the kernel or the process gave up or the capture ended.
    TimedOut,
    /// It was open, and the other end took it back.
    Reset,
    /// The network says that there is no way.
    Unreachable,
    /// An error of the kernel that is none of these, by its number.
    Failed(u32),
}

/// Reads nothing: the protocol claims no bytes.
#[derive(Debug)]
struct Nothing;

// === impl Attempt ===

impl Attempt {
    /// The protocol's name in the registry.
    pub const PROTOCOL: &'static str = "tcp";

    /// Makes an exchange of it: nobody answered, so that is an error.
    #[must_use]
    pub fn exchange(self) -> Exchange {
        let Self { side, server, ending } = self;
        let verb = match side {
            Side::Client => "CONNECT",
            Side::Server => "ACCEPT",
        };
        Exchange {
            protocol: Self::PROTOCOL,
            side,
            tls: false,
            request: None,
            response: None,
            operation: format!("{verb} {server}"),
            target: server.to_string(),
            status: ending.status(),
            error: true,
            attributes: Vec::new(),
            handshake: false,
            announced: None,
            reason: None,
        }
    }
}

// === impl Ending ===

impl Ending {
    fn status(self) -> String {
        match self {
            Self::Refused => REFUSED.to_owned(),
            Self::TimedOut => TIMEOUT.to_owned(),
            Self::Reset => RESET.to_owned(),
            Self::Unreachable => UNREACHABLE.to_owned(),
            Self::Failed(error) => format!("{FAILED} {error}"),
        }
    }
}

// === impl Nothing ===

impl Decoder for Nothing {
    fn decode(&mut self, _from: Side, _bytes: &[u8]) -> Step {
        Step::Malformed
    }

    fn lost(&mut self, _from: Side) {}

    fn resync(&mut self, _from: Side, _bytes: &[u8]) -> Option<usize> {
        None
    }
}

/// Whether a status, or its beginning up to a space, can be one of these.
fn fits(status: &str) -> bool {
    match status.split_once(' ') {
        None => STATUSES.contains(&status),
        Some((word, number)) => {
            let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
            word == FAILED && plain && number.parse::<u32>().is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_reads_as_what_was_tried() {
        let attempt = |side, server: &str, ending| {
            let exchange = Attempt { side, server: server.parse().unwrap(), ending }.exchange();
            assert!(exchange.error && exchange.request.is_none() && exchange.response.is_none());
            (exchange.operation, exchange.target, exchange.status)
        };
        let text = |(operation, target, status): (String, String, String)| {
            format!("{operation} | {target} | {status}")
        };
        for (side, server, ending, expected) in [
            (
                Side::Client,
                "10.0.0.7:5432",
                Ending::Refused,
                "CONNECT 10.0.0.7:5432 | 10.0.0.7:5432 | REFUSED",
            ),
            (
                Side::Client,
                "[2001:db8::7]:80",
                Ending::TimedOut,
                "CONNECT [2001:db8::7]:80 | [2001:db8::7]:80 | TIMEOUT",
            ),
            (Side::Server, "127.0.0.1:80", Ending::Reset, "ACCEPT 127.0.0.1:80 | 127.0.0.1:80 | RESET"),
            (Side::Client, "[::1]:1", Ending::Unreachable, "CONNECT [::1]:1 | [::1]:1 | UNREACHABLE"),
            (Side::Client, "[::1]:1", Ending::Failed(92), "CONNECT [::1]:1 | [::1]:1 | ERR 92"),
        ] {
            assert_eq!(text(attempt(side, server, ending)), expected);
        }
    }

    #[test]
    fn only_such_statuses_fit() {
        for status in ["REFUSED", "TIMEOUT", "RESET", "UNREACHABLE", "ERR", "ERR 92", "ERR 4294967295"] {
            assert!(fits(status), "{status}");
        }
        for status in
            ["", "refused", "ERR ", "ERR 0", "ERR 092", "ERR x", "ERR 4294967296", "RESET 1", "200", "ERR +1"]
        {
            assert!(!fits(status), "{status}");
        }
    }
}
