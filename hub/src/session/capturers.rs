//! What the hub knows of each capturer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::v1;
use tokio::sync::watch;
use tokio::time::Instant;

use super::now_ns;
use crate::store::CapturerRow;

/// Nodes of one session: the slots that exchange ids have room for.
pub const MAX_SLOTS: usize = 1 << SLOT_BITS;

/// Bits of an exchange id: node slot, boot, counter.
const SLOT_BITS: u32 = 15;
const BOOT_BITS: u32 = 8;
const COUNTER_BITS: u32 = 40;

/// How long a drain waits for a capturer whose connection broke.
const GONE: Duration = Duration::from_millis(500);

/// The capturers of a session.
#[derive(Debug)]
pub struct Capturers {
    nodes: Mutex<BTreeMap<String, Capturer>>,
    changed: watch::Sender<u64>,
}

/// Why a capturer is refused.
#[derive(Debug, thiserror::Error)]
pub enum CapturersError {
    /// More nodes than exchange ids have room for.
    #[error("{MAX_SLOTS} nodes have capturers already")]
    TooMany,
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
    slot: u16,
    boot: u8,
    instance: u64,
    last_sequence: u64,
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
    balances: Vec<v1::Balance>,
}

// === impl Capturers ===

impl Default for Capturers {
    fn default() -> Self {
        Self { nodes: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Capturers {
    /// Notes a capturer's connection; another process on a known node gets another boot, so its ids are new.
    pub fn connect(&self, hello: v1::CapturerHello) -> Result<Claim, CapturersError> {
        let v1::CapturerHello { wire_revision: _, node, kernel, version, capturing, source: _, instance } =
            hello;
        let mut nodes = self.nodes();
        let slots = nodes.len();
        let capturer = match nodes.entry(node) {
            Entry::Occupied(known) => {
                let capturer = known.into_mut();
                if capturer.instance != instance {
                    capturer.boot = capturer.boot.wrapping_add(1);
                    capturer.instance = instance;
                    capturer.last_sequence = 0;
                    capturer.drained = false;
                }
                capturer.connection += 1;
                capturer
            }
            Entry::Vacant(place) => {
                let slot = u16::try_from(slots).ok().filter(|slot| usize::from(*slot) < MAX_SLOTS);
                let slot = slot.ok_or(CapturersError::TooMany)?;
                place.insert(Capturer::new(slot, instance))
            }
        };
        capturer.connected = true;
        capturer.gone = None;
        capturer.capturing = capturing;
        capturer.kernel = kernel;
        capturer.version = version;
        capturer.last_seen_ns = now_ns();
        let claim = Claim {
            id_base: capturer.id_base(),
            last_sequence: capturer.last_sequence,
            connection: capturer.connection,
        };
        drop(nodes);
        self.change();
        Ok(claim)
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
            capturer.balances = std::mem::take(&mut batch.balances);
        }
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

    /// Waits until every capturer has sent its final batch or is gone; returns those that did not confirm.
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
        nodes.iter().filter(|(_, capturer)| !capturer.drained).map(|(node, _)| node.clone()).collect()
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
        });
        states.collect()
    }

    /// Their rows in the store.
    #[must_use]
    pub fn rows(&self) -> Vec<CapturerRow> {
        let nodes = self.nodes();
        let rows = nodes.iter().map(|(node, capturer)| CapturerRow {
            node: node.clone(),
            slot: capturer.slot,
            kernel: capturer.kernel.clone(),
            version: capturer.version.clone(),
            first_seen_ns: capturer.first_seen_ns,
            last_seen_ns: capturer.last_seen_ns,
        });
        rows.collect()
    }

    /// Newest ledgers by node.
    #[must_use]
    pub fn balances(&self) -> Vec<(String, Vec<v1::Balance>)> {
        let nodes = self.nodes();
        nodes.iter().map(|(node, capturer)| (node.clone(), capturer.balances.clone())).collect()
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Capturer>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

// === impl Capturer ===

impl Capturer {
    fn new(slot: u16, instance: u64) -> Self {
        Self {
            slot,
            boot: 0,
            instance,
            last_sequence: 0,
            connection: 1,
            connected: true,
            gone: None,
            capturing: false,
            drained: false,
            kernel: String::new(),
            version: String::new(),
            first_seen_ns: now_ns(),
            last_seen_ns: 0,
            balances: Vec::new(),
        }
    }

    fn id_base(&self) -> u64 {
        (u64::from(self.slot) << (BOOT_BITS + COUNTER_BITS)) | (u64::from(self.boot) << COUNTER_BITS)
    }

    fn is_waited_for(&self) -> bool {
        !self.drained && (self.connected || self.gone.is_some_and(|gone| gone.elapsed() < GONE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(node: &str, instance: u64) -> v1::CapturerHello {
        v1::CapturerHello { node: node.to_owned(), instance, capturing: true, ..Default::default() }
    }

    fn batch(sequence: u64) -> v1::Batch {
        v1::Batch { sequence, ..Default::default() }
    }

    #[test]
    fn ids_never_meet() {
        let capturers = Capturers::default();
        let one = capturers.connect(hello("one", 1)).unwrap();
        let two = capturers.connect(hello("two", 1)).unwrap();
        let again = capturers.connect(hello("one", 1)).unwrap();
        let other = capturers.connect(hello("one", 2)).unwrap();
        assert_eq!([one.id_base, two.id_base], [0, 1 << 48]);
        assert_eq!(again.id_base, one.id_base);
        assert_eq!(other.id_base, 1 << 40);
    }

    #[test]
    fn resent_batches_and_replaced_connections_are_stale() {
        let capturers = Capturers::default();
        let first = capturers.connect(hello("one", 1)).unwrap();
        assert_eq!(capturers.judge("one", first.connection, &mut batch(1)), Judged::Fresh);
        assert_eq!(capturers.taken("one", first.connection, 1, false), 1);
        assert_eq!(capturers.judge("one", first.connection, &mut batch(1)), Judged::Stale);
        let second = capturers.connect(hello("one", 1)).unwrap();
        assert_eq!(second.last_sequence, 1);
        assert_eq!(capturers.judge("one", first.connection, &mut batch(2)), Judged::Stale);
        assert_eq!(capturers.judge("one", second.connection, &mut batch(2)), Judged::Fresh);
        capturers.disconnect("one", first.connection);
        assert!(capturers.states()[0].connected);
        let restarted = capturers.connect(hello("one", 9)).unwrap();
        assert_eq!(restarted.last_sequence, 0);
        assert_eq!(capturers.judge("one", restarted.connection, &mut batch(1)), Judged::Fresh);
    }

    #[test]
    fn slots_run_out() {
        let capturers = Capturers::default();
        for node in 0..MAX_SLOTS {
            capturers.connect(hello(&node.to_string(), 0)).unwrap();
        }
        assert!(matches!(capturers.connect(hello("more", 0)), Err(CapturersError::TooMany)));
        assert!(capturers.connect(hello("7", 0)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_the_final_batch_and_names_who_is_gone() {
        let capturers = Capturers::default();
        let one = capturers.connect(hello("one", 0)).unwrap();
        let two = capturers.connect(hello("two", 0)).unwrap();
        let began = Instant::now();
        assert_eq!(capturers.drained(began + Duration::from_secs(3)).await, ["one", "two"]);
        assert!(began.elapsed() >= Duration::from_secs(3));
        capturers.taken("one", one.connection, 1, true);
        capturers.disconnect("two", two.connection);
        let began = Instant::now();
        assert_eq!(capturers.drained(began + Duration::from_secs(30)).await, ["two"]);
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}
