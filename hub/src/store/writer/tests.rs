//! Outages, limits and refusals, against a store that does as it is told.

use proto::account::{Stage, Unit};

use super::*;
use crate::exchange::CROWDED_PAYLOAD;

/// A store that the test takes down and up.
#[derive(Clone, Default)]
struct Fake {
    inner: Arc<Mutex<Inside>>,
}

#[derive(Default)]
struct Inside {
    down: bool,
    newer: bool,
    refuses: Vec<u64>,
    ids: Vec<u64>,
    losses: Vec<LossRow>,
    closed: bool,
    bytes_each: u64,
}

impl Fake {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inner.lock().unwrap()
    }

    fn up(&self) -> Result<(), StoreError> {
        let inside = self.inside();
        if inside.newer {
            return Err(StoreError::Newer { found: 9, known: 2 });
        }
        if inside.down { Err(StoreError::Unreachable { reason: "down".to_owned() }) } else { Ok(()) }
    }
}

impl Store for Fake {
    async fn open(&mut self) -> Result<(), StoreError> {
        self.up()
    }

    async fn earlier(&mut self) -> Result<Earlier, StoreError> {
        self.up()?;
        Ok(Earlier { exchanges: self.inside().ids.len() as u64, ..Earlier::default() })
    }

    async fn write(&mut self, batch: Arc<Batch>) -> Result<Written, StoreError> {
        self.up()?;
        let mut inside = self.inside();
        if batch.exchanges.iter().any(|exchange| inside.refuses.contains(&exchange.id)) {
            return Err(StoreError::Statement { message: "no".to_owned() });
        }
        let mut written = Written::default();
        for exchange in &batch.exchanges {
            if inside.ids.contains(&exchange.id) {
                written.ignored += 1;
            } else {
                inside.ids.push(exchange.id);
                written.stored += 1;
                written.bytes += inside.bytes_each;
            }
        }
        inside.losses.extend(batch.losses.iter().cloned());
        Ok(written)
    }

    async fn size(&mut self) -> Result<u64, StoreError> {
        let inside = self.inside();
        Ok(inside.ids.len() as u64 * inside.bytes_each)
    }

    async fn trim(&mut self, exchanges: u64) -> Result<u64, StoreError> {
        let mut inside = self.inside();
        let count = usize::try_from(exchanges).unwrap().min(inside.ids.len());
        inside.ids.drain(..count);
        Ok(count as u64)
    }

    async fn close(&mut self) {
        self.inside().closed = true;
    }
}

fn exchanges(ids: std::ops::Range<u64>, payload: usize) -> Vec<Arc<v1::Exchange>> {
    ids.map(|id| {
        let request = Some(v1::Message { payload: vec![0; payload], ..Default::default() });
        Arc::new(v1::Exchange { id, request, ..Default::default() })
    })
    .collect()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn balanced(writer: &Writer) {
    let totals = writer.totals();
    assert_eq!(totals.seen, totals.stored + totals.ignored + totals.lost, "{totals:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_no_waiting_mends_says_so_and_is_tried_again() {
    let fake = Fake::default();
    fake.inside().newer = true;
    let writer = Writer::start(fake.clone(), 0, None);
    writer.offer(&exchanges(0..10, 1));
    assert!(!writer.flush(Instant::now() + Duration::from_secs(10)).await);
    let told = v1::StoreState::from(writer.state());
    let down = proto::store_state::down(&told).expect("down");
    assert_eq!(down.failure(), v1::FailureKind::Final);
    fake.inside().newer = false;
    assert!(writer.flush(soon()).await);
    assert_eq!((writer.state(), writer.totals().stored), (WriterState::Ready, 10));
}

#[tokio::test(start_paused = true)]
async fn an_outage_loses_nothing_that_fits() {
    let fake = Fake::default();
    let writer = Writer::start(fake.clone(), 0, None);
    writer.offer(&exchanges(0..1000, 10));
    assert!(writer.flush(soon()).await);
    fake.inside().down = true;
    writer.offer(&exchanges(1000..3000, 10));
    assert!(!writer.flush(Instant::now() + Duration::from_secs(10)).await);
    assert_eq!(
        writer.state(),
        WriterState::Down { reason: "store unreachable: down".to_owned(), passing: true }
    );
    fake.inside().down = false;
    assert!(writer.flush(soon()).await);
    assert_eq!(writer.state(), WriterState::Ready);
    assert_eq!(fake.inside().ids, (0..3000).collect::<Vec<_>>());
    assert_eq!(writer.totals().lost, 0);
    balanced(&writer);
}

#[tokio::test(start_paused = true)]
async fn a_store_is_left_alone_until_it_may_be_asked() {
    let fake = Fake::default();
    let (go, may) = tokio::sync::oneshot::channel::<()>();
    let writer = Writer::start_once(async { drop(may.await) }, fake.clone(), 0, None);
    writer.offer(&exchanges(0..10, 10));
    assert!(!writer.flush(Instant::now() + Duration::from_secs(10)).await);
    assert_eq!((writer.state(), fake.inside().ids.len()), (WriterState::Starting(String::new()), 0));
    go.send(()).unwrap();
    assert!(writer.flush(soon()).await);
    assert_eq!(fake.inside().ids.len(), 10);
    balanced(&writer);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_counted_and_memory_stays_bounded() {
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = Writer::start(fake.clone(), 0, None);
    // Payloads that are as short as they get.
    writer.offer(&exchanges(0..40_000, CROWDED_PAYLOAD));
    assert!(writer.shared.queue().bytes <= BUFFER_BYTES);
    let lost = writer.totals().lost;
    assert!((25_000..35_000).contains(&lost), "{lost}");
    fake.inside().down = false;
    assert!(writer.flush(soon()).await);
    balanced(&writer);
    assert_eq!(writer.totals().stored + lost, 40_000);
    assert_eq!(writer.shared.queue().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn payloads_are_shortened_before_exchanges_are_lost() {
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = Writer::start(fake.clone(), 0, None);
    writer.offer(&exchanges(0..100, BUFFER_BYTES / 50));
    assert_eq!(writer.totals().lost, 0);
    let (whole, short): (Vec<_>, Vec<_>) = writer
        .shared
        .queue()
        .exchanges
        .iter()
        .filter_map(|(_, exchange)| exchange.request.clone())
        .partition(|request| !request.truncated);
    assert!((20..=25).contains(&whole.len()), "{}", whole.len());
    assert!(short.iter().all(|request| request.payload.len() == CROWDED_PAYLOAD));
    assert!(writer.shared.queue().bytes <= BUFFER_BYTES);
}

#[tokio::test(start_paused = true)]
async fn losses_beyond_the_buffer_keep_the_newest() {
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = Writer::start(fake.clone(), 0, None);
    let row =
        |total| LossRow { at_ns: total, node: String::new(), stage: Stage::Ring, unit: Unit::Event, total };
    writer.note_losses((0..BUFFER_LOSSES as u64 + 5).map(row).collect());
    fake.inside().down = false;
    assert!(writer.flush(soon()).await);
    let inside = fake.inside();
    assert_eq!(inside.losses.len(), BUFFER_LOSSES);
    assert_eq!(inside.losses.last(), Some(&row(BUFFER_LOSSES as u64 + 4)));
}

#[tokio::test(start_paused = true)]
async fn resent_exchanges_are_ignored_and_counted() {
    let writer = Writer::start(Fake::default(), 0, None);
    writer.offer(&exchanges(0..10, 0));
    assert!(writer.flush(soon()).await);
    writer.offer(&exchanges(5..15, 0));
    assert!(writer.flush(soon()).await);
    let totals = writer.totals();
    assert_eq!((totals.stored, totals.ignored, totals.lost), (15, 5, 0));
    balanced(&writer);
}

#[tokio::test(start_paused = true)]
async fn a_refused_exchange_costs_no_other() {
    let fake = Fake::default();
    fake.inside().refuses = vec![3];
    let writer = Writer::start(fake.clone(), 0, None);
    writer.offer(&exchanges(0..10, 0));
    assert!(writer.flush(soon()).await);
    assert_eq!(fake.inside().ids, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!(writer.totals().lost, 1);
    balanced(&writer);
}

#[tokio::test(start_paused = true)]
async fn the_limit_trims_the_oldest() {
    let fake = Fake::default();
    fake.inside().bytes_each = 100;
    let writer = Writer::start(fake.clone(), 10_000, None);
    for part in 0..20 {
        writer.offer(&exchanges(part * 10..part * 10 + 10, 0));
        assert!(writer.flush(soon()).await);
    }
    writer.close(soon()).await;
    let inside = fake.inside();
    assert!(inside.ids.len() <= 105 && inside.ids.len() > 80, "{}", inside.ids.len());
    assert_eq!(inside.ids.last(), Some(&199));
    assert_eq!(writer.totals().trimmed, 200 - inside.ids.len() as u64);
    assert!(inside.closed);
}

#[tokio::test(start_paused = true)]
async fn closing_while_down_counts_what_waits() {
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = Writer::start(fake.clone(), 0, None);
    writer.offer(&exchanges(0..7, 0));
    writer.close(Instant::now() + Duration::from_secs(30)).await;
    writer.offer(&exchanges(7..9, 0));
    assert_eq!(writer.totals().lost, 9);
    balanced(&writer);
}

#[tokio::test(start_paused = true)]
async fn abandoning_counts_what_is_being_written_once() {
    let fake = Fake::default();
    let writer = Writer::start(fake.clone(), 0, None);
    writer.offer(&exchanges(0..5, 0));
    assert!(writer.flush(soon()).await);
    fake.inside().down = true;
    writer.offer(&exchanges(5..5 + 2 * BATCH_ROWS as u64, 0));
    assert!(!writer.flush(Instant::now() + Duration::from_secs(5)).await);
    writer.abandon();
    let lost = writer.totals().lost;
    assert_eq!(lost, 2 * BATCH_ROWS as u64);
    fake.inside().down = false;
    assert!(writer.flush(soon()).await);
    assert_eq!(writer.totals().lost, lost);
    balanced(&writer);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_held_is_known_once_it_answers() {
    let fake = Fake::default();
    fake.inside().ids = (0..6).collect();
    fake.inside().down = true;
    let writer = Writer::start(fake.clone(), 0, None);
    assert_eq!(writer.held(), None);
    fake.inside().down = false;
    writer.offer(&exchanges(5..12, 0));
    assert!(writer.flush(soon()).await);
    let totals = writer.totals();
    assert_eq!((writer.held(), totals.stored, totals.ignored), (Some(6), 6, 1));
}
