//! One connection to the hub, from dialling to its end.

use bytes::{Buf, BufMut, Bytes};
use proto::launch::Identity;
use proto::v1::{CapturerSettings, Folding, NodePods, Refusal, UplinkResponse, uplink_response};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use std::time::Duration;

use super::UplinkError;

/// Time to connect. One repetition of a lost packet fits in: where the hub's address leads nowhere yet, the next attempt
/// is worth more than waiting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a silent connection is asked whether it lives; it also holds a port-forward open.
const PING_PERIOD: Duration = Duration::from_secs(10);

/// How long the answer may take.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// The method, as the service's definition names it.
const METHOD: &str = "/kyanos.v1.Ingest/Uplink";

/// Where the hub is and who we are.
#[derive(Clone, Debug)]
pub struct Address {
    /// `HOST:PORT`.
    pub hub: String,
    /// Our identity.
    pub identity: Identity,
}

/// What a connection says.
#[derive(Debug)]
pub(super) enum Said {
    /// The hub answered; the connection is up.
    Settings(Box<CapturerSettings>),
    /// Batches up to this one are taken.
    Acknowledged(u64),
    /// Pods of this node.
    Pods(NodePods),
    /// Sums are wanted, or exchanges again.
    Folding(Folding),
    /// The capture is to end.
    Drain,
    /// Another hub takes over, at this address.
    Move(String),
    /// The connection is over; nothing follows.
    Over(UplinkError),
}

/// Runs a connection until it ends or nobody listens; `hello` goes first, then what comes from `batches`.
pub(super) async fn run(
    address: Address,
    hello: Bytes,
    batches: mpsc::Receiver<Bytes>,
    said: mpsc::Sender<Said>,
) {
    let outcome = tokio::select! {
        outcome = converse(&address, hello, batches, &said) => outcome,
        () = said.closed() => return,
    };
    let over = outcome.err().unwrap_or(UplinkError::Closed);
    // A receiver that is gone wants nothing more.
    said.send(Said::Over(over)).await.ok();
}

async fn converse(
    address: &Address,
    hello: Bytes,
    batches: mpsc::Receiver<Bytes>,
    said: &mpsc::Sender<Said>,
) -> Result<(), UplinkError> {
    let channel = dial(address).await?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| UplinkError::connect(&error))?;
    let requests = tokio_stream::once(hello).chain(ReceiverStream::new(batches));
    let path = PathAndQuery::from_static(METHOD);
    let response = client
        .streaming(tonic::Request::new(requests), path, Encoded)
        .await
        .map_err(|status| refused(&status))?;
    let mut responses = response.into_inner();
    while let Some(UplinkResponse { kind }) = responses.message().await.map_err(|status| refused(&status))? {
        let message = match kind {
            Some(uplink_response::Kind::Settings(settings)) => {
                if settings.wire_revision != proto::WIRE_REVISION {
                    return Err(UplinkError::Revision { hub: settings.wire_revision });
                }
                Said::Settings(Box::new(settings))
            }
            Some(uplink_response::Kind::Acknowledged(sequence)) => Said::Acknowledged(sequence),
            Some(uplink_response::Kind::Pods(pods)) => Said::Pods(pods),
            Some(uplink_response::Kind::Folding(folding)) => Said::Folding(folding),
            Some(uplink_response::Kind::Drain(_)) => Said::Drain,
            Some(uplink_response::Kind::Move(to)) => Said::Move(to.hub),
            None => continue,
        };
        if said.send(message).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn dial(address: &Address) -> Result<Channel, UplinkError> {
    let Identity { authority, certificate, key } = &address.identity;
    let tls = ClientTlsConfig::new()
        .domain_name(proto::SERVER_NAME)
        .ca_certificate(Certificate::from_pem(authority))
        .identity(tonic::transport::Identity::from_pem(certificate, key));
    Endpoint::from_shared(format!("https://{}", address.hub))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(|source| UplinkError::Address { hub: address.hub.clone(), source })?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_PERIOD)
        .keep_alive_timeout(PONG_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(|error| UplinkError::connect(&error))
}

/// Tells refusals, which no repetition changes, from failures.
fn refused(status: &Status) -> UplinkError {
    let reason = status.message().to_owned();
    match Refusal::of(status) {
        Some(refusal) if refusal.kind().is_passing() => UplinkError::Broken { reason },
        Some(refusal) => {
            UplinkError::Refused { reason, hint: refusal.try_this().unwrap_or_default().to_owned() }
        }
        None => unexplained(status.code(), reason),
    }
}

/// Does the same for what no hub of this version said.
fn unexplained(code: Code, reason: String) -> UplinkError {
    let another_version = |reason| UplinkError::Refused { reason, hint: super::ONE_VERSION.to_owned() };
    match code {
        Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument => {
            another_version(reason)
        }
        Code::Unimplemented => another_version("it is no hub".to_owned()),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => {
            UplinkError::Broken { reason: if reason.is_empty() { code.to_string() } else { reason } }
        }
    }
}

/// Requests that are encoded already, so that a batch is kept, sent and sent again as one buffer.
#[derive(Clone, Copy, Debug, Default)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = UplinkResponse;
    type Encoder = Encoded;
    type Decoder = Encoded;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Encoded {
        Encoded
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, mut item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.reserve(item.remaining());
        into.put(&mut item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = UplinkResponse;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<UplinkResponse>, Status> {
        <UplinkResponse as prost::Message>::decode(from)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::RefusalKind;

    use super::*;

    #[test]
    fn only_what_the_hub_refuses_for_good_is_final() {
        let all: Vec<RefusalKind> = (1..100).filter_map(|kind| RefusalKind::try_from(kind).ok()).collect();
        assert!(all.iter().any(|kind| kind.is_passing()) && !all.iter().all(|kind| kind.is_passing()));
        for kind in all {
            let error = refused(&kind.with_hint("wire revision, role, filter", Some("do that")));
            assert_eq!(error.is_final(), !kind.is_passing(), "{kind:?}");
            assert_eq!(error.hint().is_some(), error.is_final(), "{kind:?}");
        }
    }

    #[test]
    fn another_versions_refusal_is_final_and_the_transports_word_is_not() {
        let earlier = refused(&Status::failed_precondition("wire revision 5 of the capturer, 4 of the hub"));
        assert!(earlier.is_final() && earlier.hint().is_some());
        assert!(refused(&Status::unimplemented("")).is_final());
        for away in [Status::unavailable("refused"), Status::unknown(""), Status::cancelled("role")] {
            assert!(!refused(&away).is_final(), "{away}");
        }
    }
}
