//! The way to disk and back of what waits for the store.

use std::io;
use std::sync::{Arc, PoisonError};

use super::Shared;
use super::queue::Taken;
use super::spool::{Read, Spool};

// === impl Shared ===

impl Shared {
    /// Moves the oldest to disk whenever memory is crowded, for as long as the writer runs.
    pub(super) async fn spill(self: Arc<Self>) {
        loop {
            let crowded = self.crowded.notified();
            while let Some(spilling) = self.spilling() {
                let exchanges: Vec<_> = spilling.exchanges.iter().map(|(_, one)| Arc::clone(one)).collect();
                let abandoned = spilling.abandoned;
                let pushed = self
                    .on_disk(move |spool| {
                        spool.at(abandoned).map_or(Ok(0), |spool| spool.push(exchanges.iter()))
                    })
                    .await;
                let fitting = pushed.unwrap_or_else(|error| {
                    tracing::warn!(%error, "what waits for the store cannot be put on disk");
                    0
                });
                self.queue().spilled(spilling, fitting);
                self.filled.notify_one();
                self.settle();
            }
            crowded.await;
        }
    }

    fn spilling(&self) -> Option<super::queue::Spilling> {
        self.spool.as_ref()?;
        self.queue().spill()
    }

    /// Does something with the file on a thread that may wait for the disk.
    pub(super) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        run: impl FnOnce(&mut Spool) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let shared = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let Some(spool) = &shared.spool else { return Err(io::Error::from(io::ErrorKind::NotFound)) };
            run(&mut spool.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.map_err(io::Error::other)?
    }

    /// Takes the oldest from disk; `None` when there was nothing to write, or it was given up meanwhile.
    pub(super) async fn take_spooled(self: &Arc<Self>) -> Option<Taken> {
        let abandoned = self.queue().abandoned;
        let read = self.on_disk(move |spool| Ok(spool.at(abandoned).and_then(Spool::take))).await;
        let Read { exchanges, damaged } = match read {
            Ok(Some(read)) => read,
            Ok(None) => return self.spool_is_gone(abandoned, None),
            Err(error) => return self.spool_is_gone(abandoned, Some(&error)),
        };
        let mut queue = self.queue();
        if queue.abandoned != abandoned {
            return None;
        }
        queue.damaged(damaged as u64);
        if !exchanges.is_empty() {
            return Some(queue.take_spooled(exchanges));
        }
        drop(queue);
        self.settle();
        None
    }

    /// What is on disk is there no more: it is lost, unless it was given up.
    fn spool_is_gone(&self, abandoned: u64, error: Option<&io::Error>) -> Option<Taken> {
        let mut queue = self.queue();
        if queue.abandoned == abandoned {
            let lost = queue.spooled;
            queue.damaged(lost);
            let reason = error.map(ToString::to_string);
            tracing::warn!(reason, exchanges = lost, "what waited for the store on disk is gone");
        }
        drop(queue);
        self.settle();
        None
    }
}
