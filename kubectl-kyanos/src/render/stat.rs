//! Aggregates as a table or as values.

use std::fmt::Write;

use proto::{side, v1};
use serde_json::{Map, Value, json};

use super::json::JsonRenderer;
use super::line::{self, Who};
use super::table::{Cell, Table};
use super::text::{both_ends, one_line};
use super::units::{count, duration, size, whole};
use crate::metric::Metric;

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
    pub(crate) fn order(&self, mut rows: Vec<v1::StatRow>) -> Vec<v1::StatRow> {
        rows.sort_by(|left, right| {
            self.rank(right).total_cmp(&self.rank(left)).then_with(|| left.keys.cmp(&right.keys))
        });
        rows.truncate(self.limit);
        rows
    }

    /// Renders rows as a table, with a line above each metric where there are several.
    pub(crate) fn table(&self, rows: &[v1::StatRow], width: Option<usize>) -> String {
        let mut text = String::new();
        for (place, metric) in self.metrics.iter().enumerate() {
            if self.metrics.len() > 1 {
                text.push_str(metric.name());
                text.push('\n');
            }
            text.push_str(&self.metric_table(rows, place, *metric, width));
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
        let metrics: Map<String, Value> = self
            .metrics
            .iter()
            .zip(&row.distributions)
            .map(|(metric, found)| (metric.name().to_owned(), distribution(found)))
            .collect();
        let mut value = json!({
            "keys": row.keys,
            "side": side::word(row.side()),
            "count": row.count,
            "errors": row.errors,
            "metrics": metrics,
        });
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
        for row in rows {
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
    let shown = |value: f64| {
        if found.count == 0 {
            return "-".to_owned();
        }
        if metric.is_size() { size(whole(value)) } else { duration(whole(value)) }
    };
    let mut figures: Vec<String> =
        [average(found).unwrap_or_default(), found.p50, found.p90, found.p95, found.p99, found.max]
            .into_iter()
            .map(shown)
            .collect();
    if wide {
        figures.extend([shown(found.min), shown(found.sum), count(found.count)]);
    }
    figures
}

fn distribution(found: &v1::Distribution) -> Value {
    let known = |value: f64| if found.count == 0 { Value::Null } else { json!(value) };
    json!({
        "count": found.count,
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
