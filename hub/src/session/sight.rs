//! Of which nodes a session sees what happens, and since when it does not.
//!
//! Silence is reckoned here alone: who describes the session, records its losses or ends it asks for the same look.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use proto::account::{Balance, Hole, HoleKind, Unit};
use proto::v1;
use tokio::sync::watch;

use super::Session;
use crate::account::silence::told::Told;
use crate::account::silence::{HeardProcess, Look, Phase, SILENT_AFTER, SeenNode};
use crate::clock::{BEAT_PERIOD, Moment, Pause};
use crate::peers::HubState;

/// Holes that are told, the latest of all: a capturer that restarts for days makes one each time, and all are counted.
const TOLD_HOLES: usize = 512;

/// What is seen of the nodes.
#[derive(Debug)]
pub(super) struct Sight {
    /// As viewers are told.
    told: watch::Sender<v1::Sight>,
    looks: Mutex<Looks>,
    /// When capture ended.
    ended: OnceLock<Moment>,
    /// Capturers had their time to say what they still had.
    over: AtomicBool,
}

#[derive(Debug)]
struct Looks {
    told: Told,
    /// Whether this hub says what all of them saw: it leads, or is the only one.
    speaks_for_all: bool,
    /// Since when it leads, where there are several.
    leads_since: Option<Moment>,
}

// === impl Sight ===

impl Sight {
    pub(super) fn new(is_only_hub: bool) -> Self {
        let looks = Looks { told: Told::default(), speaks_for_all: is_only_hub, leads_since: None };
        Self {
            told: watch::Sender::default(),
            looks: Mutex::new(looks),
            ended: OnceLock::new(),
            over: AtomicBool::new(false),
        }
    }

    /// Capture ends: from now on nobody is missed who is not heard.
    pub(super) fn end(&self, now: Moment) {
        self.ended.get_or_init(|| now);
    }

    /// Nobody comes back any more.
    pub(super) fn is_over(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn look(&self, heard: &[HeardProcess], now: Moment) -> BTreeMap<String, SeenNode> {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = self.ended.get().copied();
        let phase = match ended {
            None => Phase::Running,
            Some(_) if self.over.load(Ordering::Relaxed) => Phase::Ended,
            Some(_) => Phase::Ending,
        };
        let hears_since = looks.leads_since.unwrap_or_default();
        let look = Look { now: ended.unwrap_or(now), hears_since, phase };
        if looks.knows_all(now) { looks.told.look(heard, &look) } else { Told::default().look(heard, &look) }
    }

    /// Whether what is said of the nodes now can be counted on.
    fn speaks_for_all(&self, now: Moment) -> bool {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.knows_all(now) || looks.speaks_for_all && self.ended.get().is_some()
    }
}

// === impl Looks ===

impl Looks {
    /// Whether this hub says what all of them saw, and was told by now: what it says is not taken back then.
    fn knows_all(&self, now: Moment) -> bool {
        let is_told = |since| u128::from(now.ran_since(since)) >= SILENT_AFTER.as_nanos();
        self.speaks_for_all && self.leads_since.is_none_or(is_told)
    }
}

// === impl Session ===

impl Session {
    /// Says whether this hub leads: it trims the store and speaks for all.
    pub fn leads(&self, leads: bool) {
        let is_only_hub = self.hub.is_empty();
        let leads_since = (!is_only_hub).then(|| self.now());
        // What it told when it led before, another one may have told otherwise since.
        let looks = Looks { told: Told::default(), speaks_for_all: leads, leads_since };
        *self.sight.looks.lock().unwrap_or_else(PoisonError::into_inner) = looks;
        if !is_only_hub {
            self.sight.told.send_replace(v1::Sight::default());
        }
        if let Some(writer) = &self.writer {
            writer.trims(leads);
        }
    }

    /// What is seen of the nodes, and its changes.
    #[must_use]
    pub fn sight(&self) -> watch::Receiver<v1::Sight> {
        self.sight.told.subscribe()
    }

    /// Adds what is seen of the nodes to the state of all hubs, from when each capturer's process was heard.
    pub(super) fn look(&self, state: &mut HubState, now: Moment) {
        let seen = self.sight.look(&std::mem::take(&mut state.heard), now);
        let nodes = seen.keys().cloned().collect();
        let mut holes: Vec<Hole> = self.clock.pauses(SILENT_AFTER).into_iter().map(paused).collect();
        for SeenNode { holes: of_node, balance } in seen.into_values() {
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
        if !self.sight.speaks_for_all(self.now()) {
            return Vec::new();
        }
        let balances = self.state().balances;
        balances.into_iter().filter(|balance| balance.unit == Unit::Second).collect()
    }
}

/// Looks at the nodes while the session lives, which also says that the hub runs.
pub(super) async fn look(session: Weak<Session>) {
    loop {
        {
            let Some(session) = session.upgrade() else { return };
            session.clock.beat();
            see(&session);
        }
        tokio::time::sleep(BEAT_PERIOD).await;
    }
}

fn see(session: &Arc<Session>) {
    // A hub that began to lead a moment ago does not know yet who is silent: saying that nobody is would be news.
    if !session.sight.speaks_for_all(session.now()) {
        return;
    }
    let Some(now) = session.state().told.sight else { return };
    session.sight.told.send_if_modified(|known| {
        let changed = *known != now;
        if changed {
            *known = now;
        }
        changed
    });
}

/// A time in which the hub itself did not run, which is no silence of any node.
fn paused(Pause { since_ns, length }: Pause) -> Hole {
    let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let until_ns = Some(since_ns.saturating_add(length_ns));
    Hole { node: String::new(), since_ns, until_ns, kind: HoleKind::Paused }
}
