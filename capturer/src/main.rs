//! The capturer binary.
//!
//! Locally it is a child: one line of JSON in, one line of JSON out, then it captures until its standard input ends. In
//! a cluster it is a pod: `--launch FILE` names the parameters, and it captures until a signal comes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use capturer::agent::{self, Agent};
use capturer::pod;
use proto::causes::with_causes;
use proto::launch::{CapturerLaunch, CapturerReady};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

/// Environment variable with the log level, before the usual `RUST_LOG`.
const LOG_VARIABLE: &str = "KYANOS_LOG";

/// Above ordinary processes: events that wait for a busy machine overflow the rings, and reading them is bounded work.
const PRIORITY: i32 = -10;

/// Exit code for arguments that are none.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let pod = match (arguments.next(), arguments.next(), arguments.next()) {
        (None, ..) => None,
        (Some(flag), Some(file), None) if flag == "--launch" => Some(PathBuf::from(file)),
        _ => {
            complain(
                "arguments are none, or `--launch FILE`",
                Some("the capturer is started by `kubectl kyanos`"),
            );
            return ExitCode::from(USAGE);
        }
    };
    log(pod.is_some());
    if let Err(error) = rustix::process::setpriority_process(None, PRIORITY) {
        tracing::debug!("running with ordinary priority: {error}");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match pod {
        Some(file) => as_pod(&runtime, &file),
        None => as_child(runtime),
    }
}

/// Runs in a cluster. The last line says why it failed: the pod's status carries it.
fn as_pod(runtime: &Runtime, file: &Path) -> ExitCode {
    match runtime.block_on(pod::run(file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = error.hint();
            complain(&with_causes(&error), hint.as_deref());
            ExitCode::FAILURE
        }
    }
}

/// Runs as the plugin's child.
fn as_child(runtime: Runtime) -> ExitCode {
    let ended = runtime.block_on(run());
    // A thread is still reading the parent's pipe, and need not be waited for.
    runtime.shutdown_background();
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes one line about what failed and what can be done.
fn complain(error: &str, hint: Option<&str>) {
    let hint = hint.map(|hint| format!(" hint: {hint}")).unwrap_or_default();
    let line = format!("error: {error}{hint}\n").replace('\n', " ");
    // Where it cannot be written nobody reads it.
    writeln!(std::io::stderr().lock(), "{}", line.trim_end()).ok();
}

/// Runs a capture; `false` says that it could not start, which the parent was told.
async fn run() -> Result<bool> {
    let mut parent = BufReader::new(stdin());
    let mut line = String::new();
    parent.read_line(&mut line).await.context("cannot read the launch parameters")?;
    let launch: CapturerLaunch = match serde_json::from_str(&line) {
        Ok(launch) => launch,
        Err(error) => {
            let error = format!("the first line of standard input is no launch parameters: {error}");
            let hint = Some("the capturer is started by `kubectl kyanos`".to_owned());
            answer(&CapturerReady::Failed { error, hint })?;
            return Ok(false);
        }
    };
    drop(line);
    let started = tokio::select! {
        started = Agent::start(launch, Some(agent::SETTINGS_TIMEOUT), None) => started,
        // The parent says nothing more: this is its end.
        _ = parent.fill_buf() => return Ok(true),
    };
    let agent = match started {
        Ok(agent) => agent,
        Err(error) => {
            let hint = error.hint();
            // With its causes: the parent shows them to the user.
            answer(&CapturerReady::Failed { error: with_causes(&error), hint })?;
            return Ok(false);
        }
    };
    answer(&agent.ready())?;
    let end = agent.run(parent).await?;
    tracing::debug!(?end, "the capture has ended");
    Ok(true)
}

fn answer(ready: &CapturerReady) -> Result<()> {
    let mut line = serde_json::to_string(ready).context("cannot encode the answer")?;
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).context("cannot answer")
}

fn log(pod: bool) {
    let usual = if pod { "info" } else { "warn" };
    let level = std::env::var(LOG_VARIABLE)
        .or_else(|_unset| std::env::var("RUST_LOG"))
        .unwrap_or_else(|_unset| usual.to_owned());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(false);
    if pod {
        lines.json().init();
    } else {
        lines.without_time().init();
    }
}
