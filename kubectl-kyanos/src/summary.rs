//! The last lines of a capture: how much was captured and what was lost where.

use std::time::Duration;

use proto::v1;

use crate::render::units::count;

/// Stages in the order in which data passes them.
const STAGES: [&str; 12] = [
    "ring",
    "miss",
    "fault",
    "map",
    "unanchored",
    "gap",
    "unseen",
    "unparsable",
    "unpaired",
    "uplink",
    "viewer",
    "store",
];

/// Words for the units of ledgers.
const UNITS: [&str; 2] = ["events", "exchanges"];

/// Says how much was captured: `captured 12,345 exchanges on 3 nodes in 42s`.
pub(crate) fn captured(exchanges: u64, nodes: usize, time: Duration) -> String {
    let seconds = crate::render::units::age(time.as_secs() + u64::from(time.subsec_millis() >= 500));
    format!(
        "captured {} {} on {nodes} {} in {seconds}",
        count(exchanges),
        plural(exchanges, "exchange"),
        plural(nodes as u64, "node")
    )
}

/// Says what was lost: `lost 0`, or `lost 12 events (ring 12), 5 exchanges (gap 5)`.
pub(crate) fn lost(balances: &[v1::Balance]) -> String {
    let parts: Vec<String> = UNITS
        .into_iter()
        .filter_map(|unit| {
            let stages = stages(balances.iter().filter(|balance| balance.unit == unit));
            let total: u64 = stages.iter().map(|(_, total)| total).sum();
            let unit = if total == 1 { unit.trim_end_matches('s') } else { unit };
            (total > 0).then(|| format!("{} {unit} ({})", count(total), list(&stages)))
        })
        .collect();
    if parts.is_empty() { "lost 0".to_owned() } else { format!("lost {}", parts.join(", ")) }
}

/// Says of how many exchanges marks were moved: `3 exchanges have times that were observed out of order, and were moved`.
pub(crate) fn clamped(exchanges: u64) -> String {
    let have = if exchanges == 1 { "has" } else { "have" };
    let noun = plural(exchanges, "exchange");
    format!("{} {noun} {have} times that were observed out of order, and were moved", count(exchanges))
}

/// Says a ledger: `balance store exchanges: seen 12 = delivered 10 + filtered 1 + lost 1 (store 1)`.
pub(crate) fn ledger(balance: &v1::Balance) -> String {
    let v1::Balance { consumer, unit, seen, delivered, filtered, lost, process: _ } = balance;
    let stages = stages(std::iter::once(balance));
    let total: u64 = lost.iter().map(|loss| loss.total).sum();
    let by_stage = if stages.is_empty() { String::new() } else { format!(" ({})", list(&stages)) };
    format!(
        "balance {consumer} {unit}: seen {seen} = delivered {delivered} + filtered {filtered} + lost {total}{by_stage}"
    )
}

/// Returns the ledgers that matter to one viewer: all but those of other viewers.
pub(crate) fn relevant(session: &[v1::Balance], own: Option<&v1::Balance>) -> Vec<v1::Balance> {
    let is_other = |balance: &v1::Balance| balance.consumer.starts_with("viewer");
    let mut relevant: Vec<v1::Balance> =
        session.iter().filter(|balance| !is_other(balance)).cloned().collect();
    // The session's account of this viewer is later than the stream's.
    if let Some(own) = own {
        let last = session.iter().find(|balance| balance.consumer == own.consumer).unwrap_or(own);
        relevant.push(last.clone());
    }
    relevant
}

/// Adds the ledgers of two streams of one viewer.
pub(crate) fn sum(first: &v1::Balance, second: &v1::Balance) -> v1::Balance {
    let lost = stages([first, second].into_iter()).into_iter().map(|(stage, total)| v1::Loss {
        stage,
        unit: second.unit.clone(),
        total,
    });
    v1::Balance {
        // No ledger of the hub has this name, so that it is not taken for the whole.
        consumer: format!("{} and {}", first.consumer, second.consumer),
        unit: second.unit.clone(),
        seen: first.seen.saturating_add(second.seen),
        delivered: first.delivered.saturating_add(second.delivered),
        filtered: first.filtered.saturating_add(second.filtered),
        lost: lost.collect(),
        process: 0,
    }
}

/// Counts as lost to a viewer what was delivered to it and not written, in the ledgers that are its own.
pub(crate) fn unprinted<'a>(
    ledgers: impl Iterator<Item = &'a mut v1::Balance>,
    own: Option<&v1::Balance>,
    printed: Option<u64>,
) {
    let (Some(own), Some(printed)) = (own, printed) else { return };
    for ledger in ledgers.filter(|ledger| ledger.consumer == own.consumer) {
        let missing = ledger.delivered.saturating_sub(printed);
        if missing > 0 {
            ledger.delivered -= missing;
            let (stage, unit) = ("viewer".to_owned(), ledger.unit.clone());
            ledger.lost.push(v1::Loss { stage, unit, total: missing });
        }
    }
}

/// Adds losses by stage and leaves out stages without any.
pub(crate) fn stages<'a>(balances: impl Iterator<Item = &'a v1::Balance>) -> Vec<(String, u64)> {
    let mut stages: Vec<(String, u64)> = Vec::new();
    for loss in balances.flat_map(|balance| &balance.lost) {
        match stages.iter_mut().find(|(stage, _)| *stage == loss.stage) {
            Some((_, total)) => *total = total.saturating_add(loss.total),
            None => stages.push((loss.stage.clone(), loss.total)),
        }
    }
    stages.retain(|(_, total)| *total > 0);
    stages.sort_by_key(|(stage, _)| STAGES.iter().position(|known| known == stage).unwrap_or(STAGES.len()));
    stages
}

fn list(stages: &[(String, u64)]) -> String {
    let words: Vec<String> =
        stages.iter().map(|(stage, total)| format!("{stage} {}", count(*total))).collect();
    words.join(", ")
}

fn plural(number: u64, word: &str) -> String {
    if number == 1 { word.to_owned() } else { format!("{word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(consumer: &str, unit: &str, lost: &[(&str, u64)]) -> v1::Balance {
        let lost = lost
            .iter()
            .map(|(stage, total)| v1::Loss {
                stage: (*stage).to_owned(),
                unit: unit.to_owned(),
                total: *total,
            })
            .collect();
        v1::Balance {
            consumer: consumer.to_owned(),
            unit: unit.to_owned(),
            seen: 20,
            delivered: 7,
            filtered: 1,
            lost,
            process: 0,
        }
    }

    #[test]
    fn losses_are_told_by_unit_and_stage() {
        assert_eq!(lost(&[balance("capturer a", "events", &[("ring", 0)])]), "lost 0");
        let both = [
            balance("capturer a", "events", &[("gap", 1), ("ring", 11)]),
            balance("capturer b", "events", &[("ring", 1)]),
            balance("store", "exchanges", &[("store", 1)]),
        ];
        assert_eq!(lost(&both), "lost 13 events (ring 12, gap 1), 1 exchange (store 1)");
    }

    #[test]
    fn captures_are_told_with_plurals() {
        assert_eq!(
            captured(12_345, 3, Duration::from_secs(42)),
            "captured 12,345 exchanges on 3 nodes in 42s"
        );
        assert_eq!(captured(1, 1, Duration::from_millis(10)), "captured 1 exchange on 1 node in 0s");
    }

    #[test]
    fn a_ledger_is_one_equation() {
        let text = "balance capturer a events: seen 20 = delivered 7 + filtered 1 + lost 12 (ring 12)";
        assert_eq!(ledger(&balance("capturer a", "events", &[("ring", 12)])), text);
    }

    #[test]
    fn what_was_not_written_is_lost_to_its_viewer() {
        let own = balance("viewer 1", "exchanges", &[("viewer", 3)]);
        let mut ledgers = vec![balance("store", "exchanges", &[]), own.clone()];
        unprinted(ledgers.iter_mut(), Some(&own), Some(7));
        assert_eq!(ledgers[1], own, "all was written");
        unprinted(ledgers.iter_mut(), Some(&own), None);
        assert_eq!(ledgers[1], own, "nothing is written");
        unprinted(ledgers.iter_mut(), Some(&own), Some(5));
        assert_eq!(ledgers[0].lost, [], "what was stored is not lost");
        let v1::Balance { seen, delivered, filtered, .. } = ledgers[1];
        assert_eq!((seen, delivered, filtered), (20, 5, 1));
        assert_eq!(lost(&ledgers), "lost 5 exchanges (viewer 5)");
    }

    #[test]
    fn other_viewers_losses_are_not_this_one_s() {
        let session = vec![
            balance("store", "exchanges", &[]),
            balance("viewer 1", "exchanges", &[("viewer", 3)]),
            balance("viewer 2", "exchanges", &[("viewer", 9)]),
        ];
        let own = balance("viewer 1", "exchanges", &[]);
        assert_eq!(lost(&relevant(&session, Some(&own))), "lost 3 exchanges (viewer 3)");
    }
}
