//! The kernel half as the rest of the capturer sees it: records out, verdicts and exclusions in.
//!
//! [`Kernel::attach`] reads this kernel's layout ([`btf`]), loads the programs and attaches them to raw tracepoints.
//! Nothing is pinned or mounted: when the value goes, everything in the kernel goes.

pub mod btf;
mod environment;
mod error;
mod hooks;
mod offsets;
mod pieces;
mod programs;
mod records;
mod rings;

use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use capturer_ebpf::{
    layout::{Attempt, Verdict, phase},
    settings::{Offsets, total},
};

use programs::{Programs, map_error};
use rings::Rings;

pub use capturer_ebpf::settings::STREAMS;
pub use error::KernelError;
pub use pieces::{PENDING_BYTES, PENDING_CALLS, Run};
pub use records::{CgroupPath, Record};

/// Where this kernel's type information is.
const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// What the programs are loaded with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of each ring; rounded up to a power of two, at least a page.
    pub ring_bytes: u32,
    /// Sockets of streams that are known at a time; what comes beyond counts as lost. [`STREAMS`] but in tests.
    pub streams: u32,
    /// A BTF file to use instead of the kernel's own.
    pub btf: Option<PathBuf>,
    /// Where bytes are seen.
    pub source: Source,
    /// What is captured at all.
    pub filter: KernelFilter,
}

/// Where bytes are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The best that the kernel has.
    #[default]
    Auto,
    /// The entries and returns of system calls.
    Syscall,
}

/// What is captured; an empty list asks for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelFilter {
    /// Process ids in the capturer's PID namespace.
    pub pids: Vec<u32>,
    /// Command names of thread groups.
    pub comms: Vec<String>,
    /// Local ports.
    pub local_ports: Vec<u16>,
    /// Remote ports.
    pub remote_ports: Vec<u16>,
    /// Local addresses.
    pub local_nets: Vec<Net>,
    /// Remote addresses.
    pub remote_nets: Vec<Net>,
    /// Whether [`Kernel::place`] decides about control groups; without it all are wanted.
    pub cgroups: bool,
    /// Whether connections that are over before a byte goes either way are left out.
    pub no_attempts: bool,
}

/// Addresses that share a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// The address in network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// 4 or 6.
    pub family: u8,
    /// How many leading bits count.
    pub prefix: u8,
}

/// Events by their fate, monotonic: `seen` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events that happened.
    pub seen: u64,
    /// Events handed over whole.
    pub delivered: u64,
    /// Events that a filter or a verdict kept back.
    pub filtered: u64,
    /// Events for which a ring had no room.
    pub ring: u64,
    /// Runs that the kernel skipped and says so, connections by whose end it is seen that it did, and messages of one
    /// call beyond the most that are looked at.
    pub miss: u64,
    /// Events handed over whose bytes could not be read.
    pub fault: u64,
    /// Events for which a map had no room, and connections whose end could not be told for the same reason.
    pub map: u64,
}

/// The programs, loaded and not yet attached: loading takes half a second of the verifier's time, attaching next to
/// none.
pub struct Prepared {
    kernel: Kernel,
    begun: Array<MapData, u64>,
    filter: KernelFilter,
}

/// The programs, attached.
pub struct Kernel {
    programs: Programs,
    rings: Rings,
    verdicts: HashMap<MapData, u64, [u64; 3]>,
    excluded: HashMap<MapData, u32, u8>,
    cgroups: HashMap<MapData, u64, u8>,
    opened: HashMap<MapData, u64, records::OpenedWords>,
    totals: PerCpuArray<MapData, u64>,
    /// Misses when the programs were unloaded.
    missed: Option<u64>,
}

// === impl KernelFilter ===

impl KernelFilter {
    /// Returns whether programs that were loaded for this filter tell what another one asks for. Connections over which
    /// nothing goes are few: who wants none of them drops them later.
    #[must_use]
    pub fn serves(&self, other: &Self) -> bool {
        let without = Self { no_attempts: self.no_attempts, ..other.clone() };
        *self == without && (other.no_attempts || !self.no_attempts)
    }
}

// === impl Prepared ===

impl Prepared {
    /// Returns whether the programs serve this filter.
    #[must_use]
    pub fn is_for(&self, filter: &KernelFilter) -> bool {
        self.filter.serves(filter)
    }

    /// Attaches the programs; calls are followed from the moment when all are.
    pub fn attach(self) -> Result<Kernel, KernelError> {
        let Self { mut kernel, mut begun, filter: _ } = self;
        // Before anything is seen: the capturer does not watch itself.
        kernel.exclude(std::process::id());
        kernel.programs.attach()?;
        // Until now the programs followed no call.
        begun.set(0, environment::now(), 0).map_err(map_error("BEGUN"))?;
        Ok(kernel)
    }
}

// === impl Kernel ===

impl Kernel {
    /// Loads the programs and attaches them.
    pub fn attach(settings: &Settings) -> Result<Self, KernelError> {
        Self::prepare(settings)?.attach()
    }

    /// Loads the programs.
    pub fn prepare(settings: &Settings) -> Result<Prepared, KernelError> {
        let Settings { ring_bytes, streams, btf, source: Source::Auto | Source::Syscall, filter } = settings;
        let btf = btf.as_deref().unwrap_or(Path::new(BTF_PATH));
        let offsets = read_offsets(btf, filter.cgroups)?;
        environment::lift_memory_limit();
        let (mut programs, buffers) = Programs::load(&offsets, filter, *ring_bytes, *streams, btf)?;
        let verdicts = HashMap::try_from(programs.take("VERDICTS")?).map_err(map_error("VERDICTS"))?;
        let excluded = HashMap::try_from(programs.take("EXCLUDED")?).map_err(map_error("EXCLUDED"))?;
        let cgroups = HashMap::try_from(programs.take("CGROUPS")?).map_err(map_error("CGROUPS"))?;
        let opened = HashMap::try_from(programs.take("OPENED")?).map_err(map_error("OPENED"))?;
        let totals = PerCpuArray::try_from(programs.take("TOTALS")?).map_err(map_error("TOTALS"))?;
        let begun = Array::try_from(programs.take("BEGUN")?).map_err(map_error("BEGUN"))?;
        let rings = Rings::new(buffers);
        let kernel = Self { programs, rings, verdicts, excluded, cgroups, opened, totals, missed: None };
        environment::release_memory();
        Ok(Prepared { kernel, begun, filter: filter.clone() })
    }

    /// The name of the byte source in use.
    #[must_use]
    pub fn source(&self) -> &'static str {
        "syscall"
    }

    /// Waits until some ring has records; needs a tokio runtime. May be dropped while it waits.
    pub async fn readable(&mut self) -> Result<(), KernelError> {
        self.rings.readable().await
    }

    /// Takes up to about `budget` records without waiting and returns how many, those included that say nothing by
    /// themselves; none once the programs are detached means that the rings are empty. Records of one CPU are in order,
    /// those of several rings are not.
    pub fn drain(&mut self, take: &mut dyn FnMut(Record<'_>), budget: usize) -> usize {
        self.rings.drain(take, budget)
    }

    /// Tells the kernel what was decided about a connection.
    pub fn decide(&mut self, connection: u64, verdict: Verdict) -> Result<(), KernelError> {
        self.verdicts.insert(connection, records::verdict(verdict), 0).map_err(map_error("VERDICTS"))
    }

    /// Keeps back everything of a process: its sockets, and their peers on this machine.
    pub fn exclude(&mut self, pid: u32) {
        if let Err(error) = self.excluded.insert(pid, 1, 0) {
            tracing::warn!(pid, %error, "a process of a session cannot be excluded");
        }
    }

    /// Follows a process again that was excluded; what its id names now is another process.
    pub fn include(&mut self, pid: u32) {
        if let Err(error) = self.excluded.remove(&pid) {
            tracing::debug!(pid, %error, "was not excluded");
        }
    }

    /// Tells the kernel what was decided about a control group, one of [`placement`].
    ///
    /// [`placement`]: capturer_ebpf::layout::placement
    pub fn place(&mut self, cgroup: u64, placement: u8) -> Result<(), KernelError> {
        self.cgroups.insert(cgroup, placement, 0).map_err(map_error("CGROUPS"))
    }

    /// Returns the connections that processes ask for and that nobody has answered yet.
    #[must_use]
    pub fn waiting(&self) -> Vec<Attempt> {
        let opened = self.opened.iter().filter_map(|entry| records::opened(&entry.ok()?.1));
        opened
            .filter(|opened| opened.excluded == 0 && opened.attempt.pid != 0)
            .map(|opened| opened.attempt)
            .filter(|attempt| attempt.phase == phase::OPENING && attempt.at_ns == 0)
            .collect()
    }

    /// How many events met which fate since the capture began. They add up once the programs are detached.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let miss = self.missed.unwrap_or_else(|| self.programs.misses());
        Totals {
            seen: self.total(total::SEEN) + miss,
            delivered: self.total(total::DELIVERED),
            filtered: self.total(total::FILTERED),
            ring: self.total(total::RING),
            miss: self.total(total::MISS) + miss,
            fault: self.total(total::FAULT),
            map: self.total(total::MAP),
        }
    }

    /// Stops new events, and returns once those on their way are counted and in the rings, which can still be drained.
    pub fn detach(&mut self) {
        if self.missed.is_none() {
            self.missed = Some(self.programs.detach());
        }
    }

    fn total(&self, index: u32) -> u64 {
        self.totals.get(&index, 0).map_or(0, |counters| counters.iter().sum())
    }
}

/// Checks what the kernel is and finds the fields that the programs read.
fn read_offsets(btf: &Path, cgroups: bool) -> Result<Offsets, KernelError> {
    environment::check()?;
    let path = btf.to_owned();
    let data = fs::read(&path).map_err(|source| KernelError::NoBtf { path: path.clone(), source })?;
    btf::Btf::parse(data)
        .and_then(|btf| offsets::resolve(&btf, environment::controller(), cgroups))
        .map_err(|source| KernelError::Btf { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_tell_of_attempts_serve_who_wants_none() {
        let all = KernelFilter { cgroups: true, ..KernelFilter::default() };
        let without = KernelFilter { no_attempts: true, ..all.clone() };
        let other = KernelFilter { pids: vec![7], ..all.clone() };
        assert!(all.serves(&all) && all.serves(&without) && without.serves(&without));
        assert!(!without.serves(&all) && !all.serves(&other) && !other.serves(&all));
    }
}
