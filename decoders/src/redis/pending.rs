//! Which requests wait for replies, and which replies are none of theirs.

use std::collections::VecDeque;

use super::commands::has_secret_reply;
use super::reply::{Reply, Secret};
use super::request::Command;

/// Most requests remembered: beyond it the connection is read as if they had been ordinary.
const MAX_PENDING: usize = 64 * 1024;

/// The requests that wait, in order, and the connection's modes.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: VecDeque<Wait>,
    /// Requests beyond [`MAX_PENDING`].
    beyond: u64,
    /// Channels, patterns and sharded channels the connection is subscribed to.
    subscribed: [u64; 3],
    monitor: bool,
    /// `CLIENT REPLY OFF` or `SKIP`: how the server answers what comes next.
    silence: Silence,
}

/// What a reply is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The answer to the oldest request; after the `last` the connection speaks another protocol.
    Whole { last: bool },
    /// One of several values that make up that answer.
    Part,
    /// Sent without being asked for.
    Push,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Silence {
    #[default]
    None,
    Next,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    kind: Kind,
    secret: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One reply.
    Data,
    /// A command that a subscribed RESP2 connection may still send (`PING`, `QUIT`, `RESET`).
    Control,
    /// So many confirmations; 0: as many as are subscribed.
    Subscribe(u64),
    Monitor,
    /// Turns the connection into a replication stream.
    Replication,
}

// === impl Pending ===

impl Pending {
    /// Queues `command`; `false` when the server will not answer it.
    pub(super) fn push(&mut self, command: &Command, redact: bool) -> bool {
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
        match self.silence {
            Silence::None => {}
            Silence::Next => {
                self.silence = Silence::None;
                return false;
            }
            Silence::Off => return false,
        }
        if self.waiting.len() >= MAX_PENDING {
            self.beyond = self.beyond.saturating_add(1);
            return true;
        }
        let secret = match (redact, has_secret_reply(command.words())) {
            (true, true) => Secret::Everything,
            (true, false) if command.is(0, b"CONFIG") && command.is(1, b"GET") => Secret::Settings,
            (true | false, _) => Secret::Nothing,
        };
        self.waiting.push_back(Wait { kind: kind(command), secret });
        true
    }

    /// Forgets all that waits: after lost bytes nobody knows which reply comes next. `CLIENT REPLY OFF` holds on.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.beyond = 0;
        if self.silence == Silence::Next {
            self.silence = Silence::None;
        }
    }

    /// Tells what must be hidden in the next reply.
    pub(super) fn secret(&self) -> Secret {
        self.waiting.front().map_or(Secret::Nothing, |wait| wait.secret)
    }

    /// Takes the next reply.
    pub(super) fn answer(&mut self, reply: &Reply) -> Answer {
        let confirmation = confirmation(reply);
        if let Some((family, count)) = confirmation {
            self.subscribe(family, count);
        }
        let Some(front) = self.waiting.front_mut() else {
            if self.beyond > 0 {
                self.beyond = self.beyond.saturating_sub(1);
                return Answer::Whole { last: false };
            }
            return Answer::Push;
        };
        let control = matches!(front.kind, Kind::Control | Kind::Subscribe(_));
        match (reply.kind, front.kind, confirmation) {
            (b'>' | b'*', Kind::Subscribe(left), Some((family, count))) => {
                let more = match left {
                    0 => count > 0 && self.subscribed.get(family).is_some_and(|left| *left > 0),
                    left => {
                        front.kind = Kind::Subscribe(left.saturating_sub(1).max(1));
                        left > 1
                    }
                };
                if more {
                    return Answer::Part;
                }
            }
            (b'>', ..) => return Answer::Push,
            (b'*', ..) if control && is_message(reply) => return Answer::Push,
            (b'+', ..) if self.monitor && is_monitored(reply.word(0)) => return Answer::Push,
            _ => {}
        }
        let kind = self.waiting.pop_front().map(|wait| wait.kind);
        self.monitor |= kind == Some(Kind::Monitor) && !reply.is_error();
        Answer::Whole { last: kind == Some(Kind::Replication) && !reply.is_error() }
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
    } else if is(b"PING") || is(b"QUIT") || is(b"RESET") {
        Kind::Control
    } else if is(b"MONITOR") {
        Kind::Monitor
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

/// Tells whether a simple string is what `MONITOR` sends: `1700000000.000000 [0 127.0.0.1:1] "GET"…`.
fn is_monitored(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    digits > 10 && text.get(digits..).is_some_and(|rest| rest.starts_with(b" ["))
}
