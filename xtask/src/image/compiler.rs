//! The C compiler of static programs, for this machine's architecture or another: SQLite and the cryptography are C.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Architecture;
use crate::debian::Suite;
use crate::{run, setup, workspace};

/// The suite whose musl other architectures' programs are compiled for: headers only, the library is Rust's own.
const MUSL_SUITE: &str = "bookworm";

/// A C compiler, as Cargo's build scripts are told of it.
#[derive(Debug)]
pub(super) struct Compiler {
    program: String,
    /// What makes it compile for musl where it was made for another library.
    flags: String,
    /// Whether it also links: the host's linker knows its own architecture only.
    links: bool,
}

// === impl Compiler ===

impl Compiler {
    /// Finds, and where it is missing installs, the compiler for an architecture.
    pub(super) fn of(architecture: Architecture) -> Result<Self> {
        if architecture == Architecture::own() {
            setup::package("musl-gcc", "musl-tools")?;
            return Ok(Self { program: "musl-gcc".to_owned(), flags: String::new(), links: false });
        }
        let (prefix, package) = match architecture {
            Architecture::Amd64 => ("x86_64-linux", "gcc-x86-64-linux-gnu"),
            Architecture::Arm64 => ("aarch64-linux", "gcc-aarch64-linux-gnu"),
        };
        let program = format!("{prefix}-gnu-gcc");
        setup::package(&program, package)?;
        let folder = workspace::target().join("musl").join(architecture.name());
        let headers = folder.join("usr/include").join(format!("{prefix}-musl"));
        if !headers.is_dir() {
            let lists = workspace::target().join("apt");
            let suite = Suite::open_for(MUSL_SUITE, architecture.name(), &lists)?;
            suite.unpack(&["musl-dev".to_owned()], &folder)?;
        }
        let own = run::output(Command::new(&program).arg("-print-file-name=include"))?;
        let flags = ["-nostdinc", "-isystem", &shown(&headers), "-isystem", own.trim()].join(" ");
        Ok(Self { program, flags, links: true })
    }

    /// Tells Cargo to use it for a target.
    pub(super) fn tell(&self, cargo: &mut Command, triple: &str) {
        let variable = triple.replace('-', "_");
        cargo.env(format!("CC_{variable}"), &self.program);
        if !self.flags.is_empty() {
            cargo.env(format!("CFLAGS_{variable}"), &self.flags);
        }
        if self.links {
            cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &self.program);
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
