//! Sums in place of exchanges, while one statistic alone is wanted.

use proto::launch::StoreChoice;
use proto::role;
use proto::stats::{FoldRules, Folded};
use proto::v1;
use proto::v1::uplink_response::Kind;
use proto::v1::viewer_client::ViewerClient;

use super::authority::Authority;
use super::peers::drained;
use super::{Capturer, batch, begin, channel};

/// As [`super::launch`] has it.
fn filter() -> v1::Filter {
    v1::Filter { protocols: vec!["http".to_owned()], ..v1::Filter::default() }
}

/// The next thing that capturers are to send.
async fn wanted(capturer: &mut Capturer) -> v1::Folding {
    loop {
        if let Kind::Folding(folding) = capturer.next().await {
            return folding;
        }
    }
}

/// Sums of clients' exchanges that took so long.
fn sums(sequence: u64, wanted: &v1::Folding, totals: &[u64], last: bool) -> v1::UplinkRequest {
    let folding = FoldRules::try_from(wanted).unwrap();
    let exchange = |total_ns: &u64| v1::Exchange {
        protocol: "http".to_owned(),
        side: v1::Side::Client.into(),
        segments: Some(v1::Segments { total_ns: *total_ns, ..v1::Segments::default() }),
        ..v1::Exchange::default()
    };
    let mut fold = Folded::new(&folding, &exchange(&0));
    for total_ns in totals {
        fold.add(&folding, &exchange(total_ns));
    }
    let batch =
        v1::Batch { sequence, folds: vec![fold.told(&folding)], r#final: last, ..v1::Batch::default() };
    v1::UplinkRequest { kind: Some(v1::uplink_request::Kind::Batch(batch)) }
}

#[tokio::test]
async fn a_statistic_has_what_came_as_exchanges_and_what_came_as_sums() {
    let authority = Authority::new();
    let (_session, ports) = begin(&authority, StoreChoice::None).await;
    let mut capturer = Capturer::connect(&authority, ports).await;
    assert!(matches!(capturer.next().await, Kind::Settings(_)));
    capturer.sender.send(batch(1, 0..10, false)).await.unwrap();
    assert_eq!(capturer.next().await, Kind::Acknowledged(1), "exchanges are wanted at first");

    let mut viewer =
        ViewerClient::new(channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap());
    let request = v1::StatRequest { filter: Some(filter()), ..v1::StatRequest::default() };
    let mut counted = viewer.stat(request).await.unwrap().into_inner();
    let first = wanted(&mut capturer).await;
    assert!(first.number > 0);
    capturer.sender.send(sums(2, &first, &[20_000, 30_000], false)).await.unwrap();
    // Sent again after a lost acknowledgement.
    capturer.sender.send(sums(2, &first, &[20_000, 30_000], false)).await.unwrap();

    let watch = v1::WatchRequest { filter: Some(filter()), ..v1::WatchRequest::default() };
    let watched = viewer.watch(watch).await.unwrap().into_inner();
    assert_eq!(wanted(&mut capturer).await.number, 0, "somebody wants exchanges");
    capturer.sender.send(batch(3, 10..20, false)).await.unwrap();
    drop(watched);

    let draining = tokio::spawn({
        let mut viewer = viewer.clone();
        async move { drained(&mut viewer).await }
    });
    while capturer.next().await != Kind::Drain(v1::Drain {}) {}
    capturer.sender.send(sums(4, &first, &[40_000], true)).await.unwrap();

    let last = counted.message().await.unwrap().unwrap();
    assert!(last.r#final);
    let [row] = &last.rows[..] else { panic!("{last:?}") };
    assert_eq!((row.count, row.errors), (23, 10));
    let total = &row.distributions[0];
    assert!(total.count == 23 && (total.max - 40_000.0).abs() < 0.5, "{total:?}");
    let balance = last.balance.unwrap();
    assert_eq!((balance.seen, balance.delivered, balance.filtered), (23, 23, 0));
    draining.await.unwrap();
}

#[tokio::test]
async fn what_is_stored_comes_as_exchanges() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let (session, ports) = begin(&authority, StoreChoice::Sqlite { path: folder.path().join("s") }).await;
    let mut viewer =
        ViewerClient::new(channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap());
    let request = v1::StatRequest { filter: Some(filter()), ..v1::StatRequest::default() };
    let _counted = viewer.stat(request).await.unwrap();
    assert_eq!(session.live.folding().borrow().number, 0);
}
