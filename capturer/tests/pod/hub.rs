//! A hub that listens, tells of pods when asked to, and remembers what it heard.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use proto::account::Balance;
use proto::launch::Identity;
use proto::v1::ingest_server::{Ingest, IngestServer};
use proto::v1::{self, UplinkRequest, UplinkResponse, uplink_request, uplink_response};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Certificate, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) nodes: Vec<String>,
    pub(crate) exchanges: Vec<v1::Exchange>,
    pub(crate) balances: Vec<Balance>,
    pub(crate) last: bool,
}

impl Heard {
    /// Says whether the capturer has sent anything, which it does once it captures.
    pub(crate) fn capturing(&self) -> bool {
        !self.balances.is_empty()
    }
}

type Say = mpsc::Sender<Result<UplinkResponse, Status>>;

pub(crate) struct Hub {
    pub(crate) address: String,
    pub(crate) identity: Identity,
    tls: ServerTlsConfig,
    heard: Arc<Mutex<Heard>>,
    say: Arc<Mutex<Option<Say>>>,
}

#[derive(Clone)]
struct Service {
    heard: Arc<Mutex<Heard>>,
    say: Arc<Mutex<Option<Say>>>,
}

impl Hub {
    /// A hub that listens.
    pub(crate) fn start() -> Self {
        let hub = Self::prepare();
        hub.serve();
        hub
    }

    /// A hub that has an address at which nobody listens yet.
    pub(crate) fn prepare() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let signed = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![proto::SERVER_NAME.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
        };
        let (certificate, key) = signed();
        let tls = ServerTlsConfig::new()
            .identity(tonic::transport::Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(authority.pem()));
        let (certificate, key) = signed();
        // Bound and closed: the port stays free long enough for a test.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            address: listener.local_addr().unwrap().to_string(),
            identity: Identity { authority: authority.pem(), certificate, key },
            tls,
            heard: Arc::default(),
            say: Arc::default(),
        }
    }

    pub(crate) fn serve(&self) {
        let listener = std::net::TcpListener::bind(&self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let service = Service { heard: Arc::clone(&self.heard), say: Arc::clone(&self.say) };
        let tls = self.tls.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                Server::builder()
                    .tls_config(tls)
                    .unwrap()
                    .add_service(IngestServer::new(service))
                    .serve_with_incoming(TcpListenerStream::new(listener))
                    .await
                    .unwrap();
            });
        });
    }

    /// Tells the connected capturer of pods.
    pub(crate) fn tell(&self, pods: v1::NodePods) {
        let say = self.say.lock().unwrap().clone().unwrap();
        say.blocking_send(Ok(UplinkResponse { kind: Some(uplink_response::Kind::Pods(pods)) })).unwrap();
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }

    /// Waits until something was heard.
    pub(crate) fn until(&self, what: &str, done: impl Fn(&Heard) -> bool) {
        let started = Instant::now();
        while !done(&self.heard()) {
            assert!(started.elapsed() < PATIENCE, "not heard: {what}: {:?}", self.heard());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tonic::async_trait]
impl Ingest for Service {
    type UplinkStream = Pin<Box<dyn Stream<Item = Result<UplinkResponse, Status>> + Send>>;

    async fn uplink(
        &self,
        request: Request<Streaming<UplinkRequest>>,
    ) -> Result<Response<Self::UplinkStream>, Status> {
        let mut requests = request.into_inner();
        let (say, said) = mpsc::channel(16);
        *self.say.lock().unwrap() = Some(say.clone());
        let heard = Arc::clone(&self.heard);
        tokio::spawn(async move {
            while let Some(Ok(UplinkRequest { kind: Some(kind) })) = requests.next().await {
                let answer = hear(&heard, kind);
                if say.send(Ok(UplinkResponse { kind: Some(answer) })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }
}

fn hear(heard: &Mutex<Heard>, kind: uplink_request::Kind) -> uplink_response::Kind {
    let mut heard = heard.lock().unwrap();
    match kind {
        uplink_request::Kind::Hello(hello) => {
            heard.nodes.push(hello.node);
            uplink_response::Kind::Settings(v1::CapturerSettings {
                wire_revision: proto::WIRE_REVISION,
                id_base: 5,
                payload_bytes: 1024,
                cluster: true,
                host_processes: false,
                ..v1::CapturerSettings::default()
            })
        }
        uplink_request::Kind::Batch(batch) => {
            heard.exchanges.extend(batch.exchanges);
            heard.balances = Balance::read_all(batch.balances).unwrap();
            heard.last |= batch.r#final;
            uplink_response::Kind::Acknowledged(batch.sequence)
        }
    }
}
