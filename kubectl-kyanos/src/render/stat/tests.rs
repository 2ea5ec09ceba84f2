//! Tables as terminals of several widths show them.

use std::collections::BTreeSet;

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
        shows: Shows::Summary,
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
            writeln!(text, "{width} characters, {name}:\n{}", layout.table(rows, rows, Some(width))).unwrap();
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
        let table = layout.table(&rows, &rows, Some(width));
        assert!(table.lines().all(|line| line.chars().count() <= width), "{width}:\n{table}");
        let header = table.lines().next().unwrap_or_default();
        assert!(
            width < 48 || header.contains("SOURCE") && header.contains("DESTINATION"),
            "{width}: {header}"
        );
        assert!(width < 60 || header.contains("COUNT"), "{width}: {header}");
    }
}

/// A row of some exchanges, of which parts of the time are known of some.
fn parts(keys: &[&str], side: v1::Side, count: u64, sums: [Option<(u64, f64)>; 6]) -> v1::StatRow {
    let distributions = sums.map(|sum| {
        let (count, sum) = sum.unwrap_or_default();
        v1::Distribution { count, sum, ..v1::Distribution::default() }
    });
    v1::StatRow { distributions: distributions.to_vec(), ..row(keys, side, count, 0.0) }
}

fn dependencies() -> Vec<v1::StatRow> {
    let web = "shop/deploy/web";
    vec![
        parts(
            &[web, "svc/shop/orders:8080", "http"],
            v1::Side::Client,
            12_345,
            [
                Some((12_345, 5e10)),
                Some((10_000, 4e9)),
                Some((10_000, 2.6e10)),
                Some((2_345, 1e10)),
                Some((12_000, 9.99e9)),
                Some((12_345, 1e7)),
            ],
        ),
        parts(
            &[web, "203.0.113.9:443", "http"],
            v1::Side::Client,
            99,
            [Some((98, 9.8e9)), None, None, Some((98, 9.8e9)), None, None],
        ),
        parts(
            &["-", "shop/sts/postgres-primary:5432", "postgres"],
            v1::Side::Server,
            7,
            [Some((7, 7e6)), None, Some((7, 5e6)), None, Some((7, 2e6)), None],
        ),
        parts(&["-", "loopback:6379", "redis"], v1::Side::Server, 3, [None; 6]),
    ]
}

fn shares_layout() -> Layout {
    let metrics = shares::METRICS.map(|(metric, ..)| metric);
    Layout {
        shows: Shows::Shares,
        sort: Sort::Total,
        ..layout(&["source", "destination", "protocol"], &metrics)
    }
}

#[test]
fn time_shares_fit_a_terminal() {
    let layout = shares_layout();
    let rows = layout.order(dependencies());
    let mut text = String::new();
    for width in WIDTHS {
        writeln!(text, "{width} characters:\n{}", layout.table(&rows, &rows, Some(width))).unwrap();
    }
    written_down::must_be("src/render/stat/shares.txt", &text);
    for width in 1..200 {
        let table = layout.table(&rows, &rows, Some(width));
        assert!(table.lines().all(|line| line.chars().count() <= width), "{width}:\n{table}");
        let header = table.lines().next().unwrap_or_default();
        let shown = ["SOURCE", "DESTINATION", "NETWORK", "REMOTE", "BOTH", "QUEUE", "OTHER", "COUNT"];
        assert!(width < 80 || shown.iter().all(|title| header.contains(title)), "{width}: {header}");
    }
    let whole = layout.table(&rows, &rows, None);
    assert!(whole.ends_with(&format!(
        "{}\n",
        "BOTH: network and remote work together, where the other side was not seen"
    )));
    let server = &rows[2..3];
    assert!(!layout.table(server, server, None).contains("BOTH:"), "nothing to explain");
}

#[test]
fn time_shares_as_values_keep_unknown_apart_from_nothing() {
    let renderer = JsonRenderer { session: String::new(), print_bytes: None };
    let rows = shares_layout().order(dependencies());
    let values = shares_layout().values(&rows, &renderer);
    assert_eq!(
        values[0]["time_share"]["remote_work"],
        json!({ "share": 0.52, "sum_ns": 2.6e10, "count": 10_000 })
    );
    let shares = ["network", "remote_work", "network_and_remote_work", "queue", "other"];
    let sum: f64 = shares.iter().filter_map(|name| values[0]["time_share"][name]["share"].as_f64()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    assert_eq!(values[1]["time_share"]["queue"], Value::Null);
    assert_eq!(values[1]["metrics"]["total-time"]["left_out"], json!(1));
    assert_eq!(values[1]["metrics"].as_object().map(Map::len), Some(1), "parts are no metrics of their own");
    for name in shares {
        assert_eq!(values[3]["time_share"][name], Value::Null, "{name}");
    }
}

/// A row of which a metric is known of some exchanges.
fn known(side: v1::Side, count: u64, known: u64, sum: f64) -> v1::StatRow {
    let found = v1::Distribution { count: known, sum, max: sum, ..v1::Distribution::default() };
    v1::StatRow { distributions: vec![found], ..row(&["http"], side, count, 0.0) }
}

#[test]
fn a_metric_is_of_one_side_and_what_it_leaves_out_is_said() {
    use v1::Metric::{
        ConnectTime, InternalTime, NetworkTime, QueueTime, Retransmits, SocketTime, TransferTime,
    };
    use v1::Side;
    let rows = || {
        vec![
            known(Side::Client, 1_010, 1_000, 4e9),
            known(Side::Server, 2_000, 1_999, 2e9),
            known(Side::Unspecified, 5, 0, 0.0),
        ]
    };
    let renderer = JsonRenderer { session: String::new(), print_bytes: None };
    for (metric, sides, said) in [
        (
            NetworkTime,
            &["client"][..],
            "network-time leaves out 10 exchanges: it was not observed\n\
             network-time leaves out 2,005 exchanges: their side has none\n",
        ),
        (
            TransferTime,
            &["client"],
            "transfer leaves out 10 exchanges: it was not observed\n\
             transfer leaves out 2,005 exchanges: their side has none\n",
        ),
        (
            InternalTime,
            &["server"],
            "internal-time leaves out 1 exchange: it was not observed\n\
             internal-time leaves out 1,015 exchanges: their side has none\n",
        ),
        (
            SocketTime,
            &["client", "server", "-"],
            "socket-time leaves out 16 exchanges: it was not observed\n",
        ),
        (QueueTime, &["client", "server", "-"], "queue leaves out 16 exchanges: it was not observed\n"),
        (ConnectTime, &["client", "server", "-"], "connect leaves out 16 exchanges: it was not observed\n"),
        (
            Retransmits,
            &["client", "server", "-"],
            "retransmits leaves out 16 exchanges: it was not observed\n",
        ),
    ] {
        let layout = Layout { shows: Shows::Metrics, ..layout(&["protocol"], &[metric]) };
        let shown = layout.order(rows());
        let table = layout.table(&shown, &rows(), None);
        assert!(table.ends_with(said), "{metric:?}: {table}");
        let lines: Vec<&str> = table.lines().skip(1).filter(|line| line.starts_with("http")).collect();
        let found: BTreeSet<&str> = lines.iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(found, sides.iter().copied().collect(), "{metric:?}: {table}");
        for value in layout.values(&shown, &renderer).as_array().expect("rows") {
            let figures = value["metrics"].as_object().and_then(|all| all.values().next()).expect("figures");
            assert_eq!(
                value["count"].as_u64(),
                Some(
                    figures["count"].as_u64().expect("known")
                        + figures["left_out"].as_u64().expect("left out")
                )
            );
        }
        let narrow = layout.table(&shown, &rows(), Some(30));
        assert!(narrow.lines().all(|line| line.chars().count() <= 30), "{narrow}");
    }
    // Nothing is said where nothing is left out.
    let layout = Layout { shows: Shows::Metrics, ..layout(&["protocol"], &[QueueTime]) };
    let all = [known(Side::Client, 3, 3, 1.0)];
    assert!(!layout.table(&all, &all, None).contains("leaves out"));
}

#[test]
fn rare_retransmits_are_not_none() {
    let layout = layout(&["protocol"], &[v1::Metric::Retransmits]);
    let rows = [known(v1::Side::Client, 1000, 1000, 20.0)];
    let table = layout.table(&rows, &rows, None);
    assert!(table.contains("  0.02  ") && table.trim_end().ends_with("20"), "{table}");
}
