//! One metric's values, summarised.

use sketches_ddsketch::{Config, DDSketch};

use crate::v1;

/// Relative error of quantiles: half of what is promised.
pub const RELATIVE_ERROR: f64 = 0.005;

/// Bins of a sketch: covers a factor of e²⁰ at [`RELATIVE_ERROR`]; beyond it the smallest values fold together.
const MAX_BINS: u32 = 2048;

/// Smallest value told from zero: metrics are whole numbers.
const LEAST_VALUE: f64 = 0.5;

/// Why quantiles lack what somebody else counted: hub and capturer, or two hubs, differ in version.
#[derive(Debug, thiserror::Error)]
#[error("a sketch that cannot be merged: {reason}")]
pub struct UnlikeSketches {
    /// In the library's words.
    pub reason: String,
}

/// Count, sum, least, largest and quantiles of whole numbers.
#[derive(Clone)]
pub struct Distribution {
    sketch: DDSketch,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

// === impl Distribution ===

impl Distribution {
    /// Nothing observed yet.
    #[must_use]
    pub fn new() -> Self {
        let sketch = DDSketch::new(Config::new(RELATIVE_ERROR, MAX_BINS, LEAST_VALUE));
        Self { sketch, count: 0, sum: 0, min: u64::MAX, max: 0 }
    }

    /// Adds a value that stands for `weight` exchanges; returns by how many bins the sketch grew.
    pub fn add(&mut self, value: u64, weight: u64) -> usize {
        let before = self.sketch.length();
        self.sketch.add_with_count(float(value), weight);
        self.count = self.count.saturating_add(weight);
        self.sum = self.sum.saturating_add(u128::from(value).saturating_mul(weight.into()));
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sketch.length().saturating_sub(before)
    }

    /// The ⌈q·n⌉-th smallest value within [`RELATIVE_ERROR`]; the least and the largest exactly. 0 of nothing.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let count = float(self.count);
        let rank = (q * count).ceil().clamp(1.0, count);
        let (min, max) = (float(self.min), float(self.max));
        // Compared in whole ranks: both are whole numbers here.
        if rank <= 1.0 {
            return min;
        }
        if rank >= count {
            return max;
        }
        // The sketch takes the value at index ⌊p·(n−1)⌋; the half keeps clear of rounding.
        let p = (rank - 0.5) / (count - 1.0);
        self.sketch.quantile(p.min(1.0)).ok().flatten().unwrap_or(min).clamp(min, max)
    }

    /// What was observed, to be merged elsewhere.
    #[must_use]
    pub fn part(&self) -> v1::PartialDistribution {
        let (low, high) = halves(self.sum);
        v1::PartialDistribution {
            count: self.count,
            sum_low: low,
            sum_high: high,
            min: self.min,
            max: self.max,
            // Exact, its configuration included: sketches of different ones do not merge.
            sketch: postcard::to_stdvec(&self.sketch).unwrap_or_default(),
        }
    }

    /// Adds what was observed elsewhere; returns by how many bins the sketch grew. Where sketches do not fit together, all
    /// but the quantiles is added.
    pub fn merge(&mut self, part: &v1::PartialDistribution) -> Result<usize, UnlikeSketches> {
        let v1::PartialDistribution { count, sum_low, sum_high, min, max, sketch } = part;
        if *count == 0 {
            return Ok(0);
        }
        let before = self.sketch.length();
        let merged = postcard::from_bytes::<DDSketch>(sketch).map_err(|error| error.to_string());
        let merged = merged.and_then(|other| self.sketch.merge(&other).map_err(|error| error.to_string()));
        self.count = self.count.saturating_add(*count);
        let sum = (u128::from(*sum_high) << u64::BITS) | u128::from(*sum_low);
        self.sum = self.sum.saturating_add(sum);
        self.min = self.min.min(*min);
        self.max = self.max.max(*max);
        merged.map_err(|reason| UnlikeSketches { reason })?;
        Ok(self.sketch.length().saturating_sub(before))
    }

    /// The summary as it goes to viewers.
    #[must_use]
    pub fn summary(&self, metric: v1::Metric) -> v1::Distribution {
        v1::Distribution {
            metric: metric.into(),
            count: self.count,
            sum: wide(self.sum),
            min: if self.count == 0 { 0.0 } else { float(self.min) },
            max: float(self.max),
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
        }
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Distribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Distribution")
            .field("count", &self.count)
            .field("sum", &self.sum)
            .finish_non_exhaustive()
    }
}

/// The low and the high half.
fn halves(sum: u128) -> (u64, u64) {
    let part = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    (part(sum), part(sum >> u64::BITS))
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the loss is far below the sketch's error")]
fn float(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the loss is far below the sketch's error")]
fn wide(value: u128) -> f64 {
    value as f64
}
