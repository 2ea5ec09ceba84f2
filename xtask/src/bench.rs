//! `cargo xtask bench`: what capturing costs a busy server, beside tcpdump and another build, and how much memory it
//! takes.

mod cluster;
mod load;
mod memory;
mod observer;
mod price;
mod session;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use load::Load;
use memory::Memory;
use observer::{BenchCapture, Measured, Observer};

use crate::{run, setup, workspace};

/// Each way of running is measured this often, in turn, so that a machine that grows slower hurts all alike.
const ROUNDS: usize = 3;

/// Length of one measurement of small requests.
const ROUND_LENGTH: Duration = Duration::from_secs(6);

/// Length of the run whose memory is watched.
const LONG_RUN: Duration = Duration::from_mins(1);

/// What capturer and hub may each take.
const MEMORY_LIMIT: u64 = 64 << 20;

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchOptions {
    #[command(subcommand)]
    other: Option<OtherBench>,
    /// Length of the memory run in seconds; 0 leaves it out.
    #[arg(long)]
    seconds: Option<u64>,
    /// A folder with the programs of another release build, measured in turn with this one.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// How often each is measured.
    #[arg(long, value_name = "N", default_value_t = ROUNDS, value_parser = rounds)]
    rounds: usize,
}

/// What else can be measured than the cost of capturing.
#[derive(Debug, clap::Subcommand)]
enum OtherBench {
    /// A session on simulated clusters of many sizes: real hubs and store, nodes and Kubernetes API simulated.
    Cluster(cluster::ClusterBenchOptions),
    /// What capturing takes from those who are captured and from those who are not, beside the limits that are set.
    Price(price::PriceOptions),
    /// Hold connections that rest, for the price of them.
    #[command(hide = true)]
    Rest(price::RestOptions),
}

fn rounds(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|rounds| *rounds > 0).ok_or_else(|| "a number from 1 on".to_owned())
}

/// Measures costs and memory; fails when memory exceeds its limit.
pub fn run(choice: &BenchOptions) -> Result<ExitCode> {
    match &choice.other {
        Some(OtherBench::Cluster(choice)) => return cluster::run(choice),
        Some(OtherBench::Price(choice)) => return price::run(choice),
        Some(OtherBench::Rest(choice)) => return price::hold(choice),
        None => {}
    }
    run::need_root("bench")?;
    setup::run(setup::Purpose::Test)?;
    // Speed is a property of the optimised programs.
    let folder = build_release()?;
    let observers = observers(&folder, choice.against.as_deref())?;
    let small = Load::small_file(ROUND_LENGTH)?;
    costs(&small, &observers, choice.rounds)?;
    costs(&Load::paced(ROUND_LENGTH)?, &observers, choice.rounds)?;
    costs(&Load::large_result()?, &observers, choice.rounds)?;
    let length = choice.seconds.map_or(LONG_RUN, Duration::from_secs);
    if length.is_zero() {
        return Ok(ExitCode::SUCCESS);
    }
    let memory = memory_under_load(&Load::small_file(length)?, &folder, length)?;
    println!(
        "\nlargest anonymous memory plus rings counted once, of {} MiB allowed each:",
        MEMORY_LIMIT >> 20
    );
    let mut fits = true;
    for (name, bytes) in [("capturer", memory.capturer), ("hub", memory.hub)] {
        println!("  {name:<10} {:>6.1} MiB", mebibytes(bytes));
        fits &= bytes <= MEMORY_LIMIT;
    }
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build_release() -> Result<PathBuf> {
    let mut build = run::cargo();
    build.args(["build", "--release", "--bin", "kubectl-kyanos", "--bin", "hub", "--bin", "capturer"]);
    run::check(&mut build)?;
    Ok(workspace::target().join("release"))
}

fn observers(folder: &Path, against: Option<&Path>) -> Result<Vec<Observer>> {
    let mut observers =
        vec![Observer::Nobody, Observer::Kyanos { name: "under kyanos", folder: folder.to_path_buf() }];
    if let Some(other) = against {
        for name in workspace::BINARIES {
            if !other.join(name).is_file() {
                bail!("`{}` holds no `{name}`: give a folder with a build's three programs", other.display());
            }
        }
        observers.push(Observer::Kyanos { name: "under the other", folder: other.to_path_buf() });
    }
    if run::find("tcpdump").is_some() {
        observers.push(Observer::Tcpdump);
    } else {
        eprintln!("tcpdump is not installed and not compared with");
    }
    Ok(observers)
}

/// Measures what each observer costs under one load, and prints it.
fn costs(load: &Load, observers: &[Observer], rounds: usize) -> Result<()> {
    let mut found: Vec<Vec<Measured>> = vec![Vec::new(); observers.len()];
    for _ in 0..rounds {
        for (observer, found) in observers.iter().zip(&mut found) {
            found.push(observer.measure(load)?);
        }
    }
    println!("\n{}, median of {rounds}:", load.describe());
    let medians: Vec<Measured> = found.iter().map(|found| median(found)).collect();
    let plain = medians.first().map_or(f64::NAN, |plain| plain.requests_per_second);
    let (mut ours, mut other) = (None, None);
    for (observer, Measured { requests_per_second: rate, us_per_request, said }) in
        observers.iter().zip(medians)
    {
        let name = observer.name();
        println!(
            "  {name:<16} {rate:>8.0} requests/s  × {:.2}  CPU {us_per_request:>6.1} µs each",
            rate / plain
        );
        if !said.is_empty() {
            println!("  {:<16} the last time: {said}", "");
        }
        if let Observer::Kyanos { .. } = observer {
            let place = if ours.is_none() { &mut ours } else { &mut other };
            *place = Some((rate, us_per_request));
        }
    }
    if let (Some(ours), Some(other)) = (ours, other) {
        println!(
            "  this build beside the other: requests/s × {:.2}, CPU × {:.2}",
            ours.0 / other.0,
            ours.1 / other.1
        );
    }
    Ok(())
}

fn memory_under_load(load: &Load, folder: &Path, length: Duration) -> Result<Memory> {
    eprintln!("watching memory for {} s at full load …", length.as_secs());
    let capture = BenchCapture::start(folder, load.port(), &[])?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (rate, memory) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| memory::largest(&stop));
        let rate = load.run();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (rate, watcher.join())
    });
    let rate = rate?.requests_per_second;
    println!("\n{rate:.0} requests/s for {} s: {}", length.as_secs(), capture.end()?);
    memory.unwrap_or_else(|_| bail!("the memory was not watched to the end"))
}

/// Returns the median of each figure by itself, with what was said the last time.
fn median(measured: &[Measured]) -> Measured {
    let of = |figure: fn(&Measured) -> f64| {
        let mut sorted: Vec<f64> = measured.iter().map(figure).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    Measured {
        requests_per_second: of(|measured| measured.requests_per_second),
        us_per_request: of(|measured| measured.us_per_request),
        said: measured.last().map(|measured| measured.said.clone()).unwrap_or_default(),
    }
}

fn mebibytes(bytes: u64) -> f64 {
    // Kilobytes of a process fit a u32.
    u32::try_from(bytes >> 10).map_or(f64::INFINITY, |kibibytes| f64::from(kibibytes) / 1024.0)
}
