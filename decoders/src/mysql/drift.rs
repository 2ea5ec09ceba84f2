//! Packets that pass unseen: within a long result, or a file that the client sends, only the end matters.
//!
//! Where a packet begins is not known behind such a hole. The end of an answer is found again by packets that follow each
//! other in sequence; if even it was not seen, the client's next command tells that the answer is over.

use super::{Held, Mysql, Phase, probe};
use crate::decoder::{Event, Side, Step};

/// Which sides' packets are not read for now.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Drift {
    client: bool,
    server: bool,
    /// Packets begin to be read again: how many passed is not known, so the next number may be any.
    landing: bool,
    /// The client asked again, so what the server answered has ended.
    ended: bool,
}

// === impl Drift ===

impl Drift {
    pub(super) fn is_adrift(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    /// The answer is over: what comes is read.
    pub(super) fn land(&mut self) {
        *self = Self::default();
    }

    /// Tells once whether the number of the server's packet may be any.
    pub(super) fn take_landing(&mut self) -> bool {
        std::mem::take(&mut self.landing)
    }

    /// Tells once whether the server's answer has ended unseen.
    pub(super) fn take_ended(&mut self) -> bool {
        std::mem::take(&mut self.ended)
    }

    /// The client asks again.
    pub(super) fn note_command(&mut self) {
        self.ended |= self.server;
    }
}

// === impl Mysql ===

impl Mysql {
    /// Lets `len` bytes pass in which packets begin, if nothing of them is needed; returns how many pass.
    pub(super) fn begin_drift(&mut self, from: Side, len: u64) -> u64 {
        match from {
            Side::Server => {
                let Some(answer) = self.answer.as_mut().filter(|answer| answer.is_in_rows()) else {
                    return 0;
                };
                answer.pass_unseen();
                self.drift.server = true;
            }
            Side::Client => {
                if self.phase != Phase::File && self.held(from).is_none() {
                    return 0;
                }
                self.drift.client = true;
                self.drift.landing = true;
            }
        }
        if !matches!(self.held(from), Some(Held::Event(_))) {
            *self.held(from) = None;
        }
        len
    }

    /// Reads bytes of a side of which packets passed unseen; nothing when they are read as always.
    pub(super) fn drift_on(&mut self, from: Side, bytes: &[u8]) -> Option<Step> {
        let take = |consumed, event| Some(Step::Take { consumed, skip: 0, event });
        if !self.drift.is_adrift(from) {
            return None;
        }
        if let Some(Held::Event(event)) = self.held(from).take() {
            return take(0, *event);
        }
        if from == Side::Client {
            return take(bytes.len(), if bytes.is_empty() { Event::Part } else { Event::Extend });
        }
        let found = probe::find_within(bytes);
        let next = found.and_then(|start| bytes.get(start..)).unwrap_or_default();
        // Where several are asked for, this may be the next one's answer.
        if self.pending.len() > 1 && probe::is_answer(next) {
            return self.abandon_answer().and_then(|event| take(found.unwrap_or_default(), event));
        }
        match found {
            Some(0) => {
                self.drift.server = false;
                self.drift.landing = true;
                None
            }
            Some(start) => take(start, Event::Part),
            None => take(bytes.len(), Event::Part),
        }
    }
}
