//! What one viewer gets from other hubs of the session.

use proto::account::Balance;
use proto::v1;

use crate::account::viewer::Elsewhere;

/// Names one stream from another hub, for as long as its viewer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Relay {
    /// The other hub's process.
    pub hub: u64,
    /// Number of the stream.
    pub stream: u64,
}

/// A viewer that takes what other hubs let through its filter, in one kind of responses.
pub trait Takes<R>: Send + Sync + 'static {
    /// Opens a stream from a hub; the viewer's own ends only after it.
    fn relay_begins(&self, hub: u64) -> Relay;

    /// Takes a response; says whether it is the stream's last.
    fn relay(&self, relay: Relay, response: R) -> bool;

    /// Whether a hub told anything before: it is not asked for that again.
    fn has_told(&self, hub: u64) -> bool;

    /// Ends a stream.
    fn relay_ends(&self);
}

/// Streams from other hubs, and what each counted that did not come.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    begun: u64,
    open: usize,
    elsewhere: Elsewhere,
}

// === impl Relayed ===

impl Relayed {
    /// Opens a stream.
    pub(super) fn begin(&mut self, hub: u64) -> Relay {
        self.begun += 1;
        self.open += 1;
        Relay { hub, stream: self.begun }
    }

    /// Takes the newest ledger of a stream, and where its hub was when it began.
    pub(super) fn note(&mut self, relay: Relay, began_at: u64, balance: Option<v1::Balance>) {
        match balance.map(Balance::try_from) {
            Some(Ok(balance)) => self.elsewhere.tell(relay.hub, relay.stream, began_at, balance),
            Some(Err(error)) => tracing::warn!(%error, "another hub's account of a viewer is not counted"),
            None => {}
        }
    }

    /// Whether a hub told anything.
    pub(super) fn has_told(&self, hub: u64) -> bool {
        self.elsewhere.has_told(hub)
    }

    /// Ends a stream.
    pub(super) fn end(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Gives up what other hubs did not end.
    pub(super) fn abandon(&mut self) {
        self.open = 0;
    }

    /// Whether more may come.
    pub(super) fn is_open(&self) -> bool {
        self.open > 0
    }

    /// Filtered at other hubs.
    pub(super) fn filtered(&self) -> u64 {
        self.elsewhere.filtered()
    }

    /// Lost at other hubs, and on the way from them.
    pub(super) fn lost(&self) -> u64 {
        self.elsewhere.lost()
    }
}
