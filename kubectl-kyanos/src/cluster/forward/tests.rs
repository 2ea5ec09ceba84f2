//! A fake API server that forwards a port as a real one does, over WebSocket, and lets go of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tower::Service;

use super::*;

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

/// What the fake API server does.
#[derive(Default)]
struct Api {
    pods: Mutex<Vec<Value>>,
    /// The hub that leads.
    leader: Mutex<Option<&'static str>>,
    /// What the kubelet says instead of forwarding.
    refusal: Mutex<Option<&'static str>>,
    forwards: AtomicUsize,
    /// The paths that were forwarded.
    paths: Mutex<Vec<String>>,
    /// Lets go of what is forwarded.
    cut: tokio::sync::Notify,
}

async fn serve(api: Arc<Api>) -> kube::Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(Arc::clone(&api), stream));
        }
    });
    let config = kube::Config::new(format!("http://{address}").parse().expect("an address"));
    kube::Client::try_from(config).expect("a client")
}

async fn answer(api: Arc<Api>, mut stream: TcpStream) {
    let mut head = [0; 512];
    let seen = stream.peek(&mut head).await.expect("a request");
    let line = String::from_utf8_lossy(&head[..seen]).lines().next().unwrap_or_default().to_owned();
    if line.contains("/portforward") {
        return forward(&api, stream, line).await;
    }
    let answer = if line.contains("/leases/session") {
        let leader = *api.leader.lock().expect("unpoisoned");
        json!({ "metadata": { "name": "session" }, "spec": { "holderIdentity": leader } })
    } else {
        json!({ "metadata": {}, "items": *api.pods.lock().expect("unpoisoned") })
    };
    let answer = answer.to_string();
    let mut rest = vec![0; 4096];
    let _read = stream.read(&mut rest).await.expect("a request");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    );
    stream.write_all(answer.as_bytes()).await.expect("answered");
}

/// Echoes what comes on the data channel.
async fn forward(api: &Api, stream: TcpStream, line: String) {
    api.forwards.fetch_add(1, Ordering::Relaxed);
    api.paths.lock().expect("unpoisoned").push(line);
    #[expect(clippy::result_large_err, reason = "the handshake's own type")]
    let protocol = |_: &Request, mut response: Response| {
        let value = "v4.channel.k8s.io".parse().expect("a header");
        response.headers_mut().insert("sec-websocket-protocol", value);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, protocol).await.expect("a handshake");
    let [low, high] = VIEWER_PORT.to_le_bytes();
    for channel in [0, 1] {
        socket.send(Message::binary(vec![channel, low, high])).await.expect("begun");
    }
    let refusal = *api.refusal.lock().expect("unpoisoned");
    if let Some(refusal) = refusal {
        let mut said = vec![1];
        said.extend(refusal.as_bytes());
        socket.send(Message::binary(said)).await.expect("said");
        // The connection stays open, as some kubelets leave it.
        std::future::pending::<()>().await;
    }
    loop {
        tokio::select! {
            Some(Ok(message)) = socket.next() => {
                if let Message::Binary(bytes) = message {
                    socket.send(Message::Binary(bytes)).await.expect("echoed");
                }
            }
            () = api.cut.notified() => return,
        }
    }
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
    let api = Arc::new(Api::default());
    *api.pods.lock().expect("unpoisoned") = vec![pod("hub-1", true, false, false)];
    let client = serve(Arc::clone(&api)).await;
    let mut forward = Forward::new(&client, "abcde");
    let mut stream = open(&mut forward).await.expect("a stream");
    assert_eq!(&echo(&mut stream).await.expect("an echo"), b"hello");
    api.cut.notify_waiters();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await;
    assert_eq!(ended.expect("the stream ends").expect("an end"), 0);
    *api.pods.lock().expect("unpoisoned") =
        vec![pod("hub-1", true, true, false), pod("hub-2", true, false, false)];
    let mut stream = open(&mut forward).await.expect("a stream");
    assert_eq!(&echo(&mut stream).await.expect("an echo"), b"hello");
    let paths = api.paths.lock().expect("unpoisoned");
    assert_eq!(paths.len(), 2);
    assert!(paths[0].contains("/namespaces/kyanos-abcde/pods/hub-1/portforward?"), "{}", paths[0]);
    assert!(paths[1].contains("/pods/hub-2/"), "{}", paths[1]);
}

#[tokio::test]
async fn what_the_kubelet_says_ends_the_stream_and_is_kept() {
    let api = Arc::new(Api::default());
    *api.pods.lock().expect("unpoisoned") = vec![pod("hub-1", true, false, false)];
    *api.refusal.lock().expect("unpoisoned") = Some("connection refused\n");
    let client = serve(Arc::clone(&api)).await;
    let mut forward = Forward::new(&client, "abcde");
    let mut stream = open(&mut forward).await.expect("a stream");
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await;
    assert_eq!(ended.expect("the stream ends").expect("an end"), 0);
    assert_eq!(forward.trouble().as_deref(), Some("connection refused"));
}

#[tokio::test]
async fn several_hubs_are_tried_in_turn() {
    let api = Arc::new(Api::default());
    *api.pods.lock().expect("unpoisoned") =
        vec![pod("hub-1", true, false, false), pod("hub-2", true, false, false)];
    let client = serve(Arc::clone(&api)).await;
    let mut forward = Forward::new(&client, "abcde");
    for _ in 0..2 {
        open(&mut forward).await.expect("a stream");
    }
    let paths = api.paths.lock().expect("unpoisoned");
    assert!(paths[0].contains("/hub-1/") && paths[1].contains("/hub-2/"), "{paths:?}");
}

#[tokio::test]
async fn of_several_hubs_the_one_that_leads_is_asked_first() {
    let api = Arc::new(Api::default());
    *api.pods.lock().expect("unpoisoned") =
        vec![pod("hub-1", true, false, false), pod("hub-2", true, false, false)];
    *api.leader.lock().expect("unpoisoned") = Some("hub-2");
    let client = serve(Arc::clone(&api)).await;
    let mut forward = Forward::new(&client, "abcde");
    open(&mut forward).await.expect("a stream");
    // A leader that is gone is not waited for.
    *api.leader.lock().expect("unpoisoned") = Some("hub-0");
    open(&mut forward).await.expect("a stream");
    open(&mut forward).await.expect("a stream");
    let paths = api.paths.lock().expect("unpoisoned");
    let hubs: Vec<_> = paths.iter().map(|path| if path.contains("/hub-1/") { 1 } else { 2 }).collect();
    assert_eq!(hubs, [2, 2, 1]);
}

#[tokio::test]
async fn without_a_hub_nothing_is_forwarded() {
    let api = Arc::new(Api::default());
    let client = serve(Arc::clone(&api)).await;
    let mut forward = Forward::new(&client, "abcde");
    assert!(matches!(open(&mut forward).await, Err(ForwardError::NoPod)));
    assert_eq!(api.forwards.load(Ordering::Relaxed), 0);
}
