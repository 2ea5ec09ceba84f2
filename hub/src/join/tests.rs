//! Pairs in any order, through translations, and all that is no pair.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proto::v1::HopDirection::{In, Out};
use proto::v1::HopMessage::{Request, Response};

use super::hopes::WAITS_IN_VAIN;
use super::prints::{PRINT_PERIOD, PRINTS, SAME_PLACE};
use super::room::{ROOM_BYTES, WAIT_PERIOD};
use super::*;

const START: u64 = 1_700_000_000_000_000_000;

const CLIENT: ([u8; 4], u32) = ([10, 0, 1, 5], 40_000);
const SERVER: ([u8; 4], u32) = ([10, 0, 2, 7], 8080);
const SERVICE: ([u8; 4], u32) = ([10, 96, 0, 9], 80);
const NODE: ([u8; 4], u32) = ([192, 168, 0, 1], 51_000);

fn hop(at_ns: i64, direction: v1::HopDirection, message: v1::HopMessage) -> v1::Hop {
    v1::Hop {
        at_ns,
        place: v1::HopPlace::Nic.into(),
        name: "ens3".to_owned(),
        netns: 1,
        direction: direction.into(),
        message: message.into(),
        bytes: 1,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn end((address, port): ([u8; 4], u32)) -> Option<v1::Endpoint> {
    Some(v1::Endpoint { address: address.to_vec(), port, ..Default::default() })
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn origin(node: &str) -> Option<v1::Origin> {
    Some(v1::Origin { node: node.to_owned(), ..Default::default() })
}

/// A client on node a, 10 us from the call to the interface and 1 ms to the response.
fn client(id: u64) -> v1::Exchange {
    v1::Exchange {
        id,
        connection_id: 1,
        start_ns: START,
        side: v1::Side::Client.into(),
        origin: origin("a"),
        local: end(CLIENT),
        remote: end(SERVER),
        place: Some(v1::Place { request: 100, response: 200 }),
        hops: vec![hop(10_000, Out, Request), hop(1_010_000, In, Response)],
        ..Default::default()
    }
}

/// Its server on node b, whose clock is a second behind, 600 us there.
fn server(id: u64) -> v1::Exchange {
    v1::Exchange {
        id,
        connection_id: 1,
        start_ns: START - 1_000_000_000 + 110_000,
        side: v1::Side::Server.into(),
        origin: origin("b"),
        local: end(SERVER),
        remote: end(CLIENT),
        place: Some(v1::Place { request: 100, response: 200 }),
        hops: vec![hop(0, In, Request), hop(600_000, Out, Response)],
        ..Default::default()
    }
}

fn captured(_: &v1::Exchange) -> Remote {
    Remote::Captured
}

/// Gives exchanges in, all of whose other sides may come, and returns those that come out.
fn give(joins: &Joins, exchanges: Vec<v1::Exchange>) -> Vec<v1::Exchange> {
    let mut out = Vec::new();
    joins.take(exchanges, captured, |passed| out = passed);
    out
}

fn expired(joins: &Joins) -> Vec<v1::Exchange> {
    let mut out = Vec::new();
    joins.give_up(|passed| out = passed);
    out
}

fn ids(exchanges: &[v1::Exchange]) -> Vec<u64> {
    exchanges.iter().map(|exchange| exchange.id).collect()
}

/// Whom each exchange was joined with.
fn joined(exchanges: &[v1::Exchange]) -> BTreeMap<u64, u64> {
    exchanges.iter().filter_map(|exchange| Some((exchange.id, exchange.ways.as_ref()?.id))).collect()
}

#[tokio::test(start_paused = true)]
async fn both_sides_are_told_of_each_other_whichever_comes_first() {
    for client_first in [true, false] {
        let joins = Joins::default();
        let (first, second) = if client_first { (client(1), server(2)) } else { (server(2), client(1)) };
        assert_eq!(give(&joins, vec![first]), []);
        assert_eq!(joins.waiting(), 1);
        let out = give(&joins, vec![second]);
        assert_eq!(joined(&out), BTreeMap::from([(1, 2), (2, 1)]));
        let of = |id| out.iter().find(|exchange| exchange.id == id).unwrap();
        let ways = of(1).ways.clone().unwrap();
        assert_eq!((ways.node.as_str(), of(2).ways.as_ref().unwrap().node.as_str()), ("b", "a"));
        // Both took 400 us, of which nobody knows how much each way, and clocks may drift by 200 ns.
        assert_eq!(ways.request_ns + ways.response_ns, 400_000);
        assert!((200_000..=200_401).contains(&ways.error_ns), "{ways:?}");
        let same = |ways: &v1::Ways| (ways.request_ns, ways.response_ns, ways.error_ns);
        assert_eq!(same(of(2).ways.as_ref().unwrap()), same(&ways));
        // The true ways are 100 us and 300 us.
        assert!((ways.request_ns - 100_000).unsigned_abs() <= ways.error_ns);
        assert_eq!(joins.waiting(), 0);
        assert_eq!(joins.inner().prints.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_came_too_late_is_told_of_the_other_that_is_gone() {
    for client_first in [true, false] {
        let joins = Joins::default();
        let (first, second) = if client_first { (client(1), server(2)) } else { (server(2), client(1)) };
        assert_eq!(give(&joins, vec![first.clone()]), []);
        tokio::time::advance(WAIT_PERIOD * 9 / 10).await;
        assert_eq!(expired(&joins), []);
        tokio::time::advance(WAIT_PERIOD / 10).await;
        assert_eq!(expired(&joins), std::slice::from_ref(&first), "as it came");
        let out = give(&joins, vec![second.clone()]);
        assert_eq!(joined(&out), BTreeMap::from([(second.id, first.id)]));
        // Whoever is sent again finds nobody: the pair is done with.
        tokio::time::advance(PRINT_PERIOD * 2).await;
        assert_eq!(joined(&[give(&joins, vec![first]), expired(&joins)].concat()), BTreeMap::new());
    }
}

#[tokio::test(start_paused = true)]
async fn sides_of_one_node_have_one_clock_and_nothing_between_them_is_no_way() {
    let joins = Joins::default();
    let here = |exchange: v1::Exchange| v1::Exchange { origin: origin("a"), ..exchange };
    let local = v1::Exchange { connection_id: 2, start_ns: START + 110_000, ..here(server(2)) };
    let out = give(&joins, vec![client(1), local.clone()]);
    let ways = out[0].ways.clone().unwrap();
    assert_eq!((ways.request_ns, ways.response_ns, ways.error_ns), (100_000, 300_000, 0));
    // What one side calls its outermost interface the other one passed before.
    let early = v1::Exchange { start_ns: START + 8_000, ..local };
    let out = give(&joins, vec![client(3), v1::Exchange { id: 4, ..early }]);
    let ways = out[0].ways.clone().unwrap();
    assert_eq!((ways.request_ns, ways.response_ns, ways.error_ns), (0, 402_000, 0));
}

#[tokio::test(start_paused = true)]
async fn nodes_of_one_kernel_have_one_clock() {
    let pair = |boots: [&str; 2]| {
        let joins = Joins::default();
        joins.know_clock("a", boots[0]);
        joins.know_clock("b", boots[1]);
        let same = v1::Exchange { start_ns: START + 110_000, ..server(2) };
        let ways = give(&joins, vec![client(1), same])[0].ways.clone().unwrap();
        (ways.request_ns, ways.response_ns, ways.error_ns, ways.node)
    };
    assert_eq!(pair(["boot-1", "boot-1"]), (100_000, 300_000, 1_000, "b".to_owned()));
    for apart in [["boot-1", "boot-2"], ["", ""], ["boot-1", ""]] {
        let (request, response, error, _) = pair(apart);
        assert_eq!((request, response), (200_000, 200_000), "as far as anybody knows");
        assert!(error >= 100_000, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn translated_ends_are_no_obstacle_as_long_as_one_fits() {
    let through_service = || v1::Exchange { remote: end(SERVICE), ..client(1) };
    let masqueraded = || v1::Exchange { remote: end(NODE), ..server(2) };
    let both = |client: v1::Exchange, server: v1::Exchange| {
        let joins = Joins::default();
        joined(&give(&joins, vec![client, server])).len()
    };
    assert_eq!(both(through_service(), server(2)), 2);
    assert_eq!(both(client(1), masqueraded()), 2);
    assert_eq!(both(through_service(), masqueraded()), 0);
    let other_port = |exchange: v1::Exchange| v1::Exchange { remote: end((CLIENT.0, 40_001)), ..exchange };
    assert_eq!(both(through_service(), other_port(server(2))), 0);
    // A Service of which it is known which pod was meant.
    let named = |pod: &str| {
        let mut exchange = through_service();
        let remote = exchange.remote.as_mut().unwrap();
        (remote.namespace, remote.pod) = ("shop".to_owned(), pod.to_owned());
        exchange
    };
    let mut of_pod = server(2);
    let origin = of_pod.origin.as_mut().unwrap();
    (origin.namespace, origin.pod) = ("shop".to_owned(), "orders-1".to_owned());
    assert_eq!(both(named("orders-1"), of_pod.clone()), 2);
    assert_eq!(both(named("orders-2"), of_pod), 0);
}

#[tokio::test(start_paused = true)]
async fn what_only_looks_alike_is_not_joined() {
    let both = |one: v1::Exchange, other: v1::Exchange| {
        let joins = Joins::default();
        let out = give(&joins, vec![one, other]);
        joined(&out).len()
    };
    let place = |request, response| Some(v1::Place { request, response });
    assert_eq!(both(client(1), server(2)), 2);
    assert_eq!(both(client(1), v1::Exchange { place: place(100, 201), ..server(2) }), 0);
    assert_eq!(both(client(1), v1::Exchange { place: place(200, 100), ..server(2) }), 0);
    assert_eq!(both(client(1), v1::Exchange { place: None, ..server(2) }), 0);
    assert_eq!(both(client(1), v1::Exchange { hops: Vec::new(), ..server(2) }), 0);
    assert_eq!(both(client(1), v1::Exchange { origin: None, ..server(2) }), 0);
    assert_eq!(both(client(1), v1::Exchange { side: v1::Side::Client.into(), ..server(2) }), 0);
    assert_eq!(both(client(1), v1::Exchange { side: v1::Side::Unspecified.into(), ..server(2) }), 0);
    // A loopback address means something else on each node, and one socket is no pair.
    let loopback = |exchange: v1::Exchange| {
        let at = |port| end(([127, 0, 0, 1], port));
        let is_client = exchange.side() == v1::Side::Client;
        let (local, remote) = if is_client { (at(40_000), at(80)) } else { (at(80), at(40_000)) };
        v1::Exchange { local, remote, ..exchange }
    };
    assert_eq!(both(loopback(client(1)), loopback(server(2))), 0);
    let here = v1::Exchange { origin: origin("a"), start_ns: START + 110_000, ..server(2) };
    assert_eq!(both(loopback(client(1)), loopback(here.clone())), 0);
    assert_eq!(both(loopback(client(1)), loopback(v1::Exchange { connection_id: 2, ..here })), 2);
}

#[tokio::test(start_paused = true)]
async fn two_that_fit_as_well_are_none_and_one_that_fits_better_is_taken() {
    let translated =
        |id, port| v1::Exchange { connection_id: id, local: end(([10, 0, 2, 8], port)), ..server(id) };
    let through_service = v1::Exchange { remote: end(SERVICE), ..client(1) };
    let joins = Joins::default();
    give(&joins, vec![translated(2, 81), translated(3, 82)]);
    assert_eq!(joined(&give(&joins, vec![through_service])), BTreeMap::new());
    let joins = Joins::default();
    give(&joins, vec![translated(2, 81), server(3), translated(4, 82)]);
    assert_eq!(joined(&give(&joins, vec![client(1)])), BTreeMap::from([(1, 3), (3, 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_begins_again_with_the_same_numbers_is_another_one() {
    let joins = Joins::default();
    assert_eq!(joined(&give(&joins, vec![client(1), server(2)])).len(), 2);
    // Its server is seen, its client is not; seconds later all of it comes again.
    let later = |exchange: v1::Exchange, id, seconds: u64| v1::Exchange {
        id,
        start_ns: exchange.start_ns + seconds * 1_000_000_000,
        ..exchange
    };
    give(&joins, vec![later(server(0), 3, 1)]);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(joined(&give(&joins, vec![later(client(0), 4, 4)])), BTreeMap::new());
    let out = give(&joins, vec![later(server(0), 5, 4)]);
    assert_eq!(joined(&out), BTreeMap::from([(4, 5), (5, 4)]));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_joined_passes_at_once() {
    let joins = Joins::default();
    let pass = |exchange: v1::Exchange, remote: Remote| {
        let mut out = Vec::new();
        joins.take(vec![exchange], |_| remote, |passed| out = passed);
        out.len()
    };
    assert_eq!(pass(client(1), Remote::Uncaptured), 1);
    assert_eq!(pass(client(2), Remote::Unknown), 1);
    assert_eq!(pass(v1::Exchange { place: None, ..client(3) }, Remote::Captured), 1);
    assert_eq!(pass(v1::Exchange { hops: Vec::new(), ..client(4) }, Remote::Captured), 1);
    assert_eq!(joins.waiting(), 0);
    // Once a process was seen at that address its side may come.
    let elsewhere = v1::Exchange { place: Some(v1::Place::default()), ..server(5) };
    assert_eq!(pass(elsewhere, Remote::Uncaptured), 1);
    assert_eq!(pass(client(6), Remote::Unknown), 0);
    assert_eq!(joins.waiting(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_never_comes_is_not_waited_for_for_long() {
    let joins = Joins::default();
    let next = |id: u64| {
        let place = Some(v1::Place { request: u32::try_from(id).unwrap(), response: 1 });
        v1::Exchange { connection_id: id, place, ..client(id) }
    };
    for id in 0..u64::from(WAITS_IN_VAIN) {
        assert_eq!(give(&joins, vec![next(id)]), []);
        tokio::time::advance(WAIT_PERIOD).await;
        assert_eq!(ids(&expired(&joins)), [id]);
    }
    assert_eq!(ids(&give(&joins, (10..500).map(next).collect())), (10..500).collect::<Vec<_>>());
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(ids(&give(&joins, vec![next(602)])), [602]);
    let place = next(602).place;
    let out = give(&joins, vec![v1::Exchange { place, ..server(700) }]);
    assert_eq!(joined(&out), BTreeMap::from([(700, 602)]), "found without waiting");
    assert_eq!(give(&joins, vec![next(603)]), [], "and the next one waits again");
}

#[tokio::test(start_paused = true)]
async fn a_server_does_not_wait_for_long_responses_again_and_again() {
    let joins = Joins::default();
    for id in 0..10_u32 {
        let place = Some(v1::Place { request: id, response: 1 });
        let at = |exchange: v1::Exchange| v1::Exchange { place, ..exchange };
        let passed = give(&joins, vec![at(server(u64::from(id) * 2 + 1))]);
        assert_eq!(passed.len(), usize::from(id >= WAITS_IN_VAIN), "{id}");
        tokio::time::advance(Duration::from_secs(1)).await;
        expired(&joins);
        // Its client has the whole response now, and is told of the server that is gone.
        assert_eq!(joined(&give(&joins, vec![at(client(u64::from(id) * 2))])).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_keeps_its_order() {
    let joins = Joins::default();
    let at = |exchange: v1::Exchange, place: u32| v1::Exchange {
        place: Some(v1::Place { request: place, response: place }),
        ..exchange
    };
    let plain = |id| v1::Exchange { place: None, ..client(id) };
    let other = |id| v1::Exchange { connection_id: 9, ..plain(id) };
    let out = give(&joins, vec![plain(1), at(client(2), 2), plain(3), at(client(4), 4), plain(5), other(6)]);
    assert_eq!(ids(&out), [1, 6], "other connections go on");
    assert_eq!(ids(&give(&joins, vec![at(server(40), 4)])), [40], "4 waits for 2");
    let out = give(&joins, vec![at(server(20), 2)]);
    assert_eq!(ids(&out), [2, 3, 4, 5, 20]);
    assert_eq!(joined(&out), BTreeMap::from([(2, 20), (20, 2), (4, 40)]));
    assert_eq!(joins.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_there_is_room_for() {
    let one = |id: u64, payload: usize| {
        let request = Some(v1::Message { payload: vec![0; payload], ..Default::default() });
        let place = Some(v1::Place { request: u32::try_from(id).unwrap(), response: 1 });
        v1::Exchange { connection_id: id, place, request, ..client(id) }
    };
    let joins = Joins::default();
    let large = ROOM_BYTES / 10;
    let out = give(&joins, (0..20).map(|id| one(id, large)).collect());
    assert!(joins.inner().room.bytes() <= ROOM_BYTES);
    assert_eq!(ids(&out), (0..20 - joins.waiting()).collect::<Vec<_>>(), "the oldest go");
    assert!((8..10).contains(&joins.waiting()));
    // Whoever had no room has not shown that it is in vain.
    assert_eq!(give(&joins, vec![one(50, 0)]), []);
    let joins = Joins::default();
    let many = PRINTS as u64 + 100;
    let out = give(&joins, (0..many).map(|id| one(id, 0)).collect());
    let inner = joins.inner();
    assert!(inner.room.bytes() <= ROOM_BYTES && inner.room.len() <= ROOM_BYTES >> 10);
    assert_eq!(out.len() + inner.room.len(), usize::try_from(many).unwrap());
    assert!(inner.prints.len() <= PRINTS);
}

#[tokio::test(start_paused = true)]
async fn sides_in_one_place_are_bounded() {
    let joins = Joins::default();
    for id in 0..100 {
        let connection_id = id;
        give(&joins, vec![v1::Exchange { connection_id, ..client(id) }]);
        assert!(joins.inner().prints.len() <= SAME_PLACE);
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_all_go_and_none_waits_any_more() {
    let joins = Joins::default();
    let next = |id: u64| {
        let place = Some(v1::Place { request: u32::try_from(id).unwrap(), response: 1 });
        v1::Exchange { place, ..client(id) }
    };
    assert_eq!(give(&joins, (0..10).map(next).collect()), []);
    let mut out = Vec::new();
    joins.close(|passed| out = passed);
    assert_eq!(ids(&out), (0..10).collect::<Vec<_>>());
    assert_eq!(ids(&give(&joins, vec![next(11)])), [11]);
    let late = v1::Exchange { place: next(11).place, ..server(12) };
    assert_eq!(joined(&give(&joins, vec![late])), BTreeMap::from([(12, 11)]), "what is there is joined");
    assert_eq!((joins.waiting(), joins.inner().room.due()), (0, None));
}

/// A connection of a world in which addresses and numbers are few.
#[derive(Clone, Debug)]
struct Connection {
    client: ([u8; 4], u32),
    server: ([u8; 4], u32),
    service: bool,
    masqueraded: bool,
    numbers: (u32, u32),
}

fn connection() -> impl Strategy<Value = Connection> {
    (0..3_u8, 0..3_u32, 0..3_u8, 0..2_u32, any::<bool>(), any::<bool>(), 0..3_u32, 0..2_u32).prop_map(
        |(client, client_port, server, server_port, service, masqueraded, request, response)| Connection {
            client: ([10, 0, 1, client], 40_000 + client_port),
            server: ([10, 0, 2, server], 8080 + server_port),
            service,
            masqueraded: masqueraded && !service,
            numbers: (request, response),
        },
    )
}

/// Both sides of the exchange that a connection has.
fn sides(number: u64, one: &Connection) -> [v1::Exchange; 2] {
    let place = Some(v1::Place { request: one.numbers.0, response: one.numbers.1 });
    let remote = if one.service { SERVICE } else { one.server };
    let source = if one.masqueraded { (NODE.0, one.client.1) } else { one.client };
    let (mut asks, mut answers) = (client(number * 2), server(number * 2 + 1));
    asks = v1::Exchange { connection_id: number, local: end(one.client), remote: end(remote), place, ..asks };
    answers =
        v1::Exchange { connection_id: number, local: end(one.server), remote: end(source), place, ..answers };
    [asks, answers]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_joined_with_another_exchange_and_nothing_is_lost_or_out_of_order(
        connections in prop::collection::vec(connection(), 1..24),
        order in prop::collection::vec((any::<prop::sample::Index>(), 0..200_u64, any::<bool>()), 1..60),
        closes in any::<bool>(),
    ) {
        // Two connections at once differ in both ends, or in their numbers, of which there are 2^64.
        let mut known: Vec<Connection> = Vec::new();
        for one in connections {
            let alike = |other: &Connection| {
                other.numbers == one.numbers && (other.client == one.client || other.server == one.server)
            };
            if !known.iter().any(alike) {
                known.push(one);
            }
        }
        let all: Vec<v1::Exchange> =
            (0_u64..).zip(&known).flat_map(|(number, one)| sides(number, one)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let joins = Joins::default();
            let (mut given, mut out) = (Vec::new(), Vec::new());
            for (index, pause, may_come) in order {
                // Some come twice, others never.
                let one = all[index.index(all.len())].clone();
                given.push(one.id);
                let remote = if may_come { Remote::Captured } else { Remote::Unknown };
                joins.take(vec![one], |_| remote, |passed| out.extend(passed));
                tokio::time::advance(Duration::from_millis(pause)).await;
                joins.give_up(|passed| out.extend(passed));
            }
            if closes {
                joins.close(|passed| out.extend(passed));
            } else {
                tokio::time::advance(WAIT_PERIOD).await;
                joins.give_up(|passed| out.extend(passed));
            }
            for exchange in &out {
                if let Some(ways) = &exchange.ways {
                    assert_eq!(ways.id, exchange.id ^ 1, "both are of one connection");
                    assert_eq!(ways.request_ns + ways.response_ns, 400_000);
                }
            }
            let of = |ids: &[u64], id: u64| ids.iter().filter(|one| **one == id).count();
            let out = ids(&out);
            assert_eq!(out.len(), given.len());
            assert!(given.iter().all(|id| of(&given, *id) == of(&out, *id)));
            assert_eq!(joins.waiting(), 0);
        });
    }

    #[test]
    fn each_connection_keeps_its_order_whoever_waits_is_found_or_is_given_up(
        steps in prop::collection::vec(
            (0..3_u64, 0..3_u8, any::<prop::sample::Index>(), 0..150_u64),
            1..80,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let joins = Joins::default();
            let (mut asked, mut given, mut out) = (Vec::new(), Vec::new(), Vec::new());
            for (id, (connection_id, kind, whose, pause)) in (1_u32..).zip(steps) {
                let place = Some(v1::Place { request: id, response: 1 });
                let asks = v1::Exchange { connection_id, place, ..client(id.into()) };
                let one = match kind {
                    0 => v1::Exchange { place: None, ..asks },
                    1 if !asked.is_empty() => {
                        let place: Option<v1::Place> = asked[whose.index(asked.len())];
                        v1::Exchange { connection_id, place, ..server(id.into()) }
                    }
                    _ => {
                        asked.push(place);
                        asks
                    }
                };
                given.push(one.clone());
                joins.take(vec![one], captured, |passed| out.extend(passed));
                tokio::time::advance(Duration::from_millis(pause)).await;
                joins.give_up(|passed| out.extend(passed));
            }
            joins.close(|passed| out.extend(passed));
            let line = |exchange: &v1::Exchange| (exchange.side, exchange.connection_id);
            for one in &given {
                let of = |all: &[v1::Exchange]| {
                    all.iter().filter(|other| line(other) == line(one)).map(|other| other.id).collect::<Vec<_>>()
                };
                assert_eq!(of(&out), of(&given));
            }
            assert_eq!(out.len(), given.len());
        });
    }
}
