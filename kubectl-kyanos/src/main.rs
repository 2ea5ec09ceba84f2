//! The plugin: sessions on this machine, commands, and what they show.

mod capture;
mod cli;
mod client;
mod clock;
mod cluster;
mod commands;
mod console;
mod failure;
mod local;
mod metric;
mod platform;
mod printer;
mod protocols;
mod render;
mod reports;
mod save;
mod session;
mod sight;
mod stdout;
mod stop;
mod store;
mod suggestion;
#[cfg(test)]
mod written_down;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;

use crate::cli::{Cli, Commands, MessageArgs, Outcome};
use crate::console::Console;
use crate::failure::Failure;

/// Name by which kubectl runs this program to complete a command line.
const COMPLETER_NAME: &str = "kubectl_complete-kyanos";

fn main() -> ExitCode {
    platform::prepare_console();
    let words: Vec<OsString> = std::env::args_os().collect();
    let outcome = match parse(words) {
        Ok((cli, matches)) => return run(cli, &matches),
        Err(outcome) => outcome,
    };
    let console = Console::new(false, false);
    let shown = match outcome {
        Outcome::Shown(text) => stdout::print(&text),
        Outcome::Refused(failure) => Err(failure),
    };
    finish(shown.map(|()| 0), &console)
}

/// Reads the command line; under kubectl's completer name all words are those to complete.
fn parse(mut words: Vec<OsString>) -> Result<(Cli, ArgMatches), Outcome> {
    let name = words.first().map(|word| Path::new(word).file_stem().unwrap_or_default().to_owned());
    if name.is_some_and(|name| name == COMPLETER_NAME) {
        words.insert(1, OsString::from("__complete"));
    }
    cli::parse(words)
}

fn run(cli: Cli, matches: &ArgMatches) -> ExitCode {
    let MessageArgs { debug, verbose } = messages(&cli.command);
    let mut console = Console::new(verbose, debug);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return finish(Err(Failure::new(format!("starting threads failed: {error}"))), &console);
        }
    };
    let result = runtime.block_on(dispatch(cli, matches, &mut console));
    // A thread may still wait for standard input or output; nothing of it is needed.
    runtime.shutdown_background();
    console.clear();
    finish(result, &console)
}

async fn dispatch(cli: Cli, matches: &ArgMatches, console: &mut Console) -> Result<u8, Failure> {
    match cli.command {
        Commands::Watch(args) => commands::watch::run(*args, matches, console).await,
        Commands::Stat(args) => commands::stat::run(*args, matches, console).await,
        Commands::Overview(args) => commands::overview::run(*args, matches, console).await,
        Commands::Query(args) => commands::query::run(args, console).await,
        Commands::Status(args) => commands::status::run(args, console).await,
        Commands::Cleanup(args) => commands::cleanup::run(args, console).await,
        Commands::Version(args) => commands::version::run(&args),
        Commands::Completion(args) => commands::completion::run(&args),
        Commands::Candidates(args) => stdout::print(&cli::complete::answer(&args.words)).map(|()| 0),
    }
}

fn messages(command: &Commands) -> MessageArgs {
    match command {
        Commands::Watch(args) => args.capturing.message.clone(),
        Commands::Stat(args) => args.capturing.message.clone(),
        Commands::Overview(args) => args.capturing.message.clone(),
        Commands::Query(_)
        | Commands::Status(_)
        | Commands::Cleanup(_)
        | Commands::Version(_)
        | Commands::Completion(_)
        | Commands::Candidates(_) => MessageArgs::default(),
    }
}

fn finish(result: Result<u8, Failure>, console: &Console) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            console.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}
