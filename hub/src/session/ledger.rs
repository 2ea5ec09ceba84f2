//! Ledgers added up: seen = delivered + filtered + lost holds of sums, too.

use std::collections::BTreeMap;

use proto::v1;

/// Adds a part's counts to a sum, losses stage by stage.
pub(crate) fn add(sum: &mut v1::Balance, part: &v1::Balance) {
    sum.seen = sum.seen.saturating_add(part.seen);
    sum.delivered = sum.delivered.saturating_add(part.delivered);
    sum.filtered = sum.filtered.saturating_add(part.filtered);
    for loss in &part.lost {
        match sum.lost.iter_mut().find(|known| known.stage == loss.stage) {
            Some(known) => known.total = known.total.saturating_add(loss.total),
            None => sum.lost.push(loss.clone()),
        }
    }
}

/// Returns one ledger per consumer and unit: the sum over its processes, in the order of their first.
pub(crate) fn sums(parts: impl IntoIterator<Item = v1::Balance>) -> Vec<v1::Balance> {
    let mut sums: Vec<v1::Balance> = Vec::new();
    let mut places = BTreeMap::new();
    for part in parts {
        let place = *places.entry((part.consumer.clone(), part.unit.clone())).or_insert(sums.len());
        match sums.get_mut(place) {
            Some(sum) => add(sum, &part),
            None => sums.push(v1::Balance { process: 0, ..part }),
        }
    }
    sums
}
