//! Answers of API servers, read.

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// A session in a cluster whose API server always answers the same.
fn always(code: u16, answer: Value) -> Standing {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            assert_eq!(request.uri().path(), "/api/v1/namespaces/kyanos-a");
            let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
            send.send_response(answer.expect("a response"));
        }
    });
    Standing::of(&kube::Client::new(service, "default"), "a")
}

/// A namespace, and whether it is being removed.
fn namespace(ends: bool) -> Value {
    let mut metadata = json!({ "name": "kyanos-a" });
    if ends {
        metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata })
}

/// A refusal of the API server.
fn refusal(code: u16, reason: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code })
}

#[tokio::test]
async fn a_session_stands_as_long_as_its_namespace_does() {
    assert_eq!(always(200, namespace(false)).ask().await, Word::Stands);
    assert_eq!(always(200, namespace(true)).ask().await, Word::Gone);
    assert_eq!(always(404, refusal(404, "NotFound")).ask().await, Word::Gone);
    assert_eq!(always(403, refusal(403, "Forbidden")).ask().await, Word::Unknown);
    assert_eq!(always(500, refusal(500, "InternalError")).ask().await, Word::Unknown);
    assert_eq!(Standing::default().ask().await, Word::Unknown);
}
