//! The commands.

pub(crate) mod cleanup;
pub(crate) mod overview;
pub(crate) mod query;
pub(crate) mod setup;
pub(crate) mod stat;
pub(crate) mod status;
pub(crate) mod version;
pub(crate) mod watch;

use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Writes a finished text to standard output; a closed pipe is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("writing to standard output failed: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Characters of a line of the terminal on standard output; `None` where there is none.
pub(crate) fn terminal_width() -> Option<usize> {
    use std::io::IsTerminal;
    if !std::io::stdout().is_terminal() {
        return None;
    }
    comfy_table::Table::new().width().map(usize::from)
}
