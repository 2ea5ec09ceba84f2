//! One state of a session from those of its hubs.

use std::collections::BTreeMap;

use proto::v1;

/// What another hub last said.
pub(super) struct Other<'a> {
    /// Name of its pod.
    pub(super) name: &'a str,
    /// Its own state.
    pub(super) state: &'a v1::DescribeResponse,
    /// Whether it can still be heard.
    pub(super) connected: bool,
}

/// Adds up what hubs say: of a capturer the hub counts that heard of it last, and of several stores' ledgers the sum.
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
            Kind::Capturer => drop(ledgers.insert(ledger_key(&balance), (0, balance))),
            Kind::Store => store = Some(balance),
            Kind::Viewer => rest.push(balance),
        }
    }
    for capturer in own_capturers {
        for ((consumer, _), (seen, _)) in &mut ledgers {
            if *consumer == consumer_of(&capturer.node) {
                *seen = capturer.last_seen_ns;
            }
        }
        capturers.insert(capturer.node.clone(), v1::CapturerState { hub: name.to_owned(), ..capturer });
    }
    for Other { name, state, connected } in others {
        let mut heard = BTreeMap::new();
        for capturer in &state.capturers {
            heard.insert(consumer_of(&capturer.node), capturer.last_seen_ns);
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
                Kind::Capturer => {
                    let seen = heard.get(&balance.consumer).copied().unwrap_or_default();
                    let known = ledgers.get(&ledger_key(balance)).map(|(seen, _)| *seen);
                    if known.is_none_or(|known| known < seen) {
                        ledgers.insert(ledger_key(balance), (seen, balance.clone()));
                    }
                }
                Kind::Store => add(store.get_or_insert_with(empty_store), balance),
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
    whole.balances = ledgers.into_values().map(|(_, balance)| balance).chain(rest).chain(store).collect();
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

/// How a capturer's ledgers are named, as it names itself.
fn consumer_of(node: &str) -> String {
    format!("capturer {node}")
}

fn ledger_key(balance: &v1::Balance) -> (String, String) {
    (balance.consumer.clone(), balance.unit.clone())
}

/// A connected one first, then the one heard of last.
fn is_newer(one: &v1::CapturerState, other: &v1::CapturerState) -> bool {
    (one.connected, one.last_seen_ns) >= (other.connected, other.last_seen_ns)
}

fn empty_store() -> v1::Balance {
    v1::Balance { consumer: "store".to_owned(), unit: "exchanges".to_owned(), ..v1::Balance::default() }
}

fn add(sum: &mut v1::Balance, part: &v1::Balance) {
    sum.seen = sum.seen.saturating_add(part.seen);
    sum.delivered = sum.delivered.saturating_add(part.delivered);
    sum.filtered = sum.filtered.saturating_add(part.filtered);
    for loss in &part.lost {
        match sum.lost.iter_mut().find(|known| known.stage == loss.stage) {
            Some(known) => known.total = known.total.saturating_add(loss.total),
            None => sum.lost.push(loss.clone()),
        }
    }
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
        assert_eq!(whole.balances.len(), 5);
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
