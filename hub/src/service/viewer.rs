//! What plugins call.

use std::sync::Arc;
use std::time::Duration;

use proto::causes::with_causes;
use proto::v1::viewer_server::Viewer;
use proto::v1::{self, RefusalKind};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::resume::Returns;
use super::stream::{self, CountStream, ExchangeStream};
use crate::account;
use crate::clock::epoch_ns;
use crate::live::LiveError;
use crate::peers::relay;
use crate::session::{Drained, Lag, Session};
use crate::store::engine::AnyArchive;
use crate::store::{Archive as _, StoreError};

/// Responses on their way to a plugin. One: what waits longer is merged into larger responses or counted as lost.
pub(super) const IN_FLIGHT: usize = 1;

/// Longest a drain may be asked to wait.
const MAX_DRAIN: Duration = Duration::from_mins(1);

/// How long a file waits, at the end of capture, for what a store that works has not taken yet.
const PULL_WRITTEN_TIMEOUT: Duration = Duration::from_secs(30);

/// What to try where a session has no store.
const NO_STORE_HINT: &str = "`watch` stores; `stat` and `overview` do with `--save`, `--keep` or `--store`";

/// The viewer service of a session.
#[derive(Debug)]
pub struct ViewerService {
    session: Arc<Session>,
    watches: Arc<Returns<v1::WatchResponse>>,
    stats: Arc<Returns<v1::StatResponse>>,
}

type Stream<T> = ReceiverStream<Result<T, Status>>;

// === impl ViewerService ===

impl ViewerService {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session, watches: Arc::default(), stats: Arc::default() }
    }
}

#[tonic::async_trait]
impl Viewer for ViewerService {
    type HeartbeatStream = Stream<v1::HeartbeatResponse>;
    type WatchStream = Stream<v1::WatchResponse>;
    type StatStream = Stream<v1::StatResponse>;
    type QueryStream = Stream<v1::QueryResponse>;
    type PullStream = Stream<v1::PullResponse>;

    async fn describe(
        &self,
        request: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        super::same_revision(request.into_inner().wire_revision, "plugin")?;
        // While capturers start a plugin asks and does not beat yet.
        self.session.viewers.hear();
        let mut state = self.session.state();
        state.balances = account::sums(state.balances);
        Ok(Response::new(state.into()))
    }

    async fn heartbeat(
        &self,
        request: Request<Streaming<v1::HeartbeatRequest>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let (sender, responses) = mpsc::channel(IN_FLIGHT);
        let session = Arc::clone(&self.session);
        tokio::spawn(async move {
            let _counted = session.viewers.connect();
            heartbeat(&session, request.into_inner(), sender).await;
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let hub = self.session.instance();
        let (sender, responses) = mpsc::channel(IN_FLIGHT);
        if let Err(sender) = self.watches.take_up(hub, request.resume.as_ref(), sender) {
            let watch = self.session.live.watch(&request).map_err(|error| refused(&error))?;
            let exchanges = ExchangeStream { watch: Arc::clone(&watch), hub };
            if request.resume.is_some_and(|resume| resume.hub > 0) {
                stream::greet(&sender, &exchanges);
            }
            let place = request.resume.map(|_| self.watches.expect(watch.number()));
            let relayed = relay::watch(self.session.peers.connected(), request, &watch);
            tokio::spawn(async move {
                stream::run(exchanges, sender, place).await;
                drop(relayed);
            });
        }
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<Self::StatStream>, Status> {
        let request = request.into_inner();
        let interval = (request.interval_ns > 0).then(|| Duration::from_nanos(request.interval_ns));
        let hub = self.session.instance();
        let (sender, responses) = mpsc::channel(IN_FLIGHT);
        if let Err(sender) = self.stats.take_up(hub, request.resume.as_ref(), sender) {
            let stat = self.session.live.stat(&request).map_err(|error| refused(&error))?;
            let aggregates = CountStream { stat: Arc::clone(&stat), hub, interval };
            if request.resume.is_some_and(|resume| resume.hub > 0) {
                stream::greet(&sender, &aggregates);
            }
            let place = request.resume.map(|_| self.stats.expect(stat.number()));
            let relayed = relay::stat(self.session.peers.connected(), request, &stat);
            tokio::spawn(async move {
                stream::run(aggregates, sender, place).await;
                drop(relayed);
            });
        }
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn query(&self, request: Request<v1::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let sql = request.into_inner().sql;
        let archive = archive(&self.session)?;
        Ok(Response::new(relay(move |sink| async move { archive.query(sql, sink).await })))
    }

    async fn pull(&self, _: Request<v1::PullRequest>) -> Result<Response<Self::PullStream>, Status> {
        let session = Arc::clone(&self.session);
        let unanswered = session.is_drained() && session.has_unanswered_store();
        let archive = match session.archive() {
            Some(archive) if unanswered => Arc::clone(archive),
            Some(_) | None => archive(&session)?,
        };
        Ok(Response::new(relay(move |sink| async move {
            // The heartbeat of who ended the session is over: without this a long pull were silence.
            let _counted = session.viewers.connect();
            if unanswered && session.pull_waiting(&sink).await? {
                return Ok(());
            }
            // One that answers only now has what waited for it soon.
            session.written(Instant::now() + PULL_WRITTEN_TIMEOUT).await;
            archive.pull(sink).await
        })))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainSessionRequest>,
    ) -> Result<Response<v1::DrainSessionResponse>, Status> {
        let mut drained = drain(&self.session, request.into_inner()).await?;
        drained.balances = account::sums(drained.balances);
        Ok(Response::new(drained.into()))
    }
}

/// Drains; goes on when the caller is gone: others wait for the end.
pub(super) async fn drain(
    session: &Arc<Session>,
    request: v1::DrainSessionRequest,
) -> Result<Drained, Status> {
    let v1::DrainSessionRequest { by, timeout_ns, store_may_lag } = request;
    let lag = if store_may_lag { Lag::Borne } else { Lag::GivenUp };
    let session = Arc::clone(session);
    let timeout = Duration::from_nanos(timeout_ns).min(MAX_DRAIN);
    let drained = tokio::spawn(async move { session.drain(&by, timeout, lag).await });
    drained.await.map_err(|error| RefusalKind::Failed.status(error.to_string()))
}

async fn heartbeat(
    session: &Session,
    mut stream: Streaming<v1::HeartbeatRequest>,
    sender: mpsc::Sender<Result<v1::HeartbeatResponse, Status>>,
) {
    let mut ended = session.ended();
    let mut sight = session.sight();
    // What is known is told at once.
    sight.mark_changed();
    loop {
        let response = tokio::select! {
            end = ended.wait_for(Option::is_some) => match end {
                Ok(by) => {
                    let end = by.clone().map(|by| v1::SessionEnd { by });
                    v1::HeartbeatResponse { end, ..Default::default() }
                }
                Err(_) => return,
            },
            beat = stream.message() => match beat {
                Ok(Some(v1::HeartbeatRequest {})) => v1::HeartbeatResponse::default(),
                Ok(None) | Err(_) => return,
            },
            changed = sight.changed() => match changed {
                Ok(()) => {
                    let sight = Some(sight.borrow_and_update().clone());
                    v1::HeartbeatResponse { sight, ..Default::default() }
                }
                Err(_) => return,
            },
        };
        let last = response.end.is_some();
        let response = v1::HeartbeatResponse { now_ns: epoch_ns(), ..response };
        if sender.send(Ok(response)).await.is_err() || last {
            return;
        }
    }
}

/// Runs a reading of the store whose responses and error go to the plugin.
fn relay<T, F>(run: impl FnOnce(mpsc::Sender<Result<T, StoreError>>) -> F + Send + 'static) -> Stream<T>
where
    T: Send + 'static,
    F: Future<Output = Result<(), StoreError>> + Send,
{
    let (sink, mut taken) = mpsc::channel::<Result<T, StoreError>>(IN_FLIGHT);
    let (sender, responses) = mpsc::channel(IN_FLIGHT);
    tokio::spawn(async move {
        let forward = sender.clone();
        let forwarded = async move {
            while let Some(Ok(response)) = taken.recv().await {
                if forward.send(Ok(response)).await.is_err() {
                    break;
                }
            }
        };
        let (result, ()) = tokio::join!(run(sink), forwarded);
        if let Err(error) = result {
            drop(sender.send(Err(store_status(&error))).await);
        }
    });
    ReceiverStream::new(responses)
}

fn store_status(error: &StoreError) -> Status {
    error.refusal().with_hint(with_causes(error), error.hint())
}

/// The store to read, where it is there.
fn archive(session: &Session) -> Result<Arc<AnyArchive>, Status> {
    let Some(archive) = session.archive() else {
        return Err(RefusalKind::NoStore.with_hint("this session has no store", Some(NO_STORE_HINT)));
    };
    if session.store_is_starting() {
        let message = "the session's store is still starting";
        return Err(RefusalKind::StoreStarting.with_hint(message, Some("try again in a moment")));
    }
    Ok(Arc::clone(archive))
}

/// Refuses a viewer.
pub(super) fn refused(error: &LiveError) -> Status {
    let kind = match error {
        LiveError::Filter(_) | LiveError::Selector(_) | LiveError::Aggregates(_) => RefusalKind::Request,
        LiveError::TooMany => RefusalKind::TooManyViewers,
    };
    kind.status(with_causes(error))
}
