//! What the comparison found, for readers and for machines.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use decoders::Transport;
use serde_json::json;

use super::compare::{Comparison, Condition, Difference, Pair, Totals};
use super::spoken::{Said, Spoken};
use super::streams::{Stream, Streams};

/// Characters of a request that a column shows.
const REQUEST_CHARS: usize = 60;

/// Rows of a stream that are shown, the differing ones first of all.
const SHOWN_ROWS: usize = 40;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For readers.
    Table,
    /// One JSON object a stream, then one with the totals.
    Json,
}

/// Results as they come.
#[derive(Debug)]
pub(super) struct ReplayReport {
    output: Output,
    all: bool,
    files: u64,
    file: PathBuf,
    /// Of streams that were seen whole, and of the others.
    whole: Totals,
    partial: Totals,
}

// === impl ReplayReport ===

impl ReplayReport {
    pub(super) fn new(output: Output, all: bool) -> Self {
        Self {
            output,
            all,
            files: 0,
            file: PathBuf::new(),
            whole: Totals::default(),
            partial: Totals::default(),
        }
    }

    /// Begins a capture.
    pub(super) fn file(&mut self, file: &Path, streams: &Streams) {
        self.files += 1;
        file.clone_into(&mut self.file);
        if self.output == Output::Table && self.all {
            println!("\n{}: {} streams", file.display(), streams.all.len());
        }
    }

    /// Takes the comparison of a stream.
    pub(super) fn stream(
        &mut self,
        index: usize,
        stream: &Stream,
        condition: Condition,
        ours: &Spoken,
        compared: &[Comparison],
    ) {
        let mut totals = Totals { streams: 1, ..Totals::default() };
        for comparison in compared {
            totals += comparison.totals();
        }
        let malformed = compared.iter().any(|comparison| comparison.malformed > 0);
        let whole = condition.from_start && condition.complete && !malformed;
        *(if whole { &mut self.whole } else { &mut self.partial }) += totals;
        let agrees = compared.iter().all(Comparison::agrees);
        if !self.all && agrees {
            return;
        }
        match self.output {
            Output::Table => self.table(index, stream, condition, ours, compared),
            Output::Json => {
                let compared: Vec<_> = compared.iter().map(Comparison::json).collect();
                let line = json!({
                    "file": self.file.display().to_string(), "stream": index,
                    "transport": transport(stream), "client": stream.client.to_string(),
                    "server": stream.server.to_string(), "from_start": condition.from_start,
                    "missing_bytes": stream.missing(), "malformed": malformed,
                    "unparsable": ours.unparsable, "unpaired": ours.unpaired, "gaps": ours.gaps,
                    "agrees": agrees, "totals": totals.json(), "protocols": compared,
                });
                println!("{line}");
            }
        }
    }

    /// Writes the totals; a difference in the number of requests is a failure.
    pub(super) fn finish(self) -> ExitCode {
        let mut all = self.whole;
        all += self.partial;
        match self.output {
            Output::Table => {
                println!();
                println!("whole:   {}", self.whole);
                println!("partial: {}", self.partial);
                println!("{} files, {all}", self.files);
            }
            Output::Json => {
                let line = json!({
                    "files": self.files, "whole": self.whole.json(), "partial": self.partial.json(),
                });
                println!("{line}");
            }
        }
        if all.missing + all.extra + all.foreign == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn table(
        &self,
        index: usize,
        stream: &Stream,
        condition: Condition,
        ours: &Spoken,
        compared: &[Comparison],
    ) {
        let mut notes = vec![if condition.from_start { "from the start" } else { "joined" }.to_owned()];
        if stream.missing() > 0 {
            notes.push(format!("{} bytes are missing in the capture", stream.missing()));
        }
        for (count, what) in
            [(ours.unparsable, "bytes unparsable"), (ours.unpaired, "unpaired"), (ours.gaps, "lost in gaps")]
        {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        }
        println!(
            "\n{} stream {index} {} {} -> {} ({})",
            self.file.display(),
            transport(stream),
            stream.client,
            stream.server,
            notes.join(", ")
        );
        for comparison in compared {
            let witnessed = if comparison.witnessed { "" } else { ", which tshark does not find here" };
            let pushes =
                if comparison.pushes > 0 { format!(", {} pushes", comparison.pushes) } else { String::new() };
            println!("  {}{witnessed}{pushes}", comparison.protocol);
            self.pairs(&comparison.requests, |pair| comparison.judge(pair));
            self.pairs(&comparison.responses, Pair::difference);
        }
    }

    fn pairs(&self, pairs: &[Pair], judge: impl Fn(&Pair) -> Difference) {
        let shown = |pair: &&Pair| self.all || judge(pair) != Difference::None;
        for pair in pairs.iter().filter(shown).take(SHOWN_ROWS) {
            let mark = match judge(pair) {
                Difference::None => ' ',
                Difference::Missing => '-',
                Difference::Extra => '+',
                Difference::Bytes => '#',
            };
            let (ours, theirs) = (cell(pair.ours.as_ref()), cell(pair.theirs.as_ref()));
            println!("  {mark} {ours:<REQUEST_CHARS$} | {theirs}");
        }
        let left = pairs.iter().filter(shown).count().saturating_sub(SHOWN_ROWS);
        if left > 0 {
            println!("    … and {left} more");
        }
    }
}

// === free functions ===

fn transport(stream: &Stream) -> &'static str {
    if stream.transport == Transport::Tcp { "tcp" } else { "udp" }
}

fn cell(said: Option<&Said>) -> String {
    let Some(said) = said else { return String::new() };
    let size = said.bytes.map(|bytes| format!(" [{bytes}]")).unwrap_or_default();
    let packet = said.frame.map(|frame| format!(" #{frame}")).unwrap_or_default();
    let room = REQUEST_CHARS.saturating_sub(size.len() + packet.len());
    let text: String = said.shown.escape_debug().take(room).collect();
    format!("{text}{size}{packet}")
}
