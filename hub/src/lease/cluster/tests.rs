//! Against a faked API: conflicts, refusals, and a namespace that does not end.

use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use kube::client::Body;
use proto::launch::{HubLaunch, HubPlace, Identity, StoreChoice};
use proto::v1;
use serde_json::Value;
use tower_test::mock;

use super::*;
use crate::lease::{LEASE_PERIOD, Over, RENEW_PERIOD, Terms, keep, win};
use crate::session::{Lag, Session};

/// What was asked, as in `PUT leases/session`, with bodies.
type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// A cluster whose API answers what the test says.
fn fake(answer: impl FnMut(&str) -> (u16, Value) + Send + 'static) -> (Cluster, Seen) {
    fake_of(false, answer)
}

/// The same, of a session with several hubs where asked for.
fn fake_of(several: bool, mut answer: impl FnMut(&str) -> (u16, Value) + Send + 'static) -> (Cluster, Seen) {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let path = parts.uri.path().trim_start_matches("/api/v1/namespaces/kyanos-a/");
            let path = path.rsplit_once("/kyanos-a/").map_or(path, |(_, rest)| rest);
            let asked = format!("{} {path}", parts.method);
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (code, value) = answer(&asked);
            record.lock().unwrap().push((asked, body));
            let mut response = Response::new(Body::from(value.to_string().into_bytes()));
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            send.send_response(response);
        }
    });
    let client = Client::new(service, "default");
    (Cluster::new(client, "kyanos-a".to_owned(), "hub-1".to_owned(), several), seen)
}

fn status(code: u16) -> (u16, Value) {
    let failure = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "No", "code": code});
    (code, failure)
}

fn lease(holder: &str) -> (u16, Value) {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "session"}, "spec": {"holderIdentity": holder, "leaseTransitions": 3}});
    (200, lease)
}

fn job() -> (u16, Value) {
    let started = Timestamp::now().to_string();
    (
        200,
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "deadman", "creationTimestamp": started}}),
    )
}

fn list(items: &[Value]) -> (u16, Value) {
    (200, json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}))
}

fn count(seen: &Seen, asked: &str) -> usize {
    seen.lock().unwrap().iter().filter(|(line, _)| line == asked).count()
}

fn launch() -> HubLaunch {
    HubLaunch {
        session: "a".to_owned(),
        place: HubPlace::Cluster { namespace: "kyanos-a".to_owned() },
        identity: Identity { authority: String::new(), certificate: String::new(), key: String::new() },
        store: StoreChoice::None,
        store_limit: 0,
        max_store_bytes: 64,
        payload_bytes: 64,
        keep: false,
        ttl_seconds: 0,
        filter: v1::Filter::default(),
        redaction: v1::Redaction::default(),
        sample: 0,
        tracing: v1::Tracing::default(),
        hubs: 1,
    }
}

async fn session() -> Arc<Session> {
    Session::begin(&launch()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_once_more() {
    let mut conflicts = 1;
    let (cluster, seen) = fake(move |asked| match asked {
        "PUT leases/session" if conflicts > 0 => {
            conflicts -= 1;
            status(409)
        }
        _ => lease("hub-0"),
    });
    cluster.renew().await.unwrap();
    assert_eq!((count(&seen, "GET leases/session"), count(&seen, "PUT leases/session")), (2, 2));
    let written = seen.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(written["spec"]["holderIdentity"], "hub-1");
    assert_eq!(written["spec"]["leaseTransitions"], 4);

    let (cluster, seen) = fake(|asked| if asked.starts_with("PUT") { status(409) } else { lease("hub-1") });
    assert!(matches!(cluster.renew().await, Err(LeaseError::Api(error)) if code(&error) == Some(409)));
    assert_eq!(count(&seen, "PUT leases/session"), 2);
}

#[tokio::test(start_paused = true)]
async fn the_switch_counts_from_the_jobs_start() {
    let (cluster, seen) = fake(|_| job());
    cluster.extend(Duration::from_mins(5)).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(|(asked, _)| asked.as_str()).collect::<Vec<_>>(), ["PATCH jobs/deadman"; 2]);
    let seconds = seen[1].1["spec"]["activeDeadlineSeconds"].as_i64().unwrap();
    assert!((300..330).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_silent_is_given_up_in_time() {
    let (service, _handle) = mock::pair::<Request<Body>, Response<Body>>();
    let cluster =
        Cluster::new(Client::new(service, "default"), "kyanos-a".to_owned(), "hub-1".to_owned(), false);
    let began = tokio::time::Instant::now();
    assert!(matches!(cluster.renew().await, Err(LeaseError::Silent)));
    assert_eq!(began.elapsed().as_secs(), API_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_refused_switch_stops_neither_the_lease_nor_the_end() {
    let mut namespaces = 1;
    let (cluster, seen) = fake(move |asked| match asked {
        _ if asked.starts_with("PATCH") => status(403),
        "GET leases/session" | "PUT leases/session" => lease("hub-1"),
        "GET /api/v1/namespaces" if namespaces > 0 => {
            namespaces -= 1;
            list(&[json!({"metadata": {"name": "kyanos-a", "uid": "u"}})])
        }
        _ if asked.starts_with("GET") => list(&[]),
        _ => status(404),
    });
    let session = Session::begin(&launch()).await.unwrap();
    let terms = Terms::of(&launch());
    let kept = tokio::spawn(keep(cluster, Arc::clone(&session), terms, None));
    let plugin = session.viewers.connect();
    tokio::time::sleep(RENEW_PERIOD * 5 + RENEW_PERIOD / 2).await;
    assert_eq!((count(&seen, "PUT leases/session"), count(&seen, "PATCH jobs/deadman")), (6, 6));
    drop(plugin);
    let silent = tokio::time::Instant::now();
    kept.await.unwrap();
    assert!(
        silent.elapsed() >= LEASE_PERIOD && silent.elapsed() < LEASE_PERIOD * 2,
        "{:?}",
        silent.elapsed()
    );
    let deleted = seen.lock().unwrap();
    let (_, body) = deleted.iter().find(|(asked, _)| asked == "DELETE /api/v1/namespaces/kyanos-a").unwrap();
    assert_eq!(body["preconditions"]["uid"], "u");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_does_not_end_is_looked_after_until_it_does() {
    let mut left = 4;
    let (cluster, seen) = fake(move |asked| match asked {
        "GET /api/v1/namespaces" => {
            left -= 1;
            let ending = json!({"metadata": {"name": "kyanos-a", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
            list(&[ending][..usize::from(left > 0)])
        }
        "DELETE /api/v1/namespaces/kyanos-a" => status(409),
        "GET pods" => {
            // The second node is lost after the first look.
            let pod = |name: &str, node: &str| {
                let part = name.split('-').next();
                let owner =
                    json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": CAPTURER, "uid": "set"}]);
                let owners = if part == Some(CAPTURER) { owner } else { Value::Null };
                json!({"metadata": {"name": name, "uid": name, "labels": {COMPONENT: part}, "ownerReferences": owners}, "spec": {"nodeName": node, "containers": []}})
            };
            list(&[
                pod("capturer-1", "one"),
                pod("capturer-2", "two"),
                pod("hub-0", "two"),
                pod("hub-1", "one"),
            ])
        }
        "GET /api/v1/nodes" => {
            let two = if left == 4 { "True" } else { "Unknown" };
            let node = |name: &str, ready: &str| json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            list(&[node("one", "True"), node("two", two)])
        }
        _ => status(404),
    });
    let session = Session::begin(&launch()).await.unwrap();
    keep(cluster, session, Terms::of(&launch()), None).await;
    assert_eq!(count(&seen, "DELETE /api/v1/namespaces/kyanos-a"), 3);
    let seen = seen.lock().unwrap();
    let graces = |pod: &str| {
        let deleted = seen.iter().filter(|(asked, _)| asked == &format!("DELETE pods/{pod}"));
        deleted.map(|(_, body)| body["gracePeriodSeconds"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    for (asked, body) in seen.iter().filter(|(asked, _)| asked.starts_with("DELETE")) {
        let name = asked.rsplit('/').next().unwrap();
        let uid = match name {
            CAPTURER => "set",
            "kyanos-a" => "u",
            pod => pod,
        };
        assert_eq!(body["preconditions"]["uid"], uid, "{asked}");
    }
    assert_eq!(graces("capturer-1"), [1, 1, 1, 1]);
    assert_eq!(graces("capturer-2"), [1, 0, 0, 0]);
    // The hub that was on the lost node; the one that asks goes with the namespace.
    assert_eq!((graces("hub-0"), graces("hub-1")), (vec![0, 0, 0], vec![]));
    assert_eq!(seen.iter().filter(|(asked, _)| asked == "DELETE daemonsets/capturer").count(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_first_of_several_hubs_leads_and_the_next_one_waits() {
    let mut conflicts = 1;
    let (first, seen) = fake_of(true, move |asked| match asked {
        // Another hub was faster, and its pod is gone at once.
        "PUT leases/session" if conflicts > 0 => {
            conflicts -= 1;
            status(409)
        }
        "GET pods" => list(&[]),
        _ => {
            let (code, mut lease) = lease("");
            lease["spec"]["leaseTransitions"] = Value::Null;
            (code, lease)
        }
    });
    assert!(!win(&first, session().await.as_ref()).await.earlier);
    let written = seen.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(written["spec"]["holderIdentity"], "hub-1");

    let running = || list(&[json!({"metadata": {"name": "hub-0"}, "status": {"phase": "Running"}})]);
    let mut renewals = 0;
    let (second, seen) = fake_of(true, move |asked| match asked {
        "GET pods" => running(),
        "GET leases/session" => {
            // Renewed for a while, then no more.
            renewals += 1;
            let (code, mut lease) = lease("hub-0");
            lease["metadata"]["resourceVersion"] = renewals.min(8).to_string().into();
            (code, lease)
        }
        _ => lease("hub-1"),
    });
    let began = tokio::time::Instant::now();
    assert!(win(&second, session().await.as_ref()).await.earlier);
    assert!(began.elapsed().as_secs() >= 50, "{:?}", began.elapsed());
    assert_eq!(count(&seen, "PUT leases/session"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_left_alone_looks_at_once() {
    let mut looks = 0;
    let (cluster, _) = fake_of(true, move |asked| match asked {
        "GET pods" => list(&[json!({"metadata": {"name": "hub-0"}, "status": {"phase": "Running"}})]),
        "GET leases/session" => {
            looks += 1;
            // Given up after the first look, with no name left of who had it.
            lease(if looks > 1 { "" } else { "hub-0" })
        }
        _ => lease("hub-1"),
    });
    let session = session().await;
    session.leaders.is_away();
    let began = tokio::time::Instant::now();
    assert!(win(&cluster, &session).await.earlier);
    assert!(began.elapsed().as_secs() < 1, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hub_whose_pod_is_gone_is_followed_by_the_next_at_once() {
    for pods in [
        json!([]),
        json!([{"metadata": {"name": "hub-0", "deletionTimestamp": "2026-01-01T00:00:00Z"}}]),
        json!([{"metadata": {"name": "hub-0"}, "status": {"phase": "Failed"}}]),
    ] {
        let pods = pods.as_array().unwrap().clone();
        let (cluster, _) = fake_of(true, move |asked| match asked {
            "GET pods" => list(&pods),
            _ => lease("hub-0"),
        });
        let began = tokio::time::Instant::now();
        assert!(win(&cluster, session().await.as_ref()).await.earlier);
        assert!(began.elapsed().as_secs() < 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_another_one_deposed_deletes_nothing() {
    let mut ours = 3;
    let (cluster, seen) = fake_of(true, move |asked| match asked {
        "GET leases/session" => {
            ours -= 1;
            lease(if ours > 0 { "hub-1" } else { "hub-2" })
        }
        "PUT leases/session" => lease("hub-1"),
        _ => job(),
    });
    let session = Session::begin(&launch()).await.unwrap();
    let _plugin = session.viewers.connect();
    assert_eq!(keep(cluster, Arc::clone(&session), Terms::of(&launch()), Some(false)).await, Over::Deposed);
    assert_eq!(count(&seen, "PUT leases/session"), 2);
    assert!(seen.lock().unwrap().iter().all(|(asked, _)| !asked.starts_with("DELETE")));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_up_by_its_holder_alone() {
    let (cluster, seen) = fake_of(true, |_| lease("hub-2"));
    cluster.give_up().await.unwrap();
    assert_eq!(count(&seen, "PUT leases/session"), 0);
    let (cluster, seen) = fake_of(true, |_| lease("hub-1"));
    cluster.give_up().await.unwrap();
    assert_eq!(seen.lock().unwrap().last().unwrap().1["spec"]["holderIdentity"], "");
}

#[tokio::test(start_paused = true)]
async fn a_kept_sessions_time_goes_on_where_its_hub_is_started_anew() {
    let minutes = |minutes| Duration::from_mins(minutes);
    let noted = Arc::new(Mutex::new(None));
    let run = async |ended: Option<Timestamp>| {
        let note = Arc::clone(&noted);
        let (cluster, seen) = fake(move |asked| match asked {
            "GET leases/session" => {
                let (code, mut lease) = lease("hub-1");
                if let Some(ended) = ended {
                    lease["metadata"]["annotations"] = json!({CAPTURE_ENDED_ANNOTATION: ended.to_string()});
                }
                (code, lease)
            }
            "PUT leases/session" => lease("hub-1"),
            "PATCH jobs/deadman" => job(),
            _ if asked.starts_with("GET") => list(&[]),
            _ => status(404),
        });
        let session = Session::begin(&launch()).await.unwrap();
        let began = tokio::time::Instant::now();
        let terms = Terms { keep: Some(minutes(60)) };
        assert_eq!(keep(cluster, session, terms, Some(true)).await, Over::Gone);
        let seen = seen.lock().unwrap();
        let of = |body: &Value| {
            body["metadata"]["annotations"][CAPTURE_ENDED_ANNOTATION].as_str().map(str::to_owned)
        };
        *note.lock().unwrap() = seen.iter().find_map(|(_, body)| of(body));
        began.elapsed()
    };
    // Its first hub waits out silence and then the whole time, and notes the end.
    let whole = run(None).await;
    assert!(whole >= LEASE_PERIOD + minutes(60) && whole < LEASE_PERIOD + minutes(61), "{whole:?}");
    assert!(noted.lock().unwrap().as_ref().is_some_and(|at| at.parse::<Timestamp>().is_ok()));
    // The next one goes on from there, on the clock that the note was written by.
    let earlier = Timestamp::now().checked_sub(minutes(50)).unwrap();
    let rest = run(Some(earlier)).await;
    assert!(rest >= minutes(9) && rest <= minutes(11), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_capture_is_noted_whoever_writes_in_between() {
    let mut conflicts = 1;
    let (cluster, seen) = fake(move |asked| match asked {
        "PUT leases/session" if conflicts > 0 => {
            conflicts -= 1;
            status(409)
        }
        _ => lease("hub-1"),
    });
    let at = Timestamp::now();
    cluster.note_end(at).await.unwrap();
    assert_eq!(notes(&seen), [Some(at.to_string()), Some(at.to_string())]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_capture_is_noted_once_the_api_takes_it() {
    for refusal in [409, 500, 403] {
        let mut refusals = 4;
        let (cluster, seen) = fake(move |asked| match asked {
            "PUT leases/session" if refusals > 0 => {
                refusals -= 1;
                status(refusal)
            }
            "GET leases/session" | "PUT leases/session" => lease("hub-1"),
            "PATCH jobs/deadman" => job(),
            _ if asked.starts_with("GET") => list(&[]),
            _ => status(404),
        });
        assert_eq!(outlive(cluster).await, Over::Gone);
        let notes = notes(&seen);
        assert!(notes.iter().skip(4).any(Option::is_some), "{refusal}: {notes:?}");
        let first = notes.iter().flatten().next();
        assert!(notes.iter().flatten().all(|at| Some(at) == first), "one end: {notes:?}");
        assert!(count(&seen, "DELETE daemonsets/capturer") > 0, "the capturers are removed after it");
    }
}

#[tokio::test(start_paused = true)]
async fn capturers_are_removed_by_whoever_may_not_note_the_end() {
    let (cluster, seen) = fake(move |asked| match asked {
        "GET leases/session" => lease("hub-1"),
        "PUT leases/session" => status(403),
        "PATCH jobs/deadman" => job(),
        _ if asked.starts_with("GET") => list(&[]),
        _ => status(404),
    });
    let kept = tokio::spawn(outlive(cluster));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!kept.is_finished() && count(&seen, "DELETE daemonsets/capturer") > 0);
    assert_eq!(kept.await.unwrap(), Over::Gone);
}

/// Keeps a session that is to be there for five minutes after its capture, which has ended.
async fn outlive(cluster: Cluster) -> Over {
    let session = Session::begin(&launch()).await.unwrap();
    session.drain("whoever", Duration::from_secs(1), Lag::GivenUp).await;
    let terms = Terms { keep: Some(Duration::from_mins(5)) };
    keep(cluster, session, terms, Some(true)).await
}

/// What each write of the Lease said of the end of capture.
fn notes(seen: &Seen) -> Vec<Option<String>> {
    let seen = seen.lock().unwrap();
    let written = seen.iter().filter(|(asked, _)| asked == "PUT leases/session");
    let note =
        |body: &Value| body["metadata"]["annotations"][CAPTURE_ENDED_ANNOTATION].as_str().map(str::to_owned);
    written.map(|(_, body)| note(body)).collect()
}
