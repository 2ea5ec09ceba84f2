//! The price for a server that is captured: its own CPU time for a request.

use std::time::Duration;

use anyhow::Result;

use super::super::load::Load;
use super::super::session;
use super::table::{Row, Table, ratios};
use super::watch::Watch;

/// A server under load, and the limit that is set for it.
pub(super) struct Priced {
    load: Load,
    what: &'static str,
    limit: &'static str,
}

/// nginx with one worker, asked as fast as it answers.
pub(super) fn nginx(length: Duration) -> Result<Priced> {
    Ok(Priced { load: Load::small_file(length)?, what: "nginx under wrk, its CPU a request", limit: "1.15" })
}

/// nginx with one worker, asked at a steady pace.
pub(super) fn paced(length: Duration) -> Result<Priced> {
    Ok(Priced {
        load: Load::paced(length)?,
        what: "nginx at a steady pace, its CPU a request",
        limit: "1.15",
    })
}

/// Redis, under redis-benchmark.
pub(super) fn redis(_length: Duration) -> Result<Priced> {
    Ok(Priced { load: Load::small_commands()?, what: "Redis, its CPU a command", limit: "1.10" })
}

/// Measures it under every watch.
pub(super) fn measure(priced: &Priced, watches: &[Watch], pairs: usize, table: &mut Table) -> Result<()> {
    let mut found: Vec<(Vec<f64>, Vec<f64>)> = vec![(Vec::new(), Vec::new()); watches.len()];
    let mut said: Vec<String> = vec![String::new(); watches.len()];
    cost_of_a_request(&priced.load)?;
    for _ in 0..pairs {
        for ((watch, (plain, watched)), said) in watches.iter().zip(&mut found).zip(&mut said) {
            plain.push(cost_of_a_request(&priced.load)?);
            let watching = watch.begin(priced.load.port())?;
            watched.push(cost_of_a_request(&priced.load)?);
            *said = watching.end()?;
        }
    }
    for ((watch, (plain, watched)), said) in watches.iter().zip(&found).zip(said) {
        let limit = watch.capture().filter(|capture| capture.packets).map(|_capture| priced.limit);
        let row = Row::ratio(priced.what, watch.name(), &ratios(watched, plain), limit);
        table.add(row.beside(plain, "µs").said(&said));
    }
    Ok(())
}

/// Returns the server's own CPU time for a request, in microseconds.
fn cost_of_a_request(load: &Load) -> Result<f64> {
    let servers = load.servers()?;
    let total = || -> Result<Duration> { servers.iter().map(|pid| session::cpu_time(*pid)).sum() };
    let before = total()?;
    let rate = load.run()?;
    Ok(total()?.saturating_sub(before).as_secs_f64() * 1e6 / rate.requests.max(1.0))
}
