//! Loading and attaching the programs. Raw tracepoints need neither tracefs nor bpffs, and nothing is pinned.

use std::{
    error::Error,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{HashMap, LpmTrie, Map, MapData, MapError, RingBuf, lpm_trie::Key},
    programs::{Program, RawTracePoint},
};
use capturer_ebpf::{
    layout::COMM_LEN,
    settings::{CLASSES, CPUS_PER_RING, Limits, NET_KEY_LEN, Offsets, RINGS, filter, record_bytes},
};

use super::{KernelFilter, Net, environment, error::KernelError, records};

/// The programs, compiled by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs"));

/// Programs and the tracepoints of the same names, in the order in which they are attached: returns before entries,
/// so that no call is noted whose return is not seen.
const PROGRAMS: [&str; 6] = [
    "sched_process_exit",
    "sched_process_exec",
    "tcp_destroy_sock",
    "inet_sock_set_state",
    "sys_exit",
    "sys_enter",
];

/// Programs for tracepoints that not every kernel has, and that only sharpen what the others see.
const OPTIONAL: [&str; 1] = ["tcp_sendmsg_locked"];

const RING_NAMES: [&str; RINGS as usize] = ["RING_0", "RING_1", "RING_2", "RING_3"];

/// Smallest ring that holds a record of the smallest class.
const SMALLEST_RING: u32 = 4096;

/// Largest ring that the kernel makes.
const LARGEST_RING: u32 = 1 << 30;

/// The programs and maps in the kernel; they go when this is dropped.
pub(super) struct Programs {
    ebpf: Ebpf,
}

// === impl Programs ===

impl Programs {
    /// Creates the maps and loads the programs, which do nothing yet.
    pub(super) fn load(
        offsets: &Offsets,
        filter: &KernelFilter,
        ring_bytes: u32,
    ) -> Result<(Self, Vec<RingBuf<MapData>>), KernelError> {
        let rings = environment::cpus()?.div_ceil(CPUS_PER_RING).clamp(1, RINGS);
        let ring_bytes = ring_size(ring_bytes);
        let limits = Limits {
            pid_namespace: environment::pid_namespace()?,
            rings,
            largest_class: largest_class(ring_bytes),
            filters: bits(filter),
        };
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        loader.override_global("OFFSETS", records::offsets(offsets), true);
        loader.override_global("LIMITS", records::limits(&limits), true);
        for (name, _) in RING_NAMES.iter().zip(0..rings) {
            loader.map_max_entries(name, ring_bytes);
        }
        let mut programs = Self { ebpf: loader.load(OBJECT).map_err(load_error)? };
        programs.set_filter(filter)?;
        let mut buffers = Vec::new();
        for (name, _) in RING_NAMES.iter().zip(0..rings) {
            buffers.push(RingBuf::try_from(programs.take(name)?).map_err(map_error(name))?);
        }
        for name in OPTIONAL.into_iter().chain(PROGRAMS) {
            let failed = |source| program_error(name, source);
            programs.program(name)?.load().map_err(failed)?;
        }
        Ok((programs, buffers))
    }

    /// Attaches every program.
    pub(super) fn attach(&mut self) -> Result<(), KernelError> {
        for name in OPTIONAL {
            match self.program(name)?.attach(name) {
                Ok(_) => {}
                Err(error) if refused_with(&error, libc::ENOENT) => {
                    tracing::debug!("this kernel has no tracepoint `{name}`");
                }
                Err(error) => return Err(program_error(name, error)),
            }
        }
        for name in PROGRAMS {
            let failed = |source| program_error(name, source);
            self.program(name)?.attach(name).map_err(failed)?;
        }
        Ok(())
    }

    /// Unloads every program; maps and rings stay.
    pub(super) fn detach(&mut self) {
        for name in PROGRAMS.iter().rev().chain(&OPTIONAL) {
            let unloaded = self.program(name).map(RawTracePoint::unload);
            if let Ok(Err(error)) = unloaded {
                tracing::debug!(program = name, %error, "not unloaded");
            }
        }
    }

    /// Takes a map out of the object; after the programs are loaded, since loading names the maps by their descriptors.
    pub(super) fn take(&mut self, name: &str) -> Result<Map, KernelError> {
        self.ebpf.take_map(name).ok_or_else(|| KernelError::Missing { name: name.to_owned() })
    }

    fn map(&mut self, name: &str) -> Result<&mut Map, KernelError> {
        self.ebpf.map_mut(name).ok_or_else(|| KernelError::Missing { name: name.to_owned() })
    }

    /// Runs of programs that the kernel skipped because the same program ran on that CPU already; kernels before
    /// 5.12 do not say.
    pub(super) fn misses(&self) -> u64 {
        let counts = |name: &str| !OPTIONAL.contains(&name);
        self.ebpf
            .programs()
            .filter(|(name, _)| counts(name))
            .filter_map(|(_, program)| program_misses(program))
            .sum()
    }

    fn program(&mut self, name: &str) -> Result<&mut RawTracePoint, KernelError> {
        let missing = || KernelError::Missing { name: name.to_owned() };
        let program = self.ebpf.program_mut(name).ok_or_else(missing)?;
        program.try_into().map_err(|_not_a_raw_tracepoint: aya::programs::ProgramError| missing())
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

fn program_misses(program: &Program) -> Option<u64> {
    let fd = program.fd().ok()?.as_fd().as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    line.trim().parse().ok()
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
    let KernelFilter { pids, comms, local_ports, remote_ports, local_nets, remote_nets, cgroups } = filter;
    let bit = |bit, set: bool| if set { bit } else { 0 };
    bit(filter::PIDS, !pids.is_empty())
        | bit(filter::COMMS, !comms.is_empty())
        | bit(filter::LOCAL_PORTS, !local_ports.is_empty())
        | bit(filter::REMOTE_PORTS, !remote_ports.is_empty())
        | bit(filter::LOCAL_NETS, !local_nets.is_empty())
        | bit(filter::REMOTE_NETS, !remote_nets.is_empty())
        | bit(filter::CGROUPS, *cgroups)
}

/// A command name as the kernel keeps it: cut to 15 bytes, NUL padded.
fn comm_key(comm: &str) -> [u8; COMM_LEN] {
    let mut key = [0; COMM_LEN];
    for (slot, byte) in key.iter_mut().zip(comm.bytes().take(COMM_LEN - 1)) {
        *slot = byte;
    }
    key
}

pub(super) fn map_error(name: &'static str) -> impl Fn(MapError) -> KernelError {
    move |source| KernelError::Map { name, source: Box::new(source) }
}

fn load_error(source: EbpfError) -> KernelError {
    if refused_with(&source, libc::EPERM) {
        KernelError::NotPermitted
    } else {
        KernelError::Load { source: Box::new(source) }
    }
}

fn program_error(program: &'static str, source: aya::programs::ProgramError) -> KernelError {
    if refused_with(&source, libc::EPERM) {
        KernelError::NotPermitted
    } else {
        KernelError::Program { program, source: Box::new(source) }
    }
}

/// Whether the cause of an error is that the system answered `errno`.
fn refused_with(error: &(dyn Error + 'static), errno: i32) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error() == Some(errno)) {
            return true;
        }
        cause = error.source();
    }
    false
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
    fn comm_keys_are_what_the_kernel_keeps() {
        assert_eq!(&comm_key("nginx"), b"nginx\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&comm_key("a-very-long-command-name"), b"a-very-long-com\0");
    }
}
