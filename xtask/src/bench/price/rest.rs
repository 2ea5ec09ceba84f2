//! The price of a capturer that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::session;
use super::table::{Row, Table};
use super::watch::Watch;
use crate::process::free_port;

/// What begins once is over after this.
const BEGINNING: Duration = Duration::from_secs(3);

/// How long the capturer is watched.
const REST_LENGTH: Duration = Duration::from_secs(10);

/// Measures it for every kind of capture.
pub(super) fn measure(watches: &[Watch], table: &mut Table) -> Result<()> {
    for capture in watches.iter().filter_map(Watch::capture) {
        let watching = capture.begin(free_port()?)?;
        std::thread::sleep(BEGINNING);
        let pid = session::pids()?.capturer;
        let (begun, before) = (Instant::now(), session::cpu_time(pid)?);
        std::thread::sleep(REST_LENGTH);
        let spent = session::cpu_time(pid)?.saturating_sub(before);
        let percent = spent.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
        watching.end()?;
        table.add(Row::figure("idle capturer, of a core", capture.name(), percent, "%", Some("0.5 %")));
    }
    Ok(())
}
