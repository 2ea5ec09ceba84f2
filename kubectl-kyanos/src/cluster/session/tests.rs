//! The life of a session against API servers that answer badly.

use std::time::Duration;

use http::{Method, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::cluster::request::Images;

fn wanted() -> Wanted {
    Wanted {
        name: Some("abcde".to_owned()),
        store: StoreChoice::Sqlite { path: "".into() },
        store_limit: 1 << 30,
        max_store_bytes: 1,
        payload_bytes: 1,
        keep: false,
        ttl: Duration::from_hours(1),
        timeout: Duration::from_mins(2),
        filter: proto::v1::Filter::default(),
        redaction: proto::v1::Redaction::default(),
        sample: 1,
        ring_bytes: 4096,
        btf: None,
        cluster: Request {
            images: Images { hub: "h".to_owned(), capturer: "c".to_owned(), store: "s".to_owned() },
            hub_replicas: 1,
            ..Request::default()
        },
    }
}

fn connection(client: kube::Client) -> Connection {
    Connection {
        client,
        namespace: "default".to_owned(),
        server: "https://x".to_owned(),
        owner: "jane".to_owned(),
    }
}

#[test]
fn what_is_printed_holds_no_password_of_the_users() {
    let store = StoreChoice::Mysql {
        url: "mysql://ann:s3cret@db:3306/kyanos".to_owned(),
        reader: Some("mysql://eve:t0p@db:3306/kyanos".to_owned()),
    };
    let text = print(&Wanted { store, ..wanted() }).expect("manifests");
    assert!(!text.contains("s3cret") && !text.contains("t0p"));
    assert!(text.contains("mysql://ann:<generated>@db:3306/kyanos"), "{text}");
    assert!(text.contains("mysql://eve:<generated>@db:3306/kyanos"), "{text}");
}

#[test]
fn what_is_printed_holds_no_secret_and_is_read_back_whole() {
    let text = print(&wanted()).expect("manifests");
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
}

#[test]
fn each_part_is_told_its_own_secrets_and_no_others() {
    let (wanted, request) = (wanted(), request(&wanted()).expect("a request"));
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
    let file = Wanted { store: StoreChoice::Sqlite { path: "/tmp/x".into() }, ..wanted() };
    assert_eq!(request(&file).expect_err("refused").exit, crate::failure::USAGE);
    let theirs = StoreChoice::Mysql { url: "mysql://u@h/d".to_owned(), reader: None };
    assert!(!request(&Wanted { store: theirs, ..wanted() }).expect("a request").own_store);
}

/// A fake API server whose answer to making a namespace takes long; tells the methods and paths it was asked.
fn slow(answer: fn() -> (u16, Value)) -> (kube::Client, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (service, mut handle) = tower_test::mock::pair::<http::Request<Body>, Response<Body>>();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut deleted = false;
        while let Some((request, send)) = handle.next_request().await {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            seen.lock().expect("unpoisoned").push(format!("{method} {path}"));
            deleted |= method == Method::DELETE && path.ends_with("/kyanos-abcde");
            let (code, body) = match method {
                Method::POST => {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    answer()
                }
                Method::DELETE => (200, json!({ "kind": "Status", "status": "Success" })),
                _ if path.ends_with("/kyanos-abcde") && deleted => {
                    (404, json!({ "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404 }))
                }
                _ => (200, json!({ "metadata": {}, "items": [] })),
            };
            let answer = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            send.send_response(answer.expect("a response"));
        }
    });
    (kube::Client::new(service, "default"), asked)
}

/// Begins to make a namespace and is dropped before the answer.
async fn stopped(connection: &Connection) -> Begun {
    let begun = Begun::default();
    let request = request(&wanted()).expect("a request");
    let values = Values::new(&request, "jane").expect("values");
    let create = begun.create(connection, &values);
    assert!(timeout(Duration::from_millis(100), create).await.is_err(), "the answer came too early");
    begun
}

#[tokio::test(start_paused = true)]
async fn a_namespace_whose_making_was_not_awaited_is_removed_all_the_same() {
    let made = || (201, json!({ "kind": "Namespace", "metadata": { "name": "kyanos-abcde", "uid": "u1" } }));
    let (client, asked) = slow(made);
    let begun = stopped(&connection(client)).await;
    assert_eq!(begun.name().as_deref(), Some("abcde"));
    assert!(begun.remove().await.left.is_empty());
    assert_eq!(begun.name(), None);
    let asked = asked.lock().expect("unpoisoned");
    assert!(asked.contains(&"DELETE /api/v1/namespaces/kyanos-abcde".to_owned()), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_was_refused_is_not_removed() {
    let refused = || {
        (
            403,
            json!({ "kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403 }),
        )
    };
    let (client, asked) = slow(refused);
    let begun = stopped(&connection(client)).await;
    assert!(begun.remove().await.left.is_empty());
    let asked = asked.lock().expect("unpoisoned");
    assert!(asked.iter().all(|call| !call.starts_with("DELETE")), "{asked:?}");
}

#[tokio::test]
async fn joining_says_who_may() {
    let cases = [
        (404, "NotFound", "there is no session `abcde` in this cluster"),
        (403, "Forbidden", "joining session `abcde` is forbidden"),
    ];
    for (code, reason, expected) in cases {
        let (service, mut handle) = tower_test::mock::pair::<http::Request<Body>, Response<Body>>();
        tokio::spawn(async move {
            let (request, send) = handle.next_request().await.expect("a request");
            assert_eq!(request.uri().path(), "/api/v1/namespaces/kyanos-abcde/secrets/viewer");
            let status = json!({ "kind": "Status", "status": "Failure", "reason": reason, "message": "m", "code": code });
            let answer = Response::builder().status(code).body(Body::from(status.to_string().into_bytes()));
            send.send_response(answer.expect("a response"));
        });
        let joined = join(&connection(kube::Client::new(service, "default")), "abcde").await;
        let failure = joined.expect_err("refused");
        assert!(failure.what.starts_with(expected), "{}", failure.what);
        assert!(failure.hint.is_some());
    }
}
