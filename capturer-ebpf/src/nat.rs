//! Translated addresses: the two sets of ends that packets of one connection have before and behind a translation (NAT).
//!
//! A packet carries the kernel's own entry of its translation (`nf_conn`) when it is sent on from the namespace that
//! translates, and no longer when it is received. So both sets are learnt there, from the first packet on.

use capturer_ebpf::settings::ABSENT;

use crate::{
    alias, flow, header,
    kernel::{Structure, offset, read},
    memory::{Alias, Tuple},
};

/// `IPS_SRC_NAT` and `IPS_DST_NAT` of `nf_conn.status`.
const TRANSLATED: u64 = 1 << 4 | 1 << 5;

/// The bits of `sk_buff._nfct` that are no part of the pointer.
const POINTER_BITS: u64 = !7;

/// `AF_INET`, as `nf_conntrack_tuple.src.l3num`.
const AF_INET: u16 = 2;

/// `nf_conntrack_tuple`: its layout is fixed, since the kernel hashes it as bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ends {
    source: [u32; 4],
    source_port: u16,
    family: u16,
    destination: [u32; 4],
    destination_port: u16,
    protocol: u8,
    direction: u8,
}

/// Whether a packet that is being sent was translated.
#[inline(always)]
pub(crate) fn is_translated(skb: impl Structure) -> bool {
    if offset!(skb_nfct) == ABSENT || offset!(ct_status) == ABSENT {
        return false;
    }
    let translation = skb.field::<u64>(offset!(skb_nfct)).unwrap_or(0) & POINTER_BITS;
    translation != 0 && read::<u64>(translation, offset!(ct_status)).unwrap_or(0) & TRANSLATED != 0
}

/// Learns the two sets of ends of a packet that is being sent, if it was translated; 1 when it was.
#[inline(never)]
pub(crate) fn learn(skb: u64) -> u64 {
    if !is_translated(skb) || offset!(ct_tuples) == ABSENT {
        return 0;
    }
    let translation = read::<u64>(skb, offset!(skb_nfct)).unwrap_or(0) & POINTER_BITS;
    let Some(original) = read::<Ends>(translation, offset!(ct_tuples)) else { return 0 };
    let Some(reply) = read::<Ends>(translation, offset!(ct_tuples) + offset!(ct_tuple_size)) else {
        return 0;
    };
    let mut before = Alias { key: key(&original), swapped: 0 };
    // As the first packet looks behind the translation: the answer's source is its destination.
    let mut behind = Alias { key: reversed(key(&reply)), swapped: 0 };
    let slots = (flow::order(&mut before.key), flow::order(&mut behind.key));
    let swapped = u32::from(slots.0 != slots.1);
    before.swapped = swapped;
    behind.swapped = swapped;
    alias::learn(&before, &behind);
    mark(&before.key);
    mark(&behind.key);
    1
}

/// Lets packets of a flow that is known be looked for under the other ends too.
#[inline(always)]
fn mark(key: &Tuple) {
    if let Some(flow) = flow::lookup(key) {
        flow.translated = 1;
    }
}

#[inline(always)]
fn key(ends: &Ends) -> Tuple {
    Tuple {
        netns: 0,
        local_port: u16::from_be(ends.source_port),
        remote_port: u16::from_be(ends.destination_port),
        local: address(ends.source, ends.family),
        remote: address(ends.destination, ends.family),
    }
}

/// An address, of which the kernel leaves what is behind an IPv4 one as it was.
#[inline(always)]
fn address(words: [u32; 4], family: u16) -> [u64; 2] {
    if family == AF_INET { [u64::from(words[0]), 0] } else { header::address(words) }
}

#[inline(always)]
fn reversed(key: Tuple) -> Tuple {
    Tuple {
        netns: key.netns,
        local_port: key.remote_port,
        remote_port: key.local_port,
        local: key.remote,
        remote: key.local,
    }
}
