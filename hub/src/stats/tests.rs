//! Aggregates against exact values.

use proptest::prelude::*;
use proto::stats::{FoldRules, Folded, MAX_KEY_CHARS};
use proto::v1::{CommonField, Grouping, grouping};

use super::*;

fn exchange(total: u64, side: v1::Side) -> Arc<v1::Exchange> {
    let segments = Some(v1::Segments { total_ns: total, ..Default::default() });
    Arc::new(v1::Exchange { segments, side: side.into(), ..Default::default() })
}

fn table(request: &v1::StatRequest) -> Aggregates {
    Aggregates::try_from(request).unwrap()
}

fn exact(values: &[u64], q: u32) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (values.len() * q as usize).div_ceil(100).max(1);
    exact_float(sorted[rank - 1])
}

#[expect(clippy::cast_precision_loss, reason = "test values are small")]
fn exact_float(value: u64) -> f64 {
    value as f64
}

fn check(values: &[u64]) {
    let mut table = table(&v1::StatRequest::default());
    for value in values {
        table.add(&exchange(*value, v1::Side::Client));
    }
    let rows = table.rows();
    let found = &rows[0].distributions[0];
    let least = values.iter().min().copied().unwrap_or_default();
    let largest = values.iter().max().copied().unwrap_or_default();
    assert_eq!(found.count, values.len() as u64);
    assert!((found.min - exact_float(least)).abs() < 0.5 && (found.max - exact_float(largest)).abs() < 0.5);
    for (q, found) in [(50, found.p50), (90, found.p90), (95, found.p95), (99, found.p99)] {
        let exact = exact(values, q);
        assert!((found - exact).abs() <= exact * 0.01, "p{q}: {found}, exactly {exact} of {}", values.len());
    }
}

#[test]
fn connections_of_one_client_are_one_group_at_its_server() {
    let group_by = vec![Grouping::common(CommonField::RemoteService)];
    let mut table = table(&v1::StatRequest { group_by, ..Default::default() });
    for port in 40_000..40_020 {
        let remote = v1::Endpoint { address: vec![192, 0, 2, 7], port, ..Default::default() };
        for side in [v1::Side::Server, v1::Side::Client] {
            let mut seen = (*exchange(1, side)).clone();
            seen.remote = Some(remote.clone());
            table.add(&Arc::new(seen));
        }
    }
    let keys: Vec<_> = table.rows().into_iter().map(|row| (row.keys.concat(), row.count)).collect();
    assert!(keys.contains(&("192.0.2.7".to_owned(), 20)), "{keys:?}");
    assert!(
        keys.contains(&("192.0.2.7:40007".to_owned(), 1)),
        "where it serves the port says much: {keys:?}"
    );
}

#[test]
fn quantiles_of_few_values_are_nearest_rank() {
    for count in 1..120_u64 {
        check(&(1..=count).map(|value| value * value * 1000).collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn quantiles_are_within_one_per_cent(values in proptest::collection::vec(0_u64..10_000_000_000, 1..400)) {
        check(&values);
    }
}

#[test]
fn sides_are_rows_of_their_own_and_unknown_values_are_left_out() {
    let mut table = table(&v1::StatRequest::default());
    table.add(&exchange(10, v1::Side::Client));
    table.add(&exchange(30, v1::Side::Server));
    table.add(&Arc::new(v1::Exchange { side: v1::Side::Client.into(), error: true, ..Default::default() }));
    let rows = table.rows();
    assert_eq!(rows.len(), 2);
    let client = rows.iter().find(|row| row.side() == v1::Side::Client).unwrap();
    assert_eq!((client.count, client.errors, client.distributions[0].count), (2, 1, 1));
    assert!((client.distributions[0].sum - 10.0).abs() < f64::EPSILON);
}

#[test]
fn errors_of_hand_shakes_are_exchanges_and_no_errors() {
    let mut table = table(&v1::StatRequest::default());
    for (error, handshake) in [(true, true), (true, false), (false, true), (false, false)] {
        table.add(&Arc::new(v1::Exchange { error, handshake, sample_weight: 3, ..Default::default() }));
    }
    let rows = table.rows();
    assert_eq!((rows[0].count, rows[0].errors), (12, 3));
}

#[test]
fn groups_over_the_limit_are_counted_in_other() {
    let mut table = table(&v1::StatRequest {
        group_by: vec![Grouping::common(CommonField::Status)],
        ..Default::default()
    });
    for number in 0..MAX_GROUPS + 5 {
        table.add(&Arc::new(v1::Exchange { status: number.to_string(), ..Default::default() }));
    }
    let rows = table.rows();
    assert_eq!(rows.len(), MAX_GROUPS + 1);
    assert_eq!((rows[MAX_GROUPS].keys[0].as_str(), rows[MAX_GROUPS].count), (OTHER_KEY, 5));
    assert_eq!(table.groups_over_limit(), 5);
    assert_eq!(table.counted(), MAX_GROUPS as u64 + 5);
}

#[test]
fn samples_are_the_largest() {
    let mut table = table(&v1::StatRequest { samples: 3, ..Default::default() });
    for total in [5, 1, 9, 7, 3, 8] {
        table.add(&exchange(total, v1::Side::Client));
    }
    let totals: Vec<_> =
        table.rows()[0].samples.iter().map(|sample| sample.segments.unwrap().total_ns).collect();
    assert_eq!(totals, [9, 8, 7]);
}

#[test]
fn one_side_counts_where_the_client_is_seen() {
    let end = |port| Some(v1::Endpoint { address: vec![127, 0, 0, 1], port, ..Default::default() });
    let of = |side: v1::Side, local, remote| {
        let (local, remote) = (end(local), end(remote));
        Arc::new(v1::Exchange { side: side.into(), local, remote, ..Default::default() })
    };
    let group_by = vec![Grouping::common(CommonField::Destination)];
    let mut table = table(&v1::StatRequest { prefer_client: true, group_by, ..Default::default() });
    table.add(&of(v1::Side::Server, 80, 4000));
    table.add(&of(v1::Side::Client, 4000, 80));
    table.add(&of(v1::Side::Server, 81, 5000));
    table.settle(true);
    let rows: Vec<_> = table.rows().into_iter().map(|row| (row.keys, row.side, row.count)).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows.contains(&(vec!["127.0.0.1:80".to_owned()], v1::Side::Client.into(), 1)));
    assert!(rows.contains(&(vec!["127.0.0.1:81".to_owned()], v1::Side::Server.into(), 1)));
    assert_eq!((table.counted(), table.passed_over()), (2, 1));
}

#[test]
fn a_kubelet_s_probe_and_what_went_through_a_service_count_once() {
    let end = |address: &[u8], port| v1::Endpoint { address: address.to_vec(), port, ..Default::default() };
    let origin = |pod: &str| Some(v1::Origin { node: "n1".into(), pod: pod.into(), ..Default::default() });
    let of = |side: v1::Side, pod: &str, local, remote| {
        Arc::new(v1::Exchange {
            side: side.into(),
            origin: origin(pod),
            local: Some(local),
            remote: Some(remote),
            ..Default::default()
        })
    };
    let mapped = |last| [[0; 10].as_slice(), &[255, 255, 10, 244, 1, last]].concat();
    let (bridge, pod) = ([10, 244, 1, 1].as_slice(), [10, 244, 1, 9].as_slice());
    let sides = [
        // The kubelet probes with version 4, and the server listens with version 6 for both.
        of(v1::Side::Client, "", end(bridge, 4000), end(pod, 8080)),
        of(v1::Side::Server, "web", end(&mapped(9), 8080), end(&mapped(1), 4000)),
        // A pod asks a Service; where it is answered, nothing of the Service is seen.
        of(v1::Side::Server, "web", end(pod, 8080), end(&[10, 244, 2, 7], 4001)),
        of(v1::Side::Client, "shop", end(&[10, 244, 2, 7], 4001), end(&[10, 96, 0, 1], 80)),
        // Each pod has a loopback interface of its own.
        of(v1::Side::Client, "web", end(&[127, 0, 0, 1], 4002), end(&[127, 0, 0, 1], 6379)),
        of(v1::Side::Server, "web", end(&[127, 0, 0, 1], 6379), end(&[127, 0, 0, 1], 4002)),
        of(v1::Side::Server, "shop", end(&[127, 0, 0, 1], 6379), end(&[127, 0, 0, 1], 4002)),
    ];
    let mut table = table(&v1::StatRequest { prefer_client: true, ..Default::default() });
    for side in &sides {
        table.add(side);
    }
    table.settle(true);
    assert_eq!((table.counted(), table.passed_over()), (4, 3));
    let rows: Vec<_> = table.rows().into_iter().map(|row| (row.side(), row.count)).collect();
    assert_eq!(rows, [(v1::Side::Client, 3), (v1::Side::Server, 1)]);
}

#[test]
fn unknown_groups_and_too_many_levels_are_refused() {
    let by = |group_by: Vec<Grouping>| {
        Aggregates::try_from(&v1::StatRequest { group_by, ..Default::default() }).map(|_table| ())
    };
    for (number, field) in [
        (99, Some(grouping::Field::Common(99))),
        (0, Some(grouping::Field::Common(0))),
        // A kind that a later plugin knows.
        (0, None),
    ] {
        let found = by(vec![Grouping { field }]);
        assert!(matches!(&found, Err(AggregatesError::Group(told)) if told.number == number), "{found:?}");
    }
    let common = Grouping::common;
    assert!(matches!(
        by(vec![
            common(CommonField::Source),
            common(CommonField::Destination),
            common(CommonField::Status),
            Grouping::own("http", "path")
        ]),
        Err(AggregatesError::Levels { levels: 4 })
    ));
    assert!(
        by(vec![
            common(CommonField::Source),
            common(CommonField::Destination),
            common(CommonField::Protocol)
        ])
        .is_ok()
    );
    assert!(by(Vec::new()).is_ok());
}

#[test]
fn a_protocols_own_field_is_empty_elsewhere() {
    let attribute = |value: &str| v1::Attribute { name: "key".to_owned(), value: value.to_owned() };
    let of = |protocol: &str, attributes: Vec<v1::Attribute>| {
        Arc::new(v1::Exchange { protocol: protocol.to_owned(), attributes, ..Default::default() })
    };
    // No protocol of the registry: the hub knows none.
    let group_by = vec![Grouping::own("semaphore", "key"), Grouping::common(CommonField::Protocol)];
    let mut table = table(&v1::StatRequest { group_by, ..Default::default() });
    table.add(&of("semaphore", vec![attribute("a"), attribute("b")]));
    table.add(&of("semaphore", Vec::new()));
    table.add(&of("telegraph", vec![attribute("a")]));
    let mut keys: Vec<_> = table.rows().into_iter().map(|row| row.keys).collect();
    keys.sort();
    assert_eq!(keys, [["", "semaphore"], ["", "telegraph"], ["a", "semaphore"]]);
}

#[test]
fn every_common_field_tells_something_else() {
    let end =
        |last: u8, port: u32| v1::Endpoint { address: vec![10, 0, 0, last], port, ..Default::default() };
    let word = |word: &str| word.to_owned();
    let full = Arc::new(v1::Exchange {
        protocol: word("p"),
        status: word("s"),
        local: Some(end(1, 11)),
        remote: Some(v1::Endpoint {
            service: word("ns/svc"),
            namespace: word("other"),
            pod: word("behind"),
            workload: word("Job/behind"),
            node: word("far"),
            ..end(2, 22)
        }),
        origin: Some(v1::Origin {
            namespace: word("ns"),
            pod: word("pod"),
            workload: word("Job/w"),
            node: word("node"),
            ..Default::default()
        }),
        ..Default::default()
    });
    let fields: Vec<CommonField> = (1..100).filter_map(|number| CommonField::try_from(number).ok()).collect();
    let key = |field: &CommonField| {
        let group_by = vec![Grouping::common(*field)];
        let mut table = table(&v1::StatRequest { group_by, ..Default::default() });
        table.add(&full);
        table.rows().remove(0).keys.remove(0)
    };
    let keys: Vec<String> = fields.iter().map(key).collect();
    let expected = [
        "10.0.0.1:11 -> 10.0.0.2:22",
        "10.0.0.2",
        "22",
        "11",
        "p",
        "s",
        "svc/ns/svc:22",
        "ns/pod",
        "ns/Job/w",
        "ns",
        "node",
        "ns/Job/w",
        "svc/ns/svc:22",
        "other/behind",
        "other/Job/behind",
        "other",
        "far",
    ];
    assert_eq!(keys, expected);
}

fn with_status(status: String, total: u64) -> Arc<v1::Exchange> {
    Arc::new(v1::Exchange { status, ..(*exchange(total, v1::Side::Client)).clone() })
}

#[test]
fn weights_count() {
    let mut table = table(&v1::StatRequest::default());
    let heavy = v1::Exchange { sample_weight: 9, error: true, ..(*exchange(100, v1::Side::Client)).clone() };
    table.add(&Arc::new(heavy));
    table.add(&exchange(7, v1::Side::Client));
    let row = table.rows().remove(0);
    let found = &row.distributions[0];
    assert_eq!((row.count, row.errors, found.count), (10, 9, 10));
    assert!((found.sum - 907.0).abs() < f64::EPSILON && (found.p50 - 100.0).abs() <= 1.0);
    assert!((found.min - 7.0).abs() < f64::EPSILON);
}

#[test]
fn samples_bins_and_keys_are_bounded() {
    let group_by = vec![Grouping::common(CommonField::Status)];
    let mut sampled =
        table(&v1::StatRequest { samples: 1000, group_by: group_by.clone(), ..Default::default() });
    for total in 0..200 {
        sampled.add(&exchange(total, v1::Side::Client));
    }
    assert_eq!(sampled.rows()[0].samples.len(), MAX_SAMPLES as usize);
    for group in 0..60 {
        for total in 0..100 {
            sampled.add(&with_status(group.to_string(), total));
        }
    }
    assert_eq!(sampled.rows().iter().map(|row| row.samples.len()).sum::<usize>(), MAX_ALL_SAMPLES);
    let mut wide = table(&v1::StatRequest { group_by, ..Default::default() });
    wide.add(&with_status("x".repeat(MAX_KEY_CHARS + 1), 1));
    assert_eq!(wide.rows()[0].keys[0].chars().count(), MAX_KEY_CHARS);
    for group in 0..MAX_GROUPS {
        for total in [1, 100_000_000] {
            wide.add(&with_status(group.to_string(), total));
        }
    }
    assert!(wide.groups.bins < MAX_BINS + 4096 && wide.groups_over_limit() > 100, "{}", wide.groups.bins);
    assert_eq!(wide.rows().iter().map(|row| row.count).sum::<u64>(), 2 * MAX_GROUPS as u64 + 1);
}

#[test]
fn waiting_server_sides_and_known_connections_are_bounded() {
    let end = |port| Some(v1::Endpoint { address: vec![127, 0, 0, 1], port, ..Default::default() });
    let of = |side: v1::Side, client: usize| {
        let client = u32::try_from(client).unwrap();
        let (local, remote) =
            if side == v1::Side::Server { (end(80), end(client)) } else { (end(client), end(80)) };
        Arc::new(v1::Exchange { side: side.into(), local, remote, ..Default::default() })
    };
    let mut table = table(&v1::StatRequest { prefer_client: true, ..Default::default() });
    for client in 0..pending::MAX_PENDING_SIDES + 10 {
        table.add(&of(v1::Side::Server, client));
    }
    assert_eq!(table.counted(), 10);
    for client in 0..pending::MAX_CONNECTIONS + 20 {
        table.add(&of(v1::Side::Client, client));
    }
    table.settle(true);
    // The first twenty connections were forgotten again: the servers of ten of them waited still.
    assert_eq!(table.passed_over(), pending::MAX_PENDING_SIDES as u64 - 10);
    assert_eq!(table.counted(), 10 + pending::MAX_CONNECTIONS as u64 + 20 + 10);
}

#[test]
fn counting_stops_at_its_limit() {
    let mut table = table(&v1::StatRequest { count: 3, ..Default::default() });
    for number in 0..5_u64 {
        assert_eq!(table.is_full(), number >= 3, "{number}");
        table.add(&with_status(number.to_string(), 1));
    }
    assert_eq!((table.counted(), table.passed_over()), (3, 2));
    assert_eq!(table.rows().iter().map(|row| row.count).sum::<u64>(), 3);
}

proptest! {
    #[test]
    fn counts_of_several_hubs_are_those_of_one(values in prop::collection::vec((0_u64..5_000_000, 0_usize..3, any::<bool>()), 1..300)) {
        let request = v1::StatRequest {
            group_by: vec![Grouping::common(CommonField::Protocol)],
            metrics: vec![v1::Metric::TotalTime.into(), v1::Metric::ResponseSize.into()],
            samples: 3,
            ..Default::default()
        };
        let mut whole = table(&request);
        let mut hubs: Vec<_> = (0..3).map(|_| table(&request)).collect();
        for (total, hub, error) in values {
            let one = v1::Exchange { protocol: format!("p{}", total % 4), error, ..v1::Exchange::clone(&exchange(total, v1::Side::Client)) };
            let one = Arc::new(one);
            whole.add(&one);
            hubs[hub].add(&one);
        }
        let parts: Vec<_> = hubs[1..].iter().map(|hub| v1::StatPart { groups: hub.part(), ..Default::default() }).collect();
        let mut merged = hubs[0].merged(parts.iter()).rows();
        let mut rows = whole.rows();
        for row in merged.iter_mut().chain(&mut rows) {
            // Of equal values any may be kept.
            for sample in &mut row.samples {
                sample.error = false;
            }
        }
        prop_assert_eq!(merged, rows);
    }
}

#[test]
fn groups_beyond_the_limit_stay_apart_when_hubs_are_merged() {
    let request =
        v1::StatRequest { group_by: vec![Grouping::common(CommonField::Protocol)], ..Default::default() };
    let mut hubs = [table(&request), table(&request)];
    for (hub, table) in hubs.iter_mut().enumerate() {
        for group in 0..MAX_GROUPS + 5 {
            let protocol = format!("{hub}-{group}");
            let one = v1::Exchange { protocol, ..v1::Exchange::clone(&exchange(1, v1::Side::Client)) };
            table.add(&Arc::new(one));
        }
    }
    let part = v1::StatPart {
        groups: hubs[1].part(),
        groups_over_limit: hubs[1].groups_over_limit(),
        ..Default::default()
    };
    let merged = hubs[0].merged(std::iter::once(&part));
    let rows = merged.rows();
    assert_eq!(rows.len(), MAX_GROUPS + 1);
    assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 2 * (MAX_GROUPS as u64 + 5));
    assert_eq!(merged.groups_over_limit(), MAX_GROUPS as u64 + 10);
}

fn timed(side: v1::Side, segments: v1::Segments, ways: Option<v1::Ways>) -> v1::Exchange {
    v1::Exchange { side: side.into(), segments: Some(segments), ways, ..Default::default() }
}

#[test]
fn parts_of_the_time_are_of_their_side_and_what_is_unknown_is_left_out() {
    use v1::Metric::{
        ConnectTime, HandlingTime, InternalTime, NetworkTime, QueueTime, RemoteTime, Retransmits, SocketTime,
        TotalTime, TransferTime, UndividedTime, WaysTime,
    };
    let seen = v1::Segments {
        total_ns: 111,
        send_ns: Some(1),
        network_ns: Some(80),
        transfer_ns: Some(10),
        receive_ns: Some(2),
        queue_ns: Some(15),
        internal_ns: None,
        read_ns: Some(3),
    };
    let ways = |request_ns, response_ns| Some(v1::Ways { request_ns, response_ns, ..Default::default() });
    let alone =
        v1::Exchange { connect_ns: Some(9), retransmits: Some(0), ..timed(v1::Side::Client, seen, None) };
    for (metric, expected) in [
        (TotalTime, Some(111)),
        (NetworkTime, Some(90)),
        (InternalTime, None),
        (SocketTime, Some(20)),
        (QueueTime, Some(15)),
        (TransferTime, Some(10)),
        (ConnectTime, Some(9)),
        (Retransmits, Some(0)),
        (WaysTime, None),
        (RemoteTime, None),
        (UndividedTime, Some(90)),
        (HandlingTime, Some(6)),
    ] {
        assert_eq!(value(metric, &alone), expected, "{metric:?}");
    }
    // Both ways are 30 of 80, whatever the clocks are apart; no part is less than nothing or more than the whole.
    for (ways, both, work) in
        [(ways(20, 10), 30, 50), (ways(-70, 100), 30, 50), (ways(-9, 2), 0, 80), (ways(70, 70), 80, 0)]
    {
        let joined = timed(v1::Side::Client, seen, ways);
        assert_eq!(value(WaysTime, &joined), Some(both + 10));
        assert_eq!(value(RemoteTime, &joined), Some(work));
        assert_eq!(value(UndividedTime, &joined), None);
        let parts = [WaysTime, RemoteTime, UndividedTime, QueueTime, HandlingTime];
        let sum: u64 = parts.into_iter().filter_map(|metric| value(metric, &joined)).sum();
        assert_eq!(Some(sum), value(TotalTime, &joined), "the parts make the whole");
    }
    let work = v1::Segments { total_ns: 9, internal_ns: Some(9), ..Default::default() };
    let seen_there = timed(v1::Side::Server, work, ways(1, 1));
    for metric in [NetworkTime, TransferTime, QueueTime, SocketTime, WaysTime, UndividedTime, HandlingTime] {
        assert_eq!(value(metric, &seen_there), None, "{metric:?}");
    }
    assert_eq!((value(InternalTime, &seen_there), value(RemoteTime, &seen_there)), (Some(9), Some(9)));
    for metric in [TotalTime, QueueTime, ConnectTime, Retransmits, RemoteTime, UndividedTime] {
        assert_eq!(value(metric, &v1::Exchange::default()), None, "{metric:?}");
    }
}

#[test]
fn what_is_unknown_counts_as_an_exchange_and_not_as_a_value() {
    let metrics = vec![v1::Metric::QueueTime.into(), v1::Metric::Retransmits.into()];
    let mut table = table(&v1::StatRequest { metrics, ..Default::default() });
    for (queue_ns, retransmits, sample_weight) in [(Some(0), Some(2), 1), (None, None, 3), (Some(8), None, 2)]
    {
        let segments = Some(v1::Segments { total_ns: 8, queue_ns, ..Default::default() });
        let side = v1::Side::Client.into();
        table.add(&Arc::new(v1::Exchange {
            segments,
            retransmits,
            sample_weight,
            side,
            ..Default::default()
        }));
    }
    let row = table.rows().remove(0);
    let [queue, retransmits] = row.distributions[..] else { unreachable!() };
    assert_eq!((row.count, queue.count, retransmits.count), (6, 3, 1));
    assert!(queue.min.abs() < f64::EPSILON && (queue.sum - 16.0).abs() < f64::EPSILON);
}

/// An exchange of a client of one of a few services, answered or not.
fn any_exchange() -> impl Strategy<Value = v1::Exchange> {
    (0..3_u8, 1000..2000_u32, 0..2_u32, any::<bool>(), proptest::option::of(0..10_000_000_u64), 0..5_u32)
        .prop_map(|(service, port, status, error, total_ns, sample_weight)| {
            let end = |last, port| {
                Some(v1::Endpoint { address: vec![10, 0, 0, last], port, ..v1::Endpoint::default() })
            };
            v1::Exchange {
                side: if port % 2 == 0 { v1::Side::Client } else { v1::Side::Server }.into(),
                protocol: "http".to_owned(),
                status: status.to_string(),
                error,
                sample_weight,
                local: end(1, port),
                remote: end(service, 80),
                segments: total_ns.map(|total_ns| v1::Segments { total_ns, ..v1::Segments::default() }),
                ..v1::Exchange::default()
            }
        })
}

proptest! {
    /// Whoever folds, and how often it sends: the rows are those of the exchanges themselves.
    #[test]
    fn sums_of_folds_are_sums_of_exchanges(
        exchanges in proptest::collection::vec(any_exchange(), 0..200),
        cut in 0..200_usize,
    ) {
        let group_by = [CommonField::RemoteService, CommonField::Status]
            .map(|field| Grouping { field: Some(grouping::Field::Common(field.into())) })
            .to_vec();
        let request = v1::StatRequest { group_by: group_by.clone(), ..v1::StatRequest::default() };
        let folding = v1::Folding { number: 1, metrics: Vec::new(), group_by };
        let folding = FoldRules::try_from(&folding).unwrap();
        let (mut direct, mut folded) = (table(&request), table(&request));
        let (first, then) = exchanges.split_at(cut.min(exchanges.len()));
        for sent in [first, then] {
            let mut folds: HashMap<Vec<u8>, Folded> = HashMap::new();
            for exchange in sent {
                direct.add(&Arc::new(exchange.clone()));
                let mut key = Vec::new();
                folding.write_key(exchange, &mut key);
                folds.entry(key).or_insert_with(|| Folded::new(&folding, exchange)).add(&folding, exchange);
            }
            for fold in folds.into_values() {
                folded.fold(&fold.told(&folding));
            }
        }
        prop_assert_eq!(direct.counted(), folded.counted());
        prop_assert_eq!(direct.rows(), folded.rows());
    }
}
