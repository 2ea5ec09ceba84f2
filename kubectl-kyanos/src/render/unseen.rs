//! What nobody saw of a node, on one line and as JSON.

use jiff::tz::TimeZone;
use proto::account::{Hole, HoleKind};
use serde_json::{Value, json};

use super::json::SCHEMA;
use super::units::{age, rfc3339, time_of_day};
use crate::sight::News;

/// Lines about holes at the end of a capture: more say no more than the totals.
const TOLD_LINES: usize = 20;

/// Nanoseconds of a tenth of a second.
const TENTH_NS: u64 = 100_000_000;

/// Says what is new about a node.
pub(crate) fn news(news: &News, zone: &TimeZone) -> String {
    match news {
        News::Hole(hole) => line(hole, zone),
        News::Back { node, since_ns, until_ns: Some(until) } => {
            format!("{node} is heard again after {}", seconds(until.saturating_sub(*since_ns)))
        }
        News::Back { node, since_ns: _, until_ns: None } => format!("{node} is heard again"),
    }
}

/// Says what nobody saw: `n3 silent since 12:04:31`, or `capturer on n2 restarted, 2.3 s not seen`; times are the hub's.
pub(crate) fn line(hole: &Hole, zone: &TimeZone) -> String {
    let Hole { node, since_ns, until_ns, kind } = hole;
    let Some(until) = until_ns else {
        return format!("{node} silent since {}", time_of_day(*since_ns, zone));
    };
    let length = seconds(until.saturating_sub(*since_ns));
    match kind {
        HoleKind::Silent => format!("{node} is heard again after {length}"),
        HoleKind::Gone => format!("{node} is heard again, {length} not seen"),
        HoleKind::Restarted => format!("capturer on {node} restarted, {length} not seen"),
        HoleKind::Paused => {
            format!("the hub did not run for {length} from {}", time_of_day(*since_ns, zone))
        }
    }
}

/// Says all that nobody saw, at the end of a capture.
pub(crate) fn lines(holes: &[&Hole], zone: &TimeZone) -> Vec<String> {
    let told = if holes.len() > TOLD_LINES { TOLD_LINES - 1 } else { holes.len() };
    let mut lines: Vec<String> = holes.iter().take(told).map(|hole| line(hole, zone)).collect();
    if told < holes.len() {
        lines.push(format!("and {} more times that nobody saw", holes.len() - told));
    }
    lines
}

/// What is new about a node as a line of JSON: an object of kind `notice`; `now_ns` is the hub's clock, as all its times.
pub(crate) fn notice(news: &News, session: &str, now_ns: u64) -> Value {
    let (node, since_ns, until_ns, event) = match news {
        News::Hole(Hole { node, since_ns, until_ns, kind }) => (node, *since_ns, *until_ns, word(*kind)),
        News::Back { node, since_ns, until_ns } => (node, *since_ns, until_ns.or(Some(now_ns)), "back"),
    };
    json!({
        "schema": SCHEMA,
        "kind": "notice",
        "session": session,
        "time": rfc3339(now_ns),
        "event": event,
        "node": node,
        "since": rfc3339(since_ns),
        "until": until_ns.map(rfc3339),
    })
}

/// The fields of a hole in JSON and YAML.
pub(crate) fn fields(hole: &Hole) -> Value {
    json!({
        "node": hole.node,
        "since": rfc3339(hole.since_ns),
        "until": hole.until_ns.map(rfc3339),
        "state": word(hole.kind),
    })
}

fn word(kind: HoleKind) -> &'static str {
    match kind {
        HoleKind::Silent => "silent",
        HoleKind::Gone => "gone",
        HoleKind::Restarted => "restarted",
        HoleKind::Paused => "paused",
    }
}

/// A time as people say it: `2.3 s`, `15m05s`.
fn seconds(ns: u64) -> String {
    let tenths = ns.div_ceil(TENTH_NS);
    if tenths < 600 { format!("{}.{} s", tenths / 10, tenths % 10) } else { age(tenths.div_ceil(10)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn hole(since_ns: u64, until_ns: Option<u64>, kind: HoleKind) -> Hole {
        Hole { node: "n2".to_owned(), since_ns, until_ns, kind }
    }

    #[test]
    fn holes_are_told_with_node_and_time() {
        let since = 1_700_000_000 * SECOND;
        let line = |until, kind| line(&hole(since, until, kind), &TimeZone::UTC);
        assert_eq!(line(None, HoleKind::Silent), "n2 silent since 22:13:20");
        assert_eq!(line(None, HoleKind::Gone), "n2 silent since 22:13:20");
        let restarted = |ns| line(Some(since + ns), HoleKind::Restarted);
        assert_eq!(restarted(2_251_000_000), "capturer on n2 restarted, 2.3 s not seen");
        assert_eq!(restarted(901 * SECOND), "capturer on n2 restarted, 15m01s not seen");
        let back =
            |until_ns| news(&News::Back { node: "n2".to_owned(), since_ns: since, until_ns }, &TimeZone::UTC);
        assert_eq!(back(Some(since + 32 * SECOND)), "n2 is heard again after 32.0 s");
        assert_eq!(back(None), "n2 is heard again");
        let lost = line(Some(since + 125 * SECOND), HoleKind::Gone);
        assert_eq!(lost, "n2 is heard again, 2m05s not seen");
        let paused = line(Some(since + 602 * SECOND), HoleKind::Paused);
        assert_eq!(paused, "the hub did not run for 10m02s from 22:13:20");
    }

    #[test]
    fn very_many_holes_do_not_scroll_the_totals_away() {
        let holes: Vec<Hole> = (0..TOLD_LINES as u64 + 5).map(|at| hole(at, None, HoleKind::Gone)).collect();
        let all: Vec<&Hole> = holes.iter().collect();
        let lines = |holes: &[&Hole]| lines(holes, &TimeZone::UTC);
        assert_eq!(lines(&all[..TOLD_LINES]).len(), TOLD_LINES);
        let cut = lines(&all);
        assert_eq!(
            (cut.len(), cut.last().map(String::as_str)),
            (TOLD_LINES, Some("and 6 more times that nobody saw"))
        );
    }

    #[test]
    fn every_notice_is_valid() {
        let schema: Value = serde_json::from_str(include_str!("../../../docs/notice.schema.json"))
            .expect("the schema is JSON");
        let validator = jsonschema::validator_for(&schema).expect("the schema is one");
        let all = [
            News::Hole(hole(SECOND, None, HoleKind::Silent)),
            News::Hole(hole(SECOND, None, HoleKind::Gone)),
            News::Hole(hole(SECOND, Some(2 * SECOND), HoleKind::Restarted)),
            News::Hole(hole(SECOND, Some(2 * SECOND), HoleKind::Gone)),
            News::Hole(Hole { node: String::new(), ..hole(SECOND, Some(2 * SECOND), HoleKind::Paused) }),
            News::Back { node: "n2".to_owned(), since_ns: SECOND, until_ns: Some(2 * SECOND) },
            News::Back { node: "n2".to_owned(), since_ns: SECOND, until_ns: None },
        ];
        for news in all {
            let object = notice(&news, "abcde", 3 * SECOND);
            let errors: Vec<String> = validator.iter_errors(&object).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}\n{object}");
            let mut wrong = object;
            wrong["surprise"] = json!(1);
            assert!(!validator.is_valid(&wrong), "nothing is outside the schema");
        }
    }

    #[test]
    fn a_hole_is_an_object_with_times() {
        let value = fields(&hole(SECOND, Some(2 * SECOND), HoleKind::Restarted));
        assert_eq!(value["until"], "1970-01-01T00:00:02.000000000Z");
        assert_eq!(value["state"], "restarted");
        assert_eq!(fields(&hole(SECOND, None, HoleKind::Gone))["until"], Value::Null);
    }
}
