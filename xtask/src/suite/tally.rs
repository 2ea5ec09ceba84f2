//! Counts what test programs report.

use std::fmt;

/// How a test that could not run says so.
const SKIPPED_PREFIX: &str = "skipped: ";

/// Results of any number of test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    passed: usize,
    failures: Vec<String>,
    /// Test and reason.
    skips: Vec<(String, String)>,
}

/// Reads one test program's output (`--show-output`).
pub(super) struct OutputReader {
    program: String,
    tally: Tally,
    section: Section,
    /// The test whose output is being read, until it has said that it was skipped.
    current: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Progress,
    Successes,
    Failures,
}

// === impl Tally ===

impl Tally {
    /// Adds another program's results.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
    }

    /// Says whether nothing failed and something ran.
    pub(super) fn is_success(&self) -> bool {
        self.failures.is_empty() && self.passed > 0
    }

    /// Names what did not pass.
    pub(super) fn print_details(&self) {
        for (test, reason) in &self.skips {
            println!("skipped {test}: {reason}");
        }
        for test in &self.failures {
            println!("FAILED  {test}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failures.len(), self.skips.len())
    }
}

// === impl OutputReader ===

impl OutputReader {
    /// Starts to read a program's output.
    pub(super) fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            tally: Tally::default(),
            section: Section::Progress,
            current: None,
        }
    }

    /// Takes a line and returns it if a person wants to see it: output of tests that passed is not shown.
    pub(super) fn line(&mut self, line: &str) -> Option<String> {
        match line {
            "successes:" => self.section = Section::Successes,
            "failures:" => self.section = Section::Failures,
            _ if line.starts_with("test result: ") => {
                self.section = Section::Progress;
                self.current = None;
                return Some(line.to_owned());
            }
            _ => {}
        }
        match self.section {
            Section::Progress => {
                self.progress(line);
                (!line.is_empty()).then(|| line.to_owned())
            }
            Section::Successes => {
                self.success(line);
                None
            }
            Section::Failures => Some(line.to_owned()),
        }
    }

    /// Ends the program's output; one that failed without naming a test counts as one failure.
    pub(super) fn finish(mut self, success: bool) -> Tally {
        if !success && self.tally.failures.is_empty() {
            self.tally.failures.push(format!("{} (the program itself)", self.program));
        }
        self.tally
    }

    fn progress(&mut self, line: &str) {
        let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        // A test of a panic has its kind behind the name.
        let name = name.split(" - should panic").next().unwrap_or(name);
        let test = format!("{} {name}", self.program);
        match outcome.split(',').next().unwrap_or(outcome) {
            "ok" => self.tally.passed += 1,
            "ignored" => {
                let reason = outcome.strip_prefix("ignored, ").unwrap_or("ignored");
                self.tally.skips.push((test, reason.to_owned()));
            }
            _ => self.tally.failures.push(test),
        }
    }

    fn success(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.current = Some(name.to_owned());
        } else if let Some(reason) = line.strip_prefix(SKIPPED_PREFIX)
            && let Some(name) = self.current.take()
        {
            self.tally.passed = self.tally.passed.saturating_sub(1);
            self.tally.skips.push((format!("{} {name}", self.program), reason.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 4 tests
test a ... ok
test b ... ok
test c ... ignored, slow
test d ... FAILED

successes:

---- a stdout ----
hello
---- b stdout ----
skipped: needs root
skipped: said twice

successes:
    a
    b

failures:

---- d stdout ----
assertion failed
skipped: words of a test that failed

failures:
    d

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn read(output: &str, success: bool) -> (Tally, String) {
        let mut reader = OutputReader::new("crate");
        let shown: Vec<String> = output.lines().filter_map(|line| reader.line(line)).collect();
        (reader.finish(success), shown.join("\n"))
    }

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        let (tally, shown) = read(OUTPUT, false);
        assert_eq!(tally.to_string(), "1 passed, 1 failed, 2 skipped");
        assert_eq!(tally.failures, ["crate d"]);
        assert!(shown.contains("assertion failed") && !shown.contains("hello"), "{shown}");
        assert!(!tally.is_success());
    }

    #[test]
    fn a_program_that_dies_counts_as_a_failure() {
        let (tally, _) = read("running 1 test\n", false);
        assert_eq!(tally.to_string(), "0 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn nothing_at_all_is_no_success() {
        let (tally, _) = read("running 0 tests\n", true);
        assert!(!tally.is_success());
    }
}
