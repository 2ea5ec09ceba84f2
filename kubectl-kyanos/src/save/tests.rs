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
    finish(sink).await.expect("finished");
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
    client.hops.push(v1::Hop { at_ns: -5, place: "socket".to_owned(), ..client.hops[0].clone() });
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
