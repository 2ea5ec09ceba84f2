//! Images of several architectures under one name, and with that the digest by which a release names them.
//!
//! The digest follows from the archives alone, so it is known before anything is published.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::oci::{INDEX, sha256};
use super::{PROGRAMS, VERSION};
use crate::run;

/// Architectures of a release, in the order in which its index names them.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Joins the archives of a folder into a layout for each program, and prints the digests of both.
pub fn run(archives: &Path, out: &Path) -> Result<()> {
    for (program, ..) in PROGRAMS {
        let digest = join(archives, program, &out.join(program))?;
        // As the variables are called by which the plugin is told at build.
        println!("KYANOS_{}_DIGEST={digest}", program.to_uppercase());
    }
    Ok(())
}

fn join(archives: &Path, program: &str, layout: &Path) -> Result<String> {
    std::fs::create_dir_all(layout).with_context(|| format!("creating `{}`", layout.display()))?;
    let mut manifests = Vec::new();
    for architecture in ARCHITECTURES {
        let archive = archives.join(format!("{program}-{VERSION}-{architecture}.tar"));
        if !archive.is_file() {
            bail!("there is no `{}`; `cargo xtask image` makes one on each machine", archive.display());
        }
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(&archive).arg("-C").arg(layout).args(["blobs", "index.json", "oci-layout"]);
        run::check(&mut unpack)?;
        manifests.push(manifest(layout, architecture)?);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let index = serde_json::to_vec(&index)?;
    let digest = sha256(&index);
    std::fs::write(layout.join("blobs/sha256").join(&digest), &index)?;
    let digest = format!("sha256:{digest}");
    let entry = json!({
        "mediaType": INDEX,
        "digest": digest,
        "size": index.len(),
        "annotations": { "org.opencontainers.image.ref.name": VERSION },
    });
    let whole = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    std::fs::write(layout.join("index.json"), serde_json::to_vec(&whole)?)?;
    Ok(digest)
}

/// What an index says of the one image that was just unpacked, less the name that its archive gives it.
fn manifest(layout: &Path, architecture: &str) -> Result<Value> {
    let text = std::fs::read(layout.join("index.json")).context("reading an archive's index")?;
    let mut index: Value = serde_json::from_slice(&text).context("an archive's index is no JSON")?;
    let mut entry = index["manifests"][0].take();
    if entry["platform"]["architecture"] != architecture {
        bail!("an archive for {architecture} has {}", entry["platform"]);
    }
    if let Some(fields) = entry.as_object_mut() {
        fields.remove("annotations");
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::super::oci::Image;
    use super::*;

    fn archives(folder: &Path, binary: &[u8]) {
        for architecture in ARCHITECTURES {
            let reference = format!("docker.io/kyanos/hub:{VERSION}");
            let image = Image {
                reference: &reference,
                architecture,
                program: "hub",
                binary: &[binary, architecture.as_bytes()].concat(),
                user: "65532:65532",
                labels: json!({}),
                licence: b"terms",
            };
            let file = folder.join(format!("hub-{VERSION}-{architecture}.tar"));
            std::fs::write(file, image.archive().unwrap()).unwrap();
        }
    }

    #[test]
    fn one_digest_leads_to_the_images_of_all_architectures() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        archives(folder.path(), b"program");
        let digest = join(folder.path(), "hub", out.path()).unwrap();
        let blob = |digest: &str| {
            let content = std::fs::read(out.path().join("blobs").join(digest.replacen(':', "/", 1))).unwrap();
            assert_eq!(format!("sha256:{}", sha256(&content)), digest);
            serde_json::from_slice::<Value>(&content).unwrap()
        };
        let top: Value =
            serde_json::from_slice(&std::fs::read(out.path().join("index.json")).unwrap()).unwrap();
        assert_eq!(top["manifests"][0]["digest"], digest);
        let index = blob(&digest);
        let found: Vec<_> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let manifest = blob(entry["digest"].as_str().unwrap());
                let config = blob(manifest["config"]["digest"].as_str().unwrap());
                assert_eq!(entry["platform"]["architecture"], config["architecture"]);
                config["architecture"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(found, ARCHITECTURES);
    }

    #[test]
    fn the_digest_follows_from_the_content_alone() {
        let digest = |binary: &[u8]| {
            let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            archives(folder.path(), binary);
            join(folder.path(), "hub", out.path()).unwrap()
        };
        assert_eq!(digest(b"program"), digest(b"program"));
        assert_ne!(digest(b"program"), digest(b"another"));
    }

    #[test]
    fn an_architecture_that_is_not_there_is_no_release() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        archives(folder.path(), b"program");
        std::fs::remove_file(folder.path().join(format!("hub-{VERSION}-arm64.tar"))).unwrap();
        assert!(join(folder.path(), "hub", out.path()).unwrap_err().to_string().contains("arm64"));
    }
}
