//! The capturer's tests of calls of every size and shape, on the kernel that runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use super::guest;
use crate::suite;

/// What the test program is called in a guest.
pub(super) const PROGRAM: &str = "calls";

/// Its arguments: which tests, one at a time, since each of them watches the whole kernel.
pub(super) const ARGUMENTS: [&str; 6] =
    ["--test-threads=1", "beginning::", "large::", "datagrams::", "frames::", "conversations::"];

/// What its last line begins with.
const RESULT_PREFIX: &str = "test result: ";

/// The test program for the source of bytes that every kernel has, and that for newer ones.
const EVERYWHERE: &str = "kernel_syscalls";
const NEWER: &str = "kernel";

/// Builds the test program for kernels of any age.
pub(super) fn build() -> Result<PathBuf> {
    suite::program_of("capturer", EVERYWHERE)
}

/// Runs the tests on this machine's kernel, for both sources of bytes; returns a line to show.
pub(super) fn run_own(everywhere: &Path) -> Result<String> {
    let newer = suite::program_of("capturer", NEWER)?;
    Ok(format!("{} at system calls; {} at sockets", run(everywhere)?, run(&newer)?))
}

/// Runs the tests of one program on this machine's kernel; returns a line to show.
fn run(program: &Path) -> Result<String> {
    let output = Command::new(program).args(ARGUMENTS).output();
    let output = output.with_context(|| format!("running `{}`", program.display()))?;
    let said: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    let result = said.iter().find_map(|line| outcome(line)).context("the tests of calls gave no result")?;
    result.with_context(|| guest::tail(&said))
}

/// Reads the line that tells how the tests ended; `None` is another line.
pub(super) fn outcome(line: &str) -> Option<Result<String>> {
    let (_, result) = line.split_once(RESULT_PREFIX)?;
    let passed = result.strip_prefix("ok. ").and_then(|rest| rest.split_once(" passed; 0 failed"));
    Some(match passed {
        Some((count, _)) if count != "0" => Ok(format!("{count} tests of calls passed")),
        _ => Err(anyhow!("the tests of calls: {result}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_that_ran_and_passed_are_a_good_end() {
        let line = "test result: ok. 23 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out";
        assert_eq!(outcome(line).unwrap().unwrap(), "23 tests of calls passed");
        for line in
            ["test result: FAILED. 22 passed; 1 failed; 0 ignored", "test result: ok. 0 passed; 0 failed"]
        {
            assert!(outcome(line).unwrap().is_err(), "{line}");
        }
        assert!(outcome("test large::vectors_of_any_number ... ok").is_none());
    }
}
