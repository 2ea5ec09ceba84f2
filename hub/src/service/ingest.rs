//! What capturers call.

use std::sync::Arc;
use std::time::Duration;

use proto::causes::with_causes;
use proto::v1::ingest_server::Ingest;
use proto::v1::uplink_request::Kind as Up;
use proto::v1::uplink_response::Kind as Down;
use proto::v1::{self, RefusalKind};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::session::Session;
use crate::session::capturers::CapturersError;
use crate::workloads::NodeWatch;

/// Longest wait for a capturer's first message.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Responses on their way to a capturer; acknowledgements beyond it are merged, since a later one says more.
const QUEUED_RESPONSES: usize = 4;

/// The ingest service of a session.
#[derive(Debug)]
pub struct IngestService {
    session: Arc<Session>,
}

// === impl IngestService ===

impl IngestService {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session }
    }
}

#[tonic::async_trait]
impl Ingest for IngestService {
    type UplinkStream = ReceiverStream<Result<v1::UplinkResponse, Status>>;

    async fn uplink(
        &self,
        request: Request<Streaming<v1::UplinkRequest>>,
    ) -> Result<Response<Self::UplinkStream>, Status> {
        let stream = request.into_inner();
        let (downlink, responses) = mpsc::channel(QUEUED_RESPONSES);
        let session = Arc::clone(&self.session);
        // The response begins before the first message: a client waits for its headers before it sends.
        tokio::spawn(async move {
            if let Err(status) = uplink(session, stream, downlink.clone()).await {
                drop(downlink.send(Err(status)).await);
            }
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

async fn uplink(
    session: Arc<Session>,
    mut stream: Streaming<v1::UplinkRequest>,
    downlink: mpsc::Sender<Result<v1::UplinkResponse, Status>>,
) -> Result<(), Status> {
    let hello = match tokio::time::timeout(HELLO_TIMEOUT, stream.message()).await {
        Ok(message) => hello(message?)?,
        Err(_) => return Err(RefusalKind::Silent.status("no hello")),
    };
    let node = hello.node.clone();
    tokio::select! {
        () = session.capturers.begun() => {}
        () = downlink.closed() => return Ok(()),
    }
    let claimed = tokio::select! {
        claimed = session.connect(hello) => claimed.map_err(|error| refused(&error))?,
        () = downlink.closed() => return Ok(()),
    };
    let settings = session.settings(claimed.id_base);
    let first = v1::UplinkResponse { kind: Some(Down::Settings(settings)) };
    let settled = tokio::select! {
        () = session.claimed(&node) => true,
        () = downlink.closed() => false,
    };
    if settled && downlink.send(Ok(first)).await.is_ok() {
        let (acknowledged, receiver) = watch::channel(claimed.last_sequence);
        let answers = tokio::spawn(answer(Arc::clone(&session), node.clone(), receiver, downlink));
        let result = take_batches(&session, &node, claimed.connection, &mut stream, &acknowledged).await;
        drop(acknowledged);
        drop(answers.await);
        if let Err(status) = result {
            tracing::debug!(node, %status, "an uplink broke");
        }
    }
    session.capturers.disconnect(&node, claimed.connection);
    session.note_capturers();
    Ok(())
}

fn hello(message: Option<v1::UplinkRequest>) -> Result<v1::CapturerHello, Status> {
    let Some(Up::Hello(hello)) = message.and_then(|message| message.kind) else {
        return Err(RefusalKind::Message.status("the first message is a hello"));
    };
    super::same_revision(hello.wire_revision, "capturer")?;
    if hello.node.is_empty() {
        return Err(RefusalKind::Message.status("a hello names its node"));
    }
    Ok(hello)
}

fn refused(error: &CapturersError) -> Status {
    let kind = match error {
        CapturersError::NotBegun => RefusalKind::NotBegun,
        CapturersError::Slots(_) => RefusalKind::NoIds,
    };
    kind.status(with_causes(error))
}

async fn take_batches(
    session: &Session,
    node: &str,
    connection: u64,
    stream: &mut Streaming<v1::UplinkRequest>,
    acknowledged: &watch::Sender<u64>,
) -> Result<(), Status> {
    let mut closing = session.closing();
    loop {
        let message = tokio::select! {
            message = stream.message() => message?,
            _ = closing.wait_for(|closing| *closing) => return Ok(()),
        };
        let Some(message) = message else { return Ok(()) };
        match message.kind {
            Some(Up::Batch(batch)) => {
                let taken = session.take_batch(node, connection, batch);
                let sequence = taken.map_err(|error| RefusalKind::Message.status(with_causes(&error)))?;
                acknowledged.send_replace(sequence);
            }
            Some(Up::Hello(_)) => return Err(RefusalKind::Message.status("a second hello")),
            None => {}
        }
    }
}

/// Sends acknowledgements, the node's pods and the requests to move and to drain; a capturer that does not read delays only itself.
async fn answer(
    session: Arc<Session>,
    node: String,
    mut acknowledged: watch::Receiver<u64>,
    downlink: mpsc::Sender<Result<v1::UplinkResponse, Status>>,
) {
    let mut draining = session.draining();
    let mut told = false;
    let mut folding = session.live.folding();
    // A connection begins with exchanges.
    if folding.borrow().number > 0 {
        folding.mark_changed();
    }
    let mut pods = session.workloads().map(|workloads| workloads.node(node.clone()));
    let mut released = std::pin::pin!(session.capturers.released(&node));
    let mut moved = false;
    loop {
        let kind = tokio::select! {
            changed = acknowledged.changed() => match changed {
                Ok(()) => Down::Acknowledged(*acknowledged.borrow_and_update()),
                Err(_) => return,
            },
            pods = next_pods(&mut pods) => Down::Pods(pods),
            changed = folding.changed() => match changed {
                Ok(()) => Down::Folding(folding.borrow_and_update().clone()),
                Err(_) => return,
            },
            hub = &mut released, if !moved && !told => {
                moved = true;
                Down::Move(v1::Move { hub })
            }
            ended = draining.wait_for(|draining| *draining), if !told => match ended {
                Ok(_) => {
                    told = true;
                    Down::Drain(v1::Drain {})
                }
                Err(_) => return,
            },
        };
        if downlink.send(Ok(v1::UplinkResponse { kind: Some(kind) })).await.is_err() {
            return;
        }
    }
}

/// The next change of the node's pods; never outside a cluster.
async fn next_pods(pods: &mut Option<NodeWatch>) -> v1::NodePods {
    match pods {
        Some(pods) => pods.next().await,
        None => std::future::pending().await,
    }
}
