//! MariaDB, with its general log as the witness.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Plan, Process, free_port, scratch};
use crate::run;

/// A MariaDB server with the login `app` (no password, may do everything) and the database `shop`.
#[derive(Debug)]
pub struct Mariadb {
    process: Process,
    port: u16,
    folder: TempDir,
}

/// One entry of the general log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Statement {
    /// The server's connection number.
    pub thread: u64,
    /// `Connect`, `Query`, `Prepare`, `Execute`, `Quit`, …
    pub command: String,
    /// Statement text, or what the command carried.
    pub argument: String,
}

// === impl Mariadb ===

impl Mariadb {
    /// Creates a data folder and starts it on IPv4 loopback.
    pub fn start() -> Result<Self> {
        let folder = scratch("mariadb")?;
        let data = folder.path().join("data");
        let user = if run::is_root() { "--user=root" } else { "--skip-name-resolve" };
        let mut install = Plan::new("mariadb-install-db")?.command();
        install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", user]);
        install.arg(format!("--datadir={}", data.display()));
        run::output(&mut install)?;
        let setup = folder.path().join("init.sql");
        std::fs::write(&setup, SETUP)?;
        let port = free_port()?;
        let process = launch(&folder, port)?;
        Ok(Self { process, port, folder })
    }

    /// Returns the port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns an address for `--store` with a login that may do everything.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("mysql://store:secret@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the command line of a client that speaks TCP as `app`.
    pub fn client(&self) -> Result<Command> {
        let mut command = Command::new(run::find("mariadb").context("`mariadb` is not installed")?);
        command.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--user=app"]);
        command.args([&format!("--port={}", self.port), "--batch", "--skip-column-names", "shop"]);
        Ok(command)
    }

    /// Runs statements over the server's Unix socket, which is not followed, and returns the rows, tab-separated.
    pub fn sql(&self, statements: &str) -> Result<String> {
        let mut command = Command::new(run::find("mariadb").context("`mariadb` is not installed")?);
        command.args(["--no-defaults", "--user=root", "--batch", "--raw", "--skip-column-names"]);
        command.arg("--default-character-set=utf8mb4");
        command.arg(format!("--socket={}", self.folder.path().join("socket").display()));
        run::output(command.args(["--execute", statements]))
    }

    /// Returns what the log holds of TCP clients whose login is `app`, in order. Characters of four bytes come as
    /// `\xNN`, since the log's table cannot hold them.
    pub fn statements(&self) -> Result<Vec<Statement>> {
        let rows = self.sql(
            "SELECT JSON_ARRAY(thread_id, command_type, CONVERT(argument USING utf8mb4)) FROM mysql.general_log \
             WHERE user_host LIKE '%[127.0.0.1]%' AND user_host LIKE '%[app]%' OR command_type = 'Connect' \
             AND argument LIKE 'app@%'",
        )?;
        rows.lines().map(statement).collect()
    }

    /// Stops the whole server as if the machine had paused, or lets it go on.
    pub fn pause(&self, paused: bool) -> Result<()> {
        self.process.signal(if paused { Signal::SIGSTOP } else { Signal::SIGCONT })
    }

    /// Ends the server.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop().map(|_| ())
    }

    /// Starts it again after [`Self::stop`], on the same port and data.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = launch(&self.folder, self.port)?;
        Ok(())
    }

    /// Returns the path of its Unix socket, whose traffic is not followed.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

// === free functions ===

const SETUP: &str = "CREATE DATABASE IF NOT EXISTS shop CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS app@'127.0.0.1';
GRANT ALL ON *.* TO app@'127.0.0.1' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS store@'127.0.0.1' IDENTIFIED BY 'secret';
GRANT ALL ON *.* TO store@'127.0.0.1' WITH GRANT OPTION;
";

fn launch(folder: &TempDir, port: u16) -> Result<Process> {
    let at = |name: &str| folder.path().join(name).display().to_string();
    let plan = Plan::new("mariadbd")?;
    let mut command = plan.command();
    command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-log-bin", "--skip-name-resolve"]);
    command.args([
        "--general-log",
        "--log-output=TABLE",
        "--innodb-buffer-pool-size=64M",
        "--max-connections=1200",
    ]);
    command.args(["--innodb-flush-log-at-trx-commit=2", "--character-set-server=utf8mb4"]);
    command.args([format!("--datadir={}", at("data")), format!("--socket={}", at("socket"))]);
    command.args([format!("--pid-file={}", at("pid")), format!("--init-file={}", at("init.sql"))]);
    command.arg(format!("--port={port}"));
    if run::is_root() {
        command.arg("--user=root");
    }
    let log = folder.path().join("output.log");
    let mut process = plan.start(&mut command, &log)?;
    super::wait_for_port(&mut process, port, &log)?;
    // The port opens before the init file has run.
    let mut probe = Command::new(run::find("mariadb").context("`mariadb` is not installed")?);
    probe.args(["--no-defaults", "--user=store", "--password=secret", "--protocol=tcp", "--host=127.0.0.1"]);
    probe.args([&format!("--port={port}"), "--execute=SELECT 1", "shop"]);
    crate::process::wait_until("MariaDB to take logins", Duration::from_secs(20), || {
        run::succeeds(&mut probe)
    })?;
    Ok(process)
}

fn statement(line: &str) -> Result<Statement> {
    let row: Value = serde_json::from_str(line).with_context(|| format!("general log row `{line}`"))?;
    let text = |at: usize| row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let thread = row.get(0).and_then(Value::as_u64).unwrap_or_default();
    Ok(Statement { thread, command: text(1), argument: text(2) })
}
