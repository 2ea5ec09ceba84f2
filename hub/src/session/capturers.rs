//! The nodes of a session and their connections; what belongs to one process of a capturer is a [`Process`].

mod process;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::account::Balance;
use proto::id::Base;
use proto::v1;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::process::Heard;
use self::process::Process;
use super::slots::{Slots, SlotsError};
use crate::clock::{Clock, Moment};
use crate::store::CapturerRow;

/// How long a drain waits for a capturer whose connection broke.
const RECONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// The capturers of a session.
#[derive(Debug)]
pub struct Capturers {
    clock: Arc<Clock>,
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
    /// Base that was given last, above which the next process's is.
    newest: Base,
    /// The process that is connected, or was last.
    instance: u64,
    /// All that were heard of here, by their random numbers.
    processes: BTreeMap<u64, Process>,
    connection: u64,
    connected: bool,
    /// Since when not connected.
    gone: Option<Instant>,
    capturing: bool,
    kernel: String,
    version: String,
    first_seen_ns: u64,
    last_seen_ns: u64,
}

// === impl Capturers ===

impl Default for Capturers {
    fn default() -> Self {
        Self::on(Arc::default())
    }
}

impl Capturers {
    /// Those of a session whose hub's clock is this one.
    #[must_use]
    pub fn on(clock: Arc<Clock>) -> Self {
        Self {
            clock,
            nodes: Mutex::default(),
            slots: Mutex::default(),
            begun: watch::Sender::new(false),
            changed: watch::Sender::new(0),
            released: watch::Sender::default(),
        }
    }

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
            Some(known) => match known.processes.get(&hello.instance) {
                Some(process) => process.base,
                None => slots.after(known.newest)?,
            },
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
        Some(nodes.get(node)?.processes.get(&instance)?.base)
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
            boot: _,
        } = hello;
        let now = self.clock.now();
        let capturer = match nodes.entry(node.clone()) {
            Entry::Occupied(known) => {
                let capturer = known.into_mut();
                capturer.connection += 1;
                capturer
            }
            Entry::Vacant(place) => place.insert(Capturer::new(base, now.epoch_ns)),
        };
        let (base, last_sequence) = capturer.speaks(instance, base);
        capturer.connected = true;
        capturer.gone = None;
        capturer.capturing = capturing;
        capturer.kernel = kernel;
        capturer.version = version;
        capturer.last_seen_ns = now.epoch_ns;
        if let Some(process) = capturer.processes.get_mut(&instance).filter(|_| capturing) {
            process.captures(now);
        }
        let claim = Claim { id_base: base.in_place(), last_sequence, connection: capturer.connection };
        drop(nodes);
        // A command that was given while it was here before leads elsewhere by now.
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
        let mut nodes = self.nodes();
        let process = nodes.get_mut(node).and_then(Capturer::process_mut);
        process.map_or(number, |process| *process.noted.get_or_insert(number))
    }

    /// Whether a node has a capturer here that captures.
    #[must_use]
    pub fn is_capturing(&self, node: &str) -> bool {
        self.nodes().get(node).is_some_and(|capturer| capturer.connected && capturer.capturing)
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
    pub fn judge(&self, node: &str, connection: u64, heard: Heard) -> Judged {
        let mut nodes = self.nodes();
        let Some(capturer) = nodes.get_mut(node).filter(|capturer| capturer.connection == connection) else {
            return Judged::Stale;
        };
        let now = self.clock.now();
        capturer.last_seen_ns = now.epoch_ns;
        let (instance, last) = (capturer.instance, heard.last);
        let Some(process) = capturer.process_mut().filter(|process| heard.sequence > process.last_sequence)
        else {
            return Judged::Stale;
        };
        process.hear(node, instance, heard);
        process.captures(now);
        capturer.capturing = !last;
        Judged::Fresh
    }

    /// Notes that a batch is taken; returns the newest number to acknowledge.
    pub fn taken(&self, node: &str, connection: u64, sequence: u64, last: bool) -> u64 {
        let mut newest = 0;
        if let Some(capturer) = self.nodes().get_mut(node) {
            let current = capturer.connection == connection;
            if let Some(process) = capturer.process_mut() {
                if current {
                    process.last_sequence = process.last_sequence.max(sequence);
                    process.drained |= last;
                }
                newest = process.last_sequence;
            }
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
            let look = deadline.min(Instant::now() + RECONNECT_TIMEOUT / 10);
            drop(tokio::time::timeout_at(look, changed.changed()).await);
        }
        let nodes = self.nodes();
        nodes.iter().filter(|(_, one)| one.is_drained()).map(|(node, _)| node.clone()).collect()
    }

    /// How the capturers are now.
    #[must_use]
    pub fn states(&self, now: Moment) -> Vec<v1::CapturerState> {
        let nodes = self.nodes();
        let states = nodes.iter().map(|(node, capturer)| v1::CapturerState {
            node: node.clone(),
            kernel: capturer.kernel.clone(),
            version: capturer.version.clone(),
            connected: capturer.connected,
            capturing: capturer.capturing,
            last_seen_ns: capturer.last_seen_ns,
            id_base: capturer.process().map_or(capturer.newest, |process| process.base).in_place(),
            hub: String::new(),
            processes: capturer
                .processes
                .iter()
                .filter_map(|(one, process)| process.told(*one, now))
                .collect(),
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
            slot: capturer.newest.slot,
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
        let nodes = self.nodes();
        let processes = nodes.values().flat_map(|capturer| capturer.processes.values());
        processes.fold(0, |sum, process| sum.saturating_add(process.acknowledged_before))
    }

    /// Newest ledgers by node, of each of its processes.
    #[must_use]
    pub fn balances(&self) -> Vec<(String, Vec<Balance>)> {
        let nodes = self.nodes();
        let of =
            |capturer: &Capturer| capturer.processes.values().flat_map(Process::ledgers).cloned().collect();
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
    fn new(base: Base, first_seen_ns: u64) -> Self {
        Self {
            newest: base,
            instance: 0,
            processes: BTreeMap::new(),
            connection: 1,
            connected: true,
            gone: None,
            capturing: false,
            kernel: String::new(),
            version: String::new(),
            first_seen_ns,
            last_seen_ns: 0,
        }
    }

    /// A process speaks for the node from now on; one that was here before keeps its base and goes on where it was.
    /// Returns its base and its newest batch.
    fn speaks(&mut self, instance: u64, base: Base) -> (Base, u64) {
        self.instance = instance;
        let process = match self.processes.entry(instance) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                self.newest = base;
                place.insert(Process::new(base))
            }
        };
        (process.base, process.last_sequence)
    }

    fn process(&self) -> Option<&Process> {
        self.processes.get(&self.instance)
    }

    fn process_mut(&mut self) -> Option<&mut Process> {
        self.processes.get_mut(&self.instance)
    }

    fn is_drained(&self) -> bool {
        self.process().is_some_and(|process| process.drained)
    }

    fn is_waited_for(&self) -> bool {
        !self.is_drained()
            && (self.connected || self.gone.is_some_and(|gone| gone.elapsed() < RECONNECT_TIMEOUT))
    }
}

#[cfg(test)]
mod tests;
