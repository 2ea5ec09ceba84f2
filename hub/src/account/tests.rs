//! The promise, `seen = delivered + filtered + lost`, over random orders of everything that happens to a session.
//!
//! Two hubs share a database, and each that dies is followed by another one; one of them leads. Capturers send batches
//! to either, again where an acknowledgement was lost, and are started anew. Nothing here is counted by the parts that
//! are tested: what should come out is kept beside them.

mod world;

use proptest::prelude::*;
use proto::account::{Consumer, Losses, Unit};

use super::*;
use world::{CAPTURERS, HUBS, Step, World};

fn steps() -> impl Strategy<Value = Step> {
    let batch = (0..CAPTURERS, 0..HUBS, 0..5_u64, 0..3_u64, 0..4_u64);
    prop_oneof![
        6 => batch.prop_map(|(capturer, hub, exchanges, passed_over, lost)| Step::Batch {
            capturer,
            hub,
            exchanges: exchanges + passed_over,
            passed_over,
            lost,
        }),
        2 => (0..CAPTURERS, 0..HUBS).prop_map(|(capturer, hub)| Step::LostAcknowledgement { capturer, hub }),
        1 => (0..CAPTURERS).prop_map(|capturer| Step::Restart { capturer }),
        1 => (0..HUBS).prop_map(|hub| Step::Death { hub }),
        1 => (0..HUBS).prop_map(|hub| Step::Leader { hub }),
        1 => Just(Step::Trim),
        2 => (0..HUBS, any::<bool>()).prop_map(|(hub, from_start)| Step::Come { hub, from_start }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Leave { which }),
        2 => (any::<prop::sample::Index>(), 0..9_usize, 0..5_u64)
            .prop_map(|(which, reads, unread)| Step::Break { which, reads, unread }),
        1 => any::<bool>().prop_map(|down| Step::Outage { down }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn everything_seen_is_delivered_filtered_or_lost(steps in prop::collection::vec(steps(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::begin();
            for step in steps {
                world.take(step).await;
                world.check();
            }
            world.end().await;
        });
    }
}

#[test]
fn processes_of_one_capturer_are_one_consumer() {
    let of = |node: &str, process, unit, delivered| Balance {
        process,
        ..Balance::of_fates(Consumer::Capturer(node.to_owned()), unit, delivered, 0, Losses::default())
    };
    let parts = vec![
        of("a", 1, Unit::Event, 3),
        of("a", 1, Unit::Exchange, 2),
        of("b", 7, Unit::Event, 9),
        of("a", 2, Unit::Event, 4),
    ];
    let sums = sums(parts);
    assert_eq!(sums, [of("a", 0, Unit::Event, 7), of("a", 0, Unit::Exchange, 2), of("b", 0, Unit::Event, 9)]);
}
