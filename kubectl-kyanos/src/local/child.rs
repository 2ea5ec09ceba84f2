//! A child process: told what to do over a pipe, whose closing tells it to end.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::console::Console;
use crate::failure::Failure;
use crate::platform;
use crate::session::Notice;

/// How long a child that closed its answer pipe may take to be seen ending.
const CHILD_EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Fewest arenas keep the allocator from holding memory per thread.
const MALLOC_ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "2");

/// Variable that sets what a child logs.
const LOG_VARIABLE: &str = "KYANOS_LOG";

/// What it logs where nobody set it.
const DEFAULT_LOG: &str = "warn";

/// The same with `-d`: all of its own steps, and no library's.
const DEBUG_LOG: &str = "info,hub=debug,capturer=debug";

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    pid: u32,
    /// Closing it ends the child.
    input: ChildStdin,
    answers: Option<BufReader<ChildStdout>>,
    waiter: JoinHandle<Option<ExitStatus>>,
    messages: JoinHandle<()>,
    /// Its end is wanted, or is told by who waits for its answer.
    expected: Arc<AtomicBool>,
}

// === impl Child ===

impl Child {
    /// Starts a program that lies beside this one.
    pub(super) fn spawn(
        name: &'static str,
        notices: mpsc::Sender<Notice>,
        console: Console,
    ) -> Result<Self, Failure> {
        let path = beside(name)?;
        let failed = |error: &std::io::Error| Failure::io("starting", path.display(), error);
        let mut command = Command::new(&path);
        if std::env::var_os(LOG_VARIABLE).is_none() {
            command.env(LOG_VARIABLE, if console.is_debug() { DEBUG_LOG } else { DEFAULT_LOG });
        }
        command
            .env(MALLOC_ARENAS.0, MALLOC_ARENAS.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A terminal's Ctrl-C is for the plugin alone: it drains first.
        let mut process = platform::apart(&mut command).spawn().map_err(|error| failed(&error))?;
        let missing = || failed(&std::io::Error::other("its pipes are missing"));
        let pid = process.id().ok_or_else(missing)?;
        let input = process.stdin.take().ok_or_else(missing)?;
        let answers = process.stdout.take().ok_or_else(missing)?;
        let errors = process.stderr.take().ok_or_else(missing)?;
        let expected = Arc::new(AtomicBool::new(true));
        let quiet = Arc::clone(&expected);
        let waiter = tokio::spawn(async move {
            let status = process.wait().await.ok();
            if !quiet.load(Ordering::Acquire) {
                notices.send(Notice::Lost(ended(name, status))).await.ok();
            }
            status
        });
        let messages = tokio::spawn(relay(name, errors, console));
        Ok(Self { name, pid, input, answers: Some(BufReader::new(answers)), waiter, messages, expected })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Tells it what to do and waits for its answer.
    pub(super) async fn launch<L: Serialize, A: DeserializeOwned>(
        &mut self,
        launch: &L,
        longest: Duration,
    ) -> Result<A, Failure> {
        let name = self.name;
        let mut line = serde_json::to_string(launch)
            .map_err(|error| Failure::new(format!("telling the {name} what to do failed: {error}")))?;
        line.push('\n');
        let mut answers =
            self.answers.take().ok_or_else(|| Failure::new(format!("the {name} was started twice")))?;
        let mut answer = String::new();
        let input = &mut self.input;
        let talk = async {
            input.write_all(line.as_bytes()).await?;
            input.flush().await?;
            answers.read_line(&mut answer).await
        };
        match timeout(longest, talk).await {
            Ok(Ok(read)) if read > 0 => {}
            Ok(_) => {
                let status =
                    timeout(CHILD_EXIT_TIMEOUT, &mut self.waiter).await.ok().and_then(Result::ok).flatten();
                timeout(CHILD_EXIT_TIMEOUT, &mut self.messages).await.ok();
                return Err(ended(name, status));
            }
            Err(_elapsed) => {
                return Err(Failure::new(format!("the {name} was not ready after {} s", longest.as_secs()))
                    .hint("see what it says with `-d`"));
            }
        }
        // From here on its end is news.
        self.expected.store(false, Ordering::Release);
        tokio::spawn(async move { drain(answers).await });
        serde_json::from_str(&answer).map_err(|error| {
            Failure::new(format!("the {name} answered what this version does not know: {error}"))
        })
    }

    /// Closes its input and waits for its end; kills it when that takes too long.
    pub(super) async fn end(self, longest: Duration) {
        let Self { name: _, pid, input, answers: _, mut waiter, mut messages, expected } = self;
        expected.store(true, Ordering::Release);
        drop(input);
        if timeout(longest, &mut waiter).await.is_err() {
            platform::kill(pid);
            timeout(CHILD_EXIT_TIMEOUT, &mut waiter).await.ok();
        }
        timeout(CHILD_EXIT_TIMEOUT, &mut messages).await.ok();
    }

    /// Ends it at once and waits until it is gone.
    pub(super) fn kill(self) {
        self.expected.store(true, Ordering::Release);
        if self.waiter.is_finished() {
            return;
        }
        platform::kill(self.pid);
        platform::wait(self.pid);
    }
}

/// Finds a program beside this one.
pub(super) fn beside(name: &str) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()
        .and_then(|own| own.canonicalize())
        .map_err(|error| Failure::new(format!("finding this program failed: {error}")))?;
    let path = own.parent().unwrap_or(Path::new("/")).join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(format!("`{}` is missing", path.display()))
        .hint(format!("install `{name}` beside `kubectl-kyanos`; the archive for Linux holds both")))
}

/// Says how a child ended that should not have.
fn ended(name: &str, status: Option<ExitStatus>) -> Failure {
    let how = status.map_or_else(|| "ended".to_owned(), platform::how_ended);
    Failure::new(format!("the {name} {how}")).hint("its last messages are above; `-d` shows all of them")
}

/// Shows what a child says.
async fn relay(name: &'static str, errors: ChildStderr, console: Console) {
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        console.say(&format!("{name}: {line}"));
    }
}

async fn drain(mut answers: BufReader<ChildStdout>) {
    let mut line = String::new();
    while let Ok(read) = answers.read_line(&mut line).await {
        if read == 0 {
            return;
        }
        line.clear();
    }
}
