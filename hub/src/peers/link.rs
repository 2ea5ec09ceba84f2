//! The connection from the hub that leads to another one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::account::AccountError;
use proto::causes::with_causes;
use proto::launch::Identity;
use proto::v1::follow_request::Kind;
use proto::v1::peer_client::PeerClient;
use proto::{SERVER_NAME, WIRE_REVISION, v1};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::{HubState, Peer, QUEUED_COMMANDS};
use crate::service::MAX_MESSAGE_BYTES;
use crate::session::Session;
use crate::workloads::Workloads;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two attempts.
const CONNECT_PAUSE: Duration = Duration::from_millis(300);

/// Longest wait for the first state, and how often a silent connection is asked whether it lives.
const PING_PERIOD: Duration = Duration::from_secs(5);

/// Messages on their way to a peer.
const IN_FLIGHT: usize = 2;

/// Why a hub cannot be led at the moment; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It does not answer, or is not of this session.
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    /// It answered with an error, or the connection broke.
    #[error("it said: {0}")]
    Said(Box<Status>),
    /// It told an account that cannot be read.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// It heard of a newer leader: this hub does not lead any more.
    #[error("another hub leads by turn {turn}")]
    Deposed {
        /// That one's turn.
        turn: u64,
    },
    /// It ended the stream, or said nothing at first.
    #[error("it said nothing")]
    Silent,
}

/// Where other hubs are: name and `HOST:PORT` of the ingest service.
pub type Addresses = BTreeMap<String, String>;

/// Keeps a connection to each of the hubs named, until the returned future is dropped.
pub async fn lead(
    session: Arc<Session>,
    workloads: Arc<Workloads>,
    identity: Identity,
    mut addresses: watch::Receiver<Addresses>,
) {
    let mut tasks = JoinSet::new();
    let mut running: BTreeMap<(String, String), AbortHandle> = BTreeMap::new();
    loop {
        let now = addresses.borrow_and_update().clone();
        running.retain(|(name, address), task| {
            let stays = now.get(name) == Some(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for place in now {
            running.entry(place.clone()).or_insert_with(|| {
                let (session, workloads) = (Arc::clone(&session), Arc::clone(&workloads));
                tasks.spawn(keep(session, workloads, identity.clone(), place))
            });
        }
        while tasks.try_join_next().is_some() {}
        if addresses.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn keep(
    session: Arc<Session>,
    workloads: Arc<Workloads>,
    identity: Identity,
    (name, address): (String, String),
) {
    let mut said = false;
    loop {
        let (peer, responses) = match connect(&session, &workloads, &identity, &name, &address).await {
            Ok(connected) => connected,
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::info!(hub = name, error = with_causes(&error), "waiting for another hub");
                }
                tokio::time::sleep(CONNECT_PAUSE).await;
                continue;
            }
        };
        said = false;
        tracing::info!(hub = name, "leading another hub");
        let _removed = Removed { session: &session, peer: &peer };
        let error = listen(&session, &peer, responses).await;
        tracing::warn!(hub = name, error = with_causes(&error), "another hub is away");
    }
}

/// Takes a peer out of the list however its connection ends.
struct Removed<'a> {
    session: &'a Session,
    peer: &'a Arc<Peer>,
}

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        self.session.peers.remove(self.peer);
    }
}

async fn connect(
    session: &Session,
    workloads: &Arc<Workloads>,
    identity: &Identity,
    name: &str,
    address: &str,
) -> Result<(Arc<Peer>, tonic::Streaming<v1::FollowResponse>), LinkError> {
    let channel = dial(identity, address).await.map_err(LinkError::Connect)?;
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (sender, requests) = mpsc::channel(IN_FLIGHT);
    let (commands, queued) = mpsc::channel(QUEUED_COMMANDS);
    let hello = v1::LeaderHello {
        wire_revision: WIRE_REVISION,
        name: session.hub_name().to_owned(),
        turn: session.leaders.own(),
    };
    drop(sender.try_send(v1::FollowRequest { kind: Some(Kind::Hello(hello)) }));
    tokio::spawn(tell(Arc::clone(workloads), queued, sender));
    let said = |status: Status| LinkError::Said(Box::new(status));
    let mut responses = client.follow(ReceiverStream::new(requests)).await.map_err(said)?.into_inner();
    let first = tokio::time::timeout(PING_PERIOD, responses.message()).await;
    let first = first.map_err(|_elapsed| LinkError::Silent)?.map_err(said)?.ok_or(LinkError::Silent)?;
    let v1::FollowResponse { instance, state, turn } = first;
    still_leads(session, turn)?;
    let peer =
        Arc::new(Peer { instance, name: name.to_owned(), address: address.to_owned(), client, commands });
    session.peers.add(Arc::clone(&peer), HubState::read(state.unwrap_or_default(), session.now())?);
    Ok((peer, responses))
}

/// Says what the cluster has, and passes commands on, until the stream or the peer is gone.
async fn tell(
    workloads: Arc<Workloads>,
    mut queued: mpsc::Receiver<Kind>,
    sender: mpsc::Sender<v1::FollowRequest>,
) {
    let mut telling = workloads.telling();
    loop {
        // A place first: what is taken out of the changes is sent.
        let Ok(place) = sender.reserve().await else { return };
        let kind = tokio::select! {
            facts = telling.next() => Kind::Facts(facts),
            command = queued.recv() => match command {
                Some(command) => command,
                None => return,
            },
            () = sender.closed() => return,
        };
        place.send(v1::FollowRequest { kind: Some(kind) });
    }
}

async fn listen(
    session: &Session,
    peer: &Peer,
    mut responses: tonic::Streaming<v1::FollowResponse>,
) -> LinkError {
    loop {
        match responses.message().await {
            Ok(Some(v1::FollowResponse { instance: _, state, turn })) => {
                if let Err(deposed) = still_leads(session, turn) {
                    return deposed;
                }
                match HubState::read(state.unwrap_or_default(), session.now()) {
                    Ok(state) => session.peers.note(peer.instance, state),
                    Err(error) => return error.into(),
                }
            }
            Ok(None) => return LinkError::Silent,
            Err(status) => return LinkError::Said(Box::new(status)),
        }
    }
}

/// Takes note of the newest turn that another hub heard of.
fn still_leads(session: &Session, turn: u64) -> Result<(), LinkError> {
    session.leaders.note(turn);
    if turn > session.leaders.own() { Err(LinkError::Deposed { turn }) } else { Ok(()) }
}

async fn dial(identity: &Identity, address: &str) -> Result<Channel, tonic::transport::Error> {
    let Identity { authority, certificate, key } = identity;
    let tls = ClientTlsConfig::new()
        .domain_name(SERVER_NAME)
        .ca_certificate(Certificate::from_pem(authority))
        .identity(tonic::transport::Identity::from_pem(certificate, key));
    Endpoint::from_shared(format!("https://{address}"))?
        .tls_config(tls)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_PERIOD)
        .keep_alive_timeout(PING_PERIOD)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect()
        .await
}
