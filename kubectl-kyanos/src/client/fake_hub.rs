//! A hub that only heartbeats and describes itself, behind the session's mutual TLS, over in-memory connections.

use proto::launch::Identity;
use proto::v1;
use proto::v1::viewer_server::{Viewer, ViewerServer};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Certificate, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answered<T> = Result<Response<T>, Status>;

#[derive(Default)]
struct Fake {
    /// Whether it is of another wire revision than who asks.
    differs: bool,
}

/// Serves connections until the sender of them is dropped; a connection lives as long as its far end.
pub(crate) fn serve(hub: &Identity) -> mpsc::Sender<DuplexStream> {
    serve_as(hub, Fake::default())
}

/// The same as a hub of another wire revision.
pub(crate) fn serve_another_version(hub: &Identity) -> mpsc::Sender<DuplexStream> {
    serve_as(hub, Fake { differs: true })
}

fn serve_as(hub: &Identity, fake: Fake) -> mpsc::Sender<DuplexStream> {
    let (sender, connections) = mpsc::channel(8);
    let tls = ServerTlsConfig::new()
        .identity(tonic::transport::Identity::from_pem(&hub.certificate, &hub.key))
        .client_ca_root(Certificate::from_pem(&hub.authority));
    let mut server = Server::builder().tls_config(tls).expect("TLS");
    let connections = ReceiverStream::new(connections).map(Ok::<_, std::io::Error>);
    let serving = server.add_service(ViewerServer::new(fake)).serve_with_incoming(connections);
    tokio::spawn(async move { serving.await.expect("served") });
    sender
}

#[tonic::async_trait]
impl Viewer for Fake {
    type HeartbeatStream = Answers<v1::HeartbeatResponse>;
    type WatchStream = Answers<v1::WatchResponse>;
    type StatStream = Answers<v1::StatResponse>;
    type QueryStream = Answers<v1::QueryResponse>;
    type PullStream = Answers<v1::PullResponse>;

    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Answered<v1::DescribeResponse> {
        if self.differs {
            return Err(v1::RefusalKind::WireRevision
                .with_hint("wire revision 1 of the plugin, 2 of the hub", Some("use one version")));
        }
        let state = v1::DescribeResponse { wire_revision: proto::WIRE_REVISION, ..Default::default() };
        Ok(Response::new(state))
    }

    async fn heartbeat(
        &self,
        beats: Request<Streaming<v1::HeartbeatRequest>>,
    ) -> Answered<Self::HeartbeatStream> {
        let answers = beats.into_inner().map(|beat| beat.map(|_| v1::HeartbeatResponse::default()));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Answered<Self::WatchStream> {
        Err(Status::unimplemented("watch"))
    }

    async fn stat(&self, _: Request<v1::StatRequest>) -> Answered<Self::StatStream> {
        Err(Status::unimplemented("stat"))
    }

    async fn query(&self, _: Request<v1::QueryRequest>) -> Answered<Self::QueryStream> {
        Err(Status::unimplemented("query"))
    }

    async fn pull(&self, _: Request<v1::PullRequest>) -> Answered<Self::PullStream> {
        Err(Status::unimplemented("pull"))
    }

    async fn drain(&self, _: Request<v1::DrainSessionRequest>) -> Answered<v1::DrainSessionResponse> {
        Err(Status::unimplemented("drain"))
    }
}
