//! The encrypted channel of a client.
//!
//! Who receives waits for the socket without a lock, and takes the connection's only to decrypt what is there. Who sends has
//! its turn, takes the connection's lock to encrypt and to hand over what the socket has room for, and waits for room without
//! it. So neither direction waits for the other, also where a client stopped reading while it sends.
//!
//! What it guarantees: what [`Channel`] does; an end that the client did not announce (`close_notify`) is an error, since
//! anybody on the way can cut a connection off.
//! What it costs: records of 16 KiB; received bytes are copied three times besides being decrypted, sent ones once.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use rustls::ServerConnection;

use super::channel::Channel;
use super::socket::Socket;
use crate::limits::NBD_TLS_BYTES;

/// Received bytes that wait to be decrypted.
pub(super) struct Incoming {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    failure: Option<rustls::Error>, // what was wrong with some of them; nothing behind those counts
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; NBD_TLS_BYTES].into(), start: 0, end: 0, failure: None }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Waits for bytes when there are none; 0 when the client is gone.
    ///
    /// # Errors
    /// What receiving gives.
    pub(super) fn receive(&mut self, wire: &dyn Channel) -> io::Result<usize> {
        let received = wire.receive(&mut self.bytes)?;
        (self.start, self.end) = (0, received);
        Ok(received)
    }

    /// Has some of the bytes decrypted.
    ///
    /// # Errors
    /// `InvalidData` when they are not what they have to be; then there is something to be sent that says so. `UnexpectedEof`
    /// when the client has announced its end before them.
    pub(super) fn feed(&mut self, connection: &mut ServerConnection) -> io::Result<()> {
        let mut rest = &self.bytes[self.start..self.end];
        if connection.read_tls(&mut rest)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.start = self.end - rest.len();
        self.failure = connection.process_new_packets().err();
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        self.failure.clone().map_or(Ok(()), |error| Err(io::Error::new(io::ErrorKind::InvalidData, error)))
    }
}

/// Hands encrypted records to `send`, which says how many bytes it took.
///
/// # Errors
/// What `send` gives; `WriteZero` when it took nothing.
pub(super) fn send_tls(
    connection: &mut ServerConnection,
    send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<()> {
    struct Sender<F>(F);
    impl<F: FnMut(&[IoSlice<'_>]) -> io::Result<usize>> Write for Sender<F> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            (self.0)(parts)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    match connection.write_tls(&mut Sender(send))? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(()),
    }
}

/// A connection after its handshake.
pub(super) struct TlsChannel {
    socket: Arc<Socket>,
    connection: Mutex<ServerConnection>, // taken last, and never while waiting for the socket
    incoming: Mutex<Incoming>,
    sending: Mutex<()>, // whose turn it is: records go out in the order in which they were encrypted
}

impl TlsChannel {
    pub(super) fn new(mut connection: ServerConnection, incoming: Incoming, socket: Arc<Socket>) -> Self {
        connection.set_buffer_limit(Some(NBD_TLS_BYTES));
        Self { socket, connection: Mutex::new(connection), incoming: Mutex::new(incoming), sending: Mutex::new(()) }
    }

    fn connection(&self) -> MutexGuard<'_, ServerConnection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what was encrypted, as far as there is room: `WouldBlock` when there is none for the rest.
    fn send_waiting(&self, connection: &mut ServerConnection) -> io::Result<()> {
        while connection.wants_write() {
            send_tls(connection, |parts| self.socket.send_now(parts))?;
        }
        Ok(())
    }

    /// What the connection itself has to say (an alert, a new key) goes out now if there is room and nobody is sending, and
    /// otherwise with what is sent next.
    fn send_own(&self) {
        let _turn = match self.sending.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let _ = self.send_waiting(&mut self.connection()); // a client that is gone shows when it is read from
    }
}

impl Channel for TlsChannel {
    /// Fills the buffer with all that is at hand, so that requests that were sent one by one are answered together.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let mut filled = 0;
        loop {
            let mut connection = self.connection();
            let fed = loop {
                match connection.reader().read(&mut buffer[filled..]) {
                    Ok(count) => {
                        filled += count;
                        if count == 0 || filled == buffer.len() {
                            return Ok(filled); // announced its end, or is full
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return if filled > 0 { Ok(filled) } else { Err(error) },
                }
                if incoming.failure.is_some() || incoming.is_empty() {
                    break incoming.check();
                }
                match incoming.feed(&mut connection) {
                    // What came before it counts, and is read first.
                    Err(error) if incoming.failure.is_none() => break Err(error),
                    _ => {}
                }
            };
            let has_own = connection.wants_write();
            drop(connection);
            if has_own {
                self.send_own();
            }
            if filled > 0 {
                return Ok(filled); // what is wrong with the rest is so the next time too
            }
            fed?;
            if incoming.receive(self.socket.as_ref())? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn is_readable(&self) -> bool {
        let incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        if !incoming.is_empty() || incoming.failure.is_some() || self.socket.is_readable() {
            return true;
        }
        let Ok(mut connection) = self.connection.try_lock() else {
            return false; // a reply is being encrypted: who polls waits for nobody
        };
        let is_empty =
            matches!(connection.reader().fill_buf(), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        !is_empty
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let _turn = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = self.connection();
        let taken = connection.writer().write_vectored(parts)?;
        loop {
            match self.send_waiting(&mut connection) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map(|()| taken),
            }
            drop(connection);
            self.socket.wait_for_room()?;
            connection = self.connection();
        }
    }

    /// Announces the end, where that needs no waiting.
    fn close(&self) {
        self.connection().send_close_notify();
        self.send_own();
        self.socket.close();
    }
}

#[cfg(test)]
#[path = "../../tests/tls_world/certificates.rs"]
mod certificates;

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    use super::super::tls::TlsContext;
    use super::certificates::{NOW, authority};
    use super::*;

    /// Both ends of a connection after the handshake.
    fn pair(send_timeout: Duration) -> (TlsChannel, StreamOwned<ClientConnection, UnixStream>) {
        let authority = authority("authority");
        let server = authority.certify("server", NOW);
        let context = TlsContext::new(&server.certificate_pem(), &server.key_pem(), None).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let client = thread::spawn(move || {
            let mut client = StreamOwned::new(connection, theirs);
            client.flush().unwrap();
            client
        });
        let socket = Arc::new(Socket::new(OwnedFd::from(ours), send_timeout).unwrap());
        let channel = context.accept(socket.as_ref(), Arc::clone(&socket)).unwrap();
        (channel, client.join().unwrap())
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn an_announced_end_is_an_end_and_any_other_an_error() {
        for announces in [true, false] {
            let (channel, mut client) = pair(LONG);
            client.write_all(b"last words").unwrap();
            if announces {
                client.conn.send_close_notify();
            }
            client.flush().unwrap();
            client.sock.shutdown(std::net::Shutdown::Write).unwrap();
            let mut buffer = [0; 100];
            assert_eq!(channel.receive(&mut buffer).unwrap(), 10);
            for _ in 0..2 {
                match channel.receive(&mut buffer) {
                    Ok(count) => assert!(announces && count == 0),
                    Err(error) => assert!(!announces && error.kind() == io::ErrorKind::UnexpectedEof),
                }
            }
        }
    }

    #[test]
    fn what_was_sent_in_many_records_is_received_with_one_call() {
        let (channel, mut client) = pair(LONG);
        for byte in 0..100 {
            client.write_all(&[byte; 28]).unwrap();
            client.flush().unwrap();
        }
        let mut buffer = [0; 4096];
        assert_eq!(channel.receive(&mut buffer).unwrap(), 2800);
        assert_eq!(buffer[2799], 99);
    }

    #[test]
    fn what_was_received_and_not_taken_is_known_to_be_there() {
        let (channel, mut client) = pair(LONG);
        let mut bytes = [0; 10];
        while channel.is_readable() {
            assert_eq!(channel.receive(&mut [0; 10]).unwrap(), 0, "what the handshake left over");
        }
        client.write_all(&[1; 30]).unwrap();
        for _ in 0..3 {
            assert!(channel.is_readable());
            assert_eq!(channel.receive(&mut bytes).unwrap(), 10);
        }
        assert!(!channel.is_readable());
        drop(client);
        assert!(channel.is_readable(), "its end");
    }

    #[test]
    fn records_that_were_changed_are_not_believed_and_the_other_side_is_told() {
        let (channel, mut client) = pair(LONG);
        client.write_all(b"before").unwrap();
        client.conn.writer().write_all(b"one").unwrap();
        let mut record = Vec::new();
        client.conn.write_tls(&mut record).unwrap();
        *record.last_mut().unwrap() ^= 1;
        client.sock.write_all(&record).unwrap();
        assert_eq!(channel.receive(&mut [0; 100]).unwrap(), 6);
        for _ in 0..2 {
            // At once: nobody waits for more of what cannot be believed.
            assert_eq!(channel.receive(&mut [0; 100]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let told = client.read(&mut [0]).unwrap_err();
        assert!(told.to_string().contains("BadRecordMac"), "{told}");
    }

    #[test]
    fn who_takes_nothing_for_too_long_is_given_up() {
        let (channel, _client) = pair(Duration::from_millis(50));
        let bytes = vec![1; 1 << 20];
        let result = (0..100).try_for_each(|_| super::super::channel::send_all(&channel, &bytes, &[]));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn closing_wakes_whoever_waits() {
        let (channel, _client) = pair(LONG);
        let bytes = vec![1; 1 << 20];
        thread::scope(|scope| {
            let receiving = scope.spawn(|| channel.receive(&mut [0; 100]));
            let sending =
                scope.spawn(|| (0..).try_for_each(|_: u64| super::super::channel::send_all(&channel, &bytes, &[])));
            while channel.sending.try_lock().is_ok() {
                thread::yield_now();
            }
            channel.close();
            assert!(receiving.join().unwrap().is_err());
            assert!(sending.join().unwrap().is_err());
        });
    }
}
