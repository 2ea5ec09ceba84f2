//! What a master sends to a replica: a copy of its data, then every command that changes them.
//!
//! Source: `replication.c` of Redis 7.0: `$LENGTH` or `$EOF:MARK` before the copy, which has no line end behind it.

use super::request::Command;
use super::resp::{RespScanner, Scanned};
use super::resync;
use crate::decoder::{Event, Response, Step};

/// The operation of a copy's exchange.
const COPY_OPERATION: &str = "RDB";

/// Bytes of the mark that ends a copy of unknown length.
const MARK_BYTES: usize = 40;

/// Longest line before a copy: `$ENDOFF:` with an offset, an identifier, a database and a number.
const MAX_HEAD: usize = 256;

/// What follows a master's answer to `PSYNC` or `SYNC`.
#[derive(Debug)]
pub(super) enum Copy {
    /// The line before the copy comes, or the first command.
    Head,
    /// A copy of so many bytes comes.
    Body(u64),
    /// A copy comes that this mark ends; `holed`: part of it was not seen.
    Marked { mark: Vec<u8>, holed: bool },
    /// Commands come.
    Commands(Option<(RespScanner, Command)>),
}

// === impl Copy ===

impl Copy {
    /// Reads the line before a copy, at the start of `bytes`: its length, and what follows it. Nothing where more bytes
    /// are needed.
    pub(super) fn head(bytes: &[u8]) -> Result<Option<(usize, Self)>, ()> {
        let window = bytes.get(..bytes.len().min(MAX_HEAD)).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', window) else {
            return if window.len() < MAX_HEAD { Ok(None) } else { Err(()) };
        };
        let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(())?;
        let used = end.saturating_add(1);
        if let Some(mark) = line.strip_prefix(b"$EOF:").filter(|mark| mark.len() == MARK_BYTES) {
            return Ok(Some((used, Self::Marked { mark: mark.to_vec(), holed: false })));
        }
        if line.starts_with(b"$ENDOFF:") {
            return Ok(Some((used, Self::Head)));
        }
        let length = line.strip_prefix(b"$").and_then(super::commands::parse::<u64>).ok_or(())?;
        Ok(Some((used, Self::Body(length))))
    }

    /// Reads on in what the master sends; `limit` and `redact` say what is shown of a command.
    pub(super) fn decode(&mut self, bytes: &[u8], limit: usize, redact: bool) -> Step {
        let more = Step::NeedMore { at_least: bytes.len().saturating_add(1) };
        match self {
            // Lines without text keep the connection alive while the copy is prepared.
            Self::Head | Self::Commands(None) if bytes.first() == Some(&b'\n') => {
                Step::Take { consumed: 1, skip: 0, event: Event::Discard }
            }
            Self::Head if bytes.is_empty() => more,
            Self::Head if bytes.first() == Some(&b'*') => {
                *self = Self::Commands(None);
                self.decode(bytes, limit, redact)
            }
            Self::Head => match Self::head(bytes) {
                Ok(Some((consumed, Self::Body(skip)))) => {
                    *self = Self::Commands(None);
                    Step::Take { consumed, skip, event: copied() }
                }
                Ok(Some((consumed, next))) => {
                    let event = if matches!(next, Self::Head) { Event::Discard } else { Event::Part };
                    *self = next;
                    Step::Take { consumed, skip: 0, event }
                }
                Ok(None) => more,
                Err(()) => Step::Malformed,
            },
            Self::Body(length) => {
                let skip = *length;
                *self = Self::Commands(None);
                Step::Take { consumed: 0, skip, event: copied() }
            }
            Self::Marked { mark, holed } => {
                let marked = memchr::memmem::find(bytes, mark).map(|at| at.saturating_add(MARK_BYTES));
                let behind = || if *holed { resync::command(bytes, false) } else { None };
                if let Some(consumed) = marked.or_else(behind) {
                    *self = Self::Commands(None);
                    return Step::Take { consumed, skip: 0, event: copied() };
                }
                // The mark may have begun.
                match bytes.len().saturating_sub(MARK_BYTES) {
                    0 => more,
                    consumed => Step::Take { consumed, skip: 0, event: Event::Part },
                }
            }
            Self::Commands(open) => commands(open, bytes, limit, redact),
        }
    }

    /// Whether a message is half read.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Head => false,
            Self::Body(_) | Self::Marked { .. } => true,
            Self::Commands(open) => open.is_some(),
        }
    }

    /// Says how many bytes that were not captured it can do without.
    pub(super) fn unseen(&mut self, len: u64) -> u64 {
        match self {
            Self::Head | Self::Body(_) => 0,
            Self::Marked { holed, .. } => {
                *holed = true;
                len
            }
            Self::Commands(open) => open.as_mut().map_or(0, |(scanner, _)| scanner.unseen(len)),
        }
    }

    /// Bytes are lost: what follows is found by the next command.
    pub(super) fn lost(&mut self) {
        *self = Self::Commands(None);
    }
}

fn commands(open: &mut Option<(RespScanner, Command)>, bytes: &[u8], limit: usize, redact: bool) -> Step {
    let (scanner, command) = open.get_or_insert_with(|| (RespScanner::default(), Command::new(limit)));
    let Ok((consumed, progress)) = scanner.scan(bytes, command) else { return Step::Malformed };
    if command.is_malformed() {
        return Step::Malformed;
    }
    let (skip, event) = match progress {
        Scanned::More if consumed == 0 => {
            return Step::NeedMore { at_least: bytes.len().saturating_add(1) };
        }
        Scanned::More => (0, Event::Part),
        Scanned::Skip(skip) => (skip, Event::Part),
        Scanned::Done(skip) => {
            let command = open.take().map(|(_, command)| command).unwrap_or_default();
            (skip, if command.is_empty() { Event::Discard } else { pushed(&command, redact) })
        }
    };
    Step::Take { consumed, skip, event }
}

/// Makes a push of a command that a master sent.
fn pushed(command: &Command, redact: bool) -> Event {
    let (payload, truncated) = command.payload(redact);
    Event::Push(Response {
        status: "OK".to_owned(),
        by_itself: true,
        operation: Some(command.operation()),
        attributes: command.attributes(),
        payload,
        truncated,
        ..Response::default()
    })
}

fn copied() -> Event {
    let attributes = vec![("command", COPY_OPERATION.to_owned())];
    Event::Push(Response {
        status: "OK".to_owned(),
        by_itself: true,
        operation: Some(COPY_OPERATION.to_owned()),
        attributes,
        truncated: true,
        ..Response::default()
    })
}
