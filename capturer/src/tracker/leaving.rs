//! Exchanges of a server whose response was written and has not yet left this machine.
//!
//! The last mark of a server is the last byte's passing of the boundary NIC, which a full queue or a closed window delays
//! beyond the call's return. Exchanges wait in order, and not for long.

use std::collections::VecDeque;

/// How long an exchange waits for its last byte; then that mark is unknown.
pub const WAIT_NS: u64 = 100_000_000;

/// Exchanges of a connection that wait at most; one more lets the oldest go.
pub const LEAVING: usize = 256;

/// The exchanges of a connection that wait.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    exchanges: VecDeque<(u64, decoders::Exchange)>,
    /// One waited in vain: packets leave this connection where they are not seen.
    unseen: bool,
}

// === impl Leaving ===

impl Leaving {
    /// Returns whether exchanges wait.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// Returns whether there is no use in waiting.
    #[must_use]
    pub(super) fn is_vain(&self) -> bool {
        self.unseen
    }

    /// Lets an exchange wait from `now_ns` on.
    pub(super) fn push(&mut self, exchange: decoders::Exchange, now_ns: u64) {
        self.exchanges.push_back((now_ns.saturating_add(WAIT_NS), exchange));
    }

    /// Takes the oldest exchange, if it need not wait any more: it has left, its time is over, or too many wait.
    pub(super) fn pop(
        &mut self,
        now_ns: u64,
        has_left: impl Fn(&decoders::Exchange) -> bool,
    ) -> Option<decoders::Exchange> {
        let (until_ns, exchange) = self.exchanges.front()?;
        if !has_left(exchange) {
            let over = *until_ns <= now_ns;
            self.unseen |= over;
            if !over && self.exchanges.len() <= LEAVING {
                return None;
            }
        }
        self.exchanges.pop_front().map(|(_, exchange)| exchange)
    }

    /// Takes the oldest exchange.
    pub(super) fn pop_any(&mut self) -> Option<decoders::Exchange> {
        self.exchanges.pop_front().map(|(_, exchange)| exchange)
    }
}
