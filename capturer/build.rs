//! Builds the kernel programs for the bpf target; the capturer embeds the object.
//!
//! One folder holds what is compiled for that target: debug builds, release builds and tests take the same programs, and
//! `core` is compiled once for them all. Only what the compiler has to say about the programs is printed.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// The compiler of the kernel programs: bpf-linker's LLVM must not be older than its own.
const TOOLCHAIN: &str = "nightly-2026-05-20";

/// The target, in the byte order of every machine on which Kyanos captures.
const TARGET: &str = "bpfel-unknown-none";

/// How far above the folder for a build script's results the target directory is: below it come a profile's folder,
/// `build` and the package's own.
const DEPTH: usize = 4;

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=../capturer-ebpf");
    let warnings =
        build().context("the kernel programs were not built; `cargo xtask setup` installs what they need")?;
    for line in warnings.lines() {
        println!("cargo::warning={line}");
    }
    Ok(())
}

/// Builds the programs into the folder where the capturer looks for them, and returns the compiler's warnings.
fn build() -> anyhow::Result<String> {
    let results = PathBuf::from(env::var_os("OUT_DIR").context("`OUT_DIR` is not set")?);
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").context("`CARGO_CFG_TARGET_ARCH` is not set")?;
    // Not the target directory itself: the cargo that waits for this script has locked it.
    let folder = results.ancestors().nth(DEPTH).unwrap_or(&results).join("programs");
    let flags = [&format!("--cfg=bpf_target_arch=\"{architecture}\""), "-Cdebuginfo=2", "-Clink-arg=--btf"];
    let mut cargo = Command::new("rustup");
    cargo.args(["run", TOOLCHAIN, "cargo", "build", "--quiet", "--color", "never"]);
    cargo.args(["--package", "capturer-ebpf", "--bin", "programs"]);
    cargo.args(["--no-default-features", "--features", "programs"]);
    cargo.args(["--profile", "programs", "--target", TARGET, "-Z", "build-std=core"]);
    cargo.arg("--target-dir").arg(folder);
    // Cargo copies them while it holds its lock, so that a build of the same programs beside this one does no harm.
    cargo.args(["-Z", "unstable-options"]).arg("--artifact-dir").arg(&results);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // What the outer cargo chose is of the other tool chain.
    cargo.env_remove("RUSTC").env_remove("RUSTC_WORKSPACE_WRAPPER");
    let output = cargo.output().context("running `rustup`")?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !output.status.success() {
        bail!("{}\n{said}", output.status);
    }
    strip(&results.join("programs"))?;
    Ok(said)
}

/// Takes out of the object what is for debuggers, four fifths of it, of which the kernel's own types are made by now.
fn strip(object: &Path) -> anyhow::Result<()> {
    let host = env::var("HOST").context("`HOST` is not set")?;
    // Through rustup, by which the compiler's tools find the libraries that they share.
    let compiler = |program: &OsStr| {
        let mut command = Command::new("rustup");
        command.args(["run", TOOLCHAIN]).arg(program);
        command
    };
    let root = output(compiler("rustc".as_ref()).args(["--print", "sysroot"]))?;
    let tool: PathBuf = [root.trim(), "lib", "rustlib", &host, "bin", "rust-objcopy"].iter().collect();
    output(compiler(tool.as_os_str()).arg("--strip-debug").arg(object)).map(drop)
}

/// What a command prints, which has to succeed.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
