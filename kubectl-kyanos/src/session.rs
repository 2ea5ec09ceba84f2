//! What every session has, wherever it runs: what is wanted of it, what happens to it and what remains of it.
//!
//! Nothing here knows a kind of session: [`crate::local`] and [`crate::cluster`] stand on it.

pub(crate) mod certificates;
pub(crate) mod name;
pub(crate) mod witness;

use std::path::PathBuf;
use std::time::Duration;

use proto::v1;

use crate::console::Console;
use crate::failure::Failure;
use crate::store::SessionStore;

/// What a new session shall be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its name; made up when absent.
    pub(crate) name: Option<String>,
    /// Where exchanges are stored.
    pub(crate) store: SessionStore,
    /// Bytes the store may hold; 0 is no limit.
    pub(crate) store_limit: u64,
    /// Payload bytes stored per message.
    pub(crate) max_store_bytes: u32,
    /// Payload bytes kept per message.
    pub(crate) payload_bytes: u32,
    /// Whether the store outlives the session.
    pub(crate) keep: bool,
    /// How long a kept session lives.
    pub(crate) ttl: Duration,
    /// Longest each of its parts may take to start; an old kernel's verifier is slow.
    pub(crate) timeout: Duration,
    /// Which traffic.
    pub(crate) filter: v1::Filter,
    /// What is hidden.
    pub(crate) redaction: v1::Redaction,
    /// Capture one connection in N.
    pub(crate) sample: u32,
    /// What of the kernel is traced.
    pub(crate) tracing: v1::Tracing,
    /// Bytes of each event ring.
    pub(crate) ring_bytes: u32,
    /// Type information of the kernel.
    pub(crate) btf: Option<PathBuf>,
}

/// What happens to a running session.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A part of it is gone.
    Lost(Failure),
    /// Somebody ended it.
    Ended(String),
}

/// What was kept, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A store's file.
    File(PathBuf),
    /// Hub and store in a cluster.
    Session {
        /// The session's name.
        name: String,
        /// How long they stay.
        ttl: Duration,
    },
}

/// What remains when a session ended.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// What was kept.
    pub(crate) kept: Option<Kept>,
    /// What could not be removed.
    pub(crate) left: Vec<String>,
    /// What is being removed without this command, which was told to go.
    pub(crate) going: Option<String>,
    /// Nodes that did not say that the session's processes on them ended.
    pub(crate) unconfirmed: Vec<String>,
}

// === impl Remains ===

impl Remains {
    /// Says which nodes could not confirm the end.
    pub(crate) fn say_unconfirmed(&self, console: &Console) {
        if !self.unconfirmed.is_empty() {
            console.warning(&format!(
                "nodes that did not confirm that the session's processes ended: {}",
                self.unconfirmed.join(", ")
            ));
        }
    }
}
