//! A network namespace that ends with its owner, whatever happens to that.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

use crate::run;

/// A network namespace without a name: the kernel removes it, and all interfaces in it, once this handle, the sockets
/// made in it and the processes started in it are gone. So nothing stays behind after a panic, nor after a kill.
#[derive(Debug)]
pub struct Netns {
    role: &'static str,
    file: File,
    inode: u64,
}

// === impl Netns ===

impl Netns {
    /// Makes one whose loopback interface is up, and which nothing disturbs by itself.
    pub fn new(role: &'static str) -> Result<Self> {
        let made = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
            let file = File::open("/proc/thread-self/ns/net").context("opening a network namespace")?;
            // Neighbour discovery and duplicate address detection would be packets that nobody sent.
            std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
                .context("switching IPv6 off")?;
            Ok::<_, anyhow::Error>(file)
        });
        let file = joined(made)?;
        let inode = file.metadata().context("the inode of a network namespace")?.ino();
        let netns = Self { role, file, inode };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// Returns what it stands for, such as `client`.
    #[must_use]
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// Returns the inode by which the kernel tells it from others.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Returns a path by which other programs find it, for as long as this handle lives.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs a function in it, on a thread of its own; sockets that it makes stay in it.
    pub fn run<T: Send>(&self, function: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                function()
            });
            thread.join().map_err(|_panic| anyhow!("a function in namespace `{}` panicked", self.role))?
        })
    }

    /// Starts a thread in it that may outlive the caller.
    pub fn spawn<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let file = self.file.try_clone().context("a second handle of a network namespace")?;
        Ok(std::thread::spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
            drop(file);
            function()
        }))
    }

    /// Runs a command in it, given in one line, and returns its output.
    pub fn command(&self, line: &str) -> Result<String> {
        let mut words = line.split_ascii_whitespace();
        let program = words.next().context("an empty command")?;
        let program = run::find(program)
            .with_context(|| format!("`{program}` is not installed; run `cargo xtask setup`"))?;
        let said = self.run(|| run::output(Command::new(program).args(words)));
        said.with_context(|| format!("`{line}` in namespace `{}`", self.role))
    }

    /// Runs `ip` in it with arguments given in one line.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        self.command(&format!("ip {arguments}")).map(drop)
    }

    /// Sets one of the kernel's network settings in it, such as `ipv4/ip_forward`.
    pub fn set(&self, setting: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{setting}");
        self.run(|| std::fs::write(&path, value).with_context(|| format!("writing `{path}`")))
    }

    /// Returns a counter of `/proc/net/snmp` in it, such as `Tcp` `RetransSegs`.
    pub fn counter(&self, group: &str, name: &str) -> Result<u64> {
        let text = self.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").context("reading"))?;
        snmp(&text, group, name).with_context(|| format!("no `{group}` `{name}` in /proc/net/snmp"))
    }

    fn enter(&self) -> Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("entering namespace `{}`", self.role))
    }
}

// === free functions ===

/// Reads pairs of lines such as `Tcp: InSegs OutSegs` above `Tcp: 5 7`.
fn snmp(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(group)?.strip_prefix(':'))
        .map(str::split_whitespace);
    let (mut names, mut values) = (lines.next()?, lines.next()?);
    values.nth(names.position(|found| found == name)?)?.parse().ok()
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_panic| anyhow!("a thread panicked"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_titles() {
        let text =
            "Ip: Forwarding\nIp: 1\nTcp: RtoMin InSegs RetransSegs\nTcp: 200 7 3\nUdp: InSegs\nUdp: 9\n";
        assert_eq!(snmp(text, "Tcp", "RetransSegs"), Some(3));
        assert_eq!(snmp(text, "Tcp", "InSegs"), Some(7));
        assert_eq!(snmp(text, "Udp", "InSegs"), Some(9));
        assert_eq!(snmp(text, "Udp", "RetransSegs"), None);
        assert_eq!(snmp(text, "Icmp", "InSegs"), None);
    }
}
