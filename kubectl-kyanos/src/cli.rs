//! The command line: what can be written, and what is wrong with what cannot.

pub(crate) mod cluster;
pub(crate) mod complete;
mod examples;
pub(crate) mod filter;
pub(crate) mod formats;
pub(crate) mod groups;
mod refusal;
mod status;
pub(crate) mod target;
mod trace;
pub(crate) mod values;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::Failure;
use crate::metric::Metric;
use crate::protocols;
use crate::render::result::Format;
use crate::render::stat::Sort;
pub(crate) use cluster::{ClusterArgs, DeployArgs, PodArgs};
pub(crate) use filter::FilterArgs;
pub(crate) use refusal::Outcome;
pub(crate) use target::TargetArgs;
pub(crate) use trace::TraceArgs;

/// Commands that run a session and filter its traffic.
pub(crate) const CAPTURING_COMMANDS: [&str; 3] = ["watch", "stat", "overview"];

/// Default of `--max-print-bytes`.
pub(crate) const DEFAULT_PRINT_BYTES: &str = "1024";

/// Default of `--max-store-bytes`.
pub(crate) const DEFAULT_STORE_BYTES: &str = "64KiB";

/// Default of `--ring-size`: what the capture rules give each ring.
pub(crate) const DEFAULT_RING_BYTES: &str = "4MiB";

/// See every request of this machine's processes, decoded and timed.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-kyanos",
    bin_name = "kubectl kyanos",
    version,
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    about = "See every request of pods and processes, decoded and timed, from the terminal",
    after_help = include_str!("cli/help/main.txt")
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Commands,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Commands {
    /// Show requests with their responses as they happen
    #[command(after_help = include_str!("cli/help/watch.txt"))]
    Watch(Box<WatchArgs>),
    /// Aggregate requests: counts, errors and percentiles by group
    #[command(after_help = include_str!("cli/help/stat.txt"))]
    Stat(Box<StatArgs>),
    /// Show who depends on what: sources, destinations and protocols
    #[command(after_help = include_str!("cli/help/overview.txt"))]
    Overview(Box<OverviewArgs>),
    /// Ask SQL about what a session stored
    #[command(after_help = include_str!("cli/help/query.txt"))]
    Query(QueryArgs),
    /// List sessions with their totals and losses
    #[command(after_help = include_str!("cli/help/status.txt"))]
    Status(StatusArgs),
    /// Remove what ended sessions left behind
    #[command(after_help = include_str!("cli/help/cleanup.txt"))]
    Cleanup(CleanupArgs),
    /// Print the version
    #[command(after_help = include_str!("cli/help/version.txt"))]
    Version(VersionArgs),
    /// Print a completion script for a shell
    #[command(after_help = include_str!("cli/help/completion.txt"))]
    Completion(CompletionArgs),
    /// Complete a command line as kubectl asks for it
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Candidates(CandidatesArgs),
}

/// Where a session runs.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct PlaceArgs {
    /// Capture on this machine (needs root and Linux)
    #[arg(long)]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// How a session lives and what it keeps.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Session")]
pub(crate) struct SessionArgs {
    /// Name of the new session; five random letters by default
    #[arg(long, value_name = "NAME", value_parser = values::name, conflicts_with = "session")]
    pub(crate) name: Option<String>,
    /// Join the running session of this name
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    pub(crate) session: Option<String>,
    /// Leave the store when the session ends and say how to read it
    #[arg(long, conflicts_with = "session")]
    pub(crate) keep: bool,
    /// How long a kept session lives in a cluster after capture ended [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, conflicts_with = "session")]
    pub(crate) ttl: Option<std::time::Duration>,
    /// Longest the session may take to start
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "120s", conflicts_with = "session")]
    pub(crate) timeout: std::time::Duration,
    /// Save the store before the session ends: FILE.sqlite, FILE.jsonl or FILE.csv
    #[arg(long, value_name = "FILE", conflicts_with = "session")]
    pub(crate) save: Option<PathBuf>,
    /// Store exchanges in mysql://USER:PW@HOST:PORT/DB or sqlite:PATH of your own
    #[arg(long, value_name = "URL", conflicts_with = "session")]
    pub(crate) store: Option<String>,
    /// Login for `query` on a mysql:// store, one that can only SELECT
    #[arg(long, value_name = "URL", requires = "store")]
    pub(crate) store_reader: Option<String>,
    /// Bytes the store may hold, the oldest go first [default: 2GiB, none with --store]
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, conflicts_with = "session")]
    pub(crate) store_limit: Option<u64>,
    /// Payload bytes stored per message
    #[arg(long, value_name = "BYTES", value_parser = values::bytes32, default_value = DEFAULT_STORE_BYTES, conflicts_with = "session")]
    pub(crate) max_store_bytes: u32,
}

/// How traffic is captured.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Capture")]
pub(crate) struct CaptureArgs {
    /// Capture one connection in N
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "session")]
    pub(crate) sample: u32,
    /// Bytes of each event ring, a power of two
    #[arg(long, value_name = "BYTES", value_parser = values::ring, default_value = DEFAULT_RING_BYTES, conflicts_with = "session")]
    pub(crate) ring_size: u32,
    /// Type information of the kernel [default: /sys/kernel/btf/vmlinux]
    #[arg(long, value_name = "FILE", conflicts_with = "session")]
    pub(crate) btf: Option<PathBuf>,
    /// Replace passwords, tokens and cookies by [redacted] [default: true]
    #[allow(
        rustdoc::broken_intra_doc_links,
        reason = "users read this text, in which brackets are brackets"
    )]
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        conflicts_with = "session"
    )]
    pub(crate) redact: bool,
    /// Further HTTP headers to redact
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "session")]
    pub(crate) redact_header: Vec<String>,
    #[command(flatten)]
    pub(crate) trace: TraceArgs,
    /// Stop after N exchanges
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Stop after N seconds
    #[arg(long, value_name = "N", value_parser = values::seconds)]
    pub(crate) time: Option<std::time::Duration>,
    /// Accepted for scripts of the original; unused
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) docker_address: Option<String>,
    /// Accepted for scripts of the original; unused
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) containerd_address: Option<String>,
    /// Accepted for scripts of the original; unused
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) cri_runtime_address: Option<String>,
    /// Accepted for scripts of the original, whose interactive view holds so many; a stream has no such limit
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) max_records: Option<u32>,
}

/// What is said about the work itself.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Messages")]
pub(crate) struct MessageArgs {
    /// Show everything hub and capturer log, and the ledgers at the end
    #[arg(short, long)]
    pub(crate) debug: bool,
    /// Say each step of starting and ending
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// What every command that captures has: where, which pods and traffic, and how.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CapturingArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) pods: PodArgs,
    #[command(flatten)]
    pub(crate) deploy: DeployArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) capture: CaptureArgs,
    #[command(flatten)]
    pub(crate) message: MessageArgs,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// The protocol among them
    #[arg(skip)]
    pub(crate) protocol: Option<String>,
    /// List the protocols with their filters
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) capturing: CapturingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How `watch` shows exchanges.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
#[expect(clippy::struct_excessive_bools, reason = "flags are independent of each other")]
pub(crate) struct OutputArgs {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_parser = formats::of(formats::STREAM), default_value = "table")]
    pub(crate) output: Format,
    /// Append each exchange as JSON to FILE too; `stdout` is -o json
    #[arg(long, value_name = "FILE")]
    pub(crate) json_output: Option<PathBuf>,
    /// Say in JSON too which nodes are not seen: objects whose `kind` is `notice`
    #[arg(long)]
    pub(crate) notices: bool,
    /// Payload bytes shown per message, in JSON too
    #[arg(long, value_name = "BYTES", value_parser = values::bytes32, default_value = DEFAULT_PRINT_BYTES)]
    pub(crate) max_print_bytes: u32,
    /// Show each exchange as a block: its path, request and response
    #[arg(long)]
    pub(crate) detail: bool,
    /// Leave requests' and responses' text out
    #[arg(long)]
    pub(crate) no_payload: bool,
    /// Plain lines, without colour, also on a terminal
    #[arg(long)]
    pub(crate) debug_output: bool,
}

/// Arguments of `stat`.
#[derive(Debug, Args)]
pub(crate) struct StatArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// The protocol among them
    #[arg(skip)]
    pub(crate) protocol: Option<String>,
    #[command(flatten)]
    pub(crate) aggregate: AggregateArgs,
    #[command(flatten)]
    pub(crate) capturing: CapturingArgs,
}

/// What `stat` measures, by what it groups and how it shows that.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Aggregation")]
pub(crate) struct AggregateArgs {
    /// What is measured
    #[arg(short, long, value_name = "LIST", help = values::metric_help(), value_delimiter = ',', value_parser = values::metric, default_value = "total-time")]
    pub(crate) metric: Vec<Metric>,
    /// What rows are of
    #[arg(short, long, value_name = "GROUPS", help = groups::help(), value_parser = groups::groups, default_value = "remote-ip")]
    pub(crate) group_by: groups::Groups,
    /// Examples shown per group, largest first
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=100))]
    pub(crate) samples_limit: Option<u32>,
    /// What was slow: total time, largest first, with examples
    #[arg(long, conflicts_with_all = ["bigreq", "bigresp", "metric"])]
    pub(crate) slow: bool,
    /// Which requests were big
    #[arg(long, conflicts_with_all = ["bigresp", "metric"])]
    pub(crate) bigreq: bool,
    /// Which responses were big
    #[arg(long, conflicts_with = "metric")]
    pub(crate) bigresp: bool,
    /// Order of groups, largest first [default: count]
    #[arg(long, value_name = "BY", value_enum)]
    pub(crate) sort: Option<Sort>,
    /// Groups shown
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Seconds between results; without a terminal one JSON object each
    #[arg(long, value_name = "N", value_parser = values::seconds)]
    pub(crate) interval: Option<std::time::Duration>,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_parser = formats::of(formats::FINITE), default_value = "table")]
    pub(crate) output: Format,
}

/// Arguments of `overview`.
#[derive(Debug, Args)]
pub(crate) struct OverviewArgs {
    /// Workloads whose pods are meant, as --workload takes them
    #[arg(value_name = "KIND/NAME")]
    pub(crate) workloads: Vec<String>,
    /// Show how much of the time is network, waiting, and the remote's work
    #[arg(long)]
    pub(crate) time_share: bool,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_parser = formats::of(formats::FINITE), default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) capturing: CapturingArgs,
}

/// Arguments of `query`.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// One SQL statement; an interactive prompt without it
    #[arg(value_name = "SQL")]
    pub(crate) sql: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Ready-made question: slow, errors, top, services, loss, where, or FILE.sql
    #[arg(long, value_name = "NAME|FILE.sql", conflicts_with = "sql")]
    pub(crate) report: Option<String>,
    /// Session to ask; the only live one by default
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    pub(crate) session: Option<String>,
    /// A saved or kept store, sqlite:FILE; needs neither session nor root, with `--local` or without
    #[arg(long, value_name = "URL", conflicts_with = "session")]
    pub(crate) store: Option<String>,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_parser = formats::of(formats::ROWS), default_value = "table")]
    pub(crate) output: Format,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_parser = formats::of(formats::FINITE), default_value = "table")]
    pub(crate) output: Format,
}

/// Arguments of `cleanup`.
#[derive(Debug, Args)]
pub(crate) struct CleanupArgs {
    /// Session to remove, also a live one
    #[arg(value_name = "NAME", value_parser = values::name, conflicts_with = "all")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Remove every session and kept store; lists them and asks
    #[arg(long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Arguments of `version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print the images of a session too, for mirroring
    #[arg(long)]
    pub(crate) images: bool,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_parser = formats::of(formats::PLAIN))]
    pub(crate) output: Option<Format>,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// Shell
    #[arg(value_name = "SHELL", required_unless_present = "install")]
    pub(crate) shell: Option<clap_complete::Shell>,
    /// Put the program beside this one by which kubectl completes `kubectl kyanos`
    #[arg(long)]
    pub(crate) install: bool,
}

/// Arguments of `__complete`.
#[derive(Debug, Args)]
pub(crate) struct CandidatesArgs {
    /// Words of the command line, the last being completed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// The whole command line with the protocols' own filters.
pub(crate) fn command() -> Command {
    let mut command = Cli::command();
    for name in CAPTURING_COMMANDS {
        command = command.mut_subcommand(name, |sub| sub.args(protocols::args()));
    }
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| sub.mut_args(with_value));
    }
    command
}

/// Reads a command line; `matches` of the command carry the protocols' own filters.
pub(crate) fn parse(words: Vec<std::ffi::OsString>) -> Result<(Cli, ArgMatches), Outcome> {
    let command = examples::for_place(command(), &words);
    let given = words.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    let path = match command.find_subcommand(given) {
        Some(sub) => format!("kubectl kyanos {}", sub.get_name()),
        None => "kubectl kyanos".to_owned(),
    };
    let refused = |error: &clap::Error| refusal::outcome(error, &path);
    let matches = command.try_get_matches_from(words).map_err(|error| refused(&error))?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| refused(&error))?;
    let of_command = matches.subcommand().map(|(_, matches)| matches.clone()).unwrap_or_default();
    cluster::refuse_beside_local(&of_command).map_err(Outcome::Refused)?;
    sort_targets(&mut cli.command).map_err(Outcome::Refused)?;
    Ok((cli, of_command))
}

/// Puts words without a flag where the flags of the same meaning are.
fn sort_targets(command: &mut Commands) -> Result<(), Failure> {
    let (capturing, given) = match command {
        Commands::Watch(args) => {
            args.protocol = args.target.sort(&mut args.capturing.pods.workload)?;
            (&args.capturing, "watch")
        }
        Commands::Stat(args) => {
            args.protocol = args.target.sort(&mut args.capturing.pods.workload)?;
            (&args.capturing, "stat")
        }
        Commands::Overview(args) => {
            args.capturing.pods.workload.append(&mut args.workloads);
            (&args.capturing, "overview")
        }
        Commands::Query(_)
        | Commands::Status(_)
        | Commands::Cleanup(_)
        | Commands::Version(_)
        | Commands::Completion(_)
        | Commands::Candidates(_) => return Ok(()),
    };
    match capturing.pods.workload.first().filter(|_| capturing.place.local) {
        Some(workload) => Err(Failure::usage(format!(
            "`{given} {workload}` cannot be used with `--local`: this machine knows no workloads"
        ))
        .hint("leave `--local` out for a cluster; here `--pids`, `--comm` and `--container-id` choose processes")),
        None => Ok(()),
    }
}

/// Lets a switch take `=true` and `=false`.
fn with_value(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(clap::value_parser!(bool))
        .value_name("BOOL")
        .hide_default_value(true)
        .hide_possible_values(true)
}

#[cfg(test)]
mod tests;
