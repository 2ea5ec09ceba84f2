//! One conversation between two hosts, and what Kyanos said of it.

use std::time::Duration;

use xtask::kyanos::{Exchange, PARTS, Report, Session};
use xtask::topology::Talk;

/// How long exchanges may take to be shown.
const SHOW_TIMEOUT: Duration = Duration::from_secs(10);

/// Ends the session once all exchanges of these conversations were shown on both sides, and checks what holds for all.
pub(super) fn end(session: Session, talks: &[&Talk]) -> Report {
    let expected: usize = talks.iter().map(|talk| 2 * talk.taken.len()).sum();
    let ours = |line: &Exchange| talks.iter().any(|talk| is_of(line, &talk.name));
    session.settle(expected, SHOW_TIMEOUT, ours);
    let report = session.stop().unwrap();
    let lines: Vec<&Exchange> = report.exchanges.iter().filter(|line| ours(line)).collect();
    assert_eq!(lines.len(), expected, "{}", report.stderr);
    for line in lines {
        if let Err(error) = line.check_times() {
            panic!("{error:#}: {:#}", line.value);
        }
    }
    report
}

/// Returns the exchanges of a conversation seen from one side, in the order of their requests.
pub(super) fn seen<'a>(report: &'a Report, name: &str, side: &str) -> Vec<&'a Exchange> {
    let mut lines: Vec<&Exchange> =
        report.exchanges.iter().filter(|line| is_of(line, name) && line.text("side") == side).collect();
    lines.sort_by_key(|line| number(line));
    lines
}

/// Returns the median of a part in milliseconds.
pub(super) fn median_ms(lines: &[&Exchange], part: &str) -> f64 {
    let mut all: Vec<f64> = lines.iter().map(|line| line.part_ms(part)).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Checks that this part alone holds the delay, none where `part` is empty.
pub(super) fn assert_only(lines: &[&Exchange], what: &str, part: &str, delay_ms: f64) {
    assert!(!lines.is_empty(), "{what}: nothing seen");
    let found: Vec<(&str, f64)> = PARTS.iter().map(|part| (*part, median_ms(lines, part))).collect();
    println!("{what}: {found:.2?} of {delay_ms} ms put in {part}");
    for (name, value) in found {
        let within = if name == part {
            (delay_ms * 0.9..=delay_ms * 1.1).contains(&value)
        } else {
            value <= delay_ms * 0.1
        };
        assert!(
            within,
            "{what}: {name} takes {value:.2} ms; {delay_ms} ms were put in {part}; {:#}",
            lines[0].value
        );
    }
}

fn is_of(line: &Exchange, name: &str) -> bool {
    line.text("operation").strip_prefix("GET /").is_some_and(|rest| rest.split('/').next() == Some(name))
}

/// Returns the number of an exchange in its conversation.
pub(super) fn number(line: &Exchange) -> usize {
    line.text("operation").rsplit('/').next().and_then(|number| number.parse().ok()).unwrap()
}
