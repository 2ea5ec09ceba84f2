//! The archives of a release, and the plugin index's manifest that points to them.

mod manifest;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::image::{Architecture, VERSION, sha256, static_programs, tar};
use crate::{run, setup, workspace};

/// The profile of released programs: the same as in images.
const RELEASE_PROFILE: &str = "image";

/// The linker of programs for Windows.
const WINDOWS_LINKER: &str = "x86_64-w64-mingw32-gcc";

/// How the programs of a platform are built here.
#[derive(Clone, Copy)]
enum Build {
    /// All three, static.
    Linux(Architecture),
    /// The plugin alone.
    Windows,
    /// Not without Apple's tools: only taken from where they are.
    Elsewhere,
}

/// A platform of the plugin index.
struct Platform {
    /// `OS-ARCHITECTURE`.
    name: &'static str,
    build: Build,
    programs: &'static [&'static str],
}

const PLATFORMS: [Platform; 5] = [
    Platform {
        name: "linux-amd64",
        build: Build::Linux(Architecture::Amd64),
        programs: &workspace::BINARIES,
    },
    Platform {
        name: "linux-arm64",
        build: Build::Linux(Architecture::Arm64),
        programs: &workspace::BINARIES,
    },
    Platform { name: "darwin-amd64", build: Build::Elsewhere, programs: &["kubectl-kyanos"] },
    Platform { name: "darwin-arm64", build: Build::Elsewhere, programs: &["kubectl-kyanos"] },
    Platform { name: "windows-amd64", build: Build::Windows, programs: &["kubectl-kyanos.exe"] },
];

/// An archive that was written.
struct Packed {
    platform: &'static str,
    path: PathBuf,
    sha256: String,
}

/// Returns the names of all platforms.
#[must_use]
pub fn platforms() -> [&'static str; 5] {
    PLATFORMS.map(|platform| platform.name)
}

/// Writes the archives of all platforms, or of `only` these, whose programs can be built here, or were built elsewhere
/// and lie in `programs` in folders such as `darwin-arm64`, and the manifest `kyanos.yaml`, to a folder, by default
/// `release-archives` under the target directory.
pub fn run(out: Option<&Path>, programs: Option<&Path>, only: &[String]) -> Result<()> {
    let out = out.map_or_else(|| workspace::target().join("release-archives"), Path::to_path_buf);
    std::fs::create_dir_all(&out).with_context(|| format!("creating `{}`", out.display()))?;
    let out = out.canonicalize().context("finding the folder for archives")?;
    let mut packed = Vec::new();
    let wanted = |platform: &&Platform| only.is_empty() || only.iter().any(|name| name == platform.name);
    for platform in PLATFORMS.iter().filter(wanted) {
        let given = programs.map(|folder| folder.join(platform.name)).filter(|folder| folder.is_dir());
        let folder = match given {
            Some(folder) => Ok(folder),
            None => platform.build(),
        };
        match folder {
            Ok(folder) => packed.push(platform.pack(&folder, &out)?),
            Err(error) => eprintln!("no archive for {}: {error:#}", platform.name),
        }
    }
    if packed.is_empty() {
        bail!("no platform's programs could be built");
    }
    let address = std::env::var("KYANOS_RELEASE_URL").ok().filter(|address| !address.is_empty());
    if address.is_none() {
        eprintln!(
            "KYANOS_RELEASE_URL is not set: the manifest has file: addresses, good on this machine only"
        );
    }
    let template = std::fs::read_to_string(workspace::root().join("krew/kyanos.yaml"))
        .context("reading the manifest")?;
    let filled = manifest::fill(&template, VERSION, |platform| {
        let packed = packed.iter().find(|packed| packed.platform == platform)?;
        Some((packed.uri(address.as_deref()), packed.sha256.clone()))
    })?;
    let path = out.join("kyanos.yaml");
    std::fs::write(&path, filled).with_context(|| format!("writing `{}`", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

// === impl Platform ===

impl Platform {
    /// Builds its programs and returns the folder they lie in.
    fn build(&self) -> Result<PathBuf> {
        match self.build {
            Build::Linux(architecture) => static_programs(architecture, self.programs),
            Build::Windows => windows(),
            Build::Elsewhere => {
                bail!("its linker is Apple's; build there and give the folder with `--programs`")
            }
        }
    }

    /// Writes its archive; equal programs give equal bytes.
    fn pack(&self, folder: &Path, out: &Path) -> Result<Packed> {
        let mut archive = tar::Archive::new(Vec::new());
        let licence = std::fs::read(workspace::root().join("LICENSE")).context("reading the licence")?;
        archive.file("LICENSE", 0o644, &licence)?;
        for program in self.programs {
            let path = folder.join(program);
            let binary = std::fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
            archive.file(program, 0o755, &binary)?;
        }
        let compressed = compressed(&archive.finish()?)?;
        let path = out.join(format!("kubectl-kyanos-{VERSION}-{}.tar.gz", self.name));
        std::fs::write(&path, &compressed).with_context(|| format!("writing `{}`", path.display()))?;
        println!("{}\t{} KiB", path.display(), compressed.len() / 1024);
        Ok(Packed { platform: self.name, path, sha256: sha256(&compressed) })
    }
}

// === impl Packed ===

impl Packed {
    fn uri(&self, address: Option<&str>) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        match address {
            Some(address) => format!("{}/{name}", address.trim_end_matches('/')),
            None => format!("file://{}", self.path.display()),
        }
    }
}

fn windows() -> Result<PathBuf> {
    let triple = "x86_64-pc-windows-gnu";
    setup::package(WINDOWS_LINKER, "gcc-mingw-w64-x86-64")?;
    setup::rust_target(triple)?;
    let mut cargo = run::cargo();
    cargo.args([
        "build",
        "--locked",
        "--profile",
        RELEASE_PROFILE,
        "--target",
        triple,
        "--package",
        "kubectl-kyanos",
    ]);
    run::check(cargo.env("CC_x86_64_pc_windows_gnu", WINDOWS_LINKER))?;
    Ok(workspace::target().join(triple).join(RELEASE_PROFILE))
}

/// Compresses without a name or time in the header.
fn compressed(content: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip");
    let mut child = gzip
        .args(["--no-name", "--best", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting `gzip`")?;
    let mut input = child.stdin.take().context("`gzip` has no input")?;
    // Both ends at once: what is written and what is read are larger than a pipe.
    let output = std::thread::scope(|scope| {
        let writer = scope.spawn(move || input.write_all(content));
        let output = child.wait_with_output().context("reading from `gzip`")?;
        match writer.join() {
            Ok(written) => written.context("writing to `gzip`")?,
            Err(_panic) => bail!("writing to `gzip` failed"),
        }
        Ok(output)
    })?;
    if !output.status.success() {
        bail!("`gzip` failed: {}", output.status);
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_repeat_and_are_what_the_manifest_says() {
        let (programs, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(programs.path().join("kubectl-kyanos"), vec![7; 300_000]).unwrap();
        let pack = || PLATFORMS[2].pack(programs.path(), out.path()).unwrap();
        let (first, second) = (pack(), pack());
        assert_eq!(first.sha256, second.sha256);
        let sums = run::output(Command::new("sha256sum").arg(&first.path)).unwrap();
        assert!(sums.starts_with(&first.sha256), "{sums}");
        let list = run::output(Command::new("tar").arg("-tzf").arg(&first.path)).unwrap();
        assert_eq!(list, "LICENSE\nkubectl-kyanos\n");
        assert_eq!(
            first.uri(Some("https://example.org/v1/")),
            format!("https://example.org/v1/kubectl-kyanos-{VERSION}-darwin-amd64.tar.gz")
        );
        assert!(first.uri(None).starts_with("file:///"), "{}", first.uri(None));
    }
}
