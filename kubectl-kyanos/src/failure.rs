//! What a command ends with when it could not do what was asked.

/// Exit code of work that failed or left something behind.
pub(crate) const FAILED: u8 = 1;

/// Exit code of a command line or input that makes no sense.
pub(crate) const USAGE: u8 = 2;

/// An error as the user reads it: what failed, and what to try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Failure {
    /// What failed: lower case, no full stop.
    pub(crate) what: String,
    /// What to try, where the user can act.
    pub(crate) hint: Option<String>,
    /// Exit code of the process.
    pub(crate) exit: u8,
    /// Whether the same may succeed a moment later: a peer is away, or not there yet.
    pub(crate) passing: bool,
}

// === impl Failure ===

impl Failure {
    /// Something could not be done.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, exit: FAILED, passing: false }
    }

    /// The command line or an input makes no sense.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, exit: USAGE, passing: false }
    }

    /// A system call or file operation on `subject` failed.
    pub(crate) fn io(doing: &str, subject: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::new(format!("{doing} `{subject}` failed: {error}"))
    }

    /// Says that the same may succeed a moment later.
    #[must_use]
    pub(crate) fn passing(self) -> Self {
        Self { passing: true, ..self }
    }

    /// Adds what to try.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
