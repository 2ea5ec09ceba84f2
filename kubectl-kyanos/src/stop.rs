//! What ends a command from outside: signals and a standard output that nobody reads any more.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::platform::{self, Signal, Signals};

/// Signals and closings that may wait to be heard.
const QUEUED_STOPS: usize = 8;

/// A signal that comes again so soon is the same one: `timeout` of the GNU core utilities sends it to the process and to its
/// group, and nobody presses Ctrl-C twice as fast.
const SIGNAL_ECHO: Duration = Duration::from_millis(100);

/// Why a command stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or what is nearest to it.
    Terminate,
    /// SIGHUP, or what is nearest to it.
    Hangup,
    /// Standard output was closed.
    Closed,
    /// As many exchanges as `--count` asked for.
    Count,
    /// As long as `--time` asked for.
    Time,
    /// The session ended; by whom.
    Ended(String),
}

/// Hears what stops a command.
#[derive(Debug)]
pub(crate) struct Stops {
    heard: mpsc::Receiver<Stop>,
}

// === impl Stop ===

impl Stop {
    /// Exit code after a clean end.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Hangup => 129,
            Self::Closed | Self::Count | Self::Time | Self::Ended(_) => 0,
        }
    }

    /// Whether what still arrives is of use to anybody.
    pub(crate) fn prints_on(&self) -> bool {
        match self {
            Self::Closed | Self::Count => false,
            Self::Interrupt | Self::Terminate | Self::Hangup | Self::Time | Self::Ended(_) => true,
        }
    }

    /// Says who ended the session, for other viewers.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => platform::TERMINATE,
            Self::Hangup => platform::HANGUP,
            Self::Closed => "its output was closed",
            Self::Count => "--count was reached",
            Self::Time => "--time was over",
            Self::Ended(_) => "its end",
        }
    }
}

impl From<Signal> for Stop {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::Interrupt,
            Signal::Terminate => Self::Terminate,
            Signal::Hangup => Self::Hangup,
        }
    }
}

// === impl Stops ===

impl Stops {
    /// Begins to listen; signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let (sender, heard) = mpsc::channel(QUEUED_STOPS);
        let signals = Signals::listen()
            .map_err(|error| Failure::new(format!("listening for signals failed: {error}")))?;
        tokio::spawn(forward(signals, sender.clone()));
        std::thread::spawn(move || {
            if platform::stdout_closes() {
                sender.blocking_send(Stop::Closed).ok();
            }
        });
        Ok(Self { heard })
    }

    /// Waits for the next reason.
    pub(crate) async fn next(&mut self) -> Stop {
        match self.heard.recv().await {
            Some(stop) => stop,
            None => std::future::pending().await,
        }
    }

    /// Waits for the next signal: a closed output does not repeat what a user says.
    pub(crate) async fn next_signal(&mut self) -> Stop {
        loop {
            let stop = self.next().await;
            if stop != Stop::Closed {
                return stop;
            }
        }
    }
}

/// The signal that was heard last.
#[derive(Debug, Default)]
struct Heard(Option<(Signal, Instant)>);

// === impl Heard ===

impl Heard {
    /// Notes a signal, and says whether it is the one before come again.
    fn is_echo(&mut self, signal: Signal, now: Instant) -> bool {
        let before = self.0.replace((signal, now));
        before.is_some_and(|(other, then)| other == signal && now - then < SIGNAL_ECHO)
    }
}

async fn forward(mut signals: Signals, sender: mpsc::Sender<Stop>) {
    let mut heard = Heard::default();
    while let Some(signal) = signals.next().await {
        if heard.is_echo(signal, Instant::now()) {
            continue;
        }
        if sender.send(signal.into()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_comes_again_at_once_is_one() {
        let mut heard = Heard::default();
        let begun = Instant::now();
        assert!(!heard.is_echo(Signal::Interrupt, begun));
        assert!(heard.is_echo(Signal::Interrupt, begun + SIGNAL_ECHO / 2));
        assert!(!heard.is_echo(Signal::Terminate, begun + SIGNAL_ECHO / 2), "another one");
        assert!(!heard.is_echo(Signal::Terminate, begun + SIGNAL_ECHO * 2), "somebody insists");
    }
}
