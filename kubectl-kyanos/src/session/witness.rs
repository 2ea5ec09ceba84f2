//! What is known of a session whose hub does not answer.

/// The word on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It is there: a hub may come back.
    Stands,
    /// It is gone or going.
    Gone,
    /// Nobody says: there is nobody to ask, who is asked does not answer, or this user may not ask.
    Unknown,
}

/// Whoever can be asked about a session.
pub(crate) trait Witness: Send + Sync + 'static {
    /// Asks whether it stands.
    fn ask(&self) -> impl Future<Output = Word> + Send;
}
