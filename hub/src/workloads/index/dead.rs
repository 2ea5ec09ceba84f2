//! Pods that were deleted a moment ago: their last exchanges arrive after it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use tokio::time::Instant;

use super::{Key, MAX_TOMBSTONES, Pod, TOMBSTONE_PERIOD};

/// Deleted pods, found at once by name or address: whatever talks to the world outside asks for an address that no
/// live pod has.
#[derive(Debug, Default)]
pub(super) struct Dead {
    /// In the order in which they died.
    tombstones: VecDeque<(Instant, Key, Pod)>,
    /// How many were forgotten, which is the number of the first of those.
    forgotten: u64,
    /// Number of the newest of each name.
    by_name: HashMap<Key, u64>,
    /// Number of the newest of each address.
    by_ip: HashMap<IpAddr, u64>,
}

// === impl Dead ===

impl Dead {
    /// Adds one that dies now; the oldest go where there are too many, and those that died long ago.
    pub(super) fn add(&mut self, key: &Key, pod: Pod) {
        let number = self.forgotten.wrapping_add(self.tombstones.len() as u64);
        self.by_name.insert(key.clone(), number);
        for ip in addresses(&pod) {
            self.by_ip.insert(*ip, number);
        }
        self.tombstones.push_back((Instant::now(), key.clone(), pod));
        while self.tombstones.len() > MAX_TOMBSTONES
            || self.tombstones.front().is_some_and(|(died, _, _)| died.elapsed() > TOMBSTONE_PERIOD)
        {
            self.forget_oldest();
        }
    }

    /// The one of that name that died last.
    pub(super) fn named(&self, key: &Key) -> Option<&Pod> {
        self.numbered(*self.by_name.get(key)?).map(|(_, pod)| pod)
    }

    /// The one that had that address for its own when it died.
    pub(super) fn at(&self, ip: IpAddr) -> Option<&Key> {
        self.numbered(*self.by_ip.get(&ip)?).map(|(key, _)| key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert!(self.by_name.len() <= self.tombstones.len() && self.by_ip.len() <= self.tombstones.len());
        self.tombstones.len()
    }

    fn numbered(&self, number: u64) -> Option<(&Key, &Pod)> {
        let place = usize::try_from(number.wrapping_sub(self.forgotten)).ok()?;
        let (died, key, pod) = self.tombstones.get(place)?;
        (died.elapsed() <= TOMBSTONE_PERIOD).then_some((key, pod))
    }

    fn forget_oldest(&mut self) {
        let Some((_, key, pod)) = self.tombstones.pop_front() else { return };
        let number = self.forgotten;
        self.forgotten = self.forgotten.wrapping_add(1);
        // Another one of that name or address may have died since.
        if self.by_name.get(&key) == Some(&number) {
            self.by_name.remove(&key);
        }
        for ip in addresses(&pod) {
            if self.by_ip.get(ip) == Some(&number) {
                self.by_ip.remove(ip);
            }
        }
    }
}

/// Addresses that name a pod after its death: one that had ended had given them back.
fn addresses(pod: &Pod) -> &[IpAddr] {
    if pod.ended { &[] } else { pod.own_ips() }
}
