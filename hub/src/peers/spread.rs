//! Capturers shared out among hubs: the Service leaves it to chance which one each reaches.

use std::collections::BTreeMap;

use proto::v1;

use super::Peer;
use crate::clock::epoch_ns;
use crate::session::Session;

/// How long a capturer that was heard of a moment ago may be on its way to another hub.
const ON_ITS_WAY_NS: u64 = 15_000_000_000;

/// A capturer that is to feed another hub.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    node: String,
    from: String,
    to: String,
}

/// Asks for one capturer to go from the hub that has most to the one that has fewest, where that evens them out.
///
/// One at a time: whoever goes is counted where it arrived before the next step.
pub fn spread(session: &Session, own_address: &str) {
    let peers = session.peers.connected().borrow().clone();
    let own = session.hub_name();
    let hubs = peers.iter().map(|peer| peer.name.as_str()).chain([own]);
    let Some(Step { node, from, to }) = step(hubs, &session.state().told.capturers, epoch_ns()) else {
        return;
    };
    let named = |name: &str| peers.iter().find(|peer| peer.name == name);
    let address = if to == own { Some(own_address) } else { named(&to).map(|peer| peer.address.as_str()) };
    let Some(address) = address else { return };
    tracing::debug!(node, from, to, "a capturer is to go to another hub");
    if from == own {
        session.capturers.release(&node, address);
    } else if let Some(peer) = named(&from) {
        Peer::release(peer, &node, address);
    }
}

fn step<'a>(
    hubs: impl Iterator<Item = &'a str>,
    capturers: &[v1::CapturerState],
    now_ns: u64,
) -> Option<Step> {
    let mut of: BTreeMap<&str, Vec<&str>> = hubs.map(|hub| (hub, Vec::new())).collect();
    // Whoever is on the way belongs to no hub: it is waited for, unless its node is gone.
    let comes = |one: &v1::CapturerState| {
        !one.connected && one.capturing && now_ns.saturating_sub(one.last_seen_ns) < ON_ITS_WAY_NS
    };
    if capturers.iter().any(comes) {
        return None;
    }
    for capturer in capturers.iter().filter(|capturer| capturer.connected) {
        of.entry(&capturer.hub).or_default().push(&capturer.node);
    }
    let (to, least) = of.iter().min_by_key(|(_, nodes)| nodes.len())?;
    let (from, most) = of.iter().max_by_key(|(_, nodes)| nodes.len())?;
    if most.len() < least.len() + 2 {
        return None;
    }
    Some(Step { node: (*most.first()?).to_owned(), from: (*from).to_owned(), to: (*to).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(hub: &str, node: &str) -> v1::CapturerState {
        v1::CapturerState {
            node: node.to_owned(),
            hub: hub.to_owned(),
            connected: true,
            capturing: true,
            ..Default::default()
        }
    }

    #[test]
    fn the_fullest_hub_gives_to_the_emptiest_until_they_are_even() {
        let mut capturers: Vec<_> = (0..7).map(|node| on("a", &format!("n{node}"))).collect();
        let mut steps = 0;
        while let Some(Step { node, from, to }) = step(["a", "b", "c"].into_iter(), &capturers, 0) {
            let moved = capturers.iter_mut().find(|capturer| capturer.node == node).unwrap();
            assert_eq!(moved.hub, from);
            moved.hub = to;
            steps += 1;
            assert!(steps < 10);
        }
        let count = |hub: &str| capturers.iter().filter(|capturer| capturer.hub == hub).count();
        assert_eq!(steps, 4);
        assert_eq!([count("a"), count("b"), count("c")].iter().max(), Some(&3));
        assert_eq!([count("a"), count("b"), count("c")].iter().min(), Some(&2));
    }

    #[test]
    fn nothing_moves_while_one_is_on_its_way() {
        let mut capturers = vec![on("a", "one"), on("a", "two"), on("a", "three")];
        capturers[2].connected = false;
        assert_eq!(step(["a", "b"].into_iter(), &capturers, ON_ITS_WAY_NS - 1), None);
        // One that is not heard of again does not come.
        assert!(step(["a", "b"].into_iter(), &capturers, ON_ITS_WAY_NS).is_some());
        // One that ended capturing is not waited for.
        capturers[2].capturing = false;
        assert!(step(["a", "b"].into_iter(), &capturers, 0).is_some());
        assert_eq!(step(["a"].into_iter(), &capturers, 0), None);
    }
}
