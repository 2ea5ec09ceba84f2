//! What becomes of a session where bytes are missing or cannot be read, and how reading begins anew.

use std::collections::VecDeque;

use super::{RESYNC_TAIL, Session};
use crate::conversation::flow::{Garbled, length};
use crate::conversation::{Direction, Exchange, Outcome, Reason};
use crate::decoder::Side;

impl Session {
    /// Takes `len` bytes that were not captured: they pass where nothing needs them, else they are lost.
    pub(super) fn pass(&mut self, direction: Direction, mut len: u64, outcomes: &mut VecDeque<Outcome>) {
        let sender = self.side.sender(direction);
        while len > 0 {
            let flow = self.flows.of_mut(direction);
            let mut passing = flow.skip.min(len);
            flow.skip = flow.skip.saturating_sub(passing);
            if passing == 0 && flow.synced {
                // What is here and could not be read without the rest shares its fate.
                let here = length(flow.front());
                flow.opened();
                passing = self.decoder.unseen(sender, len.saturating_add(here)).min(len.saturating_add(here));
                let of_front = passing.min(here);
                flow.consume(usize::try_from(of_front).unwrap_or(usize::MAX));
                passing = passing.saturating_sub(of_front);
            }
            if passing == 0 {
                return self.lose(direction, Some(len), outcomes);
            }
            flow.pass(passing);
            len = len.saturating_sub(passing);
            self.advance(direction, true, outcomes);
        }
    }

    /// Takes a loss: inside bytes that nothing needs it only leaves a hole, else reading begins anew behind it.
    pub(super) fn lose(&mut self, direction: Direction, len: Option<u64>, outcomes: &mut VecDeque<Outcome>) {
        if len == Some(0) {
            return;
        }
        let flow = self.flows.of_mut(direction);
        if let Some(len) = len
            && len <= flow.skip
        {
            flow.skip = flow.skip.saturating_sub(len);
            flow.pass(len);
            return self.advance(direction, false, outcomes);
        }
        let next = flow.next;
        if let Some(outcome) = flow.completing.take() {
            // When the response's last byte came, and so how long the exchange took, is lost.
            outcomes.push_back(match outcome {
                Outcome::Exchange(Exchange { request: Some(_), .. }) => Outcome::Gap,
                Outcome::Exchange(_) | Outcome::Unpaired | Outcome::Gap | Outcome::Unparsable { .. } => {
                    Outcome::Unpaired
                }
            });
        }
        let flow = self.flows.of_mut(direction);
        let left = flow.forget();
        flow.next = len.and_then(|len| next.map(|next| next.saturating_add(len)));
        let sender = self.side.sender(direction);
        self.turns.lose(sender, len, self.pairing.len());
        // What was half seen of a request is lost with the rest of it.
        self.turns.drop_bytes(sender, left);
        self.desync(direction, left, outcomes);
    }

    /// Reading of `direction` begins anew at the next message behind a loss; `unread` bytes were dropped.
    fn desync(&mut self, direction: Direction, unread: u64, outcomes: &mut VecDeque<Outcome>) {
        let flow = self.flows.of_mut(direction);
        flow.synced = false;
        flow.hole = false;
        flow.garbled = None;
        self.decoder.lost(self.side.sender(direction));
        self.asked = false;
        if self.pairing.pipelines() {
            self.turns.break_ahead();
        }
        self.forget_waiting(None, outcomes);
        drop_bytes(direction, unread, outcomes);
    }

    /// Reading of `direction` begins anew at the next message behind bytes that came and cannot be read.
    pub(super) fn garble(&mut self, direction: Direction, unread: u64, outcomes: &mut VecDeque<Outcome>) {
        if let Some(trial) = &mut self.trial {
            trial.note_unreadable(direction, unread);
        }
        let sender = self.side.sender(direction);
        let flow = self.flows.of_mut(direction);
        flow.synced = false;
        flow.hole = false;
        // Requests that were read whole are answered whatever their client sends later. Of one that asks ahead nobody
        // knows which answer is for what.
        let kept = self.decoder.garbled(sender) && sender == Side::Client && !self.pairing.pipelines();
        self.flows.of_mut(direction).garbled = Some(Garbled { kept });
        if !kept {
            self.asked = false;
            if self.pairing.pipelines() {
                self.turns.break_ahead();
            }
            self.forget_waiting(Some(sender), outcomes);
        }
        drop_bytes(direction, unread, outcomes);
    }

    /// Forgets the requests that wait: their answers are among what was lost. What the server's unreadable bytes answer
    /// is shown, and that its answer is unknown.
    fn forget_waiting(&mut self, unreadable: Option<Side>, outcomes: &mut VecDeque<Outcome>) {
        if unreadable != Some(Side::Server) {
            for _ in 0..self.pairing.forget() {
                outcomes.push_back(Outcome::Gap);
            }
            return;
        }
        while let Some(mut exchange) = self.pairing.take_unanswered(u64::MAX) {
            exchange.error = false;
            exchange.reason = Some(Reason::Unreadable);
            outcomes.push_back(Outcome::Exchange(exchange));
        }
        self.pairing.forget();
    }

    /// Looks for the next message; `false` when it is not in the bytes that are here.
    pub(super) fn resync(&mut self, direction: Direction, outcomes: &mut VecDeque<Outcome>) -> bool {
        let sender = self.side.sender(direction);
        let flow = self.flows.of_mut(direction);
        let here = flow.front().len();
        if here == 0 {
            return false;
        }
        let found = self.decoder.resync(sender, flow.front());
        let dropped = found.unwrap_or_else(|| here.saturating_sub(RESYNC_TAIL)).min(here);
        flow.consume(dropped);
        flow.synced = found.is_some();
        let bytes = u64::try_from(dropped).unwrap_or(u64::MAX);
        let garbled = flow.garbled;
        if found.is_some() {
            flow.garbled = None;
        }
        if dropped > 0
            && let Some(trial) = &mut self.trial
        {
            match garbled {
                Some(_) => trial.note_unreadable(direction, bytes),
                None => trial.note_passed(bytes),
            }
        }
        if dropped > 0 && !garbled.is_some_and(|garbled| garbled.kept) {
            // Answers may be among what was dropped: a later one must not go to a request they were for.
            self.decoder.lost(sender);
            self.turns.drop_bytes(sender, bytes);
            self.forget_waiting(garbled.map(|_| sender), outcomes);
        } else {
            self.turns.drop_bytes(sender, bytes);
        }
        drop_bytes(direction, bytes, outcomes);
        found.is_some()
    }

    /// The client asks again: what came of the server before and could not be read holds no part of the answer, unless
    /// the client asks ahead.
    pub(super) fn leave_unreadable(&mut self, direction: Direction, outcomes: &mut VecDeque<Outcome>) {
        let flow = self.flows.of_mut(direction);
        if flow.synced || self.pairing.pipelines() || self.pairing.len() > 0 {
            return;
        }
        let left = length(flow.front());
        flow.consume(usize::MAX);
        if left > 0
            && let Some(trial) = &mut self.trial
        {
            match flow.garbled {
                Some(_) => trial.note_unreadable(direction, left),
                None => trial.note_passed(left),
            }
        }
        drop_bytes(direction, left, outcomes);
    }
}

/// Counts bytes of a direction that could not be read.
pub(super) fn drop_bytes(direction: Direction, bytes: u64, outcomes: &mut VecDeque<Outcome>) {
    if bytes == 0 {
        return;
    }
    // Neighbours are one stretch.
    if let Some(Outcome::Unparsable { direction: last, bytes: total }) = outcomes.back_mut()
        && *last == direction
    {
        *total = total.saturating_add(bytes);
        return;
    }
    outcomes.push_back(Outcome::Unparsable { direction, bytes });
}
