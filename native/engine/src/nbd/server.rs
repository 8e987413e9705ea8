//! A listening socket and its clients.
//!
//! What it guarantees: at most so many clients at once, those above it are hung up on at once; a handshake that takes too long
//! is the end of its client; a stop ends every client and returns when the last of its threads has.
//! What it costs: a thread that waits for connections, and the threads of each client.

use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::channel::Channel;
use super::export::Exports;
use super::negotiation::Tls;
use super::{Agreed, begin};

/// After a connection that could not be taken, the next attempt.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// Where clients come from.
pub enum Listener {
    /// A socket of this machine.
    Unix(UnixListener),
    /// A socket of the network.
    Tcp(TcpListener),
}

/// What a server is given.
pub struct ServerParts {
    /// What it gives.
    pub exports: Arc<dyn Exports>,
    /// Clients at once, at most.
    pub clients_max: usize,
    /// How long a client may take for any step of the handshake.
    pub handshake_timeout: Duration,
    /// How long a client may leave its replies unread.
    pub send_timeout: Duration,
}

/// A running server. Dropping it stops it.
pub struct Server {
    shared: Arc<Shared>,
    accepting: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    parts: ServerParts,
    listener: Listener,
    is_stopped: AtomicBool,
    clients: Mutex<Clients>,
    client_left: Condvar,
}

#[derive(Default)]
struct Clients {
    next: u64,
    channels: BTreeMap<u64, Arc<dyn Socket>>,
    refused: u64,
}

/// A channel with time limits.
trait Socket: Channel {
    fn limit(&self, receive: Option<Duration>, send: Option<Duration>) -> io::Result<()>;
}

impl Socket for UnixStream {
    fn limit(&self, receive: Option<Duration>, send: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(receive)?;
        self.set_write_timeout(send)
    }
}

impl Socket for TcpStream {
    fn limit(&self, receive: Option<Duration>, send: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(receive)?;
        self.set_write_timeout(send)
    }
}

impl Listener {
    fn accept(&self) -> io::Result<Arc<dyn Socket>> {
        match self {
            Self::Unix(listener) => Ok(Arc::new(listener.accept()?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?; // a reply is sent when it is whole, and waits for nothing
                Ok(Arc::new(stream))
            }
        }
    }

    /// Makes a thread that waits in `accept` look whether it should.
    fn wake(&self) {
        let _ = match self {
            Self::Unix(listener) => listener.local_addr().and_then(|at| UnixStream::connect_addr(&at).map(drop)),
            Self::Tcp(listener) => listener.local_addr().and_then(|at| TcpStream::connect(at).map(drop)),
        };
    }
}

impl Server {
    /// Serves whoever connects.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(listener: Listener, parts: ServerParts) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            parts,
            listener,
            is_stopped: AtomicBool::new(false),
            clients: Mutex::default(),
            client_left: Condvar::new(),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("nbd-accept".to_owned()).spawn(move || shared.accept())?
        };
        Ok(Self { shared, accepting: Mutex::new(Some(accepting)) })
    }

    /// Clients that are connected.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.shared.clients().channels.len()
    }

    /// Clients that were hung up on because there were too many.
    #[must_use]
    pub fn refused_count(&self) -> u64 {
        self.shared.clients().refused
    }

    /// Takes no more clients, ends those that are there, and waits until nothing of them is under way.
    pub fn stop(&self) {
        self.shared.is_stopped.store(true, Ordering::Release);
        self.shared.listener.wake();
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(accepting) = accepting {
            let _ = accepting.join(); // a panic there was reported there
        }
        let mut clients = self.shared.clients();
        clients.channels.values().for_each(|channel| channel.close());
        while !clients.channels.is_empty() {
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

    fn accept(self: Arc<Self>) {
        while !self.is_stopped.load(Ordering::Acquire) {
            let Ok(channel) = self.listener.accept() else {
                // A client that was gone before it was taken, or no descriptor is left: then one that leaves gives one back.
                let _ = self.client_left.wait_timeout(self.clients(), ACCEPT_RETRY);
                continue;
            };
            if !self.is_stopped.load(Ordering::Acquire) {
                self.admit(channel);
            }
        }
    }

    fn admit(self: &Arc<Self>, channel: Arc<dyn Socket>) {
        let mut clients = self.clients();
        if clients.channels.len() >= self.parts.clients_max {
            clients.refused += 1;
            return; // dropped, and so hung up on
        }
        let number = clients.next;
        clients.next += 1;
        clients.channels.insert(number, Arc::clone(&channel));
        drop(clients);
        let shared = Arc::clone(self);
        let serve = move || {
            let leaving = Leaving { shared: &shared, number };
            let _ = shared.serve(channel.as_ref()); // what a client did wrong is its own affair
            drop(channel);
            drop(leaving);
        };
        if std::thread::Builder::new().name("nbd-client".to_owned()).spawn(serve).is_err() {
            self.leave(number);
        }
    }

    fn serve(&self, channel: &dyn Socket) -> io::Result<()> {
        channel.limit(Some(self.parts.handshake_timeout), Some(self.parts.send_timeout))?;
        match begin(channel, self.parts.exports.as_ref(), Tls::Absent)? {
            Agreed::Nothing | Agreed::StartTls => Ok(()),
            Agreed::Session(session) => {
                channel.limit(None, Some(self.parts.send_timeout))?; // a client may be silent for as long as it likes
                session.serve(channel)
            }
        }
    }

    fn leave(&self, number: u64) {
        self.clients().channels.remove(&number);
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
