//! Captures that end before their store is there, and stores that never come.

use std::path::Path;
use std::time::{Duration, Instant};

use xtask::kyanos::{Report, unique_name};

use crate::{PATIENCE, Stage};

/// An image that no node can pull.
const NO_IMAGE: &str = "registry.invalid/store:0";

/// Seconds of a capture: shorter than a database takes to start, longer than the first exchange takes to come.
const SHORT: &str = "3";

/// Longest that a database may take to start, its image on the nodes or not.
const STORE_START: Duration = Duration::from_mins(5);

impl Stage {
    /// Runs a short capture to its end; returns its name and what came of it.
    fn short(&self, arguments: &[&str]) -> (String, Report) {
        let mut all = vec!["-n", self.shop.namespace(), "--time", SHORT];
        all.extend(arguments);
        let (name, session) = self.cluster.session("watch", &all).unwrap();
        (name, session.finish(STORE_START + PATIENCE).unwrap())
    }

    /// The same with a store that no node can pull.
    fn short_without_store(&self, arguments: &[&str]) -> (String, Report) {
        let name = unique_name();
        let mut all = vec!["watch", "--name", &name, "-o", "json", "-n", self.shop.namespace()];
        all.extend(["--time", SHORT, "--store-image", NO_IMAGE]);
        all.extend(arguments);
        let report = self.cluster.start(&all).unwrap().finish(STORE_START + PATIENCE).unwrap();
        (name, report)
    }

    /// Counts the exchanges that a store has, by `query` with these arguments.
    fn stored(&self, arguments: &[&str]) -> u64 {
        let mut all = vec!["query"];
        all.extend(arguments);
        all.extend(["-o", "json", "SELECT COUNT(DISTINCT id) AS n FROM exchanges"]);
        let report = self.cluster.run(&all).unwrap();
        let counted = report.exchanges.first().and_then(|row| row.number("n"));
        counted.unwrap_or_else(|| panic!("no count:\n{}", report.stderr))
    }

    fn gone(&self, name: &str, report: &Report) {
        let gone = self.cluster.wait_gone(name, PATIENCE);
        assert!(gone.is_ok(), "{gone:?}; it said:\n{}", report.stderr);
    }
}

/// Names of what is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Exchanges that were shown.
fn shown(report: &Report) -> u64 {
    assert!(!report.exchanges.is_empty(), "nothing was captured:\n{}", report.stderr);
    u64::try_from(report.exchanges.len()).unwrap()
}

#[test]
fn a_file_is_written_of_a_capture_that_ends_before_its_store_is_there() {
    let Some(stage) = Stage::open() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.sqlite");
    let (name, report) = stage.short(&["--save", file.to_str().unwrap()]);
    assert_eq!(report.code(), 0, "{}", report.stderr);
    let store = format!("sqlite:{}", file.display());
    assert_eq!(stage.stored(&["--store", &store]), shown(&report), "{}", report.stderr);
    assert_eq!(report.lost().unwrap().get(&("exchanges".to_owned(), "store".to_owned())), None);
    assert_eq!(names(folder.path()), ["saved.sqlite"]);
    stage.gone(&name, &report);
}

#[test]
fn a_store_whose_image_cannot_be_pulled_costs_no_file() {
    let Some(stage) = Stage::open() else { return };
    for name in ["saved.sqlite", "saved.jsonl", "saved.csv"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        let (session, report) = stage.short_without_store(&["--save", file.to_str().unwrap()]);
        assert_eq!(report.code(), 0, "{}", report.stderr);
        assert!(report.stderr.contains(&format!("saved {} exchanges", shown(&report))), "{}", report.stderr);
        assert_eq!(names(folder.path()), [name]);
        stage.gone(&session, &report);
    }
}

#[test]
fn a_session_whose_store_cannot_be_pulled_is_not_called_kept() {
    let Some(stage) = Stage::open() else { return };
    let from = Instant::now();
    let (name, report) = stage.short_without_store(&["--keep"]);
    println!("a store that cannot be pulled: {} s until the end", from.elapsed().as_secs());
    assert_eq!(report.code(), 1, "{}", report.stderr);
    assert!(report.stderr.contains("nothing is kept"), "{}", report.stderr);
    assert!(report.stderr.contains(NO_IMAGE), "{}", report.stderr);
    assert!(!report.stderr.contains("kept session"), "{}", report.stderr);
    assert!(from.elapsed() < PATIENCE, "it was waited for in vain:\n{}", report.stderr);
    stage.gone(&name, &report);
}

#[test]
fn a_kept_session_whose_store_comes_late_has_all_of_it() {
    let Some(stage) = Stage::open() else { return };
    let (name, report) = stage.short(&["--keep", "--ttl", "30m"]);
    assert_eq!(report.code(), 0, "{}", report.stderr);
    assert!(report.stderr.contains("kept session"), "{}", report.stderr);
    let stored = stage.stored(&["--session", &name]);
    let status = stage.cluster.run(&["status"]).unwrap();
    let removed = stage.cluster.run(&["cleanup", &name, "--yes"]).unwrap();
    assert_eq!(stored, shown(&report), "{}", report.stderr);
    let line = status.noise.iter().find(|line| line.starts_with(&name));
    assert!(line.is_some_and(|line| line.contains("kept, ")), "{:?}", status.noise);
    assert_eq!(removed.code(), 0, "{}", removed.stderr);
    stage.gone(&name, &removed);
}
