//! What a session on this machine needs, checked before anything is made.

use super::child::beside;
use crate::failure::Failure;
use crate::platform;

/// Checks system, user and programs.
pub(crate) fn check() -> Result<(), Failure> {
    const DOING: &str = "capturing on this machine";
    linux(DOING).map_err(|failure| {
        failure.hint("saved stores can be read everywhere: `kubectl kyanos query --store sqlite:FILE`")
    })?;
    for program in ["hub", "capturer"] {
        beside(program)?;
    }
    root(DOING)
}

/// Checks that this is root, on a system that can have sessions.
pub(crate) fn root(doing: &str) -> Result<(), Failure> {
    linux(doing)?;
    if platform::is_root() {
        return Ok(());
    }
    Err(Failure::new(format!("{doing} needs root"))
        .hint("run `sudo kubectl kyanos …`, or `sudo env \"PATH=$PATH\" kubectl kyanos …` where sudo does not find it"))
}

fn linux(doing: &str) -> Result<(), Failure> {
    if platform::CAN_CAPTURE { Ok(()) } else { Err(Failure::new(format!("{doing} needs Linux"))) }
}
