//! Aggregates as a table or as values.

pub(crate) mod shares;

use std::fmt::Write;

use proto::{side, v1};
use serde_json::{Map, Value, json};

use super::json::JsonRenderer;
use super::line::{self, Who};
use super::summary::exchanges;
use super::table::{Cell, Table};
use super::text::{both_ends, one_line};
use super::units::{count, duration, size, whole};
use crate::metric::{Metric, Unit};

/// Characters of a group's key in a table.
const KEY_WIDTH: usize = 60;

/// Titles after those of the groups.
const FIGURES: [&str; 9] = ["SIDE", "COUNT", "ERRORS", "AVG", "P50", "P90", "P95", "P99", "MAX"];

/// Titles of what `-o wide` adds.
const WIDE_FIGURES: [&str; 3] = ["MIN", "SUM", "KNOWN"];

/// What is shown of aggregates.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Names of the grouping fields.
    pub(crate) groups: Vec<String>,
    /// What was measured, in the order of the request.
    pub(crate) metrics: Vec<Metric>,
    /// By what rows are ordered.
    pub(crate) sort: Sort,
    /// Rows shown.
    pub(crate) limit: usize,
    /// More columns.
    pub(crate) wide: bool,
    /// What of the rows is shown.
    pub(crate) shows: Shows,
}

/// What is shown of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// The distribution of each metric, and how many exchanges it leaves out.
    Metrics,
    /// The distribution of each metric alone.
    Summary,
    /// The parts of the time, as metrics of [`shares::METRICS`].
    Shares,
}

/// Order of rows, largest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    Count,
    Errors,
    Avg,
    P50,
    P90,
    P95,
    P99,
    Max,
    Total,
}

// === impl Sort ===

impl Sort {
    /// Title of the column by which rows are ordered; of a sum, which `-o wide` has, the average's.
    fn title(self) -> &'static str {
        match self {
            Self::Count => "COUNT",
            Self::Errors => "ERRORS",
            Self::Avg | Self::Total => "AVG",
            Self::P50 => "P50",
            Self::P90 => "P90",
            Self::P95 => "P95",
            Self::P99 => "P99",
            Self::Max => "MAX",
        }
    }
}

// === impl Layout ===

impl Layout {
    /// Orders rows and keeps those that are shown.
    ///
    /// A row of a side that has none of the metrics says nothing.
    pub(crate) fn order(&self, mut rows: Vec<v1::StatRow>) -> Vec<v1::StatRow> {
        rows.retain(|row| self.metrics.iter().any(|metric| metric.is_of(row.side())));
        rows.sort_by(|left, right| {
            self.rank(right).total_cmp(&self.rank(left)).then_with(|| left.keys.cmp(&right.keys))
        });
        rows.truncate(self.limit);
        rows
    }

    /// Renders rows that are in order as a table, with a line above each metric where there are several; of `all` rows
    /// it says what is left out.
    pub(crate) fn table(&self, rows: &[v1::StatRow], all: &[v1::StatRow], width: Option<usize>) -> String {
        if self.shows == Shows::Shares {
            return self.shares_table(rows, width);
        }
        let mut text = String::new();
        for (place, metric) in self.metrics.iter().enumerate() {
            if self.metrics.len() > 1 {
                text.push_str(metric.name());
                text.push('\n');
            }
            text.push_str(&self.metric_table(rows, place, *metric, width));
            if self.shows == Shows::Metrics {
                text.push_str(&left_out(all, place, *metric, width));
            }
        }
        for row in rows.iter().filter(|row| !row.samples.is_empty()) {
            text.push_str(&samples(row, width));
        }
        text
    }

    /// Renders rows as values.
    pub(crate) fn values(&self, rows: &[v1::StatRow], renderer: &JsonRenderer) -> Value {
        rows.iter().map(|row| self.value(row, renderer)).collect()
    }

    fn value(&self, row: &v1::StatRow, renderer: &JsonRenderer) -> Value {
        // The others are parts of the first.
        let shown = if self.shows == Shows::Shares { 1 } else { usize::MAX };
        let metrics: Map<String, Value> = self
            .metrics
            .iter()
            .zip(&row.distributions)
            .take(shown)
            .map(|(metric, found)| (metric.name().to_owned(), distribution(found, row.count)))
            .collect();
        let mut value = json!({
            "keys": row.keys,
            "side": side::word(row.side()),
            "count": row.count,
            "errors": row.errors,
            "metrics": metrics,
        });
        if self.shows == Shows::Shares {
            value["time_share"] = shares::values(row);
        }
        if !row.samples.is_empty() {
            value["samples"] = row.samples.iter().map(|exchange| renderer.value(exchange)).collect();
        }
        value
    }

    fn metric_table(
        &self,
        rows: &[v1::StatRow],
        place: usize,
        metric: Metric,
        width: Option<usize>,
    ) -> String {
        let mut titles: Vec<String> = self.groups.iter().map(|group| group.to_uppercase()).collect();
        titles.extend(FIGURES.map(str::to_owned));
        if self.wide {
            titles.extend(WIDE_FIGURES.map(str::to_owned));
        }
        // What was asked for with `-o wide` is shown, however wide it is.
        let mut table = Table::new(&titles, width.filter(|_| !self.wide));
        let (first, then) = self.claims();
        table.claim(first, then);
        for row in rows.iter().filter(|row| metric.is_of(row.side())) {
            let mut cells: Vec<Cell> =
                row.keys.iter().map(|key| Cell::from(both_ends(key, KEY_WIDTH))).collect();
            cells.push(side::word(row.side()).unwrap_or("-").into());
            cells.push(Cell::number(count(row.count)));
            cells.push(Cell::number(count(row.errors)));
            let found = row.distributions.get(place).copied().unwrap_or_default();
            cells.extend(figures(&found, metric, self.wide).into_iter().map(Cell::number));
            table.row(cells);
        }
        table.render()
    }

    /// Places of the columns in the order in which they claim a terminal's room: the groups, what is counted, and by
    /// what rows are ordered.
    fn claims(&self) -> (Vec<usize>, Vec<usize>) {
        let groups = self.groups.len();
        let place = |title: &&str| FIGURES.iter().position(|known| known == title).map(|at| groups + at);
        let ordered = [self.sort.title(), "COUNT", "ERRORS", "P50", "P99"];
        let rest = FIGURES.iter().filter(|title| !ordered.contains(title));
        // All of one side say little by it.
        let first = (0..groups).chain(["COUNT"].iter().chain(&ordered).filter_map(place));
        (first.collect(), rest.rev().filter_map(place).collect())
    }

    fn rank(&self, row: &v1::StatRow) -> f64 {
        let first = row.distributions.first().copied().unwrap_or_default();
        match self.sort {
            Sort::Count => real(row.count),
            Sort::Errors => real(row.errors),
            Sort::Avg => average(&first).unwrap_or_default(),
            Sort::P50 => first.p50,
            Sort::P90 => first.p90,
            Sort::P95 => first.p95,
            Sort::P99 => first.p99,
            Sort::Max => first.max,
            Sort::Total => first.sum,
        }
    }
}

fn figures(found: &v1::Distribution, metric: Metric, wide: bool) -> Vec<String> {
    let shown = |value: f64| match metric.unit() {
        _ if found.count == 0 => "-".to_owned(),
        Unit::Bytes => size(whole(value)),
        Unit::Time => duration(whole(value)),
        Unit::Count => count(whole(value)),
    };
    // What happens once in a hundred exchanges is not 0 of it.
    let average = match average(found).unwrap_or_default() {
        average if metric.unit() == Unit::Count && found.count > 0 => format!("{average:.2}"),
        average => shown(average),
    };
    let mut figures = vec![average];
    figures.extend([found.p50, found.p90, found.p95, found.p99, found.max].map(shown));
    if wide {
        figures.extend([shown(found.min), shown(found.sum), count(found.count)]);
    }
    figures
}

/// Says how many exchanges a metric's table does not count, because their side has no such part or it was not observed.
fn left_out(all: &[v1::StatRow], place: usize, metric: Metric, width: Option<usize>) -> String {
    let (of_it, of_the_other): (Vec<_>, Vec<_>) = all.iter().partition(|row| metric.is_of(row.side()));
    let known = |row: &v1::StatRow| row.distributions.get(place).map_or(0, |found| found.count);
    let unseen: u64 = of_it.iter().map(|row| row.count.saturating_sub(known(row))).sum();
    let without: u64 = of_the_other.iter().map(|row| row.count).sum();
    let name = metric.name();
    let mut text = String::new();
    for (number, why) in [(unseen, "it was not observed"), (without, "their side has none")] {
        if number > 0 {
            let line = format!("{name} leaves out {}: {why}", exchanges(number));
            writeln!(text, "{}", one_line(&line, width.unwrap_or(usize::MAX))).ok();
        }
    }
    text
}

fn distribution(found: &v1::Distribution, all: u64) -> Value {
    let known = |value: f64| if found.count == 0 { Value::Null } else { json!(value) };
    json!({
        "count": found.count,
        "left_out": all.saturating_sub(found.count),
        "sum": found.sum,
        "min": known(found.min),
        "max": known(found.max),
        "p50": known(found.p50),
        "p90": known(found.p90),
        "p95": known(found.p95),
        "p99": known(found.p99),
    })
}

fn samples(row: &v1::StatRow, width: Option<usize>) -> String {
    let width = width.unwrap_or(usize::MAX);
    let mut text = format!("{}\n", one_line(&row.keys.join(" / "), width));
    for exchange in &row.samples {
        let total = exchange.segments.map(|segments| duration(segments.total_ns)).unwrap_or_default();
        let operation = one_line(&exchange.operation, KEY_WIDTH);
        let process = one_line(&line::who(exchange, Who::Pods), usize::MAX);
        let parts = line::segments(exchange);
        let line = format!("  {total:>8}  {process:<20}  {operation}  {parts}");
        writeln!(text, "{}", one_line(&line, width)).ok();
    }
    text
}

fn average(found: &v1::Distribution) -> Option<f64> {
    (found.count > 0).then(|| found.sum / real(found.count))
}

#[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 need no last digit")]
fn real(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
