//! For whose other side it is worth waiting.
//!
//! Nothing says for sure that the other side of an exchange will be seen in time: a filter may leave it out, nobody may
//! capture where it is, or a long response may still be on its way. Who waited for some of them in vain waits for no
//! further one, until a side comes that would have been worth it: sides that are gone are found, too.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::ends::SocketAt;
use super::prints::Print;

/// Exchanges with a peer that are waited for in vain, one after another, before none is.
pub(super) const WAITS_IN_VAIN: u32 = 3;

/// Peers of which it is known that it is in vain; beyond them all are tried anew.
pub(super) const PEERS: usize = 4096;

/// Addresses of processes that were seen; beyond them all are learnt anew.
pub(super) const ADDRESSES: usize = 4096;

/// Who is at the other end: a server's place, or a client's address, whose ports change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Awaited {
    /// A server.
    Server(SocketAt),
    /// A client.
    Client(IpAddr),
}

/// What is known of peers.
#[derive(Debug, Default)]
pub(super) struct Hopes {
    /// How often others waited for them in vain, one after another.
    vain: HashMap<Awaited, u32>,
    /// Own addresses of processes that are observed.
    addresses: HashSet<IpAddr>,
}

// === impl Awaited ===

impl Awaited {
    /// The peer of a side.
    pub(super) fn of(print: &Print) -> Self {
        if print.is_client { Self::Server(print.ends.remote) } else { Self::Client(print.ends.remote.0) }
    }
}

// === impl Hopes ===

impl Hopes {
    /// Notes where an observed process is.
    pub(super) fn see(&mut self, address: IpAddr) {
        if self.addresses.len() >= ADDRESSES && !self.addresses.contains(&address) {
            self.addresses.clear();
        }
        self.addresses.insert(address);
    }

    /// Whether processes are observed that have this address.
    pub(super) fn has_seen(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Whether an exchange with a peer is to wait for its other side.
    pub(super) fn may_come(&self, peer: Awaited) -> bool {
        self.vain.get(&peer).is_none_or(|times| *times < WAITS_IN_VAIN)
    }

    /// Notes that the other side of an exchange with a peer came while that waited, or would have.
    pub(super) fn came(&mut self, peer: Awaited) {
        self.vain.remove(&peer);
    }

    /// Notes that an exchange with a peer waited in vain.
    pub(super) fn did_not_come(&mut self, peer: Awaited) {
        if self.vain.len() >= PEERS && !self.vain.contains_key(&peer) {
            self.vain.clear();
        }
        let times = self.vain.entry(peer).or_default();
        *times = times.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(port: u16) -> Awaited {
        Awaited::Server((IpAddr::from([10, 0, 0, 1]), port))
    }

    #[test]
    fn who_never_comes_is_waited_for_a_few_times_and_who_comes_is_waited_for_again() {
        let mut hopes = Hopes::default();
        for _ in 0..WAITS_IN_VAIN {
            assert!(hopes.may_come(server(80)));
            hopes.did_not_come(server(80));
        }
        assert!(!hopes.may_come(server(80)));
        assert!(hopes.may_come(server(81)), "that is another one");
        assert!(hopes.may_come(Awaited::Client(IpAddr::from([10, 0, 0, 1]))));
        hopes.came(server(80));
        assert!(hopes.may_come(server(80)));
    }

    #[test]
    fn one_that_comes_now_and_then_is_waited_for() {
        let mut hopes = Hopes::default();
        for _ in 0..10 {
            for _ in 1..WAITS_IN_VAIN {
                hopes.did_not_come(server(80));
                assert!(hopes.may_come(server(80)));
            }
            hopes.came(server(80));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut hopes = Hopes::default();
        for port in 0..=u16::MAX {
            hopes.did_not_come(server(port));
            let [high, low] = port.to_be_bytes();
            hopes.see(IpAddr::from([10, 1, high, low]));
            assert!(hopes.vain.len() <= PEERS && hopes.addresses.len() <= ADDRESSES);
        }
        assert!(hopes.has_seen(IpAddr::from([10, 1, 255, 255])));
    }
}
