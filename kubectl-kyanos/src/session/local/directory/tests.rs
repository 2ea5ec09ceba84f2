//! Life of a session's directory.

use super::super::{leftovers, made_up_name, now_ns};
use super::*;

fn places(folder: &Path) -> Places {
    Places { sessions: folder.join("run"), stores: folder.join("lib") }
}

fn file(places: &Places, name: &str, pid: u32) -> SessionFile {
    SessionFile {
        session: name.to_owned(),
        version: "0".to_owned(),
        owner: 0,
        started_ns: now_ns(),
        plugin_pid: pid,
        hub_pid: None,
        capturer_pid: None,
        viewer_port: None,
        store: Some(places.store(name)),
        keep: false,
        expires_ns: None,
    }
}

/// A process id that no process has: one more than the kernel gives.
fn nobody() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/pid_max").expect("limit").trim().parse::<u32>().expect("number")
        + 1
}

#[test]
fn a_name_is_used_once() {
    let folder = tempfile::tempdir().expect("folder");
    let places = places(folder.path());
    let file = file(&places, "abcde", std::process::id());
    places.create(&file).expect("made");
    assert!(places.create(&file).expect_err("in use").what.contains("in use"));
    let mode = std::fs::metadata(places.directory("abcde")).expect("directory").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
    assert_eq!(places.read("abcde").expect("read").plugin_pid, std::process::id());
    assert!(places.list().iter().all(Found::is_live));
}

#[test]
fn dead_sessions_go_and_live_ones_stay() {
    let folder = tempfile::tempdir().expect("folder");
    let places = places(folder.path());
    places.create_stores().expect("stores");
    for (name, pid) in [("alive", std::process::id()), ("dead", nobody())] {
        places.create(&file(&places, name, pid)).expect("made");
        for suffix in ["", "-wal", "-shm"] {
            std::fs::write(places.stores.join(format!("{name}.sqlite{suffix}")), "x").expect("written");
        }
    }
    let said = leftovers::remove_dead(&places);
    assert_eq!(said, ["removed what the dead session `dead` left"]);
    let names: Vec<String> = places.list().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["alive"]);
    let stores = std::fs::read_dir(&places.stores).expect("stores").count();
    assert_eq!(stores, 3, "the live session's store and what is beside it");
    assert!(leftovers::remove(&places, &places.read("alive").expect("read")).is_empty());
    assert!(!places.sessions.exists() && !places.stores.exists(), "nothing is left");
}

#[test]
fn a_kept_store_outlives_its_session() {
    let folder = tempfile::tempdir().expect("folder");
    let places = places(folder.path());
    places.create_stores().expect("stores");
    let mut file = file(&places, "kept", nobody());
    file.keep = true;
    places.create(&file).expect("made");
    std::fs::write(places.store("kept"), "x").expect("written");
    leftovers::remove_dead(&places);
    assert_eq!(places.kept_stores(), [("kept".to_owned(), places.store("kept"))]);
}

#[test]
fn a_process_that_began_long_after_is_another() {
    let own = std::process::id();
    assert!(lives(own, now_ns()));
    assert!(!lives(own, 1), "a session of 1970 cannot have begun this process");
    assert!(!lives(nobody(), now_ns()));
}

#[test]
fn names_are_made_up_as_rules_want_them() {
    let name = made_up_name();
    assert_eq!(crate::cli::values::name(&name), Ok(name.clone()));
    assert_eq!(name.len(), 5);
}
