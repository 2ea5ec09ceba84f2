//! Balances that are added up, and those that come over the wire.

use proptest::prelude::*;

use super::*;

fn consumers() -> impl Strategy<Value = Consumer> {
    prop_oneof![
        "[a-z. ]{0,9}".prop_map(Consumer::Capturer),
        any::<u64>().prop_map(Consumer::Viewer),
        Just(Consumer::Store)
    ]
}

fn balances() -> impl Strategy<Value = Balance> {
    let lost = proptest::collection::btree_map(proptest::sample::select(Stage::ALL.to_vec()), 0..9_u64, 0..5);
    let unit = proptest::sample::select(Unit::ALL.to_vec());
    (consumers(), unit, any::<u64>(), 0..99_u64, 0..99_u64, lost).prop_map(
        |(consumer, unit, process, delivered, filtered, lost)| {
            let lost = lost.into_iter().collect();
            Balance { process, ..Balance::of_fates(consumer, unit, delivered, filtered, lost) }
        },
    )
}

proptest! {
    #[test]
    fn the_wire_changes_nothing(balance in balances()) {
        prop_assert!(balance.holds());
        prop_assert_eq!(Balance::try_from(v1::Balance::from(balance.clone())), Ok(balance));
    }

    #[test]
    fn sums_hold_and_never_shrink(parts in proptest::collection::vec(balances(), 1..9)) {
        let mut sum = Balance::new(Consumer::Store, Unit::Exchange);
        for part in &parts {
            let before = sum.clone();
            sum.add(part);
            prop_assert!(sum.holds());
            prop_assert!(sum.seen >= before.seen && sum.lost.total() >= before.lost.total());
            for stage in Stage::ALL {
                prop_assert_eq!(sum.lost.at(stage), before.lost.at(stage) + part.lost.at(stage));
            }
        }
        prop_assert_eq!(sum.consumer, Consumer::Store);
    }
}

#[test]
fn what_has_no_fate_does_not_balance() {
    let mut balance = Balance::of_fates(Consumer::Store, Unit::Exchange, 3, 2, (Stage::Store, 4).into());
    assert!(balance.holds() && balance.seen == 9);
    balance.seen += 1;
    assert!(!balance.holds());
    balance.delivered = u64::MAX;
    balance.seen = u64::MAX;
    assert!(!balance.holds(), "a sum that overflows is none");
}

#[test]
fn stages_are_told_in_the_order_in_which_data_passes_them() {
    let lost: Losses = Stage::ALL.into_iter().rev().map(|stage| (stage, 1)).collect();
    assert!(lost.by_stage().map(|(stage, _)| stage).eq(Stage::ALL));
    assert!(Stage::ALL.is_sorted());
    let words: std::collections::BTreeSet<_> = Stage::ALL.into_iter().map(Stage::word).collect();
    assert_eq!(words.len(), Stage::ALL.len());
}

#[test]
fn every_name_of_the_wire_is_known() {
    // One more than are known: 0 says nothing.
    let stages = (0..100).filter(|number| v1::Stage::try_from(*number).is_ok()).count();
    let units = (0..100).filter(|number| v1::Unit::try_from(*number).is_ok()).count();
    assert_eq!((stages, units), (Stage::ALL.len() + 1, Unit::ALL.len() + 1));
}

#[test]
fn what_names_nothing_is_refused() {
    let good = || v1::Balance::from(Balance::new(Consumer::Viewer(1), Unit::Event));
    let read = |balance| Balance::try_from(balance).unwrap_err();
    assert_eq!(read(v1::Balance { consumer: None, ..good() }), AccountError::Consumer);
    assert_eq!(
        read(v1::Balance { consumer: Some(v1::Consumer::default()), ..good() }),
        AccountError::Consumer
    );
    assert_eq!(read(v1::Balance { unit: 0, ..good() }), AccountError::Unit(0));
    let lost = vec![v1::Loss { stage: 99, total: 1 }];
    assert_eq!(read(v1::Balance { lost, ..good() }), AccountError::Stage(99));
    assert!(Balance::read_all(vec![good(), v1::Balance::default()]).is_err());
}

#[test]
fn words_are_those_of_users() {
    let consumers = [Consumer::Capturer("n 1".to_owned()), Consumer::Viewer(7), Consumer::Store];
    assert_eq!(consumers.map(|consumer| consumer.to_string()), ["capturer n 1", "viewer 7", "store"]);
    assert_eq!([Unit::Event.word(1), Unit::Event.word(2)], ["event", "events"]);
    assert_eq!([Unit::Exchange.word(1), Unit::Exchange.word(0)], ["exchange", "exchanges"]);
    assert_eq!([Unit::Second.word(1), Unit::Second.word(2)], ["second", "seconds"]);
}
