//! Tables as terminals of several widths show them.

use super::*;
use crate::written_down;

/// Widths of terminals whose tables are kept in a file.
const WIDTHS: [usize; 4] = [60, 80, 120, 200];

fn layout(groups: &[&str], metrics: &[v1::Metric]) -> Layout {
    Layout {
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        metrics: metrics.iter().copied().map(Metric).collect(),
        sort: Sort::Count,
        limit: 200,
        wide: false,
    }
}

fn row(keys: &[&str], side: v1::Side, count: u64, p50: f64) -> v1::StatRow {
    let one = |metric: v1::Metric| v1::Distribution {
        metric: metric.into(),
        count,
        sum: p50 * 1.5 * real(count),
        min: p50 / 2.0,
        max: p50 * 9.0,
        p50,
        p90: p50 * 3.0,
        p95: p50 * 4.0,
        p99: p50 * 8.0,
    };
    v1::StatRow {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        side: side.into(),
        count,
        errors: count / 100,
        distributions: [v1::Metric::TotalTime, v1::Metric::ResponseSize].map(one).to_vec(),
        samples: Vec::new(),
    }
}

/// The tables of `stat` and `overview` in every width.
fn tables() -> String {
    use v1::{Metric, Side};
    let by_whom = layout(&["source", "destination", "protocol"], &[Metric::TotalTime]);
    let dependencies = [
        row(&["shop/deploy/web", "svc/shop/orders:8080", "http"], Side::Client, 12_345, 1.2e6),
        row(
            &["shop/deploy/orders", "svc/billing/payments-of-last-year-api:443", "http"],
            Side::Client,
            99,
            4.5e9,
        ),
        row(&["-", "kube-system/ds/node-local-dns", "dns"], Side::Server, 1_234_567, 8.0e4),
    ];
    let workloads = layout(&["workload"], &[Metric::TotalTime, Metric::ResponseSize]);
    let of_workloads = [
        row(&["shop/deploy/web"], Side::Client, 12_345, 1.2e6),
        row(&["shop/sts/a-database-with-a-very-long-name-for-the-orders"], Side::Server, 7, 4.5e9),
    ];
    let mut text = String::new();
    for width in WIDTHS {
        for (name, layout, rows) in [
            ("overview", &by_whom, &dependencies[..]),
            ("stat -m total,respsize", &workloads, &of_workloads[..]),
        ] {
            writeln!(text, "{width} characters, {name}:\n{}", layout.table(rows, Some(width))).unwrap();
        }
    }
    text
}

#[test]
fn a_terminal_s_width_shows_what_matters_first() {
    written_down::must_be("src/render/stat/widths.txt", &tables());
}

#[test]
fn no_line_is_longer_than_its_terminal() {
    let layout = layout(&["source", "destination", "protocol"], &[v1::Metric::TotalTime]);
    let rows = [row(&["shop/deploy/web", "svc/shop/orders:8080", "http"], v1::Side::Client, 12_345, 1.2e6)];
    for width in 1..200 {
        let table = layout.table(&rows, Some(width));
        assert!(table.lines().all(|line| line.chars().count() <= width), "{width}:\n{table}");
        let header = table.lines().next().unwrap_or_default();
        assert!(
            width < 48 || header.contains("SOURCE") && header.contains("DESTINATION"),
            "{width}: {header}"
        );
        assert!(width < 60 || header.contains("COUNT"), "{width}: {header}");
    }
}
