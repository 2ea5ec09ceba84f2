//! The one connection to a session's hub: mutual TLS, and the calls of the viewer service.

use std::time::Duration;

use hub::store::StoreError;
use proto::launch::Identity;
use proto::v1;
use proto::v1::viewer_client::ViewerClient;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;
use tonic::Streaming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::failure::Failure;
use crate::session::Notice;

/// Largest message a hub sends.
const MAX_MESSAGE: usize = 64 << 20;

/// Bytes in flight per stream: a second of full load, so that a busy terminal does not stall the hub.
const STREAM_WINDOW: u32 = 4 << 20;

/// How often the hub hears that this plugin lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Longest wait for a connection on loopback.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often and how many times a broken heartbeat is tried again before the hub counts as gone.
const RETRY: (Duration, u32) = (Duration::from_millis(300), 5);

/// A connected viewer.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    inner: ViewerClient<Channel>,
}

// === impl Client ===

impl Client {
    /// Connects to the viewer service on this machine.
    pub(crate) async fn connect(identity: &Identity, port: u16) -> Result<Self, Failure> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&identity.authority))
            .identity(tonic::transport::Identity::from_pem(&identity.certificate, &identity.key))
            .domain_name(proto::SERVER_NAME);
        let refused = |error: &tonic::transport::Error| {
            Failure::new(format!("connecting to the hub failed: {}", with_sources(error)))
        };
        let channel = Endpoint::from_shared(format!("https://127.0.0.1:{port}"))
            .map_err(|error| refused(&error))?
            .tls_config(tls)
            .map_err(|error| refused(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(HEARTBEAT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW)
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|error| refused(&error))?;
        Ok(Self { inner: ViewerClient::new(channel).max_decoding_message_size(MAX_MESSAGE) })
    }

    /// Returns the session's state, and refuses a hub of another wire revision.
    pub(crate) async fn describe(&mut self) -> Result<v1::DescribeResponse, Failure> {
        let request = v1::DescribeRequest { wire_revision: proto::WIRE_REVISION };
        let state = self.inner.describe(request).await.map_err(|status| failure(&status))?.into_inner();
        if state.wire_revision != proto::WIRE_REVISION {
            return Err(Failure::new(format!(
                "the session's hub speaks wire revision {}, this plugin {}",
                state.wire_revision,
                proto::WIRE_REVISION
            ))
            .hint(format!("use the plugin of version {} that started it", state.version)));
        }
        Ok(state)
    }

    /// Opens a live stream.
    pub(crate) async fn watch(
        &mut self,
        request: v1::WatchRequest,
    ) -> Result<Streaming<v1::WatchResponse>, Failure> {
        Ok(self.inner.watch(request).await.map_err(|status| failure(&status))?.into_inner())
    }

    /// Opens a stream of aggregates.
    pub(crate) async fn stat(
        &mut self,
        request: v1::StatRequest,
    ) -> Result<Streaming<v1::StatResponse>, Failure> {
        Ok(self.inner.stat(request).await.map_err(|status| failure(&status))?.into_inner())
    }

    /// Runs one statement and hands every part of its result to `take`, which ends it by `false`.
    pub(crate) async fn query(
        &mut self,
        sql: &str,
        take: &mut dyn FnMut(v1::QueryResponse) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let request = v1::QueryRequest { sql: sql.to_owned() };
        let mut stream = self.inner.query(request).await.map_err(|status| refused(&status))?.into_inner();
        while let Some(part) = stream.message().await.map_err(|status| refused(&status))? {
            if !take(part)? {
                break;
            }
        }
        Ok(())
    }

    /// Streams the whole store.
    pub(crate) async fn pull(&mut self) -> Result<Streaming<v1::PullResponse>, Failure> {
        Ok(self.inner.pull(v1::PullRequest {}).await.map_err(|status| failure(&status))?.into_inner())
    }

    /// Ends capture and waits until all is delivered and stored.
    pub(crate) async fn drain(
        &mut self,
        by: String,
        timeout: Duration,
    ) -> Result<v1::DrainSessionResponse, Failure> {
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let request = v1::DrainSessionRequest { by, timeout_ns };
        Ok(self.inner.drain(request).await.map_err(|status| failure(&status))?.into_inner())
    }

    /// Heartbeats until the session ends, and tells `notices` when it does.
    pub(crate) async fn keep_alive(mut self, notices: mpsc::Sender<Notice>) {
        let mut failures = 0;
        let mut last = Failure::new("the hub closed the connection");
        while failures < RETRY.1 {
            let beats =
                IntervalStream::new(tokio::time::interval(HEARTBEAT)).map(|_| v1::HeartbeatRequest {});
            match self.inner.heartbeat(beats).await {
                Ok(answers) => {
                    let mut answers = answers.into_inner();
                    loop {
                        match answers.message().await {
                            Ok(Some(answer)) if answer.ended_by.is_empty() => failures = 0,
                            Ok(Some(answer)) => {
                                notices.send(Notice::Ended(answer.ended_by)).await.ok();
                                return;
                            }
                            Ok(None) => break,
                            Err(status) => {
                                last = failure(&status);
                                break;
                            }
                        }
                    }
                }
                Err(status) => last = failure(&status),
            }
            failures += 1;
            tokio::time::sleep(RETRY.0).await;
        }
        notices.send(Notice::Lost(last)).await.ok();
    }
}

/// Takes the next item of a stream; `None` at its end.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Failure> {
    stream.message().await.map_err(|status| failure(&status))
}

/// Turns a refusal of the hub into words; its code says who is to blame.
fn failure(status: &tonic::Status) -> Failure {
    use tonic::Code;
    let (code, message) = (status.code(), status.message());
    if code == Code::InvalidArgument {
        return Failure::usage(message);
    }
    if code == Code::Unavailable {
        return Failure::new(format!("the hub does not answer: {message}"));
    }
    if matches!(code, Code::PermissionDenied | Code::Unauthenticated) {
        return Failure::new(format!("the hub refuses: {message}"));
    }
    if message.is_empty() { Failure::new(format!("the hub failed: {code}")) } else { Failure::new(message) }
}

/// Turns the hub's answer to a statement into the words that the same statement gets on a file.
fn refused(status: &tonic::Status) -> Failure {
    let message = status.message().to_owned();
    // Only the hint is taken: the message is the store's own already.
    let reason = String::new();
    let code = status.code();
    let known = if code == tonic::Code::InvalidArgument {
        StoreError::Statement { message: reason }
    } else if code == tonic::Code::PermissionDenied {
        StoreError::ReadOnly { message: reason }
    } else if code == tonic::Code::DeadlineExceeded {
        StoreError::TimedOut { seconds: 0 }
    } else if code == tonic::Code::Unavailable && message.contains("store") {
        StoreError::Unreachable { reason }
    } else if code == tonic::Code::FailedPrecondition && message.contains("read-only login") {
        StoreError::NoReader { reason }
    } else if code == tonic::Code::FailedPrecondition {
        return Failure::new(message)
            .hint("`watch` stores; `stat` and `overview` do with `--save`, `--keep` or `--store`");
    } else {
        return failure(status);
    };
    match known.hint() {
        Some(hint) => Failure::new(message).hint(hint),
        None => Failure::new(message),
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;
    use crate::failure::FAILED;

    #[test]
    fn a_refused_statement_reads_as_it_does_on_a_file() {
        let message = "the store is read-only here: not authorized";
        let found = refused(&Status::permission_denied(message));
        let on_file = StoreError::ReadOnly { message: "not authorized".to_owned() };
        assert_eq!((found.what.as_str(), found.exit), (message, FAILED));
        assert_eq!((found.what, found.hint.as_deref()), (on_file.to_string(), on_file.hint()));
        let wrong = refused(&Status::invalid_argument("no such table: x"));
        assert_eq!((wrong.what.as_str(), wrong.hint, wrong.exit), ("no such table: x", None, FAILED));
        let late = StoreError::TimedOut { seconds: 30 };
        let found = refused(&Status::deadline_exceeded(late.to_string()));
        assert_eq!((found.what, found.hint.as_deref()), (late.to_string(), late.hint()));
        let reader = StoreError::NoReader { reason: "no grant".to_owned() };
        let found = refused(&Status::failed_precondition(reader.to_string()));
        assert_eq!((found.what, found.hint.as_deref()), (reader.to_string(), reader.hint()));
        let none = refused(&Status::failed_precondition("this session has no store"));
        assert!(none.hint.is_some_and(|hint| hint.contains("--keep")));
        assert!(refused(&Status::unavailable("broken pipe")).what.starts_with("the hub does not answer"));
    }
}
