//! The process that plays the streams of a capture: both ends of each, in a network namespace that lives as long as it.
//!
//! It tells its owner by lines on standard output: `ready` when all is sent that came before the capture, `stream INDEX
//! CLIENT SERVER` for each stream, `failed INDEX REASON`, and `done`. It begins to play when a line arrives on standard
//! input, and ends when that is closed.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use decoders::Transport;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::ends::Ends;
use super::places::Places;
use super::streams::Stream;
use super::{Late, first, late, streams_of};

/// What the player is told.
#[derive(Debug, clap::Args)]
pub struct Score {
    /// The capture.
    file: PathBuf,
    /// Ports of servers, where the capture does not tell.
    #[arg(long, value_delimiter = ',')]
    servers: Vec<u16>,
    /// How many messages of each stream are sent before `ready`.
    #[arg(long, value_parser = late)]
    join_late: Option<Late>,
    /// Longest piece that is sent at once.
    #[arg(long)]
    chunk: Option<usize>,
}

/// Plays a capture; the process must be alone in its network namespace.
pub fn play(score: &Score) -> Result<()> {
    let streams = streams_of(&score.file, &score.servers)?.all;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("allowing more open sockets")?;
    let mut places = Places::prepare(&streams)?;
    let mut early: Vec<Option<(Ends, usize)>> = Vec::new();
    for (index, stream) in streams.iter().enumerate() {
        let first = first(score.join_late, stream);
        let joined = stream.transport == Transport::Tcp && (first > 0 || !stream.opened);
        let opened = if joined { begin(&mut places, index, stream, first, score.chunk)? } else { None };
        early.push(opened.map(|ends| (ends, first)));
    }
    say("ready")?;
    let mut lines = std::io::stdin().lock().lines();
    if lines.next().is_none() {
        return Ok(());
    }
    let mut unfinished = Vec::new();
    for (index, (stream, early)) in streams.iter().zip(early).enumerate() {
        let joined =
            stream.transport == Transport::Tcp && (first(score.join_late, stream) > 0 || !stream.opened);
        let begun = match early {
            None if joined => None,
            None => begin(&mut places, index, stream, 0, score.chunk)?
                .map(|ends| (ends, first(score.join_late, stream))),
            early => early,
        };
        let Some((ends, first)) = begun else { continue };
        let rest = stream.pieces.get(first..).unwrap_or_default();
        if let Err(error) = ends.play(rest, score.chunk) {
            say(&format!("failed {index} {error:#}"))?;
        }
        // Without an end in the capture it goes on until the capture of it has ended.
        if !stream.closed {
            unfinished.push(ends);
        }
    }
    say("done")?;
    lines.next();
    drop(unfinished);
    Ok(())
}

/// Opens a stream and sends what comes before the capture; a failure is told.
fn begin(
    places: &mut Places,
    index: usize,
    stream: &Stream,
    first: usize,
    chunk: Option<usize>,
) -> Result<Option<Ends>> {
    let (client, server) = places.of(stream);
    let opened = Ends::open(stream.transport, client, server).and_then(|ends| {
        ends.play(stream.pieces.get(..first).unwrap_or_default(), chunk)?;
        let addresses = ends.addresses()?;
        Ok((ends, addresses))
    });
    match opened {
        Ok((ends, (client, server))) => {
            say(&format!("stream {index} {client} {server}"))?;
            Ok(Some(ends))
        }
        Err(error) => {
            say(&format!("failed {index} {error:#}"))?;
            Ok(None)
        }
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("telling the owner")
}
