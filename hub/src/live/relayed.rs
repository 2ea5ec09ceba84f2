//! What one viewer gets from other hubs of the session.

use std::collections::BTreeMap;

use proto::account::Balance;
use proto::v1;

/// Names one stream from another hub, for as long as its viewer lives.
pub type Relay = u64;

/// A viewer that takes what other hubs let through its filter, in one kind of responses.
pub trait Takes<R>: Send + Sync + 'static {
    /// Opens a stream; the viewer's own ends only after it.
    fn relay_begins(&self) -> Relay;

    /// Takes a response; says whether it is the stream's last.
    fn relay(&self, relay: Relay, response: R) -> bool;

    /// Ends a stream.
    fn relay_ends(&self);
}

/// Streams from other hubs, and what each counted that did not come.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    begun: Relay,
    open: usize,
    /// By stream: filtered and lost at its hub, both totals of the stream.
    passed: BTreeMap<Relay, (u64, u64)>,
}

// === impl Relayed ===

impl Relayed {
    /// Opens a stream.
    pub(super) fn begin(&mut self) -> Relay {
        self.begun += 1;
        self.open += 1;
        self.begun
    }

    /// Takes the newest ledger of a stream.
    pub(super) fn note(&mut self, relay: Relay, balance: Option<v1::Balance>) {
        match balance.map(Balance::try_from) {
            Some(Ok(balance)) => drop(self.passed.insert(relay, (balance.filtered, balance.lost.total()))),
            Some(Err(error)) => tracing::warn!(%error, "another hub's account of a viewer is not counted"),
            None => {}
        }
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
        self.passed.values().fold(0, |sum, (filtered, _)| sum.saturating_add(*filtered))
    }

    /// Lost at other hubs.
    pub(super) fn lost(&self) -> u64 {
        self.passed.values().fold(0, |sum, (_, lost)| sum.saturating_add(*lost))
    }
}
