//! Sockets that clients connect to: opened here, or handed over by whoever started the process (socket activation).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, fchmod, fcntl_getfl, fcntl_setfl, lstat, unlink};
use rustix::io::{Errno, FdFlags, fcntl_setfd, retry_on_intr};
use rustix::net::sockopt::{
    set_socket_keepalive, set_socket_reuseaddr, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl, set_tcp_nodelay,
    socket_acceptconn, socket_type,
};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, getsockname, listen,
    socket_with,
};

use crate::error::{Code, Error, Result};
use crate::limits::NBD_BACKLOG;

/// A peer of the network that says nothing for so long is asked whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_COUNT: u32 = 4;

/// Where clients connect to. Printed as `unix:/run/x.sock`, `unix:@name`, `tcp:127.0.0.1:10809`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket file; empty for a socket without a name.
    Unix(PathBuf),
    /// A name that is no file, as Linux has them.
    Abstract(Vec<u8>),
    /// An address and port of the network.
    Tcp(SocketAddr),
}

impl Address {
    /// Whether nobody on another machine can connect to it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Abstract(_) => true,
            Self::Tcp(at) => at.ip().to_canonical().is_loopback(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
            Self::Tcp(at) => write!(f, "tcp:{at}"),
        }
    }
}

/// A listening socket. Dropping it closes it, and removes the socket file that it made.
pub struct Listener {
    socket: OwnedFd,
    address: Address,
    _file: Option<SocketFile>, // goes with it
}

/// A socket file that is ours.
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put another one in its place.
        if lstat(&self.path).is_ok_and(|now| (now.st_dev, now.st_ino) == (self.device, self.inode)) {
            let _ = unlink(&self.path); // then it stays, and the next one to come replaces it
        }
    }
}

impl Listener {
    /// Listens on a socket file that only this user may connect to (mode 0600). A file that is left from a process which is gone
    /// is replaced.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` for a path longer than a socket's may be (107 bytes), `TARGET_EXISTS` where somebody listens already or
    /// something else has the name, `TARGET_INVALID` without its directory, `PERMISSION_DENIED`.
    pub fn unix(path: &Path) -> Result<Self> {
        let failed = |cause: Errno| match cause {
            Errno::NOENT | Errno::NOTDIR => {
                Error::new(Code::TargetInvalid, format!("no directory for the socket {}", path.display()))
                    .with("path", path)
            }
            cause => Error::from_io(cause.into(), "listen on", path),
        };
        let path = &std::path::absolute(path).map_err(|cause| Error::from_io(cause, "find", path))?;
        let name = SocketAddrUnix::new(path.as_os_str().as_bytes()).map_err(|_| {
            let bytes = path.as_os_str().len();
            Error::new(Code::ArgumentInvalid, format!("the path of a socket has at most 107 bytes, this one {bytes}"))
                .with("path", path.as_path())
        })?;
        let socket = new_socket(AddressFamily::UNIX).map_err(failed)?;
        // On Linux a socket's mode before it gets its name is the one that its file is made with, less the umask.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        if let Err(cause) = bind(&socket, &name) {
            if cause != Errno::ADDRINUSE {
                return Err(failed(cause));
            }
            remove_abandoned(path, &name)?;
            bind(&socket, &name).map_err(failed)?;
        }
        let made = lstat(path).map_err(failed)?;
        let file = SocketFile { path: path.clone(), device: made.st_dev, inode: made.st_ino };
        listen(&socket, NBD_BACKLOG).map_err(failed)?;
        Ok(Self { socket, address: Address::Unix(path.clone()), _file: Some(file) })
    }

    /// Listens on an address of the network; port 0 is any that is free, which [`Listener::address`] then tells.
    ///
    /// # Errors
    /// `TARGET_EXISTS` where somebody listens already, `PERMISSION_DENIED`, `IO_FAILED` for an address that this machine has not.
    pub fn tcp(at: SocketAddr) -> Result<Self> {
        let name = Address::Tcp(at).to_string();
        let failed = |cause: Errno| match cause {
            Errno::ADDRINUSE => Error::new(Code::TargetExists, format!("somebody listens on {name} already")),
            cause => Error::from_io(cause.into(), "listen on", Path::new(&name)),
        };
        let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = new_socket(family).map_err(failed)?;
        set_socket_reuseaddr(&socket, true).map_err(failed)?; // connections of a process that is gone do not count
        bind(&socket, &at).map_err(failed)?;
        listen(&socket, NBD_BACKLOG).map_err(failed)?;
        let at = getsockname(&socket).and_then(SocketAddr::try_from).map_err(failed)?;
        Ok(Self { socket, address: Address::Tcp(at), _file: None })
    }

    /// Takes a socket that listens already. Its file, if it has one, belongs to whoever made it and stays.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when it is not a listening stream socket of this machine or of the network.
    pub fn from_fd(socket: OwnedFd) -> Result<Self> {
        let refused =
            |why: &str| Err(Error::new(Code::ArgumentInvalid, format!("the descriptor cannot be listened on: {why}")));
        match socket_type(&socket) {
            Ok(SocketType::STREAM) => {}
            Ok(_) => return refused("its socket is not one of streams"),
            Err(_) => return refused("it is no socket"),
        }
        if !socket_acceptconn(&socket).unwrap_or(false) {
            return refused("its socket does not listen");
        }
        let Ok(name) = getsockname(&socket) else { return refused("its socket has no address") };
        let address = match (SocketAddr::try_from(name.clone()), SocketAddrUnix::try_from(name)) {
            (Ok(at), _) => Address::Tcp(at),
            (_, Ok(unix)) => match (unix.path_bytes(), unix.abstract_name()) {
                (_, Some(name)) => Address::Abstract(name.to_vec()),
                (path, None) => Address::Unix(PathBuf::from(std::ffi::OsStr::from_bytes(path.unwrap_or_default()))),
            },
            _ => return refused("its socket is neither a Unix nor a TCP socket"),
        };
        let prepared = fcntl_getfl(&socket)
            .and_then(|flags| fcntl_setfl(&socket, flags | OFlags::NONBLOCK))
            .and_then(|()| fcntl_setfd(&socket, FdFlags::CLOEXEC));
        match prepared {
            Ok(()) => Ok(Self { socket, address, _file: None }),
            Err(cause) => refused(&cause.to_string()),
        }
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The next client.
    ///
    /// # Errors
    /// What the system gives; `WouldBlock` when nobody waits.
    pub(super) fn accept(&self) -> io::Result<OwnedFd> {
        let socket = retry_on_intr(|| accept_with(&self.socket, SocketFlags::CLOEXEC))?;
        if matches!(self.address, Address::Tcp(_)) {
            set_tcp_nodelay(&socket, true)?; // a reply is sent when it is whole, and waits for nothing
            set_socket_keepalive(&socket, true)?; // a client may be silent, but not gone
            set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
            set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
            set_tcp_keepcnt(&socket, KEEPALIVE_COUNT)?;
        }
        Ok(socket)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn new_socket(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Removes a socket file at which nobody listens.
///
/// Two processes that find the same abandoned file at once may both come to listen; then the file is that of the later one.
fn remove_abandoned(path: &Path, name: &SocketAddrUnix) -> Result<()> {
    let exists = |what: &str| {
        let message = format!("{what} at {}; another path is needed, or the other one has to go", path.display());
        Err(Error::new(Code::TargetExists, message).with("path", path))
    };
    let failed = |cause: Errno| Error::from_io(cause.into(), "look at", path);
    match lstat(path) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Socket => {}
        Ok(_) => return exists("there is a file that is no socket"),
        Err(Errno::NOENT) => return Ok(()), // gone meanwhile
        Err(cause) => return Err(failed(cause)),
    }
    let probe = new_socket(AddressFamily::UNIX).map_err(failed)?;
    match connect(&probe, name) {
        Err(Errno::CONNREFUSED) => match unlink(path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(cause) => Err(Error::from_io(cause.into(), "remove the abandoned socket", path)),
        },
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ACCESS) => Err(failed(Errno::ACCESS)),
        _ => exists("somebody listens"), // also if it is too busy to say so
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use rustix::net::sockopt::{socket_keepalive, tcp_nodelay};

    use super::*;

    #[test]
    fn what_is_sent_over_the_network_waits_for_nothing_and_who_vanished_is_noticed() {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let Address::Tcp(at) = *listener.address() else { panic!("{}", listener.address()) };
        let _client = TcpStream::connect(at).unwrap();
        let socket = listener.accept().unwrap();
        assert!(tcp_nodelay(&socket).unwrap());
        assert!(socket_keepalive(&socket).unwrap());
    }
}
