//! An exchange with another value in every field, as JSON, in each format of `--save`, and back.

use std::collections::BTreeMap;

use proto::v1::value::Kind;
use serde_json::{Value, json};

use super::full::{self, Full};
use super::*;

/// What an exchange is in JSON, by the names of its columns.
fn as_json(full: &Full) -> BTreeMap<&'static str, Value> {
    const AS_TEXT: [&str; 3] = ["id", "connection_id", "peer_id"];
    const FLAGS: [&str; 6] =
        ["tls", "error", "handshake", "request_truncated", "response_truncated", "clamped"];
    let mut values = BTreeMap::from([("session", json!(SESSION))]);
    // The start in nanoseconds is the start's time.
    for (name, kind) in full.columns.iter().filter(|(name, _)| *name != "start_ns") {
        let value = match kind {
            Kind::Integer(number) if AS_TEXT.contains(name) => json!(number.to_string()),
            Kind::Integer(flag) if FLAGS.contains(name) => json!(*flag == 1),
            Kind::Integer(number) => json!(number),
            Kind::Blob(_) => json!(as_text(kind)),
            Kind::Text(text) => json!(text),
            Kind::Real(_) | Kind::Unsigned(_) => unreachable!("{name} is {kind:?}"),
        };
        values.insert(name, value);
    }
    let total_ns = full.exchange.segments.expect("segments").total_ns;
    let time = |ns| json!(crate::render::units::rfc3339(ns));
    values.insert("start_time", time(full.exchange.start_ns));
    values.insert("end_time", time(full.exchange.start_ns + total_ns));
    values
}

fn as_text(kind: &Kind) -> String {
    match kind {
        Kind::Integer(number) => number.to_string(),
        Kind::Text(text) => text.clone(),
        Kind::Blob(bytes) => {
            let text = bytes.strip_suffix(b"\xff").expect("what is no text at its end");
            format!("{}\\xff", std::str::from_utf8(text).expect("text"))
        }
        Kind::Real(_) | Kind::Unsigned(_) => unreachable!("{kind:?}"),
    }
}

/// Asserts that an object has every value of an exchange under its name.
fn is(object: &Value, full: &Full) {
    for (name, value) in as_json(full) {
        assert_eq!(object[name], value, "{name}");
    }
}

fn exchanges(fulls: &[Full]) -> Vec<v1::Exchange> {
    fulls.iter().map(|full| full.exchange.clone()).collect()
}

fn renderer() -> json::JsonRenderer {
    json::JsonRenderer { session: SESSION.to_owned(), print_bytes: Some(usize::MAX) }
}

#[test]
fn every_field_is_in_json() {
    let schema: Value = serde_json::from_str(SCHEMA_FILE).expect("the schema is JSON");
    let names = schema["properties"].as_object().expect("properties");
    for full in full::all() {
        let object = renderer().value(&full.exchange);
        is(&object, &full);
        for (hop, values) in object["hops"].as_array().expect("hops").iter().zip(&full.hops) {
            let expected = values.iter().map(|(name, kind)| match kind {
                Kind::Integer(number) => ((*name).to_owned(), json!(number)),
                kind @ (Kind::Unsigned(_) | Kind::Real(_) | Kind::Text(_) | Kind::Blob(_)) => {
                    ((*name).to_owned(), json!(as_text(kind)))
                }
            });
            assert_eq!(hop, &Value::Object(expected.collect()));
        }
        let mut line = Vec::new();
        renderer().line(&full.exchange, &mut line).expect("rendered");
        let text = String::from_utf8(line).expect("text");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), object);
        assert!(names.keys().eq(object.as_object().expect("an object").keys()), "all keys and no others");
        let again = serde_json::to_string(&object).expect("text");
        assert_eq!(again.len(), text.trim_end().len(), "no key is there twice");
    }
}

#[tokio::test]
async fn every_field_is_in_saved_lines() {
    let folder = tempfile::tempdir().expect("folder");
    let fulls = full::all();
    let found = lines(&saved(folder.path(), exchanges(&fulls), "saved.jsonl").await);
    assert_eq!(found.len(), fulls.len());
    for (object, full) in found.iter().zip(&fulls) {
        is(object, full);
        assert_eq!(object, &renderer().value(&full.stored), "aliases and hops too");
    }
}

#[tokio::test]
async fn every_field_is_in_saved_records() {
    let folder = tempfile::tempdir().expect("folder");
    let fulls = full::all();
    let path = saved(folder.path(), exchanges(&fulls), "saved.csv").await;
    let mut file = csv::Reader::from_path(path).expect("CSV");
    let header = file.headers().expect("a header").clone();
    let records: Vec<csv::StringRecord> = file.records().map(|record| record.expect("a record")).collect();
    assert_eq!(records.len(), fulls.len());
    for (record, full) in records.iter().zip(&fulls) {
        let values: BTreeMap<&str, &str> = header.iter().zip(record).collect();
        for (name, kind) in &full.columns {
            assert_eq!(values.get(name), Some(&as_text(kind).as_str()), "{name}");
        }
        assert_eq!(values["session"], SESSION);
        // Cut to microseconds, as SQL is.
        for name in ["start_time", "end_time"] {
            let whole = as_json(full)[name].as_str().expect("text").to_owned();
            let micros = values[name].strip_suffix('Z').expect("UTC");
            assert!(whole.starts_with(micros), "{name}: {micros} of {whole}");
        }
        assert_eq!(header.len(), full.columns.len() + 3, "the session and two times beside them");
    }
}

#[tokio::test]
async fn every_field_comes_back_from_a_saved_store() {
    let folder = tempfile::tempdir().expect("folder");
    let fulls = full::all();
    let path = saved(folder.path(), exchanges(&fulls), "saved.sqlite").await;
    let mut reader = stored::Reader::new(&[]);
    let mut found = Vec::new();
    store::query(&path, &stored::select(), &mut |part| {
        if !part.columns.is_empty() {
            reader = stored::Reader::new(&part.columns);
        }
        found.extend(part.rows.iter().map(|row| reader.exchange(row)));
        Ok(true)
    })
    .expect("read");
    let expected: Vec<_> = fulls.into_iter().map(|full| (SESSION.to_owned(), full.stored)).collect();
    assert_eq!(found, expected);
}
