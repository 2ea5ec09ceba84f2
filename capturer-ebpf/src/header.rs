//! The headers of a packet: from its IP header to the place of its payload in the stream.
//!
//! Packets of tunnels (VXLAN, Geneve, IP in IP) are looked into once: the connection is what they carry.

use crate::{
    kernel::{Structure, offset, read},
    memory::Tuple,
};

const IPPROTO_HOPOPTS: u32 = 0;
const IPPROTO_IPIP: u32 = 4;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_IPV6: u32 = 41;

const IPV4_BYTES: u64 = 20;
const IPV6_BYTES: u64 = 40;
/// Bytes of a header of hop-by-hop options that announces a length over 64 KiB.
const JUMBO_BYTES: u64 = 8;
const UDP_BYTES: u64 = 8;
const ETHERNET_BYTES: u64 = 14;
/// Bytes of a VXLAN header, and of a Geneve header without options.
const TUNNEL_BYTES: u64 = 8;

const VXLAN_PORT: u16 = 4789;
/// Linux's own default from before the port was assigned.
const OLD_VXLAN_PORT: u16 = 8472;
const GENEVE_PORT: u16 = 6081;

/// `th->syn`, `th->rst` and `th->fin`.
const OPENS_OR_CLOSES: u32 = 0x07;
const OPENS: u32 = 0x02;

/// What a packet carries.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) seq: u32,
    pub(crate) bytes: u32,
    /// Its sender has no room.
    pub(crate) zero_window: bool,
    /// It opens a connection.
    pub(crate) opens: bool,
}

/// What is behind an IP header.
enum Behind {
    Segment(Segment),
    /// Another IP header.
    Packet(u64),
}

/// An IPv6 header, or an IPv4 header with what follows, and the first 20 bytes behind it, in words of network order.
type Start = [u32; 15];

/// The first words of a TCP header: ports, sequence, acknowledgement, and offset with flags and window.
type Tcp = [u32; 4];

/// Finds what the packet with an IP header at `at` carries, and its ends with the sender as the local one; `None` when it
/// carries nothing of interest.
#[inline(always)]
pub(crate) fn segment(skb: impl Structure, at: u64, ends: &mut Tuple) -> Option<Segment> {
    match behind(skb, at, ends)? {
        Behind::Segment(segment) => Some(segment),
        Behind::Packet(inner) => match behind(skb, inner, ends)? {
            Behind::Segment(segment) => Some(segment),
            Behind::Packet(_) => None,
        },
    }
}

#[inline(always)]
fn behind(skb: impl Structure, at: u64, ends: &mut Tuple) -> Option<Behind> {
    let start = read::<Start>(at, 0)?;
    let (protocol, header, total) = match start[0] as u8 >> 4 {
        4 => {
            let [_, _, _, source, destination, ..] = start;
            ends.local = [u64::from(source), 0];
            ends.remote = [u64::from(destination), 0];
            let fragment = high(start[1]) & 0x1fff;
            if fragment != 0 {
                return None;
            }
            ((start[2] >> 8) & 0xff, u64::from(start[0] & 0xf) * 4, u64::from(high(start[0])))
        }
        6 => {
            ends.local = address([start[2], start[3], start[4], start[5]]);
            ends.remote = address([start[6], start[7], start[8], start[9]]);
            let payload = u64::from(low(start[1]));
            let total = if payload == 0 { 0 } else { payload + IPV6_BYTES };
            let next = (start[1] >> 16) & 0xff;
            if next == IPPROTO_HOPOPTS {
                (read::<u8>(at, IPV6_BYTES as u32).map_or(0, u32::from), IPV6_BYTES + JUMBO_BYTES, total)
            } else {
                (next, IPV6_BYTES, total)
            }
        }
        _ => return None,
    };
    if protocol == IPPROTO_TCP {
        let tcp = if header == IPV4_BYTES {
            [start[5], start[6], start[7], start[8]]
        } else if header == IPV6_BYTES {
            [start[10], start[11], start[12], start[13]]
        } else {
            read::<Tcp>(at.wrapping_add(header), 0)?
        };
        let total = if total == 0 { length(skb, at)? } else { total };
        return carried(tcp, total.saturating_sub(header), ends).map(Behind::Segment);
    }
    if protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 {
        return Some(Behind::Packet(at.wrapping_add(header)));
    }
    if protocol == IPPROTO_UDP {
        return tunnelled(at.wrapping_add(header)).map(Behind::Packet);
    }
    None
}

/// What a TCP segment carries, `bytes` long with its header.
#[inline(always)]
fn carried(tcp: Tcp, bytes: u64, ends: &mut Tuple) -> Option<Segment> {
    let [ports, seq, _, rest] = tcp;
    let header = u64::from((rest >> 4) & 0xf) * 4;
    let bytes = bytes.saturating_sub(header);
    let flags = (rest >> 8) & 0xff;
    let zero_window = rest >> 16 == 0 && flags & OPENS_OR_CLOSES == 0;
    let opens = flags & OPENS != 0;
    if bytes == 0 && !zero_window && !opens {
        return None;
    }
    ends.local_port = low(ports);
    ends.remote_port = high(ports);
    Some(Segment { seq: u32::from_be(seq), bytes: bytes as u32, zero_window, opens })
}

/// Where the inner IP header of a tunnel's packet is, whose UDP header is at `at`.
#[inline(always)]
fn tunnelled(at: u64) -> Option<u64> {
    let [ports, _, tunnel] = read::<[u32; 3]>(at, 0)?;
    let inner = at.wrapping_add(UDP_BYTES + TUNNEL_BYTES + ETHERNET_BYTES);
    match high(ports) {
        VXLAN_PORT | OLD_VXLAN_PORT => Some(inner),
        GENEVE_PORT => Some(inner.wrapping_add(u64::from(tunnel & 0x3f) * 4)),
        _ => None,
    }
}

/// Bytes of a packet from `at` on, where its headers do not say: it is merged from more than they can count.
#[inline(always)]
fn length(skb: impl Structure, at: u64) -> Option<u64> {
    let data = skb.field::<u64>(offset!(skb_data))?;
    let len = skb.field::<u32>(offset!(skb_len))?;
    Some(u64::from(len).saturating_sub(at.wrapping_sub(data)))
}

/// The first two bytes of a word of network order.
#[inline(always)]
fn low(word: u32) -> u16 {
    u16::from_be(word as u16)
}

/// The last two bytes of a word of network order.
#[inline(always)]
fn high(word: u32) -> u16 {
    u16::from_be((word >> 16) as u16)
}

/// An address in two words; the target is little-endian, so the bytes keep their order.
#[inline(always)]
pub(crate) fn address(words: [u32; 4]) -> [u64; 2] {
    let [first, second, third, fourth] = words.map(u64::from);
    [first | second << 32, third | fourth << 32]
}
