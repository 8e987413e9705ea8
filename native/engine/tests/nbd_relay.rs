//! Clients whose TLS somebody else takes care of: what the server leaves to the relay, and what it does not.
//!
//! The relay here changes nothing but every bit, so that what crosses it is seen; a real one is tested where it is.
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

mod nbd_world;
mod tls_world;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nbd_world::{Client, shelf};
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_send_buffer_size};
use stillpoint_engine::limits::NBD_SEND_BYTES;
use stillpoint_engine::nbd::protocol::{Errno, command, option, reply};
use stillpoint_engine::nbd::{Encryption, Listener, PlainClients, READY, Server, TlsRelay};
use tls_world::{connected, parts, socket_path, started};

const SIZE: usize = 8 << 20;

/// How a relay behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Works,
    /// Never says that the client is encrypted.
    Hangs,
    /// Closes both.
    Ends,
    /// Says something that it should not.
    Lies,
    Refuses,
}

/// Turns every bit.
struct Turning {
    manner: Manner,
    kept: Mutex<Vec<(UnixStream, UnixStream)>>,
}

fn carry(mut from: &UnixStream, mut to: &UnixStream) {
    let mut buffer = vec![0; 65_536];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        buffer[..count].iter_mut().for_each(|byte| *byte = !*byte);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
}

impl TlsRelay for Turning {
    fn take(&self, client: OwnedFd, plain: OwnedFd) -> io::Result<()> {
        let (client, mut plain) = (UnixStream::from(client), UnixStream::from(plain));
        match self.manner {
            Manner::Works => {
                plain.write_all(&[READY])?;
                let (other_client, other_plain) = (client.try_clone()?, plain.try_clone()?);
                thread::spawn(move || {
                    carry(&other_client, &other_plain);
                    let _ = other_plain.shutdown(Shutdown::Write);
                });
                thread::spawn(move || {
                    carry(&plain, &client);
                    let _ = (client.shutdown(Shutdown::Both), plain.shutdown(Shutdown::Both));
                });
            }
            Manner::Hangs => self.kept.lock().unwrap().push((client, plain)),
            Manner::Ends => {}
            Manner::Lies => plain.write_all(&[READY + 1])?,
            Manner::Refuses => return Err(io::ErrorKind::Other.into()),
        }
        Ok(())
    }
}

/// What a client of the turning relay speaks over.
struct Turned(UnixStream);

impl Read for Turned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        buffer[..count].iter_mut().for_each(|byte| *byte = !*byte);
        Ok(count)
    }
}

impl Write for Turned {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let turned: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        self.0.write(&turned)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn relaying(manner: Manner, handshake: Duration, send: Duration) -> Server {
    let relay: Arc<dyn TlsRelay> = Arc::new(Turning { manner, kept: Mutex::default() });
    let mut parts = parts(shelf(SIZE).0, None, PlainClients::None);
    parts.tls = Some(Encryption::Relay(relay));
    (parts.handshake_timeout, parts.send_timeout) = (handshake, send);
    Server::start(Listener::unix(&socket_path()).unwrap(), parts).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the limits of a socket are of real time")]
fn now() -> Instant {
    Instant::now()
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

fn turned(server: &Server) -> Client<Turned> {
    Client::on(Turned(started(server).socket))
}

fn wait_until_gone(server: &Server) {
    while server.client_count() > 0 {
        thread::yield_now();
    }
}

#[test]
fn what_a_client_says_crosses_the_relay_and_nothing_before_it() {
    let server = relaying(Manner::Works, LONG, LONG);
    let mut plain = connected(&server);
    plain.hello(3);
    assert_eq!(plain.ask(option::LIST, &[]).1, reply::ERR_TLS_REQD);
    let mut client = turned(&server);
    assert_eq!(client.ask(option::STARTTLS, &[]).1, reply::ERR_INVALID);
    client.choose("disk", true, true, &["base:allocation"]);
    let bytes: Vec<u8> = (0..3u32 << 20).map(|at| (at % 251) as u8).collect();
    assert_eq!(client.call(command::WRITE, 0, 512, bytes.len() as u64, &bytes).errno, 0);
    assert!(client.call(command::READ, 0, 512, bytes.len() as u64, &[]).data == bytes);
    assert_eq!(client.call(command::READ, 0, SIZE as u64, 1, &[]).errno, Errno::Invalid as u32);
    client.request(command::DISC, 0, 0, 0, &[]);
    assert_eq!(client.socket.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_was_asked_before_the_end_is_answered() {
    let server = relaying(Manner::Works, LONG, LONG);
    let mut client = turned(&server);
    client.choose("disk", true, false, &[]);
    for _ in 0..100 {
        client.request(command::READ, 0, 0, 65_536, &[]);
    }
    client.request(command::DISC, 0, 0, 0, &[]);
    let mut all = Vec::new();
    client.socket.read_to_end(&mut all).unwrap();
    assert!(all.len() > 100 * 65_536);
    wait_until_gone(&server);
}

#[test]
fn a_relay_that_never_encrypts_costs_its_client_the_time_of_a_handshake() {
    let server = relaying(Manner::Hangs, SHORT, LONG);
    let before = now();
    let mut client = started(&server);
    assert!(client.is_over()); // also for the relay, which has both sockets still
    assert!(before.elapsed() >= SHORT);
    wait_until_gone(&server);
}

#[test]
fn a_relay_that_ends_refuses_or_lies_is_the_end_of_its_client_at_once() {
    for manner in [Manner::Ends, Manner::Refuses, Manner::Lies] {
        let server = relaying(manner, LONG, LONG);
        assert!(started(&server).is_over());
        wait_until_gone(&server);
        let mut next = connected(&server);
        next.hello(3);
        assert_eq!(next.ask(option::LIST, &[]).1, reply::ERR_TLS_REQD);
    }
}

#[test]
fn a_stop_ends_clients_whatever_the_relay_does() {
    for manner in [Manner::Works, Manner::Hangs] {
        let server = relaying(manner, LONG, LONG);
        let mut clients: Vec<_> = (0..8).map(|_| started(&server)).collect();
        server.stop();
        assert_eq!(server.client_count(), 0);
        assert!(clients.iter_mut().all(Client::is_over));
    }
}

#[test]
fn who_takes_nothing_for_too_long_is_given_up_behind_a_relay_too() {
    let server = relaying(Manner::Works, LONG, SHORT);
    let mut client = turned(&server);
    client.choose("disk", true, false, &[]);
    for _ in 0..8 {
        client.request(command::READ, 0, 0, 4 << 20, &[]);
    }
    wait_until_gone(&server); // though nothing was read
}

/// What a client's socket holds here.
fn socket_bytes() -> u64 {
    let (socket, _other) = UnixStream::pair().unwrap();
    set_socket_send_buffer_size(&socket, NBD_SEND_BYTES).unwrap();
    socket_send_buffer_size(&socket).unwrap() as u64
}

#[test]
fn an_end_that_a_client_does_not_take_ends_with_the_time_for_it() {
    let server = relaying(Manner::Works, Duration::from_secs(1), LONG);
    let mut client = turned(&server);
    client.choose("disk", true, false, &[]);
    // More than the client's socket holds, less than that and the one to the relay.
    client.request(command::READ, 0, 0, socket_bytes() / 4 * 5, &[]);
    let before = now();
    client.request(command::DISC, 0, 0, 0, &[]);
    wait_until_gone(&server);
    assert!(before.elapsed() >= Duration::from_secs(1));
}
