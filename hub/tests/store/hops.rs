//! As many hops as an exchange can have: whole in every engine, part of its size, and gone with their exchanges.

use hub::store::sqlite::{Reader, Saver};

use super::{
    Arc, Archive, Engine, Kind, SqliteArchive, Store as _, StoreError, batch, exchange, first, integer,
    query, scope, v1,
};

/// Hops of each exchange.
const HOPS: i64 = 64;

/// Exchanges, more than one transaction removes.
const EXCHANGES: u64 = 2300;

/// Exchanges of one write.
const AT_ONCE: usize = 460;

/// An exchange whose hops are all different.
pub(crate) fn crowded(id: u64) -> Arc<v1::Exchange> {
    let hop = |number: i64| v1::Hop {
        at_ns: number * 1_000,
        place: v1::HopPlace::Nic.into(),
        name: format!("cali{id:04}x{number:02}"),
        netns: 4_026_531_840,
        direction: 1 + i32::from(number % 2 == 0),
        message: 1 + i32::from(number < HOPS / 2),
        bytes: number.unsigned_abs(),
    };
    Arc::new(v1::Exchange { hops: (0..HOPS).map(hop).collect(), ..v1::Exchange::clone(&exchange(id, b"x")) })
}

pub(crate) async fn many_hops_are_kept_counted_and_trimmed(engine: &impl Engine) {
    let mut store = engine.store(scope("hops"));
    store.open().await.unwrap();
    let all: Vec<_> = (1..=EXCHANGES).map(crowded).collect();
    let mut bytes = 0;
    for part in all.chunks(AT_ONCE) {
        let written = store.write(batch(part.to_vec())).await.unwrap();
        assert_eq!(written.stored, part.len() as u64);
        bytes += written.bytes;
    }
    let rows = EXCHANGES * HOPS.unsigned_abs();
    assert!(bytes > rows * 60, "what decides when the size is measured leaves out hops: {bytes}");
    let size = store.size().await.unwrap();
    assert!(size > rows * 60 && size < rows * 400, "{size}");
    let archive = engine.archive("hops").await;
    let count = "SELECT COUNT(*) FROM hops WHERE session = 'hops'";
    assert_eq!(first(&archive, count).await, [integer(rows.cast_signed())]);
    let sql = "SELECT * FROM hops WHERE session = 'hops' AND exchange_id = 7 ORDER BY seq";
    let (columns, found) = query(&archive, sql).await.unwrap();
    assert_eq!(found.iter().map(|row| hop(&columns, row)).collect::<Vec<_>>(), crowded(7).hops);
    // The oldest go in portions, and their hops with them.
    assert_eq!(store.trim(2100).await.unwrap(), 2100);
    let sql =
        "SELECT COUNT(*), MIN(exchange_id), COUNT(DISTINCT exchange_id) FROM hops WHERE session = 'hops'";
    assert_eq!(first(&archive, sql).await, [integer(200 * HOPS), integer(2101), integer(200)]);
    // One engine measures its file, which holds what other tests wrote.
    let less = store.size().await.unwrap();
    assert!(size - less > 2100 * HOPS.unsigned_abs() * 50, "{less} of {size}");
    saved(&archive).await;
    assert_eq!(store.trim(10_000).await.unwrap(), 200);
    assert_eq!(first(&archive, count).await, [integer(0)]);
    engine.close(archive).await;
    store.close().await;
}

/// A pull brings all that are there into a file, and from it they come back.
async fn saved(archive: &impl Archive) {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("saved.sqlite");
    let mut saver = Saver::create(&target).unwrap();
    let (sink, mut responses) = tokio::sync::mpsc::channel::<Result<v1::PullResponse, StoreError>>(1);
    let save = async {
        while let Some(response) = responses.recv().await {
            let response = response.unwrap();
            assert!(prost::Message::encoded_len(&response) < 2 * hub::store::CHUNK_BYTES);
            saver.insert(&response).unwrap();
        }
    };
    let (result, ()) = tokio::join!(archive.pull(sink), save);
    result.unwrap();
    saver.finish().unwrap();
    let copy = SqliteArchive::new(target.clone(), "hops".to_owned());
    assert_eq!(first(&copy, "SELECT COUNT(*) FROM hops").await, [integer(200 * HOPS)]);
    assert!(Reader::open(&target).is_ok());
    let sql = "SELECT * FROM hops WHERE exchange_id = 2222 ORDER BY seq";
    let (columns, found) = query(&copy, sql).await.unwrap();
    assert_eq!(found.iter().map(|row| hop(&columns, row)).collect::<Vec<_>>(), crowded(2222).hops);
}

/// A hop of its row.
fn hop(columns: &[String], row: &[Option<Kind>]) -> v1::Hop {
    let mut hop = v1::Hop::default();
    for field in proto::columns::hop::FIELDS {
        let value =
            columns.iter().position(|column| column == field.column.name).and_then(|at| row[at].as_ref());
        if let (Some(set), Some(value)) = (field.set, value) {
            set(&mut hop, proto::columns::found::Found(value));
        }
    }
    hop
}
