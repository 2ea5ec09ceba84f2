//! An HTTP origin server as a process of its own: forking, or handing its connections to another process.
//!
//! `peer fork|pass|thread ADDRESS:PORT`; it prints one line once it listens, and answers as [`xtask::workload::http::Origin`] does.

use std::io::{BufReader, IoSlice, IoSliceMut, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::{ForkResult, fork};
use xtask::workload::http::{answer, read_request, serve};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, address] = arguments.as_slice() else { bail!("usage: peer fork|pass|thread ADDRESS:PORT") };
    let listener = TcpListener::bind(address).with_context(|| format!("binding {address}"))?;
    // Children are never waited for; the kernel discards them.
    ignore_children()?;
    match mode.as_str() {
        "fork" => forking(&listener),
        "pass" => passing(&listener),
        "thread" => {
            ready()?;
            for stream in listener.incoming() {
                let stream = stream?;
                std::thread::spawn(move || drop(serve(stream)));
            }
            Ok(())
        }
        other => bail!("unknown mode `{other}`"),
    }
}

/// One process per connection.
fn forking(listener: &TcpListener) -> Result<()> {
    ready()?;
    loop {
        let (stream, _) = listener.accept()?;
        if in_child()? {
            drop(serve(stream));
            std::process::exit(0);
        }
    }
}

/// Accepts, reads the first request, and lets another process answer it and serve the rest.
fn passing(listener: &TcpListener) -> Result<()> {
    let (ours, theirs) = UnixDatagram::pair()?;
    if in_child()? {
        drop(ours);
        while let Some((stream, path)) = take(&theirs)? {
            std::thread::spawn(move || -> Result<()> {
                let asked =
                    xtask::workload::http::Asked { method: "GET".to_owned(), path, length: 0, keep: true };
                answer(&mut &stream, &asked)?;
                serve(stream)
            });
        }
        std::process::exit(0);
    }
    drop(theirs);
    ready()?;
    loop {
        let (stream, _) = listener.accept()?;
        let Some(asked) = read_request(&mut BufReader::with_capacity(4096, &stream))? else { continue };
        let fds = [stream.as_raw_fd()];
        let parts = [IoSlice::new(asked.path.as_bytes())];
        sendmsg::<()>(ours.as_raw_fd(), &parts, &[ControlMessage::ScmRights(&fds)], MsgFlags::empty(), None)?;
    }
}

/// Takes a connection and the path of its first request; none when the other process has ended.
fn take(from: &UnixDatagram) -> Result<Option<(TcpStream, String)>> {
    let mut path = [0; 1024];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut path)];
    let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let size = message.bytes;
    let mut stream = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            stream = fds.first().copied();
        }
    }
    let Some(fd) = stream else { return Ok(None) };
    #[expect(unsafe_code, reason = "a descriptor that arrives as a number")]
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    let path = String::from_utf8_lossy(path.get(..size).unwrap_or_default()).into_owned();
    Ok(Some((TcpStream::from(owned), path)))
}

fn in_child() -> Result<bool> {
    #[expect(unsafe_code, reason = "forking is what is shown")]
    // SAFETY: no other thread exists in the process that forks.
    let forked = unsafe { fork() }?;
    if matches!(forked, ForkResult::Child) {
        // The process that forked gets its signal when its own parent dies; this one must follow it.
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
        return Ok(true);
    }
    Ok(false)
}

fn ignore_children() -> Result<()> {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::SA_NOCLDWAIT, SigSet::empty());
    #[expect(unsafe_code, reason = "no safe way to set a disposition")]
    // SAFETY: ignoring a signal runs no handler.
    unsafe { sigaction(Signal::SIGCHLD, &action) }?;
    Ok(())
}

fn ready() -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "listening")?;
    Ok(out.flush()?)
}
