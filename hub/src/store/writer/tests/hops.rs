//! Exchanges with as many hops as they can have: what is bounded in bytes counts them.

use super::*;
use crate::exchange;

/// Hops of each exchange.
const HOPS: usize = 64;

/// Exchanges, whose hops alone are several times what memory holds.
const EXCHANGES: u64 = 4_000;

fn crowded(ids: std::ops::Range<u64>) -> Vec<Arc<v1::Exchange>> {
    let hop = v1::Hop {
        at_ns: 1_000_000,
        place: v1::HopPlace::Nic.into(),
        name: "cali0123456789a".to_owned(),
        netns: 4_026_531_840,
        direction: v1::HopDirection::Out.into(),
        message: v1::HopMessage::Response.into(),
        bytes: 1448,
    };
    let one = |id| Arc::new(v1::Exchange { id, hops: vec![hop.clone(); HOPS], ..Default::default() });
    ids.map(one).collect()
}

#[test]
fn what_counts_as_memory_is_no_less_than_what_goes_over_the_wire() {
    let one = &crowded(1..2)[0];
    let encoded = prost::Message::encoded_len(one.as_ref());
    assert!(exchange::memory(one) >= encoded, "{encoded} bytes on the wire");
    assert!(exchange::memory(one) >= HOPS * size_of::<v1::Hop>());
}

#[tokio::test(start_paused = true)]
async fn they_fill_memory_and_batches_no_further_than_other_exchanges_do() {
    let fake = Fake::default();
    fake.inside().down = true;
    let writer = Writer::start(fake.clone(), 0, None);
    writer.offer(&crowded(0..EXCHANGES));
    assert!(writer.shared.queue().bytes <= BUFFER_BYTES);
    let lost = writer.totals().lost;
    let held = BUFFER_BYTES / exchange::memory(&crowded(0..1)[0]);
    assert_eq!(EXCHANGES - lost, held as u64, "what has no room is lost, and counted");
    fake.inside().down = false;
    assert!(writer.flush(soon()).await);
    balanced(&writer);
    let inside = fake.inside();
    assert_eq!(inside.hops, held * HOPS, "none of those that are kept lost a hop");
    assert!(inside.largest_batch <= BATCH_BYTES + exchange::memory(&crowded(0..1)[0]));
}

#[tokio::test(start_paused = true)]
async fn a_disk_keeps_them_whole_and_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.inside().down = true;
    let encoded = prost::Message::encoded_len(crowded(EXCHANGES..EXCHANGES + 1)[0].as_ref()) as u64;
    // Room for half of them.
    let limit = encoded * EXCHANGES / 2;
    let writer = spooling(&fake, folder.path(), limit);
    for id in (0..EXCHANGES).step_by(50) {
        writer.offer(&crowded(id..id + 50));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let on_disk =
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert!(on_disk.sum::<u64>() <= limit);
    assert!(writer.shared.queue().bytes <= BUFFER_BYTES);
    let lost = writer.totals().lost;
    assert!(
        lost > 0 && writer.shared.queue().spooled > EXCHANGES / 3,
        "both limits are crossed: {lost} lost"
    );
    fake.inside().down = false;
    assert!(writer.flush(soon()).await);
    balanced(&writer);
    assert_eq!(fake.inside().hops as u64, (EXCHANGES - lost) * HOPS as u64);
}
