//! Kyanos itself, run as a user would run it, and what it said.

mod report;
mod time;

pub use report::{Balance, Report};
pub use time::{Hop, PARTS};

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Plan, Process, wait_until};
use crate::workspace;

/// Longest wait for a capture to begin.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest wait for a command to end after it was told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Where running sessions keep their files.
pub const SESSIONS_FOLDER: &str = "/run/kyanos";

/// Where local sessions keep their stores.
pub const STORES_FOLDER: &str = "/var/lib/kyanos";

/// A running command of the plugin.
#[derive(Debug)]
pub struct Session {
    process: Process,
    name: Option<String>,
    started: Instant,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
    noise: Arc<Mutex<Vec<String>>>,
    said: Arc<Mutex<Vec<(Instant, String)>>>,
    readers: Vec<JoinHandle<()>>,
}

/// One line of `-o json` and when it arrived.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When the line was read.
    pub arrived: SystemTime,
    /// The line.
    pub value: Value,
}

/// Returns whether the running kernel has a tracepoint, by its type information.
#[must_use]
pub fn has_tracepoint(tracepoint: &str) -> bool {
    let name = format!("btf_trace_{tracepoint}\0");
    std::fs::read("/sys/kernel/btf/vmlinux")
        .is_ok_and(|types| types.windows(name.len()).any(|bytes| bytes == name.as_bytes()))
}

// === impl Session ===

impl Session {
    /// Starts `watch --local -o json` under a name of its own, and returns once it captures.
    pub fn watch(arguments: &[&str]) -> Result<Self> {
        let mut session = Self::begin(arguments)?;
        session.wait_capturing()?;
        Ok(session)
    }

    /// Starts `watch --local -o json` under a name of its own, and does not wait.
    pub fn begin(arguments: &[&str]) -> Result<Self> {
        let name = unique_name();
        let mut all = vec!["watch", "--local", "-o", "json", "--name", &name];
        all.extend(arguments);
        let mut session = Self::command(&all)?;
        session.name = Some(name);
        Ok(session)
    }

    /// Starts any command of the plugin.
    pub fn command(arguments: &[&str]) -> Result<Self> {
        let plan = Plan::at(&workspace::binary("kubectl-kyanos")?).stop_by(Signal::SIGINT);
        let mut command = plan.command();
        command.args(arguments);
        Self::spawn(&plan, command)
    }

    /// Starts a prepared command of the plugin.
    pub fn spawn(plan: &Plan, mut command: Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut process = plan.spawn(&mut command)?;
        let exchanges = Arc::new(Mutex::new(Vec::new()));
        let noise = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::new(Mutex::new(Vec::new()));
        let out = process.child().stdout.take().context("no standard output")?;
        let err = process.child().stderr.take().context("no standard error")?;
        let (exchanges_in, noise_in, said_in) =
            (Arc::clone(&exchanges), Arc::clone(&noise), Arc::clone(&said));
        let readers = vec![
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    match serde_json::from_str::<Value>(&line) {
                        Ok(value @ Value::Object(_)) => {
                            locked(&exchanges_in).push(Exchange { arrived: SystemTime::now(), value });
                        }
                        _ => locked(&noise_in).push(line),
                    }
                }
            }),
            std::thread::spawn(move || {
                for line in BufReader::new(err).lines().map_while(Result::ok) {
                    locked(&said_in).push((Instant::now(), line));
                }
            }),
        ];
        Ok(Self { process, name: None, started, exchanges, noise, said, readers })
    }

    /// Waits until the kernel programs are attached, and returns how long that took from the start.
    pub fn wait_capturing(&mut self) -> Result<Duration> {
        let mut running = true;
        let said = Arc::clone(&self.said);
        let process = &mut self.process;
        let capturing = || locked(&said).iter().any(|(_, line)| line.contains("capturing"));
        let waited = wait_until("the capture to begin", START_TIMEOUT, || {
            running = process.is_running();
            !running || capturing()
        });
        if waited.is_err() || (!running && !capturing()) {
            std::thread::sleep(Duration::from_millis(50));
            bail!("no capture: {}", self.stderr());
        }
        let at = locked(&self.said).iter().find(|(_, line)| line.contains("capturing")).map(|(at, _)| *at);
        Ok(at.unwrap_or_else(Instant::now) - self.started)
    }

    /// Returns the session's name, where it was started with one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Returns when the command was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns the plugin's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Returns what has been printed so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        locked(&self.exchanges).clone()
    }

    /// Returns how many exchanges that match were printed so far.
    pub fn count(&self, wanted: impl Fn(&Exchange) -> bool) -> usize {
        locked(&self.exchanges).iter().filter(|exchange| wanted(exchange)).count()
    }

    /// Waits until at least so many exchanges that match were printed; a shortage is left for the caller to find.
    pub fn settle(&self, count: usize, limit: Duration, wanted: impl Fn(&Exchange) -> bool) {
        drop(wait_until("exchanges", limit, || self.count(&wanted) >= count));
    }

    /// Returns standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        locked(&self.said).iter().flat_map(|(_, line)| [line.as_str(), "\n"]).collect()
    }

    /// Reads the session's `session.json`.
    pub fn record(&self) -> Result<Value> {
        let path = format!("{SESSIONS_FOLDER}/{}/session.json", self.name());
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading `{path}`"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Returns the process ids of hub and capturer.
    pub fn children(&self) -> Result<(u32, u32)> {
        let record = self.record()?;
        let id = |name: &str| -> Result<u32> {
            let id = record
                .get(name)
                .and_then(Value::as_u64)
                .with_context(|| format!("no `{name}` in {record}"))?;
            Ok(u32::try_from(id)?)
        };
        Ok((id("hub_pid")?, id("capturer_pid")?))
    }

    /// Ends it as Ctrl-C does.
    pub fn stop(self) -> Result<Report> {
        self.stop_by(Signal::SIGINT)
    }

    /// Ends it by a signal.
    pub fn stop_by(self, signal: Signal) -> Result<Report> {
        self.process.signal(signal)?;
        self.finish(STOP_TIMEOUT)
    }

    /// Waits until it ends by itself.
    pub fn finish(mut self, limit: Duration) -> Result<Report> {
        let from = Instant::now();
        let status = match self.process.wait(limit) {
            Ok(status) => status,
            Err(error) => bail!("{error}; it said:\n{}", self.stderr()),
        };
        let ending = from.elapsed();
        for reader in self.readers.drain(..) {
            if reader.join().is_err() {
                bail!("a reader of the plugin's output failed");
            }
        }
        let stderr = self.stderr();
        let noise = locked(&self.noise).clone();
        Ok(Report { status, exchanges: self.exchanges(), noise, stderr, ending })
    }
}

// === impl Exchange ===

impl Exchange {
    /// Returns a text field, empty where it is null.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.value.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns a number, where it is not null.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.value.get(name).and_then(Value::as_u64)
    }

    /// Says whether one of the two ends has this port.
    #[must_use]
    pub fn has_port(&self, port: u16) -> bool {
        let port = Some(u64::from(port));
        self.number("local_port") == port || self.number("remote_port") == port
    }

    /// Says whether it was seen from this side with this port at the server's end.
    #[must_use]
    pub fn is(&self, side: &str, port: u16) -> bool {
        let end = if side == "server" { "local_port" } else { "remote_port" };
        self.text("side") == side && self.number(end) == Some(u64::from(port))
    }

    /// Returns the port of the client's end.
    #[must_use]
    pub fn client_port(&self) -> u64 {
        let end = if self.text("side") == "server" { "remote_port" } else { "local_port" };
        self.number(end).unwrap_or_default()
    }

    /// Returns a point in time in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn time_ns(&self, name: &str) -> Option<i128> {
        nanoseconds(self.text(name))
    }

    /// Returns when the line arrived in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn arrived_ns(&self) -> i128 {
        let since = self.arrived.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i128::try_from(since.as_nanos()).unwrap_or_default()
    }
}

// === free functions ===

/// Gives a test the machine to itself, since a capture sees all of it; says so and gives nothing where captures
/// cannot run.
pub fn machine() -> Result<Option<File>> {
    let btf = "/sys/kernel/btf/vmlinux";
    if !crate::run::is_root() {
        println!("skipped: loading kernel programs needs root");
        return Ok(None);
    }
    if !std::path::Path::new(btf).exists() {
        println!("skipped: `{btf}` is missing");
        return Ok(None);
    }
    let path = std::env::temp_dir().join("kyanos-tests.lock");
    let file = File::create(&path).with_context(|| format!("creating `{}`", path.display()))?;
    file.lock().context("locking the machine for a test")?;
    Ok(Some(file))
}

/// Returns a session name that nobody has had.
#[must_use]
pub fn unique_name() -> String {
    static NEXT_NAME: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT_NAME.fetch_add(1, Ordering::Relaxed))
}

/// Runs a command of the plugin to its end.
pub fn run(arguments: &[&str]) -> Result<Report> {
    Session::command(arguments)?.finish(Duration::from_mins(1))
}

/// Returns the files that a session has on this machine.
#[must_use]
pub fn files(session: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in [SESSIONS_FOLDER, STORES_FOLDER] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == session || name.starts_with(&format!("{session}.")) {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Returns the process ids of all hubs and capturers that belong to the tested plugin.
#[must_use]
pub fn helpers() -> BTreeSet<u32> {
    let programs = ["hub", "capturer"].map(|name| workspace::binaries().join(name));
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let program = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if programs.contains(&program) && crate::process::exists(id) {
            found.insert(id);
        }
    }
    found
}

/// Returns the kernel's numbers of the programs and maps that a process holds, as (`prog`|`map`, number).
#[must_use]
pub fn kernel_objects(process: u32) -> BTreeSet<(&'static str, u32)> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fdinfo")).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for line in text.lines() {
            for (mark, kind) in [("prog_id:", "prog"), ("map_id:", "map")] {
                let number = line.strip_prefix(mark).and_then(|number| number.trim().parse().ok());
                found.extend(number.map(|number| (kind, number)));
            }
        }
    }
    found
}

/// Says whether the kernel still has a program or map.
#[must_use]
pub fn kernel_has(kind: &str, number: u32) -> bool {
    let bpftool = crate::run::find("bpftool").unwrap_or_else(|| "bpftool".into());
    crate::run::succeeds(Command::new(bpftool).args([kind, "show", "id", &number.to_string()]))
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads `2026-11-23T21:28:02.123456789Z` as nanoseconds since the Unix epoch.
fn nanoseconds(text: &str) -> Option<i128> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers =
        |part: &str, by: char| -> Option<Vec<i128>> { part.split(by).map(|n| n.parse().ok()).collect() };
    let [year, month, day] = numbers(date, '-')?.try_into().ok()?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(clock, ':')?.try_into().ok()?;
    let nanos: i128 = format!("{fraction:0<9}").parse().ok()?;
    // Days since 1970-01-01, with years that begin in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_nanoseconds_since_the_epoch() {
        assert_eq!(nanoseconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(nanoseconds("2000-03-01T00:00:00.5Z"), Some(951_868_800_500_000_000));
        assert_eq!(nanoseconds("2024-02-29T23:59:59.000000001Z"), Some(1_709_251_199_000_000_001));
        assert_eq!(nanoseconds("yesterday"), None);
    }
}
