//! An exchange with another value in every field: through a hub to its viewers, and into every engine.

use std::collections::BTreeSet;
use std::path::Path;

use hub::session::Session;
use hub::store::row;
use hub::store::schema::{Dialect, EXCHANGES, HOPS, Table};
use prost::Message as _;
use proto::columns::exchange::Reading;
use proto::launch::{HubPlace, StoreChoice};

use super::full::{self, Full, Values};
use super::hubs::{SOON, hello, launch, stored};
use super::{
    Arc, Archive, Engine, Instant, Kind, Sqlite, Store as _, batch, integer, query, scope, text, v1,
};

/// Writes them to an engine and finds every value in the column it is for.
pub(crate) async fn every_field_has_its_column(engine: &impl Engine) {
    let fulls = full::all();
    let mut store = engine.store(scope("fields"));
    store.open().await.unwrap();
    let exchanges: Vec<_> = fulls.iter().map(|full| Arc::new(full.exchange.clone())).collect();
    assert_eq!(store.write(batch(exchanges)).await.unwrap().stored, fulls.len() as u64);
    let archive = engine.archive("fields").await;
    are_stored(&archive, "fields", &fulls).await;
    engine.close(archive).await;
    store.close().await;
}

/// Takes them as a capturer's and finds them whole at a viewer, and in the store.
pub(crate) async fn every_field_passes_a_hub(path: &Path) {
    let fulls = full::all();
    let place = HubPlace::Local { directory: "/nonexistent".into() };
    let store = StoreChoice::Sqlite { path: path.to_owned() };
    let hub = Session::begin(&launch("hub", place, store)).await.unwrap();
    let claim = hub.capturers.connect(hello("here")).unwrap();
    let request = v1::WatchRequest { payload_bytes: 1024, ..Default::default() };
    let viewer = hub.live.watch(&request).unwrap();
    let exchanges: Vec<_> = fulls.iter().map(|full| full.exchange.clone()).collect();
    let sent = v1::Batch { sequence: 1, exchanges: exchanges.clone(), ..Default::default() };
    let sent = v1::Batch::decode(sent.encode_to_vec().as_slice()).unwrap();
    assert_eq!(hub.take_batch("here", claim.connection, sent).unwrap(), 1);
    let seen = viewer.next(fulls.len(), usize::MAX).await;
    let seen = v1::WatchResponse::decode(seen.encode_to_vec().as_slice()).unwrap();
    assert_eq!(seen.decoded().unwrap(), exchanges);
    stored(&hub, fulls.len() as u64).await;
    hub.close(true, Instant::now() + SOON).await;
    are_stored(&Sqlite(path.to_owned()).archive("hub").await, "hub", &fulls).await;
}

async fn are_stored(archive: &impl Archive, session: &str, fulls: &[Full]) {
    for full in fulls {
        let (start, total) = (full.exchange.start_ns, full.exchange.segments.unwrap().total_ns);
        let followed = [("start_time", start), ("end_time", start + total)];
        let id = full.exchange.id;
        let sql = format!("SELECT * FROM exchanges WHERE session = '{session}' AND id = {id}");
        let (columns, rows) = query(archive, &sql).await.unwrap();
        let mut values = full.columns.clone();
        values.push(("session", Kind::Text(session.to_owned())));
        values.extend(followed.map(|(name, ns)| (name, Kind::Text(row::time(ns, Dialect::Mysql)))));
        is(&EXCHANGES, &columns, &rows[0], &values);
        let row = rows[0].iter().map(|kind| v1::Value { kind: kind.clone() });
        let back = Reading::new(&columns).row(&v1::Row { values: row.collect() }).exchange;
        assert_eq!(v1::Exchange { hops: full.stored.hops.clone(), ..back }, full.stored);
        let sql =
            format!("SELECT * FROM hops WHERE session = '{session}' AND exchange_id = {id} ORDER BY seq");
        let (columns, rows) = query(archive, &sql).await.unwrap();
        assert_eq!(rows.len(), full.hops.len());
        for (seq, (row, values)) in (0..).zip(rows.iter().zip(&full.hops)) {
            let mut values = values.clone();
            values.push(("session", Kind::Text(session.to_owned())));
            values.push(("exchange_id", Kind::Integer(id.cast_signed())));
            values.push(("seq", Kind::Integer(seq)));
            is(&HOPS, &columns, row, &values);
        }
    }
}

/// Asserts that a row is these values, each in the column of its name.
fn is(table: &Table, columns: &[String], row: &[Option<Kind>], values: &Values) {
    let expected: BTreeSet<&str> = values.iter().map(|(name, _)| *name).collect();
    assert_eq!(table.column_names().collect::<BTreeSet<_>>(), expected, "{}", table.name);
    assert_eq!(columns.len(), expected.len());
    for (column, found) in columns.iter().zip(row) {
        let (_, expected) = values.iter().find(|(name, _)| name == column).unwrap();
        // One engine writes times by the standard, the other in its own way.
        let found = match found {
            Some(Kind::Text(found)) if column.ends_with("_time") => {
                text(&found.replace('T', " ").replace('Z', ""))
            }
            Some(Kind::Integer(found)) => integer(*found),
            found => found.clone(),
        };
        assert_eq!(found.as_ref(), Some(expected), "{column}");
    }
}
