//! The small root file system that a kernel under test boots: busybox, our binaries, the libraries they need.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{calls, guest};
use crate::{run, workspace};

/// Writes an uncompressed initramfs to `path` that holds the built test program of calls.
pub(super) fn write(path: &Path, tests: &Path) -> Result<()> {
    let busybox = run::find("busybox").context("`busybox` is missing; `cargo xtask setup --for kernels`")?;
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    for name in ["bin", "dev", "proc", "run", "sys", "tmp", "var/lib"] {
        std::fs::create_dir_all(root.join(name))?;
    }
    std::fs::copy(busybox, root.join("bin/busybox"))?;
    let mut programs: Vec<PathBuf> =
        workspace::BINARIES.iter().map(|name| workspace::binary(name)).collect::<Result<_>>()?;
    programs.push(std::env::current_exe()?);
    let mut libraries = libraries_of(tests)?;
    without_debug_info(tests, &root.join("bin").join(calls::PROGRAM))?;
    for program in &programs {
        let name = program.file_name().context("a program without a name")?;
        without_debug_info(program, &root.join("bin").join(name))?;
        libraries.extend(libraries_of(program)?);
    }
    for library in libraries {
        let inside = root.join(library.strip_prefix("/")?);
        std::fs::create_dir_all(inside.parent().context("a library in no folder")?)?;
        std::fs::copy(&library, inside)?;
    }
    let init = root.join("init");
    std::fs::write(&init, guest::init())?;
    std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o755))?;
    pack(root, path)
}

/// Copies a program without what debuggers read, which is most of it: the guest's memory holds the archive and what it
/// unpacks to.
fn without_debug_info(program: &Path, into: &Path) -> Result<()> {
    run::output(Command::new("strip").args(["--strip-debug", "-o"]).arg(into).arg(program)).map(drop)
}

/// Returns the shared libraries that a program loads, its loader included.
fn libraries_of(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let listing = run::output(Command::new("ldd").arg(program))?;
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(listing.lines().filter_map(path).collect())
}

/// Packs a folder as the kernel wants it: a cpio archive of the `newc` format.
fn pack(root: &Path, into: &Path) -> Result<()> {
    let names = run::output(Command::new("find").arg(".").current_dir(root))?;
    let mut cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--quiet"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(into)?)
        .spawn()
        .context("running `cpio`")?;
    if let Some(mut input) = cpio.stdin.take() {
        input.write_all(names.as_bytes())?;
    }
    let status = cpio.wait()?;
    if !status.success() {
        bail!("`cpio` failed: {status}");
    }
    Ok(())
}
