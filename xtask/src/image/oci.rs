//! One image as an archive: an OCI layout with Docker's `manifest.json` beside it, so that every engine loads it.

use anyhow::{Context, Result};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::tar::Archive;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What an image of one program consists of.
pub(crate) struct Image<'a> {
    /// Full name with registry and tag.
    pub(crate) reference: &'a str,
    /// Architecture as OCI names it.
    pub(crate) architecture: &'a str,
    /// The program's name: it lies in the root folder and is the entry point.
    pub(crate) program: &'a str,
    /// The statically linked program.
    pub(crate) binary: &'a [u8],
    /// `UID:GID` it runs as.
    pub(crate) user: &'a str,
    /// Labels, also written as annotations of the manifest.
    pub(crate) labels: Value,
    /// Text of the licence, which goes with the program.
    pub(crate) licence: &'a [u8],
}

/// A piece of content and how it is referred to.
struct Blob {
    digest: String,
    kind: &'static str,
    content: Vec<u8>,
}

// === impl Image ===

impl Image<'_> {
    /// Returns the archive; equal images give equal bytes.
    pub(crate) fn archive(&self) -> Result<Vec<u8>> {
        let layer = Blob::new(LAYER, self.layer()?);
        let config = Blob::new(CONFIG, text(&self.config(&layer))?);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
            "annotations": self.labels,
        });
        let manifest = Blob::new(MANIFEST, text(&manifest)?);
        let docker = json!([{
            "Config": config.path(),
            "RepoTags": [self.reference],
            "Layers": [layer.path()],
        }]);
        let mut archive = Archive::new(Vec::new());
        archive.folder("blobs/")?;
        archive.folder("blobs/sha256/")?;
        for blob in [&layer, &config, &manifest] {
            archive.file(&blob.path(), 0o644, &blob.content)?;
        }
        archive.file("index.json", 0o644, &text(&self.index(&manifest))?)?;
        archive.file("manifest.json", 0o644, &text(&docker)?)?;
        archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        archive.finish()
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = Archive::new(Vec::new());
        layer.file("LICENSE", 0o644, self.licence)?;
        layer.file(self.program, 0o755, self.binary)?;
        layer.finish()
    }

    fn config(&self, layer: &Blob) -> Value {
        json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                "User": self.user,
                "Entrypoint": [format!("/{}", self.program)],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask image" }],
        })
    }

    fn index(&self, manifest: &Blob) -> Value {
        let tag = self.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        let mut descriptor = manifest.descriptor();
        descriptor["platform"] = json!({ "architecture": self.architecture, "os": "linux" });
        descriptor["annotations"] = json!({
            "io.containerd.image.name": self.reference,
            "org.opencontainers.image.ref.name": tag,
        });
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor] })
    }
}

// === impl Blob ===

impl Blob {
    fn new(kind: &'static str, content: Vec<u8>) -> Self {
        Self { digest: format!("sha256:{}", sha256(&content)), kind, content }
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replacen(':', "/", 1))
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.kind, "digest": self.digest, "size": self.content.len() })
    }
}

/// Returns the SHA-256 of some bytes in lower-case hexadecimal digits.
pub(crate) fn sha256(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().fold(String::new(), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
        }
        text
    })
}

fn text(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("writing JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(binary: &[u8]) -> Vec<u8> {
        let labels = json!({ "org.opencontainers.image.version": "1.2.3" });
        let (reference, licence) = ("docker.io/kyanos/hub:1.2.3", b"terms".as_slice());
        let (architecture, program, user) = ("amd64", "hub", "65532:65532");
        Image { reference, architecture, program, binary, user, labels, licence }.archive().unwrap()
    }

    /// The regular files of an archive, as another program unpacks them.
    fn unpacked(archive: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("image.tar"), archive).unwrap();
        let mut tar = std::process::Command::new("tar");
        assert!(tar.args(["-xf", "image.tar"]).current_dir(&folder).status().unwrap().success());
        folder
    }

    #[test]
    fn every_reference_leads_to_content_with_that_digest() {
        let folder = unpacked(&image(b"program"));
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        let json = |name: &str| serde_json::from_slice::<Value>(&read(name)).unwrap();
        let follow = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().to_owned();
            let content = read(&format!("blobs/{}", digest.replace(':', "/")));
            assert_eq!(format!("sha256:{}", sha256(&content)), digest);
            assert_eq!(descriptor["size"], content.len());
            (digest, content)
        };
        let index = json("index.json");
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "docker.io/kyanos/hub:1.2.3");
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1.2.3");
        let manifest: Value = serde_json::from_slice(&follow(entry).1).unwrap();
        let config: Value = serde_json::from_slice(&follow(&manifest["config"]).1).unwrap();
        let (layer, _) = follow(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"], json!([layer]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/hub"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], "1.2.3");
        let docker = json("manifest.json");
        assert_eq!(docker[0]["RepoTags"], json!(["docker.io/kyanos/hub:1.2.3"]));
        for name in [&docker[0]["Config"], &docker[0]["Layers"][0]] {
            assert!(folder.path().join(name.as_str().unwrap()).is_file(), "{name}");
        }
    }

    #[test]
    fn only_the_content_decides_the_bytes() {
        assert_eq!(image(b"program"), image(b"program"));
        assert_ne!(image(b"program"), image(b"another"));
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
