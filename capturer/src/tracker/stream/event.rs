//! One call that moved bytes.

use capturer_ebpf::layout::{self, flag};

use super::payload::Payload;
use crate::direction::OUT;
use crate::kernel::Run;
use crate::tracker::Caller;

/// A call that moved bytes, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEvent {
    /// [`layout::direction`] as an index.
    pub direction: usize,
    /// Bits of [`layout::flag`].
    pub flags: u16,
    /// When the call entered.
    pub enter_ns: u64,
    /// When it returned.
    pub exit_ns: u64,
    /// Bytes it moved.
    pub moved: u64,
    /// Bytes moved in this direction before it.
    pub counter: u64,
    /// Sequence number before.
    pub s0: u32,
    /// Sequence number after.
    pub s1: u32,
    /// Process.
    pub pid: u32,
    /// Its control group.
    pub cgroup: u64,
    /// The bytes that were captured.
    pub payload: Payload,
}

// === impl CallEvent ===

impl CallEvent {
    /// Returns the event of a record.
    #[must_use]
    pub fn new(head: &layout::Moved, payload: &[u8], pieces: Vec<Run>) -> Self {
        let layout::Moved {
            kind: _,
            direction,
            flags,
            captured: _,
            connection: _,
            enter_ns,
            exit_ns,
            moved,
            counter,
            s0,
            s1,
            pid,
            tid: _,
            comm: _,
            cgroup,
            offset,
            pieces: _,
        } = *head;
        let direction = usize::from(direction).min(1);
        let payload = Payload::new(pieces, u64::from(offset), payload);
        Self { direction, flags, enter_ns, exit_ns, moved, counter, s0, s1, pid, cgroup, payload }
    }

    /// Returns who made the call.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller { pid: self.pid, cgroup: self.cgroup }
    }

    /// Returns when the event counts: a write when it entered, a read when it returned.
    #[must_use]
    pub fn at_ns(&self) -> u64 {
        if self.direction == OUT { self.enter_ns } else { self.exit_ns }
    }

    /// Returns the captured bytes that are the stream's, each run with how many bytes of the call come before it.
    pub(super) fn captured(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let stream = self.flags & (flag::NO_PAYLOAD | flag::DISCARDED) == 0;
        self.payload.runs().filter(move |_| stream).filter_map(|(offset, bytes)| {
            let open = usize::try_from(self.moved.checked_sub(offset)?).unwrap_or(usize::MAX);
            bytes.get(..bytes.len().min(open)).filter(|bytes| !bytes.is_empty()).map(|bytes| (offset, bytes))
        })
    }
}
