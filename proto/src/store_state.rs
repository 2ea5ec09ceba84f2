//! How a session's store is, in words: the same in JSON and on a terminal.

use crate::v1::store_state::Kind;
use crate::v1::{FailureKind, StoreDown, StoreState};

/// Says how a store is, and why: `starting: no answer`.
#[must_use]
pub fn in_full(state: &StoreState) -> String {
    match reason(state) {
        Some(reason) => format!("{}: {reason}", word(state)),
        None => word(state).to_owned(),
    }
}

/// Says how a store is in one word.
#[must_use]
pub fn word(state: &StoreState) -> &'static str {
    match &state.kind {
        None => "none",
        Some(Kind::Starting(_)) => "starting",
        Some(Kind::Ready(_)) => "ready",
        Some(Kind::Down(_)) => "down",
        Some(Kind::Closed(_)) => "closed",
    }
}

/// Says why a store does not take rows, where that is known.
#[must_use]
pub fn reason(state: &StoreState) -> Option<&str> {
    let reason = match &state.kind {
        Some(Kind::Starting(starting)) => &starting.reason,
        Some(Kind::Down(down)) => &down.reason,
        None | Some(Kind::Ready(_) | Kind::Closed(_)) => return None,
    };
    (!reason.is_empty()).then_some(reason)
}

/// Whether a store was never reached yet.
#[must_use]
pub fn is_starting(state: &StoreState) -> bool {
    matches!(state.kind, Some(Kind::Starting(_)))
}

/// Whether a store takes rows.
#[must_use]
pub fn is_ready(state: &StoreState) -> bool {
    matches!(state.kind, Some(Kind::Ready(_)))
}

/// Returns how a store cannot be written to at the moment, where it cannot.
#[must_use]
pub fn down(state: &StoreState) -> Option<&StoreDown> {
    match &state.kind {
        Some(Kind::Down(down)) => Some(down),
        None | Some(Kind::Starting(_) | Kind::Ready(_) | Kind::Closed(_)) => None,
    }
}

/// Returns why a store cannot be written to, where no waiting mends that.
#[must_use]
pub fn beyond_waiting(state: &StoreState) -> Option<&str> {
    down(state).filter(|down| down.failure() == FailureKind::Final).map(|down| down.reason.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{StoreClosed, StoreReady, StoreStarting};

    #[test]
    fn states_keep_their_words() {
        let why = || "no answer".to_owned();
        let states = [
            (None, "none", "none"),
            (Some(Kind::Starting(StoreStarting::default())), "starting", "starting"),
            (Some(Kind::Starting(StoreStarting { reason: why() })), "starting", "starting: no answer"),
            (Some(Kind::Ready(StoreReady {})), "ready", "ready"),
            (
                Some(Kind::Down(StoreDown { reason: why(), ..StoreDown::default() })),
                "down",
                "down: no answer",
            ),
            (Some(Kind::Closed(StoreClosed {})), "closed", "closed"),
        ];
        for (kind, short, full) in states {
            let state = StoreState { kind };
            assert_eq!((word(&state), in_full(&state).as_str()), (short, full));
            assert_eq!((is_starting(&state), down(&state).is_some()), (short == "starting", short == "down"));
        }
    }

    #[test]
    fn only_a_store_that_no_waiting_mends_is_beyond_waiting() {
        let down = |failure: FailureKind| StoreState {
            kind: Some(Kind::Down(StoreDown { reason: "no such table".to_owned(), failure: failure.into() })),
        };
        assert_eq!(beyond_waiting(&down(FailureKind::Final)), Some("no such table"));
        assert_eq!(beyond_waiting(&down(FailureKind::Passing)), None);
        assert_eq!(beyond_waiting(&StoreState::default()), None);
    }
}
