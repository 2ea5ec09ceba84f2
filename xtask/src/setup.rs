//! Installs what building, testing and the other commands need, where it is missing.

mod apt;
mod rust;

use anyhow::{Result, bail};
pub use rust::NIGHTLY;
pub(crate) use rust::rustup;

use crate::{run, workspace};

/// What the machine is prepared for; each includes compiling, and all but that the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// Compiling everything.
    Build,
    /// The demo and the tests: real servers and clients.
    Test,
    /// Replaying captures beside tshark.
    Replay,
    /// Booting other kernels.
    Kernels,
}

/// A step that is missing, and how to take it.
#[derive(Debug)]
enum Missing {
    /// Packages of the distribution.
    Packages(Vec<&'static str>),
    /// Something of the Rust tool chain.
    Rust(rust::Tool),
}

// === impl Purpose ===

impl Purpose {
    /// Says whether what `other` needs is needed for this too.
    fn includes(self, other: Self) -> bool {
        match other {
            Self::Build => true,
            Self::Test => self != Self::Build,
            Self::Replay | Self::Kernels => self == other,
        }
    }
}

// === free functions ===

/// Installs what is missing for a purpose. Without root it installs nothing through apt and says what to run.
pub fn run(purpose: Purpose) -> Result<()> {
    refuse_unknown_machines()?;
    for missing in missing(purpose) {
        match missing {
            Missing::Packages(packages) => apt::install(&packages)?,
            Missing::Rust(tool) => tool.install()?,
        }
    }
    let left = missing(purpose);
    if left.is_empty() {
        return Ok(());
    }
    bail!("still missing after set-up: {left:?}");
}

/// Installs the package that carries a program, where that is missing.
pub(crate) fn package(program: &str, package: &str) -> Result<()> {
    if run::find(program).is_some() { Ok(()) } else { apt::install(&[package]) }
}

/// Installs the standard library for a target, where it is missing.
pub(crate) fn rust_target(triple: &str) -> Result<()> {
    let mut list = rustup();
    let installed = run::output(list.args(["target", "list", "--installed"]).current_dir(workspace::root()))?;
    if installed.lines().any(|line| line.trim() == triple) {
        return Ok(());
    }
    let mut add = rustup();
    add.args(["target", "add", triple]).current_dir(workspace::root());
    run::step(&format!("installing the library for {triple}"), &mut add).map(drop)
}

fn missing(purpose: Purpose) -> Vec<Missing> {
    let packages = apt::missing(purpose);
    let mut all = Vec::new();
    if !packages.is_empty() {
        all.push(Missing::Packages(packages));
    }
    all.extend(rust::missing().into_iter().map(Missing::Rust));
    all
}

fn refuse_unknown_machines() -> Result<()> {
    if !cfg!(target_os = "linux") || !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        bail!("capturing needs Linux on x86_64 or aarch64; only `kubectl-kyanos` builds elsewhere");
    }
    if run::find("rustup").is_none() {
        bail!("`rustup` is not installed; two pinned tool chains are needed: see https://rustup.rs");
    }
    Ok(())
}
