//! A disk in memory, a list of disks, and a client that says exactly what a test wants it to say.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use stillpoint_engine::error::{Code, Error, Result};
use stillpoint_engine::nbd::protocol::{self, flag, handshake, option, reply};
use stillpoint_engine::nbd::{Agreed, Channel, Export, Exports, Facts, Listed, StatusExtent, Tls, begin};

/// Bytes, and what was asked of them.
pub(crate) struct MemoryDisk {
    facts: Facts,
    pub(crate) bytes: Mutex<Vec<u8>>,
    pub(crate) flushes: AtomicU64,
    /// Bytes whose space was given back.
    pub(crate) cleared: AtomicU64,
    pub(crate) fails: AtomicBool,
    pub(crate) is_over: AtomicBool,
    pub(crate) is_slow: AtomicBool,
    /// What was read ahead.
    pub(crate) ahead: Mutex<Vec<std::ops::Range<u64>>>,
    pub(crate) went_ahead: Condvar,
    lock: RwLock<()>,
}

pub(crate) const SECTOR: u64 = 512;

impl MemoryDisk {
    pub(crate) fn new(name: &str, size: usize, is_read_only: bool) -> Arc<Self> {
        let facts = Facts {
            name: name.to_owned(),
            description: format!("{size} bytes"),
            size: size as u64,
            sector_bytes: SECTOR as u32,
            is_read_only,
        };
        Arc::new(Self {
            facts,
            bytes: Mutex::new(vec![0; size]),
            flushes: AtomicU64::new(0),
            cleared: AtomicU64::new(0),
            fails: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            is_slow: AtomicBool::new(false),
            ahead: Mutex::default(),
            went_ahead: Condvar::new(),
            lock: RwLock::new(()),
        })
    }

    fn range(&self, offset: u64, length: u64) -> Result<std::ops::Range<usize>> {
        assert!(offset.is_multiple_of(SECTOR) && length.is_multiple_of(SECTOR) && length > 0, "whole sectors");
        assert!(offset + length <= self.facts.size, "inside");
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::new(Code::ChunkDamaged, "x".repeat(3000)));
        }
        if self.is_over.load(Ordering::Relaxed) {
            return Err(Error::new(Code::LogFenced, "it was opened anew"));
        }
        Ok(offset as usize..(offset + length) as usize)
    }
}

impl Export for MemoryDisk {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let range = self.range(offset, buffer.len() as u64)?;
        buffer.copy_from_slice(&self.bytes.lock().unwrap()[range]);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8], _durable: bool) -> Result<()> {
        let range = self.range(offset, bytes.len() as u64)?;
        self.bytes.lock().unwrap()[range].copy_from_slice(bytes);
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, length: u64, _durable: bool) -> Result<()> {
        let range = self.range(offset, length)?;
        self.bytes.lock().unwrap()[range].fill(0);
        self.cleared.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    fn trim(&self, offset: u64, length: u64, durable: bool) -> Result<()> {
        self.write_zeroes(offset, length, durable)
    }

    fn flush(&self) -> Result<()> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn cache(&self, _offset: u64, _length: u64) -> Result<()> {
        Ok(())
    }

    fn read_ahead(&self, offset: u64, length: u64) -> Result<()> {
        assert!(offset + length <= self.facts.size && length > 0, "inside");
        self.ahead.lock().unwrap().push(offset..offset + length);
        self.went_ahead.notify_all();
        if self.fails.load(Ordering::Relaxed) { Err(Error::new(Code::ChunkDamaged, "it is damaged")) } else { Ok(()) }
    }

    fn sector_lock(&self) -> &RwLock<()> {
        &self.lock
    }

    fn is_at_hand(&self, _offset: u64, _length: u64) -> bool {
        !self.is_slow.load(Ordering::Relaxed)
    }

    fn has_ended(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn contexts(&self) -> Vec<String> {
        vec!["base:allocation".to_owned(), "qemu:dirty-bitmap:one".to_owned()]
    }

    fn has_context(&self, name: &str) -> Result<bool> {
        Ok(self.contexts().iter().any(|known| known == name) || name == "qemu:dirty-bitmap:hidden")
    }

    /// Sector by sector, so that merging has something to do.
    fn status(&self, context: &str, offset: u64, length: u64, extents_max: usize) -> Result<Vec<StatusExtent>> {
        let bytes = self.bytes.lock().unwrap();
        let mut said = Vec::new();
        let mut at = offset;
        while at < offset + length && said.len() < extents_max {
            let end = (at + 1).next_multiple_of(SECTOR);
            let zero = bytes[at as usize..end as usize].iter().all(|byte| *byte == 0);
            let flags = if context == "base:allocation" { u64::from(zero) * 3 } else { u64::from(!zero) };
            said.push(StatusExtent { length: end - at, flags });
            at = end;
        }
        Ok(said)
    }
}

/// Disks by name.
#[derive(Default)]
pub(crate) struct Shelf(pub(crate) BTreeMap<String, Arc<MemoryDisk>>);

impl Exports for Shelf {
    fn list(&self) -> Result<Vec<Listed>> {
        let listed = |(name, disk): (&String, &Arc<MemoryDisk>)| Listed {
            name: name.clone(),
            description: disk.facts.description.clone(),
        };
        Ok(self.0.iter().map(listed).collect())
    }

    fn open(&self, name: &str) -> Result<Option<Arc<dyn Export>>> {
        Ok(self.0.get(name).map(|disk| Arc::clone(disk) as Arc<dyn Export>))
    }
}

/// One disk of this size, `disk`, and a read-only one of 1 MiB, `point`.
pub(crate) fn shelf(size: usize) -> (Arc<Shelf>, Arc<MemoryDisk>) {
    let disk = MemoryDisk::new("disk", size, false);
    let point = MemoryDisk::new("point", 1 << 20, true);
    let disks = [("disk".to_owned(), Arc::clone(&disk)), ("point".to_owned(), point)];
    (Arc::new(Shelf(disks.into())), disk)
}

/// How serving a client ended that broke no rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    StartTls,
}

/// What TLS is once it is there.
pub(crate) const ENCRYPTED: Tls = Tls::Active { no_zeroes: true };

pub(crate) fn serve(channel: &dyn Channel, exports: &dyn Exports, tls: Tls) -> std::io::Result<Ended> {
    match begin(channel, exports, tls)? {
        Agreed::Nothing => Ok(Ended::Done),
        Agreed::StartTls { .. } => Ok(Ended::StartTls),
        Agreed::Session(session) => session.serve(channel).map(|()| Ended::Done),
    }
}

/// The server's side, in a thread of its own.
pub(crate) struct Served(Option<JoinHandle<std::io::Result<Ended>>>);

impl Served {
    pub(crate) fn ended(mut self) -> std::io::Result<Ended> {
        self.0.take().unwrap().join().unwrap()
    }
}

/// A client that has said nothing yet.
pub(crate) fn connect(shelf: &Arc<Shelf>, tls: Tls) -> (Client, Served) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let shelf = Arc::clone(shelf);
    let thread = std::thread::spawn(move || serve(&theirs, shelf.as_ref(), tls));
    (Client::over(ours), Served(Some(thread)))
}

pub(crate) struct Client<S = UnixStream> {
    pub(crate) socket: S,
    cookie: u64,
    pub(crate) is_structured: bool,
    pub(crate) is_extended: bool,
}

/// What a request got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) errno: u32,
    pub(crate) text: String,
    pub(crate) data: Vec<u8>,
    /// Per context: its id, and (length, flags).
    pub(crate) status: Vec<(u32, Vec<(u64, u64)>)>,
}

impl Client {
    /// A client that has said nothing yet. It waits for no answer longer than 20 s.
    pub(crate) fn over(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self::on(socket)
    }
}

impl<S: Read + Write> Client<S> {
    /// The same on any stream.
    pub(crate) fn on(socket: S) -> Self {
        Self { socket, cookie: 0, is_structured: false, is_extended: false }
    }

    /// Whether the server begins to speak.
    pub(crate) fn is_greeted(&mut self) -> bool {
        self.socket.read_exact(&mut [0; 18]).is_ok()
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub(crate) fn hear<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        self.socket.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn hear_bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.socket.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Whether the server said nothing more.
    pub(crate) fn is_over(&mut self) -> bool {
        matches!(self.socket.read(&mut [0]), Ok(0) | Err(_))
    }

    pub(crate) fn hello(&mut self, flags: u32) {
        assert_eq!(u64::from_be_bytes(self.hear()), protocol::MAGIC_HELLO);
        assert_eq!(u64::from_be_bytes(self.hear()), protocol::MAGIC_OPTION);
        assert_eq!(u16::from_be_bytes(self.hear()), handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES);
        self.say(&flags.to_be_bytes());
    }

    pub(crate) fn option(&mut self, option: u32, data: &[u8]) {
        let mut bytes = protocol::MAGIC_OPTION.to_be_bytes().to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        self.say(&bytes);
    }

    /// One reply to an option: its type and data.
    pub(crate) fn option_reply(&mut self, option: u32) -> (u32, Vec<u8>) {
        assert_eq!(u64::from_be_bytes(self.hear()), protocol::MAGIC_OPTION_REPLY);
        assert_eq!(u32::from_be_bytes(self.hear()), option);
        let kind = u32::from_be_bytes(self.hear());
        let length = u32::from_be_bytes(self.hear());
        (kind, self.hear_bytes(length as usize))
    }

    /// All replies up to the one that ends them.
    pub(crate) fn ask(&mut self, option: u32, data: &[u8]) -> (Vec<(u32, Vec<u8>)>, u32) {
        self.option(option, data);
        let mut replies = Vec::new();
        loop {
            let (kind, data) = self.option_reply(option);
            if kind == reply::ACK || kind >= 1 << 31 {
                return (replies, kind);
            }
            replies.push((kind, data));
        }
    }

    /// Up to the export, with everything that a modern client asks for.
    pub(crate) fn go(&mut self, name: &str, structured: bool, extended: bool, contexts: &[&str]) -> u16 {
        self.hello(3);
        self.choose(name, structured, extended, contexts)
    }

    /// The same after the greeting.
    pub(crate) fn choose(&mut self, name: &str, structured: bool, extended: bool, contexts: &[&str]) -> u16 {
        if structured {
            assert_eq!(self.ask(option::STRUCTURED_REPLY, &[]).1, reply::ACK);
        }
        if extended {
            assert_eq!(self.ask(option::EXTENDED_HEADERS, &[]).1, reply::ACK);
        }
        (self.is_structured, self.is_extended) = (structured || extended, extended);
        if !contexts.is_empty() {
            let (replies, kind) = self.ask(option::SET_META_CONTEXT, &queries(name, contexts));
            assert_eq!((replies.len(), kind), (contexts.len(), reply::ACK));
        }
        let (replies, kind) = self.ask(option::GO, &wanting(name, &[]));
        assert_eq!(kind, reply::ACK);
        let (_, export) = &replies[0];
        u16::from_be_bytes(export[10..12].try_into().unwrap())
    }

    /// Sends a request; the cookie that its answer will have.
    pub(crate) fn request(&mut self, command: u16, flags: u16, offset: u64, length: u64, payload: &[u8]) -> u64 {
        let bytes = self.encoded(command, flags, offset, length, payload);
        self.say(&bytes);
        self.cookie
    }

    /// The next request, with the next cookie, to be sent by the caller.
    pub(crate) fn encoded(&mut self, command: u16, flags: u16, offset: u64, length: u64, payload: &[u8]) -> Vec<u8> {
        self.cookie += 1;
        let extended = self.is_extended;
        let magic = if extended { protocol::MAGIC_REQUEST_EXTENDED } else { protocol::MAGIC_REQUEST };
        let mut bytes = magic.to_be_bytes().to_vec();
        let flags = if extended && command == protocol::command::WRITE { flags | flag::PAYLOAD_LEN } else { flags };
        bytes.extend(flags.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(self.cookie.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        if extended {
            bytes.extend(length.to_be_bytes())
        } else {
            bytes.extend((length as u32).to_be_bytes())
        }
        bytes.extend(payload);
        bytes
    }

    /// The next whole reply. `read_length` is what a simple reply without an error carries.
    pub(crate) fn answer(&mut self, read_length: usize) -> (u64, Answer) {
        let mut answer = Answer::default();
        loop {
            let magic = u32::from_be_bytes(self.hear());
            if magic == protocol::MAGIC_REPLY_SIMPLE {
                answer.errno = u32::from_be_bytes(self.hear());
                let cookie = u64::from_be_bytes(self.hear());
                if answer.errno == 0 {
                    answer.data = self.hear_bytes(read_length);
                }
                return (cookie, answer);
            }
            assert!(self.is_structured);
            let expected = if self.is_extended { protocol::MAGIC_CHUNK_EXTENDED } else { protocol::MAGIC_CHUNK };
            assert_eq!(magic, expected);
            let flags = u16::from_be_bytes(self.hear());
            let kind = u16::from_be_bytes(self.hear());
            let cookie = u64::from_be_bytes(self.hear());
            let length = if self.is_extended {
                let _offset = u64::from_be_bytes(self.hear());
                u64::from_be_bytes(self.hear())
            } else {
                u64::from(u32::from_be_bytes(self.hear()))
            };
            let body = self.hear_bytes(length as usize);
            answer.take(kind, &body);
            if flags & protocol::chunk::DONE != 0 {
                return (cookie, answer);
            }
        }
    }

    /// A request and its answer, when nothing else is in flight.
    pub(crate) fn call(&mut self, command: u16, flags: u16, offset: u64, length: u64, payload: &[u8]) -> Answer {
        let cookie = self.request(command, flags, offset, length, payload);
        let reads = if command == protocol::command::READ { length as usize } else { 0 };
        let (found, answer) = self.answer(reads);
        assert_eq!(found, cookie);
        answer
    }
}

impl Answer {
    fn take(&mut self, kind: u16, body: &[u8]) {
        use protocol::chunk;
        let u32_at = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().unwrap());
        match kind {
            chunk::NONE => assert!(body.is_empty()),
            chunk::OFFSET_DATA => {
                assert!(body.len() > 8);
                self.data.extend(&body[8..]);
            }
            chunk::BLOCK_STATUS => {
                let extents = body[4..].chunks(8).map(|pair| {
                    let (length, flags) = pair.split_at(4);
                    let number = |bytes: &[u8]| u64::from(u32::from_be_bytes(bytes.try_into().unwrap()));
                    (number(length), number(flags))
                });
                self.status.push((u32_at(0), extents.collect()));
            }
            chunk::BLOCK_STATUS_EXTENDED => {
                let count = u32_at(4) as usize;
                assert_eq!(body.len(), 8 + 16 * count);
                let extents = (0..count).map(|index| (u64_at(8 + 16 * index), u64_at(16 + 16 * index)));
                self.status.push((u32_at(0), extents.collect()));
            }
            chunk::ERROR => {
                assert!(body.len() < 1000);
                self.errno = u32_at(0);
                let length = u16::from_be_bytes(body[4..6].try_into().unwrap());
                assert_eq!(body.len(), 6 + usize::from(length));
                self.text = String::from_utf8(body[6..].to_vec()).unwrap();
            }
            _ => panic!("a chunk of type {kind}"),
        }
    }
}

fn sized(name: &str) -> Vec<u8> {
    let mut data = (name.len() as u32).to_be_bytes().to_vec();
    data.extend(name.as_bytes());
    data
}

/// Data of INFO and GO.
pub(crate) fn wanting(name: &str, infos: &[u16]) -> Vec<u8> {
    let mut data = sized(name);
    data.extend((infos.len() as u16).to_be_bytes());
    data.extend(infos.iter().flat_map(|info| info.to_be_bytes()));
    data
}

/// Data of the options about contexts.
pub(crate) fn queries(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = sized(name);
    data.extend((queries.len() as u32).to_be_bytes());
    data.extend(queries.iter().flat_map(|query| sized(query)));
    data
}
