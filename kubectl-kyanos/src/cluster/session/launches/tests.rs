//! Each part is told what it needs, and nobody else what it is told.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::cluster::request::Images;

const TRACING: proto::v1::Tracing =
    proto::v1::Tracing { without_packets: true, socket_hops: false, source: 2 };

fn wanted() -> Wanted {
    Wanted {
        name: Some("abcde".to_owned()),
        store: SessionStore::Own,
        store_limit: 1 << 30,
        max_store_bytes: 1,
        payload_bytes: 1,
        keep: false,
        ttl: Duration::from_hours(1),
        timeout: Duration::from_mins(2),
        filter: proto::v1::Filter::default(),
        redaction: proto::v1::Redaction::default(),
        sample: 1,
        tracing: TRACING,
        ring_bytes: 4096,
        btf: None,
    }
}

fn asked() -> Request {
    Request {
        images: Images { hub: "h".to_owned(), capturer: "c".to_owned(), store: "s".to_owned() },
        hub_replicas: 1,
        ..Request::default()
    }
}

#[test]
fn what_is_printed_holds_no_password_of_the_users() {
    let store = StoreChoice::Mysql {
        url: "mysql://ann:s3cret@db:3306/kyanos".to_owned(),
        reader: Some("mysql://eve:t0p@db:3306/kyanos".to_owned()),
    };
    let text = print(&Wanted { store: SessionStore::Given(store), ..wanted() }, &asked()).expect("manifests");
    assert!(!text.contains("s3cret") && !text.contains("t0p"));
    assert!(text.contains("mysql://ann:<generated>@db:3306/kyanos"), "{text}");
    assert!(text.contains("mysql://eve:<generated>@db:3306/kyanos"), "{text}");
}

#[test]
fn what_is_printed_holds_no_secret_and_is_read_back_whole() {
    let text = print(&wanted(), &asked()).expect("manifests");
    for secret in ["BEGIN CERTIFICATE", "BEGIN PRIVATE KEY"] {
        assert!(!text.contains(secret));
    }
    assert!(text.contains("<generated>:7440"), "the hub's address");
    assert!(text.contains("IDENTIFIED BY '<generated>'"));
    assert!(text.contains("stringData:"));
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let kinds: Vec<Value> =
        documents.map(|document| serde::Deserialize::deserialize(document).expect("YAML")).collect();
    assert!(kinds.iter().all(|value: &Value| value["kind"].is_string()));
    let hub = kinds.iter().find(|value| value["kind"] == "Secret" && value["metadata"]["name"] == "hub");
    let launch = hub.expect("the hub's Secret")["stringData"]["launch.json"].as_str().expect("a launch");
    let launch: HubLaunch = serde_json::from_str(launch).expect("a launch that the hub reads");
    assert_eq!(launch.session, "abcde");
    assert_eq!(launch.tracing, TRACING);
}

#[test]
fn each_part_is_told_its_own_secrets_and_no_others() {
    let (wanted, request) = (wanted(), request(&wanted(), &asked()).expect("a request"));
    let launches = Launches::new(&request).expect("launches");
    let values = launches.values(&wanted, &request, "jane").expect("values");
    let capturer = launches.capturers(&wanted, "abcde", "10.0.0.1").expect("a launch");
    let logins = launches.logins.as_ref().expect("logins");
    assert!(values.hub_launch.contains(&logins.writer));
    assert!(!values.hub_launch.contains(&logins.root));
    for text in [&capturer, &values.viewer] {
        assert!(!text.contains(&logins.writer) && !text.contains(&logins.root));
        assert!(!text.contains(&launches.identities.hub.key.replace('\n', "\\n")));
    }
    let launch: CapturerLaunch = serde_json::from_str(&capturer).expect("a launch that the capturer reads");
    assert_eq!((launch.hub.as_str(), launch.node.as_str()), ("10.0.0.1:7440", ""));
    assert!(launch.sessions.is_none());
}

#[test]
fn stores_that_a_cluster_cannot_use_are_refused() {
    let file =
        Wanted { store: SessionStore::Given(StoreChoice::Sqlite { path: "/tmp/x".into() }), ..wanted() };
    assert_eq!(request(&file, &asked()).expect_err("refused").exit, crate::failure::USAGE);
    let theirs = StoreChoice::Mysql { url: "mysql://u@h/d".to_owned(), reader: None };
    assert!(
        !request(&Wanted { store: SessionStore::Given(theirs), ..wanted() }, &asked())
            .expect("a request")
            .own_store
    );
}
