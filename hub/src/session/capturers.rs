//! What the hub knows of each capturer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::v1;
use tokio::sync::watch;
use tokio::time::Instant;

use super::now_ns;
use super::slots::{Base, Slots, SlotsError};
use crate::store::CapturerRow;

/// How long a drain waits for a capturer whose connection broke.
const GONE: Duration = Duration::from_millis(500);

/// The capturers of a session.
#[derive(Debug)]
pub struct Capturers {
    nodes: Mutex<BTreeMap<String, Capturer>>,
    /// Not there while it is unknown what earlier hubs gave.
    slots: Mutex<Option<Slots>>,
    begun: watch::Sender<bool>,
    changed: watch::Sender<u64>,
    /// Capturers that are to go to another hub, and its address.
    released: watch::Sender<BTreeMap<String, String>>,
}

/// Why a capturer is refused.
#[derive(Debug, thiserror::Error)]
pub enum CapturersError {
    /// It is unknown what ids earlier hubs gave.
    #[error("the session's store has not answered yet")]
    NotBegun,
    /// No ids are left, or they cannot be remembered.
    #[error(transparent)]
    Slots(#[from] SlotsError),
}

/// What a capturer is given when it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Upper bits of its exchange ids, in place.
    pub id_base: u64,
    /// Newest batch that was taken from this process.
    pub last_sequence: u64,
    /// Number of the connection; an older one of the same node counts no more.
    pub connection: u64,
}

/// Whether a batch is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is new.
    Fresh,
    /// It was taken before, or comes over a connection that was replaced.
    Stale,
}

#[derive(Debug)]
struct Capturer {
    base: Base,
    /// Number under which the base was noted for the store.
    noted: Option<u64>,
    instance: u64,
    /// Processes before this one that were heard of here.
    former: Vec<u64>,
    last_sequence: u64,
    /// Exchanges taken from this process, until its first ledger tells how many others took.
    first_taken: Option<u64>,
    /// Exchanges that earlier hubs took from this node's processes.
    acknowledged: u64,
    connection: u64,
    connected: bool,
    /// Since when not connected.
    gone: Option<Instant>,
    capturing: bool,
    drained: bool,
    kernel: String,
    version: String,
    first_seen_ns: u64,
    last_seen_ns: u64,
    /// Newest ledgers of each of its processes.
    ledgers: BTreeMap<u64, Vec<v1::Balance>>,
}

// === impl Capturers ===

impl Default for Capturers {
    fn default() -> Self {
        Self {
            nodes: Mutex::default(),
            slots: Mutex::default(),
            begun: watch::Sender::new(false),
            changed: watch::Sender::new(0),
            released: watch::Sender::default(),
        }
    }
}

impl Capturers {
    /// Begins to give out ids.
    pub fn begin(&self, slots: Slots) {
        *self.slots() = Some(slots);
        self.begun.send_replace(true);
    }

    /// Waits until ids are given out.
    pub async fn begun(&self) {
        drop(self.begun.subscribe().wait_for(|begun| *begun).await);
    }

    /// Notes a capturer's connection; another process on a known node gets another boot, so its ids are new.
    pub fn connect(&self, hello: v1::CapturerHello) -> Result<Claim, CapturersError> {
        let nodes = self.nodes();
        let mut slots = self.slots();
        let slots = slots.as_mut().ok_or(CapturersError::NotBegun)?;
        let base = match nodes.get(&hello.node) {
            Some(known) if known.instance == hello.instance => known.base,
            Some(known) => slots.after(known.base)?,
            None => slots.claim(&hello.node)?,
        };
        Ok(self.note_connection(nodes, hello, base))
    }

    /// Notes a capturer's connection; where a session has several hubs, the base is agreed on with the others.
    pub fn connect_as(&self, hello: v1::CapturerHello, base: Base) -> Claim {
        self.note_connection(self.nodes(), hello, base)
    }

    /// The base that a process has here already.
    #[must_use]
    pub fn base_of(&self, node: &str, instance: u64) -> Option<Base> {
        let nodes = self.nodes();
        nodes.get(node).filter(|known| known.instance == instance).map(|known| known.base)
    }

    fn note_connection(
        &self,
        mut nodes: MutexGuard<'_, BTreeMap<String, Capturer>>,
        hello: v1::CapturerHello,
        base: Base,
    ) -> Claim {
        let v1::CapturerHello {
            wire_revision: _,
            node,
            kernel,
            version,
            capturing,
            source: _,
            instance,
            id_base: _,
        } = hello;
        let capturer = match nodes.entry(node.clone()) {
            Entry::Occupied(known) => {
                let capturer = known.into_mut();
                if capturer.instance != instance {
                    capturer.noted = None;
                    capturer.replace(instance);
                }
                capturer.base = base;
                capturer.connection += 1;
                capturer
            }
            Entry::Vacant(place) => place.insert(Capturer::new(base, instance)),
        };
        capturer.connected = true;
        capturer.gone = None;
        capturer.capturing = capturing;
        capturer.kernel = kernel;
        capturer.version = version;
        capturer.last_seen_ns = now_ns();
        let claim = Claim {
            id_base: capturer.base.id_base(),
            last_sequence: capturer.last_sequence,
            connection: capturer.connection,
        };
        drop(nodes);
        // An order that was given while it was here before leads elsewhere by now.
        self.released.send_if_modified(|released| released.remove(&node).is_some());
        self.change();
        claim
    }

    /// Asks a capturer to go to another hub; it is forgotten once the capturer left.
    pub fn release(&self, node: &str, hub: &str) {
        self.released.send_modify(|released| drop(released.insert(node.to_owned(), hub.to_owned())));
    }

    /// Waits until a capturer is to go to another hub; returns that hub's address.
    pub async fn released(&self, node: &str) -> String {
        let mut released = self.released.subscribe();
        let hub = match released.wait_for(|released| released.contains_key(node)).await {
            Ok(released) => released.get(node).cloned(),
            Err(_closed) => None,
        };
        match hub {
            Some(hub) => {
                self.released.send_modify(|released| drop(released.remove(node)));
                hub
            }
            None => std::future::pending().await,
        }
    }

    /// Tells of every capturer that comes, goes or ends.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The number under which a node's base was noted first: this one, unless it was before.
    #[must_use]
    pub fn noted(&self, node: &str, number: u64) -> u64 {
        self.nodes().get_mut(node).map_or(number, |capturer| *capturer.noted.get_or_insert(number))
    }

    /// Notes the end of a connection, unless a newer one replaced it.
    pub fn disconnect(&self, node: &str, connection: u64) {
        if let Some(capturer) =
            self.nodes().get_mut(node).filter(|capturer| capturer.connection == connection)
        {
            capturer.connected = false;
            capturer.gone = Some(Instant::now());
        }
        self.change();
    }

    /// Says whether a batch is new, and notes its ledgers; call [`Self::taken`] when its exchanges are handed on.
    pub fn judge(&self, node: &str, connection: u64, batch: &mut v1::Batch) -> Judged {
        let mut nodes = self.nodes();
        let Some(capturer) = nodes.get_mut(node).filter(|capturer| capturer.connection == connection) else {
            return Judged::Stale;
        };
        capturer.last_seen_ns = now_ns();
        if batch.sequence <= capturer.last_sequence {
            return Judged::Stale;
        }
        capturer.capturing = !batch.r#final;
        if !batch.balances.is_empty() {
            let mut balances = std::mem::take(&mut batch.balances);
            for balance in &mut balances {
                balance.process = capturer.instance;
            }
            capturer.ledgers.insert(capturer.instance, balances);
        }
        capturer.note_first(batch.exchanges.len() as u64);
        Judged::Fresh
    }

    /// Notes that a batch is taken; returns the newest number to acknowledge.
    pub fn taken(&self, node: &str, connection: u64, sequence: u64, last: bool) -> u64 {
        let mut newest = 0;
        if let Some(capturer) = self.nodes().get_mut(node) {
            if capturer.connection == connection {
                capturer.last_sequence = capturer.last_sequence.max(sequence);
                capturer.drained |= last;
            }
            newest = capturer.last_sequence;
        }
        if last {
            self.change();
        }
        newest
    }

    /// Waits until every capturer has sent its final batch or is gone; returns those that confirmed their end.
    pub async fn drained(&self, deadline: Instant) -> Vec<String> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let waiting = self.nodes().values().any(Capturer::is_waited_for);
            if !waiting || Instant::now() >= deadline {
                break;
            }
            let look = deadline.min(Instant::now() + GONE / 10);
            drop(tokio::time::timeout_at(look, changed.changed()).await);
        }
        let nodes = self.nodes();
        nodes.iter().filter(|(_, one)| one.drained).map(|(node, _)| node.clone()).collect()
    }

    /// How the capturers are.
    #[must_use]
    pub fn states(&self) -> Vec<v1::CapturerState> {
        let nodes = self.nodes();
        let states = nodes.iter().map(|(node, capturer)| v1::CapturerState {
            node: node.clone(),
            kernel: capturer.kernel.clone(),
            version: capturer.version.clone(),
            connected: capturer.connected,
            capturing: capturer.capturing,
            last_seen_ns: capturer.last_seen_ns,
            id_base: capturer.base.id_base(),
            hub: String::new(),
        });
        states.collect()
    }

    /// Their rows in the store; of those that are connected alone where others may feed another hub.
    #[must_use]
    pub fn rows(&self, connected_only: bool) -> Vec<CapturerRow> {
        let nodes = self.nodes();
        let here = nodes.iter().filter(|(_, capturer)| capturer.connected || !connected_only);
        let rows = here.map(|(node, capturer)| CapturerRow {
            node: node.clone(),
            slot: capturer.base.slot,
            kernel: capturer.kernel.clone(),
            version: capturer.version.clone(),
            first_seen_ns: capturer.first_seen_ns,
            last_seen_ns: capturer.last_seen_ns,
        });
        rows.collect()
    }

    /// Exchanges that earlier hubs of the session took from the processes known here.
    #[must_use]
    pub fn acknowledged_before(&self) -> u64 {
        self.nodes().values().fold(0, |sum, capturer| sum.saturating_add(capturer.acknowledged))
    }

    /// Newest ledgers by node, of each of its processes.
    #[must_use]
    pub fn balances(&self) -> Vec<(String, Vec<v1::Balance>)> {
        let nodes = self.nodes();
        let of = |capturer: &Capturer| capturer.ledgers.values().flatten().cloned().collect();
        nodes.iter().map(|(node, capturer)| (node.clone(), of(capturer))).collect()
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Capturer>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, Option<Slots>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

// === impl Capturer ===

impl Capturer {
    fn new(base: Base, instance: u64) -> Self {
        Self {
            base,
            noted: None,
            instance,
            former: Vec::new(),
            last_sequence: 0,
            first_taken: Some(0),
            acknowledged: 0,
            connection: 1,
            connected: true,
            gone: None,
            capturing: false,
            drained: false,
            kernel: String::new(),
            version: String::new(),
            first_seen_ns: now_ns(),
            last_seen_ns: 0,
            ledgers: BTreeMap::new(),
        }
    }

    /// Another process speaks for the node.
    fn replace(&mut self, instance: u64) {
        self.former.push(self.instance);
        // One that was here before says nothing new of earlier hubs.
        self.first_taken = (!self.former.contains(&instance)).then_some(0);
        self.instance = instance;
        self.last_sequence = 0;
        self.drained = false;
    }

    /// Takes a process's first ledger: what it delivered beyond what came here, earlier hubs took.
    fn note_first(&mut self, exchanges: u64) {
        let Some(taken) = self.first_taken.map(|taken| taken.saturating_add(exchanges)) else { return };
        self.first_taken = Some(taken);
        let ledgers = self.ledgers.get(&self.instance);
        if let Some(balance) = ledgers.into_iter().flatten().find(|balance| balance.unit == "exchanges") {
            self.acknowledged = self.acknowledged.saturating_add(balance.delivered.saturating_sub(taken));
            self.first_taken = None;
        }
    }

    fn is_waited_for(&self) -> bool {
        !self.drained && (self.connected || self.gone.is_some_and(|gone| gone.elapsed() < GONE))
    }
}

#[cfg(test)]
mod tests;
