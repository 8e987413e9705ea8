//! Whatever bytes a client sends, in the clear and in TLS, and whatever many clients do at once.
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

mod nbd_world;
mod simulation;
mod tls_world;

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nbd_world::{ENCRYPTED, Shelf, connect, queries, serve, shelf, wanting};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use simulation::progress::{count, over_seeds};
use simulation::sized;
use stillpoint_engine::nbd::protocol::{self, command, flag, option, reply};
use stillpoint_engine::nbd::{Channel, Listener, PlainClients, Server, Tls};
use stillpoint_engine::random::Seeded;
use tls_world::{Cast, parts, socket_path, started};

/// Bytes that are near to what a client may say, and of how many messages they are made: real ones in an order that may be
/// right, most of the time with some of the bytes changed, cut off or repeated.
fn conversation(random: &mut Seeded) -> (Vec<u8>, u64) {
    let mut said = (random.below(4) as u32).to_be_bytes().to_vec();
    let mut messages = 0;
    let mut is_extended = false;
    for _ in 0..random.below(6) {
        let name = ["disk", "point", "", "x"][random.below(4) as usize];
        let kind = [1, 2, 3, 5, 6, 7, 8, 8, 9, 10, 11, 4][random.below(12) as usize];
        let data = match kind {
            option::INFO | option::GO => wanting(name, &[0, 1, 2, 3]),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                queries(name, &["base:allocation", "qemu:", "qemu:dirty-bitmap:one"])
            }
            option::EXPORT_NAME => name.as_bytes().to_vec(),
            _ => vec![0; random.below(8).saturating_sub(6) as usize],
        };
        is_extended |= kind == option::EXTENDED_HEADERS && data.is_empty();
        said.extend(option_of(kind, &data));
        messages += 1;
    }
    if random.below(4) > 0 {
        said.extend(option_of(option::SET_META_CONTEXT, &queries("disk", &["base:allocation"])));
        said.extend(option_of(option::GO, &wanting("disk", &[])));
        messages += 2;
    }
    for _ in 0..random.below(16) {
        said.extend(request(random, is_extended));
        messages += 1;
    }
    for _ in 0..random.below(4) {
        let at = random.below(said.len() as u64) as usize;
        match random.below(3) {
            0 => said[at] ^= 1 << random.below(8),
            1 => said.truncate(at.max(1)),
            _ => said.extend_from_within(at..),
        }
    }
    (said, messages)
}

fn option_of(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut said = protocol::MAGIC_OPTION.to_be_bytes().to_vec();
    said.extend(kind.to_be_bytes());
    said.extend((data.len() as u32).to_be_bytes());
    said.extend(data);
    said
}

fn request(random: &mut Seeded, is_extended: bool) -> Vec<u8> {
    let (command, flags) = (random.below(9) as u16, random.below(64) as u16);
    let length = match random.below(32) {
        0 => u64::from(u32::MAX),
        1 => random.below(u64::MAX),
        2 => 1 << 20,
        3 => 200_000,
        4..8 => 0,
        8..16 => random.below(2000),
        _ => 512 * random.below(16),
    };
    let magic = if is_extended { protocol::MAGIC_REQUEST_EXTENDED } else { protocol::MAGIC_REQUEST };
    let mut said = magic.to_be_bytes().to_vec();
    said.extend((flags * u16::from(random.below(3) == 0)).to_be_bytes());
    said.extend(command.to_be_bytes());
    said.extend(random.below(u64::MAX).to_be_bytes());
    said.extend((random.below(2100) * 512).to_be_bytes()); // a few past the end
    if is_extended {
        said.extend(length.to_be_bytes());
    } else {
        said.extend((length as u32).to_be_bytes());
    }
    if command == command::WRITE && length < 250_000 {
        said.resize(said.len() + length as usize, 0x5a);
    }
    said
}

/// A client that says its bytes in pieces of some length, whatever it is answered, and then ends.
struct Script {
    left: Mutex<Vec<u8>>, // reversed
    piece: usize,
    heard: Mutex<Vec<u8>>,
}

impl Script {
    fn new(said: &[u8], piece: usize) -> Self {
        let left = said.iter().rev().copied().collect();
        Self { left: Mutex::new(left), piece, heard: Mutex::default() }
    }
}

impl Channel for Script {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut left = self.left.lock().unwrap();
        let count = buffer.len().min(self.piece).min(left.len());
        for byte in &mut buffer[..count] {
            *byte = left.pop().unwrap();
        }
        Ok(count)
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut heard = self.heard.lock().unwrap();
        let before = heard.len();
        for part in parts {
            heard.extend(&part[..part.len().min(1 << 20)]);
        }
        Ok(heard.len() - before)
    }

    fn close(&self) {
        self.left.lock().unwrap().clear();
    }
}

/// Serves a script in one of the four states of TLS; how many replies of a form that can be checked there were.
fn play(shelf: &Shelf, said: &[u8], piece: usize, tls: Tls) -> u64 {
    let script = Script::new(said, piece);
    let _ = serve(&script, shelf, tls); // an error is an end like any other
    let heard = script.heard.lock().unwrap();
    let mut heard = heard.as_slice();
    if tls != ENCRYPTED {
        heard = heard.strip_prefix(b"NBDMAGICIHAVEOPT\0\x03").expect("the greeting");
    }
    checked(heard)
}

/// Goes through replies as far as each says how long it is. Everything may be cut off at the end, nowhere else.
fn checked(mut heard: &[u8]) -> u64 {
    let mut replies = 0;
    while let Some(magic) = heard.first_chunk::<4>() {
        let at = |from: usize| heard.get(from..from + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
        let length = match u32::from_be_bytes(*magic) {
            protocol::MAGIC_CHUNK => at(16).map(|length| 20 + length as usize),
            protocol::MAGIC_CHUNK_EXTENDED => at(28).map(|length| 32 + length as usize),
            _ if heard.starts_with(&protocol::MAGIC_OPTION_REPLY.to_be_bytes()) => {
                let kind = at(12).expect("a whole header");
                assert!(kind == reply::ACK || (2..=4).contains(&kind) || kind > 1 << 31, "a reply of type {kind}");
                at(16).map(|length| 20 + length as usize)
            }
            _ => break, // an old answer, or a simple one, whose length the request says
        };
        let length = length.expect("a whole header");
        assert!(length <= heard.len(), "a reply of {length} bytes has {}", heard.len());
        heard = &heard[length..];
        replies += 1;
    }
    replies
}

const STATES: [Tls; 4] = [Tls::Absent, Tls::Offered, Tls::Required, ENCRYPTED];

/// Options and requests of a seed, at least: twenty million in a full run.
const SEED_INPUTS_MIN: u64 = 10_000;

#[test]
fn no_bytes_of_a_client_crash_or_hang_the_server() {
    let (shelf, _) = shelf(1 << 20);
    over_seeds("nbd-inputs", sized(20, 2000), |seed, counts| {
        let mut random = Seeded::new(seed);
        let mut inputs = 0;
        for _ in 0..1000 {
            let (said, messages) = conversation(&mut random);
            let tls = STATES[[0, 0, 0, 1, 2, 3, 3, 3][random.below(8) as usize]];
            let piece = [1, 7, 100, 4096, usize::MAX][random.below(5) as usize];
            inputs += messages;
            count(counts, "checked replies", play(&shelf, &said, piece, tls));
            count(counts, "conversations", 1);
        }
        assert!(inputs >= SEED_INPUTS_MIN);
        count(counts, "inputs", inputs);
    });
}

/// What once went wrong here or elsewhere, and one of each kind of message. Each file is bytes in hexadecimal; `#` begins a
/// comment.
#[test]
fn the_corpus_is_played_whole_and_cut_off_at_every_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpora/nbd");
    let (shelf, _) = shelf(1 << 20);
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let said = bytes_of(&entry.unwrap().path());
        files += 1;
        for tls in STATES {
            play(&shelf, &said, usize::MAX, tls);
            play(&shelf, &said, 1, tls);
        }
        for cut in 0..said.len() {
            play(&shelf, &said[..cut], usize::MAX, Tls::Absent);
        }
    }
    assert!(files > 0);
}

fn bytes_of(file: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(file).unwrap();
    let digits: Vec<u32> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().chars())
        .filter(|char| !char.is_whitespace())
        .map(|char| char.to_digit(16).unwrap_or_else(|| panic!("{} has {char:?}", file.display())))
        .collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// Over real sockets with real threads, where a reply may find nobody.
#[test]
fn clients_that_say_anything_and_leave_end_every_thread_of_theirs() {
    let (shelf, _) = shelf(1 << 20);
    for seed in 0..sized(500, 20_000) {
        let mut random = Seeded::new(seed);
        let (said, _) = conversation(&mut random);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let tls = STATES[random.below(4) as usize];
        thread::scope(|scope| {
            let served = scope.spawn(|| {
                let ended = serve(&theirs, shelf.as_ref(), tls);
                theirs.shutdown(Shutdown::Both).unwrap_or(()); // or the client would wait for somebody to read on
                ended
            });
            let reader = scope.spawn(|| io::copy(&mut &ours, &mut io::sink()));
            let _ = (&ours).write_all(&said); // the server may have hung up
            ours.shutdown(Shutdown::Write).unwrap_or(());
            let _ = served.join().expect("no panic");
            let _ = reader.join().unwrap();
        });
    }
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// What a client sends after STARTTLS: garbage, a handshake with a few bits changed, records with a few bits changed, or whole
/// records with anything in them.
#[test]
fn no_bytes_in_or_instead_of_tls_crash_or_hang_the_server() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed); // those of the server's threads are seen nowhere else
        report(panic);
    }));
    let cast = Cast::new();
    let parts = parts(shelf(1 << 20).0, Some(cast.context(false)), PlainClients::Local);
    let server = Server::start(Listener::unix(&socket_path()).unwrap(), parts).unwrap();
    let config = cast.client_config(rustls::ALL_VERSIONS, None);
    over_seeds("nbd-tls-inputs", sized(2, 1000), |seed, counts| {
        let mut random = Seeded::new(seed);
        for _ in 0..100 {
            let client =
                ClientConnection::new(Arc::clone(&config), ServerName::try_from("localhost").unwrap()).unwrap();
            attack(&server, client, &mut random);
            count(counts, "connections", 1);
        }
    });
    while server.client_count() > 0 {
        thread::yield_now();
    }
    server.stop();
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

fn attack(server: &Server, mut connection: ClientConnection, random: &mut Seeded) {
    let mut socket = started(server).socket;
    let mut records = Vec::new();
    match random.below(4) {
        0 => records = (0..random.below(3000)).map(|_| random.below(256) as u8).collect(),
        1 => {
            connection.write_tls(&mut records).unwrap();
        }
        _ => {
            while connection.is_handshaking() {
                connection.complete_io(&mut socket).unwrap();
            }
            for _ in 0..=random.below(3) {
                let (said, _) = conversation(random);
                connection.set_buffer_limit(None);
                connection.writer().write_all(&said[4.min(said.len())..]).unwrap(); // the flags were said in the clear
            }
            while connection.wants_write() {
                connection.write_tls(&mut records).unwrap();
            }
        }
    }
    for _ in 0..random.below(3) {
        if let Some(at) = random.below(1 + records.len() as u64).checked_sub(1) {
            let at = at as usize;
            match random.below(4) {
                0 => records.truncate(at),
                1 => records.extend_from_within(at..),
                2 => records.insert(at, random.below(256) as u8),
                _ => records[at] ^= 1 << random.below(8),
            }
        }
    }
    thread::scope(|scope| {
        let mut heard = &socket;
        scope.spawn(move || {
            let mut scrap = [0; 65_536];
            while heard.read(&mut scrap).is_ok_and(|count| count > 0) {}
        });
        let _ = (&socket).write_all(&records);
        let _ = socket.shutdown(Shutdown::Write);
    });
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
