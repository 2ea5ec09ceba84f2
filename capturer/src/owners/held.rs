//! What was found of control groups about which is not decided yet.

use foldhash::HashMap;
use prost::Message;
use proto::v1;

/// Exchanges held of one control group at most: its first ones, so that a busy one leaves room for others.
pub const HELD_EXCHANGES: usize = 256;

/// Bytes held at most, as encoded: a thirtieth of the capturer's memory.
pub const HELD_BYTES: usize = 4 << 20;

/// Results of undecided control groups.
#[derive(Debug, Default)]
pub(super) struct Held {
    groups: HashMap<u64, Pending>,
    bytes: usize,
}

/// Results of one control group.
#[derive(Debug, Default)]
struct Pending {
    /// Exchanges, in order.
    exchanges: Vec<v1::Exchange>,
    /// Their bytes, as encoded.
    bytes: usize,
    missed: Missed,
}

/// Results that are no exchange that can be passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missed {
    /// Exchanges that found no room here.
    pub(super) shed: u64,
    /// Responses without a request and the like.
    pub(super) unpaired: u64,
    /// Exchanges whose other half was lost.
    pub(super) gap: u64,
}

// === impl Held ===

impl Held {
    /// Holds an exchange, or counts it where there is no room.
    pub(super) fn hold(&mut self, cgroup: u64, exchange: v1::Exchange) {
        let bytes = exchange.encoded_len();
        let pending = self.groups.entry(cgroup).or_default();
        if pending.exchanges.len() >= HELD_EXCHANGES || self.bytes + bytes > HELD_BYTES {
            pending.missed.shed += 1;
            return;
        }
        self.bytes += bytes;
        pending.bytes += bytes;
        pending.exchanges.push(exchange);
    }

    /// Counts what came to no exchange.
    pub(super) fn miss(&mut self, cgroup: u64, missed: Missed) {
        let Missed { shed, unpaired, gap } = missed;
        let held = &mut self.groups.entry(cgroup).or_default().missed;
        held.shed += shed;
        held.unpaired += unpaired;
        held.gap += gap;
    }

    /// Returns the control groups of which something is held.
    pub(super) fn groups(&self) -> Vec<u64> {
        self.groups.keys().copied().collect()
    }

    /// Returns whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Gives up what is held of a control group.
    pub(super) fn take(&mut self, cgroup: u64) -> (Vec<v1::Exchange>, Missed) {
        let Pending { exchanges, bytes, missed } = self.groups.remove(&cgroup).unwrap_or_default();
        self.bytes -= bytes;
        (exchanges, missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(len: usize) -> v1::Exchange {
        v1::Exchange { operation: "x".repeat(len), ..v1::Exchange::default() }
    }

    #[test]
    fn the_first_ones_are_held_and_the_others_counted() {
        let mut held = Held::default();
        for _ in 0..HELD_EXCHANGES + 10 {
            held.hold(1, exchange(10));
        }
        held.hold(2, exchange(10));
        let [(busy, lost), (quiet, none)] = [held.take(1), held.take(2)];
        assert_eq!((busy.len(), lost.shed), (HELD_EXCHANGES, 10));
        assert_eq!((quiet.len(), none), (1, Missed::default()));
        assert!(held.is_empty());
        assert_eq!(held.bytes, 0);
    }

    #[test]
    fn all_together_stay_below_the_bytes() {
        let mut held = Held::default();
        for cgroup in 0..1_000 {
            held.hold(cgroup, exchange(10_000));
            assert!(held.bytes <= HELD_BYTES);
        }
        let kept: usize = held.groups().into_iter().map(|cgroup| held.take(cgroup).0.len()).sum();
        assert!((400..=420).contains(&kept), "{kept}");
    }
}
