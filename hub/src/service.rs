//! The two gRPC services on their listeners, and who may call them.

pub mod ingest;
pub mod viewer;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use proto::launch::{INGEST_PORT, Identity, VIEWER_PORT};
use proto::v1::ingest_server::IngestServer;
use proto::v1::viewer_server::ViewerServer;
use proto::{ROLE_URI_PREFIX, role};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::transport::{Certificate, Identity as TlsIdentity, Server, ServerTlsConfig};
use tonic::{Request, Status};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use self::ingest::IngestService;
use self::viewer::ViewerService;
use crate::session::Session;

/// Largest message taken from a capturer or plugin.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Pings hold connections open through forwarders and find dead ones.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

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
    let (ingest, viewer) = listen(place).await?;
    let ports = Ports {
        ingest: ingest.local_addr().map_err(ServiceError::Listen)?.port(),
        viewer: viewer.local_addr().map_err(ServiceError::Listen)?.port(),
    };
    let ingest_service = IngestServer::new(IngestService::new(Arc::clone(session)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let ingest_server = server(identity)?
        .add_service(InterceptedService::new(ingest_service, |request| only(role::CAPTURER, request)));
    let viewer_service = ViewerServer::new(ViewerService::new(Arc::clone(session)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let viewer_server = server(identity)?
        .add_service(InterceptedService::new(viewer_service, |request| only(role::VIEWER, request)));
    for (name, served) in [
        ("ingest", tokio::spawn(ingest_server.serve_with_incoming(incoming(ingest)))),
        ("viewer", tokio::spawn(viewer_server.serve_with_incoming(incoming(viewer)))),
    ] {
        tokio::spawn(async move {
            if let Ok(Err(error)) = served.await {
                tracing::error!(%error, service = name, "a service ended");
            }
        });
    }
    Ok(ports)
}

async fn listen(place: Listen) -> Result<(TcpListener, TcpListener), ServiceError> {
    let loopback = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let both = match place {
        Listen::Loopback => (loopback(0).await, loopback(0).await),
        Listen::Pod => (listen_everywhere(INGEST_PORT).await, loopback(VIEWER_PORT).await),
    };
    Ok((both.0.map_err(ServiceError::Listen)?, both.1.map_err(ServiceError::Listen)?))
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
    Server::builder().http2_keepalive_interval(Some(KEEP_ALIVE)).tls_config(tls).map_err(ServiceError::Serve)
}

/// Lets a request pass whose certificate, checked against the session's authority before, carries a role.
fn only(role: &'static str, request: Request<()>) -> Result<Request<()>, Status> {
    let certificates = request
        .extensions()
        .get::<TlsConnectInfo<TcpConnectInfo>>()
        .and_then(TlsConnectInfo::peer_certs)
        .ok_or_else(|| Status::unauthenticated("no client certificate"))?;
    let found = certificates.first().map(|certificate| roles(certificate)).unwrap_or_default();
    if found.iter().any(|found| found == role) {
        Ok(request)
    } else {
        Err(Status::permission_denied(format!("this service is for the role `{role}`, not {found:?}")))
    }
}

/// Roles in a certificate's subject alternative names.
fn roles(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(ROLE_URI_PREFIX),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::DNSName(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    });
    uris.map(str::to_owned).collect()
}
