//! What depends on the operating system, so that nothing else of the plugin does.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fs::{DirBuilder, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use tokio::process::Command;

#[cfg(unix)]
use self::unix as system;
#[cfg(windows)]
use self::windows as system;

/// Whether sessions can be on this machine: the capturer needs Linux.
pub(crate) const CAN_CAPTURE: bool = cfg!(target_os = "linux");

/// What a user does for [`Signal::Terminate`].
pub(crate) const TERMINATE: &str = system::TERMINATE;

/// What happened for [`Signal::Hangup`].
pub(crate) const HANGUP: &str = system::HANGUP;

/// The program by which kubectl completes this plugin: its name on the PATH, and what hands the words to the plugin.
pub(crate) const SHIM: (&str, &str) = system::SHIM;

/// Who may use a file or folder that is made; on Windows the folder around it says that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner alone.
    Owner,
    /// All may read it, and run or enter it; its owner may write.
    All,
}

/// What asks this process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM; on Windows Ctrl-Break.
    Terminate,
    /// SIGHUP; on Windows the closing of the console.
    Hangup,
}

/// Hears what asks this process to end.
#[derive(Debug)]
pub(crate) struct Signals(system::Signals);

/// A process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// It has ended, and nobody asked how yet.
    pub(crate) ended: bool,
    /// When it began, in ticks since boot.
    pub(crate) began: u64,
}

// === impl Signals ===

impl Signals {
    /// Begins to listen; signals no longer end the process by themselves.
    pub(crate) fn listen() -> std::io::Result<Self> {
        system::Signals::listen().map(Self)
    }

    /// Waits for the next one; `None` when there can be no more.
    pub(crate) async fn next(&mut self) -> Option<Signal> {
        self.0.next().await
    }
}

/// Makes a console understand escape sequences where it does not by itself: that of Windows.
pub(crate) fn prepare_console() {
    system::prepare_console();
}

/// Waits until the reader of standard output is gone; `false` where that cannot be known, as on Windows.
pub(crate) fn stdout_closes() -> bool {
    system::stdout_closes()
}

/// Sets who may use a file that these options make.
pub(crate) fn file_for(access: Access, options: &mut OpenOptions) -> &mut OpenOptions {
    system::file_for(access, options)
}

/// Sets who may use a folder that this builder makes.
pub(crate) fn folder_for(access: Access, builder: &mut DirBuilder) -> &mut DirBuilder {
    system::folder_for(access, builder)
}

/// Finds the folder in which programs keep this user's state.
pub(crate) fn state_folder() -> Option<PathBuf> {
    system::state_folder()
}

/// Returns the user who started this: behind sudo, the one who called it; 0 where users have no numbers.
pub(crate) fn owner() -> u32 {
    system::owner()
}

/// Gives a kept or saved file to the user behind sudo.
pub(crate) fn give_to_owner(path: &Path) {
    system::give_to_owner(path);
}

/// Whether this may do everything on this machine; never on Windows, where nothing asks for it.
pub(crate) fn is_root() -> bool {
    system::is_root()
}

/// Returns the name of a user.
pub(crate) fn user_name(id: u32) -> Option<String> {
    system::user_name(id)
}

/// Returns this machine's name.
pub(crate) fn host_name() -> Option<String> {
    system::host_name().filter(|name| !name.is_empty())
}

/// Keeps a child apart from what a terminal's Ctrl-C reaches.
pub(crate) fn apart(command: &mut Command) -> &mut Command {
    system::apart(command)
}

/// Asks a process to end; it may have ended since. Does nothing on Windows, where no session has processes.
pub(crate) fn terminate(pid: u32) {
    system::terminate(pid);
}

/// Ends a process at once; it may have ended since. Does nothing on Windows, where no session has processes.
pub(crate) fn kill(pid: u32) {
    system::kill(pid);
}

/// Waits until a child that was killed is gone.
pub(crate) fn wait(pid: u32) {
    system::wait(pid);
}

/// Says how a child ended, to follow its name.
pub(crate) fn how_ended(status: ExitStatus) -> String {
    match (status.code(), system::signal_of(status)) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Finds a process; `None` where there is none, and where that cannot be known.
pub(crate) fn process(pid: u32) -> Option<Process> {
    system::process(pid)
}

/// Returns how many ticks [`Process::began`] counts in a second.
pub(crate) fn ticks_per_second() -> u64 {
    /// What all of Linux's architectures have.
    const USUAL_TICKS: u64 = 100;
    system::ticks_per_second().filter(|ticks| *ticks > 0).unwrap_or(USUAL_TICKS)
}

/// Returns when the machine booted, since 1970 by its clock.
pub(crate) fn boot() -> Option<std::time::Duration> {
    system::boot()
}
