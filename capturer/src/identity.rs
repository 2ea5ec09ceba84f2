//! Whose connection it is: command names and control groups of processes, by process id, and what these are.

pub mod cgroups;
pub mod listening;
pub mod pods;

use std::collections::VecDeque;

use capturer_ebpf::layout::COMM_LEN;
use foldhash::HashMap;

/// Processes remembered at most; beyond it the table starts anew.
pub const PROCESSES: usize = 16_384;

/// How long an ended process is remembered: its exchanges may still be waiting for their order or their peer.
pub const REMEMBERED_NS: u64 = 30_000_000_000;

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Command name.
    pub comm: String,
    /// Id of its control group, 0 when unknown.
    pub cgroup: u64,
}

/// The processes seen.
#[derive(Debug, Default)]
pub struct Processes {
    known: HashMap<u32, Known>,
    ended: VecDeque<(u64, u32)>,
}

#[derive(Debug)]
struct Known {
    comm: [u8; COMM_LEN],
    process: Process,
    ended_ns: Option<u64>,
}

// === impl Processes ===

impl Processes {
    /// Notes that a process began to run a program.
    pub fn exec(&mut self, pid: u32, comm: [u8; COMM_LEN], cgroup: u64) {
        self.learn(pid, comm, cgroup);
    }

    /// Notes that a process ended.
    pub fn exit(&mut self, pid: u32, at_ns: u64) {
        if let Some(known) = self.known.get_mut(&pid) {
            known.ended_ns = Some(at_ns);
            self.ended.push_back((at_ns, pid));
        }
    }

    /// Notes the process of an event.
    pub fn sighted(&mut self, pid: u32, comm: [u8; COMM_LEN], cgroup: u64, at_ns: u64) {
        match self.known.get_mut(&pid) {
            // A process id that lives after its end belongs to another process.
            Some(known) if known.ended_ns.is_some_and(|ended| ended < at_ns) => {
                self.learn(pid, comm, cgroup);
            }
            Some(known) => {
                known.process.cgroup = cgroup;
                if known.comm != comm {
                    known.comm = comm;
                    known.process.comm = name(&comm);
                }
            }
            None => self.learn(pid, comm, cgroup),
        }
    }

    /// Returns what is known of a process.
    #[must_use]
    pub fn get(&self, pid: u32) -> Process {
        self.known.get(&pid).map(|known| known.process.clone()).unwrap_or_default()
    }

    /// Forgets processes that ended long before `now_ns`.
    pub fn expire(&mut self, now_ns: u64) {
        while let Some((at_ns, pid)) = self.ended.front().copied() {
            if now_ns.saturating_sub(at_ns) < REMEMBERED_NS && self.ended.len() <= PROCESSES {
                return;
            }
            self.ended.pop_front();
            if self.known.get(&pid).is_some_and(|known| known.ended_ns == Some(at_ns)) {
                self.known.remove(&pid);
            }
        }
    }

    fn learn(&mut self, pid: u32, comm: [u8; COMM_LEN], cgroup: u64) {
        if self.known.len() >= PROCESSES && !self.known.contains_key(&pid) {
            self.known.clear();
            self.ended.clear();
        }
        let process = Process { comm: name(&comm), cgroup };
        self.known.insert(pid, Known { comm, process, ended_ns: None });
    }
}

/// Returns a command name as text.
#[must_use]
pub fn name(comm: &[u8; COMM_LEN]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(COMM_LEN);
    String::from_utf8_lossy(comm.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comm(text: &str) -> [u8; COMM_LEN] {
        let mut comm = [0; COMM_LEN];
        comm[..text.len()].copy_from_slice(text.as_bytes());
        comm
    }

    #[test]
    fn processes_follow_exec_and_exit() {
        let mut processes = Processes::default();
        processes.exec(7, comm("curl"), 70);
        processes.sighted(7, comm("curl"), 70, 10);
        let expected = Process { comm: "curl".to_owned(), cgroup: 70 };
        assert_eq!(processes.get(7), expected);
        processes.exit(7, 20);
        assert_eq!(processes.get(7), expected, "an ended process is remembered");
        processes.sighted(7, comm("other"), 80, 30);
        assert_eq!(processes.get(7).cgroup, 80, "its number taken again is another process");
        processes.sighted(7, comm("other"), 90, 35);
        assert_eq!(processes.get(7).cgroup, 90, "a process may move");
        processes.exit(7, 40);
        processes.expire(40 + REMEMBERED_NS);
        assert_eq!(processes.get(7), Process::default());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut processes = Processes::default();
        for pid in 0..40_000 {
            processes.sighted(pid, comm("x"), 1, 1);
            assert!(processes.known.len() <= PROCESSES);
        }
    }
}
