//! Clocks of which the truth is known: what is stated holds, always.

use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;
const MILLISECOND: i64 = 1_000_000;

/// Two nodes; time passes as the first one's clock says.
#[derive(Clone, Copy, Debug)]
struct World {
    ahead_ns: i64,
    drift_ppm: i64,
}

/// An exchange between them, in true time.
#[derive(Clone, Copy, Debug)]
struct Truth {
    begins: i64,
    request_ns: i64,
    serving_ns: i64,
    response_ns: i64,
    /// Whether the first node is the client.
    forwards: bool,
}

// === impl World ===

impl World {
    /// What the second node's clock says.
    fn second(self, at: i64) -> i64 {
        at + self.offset(at)
    }

    fn offset(self, at: i64) -> i64 {
        self.ahead_ns + at / 1_000_000 * self.drift_ppm
    }

    /// Marks of client and server.
    fn marks(self, truth: Truth) -> (Marks, Marks) {
        let arrives = truth.begins + truth.request_ns;
        let leaves = arrives + truth.serving_ns;
        let client = Marks { request: truth.begins, response: leaves + truth.response_ns };
        let server = Marks { request: arrives, response: leaves };
        let shown = |marks: Marks| Marks {
            request: self.second(marks.request),
            response: self.second(marks.response),
        };
        if truth.forwards { (client, shown(server)) } else { (shown(client), server) }
    }

    /// Lets an exchange be learnt; asserts that all that is said of it is true, and returns the error.
    fn learn(self, offsets: &mut Offsets, truth: Truth) -> u64 {
        let (first, second) = (Arc::from("a"), Arc::from("b"));
        let (client, server) = self.marks(truth);
        let nodes = if truth.forwards { (&first, &second) } else { (&second, &first) };
        let Offset { ns, error_ns } =
            offsets.learn((nodes.0, client), (nodes.1, server)).expect("it is one exchange");
        let error = error_ns.cast_signed();
        let sign = if truth.forwards { 1 } else { -1 };
        for at in [truth.begins, truth.begins + truth.request_ns + truth.serving_ns] {
            assert!((self.offset(at) * sign - ns).abs() <= error, "{truth:?}: {ns} within {error_ns}");
        }
        let request = server.request - client.request - ns;
        let response = client.response - server.response + ns;
        // A clock that is fast counts more of a way than passes.
        let slack = 1 + (truth.request_ns + truth.response_ns) / 1000;
        assert!((request - truth.request_ns).abs() <= error + slack, "{truth:?}: request {request}");
        assert!((response - truth.response_ns).abs() <= error + slack, "{truth:?}: response {response}");
        assert!(request >= -error && response >= -error, "{request} {response}");
        error_ns
    }
}

fn steady(begins: i64) -> Truth {
    // One way takes 5 ms longer than the other.
    Truth { begins, request_ns: 5_200_000, serving_ns: 3 * MILLISECOND, response_ns: 200_000, forwards: true }
}

#[test]
fn three_seconds_fifty_parts_of_a_million_and_five_milliseconds_of_one_way() {
    let world = World { ahead_ns: 3 * SECOND, drift_ppm: 50 };
    let mut offsets = Offsets::default();
    let errors: Vec<u64> =
        (0..600).map(|number| world.learn(&mut offsets, steady(number * SECOND / 10))).collect();
    // No better than half of both ways, since nothing tells them apart, and not much worse.
    let half = 2_700_000;
    assert!(errors.iter().all(|error| (half - 200_000..half + 200_000).contains(error)), "{errors:?}");
}

#[test]
fn the_fastest_of_many_makes_all_of_them_exact() {
    let world = World { ahead_ns: -40 * SECOND, drift_ppm: -50 };
    let mut offsets = Offsets::default();
    // Most wait in queues, which differ; one in ten does not.
    let truth = |number: i64| {
        let waits = if number % 10 == 0 { 0 } else { number % 7 * MILLISECOND };
        Truth {
            begins: number * SECOND / 100,
            request_ns: 60_000 + waits,
            serving_ns: MILLISECOND,
            response_ns: 50_000 + waits / 2,
            forwards: number % 3 > 0,
        }
    };
    let errors: Vec<u64> = (0..1000).map(|number| world.learn(&mut offsets, truth(number))).collect();
    let worst = errors.iter().skip(20).max().copied().unwrap_or_default();
    assert!(worst < 55_000 + 30_000, "{worst}");
}

#[test]
fn what_was_known_grows_less_certain_as_time_passes() {
    let world = World { ahead_ns: SECOND, drift_ppm: MAX_DRIFT_PPM };
    let mut offsets = Offsets::default();
    let exact = Truth { begins: 0, request_ns: 10, serving_ns: 5, response_ns: 10, forwards: true };
    assert!(world.learn(&mut offsets, exact) <= 12);
    let rough =
        |begins| Truth { begins, request_ns: SECOND, serving_ns: 5, response_ns: SECOND, forwards: true };
    let soon = world.learn(&mut offsets, rough(SECOND));
    let late = world.learn(&mut offsets, rough(100 * SECOND));
    assert!(soon < 2 * MILLISECOND.unsigned_abs(), "{soon}");
    assert!((20 * MILLISECOND.unsigned_abs()..30 * MILLISECOND.unsigned_abs()).contains(&late), "{late}");
}

#[test]
fn a_clock_that_is_set_is_learnt_anew_after_a_few_exchanges_and_chance_changes_nothing() {
    let (first, second): (Arc<str>, Arc<str>) = (Arc::from("a"), Arc::from("b"));
    let mut offsets = Offsets::default();
    let before = World { ahead_ns: 0, drift_ppm: 0 };
    let after = World { ahead_ns: 10 * SECOND, drift_ppm: 0 };
    let mut learn = |world: World, number: i64| {
        let (client, server) = world.marks(steady(number * SECOND));
        offsets.learn((&first, client), (&second, server)).map(|offset| offset.ns)
    };
    assert!(learn(before, 0).is_some() && learn(before, 1).is_some());
    // Two exchanges that are not one agree with nothing, each with something else.
    for number in 2..30 {
        let chance = World { ahead_ns: number * 60 * SECOND, drift_ppm: 0 };
        assert_eq!(learn(chance, number), None);
    }
    assert!(learn(before, 30).is_some_and(|ns| ns.abs() < SECOND));
    for number in 31..30 + i64::from(PAIRS_OF_A_STEP) {
        assert_eq!(learn(after, number), None);
    }
    assert!(learn(after, 34).is_some_and(|ns| (ns - 10 * SECOND).abs() < SECOND));
    assert!(learn(after, 35).is_some() && learn(before, 36).is_none());
}

#[test]
fn what_takes_longer_at_the_server_than_the_client_waits_is_no_exchange_of_both() {
    let (first, second): (Arc<str>, Arc<str>) = (Arc::from("a"), Arc::from("b"));
    let mut offsets = Offsets::default();
    let client = Marks { request: 100, response: 100 + SECOND };
    // As far as the clocks may drift apart meanwhile it is one.
    let served = |longer: i64| Marks { request: 0, response: SECOND + longer };
    assert_eq!(offsets.learn((&first, client), (&second, served(2 * drift(SECOND) + 1))), None);
    assert!(offsets.pairs.is_empty());
    assert!(offsets.learn((&first, client), (&second, served(2 * drift(SECOND)))).is_some());
}

#[test]
fn sides_of_one_clock_overlap_and_are_not_apart() {
    let marks = |request, response| Marks { request, response };
    let of = |client, server| Offset::of_one_clock(client, server, true);
    let exact = Some(Offset { ns: 0, error_ns: 0 });
    assert_eq!(of(marks(5, 90), marks(10, 80)), exact);
    assert_eq!(of(marks(5, 90), marks(4, 91)), exact);
    // An exchange that was over before the other one began is another one.
    assert_eq!(of(marks(5, 90), marks(91, 95)), None);
    assert_eq!(of(marks(50, 90), marks(10, 49)), None);
    // Two capturers that share a kernel read its time of day each.
    let read = Some(Offset { ns: 0, error_ns: ANCHOR_ERROR_NS });
    assert_eq!(Offset::of_one_clock(marks(5, 90), marks(10, 80), false), read);
}

#[test]
fn pairs_of_clocks_are_bounded() {
    let mut offsets = Offsets::default();
    let (client, server) = World { ahead_ns: 0, drift_ppm: 0 }.marks(steady(0));
    let hub: Arc<str> = Arc::from("hub");
    for number in 0..=CLOCK_PAIRS {
        assert!(offsets.learn((&hub, client), (&Arc::from(number.to_string()), server)).is_some());
        assert!(offsets.pairs.len() <= CLOCK_PAIRS);
    }
}

proptest! {
    #[test]
    fn the_true_offset_is_always_within_the_stated_error(
        ahead_ns in -100 * SECOND..100 * SECOND,
        drift_ppm in -150_i64..=150,
        exchanges in prop::collection::vec(
            (0..10 * SECOND, 0..20 * MILLISECOND, 0..5 * SECOND, 0..20 * MILLISECOND, any::<bool>(), 0..300 * MILLISECOND),
            1..60,
        ),
    ) {
        let world = World { ahead_ns, drift_ppm };
        let mut begins = 500 * SECOND;
        let mut truths = Vec::new();
        for (pause, request_ns, serving_ns, response_ns, forwards, late) in exchanges {
            begins += pause;
            let truth = Truth { begins, request_ns, serving_ns, response_ns, forwards };
            truths.push((begins + request_ns + serving_ns + response_ns + late, truth));
        }
        // They come as they end, and not quite in that order.
        truths.sort_by_key(|(comes, _)| *comes);
        let mut offsets = Offsets::default();
        for (_, truth) in truths {
            world.learn(&mut offsets, truth);
        }
    }
}
