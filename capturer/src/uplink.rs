//! The way to the hub: batches up, settings and acknowledgements down, over connections that may break.

pub mod backlog;
pub mod backoff;
mod link;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use proto::account::Balance;
use proto::causes::with_causes;
use proto::v1::{self, CapturerHello, CapturerSettings, Folding, NodePods, uplink_request};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use backlog::Backlog;
use backoff::Backoff;
pub use link::Address;
use link::Said;

/// Batches sent and not acknowledged at most: enough to fill a slow port-forward, few enough to bound buffers.
pub const IN_FLIGHT: u64 = 64;

/// Answers of the hub that wait to be taken.
const QUEUED_ANSWERS: usize = 16;

/// What to try where hub and capturer do not understand each other.
const ONE_VERSION: &str = "use hub, capturer and plugin of one version";

/// Why the hub cannot be reached, or what ended a connection.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The address given at launch is none.
    #[error("`{hub}` is not an address of a hub")]
    Address {
        /// The address.
        hub: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// No connection came about; the hub may not run yet, or not any more.
    #[error("cannot connect to the hub: {reason}")]
    Connect {
        /// What failed, down to the cause.
        reason: String,
    },
    /// The hub does not take this capturer: another session's, or not a capturer.
    #[error("the hub refused this capturer: {reason}")]
    Refused {
        /// In the hub's words.
        reason: String,
        /// What can be tried, in the hub's words; empty where it knows nothing.
        hint: String,
    },
    /// Hub and capturer are of different versions; use binaries or images of one version.
    #[error("the hub speaks wire revision {hub}, this capturer {}", proto::WIRE_REVISION)]
    Revision {
        /// The hub's revision.
        hub: u32,
    },
    /// The connection broke.
    #[error("the connection to the hub broke: {reason}")]
    Broken {
        /// In the transport's words.
        reason: String,
    },
    /// The hub ended the connection in order.
    #[error("the hub ended the connection")]
    Closed,
}

/// What the hub wants.
#[derive(Debug)]
pub enum Command {
    /// A connection is up; on the first one these are the settings to capture by.
    Settings(Box<CapturerSettings>),
    /// Batches were taken.
    Acknowledged,
    /// Whose processes are whose, or what changed about it.
    Pods(NodePods),
    /// From now on these sums are wanted, or exchanges again. Every connection begins with exchanges.
    Folding(Folding),
    /// Detach, drain, send the final batch.
    Drain,
    /// The connection is lost; another attempt follows unless the error is final.
    Lost(UplinkError),
    /// Another hub of the session takes over.
    Moved,
}

/// The way to the hub.
#[derive(Debug)]
pub struct Uplink {
    address: Address,
    hello: CapturerHello,
    backlog: Backlog,
    backoff: Backoff,
    state: State,
    silent_since: Option<Instant>,
    /// Hub that the present one sent us to; tried once.
    next: Option<String>,
}

#[derive(Debug)]
enum State {
    Waiting {
        until: Instant,
    },
    /// Without `batches` nothing more is sent: what is under way is acknowledged, and the hub ends the connection.
    Talking {
        batches: Option<mpsc::Sender<Bytes>>,
        answers: mpsc::Receiver<Said>,
        up: bool,
    },
}

// === impl UplinkError ===

impl UplinkError {
    /// Returns whether another attempt would end the same way.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Address { .. } | Self::Refused { .. } | Self::Revision { .. } => true,
            Self::Connect { .. } | Self::Broken { .. } | Self::Closed => false,
        }
    }

    /// Returns what the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Revision { .. } => Some(ONE_VERSION.to_owned()),
            Self::Refused { hint, .. } => Some(hint.clone()).filter(|hint| !hint.is_empty()),
            Self::Address { .. } | Self::Connect { .. } | Self::Broken { .. } | Self::Closed => None,
        }
    }

    fn connect(error: &tonic::transport::Error) -> Self {
        Self::Connect { reason: with_causes(error) }
    }
}

// === impl Uplink ===

impl Uplink {
    /// Prepares the way; nothing happens before [`Uplink::command`] is awaited.
    #[must_use]
    pub fn new(address: Address, node: String, kernel: String) -> Self {
        let hello = CapturerHello {
            wire_revision: proto::WIRE_REVISION,
            node,
            kernel,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: RandomState::new().hash_one(std::process::id()),
            boot: boot(),
            ..CapturerHello::default()
        };
        let now = Instant::now();
        Self {
            address,
            hello,
            backlog: Backlog::default(),
            backoff: Backoff::default(),
            state: State::Waiting { until: now },
            silent_since: Some(now),
            next: None,
        }
    }

    /// Says on later connections that programs are attached, and which source they use.
    pub fn capturing(&mut self, capturing: bool, source: &str) {
        self.hello.capturing = capturing;
        source.clone_into(&mut self.hello.source);
    }

    /// Returns the next thing the hub wants; may be dropped and called again.
    pub async fn command(&mut self) -> Command {
        loop {
            match &mut self.state {
                State::Waiting { until } => {
                    sleep_until(*until).await;
                    self.dial();
                }
                State::Talking { answers, up, batches } => {
                    let said = answers.recv().await;
                    match said.unwrap_or(Said::Over(UplinkError::Closed)) {
                        Said::Settings(settings) => {
                            *up = true;
                            self.silent_since = None;
                            self.backoff.reset();
                            self.hello.id_base = Some(settings.id_base);
                            self.backlog.rewind();
                            self.pump();
                            return Command::Settings(settings);
                        }
                        Said::Acknowledged(sequence) => {
                            self.backlog.acknowledged(sequence);
                            self.pump();
                            return Command::Acknowledged;
                        }
                        Said::Pods(pods) => return Command::Pods(pods),
                        Said::Folding(folding) => return Command::Folding(folding),
                        Said::Drain => return Command::Drain,
                        Said::Move(hub) => {
                            *batches = None;
                            self.next = Some(hub);
                        }
                        Said::Over(UplinkError::Closed) if self.next.is_some() => {
                            self.state = State::Waiting { until: Instant::now() };
                            return Command::Moved;
                        }
                        Said::Over(error) => {
                            self.silent_since.get_or_insert_with(Instant::now);
                            self.state = State::Waiting { until: Instant::now() + self.backoff.pause() };
                            return Command::Lost(error);
                        }
                    }
                }
            }
        }
    }

    /// Takes an exchange; `false` when the backlog is full.
    #[must_use]
    pub fn push(&mut self, exchange: v1::Exchange) -> bool {
        self.backlog.push(exchange, Instant::now())
    }

    /// Takes sums; `false` when the backlog is full.
    #[must_use]
    pub fn fold(&mut self, folds: Vec<v1::Fold>) -> bool {
        self.backlog.fold(folds, Instant::now())
    }

    /// Closes and sends the open batch if it is due; `balances` are made only then.
    pub fn flush(&mut self, balances: impl FnOnce() -> Vec<Balance>) {
        let now = Instant::now();
        if self.backlog.is_due(now) {
            self.backlog.seal(balances(), false, now);
        }
        self.pump();
    }

    /// Sends what is open as the last batch.
    pub fn finish(&mut self, balances: Vec<Balance>) {
        self.backlog.seal(balances, true, Instant::now());
        self.pump();
    }

    /// Returns whether a batch waits for its time.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.backlog.is_open()
    }

    /// Returns whether the hub has taken everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Returns for how long there has been no hub.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.silent_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn dial(&mut self) {
        let room = usize::try_from(IN_FLIGHT).unwrap_or(1);
        let (batches, outgoing) = mpsc::channel(room);
        let (said, answers) = mpsc::channel(QUEUED_ANSWERS);
        let hello = v1::UplinkRequest { kind: Some(uplink_request::Kind::Hello(self.hello.clone())) };
        let hello = Bytes::from(hello.encode_to_vec());
        let hub = self.next.take().unwrap_or_else(|| self.address.hub.clone());
        let address = Address { hub, identity: self.address.identity.clone() };
        tokio::spawn(link::run(address, hello, outgoing, said));
        self.state = State::Talking { batches: Some(batches), answers, up: false };
    }

    fn pump(&mut self) {
        let State::Talking { batches: Some(batches), up: true, .. } = &self.state else { return };
        while self.backlog.in_flight() < IN_FLIGHT
            && let Some(encoded) = self.backlog.unsent()
        {
            if batches.try_send(encoded).is_err() {
                return;
            }
            self.backlog.mark_sent();
        }
    }
}

/// Names the kernel's boot; empty where that cannot be read.
fn boot() -> String {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    std::fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
