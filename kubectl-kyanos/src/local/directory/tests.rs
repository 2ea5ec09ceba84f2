//! Life of a session's directory.

use super::super::leftovers;
use super::*;
use crate::clock::now_ns;
use crate::session::name::made_up;

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
        started_ticks: None,
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
    #[cfg(unix)]
    {
        let folder = std::fs::metadata(places.directory("abcde")).expect("directory");
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&folder) & 0o777, 0o700);
    }
    assert_eq!(places.read("abcde").expect("read").plugin_pid, std::process::id());
    assert!(places.list().iter().all(Found::is_live));
}

#[test]
fn dead_sessions_go_and_live_ones_stay() {
    let folder = tempfile::tempdir().expect("folder");
    let places = places(folder.path());
    std::fs::create_dir_all(&places.stores).expect("stores");
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
    std::fs::create_dir_all(&places.stores).expect("stores");
    let mut file = file(&places, "kept", nobody());
    file.keep = true;
    places.create(&file).expect("made");
    std::fs::write(places.store("kept"), "x").expect("written");
    leftovers::remove_dead(&places);
    assert_eq!(places.kept_stores(), [("kept".to_owned(), places.store("kept"))]);
}

#[test]
fn a_process_that_began_long_after_is_another() {
    let folder = tempfile::tempdir().expect("folder");
    let own = std::process::id();
    let now = file(&places(folder.path()), "abcde", own);
    assert!(lives(own, &now));
    assert!(!lives(nobody(), &now));
    let old = SessionFile { started_ns: 1, ..now };
    assert!(!lives(own, &old), "a session of 1970 cannot have begun this process");
}

#[test]
fn a_step_of_the_clock_ends_no_session() {
    let folder = tempfile::tempdir().expect("folder");
    let own = std::process::id();
    let recorded =
        SessionFile { started_ticks: began_ticks(own), ..file(&places(folder.path()), "abcde", own) };
    for started_ns in [1, recorded.started_ns, u64::MAX] {
        assert!(lives(own, &SessionFile { started_ns, ..recorded.clone() }), "{started_ns}");
    }
    let other = SessionFile { started_ticks: Some(0), ..recorded };
    assert!(!lives(own, &other), "this process did not begin when the machine did");
}

#[test]
fn a_store_s_folder_goes_under_nobody() {
    const ROUNDS: usize = 500;
    let folder = tempfile::tempdir().expect("folder");
    let places = places(folder.path());
    let stores = places.stores.clone();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = std::sync::Arc::clone(&done);
    // Sessions that end, as fast as they can.
    let other = std::thread::spawn(move || {
        while !ended.load(std::sync::atomic::Ordering::Relaxed) {
            std::fs::remove_dir(&stores).ok();
            std::thread::sleep(Duration::from_micros(20));
        }
    });
    for round in 0..ROUNDS {
        let store = places.create_store("abcde").expect("made");
        assert!(store.exists(), "{round}");
        std::fs::remove_file(store).expect("removed");
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    other.join().expect("ends");
    places.create_store("abcde").expect("made");
    assert!(places.create_store("abcde").expect_err("in use").what.contains("in use"));
}

#[test]
fn names_are_made_up_as_rules_want_them() {
    let name = made_up();
    assert_eq!(crate::cli::values::name(&name), Ok(name.clone()));
    assert_eq!(name.len(), 5);
}
