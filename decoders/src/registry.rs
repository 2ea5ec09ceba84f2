//! Every protocol, one entry each; what users can name, filter by and see listed is derived from here.

use crate::conversation::Transport;
use crate::decoder::{Decoder, Evidence, Options, Probe};

/// How a filter compares a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal to the letter.
    Exact,
    /// Equal but for ASCII case.
    Caseless,
    /// Begins with.
    Prefix,
    /// Matches a regular expression.
    Regex,
}

/// A field that filters test, and the flag that sets the test.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Attribute name.
    pub name: &'static str,
    /// Command line flag, without dashes.
    pub flag: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// How values are compared.
    pub comparison: Comparison,
}

/// What statuses the responses of a protocol have: a filter that asks for another would wait for what never comes.
#[derive(Clone, Copy, Debug)]
pub struct Statuses {
    /// Says whether a status, or its beginning up to a space, can be one of this protocol's.
    pub fits: fn(&str) -> bool,
    /// Which there are, in words that follow the protocol's name.
    pub allowed: &'static str,
    /// Statuses to which a misspelt one may be near.
    pub words: &'static [&'static str],
}

/// How the messages of a stream say where they end, so far as whoever captures them can follow without a decoder: of a
/// large call it may then leave out what lies within messages, and still see where each begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Not in their first bytes.
    Hidden,
    /// A header of fixed size holds the length.
    Prefixed {
        /// Bytes of the header.
        header: u8,
        /// Where in it the length is.
        at: u8,
        /// Bytes of the length, at most 4.
        width: u8,
        /// Whether its first byte is the highest.
        big_endian: bool,
        /// Bytes of a message that the length does not count.
        beyond: u8,
    },
    /// Lines as those of RESP, some of which announce so many bytes and a line end behind them.
    Lines,
}

/// A protocol as users know it.
pub struct Protocol {
    /// Name on the command line, lower case.
    pub name: &'static str,
    /// Name in prose.
    pub title: &'static str,
    /// What is read of it, one line.
    pub summary: &'static str,
    /// Usual ports: they settle a tie, and are never required.
    pub ports: &'static [u16],
    /// Transports whose bytes it is read from; none for what is told of connections over which nothing went.
    pub transports: &'static [Transport],
    /// Fields that filters test.
    pub fields: &'static [Field],
    /// Statuses of its responses.
    pub statuses: Statuses,
    /// How its messages say where they end.
    pub framing: Framing,
    /// Tells whether the first bytes that a side sent over a stream are this protocol's.
    pub(crate) probe: fn(&Evidence<'_>) -> Probe,
    /// Begins to decode a stream; `true` when its first bytes will be seen.
    pub(crate) open: fn(&Options, bool) -> Box<dyn Decoder>,
    /// The same for datagrams, where it runs over those.
    pub(crate) datagrams: Option<Datagrams>,
}

/// How a protocol is read from datagrams: each is one whole message.
pub(crate) struct Datagrams {
    /// Tells whether a datagram that a side sent is this protocol's.
    pub(crate) probe: fn(&Evidence<'_>) -> Probe,
    /// Begins to decode.
    pub(crate) open: fn(&Options) -> Box<dyn Decoder>,
}

/// Returns every protocol, in the order in which a tie is settled.
#[must_use]
pub fn registry() -> &'static [Protocol] {
    REGISTRY
}

/// Returns the name of the protocol in which a client that begins so asks a proxy for a tunnel, where any protocol may
/// follow.
pub(crate) fn tunnelled_by(head: &[u8]) -> Option<&'static str> {
    crate::http::asks_for_a_tunnel(head).then_some(crate::http::PROTOCOL.name)
}

// === impl Protocol ===

impl std::fmt::Debug for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protocol").field("name", &self.name).finish_non_exhaustive()
    }
}

static REGISTRY: &[Protocol] = &[
    crate::http::PROTOCOL,
    crate::redis::PROTOCOL,
    crate::mysql::PROTOCOL,
    crate::postgres::PROTOCOL,
    crate::dns::PROTOCOL,
    crate::tcp::PROTOCOL,
];
