//! Builds the kernel programs for the bpf target; the capturer embeds the object.

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

/// The compiler of the kernel programs: bpf-linker's LLVM must not be older than its own.
const TOOLCHAIN: &str = "nightly-2026-05-20";

fn main() -> anyhow::Result<()> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../capturer-ebpf");
    let package = Package {
        name: "capturer-ebpf",
        root_dir: root.to_str().context("the path of the workspace is not UTF-8")?,
        no_default_features: true,
        features: &["programs"],
    };
    aya_build::build_ebpf([package], Toolchain::Custom(TOOLCHAIN))
        .context("the kernel programs were not built; `cargo xtask setup` installs what they need")
}
