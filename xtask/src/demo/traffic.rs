//! A trickle of ordinary traffic: the distribution's own clients talk to real servers.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run;
use crate::servers::{Mariadb, Nginx, Redis};

/// Time between two rounds of requests.
const ROUND_PAUSE: Duration = Duration::from_millis(400);

/// What is fetched, in turn.
const PATHS: [&str; 6] = ["/hello", "/json", "/text", "/blob-20000", "/chunked.shtml", "/status/404"];

/// Clients at work until dropped.
#[derive(Debug)]
pub(super) struct Trickle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A client that reads commands from its standard input and keeps one connection.
struct Console {
    child: Child,
    input: ChildStdin,
}

// === impl Trickle ===

impl Trickle {
    /// Starts the clients.
    pub(super) fn start(nginx: &Nginx, redis: &Redis, mariadb: &Mariadb) -> Result<Self> {
        let pages = PATHS.map(|path| nginx.url(path));
        let mut redis_cli = Command::new(run::find("redis-cli").context("`redis-cli` is not installed")?);
        redis_cli.args(["-h", "127.0.0.1", "-p", &redis.port().to_string()]);
        let redis = Console::start(&mut redis_cli)?;
        let mysql = Console::start(mariadb.client()?.args(["--force", "--unbuffered"]))?;
        let curl = run::find("curl").context("`curl` is not installed")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || rounds(&curl, &pages, redis, mysql, &stopped));
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("warning: the demo's traffic ended early");
        }
    }
}

// === impl Console ===

impl Console {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // The terminal's Ctrl-C is for the plugin.
            .process_group(0)
            .spawn()
            .context("starting a client")?;
        let input = child.stdin.take().context("a client without input")?;
        Ok(Self { child, input })
    }

    fn say(&mut self, line: &str) -> bool {
        writeln!(self.input, "{line}").and_then(|()| self.input.flush()).is_ok()
    }

    fn end(mut self) {
        drop(self.input);
        if self.child.kill().and_then(|()| self.child.wait().map(drop)).is_err() {
            eprintln!("warning: a client of the demo could not be ended");
        }
    }
}

fn rounds(curl: &PathBuf, pages: &[String], mut redis: Console, mut mysql: Console, stop: &AtomicBool) {
    let table = "CREATE TABLE IF NOT EXISTS orders (id INT AUTO_INCREMENT PRIMARY KEY, item VARCHAR(40));";
    let mut going = mysql.say(table);
    for (order, page) in pages.iter().cycle().enumerate() {
        if !going || stop.load(Ordering::Relaxed) {
            break;
        }
        let mut fetch = Command::new(curl);
        fetch.args(["--silent", "--output", "/dev/null", "--max-time", "5", page]).process_group(0);
        going = run::succeeds(&mut fetch)
            && redis.say(&format!("SET order:{order} shipped EX 60"))
            && redis.say(&format!("GET order:{order}"))
            && mysql.say(&format!("INSERT INTO orders (item) VALUES ('order {order}');"))
            && mysql.say("SELECT COUNT(*) FROM orders;");
        std::thread::sleep(ROUND_PAUSE);
    }
    if !going {
        eprintln!("warning: a client of the demo failed; there is no further traffic");
    }
    redis.end();
    mysql.end();
}
