//! Of which nodes a session sees what happens, and since when it does not.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use proto::account::{Balance, Hole, Unit};
use proto::v1;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Session, now_ns};
use crate::account::silence::{self, HeardProcess, SeenNode};
use crate::peers::HubState;

/// How often nodes are looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// A look that is this late says more of the hub, which did not run, than of capturers that it could not hear.
const LATE_LOOK: Duration = Duration::from_secs(3);

/// Holes that are told, the latest of all: a capturer that restarts for days makes one each time, and all are counted.
const TOLD_HOLES: usize = 512;

// === impl Session ===

impl Session {
    /// Says whether this hub leads: the one that trims the store and speaks for all.
    pub fn leads(&self, leads: bool) {
        self.speaks_for_all.store(leads, Ordering::Relaxed);
        if let Some(writer) = &self.writer {
            writer.trims(leads);
        }
    }

    /// What is seen of the nodes, and its changes.
    #[must_use]
    pub fn sight(&self) -> watch::Receiver<v1::Sight> {
        self.sight.subscribe()
    }

    /// Adds what is seen of the nodes to the state of all hubs, whose capturers' processes it was told.
    pub(super) fn look(&self, state: &mut HubState) {
        let ended_ns = self.ended_ns.get().copied();
        let processes: Vec<HeardProcess> = state.told.capturers.iter_mut().flat_map(taken).collect();
        let watched = silence::watched(&processes, ended_ns.unwrap_or_else(now_ns), ended_ns.is_some());
        let nodes = watched.keys().cloned().collect();
        let mut holes: Vec<Hole> = Vec::new();
        for SeenNode { holes: of_node, balance } in watched.into_values() {
            holes.extend(of_node);
            state.balances.push(balance);
        }
        holes.sort_by_key(|hole| hole.since_ns);
        drop(holes.drain(..holes.len().saturating_sub(TOLD_HOLES)));
        let holes = holes.into_iter().map(v1::Hole::from).collect();
        state.told.sight = Some(v1::Sight { holes, nodes });
    }

    /// Ledgers of the seconds of each node, where this hub speaks for all.
    pub(super) fn seconds(&self) -> Vec<Balance> {
        if !self.speaks_for_all.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let balances = self.state().balances;
        balances.into_iter().filter(|balance| balance.unit == Unit::Second).collect()
    }
}

/// Looks at the nodes while the session lives.
pub(super) async fn look(session: Weak<Session>) {
    loop {
        let began = Instant::now();
        tokio::time::sleep(LOOK_PERIOD).await;
        let Some(session) = session.upgrade() else { return };
        if began.elapsed() < LATE_LOOK {
            see(&session);
        }
    }
}

fn see(session: &Arc<Session>) {
    let Some(now) = session.state().told.sight else { return };
    session.sight.send_if_modified(|known| {
        let changed = *known != now;
        if changed {
            *known = now;
        }
        changed
    });
}

/// Takes the processes of a capturer out of what is told.
fn taken(capturer: &mut v1::CapturerState) -> Vec<HeardProcess> {
    let node = &capturer.node;
    let processes = std::mem::take(&mut capturer.processes).into_iter();
    let of = |v1::CapturerProcess { instance, since_ns, heard_ns, finished }| HeardProcess {
        node: node.clone(),
        instance,
        since_ns,
        heard_ns,
        finished,
    };
    processes.map(of).collect()
}
