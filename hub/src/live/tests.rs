//! Buffers at their limits, late starters, and viewers that are gone.

use super::*;

fn exchanges(ids: std::ops::Range<u64>, payload: usize) -> Vec<Arc<v1::Exchange>> {
    ids.map(|id| {
        let request = Some(v1::Message { payload: vec![b'x'; payload], ..Default::default() });
        Arc::new(v1::Exchange { id, request, error: id % 2 == 0, ..Default::default() })
    })
    .collect()
}

fn all(from_start: bool) -> v1::WatchRequest {
    v1::WatchRequest { filter: None, payload_bytes: 10, from_start, resume: None }
}

fn balanced(balance: &Balance) -> u64 {
    assert!(balance.holds(), "{balance:?}");
    balance.lost.total()
}

#[tokio::test]
async fn the_starter_sees_what_came_before_it() {
    let live = Live::default();
    live.publish(&exchanges(0..5, 0));
    let starter = live.watch(&all(true)).unwrap();
    let joined = live.watch(&all(false)).unwrap();
    live.publish(&exchanges(5..6, 0));
    assert_eq!(starter.next(100, 1 << 20).await.exchanges.len(), 6);
    assert_eq!(joined.next(100, 1 << 20).await.exchanges.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_opening_is_bounded_counted_and_ends() {
    let live = Live::default();
    live.publish(&exchanges(0..100, OPENING_BYTES / 50));
    assert!(live.inner().opening.bytes <= OPENING_BYTES);
    let starter = live.watch(&all(true)).unwrap();
    let mut received = 0;
    while received + balanced(&starter.balance()) < 100 {
        received += starter.next(1000, 1 << 20).await.exchanges.len() as u64;
    }
    assert!(received >= 40, "{received}");
    tokio::time::advance(OPENING_PERIOD + Duration::from_secs(1)).await;
    let late = live.watch(&all(true)).unwrap();
    live.publish(&exchanges(100..101, 0));
    let response = late.next(100, 1 << 20).await;
    assert_eq!((response.exchanges.len(), response.balance.unwrap().seen), (1, 1));
    assert!(live.inner().opening.kept.is_empty());
}

#[tokio::test]
async fn a_slow_viewer_loses_and_knows_how_much() {
    let live = Live::default();
    let slow = live.watch(&all(false)).unwrap();
    let count = watch::BUFFER_EXCHANGES as u64 * 3;
    live.publish(&exchanges(0..count, 0));
    live.publish(&exchanges(0..200, watch::BUFFER_BYTES / 50));
    live.close();
    let mut received = 0;
    let balance = loop {
        let response = slow.next(512, 1 << 20).await;
        received += response.exchanges.len() as u64;
        if response.end {
            break Balance::try_from(response.balance.unwrap()).unwrap();
        }
    };
    assert_eq!((balance.seen, balance.delivered), (count + 200, received));
    assert!(balanced(&balance) > count / 2);
}

#[tokio::test]
async fn what_decoders_found_out_reaches_viewers_also_where_payloads_are_cut() {
    let live = Live::default();
    let cut = live.watch(&v1::WatchRequest { payload_bytes: 1, ..Default::default() }).unwrap();
    let exchange = v1::Exchange {
        handshake: true,
        announced: Some(v1::Endpoint { address: vec![203, 0, 113, 7], port: 5000, ..Default::default() }),
        reason: v1::Reason::Unreadable.into(),
        request: Some(v1::Message { payload: b"xy".to_vec(), ..Default::default() }),
        ..Default::default()
    };
    live.publish(&[Arc::new(exchange.clone())]);
    let found = cut.next(1, 1 << 20).await.decoded().unwrap().remove(0);
    assert!(found.request.as_ref().unwrap().truncated);
    assert_eq!(v1::Exchange { request: exchange.request.clone(), ..found }, exchange);
}

#[tokio::test]
async fn filters_and_payload_limits_are_each_viewers_own() {
    let live = Live::default();
    let filter = Some(v1::Filter { errors: v1::Errors::WithoutHandshake.into(), ..Default::default() });
    let errors = live.watch(&v1::WatchRequest { filter, ..Default::default() }).unwrap();
    let whole = live.watch(&v1::WatchRequest { payload_bytes: 100, ..Default::default() }).unwrap();
    live.publish(&exchanges(0..10, 50));
    let response = errors.next(100, 1 << 20).await;
    assert_eq!(response.exchanges.len(), 5);
    let exchanges = response.decoded().unwrap();
    let message = exchanges[0].request.as_ref().unwrap();
    assert!(message.payload.is_empty() && message.truncated);
    assert_eq!(response.balance.unwrap().filtered, 5);
    let message = whole.next(100, 1 << 20).await.decoded().unwrap()[0].request.clone().unwrap();
    assert!(message.payload.len() == 50 && !message.truncated);
}

#[tokio::test]
async fn a_viewer_that_is_gone_costs_nothing_and_too_many_are_refused() {
    let live = Live::default();
    let held: Vec<_> = (0..MAX_VIEWERS).map(|_| live.watch(&all(false)).unwrap()).collect();
    assert!(matches!(live.watch(&all(false)), Err(LiveError::TooMany)));
    drop(held);
    live.publish(&exchanges(0..1, 0));
    assert!(live.inner().consumers.is_empty());
    assert!(live.watch(&all(false)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_a_hanging_viewer_did_not_take_is_lost_at_the_end() {
    let live = Live::default();
    let _hanging = live.watch(&all(false)).unwrap();
    live.publish(&exchanges(0..7, 0));
    live.close();
    live.flush(Instant::now() + Duration::from_secs(1)).await;
    let balances = live.balances();
    assert_eq!((balances[0].seen, balanced(&balances[0])), (7, 7));
}

#[tokio::test]
async fn what_a_viewer_lost_stays_in_the_total_when_it_leaves() {
    let live = Live::default();
    let totals = || {
        let totals = live.totals();
        assert!(totals.iter().all(Balance::holds), "{totals:?}");
        let sum = |of: fn(&Balance) -> u64| totals.iter().map(of).sum::<u64>();
        (sum(|one| one.delivered), sum(|one| one.lost.total()))
    };
    let mut lost = 0;
    for round in 1..=3 {
        let slow = live.watch(&all(false)).unwrap();
        let counts = live.stat(&v1::StatRequest::default()).unwrap();
        live.publish(&exchanges(0..watch::BUFFER_EXCHANGES as u64 + 9, 0));
        slow.next(100, 1 << 20).await;
        let before = totals();
        assert!(before.1 >= lost + 9, "round {round}: {before:?}");
        lost = before.1;
        drop((slow, counts));
        assert_eq!(totals(), before);
        assert!(live.balances().is_empty());
    }
}

#[tokio::test]
async fn what_was_sent_is_kept_as_short_as_it_was_sent() {
    const COUNT: u64 = 300;
    let live = Live::default();
    let resume = Some(v1::Resume::default());
    let watch = live.watch(&v1::WatchRequest { resume, ..all(false) }).unwrap();
    // Whole they are several times what is kept.
    let payload = watch::SENT_BYTES / 50;
    for id in 0..COUNT {
        live.publish(&exchanges(id..id + 1, payload));
        assert_eq!(watch.next(10, 1 << 20).await.exchanges.len(), 1);
    }
    watch.leave();
    watch.go_on(0);
    let again = watch.next(1000, 1 << 20).await.decoded().unwrap();
    let ids: Vec<u64> = again.iter().map(|exchange| exchange.id).collect();
    assert_eq!(ids, (0..COUNT).collect::<Vec<_>>());
    let request = again[0].request.as_ref().unwrap();
    assert_eq!((request.payload.len(), request.truncated), (10, true));
    assert_eq!((balanced(&watch.balance()), watch.balance().delivered), (0, COUNT));
}

#[tokio::test]
async fn hops_count_in_what_a_viewer_may_have_waiting_and_in_one_response() {
    const RESPONSE_BYTES: usize = 256 << 10;
    const COUNT: u64 = 32_000;
    let hop =
        v1::Hop { place: v1::HopPlace::Nic.into(), name: "cali0123456789a".to_owned(), ..Default::default() };
    let one = Arc::new(v1::Exchange { hops: vec![hop; 64], ..Default::default() });
    let bytes = watch::memory(&prost::Message::encode_to_vec(one.as_ref()).into());
    let live = Live::default();
    let slow = live.watch(&v1::WatchRequest { resume: Some(v1::Resume::default()), ..all(false) }).unwrap();
    for _ in 0..COUNT {
        live.publish(std::slice::from_ref(&one));
    }
    live.close();
    let mut received = 0;
    let balance = loop {
        let response = slow.next(512, RESPONSE_BYTES).await;
        assert!(prost::Message::encoded_len(&response) <= RESPONSE_BYTES + bytes);
        assert!(response.decoded().unwrap().iter().all(|exchange| exchange.hops.len() == 64));
        received += response.exchanges.len();
        if response.end {
            break Balance::try_from(response.balance.unwrap()).unwrap();
        }
    };
    assert_eq!(received, watch::BUFFER_BYTES / bytes, "as many as have room, and no more");
    assert_eq!((balance.seen, balanced(&balance)), (COUNT, COUNT - received as u64));
    // What is kept in case the stream breaks is bounded, too: the rest of it would be lost.
    slow.leave();
    slow.go_on(0);
    let kept = slow.next(usize::MAX, usize::MAX).await.exchanges.len();
    assert_eq!(kept, watch::SENT_BYTES / bytes);
}

fn sums_of(live: &Live) -> v1::Folding {
    live.folding().borrow().clone()
}

fn fold(number: u64, exchanges: u64) -> v1::Fold {
    let like = Some(v1::Exchange::default());
    v1::Fold { like, exchanges, count: exchanges, folding: number, ..v1::Fold::default() }
}

#[tokio::test]
async fn sums_are_wanted_while_one_alone_counts() {
    let live = Live::new(Some(v1::Filter::default()));
    let request = v1::StatRequest::default();
    assert_eq!(sums_of(&live).number, 0, "nobody watches");
    let stat = live.stat(&request).unwrap();
    let first = sums_of(&live).number;
    assert!(first > 0);
    live.fold(&[fold(first, 5), fold(first ^ 1, 3)]);
    let balance = stat.balance();
    assert_eq!((balance.delivered, balance.filtered), (5, 3), "what others asked for is not counted");
    assert_eq!(balanced(&balance), 0);
    let watch = live.watch(&all(false)).unwrap();
    assert_eq!(sums_of(&live).number, 0, "another one wants exchanges");
    live.fold(&[fold(first, 2)]);
    assert_eq!((stat.balance().delivered, watch.balance().filtered), (7, 2), "what was under way");
    assert_eq!(balanced(&watch.balance()), 0);
    drop(watch);
    live.publish(&exchanges(0..1, 0));
    assert_eq!(sums_of(&live).number, first, "it is alone again");
    drop(stat);
    live.fold(&[fold(first, 1)]);
    assert_eq!(sums_of(&live).number, 0);
}

#[tokio::test]
async fn sums_are_not_wanted_where_exchanges_are() {
    let other = v1::Filter { protocols: vec!["http".to_owned()], ..v1::Filter::default() };
    let sampled = v1::StatRequest { samples: 1, ..v1::StatRequest::default() };
    let narrower = v1::StatRequest { filter: Some(other.clone()), ..v1::StatRequest::default() };
    for (tested, request) in [
        (None, v1::StatRequest::default()),
        (Some(v1::Filter::default()), sampled),
        (Some(v1::Filter::default()), narrower),
        (Some(other), v1::StatRequest::default()),
    ] {
        let live = Live::new(tested);
        let _stat = live.stat(&request).unwrap();
        assert_eq!(sums_of(&live).number, 0, "{request:?}");
    }
}
