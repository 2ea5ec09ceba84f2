//! The price for a process that has nothing to do with the network: a loop that writes to a pipe and reads it back.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

use super::table::{Row, Table, ratios};
use super::watch::Watch;
use crate::process::free_port;

/// Length of one run of the loop.
const LOOP_LENGTH: Duration = Duration::from_secs(1);

/// Rounds of the loop between two looks at the clock.
const LOOP_BATCH: u32 = 10_000;

/// Measures it under every watch.
pub(super) fn measure(watches: &[Watch], pairs: usize, table: &mut Table) -> Result<()> {
    // Nobody uses this port: what is watched is somewhere else.
    let port = free_port()?;
    let mut found: Vec<(Vec<f64>, Vec<f64>)> = vec![(Vec::new(), Vec::new()); watches.len()];
    for _ in 0..pairs {
        for (watch, (plain, watched)) in watches.iter().zip(&mut found) {
            plain.push(cost_of_a_round()?);
            let watching = watch.begin(port)?;
            watched.push(cost_of_a_round()?);
            watching.end()?;
        }
    }
    for (watch, (plain, watched)) in watches.iter().zip(&found) {
        // The limit is for the source that asks nothing of others.
        let limit = watch.name().starts_with("source socket").then_some("1.05");
        table.add(
            Row::ratio(
                "pipe loop of another process, CPU a round",
                watch.name(),
                &ratios(watched, plain),
                limit,
            )
            .beside(plain, "ns"),
        );
    }
    Ok(())
}

/// Returns the CPU time of one write and one read in nanoseconds, on a thread of its own.
fn cost_of_a_round() -> Result<f64> {
    let measured = std::thread::scope(|scope| scope.spawn(cost_here).join());
    measured.map_err(|_panic| anyhow::anyhow!("the loop panicked"))?
}

fn cost_here() -> Result<f64> {
    let (mut reader, mut writer) = std::io::pipe().context("making a pipe")?;
    let mut byte = [0];
    let mut rounds = 0_u32;
    let (begun, before) = (Instant::now(), spent()?);
    while begun.elapsed() < LOOP_LENGTH {
        for _ in 0..LOOP_BATCH {
            writer.write_all(&byte)?;
            reader.read_exact(&mut byte)?;
        }
        rounds += LOOP_BATCH;
    }
    Ok((spent()?.saturating_sub(before)).as_secs_f64() * 1e9 / f64::from(rounds))
}

/// Returns the CPU time of this thread.
fn spent() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("reading a thread's clock")?;
    Ok(Duration::from(time))
}
