//! A session over real loopback TLS: roles, the way of an exchange, drain, SQL; and the hub as a process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what the tests lean on, too, fails them")]

mod authority;
mod joins;
mod peers;
mod process;
mod resume;
mod sight;
mod sums;

use std::time::Duration;

use hub::service::{Listen, Ports, serve};
use hub::session::Session;
use proto::account::{Balance, Consumer, Stage};
use proto::launch::{HubLaunch, HubPlace, Identity, StoreChoice};
use proto::v1::ingest_client::IngestClient;
use proto::v1::viewer_client::ViewerClient;
use proto::v1::{Refusal, RefusalKind};
use proto::{SERVER_NAME, WIRE_REVISION, role, store_state, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use self::authority::Authority;

async fn channel(port: u16, identity: &Identity) -> Result<Channel, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .domain_name(SERVER_NAME)
        .ca_certificate(Certificate::from_pem(&identity.authority))
        .identity(tonic::transport::Identity::from_pem(&identity.certificate, &identity.key));
    Endpoint::from_shared(format!("https://127.0.0.1:{port}"))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
}

fn launch(authority: &Authority, store: StoreChoice) -> HubLaunch {
    HubLaunch {
        session: "fixed".to_owned(),
        place: HubPlace::Local { directory: "/nonexistent".into() },
        identity: authority.identity(role::HUB),
        store,
        store_limit: 0,
        max_store_bytes: 64,
        payload_bytes: 64,
        keep: false,
        ttl_seconds: 0,
        filter: v1::Filter { protocols: vec!["http".to_owned()], ..Default::default() },
        redaction: v1::Redaction::default(),
        sample: 0,
        tracing: tracing(),
        hubs: 1,
    }
}

fn tracing() -> v1::Tracing {
    v1::Tracing { without_packets: true, socket_hops: true, source: v1::ByteSource::Syscall.into() }
}

async fn begin(authority: &Authority, store: StoreChoice) -> (std::sync::Arc<Session>, Ports) {
    let launch = launch(authority, store);
    let session = Session::begin(&launch).await.unwrap();
    let ports = serve(&session, &launch.identity, Listen::Loopback).await.unwrap();
    (session, ports)
}

fn hello() -> v1::UplinkRequest {
    hello_of(0)
}

fn hello_of(instance: u64) -> v1::UplinkRequest {
    let hello = v1::CapturerHello {
        wire_revision: WIRE_REVISION,
        node: "here".to_owned(),
        capturing: true,
        instance,
        ..Default::default()
    };
    v1::UplinkRequest { kind: Some(v1::uplink_request::Kind::Hello(hello)) }
}

fn batch(sequence: u64, ids: std::ops::Range<u64>, last: bool) -> v1::UplinkRequest {
    let exchanges = ids
        .map(|id| v1::Exchange {
            id,
            start_ns: id,
            protocol: "http".to_owned(),
            side: v1::Side::Client.into(),
            error: id % 2 == 1,
            segments: Some(v1::Segments { total_ns: id * 1000, ..Default::default() }),
            response: Some(v1::Message { payload: vec![b'x'; 100], bytes: 100, ..Default::default() }),
            ..Default::default()
        })
        .collect();
    let batch = v1::Batch { sequence, exchanges, r#final: last, ..v1::Batch::default() };
    v1::UplinkRequest { kind: Some(v1::uplink_request::Kind::Batch(batch)) }
}

struct Capturer {
    sender: mpsc::Sender<v1::UplinkRequest>,
    responses: tonic::Streaming<v1::UplinkResponse>,
}

impl Capturer {
    async fn connect(authority: &Authority, ports: Ports) -> Self {
        Self::connect_as(authority, ports, 0).await
    }

    /// Connects as a process of this number.
    async fn connect_as(authority: &Authority, ports: Ports, instance: u64) -> Self {
        let channel = channel(ports.ingest, &authority.identity(role::CAPTURER)).await.unwrap();
        let (sender, requests) = mpsc::channel(8);
        sender.send(hello_of(instance)).await.unwrap();
        let responses =
            IngestClient::new(channel).uplink(ReceiverStream::new(requests)).await.unwrap().into_inner();
        Self { sender, responses }
    }

    async fn next(&mut self) -> v1::uplink_response::Kind {
        self.next_within(Duration::from_secs(5)).await
    }

    async fn next_within(&mut self, limit: Duration) -> v1::uplink_response::Kind {
        let response = tokio::time::timeout(limit, self.responses.message()).await.unwrap();
        response.unwrap().unwrap().kind.unwrap()
    }

    /// Waits until the hub sends it elsewhere; returns where.
    async fn move_order(&mut self) -> String {
        loop {
            if let v1::uplink_response::Kind::Move(to) = self.next().await {
                return to.hub;
            }
        }
    }
}

/// Why a hub refused a call.
fn kind(status: &Status) -> RefusalKind {
    Refusal::of(status).unwrap_or_else(|| panic!("the hub did not say why: {status}")).kind()
}

#[tokio::test]
async fn a_refusal_says_of_what_kind_it_is() {
    let authority = Authority::new();
    let (_session, ports) = begin(&authority, StoreChoice::None).await;
    let channel = channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap();
    let mut viewer = ViewerClient::new(channel);
    let error = viewer.query(v1::QueryRequest { sql: "SELECT 1".to_owned() }).await.unwrap_err();
    let refusal = Refusal::of(&error).unwrap();
    assert_eq!((refusal.kind(), refusal.try_this().is_some()), (RefusalKind::NoStore, true));
    let filter = v1::Filter { local_ips: vec!["no network".to_owned()], ..Default::default() };
    let unreadable = v1::WatchRequest { filter: Some(filter), ..Default::default() };
    assert_eq!(kind(&viewer.watch(unreadable).await.unwrap_err()), RefusalKind::Request);
    let unknown = v1::StatRequest { group_by: vec![v1::Grouping::default()], ..Default::default() };
    assert_eq!(kind(&viewer.stat(unknown).await.unwrap_err()), RefusalKind::Request);
    let mut open = Vec::new();
    for _ in 0..hub::live::MAX_VIEWERS {
        open.push(viewer.watch(v1::WatchRequest::default()).await.unwrap());
    }
    assert_eq!(
        kind(&viewer.watch(v1::WatchRequest::default()).await.unwrap_err()),
        RefusalKind::TooManyViewers
    );
}

#[tokio::test]
async fn a_role_opens_its_own_service_only() {
    let authority = Authority::new();
    let (_session, ports) = begin(&authority, StoreChoice::None).await;
    let describe = v1::DescribeRequest { wire_revision: WIRE_REVISION };
    for wrong in [role::CAPTURER, role::HUB] {
        let channel = channel(ports.viewer, &authority.identity(wrong)).await.unwrap();
        let error = ViewerClient::new(channel).describe(describe).await.unwrap_err();
        assert_eq!((kind(&error), error.code()), (RefusalKind::Role, Code::PermissionDenied), "{wrong}");
    }
    let viewer = channel(ports.ingest, &authority.identity(role::VIEWER)).await.unwrap();
    let error = IngestClient::new(viewer).uplink(tokio_stream::iter([hello()])).await.unwrap_err();
    assert_eq!(kind(&error), RefusalKind::Role);
    let right = channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap();
    let answer = ViewerClient::new(right).describe(describe).await.unwrap().into_inner();
    assert_eq!((answer.session.as_str(), answer.store), ("fixed", None));
}

#[tokio::test]
async fn a_foreign_authority_is_refused() {
    let authority = Authority::new();
    let (_session, ports) = begin(&authority, StoreChoice::None).await;
    let mut foreign = Authority::new().identity(role::VIEWER);
    // It trusts the hub; the hub does not trust it.
    foreign.authority = authority.identity(role::VIEWER).authority;
    let describe = v1::DescribeRequest { wire_revision: WIRE_REVISION };
    let refused = match channel(ports.viewer, &foreign).await {
        Ok(channel) => ViewerClient::new(channel).describe(describe).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn an_exchange_reaches_viewers_statistics_and_store_once() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let (_session, ports) = begin(&authority, StoreChoice::Sqlite { path: folder.path().join("s") }).await;
    let mut capturer = Capturer::connect(&authority, ports).await;
    let v1::uplink_response::Kind::Settings(settings) = capturer.next().await else { panic!() };
    assert_eq!(settings.filter.unwrap().protocols, ["http"]);
    assert_eq!(settings.tracing, Some(tracing()), "capturers are told what the starter asked for");
    capturer.sender.send(batch(1, 0..10, false)).await.unwrap();
    assert_eq!(capturer.next().await, v1::uplink_response::Kind::Acknowledged(1));

    let mut viewer =
        ViewerClient::new(channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap());
    let watch = v1::WatchRequest {
        filter: Some(v1::Filter { errors: v1::Errors::WithoutHandshake.into(), ..Default::default() }),
        payload_bytes: 8,
        from_start: true,
        resume: None,
    };
    let mut watched = viewer.watch(watch).await.unwrap().into_inner();
    let mut counted = viewer.stat(v1::StatRequest::default()).await.unwrap().into_inner();
    // Sent again after a lost acknowledgement.
    capturer.sender.send(batch(1, 0..10, false)).await.unwrap();
    capturer.sender.send(batch(2, 10..20, false)).await.unwrap();

    let draining = tokio::spawn({
        let mut viewer = viewer.clone();
        async move {
            let request = v1::DrainSessionRequest {
                by: "test".to_owned(),
                timeout_ns: 10_000_000_000,
                ..Default::default()
            };
            viewer.drain(request).await.unwrap().into_inner()
        }
    });
    while capturer.next().await != v1::uplink_response::Kind::Drain(v1::Drain {}) {}
    capturer.sender.send(batch(3, 20..21, true)).await.unwrap();

    let mut ids = Vec::new();
    let balance = loop {
        let response = watched.message().await.unwrap().unwrap();
        for exchange in &response.decoded().unwrap() {
            let message = exchange.response.as_ref().unwrap();
            assert_eq!((message.payload.len(), message.truncated), (8, true));
        }
        ids.extend(response.decoded().unwrap().iter().map(|exchange| exchange.id));
        if response.end {
            break response.balance.unwrap();
        }
    };
    assert_eq!(ids, (0..21).filter(|id| id % 2 == 1).collect::<Vec<_>>());
    assert_eq!((balance.seen, balance.delivered, balance.filtered), (21, 10, 11));
    let last = counted.message().await.unwrap().unwrap();
    assert!(last.r#final);
    assert_eq!((last.rows[0].count, last.rows[0].errors), (21, 10));
    let drained = draining.await.unwrap();
    assert!(drained.unconfirmed.is_empty());
    let balances = Balance::read_all(drained.balances).unwrap();
    let store = balances.iter().find(|balance| balance.consumer == Consumer::Store).unwrap();
    assert_eq!((store.seen, store.delivered), (21, 21));

    let query = |sql: &str| v1::QueryRequest { sql: sql.to_owned() };
    let sql = "SELECT COUNT(*), SUM(response_truncated) FROM exchanges";
    let mut rows = viewer.query(query(sql)).await.unwrap().into_inner();
    assert_eq!(rows.message().await.unwrap().unwrap().columns.len(), 2);
    let row = rows.message().await.unwrap().unwrap().rows.remove(0);
    assert_eq!(row.values[0].kind, Some(v1::value::Kind::Integer(21)));
    assert_eq!(row.values[1].kind, Some(v1::value::Kind::Integer(21)));
    let mut refused = viewer.query(query("DELETE FROM exchanges")).await.unwrap().into_inner();
    assert_eq!(kind(&refused.message().await.unwrap_err()), RefusalKind::ReadOnly);
    let mut wrong = viewer.query(query("SELECT nothing FROM nowhere")).await.unwrap().into_inner();
    assert_eq!(kind(&wrong.message().await.unwrap_err()), RefusalKind::Statement);
    let mut tables = Vec::new();
    let mut pulled = viewer.pull(v1::PullRequest {}).await.unwrap().into_inner();
    while let Some(response) = pulled.message().await.unwrap() {
        if !response.columns.is_empty() {
            tables.push((response.table, response.total_rows));
        }
    }
    assert_eq!(tables[0], ("exchanges".to_owned(), 21));
    assert_eq!(tables[2], ("capturers".to_owned(), 1));
}

#[tokio::test]
async fn a_hub_that_closes_acknowledges_nothing_that_it_will_not_store() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let (session, ports) = begin(&authority, StoreChoice::Sqlite { path: folder.path().join("s") }).await;
    let mut capturer = Capturer::connect(&authority, ports).await;
    capturer.next().await;
    capturer.sender.send(batch(1, 0..10, false)).await.unwrap();
    assert_eq!(capturer.next().await, v1::uplink_response::Kind::Acknowledged(1));
    session.close(true, tokio::time::Instant::now() + Duration::from_secs(5)).await;
    // The hub may have closed the stream already.
    capturer.sender.send(batch(2, 10..20, false)).await.ok();
    let rest = tokio::time::timeout(Duration::from_secs(5), capturer.responses.message()).await.unwrap();
    assert!(matches!(rest, Ok(None) | Err(_)), "{rest:?}");
    let state = session.own_state();
    assert_eq!((state.stored, store_state::word(&state.store.unwrap_or_default())), (10, "closed"));
    let lost = session.balances().into_iter().map(|balance| balance.lost.total());
    assert_eq!(lost.sum::<u64>(), 0);
}

#[tokio::test]
async fn another_wire_revision_and_a_too_large_batch_are_refused() {
    let authority = Authority::new();
    let (_session, ports) = begin(&authority, StoreChoice::None).await;
    let viewer = channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap();
    let describe = v1::DescribeRequest { wire_revision: WIRE_REVISION + 1 };
    let error = ViewerClient::new(viewer).describe(describe).await.unwrap_err();
    assert_eq!((kind(&error), error.code()), (RefusalKind::WireRevision, Code::FailedPrecondition));
    let other =
        v1::CapturerHello { wire_revision: WIRE_REVISION + 1, node: "old".to_owned(), ..Default::default() };
    let other = v1::UplinkRequest { kind: Some(v1::uplink_request::Kind::Hello(other)) };
    let capturer = channel(ports.ingest, &authority.identity(role::CAPTURER)).await.unwrap();
    let mut responses =
        IngestClient::new(capturer).uplink(tokio_stream::iter([other])).await.unwrap().into_inner();
    let refusal = Refusal::of(&responses.message().await.unwrap_err()).unwrap();
    assert_eq!(refusal.kind(), RefusalKind::WireRevision);
    assert!(refusal.try_this().is_some(), "a capturer tells it on");

    let mut capturer = Capturer::connect(&authority, ports).await;
    capturer.next().await;
    let mut large = batch(1, 0..1, false);
    if let Some(v1::uplink_request::Kind::Batch(batch)) = &mut large.kind {
        batch.exchanges[0].response.as_mut().unwrap().payload = vec![0; hub::service::MAX_MESSAGE_BYTES + 1];
    }
    capturer.sender.send(large).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(10), capturer.responses.message()).await.unwrap();
    assert!(!matches!(answer, Ok(Some(_))), "{answer:?}");
}

/// A hub of a cluster whose store never answers.
async fn begin_in_pod(authority: &Authority, url: &str) -> (std::sync::Arc<Session>, Ports) {
    let store = StoreChoice::Mysql { url: url.to_owned(), reader: None };
    let place = HubPlace::Cluster { namespace: "kyanos-fixed".to_owned() };
    let launch = HubLaunch { place, ..launch(authority, store) };
    let session = Session::begin(&launch).await.unwrap();
    let ports = serve(&session, &launch.identity, Listen::Loopback).await.unwrap();
    (session, ports)
}

#[tokio::test]
async fn hubs_beside_a_store_that_is_down_serve_at_once_and_share_no_ids() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("mysql://u:p@localhost/kyanos?socket={}/socket", folder.path().display());
    let mut bases = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let (_session, ports) = begin_in_pod(&authority, &url).await;
        let mut capturer = Capturer::connect(&authority, ports).await;
        let v1::uplink_response::Kind::Settings(settings) = capturer.next().await else { panic!() };
        assert!(settings.cluster);
        assert!(bases.insert(settings.id_base), "{bases:?}");
    }
}

#[tokio::test]
async fn a_capturer_waits_where_only_a_store_that_is_down_knows_what_ids_were_given() {
    let authority = Authority::new();
    let (session, ports) = begin_in_pod(&authority, "mysql://u:p@127.0.0.1:1/kyanos").await;
    let mut capturer = Capturer::connect(&authority, ports).await;
    let answer = tokio::time::timeout(Duration::from_secs(1), capturer.responses.message()).await;
    assert!(answer.is_err(), "{answer:?}");
    assert!(session.describe().capturers.is_empty());
}

/// Ends capture with what the store does not have yet waiting on, or giving it up.
async fn end(viewer: &mut ViewerClient<Channel>, store_may_lag: bool) -> v1::DrainSessionResponse {
    let request = v1::DrainSessionRequest { by: "test".to_owned(), timeout_ns: 1_000_000_000, store_may_lag };
    viewer.drain(request).await.unwrap().into_inner()
}

/// What became of exchanges that were to be stored: stored, and lost.
fn stored(balances: Vec<v1::Balance>) -> (u64, u64) {
    let balances = Balance::read_all(balances).unwrap();
    let store = balances.iter().find(|balance| balance.consumer == Consumer::Store).unwrap();
    (store.delivered, store.lost.at(Stage::Store))
}

/// A capture that ended before its store answered: its session, and a viewer of it.
async fn ended_before_its_store(
    authority: &Authority,
    folder: &std::path::Path,
    keep: bool,
) -> (std::sync::Arc<Session>, ViewerClient<Channel>) {
    let url = format!("mysql://u:p@localhost/kyanos?socket={}/socket", folder.display());
    let store = StoreChoice::Mysql { url, reader: None };
    let place = HubPlace::Cluster { namespace: "kyanos-fixed".to_owned() };
    let launch = HubLaunch { place, keep, ttl_seconds: 3600, ..launch(authority, store) };
    let session = Session::begin(&launch).await.unwrap();
    let ports = serve(&session, &launch.identity, Listen::Loopback).await.unwrap();
    let mut viewer =
        ViewerClient::new(channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap());
    let mut capturer = Capturer::connect(authority, ports).await;
    capturer.next().await;
    capturer.sender.send(batch(1, 0..10, true)).await.unwrap();
    while capturer.next().await != v1::uplink_response::Kind::Acknowledged(1) {}
    // While capture goes on the store is to be asked, not the hub.
    assert_eq!(kind(&viewer.pull(v1::PullRequest {}).await.unwrap_err()), RefusalKind::StoreStarting);
    let began = std::time::Instant::now();
    let drained = end(&mut viewer, true).await;
    assert!(began.elapsed() < Duration::from_secs(1), "what is not there is not waited for");
    assert_eq!((drained.waiting, stored(drained.balances)), (10, (0, 0)));
    (session, viewer)
}

/// Pulls all; returns the exchanges and the capturers.
async fn pull(viewer: &mut ViewerClient<Channel>) -> (usize, usize) {
    let mut parts = viewer.pull(v1::PullRequest {}).await.unwrap().into_inner();
    let (mut exchanges, mut capturers) = (0, 0);
    while let Some(part) = parts.message().await.unwrap() {
        match part.table.as_str() {
            "exchanges" => exchanges += part.rows.len(),
            "capturers" => capturers += part.rows.len(),
            _ => {}
        }
    }
    (exchanges, capturers)
}

#[tokio::test]
async fn a_file_is_written_of_a_capture_that_ended_before_its_store_was_there() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (_session, mut viewer) = ended_before_its_store(&authority, folder.path(), false).await;
    assert_eq!(pull(&mut viewer).await, (10, 1));
    let drained = end(&mut viewer, false).await;
    assert_eq!((drained.waiting, stored(drained.balances)), (0, (10, 0)));
}

#[tokio::test]
async fn what_is_given_up_is_lost_and_told_as_that() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (_session, mut viewer) = ended_before_its_store(&authority, folder.path(), false).await;
    let drained = end(&mut viewer, false).await;
    assert_eq!((drained.waiting, stored(drained.balances)), (0, (0, 10)));
    // Whoever asks now gets the same answer.
    let again = end(&mut viewer, true).await;
    assert_eq!((again.waiting, stored(again.balances)), (0, (0, 10)));
}

#[tokio::test]
async fn a_kept_session_s_store_gets_what_a_file_was_written_of() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (session, mut viewer) = ended_before_its_store(&authority, folder.path(), true).await;
    assert_eq!(pull(&mut viewer).await, (10, 1));
    assert_eq!((session.describe().waiting, session.describe().stored), (10, 0));
    // Its plugin is silent, which ends capture and gives up nothing.
    let drained = session.drain("silence", Duration::from_secs(1), hub::session::Lag::Borne).await;
    assert_eq!(drained.waiting, 10);
}
