//! Aggregates: counts, errors and distributions per group and side.
//!
//! Quantiles are nearest-rank: quantile q of n values is the ⌈q·n⌉-th smallest. A sketch gives it within
//! [`RELATIVE_ERROR`](proto::stats::RELATIVE_ERROR); count, sum, least and largest are exact. Sides are never mixed, and an exchange whose value is
//! unknown is left out of that metric's distribution.

mod pending;

use std::collections::HashMap;
use std::sync::Arc;

use proto::filter::counts_as_error;
use proto::stats::{Distribution, GroupField, UnknownField, UnknownMetric, metrics, value};
use proto::v1;

use self::pending::Pending;
use crate::exchange;

/// Groups of one table; with sides told apart. Exchanges of further groups are counted in the row [`OTHER_KEY`].
pub const MAX_GROUPS: usize = 1000;

/// Bins of all sketches of one table, eight bytes each: bounds its memory however widely values are spread.
pub const MAX_BINS: usize = 1 << 20;

/// Samples of one group.
pub const MAX_SAMPLES: u32 = 100;

/// Samples of one table.
pub const MAX_ALL_SAMPLES: usize = 4096;

/// Payload bytes of a sample.
pub const SAMPLE_PAYLOAD: usize = 1024;

/// Levels of grouping.
pub const MAX_LEVELS: usize = 3;

/// First key of the row that counts what has no row of its own.
pub const OTHER_KEY: &str = "(other)";

/// Why aggregates cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AggregatesError {
    /// What to group by is not known.
    #[error(transparent)]
    Group(#[from] UnknownField),
    /// Too many grouping fields.
    #[error("{levels} levels of grouping, expected at most {MAX_LEVELS}")]
    Levels {
        /// As given.
        levels: usize,
    },
    /// What to measure is not known.
    #[error(transparent)]
    Metric(#[from] UnknownMetric),
}

/// One viewer's aggregates.
#[derive(Debug)]
pub struct Aggregates {
    metrics: Vec<v1::Metric>,
    fields: Vec<GroupField>,
    samples: usize,
    groups: Groups,
    all_samples: usize,
    counted: u64,
    /// Exchanges to count at most.
    limit: u64,
    /// Exchanges that came when the limit was reached.
    surplus: u64,
    /// Server sides that wait to see whether the client's side comes too.
    pending: Option<Pending>,
}

/// Groups by their keys, as many as fit.
#[derive(Clone, Debug, Default)]
struct Groups {
    named: HashMap<(Vec<String>, v1::Side), Group>,
    /// Those that did not fit.
    other: HashMap<v1::Side, Group>,
    /// Exchanges in these.
    over_limit: u64,
    /// Bins of all sketches.
    bins: usize,
}

#[derive(Clone, Debug)]
struct Group {
    count: u64,
    errors: u64,
    distributions: Vec<Distribution>,
    /// Descending by the first metric.
    samples: Vec<(u64, v1::Exchange)>,
}

// === impl Aggregates ===

impl TryFrom<&v1::StatRequest> for Aggregates {
    type Error = AggregatesError;

    fn try_from(request: &v1::StatRequest) -> Result<Self, AggregatesError> {
        let v1::StatRequest {
            filter: _,
            metrics: numbers,
            group_by,
            samples,
            interval_ns: _,
            prefer_client,
            count,
            from_now: _,
            resume: _,
        } = request;
        let fields: Vec<GroupField> = group_by.iter().map(GroupField::try_from).collect::<Result<_, _>>()?;
        if fields.len() > MAX_LEVELS {
            return Err(AggregatesError::Levels { levels: fields.len() });
        }
        Ok(Self {
            metrics: metrics(numbers)?,
            fields,
            samples: usize::try_from((*samples).min(MAX_SAMPLES)).unwrap_or_default(),
            groups: Groups::default(),
            all_samples: 0,
            counted: 0,
            limit: if *count == 0 { u64::MAX } else { *count },
            surplus: 0,
            pending: prefer_client.then(Pending::default),
        })
    }
}

impl Aggregates {
    /// Counts an exchange, or sets it aside until it is known whether its client's side is seen.
    pub fn add(&mut self, exchange: &Arc<v1::Exchange>) {
        let Some(pending) = &mut self.pending else { return self.count(exchange) };
        match exchange.side() {
            v1::Side::Server => {
                if let Some(oldest) = pending.hold(exchange) {
                    self.count(&oldest);
                }
            }
            v1::Side::Client | v1::Side::Unspecified => {
                pending.client(exchange);
                self.count(exchange);
            }
        }
    }

    /// Counts what was set aside long enough, or, at the end, all of it.
    pub fn settle(&mut self, all: bool) {
        let Some(pending) = &mut self.pending else { return };
        for exchange in pending.due(all) {
            self.count(&exchange);
        }
    }

    /// Says whether as many as wanted are counted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.counted >= self.limit
    }

    fn count(&mut self, exchange: &v1::Exchange) {
        if self.is_full() {
            self.surplus += 1;
            return;
        }
        self.counted += 1;
        let id = self.id(exchange);
        let group = self.groups.of(id, 1, self.metrics.len());
        let weight = u64::from(exchange.sample_weight.max(1));
        group.count += weight;
        group.errors += if counts_as_error(exchange) { weight } else { 0 };
        let mut bins = 0;
        for (metric, distribution) in self.metrics.iter().zip(&mut group.distributions) {
            if let Some(value) = value(*metric, exchange) {
                bins += distribution.add(value, weight);
            }
        }
        let first = self.metrics.first().and_then(|metric| value(*metric, exchange));
        if let Some(value) = first.filter(|_| self.samples > 0) {
            self.all_samples += group.sample(value, exchange, self.samples, self.all_samples);
        }
        self.groups.bins += bins;
    }

    /// Counts exchanges that a capturer folded.
    pub fn fold(&mut self, fold: &v1::Fold) {
        let Some(like) = &fold.like else { return };
        self.counted = self.counted.saturating_add(fold.exchanges);
        let id = self.id(like);
        let group = self.groups.of(id, fold.exchanges, self.metrics.len());
        let bins = group.merge(fold.count, fold.errors, &fold.distributions);
        self.groups.bins = self.groups.bins.saturating_add(bins);
    }

    /// The keys and the side of an exchange.
    fn id(&self, exchange: &v1::Exchange) -> (Vec<String>, v1::Side) {
        (self.fields.iter().map(|field| field.key(exchange)).collect(), exchange.side())
    }

    /// One row per group and side, by descending count.
    #[must_use]
    pub fn rows(&self) -> Vec<v1::StatRow> {
        let other = self.groups.other.iter().map(|(side, group)| {
            let mut keys = vec![String::new(); self.fields.len().max(1)];
            if let Some(first) = keys.first_mut() {
                OTHER_KEY.clone_into(first);
            }
            group.row(keys, *side, &self.metrics)
        });
        let mut rows: Vec<_> = self
            .groups
            .named
            .iter()
            .map(|((keys, side), group)| group.row(keys.clone(), *side, &self.metrics))
            .collect();
        rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.keys.cmp(&b.keys)));
        rows.extend(other);
        rows
    }

    /// What was counted, to be merged by another hub.
    #[must_use]
    pub fn part(&self) -> Vec<v1::PartialGroup> {
        let groups = &self.groups;
        let named = groups.named.iter().map(|((keys, side), group)| group.part(keys.clone(), *side, false));
        let other = groups.other.iter().map(|(side, group)| group.part(Vec::new(), *side, true));
        named.chain(other).collect()
    }

    /// These counts with those of other hubs; nothing more is to be added to it.
    #[must_use]
    pub fn merged<'a>(&self, parts: impl Iterator<Item = &'a v1::StatPart>) -> Self {
        let mut merged = Self {
            metrics: self.metrics.clone(),
            fields: self.fields.clone(),
            samples: self.samples,
            groups: self.groups.clone(),
            all_samples: self.all_samples,
            counted: self.counted,
            limit: self.limit,
            surplus: self.surplus,
            pending: None,
        };
        for part in parts {
            merged.groups.over_limit = merged.groups.over_limit.saturating_add(part.groups_over_limit);
            for group in &part.groups {
                merged.merge(group);
            }
        }
        merged
    }

    fn merge(&mut self, part: &v1::PartialGroup) {
        let (id, metrics) = ((part.keys.clone(), part.side()), self.metrics.len());
        let group = if part.other {
            self.groups.other(id.1, metrics)
        } else {
            self.groups.of(id, part.count, metrics)
        };
        let bins = group.merge(part.count, part.errors, &part.distributions);
        for v1::Sample { value, exchange } in &part.samples {
            let Some(exchange) = exchange.as_ref().filter(|_| self.samples > 0) else { continue };
            self.all_samples += group.sample(*value, exchange, self.samples, self.all_samples);
        }
        self.groups.bins = self.groups.bins.saturating_add(bins);
    }

    /// Exchanges counted in the row [`OTHER_KEY`].
    #[must_use]
    pub fn groups_over_limit(&self) -> u64 {
        self.groups.over_limit
    }

    /// Exchanges counted.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// Server sides that were not counted because the client's side was, and what came after enough.
    #[must_use]
    pub fn passed_over(&self) -> u64 {
        self.surplus.saturating_add(self.pending.as_ref().map_or(0, Pending::passed_over))
    }
}

// === impl Groups ===

impl Groups {
    /// The group to count so many exchanges in: one of their own, while there is room.
    fn of(&mut self, id: (Vec<String>, v1::Side), exchanges: u64, metrics: usize) -> &mut Group {
        let full = self.named.len() >= MAX_GROUPS || self.bins >= MAX_BINS;
        if full && !self.named.contains_key(&id) {
            self.over_limit = self.over_limit.saturating_add(exchanges);
            return self.other(id.1, metrics);
        }
        self.named.entry(id).or_insert_with(|| Group::new(metrics))
    }

    fn other(&mut self, side: v1::Side, metrics: usize) -> &mut Group {
        self.other.entry(side).or_insert_with(|| Group::new(metrics))
    }
}

// === impl Group ===

impl Group {
    fn new(metrics: usize) -> Self {
        let distributions = std::iter::repeat_with(Distribution::new).take(metrics).collect();
        Self { count: 0, errors: 0, distributions, samples: Vec::new() }
    }

    /// Adds what was counted elsewhere; returns by how many bins the sketches grew.
    fn merge(&mut self, count: u64, errors: u64, distributions: &[v1::PartialDistribution]) -> usize {
        self.count = self.count.saturating_add(count);
        self.errors = self.errors.saturating_add(errors);
        let mut bins = 0_usize;
        for (distribution, part) in self.distributions.iter_mut().zip(distributions) {
            match distribution.merge(part) {
                Ok(more) => bins = bins.saturating_add(more),
                Err(error) => tracing::warn!(%error, "quantiles lack what was counted elsewhere"),
            }
        }
        bins
    }

    /// Keeps the largest; returns how many samples came on top.
    fn sample(&mut self, value: u64, exchange: &v1::Exchange, most: usize, all: usize) -> usize {
        let full = self.samples.len() >= most || all >= MAX_ALL_SAMPLES;
        if full && self.samples.last().is_none_or(|(least, _)| *least >= value) {
            return 0;
        }
        let place = self.samples.partition_point(|(other, _)| *other >= value);
        self.samples.insert(place, (value, exchange::shortened(exchange, SAMPLE_PAYLOAD)));
        if full {
            self.samples.pop();
        }
        usize::from(!full)
    }

    fn part(&self, keys: Vec<String>, side: v1::Side, other: bool) -> v1::PartialGroup {
        let sample = |(value, exchange): &(u64, v1::Exchange)| v1::Sample {
            value: *value,
            exchange: Some(exchange.clone()),
        };
        v1::PartialGroup {
            keys,
            side: side.into(),
            count: self.count,
            errors: self.errors,
            distributions: self.distributions.iter().map(Distribution::part).collect(),
            samples: self.samples.iter().map(sample).collect(),
            other,
        }
    }

    fn row(&self, keys: Vec<String>, side: v1::Side, metrics: &[v1::Metric]) -> v1::StatRow {
        let distributions = metrics.iter().zip(&self.distributions);
        v1::StatRow {
            keys,
            side: side.into(),
            count: self.count,
            errors: self.errors,
            distributions: distributions.map(|(metric, values)| values.summary(*metric)).collect(),
            samples: self.samples.iter().map(|(_, exchange)| exchange.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
