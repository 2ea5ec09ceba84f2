//! What is said about the work: steps, warnings, errors and hints, all on standard error.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;
use crate::render::text::{lines, one_line};

/// Characters and lines of a terminal that does not tell its size.
const USUAL_TERMINAL_SIZE: (u16, u16) = (80, 24);

/// Speaks to the user.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what was asked for and what can be shown are independent")]
pub(crate) struct Console {
    bar: ProgressBar,
    terminal: bool,
    colour: bool,
    verbose: bool,
    debug: bool,
    /// Characters of each line on the terminal that the next drawing replaces.
    drawn: Arc<Mutex<Vec<usize>>>,
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
            drawn: Arc::default(),
        }
    }

    /// Shows a text on a terminal in place of the one drawn before, as much of it as fits.
    ///
    /// Messages that come between are written above what is drawn next.
    pub(crate) fn draw(&self, text: &str) -> std::io::Result<()> {
        let size = crossterm::terminal::size().unwrap_or(USUAL_TERMINAL_SIZE);
        let (width, height) = (usize::from(size.0.max(1)), usize::from(size.1.max(2)));
        let mut drawn = self.drawn();
        let lines = fitting(text, width, height);
        let mut out = std::io::stdout().lock();
        // No line may wrap: what is drawn next goes up by lines.
        write!(out, "{}\u{1b}[?7l", erasing(&drawn, width))?;
        for line in &lines {
            writeln!(out, "{line}")?;
        }
        write!(out, "\u{1b}[?7h")?;
        *drawn = lines.iter().map(|line| line.chars().count()).collect();
        out.flush()
    }

    /// Shows a text for good in place of the one drawn before.
    pub(crate) fn draw_last(&self, text: &str) -> std::io::Result<()> {
        let width = usize::from(crossterm::terminal::size().unwrap_or(USUAL_TERMINAL_SIZE).0.max(1));
        let drawn = std::mem::take(&mut *self.drawn());
        let mut out = std::io::stdout().lock();
        write!(out, "{}{text}", erasing(&drawn, width))?;
        out.flush()
    }

    fn drawn(&self) -> MutexGuard<'_, Vec<usize>> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.bar.set_message(one_line(&doing, usize::MAX));
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
            self.write(&format!("{mark}{}", lines(what)));
        }
    }

    /// Starts a bar of `total` parts on a terminal.
    pub(crate) fn begin(&mut self, doing: &str, total: u64) {
        if !self.terminal {
            return;
        }
        self.bar.finish_and_clear();
        let style = ProgressStyle::with_template("{msg} {bar:30} {human_pos}/{human_len} {eta}");
        self.bar = ProgressBar::new(total).with_message(one_line(doing, usize::MAX));
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

    /// Says one line, or several; what it quotes of anything does not command the terminal.
    pub(crate) fn say(&self, text: &str) {
        self.write(&lines(text));
    }

    /// Writes what may be shown as it is.
    fn write(&self, text: &str) {
        let mut drawn = self.drawn();
        let mut erasing = String::new();
        if self.terminal && !drawn.is_empty() {
            let width = usize::from(crossterm::terminal::size().unwrap_or(USUAL_TERMINAL_SIZE).0.max(1));
            erasing = self::erasing(&drawn, width);
            drawn.clear();
        }
        self.bar.suspend(|| writeln!(std::io::stderr().lock(), "{erasing}{text}").ok());
    }

    /// Says one line where everything is wanted.
    pub(crate) fn detail(&self, text: &str) {
        if self.debug {
            self.say(text);
        }
    }

    /// Warns.
    pub(crate) fn warning(&self, text: &str) {
        self.write(&format!("{}: {}", self.painted("warning", "33"), lines(text)));
    }

    /// Tells what to try.
    pub(crate) fn hint(&self, text: &str) {
        self.write(&format!("{}: {}", self.painted("hint", "36"), lines(text)));
    }

    /// Tells what failed and what to try.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.write(&format!("{}: {}", self.painted("error", "31"), lines(&failure.what)));
        if let Some(hint) = &failure.hint {
            self.hint(hint);
        }
    }

    fn painted(&self, word: &str, colour: &str) -> String {
        if self.colour { format!("\u{1b}[1;{colour}m{word}\u{1b}[0m") } else { word.to_owned() }
    }
}

/// Goes up over drawn lines and erases them; a terminal that has become narrower has wrapped them.
fn erasing(drawn: &[usize], width: usize) -> String {
    let rows: usize = drawn.iter().map(|line| line.div_ceil(width).max(1)).sum();
    if rows == 0 { String::new() } else { format!("\r\u{1b}[{rows}A\u{1b}[J") }
}

/// Cuts a text to a terminal, whose last line is the cursor's.
fn fitting(text: &str, width: usize, height: usize) -> Vec<String> {
    let all: Vec<&str> = text.lines().collect();
    let room = height.saturating_sub(1).max(1);
    let shown = if all.len() > room { room - 1 } else { all.len() };
    let mut lines: Vec<String> = all.iter().take(shown).map(|line| one_line(line, width)).collect();
    if shown < all.len() {
        lines.push(one_line(&format!("… {} more lines", all.len() - shown), width));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_fits_its_terminal() {
        let text = "a\nbcdefgh\nc\nd\n";
        assert_eq!(fitting(text, 4, 5), ["a", "bcd…", "c", "d"]);
        assert_eq!(fitting(text, 40, 4), ["a", "bcdefgh", "… 2 more lines"]);
        assert_eq!(fitting(text, 40, 1), ["… 4 more lines"]);
        assert_eq!(fitting("", 40, 4), [""; 0]);
    }

    #[test]
    fn erasing_goes_up_over_every_row() {
        assert_eq!(erasing(&[], 10), "");
        assert_eq!(erasing(&[3, 0, 10], 10), "\r\u{1b}[3A\u{1b}[J");
        assert_eq!(erasing(&[3, 0, 11], 10), "\r\u{1b}[4A\u{1b}[J");
    }
}
