//! Which requests wait for replies, and which replies are none of theirs.

use super::PROTOCOL_ERROR;
use super::reply::Reply;
use super::request::Command;
use super::secrets::{Guard, is_monitored};
use crate::queue::Queue;

/// The requests that wait, in order, and the connection's modes.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: Queue<Wait>,
    /// Whether any request was seen; before, an error of the server's is no answer.
    asked: bool,
    /// Channels, patterns and sharded channels the connection is subscribed to.
    subscribed: [u64; 3],
    /// Whether the server was seen to speak RESP3, in which no array is a message.
    resp3: bool,
    /// What the reply to `EXEC` must hide, while a transaction is open.
    transaction: Option<Guard>,
    /// `CLIENT REPLY OFF` or `SKIP`: how the server answers what comes next.
    silence: Silence,
}

/// What a reply is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReplyRole {
    /// The answer to the oldest request.
    Whole,
    /// The answer to a replica's request, behind which a copy of the data follows.
    Replication,
    /// One of several values that make up an answer.
    Part,
    /// Sent without being asked for.
    Push,
    /// An answer to a request that was not seen.
    Stray,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Silence {
    #[default]
    None,
    Next,
    Off,
}

#[derive(Debug, PartialEq, Eq)]
struct Wait {
    kind: Kind,
    guard: Option<Box<Guard>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One reply.
    Data,
    /// A command that a subscribed RESP2 connection may still send (`PING`, `QUIT`, `RESET`).
    Control,
    Reset,
    /// So many confirmations; 0: as many as are subscribed.
    Subscribe(u64),
    /// Turns the connection into a replication stream.
    Replication,
}

// === impl Pending ===

impl Pending {
    /// Queues `command`; `false` when the server will not answer it.
    pub(super) fn push(&mut self, command: &Command) -> bool {
        self.asked = true;
        if command.is(0, b"REPLCONF") && command.is(1, b"ACK") {
            return false;
        }
        let reply = command.is(0, b"CLIENT") && command.is(1, b"REPLY");
        if reply && command.is(2, b"ON") || command.is(0, b"RESET") {
            self.silence = Silence::None;
        } else if reply && command.is(2, b"OFF") {
            self.silence = Silence::Off;
            return false;
        } else if reply && command.is(2, b"SKIP") && self.silence != Silence::Off {
            self.silence = Silence::Next;
            return false;
        }
        let guard = self.guard_of(command);
        match self.silence {
            Silence::None => {}
            Silence::Next => {
                self.silence = Silence::None;
                return false;
            }
            Silence::Off => return false,
        }
        let guard = (!guard.is_empty()).then(|| Box::new(guard));
        self.waiting.push(Wait { kind: kind(command), guard });
        true
    }

    /// Returns what the reply to `command` must hide. That to `EXEC` holds the replies to all that was queued.
    fn guard_of(&mut self, command: &Command) -> Guard {
        if command.is(0, b"EXEC") {
            return self.transaction.take().unwrap_or_default();
        }
        let guard = Guard::of(command.words());
        if command.is(0, b"MULTI") {
            self.transaction.get_or_insert_default();
        } else if command.is(0, b"DISCARD") || command.is(0, b"RESET") {
            self.transaction = None;
        } else if let Some(transaction) = &mut self.transaction {
            transaction.join(&guard);
        }
        guard
    }

    /// Forgets all that waits: after lost bytes nobody knows which reply comes next. `CLIENT REPLY OFF` holds on.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        if self.silence == Silence::Next {
            self.silence = Silence::None;
        }
    }

    /// Whether no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the oldest request asks for a copy of the data.
    pub(super) fn wants_copy(&self) -> bool {
        self.waiting.front().is_some_and(|front| front.kind == Kind::Replication)
    }

    /// Takes out the oldest request.
    pub(super) fn take_front(&mut self) {
        self.waiting.pop_front();
    }

    /// Tells what must be hidden in the next reply.
    pub(super) fn guard(&self) -> Guard {
        let guard = self.waiting.front().and_then(|wait| wait.guard.as_ref());
        guard.map(|guard| guard.as_ref().clone()).unwrap_or_default()
    }

    /// Takes the next reply.
    pub(super) fn answer(&mut self, reply: &Reply) -> ReplyRole {
        self.resp3 |= matches!(reply.kind, b'>' | b'%' | b'~' | b'_' | b'#' | b',');
        let confirmation = confirmation(reply);
        if let Some((family, count)) = confirmation {
            self.subscribe(family, count);
        }
        let message = reply.kind == b'*' && is_message(reply);
        let push = reply.kind == b'>' || reply.kind == b'+' && is_monitored(reply.word(0));
        let Some(front) = self.waiting.front_mut() else {
            if !push && self.waiting.pop_dropped() {
                return ReplyRole::Whole;
            }
            // What it refuses was no command that could be read.
            let refusal = reply.is_error() && (!self.asked || reply.word(0).starts_with(PROTOCOL_ERROR));
            return if push || message || confirmation.is_some() || refusal {
                ReplyRole::Push
            } else {
                ReplyRole::Stray
            };
        };
        if let (b'>' | b'*', Kind::Subscribe(left), Some((family, count))) =
            (reply.kind, front.kind, confirmation)
        {
            let more = match left {
                0 => count > 0 && self.subscribed.get(family).is_some_and(|left| *left > 0),
                left => {
                    front.kind = Kind::Subscribe(left.saturating_sub(1).max(1));
                    left > 1
                }
            };
            if more {
                return ReplyRole::Part;
            }
        } else if push {
            return ReplyRole::Push;
        } else if message {
            let control = matches!(front.kind, Kind::Control | Kind::Reset | Kind::Subscribe(_));
            let subscribed = !self.resp3 && self.subscribed.iter().any(|count| *count > 0);
            if control || subscribed {
                return ReplyRole::Push;
            }
        }
        let kind = self.waiting.pop_front().map(|wait| wait.kind);
        match kind {
            Some(Kind::Reset) if !reply.is_error() => {
                self.subscribed = [0; 3];
                self.resp3 = false;
                ReplyRole::Whole
            }
            Some(Kind::Replication) if !reply.is_error() => ReplyRole::Replication,
            _ => ReplyRole::Whole,
        }
    }

    /// Takes over the number of subscriptions that a confirmation reports: of channels and patterns together.
    fn subscribe(&mut self, family: usize, count: u64) {
        let others = match family {
            0 => self.subscribed.get(1).copied().unwrap_or(0),
            1 => self.subscribed.first().copied().unwrap_or(0),
            _ => 0,
        };
        if let Some(subscribed) = self.subscribed.get_mut(family) {
            *subscribed = count.saturating_sub(others);
        }
    }
}

fn kind(command: &Command) -> Kind {
    let channels = u64::try_from(command.count().saturating_sub(1)).unwrap_or(u64::MAX);
    let is = |name: &[u8]| command.is(0, name);
    if is(b"SUBSCRIBE") || is(b"PSUBSCRIBE") || is(b"SSUBSCRIBE") {
        Kind::Subscribe(channels.max(1))
    } else if is(b"UNSUBSCRIBE") || is(b"PUNSUBSCRIBE") || is(b"SUNSUBSCRIBE") {
        Kind::Subscribe(channels)
    } else if is(b"PING") || is(b"QUIT") {
        Kind::Control
    } else if is(b"RESET") {
        Kind::Reset
    } else if is(b"PSYNC") || is(b"SYNC") {
        Kind::Replication
    } else {
        Kind::Data
    }
}

/// Returns the family and the number in `[un]subscribe CHANNEL N`.
fn confirmation(reply: &Reply) -> Option<(usize, u64)> {
    let family = match reply.word(0) {
        b"subscribe" | b"unsubscribe" => 0,
        b"psubscribe" | b"punsubscribe" => 1,
        b"ssubscribe" | b"sunsubscribe" => 2,
        _ => return None,
    };
    let listed = matches!(reply.kind, b'*' | b'>');
    super::commands::parse(reply.word(2)).filter(|_| listed).map(|count| (family, count))
}

fn is_message(reply: &Reply) -> bool {
    matches!(reply.word(0), b"message" | b"pmessage" | b"smessage")
}
