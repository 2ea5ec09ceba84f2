//! A capturer's uplink against a real server on loopback, with TLS, broken connections and missing acknowledgements.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use proto::launch::Identity;
use proto::v1::ingest_server::{Ingest, IngestServer};
use proto::v1::{UplinkRequest, UplinkResponse, uplink_response};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Certificate, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use super::*;

/// How the server behaves.
#[derive(Clone, Copy, Debug)]
struct Manner {
    revision: u32,
    acknowledges: bool,
    /// Batches after which it breaks the connection.
    breaks_after: Option<usize>,
    /// Batches after which it sends the capturer to another hub.
    moves_after: Option<usize>,
}

const GOOD: Manner =
    Manner { revision: proto::WIRE_REVISION, acknowledges: true, breaks_after: None, moves_after: None };

#[derive(Debug, Default)]
struct Heard {
    hellos: Vec<CapturerHello>,
    sequences: Vec<u64>,
    ids: Vec<u64>,
    last: bool,
}

#[derive(Clone, Debug)]
struct Hub {
    manner: Arc<Mutex<Manner>>,
    /// Address of the hub that it sends capturers to.
    other: Arc<Mutex<String>>,
    heard: Arc<Mutex<Heard>>,
}

type Responses = Pin<Box<dyn Stream<Item = Result<UplinkResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Ingest for Hub {
    type UplinkStream = Responses;

    async fn uplink(
        &self,
        request: Request<Streaming<UplinkRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let mut requests = request.into_inner();
        let (say, said) = mpsc::channel(16);
        let hub = self.clone();
        tokio::spawn(async move {
            let manner = *hub.manner.lock().unwrap();
            let mut batches = 0;
            while let Some(Ok(UplinkRequest { kind: Some(kind) })) = requests.next().await {
                let answer = match kind {
                    uplink_request::Kind::Hello(hello) => {
                        hub.heard.lock().unwrap().hellos.push(hello);
                        Some(uplink_response::Kind::Settings(CapturerSettings {
                            wire_revision: manner.revision,
                            id_base: 5,
                            ..CapturerSettings::default()
                        }))
                    }
                    uplink_request::Kind::Batch(batch) => {
                        let mut heard = hub.heard.lock().unwrap();
                        heard.sequences.push(batch.sequence);
                        heard.ids.extend(batch.exchanges.iter().map(|exchange| exchange.id));
                        heard.last |= batch.r#final;
                        batches += 1;
                        manner.acknowledges.then_some(uplink_response::Kind::Acknowledged(batch.sequence))
                    }
                };
                if manner.breaks_after.is_some_and(|after| batches >= after) {
                    let broken: Result<UplinkResponse, Status> = Err(Status::unavailable("going down"));
                    say.send(broken).await.ok();
                    return;
                }
                if let Some(kind) = answer {
                    say.send(Ok(UplinkResponse { kind: Some(kind) })).await.ok();
                }
                if manner.moves_after == Some(batches) {
                    let to = v1::Move { hub: hub.other.lock().unwrap().clone() };
                    let kind = Some(uplink_response::Kind::Move(to));
                    say.send(Ok(UplinkResponse { kind })).await.ok();
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }
}

/// A server on loopback and the address that reaches it.
async fn serve(manner: Manner) -> (Hub, Address) {
    serve_under(&authority(), manner).await
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// One of several servers of a session.
async fn serve_under(authority: &CertifiedIssuer<'static, KeyPair>, manner: Manner) -> (Hub, Address) {
    let signed = || {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![proto::SERVER_NAME.to_owned()]).unwrap();
        (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
    };
    let (certificate, key) = signed();
    let tls = ServerTlsConfig::new()
        .identity(tonic::transport::Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(authority.pem()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hub = Hub { manner: Arc::new(Mutex::new(manner)), other: Arc::default(), heard: Arc::default() };
    let service = IngestServer::new(hub.clone());
    tokio::spawn(
        Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let (certificate, key) = signed();
    let identity = Identity { authority: authority.pem(), certificate, key };
    (hub, Address { hub: address, identity })
}

fn uplink(address: Address) -> Uplink {
    Uplink::new(address, "here".to_owned(), "6.0".to_owned())
}

async fn until(uplink: &mut Uplink, what: impl Fn(&Command) -> bool) -> Command {
    let wait = async {
        loop {
            let command = uplink.command().await;
            if what(&command) {
                return command;
            }
        }
    };
    timeout(Duration::from_secs(10), wait).await.expect("the command comes")
}

fn push(uplink: &mut Uplink, id: u64) {
    assert!(uplink.push(v1::Exchange { id, ..v1::Exchange::default() }));
}

#[tokio::test]
async fn exchanges_arrive_and_the_final_batch_is_taken() {
    let (hub, address) = serve(GOOD).await;
    let mut uplink = uplink(address);
    uplink.capturing(true, "syscall");
    let command = until(&mut uplink, |command| matches!(command, Command::Settings(_))).await;
    assert!(matches!(command, Command::Settings(settings) if settings.id_base == 5));
    push(&mut uplink, 1);
    uplink.flush(Vec::new);
    push(&mut uplink, 2);
    uplink.flush(Vec::new);
    assert!(uplink.is_open(), "the second lingers");
    uplink.finish(Vec::new());
    while !uplink.is_empty() {
        until(&mut uplink, |command| matches!(command, Command::Acknowledged)).await;
    }
    let heard = hub.heard.lock().unwrap();
    assert_eq!(
        (heard.ids.as_slice(), heard.sequences.as_slice(), heard.last),
        (&[1, 2][..], &[1, 2][..], true)
    );
    assert!(heard.hellos[0].capturing);
}

#[tokio::test]
async fn a_broken_connection_is_made_anew_and_nothing_is_lost() {
    let (hub, address) = serve(Manner { acknowledges: false, breaks_after: Some(3), ..GOOD }).await;
    let mut uplink = uplink(address);
    until(&mut uplink, |command| matches!(command, Command::Settings(_))).await;
    for id in 1..=6 {
        push(&mut uplink, id);
        uplink.backlog.seal(Vec::new(), false, Instant::now());
        uplink.pump();
    }
    until(&mut uplink, |command| matches!(command, Command::Lost(_))).await;
    assert!(uplink.silent_since.is_some());
    *hub.manner.lock().unwrap() = GOOD;
    until(&mut uplink, |command| matches!(command, Command::Settings(_))).await;
    assert_eq!(uplink.silence(), Duration::ZERO);
    while !uplink.is_empty() {
        until(&mut uplink, |command| matches!(command, Command::Acknowledged)).await;
    }
    let heard = hub.heard.lock().unwrap();
    let again: Vec<u64> = heard.sequences.iter().rev().take(6).rev().copied().collect();
    assert_eq!(again, [1, 2, 3, 4, 5, 6], "{:?}", heard.sequences);
    assert_eq!(heard.hellos.len(), 2);
    assert_eq!(heard.hellos[0].instance, heard.hellos[1].instance);
}

#[tokio::test]
async fn a_hub_can_send_it_to_another_and_nothing_is_sent_twice() {
    let authority = authority();
    let (first, address) = serve_under(&authority, Manner { moves_after: Some(2), ..GOOD }).await;
    let (second, elsewhere) = serve_under(&authority, GOOD).await;
    first.other.lock().unwrap().clone_from(&elsewhere.hub);
    let mut uplink = uplink(address);
    until(&mut uplink, |command| matches!(command, Command::Settings(_))).await;
    for id in 1..=2 {
        push(&mut uplink, id);
        uplink.backlog.seal(Vec::new(), false, Instant::now());
        uplink.pump();
    }
    until(&mut uplink, |command| matches!(command, Command::Moved)).await;
    assert!(uplink.is_empty(), "what was under way is acknowledged");
    for id in 3..=4 {
        push(&mut uplink, id);
        uplink.backlog.seal(Vec::new(), false, Instant::now());
        uplink.pump();
    }
    until(&mut uplink, |command| matches!(command, Command::Settings(_))).await;
    while !uplink.is_empty() {
        until(&mut uplink, |command| matches!(command, Command::Acknowledged)).await;
    }
    let (first, second) = (first.heard.lock().unwrap(), second.heard.lock().unwrap());
    assert_eq!((first.ids.as_slice(), second.ids.as_slice()), (&[1, 2][..], &[3, 4][..]));
    assert_eq!(second.sequences, [3, 4]);
    assert_eq!((first.hellos[0].id_base, second.hellos[0].id_base), (None, Some(5)));
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_tried_once() {
    let authority = authority();
    let (hub, address) = serve_under(&authority, Manner { moves_after: Some(1), ..GOOD }).await;
    "127.0.0.1:1".clone_into(&mut hub.other.lock().unwrap());
    let mut uplink = uplink(address);
    until(&mut uplink, |command| matches!(command, Command::Settings(_))).await;
    push(&mut uplink, 1);
    uplink.flush(Vec::new);
    until(&mut uplink, |command| matches!(command, Command::Moved)).await;
    until(&mut uplink, |command| matches!(command, Command::Lost(_))).await;
    until(&mut uplink, |command| matches!(command, Command::Settings(_))).await;
    assert_eq!(hub.heard.lock().unwrap().hellos.len(), 2);
}

#[tokio::test]
async fn without_acknowledgements_no_more_than_the_window_is_sent() {
    let (hub, address) = serve(Manner { acknowledges: false, ..GOOD }).await;
    let mut uplink = uplink(address);
    until(&mut uplink, |command| matches!(command, Command::Settings(_))).await;
    for id in 0..IN_FLIGHT * 3 {
        push(&mut uplink, id);
        uplink.backlog.seal(Vec::new(), false, Instant::now());
        uplink.pump();
        tokio::task::yield_now().await;
    }
    assert!(timeout(Duration::from_millis(500), uplink.command()).await.is_err());
    assert_eq!(hub.heard.lock().unwrap().sequences.len() as u64, IN_FLIGHT);
}

#[tokio::test]
async fn another_revision_is_a_clear_error() {
    let (_hub, address) = serve(Manner { revision: 99, ..GOOD }).await;
    let mut uplink = uplink(address);
    let Command::Lost(error) = until(&mut uplink, |_| true).await else { panic!() };
    assert!(error.is_final());
    let expected = format!("the hub speaks wire revision 99, this capturer {}", proto::WIRE_REVISION);
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn no_hub_is_tried_again_with_pauses() {
    let (_hub, mut address) = serve(GOOD).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    address.hub = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let mut uplink = uplink(address);
    let started = Instant::now();
    for _ in 0..3 {
        let Command::Lost(error) = until(&mut uplink, |_| true).await else { panic!() };
        assert!(!error.is_final() && error.to_string().contains("refused"), "{error}");
    }
    assert!(started.elapsed() >= Duration::from_millis(150));
    assert!(uplink.silence() >= Duration::from_millis(150));
}

#[tokio::test]
async fn another_sessions_certificate_is_not_taken() {
    let (_one, address) = serve(GOOD).await;
    let (_other, mut foreign) = serve(GOOD).await;
    foreign.hub = address.hub;
    let mut uplink = uplink(foreign);
    let Command::Lost(error) = until(&mut uplink, |_| true).await else { panic!() };
    assert!(matches!(error, UplinkError::Connect { .. } | UplinkError::Broken { .. }), "{error:?}");
}
