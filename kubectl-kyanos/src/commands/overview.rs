//! `overview`: who depends on what, by protocol.

use clap::ArgMatches;
use proto::v1;

use super::setup::{self, Needs};
use super::stat::{Shape, Stat};
use crate::capture;
use crate::cli::OverviewArgs;
use crate::cli::groups;
use crate::console::Console;
use crate::failure::Failure;
use crate::metric::Metric;
use crate::render::result::Format;
use crate::render::stat::{Layout, Shows, Sort, shares};

/// Rows shown.
const SHOWN_ROWS: usize = 200;

/// Runs the command.
pub(crate) async fn run(
    args: OverviewArgs,
    matches: &ArgMatches,
    console: &mut Console,
) -> Result<u8, Failure> {
    let asked = &args.capturing;
    let site = setup::site(asked, None, matches, true, console).await?;
    let groups =
        groups::groups("source/destination/protocol").map_err(|error| Failure::new(error.to_string()))?;
    let (shows, sort, metrics) = if args.time_share {
        (Shows::Shares, Sort::Total, shares::METRICS.map(|(metric, ..)| Metric(metric)).to_vec())
    } else {
        (Shows::Summary, Sort::Count, vec![Metric(v1::Metric::TotalTime)])
    };
    let request = v1::StatRequest {
        filter: Some(site.filter.clone()),
        metrics: metrics.iter().map(|metric| metric.0.into()).collect(),
        group_by: groups.fields(),
        samples: 0,
        interval_ns: 0,
        prefer_client: true,
        count: asked.capture.count.unwrap_or_default(),
        from_now: false,
        resume: None,
    };
    let layout = Layout {
        groups: groups.names(),
        metrics,
        sort,
        limit: SHOWN_ROWS,
        wide: args.output == Format::Wide,
        shows,
    };
    let shape = Shape { format: args.output, interval: None, layout };
    let view = Stat::new(request, shape, console);
    let needs = Needs { print_bytes: 0, stores: false, packets: args.time_share };
    let Some(plan) = setup::plan(asked, site, needs, console)? else { return Ok(0) };
    Box::pin(capture::run(plan, view, console)).await
}
