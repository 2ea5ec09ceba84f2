//! The capturer binary: one line of JSON in, one line of JSON out, then captures until its standard input ends.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use capturer::agent::Agent;
use proto::launch::{CapturerLaunch, CapturerReady};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tracing_subscriber::EnvFilter;

/// Environment variable with the log level, before the usual `RUST_LOG`.
const LOG: &str = "KYANOS_LOG";

/// Above ordinary processes: events that wait for a busy machine overflow the rings, and reading them is bounded work.
const PRIORITY: i32 = -10;

fn main() -> ExitCode {
    log();
    if let Err(error) = rustix::process::setpriority_process(None, PRIORITY) {
        tracing::debug!("running with ordinary priority: {error}");
    }
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| {
            let ended = runtime.block_on(run());
            // A thread is still reading the parent's pipe, and need not be waited for.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
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
        started = Agent::start(launch) => started,
        // The parent says nothing more: this is its end.
        _ = parent.fill_buf() => return Ok(true),
    };
    let agent = match started {
        Ok(agent) => agent,
        Err(error) => {
            let hint = error.hint();
            // With its causes: the parent shows them to the user.
            answer(&CapturerReady::Failed { error: format!("{:#}", anyhow::Error::new(error)), hint })?;
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

fn log() {
    let level = std::env::var(LOG)
        .or_else(|_unset| std::env::var("RUST_LOG"))
        .unwrap_or_else(|_unset| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
}
