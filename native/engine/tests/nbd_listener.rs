//! Sockets that a server listens on: whose file is replaced, whose is left alone, and which descriptors are taken.
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

mod nbd_world;
mod support;
mod tls_world;

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use nbd_world::{Client, shelf};
use stillpoint_engine::error::Code;
use stillpoint_engine::nbd::protocol::command;
use stillpoint_engine::nbd::{Address, Listener, PlainClients, Server};
use support::Folder;
use tls_world::parts;

fn serve(listener: Listener) -> Server {
    Server::start(listener, parts(shelf(1 << 20).0, None, PlainClients::Local)).unwrap()
}

fn assert_serves_unix(path: &Path) {
    let mut client = Client::over(UnixStream::connect(path).unwrap());
    client.go("disk", true, false, &[]);
    assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
}

fn assert_serves_tcp(at: &Address) {
    let Address::Tcp(at) = at else { panic!("{at}") };
    let mut client = Client::on(TcpStream::connect(at).unwrap());
    client.go("disk", true, false, &[]);
    assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
}

#[test]
fn a_socket_file_is_its_users_alone_and_goes_with_the_server() {
    let folder = Folder::new();
    let path = folder.path.join("nbd.sock");
    let server = serve(Listener::unix(&path).unwrap());
    assert_eq!(server.address(), &Address::Unix(path.clone()));
    assert_eq!(server.address().to_string(), format!("unix:{}", path.display()));
    let made = path.symlink_metadata().unwrap();
    assert!(made.file_type().is_socket());
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    assert_serves_unix(&path);
    server.stop();
    assert!(!path.exists());
    drop(Listener::unix(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn an_abandoned_socket_file_is_replaced_and_any_other_file_is_left() {
    let folder = Folder::new();
    let path = folder.path.join("nbd.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = serve(Listener::unix(&path).unwrap());
    assert_serves_unix(&path);

    let refused = Listener::unix(&path).err().unwrap();
    assert_eq!(refused.code(), Code::TargetExists, "{refused}");
    assert_serves_unix(&path);

    let file = folder.path.join("file");
    std::os::unix::fs::symlink("nowhere", &file).unwrap();
    assert_eq!(Listener::unix(&file).err().unwrap().code(), Code::TargetExists);
    assert!(file.symlink_metadata().is_ok());
    assert_eq!(Listener::unix(&folder.path).err().unwrap().code(), Code::TargetExists);
    assert_eq!(Listener::unix(&folder.path.join("no/x")).err().unwrap().code(), Code::TargetInvalid);
    let long = folder.path.join("x".repeat(108));
    assert_eq!(Listener::unix(&long).err().unwrap().code(), Code::ArgumentInvalid);
    drop(server);
}

#[test]
fn a_file_that_took_the_place_of_ours_is_left() {
    let folder = Folder::new();
    let path = folder.path.join("nbd.sock");
    let server = serve(Listener::unix(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    server.stop(); // although nobody can reach it any more
    assert!(path.exists());
    drop(other);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_port_of_the_network_is_found_and_taken_once() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = Listener::tcp(at.parse().unwrap()) else {
            assert!(at.starts_with('['), "a machine may have no IPv6");
            continue;
        };
        let Address::Tcp(found) = *listener.address() else { panic!("{}", listener.address()) };
        assert!(found.port() > 0);
        assert_eq!(Listener::tcp(found).err().unwrap().code(), Code::TargetExists);
        let server = serve(listener);
        assert_serves_tcp(server.address());
        server.stop();
        assert!(TcpStream::connect(found).is_err());
        drop(Listener::tcp(found).unwrap()); // at once, although connections of the other one are remembered
    }
}

#[test]
fn a_socket_that_listens_already_is_taken_and_its_file_stays() {
    let folder = Folder::new();
    let path = folder.path.join("nbd.sock");
    let made = UnixListener::bind(&path).unwrap();
    let kept = made.try_clone().unwrap(); // as whoever hands it over keeps it
    let server = serve(Listener::from_fd(OwnedFd::from(made)).unwrap());
    assert_eq!(server.address(), &Address::Unix(path.clone()));
    assert_serves_unix(&path);
    server.stop();
    assert!(path.exists());
    // Others wait at it until the next one takes it.
    let waiting = UnixStream::connect(&path).unwrap();
    let server = serve(Listener::from_fd(OwnedFd::from(kept)).unwrap());
    let mut client = Client::over(waiting);
    client.go("disk", true, false, &[]);
    server.stop();

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = tcp.local_addr().unwrap();
    let server = serve(Listener::from_fd(OwnedFd::from(tcp)).unwrap());
    assert_eq!(server.address(), &Address::Tcp(at));
    assert_serves_tcp(server.address());

    let name = format!("stillpoint-{}", std::process::id());
    let named = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let listener = Listener::from_fd(OwnedFd::from(named)).unwrap();
    assert_eq!(listener.address().to_string(), format!("unix:@{name}"));
}

#[test]
fn a_descriptor_that_is_no_listening_socket_is_refused() {
    let (one, other) = UnixStream::pair().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let file = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let wrong: [(OwnedFd, &str); 6] = [
        (one.into(), "does not listen"),
        (connected.into(), "does not listen"),
        (UnixDatagram::unbound().unwrap().into(), "streams"),
        (UdpSocket::bind("127.0.0.1:0").unwrap().into(), "streams"),
        (file, "no socket"),
        (reader.into(), "no socket"),
    ];
    for (descriptor, why) in wrong {
        let refused = Listener::from_fd(descriptor).err().unwrap();
        assert_eq!(refused.code(), Code::ArgumentInvalid);
        assert!(refused.message().contains(why), "{refused}");
    }
    drop(other);
}
