//! What passes an interface, by tcpdump.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::netns::Netns;
use crate::process::{Plan, Process, scratch, wait_until};
use crate::replay::{self, CapturedSegment};

/// How long tcpdump may take to begin.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long tcpdump may take to write what has passed.
const CATCH_UP_TIME: Duration = Duration::from_millis(500);

/// A tcpdump on one interface.
#[derive(Debug)]
pub struct Tcpdump {
    process: Process,
    folder: TempDir,
}

// === impl Tcpdump ===

impl Tcpdump {
    /// Begins to write what passes an interface of a namespace, of this machine's own without one.
    pub fn start(netns: Option<&Netns>, interface: &str, filter: &str) -> Result<Self> {
        let folder = scratch("tcpdump")?;
        let log = folder.path().join("log");
        let mut plan = Plan::new("tcpdump")?.stop_by(Signal::SIGINT);
        if let Some(netns) = netns {
            plan = plan.inside(&netns.path());
        }
        let mut command = plan.command();
        // The clock of the kernel's own stamps, to the nanosecond, and nothing held back at the end.
        command.args(["-i", interface, "-j", "adapter_unsynced", "--time-stamp-precision=nano"]);
        command.args(["--immediate-mode", "-U", "-Z", "root", "-w"]).arg(folder.path().join("packets"));
        command.args(filter.split_ascii_whitespace());
        let process = plan.start(&mut command, &log)?;
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        wait_until("tcpdump to listen", LISTEN_TIMEOUT, || said().contains("listening on"))
            .with_context(said)?;
        Ok(Self { process, folder })
    }

    /// Ends all, and returns the segments with payload that each has seen, in the order in which they passed.
    pub fn finish<K>(all: Vec<(K, Self)>) -> Result<Vec<(K, Vec<CapturedSegment>)>> {
        // What a tcpdump has not taken from the kernel when it is ended is lost.
        std::thread::sleep(CATCH_UP_TIME);
        all.into_iter().map(|(name, tcpdump)| Ok((name, tcpdump.end()?))).collect()
    }

    fn end(mut self) -> Result<Vec<CapturedSegment>> {
        self.process.stop()?;
        let mut seen = replay::segments(&self.folder.path().join("packets"))?;
        seen.retain(|segment| !segment.bytes.is_empty());
        Ok(seen)
    }
}
