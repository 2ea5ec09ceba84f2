//! The two pinned Rust tool chains, and the linker of kernel programs.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{run, workspace};

/// The tool chain that compiles kernel programs: its LLVM is not newer than the one that bpf-linker links.
pub const NIGHTLY: &str = "nightly-2026-05-20";

/// The release of bpf-linker that links this tool chain's output.
const LINKER: &str = "0.13.0";

const LLVM: &str = "/usr/lib/llvm-22";

/// A part of the Rust tool chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// rustfmt and clippy of the host's tool chain.
    HostComponents,
    /// The nightly tool chain with its library's source, and the clippy that checks kernel programs.
    Nightly,
    /// The linker of kernel programs.
    Linker,
}

/// Returns the tools that are missing, in the order in which they can be installed.
pub(super) fn missing() -> Vec<Tool> {
    let all = [Tool::HostComponents, Tool::Nightly, Tool::Linker];
    all.into_iter().filter(|tool| !tool.is_present()).collect()
}

// === impl Tool ===

impl Tool {
    /// Installs the tool for the current user.
    pub(super) fn install(self) -> Result<()> {
        let (what, mut command) = match self {
            Self::HostComponents => {
                let mut command = rustup();
                command.args(["component", "add", "clippy", "rustfmt"]).current_dir(workspace::root());
                ("installing clippy and rustfmt".to_owned(), command)
            }
            Self::Nightly => {
                let mut command = rustup();
                command.args(["toolchain", "install", NIGHTLY, "--no-self-update", "--profile", "minimal"]);
                command.args(["--component", "rust-src", "--component", "clippy"]);
                (format!("installing the tool chain {NIGHTLY}"), command)
            }
            Self::Linker => {
                let mut command = Command::new("cargo");
                command.args(["install", "bpf-linker", "--locked", "--force", "--version", LINKER]);
                command.args(["--no-default-features", "--features", "llvm-22"]);
                command.env("LLVM_PREFIX", LLVM).env_remove("CARGO_TARGET_DIR");
                // LLVM, which is there already, does its work: what is compiled here need not be fast.
                command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
                (format!("building bpf-linker {LINKER}"), command)
            }
        };
        run::step(&what, &mut command).map(drop)
    }

    fn is_present(self) -> bool {
        match self {
            Self::HostComponents => ["clippy", "fmt"].iter().all(|tool| {
                run::succeeds(Command::new("cargo").args([tool, "--version"]).current_dir(workspace::root()))
            }),
            Self::Nightly => {
                let root = run::output(rustup().args(["run", NIGHTLY, "rustc", "--print", "sysroot"]));
                root.is_ok_and(|root| {
                    Path::new(root.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
                }) && run::succeeds(rustup().args(["run", NIGHTLY, "cargo", "clippy", "--version"]))
            }
            Self::Linker => run::find("bpf-linker").is_some_and(|linker| {
                let version = run::output(Command::new(linker).arg("--version"));
                version.is_ok_and(|version| version.trim() == format!("bpf-linker {LINKER}"))
            }),
        }
    }
}

/// Returns the command `rustup`, free of the choice of tool chain that runs this.
pub(crate) fn rustup() -> Command {
    let mut command = Command::new("rustup");
    // Set by cargo's own proxy, and passed on it would name the tool chain that is being run.
    command.env_remove("RUSTUP_TOOLCHAIN");
    command
}
