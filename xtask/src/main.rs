//! Developer commands; run them as `cargo xtask COMMAND`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::image::Architecture;
use xtask::{
    bench, demo, e2e, image, kernels, kubernetes_api, lint_programs, package, replay, run, setup, suite,
};

/// Developer commands of Kyanos.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and testing need, where it is missing (apt, rustup, cargo).
    Setup {
        /// What the machine is prepared for.
        #[arg(long = "for", value_enum, default_value = "test")]
        purpose: setup::Purpose,
    },
    /// Set up, build, start small real servers with some traffic, and watch it.
    Demo {
        /// Arguments of `kubectl-kyanos`, which otherwise runs as `watch --local`.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Set up, build, and run all tests.
    Test {
        /// Only test programs whose name contains one of these words, such as `decoders` or `xtask/tidy`.
        only: Vec<String>,
    },
    /// Capture the same small traffic, and calls of every size, on Debian's 5.10, 6.1 and 6.12 kernels, under emulation,
    /// and on this machine's.
    Kernels {
        /// Only these: `5.10`, `6.1`, `6.12`, `own`.
        only: Vec<String>,
    },
    /// Run the smoke capture of `kernels` on the running kernel; its result is one line.
    #[command(hide = true)]
    Smoke {
        /// The plugin's path.
        plugin: PathBuf,
    },
    /// Serve the smoke capture's traffic.
    #[command(hide = true)]
    SmokeServer,
    /// Play captures to us, and compare what we make of them with what tshark does.
    Replay(replay::ReplayOptions),
    /// Play both ends of a capture's streams.
    #[command(hide = true)]
    ReplayPlayer(replay::Score),
    /// Run a client, and write what it and its server say to each other as fixtures of a decoder.
    Record(replay::record::RecordOptions),
    /// Measure what capturing costs a busy server, by small requests and by results of 3 MB, and the memory it takes.
    Bench(bench::BenchOptions),
    /// Build container images of hub and capturer, as archives that `ctr`, `kind` and `docker` load; needs no engine.
    Image {
        /// Folder for the archives, by default `images` in the target directory.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// The machines they run on, by default such as this one.
        #[arg(long, value_enum)]
        target: Option<Architecture>,
        /// Build nothing: join the archives of this folder, of all architectures, into a layout for each image in the
        /// folder of `--out`, and print the digests that a release's plugin is built with.
        #[arg(long, value_name = "DIR", requires = "out", conflicts_with = "target")]
        join: Option<PathBuf>,
    },
    /// Build a release: an archive per platform whose linker is here, and the plugin index's manifest.
    Package {
        /// Folder for the archives, by default `release-archives` in the target directory.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Programs built elsewhere, in folders such as `darwin-arm64`.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
        /// Only these platforms.
        #[arg(long, value_name = "OS-ARCHITECTURE", value_parser = package::platforms())]
        platform: Vec<String>,
    },
    /// Run the tests that need a real cluster.
    E2e(e2e::E2eOptions),
    /// Look for what is used of the Kubernetes API in OpenAPI documents that Kubernetes publishes.
    Api(kubernetes_api::ApiOptions),
    /// Run clippy on the kernel programs.
    LintPrograms,
    /// Generate the Rust types of the wire from the .proto files.
    Proto,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is the one place where a failure is told")]
            {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Setup { purpose } => setup::run(*purpose)?,
        Command::Demo { arguments } => return demo::run(arguments),
        Command::Test { only } => return suite::run(only),
        Command::Kernels { only } => return kernels::run(only),
        Command::Smoke { plugin } => kernels::smoke::report(plugin),
        Command::SmokeServer => kernels::smoke::server::serve()?,
        Command::Replay(choice) => return replay::run(choice),
        Command::ReplayPlayer(score) => replay::player(score)?,
        Command::Record(choice) => return replay::record::run(choice),
        Command::Bench(choice) => return bench::run(choice),
        Command::Image { out: Some(out), target: _, join: Some(archives) } => {
            image::joined::run(archives, out)?;
        }
        Command::Image { out, target, join: _ } => image::run(out.as_deref(), *target)?,
        Command::Package { out, programs, platform } => {
            package::run(out.as_deref(), programs.as_deref(), platform)?;
        }
        Command::E2e(choice) => return e2e::run(choice),
        Command::Api(options) => return kubernetes_api::run(options),
        Command::LintPrograms => lint_programs::run()?,
        Command::Proto => run::check(run::cargo().args(["run", "--quiet", "--package", "codegen"]))?,
    }
    Ok(ExitCode::SUCCESS)
}
