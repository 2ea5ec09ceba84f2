//! `stat`: counts, errors and percentiles by group.

use std::io::IsTerminal;
use std::time::Duration;

use clap::ArgMatches;
use proto::account::Balance;
use proto::v1;
use tonic::Streaming;

use super::setup::{self, Needs};
use crate::capture;
use crate::capture::session::Session;
use crate::capture::view::{Flow, View};
use crate::capture::viewed::{Back, Viewed};
use crate::cli::{AggregateArgs, StatArgs};
use crate::client::{self, Client};
use crate::console::Console;
use crate::failure::Failure;
use crate::metric::Metric;
use crate::render::json::JsonRenderer;
use crate::render::result::{Format, json, yaml};
use crate::render::stat::{Layout, Shows, Sort};
use crate::sight::News;
use crate::stdout::{print_part, terminal_width};

/// How often a terminal shows new numbers.
const REFRESH_PERIOD: Duration = Duration::from_secs(1);

/// Age of the numbers that a joined viewer ends with.
const JOINED_INTERVAL_NS: u64 = 200_000_000;

/// Examples per group where the question is which exchanges were large.
const GROUP_EXAMPLES: u32 = 3;

/// Payload bytes of an example.
const EXAMPLE_BYTES: u32 = 256;

/// Runs the command.
pub(crate) async fn run(args: StatArgs, matches: &ArgMatches, console: &mut Console) -> Result<u8, Failure> {
    let aggregate = &args.aggregate;
    check(aggregate)?;
    let asked = &args.capturing;
    let site = setup::site(asked, args.protocol.as_deref(), matches, false, console).await?;
    let metrics = metrics(aggregate);
    let largest = aggregate.slow || aggregate.bigreq || aggregate.bigresp;
    let samples = aggregate.samples_limit.unwrap_or(if largest { GROUP_EXAMPLES } else { 0 });
    let request = v1::StatRequest {
        filter: Some(site.filter.clone()),
        metrics: metrics.iter().map(|metric| metric.0.into()).collect(),
        group_by: aggregate.group_by.fields(),
        samples,
        interval_ns: 0,
        prefer_client: false,
        count: asked.capture.count.unwrap_or_default(),
        from_now: false,
        resume: None,
    };
    // An example is shown whole, with all of its times.
    let packets = samples > 0 || metrics.iter().any(|metric| metric.needs_packets());
    let layout = Layout {
        groups: aggregate.group_by.names(),
        metrics,
        sort: aggregate.sort.unwrap_or(if largest { Sort::Max } else { Sort::Count }),
        limit: usize::try_from(aggregate.limit).unwrap_or(usize::MAX),
        wide: aggregate.output == Format::Wide,
        shows: Shows::Metrics,
    };
    let shape = Shape { format: aggregate.output, interval: aggregate.interval, layout };
    let view = Stat::new(request, shape, console);
    let print_bytes = if samples > 0 { EXAMPLE_BYTES } else { 0 };
    let needs = Needs { print_bytes, stores: false, packets };
    let Some(plan) = setup::plan(asked, site, needs, console)? else { return Ok(0) };
    Box::pin(capture::run(plan, view, console)).await
}

/// YAML is for one finite result; at intervals there is no end.
fn check(args: &AggregateArgs) -> Result<(), Failure> {
    if args.interval.is_some() && args.output == Format::Yaml {
        return Err(Failure::usage("`-o yaml` cannot be used with `--interval`: its result is not finite")
            .hint("use `-o json`, which prints one object each"));
    }
    Ok(())
}

fn metrics(args: &AggregateArgs) -> Vec<Metric> {
    if args.bigreq {
        return vec![Metric(v1::Metric::RequestSize)];
    }
    if args.bigresp {
        return vec![Metric(v1::Metric::ResponseSize)];
    }
    if args.slow {
        return vec![Metric(v1::Metric::TotalTime)];
    }
    let mut metrics: Vec<Metric> = Vec::new();
    for metric in &args.metric {
        if !metrics.contains(metric) {
            metrics.push(*metric);
        }
    }
    metrics
}

/// What a result looks like, and how often there is one.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Value of `-o`.
    pub(crate) format: Format,
    /// Time between results, where it was given.
    pub(crate) interval: Option<Duration>,
    /// Rows and columns.
    pub(crate) layout: Layout,
}

/// Aggregates, shown as they change on a terminal, else at intervals or once.
#[derive(Debug)]
pub(crate) struct Stat {
    request: v1::StatRequest,
    layout: Layout,
    format: Format,
    /// One JSON object per interval.
    repeats: bool,
    /// Shown over the one before.
    redraws: bool,
    renderer: JsonRenderer,
    last: Option<v1::StatResponse>,
    /// Its ledgers.
    viewed: Viewed,
    console: Console,
    /// Whether the last response was written.
    written: bool,
}

// === impl Stat ===

impl Stat {
    /// Describes what is asked and how it is shown.
    pub(crate) fn new(mut request: v1::StatRequest, shape: Shape, console: &Console) -> Self {
        let Shape { format, interval, layout } = shape;
        let redraws = redraws(format, std::io::stdout().is_terminal());
        let every = interval.or(redraws.then_some(REFRESH_PERIOD)).unwrap_or_default();
        request.interval_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        Self {
            request,
            layout,
            format,
            repeats: interval.is_some() && !redraws,
            redraws,
            renderer: JsonRenderer {
                session: String::new(),
                print_bytes: usize::try_from(EXAMPLE_BYTES).ok(),
            },
            last: None,
            viewed: Viewed::default(),
            console: console.clone(),
            written: false,
        }
    }

    fn show(&mut self, response: &v1::StatResponse) -> Result<Flow, Failure> {
        let text = self.text(response)?;
        self.written = true;
        if self.redraws {
            return drawn(self.console.draw(&text));
        }
        print_part(&text).map(|open| if open { Flow::More } else { Flow::Closed })
    }

    fn text(&self, response: &v1::StatResponse) -> Result<String, Failure> {
        let rows = self.layout.order(response.rows.clone());
        match self.format {
            // An array when there is one result, an object with its rows at intervals, whatever the form of one is.
            _ if self.repeats => {
                let time = crate::render::units::rfc3339(crate::clock::now_ns());
                let value =
                    serde_json::json!({ "time": time, "rows": self.layout.values(&rows, &self.renderer) });
                Ok(format!("{}\n", json(&value)?))
            }
            Format::Json => Ok(format!("{}\n", json(&self.layout.values(&rows, &self.renderer))?)),
            Format::Yaml => yaml(&self.layout.values(&rows, &self.renderer)),
            Format::Table | Format::Wide | Format::Csv => {
                let table = self.layout.table(&rows, &response.rows, terminal_width());
                if response.groups_over_limit == 0 {
                    return Ok(table);
                }
                let more = crate::render::units::count(response.groups_over_limit);
                Ok(format!("{table}{more} groups more than fit are in (other)\n"))
            }
        }
    }
}

/// Whether the hub counted as many as were asked for, and so ended the stream and not the session.
fn is_enough(wanted: u64, balance: Option<&Balance>) -> bool {
    wanted > 0 && balance.is_some_and(|balance| balance.delivered >= wanted)
}

fn drawn(result: std::io::Result<()>) -> Result<Flow, Failure> {
    match result {
        Ok(()) => Ok(Flow::More),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Flow::Closed),
        Err(error) => Err(Failure::new(format!("writing to standard output failed: {error}"))),
    }
}

/// Whether a result is shown over the one before.
fn redraws(format: Format, terminal: bool) -> bool {
    terminal && matches!(format, Format::Table | Format::Wide)
}

impl View for Stat {
    type Item = v1::StatResponse;

    async fn open(
        &mut self,
        client: &mut Client,
        session: &Session,
    ) -> Result<Streaming<Self::Item>, Failure> {
        self.renderer.session.clone_from(&session.name);
        if !session.is_own() && self.request.interval_ns == 0 {
            // The session goes on when this viewer stops, so there is no final result: the latest is shown.
            self.request.interval_ns = JOINED_INTERVAL_NS;
        }
        // It waited for all nodes, and counts none longer than the others.
        self.request.from_now = session.grows();
        let resume = session.resumes().then(|| self.viewed.resume());
        client.stat(v1::StatRequest { resume, ..self.request.clone() }).await
    }

    async fn ready(&self) -> bool {
        true
    }

    async fn ended(&self) {
        // Writing fails where it is done.
        std::future::pending::<()>().await;
    }

    fn take(&mut self, item: Self::Item) -> Result<Flow, Failure> {
        let is_final = item.r#final;
        if let Some(balance) = item.balance.clone() {
            // Where it began is of no use: counts that begin anew lose all that was counted.
            self.viewed.take(item.hub, 0, client::ledger(balance)?, 0);
        }
        self.written = false;
        let shown = if self.redraws || self.repeats { self.show(&item)? } else { Flow::More };
        let enough = is_enough(self.request.count, self.viewed.balance());
        self.last = Some(item);
        Ok(match shown {
            Flow::More if is_final && enough => Flow::Enough,
            Flow::More if is_final => Flow::Last,
            Flow::More | Flow::Enough | Flow::Closed | Flow::Last => shown,
        })
    }

    async fn close(&mut self) -> Result<(), Failure> {
        if self.written && !self.redraws {
            return Ok(());
        }
        match self.last.take() {
            // All of it, below whatever was said since it was drawn.
            Some(last) if self.redraws => {
                let text = self.text(&last)?;
                self.last = Some(last);
                drawn(self.console.draw_last(&text)).map(|_flow| ())
            }
            Some(last) => {
                let shown = self.show(&last);
                self.last = Some(last);
                shown.map(|_flow| ())
            }
            None => Ok(()),
        }
    }

    fn notice(&mut self, _news: &News, _session: &str, _now_ns: u64) {
        // A result is a table or a list of rows.
    }

    fn sums_up(&self) -> bool {
        true
    }

    fn captured(&self) -> u64 {
        let rows = self.last.iter().flat_map(|last| &last.rows);
        rows.map(|row| row.count).sum()
    }

    fn back(&mut self, first: Self::Item) -> Result<String, Failure> {
        let ledger = client::ledger(first.balance.clone().unwrap_or_default())?;
        let back = self.viewed.back(first.hub, 0, ledger, false);
        self.last = Some(first);
        self.written = false;
        Ok(match back {
            Back::Where { .. } => "counts go on".to_owned(),
            Back::Anew => "counts begin anew".to_owned(),
        })
    }

    fn printed(&self) -> Option<u64> {
        None
    }

    fn balance(&self) -> Option<&Balance> {
        self.viewed.balance()
    }
}

#[cfg(test)]
mod tests {
    use proto::account::{Consumer, Losses, Unit};

    use super::*;

    fn stat(format: Format, interval: Option<Duration>) -> Stat {
        let layout = Layout {
            groups: Vec::new(),
            metrics: vec![Metric(v1::Metric::TotalTime)],
            sort: Sort::Count,
            limit: 1,
            wide: false,
            shows: Shows::Metrics,
        };
        let shape = Shape { format, interval, layout };
        let mut stat = Stat::new(v1::StatRequest::default(), shape, &Console::new(false, false));
        // As without a terminal, wherever the test runs.
        stat.redraws = false;
        stat.repeats = interval.is_some();
        stat
    }

    fn response() -> v1::StatResponse {
        v1::StatResponse { rows: vec![v1::StatRow { count: 3, ..Default::default() }], ..Default::default() }
    }

    #[test]
    fn intervals_without_a_terminal_give_one_object_each() {
        for format in [Format::Table, Format::Wide, Format::Json] {
            let text = stat(format, Some(REFRESH_PERIOD)).text(&response()).expect("text");
            assert_eq!(text.lines().count(), 1, "{text}");
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["rows"][0]["count"], 3, "{format:?}");
            assert!(value["time"].is_string(), "{format:?}");
        }
        let once = stat(Format::Table, None).text(&response()).expect("text");
        assert!(once.contains("COUNT"), "{once}");
        let once = stat(Format::Json, None).text(&response()).expect("text");
        let value: serde_json::Value = serde_json::from_str(&once).expect("JSON");
        assert_eq!(value[0]["count"], 3);
    }

    #[test]
    fn the_final_result_of_a_count_ends_no_session() {
        let balance = |delivered| {
            Balance::of_fates(Consumer::Viewer(1), Unit::Exchange, delivered, 0, Losses::default()).into()
        };
        for (wanted, delivered, flow) in [(3, 3, Flow::Enough), (3, 2, Flow::Last), (0, 3, Flow::Last)] {
            let mut stat = stat(Format::Table, None);
            stat.request.count = wanted;
            let last = v1::StatResponse { r#final: true, balance: Some(balance(delivered)), ..response() };
            assert_eq!(stat.take(last).expect("shown"), flow, "{wanted} {delivered}");
        }
    }

    #[test]
    fn only_a_terminal_is_redrawn() {
        assert!(redraws(Format::Table, true) && redraws(Format::Wide, true));
        assert!(
            !redraws(Format::Table, false) && !redraws(Format::Json, true) && !redraws(Format::Yaml, true)
        );
    }
}
