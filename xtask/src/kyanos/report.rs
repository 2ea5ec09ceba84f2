//! What a command said when it had ended.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::Exchange;

/// What a command did.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub status: ExitStatus,
    /// The objects on standard output.
    pub exchanges: Vec<Exchange>,
    /// Lines of standard output that are not JSON objects.
    pub noise: Vec<String>,
    /// Standard error.
    pub stderr: String,
    /// How long it took to end once told to.
    pub ending: Duration,
}

/// One consumer's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Who counted.
    pub consumer: String,
    /// `events` or `exchanges`.
    pub unit: String,
    /// Entered.
    pub seen: u64,
    /// Left it downstream.
    pub delivered: u64,
    /// Dropped because nobody asked.
    pub filtered: u64,
    /// Dropped otherwise, by stage.
    pub lost: BTreeMap<String, u64>,
}

// === impl Report ===

impl Report {
    /// Returns the exit code; 128 and the signal where a signal ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Returns the exchanges seen from a side with this port at the server's end.
    #[must_use]
    pub fn seen(&self, side: &str, port: u16) -> Vec<&Exchange> {
        self.exchanges.iter().filter(|exchange| exchange.is(side, port)).collect()
    }

    /// Returns how many exchanges the summary says were captured.
    pub fn captured(&self) -> Result<u64> {
        let pattern = Regex::new(r"captured ([0-9,]+) exchanges?")?;
        let found =
            pattern.captures(&self.stderr).with_context(|| format!("no summary in:\n{}", self.stderr))?;
        Ok(found[1].replace(',', "").parse()?)
    }

    /// Returns what the summary says was lost, by unit and stage.
    pub fn lost(&self) -> Result<BTreeMap<(String, String), u64>> {
        let line = self.stderr.lines().rfind(|line| line.starts_with("lost "));
        let line = line.with_context(|| format!("no line of losses in:\n{}", self.stderr))?;
        let mut lost = BTreeMap::new();
        for part in Regex::new(r"[0-9,]+ (events?|exchanges?|seconds?) \(([^)]*)\)")?.captures_iter(line) {
            let unit = format!("{}s", part[1].trim_end_matches('s'));
            for stage in part[2].split(", ") {
                let (name, count) = stage.rsplit_once(' ').context("a stage without a count")?;
                lost.insert((unit.clone(), name.to_owned()), count.replace(',', "").parse()?);
            }
        }
        if lost.is_empty() && line.trim() != "lost 0" {
            bail!("cannot read `{line}`");
        }
        Ok(lost)
    }

    /// Returns what was lost while nothing but these ports' traffic was captured; nothing where others' came between,
    /// since a loss does not say whose it was.
    pub fn lost_of(&self, ports: &[u16]) -> Result<BTreeMap<(String, String), u64>> {
        let ours = |exchange: &Exchange| ports.iter().any(|port| exchange.has_port(*port));
        if self.exchanges.iter().all(ours) { self.lost() } else { Ok(BTreeMap::new()) }
    }

    /// Returns the ledgers that `-d` prints at the end.
    pub fn balances(&self) -> Result<Vec<Balance>> {
        let pattern = Regex::new(
            r"(?m)balance (.+) (events|exchanges|seconds): seen (\d+) = delivered (\d+) \+ filtered (\d+) \+ lost (\d+)(?: \(([^)]*)\))?",
        )?;
        let mut balances = Vec::new();
        for found in pattern.captures_iter(&self.stderr) {
            let mut lost = BTreeMap::new();
            for stage in found
                .get(7)
                .map_or("", |stages| stages.as_str())
                .split(", ")
                .filter(|stage| !stage.is_empty())
            {
                let (name, count) = stage.rsplit_once(' ').context("a stage without a count")?;
                lost.insert(name.to_owned(), count.replace(',', "").parse()?);
            }
            balances.push(Balance {
                consumer: found[1].to_owned(),
                unit: found[2].to_owned(),
                seen: found[3].parse()?,
                delivered: found[4].parse()?,
                filtered: found[5].parse()?,
                lost,
            });
        }
        Ok(balances)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_from_the_summary() {
        let report = |stderr: &str| Report {
            status: ExitStatus::default(),
            exchanges: Vec::new(),
            noise: Vec::new(),
            stderr: stderr.to_owned(),
            ending: Duration::ZERO,
        };
        let some = report(
            "captured 12,345 exchanges on 3 nodes in 42s\nlost 12 events (ring 10, miss 2), 5 exchanges (gap 5)\n",
        );
        assert_eq!(some.captured().unwrap(), 12_345);
        let lost = some.lost().unwrap();
        assert_eq!(lost[&("events".to_owned(), "ring".to_owned())], 10);
        assert_eq!(lost[&("exchanges".to_owned(), "gap".to_owned())], 5);
        assert!(report("captured 1 exchange\nlost 0\n").lost().unwrap().is_empty());
        let ledger =
            report("balance capturer vm events: seen 5 = delivered 3 + filtered 1 + lost 1 (ring 1)\n");
        assert_eq!(ledger.balances().unwrap()[0].lost["ring"], 1);
        assert_eq!(ledger.balances().unwrap()[0].consumer, "capturer vm");
    }
}
