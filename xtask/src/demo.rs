//! `cargo xtask demo`: the plugin at work on real servers with a trickle of traffic.

mod traffic;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::servers::{Mariadb, Nginx, Redis};
use crate::{run, setup, workspace};

/// Commands that take `--local`.
const LOCAL_COMMANDS: [&str; 6] = ["watch", "stat", "overview", "query", "status", "cleanup"];

/// Commands that do not.
const OTHER_COMMANDS: [&str; 3] = ["version", "completion", "help"];

/// How often the plugin and the signals are looked at.
const PLUGIN_POLL: Duration = Duration::from_millis(50);

/// Runs the demo and returns the plugin's exit code.
pub fn run(arguments: &[OsString]) -> Result<ExitCode> {
    run::need_root("demo")?;
    setup::run(setup::Purpose::Test)?;
    workspace::build()?;
    let plugin = workspace::binary("kubectl-kyanos")?;
    let signals = Signals::watch()?;
    eprintln!("starting nginx, Redis and MariaDB on ports of their own …");
    let (nginx, redis, mariadb) = (Nginx::start()?, Redis::start()?, Mariadb::start()?);
    let trickle = traffic::Trickle::start(&nginx, &redis, &mariadb)?;
    let arguments = command_line(arguments);
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    eprintln!("$ kubectl-kyanos {}    (Ctrl-C ends it)", words.join(" "));
    let mut command = Command::new(plugin);
    let mut child = command.args(arguments).spawn().context("starting kubectl-kyanos")?;
    let status = signals.wait(&mut child)?;
    drop(trickle);
    Ok(exit_code(status))
}

/// Adds `watch --local` where the user has not chosen a command, `--local` where the command takes it.
fn command_line(arguments: &[OsString]) -> Vec<OsString> {
    let first = arguments.first().and_then(|word| word.to_str()).unwrap_or_default();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) if LOCAL_COMMANDS.contains(&first) || OTHER_COMMANDS.contains(&first) => {
            (command.clone(), rest)
        }
        _ => (OsString::from("watch"), arguments),
    };
    let local = (!OTHER_COMMANDS.contains(&first)).then(|| OsString::from("--local"));
    std::iter::once(command).chain(local).chain(rest.iter().cloned()).collect()
}

/// Signals that reached the demo instead of ending it.
struct Signals {
    interrupted: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
}

// === impl Signals ===

impl Signals {
    fn watch() -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicUsize::new(0));
        signal_hook::flag::register(SIGINT, Arc::clone(&interrupted)).context("watching for signals")?;
        for signal in [SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).context("a signal's number")?;
            signal_hook::flag::register_usize(signal, Arc::clone(&ended), number)
                .context("watching for signals")?;
        }
        Ok(Self { interrupted, ended })
    }

    /// Waits for the plugin, which gets what the demo gets.
    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let id = Pid::from_raw(i32::try_from(child.id()).context("a process id")?);
        loop {
            if let Some(status) = child.try_wait().context("waiting for kubectl-kyanos")? {
                return Ok(status);
            }
            // A terminal's Ctrl-C reaches the plugin too; sent again it would mean more.
            if self.interrupted.swap(false, Ordering::Relaxed) && !std::io::stdin().is_terminal() {
                pass_on(id, Signal::SIGINT);
            }
            let ended = self.ended.swap(0, Ordering::Relaxed);
            if let Some(signal) = i32::try_from(ended).ok().and_then(|number| Signal::try_from(number).ok()) {
                pass_on(id, signal);
            }
            std::thread::sleep(PLUGIN_POLL);
        }
    }
}

fn pass_on(child: Pid, signal: Signal) {
    if let Err(error) = kill(child, signal) {
        eprintln!("warning: {signal} could not be passed on: {error}");
    }
}

/// Returns the child's exit code, by the shell's convention when a signal ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| signal + 128));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(arguments: &[&str]) -> Vec<String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        command_line(&arguments).into_iter().map(|word| word.into_string().expect("text")).collect()
    }

    #[test]
    fn arguments_choose_the_command() {
        assert_eq!(words(&[]), ["watch", "--local"]);
        assert_eq!(words(&["--count", "20"]), ["watch", "--local", "--count", "20"]);
        assert_eq!(words(&["redis", "--keys", "a"]), ["watch", "--local", "redis", "--keys", "a"]);
        assert_eq!(words(&["stat", "--time", "5"]), ["stat", "--local", "--time", "5"]);
        assert_eq!(words(&["version"]), ["version"]);
    }
}
