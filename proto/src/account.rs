//! The account of a capture: what each consumer saw, passed on, left out and lost.
//!
//! Of every [`Balance`] `seen = delivered + filtered + lost` [holds](Balance::holds), and so it does of their sums.
//! On the wire a balance is a [`v1::Balance`]; whoever takes one from there reads it into this type first, so that
//! nobody decides on a number that names nothing.

mod hole;

use std::collections::BTreeMap;
use std::fmt;

pub use self::hole::{Hole, HoleKind, seconds_in};
use crate::v1;

/// Who counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consumer {
    /// The capturer of a node.
    Capturer(String),
    /// A viewer, by the number that its hub gave it.
    Viewer(u64),
    /// The session's store.
    Store,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// A call that moved bytes, or a notice.
    Event,
    /// A request with its response.
    Exchange,
    /// A second of capture on a node.
    Second,
}

/// Where something was lost, in the order in which data passes the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// No room in the kernel's ring.
    Ring,
    /// The kernel skipped the program.
    Miss,
    /// The process's memory could not be read.
    Fault,
    /// No room in a table.
    Map,
    /// Its place in the stream is unknown.
    Unanchored,
    /// It, or what it needs, fell into a gap of the stream.
    Gap,
    /// A socket moved bytes of which no call was seen.
    Unseen,
    /// The decoder could not read it.
    Unparsable,
    /// Its other half is missing.
    Unpaired,
    /// The capturer's buffer was full.
    Uplink,
    /// A viewer did not take it in time.
    Viewer,
    /// The store did not take it.
    Store,
    /// Nobody captured on the node.
    Silent,
}

/// The account of one consumer in one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Who counted.
    pub consumer: Consumer,
    /// What was counted.
    pub unit: Unit,
    /// Process of the capturer that counted; 0 in sums over all of them, and of consumers that have one.
    pub process: u64,
    /// Entered.
    pub seen: u64,
    /// Left downstream.
    pub delivered: u64,
    /// Dropped because nobody asked for them.
    pub filtered: u64,
    /// Dropped otherwise.
    pub lost: Losses,
}

/// What was lost, by stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<Stage, u64>);

/// Why a balance of the wire cannot be read: another version wrote it, or it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// It does not say who counted.
    #[error("a balance names no known consumer")]
    Consumer,
    /// It does not say what was counted.
    #[error("a balance has unknown unit `{0}`")]
    Unit(i32),
    /// It does not say where something was lost.
    #[error("a balance has unknown stage `{0}`")]
    Stage(i32),
    /// It does not say why nobody could see.
    #[error("a hole has unknown kind `{0}`")]
    Hole(i32),
}

// === impl Consumer ===

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capturer(node) => write!(f, "capturer {node}"),
            Self::Viewer(number) => write!(f, "viewer {number}"),
            Self::Store => f.write_str("store"),
        }
    }
}

impl From<Consumer> for v1::Consumer {
    fn from(consumer: Consumer) -> Self {
        use v1::consumer::Kind;
        let kind = match consumer {
            Consumer::Capturer(node) => Kind::Capturer(node),
            Consumer::Viewer(number) => Kind::Viewer(number),
            Consumer::Store => Kind::Store(v1::StoreConsumer {}),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Consumer> for Consumer {
    type Error = AccountError;

    fn try_from(consumer: v1::Consumer) -> Result<Self, AccountError> {
        use v1::consumer::Kind;
        match consumer.kind {
            Some(Kind::Capturer(node)) => Ok(Self::Capturer(node)),
            Some(Kind::Viewer(number)) => Ok(Self::Viewer(number)),
            Some(Kind::Store(v1::StoreConsumer {})) => Ok(Self::Store),
            None => Err(AccountError::Consumer),
        }
    }
}

// === impl Unit ===

impl Unit {
    /// All units, in the order in which they are told.
    pub const ALL: [Self; 3] = [Self::Event, Self::Exchange, Self::Second];

    /// The word for one of it.
    #[must_use]
    pub fn singular(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Exchange => "exchange",
            Self::Second => "second",
        }
    }

    /// The word for several of it, which is its name in SQL and JSON.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Event => "events",
            Self::Exchange => "exchanges",
            Self::Second => "seconds",
        }
    }

    /// The word that fits a number.
    #[must_use]
    pub fn word(self, count: u64) -> &'static str {
        if count == 1 { self.singular() } else { self.plural() }
    }
}

impl From<Unit> for v1::Unit {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Event => Self::Event,
            Unit::Exchange => Self::Exchange,
            Unit::Second => Self::Second,
        }
    }
}

// === impl Stage ===

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 13] = [
        Self::Ring,
        Self::Miss,
        Self::Fault,
        Self::Map,
        Self::Unanchored,
        Self::Gap,
        Self::Unseen,
        Self::Unparsable,
        Self::Unpaired,
        Self::Uplink,
        Self::Viewer,
        Self::Store,
        Self::Silent,
    ];

    /// The unit that is lost there; `None` where both are.
    #[must_use]
    pub fn unit(self) -> Option<Unit> {
        match self {
            Self::Ring | Self::Miss | Self::Fault | Self::Unanchored | Self::Unseen | Self::Unparsable => {
                Some(Unit::Event)
            }
            Self::Map | Self::Gap => None,
            Self::Unpaired | Self::Uplink | Self::Viewer | Self::Store => Some(Unit::Exchange),
            Self::Silent => Some(Unit::Second),
        }
    }

    /// Its name, the same in SQL, in JSON and on a terminal.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Miss => "miss",
            Self::Fault => "fault",
            Self::Map => "map",
            Self::Unanchored => "unanchored",
            Self::Gap => "gap",
            Self::Unseen => "unseen",
            Self::Unparsable => "unparsable",
            Self::Unpaired => "unpaired",
            Self::Uplink => "uplink",
            Self::Viewer => "viewer",
            Self::Store => "store",
            Self::Silent => "silent",
        }
    }
}

impl From<Stage> for v1::Stage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Ring => Self::Ring,
            Stage::Miss => Self::Miss,
            Stage::Fault => Self::Fault,
            Stage::Map => Self::Map,
            Stage::Unanchored => Self::Unanchored,
            Stage::Gap => Self::Gap,
            Stage::Unseen => Self::Unseen,
            Stage::Unparsable => Self::Unparsable,
            Stage::Unpaired => Self::Unpaired,
            Stage::Uplink => Self::Uplink,
            Stage::Viewer => Self::Viewer,
            Stage::Store => Self::Store,
            Stage::Silent => Self::Silent,
        }
    }
}

// === impl Balance ===

impl Balance {
    /// An account in which nothing was counted yet.
    #[must_use]
    pub fn new(consumer: Consumer, unit: Unit) -> Self {
        Self { consumer, unit, process: 0, seen: 0, delivered: 0, filtered: 0, lost: Losses::default() }
    }

    /// An account of all that has a fate, which alone counts as seen.
    #[must_use]
    pub fn of_fates(consumer: Consumer, unit: Unit, delivered: u64, filtered: u64, lost: Losses) -> Self {
        let seen = delivered.saturating_add(filtered).saturating_add(lost.total());
        Self { consumer, unit, process: 0, seen, delivered, filtered, lost }
    }

    /// Whether everything that was seen has one fate: delivered, filtered or lost.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Self { consumer: _, unit: _, process: _, seen, delivered, filtered, lost } = self;
        delivered.checked_add(*filtered).and_then(|sum| sum.checked_add(lost.total())) == Some(*seen)
    }

    /// Adds what another account of the same unit counted; it stays this one's.
    pub fn add(&mut self, part: &Self) {
        let Self { consumer: _, unit: _, process: _, seen, delivered, filtered, lost } = part;
        self.seen = self.seen.saturating_add(*seen);
        self.delivered = self.delivered.saturating_add(*delivered);
        self.filtered = self.filtered.saturating_add(*filtered);
        self.lost.add(lost);
    }

    /// Losses by stage, in the order of the stages; those without any are left out.
    pub fn by_stage(&self) -> impl Iterator<Item = (Stage, u64)> {
        self.lost.by_stage()
    }

    /// Reads the balances of a message.
    pub fn read_all(balances: Vec<v1::Balance>) -> Result<Vec<Self>, AccountError> {
        balances.into_iter().map(Self::try_from).collect()
    }
}

impl From<Balance> for v1::Balance {
    fn from(balance: Balance) -> Self {
        let Balance { consumer, unit, process, seen, delivered, filtered, lost } = balance;
        let lost =
            lost.by_stage().map(|(stage, total)| v1::Loss { stage: v1::Stage::from(stage).into(), total });
        Self {
            consumer: Some(consumer.into()),
            unit: v1::Unit::from(unit).into(),
            seen,
            delivered,
            filtered,
            lost: lost.collect(),
            process,
        }
    }
}

impl TryFrom<v1::Balance> for Balance {
    type Error = AccountError;

    fn try_from(balance: v1::Balance) -> Result<Self, AccountError> {
        let v1::Balance { consumer, unit, seen, delivered, filtered, lost, process } = balance;
        let consumer = consumer.ok_or(AccountError::Consumer)?.try_into()?;
        let known = Unit::ALL.into_iter().find(|known| i32::from(v1::Unit::from(*known)) == unit);
        let unit = known.ok_or(AccountError::Unit(unit))?;
        let mut losses = Losses::default();
        for v1::Loss { stage, total } in lost {
            let known = Stage::ALL.into_iter().find(|known| i32::from(v1::Stage::from(*known)) == stage);
            losses.lose(known.ok_or(AccountError::Stage(stage))?, total);
        }
        Ok(Self { consumer, unit, process, seen, delivered, filtered, lost: losses })
    }
}

// === impl Losses ===

impl Losses {
    /// Counts so many as lost at a stage.
    pub fn lose(&mut self, stage: Stage, count: u64) {
        if count > 0 {
            let total = self.0.entry(stage).or_default();
            *total = total.saturating_add(count);
        }
    }

    /// Lost at one stage.
    #[must_use]
    pub fn at(&self, stage: Stage) -> u64 {
        self.0.get(&stage).copied().unwrap_or_default()
    }

    /// Lost at all stages.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, total| sum.saturating_add(*total))
    }

    /// Totals in the order of the stages; those without any are left out.
    pub fn by_stage(&self) -> impl Iterator<Item = (Stage, u64)> {
        self.0.iter().map(|(stage, total)| (*stage, *total))
    }

    /// Adds other losses of the same unit.
    pub fn add(&mut self, part: &Self) {
        for (stage, count) in part.by_stage() {
            self.lose(stage, count);
        }
    }
}

impl From<(Stage, u64)> for Losses {
    fn from(loss: (Stage, u64)) -> Self {
        Self::from_iter([loss])
    }
}

impl FromIterator<(Stage, u64)> for Losses {
    fn from_iter<I: IntoIterator<Item = (Stage, u64)>>(losses: I) -> Self {
        let mut all = Self::default();
        for (stage, count) in losses {
            all.lose(stage, count);
        }
        all
    }
}

#[cfg(test)]
mod tests;
