//! `cargo xtask kernels`: the same smoke capture, and the capturer's tests of calls of every size and shape, on the
//! kernels Debian ships and on this machine's own.
//!
//! The others boot under qemu's software emulation from a small initramfs that holds this workspace's binaries. Kernel
//! packages are unpacked below the target directory; nothing is installed.

mod calls;
mod guest;
mod initramfs;
pub mod smoke;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::debian::Suite;
use crate::{setup, workspace};

/// One kernel that Debian ships.
#[derive(Clone, Copy, Debug)]
struct Shipped {
    series: &'static str,
    suite: &'static str,
}

/// Oldest supported first.
const SHIPPED_KERNELS: [Shipped; 3] = [
    Shipped { series: "5.10", suite: "bullseye" },
    Shipped { series: "6.1", suite: "bookworm" },
    Shipped { series: "6.12", suite: "bookworm-backports" },
];

/// How often a kernel is booted whose emulated machine crashes.
const BOOT_ATTEMPTS: usize = 5;

/// Small kernels for virtual machines, with BTF.
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// Runs smoke capture and calls on every kernel whose series contains one of `only` (all when empty; `own` is this
/// machine's), and prints one line for each.
pub fn run(only: &[String]) -> Result<ExitCode> {
    setup::run(setup::Purpose::Kernels)?;
    workspace::build()?;
    let tests = calls::build()?;
    let wanted = |series: &str| only.is_empty() || only.iter().any(|word| series == word);
    let (mut passed, mut failed) = (0_u32, 0_u32);
    let mut count = |series: &str, outcome: Result<String>| match outcome {
        Ok(line) => {
            println!("{series:>5}  ok      {line}");
            passed += 1;
        }
        Err(error) => {
            println!("{series:>5}  FAILED  {error:#}");
            failed += 1;
        }
    };
    for shipped in SHIPPED_KERNELS.iter().filter(|shipped| wanted(shipped.series)) {
        count(shipped.series, boot(shipped, &tests));
    }
    if wanted("own") {
        let smoke = smoke::run(&workspace::binary("kubectl-kyanos")?);
        count("own", smoke.and_then(|smoke| Ok(format!("{smoke}; {}", calls::run_own(&tests)?))));
    }
    println!("{passed} passed, {failed} failed");
    if passed + failed == 0 {
        bail!("no kernel is called {}; there are {} and own", only.join(", "), series());
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn series() -> String {
    SHIPPED_KERNELS.map(|shipped| shipped.series).join(", ")
}

fn boot(shipped: &Shipped, tests: &Path) -> Result<String> {
    let image = unpack(shipped).with_context(|| format!("fetching the kernel of {}", shipped.suite))?;
    let folder = tempfile::tempdir()?;
    let initramfs = folder.path().join("initramfs.cpio");
    initramfs::write(&initramfs, tests).context("writing the initramfs")?;
    // Under emulation some kernels crash now and then before any program of ours is loaded: tried again, and said.
    let mut crashes = Vec::new();
    loop {
        match guest::boot(&image, &initramfs)? {
            guest::Ended::Reported(report) if crashes.is_empty() => return Ok(report),
            guest::Ended::Reported(report) => {
                return Ok(format!(
                    "{report} (after {} crashes of the guest: {})",
                    crashes.len(),
                    crashes.join("; ")
                ));
            }
            guest::Ended::Crashed { console, .. } if crashes.len() + 1 >= BOOT_ATTEMPTS => {
                bail!("the guest's kernel crashed {BOOT_ATTEMPTS} times; the console's end:\n{console}")
            }
            guest::Ended::Crashed { place, .. } => crashes.push(place),
        }
    }
}

/// Returns the kernel image of a suite, unpacked on first use.
fn unpack(shipped: &Shipped) -> Result<PathBuf> {
    let folder = workspace::target().join("kernels");
    let tree = folder.join(shipped.series);
    if !tree.is_dir() {
        let suite = Suite::open(shipped.suite, &folder.join("apt"))?;
        let packages = suite.direct_dependencies(KERNEL_PACKAGE, "linux-image")?;
        suite.unpack(&packages, &tree)?;
    }
    for entry in std::fs::read_dir(tree.join("boot"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")) {
            return Ok(path);
        }
    }
    bail!("`{}` holds no kernel image", tree.display())
}
