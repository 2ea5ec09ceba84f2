//! A file that is not there until it is whole.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// What the embedded database puts beside its file while it writes.
const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// A file that is being written beside its place, under another name; dropped, it goes.
///
/// So nobody takes half of it for the whole, and what failed does not stand in the way of another attempt.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
}

// === impl Partial ===

impl Partial {
    /// Names a file beside `target` that no other process writes; what an earlier one of that name left goes.
    pub(super) fn beside(target: &Path, purpose: &str) -> Self {
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}.{purpose}", std::process::id()));
        let partial = Self { path: name.into() };
        partial.remove();
        partial
    }

    /// Where it is written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the whole file in its place, where there must be none by now.
    pub(super) fn becomes(self, target: &Path) -> Result<(), Failure> {
        let failed = |doing: &str, error: &std::io::Error| Failure::io(doing, target.display(), error);
        // On disk before it has its name: after a power cut there is the whole of it or none.
        let written = OpenOptions::new().write(true).open(&self.path).and_then(|file| file.sync_all());
        written.map_err(|error| failed("writing", &error))?;
        if target.exists() {
            return Err(Failure::new(format!("`{}` was made by somebody else meanwhile", target.display()))
                .hint("name another file"));
        }
        std::fs::rename(&self.path, target).map_err(|error| failed("making", &error))
    }

    fn remove(&self) {
        for companion in COMPANIONS {
            let mut name: OsString = self.path.clone().into();
            name.push(companion);
            // Most of them are not there.
            std::fs::remove_file(name).ok();
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.remove();
    }
}
