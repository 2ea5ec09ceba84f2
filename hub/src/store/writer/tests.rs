//! Outages, limits and refusals, against a store that does as it is told.

mod hops;

use proto::account::{Stage, Unit};

use super::*;
use crate::exchange::CROWDED_PAYLOAD;
use crate::store::{Batch, Written};

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
    /// The same, to be found fast.
    known: std::collections::HashSet<u64>,
    /// Bytes of the shortest payload.
    shortest: Option<usize>,
    /// Of all that were stored.
    hops: usize,
    /// Bytes of the exchanges of the largest batch.
    largest_batch: usize,
    losses: Vec<LossRow>,
    closed: bool,
    bytes_each: u64,
    /// How long each batch takes.
    slowness: Duration,
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
        let slowness = self.inside().slowness;
        tokio::time::sleep(slowness).await;
        let mut inside = self.inside();
        if batch.exchanges.iter().any(|exchange| inside.refuses.contains(&exchange.id)) {
            return Err(StoreError::Statement { message: "no".to_owned() });
        }
        let mut written = Written::default();
        let bytes = batch.exchanges.iter().map(|exchange| crate::exchange::memory(exchange)).sum();
        inside.largest_batch = inside.largest_batch.max(bytes);
        for exchange in &batch.exchanges {
            if inside.known.insert(exchange.id) {
                inside.ids.push(exchange.id);
                inside.hops += exchange.hops.len();
                let payload = exchange.request.as_ref().map(|request| request.payload.len());
                inside.shortest = inside.shortest.into_iter().chain(payload).min();
                written.stored += 1;
                written.bytes += inside.bytes_each;
            } else {
                written.ignored += 1;
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
    let writer = Writer::start_once(async { drop(may.await) }, fake.clone(), 0, None, None);
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
    assert!((35_000..38_000).contains(&lost), "{lost}");
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
    fake.inside().known = (0..6).collect();
    fake.inside().down = true;
    let writer = Writer::start(fake.clone(), 0, None);
    assert_eq!(writer.held(), None);
    fake.inside().down = false;
    writer.offer(&exchanges(5..12, 0));
    assert!(writer.flush(soon()).await);
    let totals = writer.totals();
    assert_eq!((writer.held(), totals.stored, totals.ignored), (Some(6), 6, 1));
}

/// A writer with a file of at most `limit` bytes for what waits.
fn spooling(fake: &Fake, folder: &Path, limit: u64) -> Writer {
    let spool = Spool::within(folder, limit).unwrap();
    Writer::start_with(std::future::ready(()), fake.clone(), 0, None, Some(spool))
}

/// Offers exchanges at a pace that a disk keeps up with.
async fn offer_steadily(writer: &Writer, ids: std::ops::Range<u64>, payload: usize) {
    for id in ids.step_by(500) {
        writer.offer(&exchanges(id..id + 500, payload));
        // On a paused clock time passes once the disk is done.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_opens_late_gets_whole_what_memory_had_no_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = spooling(&fake, folder.path(), SPOOL_BYTES);
    // Several times what memory holds.
    offer_steadily(&writer, 0..40_000, 2 * CROWDED_PAYLOAD).await;
    {
        let queue = writer.shared.queue();
        assert!(queue.bytes <= BUFFER_BYTES / 2, "{}", queue.bytes);
        assert!(queue.spooled > 20_000, "{}", queue.spooled);
    }
    assert_eq!((writer.waiting(), writer.totals().lost), (40_000, 0));
    assert!(!writer.flush(Instant::now() + Duration::from_secs(5)).await);
    fake.inside().down = false;
    assert!(writer.flush(soon()).await);
    let inside = fake.inside();
    assert_eq!(inside.ids.len(), 40_000);
    assert!(inside.ids.is_sorted(), "oldest first");
    assert_eq!(inside.shortest, Some(2 * CROWDED_PAYLOAD), "no payload was shortened");
    drop(inside);
    assert_eq!((writer.waiting(), writer.shared.queue().bytes), (0, 0));
    balanced(&writer);
}

#[tokio::test(start_paused = true)]
async fn what_a_full_disk_has_no_room_for_is_counted_and_room_that_comes_back_is_used() {
    /// Room for some thousands.
    const LIMIT: u64 = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = spooling(&fake, folder.path(), LIMIT);
    offer_steadily(&writer, 0..60_000, CROWDED_PAYLOAD).await;
    let file = std::fs::metadata(folder.path().join("kyanos-spool")).unwrap().len();
    assert!(file <= LIMIT && file > LIMIT / 2, "{file}");
    assert!(writer.shared.queue().bytes <= BUFFER_BYTES);
    let lost = writer.totals().lost;
    assert!(lost > 20_000, "{lost}");
    assert_eq!(writer.waiting() + lost, 60_000);
    fake.inside().down = false;
    assert!(writer.flush(soon()).await);
    assert_eq!(writer.totals().stored + lost, 60_000);
    balanced(&writer);
    fake.inside().down = true;
    offer_steadily(&writer, 60_000..65_000, 2 * CROWDED_PAYLOAD).await;
    assert!(writer.shared.queue().spooled > 0);
    assert_eq!(writer.totals().lost, lost);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_quite_catches_up_loses_nothing_however_much_passes_through_the_disk() {
    const LIMIT: u64 = 8 << 20;
    const PAYLOAD: usize = CROWDED_PAYLOAD / 2;
    /// So many wait on disk.
    const BACKLOG: u64 = 6_000;
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = spooling(&fake, folder.path(), LIMIT);
    offer_steadily(&writer, 0..15_000, PAYLOAD).await;
    // It takes about as much as comes.
    fake.inside().slowness = Duration::from_millis(1);
    fake.inside().down = false;
    for first in (15_000..150_000).step_by(500) {
        offer_steadily(&writer, first..first + 500, PAYLOAD).await;
        assert!(writer.shared.queue().spooled > 0, "some waits on disk all the time");
        while writer.shared.queue().spooled > BACKLOG {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(std::fs::metadata(folder.path().join("kyanos-spool")).unwrap().len() <= LIMIT);
    assert_eq!(writer.totals().lost, 0);
    assert!(writer.flush(soon()).await);
    assert_eq!(fake.inside().ids, (0..150_000).collect::<Vec<_>>());
    balanced(&writer);
}

#[tokio::test(start_paused = true)]
async fn damage_on_disk_is_counted_and_the_rest_is_stored_or_handed_over() {
    for hands_over in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::default();
        fake.inside().down = true;
        let writer = spooling(&fake, folder.path(), SPOOL_BYTES);
        offer_steadily(&writer, 0..20_000, CROWDED_PAYLOAD).await;
        // The length of the very first on disk, which costs the chunk that it is in.
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("kyanos-spool")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &u32::MAX.to_le_bytes(), 0).unwrap();
        if hands_over {
            let (ids, ..) = pulled(&writer, true).await.unwrap().unwrap();
            assert_eq!(ids.len() as u64, writer.totals().stored);
        }
        fake.inside().down = false;
        assert!(writer.flush(soon()).await);
        let totals = writer.totals();
        assert!(totals.lost > 0 && totals.lost <= BATCH_ROWS as u64, "{totals:?}");
        assert_eq!(totals.stored + totals.lost, 20_000);
        balanced(&writer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_costs_no_more_than_having_none() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.inside().down = true;
    let spool = Spool::unwritable(folder.path());
    let writer = Writer::start_with(std::future::ready(()), fake.clone(), 0, None, Some(spool));
    offer_steadily(&writer, 0..2_500, CROWDED_PAYLOAD).await;
    assert_eq!((writer.waiting(), writer.totals().lost), (2_500, 0));
    fake.inside().down = false;
    assert!(writer.flush(soon()).await);
    assert_eq!(fake.inside().ids, (0..2_500).collect::<Vec<_>>());
    balanced(&writer);
}

#[tokio::test(start_paused = true)]
async fn giving_up_counts_once_what_waits_on_disk_and_the_next_finds_none_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = spooling(&fake, folder.path(), SPOOL_BYTES);
    offer_steadily(&writer, 0..20_000, CROWDED_PAYLOAD).await;
    // Some are on their way to disk, too.
    writer.offer(&exchanges(20_000..25_000, CROWDED_PAYLOAD));
    tokio::task::yield_now().await;
    writer.abandon();
    let lost = writer.totals().lost;
    assert_eq!((lost, writer.waiting()), (25_000, 0));
    fake.inside().down = false;
    offer_steadily(&writer, 30_000..40_000, CROWDED_PAYLOAD).await;
    assert!(writer.flush(soon()).await);
    assert_eq!(writer.totals().lost, lost);
    assert!(fake.inside().ids.iter().all(|id| *id >= 30_000));
    assert_eq!(writer.shared.queue().bytes, 0);
    balanced(&writer);
}

/// Ids, hops, rows of other tables, and the total that was told.
type Pulled = (Vec<i64>, usize, usize, u64);

/// A pull under way.
type Pulling = tokio::task::JoinHandle<Result<bool, StoreError>>;

/// What it sends, one part at a time.
type Parts = tokio::sync::mpsc::Receiver<Result<v1::PullResponse, StoreError>>;

fn pulling(writer: &Writer, hands_over: bool) -> (Pulling, Parts) {
    let scope = crate::store::Scope { session: "s".to_owned(), max_store_bytes: 64 };
    let (sink, parts) = tokio::sync::mpsc::channel(1);
    let writer = writer.clone();
    (tokio::spawn(async move { writer.pull_waiting(&scope, hands_over, &sink).await }), parts)
}

/// Pulls what waits; returns the ids of exchanges and hops, the counts of capturers and losses, and what was announced.
async fn pulled(writer: &Writer, handed_over: bool) -> Result<Option<Pulled>, StoreError> {
    use proto::v1::value::Kind;
    let scope = crate::store::Scope { session: "s".to_owned(), max_store_bytes: 64 };
    let (sink, mut parts) = tokio::sync::mpsc::channel::<Result<v1::PullResponse, StoreError>>(1);
    let (mut ids, mut hops, mut others, mut total) = (Vec::new(), 0, 0, 0);
    let take = async {
        let mut id_at = None;
        while let Some(part) = parts.recv().await {
            let part: v1::PullResponse = part.unwrap();
            if !part.columns.is_empty() {
                id_at = part.columns.iter().position(|column| column == "id");
            }
            match part.table.as_str() {
                "exchanges" => {
                    total = part.total_rows;
                    ids.extend(part.rows.iter().map(|row| {
                        let Some(Kind::Integer(id)) = row.values[id_at.unwrap()].kind else {
                            panic!("an id")
                        };
                        id
                    }));
                }
                "hops" => hops += part.rows.len(),
                _ => others += part.rows.len(),
            }
        }
    };
    // Its end is the sink's.
    let pull = async move { writer.pull_waiting(&scope, handed_over, &sink).await };
    let (result, ()) = tokio::join!(pull, take);
    result.map(|given| given.then_some((ids, hops, others, total)))
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_no_obstacle_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = spooling(&fake, folder.path(), SPOOL_BYTES);
    let mut first = v1::Exchange { id: 7, ..Default::default() };
    first.hops = vec![v1::Hop::default(); 2];
    writer.offer(&[Arc::new(first)]);
    offer_steadily(&writer, 1_000..21_000, CROWDED_PAYLOAD).await;
    let row = CapturerRow {
        node: "n".to_owned(),
        slot: 0,
        kernel: String::new(),
        version: String::new(),
        first_seen_ns: 1,
        last_seen_ns: 2,
    };
    writer.note_capturers(vec![row]);
    writer.note_losses(vec![LossRow {
        at_ns: 1,
        node: String::new(),
        stage: Stage::Ring,
        unit: Unit::Event,
        total: 3,
    }]);
    // Of a kept session the store gets all of it later, too.
    let all: Vec<i64> = std::iter::once(7).chain(1_000..21_000).collect();
    assert_eq!(pulled(&writer, false).await.unwrap(), Some((all.clone(), 2, 2, 20_001)));
    assert_eq!((writer.waiting(), writer.totals().stored), (20_001, 0));
    // Of another it is where it was to be.
    assert_eq!(pulled(&writer, true).await.unwrap(), Some((all, 2, 2, 20_001)));
    assert_eq!((writer.waiting(), writer.totals().stored, writer.totals().lost), (0, 20_001, 0));
    balanced(&writer);
    assert!(writer.flush(soon()).await);
    fake.inside().down = false;
    writer.offer(&exchanges(30_000..30_001, 0));
    assert!(writer.flush(soon()).await);
    assert_eq!(fake.inside().ids, [30_000]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_file_is_written_goes_on_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = spooling(&fake, folder.path(), SPOOL_BYTES);
    offer_steadily(&writer, 0..20_000, CROWDED_PAYLOAD).await;
    let (pulling, mut parts) = pulling(&writer, true);
    parts.recv().await.unwrap().unwrap();
    writer.offer(&exchanges(30_000..30_002, 0));
    while parts.recv().await.is_some() {}
    assert!(pulling.await.unwrap().unwrap());
    assert_eq!((writer.totals().stored, writer.waiting()), (20_000, 2));
    fake.inside().down = false;
    assert!(writer.flush(soon()).await);
    assert_eq!(fake.inside().ids, [30_000, 30_001]);
    balanced(&writer);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_while_a_file_is_written_waits_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = spooling(&fake, folder.path(), SPOOL_BYTES);
    offer_steadily(&writer, 0..20_000, CROWDED_PAYLOAD).await;
    let (pulling, mut parts) = pulling(&writer, false);
    let first = parts.recv().await.unwrap().unwrap();
    assert_eq!(first.total_rows, 20_000);
    fake.inside().down = false;
    assert!(!writer.flush(Instant::now() + Duration::from_secs(5)).await);
    assert!(writer.has_answered() && fake.inside().ids.is_empty());
    // Who pulled goes away in the middle of it.
    drop(parts);
    assert!(pulling.await.unwrap().unwrap(), "it was given what waits");
    assert!(writer.flush(soon()).await);
    assert_eq!(fake.inside().ids, (0..20_000).collect::<Vec<_>>());
    balanced(&writer);
    // From now on the store is asked.
    assert_eq!(pulled(&writer, true).await.unwrap(), None);
}
