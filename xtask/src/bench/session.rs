//! The processes of the session that a bench starts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Name of the sessions that the bench starts.
pub(super) const SESSION: &str = "bench";

/// The processes that a plugin starts.
pub(super) struct Pids {
    pub(super) capturer: u32,
    pub(super) hub: u32,
}

/// Finds the processes of the running session.
pub(super) fn pids() -> Result<Pids> {
    let file = Path::new("/run/kyanos").join(SESSION).join("session.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading `{}`", file.display()))?;
    let session: serde_json::Value = serde_json::from_str(&text).context("the session's file")?;
    let pid = |name: &str| {
        let id = session.get(name).and_then(serde_json::Value::as_u64).context("a process id")?;
        u32::try_from(id).context("a process id")
    };
    Ok(Pids { capturer: pid("capturer_pid")?, hub: pid("hub_pid")? })
}

/// Returns the CPU time that a process has used, those of its threads and of the kernel for it included.
pub(super) fn cpu_time(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("a watched process is gone")?;
    ticks(&text).map(of_ticks).with_context(|| format!("times in `{}`", text.trim()))
}

/// Reads the fields `utime` and `stime` of `proc_pid_stat(5)`.
fn ticks(stat: &str) -> Option<u64> {
    // The name before may hold spaces and brackets.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    times.next()??.checked_add(times.next()??)
}

/// The kernel tells 100 ticks a second to programs, on every architecture that we build for.
fn of_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_user_and_system() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 2 3 4 150 25 7 8 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat).map(of_ticks), Some(Duration::from_millis(1_750)));
    }
}
