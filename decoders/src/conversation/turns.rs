//! Whether client and server take turns, which decides what can be paired after a loss.
//!
//! Responses without a key answer the oldest request that waits. After a loss nobody knows how many wait, unless the
//! client asks only once it was answered: then a response that came before a request answers none that comes later.

use crate::decoder::Side;

/// Turns in a row after which a client that might have asked ahead is taken for one that does not.
const ENOUGH_TURNS: u32 = 8;

/// Requests that wait when a response is found lost: the one it was for, and the one whose response showed it. More
/// were asked ahead, or more was lost.
const EXPLAINED_REQUESTS: usize = 2;

/// What is known of the turns on one connection.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: State,
    /// Responses since the last request.
    answers: u32,
    /// Whether the response that comes next was counted when it began.
    counted: bool,
    /// Whether something was lost since the last request that may have been a turn.
    lost: bool,
    /// Bytes of the client's that were lost since the last request.
    lost_bytes: u64,
    /// Bytes of the shortest request that was seen; 0 before the first.
    shortest: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Requests wait for their responses in order.
    #[default]
    Sure,
    /// A loss may have hidden that the client asks ahead; so many turns were taken since.
    Doubted(u32),
    /// The client asks ahead, and something was lost.
    Ahead,
}

// === impl Turns ===

impl Turns {
    /// Whether a response can be given to the request that waits longest.
    pub(super) fn are_sure(&self) -> bool {
        self.state == State::Sure
    }

    /// So many bytes of a side were lost while `waiting` requests waited; where the numbers only began anew, none.
    pub(super) fn lose(&mut self, from: Side, len: Option<u64>, waiting: usize) {
        if from == Side::Client {
            self.lost_bytes = self.lost_bytes.saturating_add(len.unwrap_or_default());
        }
        self.counted &= from == Side::Client;
        self.lost |= from == Side::Client || !self.are_sure();
        if from == Side::Server && waiting > EXPLAINED_REQUESTS && self.are_sure() {
            self.state = State::Doubted(0);
        }
    }

    /// So many bytes of a side were seen but cannot be read: what is left of a loss, if there was one.
    pub(super) fn drop_bytes(&mut self, from: Side, len: u64) {
        if self.lost && from == Side::Client {
            self.lost_bytes = self.lost_bytes.saturating_add(len);
        }
    }

    /// A response came for which nothing waits: it is for a request that nobody saw, and so were those before it.
    pub(super) fn doubt(&mut self) {
        if self.are_sure() {
            self.state = State::Doubted(0);
        }
    }

    /// The client is known to ask ahead, and something was lost.
    pub(super) fn break_ahead(&mut self) {
        self.state = State::Ahead;
    }

    /// A request of `len` bytes came; `answering` says that a response has begun.
    pub(super) fn ask(&mut self, len: u64, answering: bool) {
        if answering && !self.counted {
            self.answer();
            self.counted = true;
        }
        let (answers, lost) = (std::mem::take(&mut self.answers), std::mem::take(&mut self.lost));
        let lost_bytes = std::mem::take(&mut self.lost_bytes);
        // As many requests as can have been lost, and the last one that was seen.
        let seen = u64::from(self.shortest != 0);
        self.shortest = if seen == 0 { len } else { self.shortest.min(len) }.max(1);
        let asked = lost_bytes.checked_div(self.shortest).unwrap_or_default().saturating_add(seen);
        self.state = match self.state {
            State::Sure if lost && u64::from(answers) < asked => State::Doubted(0),
            State::Doubted(turns) if !lost && answers == 1 && turns.saturating_add(1) >= ENOUGH_TURNS => {
                State::Sure
            }
            State::Doubted(turns) if !lost && answers == 1 => State::Doubted(turns.saturating_add(1)),
            // Asked ahead, or a response is lost, which shows only when the next one comes.
            State::Doubted(_) => State::Doubted(0),
            state @ (State::Sure | State::Ahead) => state,
        };
    }

    /// A response came.
    pub(super) fn answer(&mut self) {
        if !std::mem::take(&mut self.counted) {
            self.answers = self.answers.saturating_add(1);
        }
    }

    /// Nothing was said for so long that everything is answered.
    pub(super) fn rest(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(turns: &mut Turns, count: u32) {
        for _ in 0..count {
            turns.ask(40, false);
            turns.answer();
        }
    }

    #[test]
    fn a_lost_request_whose_response_came_is_no_doubt() {
        let mut turns = Turns::default();
        take(&mut turns, 1);
        turns.answer();
        turns.lose(Side::Client, Some(50), 0);
        turns.ask(40, false);
        assert!(turns.are_sure());
    }

    #[test]
    fn less_than_a_request_hides_none() {
        for (lost, sure) in [(Some(1), true), (None, true), (Some(39), true), (Some(40), false)] {
            let mut turns = Turns::default();
            take(&mut turns, 1);
            turns.lose(Side::Client, lost, 0);
            turns.ask(40, false);
            assert_eq!(turns.are_sure(), sure, "{lost:?}");
        }
    }

    #[test]
    fn two_lost_requests_need_two_responses() {
        for (answers, sure) in [(1, false), (2, true)] {
            let mut turns = Turns::default();
            take(&mut turns, 1);
            (0..answers).for_each(|_| turns.answer());
            turns.lose(Side::Client, Some(80), 0);
            turns.ask(40, false);
            assert_eq!(turns.are_sure(), sure, "{answers}");
        }
    }

    #[test]
    fn a_lost_request_that_may_not_be_answered_is_one_until_turns_are_taken() {
        let mut turns = Turns::default();
        take(&mut turns, 1);
        turns.lose(Side::Client, Some(50), 0);
        take(&mut turns, ENOUGH_TURNS);
        assert!(!turns.are_sure());
        turns.ask(40, false);
        assert!(turns.are_sure());
    }

    #[test]
    fn asking_ahead_in_doubt_begins_the_count_anew() {
        let mut turns = Turns::default();
        turns.lose(Side::Client, Some(50), 0);
        take(&mut turns, ENOUGH_TURNS - 1);
        turns.ask(40, false);
        take(&mut turns, ENOUGH_TURNS);
        assert!(!turns.are_sure());
        turns.ask(40, false);
        assert!(turns.are_sure());
    }

    #[test]
    fn asking_ahead_lasts_until_a_rest() {
        let mut turns = Turns::default();
        turns.break_ahead();
        take(&mut turns, 2 * ENOUGH_TURNS);
        assert!(!turns.are_sure());
        turns.rest();
        take(&mut turns, 1);
        assert!(turns.are_sure());
    }

    #[test]
    fn a_lost_response_is_a_doubt_where_more_wait_than_it_explains() {
        for (waiting, sure) in [(1, true), (2, true), (3, false)] {
            let mut turns = Turns::default();
            turns.lose(Side::Server, Some(50), waiting);
            assert_eq!(turns.are_sure(), sure, "{waiting}");
        }
    }
}
