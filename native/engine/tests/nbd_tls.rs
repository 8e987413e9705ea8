//! TLS: what it lets in, what it keeps out, and what an attacker cannot make of it.
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

mod nbd_world;
mod programs;
mod tls_world;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use nbd_world::{Client, queries, shelf, wanting};
use programs::program;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use stillpoint_engine::error::{Code, Value};
use stillpoint_engine::limits::NBD_PAYLOAD_BYTES_MAX;
use stillpoint_engine::nbd::protocol::{self, Errno, can, command, option, reply};
use stillpoint_engine::nbd::{Address, Listener, PlainClients, Server, Tls, TlsContext};
use tls_world::{
    Cast, TlsClient, connected, connected_tcp, encrypt, parts, serving, socket_path, started, tcp_address,
};

const SIZE: usize = 4 << 20;

/// A server that offers TLS, and those who take part.
fn offering() -> (Server, Cast) {
    let cast = Cast::new();
    (serving(shelf(SIZE).0, Some(cast.context(false)), PlainClients::Local), cast)
}

/// Whether the server still serves others.
fn assert_serves(server: &Server, cast: &Cast) {
    let mut client = cast.connect(server);
    client.choose("disk", true, false, &[]);
    assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data.len(), 512);
}

fn assert_handshake_fails(client: &mut TlsClient) {
    try_say(client, b"IHAVEOPT\0\0\0\x03\0\0\0\0");
    assert!(client.is_over());
}

/// Says something without caring whether anybody still listens.
fn try_say<S: Read + Write>(client: &mut Client<S>, bytes: &[u8]) {
    let _ = client.socket.write_all(bytes).and_then(|()| client.socket.flush());
}

#[test]
fn disks_are_read_and_written_in_both_versions() {
    let (server, cast) = offering();
    for version in [&TLS12, &TLS13] {
        let mut client = encrypt(started(&server), cast.client_config(&[version], None));
        assert_eq!(client.ask(option::LIST, &[]).0.len(), 2);
        client.choose("disk", true, true, &["base:allocation"]);
        assert_eq!(client.socket.conn.protocol_version(), Some(version.version));
        let bytes: Vec<u8> = (0..3u32 << 20).map(|at| (at % 251) as u8).collect();
        assert_eq!(client.call(command::WRITE, 0, 512, bytes.len() as u64, &bytes).errno, 0);
        assert!(client.call(command::READ, 0, 512, bytes.len() as u64, &[]).data == bytes);
        assert_eq!(client.call(command::BLOCK_STATUS, 0, 0, 512, &[]).status, [(1, vec![(512, 3)])]);
        assert_eq!(client.call(command::WRITE_ZEROES, 0, 0, SIZE as u64, &[]).errno, 0);
        client.request(command::DISC, 0, 0, 0, &[]);
        // The end is announced: without that it would be an error here.
        assert_eq!(client.socket.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn what_was_agreed_in_the_clear_is_forgotten() {
    let (server, cast) = offering();
    let mut client = connected(&server);
    client.hello(3);
    assert_eq!(client.ask(option::STRUCTURED_REPLY, &[]).1, reply::ACK);
    assert_eq!(client.ask(option::SET_META_CONTEXT, &queries("disk", &["base:allocation"])).1, reply::ACK);
    assert_eq!(client.ask(option::STARTTLS, &[]).1, reply::ACK);
    let mut client = encrypt(client, cast.client_config(rustls::ALL_VERSIONS, None));
    assert_eq!(client.ask(option::SET_META_CONTEXT, &queries("disk", &["base:allocation"])).1, reply::ERR_INVALID);
    assert_eq!(client.choose("disk", false, false, &[]) & can::SEND_DF, 0);
    assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data, [0; 512]); // simple: a chunk would fail in the client
}

#[test]
fn the_clients_flags_still_count() {
    let (server, cast) = offering();
    for (flags, zeros) in [(1, 124), (3, 0)] {
        let mut client = connected(&server);
        client.hello(flags);
        assert_eq!(client.ask(option::STARTTLS, &[]).1, reply::ACK);
        let mut client = encrypt(client, cast.client_config(rustls::ALL_VERSIONS, None));
        client.option(option::EXPORT_NAME, b"disk");
        assert_eq!(client.hear_bytes(10 + zeros)[10..], vec![0; zeros]);
        assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
    }
}

#[test]
fn tls_does_not_begin_twice() {
    let (server, cast) = offering();
    let mut client = cast.connect(&server);
    assert_eq!(client.ask(option::STARTTLS, &[]).1, reply::ERR_INVALID);
    assert_eq!(client.ask(option::INFO, &wanting("disk", &[])).1, reply::ACK);
    assert_eq!(client.ask(option::ABORT, &[]).1, reply::ACK);
    assert_eq!(client.socket.read(&mut [0]).unwrap(), 0);
}

#[test]
fn who_has_to_encrypt_gets_nothing_before_that() {
    let cast = Cast::new();
    let server = serving(shelf(SIZE).0, Some(cast.context(false)), PlainClients::None);
    let mut client = connected(&server);
    client.hello(3);
    for option in [option::LIST, option::INFO, option::GO, option::STRUCTURED_REPLY, option::SET_META_CONTEXT, 77] {
        assert_eq!(client.ask(option, &[]).1, reply::ERR_TLS_REQD);
    }
    assert_eq!(client.ask(option::STARTTLS, b"x").1, reply::ERR_INVALID);
    assert_eq!(client.ask(option::STARTTLS, &[]).1, reply::ACK);
    let mut client = encrypt(client, cast.client_config(rustls::ALL_VERSIONS, None));
    assert_eq!(client.ask(option::LIST, &[]).1, reply::ACK);
    let mut old = connected(&server);
    old.hello(3);
    old.option(option::EXPORT_NAME, b"disk");
    assert!(old.is_over());
    let mut aborting = connected(&server);
    aborting.hello(3);
    assert_eq!(aborting.ask(option::ABORT, &[]).1, reply::ACK);
}

#[test]
fn plain_and_encrypted_clients_use_one_disk_beside_each_other() {
    let (server, cast) = offering();
    let mut plain = connected(&server);
    plain.go("disk", true, false, &[]);
    let mut encrypted = cast.connect(&server);
    encrypted.choose("disk", true, true, &[]);
    for round in 0..100u64 {
        let bytes = [round as u8; 1000];
        assert_eq!(plain.call(command::WRITE, 0, round * 2000, 1000, &bytes).errno, 0);
        assert_eq!(encrypted.call(command::READ, 0, round * 2000, 1000, &[]).data, bytes);
        assert_eq!(encrypted.call(command::WRITE, 0, round * 2000 + 1000, 1000, &bytes).errno, 0);
        assert_eq!(plain.call(command::READ, 0, round * 2000 + 1000, 1000, &[]).data, bytes);
    }
}

#[test]
fn clients_prove_themselves_where_authorities_are_given() {
    let cast = Cast::new();
    let server = serving(shelf(SIZE).0, Some(cast.context(true)), PlainClients::None);
    for version in [&TLS12, &TLS13] {
        for stranger in [None, Some(&cast.strange_client), Some(&cast.expired)] {
            assert_handshake_fails(&mut encrypt(started(&server), cast.client_config(&[version], stranger)));
        }
        let mut known = encrypt(started(&server), cast.client_config(&[version], Some(&cast.client)));
        assert_eq!(known.ask(option::LIST, &[]).1, reply::ACK);
    }
}

#[test]
fn a_certificate_that_has_expired_is_for_the_client_to_refuse() {
    let cast = Cast::new();
    let context = TlsContext::new(&cast.expired.certificate_pem(), &cast.expired.key_pem(), None).unwrap();
    let server = serving(shelf(SIZE).0, Some(Arc::new(context)), PlainClients::Local);
    let mut client = cast.connect(&server);
    let refused = client.socket.flush().unwrap_err();
    assert!(refused.to_string().contains("expired"), "{refused}");
    drop(client);
    let mut plain = connected(&server);
    plain.go("disk", true, false, &[]);
}

#[test]
fn each_text_that_is_wrong_is_named() {
    let cast = Cast::new();
    let (certificate, key) = (cast.server.certificate_pem(), cast.server.key_pem());
    let authorities = cast.authority.certificate_pem();
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let flipped = certificate.replacen("MII", "MIA", 1);
    let other_key = cast.client.key_pem();
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let half = cut(&certificate);
    let cases: [(&str, &str, Option<&str>, &str, &str); 11] = [
        ("", &key, None, "certificate", "no section CERTIFICATE"),
        (&key, &key, None, "certificate", "no section CERTIFICATE"),
        (&half, &key, None, "certificate", "end marker"),
        (&flipped, &key, None, "certificate", "invalid peer certificate"),
        (&certificate, "", None, "key", "no section PRIVATE KEY"),
        (&certificate, &certificate, None, "key", "no section PRIVATE KEY"),
        (&certificate, &encrypted, None, "key", "passphrase"),
        (&certificate, &other_key, None, "key", "does not belong"),
        (&certificate, &key, Some(""), "clientAuthorities", "no section CERTIFICATE"),
        (&certificate, &key, Some(&half), "clientAuthorities", "end marker"),
        (&certificate, &key, Some(&flipped), "clientAuthorities", "invalid peer certificate"),
    ];
    for (certificate, key, authorities, argument, why) in cases {
        let error = TlsContext::new(certificate, key, authorities).err().unwrap();
        assert_eq!(error.code(), Code::ArgumentInvalid);
        assert_eq!(error.context(), [("argument", Value::Text(argument.to_owned()))], "{error}");
        assert!(error.message().contains(why), "{error}");
        assert!(!error.message().contains(&key[key.len() / 2..]) || key.is_empty(), "a key stays secret");
    }
    // All in one text, as some keep them.
    let bundle = format!("{key}{certificate}{authorities}");
    assert!(TlsContext::new(&bundle, &bundle, Some(&authorities)).is_ok());
}

#[test]
fn who_need_not_encrypt_depends_on_the_address() {
    let unix = Address::Unix("/run/x".into());
    let name = Address::Abstract(b"x".to_vec());
    let tcp = |at: &str| Address::Tcp(at.parse().unwrap());
    let here = [unix, name, tcp("127.0.0.1:1"), tcp("127.8.8.8:1"), tcp("[::1]:1"), tcp("[::ffff:127.0.0.1]:1")];
    let elsewhere = [tcp("0.0.0.0:1"), tcp("[::]:1"), tcp("192.0.2.1:1"), tcp("[2001:db8::1]:1")];
    for address in &here {
        assert_eq!(PlainClients::Local.tls_at(address, false).unwrap(), Tls::Absent);
        assert_eq!(PlainClients::Local.tls_at(address, true).unwrap(), Tls::Offered);
    }
    for address in &elsewhere {
        assert_eq!(PlainClients::Local.tls_at(address, true).unwrap(), Tls::Required);
        let refused = PlainClients::Local.tls_at(address, false).unwrap_err();
        assert_eq!(refused.code(), Code::ArgumentInvalid);
    }
    for address in here.iter().chain(&elsewhere) {
        assert_eq!(PlainClients::All.tls_at(address, false).unwrap(), Tls::Absent);
        assert_eq!(PlainClients::All.tls_at(address, true).unwrap(), Tls::Offered);
        assert_eq!(PlainClients::None.tls_at(address, true).unwrap(), Tls::Required);
        assert_eq!(PlainClients::None.tls_at(address, false).unwrap_err().code(), Code::ArgumentInvalid);
    }
    let here = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = Server::start(here, parts(shelf(SIZE).0, None, PlainClients::None)).err().unwrap();
    assert!(refused.message().contains("clients of tcp:127.0.0.1:"), "{refused}");
}

#[test]
fn bytes_that_were_smuggled_in_behind_starttls_are_not_heard() {
    let (server, cast) = offering();
    let smuggled = [b"IHAVEOPT\0\0\0\x03\0\0\0\0".to_vec(), b"IHAVEOPT\0\0\0\x08\0\0\0\0".to_vec(), vec![0x16]];
    for bytes in smuggled {
        let mut client = connected(&server);
        client.hello(3);
        let mut packet = b"IHAVEOPT\0\0\0\x05\0\0\0\0".to_vec();
        packet.extend(&bytes);
        client.say(&packet);
        // Nobody can tell what of it is a client's own: the end, without a word.
        assert!(client.is_over());
    }
    // Behind the answer they are no handshake.
    let mut client = started(&server);
    try_say(&mut client, b"IHAVEOPT\0\0\0\x03\0\0\0\0");
    let mut answer = Vec::new();
    let _ = client.socket.read_to_end(&mut answer);
    assert!(answer.len() < 16 && !answer.starts_with(&protocol::MAGIC_OPTION_REPLY.to_be_bytes()), "{answer:?}");
    assert_serves(&server, &cast);
}

#[test]
fn garbage_instead_of_a_handshake_is_the_end() {
    let (server, cast) = offering();
    let hello = client_hello(&cast);
    let mut bad: Vec<Vec<u8>> = vec![
        vec![0; 100],
        vec![0xff; 70_000],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [0x15, 3, 3, 0, 2, 1, 0].repeat(3), // says at once that it ends, and goes on
        [0x16, 3, 1, 0, 0].repeat(1000),    // records without anything
        [0x14, 3, 3, 0, 1, 1].repeat(1000), // changes its cipher again and again
        [&[0x16, 3, 1, 0x40, 1][..], &[1; 20_000]].concat(), // a record that is too long
        [&[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[1; 70_000]].concat(), // a message of 16 MiB
        [hello.clone(), hello.clone()].concat(),
    ];
    for at in (0..hello.len()).step_by(7) {
        let mut flipped = hello.clone();
        flipped[at] ^= 0x55;
        flipped.extend([0x17; 3000]);
        bad.push(flipped);
    }
    for bytes in bad {
        let mut client = started(&server);
        try_say(&mut client, &bytes);
        let _ = client.socket.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut client.socket, &mut std::io::sink()); // an alert, and the end
        assert_serves(&server, &cast);
    }
}

/// The first bytes that a client says in TLS.
fn client_hello(cast: &Cast) -> Vec<u8> {
    let config = cast.client_config(rustls::ALL_VERSIONS, None);
    let mut connection = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn a_handshake_has_one_limit_of_time_however_it_is_spread() {
    let cast = Cast::new();
    for plain_clients in [PlainClients::Local, PlainClients::None] {
        let mut parts = parts(shelf(SIZE).0, Some(cast.context(false)), plain_clients);
        parts.handshake_timeout = Duration::from_millis(1500);
        let server = Server::start(Listener::unix(&socket_path()).unwrap(), parts).unwrap();
        let hello = client_hello(&cast);
        let mut client = started(&server);
        client.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut said = 0;
        for byte in hello {
            if client.socket.write_all(&[byte]).is_err() {
                break;
            }
            said += 1;
            match client.socket.read(&mut [0; 64]) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => break,
            }
        }
        assert!(said < 100, "{said} bytes, one every 50 ms"); // 30 of them, where nothing else holds this machine up
        // And who says nothing at all.
        let mut silent = started(&server);
        assert!(silent.is_over());
    }
}

#[test]
fn who_vanishes_in_the_middle_of_a_handshake_leaves_nothing() {
    let (server, cast) = offering();
    let hello = client_hello(&cast);
    let wait_for_room = || {
        while server.client_count() > 32 {
            thread::yield_now();
        }
    };
    for cut in (0..hello.len()).step_by(3) {
        wait_for_room();
        let mut client = started(&server);
        client.say(&hello[..cut]);
    }
    for _ in 0..50 {
        wait_for_room();
        let mut client = started(&server);
        client.say(&hello);
        client.hear_bytes(5); // the server has begun to answer
    }
    while server.client_count() > 0 {
        thread::yield_now();
    }
    assert_serves(&server, &cast);
}

#[test]
fn an_end_that_was_not_announced_ends_the_client_alone() {
    let (server, cast) = offering();
    for announces in [false, true] {
        let mut client = cast.connect(&server);
        client.choose("disk", true, false, &[]);
        client.call(command::WRITE, 0, 0, 512, &[7; 512]);
        if announces {
            client.socket.conn.send_close_notify();
        }
        client.socket.flush().unwrap();
        drop(client);
    }
    while server.client_count() > 0 {
        thread::yield_now();
    }
    assert_serves(&server, &cast);
}

#[test]
fn a_client_that_never_reads_holds_up_nobody_and_can_be_stopped() {
    let cast = Cast::new();
    let (shelf, disk) = shelf(8 << 20);
    disk.is_slow.store(true, Ordering::Relaxed);
    let server = serving(shelf, Some(cast.context(false)), PlainClients::Local);
    let mut greedy = cast.connect(&server);
    greedy.choose("disk", true, false, &[]);
    greedy.socket.sock.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut request = protocol::MAGIC_REQUEST.to_be_bytes().to_vec();
    request.extend([0; 20]);
    request.extend((4u32 << 20).to_be_bytes());
    for _ in 0..20_000 {
        if greedy.socket.write_all(&request).and_then(|()| greedy.socket.flush()).is_err() {
            break;
        }
    }
    assert_serves(&server, &cast);
    server.stop(); // although its replies wait for room
    assert_eq!(server.client_count(), 0);
}

#[test]
fn both_directions_may_be_full_at_once() {
    let (server, cast) = offering();
    let mut client = cast.connect(&server);
    client.choose("disk", true, false, &[]);
    // Everything is encrypted before any of it is sent, so that one thread can send while the other decrypts.
    let (reads, payload) = (60usize, vec![9u8; 1 << 20]);
    let connection = &mut client.socket.conn;
    connection.set_buffer_limit(None);
    for cookie in 0..2 * reads as u64 {
        let is_write = cookie % 2 == 1;
        let mut request = protocol::MAGIC_REQUEST.to_be_bytes().to_vec();
        request.extend([0, 0, 0, u8::from(is_write)]);
        request.extend(cookie.to_be_bytes());
        request.extend((1u64 << 20).to_be_bytes());
        request.extend((payload.len() as u32).to_be_bytes());
        connection.writer().write_all(&request).unwrap();
        if is_write {
            connection.writer().write_all(&payload).unwrap();
        }
    }
    let mut encrypted = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut encrypted).unwrap();
    }
    let mut socket = client.socket.sock.try_clone().unwrap();
    let sender = thread::spawn(move || socket.write_all(&encrypted).unwrap());
    let mut answered: Vec<u64> = (0..2 * reads).map(|_| client.answer(0).0).collect();
    answered.sort_unstable();
    assert_eq!(answered, (0..2 * reads as u64).collect::<Vec<_>>());
    sender.join().unwrap();
}

#[test]
fn keys_are_changed_while_requests_are_under_way() {
    let (server, cast) = offering();
    let mut client = encrypt(started(&server), cast.client_config(&[&TLS13], None));
    client.choose("disk", true, false, &[]);
    for round in 0..50u8 {
        let offset = u64::from(round) * 70_000;
        client.request(command::WRITE, 0, offset, 70_000, &vec![round; 70_000]);
        client.socket.conn.refresh_traffic_keys().unwrap(); // and the server is asked for the same
        client.request(command::READ, 0, offset, 70_000, &[]);
        client.socket.conn.refresh_traffic_keys().unwrap();
        let answers = [client.answer(0).1, client.answer(0).1];
        assert!(answers.iter().all(|answer| answer.errno == 0));
        assert!(answers[1].data == vec![round; 70_000]);
    }
}

#[test]
fn errors_are_told_in_tls_as_in_the_clear() {
    let (server, cast) = offering();
    let mut client = cast.connect(&server);
    client.choose("point", true, false, &[]);
    assert_eq!(client.call(command::WRITE, 0, 0, 512, &[1; 512]).errno, Errno::Permission as u32);
    assert_eq!(client.call(command::READ, 0, 1 << 20, 512, &[]).errno, Errno::Invalid as u32);
    let long = NBD_PAYLOAD_BYTES_MAX + 512;
    let payload = vec![0; long as usize];
    let mut client = cast.connect(&server);
    client.choose("disk", true, false, &[]);
    assert_eq!(client.call(command::WRITE, 0, 0, long, &payload).errno, Errno::NoSpace as u32);
    assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
}

/// OpenSSL's client asks for a new handshake in TLS 1.2, which is how others' keys were once made to stand for an attacker's
/// bytes (CVE-2009-3555). A proxy says STARTTLS for it.
#[test]
fn there_is_no_second_handshake_in_a_connection() {
    let Some(openssl) = program("openssl") else { return };
    let cast = Cast::new();
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = Server::start(listener, parts(shelf(SIZE).0, Some(cast.context(false)), PlainClients::Local)).unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = Command::new(openssl)
        .args(["s_client", "-tls1_2", "-connect", &proxy.local_addr().unwrap().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (theirs, _) = proxy.accept().unwrap();
    let mut start = Client::on(connected_tcp(&server));
    start.hello(3);
    assert_eq!(start.ask(option::STARTTLS, &[]).1, reply::ACK);
    let ours = start.socket;
    let (mut their_end, mut our_end) = (theirs.try_clone().unwrap(), ours.try_clone().unwrap());
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut our_end, &mut their_end);
        let _ = their_end.shutdown(std::net::Shutdown::Write);
    });
    let there = thread::spawn(move || {
        let _ = std::io::copy(&mut &theirs, &mut &ours);
        let _ = ours.shutdown(std::net::Shutdown::Write);
    });
    child.stdin.take().unwrap().write_all(b"R\n").unwrap(); // and the end of what it has to say
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation") || said.contains("no_renegotiation"), "{said}");
    there.join().unwrap();
    back.join().unwrap();
    assert!(tcp_address(&server).ip().is_loopback());
    let mut plain = Client::on(connected_tcp(&server));
    plain.go("disk", true, false, &[]);
}
