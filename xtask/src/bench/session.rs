//! The processes of the session that a bench starts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Name of the sessions that the bench starts.
pub(super) const SESSION_NAME: &str = "bench";

/// The processes that a plugin starts.
pub(super) struct Pids {
    pub(super) capturer: u32,
    pub(super) hub: u32,
}

/// Finds the processes of the running session.
pub(super) fn pids() -> Result<Pids> {
    let file = Path::new("/run/kyanos").join(SESSION_NAME).join("session.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading `{}`", file.display()))?;
    let session: serde_json::Value = serde_json::from_str(&text).context("the session's file")?;
    let pid = |name: &str| {
        let id = session.get(name).and_then(serde_json::Value::as_u64).context("a process id")?;
        u32::try_from(id).context("a process id")
    };
    Ok(Pids { capturer: pid("capturer_pid")?, hub: pid("hub_pid")? })
}

/// Returns the CPU time that the living threads of a process have used, that of the kernel for them included.
///
/// It is what the scheduler measured (`/proc/PID/task/TID/schedstat`): the times in `proc_pid_stat(5)` are sampled, and
/// were seen to differ by 8 % between equal runs of some seconds.
pub(super) fn cpu_time(pid: u32) -> Result<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).context("a watched process is gone")?;
    let mut total = Duration::ZERO;
    for thread in threads {
        // A thread may end meanwhile.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        total += spent(&text).with_context(|| format!("times in `{}`", text.trim()))?;
    }
    Ok(total)
}

/// Reads the first field of a `schedstat`: nanoseconds on a CPU.
fn spent(schedstat: &str) -> Option<Duration> {
    schedstat.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_on_a_cpu_stands_first() {
        assert_eq!(spent("1750000123 99 7\n"), Some(Duration::from_nanos(1_750_000_123)));
        assert_eq!(spent(""), None);
    }
}
