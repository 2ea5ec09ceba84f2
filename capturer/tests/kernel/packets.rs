//! Packets of this process's connections: in one namespace, and between two over links of several kinds.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    process::{self, Command},
    sync::mpsc,
    thread,
    time::Duration,
};

use capturer::kernel::KernelFilter;
use capturer_ebpf::layout::{Connected, Moved, Packet, direction, packet};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use super::{Capture, Seen, pair, skipped};

/// What is asked and answered over every connection here.
const REQUEST: &[u8] = b"how long is the way?";
const RESPONSE: &[u8] = b"that depends on what lies between";

/// Bytes that a call takes of a ring: its record, a payload of 64 bytes at least, and eight of the ring's own.
const CALL_RECORD: usize = size_of::<Moved>() + if REQUEST.len() > 64 { REQUEST.len() } else { 64 } + 8;

fn capture() -> Option<Capture> {
    let filter = KernelFilter { pids: vec![process::id()], packets: true, ..KernelFilter::default() };
    Capture::by(filter, 4 << 20)
}

/// Answers one request of one connection.
fn answer(listener: &TcpListener) {
    let (mut server, _) = listener.accept().unwrap();
    let mut got = vec![0; REQUEST.len()];
    server.read_exact(&mut got).unwrap();
    server.write_all(RESPONSE).unwrap();
    assert_eq!(server.read(&mut got).unwrap(), 0);
}

/// Asks once, and returns the own port.
fn ask(to: &str) -> u16 {
    let mut client = TcpStream::connect(to).unwrap();
    // The other end is known once the last packet of the handshake has come to it, which a slow machine may still be about.
    thread::sleep(Duration::from_millis(50));
    client.write_all(REQUEST).unwrap();
    client.read_exact(&mut vec![0; RESPONSE.len()]).unwrap();
    client.local_addr().unwrap().port()
}

/// Ids of the connections with this local and with this remote port.
fn ids(seen: &Seen, port: u16) -> (u64, u64) {
    let id = |local: bool| {
        let heads = seen.moved.iter().map(|(head, _)| head);
        let of = |head: &&capturer_ebpf::layout::Moved| {
            let connection = head.connection;
            if local { connection.local_port == port } else { connection.remote_port == port }
        };
        heads.clone().find(of).expect("both ends are seen").connection.id
    };
    (id(true), id(false))
}

fn name(packet: &Packet) -> String {
    let name: Vec<u8> = packet.name.iter().copied().take_while(|byte| *byte != 0).collect();
    String::from_utf8(name).unwrap()
}

fn transmits(packet: &Packet) -> bool {
    packet.flags & packet::TRANSMIT != 0
}

#[test]
fn packets_take_no_room_of_calls_in_a_ring_that_fills() {
    const RING: u32 = 64 << 10;
    if skipped() {
        return;
    }
    let (mut client, mut server, _) = pair("127.0.0.1:0");
    let filter = KernelFilter { pids: vec![process::id()], packets: true, ..KernelFilter::default() };
    let Some(capture) = Capture::by(filter, RING) else { return };
    let mut got = vec![0; REQUEST.len()];
    // Nobody reads the ring meanwhile, nor the lanes, which fill as well.
    let exchanges = 4_000;
    for _ in 0..exchanges {
        client.write_all(REQUEST).unwrap();
        server.read_exact(&mut got).unwrap();
    }
    let (seen, totals) = capture.finish();
    assert!(!seen.packets.is_empty() && seen.packets.len() < exchanges * 2, "{totals:?}");
    let room = RING as usize / CALL_RECORD;
    assert!(seen.moved.len() > room * 3 / 4, "{} calls of {room}, {totals:?}", seen.moved.len());
    assert!(totals.ring > 0, "{totals:?}");
    assert_eq!(
        totals.seen,
        totals.delivered + totals.filtered + totals.ring + totals.miss + totals.map + totals.fault
    );
}

#[test]
fn packets_that_a_full_lane_gives_to_the_ring_leave_its_last_quarter_to_calls() {
    const RING: u32 = 2 << 20;
    if skipped() {
        return;
    }
    let (mut client, mut server, _) = pair("127.0.0.1:0");
    let filter = KernelFilter { pids: vec![process::id()], packets: true, ..KernelFilter::default() };
    let Some(capture) = Capture::by(filter, RING) else { return };
    // Nobody reads meanwhile: the CPU's lane fills first, then its ring.
    let talk = thread::spawn(move || {
        stay_on_one_cpu();
        let mut got = vec![0; REQUEST.len()];
        for _ in 0..6_000 {
            client.write_all(REQUEST).unwrap();
            server.read_exact(&mut got).unwrap();
        }
    });
    talk.join().unwrap();
    let (seen, totals) = capture.finish();
    assert!(totals.ring > 0, "the ring did not fill: {totals:?}");
    let last = seen.packets.iter().map(|packet| packet.at_ns).max().unwrap();
    let calls_alone = seen.moved.iter().filter(|(head, _)| head.enter_ns > last).count();
    // What a quarter of the ring holds, by the largest record of these calls.
    let quarter = RING as usize / 4 / CALL_RECORD;
    assert!(
        calls_alone > quarter * 9 / 10,
        "{calls_alone} calls after the last packet, of {quarter}: {totals:?}"
    );
}

/// Binds this thread to the CPU that it runs on.
fn stay_on_one_cpu() {
    let mut cpu = CpuSet::new();
    cpu.set(sched_getcpu());
    sched_setaffinity(None, &cpu).unwrap();
}

#[test]
fn both_ends_on_loopback_see_every_packet_where_lo_sends_and_receives_it() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Some(capture) = capture() else { return };
        let listener = TcpListener::bind(address).unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || answer(&listener));
        let port = ask(&to);
        server.join().unwrap();
        let (seen, _) = capture.finish();
        let (client, server) = ids(&seen, port);
        for (sender, receiver, bytes, way) in
            [(client, server, REQUEST.len(), direction::OUT), (server, client, RESPONSE.len(), direction::IN)]
        {
            let packets: Vec<_> =
                seen.packets.iter().filter(|packet| packet.connections == [sender, receiver]).collect();
            let crossings: Vec<_> = packets.iter().map(|packet| (name(packet), transmits(packet))).collect();
            assert_eq!(
                crossings,
                [("lo".to_owned(), true), ("lo".to_owned(), false)],
                "{address}: {:?}",
                seen.packets
            );
            let (head, _) = seen
                .moved
                .iter()
                .find(|(head, _)| head.connection.id == client && head.direction == way)
                .unwrap();
            assert!(packets.iter().all(|packet| packet.bytes as usize == bytes && packet.seq == head.s0));
            let arrival = seen.arrivals.iter().find(|arrival| arrival.connection == receiver).unwrap();
            assert_eq!(arrival.seq, head.s1);
            let times = [head.enter_ns, packets[0].at_ns, packets[1].at_ns, arrival.at_ns, head.exit_ns];
            let order = if way == direction::OUT { &times[..4] } else { &times[1..] };
            assert!(order.is_sorted(), "{times:?}");
        }
        let opened: Vec<&Connected> =
            seen.connected.iter().filter(|connected| connected.connection == client).collect();
        assert_eq!(opened.len(), 1);
        assert!(opened[0].begun_ns < opened[0].at_ns);
        assert!(!seen.connected.iter().any(|connected| connected.connection == server));
    }
}

#[test]
fn packets_cost_nothing_where_they_are_not_asked_for() {
    let filter = KernelFilter { pids: vec![process::id()], ..KernelFilter::default() };
    let Some(capture) = Capture::by(filter, 4 << 20) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || answer(&listener));
    ask(&to);
    server.join().unwrap();
    let (seen, _) = capture.finish();
    assert!(seen.packets.is_empty() && seen.arrivals.is_empty());
}

#[test]
fn a_connection_that_is_filtered_has_no_packets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let filter = KernelFilter {
        pids: vec![process::id()],
        packets: true,
        remote_ports: vec![address.port()],
        ..KernelFilter::default()
    };
    let Some(capture) = Capture::by(filter, 4 << 20) else { return };
    let server = thread::spawn(move || answer(&listener));
    let port = ask(&address.to_string());
    server.join().unwrap();
    let (seen, _) = capture.finish();
    let client = seen.moved.iter().find(|(head, _)| head.connection.local_port == port).unwrap();
    let client = client.0.connection.id;
    assert!(!seen.packets.is_empty());
    for packet in &seen.packets {
        assert!(packet.connections == [client, 0] || packet.connections == [0, client], "{packet:?}");
    }
}

// === two namespaces ===

/// Two network namespaces with a link between them; they go when this is dropped.
struct Hosts {
    names: [String; 2],
}

/// A kind of link between two hosts: commands for each, where `$me`, `$peer` and `$nic` stand for the numbers of the two
/// ends, and for the veth interface that is there; `inner` is where they put an address.
struct Link {
    what: &'static str,
    commands: &'static [&'static str],
    address: &'static str,
    /// Interfaces that a packet from the first to the second host crosses, each as it sends and receives.
    crossed: &'static [&'static str],
    /// Those of them that are not seen to receive: the kernel gives a VLAN's packet to it within the receiving of another.
    silent: &'static [&'static str],
}

const LINKS: [Link; 6] = [
    Link { what: "veth", commands: &[], address: "10.91.0", crossed: &["nic"], silent: &[] },
    Link {
        what: "VLAN",
        commands: &[
            "link add link $nic name vlan5 type vlan id 5",
            "addr add 10.92.0.$me/24 dev vlan5",
            "link set vlan5 up",
        ],
        address: "10.92.0",
        crossed: &["vlan5", "nic"],
        silent: &["vlan5"],
    },
    Link {
        what: "VXLAN",
        commands: &[
            "link add vx type vxlan id 7 remote 10.91.0.$peer dstport 4789 dev $nic",
            "addr add 10.93.0.$me/24 dev vx",
            "link set vx up",
        ],
        address: "10.93.0",
        crossed: &["vx", "nic"],
        silent: &[],
    },
    Link {
        what: "Geneve",
        commands: &[
            "link add gnv type geneve id 7 remote 10.91.0.$peer",
            "addr add 10.94.0.$me/24 dev gnv",
            "link set gnv up",
        ],
        address: "10.94.0",
        crossed: &["gnv", "nic"],
        silent: &[],
    },
    Link {
        what: "IP in IP",
        commands: &[
            "link add ipip9 type ipip local 10.91.0.$me remote 10.91.0.$peer",
            "addr add 10.95.0.$me/24 dev ipip9",
            "link set ipip9 up",
        ],
        address: "10.95.0",
        crossed: &["ipip9", "nic"],
        silent: &[],
    },
    Link {
        what: "bridge",
        commands: &[
            "link add br0 type bridge",
            "addr add 10.96.0.$me/24 dev br0",
            "link set br0 up",
            "link set $nic master br0",
        ],
        address: "10.96.0",
        crossed: &["br0", "nic"],
        silent: &[],
    },
];

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).stderr(process::Stdio::null()).status().unwrap().success()
}

impl Hosts {
    fn new(tag: usize) -> Self {
        let names = ["a", "b"].map(|side| format!("kyt{}{tag}{side}", process::id()));
        let [first, second] = &names;
        for name in &names {
            assert!(ip(&format!("netns add {name}")), "network namespaces can be made");
        }
        let hosts = Self { names: names.clone() };
        assert!(ip(&format!("link add nic netns {first} type veth peer name nic netns {second}")));
        for (number, name) in names.iter().enumerate() {
            assert!(ip(&format!("-n {name} addr add 10.91.0.{}/24 dev nic", number + 1)));
            assert!(ip(&format!("-n {name} link set nic up")));
            assert!(ip(&format!("-n {name} link set lo up")));
        }
        hosts
    }

    /// Makes a link; `false` where this kernel has none of its kind.
    fn link(&self, link: &Link) -> bool {
        self.names.iter().enumerate().all(|(number, name)| {
            link.commands.iter().all(|command| {
                let (me, peer) = (number + 1, 2 - number);
                let command = command
                    .replace("$me", &me.to_string())
                    .replace("$peer", &peer.to_string())
                    .replace("$nic", "nic");
                ip(&format!("-n {name} {command}"))
            })
        })
    }

    /// Runs in one of the namespaces, in a thread of its own.
    fn within<T: Send + 'static>(
        &self,
        host: usize,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let file = File::open(format!("/var/run/netns/{}", self.names[host])).unwrap();
        thread::spawn(move || {
            // SAFETY: no memory is passed; only this thread moves.
            assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            run()
        })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&format!("netns del {name}"));
        }
    }
}

#[test]
fn packets_are_seen_on_every_interface_through_vlans_tunnels_and_bridges() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    for (tag, link) in LINKS.iter().enumerate() {
        let hosts = Hosts::new(tag);
        if !hosts.link(link) {
            println!("skipped: this kernel has no {}", link.what);
            continue;
        }
        let Some(capture) = capture() else { return };
        let address = link.address;
        let (ready, listening) = mpsc::channel();
        let server = hosts.within(1, move || {
            let listener = TcpListener::bind(format!("{address}.2:7000")).unwrap();
            ready.send(()).unwrap();
            answer(&listener);
        });
        listening.recv().unwrap();
        let port = hosts.within(0, move || ask(&format!("{address}.2:7000"))).join().unwrap();
        server.join().unwrap();
        thread::sleep(Duration::from_millis(20));
        let (seen, _) = capture.finish();
        let (client, server) = ids(&seen, port);
        for (sender, receiver, bytes) in [(client, server, REQUEST.len()), (server, client, RESPONSE.len())] {
            let packets: Vec<_> =
                seen.packets.iter().filter(|packet| packet.connections == [sender, receiver]).collect();
            let crossings: Vec<_> = packets.iter().map(|packet| (name(packet), transmits(packet))).collect();
            let (out, back) = (link.crossed.iter(), link.crossed.iter().rev());
            let expected: Vec<_> = out
                .map(|name| ((*name).to_owned(), true))
                .chain(
                    back.filter(|name| !link.silent.contains(name)).map(|name| ((*name).to_owned(), false)),
                )
                .collect();
            assert_eq!(crossings, expected, "{}: {} to {}, {:?}", link.what, sender, receiver, seen.packets);
            assert!(
                packets.iter().all(|packet| packet.bytes as usize == bytes),
                "{}: {packets:?}",
                link.what
            );
            assert!(packets.is_sorted_by_key(|packet| packet.at_ns));
            assert_ne!(packets[0].netns, packets[packets.len() - 1].netns);
            assert!(packets.iter().all(|packet| packet.sockets[0] != packet.sockets[1]));
        }
        println!("{}: {} packets", link.what, seen.packets.len());
    }
}

#[test]
fn two_namespaces_with_the_same_ends_share_no_packet() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    // Loopback in two namespaces: the same addresses and ports, at the same time.
    let hosts = Hosts::new(90);
    let Some(capture) = capture() else { return };
    let run = || {
        let listener = TcpListener::bind("127.0.0.1:7001").unwrap();
        let server = thread::spawn(move || answer(&listener));
        let port = ask("127.0.0.1:7001");
        server.join().unwrap();
        port
    };
    let ports = [0, 1].map(|host| hosts.within(host, run)).map(|thread| thread.join().unwrap());
    let (seen, _) = capture.finish();
    println!("ports {ports:?}");
    for head in seen.moved.iter().map(|(head, _)| head) {
        let own = |packet: &&Packet| packet.connections.contains(&head.connection.id);
        let packets: Vec<_> = seen.packets.iter().filter(own).collect();
        assert_eq!(packets.len(), 4, "a request and an answer, sent and received");
        assert!(packets.iter().all(|packet| packet.netns == head.connection.netns));
    }
}
