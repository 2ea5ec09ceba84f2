//! The table of prices.

use std::fmt;

/// What is measured, for a heading, and its widest column.
const TITLES: [&str; 6] = ["what", "watched by", "median", "spread", "limit", "beside"];

/// All rows in the order in which they were measured.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
}

/// One figure.
#[derive(Clone, Debug)]
pub(super) struct Row {
    what: String,
    watch: String,
    value: String,
    spread: String,
    limit: String,
    beside: String,
}

/// Returns observed over unobserved, pair by pair.
pub(super) fn ratios(observed: &[f64], plain: &[f64]) -> Vec<f64> {
    observed.iter().zip(plain).map(|(observed, plain)| observed / plain).collect()
}

/// Returns the median, the upper one of an even number.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

// === impl Row ===

impl Row {
    /// Makes a row of ratios, one a pair.
    pub(super) fn ratio(what: &str, watch: &str, ratios: &[f64], limit: Option<&str>) -> Self {
        let (least, most) = extremes(ratios);
        Self {
            spread: format!("{least:.2} … {most:.2}"),
            ..Self::new(what, watch, format!("× {:.3}", median(ratios)), limit)
        }
    }

    /// Makes a row of one figure.
    pub(super) fn figure(what: &str, watch: &str, value: f64, unit: &str, limit: Option<&str>) -> Self {
        Self::new(what, watch, format!("{} {unit}", rounded(value)), limit)
    }

    /// Makes a row of several figures of one kind.
    pub(super) fn figures(what: &str, watch: &str, values: &[f64], unit: &str, limit: Option<&str>) -> Self {
        let (least, most) = extremes(values);
        Self {
            spread: format!("{} … {}", rounded(least), rounded(most)),
            ..Self::figure(what, watch, median(values), unit, limit)
        }
    }

    /// Adds what the plain figure is.
    pub(super) fn beside(mut self, plain: &[f64], unit: &str) -> Self {
        self.beside = format!("of {} {unit}", rounded(median(plain)));
        self
    }

    /// Adds what was said meanwhile.
    pub(super) fn said(mut self, said: &str) -> Self {
        if !said.is_empty() {
            let between = if self.beside.is_empty() { "" } else { "; " };
            self.beside = format!("{}{between}{said}", self.beside);
        }
        self
    }

    fn new(what: &str, watch: &str, value: String, limit: Option<&str>) -> Self {
        Self {
            what: what.to_owned(),
            watch: watch.to_owned(),
            value,
            spread: String::new(),
            limit: limit.map_or_else(String::new, |limit| format!("≤ {limit}")),
            beside: String::new(),
        }
    }

    fn cells(&self) -> [&str; 6] {
        let Self { what, watch, value, spread, limit, beside } = self;
        [what, watch, value, spread, limit, beside]
    }
}

// === impl Table ===

impl Table {
    /// Adds a row, and shows it at once: the whole takes minutes.
    pub(super) fn add(&mut self, row: Row) {
        eprintln!("{}", row.cells().join("  "));
        self.rows.push(row);
    }

    /// Returns it as a page.
    pub(super) fn markdown(&self, machine: &str) -> String {
        let row =
            |cells: [&str; 6]| format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        let rows: String = self.rows.iter().map(|found| row(found.cells())).collect();
        format!(
            "# What capturing costs\n\n\
             Measured by `cargo xtask bench price` on {machine}. A ratio is observed over unobserved, in pairs that take\n\
             turns in one run; the spread is that of the pairs. Limits are what this project aims at.\n\n\
             {}| --- | --- | ---: | --- | --- | --- |\n{rows}",
            row(TITLES)
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<[&str; 6]> = std::iter::once(TITLES).chain(self.rows.iter().map(Row::cells)).collect();
        let mut widths = [0; 6];
        for cells in &lines {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for cells in &lines {
            let padded: Vec<String> =
                cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", padded.join("  ").trim_end())?;
        }
        Ok(())
    }
}

// === free functions ===

fn extremes(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(*value), most.max(*value))
    })
}

fn rounded(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_compared_with_itself() {
        let row = Row::ratio("loop", "us", &ratios(&[2.0, 9.0, 6.0], &[2.0, 3.0, 4.0]), Some("1.15"));
        assert_eq!(row.cells(), ["loop", "us", "× 1.500", "1.00 … 3.00", "≤ 1.15", ""]);
        let row = row.beside(&[2.0, 3.0, 4.0], "ns").said("lost 0");
        assert_eq!(row.cells()[5], "of 3.00 ns; lost 0");
    }

    #[test]
    fn a_table_is_aligned_and_a_page() {
        let mut table = Table::default();
        table.add(Row::figure("a long name", "us", 12.34, "ns", None));
        table.add(Row::figures("b", "others|x", &[1.0, 2.0, 3.0], "µs", Some("4")));
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "a long name  us          12 ns");
        assert_eq!(lines[2], "b            others|x    2.00 µs  1.00 … 3.00  ≤ 4");
        assert!(table.markdown("Linux 6").ends_with("| b | others\\|x | 2.00 µs | 1.00 … 3.00 | ≤ 4 |  |\n"));
    }
}
