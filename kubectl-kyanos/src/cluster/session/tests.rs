//! The life of a session against API servers that answer badly.

use super::*;
use crate::cluster::fake_api::{Call, FakeApi, scenarios};
use crate::cluster::manifests::Values;

/// How long the API server takes to make a namespace.
const SLOW: Duration = Duration::from_secs(2);

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
    let api = FakeApi::willing().but(scenarios::slow_to_make_a_namespace(SLOW, None));
    let begun = stopped(&api.connection()).await;
    assert_eq!(begun.name().as_deref(), Some("abcde"));
    assert!(begun.remove().await.left.is_empty());
    assert_eq!(begun.name(), None);
    let deleted: Vec<Call> = api.calls().into_iter().filter(|call| call.verb() == "delete").collect();
    assert!(deleted.iter().any(|call| call.path() == "/api/v1/namespaces/kyanos-abcde"), "{deleted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_was_refused_is_not_removed() {
    let api = FakeApi::willing().but(scenarios::slow_to_make_a_namespace(SLOW, Some("no")));
    let begun = stopped(&api.connection()).await;
    assert!(begun.remove().await.left.is_empty());
    assert!(api.calls().iter().all(|call| call.verb() != "delete"), "{:?}", api.calls());
}

#[tokio::test]
async fn joining_says_who_may() {
    let nobody = FakeApi::willing();
    let forbidden = FakeApi::willing().but(scenarios::forbidden(&[("secrets", "get")]));
    for (api, expected) in [
        (nobody, "there is no session `abcde` in this cluster"),
        (forbidden, "joining session `abcde` is forbidden"),
    ] {
        let failure = join(&api.connection(), "abcde").await.expect_err("refused");
        assert!(failure.what.starts_with(expected), "{}", failure.what);
        assert!(failure.hint.is_some());
        assert_eq!(api.calls()[0].path(), "/api/v1/namespaces/kyanos-abcde/secrets/viewer");
    }
}
