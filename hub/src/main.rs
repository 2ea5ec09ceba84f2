//! The hub binary.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use mimalloc::MiMalloc;
use proto::causes::with_causes;
use tracing_subscriber::EnvFilter;

/// Every exchange is a few dozen pieces of memory that live for milliseconds.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Exit code of a wrong command line.
const USAGE_EXIT_CODE: u8 = 2;

/// Variable that sets what is logged, as in `hub=debug`.
const LOG_VARIABLE: &str = "KYANOS_LOG";

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("warn,hub=info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    let file = launch_file(std::env::args_os().skip(1));
    // In a cluster logs are collected and read by programs.
    match &file {
        Ok(Some(_)) => log.json().flatten_event(true).init(),
        Ok(None) | Err(_) => log.without_time().init(),
    }
    let result = match file {
        Ok(Some(file)) => hub::launch::cluster::run(&file),
        Ok(None) => hub::launch::run(),
        Err(argument) => {
            tracing::error!(?argument, "usage: hub [--launch FILE]");
            return ExitCode::from(USAGE_EXIT_CODE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The parent has it already, and shows it.
            tracing::debug!(error = with_causes(&error), "the hub ended");
            ExitCode::FAILURE
        }
    }
}

/// Reads `--launch FILE`; what else is given is an error.
fn launch_file(mut arguments: impl Iterator<Item = OsString>) -> Result<Option<PathBuf>, OsString> {
    let Some(flag) = arguments.next() else { return Ok(None) };
    let file = match flag.to_str() {
        Some("--launch") => arguments.next(),
        Some(text) => text.strip_prefix("--launch=").map(OsString::from),
        None => None,
    };
    match (file, arguments.next()) {
        (Some(file), None) if !file.is_empty() => Ok(Some(file.into())),
        (Some(_), Some(more)) => Err(more),
        (Some(_) | None, _) => Err(flag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Option<PathBuf>, OsString> {
        launch_file(arguments.iter().map(OsString::from))
    }

    #[test]
    fn the_launch_is_a_file_or_the_parents_line() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["--launch", "/a"]), Ok(Some("/a".into())));
        assert_eq!(read(&["--launch=/a"]), Ok(Some("/a".into())));
        assert_eq!(read(&["--launch"]), Err("--launch".into()));
        assert_eq!(read(&["--lunch", "/a"]), Err("--lunch".into()));
        assert_eq!(read(&["--launch", "/a", "/b"]), Err("/b".into()));
    }
}
