//! What is said about the work: steps, warnings, errors and hints, all on standard error.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;

/// Speaks to the user.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what was asked for and what can be shown are independent")]
pub(crate) struct Console {
    bar: ProgressBar,
    terminal: bool,
    colour: bool,
    verbose: bool,
    debug: bool,
}

// === impl Console ===

impl Console {
    /// Speaks on standard error; steps show on a terminal only.
    pub(crate) fn new(verbose: bool, debug: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            terminal,
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
            verbose,
            debug,
        }
    }

    /// Whether everything is wanted.
    pub(crate) fn is_debug(&self) -> bool {
        self.debug
    }

    /// Shows what is being done: on a terminal as a spinner, with `-v` as a line.
    pub(crate) fn step(&mut self, doing: impl Into<String>) {
        let doing = doing.into();
        if !self.terminal || self.debug {
            if self.verbose || self.debug {
                self.say(&doing);
            }
            return;
        }
        if self.bar.is_hidden() {
            self.bar = ProgressBar::new_spinner();
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
        self.bar.set_message(doing);
    }

    /// Finishes a step: its outcome stays as a line on a terminal or with `-v`.
    pub(crate) fn done(&mut self, what: &str) {
        if self.terminal || self.verbose || self.debug {
            let mark = if self.colour {
                "\u{1b}[32m✓\u{1b}[0m "
            } else if self.terminal {
                "✓ "
            } else {
                ""
            };
            self.say(&format!("{mark}{what}"));
        }
    }

    /// Starts a bar of `total` parts on a terminal.
    pub(crate) fn begin(&mut self, doing: &str, total: u64) {
        if !self.terminal {
            return;
        }
        self.bar.finish_and_clear();
        let style = ProgressStyle::with_template("{msg} {bar:30} {human_pos}/{human_len} {eta}");
        self.bar = ProgressBar::new(total).with_message(doing.to_owned());
        if let Ok(style) = style {
            self.bar.set_style(style);
        }
    }

    /// Moves the bar.
    pub(crate) fn advance(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// Removes spinner or bar.
    pub(crate) fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }

    /// Says one line.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| writeln!(std::io::stderr().lock(), "{text}").ok());
    }

    /// Says one line where everything is wanted.
    pub(crate) fn detail(&self, text: &str) {
        if self.debug {
            self.say(text);
        }
    }

    /// Warns.
    pub(crate) fn warning(&self, text: &str) {
        self.say(&format!("{}: {text}", self.painted("warning", "33")));
    }

    /// Tells what to try.
    pub(crate) fn hint(&self, text: &str) {
        self.say(&format!("{}: {text}", self.painted("hint", "36")));
    }

    /// Tells what failed and what to try.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.say(&format!("{}: {}", self.painted("error", "31"), failure.what));
        if let Some(hint) = &failure.hint {
            self.hint(hint);
        }
    }

    fn painted(&self, word: &str, colour: &str) -> String {
        if self.colour { format!("\u{1b}[1;{colour}m{word}\u{1b}[0m") } else { word.to_owned() }
    }
}
