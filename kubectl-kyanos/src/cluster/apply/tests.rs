//! What is written in which order, who owns it, and what is said when the API server refuses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::cluster::request::{Images, Request as Wanted};

type Calls = Arc<Mutex<Vec<(Method, String, Value)>>>;

/// A fake API server that answers by method and path, and keeps what was asked.
fn server(answer: impl Fn(&Method, &str, &Value) -> (u16, Value) + Send + 'static) -> (kube::Client, Calls) {
    let calls: Calls = Arc::default();
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let seen = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            let (method, path) = (request.method().clone(), request.uri().to_string());
            let body = request.into_body().collect_bytes().await.expect("a body");
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let (code, answer) = answer(&method, &path, &body);
            seen.lock().expect("unpoisoned").push((method, path, body));
            let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
            send.send_response(answer.expect("a response"));
        }
    });
    (kube::Client::new(service, "default"), calls)
}

fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": message, "code": code,
    });
    (code, status)
}

/// Answers a write with the object, a UID made of its name, and an address.
fn made(body: &Value) -> (u16, Value) {
    let mut object = body.clone();
    object["metadata"]["uid"] = json!(format!("uid-{}", body["metadata"]["name"].as_str().expect("a name")));
    if object["kind"] == "Service" {
        object["spec"]["clusterIP"] = json!("10.0.0.7");
    }
    (201, object)
}

fn values() -> Values {
    let request = Wanted {
        name: "abcde".to_owned(),
        images: Images { hub: "h".to_owned(), capturer: "c".to_owned(), store: "s".to_owned() },
        own_store: true,
        timeout: Duration::from_mins(2),
        ..Wanted::default()
    };
    Values::new(&request, "jane").expect("values")
}

async fn everything(client: kube::Client) -> Result<String, Failure> {
    everything_told(client, &|_| {}).await
}

async fn everything_told(client: kube::Client, tell: Tell<'_>) -> Result<String, Failure> {
    let values = values();
    let uid = create_namespace(&client, &values).await?;
    let mut applier = Applier::new(client, &values, &uid, tell);
    applier.foundation(&values).await?;
    let address = applier.surroundings(&values, false).await?;
    applier.hub(&values).await?;
    applier.capturers(&values).await?;
    Ok(address)
}

#[tokio::test]
async fn each_object_is_told_once_it_is_written() {
    let told = Mutex::new(Vec::new());
    let (client, calls) = server(|_, _, body| made(body));
    everything_told(client, &|line| told.lock().expect("unpoisoned").push(line.to_owned()))
        .await
        .expect("a session");
    let told = told.into_inner().expect("unpoisoned");
    // All but the Namespace, which is made before.
    assert_eq!(told.len(), calls.lock().expect("unpoisoned").len() - 1);
    assert_eq!(told.first().map(String::as_str), Some("made Job deadman"));
    assert_eq!(told.last().map(String::as_str), Some("made DaemonSet capturer"));
}

#[tokio::test]
async fn owners_are_written_before_what_they_own() {
    let (client, calls) = server(|_, _, body| made(body));
    assert_eq!(everything(client).await.expect("a session"), "10.0.0.7");
    let calls = calls.lock().expect("unpoisoned");
    let (method, path, _) = &calls[0];
    assert_eq!((method, path.as_str()), (&Method::POST, "/api/v1/namespaces?&fieldManager=kubectl-kyanos"));
    let mut switched = false;
    for (method, path, body) in &calls[1..] {
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
    let place = |word: &str| calls.iter().position(|(_, path, _)| path.contains(word)).expect(word);
    let last = |word: &str| calls.iter().rposition(|(_, path, _)| path.contains(word)).expect(word);
    assert!(last("/serviceaccounts/") < place("/deployments/"));
    assert!(place("/secrets/hub") < place("/deployments/"));
    for (role, binding) in [("/roles/", "/rolebindings/"), ("/clusterroles/", "/clusterrolebindings/")] {
        assert!(place(role) < place(binding), "{binding}");
    }
    assert!(place("/services/hub") < place("/secrets/capturer"));
    assert!(place("/secrets/capturer") < place("/daemonsets/"));
    assert_eq!(calls.iter().filter(|(_, path, _)| path.contains("/secrets/capturer")).count(), 1);
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
        let (client, calls) = server(move |method, _, _| match *method {
            Method::GET => (200, json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": metadata })),
            _ => status(409, "AlreadyExists", "namespaces \"kyanos-abcde\" already exists"),
        });
        let failure = everything(client).await.expect_err("refused");
        assert_eq!(failure.what, expected);
        assert!(failure.hint.expect("a hint").contains("name"));
        // Nothing is written into a namespace of somebody else's.
        assert_eq!(calls.lock().expect("unpoisoned").len(), 2);
    }
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone() {
    let (client, calls) = server(|_, path, body| {
        if path.contains("/clusterroles/") {
            return status(409, "Conflict", "Apply failed with 1 conflict: conflict with \"helm\": .rules");
        }
        made(body)
    });
    let failure = everything(client).await.expect_err("refused");
    assert!(failure.what.contains("ClusterRole `kyanos-abcde` exists"), "{}", failure.what);
    assert!(failure.what.contains("helm"), "{}", failure.what);
    let calls = calls.lock().expect("unpoisoned");
    assert!(calls.iter().all(|(_, path, _)| !path.contains("force=true")));
    assert_eq!(calls.iter().filter(|(_, path, _)| path.contains("/clusterroles/")).count(), 1);
}

#[tokio::test]
async fn a_forbidden_write_names_the_rule_and_where_all_rules_are() {
    let message = "clusterroles is forbidden: attempt to grant extra privileges: nodes [list]";
    let (client, _) =
        server(
            move |_, path, body| {
                if path.contains("/clusterroles/") { status(403, "Forbidden", message) } else { made(body) }
            },
        );
    let failure = everything(client).await.expect_err("refused");
    assert!(failure.what.contains(message));
    assert!(failure.hint.expect("a hint").contains("deployer.yaml"));
}

#[tokio::test]
async fn a_namespace_that_is_deleted_meanwhile_is_no_missing_right() {
    let message = "unable to create new content in namespace kyanos-abcde because it is being terminated";
    let (client, _) =
        server(
            move |_, path, body| {
                if path.contains("/secrets/") { status(403, "Forbidden", message) } else { made(body) }
            },
        );
    let failure = everything(client).await.expect_err("refused");
    assert!(failure.what.starts_with("the session's namespace was deleted while it started"));
    assert_eq!(failure.hint, None);
}

#[tokio::test(start_paused = true)]
async fn a_busy_api_server_is_asked_again_and_not_for_ever() {
    let tries = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&tries);
    let (client, _) = server(move |_, path, body| {
        let mut tries = counted.lock().expect("unpoisoned");
        if path.contains("/jobs/") {
            *tries += 1;
            if *tries < 3 {
                return status(503, "ServiceUnavailable", "the server is shutting down");
            }
        }
        made(body)
    });
    everything(client).await.expect("a session");
    assert_eq!(*tries.lock().expect("unpoisoned"), 3);

    let (client, calls) =
        server(
            |_, path, body| {
                if path.contains("/jobs/") { status(429, "TooManyRequests", "too many") } else { made(body) }
            },
        );
    let failure = everything(client).await.expect_err("refused");
    assert!(failure.what.contains("too many"), "{}", failure.what);
    let calls = calls.lock().expect("unpoisoned");
    let tries = calls.iter().filter(|(_, path, _)| path.contains("/jobs/")).count();
    assert_eq!(tries, usize::try_from(RETRIES).expect("few") + 1);
}

#[tokio::test(start_paused = true)]
async fn a_binding_waits_until_its_role_is_seen() {
    let tries = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&tries);
    let (client, _) = server(move |_, path, body| {
        let mut tries = counted.lock().expect("unpoisoned");
        if path.contains("/clusterrolebindings/") {
            *tries += 1;
            if *tries < 3 {
                return status(404, "NotFound", "clusterrolebindings \"kyanos-abcde\" not found");
            }
        }
        made(body)
    });
    everything(client).await.expect("a session");
    assert_eq!(*tries.lock().expect("unpoisoned"), 3);
}

#[tokio::test]
async fn only_a_secret_for_pulling_is_copied() {
    let secret = |kind: &str, key: &str| {
        let data = json!({ key: "eyJhdXRocyI6e319" });
        json!({ "kind": "Secret", "apiVersion": "v1", "metadata": { "name": "r" }, "type": kind, "data": data })
    };
    let good = secret(PULL_TYPE, PULL_KEY);
    let other = secret("Opaque", "password");
    for (answer, expected) in [
        ((200, good), Ok("{\"auths\":{}}")),
        ((200, other), Err("Opaque")),
        (status(404, "NotFound", "none"), Err("no Secret")),
    ] {
        let (client, calls) = server(move |_, _, _| answer.clone());
        let connection = Connection {
            client,
            namespace: "shop".to_owned(),
            server: "https://x".to_owned(),
            owner: "jane".to_owned(),
        };
        let wanted = PullSecret { namespace: None, name: "r".to_owned() };
        let read = pull_secret(&connection, &wanted).await;
        match (read, expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(failure), Err(expected)) => assert!(failure.what.contains(expected), "{}", failure.what),
            (read, _) => panic!("{read:?}"),
        }
        assert_eq!(calls.lock().expect("unpoisoned")[0].1, "/api/v1/namespaces/shop/secrets/r");
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
