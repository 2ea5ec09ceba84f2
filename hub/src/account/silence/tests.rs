//! Holes of every kind, and totals over all that can happen to a node.

use proptest::prelude::*;

use super::told::Told;
use super::*;

/// How long before a moment that people call so much the clocks of a hub began.
const EPOCH_SECONDS: u64 = 1_000_000;

fn moment(second: u64) -> Moment {
    let ns = second * SECOND_NS;
    Moment { epoch_ns: EPOCH_SECONDS * SECOND_NS + ns, passed_ns: ns, ran_ns: ns }
}

fn process(instance: u64, since: u64, heard: u64, finished: bool) -> HeardProcess {
    let (since, heard) = (moment(since), moment(heard));
    HeardProcess { node: "n2".to_owned(), instance, since, heard, finished }
}

/// Kind, begin and end of the holes in seconds, and the seconds watched and lost.
type Seen = (Vec<(HoleKind, u64, Option<u64>)>, u64, u64);

fn look_at(told: &mut Told, processes: &[HeardProcess], now: Moment, phase: Phase) -> Seen {
    let look = Look { now, hears_since: Moment::default(), phase };
    let of = told.look(processes, &look).remove("n2").unwrap();
    assert!(of.balance.holds(), "{of:?}");
    let second = |ns: u64| (ns / SECOND_NS).saturating_sub(EPOCH_SECONDS);
    let holes = of.holes.iter().map(|hole| (hole.kind, second(hole.since_ns), hole.until_ns.map(second)));
    (holes.collect(), of.balance.delivered, of.balance.lost.at(Stage::Silent))
}

/// What is told by who never told anything before.
fn seen(processes: &[HeardProcess], now: u64, phase: Phase) -> Seen {
    look_at(&mut Told::default(), processes, moment(now), phase)
}

#[test]
fn a_killed_capturer_leaves_a_hole_as_long_as_it_was_away() {
    let killed = [process(1, 100, 130, false), process(2, 133, 160, false)];
    let hole = (HoleKind::Restarted, 130, Some(133));
    assert_eq!(seen(&killed, 160, Phase::Running), (vec![hole], 57, 3));
    // A pod that is deleted ends in order, and is missed at once.
    let deleted = [process(1, 100, 130, true)];
    assert_eq!(seen(&deleted, 131, Phase::Running), (vec![(HoleKind::Gone, 130, None)], 30, 1));
}

#[test]
fn a_node_that_is_cut_off_is_silent_then_gone_then_back() {
    let mut told = Told::default();
    let cut = process(1, 100, 200, false);
    let mut look = |processes: &[HeardProcess], now, phase| look_at(&mut told, processes, moment(now), phase);
    let now = 200 + SILENT_AFTER.as_secs();
    // What may still come is not yet seen.
    assert_eq!(look(std::slice::from_ref(&cut), now, Phase::Running), (vec![], 100, 0));
    let silent = vec![(HoleKind::Silent, 200, None)];
    assert_eq!(look(std::slice::from_ref(&cut), now + 1, Phase::Running), (silent, 100, 0));
    let gone = vec![(HoleKind::Gone, 200, None)];
    assert_eq!(look(std::slice::from_ref(&cut), 300, Phase::Running), (gone, 100, 100));
    // Fifteen minutes later.
    let back = [cut.clone(), process(2, 1100, 1110, false)];
    let restarted = vec![(HoleKind::Restarted, 200, Some(1100))];
    assert_eq!(look(&back, 1110, Phase::Running), (restarted, 110, 900));
    // At the end nobody comes back.
    let gone = vec![(HoleKind::Gone, 200, None)];
    assert_eq!(seen(&[cut], now + 1, Phase::Ended), (gone, 100, 11));
}

#[test]
fn a_process_that_is_heard_again_brings_what_it_saw() {
    let mut told = Told::default();
    let mut look =
        |heard, now| look_at(&mut told, &[process(1, 100, heard, false)], moment(now), Phase::Running);
    assert_eq!(look(200, 230), (vec![(HoleKind::Silent, 200, None)], 100, 0));
    let over = (HoleKind::Silent, 200, Some(240));
    assert_eq!(look(240, 240), (vec![over], 140, 0));
    assert_eq!(look(250, 280), (vec![over, (HoleKind::Silent, 250, None)], 150, 0));
}

#[test]
fn what_was_told_as_lost_stays_lost_when_the_same_process_is_heard_again() {
    let mut told = Told::default();
    let mut look =
        |heard, now, phase| look_at(&mut told, &[process(1, 100, heard, false)], moment(now), phase);
    assert_eq!(look(200, 300, Phase::Running), (vec![(HoleKind::Gone, 200, None)], 100, 100));
    let back = (HoleKind::Gone, 200, Some(301));
    assert_eq!(look(301, 301, Phase::Running), (vec![back], 100, 101));
    assert_eq!(look(320, 321, Phase::Running), (vec![back], 119, 101));
    assert_eq!(look(320, 322, Phase::Ended), (vec![back], 121, 101));
}

#[test]
fn who_finished_before_the_end_was_missed_and_the_end_makes_nobody_heard() {
    let mut told = Told::default();
    let finished = [process(1, 100, 130, true)];
    let mut look = |now, phase| look_at(&mut told, &finished, moment(now), phase);
    let gone = vec![(HoleKind::Gone, 130, None)];
    assert_eq!(look(131, Phase::Running), (gone.clone(), 30, 1));
    assert_eq!(look(133, Phase::Ending), (gone.clone(), 30, 3));
    assert_eq!(look(133, Phase::Ended), (gone, 30, 3));
    // Where nobody was told of it, it is the session's end.
    assert_eq!(seen(&finished, 132, Phase::Ending), (vec![], 30, 0));
    assert_eq!(seen(&finished, 132, Phase::Ended), (vec![], 32, 0));
}

#[test]
fn while_the_hub_does_not_run_nobody_is_silent() {
    let heard = |now: Moment, ran_seconds: u64| Moment { ran_ns: ran_seconds * SECOND_NS, ..now };
    // The machine slept, or the hub was stopped, for ten minutes, all of which passed for everybody else.
    let cut = [process(1, 100, 200, false)];
    let mut told = Told::default();
    let mut look = |processes: &[HeardProcess], now| look_at(&mut told, processes, now, Phase::Running);
    assert_eq!(look(&cut, heard(moment(801), 201)), (vec![], 100, 0));
    assert_eq!(look(&cut, heard(moment(810), 210)), (vec![], 100, 0));
    // Who is then not heard for as long as anybody else is silent, for all of that time.
    assert_eq!(look(&cut, heard(moment(811), 211)), (vec![(HoleKind::Silent, 200, None)], 100, 0));
    assert_eq!(look(&cut, heard(moment(876), 276)), (vec![(HoleKind::Gone, 200, None)], 100, 676));
    // The end comes right after the hub ran again.
    assert_eq!(look_at(&mut Told::default(), &cut, heard(moment(801), 201), Phase::Ended), (vec![], 701, 0));
}

#[test]
fn a_hub_that_begins_to_lead_takes_nobody_for_silent_whom_it_was_not_told_of() {
    let look = |now| Look { now: moment(now), hears_since: moment(500), phase: Phase::Running };
    let left = [process(1, 100, 200, false)];
    let kinds = |now| {
        let of = Told::default().look(&left, &look(now)).remove("n2").unwrap();
        of.holes.iter().map(|hole| hole.kind).collect::<Vec<_>>()
    };
    assert_eq!((kinds(509), kinds(511), kinds(576)), (vec![], vec![HoleKind::Silent], vec![HoleKind::Gone]));
}

#[test]
fn a_clock_that_is_set_makes_no_silence_and_times_end_as_much_later_as_passed() {
    for step in [100_000, -50_000_i64] {
        let later = |second: u64| {
            let ns = moment(second).epoch_ns.saturating_add_signed(step * SECOND_NS.cast_signed());
            Moment { epoch_ns: ns, ..moment(second) }
        };
        let first = process(1, 100, 200, false);
        let mut told = Told::default();
        assert_eq!(
            look_at(&mut told, std::slice::from_ref(&first), later(203), Phase::Running),
            (vec![], 100, 0)
        );
        // Set between the last word of one process and the first of the next one.
        let second = HeardProcess { since: later(203), heard: later(210), ..process(2, 0, 0, false) };
        let restarted = (HoleKind::Restarted, 200, Some(203));
        let both = [first.clone(), second];
        assert_eq!(look_at(&mut told, &both, later(210), Phase::Running), (vec![restarted], 107, 3));
        // A process that is heard after it goes on.
        let on = [HeardProcess { heard: later(230), ..first }];
        assert_eq!(look_at(&mut Told::default(), &on, later(231), Phase::Running), (vec![], 130, 0));
    }
}

#[test]
fn what_goes_from_hub_to_hub_leaves_none() {
    let moved = [process(1, 100, 130, false), process(1, 131, 160, false)];
    assert_eq!(seen(&moved, 160, Phase::Running), (vec![], 60, 0));
    // Two pods of a node for a moment.
    let both = [process(1, 100, 140, true), process(2, 135, 160, false)];
    assert_eq!(seen(&both, 160, Phase::Running), (vec![], 60, 0));
}

#[test]
fn a_node_that_comes_and_goes_for_days_takes_bounded_room_and_all_of_it_is_counted() {
    let mut told = Told::default();
    let mut newest = (Vec::new(), 0, 0);
    for round in 1..=200_u64 {
        // 100 s away, and back for 100 s.
        let at = 200 * round;
        let away = [process(1, 0, at, false)];
        look_at(&mut told, &away, moment(at + 100), Phase::Running);
        newest = look_at(&mut told, &[process(1, 0, at + 100, false)], moment(at + 100), Phase::Running);
    }
    let (holes, watched, lost) = newest;
    assert!(holes.len() < 100, "{}", holes.len());
    assert_eq!((watched, lost), (200 + 199 * 100, 200 * 100));
}

/// What happens in a second: to whom the process of the node speaks, whether another one takes its place, and whether the
/// hub that reckons runs.
fn seconds() -> impl Strategy<Value = Vec<(Option<u64>, bool, bool)>> {
    let second =
        (prop::option::weighted(0.8, 0..2_u64), prop::bool::weighted(0.1), prop::bool::weighted(0.8));
    prop::collection::vec(second, 1..300)
}

proptest! {
    #[test]
    fn every_second_is_watched_lost_or_may_still_come(seconds in seconds()) {
        let mut heard: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
        let mut instance = 0;
        for (second, (hub, restarts, _)) in (100..).zip(&seconds) {
            instance += u64::from(*restarts);
            if let Some(hub) = hub {
                heard.entry((instance, *hub)).or_insert((second, second)).1 = second;
            }
        }
        let processes: Vec<_> = heard
            .iter()
            .map(|((instance, _), (since, heard))| process(*instance, *since, *heard, false))
            .collect();
        let now = 100 + seconds.len() as u64;
        let Some(first) = processes.iter().map(|one| one.since.passed_ns / SECOND_NS).min() else { return Ok(()) };
        // Second by second: whether one process was heard before and after it.
        let is_seen = |second: u64| {
            (0..=instance).any(|one| {
                let of = || heard.iter().filter(|((of, _), _)| *of == one);
                let since = of().map(|(_, (since, _))| *since).min();
                let until = of().map(|(_, (_, heard))| *heard).max();
                since.is_some_and(|since| since <= second) && until.is_some_and(|until| second < until)
            })
        };
        let unseen = (first..now).filter(|second| !is_seen(*second)).count() as u64;
        let (holes, watched, lost) = seen(&processes, now, Phase::Running);
        let last = processes.iter().map(|one| one.heard.passed_ns / SECOND_NS).max().unwrap();
        let waits = match holes.last() {
            Some((HoleKind::Gone, _, None)) => 0,
            Some(_) | None => now - last,
        };
        prop_assert_eq!(watched + lost + waits, now - first);
        prop_assert_eq!(lost + waits, unseen);
        prop_assert!(holes.is_sorted_by_key(|hole| hole.1));
    }

    #[test]
    fn totals_that_were_told_never_shrink(seconds in seconds(), ended in any::<bool>()) {
        let mut heard: BTreeMap<u64, (Moment, Moment)> = BTreeMap::new();
        let (mut instance, mut ran) = (0, 100);
        let (mut told, mut before) = (Told::default(), (0, 0));
        // Each step takes 13 s, so that nodes are gone now and then.
        for (at, (speaks, restarts, runs)) in (1..).zip(&seconds) {
            ran += if *runs { 13 } else { 0 };
            let now = Moment { ran_ns: ran * SECOND_NS, ..moment(100 + at * 13) };
            instance += u64::from(*restarts);
            if speaks.is_some() {
                heard.entry(instance).or_insert((now, now)).1 = now;
            }
            let processes: Vec<_> = heard
                .iter()
                .map(|(instance, (since, heard))| HeardProcess { since: *since, heard: *heard, ..process(*instance, 0, 0, false) })
                .collect();
            if processes.is_empty() {
                continue;
            }
            let phase = if ended && at == seconds.len() as u64 { Phase::Ended } else { Phase::Running };
            let (_, watched, lost) = look_at(&mut told, &processes, now, phase);
            prop_assert!(watched >= before.0 && lost >= before.1, "{:?} after {:?}", (watched, lost), before);
            before = (watched, lost);
        }
    }
}
