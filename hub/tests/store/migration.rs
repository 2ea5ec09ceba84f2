//! Databases that earlier versions made.

use std::path::Path;

use hub::store::sqlite::{Reader, Saver};
use mysql_async::prelude::Queryable as _;
use proto::account::{Stage, Unit};

use super::{
    Arc, Archive, Batch, Engine, Kind, LossRow, Mysql, Server, Sqlite, SqliteArchive, Store as _, StoreError,
    Target, batch, exchange, first, integer, query, scope, text, v1,
};

/// The schema as version 1 made it.
const SQLITE: &str = include_str!("version-1.sqlite.sql");
const MYSQL: &str = include_str!("version-1.mysql.sql");

/// What made it version 1, and what a session stored there.
const ROWS: &str = "CREATE TABLE kyanos_schema (version INTEGER NOT NULL PRIMARY KEY);
INSERT INTO kyanos_schema (version) VALUES (1);
INSERT INTO exchanges (session, id, node, protocol, tls, operation, status, error, start_time, start_ns,
    sample_weight, request) VALUES
    ('old', 1, 'here', 'redis', 0, 'GET a', 'ERR', 1, '2023-11-14 22:13:20.123456', 1700000000123456789, 1, 'abc'),
    ('old', 2, 'here', 'redis', 0, 'GET b', 'OK', 0, '2023-11-14 22:13:21.123456', 1700000001123456789, 1, NULL);
INSERT INTO hops (session, exchange_id, seq, at_ns, place) VALUES ('old', 1, 0, -3, 'process');
INSERT INTO capturers VALUES ('old', 'here', 0, '6.1', '0.1.0', '2023-11-14 22:13:20', '2023-11-14 22:13:20');
INSERT INTO losses VALUES ('old', 5, 'here', 'ring', 3), ('old', 5, 'here', 'gap', 4), ('old', 6, '', 'viewer', 2)";

/// What made a database of version 1 one of version 2.
const SECOND: &str = "ALTER TABLE exchanges ADD COLUMN handshake TINYINT NOT NULL DEFAULT 0;
ALTER TABLE exchanges ADD COLUMN announced_addr VARCHAR(45);
ALTER TABLE exchanges ADD COLUMN announced_port BIGINT;
ALTER TABLE exchanges ADD COLUMN reason VARCHAR(16);
INSERT INTO kyanos_schema (version) VALUES (2)";

/// Hubs that open one database at the same moment.
const HUBS: usize = 8;

/// The columns that version 2 brought.
const BROUGHT: &str = "handshake, announced_addr, announced_port, reason";

/// The columns that version 4 brought.
const FOURTH: &str =
    "connect_ns, zero_windows, clamped, request_way_ns, response_way_ns, way_error_ns, peer_node, peer_id";

/// The newest version.
const NEWEST: i64 = 4;

pub(crate) fn make_sqlite(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(&format!("PRAGMA auto_vacuum=INCREMENTAL; {SQLITE} {ROWS};")).unwrap();
}

/// Makes a server's database one of version 2 again, with two columns that a hub brought before it ended.
pub(crate) async fn make_second(server: &Server) {
    let undo = [
        "DELETE FROM kyanos_schema WHERE version >= 3",
        "DELETE FROM losses WHERE session != 'old'",
        "ALTER TABLE losses DROP PRIMARY KEY, ADD PRIMARY KEY (session, at_ns, node, stage)",
        "ALTER TABLE losses DROP COLUMN unit",
        "ALTER TABLE exchanges DROP COLUMN connect_ns, DROP COLUMN zero_windows, DROP COLUMN clamped,
         DROP COLUMN request_way_ns, DROP COLUMN response_way_ns, DROP COLUMN way_error_ns",
    ];
    run(server, &undo).await;
}

/// Makes a database of version 1 in a server's, in which the suite goes on.
pub(crate) async fn make_mysql(server: &Server) {
    let statements = MYSQL.split(";\n").chain(ROWS.split(";\n"));
    run(server, &statements.filter(|statement| !statement.is_empty()).collect::<Vec<_>>()).await;
}

/// Runs statements that the product does not.
pub(crate) async fn run(server: &Server, statements: &[&str]) {
    let mut connection = Target::parse(&server.url()).unwrap().connect().await.unwrap();
    for statement in statements {
        connection.query_drop(*statement).await.unwrap();
    }
    connection.disconnect().await.unwrap();
}

/// An exchange with all that later versions can say.
fn newer(id: u64) -> Arc<v1::Exchange> {
    Arc::new(v1::Exchange {
        handshake: true,
        announced: Some(v1::Endpoint { address: vec![203, 0, 113, 7], port: 5000, ..Default::default() }),
        reason: v1::Reason::Unreadable.into(),
        connect_ns: Some(7),
        zero_windows: Some(0),
        clamped: true,
        ways: Some(v1::Ways { request_ns: -3, response_ns: 9, error_ns: 4, node: "there".to_owned(), id: 8 }),
        ..v1::Exchange::clone(&exchange(id, b"x"))
    })
}

/// Rows of earlier versions know nothing of what version 4 brought, and those of [`newer`] have all of it.
async fn the_fourth_version_is_there(archive: &impl Archive, old: usize, session: &str, new: usize) {
    let of = async |session: &str| {
        query(archive, &format!("SELECT {FOURTH} FROM exchanges WHERE session = '{session}'"))
            .await
            .unwrap()
            .1
    };
    let unknown = [None, None, integer(0), None, None, None, None, None];
    assert_eq!(of("old").await, vec![unknown; old]);
    let known =
        [integer(7), integer(0), integer(1), integer(-3), integer(9), integer(4), text("there"), integer(8)];
    assert_eq!(of(session).await, vec![known; new]);
}

/// Hubs that start together bring one database up, and none of them fails.
pub(crate) async fn hubs_bring_it_up_together(engine: &impl Engine) {
    let mut opening = tokio::task::JoinSet::new();
    for hub in 0..HUBS {
        let mut store = engine.store(scope("brought"));
        opening.spawn(async move {
            store.open().await.unwrap();
            store.write(batch(vec![newer(hub as u64 + 1)])).await.unwrap();
            store.close().await;
        });
    }
    opening.join_all().await;
    let archive = engine.archive("brought").await;
    let version = "SELECT COUNT(*), MAX(version) FROM kyanos_schema";
    assert_eq!(first(&archive, version).await, [integer(NEWEST), integer(NEWEST)]);
    losses_have_a_unit(&archive).await;
    let (_, rows) =
        query(&archive, &format!("SELECT {BROUGHT} FROM exchanges WHERE session = 'old'")).await.unwrap();
    assert_eq!(rows, [[integer(0), None, None, None], [integer(0), None, None, None]]);
    let sql = "SELECT COUNT(*), MIN(operation), MAX(error) FROM exchanges WHERE session = 'old'";
    assert_eq!(first(&archive, sql).await, [integer(2), text("GET a"), integer(1)]);
    let sql = "SELECT COUNT(*) FROM hops JOIN capturers USING (session) WHERE session = 'old'";
    assert_eq!(first(&archive, sql).await, [integer(1)]);
    let (_, rows) =
        query(&archive, &format!("SELECT {BROUGHT} FROM exchanges WHERE session = 'brought'")).await.unwrap();
    assert_eq!(rows.len(), HUBS);
    for row in rows {
        assert_eq!(row, [integer(1), text("203.0.113.7"), integer(5000), text("unreadable")]);
    }
    the_fourth_version_is_there(&archive, 2, "brought", HUBS).await;
    // The new columns are the last ones, as in a database that is made anew.
    let (columns, _) = query(&archive, "SELECT * FROM exchanges WHERE 1 = 0").await.unwrap();
    let expected: Vec<&str> = hub::store::schema::EXCHANGES.column_names().collect();
    assert_eq!(columns, expected);
    engine.close(archive).await;
}

/// Rows that are there have the unit that their stage tells, and those that come have their own.
async fn losses_have_a_unit(archive: &impl Archive) {
    let sql =
        "SELECT at_ns, node, stage, unit, total FROM losses WHERE session = 'old' ORDER BY at_ns, stage";
    let (_, rows) = query(archive, sql).await.unwrap();
    let row =
        |at, node, stage, unit, total| [integer(at), text(node), text(stage), text(unit), integer(total)];
    let expected = [
        row(5, "here", "gap", "", 4),
        row(5, "here", "ring", "events", 3),
        row(6, "", "viewer", "exchanges", 2),
    ];
    assert_eq!(rows, expected);
}

/// A database of version 2 keeps its losses and takes those of one moment and either unit.
pub(crate) async fn the_second_version_is_brought_up(engine: &impl Engine) {
    let mut store = engine.store(scope("third"));
    store.open().await.unwrap();
    let loss = |unit, total| LossRow { at_ns: 9, node: "here".to_owned(), stage: Stage::Gap, unit, total };
    let losses = vec![loss(Unit::Event, 1), loss(Unit::Exchange, 2)];
    store.write(Arc::new(Batch { exchanges: vec![newer(1)], losses, ..Batch::default() })).await.unwrap();
    store.close().await;
    let archive = engine.archive("third").await;
    losses_have_a_unit(&archive).await;
    let sql = "SELECT unit, total FROM losses WHERE session = 'third' ORDER BY unit";
    let (_, rows) = query(&archive, sql).await.unwrap();
    assert_eq!(rows, [[text("events"), integer(1)], [text("exchanges"), integer(2)]]);
    the_fourth_version_is_there(&archive, 2, "third", 1).await;
    let (columns, _) = query(&archive, "SELECT * FROM losses WHERE 1 = 0").await.unwrap();
    assert_eq!(columns, hub::store::schema::LOSSES.column_names().collect::<Vec<_>>());
    engine.close(archive).await;
}

/// A hub that ended half-way through leaves columns without their version; the next one goes on.
pub(crate) async fn half_a_step_is_completed(server: &Server) {
    let undo = [
        "DELETE FROM kyanos_schema WHERE version >= 2",
        "UPDATE losses SET unit = ''",
        "ALTER TABLE exchanges DROP COLUMN reason",
        "ALTER TABLE exchanges DROP COLUMN announced_port",
    ];
    run(server, &undo).await;
    let engine = Mysql(server.url());
    let mut store = engine.store(scope("half"));
    store.open().await.unwrap();
    store.write(batch(vec![newer(1)])).await.unwrap();
    let archive = engine.archive("half").await;
    let sql = format!("SELECT {BROUGHT} FROM exchanges WHERE session = 'half'");
    assert_eq!(
        first(&archive, &sql).await,
        [integer(1), text("203.0.113.7"), integer(5000), text("unreadable")]
    );
    engine.close(archive).await;
}

/// A newer version's database stays as it is.
pub(crate) async fn a_newer_one_is_refused(engine: &impl Engine, note: impl AsyncFn(&str)) {
    note("INSERT INTO kyanos_schema (version) VALUES (5)").await;
    let error = engine.store(scope("newer")).open().await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 5, known: 4 }), "{error:?}");
    note("DELETE FROM kyanos_schema WHERE version = 5").await;
    engine.store(scope("newer")).open().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_brought_up_once_by_many() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.sqlite");
    make_sqlite(&path);
    let engine = Sqlite(path.clone());
    hubs_bring_it_up_together(&engine).await;
    let note = async |sql: &str| {
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    };
    a_newer_one_is_refused(&engine, note).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_second_version_is_brought_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("second.sqlite");
    make_sqlite(&path);
    rusqlite::Connection::open(&path).unwrap().execute_batch(SECOND).unwrap();
    // As it is, it reads like one of this version.
    let archive = SqliteArchive::new(path.clone(), "old".to_owned());
    let sql = "SELECT stage, unit, total FROM losses ORDER BY total DESC LIMIT 1";
    assert_eq!(first(&archive, sql).await, [text("gap"), text(""), integer(4)]);
    let (columns, _) = query(&archive, "SELECT * FROM losses").await.unwrap();
    assert_eq!(columns, hub::store::schema::LOSSES.column_names().collect::<Vec<_>>());
    the_second_version_is_brought_up(&Sqlite(path)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_file_of_the_version_before_reads_as_one_of_this() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.sqlite");
    make_sqlite(&path);
    let before = std::fs::read(&path).unwrap();
    let archive = SqliteArchive::new(path.clone(), "old".to_owned());
    let sql = format!("SELECT id, {BROUGHT} FROM exchanges WHERE error AND NOT handshake");
    assert_eq!(first(&archive, &sql).await, [integer(1), integer(0), None, None, None]);
    the_fourth_version_is_there(&archive, 2, "none", 0).await;
    let (columns, rows) = query(&archive, "SELECT * FROM exchanges ORDER BY id").await.unwrap();
    assert_eq!((columns.len(), rows.len()), (hub::store::schema::EXCHANGES.columns.len(), 2));
    let error = query(&archive, "DELETE FROM exchanges").await.unwrap_err();
    assert!(!matches!(error, StoreError::Open { .. }), "{error:?}");
    let error = query(&archive, "DROP VIEW exchanges").await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    assert_eq!(rows[0][1], integer(1));
    // What is pulled of it makes a store of this version.
    let target = folder.path().join("copy.sqlite");
    let mut saver = Saver::create(&target).unwrap();
    let mut new = 0;
    let mut save = |response| {
        new += saver.insert(&response).unwrap();
        true
    };
    Reader::open(&path).unwrap().pull(Some("old"), &mut save).unwrap();
    saver.finish().unwrap();
    assert_eq!(new, 7, "two exchanges, a hop, a capturer and three losses");
    let copy = SqliteArchive::new(target, "old".to_owned());
    let everything = "SELECT * FROM exchanges LEFT JOIN hops ON exchange_id = id ORDER BY id";
    assert_eq!(query(&copy, everything).await.unwrap(), query(&archive, everything).await.unwrap());
    assert!(before == std::fs::read(&path).unwrap(), "reading changes nothing");
}

#[test]
fn rows_of_a_hub_of_the_version_before_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("saved.sqlite");
    let mut saver = Saver::create(&target).unwrap();
    let columns =
        ["session", "id", "protocol", "tls", "error", "start_time", "start_ns", "sample_weight", "later"];
    let value = |kind| v1::Value { kind: Some(kind) };
    let word = |word: &str| value(Kind::Text(word.to_owned()));
    let number = |number| value(Kind::Integer(number));
    let values = vec![
        word("old"),
        number(1),
        word("http"),
        number(0),
        number(1),
        word("2023-11-14T22:13:20.124456Z"),
        number(5),
        number(1),
        word("what no version knows yet"),
    ];
    let response = v1::PullResponse {
        table: "exchanges".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: vec![v1::Row { values }],
        total_rows: 1,
    };
    assert_eq!(saver.insert(&response).unwrap(), 1, "the row is not lost for what it lacks");
    saver.finish().unwrap();
    let mut rows = Vec::new();
    let sql = format!("SELECT {BROUGHT} FROM exchanges");
    let mut take = |response: v1::QueryResponse| {
        rows.extend(response.rows);
        true
    };
    Reader::open(&target).unwrap().query(&sql, std::time::Duration::from_secs(5), &mut take).unwrap();
    let kinds: Vec<_> = rows[0].values.iter().map(|value| value.kind.clone()).collect();
    assert_eq!(kinds, [integer(0), None, None, None]);
}
