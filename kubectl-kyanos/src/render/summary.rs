//! The last lines of a capture: how much was captured and what was lost where.

use std::time::Duration;

use proto::account::{Balance, Consumer, Losses, Stage, Unit};
use proto::v1;

use super::units::count;

/// A viewer that had several streams, one after another: hubs number theirs from 1, so none of them has its ledger.
const SEVERAL_STREAMS: Consumer = Consumer::Viewer(0);

/// Reads the ledgers of an answer that the client has checked.
pub(crate) fn read(balances: &[v1::Balance]) -> Vec<Balance> {
    balances.iter().filter_map(|balance| Balance::try_from(balance.clone()).ok()).collect()
}

/// Says a number of exchanges: `1 exchange`, `12,345 exchanges`.
pub(crate) fn exchanges(number: u64) -> String {
    format!("{} {}", count(number), Unit::Exchange.word(number))
}

/// Says how much was captured: `captured 12,345 exchanges on 3 nodes in 42s`.
pub(crate) fn captured(exchanges: u64, nodes: usize, time: Duration) -> String {
    let seconds = super::units::age(time.as_secs() + u64::from(time.subsec_millis() >= 500));
    format!(
        "captured {} {} on {nodes} {} in {seconds}",
        count(exchanges),
        Unit::Exchange.word(exchanges),
        plural(nodes as u64, "node")
    )
}

/// Says what was lost: `lost 0`, or `lost 12 events (ring 12), 5 exchanges (gap 5)`.
pub(crate) fn lost(balances: &[Balance]) -> String {
    let parts: Vec<String> = Unit::ALL
        .into_iter()
        .filter_map(|unit| {
            let losses = losses(balances.iter().filter(|balance| balance.unit == unit));
            let total = losses.total();
            (total > 0).then(|| format!("{} {} ({})", count(total), unit.word(total), list(&losses)))
        })
        .collect();
    if parts.is_empty() { "lost 0".to_owned() } else { format!("lost {}", parts.join(", ")) }
}

/// Says of how many exchanges marks were moved: `3 exchanges have times that were observed out of order, and were moved`.
pub(crate) fn clamped(exchanges: u64) -> String {
    let have = if exchanges == 1 { "has" } else { "have" };
    let noun = Unit::Exchange.word(exchanges);
    format!("{} {noun} {have} times that were observed out of order, and were moved", count(exchanges))
}

/// Says a ledger: `balance store exchanges: seen 12 = delivered 10 + filtered 1 + lost 1 (store 1)`.
pub(crate) fn ledger(balance: &Balance) -> String {
    let Balance { consumer, unit, process: _, seen, delivered, filtered, lost } = balance;
    let (unit, total) = (unit.plural(), lost.total());
    let by_stage = if total > 0 { format!(" ({})", list(lost)) } else { String::new() };
    format!(
        "balance {consumer} {unit}: seen {seen} = delivered {delivered} + filtered {filtered} + lost {total}{by_stage}"
    )
}

/// Returns the ledgers that matter to one viewer: all but those of other viewers.
pub(crate) fn relevant(session: &[Balance], own: Option<&Balance>) -> Vec<Balance> {
    let is_other = |balance: &Balance| matches!(balance.consumer, Consumer::Viewer(_));
    let mut relevant: Vec<Balance> = session.iter().filter(|balance| !is_other(balance)).cloned().collect();
    // The session's account of this viewer is later than the stream's.
    if let Some(own) = own {
        let last = session.iter().find(|balance| balance.consumer == own.consumer).unwrap_or(own);
        relevant.push(last.clone());
    }
    relevant
}

/// Adds the ledgers of two streams of one viewer.
pub(crate) fn sum(first: &Balance, second: &Balance) -> Balance {
    let mut sum = Balance::new(SEVERAL_STREAMS, second.unit);
    sum.add(first);
    sum.add(second);
    sum
}

/// Whether a ledger is that of several streams.
pub(crate) fn is_of_several(balance: &Balance) -> bool {
    balance.consumer == SEVERAL_STREAMS
}

/// Counts as lost to a viewer what was delivered to it and not written, in the ledgers that are its own.
pub(crate) fn unprinted<'a>(
    ledgers: impl Iterator<Item = &'a mut Balance>,
    own: Option<&Balance>,
    printed: Option<u64>,
) {
    let (Some(own), Some(printed)) = (own, printed) else { return };
    for ledger in ledgers.filter(|ledger| ledger.consumer == own.consumer) {
        let missing = ledger.delivered.saturating_sub(printed);
        ledger.delivered = ledger.delivered.saturating_sub(missing);
        ledger.lost.lose(Stage::Viewer, missing);
    }
}

/// Adds losses by stage.
fn losses<'a>(balances: impl Iterator<Item = &'a Balance>) -> Losses {
    let mut losses = Losses::default();
    for balance in balances {
        losses.add(&balance.lost);
    }
    losses
}

fn list(losses: &Losses) -> String {
    let words: Vec<String> =
        losses.by_stage().map(|(stage, total)| format!("{} {}", stage.word(), count(total))).collect();
    words.join(", ")
}

fn plural(number: u64, word: &str) -> String {
    if number == 1 { word.to_owned() } else { format!("{word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(consumer: Consumer, unit: Unit, lost: &[(Stage, u64)]) -> Balance {
        let lost = lost.iter().copied().collect();
        Balance { seen: 20, delivered: 7, filtered: 1, lost, ..Balance::new(consumer, unit) }
    }

    fn capturer(node: &str) -> Consumer {
        Consumer::Capturer(node.to_owned())
    }

    #[test]
    fn losses_are_told_by_unit_and_stage() {
        assert_eq!(lost(&[balance(capturer("a"), Unit::Event, &[(Stage::Ring, 0)])]), "lost 0");
        let both = [
            balance(capturer("a"), Unit::Event, &[(Stage::Gap, 1), (Stage::Ring, 11)]),
            balance(capturer("b"), Unit::Event, &[(Stage::Ring, 1)]),
            balance(Consumer::Store, Unit::Exchange, &[(Stage::Store, 1)]),
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
        assert_eq!(ledger(&balance(capturer("a"), Unit::Event, &[(Stage::Ring, 12)])), text);
        let none = "balance store exchanges: seen 20 = delivered 7 + filtered 1 + lost 0";
        assert_eq!(ledger(&balance(Consumer::Store, Unit::Exchange, &[])), none);
    }

    #[test]
    fn what_was_not_written_is_lost_to_its_viewer() {
        let own = balance(Consumer::Viewer(1), Unit::Exchange, &[(Stage::Viewer, 3)]);
        let mut ledgers = vec![balance(Consumer::Store, Unit::Exchange, &[]), own.clone()];
        unprinted(ledgers.iter_mut(), Some(&own), Some(7));
        assert_eq!(ledgers[1], own, "all was written");
        unprinted(ledgers.iter_mut(), Some(&own), None);
        assert_eq!(ledgers[1], own, "nothing is written");
        unprinted(ledgers.iter_mut(), Some(&own), Some(5));
        assert_eq!(ledgers[0].lost.total(), 0, "what was stored is not lost");
        let Balance { seen, delivered, filtered, .. } = ledgers[1];
        assert_eq!((seen, delivered, filtered), (20, 5, 1));
        assert_eq!(lost(&ledgers), "lost 5 exchanges (viewer 5)");
    }

    #[test]
    fn other_viewers_losses_are_not_this_one_s() {
        let session = vec![
            balance(Consumer::Store, Unit::Exchange, &[]),
            balance(Consumer::Viewer(1), Unit::Exchange, &[(Stage::Viewer, 3)]),
            balance(Consumer::Viewer(2), Unit::Exchange, &[(Stage::Viewer, 9)]),
        ];
        let own = balance(Consumer::Viewer(1), Unit::Exchange, &[]);
        assert_eq!(lost(&relevant(&session, Some(&own))), "lost 3 exchanges (viewer 3)");
    }

    #[test]
    fn two_streams_of_one_viewer_are_nobody_else_s() {
        let first = balance(Consumer::Viewer(1), Unit::Exchange, &[(Stage::Viewer, 12)]);
        let second = balance(Consumer::Viewer(2), Unit::Exchange, &[(Stage::Viewer, 12)]);
        let own = sum(&first, &second);
        assert!(own.holds() && own.lost.total() == 24);
        assert_eq!(lost(&relevant(&[second], Some(&own))), "lost 24 exchanges (viewer 24)");
    }
}
