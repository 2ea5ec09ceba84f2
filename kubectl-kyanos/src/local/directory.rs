//! Session directories: who runs here, where its hub listens, and who may talk to it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::launch::{Identity, SESSION_FILE, SessionFile, VIEWER_FILE};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::platform::{self, Access};

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
            match platform::folder_for(Access::Owner, &mut DirBuilder::new()).create(&path) {
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
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            match platform::file_for(Access::Owner, &mut options).open(&path) {
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
    let Some(process) = platform::process(pid).filter(|process| !process.ended) else { return false };
    let latest = match session.started_ticks {
        Some(ticks) => Some(ticks.saturating_add(ticks_of(PROCESS_GRACE))),
        // A session of a version that did not record it: the clock must do.
        None => platform::boot().map(|boot| {
            let since_boot = Duration::from_nanos(session.started_ns).saturating_sub(boot);
            ticks_of(since_boot.saturating_add(PROCESS_GRACE))
        }),
    };
    latest.is_none_or(|latest| process.began <= latest)
}

/// Returns when a process began, in ticks since boot.
pub(crate) fn began_ticks(pid: u32) -> Option<u64> {
    platform::process(pid).map(|process| process.began)
}

fn ticks_of(time: Duration) -> u64 {
    time.as_secs().saturating_mul(platform::ticks_per_second())
}

/// Makes a folder that sessions share, where it is not.
fn make_folder(path: &Path) -> std::io::Result<()> {
    match platform::folder_for(Access::All, DirBuilder::new().recursive(true)).create(path) {
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
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = platform::file_for(Access::Owner, &mut options).open(&temporary)?;
        file.write_all(serde_json::to_string(value)?.as_bytes())?;
        std::fs::rename(&temporary, path)
    };
    written().map_err(|error| Failure::io("writing", path.display(), &error))
}

#[cfg(test)]
mod tests;
