//! An exchange whose response ended before its request did: the rest of the request is still on its way.

use super::{Exchange, Message};

/// How long the rest of a request is waited for: an upload that was answered is either finished soon or given up.
const PATIENCE_NS: u64 = 1_000_000_000;

/// The exchange, and when its response ended.
#[derive(Debug)]
pub(super) struct Early {
    exchange: Exchange,
    since_ns: u64,
}

// === impl Early ===

impl Early {
    pub(super) fn new(exchange: Exchange, since_ns: u64) -> Self {
        Self { exchange, since_ns }
    }

    pub(super) fn request_mut(&mut self) -> Option<&mut Message> {
        self.exchange.request.as_mut()
    }

    /// Returns the lowest positions of request and response.
    pub(super) fn floors(&self) -> [Option<u64>; 2] {
        [&self.exchange.request, &self.exchange.response]
            .map(|message| message.as_ref().map(|message| message.start))
    }

    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.since_ns) >= PATIENCE_NS
    }

    /// Returns the exchange of which the request ends at `moved` at the latest.
    pub(super) fn release(mut self, moved: u64) -> Exchange {
        limit(&mut self.exchange, moved);
        self.exchange
    }
}

/// Ends a request where its bytes ended: what was announced and did not come is no part of its size.
pub(super) fn limit(exchange: &mut Exchange, moved: u64) {
    if let Some(request) = &mut exchange.request
        && request.end > moved
    {
        request.end = moved.max(request.start);
        request.truncated = true;
    }
}
