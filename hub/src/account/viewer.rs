//! What became of the exchanges that were for one viewer.

use proto::account::{Balance, Consumer, Stage, Unit};

/// A viewer's ledger: what waits for it is neither delivered nor lost yet, so it is not yet seen.
#[must_use]
pub fn balance(viewer: u64, delivered: u64, filtered: u64, lost: u64) -> Balance {
    let lost = (Stage::Viewer, lost).into();
    Balance::of_fates(Consumer::Viewer(viewer), Unit::Exchange, delivered, filtered, lost)
}
