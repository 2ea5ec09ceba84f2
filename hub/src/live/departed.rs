//! What viewers counted that are gone: totals of a session never shrink, whoever leaves.

use std::sync::{Arc, Mutex, PoisonError};

use proto::account::Balance;

/// Where viewers leave their last ledgers.
#[derive(Clone, Debug, Default)]
pub(super) struct Departed(Arc<Mutex<Vec<Balance>>>);

// === impl Departed ===

impl Departed {
    /// Takes the last ledger of a viewer.
    pub(super) fn leave(&self, last: &Balance) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sums.iter_mut().find(|sum| sum.unit == last.unit) {
            Some(sum) => sum.add(last),
            None => sums.push(last.clone()),
        }
    }

    /// What all of them counted, by unit.
    pub(super) fn balances(&self) -> Vec<Balance> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
