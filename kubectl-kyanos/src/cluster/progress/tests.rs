//! Pods that do not come up, as a fake API server shows them.

use serde_json::{Value, json};

use super::*;
use crate::cluster::fake_api::{Call, FakeApi, scenarios};

fn progress(ready: &[&str], failed: &[(&str, &str)], waiting: &[(&str, Option<&str>)]) -> NodeProgress {
    let owned = |text: &str| text.to_owned();
    NodeProgress {
        ready: ready.iter().map(|node| owned(node)).collect(),
        failed: failed.iter().map(|(node, reason)| (owned(node), owned(reason))).collect(),
        waiting: waiting.iter().map(|(node, reason)| (owned(node), reason.map(owned))).collect(),
    }
}

#[test]
fn progress_counts_every_node_once_and_names_what_is_waited_for() {
    let some = progress(&["a"], &[("b", "no BTF")], &[("c", None), ("d", Some("image is pulled"))]);
    assert_eq!(some.line(), "capturers 1/4 ready");
    assert_eq!(some.nodes(), ["a", "b", "c", "d"]);
    assert_eq!(some.waits_for().as_deref(), Some("d: image is pulled"));
    assert_eq!(progress(&["a"], &[], &[("c", None)]).waits_for(), None);
}

#[test]
fn nodes_that_fail_alike_are_told_together() {
    let all = progress(&[], &[("a", "no BTF"), ("b", "no memory"), ("c", "no BTF")], &[]);
    assert_eq!(all.failures(), ["a, c: no BTF", "b: no memory"]);
    assert_eq!(none(&all).what, "no capturer starts: a, c: no BTF; b: no memory");
}

/// The last words of every container.
const LOG: &str = "{\"level\":\"ERROR\",\"fields\":{\"message\":\"cannot start\",\"error\":\"no BTF\"}}\n";

/// An API server with these pods.
fn with_pods(pods: Value) -> FakeApi {
    FakeApi::willing().but(scenarios::holds("pods", pods))
}

fn pod(component: &str, node: &str, state: &Value, restarts: i32) -> Value {
    json!({
        "metadata": {
            "name": format!("{component}-{node}"),
            "labels": { "app.kubernetes.io/component": component },
        },
        "spec": { "nodeName": node, "containers": [] },
        "status": { "containerStatuses": [{
            "name": component, "image": "example.com/x:1", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state,
        }] },
    })
}

/// Looks until the hub is given up, and returns why and how long that took.
async fn given_up(pods: &mut Pods) -> (Failure, Duration) {
    let began = Instant::now();
    loop {
        if let Err(failure) = pods.hub().await {
            return (failure, began.elapsed());
        }
        assert!(began.elapsed() < PROBLEM_PATIENCE * 3, "it is waited for without end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_whose_image_is_not_there_is_given_up_at_once_and_one_that_may_come_is_waited_for() {
    let state = |word: &str, said: &str| json!({ "waiting": { "reason": word, "message": said } });
    let missing = state(
        "ImagePullBackOff",
        "Back-off pulling image \"example.com/x:1\": ErrImagePull: example.com/x:1: not found",
    );
    let api = with_pods(json!([pod("hub", "n1", &missing, 0)]));
    let (failure, after) = given_up(&mut Pods::follow(&api.client(), "abcde")).await;
    assert!(failure.what.starts_with("the hub does not start: image `example.com/x:1` cannot be pulled"));
    assert!(failure.hint.expect("a hint").contains("--image-registry"));
    assert!(after < Duration::from_secs(2), "{after:?}");

    let busy = state("ErrImagePull", "i/o timeout");
    let api = with_pods(json!([pod("hub", "n1", &busy, 0)]));
    let mut pods = Pods::follow(&api.client(), "abcde");
    let (failure, after) = given_up(&mut pods).await;
    assert!(failure.what.contains("i/o timeout"));
    assert!(after >= PROBLEM_PATIENCE, "{after:?}");
    assert!(!pods.hub_runs());
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_refused_are_explained_by_the_event_of_their_workload() {
    let event = |name: &str, message: &str| {
        json!({
            "metadata": { "name": name }, "message": message, "reason": "FailedCreate",
            "involvedObject": { "name": name, "kind": "ReplicaSet" },
        })
    };
    let events = json!([event("hub-5d9", "exceeded\n quota"), event("hubble", "not ours")]);
    let api = FakeApi::willing().but(scenarios::holds("events", events));
    let (failure, after) = given_up(&mut Pods::follow(&api.client(), "abcde")).await;
    assert_eq!(failure.what, "no pod of the hub can be made: exceeded quota");
    assert!(after > PROBLEM_PATIENCE, "{after:?}");
    let asked = api.calls_about("events");
    assert!(asked.iter().any(|call| call.uri.contains("/namespaces/kyanos-abcde/events?")), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_capturer_that_crashes_tells_its_last_words_and_fails_only_its_node() {
    let crashed = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
    let pods =
        json!([pod("capturer", "n1", &json!({ "running": {} }), 0), pod("capturer", "n2", &crashed, 3)]);
    let api = with_pods(pods).but(scenarios::logs(LOG));
    let mut pods = Pods::follow(&api.client(), "abcde");
    pods.known.changed().await.expect("pods");
    let nodes = ["n1", "n2", "n3"].map(str::to_owned);
    let progress = pods.capturers(&nodes, &BTreeSet::from(["n1".to_owned()])).await;
    assert_eq!(progress.line(), "capturers 1/3 ready");
    assert_eq!(progress.failures(), ["n2: it ended with exit code 1: cannot start: no BTF"]);
    assert_eq!(progress.waiting.keys().collect::<Vec<_>>(), ["n3"]);
    let asked = api.calls_about("pods");
    assert!(asked.iter().any(|call| call.uri.contains("/pods/capturer-n2/log?")), "{asked:?}");
    let watches = asked.iter().filter(|call| call.is_watch()).count();
    assert_eq!(watches, 1, "one watch, whatever is asked");
}

#[tokio::test(start_paused = true)]
async fn pods_are_followed_on_after_a_watch_that_broke() {
    let running = json!({ "running": {} });
    let api = with_pods(json!([pod("hub", "n1", &running, 0)]))
        .but(scenarios::holds_at_first("pods", json!([])))
        .but(scenarios::watch_expires());
    let mut pods = Pods::follow(&api.client(), "abcde");
    while !pods.hub_runs() {
        pods.known.changed().await.expect("pods");
    }
    let asked: Vec<&str> = api.calls_about("pods").iter().map(Call::verb).collect();
    assert_eq!(asked[..3], ["list", "watch", "list"]);
}

/// Looks at the store until it is given up, for as long as a problem may last; returns after what time and why.
async fn store_given_up(state: &Value) -> Option<(Duration, String)> {
    let mut hub = pod("hub", "n1", state, 0);
    hub["status"]["containerStatuses"][0]["name"] = json!("store");
    let api = with_pods(json!([hub]));
    let mut pods = Pods::follow(&api.client(), "abcde");
    pods.known.changed().await.expect("pods");
    let began = Instant::now();
    while began.elapsed() < PROBLEM_PATIENCE * 2 {
        if let Some((reason, hint)) = pods.store_trouble() {
            assert!(hint.contains("--store-image"), "{hint}");
            return Some((began.elapsed(), reason));
        }
        tokio::time::sleep(NODES_POLL).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_pulled_is_given_up_and_one_that_is_being_pulled_is_not() {
    let state = |word: &str, said: &str| json!({ "waiting": { "reason": word, "message": said } });
    let back_off = |said: &str| format!("Back-off pulling image \"example.com/x:1\": ErrImagePull: {said}");
    for (word, said) in [
        ("InvalidImageName", "couldn't parse image name".to_owned()),
        ("ErrImageNeverPull", String::new()),
        ("ImagePullBackOff", back_off("example.com/x:1: not found")),
        ("ImagePullBackOff", back_off("401 Unauthorized")),
    ] {
        let (after, reason) = store_given_up(&state(word, &said)).await.expect(word);
        assert!(after < NODES_POLL && reason.contains("example.com/x:1"), "{word}: {after:?} {reason}");
    }
    // What may pass by itself has its time.
    for (word, said) in
        [("ErrImagePull", "i/o timeout".to_owned()), ("ImagePullBackOff", back_off("no such host"))]
    {
        let (after, reason) = store_given_up(&state(word, &said)).await.expect(word);
        assert!(after >= PROBLEM_PATIENCE, "{word}: {after:?}");
        assert!(reason.contains("i/o timeout") || reason.contains("no such host"), "{reason}");
    }
    for state in [state("ContainerCreating", ""), json!({ "running": {} })] {
        assert_eq!(store_given_up(&state).await, None, "{state}");
    }
}
