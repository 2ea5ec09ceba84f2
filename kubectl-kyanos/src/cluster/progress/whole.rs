//! When a session is whole: all its nodes capture, or those that do not are named.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::NodeProgress;

/// How long a time or a summary waits for nodes that do not capture yet once the others do: equal nodes come up within
/// seconds, and an image that is pulled takes longer than anybody waits.
pub(super) const LATE_PATIENCE: Duration = Duration::from_secs(15);

/// Tells when a session is whole, at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    told: watch::Sender<bool>,
    began: Instant,
}

// === impl Whole ===

impl Whole {
    /// Begins to wait for a session; the receiver becomes true.
    pub(crate) fn begin() -> (Self, watch::Receiver<bool>) {
        let (told, receiver) = watch::channel(false);
        (Self { told, began: Instant::now() }, receiver)
    }

    /// Whether it is told.
    pub(super) fn is_told(&self) -> bool {
        *self.told.borrow()
    }

    /// Looks at the nodes, and returns what is to be said of those that are late.
    pub(super) fn look(&self, progress: &NodeProgress) -> Vec<String> {
        if self.is_told() || (!progress.waiting.is_empty() && self.began.elapsed() < LATE_PATIENCE) {
            return Vec::new();
        }
        self.told.send_replace(true);
        let late = progress.waiting.iter().map(|(node, reason)| {
            let reason = reason.as_deref().unwrap_or("it is not ready");
            format!("warning: {node} is late, what is counted begins without it: {reason}")
        });
        late.collect()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.told.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(waiting: &[&str]) -> NodeProgress {
        let waiting = waiting.iter().map(|node| ((*node).to_owned(), None)).collect();
        NodeProgress { waiting, ..NodeProgress::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_whole_when_all_capture_or_the_late_are_named() {
        let (whole, told) = Whole::begin();
        assert!(whole.look(&progress(&["n3"])).is_empty() && !*told.borrow());
        assert!(whole.look(&progress(&[])).is_empty() && *told.borrow());

        let (whole, told) = Whole::begin();
        tokio::time::advance(LATE_PATIENCE).await;
        let said = whole.look(&progress(&["n2", "n3"]));
        assert_eq!(said[1], "warning: n3 is late, what is counted begins without it: it is not ready");
        assert!(said.len() == 2 && *told.borrow());
        assert!(whole.look(&progress(&["n2", "n3"])).is_empty(), "they are named once");

        let (whole, mut told) = Whole::begin();
        drop(whole);
        assert!(told.wait_for(|whole| *whole).await.is_ok(), "nobody waits for what does not go on");
    }
}
