//! `cargo xtask bench`: what capturing costs a busy nginx, and how much memory it takes.

mod memory;

use std::fmt;
use std::fs::File;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use memory::Memory;
use nix::sys::signal::Signal;

use crate::process::{Plan, Process, scratch, wait_until};
use crate::servers::Nginx;
use crate::{run, setup, workspace};

/// Each way of running is measured this often, in turn, so that a machine that grows slower hurts all alike.
const ROUNDS: usize = 3;

/// Length of one measurement.
const ROUND: Duration = Duration::from_secs(6);

/// Length of the run whose memory is watched.
const LONG_RUN: Duration = Duration::from_mins(1);

/// What capturer and hub may each take.
const LIMIT: u64 = 64 << 20;

/// Name of the sessions that the bench starts.
const SESSION: &str = "bench";

/// A way of running nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Observer {
    Nobody,
    Kyanos,
    Tcpdump,
}

/// One measurement of wrk.
#[derive(Clone, Copy, Debug)]
struct Rate {
    requests_per_second: f64,
}

/// A capture that runs until dropped.
struct Capture {
    plugin: Process,
    folder: tempfile::TempDir,
}

/// Runs both measurements; fails when memory exceeds its limit.
pub fn run(seconds: Option<u64>) -> Result<ExitCode> {
    run::need_root("bench")?;
    setup::run(setup::Purpose::Test)?;
    // Speed is a property of the optimised programs.
    let folder = build_release()?;
    let nginx = Nginx::start_with("access_log off;")?;
    let plugin = folder.join("kubectl-kyanos");
    throughput(&nginx, &plugin)?;
    let memory = memory_under_load(&nginx, &plugin, seconds.map_or(LONG_RUN, Duration::from_secs))?;
    println!("\nlargest anonymous memory plus rings counted once, of {} MiB allowed each:", LIMIT >> 20);
    let mut fits = true;
    for (name, bytes) in [("capturer", memory.capturer), ("hub", memory.hub)] {
        println!("  {name:<10} {:>6.1} MiB", mebibytes(bytes));
        fits &= bytes <= LIMIT;
    }
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build_release() -> Result<std::path::PathBuf> {
    let mut build = run::cargo();
    build.args(["build", "--release", "--bin", "kubectl-kyanos", "--bin", "hub", "--bin", "capturer"]);
    run::check(&mut build)?;
    Ok(workspace::target().join("release"))
}

fn throughput(nginx: &Nginx, plugin: &std::path::Path) -> Result<()> {
    let mut observers = vec![Observer::Nobody, Observer::Kyanos];
    if run::find("tcpdump").is_some() {
        observers.push(Observer::Tcpdump);
    } else {
        eprintln!("tcpdump is not installed and not compared with");
    }
    let mut rates: Vec<Vec<Rate>> = vec![Vec::new(); observers.len()];
    for _ in 0..ROUNDS {
        for (observer, rates) in observers.iter().zip(&mut rates) {
            rates.push(observer.measure(nginx, plugin)?);
        }
    }
    println!("nginx with one worker, wrk with 32 connections, median of {ROUNDS} × {} s:", ROUND.as_secs());
    let plain = rates.first().map(|rates| median(rates)).unwrap_or_default();
    for (observer, rates) in observers.iter().zip(&rates) {
        let rate = median(rates);
        println!("  {:<16} {rate:>10.0} requests/s   × {:.2}", observer.to_string(), rate / plain);
    }
    Ok(())
}

// === impl Observer ===

impl Observer {
    fn measure(self, nginx: &Nginx, plugin: &std::path::Path) -> Result<Rate> {
        match self {
            Self::Nobody => wrk(nginx, ROUND),
            Self::Kyanos => {
                let capture = Capture::start(plugin)?;
                let rate = wrk(nginx, ROUND);
                capture.end()?;
                rate
            }
            Self::Tcpdump => {
                let folder = scratch("tcpdump")?;
                let plan = Plan::new("tcpdump")?.stop_by(Signal::SIGINT);
                let mut command = plan.command();
                command.args(["-i", "lo", "-w", "/dev/null", "tcp", "port", &nginx.port().to_string()]);
                let log = folder.path().join("log");
                let mut tcpdump = plan.start(&mut command, &log)?;
                let listens = || std::fs::read_to_string(&log).unwrap_or_default().contains("listening on");
                wait_until("tcpdump to listen", Duration::from_secs(10), listens)?;
                let rate = wrk(nginx, ROUND);
                tcpdump.stop()?;
                rate
            }
        }
    }
}

impl fmt::Display for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "not observed",
            Self::Kyanos => "under kyanos",
            Self::Tcpdump => "under tcpdump",
        })
    }
}

// === impl Capture ===

impl Capture {
    fn start(plugin: &std::path::Path) -> Result<Self> {
        let folder = scratch("bench")?;
        let log = folder.path().join("errors.log");
        let plan = Plan::at(plugin).stop_by(Signal::SIGINT);
        let mut command = plan.command();
        command.args(["watch", "http", "--local", "--name", SESSION, "--output", "json"]);
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
    fn end(mut self) -> Result<String> {
        self.plugin.signal(Signal::SIGINT)?;
        self.plugin.wait(Duration::from_mins(1))?;
        let said = std::fs::read_to_string(self.folder.path().join("errors.log"))?;
        let last: Vec<&str> =
            said.lines().filter(|line| line.starts_with("captured ") || line.starts_with("lost ")).collect();
        Ok(last.join("; "))
    }
}

fn memory_under_load(nginx: &Nginx, plugin: &std::path::Path, length: Duration) -> Result<Memory> {
    eprintln!("watching memory for {} s at full load …", length.as_secs());
    let capture = Capture::start(plugin)?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (rate, memory) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| memory::largest(SESSION, &stop));
        let rate = wrk(nginx, length);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (rate, watcher.join())
    });
    let rate = rate?;
    println!("\n{:.0} requests/s for {} s: {}", rate.requests_per_second, length.as_secs(), capture.end()?);
    memory.unwrap_or_else(|_| bail!("the memory was not watched to the end"))
}

fn wrk(nginx: &Nginx, length: Duration) -> Result<Rate> {
    let program = run::find("wrk").context("`wrk` is not installed")?;
    let mut command = Command::new(program);
    command.args(["--threads", "1", "--connections", "32", "--duration"]);
    command.arg(format!("{}s", length.as_secs())).arg(nginx.url("/hello")).stderr(Stdio::inherit());
    let text = run::output(&mut command)?;
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    let rate = rate.with_context(|| format!("wrk reports no rate: {text}"))?.trim().parse();
    Ok(Rate { requests_per_second: rate.context("wrk's rate is no number")? })
}

fn median(rates: &[Rate]) -> f64 {
    let mut sorted: Vec<f64> = rates.iter().map(|rate| rate.requests_per_second).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn mebibytes(bytes: u64) -> f64 {
    // Kilobytes of a process fit a u32.
    u32::try_from(bytes >> 10).map_or(f64::INFINITY, |kibibytes| f64::from(kibibytes) / 1024.0)
}
