//! This viewer's ledger over streams that follow each other.
//!
//! A hub that lives keeps the viewer whose stream broke, with its ledger. One that took another's place knows nothing of
//! it: then the ledgers of both are added, and what came between them is lost to this viewer.

use proto::account::{Balance, Consumer, Stage, Unit};
use proto::v1;

use crate::render::summary;

/// The ledgers of one viewer.
#[derive(Debug, Default)]
pub(crate) struct Viewed {
    /// The stream that is open, or broke last.
    stream: Option<Stream>,
    /// All streams before it that another hub, or this one for another viewer, sent.
    before: Option<Balance>,
    whole: Option<Balance>,
}

/// What is known of one stream.
#[derive(Clone, Debug)]
struct Stream {
    /// Process of its hub.
    hub: u64,
    /// Exchanges that the hub had for viewers before.
    began_at: u64,
    /// Exchanges that came over it.
    received: u64,
    /// The newest ledger.
    ledger: Balance,
}

/// What became of a viewer whose stream broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// It goes on; so many exchanges are lost to it.
    Where {
        /// Those.
        lost: u64,
    },
    /// It began anew.
    Anew,
}

// === impl Viewed ===

impl Viewed {
    /// What a hub needs to go on.
    pub(crate) fn resume(&self) -> v1::Resume {
        let Some(Stream { hub, ledger, received, .. }) = &self.stream else { return v1::Resume::default() };
        v1::Resume { hub: *hub, viewer: number(ledger), received: *received }
    }

    /// Takes the ledger of a response that brought so many exchanges.
    pub(crate) fn take(&mut self, hub: u64, began_at: u64, ledger: Balance, exchanges: u64) {
        let received = self.stream.as_ref().map_or(0, |stream| stream.received).saturating_add(exchanges);
        self.whole = Some(match &self.before {
            Some(before) => summary::sum(before, &ledger),
            None => ledger.clone(),
        });
        self.stream = Some(Stream { hub, began_at, received, ledger });
    }

    /// Takes the first ledger after a break; `keeps` says whether what was delivered before is there still, where the
    /// viewer begins anew.
    pub(crate) fn back(&mut self, hub: u64, began_at: u64, ledger: Balance, keeps: bool) -> Back {
        let known = self.stream.as_ref();
        let known = known.filter(|broke| broke.hub == hub && broke.ledger.consumer == ledger.consumer);
        let back = if let Some(known) = known {
            Back::Where { lost: ledger.lost.total().saturating_sub(known.ledger.lost.total()) }
        } else {
            if let Some(broke) = self.stream.take() {
                self.leave(&broke, (broke.hub == hub).then_some(began_at), keeps);
            }
            Back::Anew
        };
        self.take(hub, began_at, ledger, 0);
        back
    }

    /// Adds a stream that is over to those before; the next one of the same hub begins at `next`.
    fn leave(&mut self, broke: &Stream, next: Option<u64>, keeps: bool) {
        let mut last = broke.ledger.clone();
        if !keeps {
            last.lost.lose(Stage::Viewer, std::mem::take(&mut last.delivered));
        }
        let told = broke.began_at.saturating_add(last.seen);
        let missed = next.map_or(0, |next| next.saturating_sub(told));
        last.seen = last.seen.saturating_add(missed);
        last.lost.lose(Stage::Viewer, missed);
        let none = Balance::new(last.consumer.clone(), last.unit);
        self.before = Some(summary::sum(self.before.as_ref().unwrap_or(&none), &last));
    }

    /// The whole ledger.
    pub(crate) fn balance(&self) -> Option<&Balance> {
        self.whole.as_ref()
    }
}

/// The number that a hub gave a viewer.
fn number(ledger: &Balance) -> u64 {
    match ledger.consumer {
        Consumer::Viewer(number) => number,
        Consumer::Capturer(_) | Consumer::Store => 0,
    }
}

/// Counts as lost to a viewer, over several hubs, what capturers delivered since it began, `before` which they had
/// delivered so much, and no hub told it of.
pub(crate) fn miss(own: &mut Balance, session: &[Balance], before: u64) {
    let missed = delivered(session).saturating_sub(before).saturating_sub(own.seen);
    own.seen = own.seen.saturating_add(missed);
    own.lost.lose(Stage::Viewer, missed);
}

/// Exchanges that capturers delivered.
pub(crate) fn delivered(session: &[Balance]) -> u64 {
    let of_capturers = session
        .iter()
        .filter(|one| matches!(one.consumer, Consumer::Capturer(_)) && one.unit == Unit::Exchange);
    of_capturers.fold(0, |sum, one| sum.saturating_add(one.delivered))
}

#[cfg(test)]
mod tests {
    use proto::account::Losses;

    use super::*;

    fn ledger(viewer: u64, delivered: u64, filtered: u64, lost: u64) -> Balance {
        let lost = (Stage::Viewer, lost).into();
        Balance::of_fates(Consumer::Viewer(viewer), Unit::Exchange, delivered, filtered, lost)
    }

    fn whole(viewed: &Viewed) -> (u64, u64, u64) {
        let whole = viewed.balance().unwrap();
        assert!(whole.holds(), "{whole:?}");
        (whole.seen, whole.delivered, whole.lost.at(Stage::Viewer))
    }

    #[test]
    fn a_viewer_that_its_hub_kept_goes_on_with_one_ledger() {
        let mut viewed = Viewed::default();
        assert_eq!(viewed.resume(), v1::Resume::default());
        viewed.take(9, 5, ledger(3, 10, 2, 0), 10);
        assert_eq!(viewed.resume(), v1::Resume { hub: 9, viewer: 3, received: 10 });
        assert_eq!(viewed.back(9, 5, ledger(3, 10, 2, 4), true), Back::Where { lost: 4 });
        viewed.take(9, 5, ledger(3, 20, 2, 4), 14);
        assert_eq!(viewed.resume().received, 24, "four of them came again");
        assert_eq!(whole(&viewed), (26, 20, 4));
    }

    #[test]
    fn a_hub_that_forgot_the_viewer_says_how_much_came_between() {
        let mut viewed = Viewed::default();
        viewed.take(9, 5, ledger(3, 10, 2, 0), 10);
        // Of 17 that were told the next stream begins after 40.
        assert_eq!(viewed.back(9, 40, ledger(4, 0, 0, 0), true), Back::Anew);
        assert_eq!(whole(&viewed), (35, 10, 23));
        viewed.take(9, 40, ledger(4, 7, 0, 1), 0);
        assert_eq!(whole(&viewed), (43, 17, 24));
    }

    #[test]
    fn what_a_hub_that_died_took_and_did_not_tell_is_lost() {
        let mut viewed = Viewed::default();
        viewed.take(9, 0, ledger(3, 10, 2, 0), 0);
        assert_eq!(viewed.back(8, 0, ledger(1, 0, 0, 0), true), Back::Anew);
        viewed.take(8, 0, ledger(1, 6, 0, 0), 0);
        let mut own = viewed.balance().cloned().unwrap();
        let capturer = |node: &str, unit, delivered| {
            Balance::of_fates(Consumer::Capturer(node.to_owned()), unit, delivered, 0, Losses::default())
        };
        let session = [
            capturer("n1", Unit::Exchange, 20),
            capturer("n2", Unit::Exchange, 5),
            capturer("n2", Unit::Event, 99),
        ];
        let mut late = own.clone();
        miss(&mut late, &session, 5);
        assert_eq!((late.seen, late.lost.total()), (20, 2), "what came before it began is not its own");
        miss(&mut own, &session, 0);
        assert!(own.holds());
        assert_eq!((own.seen, own.delivered, own.lost.total()), (25, 16, 7));
        miss(&mut own, &session, 0);
        assert_eq!(own.lost.total(), 7, "it is counted once");
    }

    #[test]
    fn counts_that_begin_anew_lose_what_was_counted() {
        let mut viewed = Viewed::default();
        viewed.take(9, 0, ledger(3, 10, 2, 0), 0);
        assert_eq!(viewed.back(8, 0, ledger(1, 3, 0, 0), false), Back::Anew);
        assert_eq!(whole(&viewed), (15, 3, 10));
    }
}
