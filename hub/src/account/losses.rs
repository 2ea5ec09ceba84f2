//! Loss totals as they are recorded: each one once it grew, and never less than before.

use std::collections::BTreeMap;

use proto::account::{Balance, Stage, Unit};

use crate::store::LossRow;

/// Totals that the store was told.
#[derive(Debug, Default)]
pub struct Recorded(BTreeMap<Place, u64>);

/// Where something was lost: node, stage and what it was.
type Place = (String, Stage, Unit);

// === impl Recorded ===

impl Recorded {
    /// Returns rows for the totals that grew since the last time; each ledger comes with the node that lost, empty for
    /// the hub itself.
    pub fn grown<'a>(
        &mut self,
        at_ns: u64,
        ledgers: impl Iterator<Item = (&'a str, &'a Balance)>,
    ) -> Vec<LossRow> {
        let mut totals: BTreeMap<Place, u64> = BTreeMap::new();
        for (node, balance) in ledgers {
            for (stage, lost) in balance.by_stage() {
                let total = totals.entry((node.to_owned(), stage, balance.unit)).or_default();
                *total = total.saturating_add(lost);
            }
        }
        let mut rows = Vec::new();
        for (key, total) in totals {
            let known = self.0.get(&key).copied().unwrap_or_default();
            if total > known {
                let (node, stage, unit) = key.clone();
                rows.push(LossRow { at_ns, node, stage, unit, total });
                self.0.insert(key, total);
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use proto::account::{Consumer, Losses};

    use super::*;

    fn lost(stage: Stage, count: u64) -> Balance {
        let lost: Losses = (stage, count).into();
        Balance::of_fates(Consumer::Capturer("a".to_owned()), Unit::Event, 0, 0, lost)
    }

    fn row(at_ns: u64, node: &str, stage: Stage, total: u64) -> LossRow {
        LossRow { at_ns, node: node.to_owned(), stage, unit: Unit::Event, total }
    }

    #[test]
    fn only_what_grew_is_recorded() {
        let mut recorded = Recorded::default();
        let (first, second) = (lost(Stage::Ring, 2), lost(Stage::Gap, 1));
        let all = [("a", &first), ("a", &first), ("b", &second), ("", &second)];
        let rows = recorded.grown(1, all.into_iter());
        assert_eq!(
            rows,
            [row(1, "", Stage::Gap, 1), row(1, "a", Stage::Ring, 4), row(1, "b", Stage::Gap, 1)]
        );
        assert_eq!(recorded.grown(2, all.into_iter()), []);
        let grown = lost(Stage::Gap, 3);
        let rows = recorded.grown(3, all.into_iter().chain([("b", &grown)]));
        assert_eq!(rows, [row(3, "b", Stage::Gap, 4)]);
        // A total whose part is away for a moment does not shrink.
        assert_eq!(recorded.grown(4, all.into_iter()), []);
    }

    #[test]
    fn units_are_not_added_up() {
        let (events, exchanges) =
            (lost(Stage::Gap, 7), Balance { unit: Unit::Exchange, ..lost(Stage::Gap, 2) });
        let rows = Recorded::default().grown(1, [("a", &events), ("a", &exchanges)].into_iter());
        let of_exchanges = LossRow { unit: Unit::Exchange, ..row(1, "a", Stage::Gap, 2) };
        assert_eq!(rows, [row(1, "a", Stage::Gap, 7), of_exchanges]);
    }
}
