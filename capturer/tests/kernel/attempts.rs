//! Connections over which nothing goes: refused, not answered, or reset before a byte.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use capturer::kernel::{KernelFilter, Settings};
use capturer_ebpf::layout::{Attempt, COMM_LEN, phase, placement, role};

use super::{Capture, group::Group, skipped};

const LOOPBACK: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

/// How long a client waits for an answer that does not come: less than the kernel waits before it asks again.
const PATIENCE: Duration = Duration::from_millis(300);

/// How often an end that a timer makes is tried: there are kernels that run no program while a timer interrupts certain
/// processes (seen of process 1 of a virtual machine: one end of a hundred). Such an end is counted, and the next one told.
const TRIES: u32 = 3;

/// An address at which nobody listens.
fn closed(address: &str) -> SocketAddr {
    TcpListener::bind(address).unwrap().local_addr().unwrap()
}

/// A listener whose queue is full, so that it answers nobody any more, and what fills it.
fn silent(address: &str) -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind(address).unwrap();
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let to = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&to, PATIENCE) {
        filling.push(stream);
    }
    (listener, filling)
}

/// Closes a connection by a reset.
fn abort(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set(&stream, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
    drop(stream);
}

fn set<T>(socket: &impl std::os::fd::AsRawFd, level: i32, name: i32, value: &T) {
    let (at, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as u32);
    // SAFETY: the value lives through the call.
    assert_eq!(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, at, len) }, 0);
}

/// A socket that begins to connect to an IPv4 address and does not wait.
fn begin(to: SocketAddr) -> OwnedFd {
    let IpAddr::V4(address) = to.ip() else { panic!("an IPv4 address") };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed; the descriptor was made just now and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, kind, 0)) };
    let to = libc::sockaddr_in {
        sin_family: u16::try_from(libc::AF_INET).unwrap(),
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: the address lives through the call.
    let done = unsafe { libc::connect(socket.as_raw_fd(), (&raw const to).cast(), size_of_val(&to) as u32) };
    let error = std::io::Error::last_os_error();
    let goes_on = [libc::EINPROGRESS, libc::ECONNREFUSED].map(Some).contains(&error.raw_os_error());
    assert!(done == 0 || goes_on, "{error}");
    socket
}

/// Waits until the socket has an end to its attempt, and returns its error.
fn outcome(socket: &OwnedFd) -> i32 {
    let mut events = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: the events live through the call.
    assert_eq!(unsafe { libc::poll(&raw mut events, 1, 10_000) }, 1);
    let (mut error, mut len) = (0_i32, size_of::<i32>() as u32);
    let at = (&raw mut error).cast();
    // SAFETY: the values live through the call.
    let got =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, at, &raw mut len) };
    assert_eq!(got, 0);
    error
}

fn all() -> KernelFilter {
    KernelFilter { pids: vec![std::process::id()], ..KernelFilter::default() }
}

fn of_this_process() -> Option<Capture> {
    Capture::by(all(), 4 << 20)
}

/// Attempts at an address, seen from either end.
fn at(attempts: &[Attempt], server: SocketAddr) -> Vec<Attempt> {
    let found = attempts.iter().copied().filter(|attempt| {
        let port = if attempt.connection.role == role::CLIENT {
            attempt.connection.remote_port
        } else {
            attempt.connection.local_port
        };
        port == server.port()
    });
    found.collect()
}

fn octets(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes.copy_from_slice(&address.octets()),
    }
    bytes
}

fn comm(attempt: &Attempt) -> String {
    capturer::identity::name(&attempt.comm)
}

/// The name of this process.
fn own_comm() -> String {
    let mut name = std::fs::read_to_string("/proc/self/comm").unwrap();
    name.truncate(name.trim_end().len().min(COMM_LEN - 1));
    name
}

fn took(attempt: &Attempt) -> Duration {
    Duration::from_nanos(attempt.at_ns - attempt.begun_ns)
}

#[test]
fn a_refused_connection_is_told_with_its_owner_and_both_ends() {
    for address in LOOPBACK {
        let to = closed(address);
        let Some(capture) = of_this_process() else { return };
        assert_eq!(TcpStream::connect(to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(
            TcpStream::connect_timeout(&to, PATIENCE).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        let (seen, _) = capture.finish();
        let attempts = at(&seen.attempts, to);
        assert_eq!(attempts.len(), 2, "{:?}", seen.attempts);
        for attempt in attempts {
            let connection = attempt.connection;
            assert_eq!((attempt.error, attempt.phase), (libc::ECONNREFUSED as u32, phase::OPENING));
            assert_eq!((attempt.pid, comm(&attempt)), (std::process::id(), own_comm()));
            assert_eq!((connection.role, connection.remote), (role::CLIENT, octets(to.ip())));
            assert_eq!(connection.local, octets(to.ip()), "loopback talks to itself");
            assert_ne!(connection.local_port, 0, "though it is taken back by then");
            assert!(took(&attempt) < PATIENCE, "{attempt:?}");
        }
        assert!(seen.moved.is_empty() && seen.ended.is_empty());
    }
}

#[test]
fn a_process_that_gives_up_has_no_error_and_its_time() {
    for address in LOOPBACK {
        let (listener, _filling) = silent(address);
        let to = listener.local_addr().unwrap();
        let Some(capture) = of_this_process() else { return };
        assert_eq!(TcpStream::connect_timeout(&to, PATIENCE).unwrap_err().kind(), ErrorKind::TimedOut);
        let (seen, _) = capture.finish();
        let attempts = at(&seen.attempts, to);
        assert_eq!(attempts.len(), 1, "{:?}", seen.attempts);
        assert_eq!((attempts[0].error, attempts[0].phase), (0, phase::OPENING));
        assert!(took(&attempts[0]) >= PATIENCE, "{:?}", took(&attempts[0]));
    }
}

#[test]
fn a_kernel_that_gives_up_says_so_whoever_runs_then() {
    let (listener, _filling) = silent("127.0.0.1:0");
    let to = listener.local_addr().unwrap();
    for _ in 0..TRIES {
        let Some(capture) = of_this_process() else { return };
        let socket = begin(to);
        // The timer that looks is the one that would ask again, a second after the first time.
        set(&socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, &500_i32);
        assert_eq!(outcome(&socket), libc::ETIMEDOUT);
        drop(socket);
        let (seen, totals) = capture.finish();
        let attempts = at(&seen.attempts, to);
        if attempts.is_empty() {
            println!("the kernel passed over the end: {totals:?}");
            assert_eq!(totals.miss, 1, "nothing is lost uncounted: {totals:?}");
            continue;
        }
        assert_eq!(attempts.len(), 1, "{:?} {totals:?}", seen.attempts);
        assert_eq!((attempts[0].error, attempts[0].pid), (libc::ETIMEDOUT as u32, std::process::id()));
        assert!(took(&attempts[0]) >= Duration::from_millis(500));
        return;
    }
    panic!("the kernel passed over {TRIES} of {TRIES} ends");
}

#[test]
fn who_still_waits_is_listed_until_the_end() {
    let (listener, _filling) = silent("127.0.0.1:0");
    let to = listener.local_addr().unwrap();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(capture) = of_this_process() else { return };
    let waits = begin(to);
    let gave_up = begin(to);
    let refused = begin(closed("127.0.0.1:0"));
    let _connected = begin(open.local_addr().unwrap());
    let waiting = capture.kernel.waiting();
    assert_eq!(at(&waiting, to).len(), 2, "{waiting:?}");
    drop(gave_up);
    let waiting = capture.kernel.waiting();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let connection = waiting[0].connection;
    assert_eq!((connection.remote, connection.remote_port), (octets(to.ip()), to.port()));
    assert_eq!((waiting[0].pid, comm(&waiting[0])), (std::process::id(), own_comm()));
    drop((waits, refused));
    assert_eq!(capture.kernel.waiting(), []);
    capture.finish();
}

#[test]
fn a_reset_before_a_byte_is_told_by_the_end_that_met_it() {
    for address in LOOPBACK {
        for by_server in [true, false] {
            let listener = TcpListener::bind(address).unwrap();
            let to = listener.local_addr().unwrap();
            let Some(capture) = of_this_process() else { return };
            let client = TcpStream::connect(to).unwrap();
            let (server, _) = listener.accept().unwrap();
            let client_port = client.local_addr().unwrap().port();
            let (aborted, mut other) = if by_server { (server, client) } else { (client, server) };
            thread::sleep(Duration::from_millis(20));
            abort(aborted);
            assert_eq!(other.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
            drop(other);
            let (seen, _) = capture.finish();
            let attempts = at(&seen.attempts, to);
            assert_eq!(attempts.len(), 1, "{by_server}: {:?}", seen.attempts);
            let attempt = attempts[0];
            assert_eq!((attempt.error, attempt.phase), (libc::ECONNRESET as u32, phase::OPEN));
            let (role, local) =
                if by_server { (role::CLIENT, client_port) } else { (role::SERVER, to.port()) };
            assert_eq!((attempt.connection.role, attempt.connection.local_port), (role, local));
            assert_eq!((attempt.pid, comm(&attempt)), (std::process::id(), own_comm()));
            assert!(took(&attempt) >= Duration::from_millis(20));
        }
    }
}

#[test]
fn a_connection_that_is_reset_before_it_is_taken_is_told_when_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let Some(mut capture) = of_this_process() else { return };
    abort(TcpStream::connect(to).unwrap());
    thread::sleep(Duration::from_millis(100));
    capture.drain();
    assert_eq!(at(&capture.seen.attempts, to), [], "nobody knows whose it is");
    drop(listener.accept().unwrap());
    let (seen, _) = capture.finish();
    let attempts = at(&seen.attempts, to);
    assert_eq!(attempts.len(), 1, "{:?}", seen.attempts);
    assert_eq!((attempts[0].connection.role, attempts[0].pid), (role::SERVER, std::process::id()));
    assert!(took(&attempts[0]) < Duration::from_millis(90), "it ended when it was reset: {:?}", attempts[0]);
}

#[test]
fn connections_that_carry_bytes_or_are_closed_in_order_are_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let Some(capture) = of_this_process() else { return };
    for speaker in ["client", "server", "nobody", "both"] {
        for closes in ["client", "server"] {
            for in_order in [true, false] {
                let mut client = TcpStream::connect(to).unwrap();
                let (mut server, _) = listener.accept().unwrap();
                if ["client", "both"].contains(&speaker) {
                    client.write_all(b"a").unwrap();
                    server.read_exact(&mut [0]).unwrap();
                }
                if ["server", "both"].contains(&speaker) {
                    server.write_all(b"b").unwrap();
                    client.read_exact(&mut [0]).unwrap();
                }
                let (first, second) = if closes == "client" { (client, server) } else { (server, client) };
                if in_order {
                    drop(first);
                } else if speaker != "nobody" {
                    abort(first);
                }
                thread::sleep(Duration::from_millis(5));
                drop(second);
            }
        }
    }
    let (seen, totals) = capture.finish();
    assert_eq!(at(&seen.attempts, to), []);
    assert_eq!(totals.ring + totals.miss + totals.map, 0);
}

#[test]
fn attempts_follow_the_filters_and_can_be_left_out() {
    let [to, other] = {
        // Side by side, so that they are two.
        let both = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        both.map(|listener| listener.local_addr().unwrap())
    };
    let elsewhere = KernelFilter { remote_ports: vec![to.port()], ..all() };
    let near = KernelFilter { local_ports: vec![1], ..all() };
    let others = KernelFilter { pids: vec![1], ..KernelFilter::default() };
    let named = KernelFilter { comms: vec!["nobody".to_owned()], ..KernelFilter::default() };
    let none = KernelFilter { no_attempts: true, ..all() };
    for (filter, expected) in [(elsewhere, 1), (near, 0), (others, 0), (named, 0), (none, 0), (all(), 2)] {
        let Some(capture) = Capture::by(filter.clone(), 4 << 20) else { return };
        for to in [to, other] {
            TcpStream::connect(to).unwrap_err();
        }
        let (seen, _) = capture.finish();
        let found = at(&seen.attempts, to).len() + at(&seen.attempts, other).len();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[test]
fn connections_beyond_the_most_that_are_known_are_counted() {
    /// More than other tests open meanwhile, whose sockets take places too.
    const KNOWN: u32 = 128;
    const CALLS: usize = 300;
    let to = closed("127.0.0.1:0");
    let source = Some(super::source());
    let settings = Settings { ring_bytes: 4 << 20, streams: KNOWN, btf: None, source, filter: all() };
    if skipped() {
        return;
    }
    let mut capture = Capture::with(&settings)();
    // Refused at once; a socket has its place for as long as it is there.
    let sockets: Vec<_> = (0..CALLS).map(|_| begin(to)).collect();
    capture.drain();
    let told = at(&capture.seen.attempts, to).len();
    assert!(told > 0 && told <= KNOWN as usize, "{told}");
    assert!(capture.kernel.totals().map as usize >= CALLS - told, "{told} {:?}", capture.kernel.totals());
    drop(sockets);
    drop(begin(to));
    let (seen, totals) = capture.finish();
    assert_eq!(at(&seen.attempts, to).len(), told + 1, "there is room again: {totals:?}");
}

/// A shell that tries to connect once for each line of its input.
fn caller(to: SocketAddr) -> Child {
    let script =
        format!("while read -r _; do (exec 3<>/dev/tcp/{}/{}) 2>/dev/null; done", to.ip(), to.port());
    let mut command = Command::new("bash");
    command.args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn another_process_is_the_owner_and_an_excluded_one_is_not_shown() {
    let to = closed("127.0.0.1:0");
    let filter = KernelFilter { remote_ports: vec![to.port()], ..KernelFilter::default() };
    let Some(mut capture) = Capture::by(filter, 4 << 20) else { return };
    let mut child = caller(to);
    let call = |child: &mut Child| child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    call(&mut child);
    let attempt = loop {
        capture.drain();
        if let Some(attempt) = capture.seen.attempts.first() {
            break *attempt;
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(comm(&attempt), "bash");
    assert!(attempt.pid != std::process::id() && attempt.pid != 0);
    capture.kernel.exclude(std::process::id());
    TcpStream::connect(to).unwrap_err();
    child.stdin.take();
    child.wait().unwrap();
    let (seen, _) = capture.finish();
    assert_eq!(seen.attempts.len(), 1, "{:?}", seen.attempts);
}

#[test]
fn a_group_that_is_not_wanted_is_not_shown() {
    let group = Group::make("refused");
    let to = closed("127.0.0.1:0");
    let filter = KernelFilter { cgroups: true, remote_ports: vec![to.port()], ..KernelFilter::default() };
    let Some(mut capture) = Capture::by(filter, 4 << 20) else { return };
    let script = format!("while read -r _; do exec 3<>/dev/tcp/{}/{}; done 2>/dev/null", to.ip(), to.port());
    for (decided, expected) in
        [(placement::UNDECIDED, 1), (placement::WANTED, 2), (placement::UNWANTED, 2), (placement::OURS, 2)]
    {
        let id = {
            use std::os::unix::fs::MetadataExt as _;
            std::fs::metadata(group.directory()).unwrap().ino()
        };
        if decided != placement::UNDECIDED {
            capture.kernel.place(id, decided).unwrap();
        }
        let mut child = group.run(&script);
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child.wait().unwrap();
        capture.drain();
        let seen = &capture.seen.attempts;
        assert_eq!(seen.len(), expected, "{decided}: {seen:?}");
        assert!(seen.iter().all(|attempt| attempt.cgroup == id), "{seen:?}");
    }
    capture.finish();
}

/// Runs in a network namespace of its own with an interface to which nobody is connected: 10.77.0.2 swallows what is
/// sent to it, and 10.77.0.3 is nowhere.
fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        // SAFETY: no memory is passed; the thread ends with the test.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        let script = "ip link add kya type veth peer name kyb && ip addr add 10.77.0.1/24 dev kya && \
             ip link set lo up && ip link set kyb up && ip link set kya up && \
             ip neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev kya";
        let made = Command::new("sh").args(["-c", script]).stderr(Stdio::null()).status();
        if made.is_ok_and(|status| status.success()) {
            test();
        } else {
            println!("skipped: no pair of interfaces can be made");
        }
    };
    thread::spawn(run).join().unwrap();
}

#[test]
fn a_host_that_has_gone_is_told_by_silence_or_by_the_network() {
    if skipped() {
        return;
    }
    in_a_namespace(|| {
        let silent: SocketAddr = "10.77.0.2:5432".parse().unwrap();
        let nowhere: SocketAddr = "10.77.0.3:5432".parse().unwrap();
        let no_route: SocketAddr = "192.0.2.1:5432".parse().unwrap();
        let Some(capture) = of_this_process() else { return };
        assert_eq!(TcpStream::connect_timeout(&silent, PATIENCE).unwrap_err().kind(), ErrorKind::TimedOut);
        let started = Instant::now();
        assert_eq!(outcome(&begin(nowhere)), libc::EHOSTUNREACH, "nobody has that address");
        println!("no address after {:?}", started.elapsed());
        TcpStream::connect(no_route).unwrap_err();
        let netns = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let (seen, _) = capture.finish();
        let found: Vec<_> = seen
            .attempts
            .iter()
            .filter(|attempt| attempt.connection.remote_port == 5432)
            .map(|attempt| (attempt.connection.remote[3], attempt.error, attempt.pid))
            .collect();
        let own = std::process::id();
        assert_eq!(
            found,
            [(2, 0, own), (3, libc::EHOSTUNREACH as u32, own)],
            "without a SYN nobody was asked"
        );
        let inode = format!("net:[{}]", seen.attempts[0].connection.netns);
        assert_eq!(netns.to_str().unwrap(), inode);
    });
}
