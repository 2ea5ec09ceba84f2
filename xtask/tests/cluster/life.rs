//! Sessions end in every phase of their start, and leave nothing behind.

use std::time::Duration;

use nix::sys::signal::Signal;
use xtask::process::wait_until;

use crate::{PATIENCE, Stage};

/// Milliseconds after the command at which it is interrupted: from the first look at the cluster to streaming.
const PHASES: [u64; 7] = [100, 300, 600, 1_000, 1_800, 3_000, 6_000];

#[test]
fn ctrl_c_in_every_phase_leaves_nothing() {
    let Some(stage) = Stage::open() else { return };
    for phase in PHASES.map(Duration::from_millis) {
        let (name, session) = stage.cluster.session("watch", &["-n", stage.shop.namespace()]).unwrap();
        std::thread::sleep(phase);
        let report = session.stop().unwrap();
        assert_eq!(report.code(), 130, "after {phase:?}:\n{}", report.stderr);
        let gone = stage.cluster.wait_gone(&name, Duration::from_secs(2));
        assert!(gone.is_ok(), "after {phase:?}: {gone:?}; it said:\n{}", report.stderr);
    }
}

#[test]
fn cleanup_removes_what_a_killed_command_left_in_every_phase() {
    let Some(stage) = Stage::open() else { return };
    for phase in PHASES.map(Duration::from_millis) {
        let (name, session) = stage.cluster.session("watch", &["-n", stage.shop.namespace()]).unwrap();
        std::thread::sleep(phase);
        session.stop_by(Signal::SIGKILL).unwrap();
        let left = stage.cluster.left(&name).unwrap();
        let report = stage.cluster.run(&["cleanup", &name, "--yes"]).unwrap();
        // Killed before anything was there: then there is no such session.
        assert!(report.code() == 0 || left.is_empty(), "after {phase:?}: {left:?}:\n{}", report.stderr);
        let gone = stage.cluster.wait_gone(&name, PATIENCE);
        assert!(gone.is_ok(), "after {phase:?}: {gone:?}; it said:\n{}", report.stderr);
    }
}

#[test]
fn a_session_whose_command_was_killed_ends_by_itself() {
    /// The lease period, the hub's teardown, and room for a busy machine.
    const LEASE: Duration = Duration::from_secs(60 + 10 + 20);
    let Some(stage) = Stage::open() else { return };
    let (name, session) = stage.watch(&[], 1);
    session.stop_by(Signal::SIGKILL).unwrap();
    let took = wait_until("the hub to end the session", LEASE, || {
        stage.cluster.left(&name).is_ok_and(|left| {
            left.iter().all(|object| !object.starts_with("pod/") && !object.starts_with("daemonset"))
        })
    });
    println!("ended by its hub after {:?}", took.as_ref().map(Duration::as_secs));
    // What the hub cannot remove itself goes with the next command.
    stage.cluster.run(&["status"]).unwrap();
    let gone = stage.cluster.wait_gone(&name, PATIENCE);
    if took.is_err() {
        drop(stage.cluster.run(&["cleanup", &name, "--yes"]));
    }
    assert!(took.is_ok() && gone.is_ok(), "{took:?} {gone:?}");
}

#[test]
fn a_name_in_use_is_refused_and_the_session_goes_on() {
    let Some(stage) = Stage::open() else { return };
    let (name, session) = stage.watch(&[], 1);
    let second = stage.cluster.run(&["watch", "--name", &name]).unwrap();
    assert_eq!(second.code(), 1, "{}", second.stderr);
    assert!(second.stderr.contains(&name), "{}", second.stderr);
    let before = session.count(|_| true);
    let goes_on = wait_until("more exchanges", PATIENCE, || session.count(|_| true) > before);
    stage.end(&name, session);
    assert!(goes_on.is_ok(), "the first session stopped");
}
