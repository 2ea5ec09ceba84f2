//! The hub as a child process: it answers, serves, and ends with its parent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proto::launch::{HubAnswer, HubLaunch, HubPlace, StoreChoice};
use proto::v1::viewer_client::ViewerClient;
use proto::{role, v1};

use super::authority::Authority;
use super::{Capturer, batch, channel, launch};

struct Hub {
    child: Child,
    answer: HubAnswer,
}

impl Hub {
    fn start(launch: &HubLaunch) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hub"))
            .env("MALLOC_ARENA_MAX", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = serde_json::to_string(launch).unwrap();
        line.push('\n');
        child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut answer).unwrap();
        Self { answer: serde_json::from_str(&answer).unwrap(), child }
    }

    fn ports(&self) -> hub::service::Ports {
        match &self.answer {
            HubAnswer::Ready(ready) => {
                hub::service::Ports { ingest: ready.ingest_port, viewer: ready.viewer_port }
            }
            HubAnswer::Failed(failed) => panic!("{failed:?}"),
        }
    }

    /// Closes the pipe as the parent's death would, and takes the time until the end.
    fn orphan(&mut self) -> Duration {
        drop(self.child.stdin.take());
        self.end()
    }

    fn end(&mut self) -> Duration {
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(10), "the hub does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        began.elapsed()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Anonymous memory in KiB.
    fn anonymous(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn local(authority: &Authority, folder: &Path, keep: bool) -> HubLaunch {
    let directory = folder.join("run");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("session.json"), "{}").unwrap();
    let path = folder.join("store.sqlite");
    HubLaunch {
        place: HubPlace::Local { directory },
        keep,
        ..launch(authority, StoreChoice::Sqlite { path })
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn the_parents_end_removes_everything_within_a_second() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(&local(&authority, folder.path(), false));
    let mut capturer = Capturer::connect(&authority, hub.ports()).await;
    capturer.next().await;
    capturer.sender.send(batch(1, 0..100, false)).await.unwrap();
    capturer.next().await;
    assert!(hub.orphan() < Duration::from_secs(1));
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_parent_that_does_not_hear_the_answer_leaves_no_store() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let launch = local(&authority, folder.path(), false);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hub"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{}", serde_json::to_string(&launch).unwrap()).unwrap();
    // The pipe that the hub watches stays open.
    let status = child.wait().unwrap();
    drop(input);
    assert!(!status.success());
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_kept_store_stays_whole() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(&local(&authority, folder.path(), true));
    let mut capturer = Capturer::connect(&authority, hub.ports()).await;
    capturer.next().await;
    capturer.sender.send(batch(1, 0..100, false)).await.unwrap();
    capturer.next().await;
    assert!(hub.orphan() < Duration::from_secs(1));
    assert_eq!(names(folder.path()), ["store.sqlite"]);
    let mut reader = hub::store::sqlite::Reader::open(&folder.path().join("store.sqlite")).unwrap();
    let mut rows = Vec::new();
    let mut take = |response: v1::QueryResponse| {
        rows.extend(response.rows);
        true
    };
    reader.query("SELECT COUNT(*) FROM exchanges", Duration::from_secs(5), &mut take).unwrap();
    assert_eq!(rows[0].values[0].kind, Some(v1::value::Kind::Integer(100)));
}

#[tokio::test]
async fn a_terminals_signals_are_the_plugins_and_sigterm_ends() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(&local(&authority, folder.path(), true));
    hub.signal("INT");
    hub.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert!(hub.child.try_wait().unwrap().is_none());
    hub.signal("TERM");
    assert!(hub.end() < Duration::from_secs(2));
    assert!(hub.child.wait().unwrap().success());
}

#[test]
fn what_keeps_it_from_starting_is_answered() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = local(&authority, folder.path(), false);
    for (store, words) in [
        (StoreChoice::Sqlite { path: "/nonexistent/store.sqlite".into() }, "/nonexistent/store.sqlite"),
        (
            StoreChoice::Mysql { url: "mysql://u:secret@127.0.0.1:1/db".to_owned(), reader: None },
            "127.0.0.1:1",
        ),
        (StoreChoice::Mysql { url: "mysql://u:secret@127.0.0.1".to_owned(), reader: None }, "no database"),
    ] {
        wrong.store = store;
        let hub = Hub::start(&wrong);
        let HubAnswer::Failed(failed) = &hub.answer else { panic!("{:?}", hub.answer) };
        assert!(failed.error.contains(words) && !failed.error.contains("secret"), "{}", failed.error);
        assert!(failed.hint.is_some() && !failed.error.contains("error:"), "{}", failed.error);
    }
}

#[tokio::test]
async fn memory_stays_bounded_under_a_flood_with_a_slow_viewer() {
    const BATCHES: u64 = 600;
    const EACH: u64 = 300;
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let mut launch = local(&authority, folder.path(), false);
    (launch.max_store_bytes, launch.payload_bytes) = (1024, 1024);
    let hub = Hub::start(&launch);
    let mut capturer = Capturer::connect(&authority, hub.ports()).await;
    capturer.next().await;
    let viewer = channel(hub.ports().viewer, &authority.identity(role::VIEWER)).await.unwrap();
    let mut viewer = ViewerClient::new(viewer);
    let _slow = viewer.watch(v1::WatchRequest { payload_bytes: 1024, ..Default::default() }).await.unwrap();
    let group_by = vec![v1::Grouping::common(v1::CommonField::Status)];
    let stat = v1::StatRequest { group_by, samples: 10, ..Default::default() };
    let _stat = viewer.stat(stat).await.unwrap();
    let mut most = 0;
    for sequence in 1..=BATCHES {
        capturer.sender.send(batch(sequence, sequence * EACH..(sequence + 1) * EACH, false)).await.unwrap();
        while capturer.next().await != v1::uplink_response::Kind::Acknowledged(sequence) {}
        most = most.max(hub.anonymous());
    }
    let state = viewer.describe(v1::DescribeRequest { wire_revision: proto::WIRE_REVISION }).await.unwrap();
    let state = state.into_inner();
    for balance in &state.balances {
        let lost: u64 = balance.lost.iter().map(|loss| loss.total).sum();
        assert_eq!(balance.seen, balance.delivered + balance.filtered + lost, "{balance:?}");
    }
    println!("RssAnon {most} KiB at most, {} of {} stored", state.stored, BATCHES * EACH);
    assert!(most < 64 * 1024, "{most} KiB");
}
