//! Aggregates: counts, errors and distributions per group and side.
//!
//! Quantiles are nearest-rank: quantile q of n values is the ⌈q·n⌉-th smallest. A sketch gives it within
//! [`RELATIVE_ERROR`]; count, sum, least and largest are exact. Sides are never mixed, and an exchange whose value is
//! unknown is left out of that metric's distribution.

mod distribution;
mod group;
mod metric;
mod pending;

use std::collections::HashMap;
use std::sync::Arc;

use proto::filter::counts_as_error;
use proto::v1;

pub use self::distribution::{Distribution, RELATIVE_ERROR};
pub use self::group::{Field, MAX_KEY_CHARS};
use self::metric::value;
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
    /// The grouping field is not known: hub and plugin differ in version.
    #[error("unknown grouping field number {number}")]
    Group {
        /// As given.
        number: i32,
    },
    /// Too many grouping fields.
    #[error("{levels} levels of grouping, expected at most {MAX_LEVELS}")]
    Levels {
        /// As given.
        levels: usize,
    },
    /// The metric does not exist.
    #[error("unknown metric number {number}")]
    Metric {
        /// As given.
        number: i32,
    },
}

/// One viewer's aggregates.
#[derive(Debug)]
pub struct Aggregates {
    metrics: Vec<v1::Metric>,
    fields: Vec<Field>,
    samples: usize,
    groups: HashMap<(Vec<String>, v1::Side), Group>,
    other: HashMap<v1::Side, Group>,
    bins: usize,
    all_samples: usize,
    over_limit: u64,
    counted: u64,
    /// Exchanges to count at most.
    limit: u64,
    /// Exchanges that came when the limit was reached.
    surplus: u64,
    /// Server sides that wait to see whether the client's side comes too.
    pending: Option<Pending>,
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
            metrics,
            group_by,
            samples,
            interval_ns: _,
            prefer_client,
            count,
            from_now: _,
            resume: _,
        } = request;
        let fields: Vec<Field> = group_by.iter().map(Field::try_from).collect::<Result<_, _>>()?;
        if fields.len() > MAX_LEVELS {
            return Err(AggregatesError::Levels { levels: fields.len() });
        }
        let mut wanted = Vec::new();
        for number in metrics {
            let metric =
                v1::Metric::try_from(*number).map_err(|error| AggregatesError::Metric { number: error.0 })?;
            wanted.push(if metric == v1::Metric::Unspecified { v1::Metric::TotalTime } else { metric });
        }
        if wanted.is_empty() {
            wanted.push(v1::Metric::TotalTime);
        }
        Ok(Self {
            metrics: wanted,
            fields,
            samples: usize::try_from((*samples).min(MAX_SAMPLES)).unwrap_or_default(),
            groups: HashMap::new(),
            other: HashMap::new(),
            bins: 0,
            all_samples: 0,
            over_limit: 0,
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
        let keys: Vec<String> = self.fields.iter().map(|field| field.key(exchange)).collect();
        let side = exchange.side();
        let full = self.groups.len() >= MAX_GROUPS || self.bins >= MAX_BINS;
        let id = (keys, side);
        let group = if full && !self.groups.contains_key(&id) {
            self.over_limit += 1;
            self.other.entry(side).or_insert_with(|| Group::new(self.metrics.len()))
        } else {
            self.groups.entry(id).or_insert_with(|| Group::new(self.metrics.len()))
        };
        let weight = u64::from(exchange.sample_weight.max(1));
        group.count += weight;
        group.errors += if counts_as_error(exchange) { weight } else { 0 };
        for (metric, distribution) in self.metrics.iter().zip(&mut group.distributions) {
            if let Some(value) = value(*metric, exchange) {
                self.bins += distribution.add(value, weight);
            }
        }
        let first = self.metrics.first().and_then(|metric| value(*metric, exchange));
        if let Some(value) = first.filter(|_| self.samples > 0) {
            self.all_samples += group.sample(value, exchange, self.samples, self.all_samples);
        }
    }

    /// One row per group and side, by descending count.
    #[must_use]
    pub fn rows(&self) -> Vec<v1::StatRow> {
        let other = self.other.iter().map(|(side, group)| {
            let mut keys = vec![String::new(); self.fields.len().max(1)];
            if let Some(first) = keys.first_mut() {
                OTHER_KEY.clone_into(first);
            }
            group.row(keys, *side, &self.metrics)
        });
        let mut rows: Vec<_> = self
            .groups
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
        let named = self.groups.iter().map(|((keys, side), group)| group.part(keys.clone(), *side, false));
        let other = self.other.iter().map(|(side, group)| group.part(Vec::new(), *side, true));
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
            other: self.other.clone(),
            bins: self.bins,
            all_samples: self.all_samples,
            over_limit: self.over_limit,
            counted: self.counted,
            limit: self.limit,
            surplus: self.surplus,
            pending: None,
        };
        for part in parts {
            merged.over_limit = merged.over_limit.saturating_add(part.groups_over_limit);
            for group in &part.groups {
                merged.merge(group);
            }
        }
        merged
    }

    fn merge(&mut self, part: &v1::PartialGroup) {
        let id = (part.keys.clone(), part.side());
        let full = self.groups.len() >= MAX_GROUPS || self.bins >= MAX_BINS;
        let has_none = part.other || (full && !self.groups.contains_key(&id));
        let fresh = || Group::new(self.metrics.len());
        let group = if has_none {
            self.over_limit = self.over_limit.saturating_add(if part.other { 0 } else { part.count });
            self.other.entry(id.1).or_insert_with(fresh)
        } else {
            self.groups.entry(id).or_insert_with(fresh)
        };
        group.count = group.count.saturating_add(part.count);
        group.errors = group.errors.saturating_add(part.errors);
        for (distribution, part) in group.distributions.iter_mut().zip(&part.distributions) {
            self.bins = self.bins.saturating_add(distribution.merge(part));
        }
        for v1::Sample { value, exchange } in &part.samples {
            let Some(exchange) = exchange.as_ref().filter(|_| self.samples > 0) else { continue };
            self.all_samples += group.sample(*value, exchange, self.samples, self.all_samples);
        }
    }

    /// Exchanges counted in the row [`OTHER_KEY`].
    #[must_use]
    pub fn groups_over_limit(&self) -> u64 {
        self.over_limit
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

// === impl Group ===

impl Group {
    fn new(metrics: usize) -> Self {
        let distributions = std::iter::repeat_with(Distribution::new).take(metrics).collect();
        Self { count: 0, errors: 0, distributions, samples: Vec::new() }
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
