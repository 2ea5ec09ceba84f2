//! Exchanges of which the hub wants sums alone: they are folded here, and leave as few messages in place of many.

use std::time::Duration;

use foldhash::HashMap;
use proto::stats::{FoldRules, Folded, FoldingError};
use proto::v1;
use tokio::time::Instant;

/// How old sums become before they leave.
pub const FOLD_EVERY: Duration = Duration::from_millis(500);

/// Folds held at most: with more of them they leave at once.
pub const FOLDS: usize = 256;

/// What was folded since it was sent last.
#[derive(Debug, Default)]
pub struct Folds {
    /// Absent where exchanges are wanted.
    folding: Option<FoldRules>,
    /// By what they have in common.
    held: HashMap<Vec<u8>, Folded>,
    since: Option<Instant>,
    /// Room for one key.
    key: Vec<u8>,
}

// === impl Folds ===

impl Folds {
    /// Follows what the hub wants from now on. What was folded before is to be taken first.
    pub fn follow(&mut self, wanted: &v1::Folding) -> Result<(), FoldingError> {
        self.folding = None;
        if wanted.number > 0 {
            self.folding = Some(FoldRules::try_from(wanted)?);
        }
        Ok(())
    }

    /// Sends exchanges again.
    pub fn rest(&mut self) {
        self.folding = None;
    }

    /// Folds an exchange in; returns it where it is wanted itself.
    pub fn take(&mut self, exchange: v1::Exchange, now: Instant) -> Option<v1::Exchange> {
        let Some(folding) = &self.folding else { return Some(exchange) };
        self.since.get_or_insert(now);
        self.key.clear();
        folding.write_key(&exchange, &mut self.key);
        if let Some(fold) = self.held.get_mut(&self.key) {
            fold.add(folding, &exchange);
        } else {
            let mut fold = Folded::new(folding, &exchange);
            fold.add(folding, &exchange);
            self.held.insert(self.key.clone(), fold);
        }
        None
    }

    /// Returns whether the sums are old enough to leave, or too many.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.held.len() >= FOLDS || self.since.is_some_and(|since| now - since >= FOLD_EVERY)
    }

    /// Takes all sums out.
    pub fn drain(&mut self) -> Vec<v1::Fold> {
        self.since = None;
        let Some(folding) = &self.folding else { return Vec::new() };
        self.held.drain().map(|(_, fold)| fold.told(folding)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(port: u32, status: &str, total_ns: u64) -> v1::Exchange {
        let end = |port| Some(v1::Endpoint { address: vec![10, 0, 0, 1], port, ..v1::Endpoint::default() });
        v1::Exchange {
            side: v1::Side::Client.into(),
            protocol: "http".to_owned(),
            status: status.to_owned(),
            error: status == "500",
            local: end(port),
            remote: end(80),
            segments: Some(v1::Segments { total_ns, ..v1::Segments::default() }),
            ..v1::Exchange::default()
        }
    }

    fn folding(group_by: Vec<v1::Grouping>) -> v1::Folding {
        v1::Folding { number: 7, metrics: Vec::new(), group_by }
    }

    #[test]
    fn exchanges_are_wanted_themselves_until_sums_are() {
        let mut folds = Folds::default();
        let now = Instant::now();
        assert!(folds.take(exchange(1, "200", 5), now).is_some());
        folds.follow(&folding(Vec::new())).unwrap();
        assert!(folds.take(exchange(1, "200", 5), now).is_none());
        assert!(!folds.is_due(now) && folds.is_due(now + FOLD_EVERY));
        assert_eq!(folds.drain().len(), 1);
        assert!(!folds.is_due(now + FOLD_EVERY), "nothing is there");
        folds.follow(&v1::Folding::default()).unwrap();
        assert!(folds.take(exchange(1, "200", 5), now).is_some());
    }

    #[test]
    fn what_cannot_be_told_apart_folds_together() {
        let mut folds = Folds::default();
        let now = Instant::now();
        folds.follow(&folding(Vec::new())).unwrap();
        for (port, status, total_ns) in [(1, "200", 5), (2, "500", 9), (3, "200", 7)] {
            assert!(folds.take(exchange(port, status, total_ns), now).is_none());
        }
        let all = folds.drain();
        let [fold] = &all[..] else { panic!("{all:?}") };
        assert_eq!((fold.exchanges, fold.count, fold.errors, fold.folding), (3, 3, 1, 7));
        let like = fold.like.as_ref().unwrap();
        assert_eq!((like.local.as_ref().unwrap().port, like.remote.as_ref().unwrap().port), (0, 80));
        let times = &fold.distributions[0];
        assert_eq!((times.count, times.sum_low, times.min, times.max), (3, 21, 5, 9));
    }

    #[test]
    fn what_a_grouping_tells_apart_folds_apart() {
        let status = v1::grouping::Field::Common(v1::CommonField::Status.into());
        let mut folds = Folds::default();
        folds.follow(&folding(vec![v1::Grouping { field: Some(status) }])).unwrap();
        for status in ["200", "500", "200"] {
            assert!(folds.take(exchange(1, status, 5), Instant::now()).is_none());
        }
        let mut found: Vec<_> =
            folds.drain().into_iter().map(|fold| (fold.like.unwrap().status, fold.exchanges)).collect();
        found.sort();
        assert_eq!(found, [("200".to_owned(), 2), ("500".to_owned(), 1)]);
    }

    #[test]
    fn many_folds_leave_at_once() {
        let mut folds = Folds::default();
        let now = Instant::now();
        let status = v1::grouping::Field::Common(v1::CommonField::Status.into());
        folds.follow(&folding(vec![v1::Grouping { field: Some(status) }])).unwrap();
        for number in 0..FOLDS {
            assert!(!folds.is_due(now), "{number}");
            assert!(folds.take(exchange(1, &number.to_string(), 5), now).is_none());
        }
        assert!(folds.is_due(now));
    }
}
