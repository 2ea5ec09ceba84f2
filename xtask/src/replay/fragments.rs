//! IP fragments put together.

use std::collections::HashMap;
use std::net::IpAddr;

use etherparse::IpNumber;
use etherparse::defrag::IpDefragBuf;
use etherparse::{IpFragOffset, LaxNetSlice};

/// What the fragments of one packet share: source, destination, transport, identification.
type Whole = (IpAddr, IpAddr, u8, u32);

/// Packets of which some fragments were seen.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    open: HashMap<Whole, IpDefragBuf>,
}

/// The network layer of one packet, or of several fragments.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) transport: IpNumber,
    pub(super) payload: Vec<u8>,
}

/// Where a fragment belongs.
struct Place {
    identification: u32,
    offset: IpFragOffset,
    more: bool,
}

// === impl Fragments ===

impl Fragments {
    /// Takes a packet's network layer, and returns it once it is whole.
    pub(super) fn take(&mut self, net: &LaxNetSlice<'_>) -> Option<Datagram> {
        let payload = net.ip_payload_ref()?;
        let (source, destination) = addresses(net)?;
        let transport = payload.ip_number;
        let whole = |payload| Datagram { source, destination, transport, payload };
        if !payload.fragmented {
            return Some(whole(payload.payload.to_vec()));
        }
        let place = place(net)?;
        let key = (source, destination, transport.0, place.identification);
        let fresh = || IpDefragBuf::new(transport, Vec::new(), Vec::new());
        let open = self.open.entry(key).or_insert_with(fresh);
        if open.add(place.offset, place.more, payload.payload).is_err() {
            // Fragments that contradict each other: the packet is lost.
            self.open.remove(&key);
            return None;
        }
        if !open.is_complete() {
            return None;
        }
        let (payload, _) = self.open.remove(&key)?.take_bufs();
        Some(whole(payload))
    }
}

// === free functions ===

fn addresses(net: &LaxNetSlice<'_>) -> Option<(IpAddr, IpAddr)> {
    match net {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        LaxNetSlice::Arp(_) => None,
    }
}

fn place(net: &LaxNetSlice<'_>) -> Option<Place> {
    match net {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some(Place {
                identification: header.identification().into(),
                offset: header.fragments_offset(),
                more: header.more_fragments(),
            })
        }
        LaxNetSlice::Ipv6(ip) => ip.extensions().clone().into_iter().find_map(|extension| {
            let etherparse::Ipv6ExtensionSlice::Fragment(fragment) = extension else { return None };
            let header = fragment.to_header();
            Some(Place {
                identification: header.identification,
                offset: header.fragment_offset,
                more: header.more_fragments,
            })
        }),
        LaxNetSlice::Arp(_) => None,
    }
}
