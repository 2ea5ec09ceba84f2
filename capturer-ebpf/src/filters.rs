//! Which connections are asked for: by ports, by addresses, and as part of a sample.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, LpmTrie, lpm_trie::Key},
};
use capturer_ebpf::{
    layout::Connection,
    settings::{NET_KEY_LEN, filter},
};

use crate::{kernel::limit, socket::words};

#[map]
static LOCAL_PORTS: HashMap<u16, u8> = HashMap::with_max_entries(4096, 0);
#[map]
static REMOTE_PORTS: HashMap<u16, u8> = HashMap::with_max_entries(4096, 0);
#[map]
static LOCAL_NETS: LpmTrie<[u8; NET_KEY_LEN], u8> = LpmTrie::with_max_entries(1024, 0);
#[map]
static REMOTE_NETS: LpmTrie<[u8; NET_KEY_LEN], u8> = LpmTrie::with_max_entries(1024, 0);

/// Whether the filters ask for a connection.
#[inline(always)]
pub(crate) fn wanted(connection: &Connection) -> bool {
    let filters = limit!(filters);
    if filters & filter::LOCAL_PORTS != 0 && LOCAL_PORTS.get_ptr(connection.local_port).is_none() {
        return false;
    }
    if filters & filter::REMOTE_PORTS != 0 && REMOTE_PORTS.get_ptr(connection.remote_port).is_none() {
        return false;
    }
    if filters & filter::LOCAL_NETS != 0
        && LOCAL_NETS.get(net_key(connection.family, &connection.local)).is_none()
    {
        return false;
    }
    if filters & filter::REMOTE_NETS != 0
        && REMOTE_NETS.get(net_key(connection.family, &connection.remote)).is_none()
    {
        return false;
    }
    sampled(connection)
}

/// Whether a connection is one of the sample. Its ends decide, so that both of them come to the same answer, on whatever
/// node they are.
#[inline(always)]
fn sampled(connection: &Connection) -> bool {
    let sample = limit!(sample);
    if sample <= 1 {
        return true;
    }
    let local = mixed(&connection.local, connection.local_port);
    let mut ends = local.wrapping_add(mixed(&connection.remote, connection.remote_port));
    ends ^= ends >> 29;
    ends = ends.wrapping_mul(MIX);
    ((ends >> 32) as u32).is_multiple_of(sample)
}

/// An odd number with as many ones as zeros, near the golden ratio of 64 bits: what is multiplied by it is spread evenly.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// An end as a number in which every bit depends on its port and address.
#[inline(always)]
fn mixed(address: &[u8; 16], port: u16) -> u64 {
    let [head, tail] = words(address);
    let mut end = (head ^ tail.rotate_left(32)).wrapping_add(u64::from(port) << 40).wrapping_mul(MIX);
    end ^= end >> 32;
    end.wrapping_mul(MIX)
}

#[inline(always)]
fn net_key(family: u8, address: &[u8; 16]) -> Key<[u8; NET_KEY_LEN]> {
    let mut data = [0; NET_KEY_LEN];
    data[0] = family;
    data[1..].copy_from_slice(address);
    Key::new(8 * NET_KEY_LEN as u32, data)
}
