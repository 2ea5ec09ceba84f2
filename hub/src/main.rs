//! The hub binary.

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

/// Variable that sets what is logged, as in `hub=debug`.
const LOG: &str = "KYANOS_LOG";

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env(LOG).unwrap_or_else(|_| EnvFilter::new("warn,hub=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
    match hub::launch::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The parent has it already, and shows it.
            tracing::debug!(%error, "the hub ended");
            ExitCode::FAILURE
        }
    }
}
