//! Two hosts with a container each, in network namespaces, and what lies between them.
//!
//! ```text
//!  client          host-a                     between                    host-b          server
//!  eth0 ── veth-c ─ cni0 ─ nic0 ── port-a ─ … ─ port-b ── nic0 ─ cni0 ─ veth-s ── eth0
//! ```
//!
//! Where delays are put in at known places, what Kyanos shows can be compared with that.

mod cable;
mod netns;
mod talk;
mod witness;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use cable::Rewrite;
pub use cable::{Cable, Lane};
pub use netns::Netns;
pub use talk::Talk;
pub use witness::Tcpdump;

/// Addresses: the containers, and what stands for them elsewhere.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);
const SERVER_SEEN_FROM_FAR: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 2);

/// Port of the service; the server has another one.
const SERVICE_PORT: u16 = 80;

/// Bytes that a limited link lets through at once after a rest ([`Topology::limit`]).
pub const BURST_BYTES: u32 = 8 << 10;

/// What lies between the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// A bridge, across which each host routes to the other's containers.
    Bridge,
    /// A bridge, across which the hosts put what goes to the other's containers into VXLAN.
    Vxlan,
    /// A cable in user space; both hosts see the same addresses, as they do the same kernel.
    Cable,
    /// A cable in user space that gives other addresses at its other end: nothing tells that a packet on the one host
    /// and one on the other are the same, as where each host has a kernel of its own.
    FarCable,
}

/// How the client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By its address.
    Plain,
    /// By the address of a service, which the client's host replaces.
    Service,
    /// The same, and the server sees the address of the client's host.
    Masquerade,
}

/// An interface: role of its namespace, and name.
pub type Crossing = (&'static str, &'static str);

/// The namespaces and what connects them; all is gone once this is dropped.
#[derive(Debug)]
pub struct Topology {
    /// The client's container.
    pub client: Netns,
    /// The client's host.
    pub host_a: Netns,
    /// What lies between the hosts.
    pub between: Netns,
    /// The server's host.
    pub host_b: Netns,
    /// The server's container.
    pub server: Netns,
    kind: Between,
    reach: Reach,
    server_port: u16,
    cable: Option<Cable>,
}

/// Gives a test the machine to itself; says so and gives nothing where topologies cannot be built or captures cannot run.
pub fn machine() -> Result<Option<File>> {
    if let Some(reason) = lacks() {
        println!("skipped: {reason}");
        return Ok(None);
    }
    crate::kyanos::machine()
}

/// Says why a topology cannot be built on this machine.
fn lacks() -> Option<String> {
    if !crate::run::is_root() {
        return Some("making network namespaces needs root".to_owned());
    }
    for program in ["ip", "tc", "nft", "tcpdump"] {
        if crate::run::find(program).is_none() {
            return Some(format!("`{program}` is not installed"));
        }
    }
    let missing = |what: &str, attempt: Result<()>| {
        attempt.err().map(|error| format!("this kernel has no {what}: {error:#}"))
    };
    let attempt = || -> Result<Option<String>> {
        let probe = Netns::new("probe")?;
        Ok(missing("veth", probe.ip("link add near type veth peer name far"))
            .or_else(|| missing("bridge", probe.ip("link add switch type bridge")))
            .or_else(|| missing("VXLAN", probe.ip("link add tunnel type vxlan id 7 dstport 4789 dev near")))
            .or_else(|| missing("nf_tables", probe.command("nft add table ip probe").map(drop)))
            .or_else(|| {
                missing(
                    "tbf",
                    probe.command("tc qdisc add dev near root tbf rate 1mbit burst 10kb limit 1mb").map(drop),
                )
            }))
    };
    attempt().unwrap_or_else(|error| Some(format!("{error:#}")))
}

// === impl Topology ===

impl Topology {
    /// Builds it.
    pub fn build(kind: Between, reach: Reach, server_port: u16) -> Result<Self> {
        // The far cable keeps checksums because it knows both addresses that it replaces.
        ensure!(
            (kind, reach) != (Between::FarCable, Reach::Masquerade),
            "a far cable needs the client's address"
        );
        let topology = Self {
            client: Netns::new("client")?,
            host_a: Netns::new("host-a")?,
            between: Netns::new("between")?,
            host_b: Netns::new("host-b")?,
            server: Netns::new("server")?,
            kind,
            reach,
            server_port,
            cable: None,
        };
        let Self { client, host_a, between, host_b, server, .. } = &topology;
        container(client, host_a, "veth-c", 1)?;
        container(server, host_b, "veth-s", 2)?;
        uplink(host_a, between, "port-a", 1)?;
        uplink(host_b, between, "port-b", 2)?;
        let cable = topology.connect()?;
        topology.translate()?;
        Ok(Self { cable, ..topology })
    }

    /// Returns the port on which the server listens in its container.
    #[must_use]
    pub fn server_port(&self) -> u16 {
        self.server_port
    }

    /// Returns where the client finds the server.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        let server_port = self.server_port;
        match (self.reach, self.kind) {
            (Reach::Service | Reach::Masquerade, _) => (SERVICE, SERVICE_PORT).into(),
            (Reach::Plain, Between::FarCable) => (SERVER_SEEN_FROM_FAR, server_port).into(),
            (Reach::Plain, Between::Bridge | Between::Vxlan | Between::Cable) => (SERVER, server_port).into(),
        }
    }

    /// Returns the client's address.
    #[must_use]
    pub fn client_address(&self) -> Ipv4Addr {
        CLIENT
    }

    /// Returns the server's address.
    #[must_use]
    pub fn server_address(&self) -> Ipv4Addr {
        SERVER
    }

    /// Returns the cable between the hosts, where one was laid.
    pub fn cable(&self) -> Result<&Cable> {
        self.cable.as_ref().context("these hosts are connected without a cable")
    }

    /// Limits what a host sends to the other, in Mbit/s; after a rest [`BURST_BYTES`] pass at once. Nothing is dropped before
    /// it is more than fits a second.
    pub fn limit(&self, host: &Netns, megabits: u32) -> Result<()> {
        let line =
            format!("tc qdisc replace dev nic0 root tbf rate {megabits}mbit burst {BURST_BYTES} limit 4mb");
        host.command(&line).map(drop)
    }

    /// Starts a witness of what passes `filter`, a capture filter, at each interface of [`Topology::path`].
    pub fn witnesses(&self, filter: &str) -> Result<Vec<(Crossing, Tcpdump)>> {
        let start = |place: Crossing| {
            let (role, interface) = place;
            let netns = self.namespace(role).with_context(|| format!("no namespace `{role}`"))?;
            Ok((place, Tcpdump::start(Some(netns), interface, filter)?))
        };
        self.path().into_iter().map(start).collect()
    }

    /// Returns the interfaces that a request crosses from the client to the server.
    #[must_use]
    pub fn path(&self) -> Vec<Crossing> {
        let near = [("client", "eth0"), ("host-a", "veth-c"), ("host-a", "cni0")];
        let far = [("host-b", "cni0"), ("host-b", "veth-s"), ("server", "eth0")];
        let middle: &[(&str, &str)] = match self.kind {
            Between::Bridge => {
                &[("host-a", "nic0"), ("between", "port-a"), ("between", "port-b"), ("host-b", "nic0")]
            }
            Between::Vxlan => &[
                ("host-a", "vxlan0"),
                ("host-a", "nic0"),
                ("between", "port-a"),
                ("between", "port-b"),
                ("host-b", "nic0"),
                ("host-b", "vxlan0"),
            ],
            Between::Cable | Between::FarCable => &[
                ("host-a", "nic0"),
                ("between", "port-a"),
                ("between", "tap-a"),
                ("between", "tap-b"),
                ("between", "port-b"),
                ("host-b", "nic0"),
            ],
        };
        [&near, middle, &far].concat()
    }

    /// Returns the role of the namespace with this inode.
    #[must_use]
    pub fn role(&self, inode: u64) -> Option<&'static str> {
        self.namespaces().into_iter().find(|netns| netns.inode() == inode).map(Netns::role)
    }

    /// Returns the namespace with this role.
    #[must_use]
    pub fn namespace(&self, role: &str) -> Option<&Netns> {
        self.namespaces().into_iter().find(|netns| netns.role() == role)
    }

    fn namespaces(&self) -> [&Netns; 5] {
        let Self { client, host_a, between, host_b, server, .. } = self;
        [client, host_a, between, host_b, server]
    }

    /// Connects the two ports in the middle, and tells each host where the other's containers are.
    fn connect(&self) -> Result<Option<Cable>> {
        match self.kind {
            Between::Bridge => {
                bridge(&self.between, "switch0", &["port-a", "port-b"])?;
                self.routes("via 172.16.0.2", "via 172.16.0.1")?;
                Ok(None)
            }
            Between::Vxlan => {
                bridge(&self.between, "switch0", &["port-a", "port-b"])?;
                tunnel(&self.host_a, 1, 2)?;
                tunnel(&self.host_b, 2, 1)?;
                self.routes("via 192.168.7.2 dev vxlan0", "via 192.168.7.1 dev vxlan0")?;
                Ok(None)
            }
            Between::Cable | Between::FarCable => {
                let rewrites = (self.kind == Between::FarCable).then_some([
                    Rewrite { source: ([10, 1], [10, 4]), destination: ([10, 5], [10, 2]) },
                    Rewrite { source: ([10, 2], [10, 5]), destination: ([10, 4], [10, 1]) },
                ]);
                let cable = Cable::lay(&self.between, ["tap-a", "tap-b"], rewrites)?;
                bridge(&self.between, "switch-a", &["port-a", "tap-a"])?;
                bridge(&self.between, "switch-b", &["port-b", "tap-b"])?;
                self.routes("via 172.16.0.2", "via 172.16.0.1")?;
                Ok(Some(cable))
            }
        }
    }

    fn routes(&self, from_a: &str, from_b: &str) -> Result<()> {
        for net in [2, 5] {
            self.host_a.ip(&format!("route add 10.{net}.0.0/24 {from_a}"))?;
        }
        for net in [1, 4] {
            self.host_b.ip(&format!("route add 10.{net}.0.0/24 {from_b}"))?;
        }
        Ok(())
    }

    /// Lets the client's host replace the service's address, and the client's where that is wanted.
    fn translate(&self) -> Result<()> {
        if self.reach == Reach::Plain {
            return Ok(());
        }
        let server = if self.kind == Between::FarCable { SERVER_SEEN_FROM_FAR } else { SERVER };
        for line in [
            "nft add table ip service".to_owned(),
            "nft add chain ip service before { type nat hook prerouting priority -100 ; }".to_owned(),
            format!(
                "nft add rule ip service before ip daddr {SERVICE} tcp dport {SERVICE_PORT} dnat to {server}:{}",
                self.server_port
            ),
        ] {
            self.host_a.command(&line)?;
        }
        if self.reach == Reach::Masquerade {
            // Else the destination is replaced on the bridge already, and what crosses it has a third set of ends.
            self.host_a.set("bridge/bridge-nf-call-iptables", "0")?;
            self.host_a
                .command("nft add chain ip service after { type nat hook postrouting priority 100 ; }")?;
            self.host_a.command(&format!("nft add rule ip service after ip saddr {CLIENT} masquerade"))?;
        }
        Ok(())
    }
}

// === free functions ===

/// Connects a container to the bridge of its host; `net` is the second byte of their addresses.
fn container(inside: &Netns, host: &Netns, veth: &str, net: u8) -> Result<()> {
    host.ip(&format!("link add {veth} type veth peer name eth0 netns {}", inside.path()))?;
    bridge(host, "cni0", &[veth])?;
    host.ip(&format!("addr add 10.{net}.0.1/24 dev cni0"))?;
    inside.ip(&format!("addr add 10.{net}.0.2/24 dev eth0"))?;
    inside.ip("link set eth0 up")?;
    inside.ip(&format!("route add default via 10.{net}.0.1"))
}

/// Connects a host to a port in the middle.
fn uplink(host: &Netns, between: &Netns, port: &str, number: u8) -> Result<()> {
    between.ip(&format!("link add {port} type veth peer name nic0 netns {}", host.path()))?;
    host.ip(&format!("addr add 172.16.0.{number}/24 dev nic0"))?;
    host.ip("link set nic0 up")?;
    host.set("ipv4/ip_forward", "1")
}

/// Puts interfaces into a bridge, and brings all up.
fn bridge(netns: &Netns, name: &str, ports: &[&str]) -> Result<()> {
    netns.ip(&format!("link add {name} type bridge"))?;
    for port in ports {
        netns.ip(&format!("link set {port} master {name} up"))?;
    }
    netns.ip(&format!("link set {name} up"))
}

/// Ends a VXLAN tunnel on a host.
fn tunnel(host: &Netns, number: u8, other: u8) -> Result<()> {
    host.ip(&format!(
        "link add vxlan0 type vxlan id 7 dev nic0 local 172.16.0.{number} remote 172.16.0.{other} dstport 4789"
    ))?;
    host.ip(&format!("addr add 192.168.7.{number}/24 dev vxlan0"))?;
    host.ip("link set vxlan0 up")
}
