//! The other way around: runs a command, and writes down the conversations that it has as fixtures of the decoders.

mod fixture;
mod loopback;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use decoders::registry;

use super::streams::Streams;
use crate::{run, workspace};
use loopback::Loopback;

/// What is recorded, and where it is kept.
#[derive(Debug, clap::Args)]
pub struct RecordOptions {
    /// Name of the protocol and of its folder of fixtures; it may be one that is not decoded yet.
    #[arg(value_parser = protocol)]
    protocol: String,
    /// Ports of the server, by default the protocol's usual ones.
    #[arg(long, value_delimiter = ',', value_name = "PORT")]
    port: Vec<u16>,
    /// Name of the fixture, by default the command's.
    #[arg(long, value_parser = file_name)]
    name: Option<String>,
    /// Folder of the fixture, by default the protocol's under `decoders/fixtures`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A client that talks to a server over this machine's loopback interface.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the command and prints the path of each fixture; fails unless every conversation was recorded whole.
pub fn run(choice: &RecordOptions) -> Result<ExitCode> {
    run::need_root("record")?;
    let ports = choice.ports()?;
    let Some((program, arguments)) = choice.command.split_first() else { bail!("no command") };
    let loopback = Loopback::open(&ports)?;
    eprintln!("recording connections to {ports:?} on the loopback interface …");
    run::check(Command::new(program).args(arguments))?;
    let mut streams = Streams::of(loopback.finish()?, &ports).all;
    streams.retain(|stream| ports.contains(&stream.server.port()) && !stream.pieces.is_empty());
    if streams.is_empty() {
        bail!("the command said nothing to a server on {ports:?} of the loopback interface");
    }
    let folder = choice.folder();
    std::fs::create_dir_all(&folder).with_context(|| format!("creating `{}`", folder.display()))?;
    for (index, stream) in streams.iter().enumerate() {
        let path = folder.join(choice.file(index));
        let text = fixture::text(stream, &choice.command.join(" "))
            .with_context(|| format!("the conversation with {}", stream.server))?;
        write_new(&path, &text)?;
        println!("{}", path.display());
    }
    eprintln!("next, the golden texts: KYANOS_BLESS=1 cargo test -p decoders laws");
    Ok(ExitCode::SUCCESS)
}

// === impl RecordOptions ===

impl RecordOptions {
    fn ports(&self) -> Result<Vec<u16>> {
        if !self.port.is_empty() {
            return Ok(self.port.clone());
        }
        let known = registry().iter().find(|protocol| protocol.name == self.protocol);
        known
            .map(|protocol| protocol.ports.to_vec())
            .with_context(|| format!("`{}` is not decoded yet: name the server's `--port`", self.protocol))
    }

    fn folder(&self) -> PathBuf {
        let usual = || workspace::root().join("decoders/fixtures").join(&self.protocol);
        self.out.clone().unwrap_or_else(usual)
    }

    /// Names the file of a conversation: several of one command are counted.
    fn file(&self, index: usize) -> String {
        let program = self.command.first().map(|word| Path::new(word).file_stem().unwrap_or_default());
        let program = program.unwrap_or_default().to_string_lossy().to_lowercase();
        let name = self.name.clone().unwrap_or_else(|| program.replace(|c: char| !is_plain(c), "_"));
        if index == 0 { format!("{name}.txt") } else { format!("{name}_{}.txt", index + 1) }
    }
}

// === free functions ===

/// Writes a file that must not be there yet: a fixture is somebody's work.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let file = File::create_new(path);
    let mut file = file.with_context(|| format!("creating `{}`; `--name` gives another", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing `{}`", path.display()))
}

fn protocol(text: &str) -> Result<String, String> {
    file_name(text).map_err(|_unused| "expected a protocol's name, such as `redis`".to_owned())
}

fn file_name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.chars().all(is_plain);
    is_name.then(|| text.to_owned()).ok_or_else(|| "expected lower-case letters, digits and `_`".to_owned())
}

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(protocol: &str, command: &[&str]) -> RecordOptions {
        RecordOptions {
            protocol: protocol.to_owned(),
            port: Vec::new(),
            name: None,
            out: None,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    #[test]
    fn fixtures_are_named_after_the_command() {
        let choice = choice("redis", &["/usr/bin/redis-CLI", "get", "a"]);
        assert_eq!((choice.file(0).as_str(), choice.file(1).as_str()), ("redis_cli.txt", "redis_cli_2.txt"));
        assert!(choice.folder().ends_with("decoders/fixtures/redis"));
        assert_eq!(choice.ports().expect("known"), [6379]);
    }

    #[test]
    fn an_unknown_protocol_needs_a_port() {
        let mut choice = choice("ident", &["ident"]);
        let error = choice.ports().expect_err("not in the registry").to_string();
        assert!(error.contains("--port"), "{error}");
        choice.port.push(113);
        assert_eq!(choice.ports().expect("named"), [113]);
    }

    #[test]
    fn names_leave_the_folder_alone() {
        for wrong in ["", "../a", "a/b", "A", "a.txt"] {
            assert!(file_name(wrong).is_err() && protocol(wrong).is_err(), "{wrong}");
        }
        assert_eq!(file_name("cli_3").as_deref(), Ok("cli_3"));
    }
}
