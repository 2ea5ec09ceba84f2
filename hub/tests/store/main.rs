//! One suite over every engine of the store: SQLite, MariaDB and MySQL must not differ.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unnecessary_wraps,
    reason = "what the tests lean on, too, fails them, and says `Some` for them"
)]

mod fields;
#[path = "../../../proto/tests/samples/full.rs"]
mod full;
mod galera;
mod hops;
mod hubs;
mod migration;
mod reports;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hub::exchange::CROWDED_PAYLOAD;
use hub::store::mysql::{MysqlArchive, MysqlStore, Target};
use hub::store::sqlite::{SqliteArchive, SqliteStore};
use hub::store::writer::{BUFFER_BYTES, Writer, WriterState};
use hub::store::{Archive, Batch, CapturerRow, LossRow, Scope, Store, StoreError, Written};
use proto::account::{Stage, Unit};
use proto::v1;
use proto::v1::value::Kind;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::server::Server;

const MAX_STORE_BYTES: u32 = 64 * 1024;

/// An engine under test.
trait Engine {
    type Store: Store;
    type Archive: Archive;
    fn store(&self, scope: Scope) -> Self::Store;
    async fn archive(&self, session: &str) -> Self::Archive;
    async fn close(&self, archive: Self::Archive);
}

struct Sqlite(PathBuf);

struct Mysql(String);

impl Engine for Sqlite {
    type Store = SqliteStore;
    type Archive = SqliteArchive;

    fn store(&self, scope: Scope) -> SqliteStore {
        SqliteStore::new(self.0.clone(), scope)
    }

    async fn archive(&self, session: &str) -> SqliteArchive {
        SqliteArchive::new(self.0.clone(), session.to_owned())
    }

    async fn close(&self, _: SqliteArchive) {}
}

impl Engine for Mysql {
    type Store = MysqlStore;
    type Archive = MysqlArchive;

    fn store(&self, scope: Scope) -> MysqlStore {
        MysqlStore::new(Target::parse(&self.0).unwrap(), scope)
    }

    async fn archive(&self, session: &str) -> MysqlArchive {
        MysqlArchive::new(Target::parse(&self.0).unwrap(), None, session.to_owned()).await.unwrap()
    }

    async fn close(&self, archive: MysqlArchive) {
        archive.close().await;
    }
}

fn scope(session: &str) -> Scope {
    Scope { session: session.to_owned(), max_store_bytes: MAX_STORE_BYTES }
}

fn message(payload: &[u8]) -> Option<v1::Message> {
    Some(v1::Message { bytes: payload.len() as u64, payload: payload.to_vec(), ..Default::default() })
}

fn exchange(id: u64, payload: &[u8]) -> Arc<v1::Exchange> {
    Arc::new(v1::Exchange {
        id,
        connection_id: 7,
        start_ns: 1_700_000_000_123_456_789 + id * 1_000_000,
        protocol: "http".to_owned(),
        side: v1::Side::Server.into(),
        origin: Some(v1::Origin {
            node: "here".to_owned(),
            pid: 42,
            comm: "nginx".to_owned(),
            ..Default::default()
        }),
        local: Some(v1::Endpoint { address: vec![127, 0, 0, 1], port: 80, ..Default::default() }),
        operation: format!("GET /orders/{id}"),
        status: "500".to_owned(),
        error: true,
        request: message(payload),
        segments: Some(v1::Segments { total_ns: 5_000_000_000, internal_ns: Some(3), ..Default::default() }),
        hops: vec![v1::Hop {
            at_ns: -3,
            place: v1::HopPlace::Process.into(),
            bytes: 9,
            ..Default::default()
        }],
        ..Default::default()
    })
}

fn batch(exchanges: Vec<Arc<v1::Exchange>>) -> Arc<Batch> {
    Arc::new(Batch { exchanges, ..Default::default() })
}

async fn query<A: Archive>(
    archive: &A,
    sql: &str,
) -> Result<(Vec<String>, Vec<Vec<Option<Kind>>>), StoreError> {
    let (sink, mut responses) = mpsc::channel::<Result<v1::QueryResponse, StoreError>>(1);
    let gather = async {
        let (mut columns, mut rows) = (Vec::new(), Vec::new());
        while let Some(response) = responses.recv().await {
            let response = response.unwrap();
            assert!(response.rows.len() <= hub::store::CHUNK_ROWS);
            columns.extend(response.columns);
            rows.extend(response.rows);
        }
        let values = |row: v1::Row| row.values.into_iter().map(|value| value.kind).collect();
        (columns, rows.into_iter().map(values).collect())
    };
    let (result, gathered) = tokio::join!(archive.query(sql.to_owned(), sink), gather);
    result.map(|()| gathered)
}

async fn first<A: Archive>(archive: &A, sql: &str) -> Vec<Option<Kind>> {
    query(archive, sql).await.unwrap().1.remove(0)
}

fn integer(value: i64) -> Option<Kind> {
    Some(Kind::Integer(value))
}

fn text(value: &str) -> Option<Kind> {
    Some(Kind::Text(value.to_owned()))
}

async fn suite(engine: &impl Engine) {
    rows_mean_the_same(engine).await;
    fields::every_field_has_its_column(engine).await;
    payloads_survive(engine).await;
    a_huge_payload_keeps_its_row(engine).await;
    repeating_changes_nothing(engine).await;
    capturers_and_losses_are_rows(engine).await;
    reports::reports_are_answered(engine).await;
    trimming_is_of_this_session(engine).await;
    hops::many_hops_are_kept_counted_and_trimmed(engine).await;
    a_reader_cannot_write(engine).await;
    many_rows_stream(engine).await;
    a_pull_is_the_whole_session(engine).await;
}

async fn rows_mean_the_same(engine: &impl Engine) {
    let mut store = engine.store(scope("rows"));
    store.open().await.unwrap();
    store.open().await.unwrap();
    let mut long = v1::Exchange { operation: "\u{1F980}".repeat(600), ..(*exchange(2, b"")).clone() };
    long.segments = None;
    long.origin = None;
    let written = store.write(batch(vec![exchange(1, b"abc"), Arc::new(long)])).await.unwrap();
    assert_eq!((written.stored, written.ignored), (2, 0));
    let archive = engine.archive("rows").await;
    let sql = "SELECT id, node, pid, comm, connection_id, side, protocol, tls, local_addr, local_port, remote_addr,
        operation, target, status, error, start_ns, total_ns, send_ns, internal_ns, request_bytes, response_bytes,
        request_truncated, response, sample_weight FROM exchanges WHERE session = 'rows' AND id = 1";
    let (columns, rows) = query(&archive, sql).await.unwrap();
    assert_eq!((columns.len(), columns[0].as_str()), (24, "id"));
    let expected = [
        integer(1),
        text("here"),
        integer(42),
        text("nginx"),
        integer(7),
        text("server"),
        text("http"),
        integer(0),
        text("127.0.0.1"),
        integer(80),
        None,
        text("GET /orders/1"),
        None,
        text("500"),
        integer(1),
        integer(1_700_000_000_124_456_789),
        integer(5_000_000_000),
        None,
        integer(3),
        integer(3),
        None,
        integer(0),
        None,
        integer(1),
    ];
    assert_eq!(rows[0], expected);
    let sql = "SELECT operation, total_ns, node, end_time FROM exchanges WHERE session = 'rows' AND id = 2";
    assert_eq!(first(&archive, sql).await, [text(&"\u{1F980}".repeat(512)), None, None, None]);
    let sql = "SELECT start_time, end_time FROM exchanges WHERE session = 'rows' AND id = 1";
    let times = first(&archive, sql).await.into_iter().map(|time| match time {
        Some(Kind::Text(time)) => time.replace('T', " ").replace('Z', ""),
        other => panic!("{other:?}"),
    });
    assert_eq!(times.collect::<Vec<_>>(), ["2023-11-14 22:13:20.124456", "2023-11-14 22:13:25.124456"]);
    let sql = "SELECT seq, at_ns, place, bytes, name FROM hops WHERE session = 'rows' AND exchange_id = 1";
    assert_eq!(first(&archive, sql).await, [integer(0), integer(-3), text("process"), integer(9), None]);
    engine.close(archive).await;
    store.close().await;
}

async fn payloads_survive(engine: &impl Engine) {
    let mut store = engine.store(scope("payloads"));
    store.open().await.unwrap();
    let payloads: [&[u8]; 5] = [
        b"\xff\xfe\x80 not utf-8 \xc3",
        b"nul \0 inside \0",
        "four bytes \u{1F980}\u{10FFFF}".as_bytes(),
        b"quotes ' \" \\ % ; --",
        b"",
    ];
    let exchanges = (1..).zip(payloads).map(|(id, payload)| exchange(id, payload)).collect();
    store.write(batch(exchanges)).await.unwrap();
    let archive = engine.archive("payloads").await;
    let (_, rows) = query(&archive, "SELECT request FROM exchanges WHERE session = 'payloads' ORDER BY id")
        .await
        .unwrap();
    for (row, payload) in rows.iter().zip(payloads) {
        assert_eq!(row[0], Some(Kind::Blob(payload.to_vec())));
    }
    assert_eq!(rows.len(), payloads.len());
    engine.close(archive).await;
}

async fn a_huge_payload_keeps_its_row(engine: &impl Engine) {
    let huge = exchange(1, &vec![b'x'; 20 << 20]);
    let mut store = engine.store(scope("huge"));
    store.open().await.unwrap();
    assert_eq!(store.write(batch(vec![Arc::clone(&huge)])).await.unwrap().stored, 1);
    let archive = engine.archive("huge").await;
    let sql = |session: &str| {
        format!(
            "SELECT LENGTH(request), request_truncated, request_bytes FROM exchanges WHERE session = '{session}'"
        )
    };
    let row = first(&archive, &sql("huge")).await;
    assert_eq!(row, [integer(MAX_STORE_BYTES.into()), integer(1), integer(20 << 20)]);
    // Wherever the server's own limit is lower than the session's.
    let mut store = engine.store(Scope { max_store_bytes: u32::MAX, ..scope("boundless") });
    store.open().await.unwrap();
    assert_eq!(store.write(batch(vec![huge])).await.unwrap().stored, 1);
    let row = first(&archive, &sql("boundless")).await;
    let (Some(Kind::Integer(length)), Some(Kind::Integer(cut))) = (&row[0], &row[1]) else {
        panic!("{row:?}")
    };
    assert!(*length > 400_000 && (*length == 20 << 20) == (*cut == 0), "{row:?}");
    engine.close(archive).await;
}

async fn repeating_changes_nothing(engine: &impl Engine) {
    let mut store = engine.store(scope("again"));
    store.open().await.unwrap();
    let exchanges: Vec<_> = (1..=100).map(|id| exchange(id, b"x")).collect();
    let written = store.write(batch(exchanges[..60].to_vec())).await.unwrap();
    assert_eq!((written.stored, written.ignored, written.refused), (60, 0, 0));
    let written = store.write(batch(exchanges)).await.unwrap();
    assert_eq!((written.stored, written.ignored), (40, 60));
    let archive = engine.archive("again").await;
    for table in ["exchanges", "hops"] {
        let sql = format!("SELECT COUNT(*) FROM {table} WHERE session = 'again'");
        assert_eq!(first(&archive, &sql).await, [integer(100)]);
    }
    assert_eq!(store.write(Arc::default()).await.unwrap(), Written::default());
    engine.close(archive).await;
}

async fn capturers_and_losses_are_rows(engine: &impl Engine) {
    let mut store = engine.store(scope("nodes"));
    store.open().await.unwrap();
    let mut capturer = CapturerRow {
        node: "here".to_owned(),
        slot: 0,
        kernel: "6.1".to_owned(),
        version: "0.1.0".to_owned(),
        first_seen_ns: 1_000,
        last_seen_ns: 1_000,
    };
    let loss =
        |total| LossRow { at_ns: total, node: String::new(), stage: Stage::Gap, unit: Unit::Event, total };
    for kernel in ["6.1", "6.12"] {
        kernel.clone_into(&mut capturer.kernel);
        let capturers = vec![capturer.clone()];
        // At one moment, in one place, of either unit.
        let losses = vec![loss(5), LossRow { unit: Unit::Exchange, total: 3, ..loss(5) }, loss(9)];
        store.write(Arc::new(Batch { capturers, losses, ..Default::default() })).await.unwrap();
    }
    let archive = engine.archive("nodes").await;
    let (_, rows) =
        query(&archive, "SELECT node, kernel FROM capturers WHERE session = 'nodes'").await.unwrap();
    assert_eq!(rows, [[text("here"), text("6.12")]]);
    let (_, rows) = query(
        &archive,
        "SELECT node, stage, unit, total FROM losses WHERE session = 'nodes' ORDER BY at_ns, unit",
    )
    .await
    .unwrap();
    let row = |unit, total| [text(""), text("gap"), text(unit), integer(total)];
    assert_eq!(rows, [row("events", 5), row("exchanges", 3), row("events", 9)]);
    engine.close(archive).await;
}

async fn trimming_is_of_this_session(engine: &impl Engine) {
    let mut other = engine.store(scope("trim-other"));
    other.open().await.unwrap();
    other.write(batch(vec![exchange(1, b"x")])).await.unwrap();
    other.close().await;
    let mut store = engine.store(scope("trim"));
    store.open().await.unwrap();
    store.write(batch((1..=50).map(|id| exchange(id, &[0; 1000])).collect())).await.unwrap();
    let full = store.size().await.unwrap();
    assert!(full >= 50_000, "{full}");
    assert_eq!(store.trim(20).await.unwrap(), 20);
    let archive = engine.archive("trim").await;
    let sql = "SELECT COUNT(*), MIN(id) FROM exchanges WHERE session = 'trim'";
    assert_eq!(first(&archive, sql).await, [integer(30), integer(21)]);
    let sql = "SELECT COUNT(*) FROM hops WHERE session = 'trim'";
    assert_eq!(first(&archive, sql).await, [integer(30)]);
    let sql = "SELECT COUNT(*) FROM exchanges WHERE session = 'trim-other'";
    assert_eq!(first(&archive, sql).await, [integer(1)]);
    assert_eq!(store.trim(100).await.unwrap(), 30);
    engine.close(archive).await;
}

async fn a_reader_cannot_write(engine: &impl Engine) {
    let mut store = engine.store(scope("read"));
    store.open().await.unwrap();
    store.write(batch(vec![exchange(1, b"x")])).await.unwrap();
    let archive = engine.archive("read").await;
    for sql in [
        "DELETE FROM exchanges",
        "UPDATE exchanges SET error = 0",
        "INSERT INTO losses VALUES ('a', 1, 'b', 'c', 1)",
        "DROP TABLE exchanges",
        "CREATE TABLE t (a INTEGER)",
        "CREATE INDEX i ON exchanges (pid)",
    ] {
        let error = query(&archive, sql).await.unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{sql}: {error:?}");
    }
    for sql in ["SELECT 1; SELECT 2", "SELEC 1", "SELECT nothing FROM exchanges"] {
        let error = query(&archive, sql).await.unwrap_err();
        assert!(matches!(error, StoreError::Statement { .. }), "{sql}: {error:?}");
    }
    assert!(query(&archive, "SELECT 1; DROP TABLE hops").await.is_err());
    assert_eq!(first(&archive, "SELECT COUNT(*) FROM hops WHERE session = 'read'").await, [integer(1)]);
    let error = query(&archive, "SELECT nothing FROM exchanges").await.unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
    let sql = "SELECT COUNT(*) FROM exchanges WHERE session = 'read' AND error = 1";
    assert_eq!(first(&archive, sql).await, [integer(1)]);
    engine.close(archive).await;
}

async fn many_rows_stream(engine: &impl Engine) {
    let mut store = engine.store(scope("many"));
    store.open().await.unwrap();
    store.write(batch((1..=2000).map(|id| exchange(id, &[b'x'; 500])).collect())).await.unwrap();
    let archive = engine.archive("many").await;
    let (_, rows) =
        query(&archive, "SELECT * FROM exchanges WHERE session = 'many' ORDER BY id").await.unwrap();
    assert_eq!(rows.len(), 2000);
    assert!((1..).zip(&rows).all(|(id, row)| row[1] == integer(id)));
    // Nobody takes the rest: the query ends by itself.
    let (sink, mut responses) = mpsc::channel(1);
    let (result, _) = tokio::join!(archive.query("SELECT * FROM exchanges".to_owned(), sink), async {
        let response = responses.recv().await;
        responses.close();
        response
    });
    assert!(result.is_ok());
    engine.close(archive).await;
}

async fn a_pull_is_the_whole_session(engine: &impl Engine) {
    let mut store = engine.store(scope("pull"));
    store.open().await.unwrap();
    store.write(batch((1..=600).map(|id| exchange(id, b"\xffx")).collect())).await.unwrap();
    let archive = engine.archive("pull").await;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("saved.sqlite");
    let (sink, mut responses) = mpsc::channel::<Result<v1::PullResponse, StoreError>>(1);
    let mut tables = Vec::new();
    let mut saver = hub::store::sqlite::Saver::create(&target).unwrap();
    let save = async {
        while let Some(response) = responses.recv().await {
            let response = response.unwrap();
            saver.insert(&response).unwrap();
            if !response.columns.is_empty() {
                tables.push((response.table, response.total_rows));
            }
        }
    };
    let (result, ()) = tokio::join!(archive.pull(sink), save);
    result.unwrap();
    saver.finish().unwrap();
    let named = |name: &str, rows| (name.to_owned(), rows);
    assert_eq!(
        tables,
        [named("exchanges", 600), named("hops", 600), named("capturers", 0), named("losses", 0)]
    );
    let copy = SqliteArchive::new(target, "pull".to_owned());
    let sql = "SELECT COUNT(*), MIN(start_time), MAX(session) FROM exchanges WHERE request = x'ff78'";
    assert_eq!(first(&copy, sql).await, [integer(600), text("2023-11-14T22:13:20.124456Z"), text("pull")]);
    engine.close(archive).await;
}

async fn an_outage_loses_only_what_does_not_fit(server: &mut Server) {
    let engine = Mysql(server.url());
    let mut store = engine.store(scope("outage"));
    store.open().await.unwrap();
    let writer = Writer::start(store, 0, None);
    let soon = || Instant::now() + Duration::from_mins(1);
    let offer =
        |ids: std::ops::Range<u64>| writer.offer(&ids.map(|id| exchange(id, b"x")).collect::<Vec<_>>());
    offer(0..500);
    assert!(writer.flush(soon()).await);
    server.stop();
    offer(500..3000);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(matches!(writer.state(), WriterState::Down { .. }), "{:?}", writer.state());
    tokio::task::block_in_place(|| server.start());
    offer(3000..3100);
    assert!(writer.flush(soon()).await, "{:?}", writer.state());
    let totals = writer.totals();
    assert_eq!((totals.seen, totals.stored + totals.ignored, totals.lost), (3100, 3100, 0));
    server.stop();
    // Payloads that are as short as a crowded buffer makes them.
    let many = 2 * BUFFER_BYTES / CROWDED_PAYLOAD;
    writer.offer(&vec![exchange(4000, &vec![0; CROWDED_PAYLOAD]); many]);
    tokio::task::block_in_place(|| server.start());
    assert!(writer.flush(soon()).await, "{:?}", writer.state());
    let totals = writer.totals();
    let lost = usize::try_from(totals.lost).unwrap();
    assert!(lost >= many / 2 && lost < many, "{totals:?}");
    assert_eq!(totals.seen, totals.stored + totals.ignored + totals.lost);
    let archive = engine.archive("outage").await;
    let sql = "SELECT COUNT(*) FROM exchanges WHERE session = 'outage'";
    assert_eq!(first(&archive, sql).await, [integer(3101)]);
    engine.close(archive).await;
    writer.close(soon()).await;
}

async fn readers_are_made_dropped_or_refused(server: &Server) {
    let made = Mysql(server.url()).archive("rows").await;
    assert_eq!(first(&made, "SELECT 1").await, [integer(1)]);
    made.close().await;
    let error = query(&made, "SELECT 1").await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    let plain = Target::parse(&server.plain_url()).unwrap();
    let refused = MysqlArchive::new(plain.clone(), None, "rows".to_owned()).await.unwrap();
    let error = query(&refused, "SELECT 1").await.unwrap_err();
    assert!(matches!(error, StoreError::NoReader { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("--store-reader"));
    let given = MysqlArchive::new(plain, Some(&server.plain_url()), "rows".to_owned()).await.unwrap();
    assert_eq!(first(&given, "SELECT 1").await, [integer(1)]);
}

async fn a_wrong_login_is_said_without_its_password(server: &Server) {
    let url = server.plain_url().replace("secret", "wr0ngpass");
    let mut store = Mysql(url).store(scope("login"));
    let error = store.open().await.unwrap_err();
    assert!(error.to_string().contains("Access denied"), "{error}");
    assert!(!error.to_string().contains("wr0ngpass"), "{error}");
}

async fn server_suite(mut server: Server) {
    // All that follows is on a database that the version before made.
    migration::make_mysql(&server).await;
    let engine = Mysql(server.url());
    migration::hubs_bring_it_up_together(&engine).await;
    migration::half_a_step_is_completed(&server).await;
    migration::make_second(&server).await;
    migration::the_second_version_is_brought_up(&engine).await;
    let note = async |sql: &str| migration::run(&server, &[sql]).await;
    migration::a_newer_one_is_refused(&engine, note).await;
    suite(&Mysql(server.url())).await;
    readers_are_made_dropped_or_refused(&server).await;
    a_wrong_login_is_said_without_its_password(&server).await;
    an_outage_loses_only_what_does_not_fit(&mut server).await;
    hubs::a_store_on_a_socket_starts_late(&mut server).await;
    hubs::ids_wait_for_a_store_that_alone_knows_them(&mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    suite(&Sqlite(folder.path().join("store.sqlite"))).await;
    hubs::a_name_may_be_used_again(&folder.path().join("again.sqlite")).await;
    fields::every_field_passes_a_hub(&folder.path().join("hub.sqlite")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    match Server::mariadb() {
        Ok(server) => server_suite(server).await,
        Err(reason) => println!("skipped: {reason}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql() {
    match Server::mysql() {
        Ok(server) => server_suite(server).await,
        Err(reason) => println!("skipped: {reason}"),
    }
}
