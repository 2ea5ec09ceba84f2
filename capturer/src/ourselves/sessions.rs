//! The processes of every Kyanos session on this machine, which are never captured.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inotify::{EventMask, EventStream, Inotify, WatchMask};
use proto::launch::{SESSION_FILE, SessionFile};
use tokio::time::{Instant, sleep_until};
use tokio_stream::StreamExt;

/// How often the directory is read without being told to: it may appear only after the first session started, and
/// a queue of notices can overflow.
const RESCAN_PERIOD: Duration = Duration::from_secs(1);

/// Bytes for one read of notices: some hundred of them.
const NOTICE_BYTES: usize = 16 << 10;

/// A session file larger than this is none.
const FILE_BYTES: u64 = 64 << 10;

/// Watches the parent of all sessions' directories.
pub struct Sessions {
    directory: PathBuf,
    notices: Option<EventStream<Vec<u8>>>,
    watched: HashSet<PathBuf>,
    pids: HashSet<u32>,
    next: Instant,
}

/// What changed since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Processes to exclude.
    pub exclude: Vec<u32>,
    /// Processes that are no longer a session's.
    pub include: Vec<u32>,
}

// === impl Sessions ===

impl Sessions {
    /// Watches `directory`, which need not exist yet.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        let notices = Inotify::init()
            .and_then(|inotify| inotify.into_event_stream(vec![0; NOTICE_BYTES]))
            .inspect_err(|error| tracing::warn!(%error, "sessions are looked for once a second only"))
            .ok();
        Self { directory, notices, watched: HashSet::new(), pids: HashSet::new(), next: Instant::now() }
    }

    /// Reads the directory and says what changed.
    pub fn scan(&mut self) -> Change {
        self.next = Instant::now() + RESCAN_PERIOD;
        let directory = self.directory.clone();
        self.watch(&directory);
        let mut pids = HashSet::new();
        for session in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = session.path();
            self.watch(&path);
            if let Some(file) = session_file(&path) {
                pids.extend(
                    [Some(file.plugin_pid), file.hub_pid, file.capturer_pid]
                        .into_iter()
                        .flatten()
                        .filter(|pid| Path::new("/proc").join(pid.to_string()).exists()),
                );
            }
        }
        let change = Change {
            exclude: pids.difference(&self.pids).copied().collect(),
            include: self.pids.difference(&pids).copied().collect(),
        };
        self.pids = pids;
        change
    }

    /// Waits until another scan is due; may be dropped and called again.
    pub async fn changed(&mut self) {
        let Some(notices) = &mut self.notices else {
            sleep_until(self.next).await;
            return;
        };
        tokio::select! {
            () = sleep_until(self.next) => {}
            notice = notices.next() => match notice {
                // A directory that was watched is gone; should it come again, it is watched anew.
                Some(Ok(event)) if event.mask.contains(EventMask::IGNORED) => self.watched.clear(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.notices = None,
            },
        }
    }

    fn watch(&mut self, path: &Path) {
        let Some(notices) = &self.notices else { return };
        if self.watched.contains(path) {
            return;
        }
        let mask = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::ONLYDIR;
        if notices.watches().add(path, mask).is_ok() {
            self.watched.insert(path.to_owned());
        }
    }
}

fn session_file(directory: &Path) -> Option<SessionFile> {
    let path = directory.join(SESSION_FILE);
    let size = fs::metadata(&path).ok()?.len();
    if size > FILE_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, plugin_pid: u32, hub_pid: Option<u32>) {
        let file = SessionFile {
            session: name.to_owned(),
            version: "0".to_owned(),
            owner: 0,
            started_ns: 0,
            plugin_pid,
            hub_pid,
            capturer_pid: None,
            viewer_port: None,
            store: None,
            keep: false,
            started_ticks: None,
        };
        fs::create_dir_all(directory.join(name)).unwrap();
        let part = directory.join(name).join("part");
        fs::write(&part, serde_json::to_vec(&file).unwrap()).unwrap();
        fs::rename(part, directory.join(name).join(SESSION_FILE)).unwrap();
    }

    async fn settle(sessions: &mut Sessions, done: impl Fn(&HashSet<u32>) -> bool) {
        let started = Instant::now();
        while !done(&sessions.pids) {
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", sessions.pids);
            sessions.changed().await;
            sessions.scan();
        }
    }

    #[tokio::test]
    async fn sessions_come_fill_in_and_go() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("kyanos");
        let mut sessions = Sessions::new(directory.clone());
        assert_eq!(sessions.scan(), Change::default(), "the directory need not exist");
        let me = std::process::id();
        let parent_pid = std::os::unix::process::parent_id();
        write(&directory, "one", me, None);
        settle(&mut sessions, |pids| pids.contains(&me)).await;
        let started = Instant::now();
        write(&directory, "one", me, Some(parent_pid));
        settle(&mut sessions, |pids| pids.contains(&parent_pid)).await;
        assert!(started.elapsed() < Duration::from_millis(500), "a notice is faster than the rescan");
        write(&directory, "two", u32::MAX, None);
        sessions.scan();
        assert!(!sessions.pids.contains(&u32::MAX), "a process that is gone is not excluded");
        fs::remove_dir_all(directory.join("one")).unwrap();
        settle(&mut sessions, HashSet::is_empty).await;
        fs::remove_dir_all(&directory).unwrap();
        sessions.scan();
        write(&directory, "three", me, None);
        settle(&mut sessions, |pids| pids.contains(&me)).await;
    }
}
