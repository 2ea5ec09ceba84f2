//! Standard output, where what was asked for goes and nothing else.

use std::io::{ErrorKind, IsTerminal, Write};

use crate::failure::Failure;

/// Writes a finished text to standard output; a closed pipe is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_part(text).map(|_open| ())
}

/// Writes a part of a text to standard output; `false` where nobody reads it any more.
pub(crate) fn print_part(text: &str) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(format!("writing to standard output failed: {error}"))),
    }
}

/// Characters of a line and lines of the terminal on standard output, at this moment; `None` where there is none.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    let terminal = std::io::stdout().is_terminal();
    let (width, height) = terminal.then(crossterm::terminal::size)?.ok()?;
    (width > 0).then(|| (width.into(), height.into()))
}

/// As [`terminal_size`], the characters of a line alone.
pub(crate) fn terminal_width() -> Option<usize> {
    terminal_size().map(|(width, _)| width)
}
