//! Forwarding of ports as API servers do it, over WebSocket: channel 0 carries bytes, channel 1 what went wrong.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::request::Parts;
use http::{Request, Response};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use proto::launch::VIEWER_PORT;
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server;

use super::State;

/// Bytes in flight in each direction.
const BUFFER_BYTES: usize = 64 * 1024;

/// Opens a connection of its own for a request, whose far end echoes, or says why not.
pub(super) async fn open(parts: Parts, api: Arc<State>, refusal: Option<&'static str>) -> Response<Body> {
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    tokio::spawn(serve(far, api, refusal));
    let (mut sender, connection) = handshake(TokioIo::new(near)).await.expect("a connection");
    tokio::spawn(connection.with_upgrades());
    let answer = sender.send_request(Request::from_parts(parts, Body::empty())).await.expect("an answer");
    answer.map(|_upgraded| Body::empty())
}

async fn serve(stream: DuplexStream, api: Arc<State>, refusal: Option<&'static str>) {
    #[expect(clippy::result_large_err, reason = "the handshake's own type")]
    let protocol = |_: &server::Request, mut response: server::Response| {
        let value = "v4.channel.k8s.io".parse().expect("a header");
        response.headers_mut().insert("sec-websocket-protocol", value);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, protocol).await.expect("a handshake");
    let [low, high] = VIEWER_PORT.to_le_bytes();
    for channel in [0, 1] {
        socket.send(Message::binary(vec![channel, low, high])).await.expect("begun");
    }
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
