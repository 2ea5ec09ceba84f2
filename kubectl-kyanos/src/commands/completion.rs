//! `completion`: scripts for shells, and the program by which kubectl completes this plugin.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::print;
use crate::cli::{CompletionArgs, complete};
use crate::failure::Failure;

/// Name under which kubectl looks for a plugin's completion on the PATH.
const SHIM: &str = "kubectl_complete-kyanos";

/// Hands the words to the plugin.
const SCRIPT: &str = "#!/bin/sh\nexec kubectl-kyanos __complete \"$@\"\n";

/// Runs the command.
pub(crate) fn run(args: &CompletionArgs) -> Result<u8, Failure> {
    if let Some(shell) = args.shell {
        print(&String::from_utf8_lossy(&complete::script(shell)))?;
    }
    if args.install {
        let path = install(&folder()?)?;
        print(&format!("wrote {}\n", path.display()))?;
    }
    Ok(0)
}

/// Finds the folder of the PATH that holds the plugin: kubectl finds the shim there too.
fn folder() -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find(|folder| folder.join("kubectl-kyanos").is_file());
    found.ok_or_else(|| {
        Failure::new("`kubectl-kyanos` is not on the PATH")
            .hint("put it in a folder of the PATH, as `kubectl krew install` does")
    })
}

fn install(folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join(SHIM);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o755);
    let written = options.open(&path).and_then(|mut file| file.write_all(SCRIPT.as_bytes()));
    written.map_err(|error| Failure::io("writing", path.display(), &error))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_shim_can_be_run_and_is_written_again() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        for _ in 0..2 {
            let path = install(folder.path()).expect("written");
            assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(SHIM));
            assert_eq!(std::fs::read_to_string(&path).expect("a script"), SCRIPT);
            let mode = path.metadata().expect("a file").permissions().mode();
            assert_eq!(mode & 0o111, 0o111);
        }
    }
}
