//! Streams to plugins that are opened again after they broke: the viewer stays, for a while, and so does its ledger.
//!
//! A path through the API server breaks when that is restarted or pauses. What comes meanwhile waits in the viewer's
//! buffer; what was on its way into the broken stream is sent again, as far as it is kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::v1;
use tokio::sync::mpsc;
use tonic::Status;

/// How long a viewer whose stream broke is kept: a plugin tries for three minutes, and a broken path takes some time to
/// be noticed.
pub const RETURN_TIMEOUT: Duration = Duration::from_mins(4);

/// Viewers that are kept without a stream: each holds a buffer, and one that left for good is not told from one whose
/// path broke.
pub const MAX_AWAY: usize = 8;

/// The way to a plugin.
pub(super) type Sender<R> = mpsc::Sender<Result<R, Status>>;

/// Viewers that may come back, by their numbers.
#[derive(Debug)]
pub(super) struct Returns<R>(Mutex<Inner<R>>);

#[derive(Debug)]
struct Inner<R> {
    expected: BTreeMap<u64, mpsc::Sender<Return<R>>>,
    /// Those without a stream, the one that left first in front.
    away: VecDeque<u64>,
}

/// A viewer that is back.
#[derive(Debug)]
pub(super) struct Return<R> {
    /// Exchanges that it received.
    pub(super) received: u64,
    /// The way to it.
    pub(super) sender: Sender<R>,
}

/// A viewer's place among those that may come back, for as long as it lives.
#[derive(Debug)]
pub(super) struct Place<R> {
    returns: Arc<Returns<R>>,
    viewer: u64,
    back: mpsc::Receiver<Return<R>>,
}

// === impl Returns ===

impl<R> Default for Returns<R> {
    fn default() -> Self {
        Self(Mutex::new(Inner { expected: BTreeMap::new(), away: VecDeque::new() }))
    }
}

impl<R> Returns<R> {
    /// Gives a viewer that is here a new way; the way comes back where it is not known.
    pub(super) fn take_up(
        &self,
        hub: u64,
        resume: Option<&v1::Resume>,
        sender: Sender<R>,
    ) -> Result<(), Sender<R>> {
        let Some(v1::Resume { received, viewer, .. }) = resume.filter(|resume| resume.hub == hub) else {
            return Err(sender);
        };
        let mut inner = self.inner();
        let Some(expected) = inner.expected.get(viewer) else { return Err(sender) };
        match expected.try_send(Return { received: *received, sender }) {
            Ok(()) => {
                inner.away.retain(|away| away != viewer);
                Ok(())
            }
            Err(
                mpsc::error::TrySendError::Full(Return { sender, .. })
                | mpsc::error::TrySendError::Closed(Return { sender, .. }),
            ) => Err(sender),
        }
    }

    /// Expects a viewer back whenever its stream breaks.
    pub(super) fn expect(self: &Arc<Self>, viewer: u64) -> Place<R> {
        let (sender, back) = mpsc::channel(1);
        self.inner().expected.insert(viewer, sender);
        Place { returns: Arc::clone(self), viewer, back }
    }

    /// Notes that a viewer has no stream any more; of too many the first is given up.
    fn leaves(&self, viewer: u64) {
        let mut inner = self.inner();
        inner.away.push_back(viewer);
        if inner.away.len() > MAX_AWAY
            && let Some(first) = inner.away.pop_front()
        {
            inner.expected.remove(&first);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl<R> Place<R> {
    /// Waits until the viewer comes with another way while it has one: it noticed a break before this hub did.
    pub(super) async fn replaced(&mut self) -> Return<R> {
        match self.back.recv().await {
            Some(back) => back,
            None => std::future::pending().await,
        }
    }

    /// Waits for a viewer whose stream broke; `None` where it does not come in time, or others left after it.
    pub(super) async fn returned(&mut self) -> Option<Return<R>> {
        self.returns.leaves(self.viewer);
        let back = tokio::time::timeout(RETURN_TIMEOUT, self.back.recv()).await.ok().flatten();
        // One that came back before it was noted as away is so no more either.
        self.returns.inner().away.retain(|away| *away != self.viewer);
        back
    }
}

impl<R> Drop for Place<R> {
    fn drop(&mut self) {
        let mut inner = self.returns.inner();
        inner.expected.remove(&self.viewer);
        inner.away.retain(|away| *away != self.viewer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way() -> (Sender<()>, mpsc::Receiver<Result<(), Status>>) {
        mpsc::channel(1)
    }

    fn resume(hub: u64, viewer: u64) -> v1::Resume {
        v1::Resume { hub, viewer, received: 7 }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_viewer_of_this_hub_that_is_still_kept_goes_on() {
        let returns = Arc::new(Returns::default());
        let mut place = returns.expect(1);
        for wrong in [None, Some(resume(8, 1)), Some(resume(9, 2))] {
            assert!(returns.take_up(9, wrong.as_ref(), way().0).is_err(), "{wrong:?}");
        }
        assert!(returns.take_up(9, Some(&resume(9, 1)), way().0).is_ok());
        assert_eq!(place.replaced().await.received, 7);
        assert!(place.returned().await.is_none(), "nobody came");
        drop(place);
        assert!(returns.take_up(9, Some(&resume(9, 1)), way().0).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_came_before_it_was_missed_is_not_away() {
        let returns = Arc::new(Returns::default());
        let mut place = returns.expect(1);
        assert!(returns.take_up(9, Some(&resume(9, 1)), way().0).is_ok());
        assert!(place.returned().await.is_some());
        assert!(returns.inner().away.is_empty());
        assert!(returns.take_up(9, Some(&resume(9, 1)), way().0).is_ok(), "it may break off again");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_too_many_is_given_up() {
        let returns = Arc::new(Returns::<()>::default());
        let mut waiting = Vec::new();
        for viewer in 0..=MAX_AWAY as u64 {
            let mut place = returns.expect(viewer);
            waiting.push(tokio::spawn(async move { place.returned().await.is_some() }));
            tokio::task::yield_now().await;
        }
        assert!(!waiting.remove(0).await.unwrap(), "given up at once");
        for viewer in 1..=MAX_AWAY as u64 {
            assert!(returns.take_up(9, Some(&resume(9, viewer)), way().0).is_ok(), "{viewer}");
        }
        for one in waiting {
            assert!(one.await.unwrap());
        }
        assert!(returns.inner().away.is_empty() && returns.inner().expected.is_empty());
    }
}
