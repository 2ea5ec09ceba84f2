//! Answers of API servers, read.

use serde_json::{Value, json};

use super::*;
use crate::cluster::fake_api::{FakeApi, scenarios};

/// Asks about session `a`.
async fn word(api: FakeApi) -> Word {
    let word = ClusterWitness::of(&api.client(), "a").ask().await;
    assert_eq!(api.calls()[0].path(), "/api/v1/namespaces/kyanos-a");
    word
}

/// An API server with this namespace.
fn with_namespace(metadata: &Value) -> FakeApi {
    let namespace =
        json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata });
    FakeApi::willing().but(scenarios::holds("namespaces", json!([namespace])))
}

#[tokio::test]
async fn a_session_stands_as_long_as_its_namespace_does() {
    let ends = json!({ "name": "kyanos-a", "deletionTimestamp": "2026-01-01T00:00:00Z" });
    assert_eq!(word(with_namespace(&json!({ "name": "kyanos-a" }))).await, Word::Stands);
    assert_eq!(word(with_namespace(&ends)).await, Word::Gone);
    assert_eq!(word(FakeApi::willing()).await, Word::Gone);
    for (code, reason) in [(403, "Forbidden"), (500, "InternalError")] {
        assert_eq!(word(FakeApi::willing().but(scenarios::always(code, reason))).await, Word::Unknown);
    }
    assert_eq!(ClusterWitness::default().ask().await, Word::Unknown);
}
