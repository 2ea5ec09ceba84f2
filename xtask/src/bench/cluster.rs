//! `cargo xtask bench cluster`: one session on simulated clusters of many sizes, with real hubs and a real store.

mod plot;

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::servers::Mariadb;
use crate::{run, setup};

/// What is measured by default: from a developer's cluster to the largest that Kubernetes supports.
const SIZES: [Size; 17] = [
    Size::of(10, 200),
    Size::of(100, 2_000),
    Size::of(1_000, 30_000),
    Size::of(5_000, 200_000),
    Size::of(10, 200).stored(1),
    Size::of(100, 2_000).stored(1),
    Size::of(1_000, 30_000).stored(1),
    Size::of(5_000, 200_000).stored(1),
    Size::of(10, 200).stored(3),
    Size::of(100, 2_000).stored(3),
    Size::of(1_000, 30_000).stored(3),
    Size::of(5_000, 200_000).stored(3),
    Size::of(100, 2_000).stored(10),
    Size::of(1_000, 30_000).stored(10),
    Size::of(5_000, 200_000).stored(10),
    Size { churn: 50, ..Size::of(100, 2_000) },
    Size { churn: 50, ..Size::of(5_000, 200_000) },
];

/// What to simulate.
#[derive(Debug, clap::Args)]
pub(super) struct ClusterBenchOptions {
    /// Only sizes of at most so many nodes.
    #[arg(long, value_name = "N")]
    most_nodes: Option<u32>,
    /// Exchanges a second, of all nodes together.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    rate: u32,
    /// Length of each measurement.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Draws what was measured with a store into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// One simulated cluster.
#[derive(Clone, Copy, Debug)]
struct Size {
    nodes: u32,
    pods: u32,
    hubs: u32,
    churn: u32,
    stored: bool,
}

// === impl Size ===

impl Size {
    const fn of(nodes: u32, pods: u32) -> Self {
        Self { nodes, pods, hubs: 1, churn: 0, stored: false }
    }

    const fn stored(self, hubs: u32) -> Self {
        Self { hubs, stored: true, ..self }
    }
}

/// Measures each size and prints a table; fails when something was lost, or a node was told of wrong pods.
pub(super) fn run(choice: &ClusterBenchOptions) -> Result<ExitCode> {
    run::need_root("bench cluster")?;
    setup::run(setup::Purpose::Test)?;
    let mariadb = Mariadb::start()?;
    // Its log of statements is for tests that compare with it.
    mariadb.sql("SET GLOBAL general_log = 0")?;
    println!(
        "| nodes | pods | hubs | pods/s replaced | store | all stream after | end after | hubs' CPU | largest hub | API requests, then by the minute | sent | lost |"
    );
    println!("| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    let mut measured = Vec::new();
    for (number, size) in SIZES.iter().enumerate() {
        if choice.most_nodes.is_some_and(|most| size.nodes > most) {
            continue;
        }
        let database = format!("cluster_{number}");
        mariadb.sql(&format!("CREATE DATABASE {database}"))?;
        let figures = measure(*size, choice, &mariadb.url(&database))?;
        println!("{}", row(&figures)?);
        measured.push(figures);
    }
    if let Some(file) = &choice.plot {
        plot::draw(&measured, file).with_context(|| format!("drawing {}", file.display()))?;
    }
    Ok(if measured.iter().all(is_whole) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(size: Size, choice: &ClusterBenchOptions, store: &str) -> Result<Value> {
    eprintln!("{} nodes, {} pods, {} hubs …", size.nodes, size.pods, size.hubs);
    let mut bench = run::cargo();
    bench.args(["bench", "--quiet", "--package", "hub", "--bench", "cluster", "--"]);
    for (flag, value) in [
        ("--nodes", size.nodes),
        ("--pods", size.pods),
        ("--hubs", size.hubs),
        ("--churn", size.churn),
        ("--rate", choice.rate),
        ("--seconds", choice.seconds),
    ] {
        bench.args([flag, &value.to_string()]);
    }
    if size.stored {
        bench.args(["--store", store]);
    }
    let output = bench.stderr(Stdio::inherit()).output().context("running the simulation")?;
    if !output.status.success() {
        bail!("the simulation of {} nodes failed", size.nodes);
    }
    serde_json::from_slice(&output.stdout).context("reading what the simulation found")
}

fn is_whole(figures: &Value) -> bool {
    let lost = figures.get("lost").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    lost && figures.get("wrong_pods") == Some(&Value::from(0))
        && figures.get("sent") == figures.get("received")
}

fn row(figures: &Value) -> Result<String> {
    let of = |name: &str| figures.get(name).with_context(|| format!("the simulation told no `{name}`"));
    let number = |name: &str| of(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
    let lost = match of("lost")?.as_object() {
        Some(lost) if lost.is_empty() => "0".to_owned(),
        _ => of("lost")?.to_string().replace(['{', '}', '"'], ""),
    };
    let store = if of("stored")? == &Value::Bool(true) { "MariaDB" } else { "none" };
    Ok(format!(
        "| {} | {} | {} | {} | {store} | {:.1} s | {:.1} s | {:.2} cores | {:.0} MiB | {}, {:.0} | {} | {lost} |",
        of("nodes")?,
        of("pods")?,
        of("hubs")?,
        of("churn")?,
        number("streaming_seconds")?,
        number("drained_seconds")?,
        number("hub_cores")?,
        number("hub_peak_mib")?,
        of("requests_before")?,
        number("requests_per_minute")?,
        of("sent")?,
    ))
}
