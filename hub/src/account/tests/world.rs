//! A session with several hubs on one database, without connections between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use proto::account::{Balance, Consumer, Losses, Stage, Unit};
use proto::id::Base;
use proto::v1;
use tokio::time::Instant;

use crate::account::losses::Recorded;
use crate::account::{hubs, store, sums};
use crate::live::{Live, Watch};
use crate::session::capturers::{Capturers, Heard, Judged};
use crate::store::earlier::Earlier;
use crate::store::writer::Writer;
use crate::store::{Batch, Store, StoreError, Written};

/// Hubs at any moment.
pub(super) const HUBS: usize = 2;

/// Nodes.
pub(super) const CAPTURERS: usize = 3;

/// Bytes of the database beyond which its oldest rows go; a row takes one.
const LIMIT: u64 = 1000;

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A capturer sends a batch, and what was not acknowledged before it.
    Batch { capturer: usize, hub: usize, exchanges: u64, passed_over: u64, lost: u64 },
    /// The same, and it does not hear that the batch was taken.
    LostAcknowledgement { capturer: usize, hub: usize },
    /// A capturer's process dies with what was not acknowledged, and another one begins.
    Restart { capturer: usize },
    /// A hub dies with what waits in it, and another one begins.
    Death { hub: usize },
    /// A hub leads from now on.
    Leader { hub: usize },
    /// The database is over its limit.
    Trim,
    /// A viewer comes.
    Come { hub: usize, from_start: bool },
    /// A viewer leaves.
    Leave { which: proptest::sample::Index },
    /// A viewer reads some, and its stream breaks and is opened again; the last of them never arrived.
    Break { which: proptest::sample::Index, reads: usize, unread: u64 },
    /// The database goes away, or comes back.
    Outage { down: bool },
}

/// A database that the test takes down and up.
#[derive(Clone, Debug, Default)]
struct Database(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    down: bool,
    rows: BTreeSet<u64>,
    /// Bytes beside the rows.
    others: u64,
}

struct Hub {
    instance: u64,
    capturers: Capturers,
    live: Live,
    writer: Writer,
    recorded: Recorded,
    rows: BTreeMap<(String, Stage, Unit), u64>,
    /// Exchanges that were to be stored here, and those that were for viewers.
    offered: u64,
    published: u64,
    /// What its viewers counted at the last look.
    viewers: Vec<Balance>,
}

struct Capturer {
    node: String,
    instance: u64,
    base: Base,
    counter: u64,
    sequence: u64,
    /// Its own account.
    balance: Balance,
    /// Batches that were not acknowledged.
    pending: Vec<Sent>,
}

#[derive(Clone)]
struct Sent {
    sequence: u64,
    exchanges: Vec<Arc<v1::Exchange>>,
    passed_over: u64,
    balance: Balance,
}

struct Viewer {
    hub: u64,
    watch: Arc<Watch>,
    /// What its hub had published before the first that is for it.
    since: u64,
    /// What it received.
    received: u64,
}

/// The session.
pub(super) struct World {
    database: Database,
    hubs: Vec<Hub>,
    leader: usize,
    /// What the leader was told, by the hubs' instances, and the trimmed rows among it.
    told: BTreeMap<u64, (Vec<Balance>, u64)>,
    /// The leader's account at the last look.
    whole: Vec<Balance>,
    capturers: Vec<Capturer>,
    viewers: Vec<Viewer>,
    bases: BTreeMap<u64, Base>,
    instances: u64,
    died: bool,
    resent: bool,
}

// === impl Database ===

impl Database {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    fn up(&self) -> Result<MutexGuard<'_, Inside>, StoreError> {
        let inside = self.inside();
        if inside.down { Err(StoreError::Unreachable { reason: "down".to_owned() }) } else { Ok(inside) }
    }
}

impl Store for Database {
    async fn open(&mut self) -> Result<(), StoreError> {
        self.up().map(drop)
    }

    async fn earlier(&mut self) -> Result<Earlier, StoreError> {
        Ok(Earlier { exchanges: self.up()?.rows.len() as u64, ..Earlier::default() })
    }

    async fn write(&mut self, batch: Arc<Batch>) -> Result<Written, StoreError> {
        let mut inside = self.up()?;
        let mut written = Written::default();
        for exchange in &batch.exchanges {
            let new = inside.rows.insert(exchange.id);
            written.stored += u64::from(new);
            written.ignored += u64::from(!new);
        }
        // Every write is followed by a look at the size.
        written.bytes = LIMIT;
        Ok(written)
    }

    async fn size(&mut self) -> Result<u64, StoreError> {
        let inside = self.up()?;
        Ok(inside.rows.len() as u64 + inside.others)
    }

    async fn trim(&mut self, exchanges: u64) -> Result<u64, StoreError> {
        let mut inside = self.up()?;
        let oldest: Vec<u64> =
            inside.rows.iter().copied().take(usize::try_from(exchanges).unwrap()).collect();
        for id in &oldest {
            inside.rows.remove(id);
        }
        inside.others = 0;
        Ok(oldest.len() as u64)
    }

    async fn close(&mut self) {}
}

// === impl Hub ===

impl Hub {
    fn begin(instance: u64, database: &Database) -> Self {
        let writer = Writer::start(database.clone(), LIMIT, Some(Earlier::default()));
        writer.trims(false);
        Self {
            instance,
            capturers: Capturers::default(),
            live: Live::default(),
            writer,
            recorded: Recorded::default(),
            rows: BTreeMap::new(),
            offered: 0,
            published: 0,
            viewers: Vec::new(),
        }
    }

    fn balances(&self) -> Vec<Balance> {
        let mut balances: Vec<_> =
            self.capturers.balances().into_iter().flat_map(|(_, balances)| balances).collect();
        balances.extend(self.live.balances());
        balances.push(store::balance(&self.writer.totals(), 0));
        balances
    }

    /// Takes a batch as a session does.
    fn take(&mut self, capturer: &Capturer, batch: &Sent) {
        let Sent { sequence, exchanges, passed_over, balance } = batch.clone();
        let hello = v1::CapturerHello {
            node: capturer.node.clone(),
            instance: capturer.instance,
            ..Default::default()
        };
        let connection = self.capturers.connect_as(hello, capturer.base).connection;
        let all = exchanges.len() as u64;
        let heard = Heard { sequence, last: false, exchanges: all, balances: vec![balance] };
        if self.capturers.judge(&capturer.node, connection, heard) == Judged::Fresh {
            let left = exchanges.get(usize::try_from(passed_over).unwrap()..).unwrap();
            self.live.pass_over(passed_over);
            self.writer.pass_over(passed_over);
            self.live.publish(left);
            self.writer.offer(left);
            self.offered += all;
            self.published += all;
            self.capturers.taken(&capturer.node, connection, sequence, false);
        }
    }
}

// === impl Viewer ===

impl Viewer {
    /// Reads some, and comes again as one that missed the last of them.
    async fn break_off(&mut self, reads: usize, unread: u64) {
        let mut read = 0;
        if reads > 0 {
            // What is not there is not waited for.
            let next = self.watch.next(reads, 1 << 20);
            let response = tokio::time::timeout(Duration::from_millis(1), next).await;
            read = response.map_or(0, |response| response.exchanges.len() as u64);
        }
        // What it had when it came the last time it still has.
        self.received += read - unread.min(read);
        self.watch.leave();
        self.watch.go_on(self.received);
    }
}

// === impl World ===

impl World {
    pub(super) fn begin() -> Self {
        let mut world = Self {
            database: Database::default(),
            hubs: Vec::new(),
            leader: 0,
            told: BTreeMap::new(),
            whole: Vec::new(),
            capturers: Vec::new(),
            viewers: Vec::new(),
            bases: BTreeMap::new(),
            instances: 0,
            died: false,
            resent: false,
        };
        for _ in 0..HUBS {
            let hub = Hub::begin(world.instance(), &world.database);
            world.hubs.push(hub);
        }
        for number in 0..CAPTURERS {
            let capturer = world.capturer(format!("node-{number}"));
            world.capturers.push(capturer);
        }
        world.lead(0);
        world
    }

    fn instance(&mut self) -> u64 {
        self.instances += 1;
        self.instances
    }

    fn capturer(&mut self, node: String) -> Capturer {
        let instance = self.instance();
        let base = Base { slot: u16::try_from(instance).unwrap(), boot: 0 };
        self.bases.insert(instance, base);
        let balance = Balance::new(Consumer::Capturer(node.clone()), Unit::Exchange);
        Capturer { node, instance, base, counter: 0, sequence: 0, balance, pending: Vec::new() }
    }

    fn lead(&mut self, hub: usize) {
        self.hubs[self.leader].writer.trims(false);
        self.leader = hub;
        self.hubs[hub].writer.trims(true);
        // It knows of those that it reaches.
        self.told.clear();
        self.whole.clear();
    }

    pub(super) async fn take(&mut self, step: Step) {
        match step {
            Step::Batch { capturer, hub, exchanges, passed_over, lost } => {
                self.make(capturer, exchanges, passed_over, lost);
                self.send(capturer, hub, true);
            }
            Step::LostAcknowledgement { capturer, hub } => {
                self.make(capturer, 2, 1, 0);
                self.send(capturer, hub, false);
            }
            Step::Restart { capturer } => {
                let node = self.capturers[capturer].node.clone();
                self.capturers[capturer] = self.capturer(node);
            }
            Step::Death { hub } => self.die(hub).await,
            Step::Leader { hub } => self.lead(hub),
            Step::Trim => self.database.inside().others = LIMIT,
            Step::Come { hub, from_start } => {
                let hub = &self.hubs[hub];
                let resume = Some(v1::Resume::default());
                let request = v1::WatchRequest { from_start, resume, ..Default::default() };
                let Ok(watch) = hub.live.watch(&request) else { return };
                let since = watch.introduction().began_at;
                self.viewers.push(Viewer { hub: hub.instance, watch, since, received: 0 });
            }
            Step::Leave { which } if !self.viewers.is_empty() => {
                drop(self.viewers.remove(which.index(self.viewers.len())));
            }
            Step::Break { which, reads, unread } if !self.viewers.is_empty() => {
                let place = which.index(self.viewers.len());
                self.viewers[place].break_off(reads, unread).await;
            }
            Step::Leave { .. } | Step::Break { .. } => {}
            Step::Outage { down } => self.database.inside().down = down,
        }
        for hub in &self.hubs {
            hub.writer.flush(Instant::now() + Duration::from_secs(1)).await;
        }
        // Looks at the size go on after what was written is counted.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// A capturer closes a batch.
    fn make(&mut self, capturer: usize, exchanges: u64, passed_over: u64, lost: u64) {
        let capturer = &mut self.capturers[capturer];
        let first = capturer.counter;
        capturer.counter += exchanges;
        capturer.sequence += 1;
        let losses = (Stage::Gap, lost).into();
        let more = Balance::of_fates(capturer.balance.consumer.clone(), Unit::Exchange, exchanges, 1, losses);
        capturer.balance.add(&more);
        let exchange = |count| Arc::new(v1::Exchange { id: capturer.base.id(count), ..Default::default() });
        capturer.pending.push(Sent {
            sequence: capturer.sequence,
            exchanges: (first..capturer.counter).map(exchange).collect(),
            passed_over,
            balance: capturer.balance.clone(),
        });
    }

    fn send(&mut self, capturer: usize, hub: usize, acknowledged: bool) {
        let capturer = &mut self.capturers[capturer];
        for batch in &capturer.pending {
            self.hubs[hub].take(capturer, batch);
        }
        if acknowledged {
            capturer.pending.clear();
        } else {
            self.resent = true;
        }
    }

    /// A hub dies with what waits; what it told the leader stays there.
    async fn die(&mut self, hub: usize) {
        self.died = true;
        let fresh = Hub::begin(self.instance(), &self.database);
        let dead = std::mem::replace(&mut self.hubs[hub], fresh);
        self.viewers.retain(|viewer| viewer.hub != dead.instance);
        dead.writer.close(Instant::now()).await;
        if hub == self.leader {
            self.leader = (hub + 1) % HUBS;
            self.lead(self.leader);
        }
    }

    /// Looks at all accounts.
    pub(super) fn check(&mut self) {
        for hub in &mut self.hubs {
            let own = hub.balances();
            assert!(own.iter().all(Balance::holds), "{own:?}");
            // Totals of viewers, those that are gone among them.
            let viewers = sums(
                hub.live
                    .totals()
                    .into_iter()
                    .map(|one| Balance { consumer: Consumer::Viewer(0), ..one })
                    .collect(),
            );
            assert!(viewers.iter().all(Balance::holds), "{viewers:?}");
            assert_grown(&hub.viewers, &viewers);
            let others = own.iter().filter(|one| !matches!(one.consumer, Consumer::Viewer(_)));
            let ledgers = others.chain(&viewers).map(|balance| ("", balance));
            for row in hub.recorded.grown(1, ledgers) {
                let before = hub.rows.insert((row.node, row.stage, row.unit), row.total);
                assert!(before < Some(row.total), "{before:?} {}", row.total);
            }
            hub.viewers = viewers;
            self.told.insert(hub.instance, (own, hub.writer.totals().trimmed));
        }
        let own = self.hubs[self.leader].instance;
        let others = self.told.iter().filter(|(instance, _)| **instance != own);
        let own = self.told[&own].0.clone();
        let whole = hubs::merged(own, others.flat_map(|(_, (balances, _))| balances));
        let told: Vec<_> =
            sums(whole).into_iter().filter(|one| !matches!(one.consumer, Consumer::Viewer(_))).collect();
        assert!(told.iter().all(Balance::holds), "{told:?}");
        assert_grown(&self.whole, &told);
        self.whole = told;
    }

    /// Ends the session: the database answers, all that waits is taken, and what is told is compared with what was
    /// done.
    pub(super) async fn end(mut self) {
        self.database.inside().down = false;
        for capturer in 0..CAPTURERS {
            let step = Step::Batch { capturer, hub: self.leader, exchanges: 1, passed_over: 0, lost: 0 };
            self.take(step).await;
        }
        for hub in &self.hubs {
            assert!(hub.writer.flush(Instant::now() + Duration::from_mins(1)).await);
            let totals = hub.writer.totals();
            let stored = store::balance(&totals, 0);
            assert_eq!(stored.seen, hub.offered, "{totals:?}");
        }
        self.check();
        self.check_store();
        for hub in &self.hubs {
            hub.live.close();
        }
        for Viewer { hub, watch, since, received } in &self.viewers {
            let hub = self.hubs.iter().find(|one| one.instance == *hub).unwrap();
            let mut received = *received;
            let last = loop {
                let response = watch.next(7, 1 << 20).await;
                received += response.exchanges.len() as u64;
                if response.end {
                    break Balance::try_from(response.balance.unwrap()).unwrap();
                }
            };
            assert!(last.holds());
            assert_eq!((last.seen, last.delivered), (hub.published - since, received));
        }
    }

    /// Compares the store's account with the capturers' and with the database.
    fn check_store(&self) {
        let own = self.hubs[self.leader].instance;
        let others = self.told.iter().filter(|(instance, _)| **instance != own);
        let mut whole =
            hubs::merged(self.told[&own].0.clone(), others.flat_map(|(_, (balances, _))| balances));
        let of_capturers = || whole.iter().filter(|one| matches!(one.consumer, Consumer::Capturer(_)));
        let acknowledged: u64 = of_capturers().map(|one| one.delivered).sum();
        let known: Vec<Base> =
            of_capturers().filter_map(|one| self.bases.get(&one.process).copied()).collect();
        let is_known = |id: &u64| known.iter().any(|base| base.slot == Base::from(*id).slot);
        let rows = self.database.inside().rows.iter().filter(|id| is_known(id)).count() as u64;
        // What a process did last may be known to a dead hub alone.
        assert!(self.died || rows <= acknowledged, "{rows} rows of {acknowledged} that capturers delivered");
        if self.died {
            let trimmed: u64 = self.told.values().map(|(_, trimmed)| trimmed).sum();
            store::settle(&mut whole, rows + trimmed);
        }
        let stored = whole.iter().find(|one| one.consumer == Consumer::Store).unwrap();
        assert!(stored.holds() && stored.seen >= acknowledged, "{stored:?} {acknowledged}");
        if !self.died && !self.resent {
            assert_eq!((stored.seen, stored.lost.clone()), (acknowledged, Losses::default()));
        }
    }
}

/// Whether every total is at least what it was.
fn assert_grown(before: &[Balance], now: &[Balance]) {
    for old in before {
        let new = now.iter().find(|new| new.consumer == old.consumer && new.unit == old.unit);
        let new = new.unwrap_or_else(|| panic!("{old:?} is gone"));
        let shrinks = new.seen < old.seen || new.delivered < old.delivered || new.filtered < old.filtered;
        let loses = Stage::ALL.into_iter().any(|stage| new.lost.at(stage) < old.lost.at(stage));
        assert!(!shrinks && !loses, "{old:?} became {new:?}");
    }
}
