//! Streams over real sockets, captured by our own plugin.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::spoken::Spoken;
use super::spoken::ours::OurRow;
use super::streams::Streams;
use super::{End, ReplayOptions};
use crate::kyanos::{Exchange, Session};
use crate::process::{Plan, Process};

/// The capture is over when no exchange has come for so long.
const QUIET_PERIOD: Duration = Duration::from_millis(1500);

/// Longest wait for that.
const QUIET_TIMEOUT: Duration = Duration::from_secs(20);

/// What a capture of a replay gave.
#[derive(Debug)]
pub(super) struct Played {
    /// By stream.
    pub(super) spoken: Vec<Spoken>,
    /// What could not be played, and what the plugin lost.
    pub(super) notes: Vec<String>,
}

/// The running player.
struct Player {
    process: Process,
    lines: BufReader<ChildStdout>,
    /// By client and server, the stream.
    places: HashMap<(SocketAddr, SocketAddr), usize>,
    notes: Vec<String>,
}

/// Plays a capture and returns what we made of it.
pub(super) fn play(choice: &ReplayOptions, file: &Path, streams: &Streams) -> Result<Played> {
    let mut player = Player::start(choice, file)?;
    player.until("ready")?;
    let process = player.process.id().to_string();
    let side = if choice.side == End::Client { "client" } else { "server" };
    let mut session = Session::begin(&["--pids", &process, "--side", side, "--redact=false"])?;
    session.wait_capturing()?;
    player.tell()?;
    player.until("done")?;
    settle(&session);
    let report = session.stop()?;
    drop(player.process.stop());
    let mut found = Played { spoken: Vec::new(), notes: player.notes };
    found.spoken.resize_with(streams.all.len(), Spoken::default);
    found.notes.extend(
        report
            .stderr
            .lines()
            .filter(|line| line.starts_with("lost ") && *line != "lost 0")
            .map(str::to_owned),
    );
    let mut exchanges = report.exchanges;
    exchanges.sort_by_key(|exchange| exchange.time_ns("start_time"));
    for exchange in &exchanges {
        let stream = ends(exchange).and_then(|ends| player.places.get(&ends));
        match stream.and_then(|index| found.spoken.get_mut(*index)) {
            Some(spoken) => add(spoken, exchange),
            None => found.notes.push(format!("an exchange of no stream: {}", exchange.text("operation"))),
        }
    }
    Ok(found)
}

/// Waits until nothing more comes.
fn settle(session: &Session) {
    let begun = Instant::now();
    let mut newest = (session.count(|_| true), Instant::now());
    while newest.1.elapsed() < QUIET_PERIOD && begun.elapsed() < QUIET_TIMEOUT {
        std::thread::sleep(Duration::from_millis(50));
        let count = session.count(|_| true);
        if count != newest.0 {
            newest = (count, Instant::now());
        }
    }
}

fn ends(exchange: &Exchange) -> Option<(SocketAddr, SocketAddr)> {
    let end = |which: &str| {
        let port = u16::try_from(exchange.number(&format!("{which}_port"))?).ok()?;
        Some(SocketAddr::new(exchange.text(&format!("{which}_addr")).parse().ok()?, port))
    };
    let (local, remote) = (end("local")?, end("remote")?);
    Some(if exchange.text("side") == "server" { (remote, local) } else { (local, remote) })
}

fn add(spoken: &mut Spoken, exchange: &Exchange) {
    let absent = |name: &str| exchange.value.get(name).is_none_or(serde_json::Value::is_null);
    let row = OurRow {
        protocol: exchange.text("protocol"),
        operation: exchange.text("operation"),
        status: exchange.text("status"),
        error: exchange.value.get("error").and_then(serde_json::Value::as_bool).unwrap_or_default(),
        asked: !absent("request") || !absent("request_bytes"),
        answered: !absent("response") || !absent("response_bytes"),
    };
    let conversation = spoken.conversation(row.protocol);
    row.ask(conversation, exchange.number("request_bytes"));
    row.answer(conversation, exchange.number("response_bytes"));
}

// === impl Player ===

impl Player {
    fn start(choice: &ReplayOptions, file: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let plan = Plan::at(&program).unshare(&["--net"]);
        let mut command = plan.command();
        command.arg("replay-player").arg(file);
        let servers: Vec<String> = choice.port_protocol.iter().map(|(port, _)| port.to_string()).collect();
        if !servers.is_empty() {
            command.args(["--servers", &servers.join(",")]);
        }
        if let Some(late) = choice.join_late {
            command.args(["--join-late", &late.to_string()]);
        }
        if let Some(chunk) = choice.chunk {
            command.args(["--chunk", &chunk.to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = plan.spawn(&mut command)?;
        let lines = BufReader::new(process.child().stdout.take().context("no pipe from the player")?);
        Ok(Self { process, lines, places: HashMap::new(), notes: Vec::new() })
    }

    /// Reads what the player says up to a word.
    fn until(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).context("listening to the player")? == 0 {
                bail!("the player ended before it was {word}");
            }
            let said = line.trim_end();
            if said == word {
                return Ok(());
            }
            let words: Vec<&str> = said.splitn(4, ' ').collect();
            match words.as_slice() {
                ["stream", index, client, server] => {
                    self.places.insert((client.parse()?, server.parse()?), index.parse()?);
                }
                _ => self.notes.push(format!("not played: {said}")),
            }
        }
    }

    fn tell(&mut self) -> Result<()> {
        let input = self.process.child().stdin.as_mut().context("no pipe to the player")?;
        input.write_all(b"go\n").and_then(|()| input.flush()).context("starting the player")
    }
}
