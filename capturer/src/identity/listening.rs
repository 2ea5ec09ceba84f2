//! Which ports a network namespace listens on, to tell the server of a connection that was open before the capture.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Namespaces remembered at most; beyond it the table starts anew.
pub const NAMESPACES: usize = 1_024;

/// How old an answer may be before a port that is not in it is looked up again.
pub const FRESH_NS: u64 = 5_000_000_000;

/// Listening ports read at most per namespace and family, so that a strange machine cannot hold up the capture.
pub const PORTS: usize = 16_384;

/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The listening ports of network namespaces.
#[derive(Debug)]
pub struct Listening {
    proc: PathBuf,
    namespaces: HashMap<u32, Ports>,
}

#[derive(Debug)]
struct Ports {
    read_ns: u64,
    ports: HashSet<u16>,
}

// === impl Listening ===

impl Listening {
    /// Makes an empty table over a proc file system.
    #[must_use]
    pub fn new(proc: PathBuf) -> Self {
        Self { proc, namespaces: HashMap::new() }
    }

    /// Returns whether `port` is listened on in namespace `netns`, seen through a process in it.
    pub fn contains(&mut self, netns: u32, pid: u32, port: u16, now_ns: u64) -> bool {
        if let Some(known) = self.namespaces.get(&netns)
            && (known.ports.contains(&port) || now_ns.saturating_sub(known.read_ns) < FRESH_NS)
        {
            return known.ports.contains(&port);
        }
        let net = self.proc.join(pid.to_string()).join("net");
        let mut ports = HashSet::new();
        read(&net.join("tcp"), &mut ports);
        read(&net.join("tcp6"), &mut ports);
        let found = ports.contains(&port);
        if self.namespaces.len() >= NAMESPACES {
            self.namespaces.clear();
        }
        self.namespaces.insert(netns, Ports { read_ns: now_ns, ports });
        found
    }
}

/// Adds the listening ports of one table; listening sockets come first in it, so reading ends after them.
fn read(path: &Path, ports: &mut HashSet<u16>) {
    let Ok(file) = File::open(path) else { return };
    for line in BufReader::new(file).lines().skip(1).take(PORTS).map_while(Result::ok) {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(state)) = (fields.next(), fields.nth(1)) else { return };
        if state != LISTEN {
            return;
        }
        if let Some((_, port)) = local.rsplit_once(':')
            && let Ok(port) = u16::from_str_radix(port, 16)
        {
            ports.insert(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn real_listeners_of_both_families_are_found() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let six = TcpListener::bind("[::1]:0");
        let mut listening = Listening::new(PathBuf::from("/proc"));
        let mut has = |port, now_ns| listening.contains(1, std::process::id(), port, now_ns);
        assert!(has(four.local_addr().unwrap().port(), 1));
        if let Ok(six) = six {
            assert!(has(six.local_addr().unwrap().port(), 1));
        }
        let later = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = later.local_addr().unwrap().port();
        assert!(!has(port, 2), "a fresh answer is not asked again");
        assert!(has(port, 1 + FRESH_NS));
    }
}
