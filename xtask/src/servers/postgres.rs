//! PostgreSQL, with `log_statement = all` as the witness.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{User, chown};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Plan, Process, free_port, scratch};
use crate::run;

/// A PostgreSQL server with the superuser `app` and the database `postgres`; nobody needs a password.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
    folder: TempDir,
    programs: PathBuf,
}

/// One message of the server's log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Logged {
    /// Process id of the backend.
    pub pid: u32,
    /// Port of the client.
    pub client_port: u16,
    /// `LOG`, `ERROR`, …
    pub severity: String,
    /// Five characters, `00000` for no error.
    pub state: String,
    /// `statement: SELECT 1`, `execute NAME: SELECT $1`, or an error's text.
    pub message: String,
    /// What belongs to it, such as `parameters: $1 = '7'`.
    pub detail: String,
}

// === impl Postgres ===

impl Postgres {
    /// Creates a cluster and starts it on IPv4 loopback. Where this process is root, it runs as the user `postgres`.
    pub fn start() -> Result<Self> {
        let programs = programs()?;
        let folder = scratch("postgres")?;
        let owner = owner()?;
        let plan = |name: &str| {
            let plan = Plan::at(&programs.join(name)).stop_by(Signal::SIGINT);
            owner.iter().fold(plan, |plan, (user, group)| plan.user(*user, *group))
        };
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let work = folder.path().join("work");
        std::fs::create_dir(&work)?;
        if let Some((user, group)) = owner {
            chown(&work, Some(user.into()), Some(group.into()))?;
        }
        let data = work.join("data");
        let mut create = plan("initdb").command();
        create.args(["--no-sync", "--auth=trust", "--username=app", "--encoding=UTF8", "--locale=C"]);
        run::output(create.arg("--pgdata").arg(&data).current_dir(&work))?;
        let port = free_port()?;
        let server = plan("postgres");
        let mut command = server.command();
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k"]).arg(&work).current_dir(&work);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let log = folder.path().join("output.log");
        let mut process = server.start(&mut command, &log)?;
        super::wait_for_port(&mut process, port, &log)?;
        let server = Self { process, port, folder, programs };
        let ready = || run::succeeds(server.client_of("psql", &work).args(["-c", "SELECT 1"]));
        crate::process::wait_until("PostgreSQL to take logins", Duration::from_secs(20), ready)?;
        Ok(server)
    }

    /// Returns the port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id of the postmaster, which serves nothing itself.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the command line of `psql` or `pgbench` over TCP, without TLS, as `app`.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        self.client_of(program, Path::new("127.0.0.1"))
    }

    fn client_of(&self, program: &str, host: &Path) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("PGHOST", host).env("PGPORT", self.port.to_string()).env("PGUSER", "app");
        command.env("PGDATABASE", "postgres").env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable");
        command
    }

    /// Runs statements over the server's Unix socket, which is not followed.
    pub fn sql(&self, statements: &str) -> Result<String> {
        let work = self.folder.path().join("work");
        run::output(self.client_of("psql", &work).args(["-qAtX", "-c", statements]))
    }

    /// Returns what the log holds of TCP clients, in order.
    ///
    /// A marker is sent through the server's Unix socket first, so that nothing earlier is still under way.
    pub fn logged(&self) -> Result<Vec<Logged>> {
        let marker = format!("SELECT 'witness at {:?}'", std::time::Instant::now());
        self.sql(&marker)?;
        let log = self.folder.path().join("work/log.json");
        let mut text = String::new();
        let written = || {
            text = std::fs::read_to_string(&log).unwrap_or_default();
            text.contains(marker.trim_start_matches("SELECT ")) && text.ends_with('\n')
        };
        crate::process::wait_until("PostgreSQL's log", Duration::from_secs(10), written)?;
        text.lines().filter_map(|line| logged(line).transpose()).collect()
    }
}

// === free functions ===

const SETTINGS: [&str; 12] = [
    "listen_addresses=127.0.0.1",
    "log_statement=all",
    "logging_collector=on",
    "log_destination=jsonlog",
    "log_directory=..",
    "log_filename=log.log",
    "log_file_mode=0644",
    "log_rotation_size=0",
    "log_rotation_age=0",
    "max_connections=200",
    "fsync=off",
    "shared_buffers=16MB",
];

/// Finds the newest installed version's programs.
fn programs() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let number = entry.file_name().to_string_lossy().parse().ok();
        let folder = entry.path().join("bin");
        if let (Some(number), true) = (number, folder.join("postgres").is_file()) {
            versions.push((number, folder));
        }
    }
    match versions.into_iter().max() {
        Some((_, folder)) => Ok(folder),
        None => bail!("`postgres` is not installed; run `cargo xtask setup`"),
    }
}

/// Returns the user and group that the server runs as, where it must not run as this process does.
fn owner() -> Result<Option<(u32, u32)>> {
    if !run::is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres")?.context("there is no user `postgres`")?;
    Ok(Some((user.uid.as_raw(), user.gid.as_raw())))
}

/// Reads one line of the log; those without a TCP client are left out.
fn logged(line: &str) -> Result<Option<Logged>> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("log line `{line}`"))?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    let Some(client_port) = number("remote_port") else { return Ok(None) };
    Ok(Some(Logged {
        pid: number("pid").unwrap_or_default().try_into()?,
        client_port: client_port.try_into()?,
        severity: text("error_severity"),
        state: text("state_code"),
        message: text("message"),
        detail: text("detail"),
    }))
}
