//! Clippy for the kernel programs, which the workspace's own run sees only as a library of the host.

use anyhow::Result;

use crate::setup::NIGHTLY;
use crate::{run, setup, workspace};

/// Runs clippy with the tool chain and for the target that the programs are compiled with.
pub fn run() -> Result<()> {
    setup::run(setup::Purpose::Build)?;
    let mut clippy = setup::rustup();
    clippy.args(["run", NIGHTLY, "cargo", "clippy", "--package", "capturer-ebpf", "--bin", "programs"]);
    clippy.args(["--features", "programs", "--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    clippy.args(["--", "-D", "warnings"]);
    // As the capturer's build script tells the programs for which machine they are.
    clippy.env("RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH));
    clippy.env("CARGO_TARGET_DIR", workspace::target().join("programs"));
    run::check(clippy.current_dir(workspace::root()))
}
