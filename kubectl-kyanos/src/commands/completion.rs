//! `completion`: scripts for shells, and the program by which kubectl completes this plugin.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::cli::{CompletionArgs, complete};
use crate::failure::Failure;
use crate::platform::{self, Access};
use crate::stdout::print;

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
    let program = format!("kubectl-kyanos{}", std::env::consts::EXE_SUFFIX);
    let found = std::env::split_paths(&path).find(|folder| folder.join(&program).is_file());
    found.ok_or_else(|| {
        Failure::new("`kubectl-kyanos` is not on the PATH")
            .hint("put it in a folder of the PATH, as `kubectl krew install` does")
    })
}

fn install(folder: &Path) -> Result<PathBuf, Failure> {
    let (name, script) = platform::SHIM;
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let opened = platform::file_for(Access::All, &mut options).open(&path);
    let written = opened.and_then(|mut file| file.write_all(script.as_bytes()));
    written.map_err(|error| Failure::io("writing", path.display(), &error))?;
    Ok(path)
}

#[cfg(test)]
mod tests;
