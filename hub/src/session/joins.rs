//! Which exchanges of a session may have another side, and how those go on that wait for it in vain.

use std::sync::{Arc, Weak};

use proto::v1::{self, Side};

use super::Session;
use crate::join::Remote;

// === impl Session ===

impl Session {
    /// Gives exchanges to viewers and store.
    pub(super) fn give_on(&self, exchanges: Vec<v1::Exchange>) {
        let exchanges: Vec<_> = exchanges.into_iter().map(Arc::new).collect();
        self.live.publish(&exchanges);
        if let Some(writer) = &self.writer {
            writer.offer(&exchanges);
        }
    }

    /// What is known of the other end of an exchange.
    pub(super) fn remote(&self, exchange: &v1::Exchange) -> Remote {
        let Some(remote) = &exchange.remote else { return Remote::Unknown };
        if !remote.node.is_empty() {
            let captured = self.capturers.is_capturing(&remote.node);
            return if captured { Remote::Captured } else { Remote::Uncaptured };
        }
        // Behind a Service there is some pod of the cluster.
        let is_service = exchange.side() == Side::Client && !remote.service.is_empty();
        if is_service { Remote::Captured } else { Remote::Unknown }
    }
}

/// Gives on what waited long enough for its other side, while the session lives.
pub(super) async fn give_up(session: Weak<Session>) {
    loop {
        let Some(here) = session.upgrade() else { return };
        let due = here.joins.give_up(|passed| here.give_on(passed));
        let filled = here.joins.filled();
        drop(here);
        match due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => filled.notified().await,
        }
    }
}
