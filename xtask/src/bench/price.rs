//! `cargo xtask bench price`: what capturing takes from those who are captured, and from those who are not.
//!
//! Everything is measured in pairs: unobserved and observed in turn in one run, so that only ratios count. The limits
//! that are set stand beside the figures; none is a condition, for a busy machine would break it.

mod connections;
mod hooks;
mod pipe;
mod rest;
mod served;
mod table;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
pub(super) use connections::{RestOptions, hold};
use table::Table;
use watch::Watch;

use crate::{run, setup};

/// Each pair is measured this often.
const PAIRS: usize = 5;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(super) struct PriceOptions {
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// How often each pair is measured.
    #[arg(long, value_name = "N", default_value_t = PAIRS, value_parser = super::rounds)]
    pairs: usize,
    /// Seconds of load in one measurement.
    #[arg(long, value_name = "S", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Open connections that rest, where their price is measured.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=25_000))]
    connections: u32,
    /// Measure the programs in this folder, and build nothing.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Write the table as Markdown too.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// One part of the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// An unrelated process that reads and writes a pipe.
    Pipe,
    /// nginx with one worker, under wrk.
    Nginx,
    /// nginx with one worker, asked at a steady pace.
    Paced,
    /// Redis, under redis-benchmark.
    Redis,
    /// The mean run time of each kernel program.
    Hooks,
    /// Many connections that rest.
    Connections,
    /// A capturer that has nothing to do.
    Idle,
}

/// Measures and prints a table.
pub(super) fn run(choice: &PriceOptions) -> Result<ExitCode> {
    run::need_root("bench price")?;
    let programs = if let Some(folder) = &choice.programs {
        folder.clone()
    } else {
        setup::run(setup::Purpose::Test)?;
        // Speed is a property of the optimised programs.
        super::build_release()?
    };
    let wanted = |part: Part| choice.only.is_empty() || choice.only.contains(&part);
    let watches = Watch::all(&programs)?;
    let length = Duration::from_secs(choice.seconds);
    let mut table = Table::default();
    if wanted(Part::Pipe) {
        pipe::measure(&watches, choice.pairs, &mut table)?;
    }
    for (part, load) in [
        (Part::Nginx, served::nginx as fn(Duration) -> Result<served::Priced>),
        (Part::Paced, served::paced),
        (Part::Redis, served::redis),
    ] {
        if wanted(part) {
            served::measure(&load(length)?, &watches, choice.pairs, &mut table)?;
        }
    }
    if wanted(Part::Hooks) {
        hooks::measure(&watches, length, &mut table)?;
    }
    if wanted(Part::Connections) {
        connections::measure(&watches, choice.connections, choice.pairs, &mut table)?;
    }
    if wanted(Part::Idle) {
        rest::measure(&watches, &mut table)?;
    }
    println!("\n{table}");
    if let Some(file) = &choice.out {
        let text = table.markdown(&machine()?);
        std::fs::write(file, text).with_context(|| format!("writing `{}`", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says where it was measured: kernel and CPUs.
fn machine() -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?;
    let cpus = std::thread::available_parallelism().context("the number of CPUs")?;
    // A version's suffix names who built it.
    let version = release.trim().split('-').next().unwrap_or_default();
    Ok(format!("Linux {version}, {cpus} CPUs"))
}
