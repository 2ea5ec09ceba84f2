//! What became of everything that was seen.
//!
//! **Events.** The unit is one record: a call that moved bytes over a followed connection, or a notice (a connection
//! or process ended, a program began), which is delivered once it is read. The kernel counts each one once:
//! as `filtered`, as lost (`ring`, `miss`, `fault`, `map`), or as delivered to the rings. Those delivered have one
//! fate here: their bytes reached the decoders (*delivered*), nobody wanted them (*filtered*: an ignored connection,
//! an excluded process), their place could not be told (`unanchored`), they came after their range had been given up
//! (`gap`), they did not fit a table (`map`), or the decoder said that it cannot read them (`unparsable`: of the calls
//! delivered of a connection, one for each time the decoder says so). A call whose memory could not be read (`fault`)
//! is decoded as far as it was read, but counts as `fault` only. A socket with bytes of which no call was seen counts
//! as one more event, seen and lost as `unseen`. The range of a lost call is no further event: the call is counted
//! where it was lost.
//!
//! **Exchanges.** The unit is one outcome of a decoder. It is filtered (the session's filter, sampling), `unpaired`
//! (a response without a request, or a request dropped at a limit), lost in a `gap` (its response was), refused by the table of
//! what is held until it is known whose it is (`map`), refused by the full buffer (`uplink`), or
//! delivered: in the buffer or beyond it. The buffer never drops what it took.
//!
//! While events are between kernel and fate they are not part of the balance; the last balance, made after the rings
//! were emptied, takes the kernel's own count of what it saw, so a call without a fate would show.

use proto::account::{Balance, Consumer, Stage, Unit};

/// The kernel's totals of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelEvents {
    /// Calls seen.
    pub seen: u64,
    /// Reported through the rings.
    pub delivered: u64,
    /// Not asked for.
    pub filtered: u64,
    /// No room in the ring.
    pub ring: u64,
    /// The program was skipped.
    pub miss: u64,
    /// The process's memory could not be read.
    pub fault: u64,
    /// No room in a kernel map.
    pub map: u64,
}

/// Fates of the calls that came through the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Reached the decoders.
    pub placed: u64,
    /// Notices read.
    pub notices: u64,
    /// Nobody wanted them.
    pub filtered: u64,
    /// Place unknown.
    pub unanchored: u64,
    /// Too late.
    pub gap: u64,
    /// No room in a table.
    pub map: u64,
    /// Of `placed`, those the decoders could not read.
    pub unparsable: u64,
    /// Sockets with bytes of which no call was seen.
    pub unseen: u64,
}

/// Fates of what the decoders made of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanges {
    /// Outcomes.
    pub seen: u64,
    /// Not asked for.
    pub filtered: u64,
    /// Without their other half.
    pub unpaired: u64,
    /// Its response was lost or could not be read.
    pub gap: u64,
    /// No room while it was not known whose it is.
    pub map: u64,
    /// Refused by the full buffer.
    pub uplink: u64,
}

/// Totals since the capture began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Calls after the rings.
    pub events: Events,
    /// Exchanges.
    pub exchanges: Exchanges,
}

// === impl Ledger ===

impl Ledger {
    /// Returns the balances of both units; `last` when nothing is on its way any more.
    #[must_use]
    pub fn balances(&self, consumer: &Consumer, kernel: &KernelEvents, last: bool) -> Vec<Balance> {
        vec![self.events(consumer.clone(), kernel, last), self.exchanges(consumer.clone())]
    }

    fn events(&self, consumer: Consumer, kernel: &KernelEvents, last: bool) -> Balance {
        let KernelEvents { seen, delivered: _, filtered, ring, miss, fault, map } = *kernel;
        let Events { placed, notices, filtered: ignored, unanchored, gap, map: tables, unparsable, unseen } =
            self.events;
        let losses = [
            (Stage::Ring, ring),
            (Stage::Miss, miss),
            (Stage::Fault, fault),
            (Stage::Map, map + tables),
            (Stage::Unanchored, unanchored),
            (Stage::Gap, gap),
            (Stage::Unseen, unseen),
            (Stage::Unparsable, unparsable),
        ];
        let decided = placed + notices + ignored + unanchored + gap + tables;
        let seen = if last { seen } else { decided + filtered + ring + miss + fault + map };
        Balance {
            seen: seen + unseen,
            delivered: placed.saturating_sub(unparsable) + notices,
            filtered: filtered + ignored,
            lost: losses.into_iter().collect(),
            ..Balance::new(consumer, Unit::Event)
        }
    }

    fn exchanges(&self, consumer: Consumer) -> Balance {
        let Exchanges { seen, filtered, unpaired, gap, map, uplink } = self.exchanges;
        let delivered = seen.saturating_sub(filtered + unpaired + gap + map + uplink);
        let lost =
            [(Stage::Unpaired, unpaired), (Stage::Gap, gap), (Stage::Map, map), (Stage::Uplink, uplink)];
        Balance {
            seen,
            delivered,
            filtered,
            lost: lost.into_iter().collect(),
            ..Balance::new(consumer, Unit::Exchange)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balances_hold_while_running_and_at_the_end() {
        let kernel =
            KernelEvents { seen: 200, delivered: 140, filtered: 30, ring: 12, miss: 5, fault: 3, map: 10 };
        let events = Events {
            placed: 70,
            notices: 10,
            filtered: 20,
            unanchored: 4,
            gap: 5,
            map: 6,
            unparsable: 7,
            unseen: 2,
        };
        let exchanges = Exchanges { seen: 50, filtered: 10, unpaired: 2, gap: 1, map: 3, uplink: 2 };
        let mut ledger = Ledger { events, exchanges };
        let here = Consumer::Capturer("here".to_owned());
        let balances = ledger.balances(&here, &kernel, false);
        assert!(balances.iter().all(Balance::holds), "{balances:?}");
        assert!(
            !ledger.balances(&here, &kernel, true)[0].holds(),
            "25 calls have no fate: the last balance shows it"
        );
        ledger.events.placed += 25;
        let last = ledger.balances(&here, &kernel, true);
        assert!(last.iter().all(Balance::holds), "{last:?}");
        assert_eq!((last[0].seen, last[1].delivered), (202, 32));
    }
}
