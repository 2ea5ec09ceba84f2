//! Loading and attaching the programs. Raw tracepoints need neither tracefs nor bpffs, and nothing is pinned.

#[cfg(test)]
mod reading;
#[cfg(test)]
mod stacks;
#[cfg(test)]
mod verifying;

use std::path::Path;

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, LpmTrie, Map, MapData, RingBuf, lpm_trie::Key},
};
use capturer_ebpf::{
    layout::COMM_LEN,
    settings::{
        CLASSES, CPUS_PER_RING, Limits, NET_KEY_LEN, Offsets, RINGS, filter, lane_slots, record_bytes,
    },
};

use super::{
    BTF_PATH, KernelFilter, Net, Source, direct, environment,
    error::{KernelError, map_error},
    hooks::{self, Hook},
    records,
};

/// The programs, compiled by the build script.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs"));

const RING_NAMES: [&str; RINGS as usize] = ["RING_0", "RING_1", "RING_2", "RING_3"];

/// Maps that have an entry for each socket of a stream.
const STREAM_MAPS: [&str; 4] = ["CONNECTIONS", "OPENED", "FLOWS", "SOCKETS"];

/// The lanes of packets, and how far these are written and read.
pub(super) const LANES: &str = "LANES";
pub(super) const LANE_ENDS: &str = "LANE_ENDS";

/// Smallest ring that holds a record of the smallest class.
const SMALLEST_RING: u32 = 4096;

/// Largest ring that the kernel makes.
const LARGEST_RING: u32 = 1 << 30;

/// The programs and maps in the kernel; they go when this is dropped.
pub(super) struct Programs {
    ebpf: Ebpf,
    /// What was loaded.
    hooks: Vec<Hook>,
}

// === impl Programs ===

impl Programs {
    /// Creates the maps, rings of so many bytes and room for so many streams, and loads the programs, which do nothing yet;
    /// `direct` is what they read memory by, if they may.
    pub(super) fn load(
        offsets: &Offsets,
        source: Source,
        filter: &KernelFilter,
        [ring_bytes, streams]: [u32; 2],
        direct: Option<u32>,
    ) -> Result<(Self, Vec<RingBuf<MapData>>), KernelError> {
        let cpus = environment::cpus()?;
        let rings = cpus.div_ceil(CPUS_PER_RING).clamp(1, RINGS);
        let lane_slots = lane_slots(cpus);
        let ring_bytes = ring_size(ring_bytes);
        let limits = Limits {
            pid_namespace: environment::pid_namespace()?,
            rings,
            ring_bytes,
            largest_class: largest_class(ring_bytes),
            filters: bits(filter) | if source == Source::Socket { filter::SOCKETS } else { 0 },
            sample: filter.sample,
            direct: u32::from(direct.is_some()),
            lane_slots,
        };
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        loader.override_global("OFFSETS", records::offsets(offsets), true);
        loader.override_global("LIMITS", records::limits(&limits), true);
        for (name, _) in RING_NAMES.iter().zip(0..rings) {
            loader.map_max_entries(name, ring_bytes);
        }
        for name in STREAM_MAPS {
            loader.map_max_entries(name, streams);
        }
        if filter.packets {
            loader.map_max_entries(LANES, cpus.saturating_mul(lane_slots));
            loader.map_max_entries(LANE_ENDS, cpus);
        }
        let object = direct::object(OBJECT, direct);
        let ebpf = loader.load(records::bytes_of(&object)).map_err(KernelError::of_load)?;
        let mut programs = Self { ebpf, hooks: Vec::new() };
        programs.set_filter(filter)?;
        let mut buffers = Vec::new();
        for (name, _) in RING_NAMES.iter().zip(0..rings) {
            buffers.push(RingBuf::try_from(programs.take(name)?).map_err(map_error(name))?);
        }
        let chosen = hooks::chosen(source, filter.packets);
        // Those that may read by themselves need to know no types for it.
        let types = if direct.is_none() { Some(Path::new(BTF_PATH)) } else { None };
        programs.hooks = hooks::load(&mut programs.ebpf, &chosen, types)?;
        Ok((programs, buffers))
    }

    /// Attaches every program.
    pub(super) fn attach(&mut self) -> Result<(), KernelError> {
        hooks::attach(&mut self.ebpf, &self.hooks).map(drop)
    }

    /// Unloads every program, waits for those that run, and returns the misses in the end; maps and rings stay.
    pub(super) fn detach(&mut self) -> u64 {
        hooks::unload(&mut self.ebpf, &self.hooks)
    }

    /// Runs that the kernel skipped and by which events were lost.
    pub(super) fn misses(&self) -> u64 {
        hooks::misses(&self.ebpf, &self.hooks)
    }

    /// Takes a map out of the object; after the programs are loaded, since loading names the maps by their descriptors.
    pub(super) fn take(&mut self, name: &str) -> Result<Map, KernelError> {
        self.ebpf.take_map(name).ok_or_else(|| KernelError::Missing { name: name.to_owned() })
    }

    fn map(&mut self, name: &str) -> Result<&mut Map, KernelError> {
        self.ebpf.map_mut(name).ok_or_else(|| KernelError::Missing { name: name.to_owned() })
    }

    fn set_filter(&mut self, filter: &KernelFilter) -> Result<(), KernelError> {
        self.fill("PIDS", filter.pids.iter().copied())?;
        self.fill("COMMS", filter.comms.iter().map(|comm| comm_key(comm)))?;
        self.fill("LOCAL_PORTS", filter.local_ports.iter().copied())?;
        self.fill("REMOTE_PORTS", filter.remote_ports.iter().copied())?;
        self.fill_nets("LOCAL_NETS", &filter.local_nets)?;
        self.fill_nets("REMOTE_NETS", &filter.remote_nets)
    }

    fn fill<K: aya::Pod>(
        &mut self,
        name: &'static str,
        keys: impl Iterator<Item = K>,
    ) -> Result<(), KernelError> {
        let mut map: HashMap<&mut MapData, K, u8> =
            HashMap::try_from(self.map(name)?).map_err(map_error(name))?;
        for key in keys {
            map.insert(key, 1, 0).map_err(map_error(name))?;
        }
        Ok(())
    }

    fn fill_nets(&mut self, name: &'static str, nets: &[Net]) -> Result<(), KernelError> {
        let mut map: LpmTrie<&mut MapData, [u8; NET_KEY_LEN], u8> =
            LpmTrie::try_from(self.map(name)?).map_err(map_error(name))?;
        for net in nets {
            let mut data = [0; NET_KEY_LEN];
            data[0] = net.family;
            data[1..].copy_from_slice(&net.address);
            map.insert(&Key::new(8 + u32::from(net.prefix), data), 1, 0).map_err(map_error(name))?;
        }
        Ok(())
    }
}

/// A ring's size as the kernel takes it: a power of two, at least a page.
fn ring_size(bytes: u32) -> u32 {
    bytes.clamp(SMALLEST_RING, LARGEST_RING).next_power_of_two()
}

/// The largest class of which a ring holds two records.
fn largest_class(ring_bytes: u32) -> u32 {
    (0..CLASSES.len()).rev().find(|class| record_bytes(*class) <= ring_bytes / 2).map_or(0, class_number)
}

fn class_number(class: usize) -> u32 {
    u32::try_from(class).unwrap_or(0)
}

fn bits(filter: &KernelFilter) -> u32 {
    let KernelFilter {
        pids,
        comms,
        local_ports,
        remote_ports,
        local_nets,
        remote_nets,
        cgroups,
        no_attempts,
        packets,
        sample: _,
    } = filter;
    let bit = |bit, set: bool| if set { bit } else { 0 };
    bit(filter::PIDS, !pids.is_empty())
        | bit(filter::COMMS, !comms.is_empty())
        | bit(filter::LOCAL_PORTS, !local_ports.is_empty())
        | bit(filter::REMOTE_PORTS, !remote_ports.is_empty())
        | bit(filter::LOCAL_NETS, !local_nets.is_empty())
        | bit(filter::REMOTE_NETS, !remote_nets.is_empty())
        | bit(filter::CGROUPS, *cgroups)
        | bit(filter::NO_ATTEMPTS, *no_attempts)
        | bit(filter::PACKETS, *packets)
}

/// A command name as the kernel keeps it: cut to 15 bytes, NUL padded.
fn comm_key(comm: &str) -> [u8; COMM_LEN] {
    let mut key = [0; COMM_LEN];
    for (slot, byte) in key.iter_mut().zip(comm.bytes().take(COMM_LEN - 1)) {
        *slot = byte;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_powers_of_two_and_classes_fit_twice() {
        assert_eq!(ring_size(0), 4096);
        assert_eq!(ring_size(65_537), 131_072);
        assert_eq!(largest_class(4 << 20), 5);
        assert_eq!(largest_class(65_536), 3);
        assert_eq!(largest_class(4096), 0);
    }

    #[test]
    fn lanes_are_powers_of_two_and_all_of_them_bounded() {
        assert_eq!([1, 16, 17, 64, 100].map(lane_slots), [2048, 2048, 1024, 512, 256]);
        assert_eq!([128, 4096].map(lane_slots), [256, 256]);
    }

    #[test]
    fn comm_keys_are_what_the_kernel_keeps() {
        assert_eq!(&comm_key("nginx"), b"nginx\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&comm_key("a-very-long-command-name"), b"a-very-long-com\0");
    }
}
