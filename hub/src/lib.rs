//! The hub of a session: it takes in what capturers see, fans it out to viewers, folds it into statistics, stores it
//! and answers SQL.
//!
//! Without the feature `server` only the embedded store remains, which the plugin reads and writes files with.

#[cfg(feature = "server")]
pub mod account;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod exchange;
#[cfg(feature = "server")]
pub mod join;
#[cfg(all(feature = "server", unix))]
pub mod launch;
#[cfg(feature = "server")]
pub mod lease;
#[cfg(feature = "server")]
pub mod live;
#[cfg(feature = "server")]
pub mod peers;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod session;
#[cfg(feature = "server")]
pub mod stats;
pub mod store;
#[cfg(feature = "server")]
pub mod workloads;
