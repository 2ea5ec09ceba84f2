//! Hubs that follow each other in one session: a store that answers late, ids that never meet, and what a store lacks.

use std::path::Path;
use std::time::Duration;

use hub::session::Session;
use hub::session::capturers::Claim;
use proto::account::{Balance, Consumer, Losses, Unit};
use proto::launch::{HubLaunch, HubPlace, Identity, StoreChoice};
use proto::store_state;

use super::{Arc, Archive, Instant, Mysql, Server, Sqlite, exchange, first, integer, v1};
use crate::Engine as _;

/// Longest wait for the store.
pub(crate) const SOON: Duration = Duration::from_mins(1);

pub(crate) fn launch(session: &str, place: HubPlace, store: StoreChoice) -> HubLaunch {
    HubLaunch {
        session: session.to_owned(),
        place,
        identity: Identity { authority: String::new(), certificate: String::new(), key: String::new() },
        store,
        store_limit: 0,
        max_store_bytes: 64,
        payload_bytes: 64,
        keep: true,
        ttl_seconds: 0,
        filter: v1::Filter::default(),
        redaction: v1::Redaction::default(),
        sample: 0,
        tracing: proto::v1::Tracing::default(),
        hubs: 1,
    }
}

async fn pod(session: &str, url: &str) -> Arc<Session> {
    let place = HubPlace::Cluster { namespace: format!("kyanos-{session}") };
    let store = StoreChoice::Mysql { url: url.to_owned(), reader: None };
    Session::begin(&launch(session, place, store)).await.unwrap()
}

pub(crate) fn hello(node: &str) -> v1::CapturerHello {
    v1::CapturerHello { node: node.to_owned(), instance: 1, ..Default::default() }
}

/// Takes a batch whose exchanges have these ids, of a capturer that delivered so many since it began.
pub(crate) fn take(session: &Session, node: &str, claim: Claim, sequence: u64, ids: &[u64], delivered: u64) {
    let exchanges = ids.iter().map(|id| v1::Exchange { id: *id, ..v1::Exchange::clone(&exchange(1, b"x")) });
    let consumer = Consumer::Capturer(node.to_owned());
    let balance = Balance::of_fates(consumer, Unit::Exchange, delivered, 0, Losses::default());
    let balances = vec![balance.into()];
    let batch = v1::Batch { sequence, exchanges: exchanges.collect(), balances, ..v1::Batch::default() };
    assert_eq!(session.take_batch(node, claim.connection, batch), Ok(sequence));
}

pub(crate) fn ids(claim: Claim, counter: std::ops::Range<u64>) -> Vec<u64> {
    counter.map(|count| claim.id_base | count).collect()
}

/// Waits until the store has this many exchanges by this hub.
pub(crate) async fn stored(session: &Session, exchanges: u64) {
    let deadline = Instant::now() + SOON;
    while session.describe().stored != exchanges {
        assert!(Instant::now() < deadline, "{:?}", session.describe());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn store(session: &Session) -> String {
    store_state::in_full(&session.describe().store.unwrap_or_default())
}

fn lost(session: &Session) -> u64 {
    let balances = session.balances();
    balances.iter().find(|balance| balance.consumer == Consumer::Store).unwrap().lost.total()
}

pub(crate) async fn count(archive: &impl Archive, session: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM exchanges WHERE session = '{session}'");
    match first(archive, &sql).await.remove(0) {
        Some(v1::value::Kind::Integer(count)) => count,
        other => panic!("{other:?}"),
    }
}

/// The session's own store, on a socket that its pod shares.
pub(crate) async fn a_store_on_a_socket_starts_late(server: &mut Server) {
    server.stop();
    let url = server.socket_url();
    let hub = pod("late", &url).await;
    assert!(store(&hub).starts_with("starting"));
    let (one, two) =
        (hub.capturers.connect(hello("one")).unwrap(), hub.capturers.connect(hello("two")).unwrap());
    take(&hub, "one", one, 1, &ids(one, 1..11), 10);
    take(&hub, "two", two, 1, &ids(two, 1..6), 5);
    hub.note_capturers();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let state = hub.describe();
    // It says what it waits for.
    assert!(store(&hub).starts_with("starting: store unreachable"), "{state:?}");
    assert_eq!(state.stored, 0);
    tokio::task::block_in_place(|| server.start());
    stored(&hub, 15).await;
    assert_eq!((store(&hub).as_str(), lost(&hub)), ("ready", 0));

    // Its container ends with three exchanges of one capturer waiting, and starts again beside the same store.
    server.stop();
    take(&hub, "one", one, 2, &ids(one, 11..14), 13);
    hub.close(true, Instant::now()).await;
    while store(&hub) != "closed" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let hub = pod("late", &url).await;
    let two_again = hub.capturers.connect(hello("two")).unwrap();
    let one_again = hub.capturers.connect(hello("one")).unwrap();
    let bases = [one, two, two_again, one_again].map(|claim| claim.id_base);
    assert_eq!(bases.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{bases:?}");
    // The newest of what it took was not acknowledged and comes again, under its old id.
    let mut again = ids(two, 5..6);
    again.extend(ids(two_again, 6..9));
    take(&hub, "two", two_again, 2, &again, 8);
    take(&hub, "one", one_again, 3, &ids(one_again, 14..16), 15);
    hub.note_capturers();
    tokio::task::block_in_place(|| server.start());
    stored(&hub, 5).await;
    assert_eq!(lost(&hub), 3);
    hub.close(true, Instant::now() + SOON).await;
    let archive = Mysql(server.url()).archive("late").await;
    assert_eq!(count(&archive, "late").await, 20);
    let sql = "SELECT COUNT(*), COUNT(DISTINCT slot) FROM capturers WHERE session = 'late'";
    assert_eq!(first(&archive, sql).await, [integer(2), integer(2)]);

    // A new pod has an empty store.
    archive.close().await;
    let hub = pod("new", &url).await;
    let one = hub.capturers.connect(hello("one")).unwrap();
    take(&hub, "one", one, 4, &ids(one, 16..18), 17);
    stored(&hub, 2).await;
    assert_eq!(lost(&hub), 15);
    hub.close(true, Instant::now() + SOON).await;
}

/// The user's own store, which alone knows what earlier hubs gave.
pub(crate) async fn ids_wait_for_a_store_that_alone_knows_them(server: &mut Server) {
    let hub = pod("own", &server.plain_url()).await;
    tokio::time::timeout(SOON, hub.capturers.begun()).await.unwrap();
    let first_claim = hub.capturers.connect(hello("one")).unwrap();
    hub.note_capturers();
    take(&hub, "one", first_claim, 1, &ids(first_claim, 1..4), 3);
    stored(&hub, 3).await;
    hub.close(true, Instant::now() + SOON).await;
    server.stop();
    let hub = pod("own", &server.plain_url()).await;
    assert!(hub.capturers.connect(hello("two")).is_err());
    assert!(tokio::time::timeout(Duration::from_secs(1), hub.capturers.begun()).await.is_err());
    tokio::task::block_in_place(|| server.start());
    tokio::time::timeout(SOON, hub.capturers.begun()).await.unwrap();
    let two = hub.capturers.connect(hello("two")).unwrap();
    let one = hub.capturers.connect(hello("one")).unwrap();
    assert_eq!([two.id_base, one.id_base], [1 << 48, 1 << 40]);
    tokio::time::timeout(SOON, hub.claimed("two")).await.unwrap();
    take(&hub, "two", two, 1, &ids(two, 1..4), 3);
    stored(&hub, 3).await;
    server.stop();
    let three = hub.capturers.connect(hello("three")).unwrap();
    let waits = |node: &'static str| tokio::time::timeout(Duration::from_secs(1), hub.claimed(node));
    assert!(waits("three").await.is_err(), "not given before it is recorded");
    assert!(waits("two").await.is_ok(), "recorded before");
    assert!(waits("three").await.is_err(), "nor at the next attempt");
    tokio::task::block_in_place(|| server.start());
    tokio::time::timeout(SOON, hub.claimed("three")).await.unwrap();
    // It ends before anything of that node is stored.
    hub.close(true, Instant::now()).await;
    let hub = pod("own", &server.plain_url()).await;
    tokio::time::timeout(SOON, hub.capturers.begun()).await.unwrap();
    let four = hub.capturers.connect(hello("four")).unwrap();
    assert_eq!([three.id_base, four.id_base], [2 << 48, 3 << 48]);
    hub.close(true, Instant::now() + SOON).await;
}

/// Two local sessions of one name on one store.
pub(crate) async fn a_name_may_be_used_again(path: &Path) {
    let engine = Sqlite(path.to_owned());
    for run in 1..=3 {
        let place = HubPlace::Local { directory: "/nonexistent".into() };
        let store = StoreChoice::Sqlite { path: path.to_owned() };
        let hub = Session::begin(&launch("again", place, store)).await.unwrap();
        let claim = hub.capturers.connect(hello("here")).unwrap();
        hub.note_capturers();
        take(&hub, "here", claim, 1, &ids(claim, 1..11), 10);
        stored(&hub, 10).await;
        assert_eq!(lost(&hub), 0);
        hub.close(true, Instant::now() + SOON).await;
        let archive = engine.archive("again").await;
        assert_eq!(count(&archive, "again").await, run * 10);
    }
}
