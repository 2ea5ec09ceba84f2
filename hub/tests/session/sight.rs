//! What nobody saw of a node: told while it happens, at the end, and in the store.

use std::time::Duration;

use hub::session::Lag;
use proto::account::{Balance, Consumer, Stage, Unit};
use proto::launch::StoreChoice;
use proto::v1::viewer_client::ViewerClient;
use proto::{role, v1};
use tokio_stream::StreamExt as _;

use super::{Authority, Capturer, batch, begin, channel};

/// How long no capturer is there.
const AWAY: Duration = Duration::from_millis(1200);

/// Waits until a hub tells of a hole.
async fn told(beats: &mut tonic::Streaming<v1::HeartbeatResponse>) -> v1::Sight {
    let told = async {
        loop {
            let response = beats.message().await.unwrap().unwrap();
            if let Some(sight) = response.sight.filter(|sight| !sight.holes.is_empty()) {
                return sight;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap()
}

#[tokio::test]
async fn a_capturer_that_is_killed_leaves_a_hole_of_which_everybody_is_told() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let (session, ports) = begin(&authority, StoreChoice::Sqlite { path: folder.path().join("s") }).await;
    let mut first = Capturer::connect_as(&authority, ports, 1).await;
    first.next().await;
    first.sender.send(batch(1, 0..10, false)).await.unwrap();
    assert_eq!(first.next().await, v1::uplink_response::Kind::Acknowledged(1));
    let mut viewer =
        ViewerClient::new(channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap());
    let beats = tokio_stream::iter([v1::HeartbeatRequest {}]).chain(tokio_stream::pending());
    let mut beats = viewer.heartbeat(beats).await.unwrap().into_inner();
    drop(first);
    tokio::time::sleep(AWAY).await;
    let mut second = Capturer::connect_as(&authority, ports, 2).await;
    second.next().await;
    second.sender.send(batch(1, 10..20, false)).await.unwrap();
    second.next().await;

    let v1::Sight { holes, nodes } = told(&mut beats).await;
    let hole = holes.first().unwrap();
    assert_eq!((nodes.len(), holes.len(), hole.node.as_str()), (1, 1, "here"));
    assert_eq!(hole.kind(), v1::HoleKind::Restarted);
    let length = Duration::from_nanos(hole.until_ns - hole.since_ns);
    assert!(length >= AWAY && length < AWAY + Duration::from_secs(1), "{length:?}");

    let draining =
        tokio::spawn(async move { session.drain("test", Duration::from_secs(5), Lag::GivenUp).await });
    while second.next().await != v1::uplink_response::Kind::Drain(v1::Drain {}) {}
    second.sender.send(batch(2, 20..21, true)).await.unwrap();
    let drained = draining.await.unwrap();
    assert_eq!(drained.sight.holes, holes);
    assert!(drained.balances.iter().all(Balance::holds), "{:?}", drained.balances);
    let seconds = drained.balances.iter().find(|balance| balance.unit == Unit::Second).unwrap();
    let lost = seconds.lost.at(Stage::Silent);
    assert_eq!(seconds.consumer, Consumer::Capturer("here".to_owned()));
    assert!((2..=3).contains(&lost), "{lost}");

    let sql = "SELECT node, stage, total FROM losses WHERE unit = 'seconds' ORDER BY at_ns DESC".to_owned();
    let mut rows = viewer.query(v1::QueryRequest { sql }).await.unwrap().into_inner();
    rows.message().await.unwrap().unwrap();
    let row = rows.message().await.unwrap().unwrap().rows.remove(0);
    let kinds: Vec<_> = row.values.into_iter().map(|value| value.kind.unwrap()).collect();
    let text = |text: &str| v1::value::Kind::Text(text.to_owned());
    let total = v1::value::Kind::Integer(i64::try_from(lost).unwrap());
    assert_eq!(kinds, [text("here"), text("silent"), total]);
}

#[tokio::test]
async fn a_capturer_that_comes_back_itself_and_the_end_of_a_session_leave_none() {
    let authority = Authority::new();
    let (session, ports) = begin(&authority, StoreChoice::None).await;
    for sequence in 1..=3 {
        let mut capturer = Capturer::connect_as(&authority, ports, 1).await;
        capturer.next().await;
        capturer.sender.send(batch(sequence, 0..1, sequence == 3)).await.unwrap();
        capturer.next().await;
        drop(capturer);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let drained = session.drain("test", Duration::from_secs(5), Lag::GivenUp).await;
    assert_eq!(drained.sight, v1::Sight { holes: Vec::new(), nodes: vec!["here".to_owned()] });
    assert_eq!(drained.balances.iter().map(|balance| balance.lost.at(Stage::Silent)).sum::<u64>(), 0);
}
