//! Linux and macOS.

use std::fs::{DirBuilder, OpenOptions};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal as Number;
use nix::unistd::{Pid, SysconfVar, Uid, User};
use tokio::process::Command;
use tokio::signal::unix::{self, SignalKind, signal};

use super::{Access, Process, Signal};

pub(super) const TERMINATE: &str = "SIGTERM";

pub(super) const HANGUP: &str = "SIGHUP";

pub(super) const SHIM: (&str, &str) =
    ("kubectl_complete-kyanos", "#!/bin/sh\nexec kubectl-kyanos __complete \"$@\"\n");

#[derive(Debug)]
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

// === impl Signals ===

impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
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

pub(super) fn prepare_console() {}

pub(super) fn stdout_closes() -> bool {
    let stdout = std::io::stdout();
    let fd: BorrowedFd<'_> = stdout.as_fd();
    loop {
        // No event is asked for: errors and hang-ups are always reported.
        let mut fds = [PollFd::new(fd, PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {
                let seen = fds[0].revents().unwrap_or(PollFlags::empty());
                return seen.intersects(PollFlags::POLLERR | PollFlags::POLLHUP);
            }
            Err(Errno::EINTR) => {}
            Err(_unsupported) => return false,
        }
    }
}

pub(super) fn file_for(access: Access, options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(match access {
        Access::Owner => 0o600,
        Access::All => 0o755,
    })
}

pub(super) fn folder_for(access: Access, builder: &mut DirBuilder) -> &mut DirBuilder {
    builder.mode(match access {
        Access::Owner => 0o700,
        Access::All => 0o755,
    })
}

pub(super) fn state_folder() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    state.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))
}

pub(super) fn owner() -> u32 {
    id("SUDO_UID").unwrap_or_else(|| Uid::current().as_raw())
}

pub(super) fn give_to_owner(path: &Path) {
    if let (Some(user), Some(group)) = (id("SUDO_UID"), id("SUDO_GID")) {
        std::os::unix::fs::chown(path, Some(user), Some(group)).ok();
    }
}

pub(super) fn is_root() -> bool {
    Uid::effective().is_root()
}

pub(super) fn user_name(id: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name)
}

pub(super) fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok())
}

pub(super) fn apart(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

pub(super) fn terminate(pid: u32) {
    send(pid, Number::SIGTERM);
}

pub(super) fn kill(pid: u32) {
    send(pid, Number::SIGKILL);
}

pub(super) fn wait(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        nix::sys::wait::waitpid(Pid::from_raw(pid), None).ok();
    }
}

/// Names the signal that ended a process.
pub(super) fn signal_of(status: ExitStatus) -> Option<String> {
    let signal = status.signal()?;
    Some(Number::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.to_string()))
}

pub(super) fn process(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command in parentheses may hold anything; fields count from its end: state is the first, start the 20th.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let ended = fields.next()?.starts_with(['Z', 'X']);
    Some(Process { ended, began: fields.nth(18)?.parse().ok()? })
}

pub(super) fn ticks_per_second() -> Option<u64> {
    let ticks = nix::unistd::sysconf(SysconfVar::CLK_TCK).ok().flatten();
    ticks.and_then(|ticks| u64::try_from(ticks).ok())
}

pub(super) fn boot() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn id(variable: &str) -> Option<u32> {
    std::env::var(variable).ok().and_then(|id| id.parse().ok())
}

fn send(pid: u32, signal: Number) {
    if let Ok(pid) = i32::try_from(pid) {
        nix::sys::signal::kill(Pid::from_raw(pid), signal).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::how_ended;
    use super::*;

    #[test]
    fn an_end_is_told_by_its_signal() {
        assert_eq!(how_ended(ExitStatus::from_raw(9)), "was ended by SIGKILL");
        assert_eq!(how_ended(ExitStatus::from_raw(256)), "ended with exit code 1");
    }

    #[test]
    fn files_and_folders_are_for_whom_they_are_made() {
        let folder = tempfile::tempdir().expect("a folder");
        for (access, file_mode, folder_mode) in [(Access::Owner, 0o600, 0o700), (Access::All, 0o755, 0o755)] {
            let path = folder.path().join(format!("{access:?}"));
            let file = file_for(access, OpenOptions::new().write(true).create_new(true)).open(&path);
            let made = file.and_then(|file| file.metadata()).expect("a file").permissions().mode() & 0o777;
            // The mask of this process may take rights, and gives none.
            assert!(made & !file_mode == 0 && made & 0o700 == file_mode & 0o700, "{made:o}");
            let path = path.with_extension("folder");
            folder_for(access, &mut DirBuilder::new()).create(&path).expect("a folder");
            let made = path.metadata().expect("a folder").permissions().mode() & 0o777;
            assert!(made & !folder_mode == 0 && made & 0o700 == 0o700, "{made:o}");
        }
    }
}
