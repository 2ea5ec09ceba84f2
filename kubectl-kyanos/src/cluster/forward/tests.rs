//! Which hub is forwarded to, and what becomes of a forwarded port that is let go of.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Service;

use super::*;
use crate::cluster::fake_api::{FakeApi, scenarios};

fn pod(name: &str, runs: bool, leaving: bool, silent: bool) -> Value {
    let state =
        if runs { json!({ "running": {} }) } else { json!({ "waiting": { "reason": "ContainerCreating" } }) };
    let status = if silent { "NodeNotReady" } else { "ContainersNotReady" };
    let mut pod = json!({
        "metadata": { "name": name },
        "status": {
            // The store of this pod is not up yet.
            "phase": "Pending",
            "conditions": [{ "type": "Ready", "status": "False", "reason": status }],
            "containerStatuses": [
                { "name": "hub", "image": "h", "imageID": "", "ready": runs, "restartCount": 0, "state": state },
            ],
        },
    });
    if leaving {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    pod
}

fn read(pods: &[Value]) -> Vec<Pod> {
    pods.iter().map(|pod| serde_json::from_value(pod.clone()).expect("a pod")).collect()
}

#[test]
fn only_hubs_that_run_and_stay_are_asked_and_those_that_answer_first() {
    let pods = read(&[
        pod("starting", false, false, false),
        pod("leaving", true, true, false),
        pod("silent", true, false, true),
        pod("b", true, false, false),
        pod("a", true, false, false),
    ]);
    assert_eq!(running(&pods), ["a", "b"]);
    // A node that was silent a moment ago is better than nothing.
    assert_eq!(running(&pods[..3]), ["silent"]);
    assert!(running(&pods[..2]).is_empty());
}

/// An API server with these hubs.
fn with_hubs(hubs: &[Value]) -> FakeApi {
    FakeApi::willing().but(scenarios::holds("pods", json!(hubs)))
}

/// The paths that were forwarded.
fn forwarded(api: &FakeApi) -> Vec<String> {
    let forwards = api.calls_about("pods").into_iter().filter(|call| call.target().part.is_some());
    forwards.map(|call| call.uri).collect()
}

async fn open(forward: &mut Forward) -> Result<DuplexStream, ForwardError> {
    forward.call(Uri::from_static("https://hub")).await.map(TokioIo::into_inner)
}

async fn echo(stream: &mut DuplexStream) -> std::io::Result<[u8; 5]> {
    stream.write_all(b"hello").await?;
    let mut read = [0; 5];
    stream.read_exact(&mut read).await?;
    Ok(read)
}

#[tokio::test]
async fn a_port_forward_that_dies_ends_its_stream_and_the_next_goes_to_the_new_pod() {
    let api = with_hubs(&[pod("hub-1", true, false, false)]);
    let mut forward = Forward::new(&api.client(), "abcde");
    let mut stream = open(&mut forward).await.expect("a stream");
    assert_eq!(&echo(&mut stream).await.expect("an echo"), b"hello");
    api.cut();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await;
    assert_eq!(ended.expect("the stream ends").expect("an end"), 0);
    let after = json!([pod("hub-1", true, true, false), pod("hub-2", true, false, false)]);
    api.add_rule(scenarios::holds("pods", after));
    let mut stream = open(&mut forward).await.expect("a stream");
    assert_eq!(&echo(&mut stream).await.expect("an echo"), b"hello");
    let paths = forwarded(&api);
    assert_eq!(paths.len(), 2);
    assert!(paths[0].contains("/namespaces/kyanos-abcde/pods/hub-1/portforward?"), "{}", paths[0]);
    assert!(paths[1].contains("/pods/hub-2/"), "{}", paths[1]);
}

#[tokio::test]
async fn what_the_kubelet_says_ends_the_stream_and_is_kept() {
    let api = with_hubs(&[pod("hub-1", true, false, false)])
        .but(scenarios::kubelet_refuses("connection refused\n"));
    let mut forward = Forward::new(&api.client(), "abcde");
    let mut stream = open(&mut forward).await.expect("a stream");
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await;
    assert_eq!(ended.expect("the stream ends").expect("an end"), 0);
    assert_eq!(forward.trouble().as_deref(), Some("connection refused"));
}

#[tokio::test]
async fn several_hubs_are_tried_in_turn() {
    let api = with_hubs(&[pod("hub-1", true, false, false), pod("hub-2", true, false, false)]);
    let mut forward = Forward::new(&api.client(), "abcde");
    for _ in 0..2 {
        open(&mut forward).await.expect("a stream");
    }
    let paths = forwarded(&api);
    assert!(paths[0].contains("/hub-1/") && paths[1].contains("/hub-2/"), "{paths:?}");
}

#[tokio::test]
async fn of_several_hubs_the_one_that_leads_is_asked_first() {
    let api = with_hubs(&[pod("hub-1", true, false, false), pod("hub-2", true, false, false)])
        .but(scenarios::led_by("hub-2"));
    let mut forward = Forward::new(&api.client(), "abcde");
    open(&mut forward).await.expect("a stream");
    // A leader that is gone is not waited for.
    api.add_rule(scenarios::led_by("hub-0"));
    open(&mut forward).await.expect("a stream");
    open(&mut forward).await.expect("a stream");
    let paths = forwarded(&api);
    let hubs: Vec<_> = paths.iter().map(|path| if path.contains("/hub-1/") { 1 } else { 2 }).collect();
    assert_eq!(hubs, [2, 2, 1]);
}

#[tokio::test]
async fn without_a_hub_nothing_is_forwarded() {
    let api = FakeApi::willing();
    let mut forward = Forward::new(&api.client(), "abcde");
    assert!(matches!(open(&mut forward).await, Err(ForwardError::NoPod)));
    assert!(forwarded(&api).is_empty());
}
