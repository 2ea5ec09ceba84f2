//! What a session on this machine needs, checked before anything is made.

use super::beside;
use crate::failure::Failure;

/// Checks system, user and programs.
pub(crate) fn check() -> Result<(), Failure> {
    if !cfg!(target_os = "linux") {
        return Err(Failure::new("capturing on this machine needs Linux")
            .hint("saved stores can be read everywhere: `kubectl kyanos query --store sqlite:FILE`"));
    }
    for program in ["hub", "capturer"] {
        beside(program)?;
    }
    root("capturing on this machine")
}

/// Checks that this is root.
pub(crate) fn root(doing: &str) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(format!("{doing} needs root"))
        .hint("run `sudo kubectl kyanos …`, or `sudo env \"PATH=$PATH\" kubectl kyanos …` where sudo does not find it"))
}
