//! Plays captures from elsewhere to us, and compares what we make of them with what tshark does.

mod compare;
mod direct;
mod fragments;
mod link;
mod read;
mod reassembly;
mod report;
mod spoken;
mod streams;
mod witness;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use decoders::Side;

use compare::{Comparison, Condition};
pub use report::Output;
use report::Report;
use spoken::Spoken;
use streams::{Stream, Streams};
use witness::Witness;

/// What `replay` is asked to do.
#[derive(Debug, clap::Args)]
pub struct Choice {
    /// Captures in pcap or pcapng form.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Hand the streams straight to the decoders: no kernel, no root, thousands of files in a minute.
    #[arg(long)]
    direct: bool,
    /// What a server port speaks, where tshark cannot know: `8081=http`.
    #[arg(long, value_name = "PORT=PROTOCOL", value_parser = hint, value_delimiter = ',')]
    port_protocol: Vec<(u16, String)>,
    /// The capture begins behind the first N messages of each stream, or behind `half` of them.
    #[arg(long, value_name = "N|half", value_parser = late)]
    join_late: Option<Late>,
    /// Longest piece that is sent at once.
    #[arg(long, value_name = "BYTES")]
    chunk: Option<usize>,
    /// Which end of each stream is observed.
    #[arg(long, value_enum, default_value = "server")]
    side: End,
    /// Folder where tshark's answers are kept, so that the next run is fast.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Show streams on which both agree too.
    #[arg(long)]
    all: bool,
    /// For readers, or one JSON object a stream.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// An end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum End {
    /// The end that asks.
    Client,
    /// The end that answers.
    Server,
}

/// How many messages of a stream pass before the capture begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Messages(usize),
    Half,
}

/// Replays captures; fails where something is missing or too much.
pub fn run(choice: &Choice) -> Result<ExitCode> {
    if !choice.direct {
        bail!("only `--direct` is there yet");
    }
    let witness = Witness { hints: choice.port_protocol.clone(), cache: choice.cache.clone() };
    let mut report = Report::new(choice.output, choice.all);
    for file in &choice.files {
        let streams = streams(choice, file)?;
        let said = witness.read(file, &streams)?;
        report.file(file, &streams);
        for (index, stream) in streams.all.iter().enumerate() {
            let theirs = said.get(&index).cloned().unwrap_or_default();
            let first = choice.first(stream);
            let side = if choice.side == End::Client { Side::Client } else { Side::Server };
            let ours = direct::decode(stream, direct::Feeding { side, chunk: choice.chunk, first });
            let theirs = since(theirs, stream, first);
            let condition =
                Condition { from_start: stream.opened && first == 0, complete: stream.missing() == 0 };
            report.stream(index, stream, condition, &ours, &Comparison::of(&ours, &theirs));
        }
    }
    Ok(report.finish())
}

fn streams(choice: &Choice, file: &Path) -> Result<Streams> {
    let capture = read::read(file).with_context(|| format!("reading `{}`", file.display()))?;
    if let Some(reason) = &capture.cut {
        eprintln!("warning: {}: {reason}", file.display());
    }
    let servers: Vec<u16> = choice.port_protocol.iter().map(|(port, _)| *port).collect();
    Ok(Streams::of(capture, &servers))
}

/// Leaves out what tshark read in packets before the capture began.
fn since(mut theirs: Spoken, stream: &Stream, first: usize) -> Spoken {
    let Some(piece) = stream.pieces.get(first).filter(|_| first > 0) else { return theirs };
    for talk in theirs.talks.values_mut() {
        let later = |said: &spoken::Said| said.frame.is_none_or(|frame| frame >= piece.frame);
        talk.requests.retain(later);
        talk.responses.retain(later);
    }
    theirs
}

fn hint(text: &str) -> Result<(u16, String), String> {
    let parts = text.split_once('=').and_then(|(port, name)| Some((port.parse().ok()?, name)));
    let Some((port, name)) = parts else { return Err("expected PORT=PROTOCOL".to_owned()) };
    let known: Vec<&str> = decoders::registry().iter().map(|protocol| protocol.name).collect();
    if !known.contains(&name) {
        return Err(format!("`{name}` is none of {}", known.join(", ")));
    }
    Ok((port, name.to_owned()))
}

fn late(text: &str) -> Result<Late, String> {
    if text == "half" {
        return Ok(Late::Half);
    }
    text.parse().map(Late::Messages).map_err(|_unused| "expected a number of messages, or `half`".to_owned())
}

// === impl Choice ===

impl Choice {
    /// Returns the index of the first piece that the capture sees.
    fn first(&self, stream: &Stream) -> usize {
        match self.join_late {
            None => 0,
            Some(Late::Messages(messages)) => stream.behind(messages),
            Some(Late::Half) => stream.behind(stream.messages() / 2),
        }
    }
}
