//! Real servers from the distribution's packages, each on its own port with its own witness switched on.
//!
//! A witness is a record of what was served that the server itself writes. Tests compare it with what was captured.
//! Every server keeps its files in a temporary folder, listens on loopback only, and ends when dropped.

mod dnsmasq;
mod mariadb;
mod nginx;
mod postgres;
mod redis;

pub use dnsmasq::{Dnsmasq, Query};
pub use mariadb::{Mariadb, Statement};
pub use nginx::{Nginx, Request};
pub use postgres::{Logged, Postgres};
pub use redis::{Command, Redis};

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Process, wait_until};

/// Longest wait for a server to accept connections.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until a server accepts TCP connections, or says what it wrote before it gave up.
fn wait_for_port(process: &mut Process, port: u16, log: &Path) -> Result<()> {
    let mut running = true;
    let listens = || {
        running = process.is_running();
        !running || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    };
    wait_until(&format!("port {port} to accept connections"), READY_TIMEOUT, listens)
        .with_context(|| tail(log))?;
    if !running {
        anyhow::bail!("the server on port {port} ended at once: {}", tail(log));
    }
    Ok(())
}

/// Returns the end of a server's output.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(8)).copied().collect::<Vec<_>>().join("\n")
}
