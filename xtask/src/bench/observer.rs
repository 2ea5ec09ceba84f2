//! Who watches a server while it is measured, and what that takes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::load::{Load, Rate};
use super::session::{self, SESSION_NAME};
use crate::process::{Plan, Process, scratch, wait_until};

/// Who watches a server.
#[derive(Clone, Debug)]
pub(super) enum Observer {
    /// Nobody.
    Nobody,
    /// The programs of a folder, under this name.
    Kyanos { name: &'static str, folder: PathBuf },
    /// `tcpdump -w`.
    Tcpdump,
}

/// One measurement.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) requests_per_second: f64,
    /// CPU time of all processes of the observer, in microseconds; 0 where it is not measured.
    pub(super) us_per_request: f64,
    /// What the observer said last: how much it captured and lost; empty where it says nothing. Without it a figure
    /// tells little, for what is lost costs nothing.
    pub(super) said: String,
}

/// A capture that runs until dropped.
pub(super) struct BenchCapture {
    plugin: Process,
    folder: tempfile::TempDir,
}

// === impl Observer ===

impl Observer {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Nobody => "not observed",
            Self::Kyanos { name, .. } => name,
            Self::Tcpdump => "under tcpdump",
        }
    }

    /// Watches while a server is made busy.
    pub(super) fn measure(&self, load: &Load) -> Result<Measured> {
        match self {
            Self::Nobody => load.run().map(|rate| measured(rate, Duration::ZERO, String::new())),
            Self::Kyanos { folder, .. } => {
                let capture = BenchCapture::start(folder, load.port(), &[])?;
                let before = capture.cpu_time()?;
                let rate = load.run()?;
                let spent = capture.cpu_time()?.saturating_sub(before);
                Ok(measured(rate, spent, capture.end()?))
            }
            Self::Tcpdump => {
                let mut tcpdump = tcpdump(load.port())?;
                let before = session::cpu_time(tcpdump.id())?;
                let rate = load.run()?;
                let spent = session::cpu_time(tcpdump.id())?.saturating_sub(before);
                tcpdump.stop()?;
                Ok(measured(rate, spent, String::new()))
            }
        }
    }
}

fn measured(rate: Rate, spent: Duration, said: String) -> Measured {
    let Rate { requests_per_second, requests } = rate;
    Measured { requests_per_second, us_per_request: spent.as_secs_f64() * 1e6 / requests.max(1.0), said }
}

/// Starts a `tcpdump -w` of a port on loopback, which keeps nothing.
pub(super) fn tcpdump(port: u16) -> Result<Process> {
    let folder = scratch("tcpdump")?;
    let plan = Plan::new("tcpdump")?.stop_by(Signal::SIGINT);
    let mut command = plan.command();
    command.args(["-i", "lo", "-w", "/dev/null", "tcp", "port", &port.to_string()]);
    let log = folder.path().join("log");
    let tcpdump = plan.start(&mut command, &log)?;
    let listens = || std::fs::read_to_string(&log).unwrap_or_default().contains("listening on");
    wait_until("tcpdump to listen", Duration::from_secs(10), listens)?;
    Ok(tcpdump)
}

// === impl BenchCapture ===

impl BenchCapture {
    /// Captures a server's port with the programs of a folder, and further arguments.
    pub(super) fn start(programs: &Path, port: u16, arguments: &[&str]) -> Result<Self> {
        let folder = scratch("bench")?;
        let log = folder.path().join("errors.log");
        let plan = Plan::at(&programs.join("kubectl-kyanos")).stop_by(Signal::SIGINT);
        let mut command = plan.command();
        command.args(["watch", "--local", "--name", SESSION_NAME, "--output", "json", "--side", "server"]);
        command.args(["--local-ports", &port.to_string()]).args(arguments);
        command.stdout(File::create("/dev/null")?).stderr(File::create(&log)?);
        let mut plugin = plan.spawn(&mut command)?;
        let mut running = true;
        let capturing = || {
            running = plugin.is_running();
            !running || std::fs::read_to_string(&log).unwrap_or_default().contains("capturing")
        };
        wait_until("kyanos to capture", Duration::from_secs(20), capturing)?;
        if !running {
            bail!("kyanos ended at once: {}", std::fs::read_to_string(&log)?.trim());
        }
        Ok(Self { plugin, folder })
    }

    /// Ends the capture and returns what it said last: how much was captured, how much lost.
    pub(super) fn end(mut self) -> Result<String> {
        self.plugin.signal(Signal::SIGINT)?;
        self.plugin.wait(Duration::from_mins(1))?;
        let said = std::fs::read_to_string(self.folder.path().join("errors.log"))?;
        let last: Vec<&str> =
            said.lines().filter(|line| line.starts_with("captured ") || line.starts_with("lost ")).collect();
        Ok(last.join("; "))
    }

    /// Returns the CPU time that plugin, hub and capturer have used.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        let session::Pids { capturer, hub } = session::pids()?;
        let mut total = session::cpu_time(self.plugin.id())?;
        for pid in [capturer, hub] {
            total += session::cpu_time(pid)?;
        }
        Ok(total)
    }
}
