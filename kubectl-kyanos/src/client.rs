//! The one connection to a session's hub: mutual TLS, and the calls of the viewer service.

use std::io;
use std::time::Duration;

use proto::account::{AccountError, Balance};
use proto::causes::{self, with_causes};
use proto::launch::{Identity, VIEWER_PORT};
use proto::v1::viewer_client::ViewerClient;
use proto::v1::{self, Refusal, RefusalKind};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;
use tonic::Streaming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};

use crate::failure::Failure;
use crate::session::Notice;
use crate::session::witness::{Witness, Word};
use crate::sight::HubWord;

/// Largest message a hub sends.
const MAX_MESSAGE: usize = 64 << 20;

/// Bytes in flight per stream: a second of full load, so that a busy terminal does not stall the hub. Through the API
/// server no more, since what is in flight is lost when the stream breaks, as far as the hub has not kept it.
const FORWARDED_WINDOW: u32 = 4 << 20;

/// The same on this machine, where nothing breaks: what waits for a plugin that gets no CPU waits in its own memory, and
/// not in the hub's, which is bounded more tightly.
const LOCAL_WINDOW: u32 = 32 << 20;

/// What to try where a hub cannot be understood.
const SAME_VERSION_HINT: &str = "use the plugin of the version that started the session";

/// How often the hub hears that this plugin lives.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(10);

/// Longest wait for the answer to an HTTP/2 ping before a connection counts as broken.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection breaks that was open.
const BREAK_KINDS: [io::ErrorKind; 4] = [
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::ConnectionReset,
    // Without the farewell of TLS.
    io::ErrorKind::UnexpectedEof,
];

/// What to try where the hub speaks as no hub of this version does.
const ONE_VERSION: &str = "plugin, hub and capturer are of one version: see `kubectl kyanos version`";

/// How a broken connection is treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Longest wait for a connection.
    connect: Duration,
    /// Between two attempts.
    pause: Duration,
    /// Silence after which the hub counts as gone.
    lost: Duration,
    /// The same while the cluster says that the session stands: another node may be starting its hub.
    standing: Duration,
}

/// A connected viewer.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    inner: ViewerClient<Channel>,
    patience: Patience,
}

// === impl Patience ===

impl Patience {
    /// On loopback: a hub that does not answer at once is gone.
    pub(crate) const LOOPBACK: Self = Self {
        connect: Duration::from_secs(5),
        pause: Duration::from_millis(300),
        lost: Duration::from_millis(1500),
        standing: Duration::from_millis(1500),
    };

    /// Through a port-forward: the session lives for a lease period without a word, and so long a new hub or a new
    /// path is waited for; while it stands, as long as a lost node takes to be noticed and its hub's image to be pulled
    /// elsewhere. Connecting takes several round trips over the API server.
    pub(crate) const FORWARDED: Self = Self {
        connect: Duration::from_secs(15),
        pause: Duration::from_secs(1),
        lost: Duration::from_mins(1),
        standing: Duration::from_mins(3),
    };
}

// === impl Client ===

impl Client {
    /// Connects to the viewer service on this machine.
    pub(crate) async fn connect(identity: &Identity, port: u16) -> Result<Self, Failure> {
        let patience = Patience::LOOPBACK;
        let endpoint = endpoint(identity, port, patience, LOCAL_WINDOW)?.tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(|error| unreachable(&error))?;
        Ok(Self::new(channel, patience))
    }

    /// Connects to the viewer service over what `connector` opens, now and whenever a connection broke.
    pub(crate) async fn connect_over<C>(identity: &Identity, connector: C) -> Result<Self, Failure>
    where
        C: tower::Service<Uri> + Send + 'static,
        C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin,
        C::Future: Send,
        tower::BoxError: From<C::Error> + Send,
    {
        let patience = Patience::FORWARDED;
        let endpoint = endpoint(identity, VIEWER_PORT, patience, FORWARDED_WINDOW)?;
        let channel =
            endpoint.connect_with_connector(connector).await.map_err(|error| unreachable(&error))?;
        Ok(Self::new(channel, patience))
    }

    fn new(channel: Channel, patience: Patience) -> Self {
        Self { inner: ViewerClient::new(channel).max_decoding_message_size(MAX_MESSAGE), patience }
    }

    /// How a broken connection is treated.
    pub(crate) fn pause(&self) -> Duration {
        self.patience.pause
    }

    /// Returns the session's state, and refuses a hub of another wire revision.
    pub(crate) async fn describe(&mut self) -> Result<v1::DescribeResponse, Failure> {
        let request = v1::DescribeRequest { wire_revision: proto::WIRE_REVISION };
        let answer = self.inner.describe(request).await;
        let state = answer.map_err(|status| failure(&status))?.into_inner();
        if state.wire_revision != proto::WIRE_REVISION {
            return Err(Failure::new(format!(
                "the session's hub speaks wire revision {}, this plugin {}",
                state.wire_revision,
                proto::WIRE_REVISION
            ))
            .hint(format!("use the plugin of version {} that started it", state.version)));
        }
        readable(&state.balances)?;
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
        let mut stream = self.inner.query(request).await.map_err(|status| failure(&status))?.into_inner();
        while let Some(part) = stream.message().await.map_err(|status| failure(&status))? {
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

    /// Ends capture and waits until all is delivered and stored; where the store may lag, what it does not have yet goes on
    /// waiting until this is asked without.
    pub(crate) async fn drain(
        &mut self,
        by: String,
        timeout: Duration,
        store_may_lag: bool,
    ) -> Result<v1::DrainSessionResponse, Failure> {
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let request = v1::DrainSessionRequest { by, timeout_ns, store_may_lag };
        let answer = self.inner.drain(request).await.map_err(|status| failure(&status))?.into_inner();
        readable(&answer.balances)?;
        Ok(answer)
    }

    /// Heartbeats until the session ends, and tells `notices` when it does, and `sights` what is seen of the nodes;
    /// `witness` is asked while the hub does not answer.
    pub(crate) async fn keep_alive(
        mut self,
        notices: mpsc::Sender<Notice>,
        sights: watch::Sender<HubWord>,
        witness: impl Witness,
    ) {
        let Patience { pause, lost, .. } = self.patience;
        let mut broken = Instant::now();
        let mut borne = lost;
        let mut last = Failure::new("the hub closed the connection");
        while broken.elapsed() < borne {
            let left = borne.saturating_sub(broken.elapsed());
            let beats =
                IntervalStream::new(tokio::time::interval(HEARTBEAT_PERIOD)).map(|_| v1::HeartbeatRequest {});
            match tokio::time::timeout(left, self.inner.heartbeat(beats)).await {
                Ok(Ok(answers)) => {
                    let mut answers = answers.into_inner();
                    let mut answered = false;
                    loop {
                        match answers.message().await {
                            Ok(Some(v1::HeartbeatResponse { end, sight, now_ns })) => {
                                answered = true;
                                sights.send_if_modified(|word| word.hear(now_ns, sight));
                                if let Some(end) = end {
                                    notices.send(Notice::Ended(end.by)).await.ok();
                                    return;
                                }
                            }
                            Ok(None) => break,
                            Err(status) => {
                                last = failure(&status);
                                break;
                            }
                        }
                    }
                    if answered {
                        broken = Instant::now();
                    }
                }
                Ok(Err(status)) => last = failure(&status),
                Err(_elapsed) => {}
            }
            tokio::time::sleep(pause).await;
            borne = match witness.ask().await {
                Word::Stands => self.patience.standing,
                Word::Unknown => lost,
                Word::Gone => {
                    last = Failure::new("the session was removed");
                    break;
                }
            };
        }
        notices.send(Notice::Lost(last)).await.ok();
    }
}

/// Takes the next item of a stream; `None` at its end.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Failure> {
    stream.message().await.map_err(|status| {
        // The stream broke, and there may be another one.
        let broke = Refusal::of(&status).is_none() && status.code() == tonic::Code::Unknown;
        if broke { Failure::new(whole(&status)).passing() } else { failure(&status) }
    })
}

/// Reads the ledger that comes with a response.
pub(crate) fn ledger(balance: v1::Balance) -> Result<Balance, Failure> {
    Balance::try_from(balance).map_err(unreadable)
}

/// Refuses an answer whose ledgers cannot be read.
fn readable(balances: &[v1::Balance]) -> Result<(), Failure> {
    Balance::read_all(balances.to_vec()).map(drop).map_err(unreadable)
}

fn unreadable(error: AccountError) -> Failure {
    Failure::new(format!("the hub's account cannot be read: {error}")).hint(SAME_VERSION_HINT)
}

/// Decodes the exchanges of a response.
pub(crate) fn exchanges(response: &v1::WatchResponse) -> Result<Vec<v1::Exchange>, Failure> {
    response.decoded().map_err(|error| {
        Failure::new(format!("the hub's exchanges cannot be read: {error}")).hint(SAME_VERSION_HINT)
    })
}

/// How the viewer service is reached, whatever the bytes go over.
fn endpoint(identity: &Identity, port: u16, patience: Patience, window: u32) -> Result<Endpoint, Failure> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&identity.authority))
        .identity(tonic::transport::Identity::from_pem(&identity.certificate, &identity.key))
        .domain_name(proto::SERVER_NAME);
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"))
        .map_err(|error| unreachable(&error))?
        .tls_config(tls)
        .map_err(|error| unreachable(&error))?
        .connect_timeout(patience.connect)
        .http2_keep_alive_interval(HEARTBEAT_PERIOD)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(window)
        .initial_connection_window_size(window);
    Ok(endpoint)
}

fn unreachable(error: &tonic::transport::Error) -> Failure {
    Failure::new(format!("connecting to the hub failed: {}", with_causes(error))).passing()
}

/// Turns what a call ended with into words.
fn failure(status: &tonic::Status) -> Failure {
    match Refusal::of(status) {
        Some(refusal) => refused(status.message(), &refusal),
        None => broken(status),
    }
}

/// Says what a hub refuses, with what it says can be tried.
fn refused(message: &str, refusal: &Refusal) -> Failure {
    let failed = match refusal.kind() {
        RefusalKind::Request => Failure::usage(message),
        RefusalKind::Role => Failure::new(format!("the hub refuses: {message}")),
        RefusalKind::Unspecified
        | RefusalKind::WireRevision
        | RefusalKind::Message
        | RefusalKind::Silent
        | RefusalKind::TooManyViewers
        | RefusalKind::NotBegun
        | RefusalKind::NoIds
        | RefusalKind::NoCluster
        | RefusalKind::AnotherLeads
        | RefusalKind::NoStore
        | RefusalKind::StoreStarting
        | RefusalKind::StoreAway
        | RefusalKind::StoreFailed
        | RefusalKind::Statement
        | RefusalKind::ReadOnly
        | RefusalKind::NoReader
        | RefusalKind::TimedOut
        | RefusalKind::StoreUnusable
        | RefusalKind::Failed => Failure::new(message),
    };
    let failed = if refusal.kind().is_passing() { failed.passing() } else { failed };
    match refusal.try_this() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// Says what ended a call that no hub of this version refused.
fn broken(status: &tonic::Status) -> Failure {
    use tonic::Code;
    let (code, message) = (status.code(), status.message());
    // The transport has no code of its own.
    if matches!(code, Code::Unavailable | Code::Unknown) {
        return Failure::new(format!("the hub does not answer: {}", whole(status))).passing();
    }
    let failed = match message {
        "" => Failure::new(format!("the hub failed: {code}")),
        message => Failure::new(message),
    };
    // A hub of before there were refusals, or one that does not know the call.
    if matches!(code, Code::FailedPrecondition | Code::Unimplemented) {
        return failed.hint(ONE_VERSION);
    }
    failed.passing()
}

/// What a status says, with what lies beneath it; of a connection that broke no more than that.
fn whole(status: &tonic::Status) -> String {
    let causes = std::error::Error::source(status);
    if causes.is_some_and(connection_broke) {
        return "the connection broke".to_owned();
    }
    match causes {
        Some(causes) => causes::joined(status.message(), causes),
        None => status.message().to_owned(),
    }
}

/// Whether a connection that was open ended, rather than that somebody said something wrong over it.
fn connection_broke(error: &(dyn std::error::Error + 'static)) -> bool {
    let silent = causes::find::<hyper::Error>(error).is_some_and(hyper::Error::is_timeout);
    // HTTP/2 keeps what it met below it to itself.
    let below = causes::find::<h2::Error>(error).and_then(h2::Error::get_io);
    let met = below.or_else(|| causes::find::<io::Error>(error));
    silent || met.is_some_and(|error| BREAK_KINDS.contains(&error.kind()))
}

#[cfg(test)]
pub(crate) mod fake_hub;
#[cfg(test)]
mod tests;
