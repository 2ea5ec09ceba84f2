//! The capturer's binary as a pod, against a hub made here and real processes in control groups; needs root.
#![expect(clippy::print_stdout, reason = "says why a test could not run")]
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "kernel/group.rs"]
mod group;
#[path = "pod/hub.rs"]
mod hub;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use capturer::owners::HELD_BYTES;
use capturer::packets::SIGHTINGS_BYTES;
use capturer::tracker::PENDING_BYTES;
use capturer::uplink::backlog::BACKLOG_BYTES;
use capturer_ebpf::settings::RINGS;
use group::{CONTAINER, Group};
use hub::{Heard, Hub};
use proto::account::Unit;
use proto::launch::{CapturerLaunch, NODE_VARIABLE};
use proto::v1;

const CAPTURER: &str = env!("CARGO_BIN_EXE_capturer");

/// Bytes of a ring in a cluster.
const RING_BYTES: u32 = 4 << 20;

/// The memory limit of the capturer's pod.
const LIMIT: u64 = 160 << 20;

/// Of it, what connections and their decoders may take.
const CONNECTIONS: u64 = 32 << 20;

/// A capturer as the kubelet would start it.
struct Pod {
    child: Child,
    _launch: tempfile::NamedTempFile,
}

impl Pod {
    fn start(hub: &Hub) -> Self {
        Self::launch(&parameters(hub))
    }

    fn launch(launch: &CapturerLaunch) -> Self {
        Self::run(Command::new(CAPTURER), launch)
    }

    /// Starts it as the first process of a PID namespace, as on a node that is a container.
    fn start_on_a_node(hub: &Hub) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--", CAPTURER]);
        Self::run(command, &parameters(hub))
    }

    fn run(mut command: Command, launch: &CapturerLaunch) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&serde_json::to_vec(launch).unwrap()).unwrap();
        command.arg("--launch").arg(file.path()).env(NODE_VARIABLE, "n7").env("KYANOS_LOG", "debug");
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child, _launch: file }
    }

    /// The capturer's process id here.
    fn pid(&self) -> u32 {
        let child = self.child.id();
        let children = fs::read_to_string(format!("/proc/{child}/task/{child}/children")).unwrap();
        children.trim().parse().unwrap_or(child)
    }

    /// Sends SIGTERM and returns how long the end took, and what was logged.
    fn terminate(mut self) -> (Duration, String) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        let started = Instant::now();
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        let took = started.elapsed();
        assert!(status.success(), "{status}");
        (took, self.log())
    }

    fn log(&mut self) -> String {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn parameters(hub: &Hub) -> CapturerLaunch {
    CapturerLaunch {
        session: "demo".to_owned(),
        node: String::new(),
        hub: hub.address.clone(),
        identity: hub.identity.clone(),
        ring_bytes: RING_BYTES,
        btf: None,
        sessions: None,
    }
}

/// A server that answers a connection's first request and closes it; returns its port.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(len @ 1..) => request.extend(&piece[..len]),
                    Ok(0) | Err(_) => break,
                }
            }
            if !request.is_empty() {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            }
        }
    });
    port
}

/// A script of one request that lives for as short as it can.
fn get(port: u16, path: &str) -> String {
    format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; printf \"GET {path} HTTP/1.1\\r\\nHost: shop\\r\\n\\r\\n\" >&3; \
         mapfile <&3"
    )
}

fn pod(group: &Group, wanted: bool, ours: bool) -> v1::Pod {
    let container = v1::PodContainer { id: CONTAINER.to_owned(), name: "web".to_owned() };
    v1::Pod {
        uid: group.uid.clone(),
        namespace: "shop".to_owned(),
        name: "orders-1".to_owned(),
        workload: "Deployment/orders".to_owned(),
        containers: vec![container],
        wanted,
        ours,
    }
}

fn all(pods: Vec<v1::Pod>) -> v1::NodePods {
    v1::NodePods { complete: true, pods, gone: Vec::new(), ..Default::default() }
}

fn operations(hub: &Hub) -> Vec<String> {
    hub.heard().exchanges.iter().map(|exchange| exchange.operation.clone()).collect()
}

fn is_root() -> bool {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return false;
    }
    true
}

#[test]
fn a_pods_first_request_comes_with_its_name_though_the_pod_is_told_later() {
    if !is_root() {
        return;
    }
    let (hub, group, port) = (Hub::start(), Group::make("pod"), serve());
    let capturer = Pod::start(&hub);
    hub.until("capturing", Heard::capturing);
    group.run(&get(port, "/first")).wait().unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(operations(&hub).is_empty(), "nobody said that it is wanted");
    hub.tell(all(vec![pod(&group, true, false)]));
    hub.until("the first exchange", |heard| !heard.exchanges.is_empty());
    // In both directions of time: the decision is in the kernel now.
    group.run(&get(port, "/second")).wait().unwrap();
    hub.until("the second exchange", |heard| heard.exchanges.len() > 1);
    let (took, log) = capturer.terminate();
    assert!(took < Duration::from_secs(1), "{took:?}: {log}");
    assert_eq!(
        operations(&hub),
        ["GET /first", "GET /second"],
        "the server is a host process, which is not asked for"
    );
    let heard = hub.heard();
    assert!(heard.last && heard.nodes.iter().all(|node| node == "n7"), "{:?}", heard.nodes);
    for exchange in &heard.exchanges {
        let origin = exchange.origin.as_ref().unwrap();
        let of = [&origin.namespace, &origin.pod, &origin.container, &origin.workload, &origin.container_id];
        assert_eq!(of, ["shop", "orders-1", "web", "Deployment/orders", CONTAINER]);
        assert_eq!(exchange.status, "200");
    }
    for balance in &heard.balances {
        assert!(balance.holds(), "{balance:?}");
    }
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "a line that is no JSON: {line}");
    }
}

#[test]
fn pods_that_are_not_wanted_ours_or_of_another_node_yield_nothing() {
    if !is_root() {
        return;
    }
    for told in [Some((false, false)), Some((true, true)), None] {
        let (hub, group, port) = (Hub::start(), Group::make("left-out"), serve());
        let pods: Vec<_> = told.map(|(wanted, ours)| pod(&group, wanted, ours)).into_iter().collect();
        let capturer = Pod::start(&hub);
        hub.until("capturing", Heard::capturing);
        group.run(&get(port, "/before")).wait().unwrap();
        hub.tell(all(pods.clone()));
        for _ in 0..6 {
            group.run(&get(port, "/after")).wait().unwrap();
            thread::sleep(Duration::from_millis(500));
        }
        let (_, log) = capturer.terminate();
        let heard = hub.heard();
        assert!(heard.last && heard.exchanges.is_empty(), "{pods:?}: {:?} {log}", heard.exchanges);
        let of_exchanges = heard.balances.iter().filter(|balance| balance.unit == Unit::Exchange);
        let lost: u64 = of_exchanges.map(|balance| balance.lost.total()).sum();
        assert_eq!(lost, 0, "{:?}", heard.balances);
    }
}

#[test]
fn a_hub_that_comes_late_is_found_soon() {
    if !is_root() {
        return;
    }
    let hub = Hub::prepare();
    let capturer = Pod::start(&hub);
    thread::sleep(Duration::from_secs(3));
    let started = Instant::now();
    hub.serve();
    hub.until("capturing", Heard::capturing);
    println!("capturing {:?} after the hub came", started.elapsed());
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());
    let (_, log) = capturer.terminate();
    assert!(log.contains("waiting for the hub"), "{log}");
}

#[test]
fn a_signal_ends_the_wait_for_the_hub() {
    if !is_root() {
        return;
    }
    let hub = Hub::prepare();
    let capturer = Pod::start(&hub);
    // Loading the programs is not interrupted.
    thread::sleep(Duration::from_secs(3));
    let (took, _) = capturer.terminate();
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_kernel_that_does_not_serve_is_said_in_one_line() {
    let hub = Hub::prepare();
    let launch = CapturerLaunch { btf: Some("/nonexistent/vmlinux".into()), ..parameters(&hub) };
    let mut pod = Pod::launch(&launch);
    let status = pod.child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    let log = pod.log();
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("error: cannot read the kernel's type information"), "{log}");
    assert!(
        last.contains("/nonexistent/vmlinux") && last.contains(" hint: ") && last.contains("--btf"),
        "{log}"
    );
}

#[test]
fn arguments_that_are_none_are_refused() {
    for arguments in [&["--launch"][..], &["--lunch", "x"], &["--launch", "x", "y"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_capturer")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "));
    }
}

#[test]
fn on_a_kernel_that_nodes_share_only_the_own_nodes_processes_are_seen_by_their_own_ids() {
    if !is_root() {
        return;
    }
    let (hub, group, port) = (Hub::start(), Group::make("shared"), serve());
    let capturer = Pod::start_on_a_node(&hub);
    hub.until("capturing", Heard::capturing);
    // Even a pod of the same UID: whose processes have no id here, they are another node's.
    hub.tell(all(vec![pod(&group, true, false)]));
    group.run(&get(port, "/elsewhere")).wait().unwrap();
    let mut script = tempfile::NamedTempFile::new().unwrap();
    script.write_all(get(port, "/here").as_bytes()).unwrap();
    let node = capturer.pid();
    group.run(&format!("exec nsenter -t {node} -p bash {}", script.path().display())).wait().unwrap();
    hub.until("the exchange", |heard| !heard.exchanges.is_empty());
    let (took, log) = capturer.terminate();
    assert!(took < Duration::from_secs(1), "as the first process of its namespace: {took:?}: {log}");
    assert_eq!(operations(&hub), ["GET /here"]);
    let pid = hub.heard().exchanges[0].origin.as_ref().unwrap().pid;
    assert!((2..50).contains(&pid), "{pid} is no id of a young namespace");
}

#[test]
fn maps_rings_and_buffers_stay_below_the_pods_limit() {
    if !is_root() {
        return;
    }
    let hub = Hub::start();
    let capturer = Pod::start(&hub);
    hub.until("capturing", Heard::capturing);
    let number = |text: &str, name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    let (mut maps, mut rings) = (0, 0);
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", capturer.pid())).unwrap() {
        // Descriptors come and go.
        let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        if text.contains("map_type:") {
            maps += number(&text, "memlock:").unwrap();
            rings += u64::from(number(&text, "max_entries:") == Some(RING_BYTES.into()));
        }
    }
    assert!(rings >= 1 && maps > rings * u64::from(RING_BYTES), "{rings} rings, {maps} bytes");
    let status = fs::read_to_string(format!("/proc/{}/status", capturer.pid())).unwrap();
    let own = number(&status, "RssAnon:").unwrap() << 10;
    // On a machine of many CPUs.
    let other_rings = (u64::from(RINGS) - rings) * u64::from(RING_BYTES);
    let buffers = (BACKLOG_BYTES + HELD_BYTES + PENDING_BYTES + SIGHTINGS_BYTES) as u64;
    let all = maps + other_rings + own + buffers;
    println!("{all} bytes: maps {maps}, further rings {other_rings}, own {own}, buffers {buffers}");
    assert!(all + CONNECTIONS <= LIMIT, "{all}");
}
