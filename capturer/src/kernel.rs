//! The kernel half as the rest of the capturer sees it: records out, verdicts and exclusions in.
//!
//! [`Kernel::attach`] reads this kernel's layout ([`btf`]), loads the programs and attaches them to raw tracepoints.
//! Nothing is pinned or mounted: when the value goes, everything in the kernel goes.

pub mod btf;
mod counted;
mod direct;
mod environment;
mod error;
mod hooks;
mod lanes;
mod offsets;
mod pieces;
mod programs;
mod records;
mod rings;
mod sources;

use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use capturer_ebpf::{
    layout::{Attempt, Verdict, phase},
    settings::{DECISION_SLOTS, OVER, Offsets, total},
};

use counted::Counted;
use error::map_error;
use lanes::Lanes;
use programs::{LANE_ENDS, LANES, Programs};
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
    /// Where bytes are seen; the best that the kernel has, where nobody says.
    pub source: Option<Source>,
    /// What is captured at all.
    pub filter: KernelFilter,
}

/// Where bytes are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Where sockets move them, since Linux 6.5: only processes that use sockets pay.
    Socket,
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
    /// Whether packets are followed: where they cross interfaces and come into sockets.
    pub packets: bool,
    /// One connection in so many is captured; 0 captures all.
    pub sample: u32,
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
    /// What was asked for.
    source: Option<Source>,
    filter: KernelFilter,
}

/// The programs, attached.
pub struct Kernel {
    programs: Programs,
    source: Source,
    rings: Rings,
    lanes: Lanes,
    verdicts: HashMap<MapData, u64, [u64; 3]>,
    /// How often anything was decided about connections, by slot, and about processes and groups.
    decisions: Counted,
    standings: Counted,
    excluded: HashMap<MapData, u32, u8>,
    cgroups: HashMap<MapData, u64, u8>,
    opened: HashMap<MapData, u64, records::OpenedWords>,
    /// When the capture began, or that it is over.
    begun: Array<MapData, u64>,
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
    /// Returns whether the programs see bytes where it is asked for, and serve this filter.
    #[must_use]
    pub fn is_for(&self, source: Option<Source>, filter: &KernelFilter) -> bool {
        let seen = source == self.source || source == Some(self.kernel.source);
        seen && self.filter.serves(filter)
    }

    /// Attaches the programs; calls are followed from the moment when all are.
    pub fn attach(self) -> Result<Kernel, KernelError> {
        let Self { mut kernel, source: _, filter: _ } = self;
        // Before anything is seen: the capturer does not watch itself.
        kernel.exclude(std::process::id());
        kernel.programs.attach()?;
        // Until now the programs followed no call.
        kernel.begun.set(0, environment::now(), 0).map_err(map_error("BEGUN"))?;
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
        let Settings { ring_bytes, streams, btf, source: asked, filter } = settings;
        let btf = btf.as_deref().unwrap_or(Path::new(BTF_PATH));
        let Types { source, offsets, direct } = read_types(btf, *asked, filter.cgroups)?;
        environment::lift_memory_limit();
        let load = |direct| Programs::load(&offsets, source, filter, [*ring_bytes, *streams], direct);
        let (mut programs, buffers) = match load(direct) {
            Err(error) if direct.is_some() => {
                tracing::debug!(%error, "this kernel does not let programs read by themselves");
                load(None)?
            }
            loaded => loaded?,
        };
        let verdicts = HashMap::try_from(programs.take("VERDICTS")?).map_err(map_error("VERDICTS"))?;
        let excluded = HashMap::try_from(programs.take("EXCLUDED")?).map_err(map_error("EXCLUDED"))?;
        let cgroups = HashMap::try_from(programs.take("CGROUPS")?).map_err(map_error("CGROUPS"))?;
        let opened = HashMap::try_from(programs.take("OPENED")?).map_err(map_error("OPENED"))?;
        let totals = PerCpuArray::try_from(programs.take("TOTALS")?).map_err(map_error("TOTALS"))?;
        let begun = Array::try_from(programs.take("BEGUN")?).map_err(map_error("BEGUN"))?;
        let decisions = Counted::new(programs.take("DECISIONS")?, "DECISIONS", DECISION_SLOTS)?;
        let standings = Counted::new(programs.take("STANDINGS")?, "STANDINGS", 1)?;
        let rings = Rings::new(buffers);
        let lanes = Lanes::new(programs.take(LANES)?, programs.take(LANE_ENDS)?)?;
        let kernel = Self {
            programs,
            source,
            rings,
            lanes,
            verdicts,
            decisions,
            standings,
            excluded,
            cgroups,
            opened,
            begun,
            totals,
            missed: None,
        };
        environment::release_memory();
        Ok(Prepared { kernel, source: *asked, filter: filter.clone() })
    }

    /// The name of the byte source in use.
    #[must_use]
    pub fn source(&self) -> &'static str {
        self.source.name()
    }

    /// Waits until some ring has records; needs a tokio runtime. May be dropped while it waits.
    pub async fn readable(&mut self) -> Result<(), KernelError> {
        self.rings.readable().await
    }

    /// Takes up to about `budget` records without waiting and returns how many, those included that say nothing by
    /// themselves; none once the programs are detached means that the rings are empty. Records of one CPU are in order,
    /// those of several rings are not.
    pub fn drain(&mut self, take: &mut dyn FnMut(Record<'_>), budget: usize) -> usize {
        // Packets last: what led to a call was written before the call was.
        self.rings.drain(take, budget) + self.lanes.drain(take)
    }

    /// Tells the kernel what was decided about a connection.
    pub fn decide(&mut self, connection: u64, verdict: Verdict) -> Result<(), KernelError> {
        self.verdicts.insert(connection, records::verdict(verdict), 0).map_err(map_error("VERDICTS"))?;
        // In this order: whoever sees the count sees the verdict.
        let slot = connection & u64::from(DECISION_SLOTS - 1);
        self.decisions.count(u32::try_from(slot).unwrap_or_default())
    }

    /// Keeps back everything of a process: its sockets, and their peers on this machine.
    pub fn exclude(&mut self, pid: u32) {
        if let Err(error) = self.excluded.insert(pid, 1, 0) {
            tracing::warn!(pid, %error, "a process of a session cannot be excluded");
        }
        self.stand();
    }

    /// Follows a process again that was excluded; what its id names now is another process.
    pub fn include(&mut self, pid: u32) {
        if let Err(error) = self.excluded.remove(&pid) {
            tracing::debug!(pid, %error, "was not excluded");
        }
        self.stand();
    }

    /// Tells the kernel what was decided about a control group, one of [`placement`].
    ///
    /// [`placement`]: capturer_ebpf::layout::placement
    pub fn place(&mut self, cgroup: u64, placement: u8) -> Result<(), KernelError> {
        self.cgroups.insert(cgroup, placement, 0).map_err(map_error("CGROUPS"))?;
        self.stand();
        Ok(())
    }

    /// Lets the programs look again at whose calls are followed.
    fn stand(&mut self) {
        if let Err(error) = self.standings.count(0) {
            tracing::warn!(%error, "what was decided about a process is seen late");
        }
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
        let torn = self.lanes.torn();
        let packets = self.total(total::PACKETS) + self.lanes.written();
        Totals {
            seen: self.total(total::SEEN) + packets + miss,
            delivered: self.total(total::DELIVERED) + packets - torn,
            filtered: self.total(total::FILTERED),
            ring: self.total(total::RING) + torn,
            miss: self.total(total::MISS) + miss,
            fault: self.total(total::FAULT),
            map: self.total(total::MAP),
        }
    }

    /// Stops new events, and returns once those on their way are counted and in the rings, which can still be drained.
    pub fn detach(&mut self) {
        if self.missed.is_none() {
            // At one moment, as it began: programs are detached one after the other.
            if let Err(error) = self.begun.set(0, OVER, 0) {
                tracing::warn!(%error, "the capture's last moments may be seen in part");
            }
            self.missed = Some(self.programs.detach());
        }
    }

    fn total(&self, index: u32) -> u64 {
        self.totals.get(&index, 0).map_or(0, |counters| counters.iter().sum())
    }
}

// === impl Source ===

impl Source {
    /// The name by which users choose it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Syscall => "syscall",
        }
    }

    /// Returns whether the running kernel has it.
    pub fn is_there(self) -> Result<bool, KernelError> {
        match read_types(Path::new(BTF_PATH), Some(self), false) {
            Ok(_) => Ok(true),
            Err(KernelError::NoSockets) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What the kernel's types say.
struct Types {
    source: Source,
    offsets: Offsets,
    /// What programs read memory by, if they may.
    direct: Option<u32>,
}

/// Checks what the kernel is, and finds where it lets bytes be seen and the fields that the programs read.
fn read_types(btf: &Path, asked: Option<Source>, cgroups: bool) -> Result<Types, KernelError> {
    environment::check()?;
    let path = btf.to_owned();
    let data = fs::read(&path).map_err(|source| KernelError::NoBtf { path: path.clone(), source })?;
    let types = btf::Btf::parse(data).map_err(|source| KernelError::Btf { path: path.clone(), source })?;
    let source = sources::choose(&types, asked)?;
    let offsets = offsets::resolve(&types, source, environment::controller(), cgroups)
        .map_err(|source| KernelError::Btf { path, source })?;
    // The numbers of another file's functions are not the kernel's.
    let direct = if btf == Path::new(BTF_PATH) { direct::function(&types) } else { None };
    Ok(Types { source, offsets, direct })
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
