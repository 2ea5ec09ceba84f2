//! A claim that must still be shown to be right: what it gives is withheld until then, and forgotten when it is wrong.
//!
//! It is right when both sides have sent whole messages, or one has sent several while the other was silent. It is
//! wrong when a side that was read goes on with something else, or the other side cannot be read.

use std::collections::VecDeque;

use super::flow::Both;
use super::{Outcome, Way};

/// Messages of one side that show a claim to be right while the other side is silent.
const ENOUGH_ALONE: u32 = 3;

/// Outcomes withheld: a claim that is right is shown to be long before.
const MAX_WITHHELD: usize = 64;

/// Unreadable bytes of the other side after which the claim is wrong: the rest of a message that was on its way when
/// the connection was joined is shorter, mostly.
const MAX_UNREADABLE: u64 = 64 * 1024;

/// A message whose bytes are not all there.
#[derive(Debug)]
struct Announced {
    /// The position behind its last byte.
    end: u64,
    /// Whether a server sends it without being asked.
    by_itself: bool,
}

/// The state of a trial.
#[derive(Debug)]
pub(super) struct Trial {
    /// The way of the first bytes: those that made the claim.
    first: Option<Way>,
    /// Whether the connection was seen from its start, so that no side is in the middle of a message.
    from_start: bool,
    messages: Both<u32>,
    /// The newest message of each way while bytes that it announced are still to come.
    announced: Both<Option<Announced>>,
    heard: Both<bool>,
    unreadable: u64,
    /// Bytes passed over behind losses, where reading looked for a place to go on.
    passed: u64,
    /// Bytes of the first way.
    bytes: u64,
    pub(super) withheld: VecDeque<Outcome>,
    is_wrong: bool,
}

// === impl Trial ===

impl Trial {
    pub(super) fn new(from_start: bool) -> Self {
        Self {
            first: None,
            from_start,
            messages: Both::default(),
            announced: Both::default(),
            heard: Both::default(),
            unreadable: 0,
            passed: 0,
            bytes: 0,
            withheld: VecDeque::new(),
            is_wrong: false,
        }
    }

    /// So many bytes of a way came.
    pub(super) fn hear(&mut self, way: Way, bytes: u64) {
        let first = *self.first.get_or_insert(way);
        *self.heard.of_mut(way) = true;
        if first == way {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// A message of a way was read that goes on until `end`; one that a server sends `by_itself` is expected to come
    /// alone.
    pub(super) fn announce(&mut self, way: Way, end: u64, by_itself: bool) {
        *self.announced.of_mut(way) = Some(Announced { end, by_itself });
    }

    /// The bytes of a way came as far as `next`: a message that ends there is whole.
    pub(super) fn note_passing(&mut self, way: Way, next: Option<u64>) {
        let Some(next) = next else { return };
        if let Some(Announced { by_itself, .. }) =
            self.announced.of_mut(way).take_if(|announced| announced.end <= next)
        {
            let messages = self.messages.of_mut(way);
            *messages = messages.saturating_add(if by_itself { ENOUGH_ALONE } else { 1 });
        }
    }

    /// So many bytes of a way could not be read.
    pub(super) fn note_unreadable(&mut self, way: Way, bytes: u64) {
        self.unreadable = self.unreadable.saturating_add(bytes);
        let in_the_middle = !self.from_start && self.first != Some(way) && *self.messages.of(way) == 0;
        self.is_wrong |= !in_the_middle || self.unreadable > MAX_UNREADABLE;
    }

    /// So many bytes were passed over behind a loss: they contradict nothing, but a place to go on must be among them.
    pub(super) fn note_passed(&mut self, bytes: u64) {
        self.passed = self.passed.saturating_add(bytes);
        self.is_wrong |= self.passed > MAX_UNREADABLE;
    }

    /// Whether a whole message of a way was read.
    pub(super) fn has_message(&self, way: Way) -> bool {
        *self.messages.of(way) > 0
    }

    pub(super) fn is_right(&self) -> bool {
        let counts = [Way::Out, Way::In].map(|way| *self.messages.of(way));
        let silent = [Way::Out, Way::In].into_iter().any(|way| !self.heard.of(way));
        !self.is_wrong
            && (counts.iter().all(|count| *count > 0)
                || silent && counts.iter().any(|count| *count >= ENOUGH_ALONE))
    }

    pub(super) fn is_wrong(&self) -> bool {
        self.is_wrong || self.withheld.len() > MAX_WITHHELD
    }

    /// The connection or the capture ends before the claim was shown to be right: returns what comes out of it.
    pub(super) fn end(mut self) -> Vec<Outcome> {
        if self.is_wrong() {
            Vec::new()
        } else if self.unreadable == 0
            && [Way::Out, Way::In].into_iter().any(|way| *self.messages.of(way) > 0)
        {
            // Nobody contradicted: a request without an answer or with half of one, or what a server sent by itself.
            std::mem::take(&mut self.withheld).into()
        } else if self.from_start {
            let way = self.first.unwrap_or(Way::Out);
            vec![Outcome::Unparsable { way, bytes: self.bytes }]
        } else {
            // On a connection joined late, most of what looks like a message once and is not answered as one is none.
            Vec::new()
        }
    }
}
