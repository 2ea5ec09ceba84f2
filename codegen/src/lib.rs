//! Generates the Rust types of the wire from its `.proto` files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The file that is generated.
pub const FILE: &str = "kyanos.v1.rs";

/// Messages that also travel as JSON, in what a parent tells its children.
const SERDE_MESSAGES: [&str; 4] = ["Filter", "FieldTest", "Redaction", "Tracing"];

/// Fields whose bytes are shared by all that hold them.
const SHARED_FIELDS: &str = ".kyanos.v1.WatchResponse.exchanges";

/// Returns the folder where the generated file is kept.
#[must_use]
pub fn kept() -> PathBuf {
    wire().join("src/generated")
}

/// Writes [`FILE`] into a folder, which is made where it is missing.
pub fn generate_into(out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("creating `{}`", out.display()))?;
    let include = wire().join("proto");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(include.join("kyanos/v1")).context("reading the .proto files")? {
        files.push(entry?.path());
    }
    files.sort();
    let descriptors = protox::compile(&files, [&include]).context("compiling the .proto files")?;
    let mut builder = tonic_prost_build::configure().out_dir(out).build_transport(true);
    for message in SERDE_MESSAGES {
        builder = builder.type_attribute(
            format!("kyanos.v1.{message}"),
            "#[derive(serde::Serialize, serde::Deserialize)]\n#[serde(default)]",
        );
    }
    builder.bytes(SHARED_FIELDS).compile_fds(descriptors).context("generating code")
}

/// The folder of the crate `proto`.
fn wire() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto")
}
