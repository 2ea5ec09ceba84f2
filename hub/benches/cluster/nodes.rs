//! Capturers of many nodes in one process: each with its own connection, identity shown, and numbered batches.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use proto::account::{Balance, Consumer, Losses, Unit};
use proto::launch::{INGEST_PORT, Identity};
use proto::v1::ingest_client::IngestClient;
use proto::v1::uplink_request::Kind as Up;
use proto::v1::uplink_response::Kind as Down;
use proto::{SERVER_NAME, WIRE_REVISION, v1};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::objects::node_name;

/// How often a capturer sends what it gathered; longer where it has less than one exchange by then.
const BATCH_PERIOD: Duration = Duration::from_millis(500);

/// Batches without acknowledgement after which nothing more is made, as in the capturer.
const IN_FLIGHT: usize = 64;

/// Between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// All simulated capturers; they end with it.
pub(crate) struct Nodes {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    hubs: Vec<Ipv4Addr>,
    identity: Identity,
    period: Duration,
    batch: u64,
    producing: AtomicBool,
    connected: AtomicUsize,
    sent: AtomicU64,
    held_back: AtomicU64,
    /// Name by UID of the pods that each node was told.
    told: Vec<Mutex<HashMap<String, String>>>,
}

/// What one capturer remembers over its connections.
struct Capturer {
    number: usize,
    hub: String,
    id_base: Option<u64>,
    /// Whether it knows its node's pods: before, a capturer takes nothing.
    knows_pods: bool,
    sequence: u64,
    counter: u64,
    unacknowledged: VecDeque<v1::Batch>,
}

// === impl Nodes ===

impl Nodes {
    /// Starts them all at once; together they make `rate` exchanges a second.
    pub(crate) fn start(nodes: usize, rate: u64, hubs: &[Ipv4Addr], identity: Identity) -> Self {
        let each = u32::try_from(nodes).map_or(f64::MAX, f64::from);
        let rate = u32::try_from(rate.max(1)).map_or(f64::MAX, f64::from);
        let period = BATCH_PERIOD.max(Duration::from_secs_f64(each / rate));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let batch = (rate * period.as_secs_f64() / each).round() as u64;
        let shared = Arc::new(Shared {
            hubs: hubs.to_vec(),
            identity,
            period,
            batch,
            producing: AtomicBool::new(true),
            connected: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
            told: (0..nodes).map(|_| Mutex::default()).collect(),
        });
        let mut tasks = JoinSet::new();
        for number in 0..nodes {
            tasks.spawn(Capturer::new(number, &shared).run(Arc::clone(&shared)));
        }
        Self { shared, _tasks: tasks }
    }

    /// Returns how far they are, for a run that does not get further.
    pub(crate) fn state(&self) -> String {
        let connected = self.shared.connected.load(Ordering::Relaxed);
        format!("{connected} capturers are connected, {} exchanges sent", self.sent())
    }

    /// Makes no exchange from now on.
    pub(crate) fn stop_producing(&self) {
        self.shared.producing.store(false, Ordering::Relaxed);
    }

    /// Returns how many exchanges were handed to connections.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Returns how many exchanges were not made because too many batches waited.
    pub(crate) fn held_back(&self) -> u64 {
        self.shared.held_back.load(Ordering::Relaxed)
    }

    /// Counts the pods of which a node knows something else than `expected` says.
    pub(crate) async fn wrong<P: Iterator<Item = (String, String)>>(
        &self,
        expected: impl Fn(usize) -> P,
    ) -> u64 {
        let mut wrong = 0;
        for (number, told) in self.shared.told.iter().enumerate() {
            let mut told = told.lock().await.clone();
            for (uid, name) in expected(number) {
                wrong += u64::from(told.remove(&uid).as_ref() != Some(&name));
            }
            // Pods of hubs are no part of what is expected; all others should be gone.
            wrong += told.keys().filter(|uid| !uid.starts_with("hub-")).map(|_| 1).sum::<u64>();
        }
        wrong
    }
}

// === impl Capturer ===

impl Capturer {
    fn new(number: usize, shared: &Shared) -> Self {
        let hub =
            shared.hubs.get(number % shared.hubs.len().max(1)).copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        Self {
            number,
            hub: format!("{hub}:{INGEST_PORT}"),
            id_base: None,
            knows_pods: false,
            sequence: 0,
            counter: 0,
            unacknowledged: VecDeque::new(),
        }
    }

    async fn run(mut self, shared: Arc<Shared>) {
        // Not all in one instant: pods of a DaemonSet do not start so either.
        sleep(BATCH_PERIOD.mul_f64(fraction(self.number))).await;
        loop {
            let over = self.converse(&shared).await;
            if matches!(over, Ok(true)) {
                return;
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Talks until the connection ends; returns whether nothing is left to say.
    async fn converse(&mut self, shared: &Shared) -> Result<bool> {
        let channel = dial(&self.hub, &shared.identity).await?;
        let (sender, requests) = mpsc::channel(IN_FLIGHT + 2);
        sender.send(up(Up::Hello(self.hello()))).await?;
        for batch in &self.unacknowledged {
            sender.send(up(Up::Batch(batch.clone()))).await?;
        }
        let mut responses =
            IngestClient::new(channel).uplink(ReceiverStream::new(requests)).await?.into_inner();
        let mut sender = Some(sender);
        let mut ticks = tokio::time::interval_at(
            Instant::now() + shared.period.mul_f64(fraction(self.number)),
            shared.period,
        );
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let _connected = Counted::new(&shared.connected);
        let mut drained = false;
        loop {
            tokio::select! {
                response = responses.message() => {
                    let Some(kind) = response?.and_then(|response| response.kind) else { return Ok(drained) };
                    match kind {
                        Down::Settings(settings) => self.id_base = Some(settings.id_base),
                        Down::Acknowledged(up_to) => self.unacknowledged.retain(|batch| batch.sequence > up_to),
                        Down::Pods(pods) => self.told(shared, pods).await,
                        // These nodes have no sums: what hubs do with exchanges is what is measured.
                        Down::Folding(_) => {}
                        Down::Move(to) => {
                            self.hub = to.hub;
                            sender = None;
                        }
                        Down::Drain(_) => {
                            drained = true;
                            if let Some(sender) = &sender {
                                self.send(sender, shared, 0, true).await?;
                            }
                        }
                    }
                }
                _ = ticks.tick(), if self.id_base.is_some() && self.knows_pods && !drained => {
                    let Some(sender) = &sender else { continue };
                    if !shared.producing.load(Ordering::Relaxed) {
                        continue;
                    }
                    if self.unacknowledged.len() >= IN_FLIGHT {
                        shared.held_back.fetch_add(shared.batch, Ordering::Relaxed);
                        continue;
                    }
                    self.send(sender, shared, shared.batch, false).await?;
                }
            }
        }
    }

    async fn send(
        &mut self,
        sender: &mpsc::Sender<v1::UplinkRequest>,
        shared: &Shared,
        exchanges: u64,
        last: bool,
    ) -> Result<()> {
        self.sequence += 1;
        let exchanges: Vec<_> = (0..exchanges).map(|_| self.exchange()).collect();
        shared.sent.fetch_add(exchanges.len() as u64, Ordering::Relaxed);
        let whose = Consumer::Capturer(node_name(self.number));
        let seen = Balance::of_fates(whose, Unit::Exchange, self.counter, 0, Losses::default());
        let (sequence, balances) = (self.sequence, vec![seen.into()]);
        let batch = v1::Batch { sequence, exchanges, balances, r#final: last, folds: Vec::new() };
        self.unacknowledged.push_back(batch.clone());
        Ok(sender.send(up(Up::Batch(batch))).await?)
    }

    fn hello(&self) -> v1::CapturerHello {
        v1::CapturerHello {
            wire_revision: WIRE_REVISION,
            node: node_name(self.number),
            kernel: "6.1.0".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capturing: true,
            source: "syscall".to_owned(),
            instance: self.number as u64 + 1,
            id_base: self.id_base,
            boot: String::new(),
        }
    }

    /// Makes an exchange as large as one of a small API call.
    fn exchange(&mut self) -> v1::Exchange {
        self.counter += 1;
        let number = self.counter;
        let request = format!(
            "GET /orders/{number}?page=2 HTTP/1.1\r\nHost: orders.shop\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nX-Request-Id: {number:032x}\r\n\r\n"
        );
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{}",
            "x".repeat(400)
        );
        v1::Exchange {
            id: self.id_base.unwrap_or_default() | number,
            connection_id: number % 64,
            start_ns: 1_800_000_000_000_000_000 + number * 1_000,
            protocol: "http".to_owned(),
            side: v1::Side::Server.into(),
            origin: Some(v1::Origin {
                node: node_name(self.number),
                pid: 4711,
                comm: "orders".to_owned(),
                container_id: format!("{number:064x}"),
                namespace: "team-1".to_owned(),
                pod: format!("orders-{}", number % 20),
                container: "main".to_owned(),
                workload: "Deployment/orders".to_owned(),
            }),
            local: Some(v1::Endpoint { address: vec![100, 64, 0, 1], port: 8080, ..Default::default() }),
            remote: Some(v1::Endpoint { address: vec![100, 64, 0, 2], port: 40_000, ..Default::default() }),
            operation: format!("GET /orders/{number}"),
            target: "orders.shop".to_owned(),
            status: "200".to_owned(),
            request: Some(message(request)),
            response: Some(message(response)),
            segments: Some(v1::Segments {
                total_ns: 3_000_000,
                internal_ns: Some(3_000_000),
                ..Default::default()
            }),
            sample_weight: 1,
            ..Default::default()
        }
    }

    async fn told(&mut self, shared: &Shared, pods: v1::NodePods) {
        let Some(told) = shared.told.get(self.number) else { return };
        let mut told = told.lock().await;
        if pods.complete {
            told.clear();
            self.knows_pods = true;
        }
        for gone in &pods.gone {
            told.remove(gone);
        }
        told.extend(pods.pods.into_iter().map(|pod| (pod.uid, pod.name)));
    }
}

/// Counts one for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

// === impl Counted ===

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn up(kind: Up) -> v1::UplinkRequest {
    v1::UplinkRequest { kind: Some(kind) }
}

fn message(text: String) -> v1::Message {
    v1::Message { bytes: text.len() as u64, payload: text.into_bytes(), ..Default::default() }
}

/// Spreads numbers over 0 to 1 evenly, neighbours far from each other.
fn fraction(number: usize) -> f64 {
    u32::try_from(number).map_or(0.0, |number| (f64::from(number) * 0.618_034).fract())
}

async fn dial(hub: &str, identity: &Identity) -> Result<Channel> {
    let tls = ClientTlsConfig::new()
        .domain_name(SERVER_NAME)
        .ca_certificate(Certificate::from_pem(&identity.authority))
        .identity(tonic::transport::Identity::from_pem(&identity.certificate, &identity.key));
    let endpoint = Endpoint::from_shared(format!("https://{hub}"))?.tls_config(tls)?;
    Ok(endpoint.connect_timeout(Duration::from_secs(10)).tcp_nodelay(true).connect().await?)
}
