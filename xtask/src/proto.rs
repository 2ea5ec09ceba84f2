//! Generates the Rust types of the wire from its `.proto` files.

use std::path::Path;

use anyhow::{Context, Result};

use crate::workspace::root;

/// Messages that also travel as JSON, in what a parent tells its children.
const SERDE_MESSAGES: [&str; 3] = ["Filter", "FieldTest", "Redaction"];

/// Writes `proto/src/generated/kyanos.v1.rs`.
pub fn generate() -> Result<()> {
    let out = root().join("proto/src/generated");
    std::fs::create_dir_all(&out).context("creating the output directory")?;
    generate_into(&out)
}

/// Writes `kyanos.v1.rs` into a folder.
pub fn generate_into(out: &Path) -> Result<()> {
    let include = root().join("proto/proto");
    let folder = include.join("kyanos/v1");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).context("reading the .proto files")? {
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
    builder.compile_fds(descriptors).context("generating code")
}
