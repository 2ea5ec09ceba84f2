//! One viewer's statistics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::v1;
use tokio::sync::watch;

use super::{Consumer, Wanted};
use crate::stats::Table;

/// What one viewer has counted: folded in as it comes, so nothing waits and nothing is lost but the opening's overflow.
#[derive(Debug)]
pub struct Stat {
    name: String,
    filter: Wanted,
    counts: Mutex<Counts>,
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Counts {
    table: Table,
    filtered: u64,
    lost: u64,
    finished: bool,
}

// === impl Stat ===

impl Stat {
    pub(super) fn new(name: String, filter: Wanted, table: Table) -> Self {
        let counts = Counts { table, filtered: 0, lost: 0, finished: false };
        Self { name, filter, counts: Mutex::new(counts), closed: watch::Sender::new(false) }
    }

    /// Waits for the session's end, or until as many as wanted are counted.
    pub async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        drop(closed.wait_for(|closed| *closed).await);
    }

    /// The aggregates so far.
    pub fn response(&self, last: bool) -> v1::StatResponse {
        let mut counts = self.counts();
        counts.table.settle(last);
        let balance = Some(self.ledger(&counts));
        v1::StatResponse {
            rows: counts.table.rows(),
            r#final: last,
            balance,
            groups_over_limit: counts.table.groups_over_limit(),
        }
    }

    /// Says that the last response was handed over.
    pub fn finish(&self) {
        self.counts().finished = true;
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self, counts: &Counts) -> v1::Balance {
        let filtered = counts.filtered.saturating_add(counts.table.passed_over());
        super::ledger(&self.name, counts.table.counted(), filtered, counts.lost)
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
        if counts.table.is_full() {
            self.closed.send_replace(true);
        }
    }

    fn missed(&self, count: u64) {
        self.counts().lost += count;
    }

    fn close(&self) {
        self.closed.send_replace(true);
    }

    fn abandon(&self) {
        self.counts().table.settle(true);
    }

    fn is_finished(&self) -> bool {
        self.counts().finished
    }

    fn balance(&self) -> v1::Balance {
        self.ledger(&self.counts())
    }
}
