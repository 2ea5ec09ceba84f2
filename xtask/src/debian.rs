//! Packages of any Debian suite, unpacked into a folder; nothing is installed and `/etc/apt` is not touched.
//!
//! The mirror is the one this machine's own apt sources name. Packages are authenticated by Debian's archive keyring.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Package lists younger than this are not fetched again.
const LISTS_FRESH: Duration = Duration::from_hours(24);

/// One Debian suite as apt sees it through private lists and caches.
#[derive(Debug)]
pub struct Suite {
    config: PathBuf,
}

// === impl Suite ===

impl Suite {
    /// Opens a suite such as `sid` for this machine's architecture, fetching its package lists into `folder` when they
    /// are missing or a day old.
    pub fn open(suite: &str, folder: &Path) -> Result<Self> {
        let own = run::output(Command::new("dpkg").arg("--print-architecture"))?;
        Self::at(suite, own.trim(), &folder.join(suite))
    }

    /// As [`Self::open`], with the packages of another architecture such as `arm64`.
    pub fn open_for(suite: &str, architecture: &str, folder: &Path) -> Result<Self> {
        Self::at(suite, architecture, &folder.join(format!("{suite}-{architecture}")))
    }

    fn at(suite: &str, architecture: &str, folder: &Path) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            bail!("`{KEYRING}` is missing; install the package `debian-archive-keyring`");
        }
        for part in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(folder.join(part)).context("creating private apt folders")?;
        }
        let sources = folder.join("sources.list");
        let mirror = mirror()?;
        std::fs::write(&sources, format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))?;
        let config = folder.join("apt.conf");
        std::fs::write(&config, configuration(folder, &sources, architecture))?;
        let opened = Self { config };
        let stamp = folder.join("fetched");
        if !is_fresh(&stamp) {
            run::check(opened.apt("apt-get").args(["update", "--quiet=2"]))?;
            std::fs::write(&stamp, "")?;
        }
        Ok(opened)
    }

    /// Returns the packages that a package directly depends on, those matching `wanted` only.
    pub fn direct_dependencies(&self, package: &str, wanted: &str) -> Result<Vec<String>> {
        let text = run::output(self.apt("apt-cache").args(["depends", "--important", package]))?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.filter(|name| name.contains(wanted)).map(str::to_owned).collect())
    }

    /// Returns a package and all that it needs to run, less those named in `without` and what only they need.
    pub fn closure(&self, package: &str, without: &[&str]) -> Result<Vec<String>> {
        let mut found: Vec<String> = vec![package.to_owned()];
        let mut next = 0;
        while let Some(name) = found.get(next).cloned() {
            next += 1;
            for dependency in self.direct_dependencies(&name, "")? {
                let virtual_package = dependency.starts_with('<');
                let unwanted = without.iter().any(|prefix| dependency.starts_with(prefix));
                if !virtual_package && !unwanted && !found.contains(&dependency) {
                    found.push(dependency);
                }
            }
        }
        Ok(found)
    }

    /// Downloads packages and unpacks them below `into`, which appears only when all of them are there.
    pub fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let parent = into.parent().context("the folder to unpack into has no parent")?;
        std::fs::create_dir_all(parent)?;
        let work = tempfile::Builder::new().prefix(".unpack").tempdir_in(parent)?;
        let archives = work.path().join("archives");
        let tree = work.path().join("tree");
        std::fs::create_dir_all(&archives)?;
        let mut download = self.apt("apt-get");
        run::check(download.args(["download", "--quiet=2"]).args(packages).current_dir(&archives))?;
        for entry in std::fs::read_dir(&archives)? {
            let archive = entry?.path();
            run::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&tree))?;
        }
        if into.exists() {
            std::fs::remove_dir_all(into)?;
        }
        std::fs::rename(&tree, into).context("moving the unpacked packages into place")?;
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }
}

/// Returns the address of the Debian mirror that this machine's apt is configured to use.
pub fn mirror() -> Result<String> {
    let format = "$(REPO_URI) $(RELEASE)";
    let text = run::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))?;
    let entries = text.lines().filter_map(|line| line.split_once(' '));
    // Security and update archives are other places with other suites.
    let base = |(address, release): &(&str, &str)| {
        address.trim_end_matches('/').ends_with("/debian") && !release.contains('/') && !release.contains('-')
    };
    match entries.into_iter().find(base) {
        Some((address, _)) => Ok(address.to_owned()),
        None => bail!("this machine's apt sources name no Debian mirror"),
    }
}

fn configuration(folder: &Path, sources: &Path, architecture: &str) -> String {
    let folder = folder.display();
    let sources = sources.display();
    // Suites past their support keep their signature but not their expiry date.
    format!(
        r#"APT::Architecture "{architecture}";
APT::Architectures "{architecture}";
Dir::State::Lists "{folder}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
Dir::Etc::SourceList "{sources}";
Dir::Etc::SourceParts "/dev/null";
APT::Sandbox::User "root";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::Retries "3";
"#
    )
}

fn is_fresh(stamp: &Path) -> bool {
    let modified = std::fs::metadata(stamp).and_then(|data| data.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < LISTS_FRESH))
}
