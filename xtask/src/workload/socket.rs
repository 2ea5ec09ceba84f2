//! Sockets that std cannot make: MPTCP and fast open.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{Backlog, MsgFlags, SockaddrIn, bind, connect, getsockname, listen, sendto};

/// What a connection is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain TCP.
    Tcp,
    /// Multipath TCP.
    Mptcp,
}

/// Makes a listening socket on a free port of IPv4 loopback.
///
/// With fast open, the kernel takes data in the first packet without further conditions.
pub fn listener(kind: Kind, fast_open: bool) -> Result<TcpListener> {
    let socket = socket(kind)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)))?;
    if fast_open {
        set(&socket, libc::TCP_FASTOPEN, 64)?;
        set(&socket, libc::TCP_FASTOPEN_NO_COOKIE, 1)?;
    }
    listen(&socket, Backlog::new(64)?)?;
    Ok(TcpListener::from(socket))
}

/// Connects to a port of IPv4 loopback.
pub fn connected(kind: Kind, port: u16) -> Result<TcpStream> {
    let socket = socket(kind)?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))?;
    Ok(TcpStream::from(socket))
}

/// Connects to a port of IPv4 loopback with these bytes in the first packet.
pub fn opened_fast(port: u16, bytes: &[u8]) -> Result<TcpStream> {
    let socket = socket(Kind::Tcp)?;
    set(&socket, libc::TCP_FASTOPEN_NO_COOKIE, 1)?;
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let flag = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
    let sent = sendto(socket.as_raw_fd(), bytes, &address, flag).context("opening with data")?;
    if sent != bytes.len() {
        bail!("only {sent} of {} bytes went with the first packet", bytes.len());
    }
    getsockname::<SockaddrIn>(socket.as_raw_fd())?;
    Ok(TcpStream::from(socket))
}

fn socket(kind: Kind) -> Result<OwnedFd> {
    let protocol = match kind {
        Kind::Tcp => libc::IPPROTO_TCP,
        Kind::Mptcp => libc::IPPROTO_MPTCP,
    };
    #[expect(unsafe_code, reason = "nix has no name for MPTCP")]
    // SAFETY: no pointers are passed; the descriptor is checked and owned by nobody else.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, protocol);
        if fd < 0 {
            return Err(std::io::Error::last_os_error()).with_context(|| format!("a socket of {kind:?}"));
        }
        OwnedFd::from_raw_fd(fd)
    };
    Ok(socket)
}

fn set(socket: &impl AsFd, option: libc::c_int, value: libc::c_int) -> Result<()> {
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>())?;
    #[expect(unsafe_code, reason = "nix has no names for these options")]
    // SAFETY: the pointer and the size are those of `value`, which outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            std::ptr::from_ref(&value).cast(),
            size,
        )
    };
    if done < 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("setting TCP option {option}"));
    }
    Ok(())
}
