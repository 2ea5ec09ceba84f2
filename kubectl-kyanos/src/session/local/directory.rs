//! Session directories: who runs here, where its hub listens, and who may talk to it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::launch::{Identity, SESSION_FILE, SessionFile, VIEWER_FILE};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// How long a directory may lack its session file: it is written right after the directory is made.
const WRITE_GRACE: Duration = Duration::from_secs(10);

/// How much later than its session a process may have begun to be one of its own; later it is another with its id.
const PROCESS_GRACE: Duration = Duration::from_mins(3);

/// How often making a directory or file is tried when another session's end removes its parent: as many as may end at once.
const CREATE_TRIES: u32 = 100;

/// Where sessions of this machine keep what they need.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Parent of session directories.
    pub(crate) sessions: PathBuf,
    /// Where stores lie.
    pub(crate) stores: PathBuf,
}

/// A session directory.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The session's name.
    pub(crate) name: String,
    /// What it records; `None` where it cannot be read.
    pub(crate) file: Option<SessionFile>,
    /// Whether it was made so recently that its file may still be missing.
    pub(crate) fresh: bool,
}

// === impl Places ===

impl Default for Places {
    fn default() -> Self {
        Self { sessions: PathBuf::from("/run/kyanos"), stores: PathBuf::from("/var/lib/kyanos") }
    }
}

impl Places {
    /// Directory of a session.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.sessions.join(name)
    }

    /// Store file of a session.
    pub(crate) fn store(&self, name: &str) -> PathBuf {
        self.stores.join(format!("{name}.sqlite"))
    }

    /// Makes a session's directory, which fails where the name is in use, and writes its file.
    pub(crate) fn create(&self, file: &SessionFile) -> Result<(), Failure> {
        let path = self.directory(&file.session);
        let mut tries = 0;
        loop {
            make_folder(&self.sessions)
                .map_err(|error| Failure::io("making", self.sessions.display(), &error))?;
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return self.write(file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(in_use(&file.session)),
                // A session that ended in between removed the empty parent.
                Err(error) if error.kind() == ErrorKind::NotFound && tries < CREATE_TRIES => tries += 1,
                Err(error) => return Err(Failure::io("making", path.display(), &error)),
            }
        }
    }

    /// Makes the file of a session's own store, empty and readable by its owner alone, and the folder it lies in.
    ///
    /// From then on the folder is not empty, so no other session's end removes it.
    pub(crate) fn create_store(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.store(name);
        let mut tries = 0;
        loop {
            make_folder(&self.stores)
                .map_err(|error| Failure::io("making", self.stores.display(), &error))?;
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(_file) => return Ok(path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(in_use(name)),
                // A session that ended in between removed the empty folder.
                Err(error) if error.kind() == ErrorKind::NotFound && tries < CREATE_TRIES => tries += 1,
                Err(error) => return Err(Failure::io("making", path.display(), &error)),
            }
        }
    }

    /// Writes a session's file, so that readers see all of it or the one before.
    pub(crate) fn write(&self, file: &SessionFile) -> Result<(), Failure> {
        write_json(&self.directory(&file.session).join(SESSION_FILE), file)
    }

    /// Writes the credentials of viewers.
    pub(crate) fn write_viewer(&self, name: &str, identity: &Identity) -> Result<(), Failure> {
        write_json(&self.directory(name).join(VIEWER_FILE), identity)
    }

    /// Reads a session's file.
    pub(crate) fn read(&self, name: &str) -> Result<SessionFile, Failure> {
        self.read_json(name, SESSION_FILE)
    }

    /// Reads the credentials of viewers.
    pub(crate) fn read_viewer(&self, name: &str) -> Result<Identity, Failure> {
        self.read_json(name, VIEWER_FILE)
    }

    /// Lists session directories by name.
    pub(crate) fn list(&self) -> Vec<Found> {
        let Ok(entries) = std::fs::read_dir(&self.sessions) else { return Vec::new() };
        let mut found: Vec<Found> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let file = read_json(&entry.path().join(SESSION_FILE)).ok();
                let age = entry
                    .metadata()
                    .and_then(|data| data.modified())
                    .ok()
                    .and_then(|made| made.elapsed().ok());
                Some(Found { name, file, fresh: age.is_none_or(|age| age < WRITE_GRACE) })
            })
            .collect();
        found.sort_by(|left, right| left.name.cmp(&right.name));
        found
    }

    /// Lists stores whose sessions have ended.
    pub(crate) fn kept_stores(&self) -> Vec<(String, PathBuf)> {
        let Ok(entries) = std::fs::read_dir(&self.stores) else { return Vec::new() };
        let mut kept: Vec<(String, PathBuf)> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "sqlite"))
            .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
            .filter(|(name, _)| !self.directory(name).exists())
            .collect();
        kept.sort();
        kept
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str, file: &str) -> Result<T, Failure> {
        read_json(&self.directory(name).join(file)).map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                return Failure::new(format!("session `{name}` is not running on this machine"))
                    .hint("see `kubectl kyanos status --local`");
            }
            if error.kind() == ErrorKind::PermissionDenied {
                return Failure::new(format!("session `{name}` belongs to root"))
                    .hint("run `sudo kubectl kyanos …`");
            }
            Failure::io("reading", self.directory(name).join(file).display(), &error)
        })
    }
}

// === impl Found ===

impl Found {
    /// Whether the plugin that started it lives.
    pub(crate) fn is_live(&self) -> bool {
        self.file.as_ref().is_some_and(|file| lives(file.plugin_pid, file))
    }

    /// Whether nothing of it lives and nothing can still come.
    pub(crate) fn is_dead(&self) -> bool {
        match &self.file {
            Some(file) => [Some(file.plugin_pid), file.hub_pid, file.capturer_pid]
                .into_iter()
                .flatten()
                .all(|pid| !lives(pid, file)),
            None => !self.fresh,
        }
    }
}

/// The error for a name that a running session or a kept store has.
pub(crate) fn in_use(name: &str) -> Failure {
    Failure::new(format!("session name `{name}` is in use"))
        .hint(format!("choose another name, or remove it with `kubectl kyanos cleanup {name} --local`"))
}

/// Says whether a process lives and began no later than a session's own processes do.
pub(crate) fn lives(pid: u32, session: &SessionFile) -> bool {
    let Some((state, began)) = stat(pid) else { return false };
    if state.starts_with(['Z', 'X']) {
        return false;
    }
    let latest = match session.started_ticks {
        Some(ticks) => Some(ticks.saturating_add(ticks_of(PROCESS_GRACE))),
        // A session of a version that did not record it: the clock must do.
        None => boot().map(|boot| {
            let since_boot = Duration::from_nanos(session.started_ns).saturating_sub(boot);
            ticks_of(since_boot.saturating_add(PROCESS_GRACE))
        }),
    };
    latest.is_none_or(|latest| began <= latest)
}

/// Returns when a process began, in ticks since boot.
pub(crate) fn began_ticks(pid: u32) -> Option<u64> {
    stat(pid).map(|(_, began)| began)
}

/// Returns a process's state and when it began, in ticks since boot.
fn stat(pid: u32) -> Option<(String, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command in parentheses may hold anything; fields count from its end: state is the first, start the 20th.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?.to_owned();
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// When the machine booted, by its clock.
fn boot() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn ticks_of(time: Duration) -> u64 {
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    let per_second = per_second.and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks > 0);
    time.as_secs().saturating_mul(per_second.unwrap_or(100))
}

/// Gives a kept or saved file to the user behind sudo.
pub(crate) fn give_to_owner(path: &Path) {
    let id = |name: &str| std::env::var(name).ok().and_then(|id| id.parse::<u32>().ok());
    if let (Some(user), Some(group)) = (id("SUDO_UID"), id("SUDO_GID")) {
        std::os::unix::fs::chown(path, Some(user), Some(group)).ok();
    }
}

/// Makes a folder that sessions share, where it is not.
fn make_folder(path: &Path) -> std::io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o755).create(path) {
        // It was there a moment ago; making what belongs in it tells whether it still is.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> std::io::Result<T> {
    let text = std::fs::read_to_string(path)?;
    serde_json::from_str(&text).map_err(std::io::Error::from)
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let temporary = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        let mut file: File =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(serde_json::to_string(value)?.as_bytes())?;
        std::fs::rename(&temporary, path)
    };
    written().map_err(|error| Failure::io("writing", path.display(), &error))
}

#[cfg(test)]
mod tests;
