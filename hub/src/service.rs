//! The gRPC services on their listeners, and who may call them.

pub mod ingest;
pub mod peer;
pub mod resume;
mod stream;
pub mod viewer;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use proto::causes::with_causes;
use proto::launch::{INGEST_PORT, Identity, VIEWER_PORT};
use proto::v1::RefusalKind;
use proto::v1::ingest_server::IngestServer;
use proto::v1::peer_server::PeerServer;
use proto::v1::viewer_server::ViewerServer;
use proto::{ROLE_URI_PREFIX, WIRE_REVISION, role};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::{Router, TcpConnectInfo, TlsConnectInfo};
use tonic::transport::{Certificate, CertificateDer, Identity as TlsIdentity, Server, ServerTlsConfig};
use tonic::{Request, Status};
use webpki::EndEntityCert;

use self::ingest::IngestService;
use self::peer::PeerService;
use self::viewer::ViewerService;
use crate::session::Session;

/// Largest message taken from a capturer or plugin.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Pings hold connections open through forwarders and find dead ones.
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(10);

/// What to try where a certificate is for something else.
const CREDENTIALS_HINT: &str = "join a session with the credentials of that session";

/// What to try where two parts of a session are of different wire revisions.
const ONE_VERSION: &str = "plugin, hub and capturer are of one version: see `kubectl kyanos version`";

/// What goes wrong with the listeners.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A port could not be had.
    #[error("cannot listen")]
    Listen(#[source] std::io::Error),
    /// The identity given at launch is no certificate and key, or the server failed.
    #[error("cannot serve")]
    Serve(#[source] tonic::transport::Error),
}

/// Where the services listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Both on the loopback interface, on ports that the system chooses.
    Loopback,
    /// Ingest on all addresses of the pod, the viewer's on its loopback, on the ports that the manifests name.
    Pod,
}

/// Ports of the two services.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// For capturers.
    pub ingest: u16,
    /// For plugins.
    pub viewer: u16,
}

/// Serves a session until the process ends.
pub async fn serve(
    session: &Arc<Session>,
    identity: &Identity,
    place: Listen,
) -> Result<Ports, ServiceError> {
    let ingest = serve_ingest(session, identity, place).await?;
    let viewer = serve_viewer(session, identity, place).await?;
    Ok(Ports { ingest, viewer })
}

/// Serves capturers, and the hub that leads, until the process ends; returns the port.
pub async fn serve_ingest(
    session: &Arc<Session>,
    identity: &Identity,
    place: Listen,
) -> Result<u16, ServiceError> {
    let listener = match place {
        Listen::Loopback => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
        Listen::Pod => listen_everywhere(INGEST_PORT).await,
    };
    let ingest = IngestServer::new(IngestService::new(Arc::clone(session)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let peer = PeerServer::new(PeerService::new(Arc::clone(session)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let server = server(identity)?
        .add_service(InterceptedService::new(ingest, |request| only(role::CAPTURER, request)))
        .add_service(InterceptedService::new(peer, |request| only(role::HUB, request)));
    run("ingest", listener, server)
}

/// Serves plugins until the process ends; returns the port.
pub async fn serve_viewer(
    session: &Arc<Session>,
    identity: &Identity,
    place: Listen,
) -> Result<u16, ServiceError> {
    let port = match place {
        Listen::Loopback => 0,
        Listen::Pod => VIEWER_PORT,
    };
    let viewer = ViewerServer::new(ViewerService::new(Arc::clone(session)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let server =
        server(identity)?.add_service(InterceptedService::new(viewer, |request| only(role::VIEWER, request)));
    run("viewer", TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await, server)
}

fn run(
    name: &'static str,
    listener: std::io::Result<TcpListener>,
    server: Router,
) -> Result<u16, ServiceError> {
    let listener = listener.map_err(ServiceError::Listen)?;
    let port = listener.local_addr().map_err(ServiceError::Listen)?.port();
    tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming(incoming(listener)).await {
            tracing::error!(error = with_causes(&error), service = name, "a service ended");
        }
    });
    Ok(port)
}

/// Listens on both families, or on IPv4 alone where the kernel has no other.
async fn listen_everywhere(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        result => result,
    }
}

/// Connections without delay for small messages: an exchange is on screen when it happened.
fn incoming(
    listener: TcpListener,
) -> impl tokio_stream::Stream<Item = std::io::Result<tokio::net::TcpStream>> {
    use tokio_stream::StreamExt as _;
    TcpListenerStream::new(listener).map(|connection| {
        connection.inspect(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
        })
    })
}

fn server(identity: &Identity) -> Result<Server, ServiceError> {
    let Identity { authority, certificate, key } = identity;
    let tls = ServerTlsConfig::new()
        .identity(TlsIdentity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(authority));
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_PERIOD))
        .tls_config(tls)
        .map_err(ServiceError::Serve)
}

/// Lets a request pass whose certificate, checked against the session's authority before, carries a role.
fn only(role: &'static str, request: Request<()>) -> Result<Request<()>, Status> {
    let certificates = request
        .extensions()
        .get::<TlsConnectInfo<TcpConnectInfo>>()
        .and_then(TlsConnectInfo::peer_certs)
        .ok_or_else(|| RefusalKind::Role.status("no client certificate"))?;
    let found = certificates.first().map(roles).unwrap_or_default();
    if found.iter().any(|found| found == role) {
        Ok(request)
    } else {
        let message = format!("this service is for the role `{role}`, not {found:?}");
        Err(RefusalKind::Role.with_hint(message, Some(CREDENTIALS_HINT)))
    }
}

/// Refuses whoever is of another wire revision.
fn same_revision(found: u32, whose: &str) -> Result<(), Status> {
    if found == WIRE_REVISION {
        return Ok(());
    }
    let message = format!("wire revision {found} of the {whose}, {WIRE_REVISION} of the hub");
    Err(RefusalKind::WireRevision.with_hint(message, Some(ONE_VERSION)))
}

/// Roles in a certificate's subject alternative names.
fn roles(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let uris = certificate.valid_uri_names();
    uris.filter_map(|uri| uri.strip_prefix(ROLE_URI_PREFIX)).map(str::to_owned).collect()
}
