//! Connections that somebody else encrypts: keys that both sides know (TLS-PSK) are nothing that `rustls` has.
//!
//! ```text
//! client <- TLS -> relay <- in the clear, a pair of sockets -> session
//! ```
//!
//! The relay is given a descriptor of the client's socket and one end of a pair of sockets. It carries out the handshake, says
//! [`READY`] into the pair, and then carries bytes both ways, taking no more from one side than the other takes. An end on one
//! side becomes an end on the other; what it closes first is the client's socket.
//!
//! What it guarantees: a client has until the end of the time that began with its handshake, whatever the relay does; a relay
//! that ends, or that never began, is the end of its clients and of no others; a client counts until the relay has let go of
//! its socket. What it costs: what the kernel keeps for a pair of sockets, and one more copy in each direction.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::channel::Channel;
use super::socket::{Hurried, Socket};

/// What a relay says into the pair once the client is encrypted, before the client's bytes.
pub const READY: u8 = 1;

/// Who encrypts.
pub trait TlsRelay: Send + Sync {
    /// Takes a client that begins the handshake next, and the end of a pair of sockets for what it says.
    ///
    /// # Errors
    /// Whatever keeps it from doing so; both descriptors are closed then.
    fn take(&self, client: OwnedFd, plain: OwnedFd) -> io::Result<()>;
}

/// A client with a relay. Dropping it ends both sides.
pub(super) struct Relayed<'a> {
    client: &'a Socket,
    plain: Arc<Socket>,
}

impl<'a> Relayed<'a> {
    /// With it, the end for the relay. Sending fails once the client has taken nothing for `send_timeout`.
    ///
    /// # Errors
    /// What the system gives.
    pub(super) fn new(client: &'a Socket, send_timeout: Duration) -> io::Result<(Self, OwnedFd)> {
        let (ours, others) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((Self { client, plain: Arc::new(Socket::new(ours, send_timeout)?) }, others))
    }

    /// What the client says and is told.
    pub(super) const fn plain(&self) -> &Arc<Socket> {
        &self.plain
    }

    /// Returns when the handshake is done.
    ///
    /// # Errors
    /// `TimedOut`; `UnexpectedEof` when the client was not let in.
    pub(super) fn wait_until_encrypted(&self, hurried: Hurried<'_>) -> io::Result<()> {
        let mut said = [0];
        match hurried.turn_to(&self.plain).receive(&mut said)? {
            1 if said == [READY] => Ok(()),
            1 => Err(io::ErrorKind::InvalidData.into()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Has the client told what is still on its way, and waits until the relay let go of it.
    ///
    /// # Errors
    /// `TimedOut` when the client does not take it.
    pub(super) fn finish(self, time: Duration) -> io::Result<()> {
        self.plain.end_sending();
        let hurried = Hurried::new(&self.plain, time)?;
        let mut scrap = [0; 8192];
        while hurried.receive(&mut scrap)? > 0 {}
        Ok(())
    }
}

impl Drop for Relayed<'_> {
    fn drop(&mut self) {
        self.plain.close();
        self.client.close(); // the relay has a descriptor of it
    }
}
