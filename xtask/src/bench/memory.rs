//! Memory of a local session's processes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::session::{self, Pids};

/// How often memory is looked at.
const MEMORY_POLL: Duration = Duration::from_millis(500);

/// What the kernel calls a mapped map in `/proc/PID/maps`; the rings are the only ones mapped.
const MAPPED_MAP: &str = "anon_inode:bpf-map";

/// Bytes held by a session's processes: anonymous memory, plus rings counted once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) capturer: u64,
    pub(super) hub: u64,
}

/// Returns the largest values seen until told to stop.
pub(super) fn largest(stop: &AtomicBool) -> Result<Memory> {
    let Pids { capturer, hub } = session::pids()?;
    let mut largest = Memory::default();
    while !stop.load(Ordering::Relaxed) {
        largest.capturer = largest.capturer.max(held(capturer)?);
        largest.hub = largest.hub.max(held(hub)?);
        std::thread::sleep(MEMORY_POLL);
    }
    Ok(largest)
}

/// Returns the bytes that a process holds now.
pub(super) fn held(pid: u32) -> Result<u64> {
    let folder = Path::new("/proc").join(pid.to_string());
    let read =
        |name: &str| std::fs::read_to_string(folder.join(name)).context("a process of the session is gone");
    let status = read("status")?;
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes: u64 = anonymous
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.parse().ok())
        .context("`RssAnon` in the process's status")?;
    Ok(kibibytes * 1024 + rings(&read("maps")?))
}

/// Returns the bytes of rings: the kernel maps each twice in a row, so that a record never wraps.
fn rings(maps: &str) -> u64 {
    let mapped = maps.lines().filter(|line| line.ends_with(MAPPED_MAP)).filter_map(length);
    // Position pages are mapped too; half a page is no matter.
    mapped.map(|length| length / 2).sum()
}

fn length(line: &str) -> Option<u64> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    u64::from_str_radix(end, 16).ok()?.checked_sub(u64::from_str_radix(start, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_counts_once() {
        let maps = "7f0000000000-7f0000801000 r--s 00001000 00:0e 1 anon_inode:bpf-map\n\
                    7f0001000000-7f0001001000 rw-s 00000000 00:0e 1 anon_inode:bpf-map\n\
                    7f0002000000-7f0003000000 rw-p 00000000 00:00 0 [heap]\n";
        let mebibyte = 1 << 20;
        assert_eq!(rings(maps) / mebibyte, 4);
    }
}
