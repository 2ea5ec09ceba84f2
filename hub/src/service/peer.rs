//! What the hub that leads calls, where a session has several.

use std::sync::Arc;
use std::time::Duration;

use proto::v1::follow_request::Kind;
use proto::v1::peer_server::Peer;
use proto::v1::{self, RefusalKind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::stream;
use super::viewer::{self, IN_FLIGHT};
use crate::live::Stat;
use crate::session::Session;

/// How often the leader hears how this hub is, changed or not.
const STATE_PERIOD: Duration = Duration::from_secs(1);

/// Changes within this time are told together.
const CHANGES_GATHER_PERIOD: Duration = Duration::from_millis(50);

/// How often counts are sent where the viewer wants only a final result: what a hub counted is not lost with it.
const COUNTS_PERIOD: Duration = Duration::from_secs(2);

/// Longest wait for the leader's first message.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// The peer service of a session.
#[derive(Debug)]
pub struct PeerService {
    session: Arc<Session>,
}

type Stream<T> = ReceiverStream<Result<T, Status>>;

// === impl PeerService ===

impl PeerService {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type FollowStream = Stream<v1::FollowResponse>;
    type WatchStream = Stream<v1::WatchResponse>;
    type StatStream = Stream<v1::StatPart>;

    async fn follow(
        &self,
        request: Request<Streaming<v1::FollowRequest>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let stream = request.into_inner();
        let (sender, responses) = mpsc::channel(IN_FLIGHT);
        let session = Arc::clone(&self.session);
        // The response begins before the first message: a client waits for its headers before it sends.
        tokio::spawn(async move {
            let result = tokio::select! {
                result = learn(&session, stream) => result,
                () = tell(&session, &sender) => Ok(()),
            };
            session.leaders.is_away();
            if let Err(status) = result {
                drop(sender.send(Err(status)).await);
            }
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watch =
            self.session.live.watch(&request.into_inner()).map_err(|error| viewer::refused(&error))?;
        let (sender, responses) = mpsc::channel(IN_FLIGHT);
        // Should the stream break before anything passes, its beginning is known.
        drop(sender.try_send(Ok(watch.introduction())));
        let hub = self.session.instance();
        tokio::spawn(async move { stream::send_exchanges(&watch, hub, &sender).await });
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<Self::StatStream>, Status> {
        let request = request.into_inner();
        let interval =
            if request.interval_ns > 0 { Duration::from_nanos(request.interval_ns) } else { COUNTS_PERIOD };
        let stat = self.session.live.stat(&request).map_err(|error| viewer::refused(&error))?;
        let (sender, responses) = mpsc::channel(IN_FLIGHT);
        drop(sender.try_send(Ok(stat.part(false))));
        tokio::spawn(
            async move { stream::send_aggregates(&stat, Some(interval), &sender, Stat::part).await },
        );
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainSessionRequest>,
    ) -> Result<Response<v1::DrainSessionResponse>, Status> {
        let drained = viewer::drain(&self.session, request.into_inner()).await?;
        Ok(Response::new(drained.into()))
    }
}

/// Takes what the leader says, until another one says something.
async fn learn(session: &Session, mut stream: Streaming<v1::FollowRequest>) -> Result<(), Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, stream.message()).await;
    let first = first.map_err(|_elapsed| RefusalKind::Silent.status("no hello"))??;
    let Some(Kind::Hello(hello)) = first.and_then(|message| message.kind) else {
        return Err(RefusalKind::Message.status("the first message is a hello"));
    };
    super::same_revision(hello.wire_revision, "leader")?;
    let Some(workloads) = session.workloads() else {
        return Err(RefusalKind::NoCluster.status("this hub follows no cluster"));
    };
    let following = session.leaders.follow(hello.turn).ok_or_else(another_leads)?;
    tracing::info!(leader = hello.name, turn = hello.turn, "following the hub that leads");
    let mut learning = workloads.learning();
    loop {
        let message = tokio::select! {
            message = stream.message() => message?,
            () = session.leaders.superseded(following) => return Err(another_leads()),
        };
        let Some(message) = message else { return Ok(()) };
        match message.kind {
            Some(Kind::Facts(facts)) => learning.take(facts),
            Some(Kind::Release(release)) => session.capturers.release(&release.node, &release.hub),
            Some(Kind::Hello(_)) => return Err(RefusalKind::Message.status("a second hello")),
            None => {}
        }
    }
}

/// Of two leaders the one of the newer turn is followed; what is told beside this says which.
fn another_leads() -> Status {
    RefusalKind::AnotherLeads.status("another hub leads")
}

/// Says how this hub is, for as long as somebody listens.
async fn tell(session: &Session, sender: &mpsc::Sender<Result<v1::FollowResponse, Status>>) {
    let mut changes = session.capturers.changes();
    loop {
        let response = v1::FollowResponse {
            instance: session.instance(),
            state: Some(session.own_state()),
            turn: session.leaders.newest(),
        };
        if sender.send(Ok(response)).await.is_err() {
            return;
        }
        if tokio::time::timeout(STATE_PERIOD, changes.changed()).await.is_ok() {
            tokio::time::sleep(CHANGES_GATHER_PERIOD).await;
        }
    }
}
