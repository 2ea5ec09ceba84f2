//! Both sides of an exchange, seen on two nodes, on their way through a hub: nobody waits longer than for a moment, and
//! nothing of the account is lost meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hub::live::Watch;
use hub::session::{Lag, Session};
use proto::account::{Balance, Consumer};
use proto::launch::StoreChoice;
use proto::v1::HopMessage::{self, Request, Response};
use proto::v1::value::Kind;
use proto::v1::viewer_client::ViewerClient;
use proto::{role, v1};

use super::{Authority, Ports, begin, channel};

const START: u64 = 1_700_000_000_000_000_000;

/// Longest that an exchange waits.
const WAIT: Duration = Duration::from_millis(300);

/// A capturer that speaks to a session without a network between.
struct Node {
    name: &'static str,
    session: Arc<Session>,
    connection: u64,
    sent: u64,
}

// === impl Node ===

impl Node {
    fn new(session: &Arc<Session>, name: &'static str) -> Self {
        let hello = v1::CapturerHello { node: name.to_owned(), capturing: true, ..Default::default() };
        let claim = session.capturers.connect(hello).unwrap();
        Self { name, session: Arc::clone(session), connection: claim.connection, sent: 0 }
    }

    fn send(&mut self, exchanges: Vec<v1::Exchange>) {
        self.batch(exchanges, false);
    }

    fn end(&mut self) {
        self.batch(Vec::new(), true);
    }

    fn batch(&mut self, exchanges: Vec<v1::Exchange>, last: bool) {
        self.sent += 1;
        let batch = v1::Batch { sequence: self.sent, exchanges, r#final: last, ..v1::Batch::default() };
        assert_eq!(self.session.take_batch(self.name, self.connection, batch).unwrap(), self.sent);
    }
}

/// One side of an exchange that begins at that place of its streams.
fn side(node: &str, id: u64, place: u32, side: v1::Side) -> v1::Exchange {
    let is_client = side == v1::Side::Client;
    let hop = |at_ns, message: HopMessage| v1::Hop {
        at_ns,
        place: v1::HopPlace::Nic.into(),
        name: "ens3".to_owned(),
        direction: i32::from(if (message == Request) == is_client {
            v1::HopDirection::Out
        } else {
            v1::HopDirection::In
        }),
        message: message.into(),
        ..Default::default()
    };
    let end = |address: [u8; 4], port, node: &str| {
        let (address, node) = (address.to_vec(), node.to_owned());
        Some(v1::Endpoint { address, port, node, ..Default::default() })
    };
    let (client, server) = (([10, 0, 1, 5], 40_000), ([10, 0, 2, 7], 8080));
    let (local, remote, other) = if is_client { (client, server, "b") } else { (server, client, "a") };
    let (arrives, leaves) = if is_client { (1_000_000, 0) } else { (0, 600_000) };
    let (request, response) = if is_client { (leaves, arrives) } else { (arrives, leaves) };
    v1::Exchange {
        id,
        connection_id: place.into(),
        start_ns: if is_client { START } else { START + 100_000 },
        protocol: "http".to_owned(),
        side: side.into(),
        origin: Some(v1::Origin { node: node.to_owned(), ..Default::default() }),
        local: end(local.0, local.1, ""),
        remote: end(remote.0, remote.1, other),
        place: Some(v1::Place { request: place, response: place }),
        hops: vec![hop(request, Request), hop(response, Response)],
        ..Default::default()
    }
}

fn client(id: u64, place: u32) -> v1::Exchange {
    side("a", id, place, v1::Side::Client)
}

fn server(id: u64, place: u32) -> v1::Exchange {
    side("b", id, place, v1::Side::Server)
}

async fn stored() -> (tempfile::TempDir, Authority, Arc<Session>, Ports) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (session, ports) = begin(&authority, StoreChoice::Sqlite { path: folder.path().join("s") }).await;
    (folder, authority, session, ports)
}

/// The next exchanges of a viewer, as many as there are.
async fn next(viewer: &Watch) -> Vec<v1::Exchange> {
    tokio::time::timeout(Duration::from_secs(5), viewer.next(100, usize::MAX))
        .await
        .unwrap()
        .decoded()
        .unwrap()
}

fn ids(exchanges: &[v1::Exchange]) -> Vec<u64> {
    exchanges.iter().map(|exchange| exchange.id).collect()
}

/// Asserts that viewers and store have all of so many.
fn all_delivered(balances: &[Balance], count: u64) {
    for balance in balances.iter().filter(|one| !matches!(one.consumer, Consumer::Capturer(_))) {
        assert!(balance.holds(), "{balance:?}");
        assert_eq!((balance.seen, balance.delivered), (count, count), "{balance:?}");
    }
}

#[tokio::test]
async fn two_sides_that_come_one_after_the_other_are_shown_and_stored_with_their_ways() {
    let (_folder, authority, session, ports) = stored().await;
    let (mut a, mut b) = (Node::new(&session, "a"), Node::new(&session, "b"));
    let viewer = session.live.watch(&v1::WatchRequest::default()).unwrap();
    let began = Instant::now();
    a.send(vec![client(1, 100)]);
    assert_eq!(session.describe().waiting, 1, "it is not forgotten meanwhile");
    assert_eq!(viewer.greeting().balance.unwrap().seen, 0);
    b.send(vec![server(2, 100), server(3, 300)]);
    let seen = next(&viewer).await;
    assert!(began.elapsed() < WAIT, "nobody waited for the time to pass");
    assert_eq!(ids(&seen), [1, 2]);
    let ways = seen[0].ways.clone().unwrap();
    assert_eq!((ways.node.as_str(), ways.id, ways.request_ns + ways.response_ns), ("b", 2, 400_000));
    assert!((200_000..201_000).contains(&ways.error_ns), "{ways:?}");
    assert_eq!(seen[1].ways.as_ref().unwrap().id, 1);
    // The third waits for a client that is not captured in time.
    assert_eq!(ids(&next(&viewer).await), [3]);
    assert!((WAIT..WAIT * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
    a.end();
    b.end();
    let drained = session.drain("test", Duration::from_secs(5), Lag::GivenUp).await;
    all_delivered(&drained.balances, 3);

    let mut viewer =
        ViewerClient::new(channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap());
    let sql =
        "SELECT id, request_way_ns + response_way_ns, way_error_ns > 0, peer_node, peer_id FROM exchanges
        ORDER BY id";
    let mut responses = viewer.query(v1::QueryRequest { sql: sql.to_owned() }).await.unwrap().into_inner();
    let mut rows = Vec::new();
    while let Some(response) = responses.message().await.unwrap() {
        rows.extend(response.rows.into_iter().map(|row| row.values.into_iter().map(|value| value.kind)));
    }
    let rows: Vec<Vec<_>> = rows.into_iter().map(Iterator::collect).collect();
    let (integer, text) =
        (|value| Some(Kind::Integer(value)), |value: &str| Some(Kind::Text(value.to_owned())));
    assert_eq!(rows[0], [integer(1), integer(400_000), integer(1), text("b"), integer(2)]);
    assert_eq!(rows[1], [integer(2), integer(400_000), integer(1), text("a"), integer(1)]);
    assert_eq!(rows[2], [integer(3), None, None, None, None]);
}

#[tokio::test]
async fn who_has_no_other_side_here_is_not_held_up() {
    let (_folder, _authority, session, _ports) = stored().await;
    let mut a = Node::new(&session, "a");
    let viewer = session.live.watch(&v1::WatchRequest::default()).unwrap();
    // Nobody captures on node b; of the other ones nothing tells where in the streams they are, or when they passed.
    let plain = v1::Exchange { place: None, ..client(2, 2) };
    let unseen = v1::Exchange { hops: Vec::new(), ..client(3, 3) };
    a.send(vec![client(1, 1), plain, unseen]);
    assert_eq!(viewer.greeting().balance.unwrap().seen, 0);
    assert_eq!(viewer.next(100, usize::MAX).await.balance.unwrap().seen, 3, "all at once");
    let mut b = Node::new(&session, "b");
    a.send(vec![client(4, 4)]);
    assert!(tokio::time::timeout(WAIT / 3, viewer.next(1, 1)).await.is_err(), "now there is somebody");
    b.end();
    // Node b captures no more.
    a.send(vec![client(5, 5)]);
    assert_eq!(ids(&next(&viewer).await), [5]);
    assert_eq!(ids(&next(&viewer).await), [4]);
}

#[tokio::test]
async fn what_waits_when_the_session_ends_is_shown_stored_and_counted() {
    for drains in [true, false] {
        let (folder, _authority, session, _ports) = stored().await;
        let (mut a, mut b) = (Node::new(&session, "a"), Node::new(&session, "b"));
        let viewer = session.live.watch(&v1::WatchRequest::default()).unwrap();
        a.send((0..50).map(|id| client(id, u32::try_from(id).unwrap())).collect());
        b.send(vec![server(100, 7)]);
        assert_eq!(ids(&next(&viewer).await), [7, 100]);
        if drains {
            a.end();
            b.end();
            let session = Arc::clone(&session);
            let draining = tokio::spawn(async move {
                session.drain("test", Duration::from_secs(5), Lag::GivenUp).await.balances
            });
            assert_eq!(next(&viewer).await.len(), 49);
            viewer.finish();
            all_delivered(&draining.await.unwrap(), 51);
            // What still comes passes: nobody would let it go later.
            b.send(vec![server(101, 500)]);
        }
        // A hub that is stopped has no time for capturers.
        session.close(true, tokio::time::Instant::now() + Duration::from_secs(5)).await;
        assert_eq!(count(&folder.path().join("s")), if drains { 52 } else { 51 });
    }
}

/// Exchanges in a closed store's file.
fn count(file: &std::path::Path) -> i64 {
    let mut found = None;
    let mut take = |response: v1::QueryResponse| {
        found = response.rows.first().and_then(|row| row.values[0].kind.clone()).or(found.take());
        true
    };
    let mut reader = hub::store::sqlite::Reader::open(file).unwrap();
    reader.query("SELECT COUNT(*) FROM exchanges", Duration::from_secs(5), &mut take).unwrap();
    match found {
        Some(Kind::Integer(count)) => count,
        other => panic!("{other:?}"),
    }
}
