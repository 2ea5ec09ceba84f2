//! Reads captures: TCP segments and UDP datagrams in the order in which they were captured.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use etherparse::{IpNumber, TcpSlice, UdpSlice};
use pcap_parser::pcapng::Block;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};

use super::fragments::Fragments;
use super::link;

/// Longest block of a capture; longer ones than tools write.
const LONGEST_BLOCK: usize = 4 << 20;

/// Resolution of a packet's time where an interface names none (pcapng): microseconds.
const TICKS_A_SECOND: u64 = 1_000_000;

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Capture {
    pub(super) packets: Vec<Packet>,
    /// Packets that hold nothing for us: another link type or transport, no whole header, a fragment of a packet that
    /// is not whole.
    pub(super) others: u64,
    /// Why reading ended before the file's end.
    pub(super) cut: Option<String>,
}

/// One TCP segment or UDP datagram.
#[derive(Debug)]
pub(super) struct Packet {
    /// Its number in the file, from 1, as other tools count.
    pub(super) number: u64,
    pub(super) at_ns: u64,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) content: Content,
}

/// What a packet carries.
#[derive(Debug)]
pub(super) enum Content {
    Tcp(Segment),
    /// Bytes captured, and how many there were.
    Udp(Vec<u8>, u64),
}

/// One TCP segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) sequence: u32,
    pub(super) acknowledged: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) reset: bool,
    pub(super) bytes: Vec<u8>,
}

/// How an interface of a pcapng section writes.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Linktype,
    offset: i64,
    resolution: u64,
}

/// Reads packets that come one by one, from no file.
#[derive(Debug, Default)]
pub(super) struct Reader(Reading);

/// Reading in progress.
#[derive(Debug, Default)]
struct Reading {
    capture: Capture,
    fragments: Fragments,
    interfaces: Vec<Interface>,
    /// Of the older format: the link type, and nanoseconds per unit of the time's fraction.
    legacy: Option<(Linktype, u64)>,
    number: u64,
    now_ns: u64,
}

/// Reads a file in either format; what comes before a broken place is returned.
pub(super) fn read(path: &Path) -> Result<Capture> {
    let file = File::open(path).with_context(|| format!("opening `{}`", path.display()))?;
    let mut reader = create_reader(LONGEST_BLOCK, file)
        .map_err(|error| anyhow!("`{}` is no capture: {error:?}", path.display()))?;
    let mut reading = Reading::default();
    loop {
        let consumed = match reader.next() {
            Ok((consumed, block)) => {
                reading.block(&block);
                consumed
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => {
                let before = reader.data().len();
                let refilled = reader.refill();
                if refilled.is_ok() && reader.data().len() > before {
                    continue;
                }
                let rest = !reader.data().is_empty();
                reading.capture.cut = rest.then(|| "the file ends within a packet".to_owned());
                break;
            }
            Err(error) => {
                // The error borrows the reader's bytes: only its name is kept.
                let text = format!("{error:?}");
                let name = text.split(['(', ' ']).next().unwrap_or_default();
                reading.capture.cut = Some(format!("packet {} cannot be read ({name})", reading.number + 1));
                break;
            }
        };
        reader.consume(consumed);
    }
    Ok(reading.capture)
}

// === impl Reader ===

impl Reader {
    /// Takes the next packet of an Ethernet interface, if it is from or to one of these ports; says whether it is.
    pub(super) fn ethernet(&mut self, bytes: &[u8], ports: &[u16]) -> bool {
        let before = self.0.capture.packets.len();
        self.0.packet(Linktype::ETHERNET, 0, bytes);
        let packets = &mut self.0.capture.packets;
        let is_wanted = |packet: &Packet| {
            [packet.source, packet.destination].iter().any(|end| ports.contains(&end.port()))
        };
        let wanted = packets.len() > before && packets.last().is_some_and(is_wanted);
        if !wanted {
            packets.truncate(before);
        }
        wanted
    }

    /// Returns all packets.
    pub(super) fn finish(self) -> Capture {
        self.0.capture
    }
}

// === impl Reading ===

impl Reading {
    fn block(&mut self, block: &PcapBlockOwned<'_>) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let unit = if header.is_nanosecond_precision() { 1 } else { 1000 };
                self.legacy = Some((header.network, unit));
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some((link, unit)) = self.legacy else { return };
                let at_ns = u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_usec) * unit;
                self.packet(link, at_ns, packet.data);
            }
            PcapBlockOwned::NG(block) => self.section(block),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "blocks that carry no packet say nothing here")]
    fn section(&mut self, block: &Block<'_>) {
        match block {
            Block::SectionHeader(_) => self.interfaces.clear(),
            Block::InterfaceDescription(interface) => self.interfaces.push(Interface {
                link: interface.linktype,
                offset: interface.ts_offset(),
                resolution: interface.ts_resolution().unwrap_or(TICKS_A_SECOND),
            }),
            Block::EnhancedPacket(packet) => {
                let index = usize::try_from(packet.if_id).unwrap_or(usize::MAX);
                let interface = self.interfaces.get(index).copied();
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let captured = usize::try_from(packet.caplen).unwrap_or(usize::MAX);
                let data = packet.data.get(..captured).unwrap_or(packet.data);
                match interface {
                    Some(interface) => self.packet(interface.link, interface.time_ns(ticks), data),
                    None => self.packet(Linktype(-1), self.now_ns, data),
                }
            }
            Block::SimplePacket(packet) => {
                let link = self.interfaces.first().map_or(Linktype(-1), |interface| interface.link);
                let length = usize::try_from(packet.origlen).unwrap_or(usize::MAX);
                let data = packet.data.get(..length).unwrap_or(packet.data);
                self.packet(link, self.now_ns, data);
            }
            _ => {}
        }
    }

    fn packet(&mut self, link: Linktype, at_ns: u64, bytes: &[u8]) {
        self.number += 1;
        // Times of several interfaces may run backwards; what is decoded counts on one clock.
        self.now_ns = self.now_ns.max(at_ns);
        match self.transport(link, bytes) {
            Some(packet) => self.capture.packets.push(packet),
            None => self.capture.others += 1,
        }
    }

    fn transport(&mut self, link: Linktype, bytes: &[u8]) -> Option<Packet> {
        let sliced = link::slice(link, bytes)?;
        let datagram = self.fragments.take(sliced.net.as_ref()?)?;
        let (ports, content) = match datagram.transport {
            IpNumber::TCP => tcp(&datagram.payload)?,
            IpNumber::UDP => udp(&datagram.payload)?,
            _ => return None,
        };
        Some(Packet {
            number: self.number,
            at_ns: self.now_ns,
            source: SocketAddr::new(datagram.source, ports.0),
            destination: SocketAddr::new(datagram.destination, ports.1),
            content,
        })
    }
}

// === impl Interface ===

impl Interface {
    fn time_ns(self, ticks: u64) -> u64 {
        let resolution = u128::from(self.resolution.max(1));
        let whole =
            i128::from(u64::try_from(u128::from(ticks) * 1_000_000_000 / resolution).unwrap_or(u64::MAX));
        let shifted = whole + i128::from(self.offset) * 1_000_000_000;
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

// === free functions ===

fn tcp(payload: &[u8]) -> Option<((u16, u16), Content)> {
    let slice = TcpSlice::from_slice(payload).ok()?;
    let segment = Segment {
        sequence: slice.sequence_number(),
        acknowledged: slice.ack().then(|| slice.acknowledgment_number()),
        syn: slice.syn(),
        fin: slice.fin(),
        reset: slice.rst(),
        bytes: slice.payload().to_vec(),
    };
    Some(((slice.source_port(), slice.destination_port()), Content::Tcp(segment)))
}

fn udp(payload: &[u8]) -> Option<((u16, u16), Content)> {
    let slice = UdpSlice::from_slice_lax(payload).ok()?;
    let captured = slice.payload().to_vec();
    let said = u64::from(slice.length()).saturating_sub(8);
    let length = said.max(u64::try_from(captured.len()).unwrap_or(u64::MAX));
    Some(((slice.source_port(), slice.destination_port()), Content::Udp(captured, length)))
}
