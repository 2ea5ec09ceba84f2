//! Ledgers of several hubs made one session's.

use std::collections::BTreeMap;

use proto::account::{Balance, Consumer, Unit};

/// Adds up what hubs say: of a capturer's process the ledger that counts most is the newest, and of several stores'
/// ledgers the sum counts. Viewers are this hub's own: what others stream to it, its own viewers' ledgers hold.
#[must_use]
pub fn merged<'a>(own: Vec<Balance>, others: impl Iterator<Item = &'a Balance>) -> Vec<Balance> {
    let mut capturers: BTreeMap<(String, Unit, u64), Balance> = BTreeMap::new();
    let mut viewers = Vec::new();
    let mut store: Option<Balance> = None;
    for balance in own {
        match &balance.consumer {
            Consumer::Capturer(node) => {
                drop(capturers.insert((node.clone(), balance.unit, balance.process), balance));
            }
            Consumer::Viewer(_) => viewers.push(balance),
            Consumer::Store => store = Some(balance),
        }
    }
    // Seconds are reckoned from what all hubs heard: one of them alone takes a capturer for silent that went to another.
    for balance in others.filter(|balance| balance.unit != Unit::Second) {
        match &balance.consumer {
            Consumer::Capturer(node) => {
                let key = (node.clone(), balance.unit, balance.process);
                if capturers.get(&key).is_none_or(|known| known.seen < balance.seen) {
                    capturers.insert(key, balance.clone());
                }
            }
            Consumer::Viewer(_) => {}
            Consumer::Store => {
                store.get_or_insert_with(|| Balance::new(Consumer::Store, balance.unit)).add(balance);
            }
        }
    }
    capturers.into_values().chain(viewers).chain(store).collect()
}

#[cfg(test)]
mod tests {
    use proto::account::Stage;

    use super::*;

    fn balance(consumer: Consumer, delivered: u64, lost: u64) -> Balance {
        Balance::of_fates(consumer, Unit::Exchange, delivered, 0, (Stage::Store, lost).into())
    }

    fn capturer(node: &str, process: u64, delivered: u64) -> Balance {
        Balance { process, ..balance(Consumer::Capturer(node.to_owned()), delivered, 0) }
    }

    #[test]
    fn hubs_ledgers_are_one_account() {
        let own = vec![
            capturer("one", 0, 7),
            capturer("moved", 0, 3),
            balance(Consumer::Viewer(1), 1, 0),
            balance(Consumer::Store, 10, 1),
        ];
        let other = [
            capturer("moved", 0, 8),
            capturer("two", 0, 2),
            // It was started anew and came to another hub.
            capturer("one", 7, 4),
            balance(Consumer::Viewer(1), 99, 0),
            balance(Consumer::Store, 10, 2),
        ];
        let whole = merged(own.clone(), other.iter());
        let of = |consumer: &Consumer| {
            let mut of = whole.iter().filter(|balance| balance.consumer == *consumer);
            (
                of.clone().count(),
                of.next().unwrap().delivered,
                of.map(|balance| balance.delivered).sum::<u64>(),
            )
        };
        assert_eq!(whole.len(), 6);
        assert_eq!(of(&Consumer::Capturer("one".to_owned())), (2, 7, 4));
        assert_eq!(of(&Consumer::Capturer("moved".to_owned())), (1, 8, 0));
        assert_eq!(of(&Consumer::Viewer(1)), (1, 1, 0));
        assert_eq!(whole.last(), Some(&balance(Consumer::Store, 20, 3)));
        // What one hub alone makes of its seconds is no part of it.
        let seconds = Balance::of_fates(
            Consumer::Capturer("two".to_owned()),
            Unit::Second,
            9,
            0,
            (Stage::Silent, 99).into(),
        );
        assert_eq!(merged(own.clone(), other.iter().chain([&seconds])), whole);
        // What was told before is not newer.
        assert_eq!(
            merged(own.clone(), std::iter::once(&capturer("moved", 0, 2))),
            merged(own, std::iter::empty())
        );
    }

    #[test]
    fn a_store_that_only_others_have_counts() {
        let other = [balance(Consumer::Store, 10, 2)];
        assert_eq!(merged(Vec::new(), other.iter()), other);
    }
}
