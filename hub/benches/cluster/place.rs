//! Where hubs run: each in a network namespace of its own, on one bridge, as pods are.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};
use proto::launch::{HubLaunch, POD_VARIABLE, VIEWER_PORT};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::api::Api;
use crate::objects::hub_name;

/// Where the bridge is: the address at which hubs reach what is outside.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);

/// First address of a hub.
const FIRST_HUB: u8 = 10;

/// Ticks of a second in `/proc`, the same on every architecture that Linux shows to programs.
const TICKS: f64 = 100.0;

/// Network namespaces and the bridge between them; gone when dropped.
pub(crate) struct Site {
    bridge: String,
    namespaces: Vec<String>,
}

/// What a hub's pod finds mounted.
pub(crate) struct Secrets<'a> {
    /// What it is told.
    pub(crate) launch: &'a HubLaunch,
    /// By whom the API server's certificate is signed, PEM encoded.
    pub(crate) authority: &'a str,
}

/// All hubs of the session.
pub(crate) struct Hubs(pub(crate) Vec<Hub>);

/// One hub's process; ended when dropped.
pub(crate) struct Hub {
    child: Child,
    /// What is mounted into its container.
    _files: TempDir,
}

// === impl Site ===

impl Site {
    /// Makes room for so many hubs.
    pub(crate) fn make(hubs: usize) -> Result<Self> {
        let tag = std::process::id();
        let mut place = Self { bridge: format!("kyb{tag}"), namespaces: Vec::new() };
        ip(&format!("link add {} type bridge", place.bridge))?;
        ip(&format!("addr add {GATEWAY}/24 dev {}", place.bridge))?;
        ip(&format!("link set {} up", place.bridge))?;
        for number in 0..hubs {
            let name = format!("kyanos-bench-{tag}-{number}");
            ip(&format!("netns add {name}"))?;
            place.namespaces.push(name.clone());
            let outer = format!("{}h{number}", place.bridge);
            ip(&format!("link add {outer} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set {outer} master {} up", place.bridge))?;
            ip(&format!("-n {name} addr add {}/24 dev eth0", address(number)))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        Ok(place)
    }

    /// Returns the hubs' addresses.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        (0..self.namespaces.len()).map(address).collect()
    }

    /// Opens a connection to a hub's viewer service, which listens on its loopback.
    pub(crate) async fn viewer(&self, number: usize) -> Result<TcpStream> {
        let name = self.namespaces.get(number).context("no such hub")?;
        let file = std::fs::File::open(Path::new("/run/netns").join(name))?;
        // A socket is of the namespace that its thread was in when it was made.
        let connect = move || -> Result<std::net::TcpStream> {
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
            Ok(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, VIEWER_PORT))?)
        };
        let thread = std::thread::spawn(connect);
        let stream = tokio::task::spawn_blocking(move || thread.join()).await?;
        let Ok(stream) = stream else { bail!("the thread that connects panicked") };
        let stream = stream?;
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_std(stream)?)
    }

    /// Lets hubs reach a store on this machine's loopback; returns its address for them.
    pub(crate) async fn forward(&self, url: &str) -> Result<String> {
        let (login, rest) = url.split_once('@').context("the store has no login")?;
        let (host, database) = rest.split_once('/').context("the store has no database")?;
        let listener = TcpListener::bind((GATEWAY, 0)).await?;
        let port = listener.local_addr()?.port();
        let host = host.to_owned();
        tokio::spawn(async move {
            while let Ok((mut hub, _)) = listener.accept().await {
                let host = host.clone();
                tokio::spawn(async move {
                    let Ok(mut store) = TcpStream::connect(host).await else { return };
                    tokio::io::copy_bidirectional(&mut hub, &mut store).await.ok();
                });
            }
        });
        Ok(format!("{login}@{GATEWAY}:{port}/{database}"))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for (number, name) in self.namespaces.iter().enumerate() {
            // A namespace goes in its own time, and its link with it.
            ip(&format!("link del {}h{number}", self.bridge)).ok();
            ip(&format!("netns del {name}")).ok();
        }
        ip(&format!("link del {}", self.bridge)).ok();
    }
}

// === impl Hub ===

impl Hub {
    /// Starts a hub as its pod would.
    pub(crate) fn start(
        program: &Path,
        place: &Site,
        number: usize,
        secrets: &Secrets<'_>,
        api: &Api,
    ) -> Result<Self> {
        let namespace = place.namespaces.get(number).context("no such hub")?;
        let files = tempfile::tempdir()?;
        let account = files.path().join("kubernetes.io/serviceaccount");
        std::fs::create_dir_all(&account)?;
        std::fs::write(account.join("token"), "bench")?;
        std::fs::write(account.join("ca.crt"), secrets.authority)?;
        std::fs::write(account.join("namespace"), crate::NAMESPACE)?;
        let file: PathBuf = files.path().join("launch.json");
        std::fs::write(&file, serde_json::to_vec(secrets.launch)?)?;
        // The namespace of mounts is the command's own.
        let script = r#"mount -t tmpfs none /run && mkdir /run/secrets && cp -r "$0/kubernetes.io" /run/secrets/ && exec "$1" --launch "$0/launch.json""#;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "sh", "-c", script]).arg(files.path()).arg(program);
        command.env(POD_VARIABLE, hub_name(number));
        command.env("KUBERNETES_SERVICE_HOST", api.address().ip().to_string());
        command.env("KUBERNETES_SERVICE_PORT", api.address().port().to_string());
        command.env("KYANOS_LOG", std::env::var("KYANOS_LOG").unwrap_or_else(|_| "error".to_owned()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting a hub")?;
        Ok(Self { child, _files: files })
    }

    /// Returns the processor time it used so far, in seconds.
    fn cpu(&self) -> Result<f64> {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).context("a hub ended")?;
        let (_, rest) = stat.rsplit_once(')').context("`stat` is not understood")?;
        // Of what follows the name, numbers 12 and 13 are user and system time.
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
        Ok(ticks.sum::<Result<u32, _>>().map(f64::from)? / TICKS)
    }

    /// Returns a field of its memory in MiB.
    fn memory(&self, field: &str) -> Result<f64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("a hub ended")?;
        let line =
            status.lines().find_map(|line| line.strip_prefix(field)).context("`status` has no such field")?;
        let kibibytes: u32 = line.split_whitespace().next().context("no figure")?.parse()?;
        Ok(f64::from(kibibytes) / 1024.0)
    }
}

// === impl Hubs ===

impl Hubs {
    /// Returns the processor time that all used so far, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        self.0.iter().map(Hub::cpu).sum()
    }

    /// Returns the resident memory of all in MiB.
    pub(crate) fn memory(&self) -> Result<f64> {
        self.0.iter().map(|hub| hub.memory("VmRSS:")).sum()
    }

    /// Returns the largest resident memory that one had, in MiB.
    pub(crate) fn peak(&self) -> Result<f64> {
        let peaks = self.0.iter().map(|hub| hub.memory("VmHWM:"));
        peaks.into_iter().try_fold(0.0, |largest: f64, peak| Ok(largest.max(peak?)))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn address(number: usize) -> Ipv4Addr {
    let last = u8::try_from(number).unwrap_or(u8::MAX).saturating_add(FIRST_HUB);
    let [a, b, c, _] = GATEWAY.octets();
    Ipv4Addr::new(a, b, c, last)
}

fn ip(arguments: &str) -> Result<()> {
    let output =
        Command::new("ip").args(arguments.split(' ')).output().context("running `ip` of iproute2")?;
    if !output.status.success() {
        bail!("`ip {arguments}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
