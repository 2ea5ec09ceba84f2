//! Container images of the hub and the capturer, made without a container engine.
//!
//! Each is one static program on an empty file system, in an archive that `ctr images import`,
//! `kind load image-archive` and `docker load` read.

mod compiler;
pub mod joined;
mod oci;
pub(crate) mod tar;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;

use self::compiler::Compiler;
use crate::{run, setup, workspace};
pub(crate) use oci::sha256;

/// The prefix of image names where `KYANOS_IMAGE_PREFIX` sets no other.
const IMAGE_PREFIX: &str = "kyanos";

/// The build profile of images, in the workspace's manifest.
const IMAGE_PROFILE: &str = "image";

/// The version of everything in this workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Programs with an image, and who they run as: nobody where no rights are needed, root where the kernel asks for it.
const PROGRAMS: [(&str, &str, &str); 2] = [
    ("hub", "65532:65532", "The hub of a Kyanos session: ingest, live streams, statistics, store"),
    ("capturer", "0:0", "The node agent of a Kyanos session: sees and decodes a node's traffic"),
];

/// An architecture that images are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

/// Builds the images for an architecture, by default this machine's, and writes their archives to a folder, by default
/// `images` under the target directory.
pub fn run(out: Option<&Path>, architecture: Option<Architecture>) -> Result<()> {
    let architecture = architecture.unwrap_or_else(Architecture::own);
    let out = out.map_or_else(|| workspace::target().join("images"), Path::to_path_buf);
    std::fs::create_dir_all(&out).with_context(|| format!("creating `{}`", out.display()))?;
    let start = Instant::now();
    let folder = static_programs(architecture, &["hub", "capturer"])?;
    eprintln!("built in {} s", start.elapsed().as_secs());
    let licence = std::fs::read(workspace::root().join("LICENSE")).context("reading the licence")?;
    for (program, user, description) in PROGRAMS {
        let path = folder.join(program);
        let binary = std::fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
        let reference = reference(program);
        let labels = json!({
            "org.opencontainers.image.title": format!("kyanos {program}"),
            "org.opencontainers.image.description": description,
            "org.opencontainers.image.version": VERSION,
            "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
            "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
        });
        let image = oci::Image {
            reference: &reference,
            architecture: architecture.name(),
            program,
            binary: &binary,
            user,
            labels,
            licence: &licence,
        };
        let archive = image.archive()?;
        let file = out.join(format!("{program}-{VERSION}-{}.tar", architecture.name()));
        std::fs::write(&file, &archive).with_context(|| format!("writing `{}`", file.display()))?;
        println!("{reference}\t{} KiB\t{}", archive.len() / 1024, file.display());
    }
    Ok(())
}

/// Builds static programs for an architecture and returns the folder they lie in; sets up what that needs.
pub(crate) fn static_programs(architecture: Architecture, programs: &[&str]) -> Result<PathBuf> {
    setup::run(setup::Purpose::Build)?;
    let triple = architecture.triple();
    let compiler = Compiler::of(architecture)?;
    setup::rust_target(triple)?;
    let mut cargo = run::cargo();
    cargo.args(["build", "--locked", "--profile", IMAGE_PROFILE, "--target", triple]);
    for program in programs {
        cargo.args(["--package", program, "--bin", program]);
    }
    compiler.tell(&mut cargo, triple);
    run::check(&mut cargo)?;
    Ok(workspace::target().join(triple).join(IMAGE_PROFILE))
}

/// Returns the full name of a program's image.
#[must_use]
pub fn reference(program: &str) -> String {
    let prefix = std::env::var("KYANOS_IMAGE_PREFIX").ok().filter(|prefix| !prefix.is_empty());
    format!("{}/{program}:{VERSION}", full_prefix(prefix.as_deref().unwrap_or(IMAGE_PREFIX)))
}

/// Names a prefix's registry as engines do: the first part is one if it looks like a host, else it is Docker's.
fn full_prefix(prefix: &str) -> String {
    let prefix = prefix.trim_end_matches('/');
    let first = prefix.split('/').next().unwrap_or_default();
    let is_host = first.contains(['.', ':']) || first == "localhost";
    if is_host { prefix.to_owned() } else { format!("docker.io/{prefix}") }
}

// === impl Architecture ===

impl Architecture {
    /// The one this machine has.
    pub(crate) fn own() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }

    /// Returns its name in images and archives.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_without_a_registry_is_dockers() {
        assert_eq!(full_prefix("kyanos"), "docker.io/kyanos");
        assert_eq!(full_prefix("team/kyanos/"), "docker.io/team/kyanos");
        assert_eq!(full_prefix("ghcr.io/kyanos"), "ghcr.io/kyanos");
        assert_eq!(full_prefix("localhost/kyanos"), "localhost/kyanos");
        assert_eq!(full_prefix("mirror:5000/kyanos"), "mirror:5000/kyanos");
    }
}
