//! The commands.

pub(crate) mod cleanup;
pub(crate) mod completion;
pub(crate) mod overview;
pub(crate) mod query;
pub(crate) mod setup;
pub(crate) mod stat;
pub(crate) mod status;
pub(crate) mod version;
pub(crate) mod watch;
