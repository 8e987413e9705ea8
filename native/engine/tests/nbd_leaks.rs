//! Clients that come and go by the thousand leave no thread and no descriptor. Alone in its process, since it counts them.
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

mod nbd_world;
mod tls_world;

use std::io::Write;
use std::sync::atomic::Ordering;
use std::thread;

use nbd_world::shelf;
use stillpoint_engine::nbd::protocol::command;
use stillpoint_engine::nbd::{Listener, PlainClients, Server};
use stillpoint_engine::random::Seeded;
use tls_world::{Cast, connected, encrypt, parts, socket_path, started};

/// Open descriptors and threads of this process.
fn held() -> (usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

#[test]
fn thousands_of_clients_that_come_and_go_leave_nothing() {
    let is_full = std::env::var("STILLPOINT_TEST_SIZE").is_ok_and(|size| size == "full");
    let rounds = if is_full { 20_000 } else { 2_000 };
    let cast = Cast::new();
    let (shelf, disk) = shelf(1 << 20);
    disk.is_slow.store(true, Ordering::Relaxed); // so that requests take threads of their own
    let mut parts = parts(shelf, Some(cast.context(false)), PlainClients::Local);
    parts.clients_max = 256;
    let before_server = held();
    let server = Server::start(Listener::unix(&socket_path()).unwrap(), parts).unwrap();
    let before = held();
    let config = cast.client_config(rustls::ALL_VERSIONS, None);
    let mut random = Seeded::new(1);
    for round in 0..rounds {
        let what = random.below(8);
        while server.client_count() >= 64 {
            thread::yield_now(); // those that left are about to be forgotten
        }
        match what {
            0 => drop(connected(&server)),
            1 => connected(&server).hello(3),
            2 => drop(started(&server)),
            3 => started(&server).say(&[0x16, 3, 1, 2, 0, 1][..random.below(7) as usize]),
            4 => started(&server).say(&[0xaa; 300]),
            5 | 6 => {
                let mut client = connected(&server);
                client.go("disk", true, false, &[]);
                for _ in 0..random.below(20) {
                    client.request(command::READ, 0, 0, 65_536, &[]);
                }
                if what == 6 {
                    let _ = client.socket.write_all(&[0x25, 0x60, 0x95]);
                }
            }
            _ => {
                let mut client = encrypt(started(&server), config.clone());
                client.choose("disk", true, round % 2 == 0, &[]);
                for _ in 0..random.below(20) {
                    client.request(command::READ, 0, 0, 65_536, &[]);
                }
            }
        }
    }
    while server.client_count() > 0 {
        thread::yield_now();
    }
    // A thread that has forgotten its client is about to end.
    let gone = (0..200_000).any(|_| {
        thread::yield_now();
        held() == before
    });
    assert!(gone, "{:?} were {before:?}", held());
    assert!(server.refused_count() == 0);
    server.stop();
    drop(server);
    assert_eq!(held(), before_server);
}
