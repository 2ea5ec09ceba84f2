//! What belongs to one process of a capturer: its ids, the batches it sent here, and its own account.

use proto::account::{Balance, Consumer, Unit};
use proto::id::Base;
use proto::v1;

use crate::clock::Moment;

/// What a batch says beside its exchanges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Its number; a batch that is sent again keeps it.
    pub sequence: u64,
    /// Whether it is the process's last one.
    pub last: bool,
    /// How many exchanges it brings.
    pub exchanges: u64,
    /// Ledgers, totals since the process began; none where they did not change.
    pub balances: Vec<Balance>,
}

/// One process of a capturer, as this hub heard it.
#[derive(Debug)]
pub(super) struct Process {
    /// Upper bits of its exchange ids.
    pub(super) base: Base,
    /// Number under which the base was noted for the store.
    pub(super) noted: Option<u64>,
    /// Newest batch that was taken.
    pub(super) last_sequence: u64,
    /// Whether its last batch was taken.
    pub(super) drained: bool,
    /// When it was first and last heard to capture.
    captured: Option<(Moment, Moment)>,
    /// Exchanges that earlier hubs took.
    pub(super) acknowledged_before: u64,
    /// Exchanges taken here, until the first ledger tells how many others took.
    first_taken: Option<u64>,
    /// Its newest ledgers.
    ledgers: Vec<Balance>,
}

// === impl Process ===

impl Process {
    pub(super) fn new(base: Base) -> Self {
        Self {
            base,
            noted: None,
            last_sequence: 0,
            drained: false,
            captured: None,
            acknowledged_before: 0,
            first_taken: Some(0),
            ledgers: Vec::new(),
        }
    }

    /// Takes what a batch says that was not heard before; the ledgers are those of this process of the node.
    pub(super) fn hear(&mut self, node: &str, instance: u64, heard: Heard) {
        let Heard { sequence: _, last: _, exchanges, balances } = heard;
        if !balances.is_empty() {
            let of_process = |balance: Balance| Balance {
                consumer: Consumer::Capturer(node.to_owned()),
                process: instance,
                ..balance
            };
            self.ledgers = balances.into_iter().map(of_process).collect();
        }
        self.note_first(exchanges);
    }

    /// Notes that it captures.
    pub(super) fn captures(&mut self, now: Moment) {
        let (_, heard) = self.captured.get_or_insert((now, now));
        *heard = now;
    }

    /// When it was heard to capture; `None` where it never was.
    pub(super) fn told(&self, instance: u64, now: Moment) -> Option<v1::CapturerProcess> {
        let (since, heard) = self.captured?;
        Some(v1::CapturerProcess {
            instance,
            since_ns: since.epoch_ns,
            heard_ns: heard.epoch_ns,
            finished: self.drained,
            since_ago_ns: now.since(since),
            heard_ago_ns: now.since(heard),
            silent_ns: now.ran_since(heard),
        })
    }

    /// Its newest ledgers.
    pub(super) fn ledgers(&self) -> &[Balance] {
        &self.ledgers
    }

    /// Takes the first ledger: what was delivered beyond what came here, earlier hubs took.
    fn note_first(&mut self, exchanges: u64) {
        let Some(taken) = self.first_taken.map(|taken| taken.saturating_add(exchanges)) else { return };
        self.first_taken = Some(taken);
        if let Some(balance) = self.ledgers.iter().find(|balance| balance.unit == Unit::Exchange) {
            self.acknowledged_before = balance.delivered.saturating_sub(taken);
            self.first_taken = None;
        }
    }
}
