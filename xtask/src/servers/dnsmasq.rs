//! dnsmasq, with its query log as the witness.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::{Plan, Process, scratch, wait_until};

/// A dnsmasq on port 53 of a loopback address of its own.
///
/// It knows `HOST.test` for any HOST as `192.0.2.1` and `2001:db8::1`, nothing of `missing.example`, and asks nobody.
#[derive(Debug)]
pub struct Dnsmasq {
    process: Process,
    address: Ipv4Addr,
    folder: TempDir,
}

/// One query as the log has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query {
    /// `A`, `AAAA`, `TXT`, …
    pub kind: String,
    /// The name asked for.
    pub name: String,
    /// Address of the client.
    pub client: String,
    /// Port of the client.
    pub client_port: u16,
}

// === impl Dnsmasq ===

impl Dnsmasq {
    /// Starts it; binding port 53 needs root.
    pub fn start() -> Result<Self> {
        // One address per process keeps tests that run beside each other apart.
        let id = std::process::id();
        let octet = |shift: u32| u8::try_from((id >> shift) & 0xff).unwrap_or_default();
        let address = Ipv4Addr::new(127, 53, octet(8), octet(0).max(1));
        let folder = scratch("dnsmasq")?;
        let log = folder.path().join("output.log");
        let plan = Plan::new("dnsmasq")?;
        let mut command = plan.command();
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
        command.args(["--bind-interfaces", "--except-interface=none", "--port=53", "--log-queries=extra"]);
        command.args(["--log-facility=-", "--cache-size=0", "--local-ttl=0", "--user=root", "--group=root"]);
        command.args(["--address=/test/192.0.2.1", "--address=/test/2001:db8::1", "--local=/example/"]);
        command.args(["--txt-record=text.test,some words", "--dns-forward-max=1000"]);
        command.arg(format!("--txt-record=long.test,{}", ["x".repeat(250).as_str(); 8].join(",")));
        command.arg(format!("--listen-address={address}"));
        command.arg(format!("--pid-file={}", folder.path().join("pid").display()));
        let mut process = plan.start(&mut command, &log)?;
        let started =
            || std::fs::read_to_string(&log).unwrap_or_default().contains("started") || !process.is_running();
        wait_until("dnsmasq to start", super::READY_TIMEOUT, started)?;
        if !process.is_running() {
            anyhow::bail!("dnsmasq ended at once: {}", super::tail(&log));
        }
        Ok(Self { process, address, folder })
    }

    /// Returns the address whose port 53 it listens on.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Writes a `resolv.conf` that names this server alone, and returns its path.
    pub fn resolver(&self) -> Result<PathBuf> {
        let path = self.folder.path().join("resolv.conf");
        std::fs::write(&path, format!("nameserver {}\noptions timeout:2 attempts:1\n", self.address))?;
        Ok(path)
    }

    /// Returns the queries so far, in order, once there are at least `expected` of them.
    pub fn queries(&self, expected: usize) -> Result<Vec<Query>> {
        let log = self.folder.path().join("output.log");
        let mut queries = Vec::new();
        let written = || {
            queries = std::fs::read_to_string(&log).unwrap_or_default().lines().filter_map(query).collect();
            queries.len() >= expected
        };
        wait_until(&format!("{expected} lines in dnsmasq's log"), Duration::from_secs(5), written)
            .with_context(|| super::tail(&log))?;
        Ok(queries)
    }
}

// === free functions ===

/// Reads `dnsmasq: 4 127.0.0.1/40123 query[A] name.test from 127.0.0.1`.
fn query(line: &str) -> Option<Query> {
    let words: Vec<&str> = line.split(' ').collect();
    let at = words.iter().position(|word| word.starts_with("query["))?;
    let kind = words.get(at)?.strip_prefix("query[")?.strip_suffix(']')?;
    let (client, port) = words.get(at.checked_sub(1)?)?.split_once('/')?;
    Some(Query {
        kind: kind.to_owned(),
        name: (*words.get(at + 1)?).to_owned(),
        client: client.to_owned(),
        client_port: port.parse().ok()?,
    })
}
