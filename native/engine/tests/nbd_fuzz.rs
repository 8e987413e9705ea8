//! Whatever bytes a client sends, and whatever many clients do at once.

mod nbd_world;

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::thread;

use nbd_world::{connect, queries, serve, shelf, wanting};
use stillpoint_engine::nbd::Tls;
use stillpoint_engine::nbd::protocol::{self, command, flag, option};
use stillpoint_engine::random::Seeded;

/// How many, by the size of the tests.
fn sized(quick: u64, full: u64) -> u64 {
    if std::env::var("STILLPOINT_TEST_SIZE").is_ok_and(|size| size == "full") { full } else { quick }
}

/// Bytes that are near to what a client may say: real messages, some of them with a few bits changed, cut off or repeated.
fn conversation(random: &mut Seeded) -> Vec<u8> {
    let mut said = (random.below(4) as u32).to_be_bytes().to_vec();
    for _ in 0..random.below(6) {
        let name = ["disk", "point", "", "x"][random.below(4) as usize];
        let kind = [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 4][random.below(11) as usize];
        let data = match kind {
            option::INFO | option::GO => wanting(name, &[0, 1, 2, 3]),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                queries(name, &["base:allocation", "qemu:", "qemu:dirty-bitmap:one"])
            }
            option::EXPORT_NAME => name.as_bytes().to_vec(),
            _ => vec![0; random.below(3) as usize],
        };
        said.extend(protocol::MAGIC_OPTION.to_be_bytes());
        said.extend(kind.to_be_bytes());
        said.extend((data.len() as u32).to_be_bytes());
        said.extend(data);
    }
    if random.below(4) > 0 {
        said.extend(b"IHAVEOPT\0\0\0\x07\0\0\0\x0a\0\0\0\x04disk\0\0");
    }
    for _ in 0..random.below(12) {
        let (command, flags) = (random.below(9) as u16, random.below(64) as u16);
        let length = [0, 1, 512, 4096, 70_000, 1 << 20, u64::from(u32::MAX)][random.below(7) as usize];
        said.extend(protocol::MAGIC_REQUEST.to_be_bytes());
        said.extend((flags * u16::from(random.below(3) == 0)).to_be_bytes());
        said.extend(command.to_be_bytes());
        said.extend(random.below(u64::MAX).to_be_bytes());
        said.extend((random.below(200) * 512).to_be_bytes());
        said.extend((length as u32).to_be_bytes());
        if command == command::WRITE && length < 100_000 {
            said.extend(vec![0x5a; length as usize]);
        }
    }
    for _ in 0..random.below(4) {
        let at = random.below(said.len() as u64) as usize;
        match random.below(3) {
            0 => said[at] ^= 1 << random.below(8),
            1 => said.truncate(at.max(1)),
            _ => said.extend_from_within(at..),
        }
    }
    said
}

#[test]
fn no_bytes_of_a_client_crash_or_hang_the_server() {
    let (shelf, _) = shelf(1 << 20);
    for seed in 0..sized(3_000, 1_000_000) {
        let mut random = Seeded::new(seed);
        let said = conversation(&mut random);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let tls = [Tls::Absent, Tls::Offered, Tls::Required, Tls::Active][random.below(4) as usize];
        thread::scope(|scope| {
            let served = scope.spawn(|| serve(&theirs, shelf.as_ref(), tls));
            let reader = scope.spawn(|| std::io::copy(&mut &ours, &mut std::io::sink()));
            let _ = (&ours).write_all(&said); // the server may have hung up
            ours.shutdown(Shutdown::Write).unwrap_or(());
            let _ = served.join().expect("no panic");
            theirs.shutdown(Shutdown::Both).unwrap_or(());
            let _ = reader.join().unwrap();
        });
    }
}

/// Each client owns a stripe of every 4 KiB block, 1,000 bytes, never whole sectors: so neighbours change parts of the same
/// sectors at the same time, and each must find its own bytes as it left them.
#[test]
fn clients_that_write_parts_of_the_same_sectors_lose_nothing() {
    let (shelf, disk) = shelf(1 << 20);
    disk.is_slow.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        for number in 0..4u64 {
            let shelf = &shelf;
            scope.spawn(move || {
                let mut random = Seeded::new(number);
                let (mut client, _served) = connect(shelf, Tls::Absent);
                client.go("disk", true, number % 2 == 1, &[]);
                let mut expected = vec![vec![0u8; 1000]; 16];
                for round in 0..sized(300, 20_000) {
                    let block = random.below(16);
                    let (start, length) = (random.below(900), 1 + random.below(100));
                    let offset = block * 4096 + number * 1000 + start;
                    let mine = &mut expected[block as usize][start as usize..(start + length) as usize];
                    let durable = if random.below(2) == 0 { flag::FUA } else { 0 };
                    match random.below(4) {
                        0 => {
                            mine.fill(0);
                            assert_eq!(client.call(command::WRITE_ZEROES, durable, offset, length, &[]).errno, 0);
                        }
                        1 => assert_eq!(client.call(command::READ, 0, offset, length, &[]).data, mine),
                        _ => {
                            mine.fill(round as u8);
                            let bytes = mine.to_vec();
                            assert_eq!(client.call(command::WRITE, durable, offset, length, &bytes).errno, 0);
                        }
                    }
                }
                for (block, mine) in (0..).zip(&expected) {
                    let found = client.call(command::READ, 0, block * 4096 + number * 1000, 1000, &[]);
                    assert_eq!(found.data, *mine, "client {number}, block {block}");
                }
            });
        }
    });
}
