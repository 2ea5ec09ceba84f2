//! The handle that cannot write, and files that outlive their session.

use proto::v1;
use proto::v1::value::Kind;

use super::*;

fn scope() -> Scope {
    Scope { session: "fixed".to_owned(), max_store_bytes: 1024 }
}

fn batch(ids: std::ops::Range<u64>) -> Batch {
    let exchanges = ids
        .map(|id| {
            Arc::new(v1::Exchange {
                id,
                start_ns: 1_700_000_000_000_000_000 + id,
                protocol: "http".to_owned(),
                hops: vec![v1::Hop { place: v1::HopPlace::Process.into(), at_ns: -5, ..Default::default() }],
                request: Some(v1::Message { payload: vec![b'x'; 600], ..Default::default() }),
                ..Default::default()
            })
        })
        .collect();
    Batch { exchanges, ..Default::default() }
}

fn query(reader: &mut Reader, sql: &str) -> Result<(Vec<String>, Vec<v1::Row>), StoreError> {
    let (mut columns, mut rows) = (Vec::new(), Vec::new());
    reader.query(sql, Duration::from_secs(5), &mut |response| {
        columns.extend(response.columns);
        rows.extend(response.rows);
        true
    })?;
    Ok((columns, rows))
}

#[test]
fn nothing_can_be_written_through_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sqlite");
    let mut database = Database::open(&path, scope()).unwrap();
    database.write(&batch(1..4)).unwrap();
    let other = folder.path().join("other.sqlite");
    for sql in [
        "DELETE FROM exchanges".to_owned(),
        "UPDATE exchanges SET error = 1".to_owned(),
        "INSERT INTO losses VALUES ('a', 1, 'b', 'c', 1)".to_owned(),
        "DROP TABLE exchanges".to_owned(),
        "CREATE TABLE t (a)".to_owned(),
        "CREATE TEMP TABLE t (a)".to_owned(),
        format!("ATTACH '{}' AS other", other.display()),
        format!("VACUUM INTO '{}'", other.display()),
        "PRAGMA query_only=OFF".to_owned(),
        "PRAGMA journal_mode=DELETE".to_owned(),
        "PRAGMA writable_schema=ON".to_owned(),
        "WITH a AS (SELECT 1) DELETE FROM exchanges".to_owned(),
        "REINDEX".to_owned(),
        "BEGIN IMMEDIATE".to_owned(),
    ] {
        let mut reader = Reader::open(&path).unwrap();
        let error = query(&mut reader, &sql).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{sql}: {error}");
        let (_, rows) = query(&mut reader, "SELECT COUNT(*) FROM exchanges").unwrap();
        assert_eq!(rows[0].values[0].kind, Some(Kind::Integer(3)), "{sql}");
    }
    assert!(!other.exists());
    let error = query(&mut Reader::open(&path).unwrap(), "SELECT load_extension('x')").unwrap_err();
    assert!(error.to_string().contains("not authorized"), "{error}");
}

#[test]
fn a_query_is_one_statement_and_says_what_the_engine_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sqlite");
    Database::open(&path, scope()).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    let message = |result: Result<_, StoreError>| result.unwrap_err().to_string();
    assert_eq!(message(query(&mut reader, "SELECT 1; SELECT 2")), "more than one statement");
    assert_eq!(message(query(&mut reader, " -- nothing")), "no statement");
    assert_eq!(message(query(&mut reader, "SELECT x FROM nowhere")), "no such table: nowhere");
    assert!(message(query(&mut reader, "SELEC 1")).contains("syntax error"));
    assert!(query(&mut reader, "SELECT 1;").is_ok());
    assert!(query(&mut reader, "EXPLAIN QUERY PLAN SELECT * FROM exchanges").is_ok());
    assert_eq!(query(&mut reader, "PRAGMA table_info(exchanges)").unwrap().1.len(), EXCHANGES.columns.len());
}

#[test]
fn a_query_stops_at_its_time_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sqlite");
    Database::open(&path, scope()).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n";
    let began = std::time::Instant::now();
    let error = reader.query(endless, Duration::from_millis(200), &mut |_| true).unwrap_err();
    assert!(matches!(error, StoreError::TimedOut { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn rows_come_in_bounded_chunks_and_stop_when_nobody_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sqlite");
    let mut database = Database::open(&path, scope()).unwrap();
    database.write(&batch(1..2001)).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    let mut most = 0;
    let mut responses = 0;
    reader
        .query("SELECT * FROM exchanges", Duration::from_secs(5), &mut |response| {
            most = most.max(response.rows.len());
            responses += 1;
            true
        })
        .unwrap();
    assert!(most <= super::super::CHUNK_ROWS && responses > 7, "{most} {responses}");
    let mut taken = 0;
    reader
        .query("SELECT * FROM exchanges", Duration::from_secs(5), &mut |_| {
            taken += 1;
            taken < 2
        })
        .unwrap();
    assert_eq!(taken, 2);
}

#[test]
fn a_finished_store_is_its_file_alone_and_reads_in_a_folder_without_write_permission() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sqlite");
    let mut database = Database::open(&path, scope()).unwrap();
    database.write(&batch(1..4)).unwrap();
    database.finish().unwrap();
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["s.sqlite"]);
    let mut reader = Reader::open(&path).unwrap();
    let (columns, rows) = query(&mut reader, "SELECT id, request FROM exchanges ORDER BY id").unwrap();
    assert_eq!(columns, ["id", "request"]);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].values[1].kind, Some(Kind::Blob(vec![b'x'; 600])));
}

#[test]
fn pulled_rows_make_the_same_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sqlite");
    let mut database = Database::open(&path, scope()).unwrap();
    database.write(&batch(1..700)).unwrap();
    let target = folder.path().join("saved.sqlite");
    let mut saver = Saver::create(&target).unwrap();
    let mut tables = Vec::new();
    let mut reader = Reader::open(&path).unwrap();
    reader
        .pull(Some("fixed"), &mut |response| {
            saver.insert(&response).unwrap();
            if !response.columns.is_empty() {
                tables.push((response.table, response.total_rows));
            }
            true
        })
        .unwrap();
    saver.finish().unwrap();
    let names: Vec<_> = tables.iter().map(|(name, rows)| (name.as_str(), *rows)).collect();
    assert_eq!(names, [("exchanges", 699), ("hops", 699), ("capturers", 0), ("losses", 0)]);
    let everything = "SELECT * FROM exchanges JOIN hops ON exchange_id = id ORDER BY id";
    let mut copy = Reader::open(&target).unwrap();
    assert_eq!(query(&mut copy, everything).unwrap(), query(&mut reader, everything).unwrap());
}

#[test]
fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "no database ".repeat(100)).unwrap();
    assert!(matches!(Reader::open(&text), Err(StoreError::Foreign { .. })));
    let empty = folder.path().join("empty.sqlite");
    Connection::open(&empty).unwrap().execute_batch("CREATE TABLE exchanges (a)").unwrap();
    assert!(matches!(Reader::open(&empty), Err(StoreError::Foreign { .. })));
    assert!(matches!(Reader::open(&folder.path().join("missing")), Err(StoreError::Open { .. })));
    let newer = folder.path().join("newer.sqlite");
    Database::open(&newer, scope()).unwrap();
    Connection::open(&newer).unwrap().execute("INSERT INTO kyanos_schema VALUES (99)", []).unwrap();
    assert!(matches!(Reader::open(&newer), Err(StoreError::Newer { found: 99, .. })));
    assert!(matches!(Database::open(&newer, scope()), Err(StoreError::Newer { found: 99, .. })));
}

#[test]
fn trimming_takes_the_oldest_of_this_session_only_and_gives_the_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sqlite");
    let other = Scope { session: "other".to_owned(), ..scope() };
    Database::open(&path, other).unwrap().write(&batch(1..3)).unwrap();
    let mut database = Database::open(&path, scope()).unwrap();
    database.write(&batch(1..2001)).unwrap();
    let full = database.size().unwrap();
    assert_eq!(database.trim(1500).unwrap(), 1500);
    assert!(database.size().unwrap() < full / 2);
    let mut reader = Reader::open(&path).unwrap();
    let sql = "SELECT session, COUNT(*), MIN(id) FROM exchanges GROUP BY session ORDER BY session";
    let rows = query(&mut reader, sql).unwrap().1;
    let integers: Vec<_> =
        rows.iter().map(|row| (row.values[1].kind.clone(), row.values[2].kind.clone())).collect();
    let pair = |count, least| (Some(Kind::Integer(count)), Some(Kind::Integer(least)));
    assert_eq!(integers, [pair(500, 1501), pair(2, 1)]);
    let rows = query(&mut reader, "SELECT COUNT(*) FROM hops WHERE session = 'fixed'").unwrap().1;
    assert_eq!(rows[0].values[0].kind, Some(Kind::Integer(500)));
}

#[test]
fn a_value_beyond_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sqlite");
    Database::open(&path, scope()).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    let error = query(&mut reader, "SELECT zeroblob(70000000)").unwrap_err();
    assert!(error.to_string().contains("too big"), "{error}");
    assert!(query(&mut reader, "SELECT zeroblob(1000000)").is_ok());
}
