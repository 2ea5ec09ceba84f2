//! How far two clocks are apart, told by the exchanges between their nodes alone.
//!
//! A request leaves the client before it arrives at the server, and its response leaves the server before it arrives at
//! the client. Either says on which side of a moment the offset lies, so each pair gives an interval that holds it: half
//! as wide as the time that the exchange spent on both ways, however unequal these are. What all pairs leave in common
//! is what is known. Clocks drift, so what older pairs said grows wider as time passes.

use std::collections::HashMap;
use std::sync::Arc;

use super::marks::Marks;

/// How much faster than another one a clock may run, in parts of a million: twice what two crystals that are each off by
/// 50 make, for one that is just being corrected.
pub(super) const MAX_DRIFT_PPM: i64 = 200;

/// Pairs in a row that agree with each other and with none before, after which a clock was set anew.
pub(super) const PAIRS_OF_A_STEP: u32 = 3;

/// Pairs of clocks that are remembered; beyond them all are learnt anew, which takes an exchange of each.
pub(super) const CLOCK_PAIRS: usize = 8192;

/// How exactly a capturer finds the time of day of its kernel's clock: two that share one differ by no more.
pub(super) const ANCHOR_ERROR_NS: u64 = 1_000;

/// How far the server's clock is ahead of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    /// Nanoseconds; negative where it is behind.
    pub(super) ns: i64,
    /// How far that may be off.
    pub(super) error_ns: u64,
}

/// What is known of all clocks.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    pairs: HashMap<(Arc<str>, Arc<str>), Known>,
}

/// What is known of two clocks: how far the second is ahead of the first.
#[derive(Debug)]
struct Known {
    now: Estimate,
    /// What the last pairs said that do not fit, and how many they are.
    rival: Option<(Estimate, u32)>,
}

/// Where an offset lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Estimate {
    least: i64,
    most: i64,
    /// When that was so, by the first clock.
    at: i64,
}

// === impl Offset ===

impl Offset {
    /// That of two sides that one clock tells the time, and one capturer where that is of both; `None` where one side was
    /// done before the other one began.
    pub(super) fn of_one_clock(client: Marks, server: Marks, one_capturer: bool) -> Option<Self> {
        let overlap = client.request <= server.response && server.request <= client.response;
        overlap.then_some(Self { ns: 0, error_ns: if one_capturer { 0 } else { ANCHOR_ERROR_NS } })
    }
}

// === impl Offsets ===

impl Offsets {
    /// Learns of the two sides of an exchange, and says how far their clocks are apart; `None` where these cannot be the
    /// sides of one exchange.
    pub(super) fn learn(
        &mut self,
        (client, asks): (&Arc<str>, Marks),
        (server, answers): (&Arc<str>, Marks),
    ) -> Option<Offset> {
        // Both moments are told by a clock of its own, so the offset may change between them.
        let drift = drift(asks.response.saturating_sub(asks.request));
        let least = answers.response.saturating_sub(asks.response).saturating_sub(drift);
        let most = answers.request.saturating_sub(asks.request).saturating_add(drift);
        let is_first = client <= server;
        let heard = if is_first {
            Estimate { least, most, at: asks.response }
        } else {
            Estimate { least: most.saturating_neg(), most: least.saturating_neg(), at: answers.response }
        };
        if heard.least > heard.most {
            return None;
        }
        let key = if is_first { (client, server) } else { (server, client) };
        let known = self.known(key, heard)?;
        let width = known.most.saturating_sub(known.least);
        let middle = known.least.saturating_add(width / 2);
        let error = (width - width / 2).saturating_add(drift);
        Some(Offset {
            ns: if is_first { middle } else { middle.saturating_neg() },
            error_ns: error.unsigned_abs(),
        })
    }

    /// What is known, with what was just heard, of the moment that was heard of.
    fn known(&mut self, key: (&Arc<str>, &Arc<str>), heard: Estimate) -> Option<Estimate> {
        let key = (Arc::clone(key.0), Arc::clone(key.1));
        if self.pairs.len() >= CLOCK_PAIRS && !self.pairs.contains_key(&key) {
            self.pairs.clear();
        }
        let known = self.pairs.entry(key).or_insert(Known { now: heard, rival: None });
        if let Some(now) = known.now.with(heard) {
            *known = Known { now, rival: None };
            return now.at(heard.at).with(heard);
        }
        let (rival, count) = match known.rival.take() {
            Some((rival, count)) => rival.with(heard).map_or((heard, 1), |both| (both, count + 1)),
            None => (heard, 1),
        };
        if count < PAIRS_OF_A_STEP {
            known.rival = Some((rival, count));
            return None;
        }
        known.now = rival;
        rival.at(heard.at).with(heard)
    }
}

// === impl Estimate ===

impl Estimate {
    /// What both leave; `None` where one of them must be wrong.
    fn with(self, other: Self) -> Option<Self> {
        let at = self.at.max(other.at);
        let (one, other) = (self.at(at), other.at(at));
        let both = Self { least: one.least.max(other.least), most: one.most.min(other.most), at };
        (both.least <= both.most).then_some(both)
    }

    /// What is left of it at another moment.
    fn at(self, at: i64) -> Self {
        let drift = drift(at.saturating_sub(self.at));
        Self { least: self.least.saturating_sub(drift), most: self.most.saturating_add(drift), at }
    }
}

/// How far two clocks may come apart within so many nanoseconds.
fn drift(ns: i64) -> i64 {
    const MILLION: i64 = 1_000_000;
    let ns = ns.saturating_abs();
    // Rounded up: an error that is stated holds.
    ns / MILLION * MAX_DRIFT_PPM + (ns % MILLION * MAX_DRIFT_PPM + MILLION - 1) / MILLION
}

#[cfg(test)]
mod tests;
