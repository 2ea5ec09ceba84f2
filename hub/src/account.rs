//! The hub's one account of what was seen, delivered and lost.
//!
//! Whoever counts tells plain totals; what they make together is reckoned here and nowhere else, by functions that
//! know no clock, no lock and no connection. What is counted is said in [`proto::account`].

pub mod hubs;
pub mod losses;
pub mod silence;
pub mod store;
pub mod viewer;

use std::collections::BTreeMap;

use proto::account::Balance;

/// Returns one ledger per consumer and unit: the sum over its processes, in the order of their first.
#[must_use]
pub fn sums(parts: Vec<Balance>) -> Vec<Balance> {
    let mut sums: Vec<Balance> = Vec::new();
    let mut places = BTreeMap::new();
    for part in parts {
        let place = *places.entry((part.consumer.clone(), part.unit)).or_insert(sums.len());
        match sums.get_mut(place) {
            Some(sum) => sum.add(&part),
            None => sums.push(Balance { process: 0, ..part }),
        }
    }
    sums
}

#[cfg(test)]
mod tests;
