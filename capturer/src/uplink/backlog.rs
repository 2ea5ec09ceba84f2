//! What has not been acknowledged: batches in order, bounded by bytes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use proto::account::Balance;
use proto::v1::{self, uplink_request};
use tokio::time::Instant;

/// Encoded bytes held at most, sent or not: some seconds of full load, and a quarter of the capturer's memory.
/// Beyond it new exchanges are refused and counted as `uplink`.
pub const BACKLOG_BYTES: usize = 16 << 20;

/// A batch of this many bytes is closed: well under the hub's limit of a message.
pub const BATCH_BYTES: usize = 256 << 10;

/// A batch is open no longer than this; the first after a pause is not held at all.
pub const BATCH_LINGER: Duration = Duration::from_millis(20);

/// Balances are sent at least this often while they change.
pub const BALANCE_EVERY: Duration = Duration::from_secs(1);

/// A capturer that has nothing to say says at least this often that it captures: the hub tells from it since when nobody
/// sees what happens on a node.
pub const ALIVE_EVERY: Duration = Duration::from_secs(3);

/// Room for what is in a batch beside exchanges.
const BALANCE_BYTES: usize = 4 << 10;

/// Batches from the oldest unacknowledged one on.
#[derive(Debug, Default)]
pub struct Backlog {
    open: Vec<v1::Exchange>,
    open_folds: Vec<v1::Fold>,
    open_bytes: usize,
    opened: Option<Instant>,
    sealed: VecDeque<Sealed>,
    sealed_bytes: usize,
    last_sealed: Option<Instant>,
    /// When a batch was last made.
    last_made: Option<Instant>,
    balances: Vec<Balance>,
    sequence: u64,
    sent: u64,
}

#[derive(Debug)]
struct Sealed {
    sequence: u64,
    encoded: Bytes,
}

// === impl Backlog ===

impl Backlog {
    /// Takes an exchange; `false` when there is no room for it.
    #[must_use]
    pub fn push(&mut self, exchange: v1::Exchange, now: Instant) -> bool {
        let len = exchange.encoded_len() + 8;
        if self.bytes() + len + BALANCE_BYTES > BACKLOG_BYTES {
            return false;
        }
        self.opened.get_or_insert(now);
        self.open_bytes += len;
        self.open.push(exchange);
        true
    }

    /// Takes sums; `false` when there is no room for them.
    #[must_use]
    pub fn fold(&mut self, folds: Vec<v1::Fold>, now: Instant) -> bool {
        let len: usize = folds.iter().map(|fold| fold.encoded_len() + 8).sum();
        if self.bytes() + len + BALANCE_BYTES > BACKLOG_BYTES {
            return false;
        }
        self.opened.get_or_insert(now);
        self.open_bytes += len;
        self.open_folds.extend(folds);
        true
    }

    /// Returns whether the open batch is to be closed now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        let rested = |since: Option<Instant>, time| since.is_none_or(|since| now - since >= time);
        if !self.is_open() {
            return rested(self.last_sealed, BALANCE_EVERY);
        }
        self.open_bytes >= BATCH_BYTES
            || rested(self.opened, BATCH_LINGER)
            || rested(self.last_sealed, BATCH_LINGER)
    }

    /// Closes the open batch; with nothing in it only if the balances changed, if it is the last one, or as a sign of life.
    pub fn seal(&mut self, balances: Vec<Balance>, last: bool, now: Instant) {
        self.last_sealed = Some(now);
        let rests = self.last_made.is_some_and(|made| now - made < ALIVE_EVERY);
        if !self.is_open() && balances == self.balances && !last && rests {
            return;
        }
        self.last_made = Some(now);
        self.balances.clone_from(&balances);
        self.sequence += 1;
        let batch = v1::Batch {
            sequence: self.sequence,
            exchanges: std::mem::take(&mut self.open),
            folds: std::mem::take(&mut self.open_folds),
            balances: balances.into_iter().map(v1::Balance::from).collect(),
            r#final: last,
        };
        let request = v1::UplinkRequest { kind: Some(uplink_request::Kind::Batch(batch)) };
        let encoded = Bytes::from(request.encode_to_vec());
        self.open_bytes = 0;
        self.opened = None;
        self.sealed_bytes += encoded.len();
        self.sealed.push_back(Sealed { sequence: self.sequence, encoded });
    }

    /// Returns the next batch that was not sent on this connection, without counting it as sent.
    #[must_use]
    pub fn unsent(&self) -> Option<Bytes> {
        let first = self.sealed.front()?.sequence;
        let index = usize::try_from((self.sent + 1).saturating_sub(first)).ok()?;
        self.sealed.get(index).map(|sealed| sealed.encoded.clone())
    }

    /// Counts what [`Backlog::unsent`] returned as sent.
    pub fn mark_sent(&mut self) {
        let before = self.sealed.front().map_or(self.sequence, |sealed| sealed.sequence - 1);
        self.sent = self.sent.max(before) + 1;
    }

    /// Returns how many batches were sent on this connection and not acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let acknowledged = self.sealed.front().map_or(self.sequence, |sealed| sealed.sequence - 1);
        self.sent.saturating_sub(acknowledged)
    }

    /// Forgets the batches up to `sequence`.
    pub fn acknowledged(&mut self, sequence: u64) {
        while let Some(front) = self.sealed.front()
            && front.sequence <= sequence
        {
            self.sealed_bytes -= front.encoded.len();
            self.sealed.pop_front();
        }
    }

    /// Sends everything unacknowledged again: the connection is a new one.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Returns whether everything was acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_open() && self.sealed.is_empty()
    }

    /// Returns whether a batch is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.open.is_empty() || !self.open_folds.is_empty()
    }

    /// Returns the bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.open_bytes + self.sealed_bytes
    }
}

#[cfg(test)]
mod tests {
    use proto::account::{Consumer, Unit};

    use super::*;

    fn exchange(id: u64) -> v1::Exchange {
        v1::Exchange { id, operation: "x".repeat(1_000), ..v1::Exchange::default() }
    }

    fn sequence(encoded: &Bytes) -> u64 {
        match v1::UplinkRequest::decode(encoded.clone()).unwrap().kind {
            Some(uplink_request::Kind::Batch(batch)) => batch.sequence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_is_due_at_once_and_the_next_after_the_linger() {
        let mut backlog = Backlog::default();
        let now = Instant::now();
        assert!(backlog.push(exchange(1), now));
        assert!(backlog.is_due(now));
        backlog.seal(Vec::new(), false, now);
        assert!(backlog.push(exchange(2), now));
        assert!(!backlog.is_due(now));
        assert!(backlog.is_due(now + BATCH_LINGER));
        for id in 3..400 {
            assert!(backlog.push(exchange(id), now));
        }
        assert!(backlog.is_due(now), "by size");
    }

    #[test]
    fn unacknowledged_batches_are_sent_again_in_order() {
        let mut backlog = Backlog::default();
        let now = Instant::now();
        for id in 1..=5 {
            assert!(backlog.push(exchange(id), now));
            backlog.seal(Vec::new(), false, now);
        }
        let send = |backlog: &mut Backlog| {
            let mut sent = Vec::new();
            while let Some(encoded) = backlog.unsent() {
                backlog.mark_sent();
                sent.push(sequence(&encoded));
            }
            sent
        };
        assert_eq!(send(&mut backlog), [1, 2, 3, 4, 5]);
        assert_eq!(backlog.in_flight(), 5);
        backlog.acknowledged(2);
        assert_eq!(backlog.in_flight(), 3);
        backlog.rewind();
        assert_eq!(send(&mut backlog), [3, 4, 5]);
        assert_eq!(backlog.in_flight(), 3);
        backlog.acknowledged(5);
        assert!(backlog.is_empty());
        assert_eq!((backlog.bytes(), backlog.in_flight()), (0, 0));
        assert!(backlog.push(exchange(6), now));
        backlog.seal(Vec::new(), false, now);
        assert_eq!(send(&mut backlog), [6]);
    }

    #[test]
    fn a_full_backlog_refuses_and_never_drops() {
        let mut backlog = Backlog::default();
        let now = Instant::now();
        let mut taken = 0;
        for id in 0..40_000 {
            taken += usize::from(backlog.push(exchange(id), now));
            if backlog.is_due(now) {
                backlog.seal(Vec::new(), false, now);
            }
            assert!(backlog.bytes() <= BACKLOG_BYTES);
        }
        assert!((10_000..20_000).contains(&taken), "{taken}");
        let mut held = backlog.open.len();
        for sealed in &backlog.sealed {
            match v1::UplinkRequest::decode(sealed.encoded.clone()).unwrap().kind {
                Some(uplink_request::Kind::Batch(batch)) => held += batch.exchanges.len(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(held, taken);
    }

    #[test]
    fn balances_go_alone_only_when_they_changed() {
        let mut backlog = Backlog::default();
        let now = Instant::now();
        let balance =
            vec![Balance { seen: 1, ..Balance::new(Consumer::Capturer("a".to_owned()), Unit::Event) }];
        backlog.seal(balance.clone(), false, now);
        backlog.seal(balance.clone(), false, now);
        assert_eq!(backlog.sequence, 1);
        let later = now + ALIVE_EVERY;
        backlog.seal(balance.clone(), false, later);
        assert_eq!(backlog.sequence, 2, "a sign of life");
        backlog.seal(balance.clone(), false, later + BALANCE_EVERY);
        assert_eq!(backlog.sequence, 2);
        backlog.seal(balance, true, later + BALANCE_EVERY);
        assert_eq!(backlog.sequence, 3, "the last batch always goes");
    }
}
