//! A session on a simulated cluster: hubs are real processes, each in a network namespace of its own; nodes are gRPC
//! connections with mutual TLS; the Kubernetes API is a server that lists and watches what a cluster of that size holds.
//!
//! `cargo xtask bench cluster` runs this for a row of sizes. Each run prints one line of JSON, [`Figures`].

#![cfg(target_os = "linux")]

mod api;
mod authority;
mod figures;
mod nodes;
mod objects;
mod place;
mod viewer;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use proto::launch::{HubLaunch, HubPlace, Identity, StoreChoice};
use proto::{role, v1};
use tokio::time::Instant;

use api::Api;
use authority::Authority;
use figures::Figures;
use nodes::Nodes;
use objects::Objects;
use place::{Hub, Hubs, Secrets, Site};
use viewer::Viewer;

/// Longest wait until all nodes stream.
const START_TIMEOUT: Duration = Duration::from_mins(15);

/// Longest wait for the drain at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(1);

/// From the last change of a pod until nodes have been told.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// Payload bytes kept of each message, the default of `--max-print-bytes`.
const PAYLOAD_BYTES: u32 = 1024;

/// The session's name, and its namespace.
const SESSION: &str = "bench";
const NAMESPACE: &str = "kyanos-bench";

/// One size to simulate.
#[derive(Debug, clap::Parser)]
struct Size {
    /// Program to run as hub.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_hub"))]
    hub: std::path::PathBuf,
    /// Nodes, each with a capturer.
    #[arg(long, default_value_t = 10)]
    nodes: usize,
    /// Pods, spread over the nodes.
    #[arg(long, default_value_t = 200)]
    pods: usize,
    /// Hubs.
    #[arg(long, default_value_t = 1)]
    hubs: usize,
    /// Exchanges a second, of all nodes together.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Pods a second that go and come again.
    #[arg(long, default_value_t = 0)]
    churn: u64,
    /// Length of the measurement in seconds, once all nodes stream.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// MySQL-compatible store as `mysql://USER:PASSWORD@127.0.0.1:PORT/DATABASE`; without it nothing is stored.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Given by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let size = Size::parse();
    if size.hubs == 0 || size.nodes == 0 || (size.hubs > 1 && size.store.is_none()) {
        bail!("give at least one node and one hub; several hubs need `--store`");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(measure(&size))?;
    #[expect(clippy::print_stdout, reason = "what a benchmark found is its output")]
    {
        println!("{}", serde_json::to_string(&figures)?);
    }
    Ok(())
}

async fn measure(size: &Size) -> Result<Figures> {
    let authority = Authority::new()?;
    let place = Arc::new(Site::make(size.hubs)?);
    let objects = Objects::new(size.nodes, size.pods, place.addresses());
    let api = Api::serve(place::GATEWAY, objects, &authority).await?;
    let store = match &size.store {
        None => StoreChoice::None,
        Some(url) => StoreChoice::Mysql { url: place.forward(url).await?, reader: None },
    };
    let launch = launch(size, store, authority.identity(role::HUB)?)?;
    let began = Instant::now();
    let hubs = (0..size.hubs).map(|number| {
        let secrets = Secrets { launch: &launch, authority: &authority.pem() };
        Hub::start(&size.hub, &place, number, &secrets, &api)
    });
    let hubs = Hubs(hubs.collect::<Result<_>>()?);
    let nodes = Nodes::start(size.nodes, size.rate, &place.addresses(), authority.identity(role::CAPTURER)?);
    let identity = authority.identity(role::VIEWER)?;
    let mut viewer = Viewer::join(&place, &identity, began + START_TIMEOUT).await?;
    viewer.all_stream(size.nodes, START_TIMEOUT).await.with_context(|| nodes.state())?;
    let streaming = began.elapsed();
    let requests_before = api.requests();

    let churn = (size.churn > 0).then(|| tokio::spawn(Arc::clone(&api).churn(size.churn)));
    let (from, cpu, memory) = (Instant::now(), hubs.cpu()?, hubs.memory()?);
    tokio::time::sleep(Duration::from_secs(size.seconds)).await;
    let seconds = from.elapsed().as_secs_f64();
    let (cpu, memory) = (hubs.cpu()? - cpu, hubs.memory()? - memory);
    let requests = u32::try_from(api.requests() - requests_before).map_or(f64::INFINITY, f64::from);
    if let Some(churn) = churn {
        churn.abort();
        tokio::time::sleep(SETTLE_TIME).await;
    }
    let wrong_pods = nodes.wrong(|node| api.objects.pods_of(node)).await;

    let drain = Instant::now();
    nodes.stop_producing();
    let mut lost = viewer.drain(DRAIN_TIMEOUT).await?;
    lost.insert("capturers' backlog".to_owned(), nodes.held_back());
    lost.retain(|_, count| *count > 0);
    Ok(Figures {
        nodes: size.nodes,
        pods: size.pods,
        hubs: size.hubs,
        rate: size.rate,
        churn: size.churn,
        stored: size.store.is_some(),
        streaming_seconds: streaming.as_secs_f64(),
        drained_seconds: drain.elapsed().as_secs_f64(),
        hub_cores: cpu / seconds,
        hub_peak_mib: hubs.peak()?,
        hub_growth_mib: memory,
        requests_before,
        requests_per_minute: requests * 60.0 / seconds,
        sent: nodes.sent(),
        received: viewer.received(),
        lost,
        wrong_pods,
    })
}

fn launch(size: &Size, store: StoreChoice, identity: Identity) -> Result<HubLaunch> {
    Ok(HubLaunch {
        session: SESSION.to_owned(),
        place: HubPlace::Cluster { namespace: NAMESPACE.to_owned() },
        identity,
        store,
        store_limit: 0,
        max_store_bytes: PAYLOAD_BYTES,
        payload_bytes: PAYLOAD_BYTES,
        keep: false,
        ttl_seconds: 0,
        filter: v1::Filter::default(),
        redaction: v1::Redaction::default(),
        sample: 0,
        tracing: v1::Tracing::default(),
        hubs: u32::try_from(size.hubs).context("so many hubs")?,
    })
}
