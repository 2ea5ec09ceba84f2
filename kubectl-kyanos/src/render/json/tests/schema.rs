//! The written schema against the columns.

use proto::columns::exchange::FIELDS;
use proto::columns::{Column, Kind};
use serde_json::{Value, json};

/// A decimal number.
const DECIMAL: &str = "^[0-9]+$";

/// RFC 3339 with nanoseconds in UTC.
const TIME: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{9}Z$";

/// Properties that are no columns: the form's name, what is nested, and the original's names.
const BY_HAND: [&str; 17] = [
    "schema",
    "segments",
    "hops",
    "ways",
    "is_ssl",
    "total_duration_ms",
    "black_box_duration_ms",
    "read_socket_duration_ms",
    "copy_to_socket_buffer_duration_ms",
    "req_size_bytes",
    "resp_size_bytes",
    "req_plain_text_size_bytes",
    "resp_plain_text_size_bytes",
    "req_syscall_events",
    "resp_syscall_events",
    "req_nic_events",
    "resp_nic_events",
];

/// What the schema says of a column.
fn property(column: &Column) -> Value {
    let Column { kind, required, help, .. } = column;
    let (name, form, more) = match kind {
        Kind::Name | Kind::Word(_) | Kind::Operation | Kind::Address => ("string", "", json!({})),
        Kind::Choice(_, words) => {
            let words = words.iter().map(|word| json!(word)).chain([Value::Null]);
            return json!({ "enum": words.collect::<Vec<_>>(), "description": help });
        }
        Kind::Id | Kind::OtherId => ("string", "; a decimal number", json!({ "pattern": DECIMAL })),
        Kind::Count => ("integer", "", json!({ "minimum": 0 })),
        Kind::Positive => ("integer", "", json!({ "minimum": 1 })),
        Kind::Port => ("integer", "", json!({ "minimum": 1, "maximum": u16::MAX })),
        Kind::Signed => ("integer", "", json!({})),
        Kind::Flag => ("boolean", "", json!({})),
        Kind::Time => ("string", "; RFC 3339 with nanoseconds, UTC", json!({ "pattern": TIME })),
        Kind::Payload => ("string", "; bytes that are not text as \\xNN", json!({})),
    };
    let known = *required || *kind == Kind::Id;
    let mut property = more;
    property["type"] = if known { json!(name) } else { json!([name, "null"]) };
    property["description"] = json!(format!("{help}{form}"));
    property
}

#[test]
fn the_schema_is_that_of_the_columns() {
    let schema: Value = serde_json::from_str(super::SCHEMA_FILE).expect("the schema is JSON");
    let written = schema["properties"].as_object().expect("properties");
    let columns: Vec<&Column> =
        FIELDS.iter().map(|field| &field.column).filter(|column| column.json).collect();
    for column in &columns {
        let name = column.name;
        assert_eq!(written.get(name), Some(&property(column)), "`{name}` in docs/exchange.schema.json");
    }
    let mut names: Vec<&str> = columns.iter().map(|column| column.name).chain(BY_HAND).collect();
    names.sort_unstable();
    assert_eq!(written.keys().map(String::as_str).collect::<Vec<_>>(), names);
    let required = schema["required"].as_array().expect("a list");
    let mut required: Vec<&str> = required.iter().filter_map(Value::as_str).collect();
    required.sort_unstable();
    assert_eq!(required, names, "every key is always there");
}
