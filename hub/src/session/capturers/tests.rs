//! Connections, ids and ledgers of capturers that come, go and come again.

use proto::account::{Consumer, Stage, Unit};

use super::*;

fn hello(node: &str, instance: u64) -> v1::CapturerHello {
    v1::CapturerHello { node: node.to_owned(), instance, capturing: true, ..Default::default() }
}

fn batch(sequence: u64) -> Heard {
    Heard { sequence, ..Default::default() }
}

fn counted(unit: Unit, delivered: u64, lost: u64) -> Balance {
    let lost = (Stage::Ring, lost).into();
    Balance::of_fates(Consumer::Capturer("one".to_owned()), unit, delivered, 0, lost)
}

fn begun() -> Capturers {
    let capturers = Capturers::default();
    capturers.begin(Slots::default());
    capturers
}

#[test]
fn nothing_is_given_before_it_is_known_what_earlier_hubs_gave() {
    let capturers = Capturers::default();
    assert!(matches!(capturers.connect(hello("one", 1)), Err(CapturersError::NotBegun)));
    capturers.begin(Slots::default());
    assert!(capturers.connect(hello("one", 1)).is_ok());
}

#[test]
fn what_earlier_hubs_took_is_told_by_the_first_ledger() {
    let capturers = begun();
    let exchanges = |exchanges, sequence, delivered| Heard {
        exchanges,
        balances: vec![counted(Unit::Event, 99, 0), counted(Unit::Exchange, delivered, 0)],
        ..batch(sequence)
    };
    let take = |instance, batch: Heard| {
        let claim = capturers.connect(hello("one", instance)).unwrap();
        let sequence = batch.sequence;
        assert_eq!(capturers.judge("one", claim.connection, batch), Judged::Fresh);
        capturers.taken("one", claim.connection, sequence, false);
        capturers.acknowledged_before()
    };
    assert_eq!(take(1, exchanges(3, 8, 20)), 17);
    assert_eq!(take(1, exchanges(5, 9, 25)), 17);
    // A restarted process began here.
    assert_eq!(take(2, exchanges(4, 1, 4)), 17);
    // The one before is heard once more.
    assert_eq!(take(1, exchanges(1, 10, 26)), 17);
    // Another one has fed an earlier hub.
    assert_eq!(take(3, exchanges(1, 4, 11)), 27);
}

#[test]
fn ids_never_meet() {
    let capturers = begun();
    let one = capturers.connect(hello("one", 1)).unwrap();
    let two = capturers.connect(hello("two", 1)).unwrap();
    let again = capturers.connect(hello("one", 1)).unwrap();
    let other = capturers.connect(hello("one", 2)).unwrap();
    assert_eq!([one.id_base, two.id_base], [0, 1 << 48]);
    assert_eq!(again.id_base, one.id_base);
    assert_eq!(other.id_base, 1 << 40);
}

#[test]
fn resent_batches_and_replaced_connections_are_stale() {
    let capturers = begun();
    let first = capturers.connect(hello("one", 1)).unwrap();
    assert_eq!(capturers.judge("one", first.connection, batch(1)), Judged::Fresh);
    assert_eq!(capturers.taken("one", first.connection, 1, false), 1);
    assert_eq!(capturers.judge("one", first.connection, batch(1)), Judged::Stale);
    let second = capturers.connect(hello("one", 1)).unwrap();
    assert_eq!(second.last_sequence, 1);
    assert_eq!(capturers.judge("one", first.connection, batch(2)), Judged::Stale);
    assert_eq!(capturers.judge("one", second.connection, batch(2)), Judged::Fresh);
    capturers.disconnect("one", first.connection);
    assert!(capturers.states(Moment::default())[0].connected);
    let restarted = capturers.connect(hello("one", 9)).unwrap();
    assert_eq!(restarted.last_sequence, 0);
    assert_eq!(capturers.judge("one", restarted.connection, batch(1)), Judged::Fresh);
}

#[test]
fn a_restarted_capturer_keeps_what_it_counted_before() {
    let capturers = begun();
    let take = |instance, sequence, seen, lost| {
        let claim = capturers.connect(hello("one", instance)).unwrap();
        let balance = counted(Unit::Event, seen - lost, lost);
        let batch = Heard { balances: vec![balance], ..batch(sequence) };
        assert_eq!(capturers.judge("one", claim.connection, batch), Judged::Fresh);
        let balances = crate::account::sums(capturers.balances().remove(0).1);
        assert_eq!(balances.len(), 1);
        (balances[0].seen, balances[0].lost.total())
    };
    assert_eq!(take(1, 1, 10, 2), (10, 2));
    assert_eq!(take(1, 2, 15, 3), (15, 3));
    assert_eq!(take(2, 1, 1, 0), (16, 3));
    assert_eq!(take(2, 2, 4, 1), (19, 4));
}

#[test]
fn a_process_that_is_heard_again_goes_on_where_it_was() {
    let capturers = begun();
    let take = |instance, sequence| {
        let claim = capturers.connect(hello("one", instance)).unwrap();
        let judged = capturers.judge("one", claim.connection, batch(sequence));
        (judged, capturers.taken("one", claim.connection, sequence, false), claim.id_base)
    };
    assert_eq!(take(1, 5), (Judged::Fresh, 5, 0));
    assert_eq!(take(2, 1), (Judged::Fresh, 1, 1 << 40));
    // What it sent before another process spoke is not new.
    assert_eq!(take(1, 5), (Judged::Stale, 5, 0));
    assert_eq!(take(1, 6), (Judged::Fresh, 6, 0));
    assert_eq!(take(2, 2), (Judged::Fresh, 2, 1 << 40));
    // A third one's ids are above all that were given.
    assert_eq!(take(3, 1), (Judged::Fresh, 1, 2 << 40));
}

#[tokio::test(start_paused = true)]
async fn a_command_to_go_is_forgotten_when_the_capturer_comes_back() {
    let capturers = begun();
    capturers.connect(hello("one", 1)).unwrap();
    capturers.release("one", "10.0.0.1:7440");
    capturers.connect(hello("one", 1)).unwrap();
    let command = tokio::time::timeout(Duration::from_secs(9), capturers.released("one"));
    assert!(command.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_capturer_is_released_once() {
    let capturers = begun();
    capturers.connect(hello("one", 1)).unwrap();
    capturers.release("one", "10.0.0.1:7440");
    assert_eq!(capturers.released("one").await, "10.0.0.1:7440");
    let again = tokio::time::timeout(Duration::from_secs(9), capturers.released("one"));
    assert!(again.await.is_err());
}

#[test]
fn a_base_that_hubs_agreed_on_stays_with_its_process() {
    let capturers = Capturers::default();
    let base = Base { slot: 7, boot: 0 };
    let claim = capturers.connect_as(hello("one", 1), base);
    assert_eq!(claim.id_base, 7 << 48);
    assert_eq!(capturers.base_of("one", 1), Some(base));
    assert_eq!(capturers.base_of("one", 2), None);
    assert_eq!(capturers.rows(true).len(), 1);
    capturers.disconnect("one", claim.connection);
    assert!(capturers.rows(true).is_empty());
    assert_eq!(capturers.rows(false).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_final_batch_and_not_for_who_is_gone() {
    let capturers = begun();
    let one = capturers.connect(hello("one", 0)).unwrap();
    let two = capturers.connect(hello("two", 0)).unwrap();
    let began = Instant::now();
    assert!(capturers.drained(began + Duration::from_secs(3)).await.is_empty());
    assert!(began.elapsed() >= Duration::from_secs(3));
    capturers.taken("one", one.connection, 1, true);
    capturers.disconnect("two", two.connection);
    let began = Instant::now();
    assert_eq!(capturers.drained(began + Duration::from_secs(30)).await, ["one"]);
    assert!(began.elapsed() < Duration::from_secs(1));
}
