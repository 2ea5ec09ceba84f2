//! Packages of a Debian-like distribution, installed without starting their services.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use super::Purpose;
use crate::run;

/// How the presence of a package is told.
#[derive(Clone, Copy)]
enum Sign {
    /// A program that it carries, wherever that came from.
    Program(&'static str),
    /// A folder with such programs inside version folders.
    Versions(&'static str, &'static str),
    /// The package manager's own word.
    Package,
}

const NEEDED_PACKAGES: [(Purpose, &str, Sign); 25] = [
    // What compiles: a linker, the C compiler for SQLite, and the LLVM that links kernel programs.
    (Purpose::Build, "gcc", Sign::Program("cc")),
    (Purpose::Build, "libc6-dev", Sign::Package),
    (Purpose::Build, "git", Sign::Program("git")),
    (Purpose::Build, "llvm-22-dev", Sign::Package),
    (Purpose::Build, "zlib1g-dev", Sign::Package),
    (Purpose::Build, "libzstd-dev", Sign::Package),
    (Purpose::Build, "libxml2-dev", Sign::Package),
    // What is observed, and the witnesses.
    (Purpose::Test, "nginx", Sign::Program("nginx")),
    (Purpose::Test, "redis-server", Sign::Program("redis-server")),
    (Purpose::Test, "redis-tools", Sign::Program("redis-cli")),
    (Purpose::Test, "mariadb-server", Sign::Program("mariadbd")),
    (Purpose::Test, "mariadb-client", Sign::Program("mariadb")),
    (Purpose::Test, "postgresql", Sign::Versions("/usr/lib/postgresql", "bin/postgres")),
    (Purpose::Test, "dnsmasq-base", Sign::Program("dnsmasq")),
    (Purpose::Test, "wrk", Sign::Program("wrk")),
    (Purpose::Test, "nghttp2-client", Sign::Program("h2load")),
    (Purpose::Test, "curl", Sign::Program("curl")),
    (Purpose::Test, "iproute2", Sign::Program("ip")),
    (Purpose::Test, "bpftool", Sign::Program("bpftool")),
    // Networks of namespaces, and the witness of what passes there.
    (Purpose::Test, "nftables", Sign::Program("nft")),
    (Purpose::Test, "tcpdump", Sign::Program("tcpdump")),
    // The witness of replays, and with it a program that captures.
    (Purpose::Replay, "tshark", Sign::Program("tshark")),
    // What boots other kernels.
    (Purpose::Kernels, "qemu-system-x86", Sign::Program("qemu-system-x86_64")),
    (Purpose::Kernels, "cpio", Sign::Program("cpio")),
    (Purpose::Kernels, "busybox-static", Sign::Package),
];

/// How packages are installed without a question.
const INSTALL_ARGUMENTS: [&str; 3] = ["install", "--yes", "--no-install-recommends"];

/// Consulted by every package before it starts its service; exit code 101 means no.
const POLICY_FILE: &str = "/usr/sbin/policy-rc.d";

/// Keeps packages from starting their services for as long as it lives.
struct NoServices {
    ours: bool,
}

/// Returns the packages that are missing for a purpose.
pub(super) fn missing(purpose: Purpose) -> Vec<&'static str> {
    let needed = NEEDED_PACKAGES.iter().filter(|(needed, ..)| purpose.includes(*needed));
    needed.filter(|(_, package, sign)| !is_present(package, *sign)).map(|(_, package, _)| *package).collect()
}

/// Installs packages; without root it says what to run instead.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if run::find("apt-get").is_none() {
        bail!(
            "set-up knows Debian and its relatives only; install what these packages of Debian 12 carry: {list}"
        );
    }
    if !run::is_root() {
        bail!(
            "packages are missing and installing them needs root; run either\n  \
             {} cargo xtask setup\nwhich starts none of the servers it installs, or\n  \
             sudo apt-get update\n  sudo apt-get install --no-install-recommends {list}",
            run::SUDO
        );
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The terminal's signal ends apt; the policy file must still be removed after it.
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("watching for signals")?;
    }
    let guard = NoServices::begin()?;
    let installed = apt("reading the lists of packages", &["update"])
        .and_then(|()| apt(&format!("installing {list}"), &[&INSTALL_ARGUMENTS, packages].concat()));
    drop(guard);
    if interrupted.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    installed
}

// === impl NoServices ===

impl NoServices {
    fn begin() -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY_FILE);
        let mut file = match file {
            // Somebody's own policy stays as it is.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Ok(Self { ours: false });
            }
            other => other.with_context(|| format!("creating `{POLICY_FILE}`"))?,
        };
        let guard = Self { ours: true };
        file.write_all(b"#!/bin/sh\nexit 101\n")?;
        file.set_permissions(Permissions::from_mode(0o755))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = std::fs::remove_file(POLICY_FILE)
        {
            eprintln!("warning: `{POLICY_FILE}` could not be removed: {error}; remove it by hand");
        }
    }
}

fn apt(what: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    run::step(what, &mut command).map(drop)
}

fn is_present(package: &str, sign: Sign) -> bool {
    match sign {
        Sign::Program(program) => run::find(program).is_some(),
        Sign::Versions(folder, program) => std::fs::read_dir(folder)
            .is_ok_and(|versions| versions.flatten().any(|version| version.path().join(program).is_file())),
        Sign::Package => package_is_installed(package),
    }
}

fn package_is_installed(package: &str) -> bool {
    // Package lists are read from the file that dpkg itself writes: one look, no process per package.
    let folder = Path::new("/var/lib/dpkg/info");
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    [format!("{package}.list"), format!("{package}:{architecture}.list")]
        .iter()
        .any(|name| folder.join(name).is_file())
}
