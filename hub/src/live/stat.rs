//! One viewer's statistics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use proto::account::Balance;
use proto::v1;
use tokio::sync::watch;

use super::relayed::{Relay, Relayed, Takes};
use super::{Consumer, Joined, Wanted};
use crate::account::viewer;
use crate::stats::Aggregates;

/// What one viewer has counted: folded in as it comes, so nothing waits and nothing is lost but the opening's overflow.
#[derive(Debug)]
pub struct Stat {
    joined: Joined,
    filter: Wanted,
    counts: Mutex<Counts>,
    /// The sums that suffice it.
    sums: Option<v1::Folding>,
    /// Whether as many as wanted are counted, or the session ended here and at every other hub.
    over: watch::Sender<bool>,
}

#[derive(Debug)]
struct Counts {
    table: Aggregates,
    filtered: u64,
    lost: u64,
    closed: bool,
    finished: bool,
    /// Whether its stream broke.
    away: bool,
    relayed: Relayed,
    /// Newest counts of other hubs.
    parts: BTreeMap<Relay, v1::StatPart>,
}

// === impl Stat ===

impl Stat {
    pub(super) fn new(joined: Joined, filter: Wanted, table: Aggregates, sums: Option<v1::Folding>) -> Self {
        let counts = Counts {
            table,
            filtered: 0,
            lost: 0,
            closed: false,
            finished: false,
            away: false,
            relayed: Relayed::default(),
            parts: BTreeMap::new(),
        };
        Self { joined, filter, counts: Mutex::new(counts), sums, over: watch::Sender::new(false) }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.joined.number
    }

    /// Notes that its stream broke; it counts on.
    pub fn leave(&self) {
        self.counts().away = true;
    }

    /// Goes on over another stream, whose first response says all that was counted.
    pub fn go_on(&self) {
        self.counts().away = false;
    }

    /// Waits for the session's end, or until as many as wanted are counted.
    pub async fn closed(&self) {
        let mut over = self.over.subscribe();
        drop(over.wait_for(|over| *over).await);
    }

    /// The aggregates so far, those of other hubs included.
    pub fn response(&self, last: bool) -> v1::StatResponse {
        let mut counts = self.counts();
        counts.table.settle(last);
        let balance = Some(self.ledger(&counts).into());
        let (rows, over_limit) = if counts.parts.is_empty() {
            (counts.table.rows(), counts.table.groups_over_limit())
        } else {
            let merged = counts.table.merged(counts.parts.values());
            (merged.rows(), merged.groups_over_limit())
        };
        v1::StatResponse { rows, r#final: last, balance, groups_over_limit: over_limit, hub: 0 }
    }

    /// What was counted here, for the hub that merges it.
    pub fn part(&self, end: bool) -> v1::StatPart {
        let mut counts = self.counts();
        counts.table.settle(end);
        v1::StatPart {
            groups: counts.table.part(),
            balance: Some(self.ledger(&counts).into()),
            groups_over_limit: counts.table.groups_over_limit(),
            end,
            began_at: self.joined.began_at,
        }
    }

    /// Says that the last response was handed over.
    pub fn finish(&self) {
        self.counts().finished = true;
    }

    fn relay_begins(&self, hub: u64) -> Relay {
        self.counts().relayed.begin(hub)
    }

    fn has_told(&self, hub: u64) -> bool {
        self.counts().relayed.has_told(hub)
    }

    fn relay_ends(&self) {
        let mut counts = self.counts();
        counts.relayed.end();
        self.look(&counts);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self, counts: &Counts) -> Balance {
        let elsewhere = counts.parts.values().filter_map(|part| part.balance.as_ref());
        let counted =
            elsewhere.map(|balance| balance.delivered).fold(counts.table.counted(), u64::saturating_add);
        let filtered = counts.filtered.saturating_add(counts.table.passed_over());
        let filtered = filtered.saturating_add(counts.relayed.filtered());
        viewer::balance(
            self.joined.number,
            counted,
            filtered,
            counts.lost.saturating_add(counts.relayed.lost()),
        )
    }

    /// Ends where nothing more is to be counted.
    fn look(&self, counts: &Counts) {
        if counts.table.is_full() || (counts.closed && !counts.relayed.is_open()) {
            self.over.send_replace(true);
        }
    }
}

/// Counts what another hub let through its filter.
impl Takes<v1::WatchResponse> for Stat {
    fn relay_begins(&self, hub: u64) -> Relay {
        self.relay_begins(hub)
    }

    fn has_told(&self, hub: u64) -> bool {
        self.has_told(hub)
    }

    fn relay(&self, relay: Relay, response: v1::WatchResponse) -> bool {
        let v1::WatchResponse { exchanges, balance, end, began_at, hub: _ } = response;
        let mut counts = self.counts();
        counts.relayed.note(relay, began_at, balance);
        for exchange in exchanges {
            match v1::Exchange::decode(exchange) {
                Ok(exchange) => counts.table.add(&Arc::new(exchange)),
                Err(_) => counts.lost += 1,
            }
        }
        self.look(&counts);
        end
    }

    fn relay_ends(&self) {
        self.relay_ends();
    }
}

/// Takes what another hub counted.
impl Takes<v1::StatPart> for Stat {
    fn relay_begins(&self, hub: u64) -> Relay {
        self.relay_begins(hub)
    }

    fn has_told(&self, hub: u64) -> bool {
        self.has_told(hub)
    }

    fn relay(&self, relay: Relay, part: v1::StatPart) -> bool {
        let mut counts = self.counts();
        counts.relayed.note(relay, part.began_at, part.balance.clone());
        let end = part.end;
        counts.parts.insert(relay, part);
        end
    }

    fn relay_ends(&self) {
        self.relay_ends();
    }
}

impl Drop for Stat {
    fn drop(&mut self) {
        self.joined.departed.leave(&self.balance());
    }
}

impl Consumer for Stat {
    fn take(&self, exchanges: &[Arc<v1::Exchange>]) {
        let mut counts = self.counts();
        for exchange in exchanges {
            if self.filter.passes(exchange) {
                counts.table.add(exchange);
            } else {
                counts.filtered += 1;
            }
        }
        self.look(&counts);
    }

    fn fold(&self, folds: &[v1::Fold]) {
        let mut counts = self.counts();
        for fold in folds {
            // What another viewer asked for may measure something else.
            if self.sums.as_ref().is_some_and(|sums| sums.number == fold.folding) {
                counts.table.fold(fold);
            } else {
                counts.filtered = counts.filtered.saturating_add(fold.exchanges);
            }
        }
    }

    fn sums(&self) -> Option<v1::Folding> {
        self.sums.clone()
    }

    fn pass_over(&self, count: u64) {
        self.counts().filtered += count;
    }

    fn missed(&self, count: u64) {
        self.counts().lost += count;
    }

    fn close(&self) {
        let mut counts = self.counts();
        counts.closed = true;
        self.look(&counts);
    }

    fn abandon(&self) {
        let mut counts = self.counts();
        counts.table.settle(true);
        counts.relayed.abandon();
        self.look(&counts);
    }

    fn is_finished(&self) -> bool {
        let counts = self.counts();
        counts.finished || counts.away
    }

    fn is_away(&self) -> bool {
        self.counts().away
    }

    fn balance(&self) -> Balance {
        self.ledger(&self.counts())
    }
}
