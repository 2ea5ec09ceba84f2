//! A claim that must still be shown to be right: what it gives is withheld until then, and forgotten when it is wrong.
//!
//! It is right when both sides have sent whole messages, or one has sent several while the other was silent. It is
//! wrong when a side that was read goes on with something else, or the other side cannot be read.

use std::collections::VecDeque;

use super::flow::Both;
use super::{Direction, Outcome};

/// Messages of one side that show a claim to be right while the other side is silent.
const ENOUGH_MESSAGES_ALONE: u32 = 3;

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
    /// The direction of the first bytes: those that made the claim.
    first: Option<Direction>,
    /// Whether the connection was seen from its start, so that no side is in the middle of a message.
    from_start: bool,
    messages: Both<u32>,
    /// The newest message of each direction while bytes that it announced are still to come.
    announced: Both<Option<Announced>>,
    heard: Both<bool>,
    unreadable: u64,
    /// Bytes passed over behind losses, where reading looked for a place to go on.
    passed: u64,
    /// Bytes of the first direction.
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

    /// So many bytes of a direction came.
    pub(super) fn hear(&mut self, direction: Direction, bytes: u64) {
        let first = *self.first.get_or_insert(direction);
        *self.heard.of_mut(direction) = true;
        if first == direction {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// A message of a direction was read that goes on until `end`; one that a server sends `by_itself` is expected to
    /// come alone.
    pub(super) fn announce(&mut self, direction: Direction, end: u64, by_itself: bool) {
        *self.announced.of_mut(direction) = Some(Announced { end, by_itself });
    }

    /// The bytes of a direction came as far as `next`: a message that ends there is whole.
    pub(super) fn note_passing(&mut self, direction: Direction, next: Option<u64>) {
        let Some(next) = next else { return };
        if let Some(Announced { by_itself, .. }) =
            self.announced.of_mut(direction).take_if(|announced| announced.end <= next)
        {
            let messages = self.messages.of_mut(direction);
            *messages = messages.saturating_add(if by_itself { ENOUGH_MESSAGES_ALONE } else { 1 });
        }
    }

    /// So many bytes of a direction could not be read.
    pub(super) fn note_unreadable(&mut self, direction: Direction, bytes: u64) {
        self.unreadable = self.unreadable.saturating_add(bytes);
        let in_the_middle =
            !self.from_start && self.first != Some(direction) && *self.messages.of(direction) == 0;
        self.is_wrong |= !in_the_middle || self.unreadable > MAX_UNREADABLE;
    }

    /// So many bytes were passed over behind a loss: they contradict nothing, but a place to go on must be among them.
    pub(super) fn note_passed(&mut self, bytes: u64) {
        self.passed = self.passed.saturating_add(bytes);
        self.is_wrong |= self.passed > MAX_UNREADABLE;
    }

    /// Whether a whole message of a direction was read.
    pub(super) fn has_message(&self, direction: Direction) -> bool {
        *self.messages.of(direction) > 0
    }

    pub(super) fn is_right(&self) -> bool {
        let counts = [Direction::Out, Direction::In].map(|direction| *self.messages.of(direction));
        let silent = [Direction::Out, Direction::In].into_iter().any(|direction| !self.heard.of(direction));
        !self.is_wrong
            && (counts.iter().all(|count| *count > 0)
                || silent && counts.iter().any(|count| *count >= ENOUGH_MESSAGES_ALONE))
    }

    pub(super) fn is_wrong(&self) -> bool {
        self.is_wrong || self.withheld.len() > MAX_WITHHELD
    }

    /// The connection or the capture ends before the claim was shown to be right: returns what comes out of it.
    pub(super) fn end(mut self) -> Vec<Outcome> {
        if self.is_wrong() {
            Vec::new()
        } else if self.unreadable == 0
            && [Direction::Out, Direction::In].into_iter().any(|direction| *self.messages.of(direction) > 0)
        {
            // Nobody contradicted: a request without an answer or with half of one, or what a server sent by itself.
            std::mem::take(&mut self.withheld).into()
        } else if self.from_start {
            let direction = self.first.unwrap_or(Direction::Out);
            vec![Outcome::Unparsable { direction, bytes: self.bytes }]
        } else {
            // On a connection joined late, most of what looks like a message once and is not answered as one is none.
            Vec::new()
        }
    }
}
