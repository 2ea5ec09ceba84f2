//! Where the workspace and what it builds lie.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run;

/// The programs a user installs, which lie beside each other.
pub const BINARIES: [&str; 3] = ["kubectl-kyanos", "hub", "capturer"];

/// Returns the workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).map(Path::to_path_buf).unwrap_or_default()
}

/// Returns the target directory: `CARGO_TARGET_DIR` where set, else `target` under the root.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Returns the folder of the debug binaries that belong to the running program: the one it runs from, less the folder
/// in which cargo keeps tests.
#[must_use]
pub fn binaries() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    match beside {
        Some(folder) if folder.ends_with("deps") => folder.parent().map(Path::to_path_buf).unwrap_or(folder),
        Some(folder) => folder,
        None => target().join("debug"),
    }
}

/// Returns the path of one of the [`BINARIES`], which must have been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = binaries().join(name);
    if !path.is_file() {
        bail!("`{}` is not built; run `cargo build`", path.display());
    }
    Ok(path)
}

/// Builds the [`BINARIES`].
pub fn build() -> Result<()> {
    // Not `xtask`: its running program would be replaced.
    let packages = BINARIES.iter().flat_map(|name| ["--package", *name]);
    let mut cargo = run::cargo();
    cargo.args(["build", "--quiet", "--bins"]).args(packages);
    // Where all is well it says nothing but warnings.
    eprint!("{}", run::step(&format!("building {}", BINARIES.join(", ")), &mut cargo)?);
    Ok(())
}

/// Returns every file that git tracks or would track, relative to the root.
pub fn tracked_files() -> Result<Vec<PathBuf>> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .context("running `git ls-files`")?;
    if !output.status.success() {
        bail!("`git ls-files` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8_lossy(&output.stdout);
    let mut files: Vec<PathBuf> =
        names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    files.retain(|file| root().join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}
