//! How much of a dependency's time is network, waiting and work.

use proto::{side, v1};
use serde_json::{Map, Value, json};

use super::{Cell, Layout, Table, average, both_ends, count, duration, one_line, whole};

/// What is measured: the whole, and the parts that make it, with their titles and their names in JSON.
pub(crate) const METRICS: [(v1::Metric, &str, &str); 6] = [
    (v1::Metric::TotalTime, "AVG", "total"),
    (v1::Metric::WaysTime, "NETWORK", "network"),
    (v1::Metric::RemoteTime, "REMOTE", "remote_work"),
    (v1::Metric::UndividedTime, "BOTH", "network_and_remote_work"),
    (v1::Metric::QueueTime, "QUEUE", "queue"),
    (v1::Metric::HandlingTime, "OTHER", "other"),
];

/// Place of what cannot be told apart.
const UNDIVIDED: usize = 3;

/// What that means.
const LEGEND: &str = "BOTH: network and remote work together, where the other side was not seen";

/// Titles between those of the groups and of the parts.
const FIGURES: [&str; 3] = ["SIDE", "COUNT", "ERRORS"];

// === impl Layout ===

impl Layout {
    /// Renders rows as a table of shares.
    pub(super) fn shares_table(&self, rows: &[v1::StatRow], width: Option<usize>) -> String {
        let mut titles: Vec<String> = self.groups.iter().map(|group| group.to_uppercase()).collect();
        titles.extend(FIGURES.map(str::to_owned));
        titles.extend(METRICS.map(|(_, title, _)| title.to_owned()));
        let mut table = Table::new(&titles, width.filter(|_| !self.wide));
        let (first, then) = self.shares_claims();
        table.claim(first, then);
        for row in rows {
            let mut cells: Vec<Cell> =
                row.keys.iter().map(|key| Cell::from(both_ends(key, super::KEY_WIDTH))).collect();
            cells.push(side::word(row.side()).unwrap_or("-").into());
            cells.push(Cell::number(count(row.count)));
            cells.push(Cell::number(count(row.errors)));
            let total = part(row, 0);
            cells.push(Cell::number(average(&total).map_or_else(dash, |ns| duration(whole(ns)))));
            for place in 1..METRICS.len() {
                cells.push(Cell::number(share(row, place).map_or_else(dash, percent)));
            }
            table.row(cells);
        }
        let mut text = table.render();
        if rows.iter().any(|row| share(row, UNDIVIDED).is_some()) {
            text.push_str(&one_line(LEGEND, width.unwrap_or(usize::MAX)));
            text.push('\n');
        }
        text
    }

    /// Places of the columns in the order in which they claim a terminal's room: who depends on whom and the parts; then
    /// how often, and how long that takes.
    fn shares_claims(&self) -> (Vec<usize>, Vec<usize>) {
        let groups = self.groups.len();
        let parts = groups + FIGURES.len();
        let ends = groups.min(2);
        let first = (0..ends).chain(parts + 1..parts + METRICS.len()).chain([groups + 1, parts]);
        (first.collect(), (ends..groups).chain([groups + 2, groups]).collect())
    }
}

/// Returns the parts as values: the share of the whole, the sum, and of how many exchanges it is known.
pub(super) fn values(row: &v1::StatRow) -> Value {
    let value = |place: usize| {
        let found = part(row, place);
        share(row, place)
            .map_or(Value::Null, |share| json!({ "share": share, "sum_ns": found.sum, "count": found.count }))
    };
    let values = METRICS.iter().enumerate().skip(1);
    Value::Object(
        values.map(|(place, (_, _, name))| ((*name).to_owned(), value(place))).collect::<Map<_, _>>(),
    )
}

/// A part of the whole, from 0 to 1; nothing where no exchange has it.
fn share(row: &v1::StatRow, place: usize) -> Option<f64> {
    let (found, total) = (part(row, place), part(row, 0));
    (found.count > 0 && total.sum > 0.0).then(|| found.sum / total.sum)
}

fn part(row: &v1::StatRow, place: usize) -> v1::Distribution {
    row.distributions.get(place).copied().unwrap_or_default()
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.05 { "<0.1%".to_owned() } else { format!("{percent:.1}%") }
}

fn dash() -> String {
    "-".to_owned()
}
