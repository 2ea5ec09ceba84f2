//! What is written in which order, who owns it, and what is said when the API server refuses.

use std::sync::Mutex;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::cluster::fake_api::{Call, FakeApi, scenarios};
use crate::cluster::request::{Images, Request};

fn values() -> Values {
    let request = Request {
        name: "abcde".to_owned(),
        images: Images { hub: "h".to_owned(), capturer: "c".to_owned(), store: "s".to_owned() },
        own_store: true,
        timeout: Duration::from_mins(2),
        ..Request::default()
    };
    Values::new(&request, "jane").expect("values")
}

async fn everything(api: &FakeApi) -> Result<String, Failure> {
    everything_told(api, &|_| {}).await
}

async fn everything_told(api: &FakeApi, tell: Tell<'_>) -> Result<String, Failure> {
    let (client, values) = (api.client(), values());
    let uid = create_namespace(&client, &values).await?;
    let mut applier = Applier::new(client, &values, &uid, tell);
    applier.foundation(&values).await?;
    let address = applier.surroundings(&values).await?;
    applier.hub(&values).await?;
    applier.capturers(&values).await?;
    Ok(address)
}

#[tokio::test]
async fn each_object_is_told_once_it_is_written() {
    let told = Mutex::new(Vec::new());
    let api = FakeApi::willing();
    everything_told(&api, &|line| told.lock().expect("unpoisoned").push(line.to_owned()))
        .await
        .expect("a session");
    let told = told.into_inner().expect("unpoisoned");
    // All but the Namespace, which is made before.
    assert_eq!(told.len(), api.calls().len() - 1);
    assert_eq!(told.first().map(String::as_str), Some("made Job deadman"));
    assert_eq!(told.last().map(String::as_str), Some("made DaemonSet capturer"));
}

#[tokio::test]
async fn owners_are_written_before_what_they_own() {
    let api = FakeApi::willing();
    assert_eq!(everything(&api).await.expect("a session"), "10.0.0.7");
    let calls = api.calls();
    let Call { method, uri, .. } = &calls[0];
    assert_eq!((method, uri.as_str()), (&Method::POST, "/api/v1/namespaces?&fieldManager=kubectl-kyanos"));
    let mut switched = false;
    for Call { method, uri: path, body } in &calls[1..] {
        assert_eq!(method, Method::PATCH, "{path}");
        assert!(path.ends_with("?&fieldManager=kubectl-kyanos"), "{path}");
        let owner = &body["metadata"]["ownerReferences"][0];
        assert_eq!(owner.get("blockOwnerDeletion"), None, "{path}");
        match (body["kind"].as_str(), body["metadata"].get("namespace")) {
            (Some("Job"), _) => {
                assert_eq!(owner, &Value::Null);
                switched = true;
            }
            (_, None) => assert_eq!(owner["uid"], "uid-kyanos-abcde", "{path}"),
            (_, Some(_)) => {
                assert!(switched, "{path} was written before the dead man's switch");
                assert_eq!(owner["uid"], "uid-deadman", "{path}");
            }
        }
    }
    let place = |word: &str| calls.iter().position(|call| call.uri.contains(word)).expect(word);
    let last = |word: &str| calls.iter().rposition(|call| call.uri.contains(word)).expect(word);
    assert!(last("/serviceaccounts/") < place("/deployments/"));
    assert!(place("/secrets/hub") < place("/deployments/"));
    for (role, binding) in [("/roles/", "/rolebindings/"), ("/clusterroles/", "/clusterrolebindings/")] {
        assert!(place(role) < place(binding), "{binding}");
    }
    assert!(place("/services/hub") < place("/secrets/capturer"));
    assert!(place("/secrets/capturer") < place("/daemonsets/"));
    assert_eq!(calls.iter().filter(|call| call.uri.contains("/secrets/capturer")).count(), 1);
}

#[tokio::test]
async fn a_namespace_that_exists_says_whose_it_is() {
    let ours = json!({ "app.kubernetes.io/managed-by": "kyanos" });
    let cases = [
        (json!({ "name": "kyanos-abcde", "labels": ours }), "the session name `abcde` is in use"),
        (json!({ "name": "kyanos-abcde" }), "namespace `kyanos-abcde` exists and is none of Kyanos"),
        (
            json!({ "name": "kyanos-abcde", "labels": ours, "deletionTimestamp": "2026-01-01T00:00:00Z" }),
            "the last session `abcde` is still being removed",
        ),
    ];
    for (metadata, expected) in cases {
        let api = FakeApi::willing().but(scenarios::namespace_in_use(metadata));
        let failure = everything(&api).await.expect_err("refused");
        assert_eq!(failure.what, expected);
        assert!(failure.hint.expect("a hint").contains("name"));
        // Nothing is written into a namespace of somebody else's.
        assert_eq!(api.calls().len(), 2);
    }
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone() {
    let api = FakeApi::willing().but(scenarios::written_by_another("clusterroles", "helm"));
    let failure = everything(&api).await.expect_err("refused");
    assert!(failure.what.contains("ClusterRole `kyanos-abcde` exists"), "{}", failure.what);
    assert!(failure.what.contains("helm"), "{}", failure.what);
    assert!(api.calls().iter().all(|call| !call.uri.contains("force=true")));
    assert_eq!(api.calls_about("clusterroles").len(), 1);
}

#[tokio::test]
async fn a_forbidden_write_names_the_rule_and_where_all_rules_are() {
    let message = "clusterroles is forbidden: attempt to grant extra privileges: nodes [list]";
    let api = FakeApi::willing().but(scenarios::writes_forbidden("clusterroles", message));
    let failure = everything(&api).await.expect_err("refused");
    assert!(failure.what.contains(message));
    assert!(failure.hint.expect("a hint").contains("deployer.yaml"));
}

#[tokio::test]
async fn a_namespace_that_is_deleted_meanwhile_is_no_missing_right() {
    let message = "unable to create new content in namespace kyanos-abcde because it is being terminated";
    let api = FakeApi::willing().but(scenarios::namespace_ends("secrets", message));
    let failure = everything(&api).await.expect_err("refused");
    assert!(failure.what.starts_with("the session's namespace was deleted while it started"));
    assert_eq!(failure.hint, None);
    // The API server says it by a cause; the same words may come from anybody.
    let api = FakeApi::willing().but(scenarios::writes_forbidden("secrets", message));
    let failure = everything(&api).await.expect_err("refused");
    assert!(failure.what.contains("is forbidden") && failure.hint.is_some(), "{}", failure.what);
}

#[tokio::test(start_paused = true)]
async fn a_busy_api_server_is_asked_again_and_not_for_ever() {
    let api = FakeApi::willing().but(scenarios::restarting("jobs", 2));
    everything(&api).await.expect("a session");
    assert_eq!(api.calls_about("jobs").len(), 3);

    let api = FakeApi::willing().but(scenarios::busy("jobs", u32::MAX));
    let failure = everything(&api).await.expect_err("refused");
    assert!(failure.what.contains("too many"), "{}", failure.what);
    assert_eq!(api.calls_about("jobs").len(), usize::try_from(WRITE_RETRIES).expect("few") + 1);
}

#[tokio::test(start_paused = true)]
async fn a_binding_waits_until_its_role_is_seen() {
    let api = FakeApi::willing().but(scenarios::role_not_seen_yet(2));
    everything(&api).await.expect("a session");
    assert_eq!(api.calls_about("clusterrolebindings").len(), 3);
}

#[tokio::test]
async fn only_a_secret_for_pulling_is_copied() {
    let secret = |kind: &str, key: &str| {
        let data = json!({ key: "eyJhdXRocyI6e319" });
        json!({ "kind": "Secret", "apiVersion": "v1", "metadata": { "name": "r" }, "type": kind, "data": data })
    };
    let good = secret(PULL_TYPE, PULL_KEY);
    let other = secret("Opaque", "password");
    for (there, expected) in [
        (json!([good]), Ok("{\"auths\":{}}")),
        (json!([other]), Err("Opaque")),
        (json!([]), Err("no Secret")),
    ] {
        let api = FakeApi::willing().but(scenarios::holds("secrets", there));
        let connection = Connection { namespace: "shop".to_owned(), ..api.connection() };
        let wanted = PullSecret { namespace: None, name: "r".to_owned() };
        let read = pull_secret(&connection, &wanted).await;
        match (read, expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(failure), Err(expected)) => assert!(failure.what.contains(expected), "{}", failure.what),
            (read, _) => panic!("{read:?}"),
        }
        assert_eq!(api.calls()[0].uri, "/api/v1/namespaces/shop/secrets/r");
    }
}

#[test]
fn every_kind_of_the_templates_has_a_plural() {
    let values = values();
    for part in [
        Part::Namespace,
        Part::Deadman,
        Part::Service,
        Part::Secrets,
        Part::Rbac,
        Part::OpenShift,
        Part::NetworkPolicy,
        Part::Lease,
        Part::Hub,
        Part::Capturer,
    ] {
        for object in manifests::render(&values, part).expect("objects") {
            resource(&object).expect("a known kind");
        }
    }
}
