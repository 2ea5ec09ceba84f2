//! The hub's one account of what was seen, delivered and lost.
//!
//! Whoever counts tells plain totals; what they make together is reckoned here and nowhere else, by functions that
//! know no clock, no lock and no connection. What is counted is said in [`proto::account`].

pub mod hubs;
pub mod losses;
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
mod tests {
    use proto::account::{Consumer, Losses, Unit};

    use super::*;

    #[test]
    fn processes_of_one_capturer_are_one_consumer() {
        let of = |node: &str, process, unit, delivered| Balance {
            process,
            ..Balance::of_fates(Consumer::Capturer(node.to_owned()), unit, delivered, 0, Losses::default())
        };
        let parts = vec![
            of("a", 1, Unit::Event, 3),
            of("a", 1, Unit::Exchange, 2),
            of("b", 7, Unit::Event, 9),
            of("a", 2, Unit::Event, 4),
        ];
        let sums = sums(parts);
        assert_eq!(
            sums,
            [of("a", 0, Unit::Event, 7), of("a", 0, Unit::Exchange, 2), of("b", 0, Unit::Event, 9)]
        );
    }
}
