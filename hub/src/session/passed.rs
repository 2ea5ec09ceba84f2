//! Exchanges that a session's hubs took and its store does not hold, kept beside the store for the hub after them:
//! passed over, or removed when the store reached its limit.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::slots::{File, SlotsError};

/// File beside a store's socket with their number.
const PASSED_FILE: &str = "kyanos-passed";

/// Their number, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Passed {
    file: Option<File>,
    before: u64,
    written: AtomicU64,
}

// === impl Passed ===

impl Passed {
    /// Reads what hubs before this one wrote into a file of this folder, which lives as long as the store.
    pub(super) fn beside(folder: &Path) -> Result<Self, SlotsError> {
        let file = File::at(folder.join(PASSED_FILE));
        let before = file.read()?;
        Ok(Self { file: Some(file), before, written: AtomicU64::new(before) })
    }

    /// Those of hubs before this one.
    pub(super) fn before(&self) -> u64 {
        self.before
    }

    /// Writes down that this hub has so many; a file that cannot be written is tried again the next time.
    pub(super) fn note(&self, own: u64) {
        let Some(file) = &self.file else { return };
        let all = self.before.saturating_add(own);
        if self.written.load(Ordering::Relaxed) == all {
            return;
        }
        match file.write(all) {
            Ok(()) => self.written.store(all, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "what was passed over is not noted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_after_each_other_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let first = Passed::beside(folder.path()).unwrap();
        first.note(3);
        first.note(7);
        let second = Passed::beside(folder.path()).unwrap();
        assert_eq!(second.before(), 7);
        second.note(5);
        assert_eq!(Passed::beside(folder.path()).unwrap().before(), 12);
        // Without a folder there is nobody to tell.
        let none = Passed::default();
        none.note(9);
        assert_eq!(none.before(), 0);
    }
}
