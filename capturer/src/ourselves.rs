//! How a capture never watches the sessions of this program, its own among them.
//!
//! A capture that saw what it sends would send that too, and what it sends of it again. Nor is anybody else's session
//! traffic that a user asked for. No single test knows it all, so there are five; in the order in which a call meets
//! them:
//!
//! 1. **Processes**, in the kernel (the map `EXCLUDED`): the capturer itself, before anything is attached
//!    ([`Prepared::attach`]), and on a machine of one's own the processes of every session that [`sessions`] finds
//!    ([`Kernel::exclude`]).
//! 2. **Control groups**, in the kernel (the map `CGROUPS`): in a cluster the hub says which pods of this node are a
//!    session's, and the [`selection`] gives them [`Standing::Ours`]. Asked together with 1.
//! 3. **Sockets**, in the kernel (the maps `OPENED`, `LISTENERS` and `PEERS`): a process or group of 1 or 2 that opens,
//!    accepts on or uses a socket marks it and its peer on this machine for good. So the other half of its
//!    conversations stays out too, whoever it belongs to.
//! 4. **Callers of what is on its way**: rings and the reorder buffer hold calls from before the kernel was told of 1 or
//!    2. [`Owners`] refuses them and the tracker drops their connections, by [`Ourselves::owns`] and by the standing of
//!    their group.
//! 5. **Addresses**: a session's pod on another node is known by nothing but its address, for instance a hub that asks
//!    a store in a watched pod. So of a finished exchange the remote end is compared ([`Ourselves::is_peer_of`]).
//!
//! What 1 to 3 leave out is no event and is counted nowhere. What 4 and 5 leave out counts as filtered.
//!
//! [`Prepared::attach`]: crate::kernel::Prepared::attach
//! [`Kernel::exclude`]: crate::kernel::Kernel::exclude
//! [`selection`]: crate::selection
//! [`Standing::Ours`]: crate::selection::Standing::Ours
//! [`Owners`]: crate::owners::Owners

pub mod sessions;

use std::collections::HashSet;
use std::net::IpAddr;

use proto::filter::{address, address_of};
use proto::v1;

/// What is known of sessions outside the kernel.
#[derive(Debug, Default)]
pub struct Ourselves {
    processes: HashSet<u32>,
    addresses: HashSet<IpAddr>,
}

// === impl Ourselves ===

impl Ourselves {
    /// Notes a session's process.
    pub fn exclude(&mut self, pid: u32) {
        self.processes.insert(pid);
    }

    /// Forgets a process: it ended, or is no session's any more.
    pub fn include(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }

    /// Takes where all sessions' pods are.
    pub fn tell(&mut self, sessions: &v1::SessionAddresses) {
        self.addresses = sessions.addresses.iter().filter_map(|address| address_of(address)).collect();
    }

    /// Returns whether a process is a session's.
    #[must_use]
    pub fn owns(&self, pid: u32) -> bool {
        self.processes.contains(&pid)
    }

    /// Returns whether the remote end of an exchange is a session's.
    #[must_use]
    pub fn is_peer_of(&self, exchange: &v1::Exchange) -> bool {
        !self.addresses.is_empty()
            && exchange
                .remote
                .as_ref()
                .and_then(address)
                .is_some_and(|remote| self.addresses.contains(&remote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_pods_are_known_by_their_address() {
        let mut ourselves = Ourselves::default();
        let with = |address: &[u8]| v1::Exchange {
            remote: Some(v1::Endpoint { address: address.to_vec(), port: 9, ..Default::default() }),
            ..Default::default()
        };
        let (hub, mapped) = ([10, 0, 0, 7], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 7]);
        assert!(!ourselves.is_peer_of(&with(&hub)));
        ourselves.tell(&v1::SessionAddresses { addresses: vec![hub.to_vec(), vec![1]] });
        assert!(ourselves.is_peer_of(&with(&hub)) && ourselves.is_peer_of(&with(&mapped)));
        assert!(
            !ourselves.is_peer_of(&with(&[10, 0, 0, 8])) && !ourselves.is_peer_of(&v1::Exchange::default())
        );
        ourselves.tell(&v1::SessionAddresses::default());
        assert!(!ourselves.is_peer_of(&with(&hub)));
    }

    #[test]
    fn a_process_is_a_sessions_until_it_ends() {
        let mut ourselves = Ourselves::default();
        ourselves.exclude(7);
        assert!(ourselves.owns(7) && !ourselves.owns(8));
        ourselves.include(7);
        assert!(!ourselves.owns(7), "its number names another process now");
    }
}
