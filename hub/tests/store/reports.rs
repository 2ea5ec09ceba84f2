//! The ready-made reports, which every engine answers alike.

use std::sync::Arc;

use proto::v1;
use proto::v1::value::Kind;

use super::{Engine, batch, exchange, query, scope};
use hub::store::Store as _;

/// Statements of the plugin's reports.
const REPORTS: [(&str, &str); 6] = [
    ("slow", include_str!("../../../kubectl-kyanos/src/reports/slow.sql")),
    ("errors", include_str!("../../../kubectl-kyanos/src/reports/errors.sql")),
    ("top", include_str!("../../../kubectl-kyanos/src/reports/top.sql")),
    ("services", include_str!("../../../kubectl-kyanos/src/reports/services.sql")),
    ("loss", include_str!("../../../kubectl-kyanos/src/reports/loss.sql")),
    ("where", include_str!("../../../kubectl-kyanos/src/reports/where.sql")),
];

/// Namespace of the workloads that this test is about; a server's store has rows of other tests.
const NAMESPACE: &str = "where-time-goes";

fn of(
    id: u64,
    side: v1::Side,
    workload: &str,
    weight: u32,
    segments: Option<v1::Segments>,
) -> Arc<v1::Exchange> {
    let origin = v1::Origin {
        namespace: NAMESPACE.to_owned(),
        workload: workload.to_owned(),
        comm: "python3".to_owned(),
        ..v1::Origin::default()
    };
    let end =
        |last: u8, port: u32| v1::Endpoint { address: vec![10, 0, 0, last], port, ..Default::default() };
    let (local, remote) = match side {
        v1::Side::Client => (end(1, 40_000 + u32::try_from(id).unwrap()), end(2, 80)),
        v1::Side::Server | v1::Side::Unspecified => (end(2, 80), end(1, 40_000 + u32::try_from(id).unwrap())),
    };
    Arc::new(v1::Exchange {
        side: side.into(),
        origin: Some(origin),
        local: Some(local),
        remote: Some(remote),
        sample_weight: weight,
        segments,
        ..(*exchange(id, b"x")).clone()
    })
}

#[expect(clippy::cast_precision_loss, reason = "test values are small")]
fn number(value: Option<&Kind>) -> f64 {
    match value {
        Some(Kind::Integer(number)) => *number as f64,
        Some(Kind::Unsigned(number)) => *number as f64,
        Some(Kind::Real(number)) => *number,
        Some(Kind::Text(number)) => number.parse().unwrap(),
        Some(Kind::Blob(_)) | None => f64::NAN,
    }
}

fn word(value: Option<&Kind>) -> String {
    match value {
        Some(Kind::Text(word)) => word.clone(),
        Some(other) => format!("{other:?}"),
        None => "NULL".to_owned(),
    }
}

pub(super) async fn reports_are_answered(engine: &impl Engine) {
    let mut store = engine.store(scope("reports"));
    store.open().await.unwrap();
    let client = |total_ns, network_ns, queue_ns| {
        Some(v1::Segments { total_ns, network_ns: Some(network_ns), queue_ns, ..Default::default() })
    };
    let server = v1::Segments {
        total_ns: 4_000_000,
        queue_ns: Some(0),
        internal_ns: Some(4_000_000),
        ..Default::default()
    };
    let rows = vec![
        of(1, v1::Side::Client, "Deployment/web", 1, client(10_000_000, 8_000_000, Some(2_000_000))),
        // Stands for three, and its queue was not observed: that is not 0.
        of(2, v1::Side::Client, "Deployment/web", 3, client(10_000_000, 10_000_000, None)),
        of(3, v1::Side::Client, "Deployment/web", 1, None),
        of(4, v1::Side::Server, "Deployment/api", 1, Some(server)),
    ];
    store.write(batch(rows)).await.unwrap();
    let archive = engine.archive("reports").await;
    for (name, sql) in REPORTS {
        let (columns, rows) = query(&archive, sql).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!columns.is_empty(), "{name}");
        assert!(name == "loss" || !rows.is_empty(), "{name}");
        if name == "where" {
            is_where_time_went(&columns, &rows);
        }
    }
    engine.close(archive).await;
}

fn is_where_time_went(columns: &[String], rows: &[Vec<Option<Kind>>]) {
    let names = ["namespace", "workload", "remote", "port", "protocol", "side", "segment"];
    let figures = ["observed", "not_observed", "sum_ms", "percent"];
    assert_eq!(columns, [&names[..], &figures[..]].concat());
    let own = |row: &&Vec<Option<Kind>>| word(row[0].as_ref()) == NAMESPACE;
    let found: Vec<(String, [f64; 4])> = rows
        .iter()
        .filter(own)
        .map(|row| {
            let words: Vec<String> = row[1..7].iter().map(|value| word(value.as_ref())).collect();
            (words.join(" "), std::array::from_fn(|at| number(row[7 + at].as_ref())))
        })
        .collect();
    let expected = [
        ("Deployment/web 10.0.0.2 Integer(80) http client network", [4.0, 1.0, 38.0, 95.0]),
        ("Deployment/web 10.0.0.2 Integer(80) http client queue", [1.0, 4.0, 2.0, 5.0]),
        ("Deployment/api 10.0.0.1 Integer(80) http server queue", [1.0, 0.0, 0.0, 0.0]),
        ("Deployment/api 10.0.0.1 Integer(80) http server internal", [1.0, 0.0, 4.0, 100.0]),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((words, figures), (expected_words, expected_figures)) in found.iter().zip(expected) {
        assert_eq!(words, expected_words);
        for (figure, expected) in figures.iter().zip(expected_figures) {
            assert!((figure - expected).abs() < 1e-3, "{words}: {figures:?}");
        }
    }
}
