//! Removing what a session leaves: its directory, its store, and the folders that held nothing else.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use proto::launch::SessionFile;

use super::directory::{Found, Places};

/// Files that SQLite keeps beside a store.
const BESIDE_STORE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Removes what sessions left whose processes are all gone, and says so in a line each.
pub(crate) fn remove_dead(places: &Places) -> Vec<String> {
    dead(places)
        .into_iter()
        .map(|found| {
            let left = match &found.file {
                Some(file) => remove(places, file),
                None => remove_directory(places, &found.name),
            };
            if left.is_empty() {
                format!("removed what the dead session `{}` left", found.name)
            } else {
                format!("could not remove what the dead session `{}` left: {}", found.name, left.join(", "))
            }
        })
        .collect()
}

/// Lists sessions whose processes are all gone.
pub(crate) fn dead(places: &Places) -> Vec<Found> {
    places.list().into_iter().filter(Found::is_dead).collect()
}

/// Removes a session's files; returns those that could not be.
pub(crate) fn remove(places: &Places, file: &SessionFile) -> Vec<String> {
    let mut left = remove_directory(places, &file.session);
    if let Some(store) = file.store.as_deref().filter(|_| !file.keep) {
        left.extend(remove_store(places, store));
    }
    std::fs::remove_dir(&places.stores).ok();
    left
}

/// Removes a store with what SQLite keeps beside it; returns what could not be.
pub(crate) fn remove_store(places: &Places, store: &Path) -> Vec<String> {
    let mut files = vec![store.to_path_buf()];
    for suffix in BESIDE_STORE {
        let mut name = store.as_os_str().to_owned();
        name.push(suffix);
        files.push(PathBuf::from(name));
    }
    let left = files.iter().filter_map(|file| failed(file, std::fs::remove_file(file))).collect();
    std::fs::remove_dir(&places.stores).ok();
    left
}

/// Removes a session directory; returns what could not be.
pub(crate) fn remove_directory(places: &Places, name: &str) -> Vec<String> {
    let path = places.directory(name);
    let left = failed(&path, std::fs::remove_dir_all(&path)).into_iter().collect();
    // Succeeds only where no other session is.
    std::fs::remove_dir(&places.sessions).ok();
    left
}

fn failed(path: &Path, result: std::io::Result<()>) -> Option<String> {
    match result {
        Ok(()) => None,
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(format!("{} ({error})", path.display())),
    }
}
