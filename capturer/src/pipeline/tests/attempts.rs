//! Connections over which nothing went.

use super::*;
use crate::tracker::{GIVEN_UP_NS, HUNG_NS};

/// A process's attempt to connect that began at one second and ended with an error.
fn attempt(error: u32, waited_ns: u64) -> layout::Attempt {
    let mut comm = [0; COMM_LEN];
    comm[..4].copy_from_slice(b"curl");
    layout::Attempt {
        kind: layout::Kind::Attempt as u8,
        phase: layout::phase::OPENING,
        reserved: 0,
        error,
        connection: layout::Connection { id: 0, ..fixtures::connection(0) },
        begun_ns: 1_000_000_000,
        at_ns: 1_000_000_000 + waited_ns,
        pid: 42,
        unused: 0,
        comm,
        cgroup: 0,
    }
}

#[test]
fn an_attempt_to_connect_is_an_exchange_of_its_owner() {
    let mut pipeline = pipeline();
    pipeline.take(Record::Attempt(attempt(111, 250_000)));
    pipeline.advance(5_000_000_000, true);
    let done = exchanges(&mut pipeline);
    assert_eq!(done.len(), 1);
    let exchange = &done[0];
    assert_eq!(
        (exchange.protocol.as_str(), exchange.status.as_str(), exchange.error),
        ("tcp", "REFUSED", true)
    );
    assert_eq!(
        (exchange.operation.as_str(), exchange.target.as_str()),
        ("CONNECT 127.0.0.1:80", "127.0.0.1:80")
    );
    let origin = exchange.origin.as_ref().unwrap();
    assert_eq!((origin.pid, origin.comm.as_str()), (42, "curl"));
    let segments = exchange.segments.as_ref().unwrap();
    assert_eq!((segments.total_ns, segments.network_ns), (250_000, Some(250_000)));
    assert!(exchange.request.is_none() && exchange.response.is_none());
    assert_eq!((exchange.local.as_ref().unwrap().port, exchange.remote.as_ref().unwrap().port), (40_000, 80));
    assert_balanced(&mut pipeline, 1);
}

#[test]
fn each_attempt_is_a_connection_and_an_exchange_of_its_own() {
    let mut pipeline = pipeline();
    for error in [110, 104, 113] {
        pipeline.take(Record::Attempt(attempt(error, 1)));
    }
    let done = exchanges(&mut pipeline);
    let statuses: Vec<_> = done.iter().map(|exchange| exchange.status.as_str()).collect();
    assert_eq!(statuses, ["TIMEOUT", "RESET", "UNREACHABLE"]);
    let ids: std::collections::BTreeSet<_> =
        done.iter().map(|exchange| (exchange.id, exchange.connection_id)).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|(_, connection)| (1..1 << 44).contains(connection)), "no id of the kernel's");
}

#[test]
fn a_server_whose_client_took_it_back_waited_to_receive() {
    let mut pipeline = pipeline();
    let mut found = attempt(104, 7_000);
    found.connection.role = layout::role::SERVER;
    pipeline.take(Record::Attempt(found));
    let done = exchanges(&mut pipeline);
    assert_eq!((done[0].operation.as_str(), done[0].side()), ("ACCEPT 127.0.0.1:40000", v1::Side::Server));
    let segments = done[0].segments.as_ref().unwrap();
    assert_eq!((segments.total_ns, segments.receive_ns, segments.network_ns), (7_000, Some(7_000), None));
}

#[test]
fn who_changes_its_mind_at_once_has_not_waited() {
    let mut pipeline = pipeline();
    for waited_ns in [GIVEN_UP_NS - 1, GIVEN_UP_NS] {
        pipeline.take(Record::Attempt(attempt(0, waited_ns)));
    }
    let done = exchanges(&mut pipeline);
    let totals: Vec<_> = done.iter().map(|done| done.segments.as_ref().unwrap().total_ns).collect();
    assert_eq!(totals, [GIVEN_UP_NS]);
    assert_eq!(done[0].status, "TIMEOUT");
    assert_balanced(&mut pipeline, 2);
}

#[test]
fn what_waits_when_the_capture_ends_is_shown_once_it_waited_long() {
    let mut pipeline = pipeline();
    let waiting = layout::Attempt { at_ns: 0, ..attempt(0, 0) };
    pipeline.unanswered(&[waiting], waiting.begun_ns + HUNG_NS - 1);
    assert!(exchanges(&mut pipeline).is_empty(), "its answer may be on its way");
    pipeline.unanswered(&[waiting], waiting.begun_ns + HUNG_NS);
    pipeline.finish(waiting.begun_ns + HUNG_NS);
    let done = exchanges(&mut pipeline);
    assert_eq!(done.len(), 1);
    assert_eq!((done[0].status.as_str(), done[0].error), ("TIMEOUT", true));
    assert_eq!(done[0].segments.as_ref().unwrap().total_ns, HUNG_NS, "so long so far");
    assert_balanced(&mut pipeline, 0);
}

#[test]
fn filters_decide_about_attempts_as_about_all_exchanges() {
    let shown = |filter: v1::Filter| {
        let mut pipeline =
            by(&v1::CapturerSettings { filter: Some(filter), ..v1::CapturerSettings::default() });
        pipeline.take(Record::Attempt(attempt(111, 250_000)));
        exchanges(&mut pipeline).len()
    };
    let words = |word: &str| vec![word.to_owned()];
    let all = v1::Filter::default;
    for (expected, filter) in [
        (1, all()),
        (1, v1::Filter { protocols: words("tcp"), ..all() }),
        (0, v1::Filter { protocols: words("http"), ..all() }),
        (0, v1::Filter { without_protocols: words("tcp"), ..all() }),
        (1, v1::Filter { statuses: words("REFUSED"), ..all() }),
        (0, v1::Filter { statuses: words("TIMEOUT"), ..all() }),
        (1, v1::Filter { errors: v1::Errors::WithoutHandshake.into(), ..all() }),
        (1, v1::Filter { remote_ports: vec![80], ..all() }),
        (0, v1::Filter { remote_ports: vec![81], ..all() }),
        (0, v1::Filter { side: v1::Side::Server.into(), ..all() }),
        (1, v1::Filter { pids: vec![42], ..all() }),
        (0, v1::Filter { min_total_ns: 250_001, ..all() }),
    ] {
        let asked = format!("{filter:?}");
        assert_eq!(shown(filter), expected, "{asked}");
    }
}

#[test]
fn attempts_of_sessions_are_not_shown() {
    let mut pipeline = pipeline();
    pipeline.exclude(42);
    pipeline.take(Record::Attempt(attempt(111, 250_000)));
    pipeline.unanswered(&[attempt(0, 0)], u64::MAX);
    assert!(exchanges(&mut pipeline).is_empty());
    assert_balanced(&mut pipeline, 1);
}
