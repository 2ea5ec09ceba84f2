//! The life of a session against API servers that answer badly.

use std::sync::Arc;

use http::{Method, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::cluster::manifests::Values;

fn connection(client: kube::Client) -> Connection {
    Connection {
        client,
        namespace: "default".to_owned(),
        server: "https://x".to_owned(),
        owner: "jane".to_owned(),
    }
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
    let request = Request { name: "abcde".to_owned(), ..Request::default() };
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
