//! What changed in the index and is still to be told to another hub.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::index::Key;

/// One object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A pod.
    Pod(Key),
    /// A service.
    Service(Key),
    /// A slice of endpoints.
    Slice(Key),
    /// A node.
    Node(Arc<str>),
    /// A replica set or job, by kind.
    Owner(&'static str, Key),
}

/// Objects that one follower is still to be told of: each at most once, however often it changes meanwhile, so that a
/// slow follower costs no more than the index itself.
#[derive(Debug, Default)]
pub struct Changes {
    pending: Mutex<BTreeSet<Item>>,
    filled: Notify,
}

// === impl Changes ===

impl Changes {
    /// Notes objects.
    pub(super) fn add(&self, items: impl Iterator<Item = Item>) {
        self.pending().extend(items);
        self.filled.notify_one();
    }

    /// Takes some of what is pending; nothing when there is nothing.
    pub(super) fn take(&self, most: usize) -> Vec<Item> {
        let mut pending = self.pending();
        let mut taken = Vec::with_capacity(most.min(pending.len()));
        while taken.len() < most
            && let Some(item) = pending.pop_first()
        {
            taken.push(item);
        }
        taken
    }

    /// Waits until something is pending.
    pub(super) async fn filled(&self) {
        loop {
            let filled = self.filled.notified();
            if !self.pending().is_empty() {
                return;
            }
            filled.await;
        }
    }

    fn pending(&self) -> MutexGuard<'_, BTreeSet<Item>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
