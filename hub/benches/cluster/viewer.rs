//! The plugin's part: it joins the hub that leads, watches everything, and ends the session.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hyper_util::rt::TokioIo;
use proto::account::{Balance, Unit};
use proto::launch::Identity;
use proto::v1::viewer_client::ViewerClient;
use proto::{SERVER_NAME, WIRE_REVISION, v1};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::place::Site;

/// Between two attempts to join: a hub serves viewers once it leads.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// As the plugin's.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(10);

/// Longest message from the hub, as in the plugin.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// A viewer of the whole session.
pub(crate) struct Viewer {
    client: ViewerClient<Channel>,
    nodes: watch::Receiver<usize>,
    received: Arc<AtomicU64>,
    watching: JoinHandle<Result<()>>,
    heartbeat: JoinHandle<()>,
}

// === impl Viewer ===

impl Viewer {
    /// Joins whichever hub leads.
    pub(crate) async fn join(place: &Arc<Site>, identity: &Identity, until: Instant) -> Result<Self> {
        let mut client = loop {
            match attempt(place, identity).await {
                Ok(client) => break client,
                Err(error) if Instant::now() >= until => return Err(error).context("no hub serves viewers"),
                Err(_) => sleep(RETRY_PAUSE).await,
            }
        };
        let (nodes_seen, nodes) = watch::channel(0);
        let received = Arc::new(AtomicU64::new(0));
        let want = v1::WatchRequest { payload_bytes: 1024, from_start: true, ..Default::default() };
        let stream = client.watch(want).await?.into_inner();
        let watching = tokio::spawn(follow(stream, nodes_seen, Arc::clone(&received)));
        let beats = tokio_stream::StreamExt::throttle(
            tokio_stream::iter(std::iter::repeat(v1::HeartbeatRequest {})),
            HEARTBEAT_PERIOD,
        );
        let mut answers = client.heartbeat(beats).await?.into_inner();
        let heartbeat = tokio::spawn(async move { while let Ok(Some(_)) = answers.message().await {} });
        Ok(Self { client, nodes, received, watching, heartbeat })
    }

    /// Waits until an exchange of every node has come.
    pub(crate) async fn all_stream(&mut self, nodes: usize, limit: Duration) -> Result<()> {
        let all = timeout(limit, self.nodes.wait_for(|seen| *seen >= nodes)).await;
        let all = all.is_ok_and(|seen| seen.is_ok());
        if !all {
            bail!("{} of {nodes} nodes stream after {} s", *self.nodes.borrow(), limit.as_secs());
        }
        Ok(())
    }

    /// Returns how many exchanges came so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends capture; returns what was lost by consumer and stage.
    pub(crate) async fn drain(&mut self, limit: Duration) -> Result<BTreeMap<String, u64>> {
        let timeout_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let request =
            v1::DrainSessionRequest { by: "the benchmark".to_owned(), timeout_ns, ..Default::default() };
        let answer = self.client.drain(request).await?.into_inner();
        if timeout(limit, &mut self.watching).await.is_err() {
            bail!("the stream of exchanges does not end");
        }
        let mut lost = BTreeMap::new();
        for balance in Balance::read_all(answer.balances)? {
            for (stage, count) in balance.by_stage().filter(|_| balance.unit == Unit::Exchange) {
                *lost.entry(format!("{} {}", balance.consumer, stage.word())).or_default() += count;
            }
        }
        if !answer.unconfirmed.is_empty() {
            lost.insert("nodes that did not confirm".to_owned(), answer.unconfirmed.len() as u64);
        }
        Ok(lost)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.watching.abort();
        self.heartbeat.abort();
    }
}

async fn attempt(place: &Arc<Site>, identity: &Identity) -> Result<ViewerClient<Channel>> {
    let mut refused = None;
    for number in 0..place.addresses().len() {
        match describe(place, number, identity).await {
            Ok(client) => return Ok(client),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.context("there is no hub")?)
}

async fn describe(place: &Arc<Site>, number: usize, identity: &Identity) -> Result<ViewerClient<Channel>> {
    let tls = ClientTlsConfig::new()
        .domain_name(SERVER_NAME)
        .ca_certificate(Certificate::from_pem(&identity.authority))
        .identity(tonic::transport::Identity::from_pem(&identity.certificate, &identity.key));
    let place = Arc::clone(place);
    let connector = tower::service_fn(move |_| {
        let place = Arc::clone(&place);
        async move { place.viewer(number).await.map(TokioIo::new).map_err(std::io::Error::other) }
    });
    let endpoint = Endpoint::from_static("https://hub").tls_config(tls)?;
    let channel = endpoint.connect_with_connector(connector).await?;
    let mut client = ViewerClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    client.describe(v1::DescribeRequest { wire_revision: WIRE_REVISION }).await?;
    Ok(client)
}

async fn follow(
    mut stream: tonic::Streaming<v1::WatchResponse>,
    nodes: watch::Sender<usize>,
    received: Arc<AtomicU64>,
) -> Result<()> {
    let mut seen = HashSet::new();
    while let Some(response) = stream.message().await? {
        received.fetch_add(response.exchanges.len() as u64, Ordering::Relaxed);
        for exchange in response.decoded()? {
            let Some(origin) = &exchange.origin else { continue };
            if !seen.contains(&origin.node) {
                seen.insert(origin.node.clone());
                nodes.send_replace(seen.len());
            }
        }
        if response.end {
            return Ok(());
        }
    }
    bail!("the stream of exchanges broke")
}
