//! One state of a session from those of its hubs.

use std::collections::BTreeMap;

use proto::v1;

use crate::session::ledger;

/// What another hub last said.
pub(super) struct Other<'a> {
    /// Name of its pod.
    pub(super) name: &'a str,
    /// Its own state.
    pub(super) state: &'a v1::DescribeResponse,
    /// Whether it can still be heard.
    pub(super) connected: bool,
}

/// Adds up what hubs say: of a capturer's process the ledger that counts most is the newest, and of several stores'
/// ledgers the sum counts.
pub(super) fn describe<'a>(
    name: &str,
    own: v1::DescribeResponse,
    others: impl Iterator<Item = Other<'a>>,
) -> v1::DescribeResponse {
    let mut whole = own;
    let mut capturers = BTreeMap::new();
    let mut ledgers = BTreeMap::new();
    let mut rest = Vec::new();
    let mut store: Option<v1::Balance> = None;
    let own_capturers = std::mem::take(&mut whole.capturers);
    for balance in std::mem::take(&mut whole.balances) {
        match kind(&balance) {
            Kind::Capturer => drop(ledgers.insert(ledger_key(&balance), balance)),
            Kind::Store => store = Some(balance),
            Kind::Viewer => rest.push(balance),
        }
    }
    for capturer in own_capturers {
        capturers.insert(capturer.node.clone(), v1::CapturerState { hub: name.to_owned(), ..capturer });
    }
    for Other { name, state, connected } in others {
        for capturer in &state.capturers {
            let capturer = v1::CapturerState {
                hub: name.to_owned(),
                connected: capturer.connected && connected,
                ..capturer.clone()
            };
            match capturers.get(&capturer.node) {
                Some(known) if is_newer(known, &capturer) => {}
                Some(_) | None => drop(capturers.insert(capturer.node.clone(), capturer)),
            }
        }
        for balance in &state.balances {
            match kind(balance) {
                Kind::Capturer => match ledgers.get(&ledger_key(balance)) {
                    Some(known) if known.seen >= balance.seen => {}
                    Some(_) | None => drop(ledgers.insert(ledger_key(balance), balance.clone())),
                },
                Kind::Store => ledger::add(store.get_or_insert_with(empty_store), balance),
                // Streams to this hub, which its own viewers' ledgers hold.
                Kind::Viewer => {}
            }
        }
        whole.stored = whole.stored.saturating_add(state.stored);
        whole.clamped = whole.clamped.saturating_add(state.clamped);
        whole.trimmed = whole.trimmed.saturating_add(state.trimmed);
        if connected && state.store.starts_with("down") && !whole.store.starts_with("down") {
            whole.store = format!("{} (hub {name})", state.store);
        }
    }
    whole.capturers = capturers.into_values().collect();
    whole.balances = ledgers.into_values().chain(rest).chain(store).collect();
    whole
}

enum Kind {
    Capturer,
    Store,
    Viewer,
}

fn kind(balance: &v1::Balance) -> Kind {
    match balance.consumer.split(' ').next() {
        Some("capturer") => Kind::Capturer,
        Some("store") => Kind::Store,
        Some(_) | None => Kind::Viewer,
    }
}

fn ledger_key(balance: &v1::Balance) -> (String, String, u64) {
    (balance.consumer.clone(), balance.unit.clone(), balance.process)
}

/// A connected one first, then the one heard of last.
fn is_newer(one: &v1::CapturerState, other: &v1::CapturerState) -> bool {
    (one.connected, one.last_seen_ns) >= (other.connected, other.last_seen_ns)
}

fn empty_store() -> v1::Balance {
    v1::Balance { consumer: "store".to_owned(), unit: "exchanges".to_owned(), ..v1::Balance::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capturer(node: &str, connected: bool, last_seen_ns: u64) -> v1::CapturerState {
        v1::CapturerState { node: node.to_owned(), connected, last_seen_ns, ..Default::default() }
    }

    fn balance(consumer: &str, delivered: u64, lost: u64) -> v1::Balance {
        v1::Balance {
            consumer: consumer.to_owned(),
            unit: "exchanges".to_owned(),
            seen: delivered + lost,
            delivered,
            filtered: 0,
            lost: vec![v1::Loss { stage: "store".to_owned(), unit: "exchanges".to_owned(), total: lost }],
            process: 0,
        }
    }

    fn state(
        capturers: Vec<v1::CapturerState>,
        balances: Vec<v1::Balance>,
        store: &str,
    ) -> v1::DescribeResponse {
        v1::DescribeResponse { capturers, balances, store: store.to_owned(), stored: 5, ..Default::default() }
    }

    #[test]
    fn hubs_make_one_session() {
        let own = state(
            vec![capturer("one", true, 10), capturer("moved", false, 5)],
            vec![
                balance("capturer one", 7, 0),
                balance("capturer moved", 3, 0),
                balance("viewer 1", 1, 0),
                balance("store", 10, 1),
            ],
            "ready",
        );
        let other = state(
            vec![capturer("moved", true, 9), capturer("two", true, 9)],
            vec![
                balance("capturer moved", 8, 0),
                balance("capturer two", 2, 0),
                // It was started anew and came to another hub.
                v1::Balance { process: 7, ..balance("capturer one", 4, 0) },
                balance("viewer 1", 99, 0),
                balance("store", 10, 2),
            ],
            "down: gone",
        );
        let others = [Other { name: "b", state: &other, connected: true }];
        let whole = describe("a", own.clone(), others.into_iter());
        let at = |node: &str| whole.capturers.iter().find(|one| one.node == node).unwrap();
        assert_eq!(whole.capturers.len(), 3);
        assert_eq!((at("one").hub.as_str(), at("moved").hub.as_str()), ("a", "b"));
        assert!(at("moved").connected);
        let of = |consumer: &str| whole.balances.iter().find(|one| one.consumer == consumer).unwrap();
        let all: u64 =
            whole.balances.iter().filter(|one| one.consumer == "capturer one").map(|one| one.delivered).sum();
        assert_eq!((whole.balances.len(), all), (6, 11));
        assert_eq!(of("capturer moved").delivered, 8);
        assert_eq!(of("viewer 1").delivered, 1);
        assert_eq!((of("store").seen, of("store").delivered, of("store").lost[0].total), (23, 20, 3));
        assert_eq!((whole.stored, whole.store.as_str()), (10, "down: gone (hub b)"));

        // One that is gone keeps its counts, and its capturers are away until they are heard elsewhere.
        let others = [Other { name: "b", state: &other, connected: false }];
        let whole = describe("a", own, others.into_iter());
        assert_eq!((whole.stored, whole.store.as_str()), (10, "ready"));
        assert!(whole.capturers.iter().all(|one| one.connected == (one.node == "one")));
    }
}
