//! What is known of a connection where an exchange is found on it.

use capturer_ebpf::layout;

use crate::marks::Calls;
use crate::packets::Seen;
use crate::segments::Span;

/// Who made a call, as the kernel says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The process.
    pub pid: u32,
    /// Its control group.
    pub cgroup: u64,
}

/// What an exchange is found on.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeContext<'a> {
    /// The connection.
    pub connection: &'a layout::Connection,
    /// Its calls, by direction.
    pub calls: &'a [Calls; 2],
    /// Who used it last.
    pub caller: Caller,
    /// When it was last used.
    pub last_ns: u64,
    /// When it began and ended, where no call says so.
    pub span: Option<Span>,
    /// Its packets, where they are followed.
    pub packets: Option<&'a Seen>,
    /// What to add to a position to get a sequence number, by direction.
    pub shifts: [u64; 2],
    /// Segments of its own message that were sent again; `None` where packets are not followed.
    pub retransmits: Option<u32>,
    /// How long the connection took to open; only with its first exchange.
    pub opening: Option<Span>,
}

// === impl ExchangeContext ===

impl ExchangeContext<'_> {
    /// Returns whether positions are those of TCP's sequence numbers.
    #[must_use]
    pub fn is_sequenced(&self) -> bool {
        self.connection.transport == layout::transport::TCP
            && self.connection.coordinate == layout::coordinate::SEQUENCE
    }
}
