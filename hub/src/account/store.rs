//! What became of the exchanges that were to be stored.

use proto::account::{Balance, Consumer, Stage, Unit};

use crate::store::writer::Totals;

/// Counts what earlier hubs of the session acknowledged and the store lacks: it is lost.
///
/// `held` is what the store had before this hub wrote to it, `None` while that is unknown; of that, `ignored` came
/// again because it was not acknowledged.
#[must_use]
pub fn lost_before(acknowledged: u64, held: Option<u64>, ignored: u64) -> u64 {
    held.map_or(0, |held| acknowledged.saturating_sub(held.saturating_sub(ignored)))
}

/// The store's ledger of what is settled, as its writer counted it; what waits is not yet seen. `before` this hub so
/// many were lost.
#[must_use]
pub fn balance(totals: &Totals, before: u64) -> Balance {
    let Totals { seen: _, stored, ignored, lost, filtered, trimmed: _ } = *totals;
    let delivered = stored.saturating_add(ignored);
    let lost = (Stage::Store, lost.saturating_add(before)).into();
    Balance::of_fates(Consumer::Store, Unit::Exchange, delivered, filtered, lost)
}

/// Corrects the store's ledger where a hub that is gone cannot say what it stored: `stored` are counted in the
/// database, and what capturers delivered beyond them is lost. What such a hub passed over counts as lost, too.
pub fn settle(balances: &mut [Balance], stored: u64) {
    let of = |balance: &&Balance| {
        matches!(balance.consumer, Consumer::Capturer(_)) && balance.unit == Unit::Exchange
    };
    let acknowledged =
        balances.iter().filter(of).fold(0_u64, |sum, balance| sum.saturating_add(balance.delivered));
    let Some(store) = balances.iter_mut().find(|balance| balance.consumer == Consumer::Store) else { return };
    let filtered = store.filtered;
    let lost = acknowledged.saturating_sub(stored.saturating_add(filtered));
    *store =
        Balance::of_fates(Consumer::Store, Unit::Exchange, stored, filtered, (Stage::Store, lost).into());
}

#[cfg(test)]
mod tests {
    use proto::account::Losses;

    use super::*;

    #[test]
    fn what_earlier_hubs_took_and_the_store_lacks_is_lost() {
        assert_eq!(lost_before(9, None, 0), 0, "not known before the store answers");
        // Of ten, six were stored, and the last of them was not yet acknowledged and came again.
        assert_eq!(lost_before(9, Some(6), 1), 4);
        assert_eq!(lost_before(9, Some(0), 0), 9);
        assert_eq!(lost_before(9, Some(12), 0), 0, "an earlier session of the same name stored more");
    }

    #[test]
    fn a_writer_s_totals_are_a_ledger() {
        let counted = Totals { seen: 20, stored: 6, ignored: 2, lost: 3, filtered: 4, trimmed: 5 };
        let balance = balance(&counted, 7);
        assert!(balance.holds());
        assert_eq!((balance.seen, balance.delivered, balance.filtered), (22, 8, 4));
        assert_eq!(balance.lost.at(Stage::Store), 10);
    }

    #[test]
    fn what_capturers_delivered_and_the_database_lacks_is_lost() {
        let of = |consumer, unit, delivered, filtered| {
            Balance::of_fates(consumer, unit, delivered, filtered, Losses::default())
        };
        let node = || Consumer::Capturer("a".to_owned());
        let mut balances = vec![
            of(node(), Unit::Event, 99, 0),
            of(node(), Unit::Exchange, 30, 1),
            of(node(), Unit::Exchange, 12, 0),
            of(Consumer::Viewer(1), Unit::Exchange, 5, 0),
            of(Consumer::Store, Unit::Exchange, 8, 2),
        ];
        settle(&mut balances, 35);
        let store = balances.last().unwrap();
        assert!(store.holds());
        assert_eq!((store.seen, store.delivered, store.filtered), (42, 35, 2));
        assert_eq!(store.lost.at(Stage::Store), 5);
        settle(&mut balances, 100);
        assert_eq!(balances.last().unwrap().lost.total(), 0);
        // Where nothing is stored there is nothing to settle.
        let mut unstored = vec![of(node(), Unit::Exchange, 30, 1)];
        settle(&mut unstored, 3);
        assert_eq!(unstored.len(), 1);
    }
}
