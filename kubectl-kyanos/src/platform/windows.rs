//! Windows, where the plugin reaches clusters and reads stores: no session is on this machine.

use std::fs::{DirBuilder, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;
use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, ctrl_break, ctrl_c, ctrl_close};

use super::{Access, Process, Signal};

pub(super) const TERMINATE: &str = "Ctrl-Break";

pub(super) const HANGUP: &str = "its console was closed";

/// A batch file: programs without a known ending are none here.
pub(super) const SHIM: (&str, &str) =
    ("kubectl_complete-kyanos.bat", "@kubectl-kyanos.exe __complete %*\r\n");

/// A child that the console's Ctrl-C does not reach (`CREATE_NEW_PROCESS_GROUP`).
const NEW_GROUP: u32 = 0x200;

#[derive(Debug)]
pub(super) struct Signals {
    interrupt: CtrlC,
    terminate: CtrlBreak,
    hangup: CtrlClose,
}

// === impl Signals ===

impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: ctrl_c()?, terminate: ctrl_break()?, hangup: ctrl_close()? })
    }

    pub(super) async fn next(&mut self) -> Option<Signal> {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Some(Signal::Interrupt),
            Some(()) = self.terminate.recv() => Some(Signal::Terminate),
            Some(()) = self.hangup.recv() => Some(Signal::Hangup),
            else => None,
        }
    }
}

pub(super) fn prepare_console() {
    // Asking sets it; the consoles that cannot are older than the oldest Windows that Rust supports.
    crossterm::ansi_support::supports_ansi();
}

pub(super) fn stdout_closes() -> bool {
    false
}

pub(super) fn file_for(_access: Access, options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

pub(super) fn folder_for(_access: Access, builder: &mut DirBuilder) -> &mut DirBuilder {
    builder
}

pub(super) fn state_folder() -> Option<PathBuf> {
    std::env::var_os("LOCALAPPDATA").map(PathBuf::from).filter(|path| path.is_absolute())
}

pub(super) fn owner() -> u32 {
    0
}

pub(super) fn give_to_owner(_path: &Path) {}

pub(super) fn is_root() -> bool {
    false
}

pub(super) fn user_name(_id: u32) -> Option<String> {
    None
}

pub(super) fn host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

pub(super) fn apart(command: &mut Command) -> &mut Command {
    command.creation_flags(NEW_GROUP)
}

pub(super) fn terminate(_pid: u32) {}

pub(super) fn kill(_pid: u32) {}

pub(super) fn wait(_pid: u32) {}

pub(super) fn signal_of(_status: ExitStatus) -> Option<String> {
    None
}

pub(super) fn process(_pid: u32) -> Option<Process> {
    None
}

pub(super) fn ticks_per_second() -> Option<u64> {
    None
}

pub(super) fn boot() -> Option<Duration> {
    None
}
