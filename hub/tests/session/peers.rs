//! Three hubs of one session: what capturers of each see reaches the viewers of the one that leads, once.

use std::sync::Arc;

use hub::peers::link::{self, Addresses};
use hub::service::{serve_ingest, serve_viewer};
use hub::workloads::Workloads;
use proto::v1::uplink_response::Kind;
use tokio::task::JoinHandle;

use super::*;

/// Longest wait for what is under way.
const SOON: Duration = Duration::from_secs(10);

/// One hub.
struct Hub {
    session: Arc<Session>,
    ports: Ports,
    name: &'static str,
}

/// A session with a hub that leads and two others.
struct Several {
    authority: Authority,
    hubs: Vec<Hub>,
    addresses: tokio::sync::watch::Sender<Addresses>,
    leading: JoinHandle<()>,
}

impl Several {
    async fn begin() -> Self {
        let authority = Authority::new();
        let mut hubs = Vec::new();
        for name in ["a", "b", "c"] {
            hubs.push(Self::hub(&authority, name).await);
        }
        let (addresses, others) = tokio::sync::watch::channel(Addresses::new());
        let workloads = Arc::clone(hubs[0].session.workloads().unwrap());
        hubs[0].session.leaders.lead(1);
        let leading = tokio::spawn(link::lead(
            Arc::clone(&hubs[0].session),
            workloads,
            authority.identity(role::HUB),
            others,
        ));
        let several = Self { authority, hubs, addresses, leading };
        several
            .addresses
            .send_replace(several.hubs[1..].iter().map(|hub| (hub.name.to_owned(), hub.ingest())).collect());
        several.connected(2).await;
        several
    }

    async fn hub(authority: &Authority, name: &'static str) -> Hub {
        let launch = HubLaunch {
            hubs: 3,
            place: HubPlace::Cluster { namespace: "kyanos-fixed".to_owned() },
            filter: v1::Filter::default(),
            ..launch(authority, StoreChoice::None)
        };
        let session = Session::begin_as(&launch, name, std::future::ready(())).await.unwrap();
        session.follow(Arc::new(Workloads::new(&launch.filter).unwrap()));
        let ingest = serve_ingest(&session, &launch.identity, Listen::Loopback).await.unwrap();
        let viewer = serve_viewer(&session, &launch.identity, Listen::Loopback).await.unwrap();
        Hub { session, ports: Ports { ingest, viewer }, name }
    }

    /// Waits until the leader has this many others.
    async fn connected(&self, count: usize) {
        let mut peers = self.hubs[0].session.peers.connected();
        let there = peers.wait_for(|peers| peers.len() == count);
        assert!(tokio::time::timeout(SOON, there).await.is_ok_and(|there| there.is_ok()));
    }

    async fn viewer(&self) -> ViewerClient<Channel> {
        let identity = self.authority.identity(role::VIEWER);
        ViewerClient::new(channel(self.hubs[0].ports.viewer, &identity).await.unwrap())
    }

    /// A capturer of a node at one of the hubs.
    async fn capturer(&self, hub: usize, node: &str) -> Capturer {
        self.capturer_of(&self.hubs[hub], node).await
    }

    async fn capturer_of(&self, hub: &Hub, node: &str) -> Capturer {
        let identity = self.authority.identity(role::CAPTURER);
        let channel = channel(hub.ports.ingest, &identity).await.unwrap();
        let (sender, requests) = mpsc::channel(8);
        let mut hello = hello();
        if let Some(v1::uplink_request::Kind::Hello(hello)) = &mut hello.kind {
            node.clone_into(&mut hello.node);
        }
        sender.send(hello).await.unwrap();
        let responses =
            IngestClient::new(channel).uplink(ReceiverStream::new(requests)).await.unwrap().into_inner();
        let mut capturer = Capturer { sender, responses };
        assert!(matches!(capturer.next().await, Kind::Settings(_)));
        capturer
    }

    /// Waits until the leader's account of the session is as wanted.
    async fn described(&self, wanted: impl Fn(&v1::DescribeResponse) -> bool) -> v1::DescribeResponse {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let state = self.hubs[0].session.describe();
            if wanted(&state) {
                return state;
            }
            assert!(tokio::time::Instant::now() < deadline, "{state:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        self.leading.abort();
    }
}

impl Hub {
    fn ingest(&self) -> String {
        format!("127.0.0.1:{}", self.ports.ingest)
    }
}

/// A capturer that sends what it is told to, and its last batch when it is asked to drain.
async fn feed(mut capturer: Capturer, ids: std::ops::Range<u64>) {
    let middle = ids.start + (ids.end - ids.start) / 2;
    capturer.sender.send(batch(1, ids.start..middle, false)).await.unwrap();
    loop {
        match capturer.next_within(SOON * 3).await {
            Kind::Drain(_) => break,
            Kind::Acknowledged(_) | Kind::Pods(_) | Kind::Folding(_) => {}
            other @ (Kind::Settings(_) | Kind::Move(_)) => panic!("{other:?}"),
        }
    }
    capturer.sender.send(batch(2, middle..ids.end, true)).await.unwrap();
    while capturer.next().await != Kind::Acknowledged(2) {}
}

pub(super) async fn drained(viewer: &mut ViewerClient<Channel>) -> v1::DrainSessionResponse {
    let request =
        v1::DrainSessionRequest { by: "test".to_owned(), timeout_ns: 10_000_000_000, ..Default::default() };
    viewer.drain(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_of_the_leader_get_what_every_hub_sees() {
    let several = Several::begin().await;
    let mut viewer = several.viewer().await;
    let errors = Some(v1::Filter { errors: v1::Errors::WithoutHandshake.into(), ..Default::default() });
    let request = v1::WatchRequest { filter: errors, payload_bytes: 8, from_start: true, resume: None };
    let mut watched = viewer.watch(request).await.unwrap().into_inner();
    let mut counted = viewer.stat(v1::StatRequest::default()).await.unwrap().into_inner();
    let mut feeds = Vec::new();
    for (hub, first) in [0, 100, 200].into_iter().enumerate() {
        let capturer = several.capturer(hub, &format!("node-{hub}")).await;
        feeds.push(tokio::spawn(feed(capturer, first..first + 40)));
    }
    let state = several.described(|state| state.capturers.len() == 3).await;
    let hubs: Vec<_> = state.capturers.iter().map(|one| one.hub.as_str()).collect();
    assert_eq!(hubs, ["a", "b", "c"]);
    let draining = tokio::spawn({
        let mut viewer = viewer.clone();
        async move { drained(&mut viewer).await }
    });
    let mut ids = Vec::new();
    let balance = loop {
        let response = watched.message().await.unwrap().unwrap();
        ids.extend(response.decoded().unwrap().iter().map(|exchange| exchange.id));
        assert!(
            response.decoded().unwrap().iter().all(|one| one.response.as_ref().unwrap().payload.len() == 8)
        );
        if response.end {
            break response.balance.unwrap();
        }
    };
    ids.sort_unstable();
    let expected: Vec<_> =
        [0, 100, 200].into_iter().flat_map(|first| first..first + 40).filter(|id| id % 2 == 1).collect();
    assert_eq!(ids, expected);
    assert_eq!((balance.seen, balance.delivered, balance.filtered), (120, 60, 60));
    let last = counted.message().await.unwrap().unwrap();
    assert!(last.r#final);
    assert_eq!((last.rows[0].count, last.rows[0].errors), (120, 60));
    assert_eq!(last.balance.unwrap().delivered, 120);
    assert!((last.rows[0].distributions[0].max - 239_000.0).abs() < 0.5);
    let drained = draining.await.unwrap();
    assert_eq!((drained.unconfirmed.len(), drained.confirmed.len()), (0, 3));
    let balances = Balance::read_all(drained.balances).unwrap();
    let viewers = balances.iter().filter(|balance| matches!(balance.consumer, Consumer::Viewer(_)));
    assert_eq!(viewers.count(), 2);
    for feed in feeds {
        feed.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_is_exact_whatever_hub_counts() {
    let several = Several::begin().await;
    let mut viewer = several.viewer().await;
    let request = v1::StatRequest { count: 50, ..Default::default() };
    let mut counted = viewer.stat(request).await.unwrap().into_inner();
    for (hub, first) in [0, 100, 200].into_iter().enumerate() {
        let mut capturer = several.capturer(hub, &format!("node-{hub}")).await;
        capturer.sender.send(batch(1, first..first + 40, false)).await.unwrap();
        while capturer.next().await != Kind::Acknowledged(1) {}
    }
    let last = tokio::time::timeout(SOON, counted.message()).await.unwrap().unwrap().unwrap();
    assert!(last.r#final);
    assert_eq!(last.rows[0].count, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_comes_later_is_seen_from_its_start_and_one_that_goes_is_not_waited_for() {
    let several = Several::begin().await;
    let mut viewer = several.viewer().await;
    let request = v1::WatchRequest { filter: None, payload_bytes: 8, from_start: false, resume: None };
    let mut watched = viewer.watch(request).await.unwrap().into_inner();
    // It takes exchanges before the leader knows of it.
    let late = Several::hub(&several.authority, "d").await;
    let mut capturer = several.capturer_of(&late, "node-d").await;
    capturer.sender.send(batch(1, 7..10, false)).await.unwrap();
    while capturer.next().await != Kind::Acknowledged(1) {}
    several.addresses.send_modify(|others| {
        others.remove("c");
        others.insert("d".to_owned(), late.ingest());
    });
    let mut ids = Vec::new();
    while ids.len() < 3 {
        let response = tokio::time::timeout(SOON, watched.message()).await.unwrap().unwrap().unwrap();
        ids.extend(response.decoded().unwrap().iter().map(|exchange| exchange.id));
    }
    assert_eq!(ids, [7, 8, 9]);
    several.connected(2).await;
    drop(capturer);
    drained(&mut viewer).await;
    let end = tokio::time::timeout(SOON, watched.message()).await.unwrap().unwrap().unwrap();
    assert!(end.end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capturers_are_shared_out() {
    let several = Several::begin().await;
    let mut capturers = Vec::new();
    for node in 0..3 {
        capturers.push(several.capturer(1, &format!("node-{node}")).await);
    }
    several.described(|state| state.capturers.len() == 3).await;
    hub::peers::spread(&several.hubs[0].session, "10.0.0.1:1");
    // From the second to one of the others, whichever it names first.
    let moved = tokio::select! {
        answer = capturers[0].move_order() => answer,
        () = tokio::time::sleep(SOON) => panic!("nobody moved"),
    };
    assert!(moved == "10.0.0.1:1" || moved == several.hubs[2].ingest(), "{moved}");
}

#[tokio::test]
async fn only_a_hub_may_lead() {
    let several = Several::begin().await;
    for wrong in [role::CAPTURER, role::VIEWER] {
        let channel =
            channel(several.hubs[1].ports.ingest, &several.authority.identity(wrong)).await.unwrap();
        let mut client = v1::peer_client::PeerClient::new(channel);
        let error = client.watch(v1::WatchRequest::default()).await.unwrap_err();
        assert_eq!(super::kind(&error), RefusalKind::Role, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_does_not_lead_beside_its_successor() {
    let several = Several::begin().await;
    let [old, new, third] = several.hubs.as_slice() else { panic!("three hubs") };
    // The API alone does not reach the old one: it leads on, while another hub took the Lease.
    new.session.leaders.lead(2);
    let (addresses, others) = tokio::sync::watch::channel(Addresses::new());
    addresses.send_replace([(third.name.to_owned(), third.ingest())].into());
    let leading = tokio::spawn(link::lead(
        Arc::clone(&new.session),
        Arc::clone(new.session.workloads().unwrap()),
        several.authority.identity(role::HUB),
        others,
    ));
    let deposed = tokio::time::timeout(SOON, old.session.leaders.deposed()).await;
    assert!(deposed.is_ok(), "the old leader hears of the new one from who follows both");
    let mut led = new.session.peers.connected();
    let there = led.wait_for(|peers| peers.len() == 1);
    assert!(tokio::time::timeout(SOON, there).await.is_ok_and(|there| there.is_ok()));
    // The old one asks again and again, and is not followed.
    led.mark_unchanged();
    assert!(tokio::time::timeout(Duration::from_secs(2), led.changed()).await.is_err());
    assert_eq!((third.session.leaders.newest(), led.borrow().len()), (2, 1));
    assert!(old.session.peers.connected().borrow().iter().all(|peer| peer.name != third.name));
    leading.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_a_link_to_a_living_hub_is_broken_is_lost_and_nothing_counts_twice() {
    let several = Several::begin().await;
    let mut viewer = several.viewer().await;
    let request = v1::WatchRequest { filter: None, payload_bytes: 8, from_start: true, resume: None };
    let mut watched = viewer.watch(request).await.unwrap().into_inner();
    let request = v1::StatRequest { interval_ns: 50_000_000, ..Default::default() };
    let mut counted = viewer.stat(request).await.unwrap().into_inner();
    let mut capturer = several.capturer(1, "node-b").await;
    let mut send = async |sequence, ids| {
        capturer.sender.send(batch(sequence, ids, false)).await.unwrap();
        while capturer.next().await != Kind::Acknowledged(sequence) {}
    };
    send(1, 0..10).await;
    let mut ids = Vec::new();
    while ids.len() < 10 {
        let response = tokio::time::timeout(SOON, watched.message()).await.unwrap().unwrap().unwrap();
        ids.extend(response.decoded().unwrap().iter().map(|exchange| exchange.id));
    }
    while counted.message().await.unwrap().unwrap().balance.unwrap().delivered < 10 {}
    // The link breaks; what the hub takes meanwhile goes to its own viewers, of which there are none.
    let whole = several.addresses.borrow().clone();
    several.addresses.send_modify(|others| drop(others.remove("b")));
    several.connected(1).await;
    send(2, 10..20).await;
    several.addresses.send_replace(whole);
    several.connected(2).await;
    // Until the streams are open, too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    send(3, 20..30).await;
    drop(capturer);
    drained(&mut viewer).await;
    let balance = loop {
        let response = tokio::time::timeout(SOON, watched.message()).await.unwrap().unwrap().unwrap();
        ids.extend(response.decoded().unwrap().iter().map(|exchange| exchange.id));
        if response.end {
            break Balance::try_from(response.balance.unwrap()).unwrap();
        }
    };
    assert_eq!(ids, (0..10).chain(20..30).collect::<Vec<_>>());
    assert!(balance.holds());
    assert_eq!((balance.seen, balance.delivered, balance.lost.at(Stage::Viewer)), (30, 20, 10));
    let last = loop {
        let response = tokio::time::timeout(SOON, counted.message()).await.unwrap().unwrap().unwrap();
        if response.r#final {
            break response;
        }
    };
    let balance = Balance::try_from(last.balance.unwrap()).unwrap();
    assert!(balance.holds());
    let counts = (last.rows[0].count, balance.seen, balance.delivered, balance.lost.at(Stage::Viewer));
    assert_eq!(counts, (20, 30, 20, 10));
}
