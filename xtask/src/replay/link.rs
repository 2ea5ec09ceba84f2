//! What lies below the network layer of a captured packet, by the capture's link type.

use etherparse::{EtherType, LaxSlicedPacket};
use pcap_parser::Linktype;

/// Link type of BSD's loopback with the address family in the capturing machine's byte order is 0; some systems write
/// raw IP as 12 or 14.
const RAW_BSD: [i32; 2] = [12, 14];

/// Bytes of a Linux "cooked" header, whose last two are the Ethernet type.
const COOKED: usize = 16;

/// Bytes of the second version, which begins with the Ethernet type.
const COOKED_2: usize = 20;

/// Bytes of a loopback header: an address family.
const FAMILY: usize = 4;

/// Cuts a packet into its layers, as far as they are known and captured.
pub(super) fn slice(link: Linktype, bytes: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(bytes).ok(),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => LaxSlicedPacket::from_ip(bytes).ok(),
        Linktype::NULL | Linktype::LOOP => LaxSlicedPacket::from_ip(bytes.get(FAMILY..)?).ok(),
        Linktype::LINUX_SLL => typed(bytes.get(COOKED - 2..COOKED)?, bytes.get(COOKED..)?),
        Linktype::LINUX_SLL2 => typed(bytes.get(..2)?, bytes.get(COOKED_2..)?),
        Linktype(other) if RAW_BSD.contains(&other) => LaxSlicedPacket::from_ip(bytes).ok(),
        Linktype(_) => None,
    }
}

fn typed<'a>(kind: &[u8], payload: &'a [u8]) -> Option<LaxSlicedPacket<'a>> {
    let kind = EtherType(u16::from_be_bytes(kind.try_into().ok()?));
    Some(LaxSlicedPacket::from_ether_type(kind, payload))
}
