//! The JSON form against its schema and against the contract's rules.

mod schema;

use serde_json::{Value, json};

use super::super::samples;
use super::*;

const SCHEMA_FILE: &str = include_str!("../../../../docs/exchange.schema.json");

fn renderer() -> JsonRenderer {
    JsonRenderer { session: "abcde".to_owned(), print_bytes: Some(1024) }
}

fn rendered(exchange: &v1::Exchange) -> Value {
    let mut line = Vec::new();
    renderer().line(exchange, &mut line).expect("rendered");
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "one line");
    serde_json::from_slice(&line).expect("JSON")
}

#[test]
fn every_object_is_valid() {
    let schema: Value = serde_json::from_str(SCHEMA_FILE).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    for exchange in [
        samples::client(),
        samples::unanswered(),
        samples::push(),
        samples::announced(),
        samples::traced_client(),
        samples::joined_client(),
        samples::traced_server(),
        samples::untraced_client(),
        v1::Exchange { ways: Some(v1::Ways::default()), ..v1::Exchange::default() },
        v1::Exchange::default(),
    ] {
        let object = rendered(&exchange);
        let errors: Vec<String> = validator.iter_errors(&object).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{object}");
    }
    let mut wrong = rendered(&samples::client());
    wrong["pid"] = json!(0);
    assert!(!validator.is_valid(&wrong), "0 is not unknown");
    wrong["pid"] = Value::Null;
    let mut wrong = rendered(&samples::joined_client());
    for (key, value) in [("error_ns", json!(-1)), ("id", json!(7)), ("request_ns", Value::Null)] {
        let right = std::mem::replace(&mut wrong["ways"][key], value);
        assert!(!validator.is_valid(&wrong), "{key}");
        wrong["ways"][key] = right;
    }
    assert!(validator.is_valid(&wrong));
    wrong["surprise"] = json!(1);
    assert!(!validator.is_valid(&wrong), "nothing is outside the schema");
}

#[test]
fn names_and_aliases_say_the_same() {
    let object = rendered(&samples::client());
    assert_eq!(object["id"], json!("844424930131975"));
    assert_eq!(object["connection_id"], json!(u64::MAX.to_string()));
    assert_eq!(object["start_time"], json!("2023-11-14T22:13:20.123456789Z"));
    assert_eq!(object["end_time"], json!("2023-11-14T22:13:25.123456789Z"));
    assert_eq!(object["total_ns"], json!(5_000_000_000_u64));
    assert_eq!(object["segments"]["network"], object["network_ns"]);
    assert_eq!(object["total_duration_ms"], json!(5000.0));
    assert_eq!(object["black_box_duration_ms"], json!(4500.0));
    assert_eq!(object["read_socket_duration_ms"], json!(500.0));
    assert_eq!(object["copy_to_socket_buffer_duration_ms"], json!(0.0));
    assert_eq!(object["req_size_bytes"], object["request_bytes"]);
    assert_eq!(object["req_nic_events"][0]["Attributes"]["ifname"], json!("lo"));
    assert_eq!(object["response"], json!("HTTP/1.1 200 OK\r\n\r\n\\x00\\xffbody"));
}

#[test]
fn segments_sum_to_the_total() {
    for exchange in [samples::client(), samples::traced_client(), samples::traced_server()] {
        let object = rendered(&exchange);
        let parts =
            ["send_ns", "network_ns", "transfer_ns", "receive_ns", "queue_ns", "internal_ns", "read_ns"];
        let sum: u64 = parts.iter().filter_map(|part| object[part].as_u64()).sum();
        assert_eq!(Some(sum), object["total_ns"].as_u64());
    }
}

#[test]
fn what_packets_tell_is_told() {
    let object = rendered(&samples::joined_client());
    assert_eq!(object["hops"].as_array().map(Vec::len), Some(9));
    let first = json!({
        "at_ns": 4000, "place": "nic", "name": "veth1a2b", "netns": 4_026_531_840_u32, "direction": "in",
        "message": "request", "bytes": 26,
    });
    assert_eq!(object["hops"][1], first);
    assert_eq!(object["hops"][8]["name"], Value::Null, "a socket has no name");
    let expected = json!({
        "request_ns": 950_000, "response_ns": 1_050_000, "error_ns": 40_000, "node": "node-2", "id": "7",
    });
    assert_eq!(object["ways"], expected);
    assert_eq!(object["retransmits"], json!(1));
    // Of hops at interfaces the original's events are made, by the wall clock; other places are none.
    let events = |name: &str| object[name].as_array().map(Vec::len);
    assert_eq!((events("req_nic_events"), events("resp_nic_events")), (Some(3), Some(4)));
    let event = json!({
        "ByteSize": 1448, "Timestamp": 1_700_000_000_131_468_789_u64,
        "Attributes": { "ifname": "eth0", "netns": 4_026_531_840_u32, "direction": "in" },
    });
    assert_eq!(object["resp_nic_events"][0], event);
    let alone = rendered(&samples::traced_client());
    assert_eq!(alone["ways"], Value::Null, "the other side was not seen");
    let untraced = rendered(&samples::untraced_client());
    assert_eq!((&untraced["hops"], &untraced["retransmits"]), (&json!([]), &Value::Null));
}

#[test]
fn unknown_is_null() {
    let object = rendered(&samples::unanswered());
    for name in
        ["response", "response_bytes", "response_truncated", "status", "total_ns", "end_time", "pid", "comm"]
    {
        assert_eq!(object[name], Value::Null, "{name}");
    }
    for name in ["announced_addr", "announced_port", "reason"] {
        assert_eq!(object[name], Value::Null, "{name}");
    }
    assert_eq!(object["handshake"], json!(false));
    for name in
        ["local_addr", "local_port", "total_duration_ms", "black_box_duration_ms", "retransmits", "send_ns"]
    {
        assert_eq!(object[name], Value::Null, "{name}");
    }
    assert_eq!(object["remote_addr"], json!("::1"));
    assert_eq!(object["sample_weight"], json!(1));
    assert_eq!(rendered(&samples::push())["is_ssl"], json!(true));
}

#[test]
fn what_was_found_out_is_told() {
    let object = rendered(&samples::announced());
    assert_eq!((&object["announced_addr"], &object["announced_port"]), (&json!("203.0.113.7"), &json!(5000)));
    assert_eq!((&object["handshake"], &object["reason"]), (&json!(true), &json!("unreadable")));
    assert_eq!((&object["error"], &object["response"]), (&json!(true), &Value::Null), "an error stays one");
}

#[test]
fn payloads_are_cut_and_left_out() {
    let short = JsonRenderer { print_bytes: Some(3), ..renderer() }.value(&samples::client());
    assert_eq!((&short["request"], &short["request_truncated"]), (&json!("GET"), &json!(true)));
    let none = JsonRenderer { print_bytes: None, ..renderer() }.value(&samples::client());
    assert_eq!((&none["request"], &none["request_truncated"]), (&Value::Null, &json!(false)));
}
