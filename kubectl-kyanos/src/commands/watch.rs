//! `watch`: exchanges as they happen.

use std::fs::{File, OpenOptions};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use jiff::tz::TimeZone;
use proto::account::Balance;
use proto::v1;
use tonic::Streaming;

use super::setup::{self, Needs};
use crate::capture;
use crate::capture::session::Session;
use crate::capture::view::{Flow, View};
use crate::capture::viewed::{Back, Viewed};
use crate::cli::{OutputArgs, WatchArgs};
use crate::client::{self, Client};
use crate::console::Console;
use crate::failure::Failure;
use crate::printer::{Printer, Settings, Style};
use crate::protocols;
use crate::render::line::Who;
use crate::render::result::Format;
use crate::render::screen::Screen;
use crate::render::summary;
use crate::render::table::Table;
use crate::render::{json, line, unseen};
use crate::sight::News;
use crate::stdout::{print, terminal_width};

/// Runs the command.
pub(crate) async fn run(args: WatchArgs, matches: &ArgMatches, console: &mut Console) -> Result<u8, Failure> {
    if args.list {
        list()?;
        return Ok(0);
    }
    let asked = &args.capturing;
    let site = setup::site(asked, args.protocol.as_deref(), matches, false, console).await?;
    let filter = site.filter.clone();
    let output = Output::new(&args.output, who(asked.place.local, &filter))?;
    let needs = Needs { print_bytes: output.print_bytes(), stores: true, packets: true };
    let Some(plan) = setup::plan(asked, site, needs, console)? else { return Ok(0) };
    let view = Watch {
        filter,
        payload_bytes: output.print_bytes(),
        output: Some(output),
        printer: None,
        given: 0,
        count: asked.capture.count,
        viewed: Viewed::default(),
        notices: args.output.notices,
        console: console.clone(),
    };
    Box::pin(capture::run(plan, view, console)).await
}

/// Prints the protocols and their filters.
fn list() -> Result<(), Failure> {
    let titles = ["PROTOCOL", "TITLE", "PORTS", "FILTERS"].map(str::to_owned);
    let mut table = Table::new(&titles, None);
    for row in protocols::list() {
        table.row(row);
    }
    print(&table.render())
}

/// How exchanges are shown, with the files that are open for it.
#[derive(Debug)]
struct Output {
    args: OutputArgs,
    file: Option<(PathBuf, File)>,
    json: bool,
    /// Who is named.
    who: Who,
}

/// The live stream.
#[derive(Debug)]
struct Watch {
    filter: v1::Filter,
    output: Option<Output>,
    printer: Option<Printer>,
    /// Exchanges given to the printer.
    given: u64,
    count: Option<u64>,
    /// Payload bytes that are asked for.
    payload_bytes: u32,
    viewed: Viewed,
    /// Whether JSON says what happens to nodes.
    notices: bool,
    console: Console,
}

// === impl Output ===

impl Output {
    fn new(args: &OutputArgs, who: Who) -> Result<Self, Failure> {
        let to_stdout = args.json_output.as_deref().is_some_and(|file| file == Path::new("stdout"));
        let file = match &args.json_output {
            Some(path) if !to_stdout => Some((path.clone(), append(path)?)),
            Some(_) | None => None,
        };
        Ok(Self { args: args.clone(), file, json: to_stdout || args.output == Format::Json, who })
    }

    fn print_bytes(&self) -> u32 {
        let shows = self.json || self.args.detail || self.file.is_some();
        if shows && !self.args.no_payload { self.args.max_print_bytes } else { 0 }
    }

    fn settings(self, session: &str) -> Settings {
        let Self { args, file, json, who } = self;
        let limit = usize::try_from(args.max_print_bytes).unwrap_or(usize::MAX);
        let print_bytes = (!args.no_payload).then_some(limit);
        let plain = args.debug_output || !std::io::stdout().is_terminal();
        let look = line::Look {
            zone: TimeZone::system(),
            who,
            wide: args.output == Format::Wide,
            colour: !plain && std::env::var_os("NO_COLOR").is_none(),
        };
        let width = if plain { None } else { terminal_width() };
        let lines = Screen::new(line::LineRenderer::new(look, width));
        let style = match (json, args.detail) {
            (true, _) => Style::Json,
            (false, true) => Style::Blocks(lines, print_bytes),
            (false, false) => Style::Lines(lines),
        };
        Settings { style, json: json::JsonRenderer { session: session.to_owned(), print_bytes }, file }
    }
}

// === impl Watch ===

impl View for Watch {
    type Item = v1::WatchResponse;

    async fn open(
        &mut self,
        client: &mut Client,
        session: &Session,
    ) -> Result<Streaming<Self::Item>, Failure> {
        // Said when it is opened first.
        if self.printer.is_none()
            && let Some(kept) = session.payload_bytes
            && let Some(warning) = shortened(self.payload_bytes, kept)
        {
            self.console.warning(&warning);
        }
        let request = v1::WatchRequest {
            filter: Some(self.filter.clone()),
            payload_bytes: self.payload_bytes,
            // A stream that is opened again would repeat what was shown.
            from_start: session.is_own() && self.printer.is_none(),
            resume: session.resumes().then(|| self.viewed.resume()),
        };
        let stream = client.watch(request).await?;
        if let Some(output) = self.output.take() {
            self.printer = Some(Printer::start(output.settings(&session.name)));
        }
        Ok(stream)
    }

    async fn ready(&self) -> bool {
        match &self.printer {
            Some(printer) => printer.ready().await,
            None => false,
        }
    }

    async fn ended(&self) {
        match &self.printer {
            Some(printer) => printer.ended().await,
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, item: Self::Item) -> Result<Flow, Failure> {
        let mut exchanges = client::exchanges(&item)?;
        let v1::WatchResponse { exchanges: _, balance, end, began_at, hub } = item;
        if let Some(balance) = balance {
            self.viewed.take(hub, began_at, client::ledger(balance)?, exchanges.len() as u64);
        }
        if let Some(count) = self.count {
            let left = usize::try_from(count.saturating_sub(self.given)).unwrap_or(usize::MAX);
            exchanges.truncate(left);
        }
        self.given += exchanges.len() as u64;
        let open =
            exchanges.is_empty() || self.printer.as_ref().is_some_and(|printer| printer.print(exchanges));
        Ok(match (open, end) {
            (false, _) => Flow::Closed,
            (true, true) => Flow::Last,
            (true, false) if self.count.is_some_and(|count| self.given >= count) => Flow::Enough,
            (true, false) => Flow::More,
        })
    }

    async fn close(&mut self) -> Result<(), Failure> {
        match &mut self.printer {
            Some(printer) => printer.close().await.map(|_written| ()),
            None => Ok(()),
        }
    }

    fn notice(&mut self, news: &News, session: &str, now_ns: u64) {
        let Some(printer) = self.printer.as_ref().filter(|_| self.notices) else { return };
        let mut line = unseen::notice(news, session, now_ns).to_string().into_bytes();
        line.push(b'\n');
        if !printer.notice(line) {
            self.console.warning("the output is busy, and a notice is not in it");
        }
    }

    fn sums_up(&self) -> bool {
        false
    }

    fn captured(&self) -> u64 {
        self.printer.as_ref().map(Printer::printed).unwrap_or_default()
    }

    fn back(&mut self, first: Self::Item) -> Result<String, Failure> {
        let v1::WatchResponse { exchanges: _, balance, end: _, began_at, hub } = first;
        let ledger = client::ledger(balance.unwrap_or_default())?;
        Ok(match self.viewed.back(hub, began_at, ledger, true) {
            Back::Where { lost: 0 } => "what was captured meanwhile follows".to_owned(),
            Back::Where { lost } => {
                format!("what was captured meanwhile follows, but for {}", summary::exchanges(lost))
            }
            Back::Anew => "what was captured meanwhile is not shown".to_owned(),
        })
    }

    fn printed(&self) -> Option<u64> {
        Some(self.captured())
    }

    fn balance(&self) -> Option<&Balance> {
        self.viewed.balance()
    }
}

/// Who is named: a namespace only where there may be several.
fn who(local: bool, filter: &v1::Filter) -> Who {
    match filter.namespaces.as_slice() {
        _ if local => Who::Processes,
        [_] => Who::Pods,
        [] | [_, ..] => Who::PodsOfNamespaces,
    }
}

fn append(path: &Path) -> Result<File, Failure> {
    OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
        Failure::io("opening", path.display(), &error).hint("choose a file that can be written, or `stdout`")
    })
}

/// Says what a viewer cannot have that wants more of each payload than its session keeps.
fn shortened(wanted: u32, kept: u32) -> Option<String> {
    (wanted > kept).then(|| {
        format!("this session keeps {kept} bytes per payload, so `--max-print-bytes {wanted}` shows no more than those")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_named_where_there_may_be_several() {
        let of = |local, namespaces: &[&str]| {
            let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
            who(local, &v1::Filter { namespaces, ..v1::Filter::default() })
        };
        assert_eq!(of(false, &["shop"]), Who::Pods);
        assert_eq!(of(false, &["shop", "data"]), Who::PodsOfNamespaces);
        assert_eq!(of(false, &[]), Who::PodsOfNamespaces, "all of them, or those of pods' names");
        assert_eq!(of(true, &[]), Who::Processes);
    }

    #[test]
    fn wanting_more_than_is_kept_is_told() {
        assert_eq!(shortened(1024, 1024), None);
        assert_eq!(shortened(0, 0), None);
        let warning = shortened(1025, 1024).expect("a warning");
        assert!(
            warning.contains("keeps 1024 bytes") && warning.contains("--max-print-bytes 1025"),
            "{warning}"
        );
    }
}
