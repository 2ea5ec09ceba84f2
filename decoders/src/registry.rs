//! Every protocol, one entry each; what users can name, filter by and see listed is derived from here.

use crate::conversation::Transport;
use crate::decoder::{Decoder, Evidence, Options, Probe};
use crate::{dns, http, mysql, postgres, redis};

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
    /// Transports it runs over.
    pub transports: &'static [Transport],
    /// Fields that filters test.
    pub fields: &'static [Field],
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
    &REGISTRY
}

// === impl Protocol ===

impl std::fmt::Debug for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protocol").field("name", &self.name).finish_non_exhaustive()
    }
}

static REGISTRY: [Protocol; 5] =
    [http::PROTOCOL, redis::PROTOCOL, mysql::PROTOCOL, postgres::PROTOCOL, dns::PROTOCOL];
