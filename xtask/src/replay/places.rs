//! A network of its own for the two ends of every stream: their original addresses, on a loopback interface.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use decoders::Transport;

use super::streams::Stream;

/// Where the ends of streams are played.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By original address, the one that stands for it.
    addresses: BTreeMap<IpAddr, IpAddr>,
    /// Pairs of ends that were given out: rows are told apart by them.
    used: BTreeSet<(bool, SocketAddr, SocketAddr)>,
}

// === impl Places ===

impl Places {
    /// Gives every address of the streams to this network namespace, which must be a new one.
    pub(super) fn prepare(streams: &[Stream]) -> Result<Self> {
        let mut places = Self::default();
        let ends = streams.iter().flat_map(|stream| [stream.client.ip(), stream.server.ip()]);
        let all: BTreeSet<IpAddr> = ends.collect();
        for (number, address) in all.into_iter().enumerate() {
            let number = u16::try_from(number).context("more addresses than a network holds")?;
            let stand_in = if is_usable(address) { address } else { substitute(address, number) };
            places.addresses.insert(address, stand_in);
        }
        let mut commands = String::from("link set lo up\n");
        for address in places.addresses.values().filter(|address| !address.is_loopback()) {
            let how = if address.is_ipv4() { "/32 dev lo" } else { "/128 dev lo nodad" };
            // Writing to a String cannot fail.
            _ = writeln!(commands, "addr add {address}{how}");
        }
        batch(&commands)?;
        // Ports of connections that just ended are taken again.
        std::fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1").context("letting ports be reused")?;
        Ok(places)
    }

    /// Returns where a stream is played: client and server. A client's port is 0, any, where another stream between the
    /// same two had it.
    pub(super) fn of(&mut self, stream: &Stream) -> (SocketAddr, SocketAddr) {
        let place = |end: SocketAddr| {
            let address = self.addresses.get(&end.ip()).copied().unwrap_or(end.ip());
            SocketAddr::new(address, end.port())
        };
        let (mut client, server) = (place(stream.client), place(stream.server));
        let tcp = stream.transport == Transport::Tcp;
        if !self.used.insert((tcp, client, server)) || client == server {
            client.set_port(0);
        }
        (client, server)
    }
}

// === free functions ===

/// Says whether a socket can have this address.
fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_unspecified() || address.is_multicast() || address.is_broadcast())
                && address.octets()[0] < 240
                && address.octets()[0] != 0
        }
        IpAddr::V6(address) => {
            // Link-local addresses need the name of their link.
            let local = address.segments()[0] & 0xffc0 == 0xfe80;
            !(address.is_unspecified()
                || address.is_multicast()
                || local
                || address.to_ipv4_mapped().is_some())
        }
    }
}

fn substitute(address: IpAddr, number: u16) -> IpAddr {
    match address {
        IpAddr::V4(_) => {
            let [high, low] = number.to_be_bytes();
            Ipv4Addr::new(127, 66, high, low).into()
        }
        IpAddr::V6(_) => Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, number).into(),
    }
}

fn batch(commands: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("running `ip`; run `cargo xtask setup`")?;
    let mut input = child.stdin.take().context("no pipe to `ip`")?;
    input.write_all(commands.as_bytes()).context("telling `ip`")?;
    drop(input);
    if !child.wait()?.success() {
        bail!("`ip` could not give the namespace its addresses");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_socket_can_have_are_replaced() {
        for (address, usable) in [
            ("192.0.2.7", true),
            ("127.0.0.1", true),
            ("224.0.0.251", false),
            ("255.255.255.255", false),
            ("0.0.0.0", false),
            ("2001:db8::1", true),
            ("fe80::1", false),
            ("ff02::fb", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(is_usable(address), usable, "{address}");
            assert!(is_usable(substitute(address, 300)), "{address}");
        }
    }
}
