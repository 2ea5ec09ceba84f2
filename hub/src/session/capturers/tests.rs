//! Connections, ids and ledgers of capturers that come, go and come again.

use super::*;

fn hello(node: &str, instance: u64) -> v1::CapturerHello {
    v1::CapturerHello { node: node.to_owned(), instance, capturing: true, ..Default::default() }
}

fn batch(sequence: u64) -> v1::Batch {
    v1::Batch { sequence, ..Default::default() }
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
    let exchanges = |count, sequence, delivered| v1::Batch {
        sequence,
        exchanges: vec![v1::Exchange::default(); count],
        balances: vec![
            v1::Balance { unit: "events".to_owned(), delivered: 99, ..Default::default() },
            v1::Balance { unit: "exchanges".to_owned(), delivered, ..Default::default() },
        ],
        ..Default::default()
    };
    let take = |instance, mut batch: v1::Batch| {
        let claim = capturers.connect(hello("one", instance)).unwrap();
        let sequence = batch.sequence;
        assert_eq!(capturers.judge("one", claim.connection, &mut batch), Judged::Fresh);
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
    assert_eq!(capturers.judge("one", first.connection, &mut batch(1)), Judged::Fresh);
    assert_eq!(capturers.taken("one", first.connection, 1, false), 1);
    assert_eq!(capturers.judge("one", first.connection, &mut batch(1)), Judged::Stale);
    let second = capturers.connect(hello("one", 1)).unwrap();
    assert_eq!(second.last_sequence, 1);
    assert_eq!(capturers.judge("one", first.connection, &mut batch(2)), Judged::Stale);
    assert_eq!(capturers.judge("one", second.connection, &mut batch(2)), Judged::Fresh);
    capturers.disconnect("one", first.connection);
    assert!(capturers.states()[0].connected);
    let restarted = capturers.connect(hello("one", 9)).unwrap();
    assert_eq!(restarted.last_sequence, 0);
    assert_eq!(capturers.judge("one", restarted.connection, &mut batch(1)), Judged::Fresh);
}

#[test]
fn a_restarted_capturer_keeps_what_it_counted_before() {
    let capturers = begun();
    let take = |instance, sequence, seen, lost| {
        let claim = capturers.connect(hello("one", instance)).unwrap();
        let loss = v1::Loss { stage: "ring".to_owned(), unit: "events".to_owned(), total: lost };
        let (consumer, unit) = ("capturer one".to_owned(), "events".to_owned());
        let balance = v1::Balance { consumer, unit, seen, lost: vec![loss], ..Default::default() };
        let mut batch = v1::Batch { balances: vec![balance], ..batch(sequence) };
        assert_eq!(capturers.judge("one", claim.connection, &mut batch), Judged::Fresh);
        let balances = crate::session::ledger::sums(capturers.balances().remove(0).1);
        assert_eq!(balances.len(), 1);
        (balances[0].seen, balances[0].lost[0].total)
    };
    assert_eq!(take(1, 1, 10, 2), (10, 2));
    assert_eq!(take(1, 2, 15, 3), (15, 3));
    assert_eq!(take(2, 1, 1, 0), (16, 3));
    assert_eq!(take(2, 2, 4, 1), (19, 4));
}

#[tokio::test(start_paused = true)]
async fn an_order_to_go_is_forgotten_when_the_capturer_comes_back() {
    let capturers = begun();
    capturers.connect(hello("one", 1)).unwrap();
    capturers.release("one", "10.0.0.1:7440");
    capturers.connect(hello("one", 1)).unwrap();
    let order = tokio::time::timeout(Duration::from_secs(9), capturers.released("one"));
    assert!(order.await.is_err());
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
