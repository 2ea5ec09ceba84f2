//! Control groups as container runtimes make them, with processes of this test in them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    process::Child,
};

use capturer::kernel::KernelFilter;
use capturer_ebpf::layout::{direction, flag, placement, role};

use super::{
    Capture,
    group::{CONTAINER, Group},
};

/// The id that the kernel has for a group.
fn id(group: &Group) -> u64 {
    fs::metadata(group.directory()).unwrap().ino()
}

/// Attaches for control groups, wherever their processes talk to `port`.
fn capture(port: u16) -> Option<Capture> {
    let filter = KernelFilter { cgroups: true, remote_ports: vec![port], ..KernelFilter::default() };
    Capture::by(filter, 4 << 20)
}

/// A shell's end of a connection that sends a line for each one it reads from its input.
fn talker(port: u16) -> String {
    format!("exec 3<>/dev/tcp/127.0.0.1/{port}; while read -r line; do echo \"$line\" >&3; done")
}

fn say(child: &mut Child, server: &mut TcpStream, line: &str) {
    child.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut got = vec![0; line.len() + 1];
    server.read_exact(&mut got).unwrap();
    assert_eq!(got, format!("{line}\n").as_bytes());
}

/// Writes to `port` that were seen.
fn written(capture: &Capture, port: u16) -> Vec<String> {
    let to_port = capture.seen.moved.iter().filter(|(head, _)| head.connection.remote_port == port);
    to_port
        .filter(|(head, _)| head.direction == direction::OUT)
        .map(|(_, payload)| String::from_utf8_lossy(payload).trim_end().to_owned())
        .collect()
}

#[test]
fn a_container_is_named_before_its_first_call_however_short_it_lives() {
    let group = Group::make("short");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Some(mut capture) = capture(port) else { return };
    let mut child = group.run(&format!("echo gone > /dev/tcp/127.0.0.1/{port}"));
    let mut got = String::new();
    listener.accept().unwrap().0.read_to_string(&mut got).unwrap();
    child.wait().unwrap();
    let (id, uid) = (id(&group), group.uid.clone());
    drop(group);
    capture.drain();
    assert_eq!(written(&capture, port), ["gone"]);
    let (seen, _) = capture.finish();
    let head = seen.moved.iter().find(|(head, _)| head.connection.remote_port == port).unwrap().0;
    assert_eq!(head.cgroup, id);
    let told: Vec<_> = seen.cgroups.iter().filter(|(cgroup, _)| *cgroup == id).collect();
    assert_eq!(told.len(), 1, "once");
    let names = &told[0].1;
    assert_eq!(names[0], CONTAINER);
    assert_eq!(names[1], format!("pod{uid}"));
    assert!(names[2].starts_with("kyanos-test-short"), "{names:?}");
}

#[test]
fn decisions_about_a_group_are_followed_both_ways() {
    let group = Group::make("decided");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Some(mut capture) = capture(port) else { return };
    let mut child = group.run(&talker(port));
    let mut server = listener.accept().unwrap().0;
    say(&mut child, &mut server, "undecided");
    capture.kernel.place(id(&group), placement::UNWANTED).unwrap();
    say(&mut child, &mut server, "unwanted");
    capture.kernel.place(id(&group), placement::WANTED).unwrap();
    say(&mut child, &mut server, "wanted");
    drop(child.stdin.take());
    child.wait().unwrap();
    drop(server);
    capture.drain();
    assert_eq!(written(&capture, port), ["undecided", "wanted"]);
    let (seen, _) = capture.finish();
    let heads: Vec<_> = seen.moved.iter().map(|(head, _)| head).collect();
    let [first, second] = heads[..] else { panic!("{heads:?}") };
    assert_eq!(first.connection.role, role::CLIENT);
    assert_ne!(first.connection.id, second.connection.id, "it is another connection from then on");
    assert_eq!((second.connection.role, second.counter), (role::UNKNOWN, 0));
    assert_eq!(second.flags & flag::UNANCHORED, 0);
    let ended: Vec<_> =
        seen.ended.iter().filter(|ended| ended.connection.id == second.connection.id).collect();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].unseen_out, ended[0].unseen_in), (0, 0), "what was not wanted is not missed");
    assert!(seen.ended.iter().all(|ended| ended.connection.id != first.connection.id));
}

#[test]
fn children_inherit_the_decision() {
    let group = Group::make("children");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Some(mut capture) = capture(port) else { return };
    capture.kernel.place(id(&group), placement::UNWANTED).unwrap();
    let line = format!("echo x > /dev/tcp/127.0.0.1/{port}");
    let mut child = group.run(&format!("read -r; for n in 1 2 3; do ({line}); done; bash -c \"{line}\""));
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    for _ in 0..4 {
        let mut got = String::new();
        listener.accept().unwrap().0.read_to_string(&mut got).unwrap();
        assert_eq!(got, "x\n");
    }
    child.wait().unwrap();
    capture.drain();
    assert!(written(&capture, port).is_empty());
    let (seen, _) = capture.finish();
    assert!(seen.cgroups.iter().all(|(told, _)| *told != id(&group)), "what is decided is not asked");
}

#[test]
fn a_sessions_pod_and_its_peer_yield_nothing() {
    let group = Group::make("ours");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let filter = KernelFilter { cgroups: true, ..KernelFilter::default() };
    let Some(mut capture) = Capture::by(filter, 4 << 20) else { return };
    capture.kernel.place(id(&group), placement::OURS).unwrap();
    let mut child = group.run(&talker(port));
    let mut server = listener.accept().unwrap().0;
    server.write_all(b"the server speaks first\n").unwrap();
    say(&mut child, &mut server, "and is not heard");
    drop(child.stdin.take());
    child.wait().unwrap();
    let (seen, _) = capture.finish();
    let about = |local, remote| local == port || remote == port;
    assert!(
        seen.moved.iter().all(|(head, _)| !about(head.connection.local_port, head.connection.remote_port))
    );
}
