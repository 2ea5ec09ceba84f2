//! The mean run time of each kernel program, as the kernel itself counts it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::load::Load;
use super::super::session;
use super::table::{Row, Table};
use super::watch::{CaptureWatch, Watch};
use crate::run;

/// The setting by which the kernel counts the run time of programs.
const STATISTICS_SETTING: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Limits: a packet, and the two programs of a call.
const LIMITS: &str = "300 a packet, 1000 a call pair";

/// Runs of a program below which its mean says nothing.
const FEWEST_RUNS: u64 = 1_000;

/// Lets the kernel count run times, and sets the setting back when dropped.
struct Statistics {
    before: String,
}

/// What a program has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spent {
    nanoseconds: u64,
    runs: u64,
}

/// Measures it for every kind of capture, under two loads.
pub(super) fn measure(watches: &[Watch], length: Duration, table: &mut Table) -> Result<()> {
    let loads = [("nginx", Load::small_file(length)?), ("Redis", Load::small_commands()?)];
    let statistics = Statistics::begin()?;
    for capture in watches.iter().filter_map(Watch::capture) {
        for (server, load) in &loads {
            under(server, load, capture, table)?;
        }
    }
    drop(statistics);
    Ok(())
}

fn under(server: &str, load: &Load, capture: &CaptureWatch, table: &mut Table) -> Result<()> {
    let watching = capture.begin(load.port())?;
    let pid = session::pids()?.capturer;
    let before = spent(pid)?;
    let rate = load.run()?;
    let after = spent(pid)?;
    watching.end()?;
    let mut total = 0.0;
    for (name, after) in after {
        let before = before.get(&name).copied().unwrap_or_default();
        let runs = after.runs.saturating_sub(before.runs);
        let nanoseconds = float(after.nanoseconds.saturating_sub(before.nanoseconds));
        total += nanoseconds;
        if runs >= FEWEST_RUNS {
            let what = format!("run of {name}, under {server}");
            let row = Row::figure(&what, capture.name(), nanoseconds / float(runs), "ns", Some(LIMITS));
            table.add(row.said(&format!("{:.1} runs a request", float(runs) / rate.requests)));
        }
    }
    let what = format!("all programs together a request, under {server}");
    table.add(Row::figure(&what, capture.name(), total / rate.requests, "ns", None));
    Ok(())
}

// === impl Statistics ===

impl Statistics {
    fn begin() -> Result<Self> {
        let before = std::fs::read_to_string(STATISTICS_SETTING).context("reading a kernel setting")?;
        std::fs::write(STATISTICS_SETTING, "1").context("letting the kernel count run times")?;
        Ok(Self { before: before.trim().to_owned() })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(STATISTICS_SETTING, &self.before) {
            eprintln!("warning: `{STATISTICS_SETTING}` is not {} again: {error}", self.before);
        }
    }
}

// === free functions ===

/// Returns what each program of a process has taken so far, by name.
fn spent(pid: u32) -> Result<BTreeMap<String, Spent>> {
    let mut all: BTreeMap<String, Spent> = BTreeMap::new();
    let folder = Path::new("/proc").join(pid.to_string()).join("fdinfo");
    let mut seen = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(&folder).context("the capturer is gone")? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
        // Links name their program too, but not what it has taken.
        let Some((id, spent)) = program(&text).filter(|(id, _)| seen.insert(*id)) else { continue };
        let sum = all.entry(name(id)?).or_default();
        sum.nanoseconds += spent.nanoseconds;
        sum.runs += spent.runs;
    }
    Ok(all)
}

/// Reads a program's number and what it has taken from its `fdinfo`.
fn program(fdinfo: &str) -> Option<(u32, Spent)> {
    let field = |name: &str| -> Option<u64> {
        fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
    };
    let spent = Spent { nanoseconds: field("run_time_ns")?, runs: field("run_cnt")? };
    Some((u32::try_from(field("prog_id")?).ok()?, spent))
}

/// Returns the name of the program with a number.
fn name(id: u32) -> Result<String> {
    let bpftool = run::find("bpftool").context("`bpftool` is not installed")?;
    let text = run::output(Command::new(bpftool).args(["-j", "prog", "show", "id", &id.to_string()]))?;
    let shown: serde_json::Value = serde_json::from_str(&text).context("what bpftool says")?;
    let name = shown.get("name").and_then(serde_json::Value::as_str);
    Ok(name.map_or_else(|| format!("program {id}"), str::to_owned))
}

fn float(count: u64) -> f64 {
    Duration::from_nanos(count).as_secs_f64() * 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_took_is_read_from_its_descriptor() {
        let text = "pos:\t0\nflags:\t02000002\nprog_type:\t17\nprog_id:\t42\nrun_time_ns:\t9000\nrun_cnt:\t30\nrecursion_misses:\t0\n";
        assert_eq!(program(text), Some((42, Spent { nanoseconds: 9000, runs: 30 })));
        assert_eq!(program("pos:\t0\nlink_type:\traw_tracepoint\nprog_id:\t42\n"), None);
        assert_eq!(program("pos:\t0\nmap_id:\t3\n"), None);
    }

    #[test]
    fn counts_of_any_size_become_floats() {
        for (count, expected) in [(5_u64, 5.0), (4_000_000_000, 4.0e9), (40_000_000_000, 4.0e10)] {
            let found = float(count);
            assert!((found / expected - 1.0).abs() < 1e-9, "{count}: {found}");
        }
    }
}
