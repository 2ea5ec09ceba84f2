//! Saved lines against the schema of live ones, and every field in every format.

mod fields;
#[path = "../../../proto/tests/samples/full.rs"]
mod full;

use std::path::Path;
use std::sync::Arc;

use hub::store::sqlite::{Database, Reader};
use hub::store::{Batch, Scope};
use serde_json::Value;

use super::*;
use crate::render::samples;

const SCHEMA_FILE: &str = include_str!("../../../docs/exchange.schema.json");

/// The session whose exchanges are saved.
const SESSION: &str = "abcde";

/// Stores exchanges as the hub does, and saves them in a format.
async fn saved(folder: &Path, exchanges: Vec<v1::Exchange>, name: &str) -> PathBuf {
    let stored = folder.join("stored.sqlite");
    let scope = Scope { session: SESSION.to_owned(), max_store_bytes: u32::MAX };
    let mut database = Database::open(&stored, scope).expect("made");
    let batch = Batch { exchanges: exchanges.into_iter().map(Arc::new).collect(), ..Batch::default() };
    database.write(&batch).expect("written");
    database.finish().expect("finished");
    let target = Target::new(&folder.join(name)).expect("a target");
    let mut sink = target.open().expect("open");
    let (mut table, mut rows) = (String::new(), Rows::default());
    let mut take_part = |part: v1::PullResponse| {
        if !part.columns.is_empty() {
            table.clone_from(&part.table);
        }
        take(&mut sink, &table, &mut rows, part).is_ok()
    };
    Reader::open(&stored).expect("open").pull(None, &mut take_part).expect("pulled");
    finish(sink, &target).await.expect("finished");
    target.path().to_owned()
}

/// Reads what was saved as lines.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn saved_lines_are_live_lines() {
    let folder = tempfile::tempdir().expect("folder");
    let mut client = samples::client();
    // Unsigned where SQL has none: what the kernel gives fits.
    client.connection_id = 7;
    client.hops.push(v1::Hop { at_ns: -5, place: v1::HopPlace::Socket.into(), ..client.hops[0].clone() });
    let mut unanswered = samples::unanswered();
    unanswered.connection_id = 8;
    let mut announced = samples::announced();
    announced.connection_id = 9;
    announced.hops.clear();
    announced.announced = Some(v1::Endpoint { address: vec![0x20; 16], port: 1, ..v1::Endpoint::default() });
    let exchanges = vec![client.clone(), announced.clone(), unanswered.clone()];
    let found = lines(&saved(folder.path(), exchanges, "saved.jsonl").await);
    let schema: Value = serde_json::from_str(SCHEMA_FILE).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    let renderer = json::JsonRenderer { session: SESSION.to_owned(), print_bytes: Some(usize::MAX) };
    // Oldest first.
    for (object, exchange) in found.iter().zip([unanswered, announced, client]) {
        let errors: Vec<String> = validator.iter_errors(object).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{object}");
        let mut live = renderer.value(&exchange);
        // The store has no system calls.
        for name in ["req_syscall_events", "resp_syscall_events"] {
            live[name] = Value::Array(Vec::new());
        }
        for (name, value) in live.as_object().expect("an object") {
            assert_eq!(object[name], *value, "{name}");
        }
    }
    assert_eq!(found.len(), 3);
    let mut left: Vec<String> = std::fs::read_dir(folder.path())
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left, ["saved.jsonl", "stored.sqlite"], "nothing is left beside it");
}

/// Names of the files in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("folder");
    entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
}

/// A store of rows as it comes over the wire, cut off after its first part.
fn first_part() -> v1::PullResponse {
    let value = |kind| v1::Value { kind: Some(kind) };
    let row = vec![
        value(v1::value::Kind::Text(SESSION.to_owned())),
        value(v1::value::Kind::Integer(1)),
        value(v1::value::Kind::Integer(5)),
    ];
    v1::PullResponse {
        table: EXCHANGES.to_owned(),
        columns: ["session", "id", "start_ns"].map(str::to_owned).to_vec(),
        rows: vec![v1::Row { values: row }],
        total_rows: 9,
    }
}

#[tokio::test]
async fn a_save_that_breaks_off_leaves_no_file_and_another_attempt_finds_its_place_free() {
    for name in ["saved.sqlite", "saved.jsonl", "saved.csv"] {
        let folder = tempfile::tempdir().expect("folder");
        let target = Target::new(&folder.path().join(name)).expect("a target");
        let mut sink = target.open().expect("open");
        take(&mut sink, EXCHANGES, &mut Rows::default(), first_part()).expect("taken");
        assert!(!target.path().exists(), "{name}: what is not whole has not its name");
        drop(sink);
        assert_eq!(names(folder.path()), [""; 0], "{name}");
        let target = Target::new(&folder.path().join(name)).expect("its place is free");
        let mut sink = target.open().expect("open");
        take(&mut sink, EXCHANGES, &mut Rows::default(), first_part()).expect("taken");
        finish(sink, &target).await.expect("finished");
        assert_eq!(names(folder.path()), [name]);
    }
}

#[tokio::test]
async fn a_file_that_somebody_made_meanwhile_stays_theirs() {
    for name in ["saved.sqlite", "saved.jsonl", "saved.csv"] {
        let folder = tempfile::tempdir().expect("folder");
        let target = Target::new(&folder.path().join(name)).expect("a target");
        let sink = target.open().expect("open");
        std::fs::write(target.path(), "theirs").expect("written");
        let failure = finish(sink, &target).await.expect_err("refused");
        assert!(failure.hint.is_some(), "{}", failure.what);
        assert_eq!(std::fs::read_to_string(target.path()).expect("text"), "theirs");
        assert_eq!(names(folder.path()), [name], "nothing is left beside it");
    }
}

#[test]
fn what_a_killed_process_of_the_same_number_left_is_no_obstacle() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("saved.csv");
    std::fs::write(Partial::beside(&path, PART).path(), "half").expect("written");
    let target = Target::new(&path).expect("a target");
    drop(target.open().expect("open"));
    assert_eq!(names(folder.path()), [""; 0]);
}
