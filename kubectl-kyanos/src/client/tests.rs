//! Connections that break.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hub::store::StoreError;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tonic::Status;

use super::*;
use crate::failure::{FAILED, USAGE};
use crate::session::certificates;

/// Bytes in flight in each direction.
const BUFFER: usize = 64 * 1024;

/// A witness that always says the same.
struct Says(Word);

impl Witness for Says {
    async fn ask(&self) -> Word {
        self.0
    }
}

/// Opens connections to a fake hub, of which all can be cut.
#[derive(Clone)]
struct Path {
    hub: mpsc::Sender<DuplexStream>,
    open: Arc<Mutex<Vec<JoinHandle<()>>>>,
    opened: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Path {
    fn new(hub: &Identity) -> Self {
        Self::to(fake_hub::serve(hub))
    }

    fn to(hub: mpsc::Sender<DuplexStream>) -> Self {
        Self { hub, open: Arc::default(), opened: Arc::default(), closed: Arc::default() }
    }

    fn connector(
        &self,
    ) -> impl tower::Service<
        Uri,
        Response = TokioIo<DuplexStream>,
        Error = std::io::Error,
        Future = impl Future<Output = std::io::Result<TokioIo<DuplexStream>>> + Send + use<>,
    > + Send
    + 'static {
        let path = self.clone();
        tower::service_fn(move |_uri: Uri| {
            let path = path.clone();
            async move {
                if path.closed.load(Ordering::Relaxed) > 0 {
                    return Err(std::io::Error::other("no way to the hub"));
                }
                path.opened.fetch_add(1, Ordering::Relaxed);
                let (ours, mut near) = tokio::io::duplex(BUFFER);
                let (mut far, theirs) = tokio::io::duplex(BUFFER);
                path.hub.send(theirs).await.expect("a hub");
                let bridge = tokio::spawn(async move {
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                });
                path.open.lock().expect("unpoisoned").push(bridge);
                Ok(TokioIo::new(ours))
            }
        })
    }

    fn cut(&self) {
        for bridge in self.open.lock().expect("unpoisoned").drain(..) {
            bridge.abort();
        }
    }
}

#[tokio::test]
async fn a_connection_that_broke_is_opened_again_and_only_then() {
    let made = certificates::make("abcde").expect("certificates");
    let path = Path::new(&made.hub);
    let mut client = Client::connect_over(&made.viewer, path.connector()).await.expect("connected");
    client.describe().await.expect("described");
    client.clone().describe().await.expect("described");
    assert_eq!(path.opened.load(Ordering::Relaxed), 1, "calls share one connection");
    path.cut();
    let mut tries = 0;
    while client.describe().await.is_err() {
        tries += 1;
        assert!(tries < 20, "it was not opened again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(path.opened.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_hub_of_another_version_is_told_with_what_to_do() {
    let made = certificates::make("abcde").expect("certificates");
    let path = Path::to(fake_hub::serve_another_version(&made.hub));
    let mut client = Client::connect_over(&made.viewer, path.connector()).await.expect("connected");
    let refused = client.describe().await.expect_err("another revision");
    assert!(refused.what.contains("wire revision 1"), "{}", refused.what);
    assert_eq!((refused.hint.as_deref(), refused.passing), (Some("use one version"), false));
}

#[tokio::test]
async fn another_sessions_certificate_opens_nothing() {
    let (made, other) = (certificates::make("a").expect("made"), certificates::make("b").expect("made"));
    let path = Path::new(&made.hub);
    Client::connect_over(&other.viewer, path.connector()).await.map(drop).expect_err("refused");
}

#[tokio::test(start_paused = true)]
async fn a_hub_in_a_cluster_is_lost_after_a_lease_period_and_not_before() {
    let made = certificates::make("abcde").expect("certificates");
    let path = Path::new(&made.hub);
    let client = Client::connect_over(&made.viewer, path.connector()).await.expect("connected");
    let (sender, mut notices) = mpsc::channel(1);
    tokio::spawn(client.keep_alive(sender, watch::Sender::default(), Says(Word::Unknown)));
    let quiet = tokio::time::timeout(Duration::from_mins(5), notices.recv()).await;
    assert!(quiet.is_err(), "heartbeats that are answered go on: {quiet:?}");
    path.closed.store(1, Ordering::Relaxed);
    path.cut();
    let broke = tokio::time::Instant::now();
    let Some(Notice::Lost(_)) = notices.recv().await else { panic!("the hub was not missed") };
    let after = broke.elapsed();
    let lease = Patience::FORWARDED.lost;
    assert!(after >= lease && after < lease + Duration::from_secs(5), "{after:?}");
}

/// Cuts the path to a hub for good and returns why and after what time the session is given up.
async fn given_up(word: Word) -> (Failure, Duration) {
    let made = certificates::make("abcde").expect("certificates");
    let path = Path::new(&made.hub);
    let client = Client::connect_over(&made.viewer, path.connector()).await.expect("connected");
    let (sender, mut notices) = mpsc::channel(1);
    tokio::spawn(client.keep_alive(sender, watch::Sender::default(), Says(word)));
    tokio::time::sleep(Duration::from_secs(15)).await;
    path.closed.store(1, Ordering::Relaxed);
    path.cut();
    let broke = tokio::time::Instant::now();
    let Some(Notice::Lost(failure)) = notices.recv().await else { panic!("the hub was not missed") };
    (failure, broke.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_hub_is_waited_for_while_its_session_stands_and_not_once_it_is_gone() {
    let room = Duration::from_secs(5);
    let (_, after) = given_up(Word::Stands).await;
    let standing = Patience::FORWARDED.standing;
    assert!(after >= standing && after < standing + room, "{after:?}");
    let (failure, after) = given_up(Word::Gone).await;
    assert!(after < room && failure.what.contains("removed"), "{after:?} {}", failure.what);
    let (_, after) = given_up(Word::Unknown).await;
    let lease = Patience::FORWARDED.lost;
    assert!(after >= lease && after < lease + room, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_comes_back_within_the_lease_period_is_not_lost() {
    let made = certificates::make("abcde").expect("certificates");
    let path = Path::new(&made.hub);
    let client = Client::connect_over(&made.viewer, path.connector()).await.expect("connected");
    let (sender, mut notices) = mpsc::channel(1);
    tokio::spawn(client.keep_alive(sender, watch::Sender::default(), Says(Word::Unknown)));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(15)).await;
        path.closed.store(1, Ordering::Relaxed);
        path.cut();
        tokio::time::sleep(Duration::from_secs(50)).await;
        path.closed.store(0, Ordering::Relaxed);
    }
    let quiet = tokio::time::timeout(Duration::from_mins(5), notices.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test]
async fn a_broken_connection_is_told_in_three_words() {
    let made = certificates::make("abcde").expect("certificates");
    let path = Path::new(&made.hub);
    let client = Client::connect_over(&made.viewer, path.connector()).await.expect("connected");
    let beats = tokio_stream::pending::<v1::HeartbeatRequest>();
    let mut answers = client.clone().inner.heartbeat(beats).await.expect("open").into_inner();
    path.cut();
    let broke = next(&mut answers).await.expect_err("broken");
    assert!(broke.what.ends_with("the connection broke"), "{}", broke.what);
}

#[test]
fn a_refused_statement_reads_as_it_does_on_a_file() {
    let errors = [
        StoreError::ReadOnly { message: "not authorized".to_owned() },
        StoreError::Statement { message: "no such table: x".to_owned() },
        StoreError::TimedOut { seconds: 30 },
        StoreError::NoReader { reason: "no grant".to_owned() },
        StoreError::Unreachable { reason: "no route".to_owned() },
        StoreError::Newer { found: 9, known: 2 },
        StoreError::Ended,
    ];
    for on_file in errors {
        let found = failure(&on_file.refusal().with_hint(on_file.to_string(), on_file.hint()));
        assert_eq!((found.what, found.hint.as_deref()), (on_file.to_string(), on_file.hint()));
        assert_eq!((found.exit, found.passing), (FAILED, on_file.is_passing()), "{on_file}");
    }
}

#[test]
fn what_is_refused_is_told_by_its_kind_and_never_by_its_words() {
    // The words that decided once, under kinds that they do not belong to.
    let words = "this session's store has no read-only login: use the version that started the session";
    let usage = failure(&RefusalKind::Request.status(words));
    assert_eq!((usage.what.as_str(), usage.exit, usage.passing), (words, USAGE, false));
    let busy = failure(&RefusalKind::TooManyViewers.status(words));
    assert_eq!((busy.exit, busy.hint, busy.passing), (FAILED, None, true));
    let role = failure(&RefusalKind::Role.with_hint(words, Some("ask")));
    assert_eq!((role.what, role.hint.as_deref()), (format!("the hub refuses: {words}"), Some("ask")));
    let late = failure(&RefusalKind::StoreStarting.with_hint("", Some("wait")));
    assert_eq!((late.hint.as_deref(), late.passing), (Some("wait"), true));
}

#[test]
fn what_no_hub_refused_is_the_transports() {
    let away = failure(&Status::unavailable("the store"));
    assert_eq!((away.what.as_str(), away.passing), ("the hub does not answer: the store", true));
    let earlier = failure(&Status::failed_precondition("wire revision 5 of the plugin, 4 of the hub"));
    assert!(!earlier.passing && earlier.hint.is_some(), "a hub of another version is not waited for");
    let cut = Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)));
    assert_eq!(failure(&cut).what, "the hub does not answer: the connection broke");
    let shut = Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)));
    assert_eq!(failure(&shut).what, "the hub does not answer: connection refused");
}
