//! Streams to a viewer that break and are opened again, as through an API server that pauses.

use std::time::Duration;

use hub::session::Lag;
use proto::account::{Balance, Consumer};
use proto::launch::StoreChoice;
use proto::v1::viewer_client::ViewerClient;
use proto::{role, v1};
use tonic::Streaming;
use tonic::transport::Channel;

use super::{Authority, Capturer, batch, begin, channel};

/// A viewer as a plugin is one, with what it received last.
struct Viewer {
    client: ViewerClient<Channel>,
    stream: Streaming<v1::WatchResponse>,
    resume: v1::Resume,
    ids: Vec<u64>,
}

impl Viewer {
    async fn open(mut client: ViewerClient<Channel>) -> Self {
        let resume = v1::Resume::default();
        let request =
            v1::WatchRequest { from_start: true, resume: Some(resume), ..v1::WatchRequest::default() };
        let stream = client.watch(request).await.unwrap().into_inner();
        Self { client, stream, resume, ids: Vec::new() }
    }

    /// Takes a response, and returns its ledger.
    async fn take(&mut self) -> Balance {
        let response = tokio::time::timeout(Duration::from_secs(5), self.stream.message()).await;
        let response = response.unwrap().unwrap().unwrap();
        self.ids.extend(response.decoded().unwrap().iter().map(|exchange| exchange.id));
        let balance = Balance::try_from(response.balance.unwrap()).unwrap();
        assert!(balance.holds(), "{balance:?}");
        let Consumer::Viewer(viewer) = balance.consumer else { panic!("{balance:?}") };
        self.resume = v1::Resume { hub: response.hub, viewer, received: self.ids.len() as u64 };
        balance
    }

    /// Opens the stream again as one that received so many fewer.
    async fn again(&mut self, unread: u64) {
        self.resume.received -= unread;
        self.ids.truncate(usize::try_from(self.resume.received).unwrap());
        let request = v1::WatchRequest { resume: Some(self.resume), ..v1::WatchRequest::default() };
        self.stream = self.client.watch(request).await.unwrap().into_inner();
    }
}

#[tokio::test]
async fn a_viewer_whose_stream_broke_gets_what_it_missed() {
    let authority = Authority::new();
    let (session, ports) = begin(&authority, StoreChoice::None).await;
    let mut capturer = Capturer::connect(&authority, ports).await;
    capturer.next().await;
    let client = ViewerClient::new(channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap());
    let mut viewer = Viewer::open(client).await;
    let number = |viewer: &Viewer| viewer.resume.viewer;
    let mut stat = viewer.client.clone();
    let counting = v1::StatRequest { resume: Some(v1::Resume::default()), ..v1::StatRequest::default() };
    let counted = stat.stat(v1::StatRequest { interval_ns: 50_000_000, ..counting.clone() }).await.unwrap();
    let mut counted = counted.into_inner();
    let before = counted.message().await.unwrap().unwrap();
    capturer.sender.send(batch(1, 0..10, false)).await.unwrap();
    capturer.next().await;
    assert_eq!(viewer.take().await.delivered, 10);
    let first = number(&viewer);

    // Its path breaks; so far it saw four of the ten, and ten more come meanwhile.
    drop(counted);
    capturer.sender.send(batch(2, 10..20, false)).await.unwrap();
    capturer.next().await;
    viewer.again(6).await;
    let greeting = viewer.take().await;
    assert_eq!((number(&viewer), viewer.ids.len(), greeting.lost.total()), (first, 4, 0));
    while viewer.ids.len() < 20 {
        viewer.take().await;
    }
    assert_eq!(viewer.ids, (0..20).collect::<Vec<_>>());

    // Counts go on, too.
    let Consumer::Viewer(at) = Balance::try_from(before.balance.unwrap()).unwrap().consumer else { panic!() };
    let resume = Some(v1::Resume { hub: before.hub, viewer: at, received: 0 });
    let again = stat.stat(v1::StatRequest { resume, ..counting }).await.unwrap();
    let mut again = again.into_inner();
    let row = again.message().await.unwrap().unwrap().rows.remove(0);
    assert_eq!(row.count, 20);

    let draining =
        tokio::spawn(async move { session.drain("test", Duration::from_secs(5), Lag::GivenUp).await });
    while capturer.next().await != v1::uplink_response::Kind::Drain(v1::Drain {}) {}
    capturer.sender.send(batch(3, 20..21, true)).await.unwrap();
    let last = viewer.take().await;
    assert_eq!((last.seen, last.delivered), (21, 21));
    drop(again);
    let drained = draining.await.unwrap();
    let own = drained.balances.iter().find(|one| one.consumer == Consumer::Viewer(first)).unwrap();
    assert_eq!((own.seen, own.delivered, own.lost.total()), (21, 21, 0));
}

#[tokio::test]
async fn a_hub_that_does_not_know_a_viewer_says_where_it_begins() {
    let authority = Authority::new();
    let (_session, ports) = begin(&authority, StoreChoice::None).await;
    let mut capturer = Capturer::connect(&authority, ports).await;
    capturer.next().await;
    let client = ViewerClient::new(channel(ports.viewer, &authority.identity(role::VIEWER)).await.unwrap());
    let mut viewer = Viewer::open(client).await;
    capturer.sender.send(batch(1, 0..10, false)).await.unwrap();
    capturer.next().await;
    viewer.take().await;
    let before = viewer.resume;
    for wrong in [v1::Resume { hub: before.hub ^ 1, ..before }, v1::Resume { viewer: 77, ..before }] {
        viewer.resume = wrong;
        viewer.again(0).await;
        let response = viewer.stream.message().await.unwrap().unwrap();
        let ledger = Balance::try_from(response.balance.unwrap()).unwrap();
        assert_eq!((response.began_at, ledger.seen, response.hub), (10, 0, before.hub));
        assert_ne!(ledger.consumer, Consumer::Viewer(before.viewer));
    }
}
