//! One state of a session from those of its hubs.

use std::collections::BTreeMap;

use proto::account::{AccountError, Balance};
use proto::v1::store_state::Kind;
use proto::{store_state, v1};

use crate::account::hubs;
use crate::account::silence::HeardProcess;
use crate::clock::Moment;

/// What a hub says of itself or of a whole session, its account read.
#[derive(Clone, Debug, Default)]
pub struct HubState {
    /// All but the account.
    pub told: v1::DescribeResponse,
    /// The account.
    pub balances: Vec<Balance>,
    /// When each process of a capturer was heard, on this hub's clock.
    pub heard: Vec<HeardProcess>,
}

/// What another hub last said.
pub(super) struct Other<'a> {
    /// Name of its pod.
    pub(super) name: &'a str,
    /// Its own state.
    pub(super) state: &'a HubState,
    /// Whether it can still be heard.
    pub(super) connected: bool,
}

// === impl HubState ===

impl HubState {
    /// Reads what a hub says now.
    pub fn read(mut told: v1::DescribeResponse, now: Moment) -> Result<Self, AccountError> {
        let balances = Balance::read_all(std::mem::take(&mut told.balances))?;
        Ok(Self { balances, ..Self::of(told, now) })
    }

    /// What a hub says now, without an account.
    #[must_use]
    pub fn of(mut told: v1::DescribeResponse, now: Moment) -> Self {
        let heard = told.capturers.iter_mut().flat_map(|capturer| heard(capturer, now)).collect();
        Self { told, balances: Vec::new(), heard }
    }
}

impl From<HubState> for v1::DescribeResponse {
    fn from(state: HubState) -> Self {
        let HubState { told, balances, heard: _ } = state;
        Self { balances: balances.into_iter().map(v1::Balance::from).collect(), ..told }
    }
}

/// Adds up what hubs say.
pub(super) fn describe(name: &str, own: HubState, others: &[Other<'_>]) -> HubState {
    let HubState { told: mut whole, balances, mut heard } = own;
    let mut capturers = BTreeMap::new();
    for capturer in std::mem::take(&mut whole.capturers) {
        capturers.insert(capturer.node.clone(), v1::CapturerState { hub: name.to_owned(), ..capturer });
    }
    for Other { name, state: HubState { told, balances: _, heard: of_other }, connected } in others {
        heard.extend(of_other.iter().cloned());
        for capturer in &told.capturers {
            let capturer = v1::CapturerState {
                hub: (*name).to_owned(),
                connected: capturer.connected && *connected,
                ..capturer.clone()
            };
            match capturers.get_mut(&capturer.node) {
                Some(known) => *known = newer(std::mem::take(known), capturer),
                None => drop(capturers.insert(capturer.node.clone(), capturer)),
            }
        }
        whole.stored = whole.stored.saturating_add(told.stored);
        whole.clamped = whole.clamped.saturating_add(told.clamped);
        whole.trimmed = whole.trimmed.saturating_add(told.trimmed);
        // What a hub that is gone had not stored is lost.
        if *connected {
            whole.waiting = whole.waiting.saturating_add(told.waiting);
        }
        if let (true, Some(down), None) = (connected, down(told), down(&whole)) {
            whole.store = Some(store_of(name, down));
        }
    }
    whole.capturers = capturers.into_values().collect();
    let balances = hubs::merged(balances, others.iter().flat_map(|other| &other.state.balances));
    HubState { told: whole, balances, heard }
}

/// Takes the processes of a capturer out of what is told; how long ago each was heard counts from now.
fn heard(capturer: &mut v1::CapturerState, now: Moment) -> Vec<HeardProcess> {
    let node = &capturer.node;
    let processes = std::mem::take(&mut capturer.processes).into_iter();
    let of = |process| {
        let v1::CapturerProcess {
            instance,
            since_ns,
            heard_ns,
            finished,
            since_ago_ns,
            heard_ago_ns,
            silent_ns,
        } = process;
        HeardProcess {
            node: node.clone(),
            instance,
            since: now.ago(since_ns, since_ago_ns, since_ago_ns),
            heard: now.ago(heard_ns, heard_ago_ns, silent_ns),
            finished,
        }
    };
    processes.map(of).collect()
}

/// How a hub's store is down, if it is.
fn down(state: &v1::DescribeResponse) -> Option<&v1::StoreDown> {
    state.store.as_ref().and_then(store_state::down)
}

/// The state of a store that is down, and whose it is.
fn store_of(hub: &str, down: &v1::StoreDown) -> v1::StoreState {
    let reason = format!("{} (hub {hub})", down.reason);
    v1::StoreState { kind: Some(Kind::Down(v1::StoreDown { reason, ..down.clone() })) }
}

/// What two hubs know of a capturer: the newer state.
fn newer(one: v1::CapturerState, other: v1::CapturerState) -> v1::CapturerState {
    if is_newer(&one, &other) { one } else { other }
}

/// A connected one first, then the one heard of last.
fn is_newer(one: &v1::CapturerState, other: &v1::CapturerState) -> bool {
    (one.connected, one.last_seen_ns) >= (other.connected, other.last_seen_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::account::{Consumer, Losses, Unit};

    fn capturer(node: &str, connected: bool, last_seen_ns: u64) -> v1::CapturerState {
        v1::CapturerState { node: node.to_owned(), connected, last_seen_ns, ..Default::default() }
    }

    fn state(capturers: Vec<v1::CapturerState>, store: Kind) -> HubState {
        let store = Some(v1::StoreState { kind: Some(store) });
        let balance = Balance::of_fates(Consumer::Store, Unit::Exchange, 5, 0, Losses::default());
        let told = v1::DescribeResponse { capturers, store, stored: 5, ..Default::default() };
        HubState { told, balances: vec![balance], heard: Vec::new() }
    }

    fn store(state: &HubState) -> String {
        store_state::in_full(state.told.store.as_ref().unwrap())
    }

    #[test]
    fn hubs_make_one_session() {
        let own = state(
            vec![capturer("one", true, 10), capturer("moved", false, 5)],
            Kind::Ready(v1::StoreReady {}),
        );
        let down = Kind::Down(v1::StoreDown { reason: "gone".to_owned(), ..Default::default() });
        let other = state(vec![capturer("moved", true, 9), capturer("two", true, 9)], down);
        let others = [Other { name: "b", state: &other, connected: true }];
        let whole = describe("a", own.clone(), &others);
        let at = |node: &str| whole.told.capturers.iter().find(|one| one.node == node).unwrap();
        assert_eq!(whole.told.capturers.len(), 3);
        assert_eq!((at("one").hub.as_str(), at("moved").hub.as_str()), ("a", "b"));
        assert!(at("moved").connected);
        assert_eq!((whole.told.stored, store(&whole).as_str()), (10, "down: gone (hub b)"));
        assert_eq!((whole.balances.len(), whole.balances[0].delivered), (1, 10));

        // One that is gone keeps its counts, and its capturers are away until they are heard elsewhere.
        let others = [Other { name: "b", state: &other, connected: false }];
        let whole = describe("a", own, &others);
        assert_eq!((whole.told.stored, store(&whole).as_str()), (10, "ready"));
        assert_eq!(whole.balances[0].delivered, 10);
        assert!(whole.told.capturers.iter().all(|one| one.connected == (one.node == "one")));
    }

    #[test]
    fn a_state_goes_over_the_wire_whole() {
        let state = state(vec![capturer("one", true, 10)], Kind::Ready(v1::StoreReady {}));
        let now = Moment::default();
        let again = HubState::read(v1::DescribeResponse::from(state.clone()), now).unwrap();
        assert_eq!((again.told, again.balances), (state.told, state.balances));
        let damaged = v1::DescribeResponse { balances: vec![v1::Balance::default()], ..Default::default() };
        assert!(HubState::read(damaged, now).is_err());
    }

    #[test]
    fn what_hubs_heard_is_put_on_the_clock_of_the_one_that_reads_it() {
        let process = |instance, heard_ago_ns| v1::CapturerProcess {
            instance,
            // The clocks of two machines are set as they are.
            since_ns: 7_000,
            heard_ns: 7_010,
            finished: false,
            since_ago_ns: 50,
            heard_ago_ns,
            silent_ns: 30,
        };
        let told = |instance, ago| {
            let processes = vec![process(instance, ago)];
            let capturers = vec![v1::CapturerState { processes, ..capturer("one", true, 10) }];
            v1::DescribeResponse { capturers, ..Default::default() }
        };
        let now = Moment { epoch_ns: 1, passed_ns: 1_000, ran_ns: 900 };
        let (own, other) =
            (HubState::read(told(1, 40), now).unwrap(), HubState::read(told(2, 40), now).unwrap());
        let others = [Other { name: "b", state: &other, connected: false }];
        let whole = describe("a", own, &others);
        let heard: Vec<_> = whole.heard.iter().map(|process| (process.instance, process.heard)).collect();
        let moment = Moment { epoch_ns: 7_010, passed_ns: 960, ran_ns: 870 };
        assert_eq!(heard, [(1, moment), (2, moment)]);
        assert_eq!(whole.heard[0].since.passed_ns, 950);
        assert!(whole.told.capturers.iter().all(|capturer| capturer.processes.is_empty()), "told once");
    }
}
