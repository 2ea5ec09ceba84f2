//! Child processes that end with their owner, and what waiting for them needs.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest wait for a child to obey its stop signal before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How often a condition is looked at again.
const CONDITION_POLL: Duration = Duration::from_millis(10);

/// Ports are given out from below the range that the kernel takes client ports from.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// A child process; dropping it ends it.
///
/// It also gets its stop signal when the thread that started it ends, so that nothing survives a killed test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stop: Signal,
}

/// How a child is run.
#[derive(Debug)]
pub struct Plan {
    name: String,
    program: std::path::PathBuf,
    user: Option<(u32, u32)>,
    stop: Signal,
    /// A command that enters or makes namespaces and then becomes what follows.
    namespaces: Vec<String>,
}

// === impl Plan ===

impl Plan {
    /// Plans to run a program that is found as [`crate::run::find`] does.
    pub fn new(program: &str) -> Result<Self> {
        let Some(path) = crate::run::find(program) else {
            bail!("`{program}` is not installed; run `cargo xtask setup`");
        };
        Ok(Self::at(&path))
    }

    /// Plans to run the program at a path.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, program: path.to_path_buf(), user: None, stop: Signal::SIGTERM, namespaces: Vec::new() }
    }

    /// Runs it as another user and group.
    #[must_use]
    pub fn user(mut self, user: u32, group: u32) -> Self {
        self.user = Some((user, group));
        self
    }

    /// Ends it by this signal.
    #[must_use]
    pub fn stop_by(mut self, signal: Signal) -> Self {
        self.stop = signal;
        self
    }

    /// Runs it in new namespaces, given as flags of `unshare`.
    #[must_use]
    pub fn unshare(mut self, flags: &[&str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        self.namespaces =
            std::iter::once("unshare".to_owned()).chain(flags).chain(["--".to_owned()]).collect();
        self
    }

    /// Runs it in the network namespace that is open at a path.
    #[must_use]
    pub fn inside(mut self, netns: &str) -> Self {
        self.namespaces = vec!["nsenter".to_owned(), format!("--net={netns}"), "--".to_owned()];
        self
    }

    /// Returns the command to give arguments to.
    ///
    /// It runs through `setpriv`, which sets the signal for the parent's death and then becomes the program, so the
    /// child's process id is the program's.
    #[must_use]
    pub fn command(&self) -> Command {
        let signal = self.stop.as_str().trim_start_matches("SIG");
        let mut command = match self.namespaces.split_first() {
            None => Command::new("setpriv"),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg("setpriv");
                command
            }
        };
        if let Some((user, group)) = self.user {
            command.args([
                format!("--reuid={user}"),
                format!("--regid={group}"),
                "--clear-groups".to_owned(),
            ]);
        }
        command.arg(format!("--pdeathsig={signal}")).arg("--").arg(&self.program);
        // A terminal's Ctrl-C is for the program that owns the children, which then ends them in its own order.
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Starts the command with its output going to a file.
    pub fn start(&self, command: &mut Command, log: &Path) -> Result<Process> {
        let file = File::create(log).with_context(|| format!("creating `{}`", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        self.spawn(command)
    }

    /// Starts the command with its output going where the command says.
    pub fn spawn(&self, command: &mut Command) -> Result<Process> {
        let child = command.spawn().with_context(|| format!("starting `{}`", self.name))?;
        Ok(Process { name: self.name.clone(), child, stop: self.stop })
    }
}

// === impl Process ===

impl Process {
    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives access to the child's pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(pid(self.id())?, signal).with_context(|| format!("sending {signal} to `{}`", self.name))
    }

    /// Says whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for it to end, up to a limit.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("`{}` (process {}) still runs after {limit:?}", self.name, self.id());
            }
            std::thread::sleep(CONDITION_POLL);
        }
    }

    /// Ends it by its stop signal, or kills it when it does not obey.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(self.stop)?;
        if let Ok(status) = self.wait(STOP_PATIENCE) {
            return Ok(status);
        }
        self.child.kill()?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure here.
        drop(self.stop());
    }
}

// === free functions ===

/// Returns a TCP and UDP port that nothing on this machine uses on any loopback address.
pub fn free_port() -> Result<u16> {
    static NEXT_PORT: AtomicU16 = AtomicU16::new(0);
    let size = PORTS.end - PORTS.start;
    // Other processes that search at the same time begin elsewhere.
    let first = u16::try_from(std::process::id().wrapping_mul(37) % u32::from(size)).unwrap_or_default();
    for _ in 0..size {
        let step = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + first.wrapping_add(step) % size;
        let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
            && TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if free {
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", PORTS.start, PORTS.end)
}

/// Waits until a condition holds; says what it waited for when it does not in time.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Result<Duration> {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        std::thread::sleep(CONDITION_POLL);
    }
    Ok(start.elapsed())
}

/// Says whether a process exists and is not a zombie.
#[must_use]
pub fn exists(id: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// Turns a process id into nix's form.
pub fn pid(id: u32) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(id).context("process id out of range")?))
}

/// Makes a folder for one server's files, which goes with it.
pub fn scratch(name: &str) -> Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(&format!("kyanos-{name}-")).tempdir().context("making a temporary folder")
}
