//! Plays captures from elsewhere to us, and compares what we make of them with what tshark does.

mod compare;
mod direct;
mod ends;
mod fragments;
mod link;
mod places;
mod play;
mod player;
mod read;
mod reassembly;
pub mod record;
mod report;
mod spoken;
mod streams;
mod witness;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use decoders::Side;

use compare::{Comparison, Condition};
pub use player::{Score, play as player};
use read::{Content, Packet};
pub use report::Output;
use report::ReplayReport;
use spoken::Spoken;
use streams::{Stream, Streams};
use witness::Witness;

use crate::{run, setup, workspace};

/// What `replay` is asked to do.
#[derive(Debug, clap::Args)]
pub struct ReplayOptions {
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
    /// Neither install nor build anything.
    #[arg(long, hide = true)]
    built: bool,
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
    /// So many of each stream.
    Messages(usize),
    /// Half of each stream's.
    Half,
}

/// One TCP segment of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedSegment {
    /// Nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom it is for.
    pub destination: SocketAddr,
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// Its payload.
    pub bytes: Vec<u8>,
}

/// Replays captures; fails where something is missing or too much.
pub fn run(choice: &ReplayOptions) -> Result<ExitCode> {
    if !choice.direct {
        run::need_root("replay")?;
        if !choice.built {
            setup::run(setup::Purpose::Replay)?;
            workspace::build()?;
        }
    }
    let witness = Witness { hints: choice.port_protocol.clone(), cache: choice.cache.clone() };
    let mut report = ReplayReport::new(choice.output, choice.all);
    for file in &choice.files {
        let servers: Vec<u16> = choice.port_protocol.iter().map(|(port, _)| *port).collect();
        let streams = streams_of(file, &servers)?;
        let ours = ours(choice, file, &streams)?;
        let mut said = witness.read(file, &streams)?;
        witness.reconsider(file, &streams, &ours, &mut said)?;
        report.file(file, &streams);
        for (index, (stream, ours)) in streams.all.iter().zip(&ours).enumerate() {
            let theirs = said.remove(&index).unwrap_or_default();
            let first = first(choice.join_late, stream);
            let theirs = since(theirs, stream, first);
            let condition =
                Condition { from_start: stream.opened && first == 0, complete: stream.missing() == 0 };
            report.stream(index, stream, condition, ours, &Comparison::of(ours, &theirs));
        }
    }
    Ok(report.finish())
}

/// Returns what we make of each stream.
fn ours(choice: &ReplayOptions, file: &Path, streams: &Streams) -> Result<Vec<Spoken>> {
    if !choice.direct {
        let played = play::play(choice, file, streams)?;
        for note in played.notes {
            eprintln!("{}: {note}", file.display());
        }
        return Ok(played.spoken);
    }
    let side = if choice.side == End::Client { Side::Client } else { Side::Server };
    let decoded = streams.all.iter().map(|stream| {
        let first = first(choice.join_late, stream);
        direct::decode(stream, direct::Feeding { side, chunk: choice.chunk, first })
    });
    Ok(decoded.collect())
}

fn streams_of(file: &Path, servers: &[u16]) -> Result<Streams> {
    let capture = read::read(file).with_context(|| format!("reading `{}`", file.display()))?;
    if let Some(reason) = &capture.cut {
        eprintln!("warning: {}: {reason}", file.display());
    }
    if capture.others > 0 {
        let plural = if capture.others == 1 { "packet is" } else { "packets are" };
        eprintln!(
            "{}: {} {plural} neither TCP nor UDP, or of an unknown kind",
            file.display(),
            capture.others
        );
    }
    Ok(Streams::of(capture, servers))
}

/// Returns the index of the first piece that the capture sees.
fn first(late: Option<Late>, stream: &Stream) -> usize {
    match late {
        None => 0,
        Some(Late::Messages(messages)) => stream.behind(messages),
        Some(Late::Half) => stream.behind(stream.messages() / 2),
    }
}

/// Leaves out what tshark read in packets before the capture began.
fn since(mut theirs: Spoken, stream: &Stream, first: usize) -> Spoken {
    if first == 0 {
        return theirs;
    }
    // All of a stream may have passed.
    let begins = stream.pieces.get(first).map_or(u64::MAX, |piece| piece.frame);
    for conversation in theirs.conversations.values_mut() {
        let later = |said: &spoken::Said| said.frame.is_none_or(|frame| frame >= begins);
        conversation.requests.retain(later);
        conversation.responses.retain(later);
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

/// Returns the TCP segments of a capture in the order in which they were captured.
pub fn segments(file: &Path) -> Result<Vec<CapturedSegment>> {
    let mut segments = Vec::new();
    for Packet { number: _, at_ns, source, destination, content } in read::read(file)?.packets {
        if let Content::Tcp(segment) = content {
            segments.push(CapturedSegment {
                at_ns,
                source,
                destination,
                sequence: segment.sequence,
                bytes: segment.bytes,
            });
        }
    }
    Ok(segments)
}

// === impl Late ===

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Messages(messages) => write!(f, "{messages}"),
            Self::Half => f.write_str("half"),
        }
    }
}
