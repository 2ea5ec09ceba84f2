//! The price of connections that are open and rest.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};

use super::super::{memory, session};
use super::table::{Row, Table, median};
use super::watch::{CaptureWatch, Watch};
use crate::process::{Plan, Process, scratch, wait_until};

/// Connections that speak; the others only stay open.
const SPEAKING: u32 = 10;

/// Exchanges of one measurement.
const EXCHANGES: u32 = 20_000;

/// What the capturer still has to do with what has passed is over after this.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// Connections whose ends one process holds: without special rights it may have 20,000 descriptors.
const HELD_BY_ONE: u32 = 9_000;

/// Longest wait for a process to open its connections.
const OPEN_TIMEOUT: Duration = Duration::from_mins(3);

/// Which connections another process is to hold.
#[derive(Debug, clap::Args)]
pub(in super::super) struct RestOptions {
    /// Where both ends meet.
    address: SocketAddr,
    /// How many.
    count: u32,
}

const REQUEST: &[u8] = b"GET /rest HTTP/1.1\r\nHost: x\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Both ends of connections to one port.
struct Crowd {
    listener: TcpListener,
    ends: Vec<(TcpStream, TcpStream)>,
}

/// What was measured with one capture.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// CPU time an exchange takes both ends, with few connections and with many, in microseconds.
    own: (f64, f64),
    /// The same of the capturer.
    capturer: (f64, f64),
    /// Bytes for every connection that rests: the capturer's memory, and its maps.
    memory: f64,
    maps: f64,
}

/// Measures it for every kind of capture with packets.
pub(super) fn measure(watches: &[Watch], connections: u32, pairs: usize, table: &mut Table) -> Result<()> {
    for capture in watches.iter().filter_map(Watch::capture).filter(|capture| capture.packets) {
        let found: Result<Vec<Found>> = (0..pairs).map(|_| with_and_without(capture, connections)).collect();
        let found = found?;
        let of = |figure: fn(&Found) -> f64| found.iter().map(figure).collect::<Vec<f64>>();
        let (few, many) = (format!("{SPEAKING}"), format!("{connections} open connections"));
        let own = format!("both ends' CPU an exchange, {many} over {few}");
        table.add(
            Row::ratio(&own, capture.name(), &of(|found| found.own.1 / found.own.0), Some("1.2"))
                .beside(&of(|found| found.own.0), "µs"),
        );
        let theirs = format!("capturer's CPU an exchange, {many} over {few}");
        table.add(
            Row::ratio(
                &theirs,
                capture.name(),
                &of(|found| found.capturer.1 / found.capturer.0),
                Some("1.2"),
            )
            .beside(&of(|found| found.capturer.0), "µs"),
        );
        let memory = of(|found| found.memory);
        let row = Row::figures(
            "memory a resting connection, both ends",
            capture.name(),
            &memory,
            "B",
            Some("4096"),
        );
        table.add(row.said(&format!("{:.0} B of them in growing maps", median(&of(|found| found.maps)))));
    }
    Ok(())
}

fn with_and_without(capture: &CaptureWatch, connections: u32) -> Result<Found> {
    let mut crowd = Crowd::at((Ipv4Addr::LOCALHOST, 0).into())?;
    let watching = capture.begin(crowd.listener.local_addr()?.port())?;
    let pid = session::pids()?.capturer;
    crowd.grow(SPEAKING)?;
    // What is made at first use is made now.
    crowd.speak()?;
    std::thread::sleep(SETTLE_TIME);
    let few = crowd.cost(pid)?;
    let (memory, maps) = (memory::held(pid)?, maps(pid)?);
    let resting = resting(crowd.listener.local_addr()?.port(), connections)?;
    std::thread::sleep(SETTLE_TIME);
    let (memory_after, maps_after) = (memory::held(pid)?, self::maps(pid)?);
    let many = crowd.cost(pid)?;
    drop(resting);
    watching.end()?;
    let each = |after: u64, before: u64| bytes(after.saturating_sub(before)) / f64::from(connections);
    let maps = each(maps_after, maps);
    Ok(Found {
        own: (few.0, many.0),
        capturer: (few.1, many.1),
        memory: each(memory_after, memory) + maps,
        maps,
    })
}

// === impl Crowd ===

impl Crowd {
    fn at(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        Ok(Self { listener, ends: Vec::new() })
    }

    /// Opens more connections, each of which speaks once, so that it is known what it speaks.
    fn grow(&mut self, count: u32) -> Result<()> {
        let address = self.listener.local_addr()?;
        for _ in 0..count {
            let client = TcpStream::connect(address).context("opening one more connection")?;
            let (server, _) = self.listener.accept()?;
            for end in [&client, &server] {
                end.set_nodelay(true)?;
                // Closed at once, without a rest during which the port cannot be taken again.
                setsockopt(end, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
            }
            exchange(&client, &server)?;
            self.ends.push((client, server));
        }
        Ok(())
    }

    /// Lets the first ones speak in turn.
    fn speak(&self) -> Result<()> {
        let speaking = self.ends.iter().take(usize::try_from(SPEAKING)?).cycle();
        for (client, server) in speaking.take(usize::try_from(EXCHANGES)?) {
            exchange(client, server)?;
        }
        Ok(())
    }

    /// Returns the CPU time of an exchange in microseconds: of both ends, and of the capturer.
    fn cost(&self, capturer: u32) -> Result<(f64, f64)> {
        let (own, theirs) = (own_time()?, session::cpu_time(capturer)?);
        self.speak()?;
        let own = own_time()?.saturating_sub(own);
        std::thread::sleep(SETTLE_TIME);
        let theirs = session::cpu_time(capturer)?.saturating_sub(theirs);
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / f64::from(EXCHANGES);
        Ok((each(own), each(theirs)))
    }
}

// === free functions ===

/// Holds connections until it is ended.
pub(in super::super) fn hold(options: &RestOptions) -> Result<ExitCode> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("allowing more descriptors")?;
    let mut crowd = Crowd::at(options.address)?;
    crowd.grow(options.count)?;
    println!("open");
    loop {
        std::thread::park();
    }
}

/// Lets other processes hold connections to this port, each on an address of its own.
fn resting(port: u16, connections: u32) -> Result<Vec<Process>> {
    let folder = scratch("rest")?;
    let plan = Plan::at(&std::env::current_exe().context("the path of this program")?);
    let mut all = Vec::new();
    let mut left = connections;
    while left > 0 {
        let count = left.min(HELD_BY_ONE);
        left -= count;
        let host = u8::try_from(all.len())?.checked_add(2).context("too many connections")?;
        let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), port));
        let log = folder.path().join(host.to_string());
        let mut command = plan.command();
        command.args(["bench", "rest", &address.to_string(), &count.to_string()]);
        let mut process = plan.start(&mut command, &log)?;
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let mut runs = true;
        wait_until("connections to open", OPEN_TIMEOUT, || {
            runs = process.is_running();
            !runs || said().contains("open")
        })?;
        ensure!(runs, "connections could not be opened: {}", said().trim());
        all.push(process);
    }
    Ok(all)
}

fn exchange(mut client: &TcpStream, mut server: &TcpStream) -> Result<()> {
    let mut buffer = [0; 256];
    client.write_all(REQUEST)?;
    ensure!(server.read(&mut buffer)? == REQUEST.len(), "a request came in parts");
    server.write_all(ANSWER)?;
    ensure!(client.read(&mut buffer)? == ANSWER.len(), "an answer came in parts");
    Ok(())
}

fn own_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("reading a thread's clock")?.into())
}

/// Returns the bytes that the kernel charges for the maps of a process.
fn maps(pid: u32) -> Result<u64> {
    let mut seen = BTreeSet::new();
    let mut total = 0;
    for entry in std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fdinfo"))? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
        if let Some((_, bytes)) = map(&text).filter(|(id, _)| seen.insert(*id)) {
            total += bytes;
        }
    }
    Ok(total)
}

/// Reads a map's number and size from its `fdinfo`.
fn map(fdinfo: &str) -> Option<(u64, u64)> {
    let field = |name: &str| -> Option<u64> {
        fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
    };
    Some((field("map_id")?, field("memlock")?))
}

fn bytes(count: u64) -> f64 {
    Duration::from_nanos(count).as_secs_f64() * 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_map_takes_is_read_from_its_descriptor() {
        let text = "pos:\t0\nmap_type:\t1\nkey_size:\t8\nmax_entries:\t65536\nmemlock:\t1052672\nmap_id:\t9\nfrozen:\t0\n";
        assert_eq!(map(text), Some((9, 1_052_672)));
        assert_eq!(map("prog_id:\t9\nmemlock:\t4096\n"), None);
    }
}
