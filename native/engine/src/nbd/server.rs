//! A listening socket and its clients.
//!
//! What it guarantees: at most so many clients at once, those above it are hung up on at once; a handshake that takes too long
//! is the end of its client; who has to encrypt gets nothing in the clear; a stop ends every client and returns when the last
//! of its threads has.
//! What it costs: a thread that waits for connections, and the threads of each client.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{retry_on_intr, write};

use super::channel::Channel;
use super::export::Exports;
use super::listener::{Address, Listener};
use super::negotiation::Tls;
use super::relay::{Relayed, TlsRelay};
use super::socket::{Hurried, Socket};
use super::tls::TlsContext;
use super::{Agreed, begin};
use crate::error::{Code, Error, Result};

/// After a connection that could not be taken, the next attempt.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// How connections are encrypted.
#[derive(Clone)]
pub enum Encryption {
    /// Here, with a certificate.
    Certificate(Arc<TlsContext>),
    /// By somebody else, who knows with what.
    Relay(Arc<dyn TlsRelay>),
}

/// What a server is given.
pub struct ServerParts {
    /// What it gives.
    pub exports: Arc<dyn Exports>,
    /// How it encrypts, where it offers TLS.
    pub tls: Option<Encryption>,
    /// Who need not encrypt.
    pub plain_clients: PlainClients,
    /// Clients at once, at most.
    pub clients_max: usize,
    /// How long a client may take for any step of the handshake; for all of it up to the end of TLS, where that is required.
    pub handshake_timeout: Duration,
    /// How long a client may leave its replies unread.
    pub send_timeout: Duration,
}

/// Which clients may do without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainClients {
    /// Those of this machine: who comes through a Unix socket or a loopback address. On all others TLS is forced.
    #[default]
    Local,
    /// All.
    All,
    /// None.
    None,
}

impl PlainClients {
    /// What a server says about TLS to the clients of one listener. The whole policy:
    ///
    /// | listener | `Local` | `All` | `None` |
    /// | --- | --- | --- | --- |
    /// | Unix socket, TCP on loopback | offered, if it can be | the same | required |
    /// | TCP on any other address, or on all of them | required | offered, if it can be | required |
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` where it is required and cannot be offered.
    pub fn tls_at(self, address: &Address, can_encrypt: bool) -> Result<Tls> {
        let is_required = match self {
            Self::Local => !address.is_local(),
            Self::All => false,
            Self::None => true,
        };
        match (is_required, can_encrypt) {
            (true, true) => Ok(Tls::Required),
            (true, false) => Err(Error::new(
                Code::ArgumentInvalid,
                format!("clients of {address} have to use TLS, and there is neither a certificate nor a key; give one, or allow plain clients (allowPlainTcp, --allow-plain-tcp)"),
            )
            .with("argument", "certificate")),
            (false, true) => Ok(Tls::Offered),
            (false, false) => Ok(Tls::Absent),
        }
    }
}

/// A running server. Dropping it stops it.
pub struct Server {
    shared: Arc<Shared>,
    address: Address,
    accepting: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    parts: ServerParts,
    tls: Tls,
    is_stopped: AtomicBool,
    stopping: OwnedFd, // readable once it is stopped
    clients: Mutex<Clients>,
    client_left: Condvar,
}

#[derive(Default)]
struct Clients {
    next: u64,
    connected: BTreeMap<u64, Connected>,
    refused: u64,
}

/// One client, as far as a stop needs it.
struct Connected {
    socket: Arc<Socket>,
    /// Where its bytes come in the clear, if somebody else encrypts.
    plain: Option<Arc<Socket>>,
}

impl Connected {
    fn close(&self) {
        self.socket.close();
        if let Some(plain) = &self.plain {
            plain.close(); // also where whoever encrypts does not see the other end
        }
    }
}

impl Server {
    /// Serves whoever connects.
    ///
    /// # Errors
    /// As [`PlainClients::tls_at`]; `IO_FAILED` when there is no descriptor or no thread to be had.
    pub fn start(listener: Listener, parts: ServerParts) -> Result<Self> {
        let failed = |cause| Error::new(Code::IoFailed, format!("the NBD server cannot start: {cause}"));
        let tls = parts.plain_clients.tls_at(listener.address(), parts.tls.is_some())?;
        let address = listener.address().clone();
        let stopping = eventfd(0, EventfdFlags::CLOEXEC).map_err(|cause| failed(cause.into()))?;
        let shared = Arc::new(Shared {
            parts,
            tls,
            is_stopped: AtomicBool::new(false),
            stopping,
            clients: Mutex::default(),
            client_left: Condvar::new(),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("nbd-accept".to_owned()).spawn(move || shared.accept(&listener))
        };
        let accepting = Mutex::new(Some(accepting.map_err(failed)?));
        Ok(Self { shared, address, accepting })
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Clients that are connected.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.shared.clients().connected.len()
    }

    /// Clients that were hung up on because there were too many.
    #[must_use]
    pub fn refused_count(&self) -> u64 {
        self.shared.clients().refused
    }

    /// Takes no more clients, ends those that are there, and waits until nothing of them is under way. The listening socket is
    /// closed then, and its file gone.
    pub fn stop(&self) {
        self.shared.is_stopped.store(true, Ordering::Release);
        let _ = write(&self.shared.stopping, &1u64.to_ne_bytes()); // fails only after 2^64 stops
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(accepting) = accepting {
            let _ = accepting.join(); // a panic there was reported there
        }
        let mut clients = self.shared.clients();
        clients.connected.values().for_each(Connected::close);
        while !clients.connected.is_empty() {
            clients = self.shared.client_left.wait(clients).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &Listener) {
        loop {
            let mut waiting = [PollFd::new(listener, PollFlags::IN), PollFd::new(&self.stopping, PollFlags::IN)];
            let waited = retry_on_intr(|| poll(&mut waiting, None));
            if self.is_stopped.load(Ordering::Acquire) {
                return;
            }
            match waited.map_err(io::Error::from).and_then(|_| listener.accept()) {
                Ok(socket) => self.admit(socket),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {} // gone before it was taken
                Err(_) => {
                    // No descriptor is left, for one: then a client that leaves gives one back.
                    let _ = self.client_left.wait_timeout(self.clients(), ACCEPT_RETRY);
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, socket: OwnedFd) {
        let Ok(socket) = Socket::new(socket, self.parts.send_timeout) else { return };
        let socket = Arc::new(socket);
        let mut clients = self.clients();
        if clients.connected.len() >= self.parts.clients_max {
            clients.refused += 1;
            return; // dropped, and so hung up on
        }
        let number = clients.next;
        clients.next += 1;
        clients.connected.insert(number, Connected { socket: Arc::clone(&socket), plain: None });
        drop(clients);
        let shared = Arc::clone(self);
        let serve = move || {
            let leaving = Leaving { shared: &shared, number };
            let _ = shared.serve(&socket, number); // what a client did wrong is its own affair
            drop(socket);
            drop(leaving);
        };
        if std::thread::Builder::new().name("nbd-client".to_owned()).spawn(serve).is_err() {
            self.leave(number);
        }
    }

    fn serve(&self, socket: &Arc<Socket>, number: u64) -> io::Result<()> {
        socket.limit_receiving(Some(self.parts.handshake_timeout))?;
        // Who has to encrypt has little to say before that, and one limit for all of it.
        let hurried = match self.tls {
            Tls::Required => Some(Hurried::new(socket, self.parts.handshake_timeout)?),
            _ => None,
        };
        let agreed = match &hurried {
            Some(hurried) => begin(hurried, self.parts.exports.as_ref(), self.tls),
            None => begin(socket.as_ref(), self.parts.exports.as_ref(), self.tls),
        };
        match agreed? {
            Agreed::Nothing => Ok(()),
            Agreed::Session(session) => {
                socket.limit_receiving(None)?; // a client may be silent for as long as it likes
                session.serve(socket.as_ref())
            }
            Agreed::StartTls { no_zeroes } => {
                let hurried = hurried.map_or_else(|| Hurried::new(socket, self.parts.handshake_timeout), Ok)?;
                match &self.parts.tls {
                    None => Ok(()), // never offered without
                    Some(Encryption::Certificate(context)) => self.serve_encrypted(context, socket, hurried, no_zeroes),
                    Some(Encryption::Relay(relay)) => {
                        self.serve_relayed(relay.as_ref(), socket, number, hurried, no_zeroes)
                    }
                }
            }
        }
    }

    fn serve_encrypted(
        &self,
        context: &TlsContext,
        socket: &Arc<Socket>,
        hurried: Hurried<'_>,
        no_zeroes: bool,
    ) -> io::Result<()> {
        let channel = context.accept(&hurried, Arc::clone(socket))?;
        drop(hurried);
        let ended = match begin(&channel, self.parts.exports.as_ref(), Tls::Active { no_zeroes }) {
            Ok(Agreed::Session(session)) => socket.limit_receiving(None).and_then(|()| session.serve(&channel)),
            other => other.map(drop),
        };
        channel.close();
        ended
    }

    fn serve_relayed(
        &self,
        relay: &dyn TlsRelay,
        socket: &Socket,
        number: u64,
        hurried: Hurried<'_>,
        no_zeroes: bool,
    ) -> io::Result<()> {
        let (relayed, others) = Relayed::new(socket, self.parts.send_timeout)?;
        self.note_plain(number, relayed.plain())?;
        relay.take(socket.duplicate()?, others)?;
        relayed.wait_until_encrypted(hurried)?;
        let plain = relayed.plain();
        plain.limit_receiving(Some(self.parts.handshake_timeout))?;
        match begin(plain.as_ref(), self.parts.exports.as_ref(), Tls::Active { no_zeroes })? {
            Agreed::Session(session) => {
                plain.limit_receiving(None)?;
                session.serve(plain.as_ref())?;
            }
            Agreed::Nothing | Agreed::StartTls { .. } => {}
        }
        relayed.finish(self.parts.handshake_timeout)
    }

    /// Has a stop end this too.
    fn note_plain(&self, number: u64, plain: &Arc<Socket>) -> io::Result<()> {
        let mut clients = self.clients();
        if self.is_stopped.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into()); // it may have looked for it already
        }
        if let Some(connected) = clients.connected.get_mut(&number) {
            connected.plain = Some(Arc::clone(plain));
        }
        Ok(())
    }

    fn leave(&self, number: u64) {
        self.clients().connected.remove(&number);
        self.client_left.notify_all();
    }
}

/// Takes a client off the list however its thread ends.
struct Leaving<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.shared.leave(self.number);
    }
}
