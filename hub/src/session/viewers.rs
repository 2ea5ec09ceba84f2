//! Which plugins there are, and whether one was there.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Plugins whose heartbeat is there, and calls of those that do not beat yet.
#[derive(Debug, Default)]
pub struct Viewers {
    connected: AtomicU32,
    heard: AtomicBool,
}

/// A plugin's heartbeat stream, counted while it lives.
#[derive(Debug)]
pub struct Connected<'a>(&'a AtomicU32);

// === impl Viewers ===

impl Viewers {
    /// Counts a plugin while the returned value lives.
    pub fn connect(&self) -> Connected<'_> {
        self.hear();
        self.connected.fetch_add(1, Ordering::Relaxed);
        Connected(&self.connected)
    }

    /// Notes that a plugin called.
    pub fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Plugins whose heartbeat is there.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Says whether a plugin is there, or was since this was last asked, however shortly.
    pub fn heard(&self) -> bool {
        let heard = self.heard.swap(false, Ordering::Relaxed);
        heard || self.count() > 0
    }
}

// === impl Connected ===

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_came_and_went_between_two_looks_was_heard() {
        let viewers = Viewers::default();
        assert!(!viewers.heard());
        drop(viewers.connect());
        assert_eq!(viewers.count(), 0);
        assert!(viewers.heard() && !viewers.heard());
        viewers.hear();
        assert!(viewers.heard() && !viewers.heard());
        let beats = viewers.connect();
        assert!(viewers.heard() && viewers.heard());
        drop(beats);
        assert!(!viewers.heard());
    }
}
