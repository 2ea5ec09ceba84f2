//! Packets: where those of followed connections are seen, when bytes come into a socket, and what is sent again.
//!
//! They run for every packet of the machine, most of which are nobody's here: what carries nothing leaves after its headers
//! are read, and what is not followed after one or two lookups.

use core::mem::MaybeUninit;

use capturer_ebpf::{
    layout::{Arrival, Connected, Kind, Packet, Retransmit, packet},
    settings::{ABSENT, total},
};

use crate::{
    alias, beginning, flow,
    header::{self, Segment},
    kernel::{self, Structure, offset, read},
    lane, losses,
    memory::{Flow, Tuple},
    nat, rings,
    socket::loopback_words,
};

/// `ETH_P_8021Q` and `ETH_P_8021AD`, as `sk_buff.protocol` holds them.
const VLAN: u16 = 0x8100_u16.to_be();
const VLAN_OF_PROVIDER: u16 = 0x88a8_u16.to_be();
const VLAN_BYTES: u64 = 4;

/// `net_dev_start_xmit`: an interface sends a packet. Its data begin with the link's header.
#[inline(always)]
pub(crate) fn transmitted<S: Structure>(skb: S, device: S) {
    let Some(head) = skb.field::<u64>(offset!(skb_head)) else { return };
    let Some(network) = skb.field::<u16>(offset!(skb_network_header)) else { return };
    crossed(skb, Some(device), head.wrapping_add(u64::from(network)), packet::TRANSMIT);
}

/// `netif_receive_skb`: an interface received a packet. Its data begin with the network's header.
#[inline(always)]
pub(crate) fn received<S: Structure>(skb: S) {
    let Some(data) = skb.field::<u64>(offset!(skb_data)) else { return };
    let Some(protocol) = skb.field::<u16>(offset!(skb_protocol)) else { return };
    let tagged = protocol == VLAN || protocol == VLAN_OF_PROVIDER;
    let at = if tagged { data.wrapping_add(VLAN_BYTES) } else { data };
    crossed(skb, None, at, 0);
}

/// Reports a packet if it belongs to a followed connection.
#[inline(always)]
fn crossed<S: Structure>(skb: S, device: Option<S>, at: u64, flags: u8) {
    let mut ends = MaybeUninit::<Tuple>::uninit();
    // Not by value, which the compiler would clear once more, byte by byte.
    // SAFETY: the stack is aligned to eight bytes, and a tuple is five words of which zeros are a value.
    let ends = unsafe {
        kernel::clear(ends.as_mut_ptr());
        ends.assume_init_mut()
    };
    let Some(segment) = header::segment(skb, at, ends) else { return };
    if !beginning::begun() {
        return;
    }
    let Some(device) = device.or_else(|| skb.pointed(offset!(skb_dev))) else { return };
    let netns = namespace(device);
    if loopback_words(ends.remote) {
        ends.netns = netns;
    }
    let sender = flow::order(ends);
    if segment.opens {
        // Both sets of ends are to be known when the first bytes come.
        if flags & packet::TRANSMIT != 0 && alias::lookup(ends).is_none() {
            nat::learn(skb.address());
        }
        return;
    }
    let found = flow::lookup(ends);
    let mut owners = found.as_ref().map_or(Owners::NONE, |flow| Owners::of(flow, sender));
    let whole = owners.sender != 0 && owners.receiver != 0;
    // Whoever is known by these ends has no others, unless the packet itself says so.
    let has_others = found.is_none_or(|flow| flow.translated != 0)
        || flags & packet::TRANSMIT != 0 && nat::is_translated(skb);
    if !whole && has_others {
        owners = owners.or(translated(skb, ends, sender, flags));
    }
    if owners.sender | owners.receiver != 0 {
        report(device, netns, flags, &segment, &owners);
    }
}

/// Whose a packet is.
#[derive(Clone, Copy)]
struct Owners {
    /// The connection of its sender, and its receiver's; 0 for none.
    sender: u64,
    receiver: u64,
    /// The namespaces of their sockets.
    sender_netns: u32,
    receiver_netns: u32,
}

impl Owners {
    const NONE: Owners = Owners { sender: 0, receiver: 0, sender_netns: 0, receiver_netns: 0 };

    /// Reads what a flow tells, in which the sender has the slot `sender`.
    #[inline(always)]
    fn of(flow: &Flow, sender: usize) -> Self {
        // Not indexed: numbers change places at no cost, and old verifiers need no bounds.
        let [first, second] = flow.ids;
        let [first_netns, second_netns] = flow.netns;
        let [first_claims, second_claims] = flow.claims;
        let first = if first_claims == 1 { first } else { 0 };
        let second = if second_claims == 1 { second } else { 0 };
        if sender == 0 {
            Self { sender: first, receiver: second, sender_netns: first_netns, receiver_netns: second_netns }
        } else {
            Self { sender: second, receiver: first, sender_netns: second_netns, receiver_netns: first_netns }
        }
    }

    /// Adds what another flow tells of the same packet.
    #[inline(always)]
    fn or(self, other: Owners) -> Self {
        let (sender, sender_netns) = if self.sender == 0 {
            (other.sender, other.sender_netns)
        } else {
            (self.sender, self.sender_netns)
        };
        let (receiver, receiver_netns) = if self.receiver == 0 {
            (other.receiver, other.receiver_netns)
        } else {
            (self.receiver, self.receiver_netns)
        };
        Self { sender, receiver, sender_netns, receiver_netns }
    }
}

/// Finds whose a packet is under the ends that it has on the other side of a translation.
#[inline(always)]
fn translated(skb: impl Structure, ends: &Tuple, sender: usize, flags: u8) -> Owners {
    let mut alias = alias::lookup(ends);
    if alias.is_none() && flags & packet::TRANSMIT != 0 && nat::learn(skb.address()) != 0 {
        alias = alias::lookup(ends);
    }
    let Some(alias) = alias else { return Owners::NONE };
    let swapped = alias.swapped as usize;
    flow::lookup(&alias.key).map_or(Owners::NONE, |flow| Owners::of(flow, sender ^ swapped))
}

#[inline(always)]
fn report(device: impl Structure, netns: u32, flags: u8, segment: &Segment, owners: &Owners) {
    if let Some(lane) = lane::next() {
        write(lane.room().cast(), device, netns, flags, segment, owners);
        lane.written();
        return;
    }
    let room = rings::reserve_spare(size_of::<Packet>() as u64);
    if room.is_null() {
        losses::lost(total::RING);
        return;
    }
    write(room.cast(), device, netns, flags, segment, owners);
    rings::submit(room);
    losses::count(total::PACKETS);
}

#[inline(always)]
fn write(
    record: *mut Packet,
    device: impl Structure,
    netns: u32,
    flags: u8,
    segment: &Segment,
    owners: &Owners,
) {
    let at = offset!(dev_name);
    // SAFETY: there is room for this type, aligned to eight bytes. It is written field by field, the name in words: a copy
    // from the stack costs more than all of it.
    unsafe {
        (*record).kind = Kind::Packet as u8;
        (*record).flags = flags | if segment.zero_window { packet::ZERO_WINDOW } else { 0 };
        (*record).reserved = 0;
        (*record).netns = netns;
        (*record).connections = [owners.sender, owners.receiver];
        (*record).at_ns = kernel::now();
        (*record).seq = segment.seq;
        (*record).bytes = segment.bytes;
        (*record).sockets = [owners.sender_netns, owners.receiver_netns];
        let name = (&raw mut (*record).name).cast::<u64>();
        name.write(read(device.address(), at).unwrap_or(0));
        name.add(1).write(read(device.address(), at + 8).unwrap_or(0));
    }
}

/// Inode of an interface's network namespace, 0 when the kernel has none.
#[inline(always)]
fn namespace(device: impl Structure) -> u32 {
    if offset!(dev_net) == ABSENT {
        return 0;
    }
    device.pointed(offset!(dev_net)).and_then(|net| net.field::<u32>(offset!(net_inum))).unwrap_or(0)
}

// === in the socket ===

/// `sk_data_ready`: bytes are there to be read, all before `rcv_nxt`.
#[inline(always)]
pub(crate) fn readable(sk: u64) {
    let Some(connection) = flow::of_socket(sk) else { return };
    let Some(seq) = read::<u32>(sk, offset!(tcp_rcv_nxt)) else { return };
    arrived(Arrival {
        kind: Kind::Arrival as u8,
        alone: 0,
        reserved: 0,
        seq,
        connection,
        at_ns: kernel::now(),
        bytes: 0,
        unused: 0,
    });
}

/// `tcp_probe`: a packet comes to its socket, before anything is done with it.
#[inline(always)]
pub(crate) fn probed(sk: u64, skb: u64) {
    let Some(connection) = flow::of_socket(sk) else { return };
    let Some([seq, end]) = numbers(skb) else { return };
    if seq == end {
        return;
    }
    arrived(Arrival {
        kind: Kind::Arrival as u8,
        alone: 1,
        reserved: 0,
        seq: end,
        connection,
        at_ns: kernel::now(),
        bytes: end.wrapping_sub(seq),
        unused: 0,
    });
}

#[inline(always)]
fn arrived(arrival: Arrival) {
    if !beginning::begun() {
        return;
    }
    if let Some(lane) = lane::next() {
        // SAFETY: a slot has room for a packet, which is larger.
        unsafe { lane.room().cast::<Arrival>().write(arrival) };
        lane.written();
        return;
    }
    let room = rings::reserve_spare(size_of::<Arrival>() as u64);
    if room.is_null() {
        losses::lost(total::RING);
        return;
    }
    // SAFETY: the room was reserved with this type's size; records are aligned to eight bytes.
    unsafe { room.cast::<Arrival>().write(arrival) };
    rings::submit(room);
    losses::count(total::PACKETS);
}

/// `tcp_retransmit_skb`: bytes are sent again.
#[inline(always)]
pub(crate) fn sent_again(sk: u64, skb: u64) {
    let Some(connection) = flow::of_socket(sk) else { return };
    let Some([seq, end]) = numbers(skb) else { return };
    if !beginning::begun() {
        return;
    }
    rings::send(&Retransmit {
        kind: Kind::Retransmit as u8,
        reserved: [0; 3],
        seq,
        connection,
        at_ns: kernel::now(),
        bytes: end.wrapping_sub(seq),
        total: read(sk, offset!(tcp_total_retrans)).unwrap_or(0),
    });
}

/// First sequence number of a packet of TCP's own queues, and that behind its last.
#[inline(always)]
fn numbers(skb: u64) -> Option<[u32; 2]> {
    Some([read(skb, offset!(skb_seq))?, read(skb, offset!(skb_end_seq))?])
}

/// Tells how long a connection took to open that this end asked for.
#[inline(always)]
pub(crate) fn connected(connection: u64, begun_ns: u64, at_ns: u64) {
    rings::send(&Connected { kind: Kind::Connected as u8, reserved: [0; 7], connection, begun_ns, at_ns });
}
