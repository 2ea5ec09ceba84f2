//! Running other programs: found, announced, checked.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// How a user becomes root and keeps the tool chain that is installed in the home folder.
pub const SUDO: &str = "sudo env \"PATH=$PATH\" \"HOME=$HOME\"";

/// How often the end of a long step is looked for.
const STEP_POLL: Duration = Duration::from_millis(200);

/// Runs a command, announces it, and fails unless it succeeds. All that it prints goes to standard error: standard
/// output is for what the developer command itself was asked for.
pub fn check(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    command.stdout(std::io::stderr());
    let status = command.status().with_context(|| format!("running `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs a command that takes a while: one line on standard error says what is done and for how long. What the command
/// itself says is returned, and shown where it fails.
pub fn step(what: &str, command: &mut Command) -> Result<String> {
    let mut said = tempfile::tempfile().context("making a temporary file")?;
    let start = Instant::now();
    let is_terminal = std::io::stderr().is_terminal();
    eprint!("{what} … ");
    let spawned = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?).spawn();
    let mut child = spawned.with_context(|| format!("running `{}`", shown(command)))?;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("waiting for `{}`", shown(command)))? {
            break status;
        }
        std::thread::sleep(STEP_POLL);
        if is_terminal {
            eprint!("\r{what} … {} s", start.elapsed().as_secs());
        }
    };
    // On a terminal the line is written anew.
    let again = if is_terminal { format!("\r{what} … ") } else { String::new() };
    eprintln!("{again}{} s", start.elapsed().as_secs());
    let mut bytes = Vec::new();
    said.rewind().and_then(|()| said.read_to_end(&mut bytes)).context("reading what a command said")?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if !status.success() {
        eprint!("{text}");
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(text)
}

/// Runs a command silently and returns its standard output; a failure carries its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("running `{}`", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}: {}", shown(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns cargo in the workspace, as a developer would call it.
///
/// What cargo tells `xtask` about its own package must not reach it: build scripts that watch those variables would run
/// again, and all that depends on them compile again, whenever somebody builds by hand in between.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command.current_dir(workspace::root()).env("PATH", wide_path());
    command
}

/// Says whether a command runs and succeeds; its output is discarded.
#[must_use]
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Finds a program in `PATH`, or where Debian keeps servers and cargo its tools.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    search_path().into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Returns `PATH` with the folders that [`find`] adds, for children that look programs up themselves.
#[must_use]
pub fn wide_path() -> OsString {
    std::env::join_paths(search_path()).unwrap_or_else(|_| std::env::var_os("PATH").unwrap_or_default())
}

/// Fails without root, and says how to run a developer command with it.
pub fn need_root(command: &str) -> Result<()> {
    if !is_root() {
        bail!("capturing needs root; run `{SUDO} cargo xtask {command}`");
    }
    Ok(())
}

/// Says whether this process may do what root may.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo_home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    folders.extend(cargo.map(|home| home.join("bin")));
    folders.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+@,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says to this test, run again as a child, that it is the one whose output is looked at.
    const CHILD_VARIABLE: &str = "KYANOS_TEST_PRINTS";

    #[test]
    fn what_a_step_prints_goes_to_standard_error() {
        if std::env::var_os(CHILD_VARIABLE).is_some() {
            check(Command::new("sh").args(["-c", "echo to-out; echo to-err >&2"])).expect("it succeeds");
            check(Command::new("sh").args(["-c", "echo to-out; exit 3"])).expect_err("it fails");
            return;
        }
        let name = "run::tests::what_a_step_prints_goes_to_standard_error";
        let test = std::env::current_exe().expect("a program");
        let run = Command::new(test).args(["--exact", name, "--nocapture"]).env(CHILD_VARIABLE, "1").output();
        let run = run.expect("it runs");
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{err}");
        assert!(!out.contains("to-out"), "{out}");
        assert_eq!((err.matches("\nto-out\n").count(), err.matches("\nto-err\n").count()), (2, 1), "{err}");
    }
    #[test]
    fn a_long_step_is_one_line() {
        if let Some(script) = std::env::var_os(CHILD_VARIABLE) {
            let said = step("making", Command::new("sh").arg("-c").arg(script));
            println!("returned {said:?}");
            return;
        }
        let name = "run::tests::a_long_step_is_one_line";
        let test = std::env::current_exe().expect("a program");
        let run = |script: &str| {
            let run = Command::new(&test)
                .args(["--exact", name, "--nocapture"])
                .env(CHILD_VARIABLE, script)
                .output();
            let run = run.expect("it runs");
            (
                String::from_utf8_lossy(&run.stdout).into_owned(),
                String::from_utf8_lossy(&run.stderr).into_owned(),
            )
        };
        let (out, err) = run("echo many; echo lines >&2");
        assert!(out.contains("returned Ok(\"many\\nlines\\n\")"), "{out}");
        assert_eq!(err.lines().filter(|line| *line == "making … 0 s").count(), 1, "{err}");
        assert!(!err.contains("many") && !err.contains("lines"), "{err}");
        // What a failed step said is all there is to go by.
        let (out, err) = run("echo no such thing; exit 3");
        assert!(out.contains("returned Err"), "{out}");
        assert!(err.contains("making … 0 s\nno such thing\n"), "{err}");
    }
}
