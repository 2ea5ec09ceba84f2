//! Builds everything and runs all tests: units in parallel, integration tests one at a time.
//!
//! A test that cannot run here prints a line `skipped: REASON` and returns; it counts as skipped.

mod tally;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tally::{OutputReader, Tally};

use crate::debian::Suite;
use crate::{run, setup, workspace};

/// One test program may take this long; the slowest known takes a third of it.
const PROGRAM_TIMEOUT: Duration = Duration::from_mins(10);

/// How often a silent test is looked after.
const PROGRAM_POLL: Duration = Duration::from_millis(200);

/// Tells the store's tests where an unpacked MySQL server lies.
const MYSQL_ROOT: &str = "KYANOS_TEST_MYSQL_ROOT";

/// What MySQL's server needs at run time lies in other packages than these.
const NOT_FOR_MYSQL: [&str; 6] = ["perl", "debconf", "dpkg", "mysql-common", "adduser", "psmisc"];

/// A compiled test program.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    /// Folder of its crate, where cargo runs tests.
    folder: PathBuf,
    /// `CRATE` or `CRATE/TEST`.
    name: String,
    /// Loads kernel programs or starts servers: its tests run one at a time.
    serial: bool,
}

/// Runs all tests whose program's name contains one of `only` (all when empty).
pub fn run(only: &[String]) -> Result<ExitCode> {
    let start = Instant::now();
    setup::run(setup::Purpose::Test)?;
    let programs = build()?;
    let mysql = unpacked_mysql();
    if let Err(error) = &mysql {
        eprintln!("warning: MySQL cannot be tested against: {error:#}");
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("watching for signals")?;
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
    let mut total = Tally::default();
    for program in programs.iter().filter(|program| wanted(&program.name)) {
        total.add(program.run(mysql.as_deref().ok(), &interrupted)?);
    }
    let documented = if wanted("doc") { documented_crates()? } else { BTreeSet::new() };
    if !documented.is_empty() {
        total.add(doc_tests(&documented, &interrupted)?);
    }
    println!("\n{:-<72}", "");
    total.print_details();
    println!("finished in {} s", start.elapsed().as_secs());
    println!("{total}");
    Ok(if total.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the folder of an unpacked MySQL server, fetching it the first time.
pub fn unpacked_mysql() -> Result<PathBuf> {
    let root = workspace::target().join("mysql");
    if !root.join("usr/sbin/mysqld").is_file() {
        let suite = Suite::open("sid", &workspace::target().join("apt"))?;
        let packages = suite.closure("mysql-server-core", &NOT_FOR_MYSQL)?;
        suite.unpack(&packages, &root)?;
    }
    Ok(root)
}

/// Builds a test program of one crate and returns where it lies.
pub fn program_of(crate_name: &str, test: &str) -> Result<PathBuf> {
    let programs = build_programs(&["--package", crate_name, "--test", test])?;
    let name = format!("{crate_name}/{test}");
    let found = programs.into_iter().find(|program| program.name == name);
    found.map(|program| program.path).with_context(|| format!("cargo built no `{name}`"))
}

fn build() -> Result<Vec<Program>> {
    // One command for programs, tests and examples: their features are resolved together and nothing is built twice.
    let mut programs = build_programs(&["--workspace", "--all-targets"])?;
    // Quick ones first, so that simple mistakes show early.
    programs.sort_by(|a, b| (a.serial, &a.name).cmp(&(b.serial, &b.name)));
    Ok(programs)
}

/// Builds what the arguments select, and returns the test programs among it.
fn build_programs(select: &[&str]) -> Result<Vec<Program>> {
    let mut command = run::cargo();
    command.arg("build").args(select).args(["--message-format", "json-render-diagnostics"]);
    eprintln!("$ cargo build {}", select.join(" "));
    let output = command.stderr(Stdio::inherit()).output().context("running cargo")?;
    if !output.status.success() {
        bail!("the build failed");
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(program).collect())
}

/// Reads one of cargo's messages: a test program, or something else.
fn program(line: &str) -> Option<Program> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_test = message.pointer("/profile/test")?.as_bool()?;
    let path = message.get("executable")?.as_str().filter(|_| is_test)?;
    let folder = Path::new(message.get("manifest_path")?.as_str()?).parent()?.to_path_buf();
    let crate_name = folder.file_name()?.to_string_lossy().into_owned();
    let target = message.pointer("/target/name")?.as_str()?;
    let kind = message.pointer("/target/kind/0")?.as_str()?;
    let name = match kind {
        "test" => format!("{crate_name}/{target}"),
        "bin" => format!("{crate_name}/bin/{target}"),
        // Built, so that they go on compiling, and not run: a benchmark of its own measures when it is called.
        "example" | "bench" => return None,
        _ => crate_name,
    };
    Some(Program { path: PathBuf::from(path), folder, name, serial: kind == "test" })
}

// === impl Program ===

impl Program {
    fn run(&self, mysql: Option<&Path>, interrupted: &AtomicBool) -> Result<Tally> {
        println!("\n=== {}", self.name);
        // A test that is not looked after any more ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "--"]).arg(&self.path);
        command.arg("--show-output").current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command.env("PATH", run::wide_path());
        if self.serial {
            command.arg("--test-threads=1");
        }
        match mysql {
            Some(root) => command.env(MYSQL_ROOT, root),
            None => command.env_remove(MYSQL_ROOT),
        };
        follow(&self.name, &mut command, interrupted)
    }
}

/// Finds the crates whose documentation has examples. Where none has, nothing is compiled again to run no test.
fn documented_crates() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for file in workspace::tracked_files()? {
        let mut parts = file.iter().map(|part| part.to_string_lossy().into_owned());
        let (Some(name), Some(folder)) = (parts.next(), parts.next()) else { continue };
        if folder == "src"
            && file.extension().is_some_and(|extension| extension == "rs")
            && has_example(&std::fs::read_to_string(workspace::root().join(&file))?)
        {
            found.insert(name);
        }
    }
    Ok(found)
}

/// Says whether a source file documents something by a block of code.
fn has_example(source: &str) -> bool {
    source.lines().map(str::trim_start).any(|line| {
        let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        text.is_some_and(|text| text.trim_start().starts_with("```"))
    })
}

fn doc_tests(crates: &BTreeSet<String>, interrupted: &AtomicBool) -> Result<Tally> {
    println!("\n=== doc");
    let mut command = run::cargo();
    command.args(["test", "--doc", "--no-fail-fast"]);
    command.args(crates.iter().flat_map(|name| ["--package", name.as_str()]));
    command.args(["--", "--show-output"]);
    follow("doc", &mut command, interrupted)
}

/// Runs a test program in its own process group, shows its lines as they come, and counts them.
fn follow(name: &str, command: &mut Command, interrupted: &AtomicBool) -> Result<Tally> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("starting a test")?;
    let output = child.stdout.take().context("a test without output")?;
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let mut reader = OutputReader::new(name);
    let ended = loop {
        match lines.recv_timeout(PROGRAM_POLL) {
            Ok(line) => reader.line(&line).into_iter().for_each(|line| println!("{line}")),
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if start.elapsed() > PROGRAM_TIMEOUT || interrupted.load(Ordering::Relaxed) {
            break false;
        }
    };
    if !ended {
        println!("{name} is ended after {} s", start.elapsed().as_secs());
        let group = Pid::from_raw(i32::try_from(child.id()).context("a process id")?);
        killpg(group, Signal::SIGKILL).context("ending a test")?;
    }
    let status = child.wait().context("waiting for a test")?;
    if interrupted.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(reader.finish(status.success() && ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crates_with_examples_are_documented_by_tests() {
        assert!(has_example("    /// ```\n    /// assert!(true);\n    /// ```\nfn a() {}"));
        assert!(has_example("//! ```text"));
        assert!(!has_example("// ```\n/// `a`\nlet text = \"```\";"));
        let known = crate::workspace::root();
        for name in documented_crates().unwrap() {
            assert!(known.join(&name).join("Cargo.toml").is_file(), "{name}");
        }
    }
    #[test]
    fn tests_are_run_and_benchmarks_built_alone() {
        let message = |kind: &str, test: bool| {
            serde_json::json!({
                "manifest_path": "/repository/hub/Cargo.toml",
                "profile": {"test": test},
                "target": {"name": "cluster", "kind": [kind]},
                "executable": "/target/cluster-1",
            })
            .to_string()
        };
        let name = |kind, test| program(&message(kind, test)).map(|program| program.name);
        assert_eq!(name("test", true).as_deref(), Some("hub/cluster"));
        assert_eq!(name("bin", true).as_deref(), Some("hub/bin/cluster"));
        assert_eq!(name("lib", true).as_deref(), Some("hub"));
        assert_eq!([name("bench", true), name("example", true), name("bin", false)], [None, None, None]);
    }
}
