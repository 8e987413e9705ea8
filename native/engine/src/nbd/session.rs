//! One client after its handshake: requests in, replies out.
//!
//! The thread that receives carries out at once what will not wait for a disk, and collects the replies until nothing more is
//! waiting to be understood: a client with many small requests in flight costs one receive and one send for all of them. What
//! may wait (flushes, what has to be durable, reads of what is not at hand) goes to other threads of the same client, so that a
//! slow request holds up nobody, and a client that does not read its replies only itself. They also read ahead of a client that
//! reads in order and has nothing else under way.
//!
//! What it guarantees: each request gets one reply; a payload never becomes a request; memory in flight is bounded by
//! [`NBD_CLIENT_BYTES_MAX`], beyond which the next request waits on the wire; a disconnect is answered by silence after
//! everything before it was answered.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use super::channel::{Channel, Inbox, send_all};
use super::negotiation::Terms;
use super::protocol::{Errno, REQUEST_BYTES, REQUEST_EXTENDED_BYTES, command, flag};
use super::reply::Encoder;
use super::request::{Payload, Request};
use super::sectors::{self, Clearing};
use super::sequence::Sequence;
use super::status::answerable;
use crate::buffers::{Buffer, Buffers};
use crate::busy_poll::BusyPoll;
use crate::error::{Code, Error, Result};
use crate::limits::{NBD_CLIENT_BYTES_MAX, NBD_CLIENT_THREADS_MAX, NBD_EXTENTS_MAX, NBD_PAYLOAD_BYTES_MAX};
use crate::units::{u64_from, usize_from};

/// Requests up to this length may be carried out by the thread that receives: longer ones are worth waking another.
const AT_ONCE_BYTES_MAX: u64 = 128 << 10;

/// Replies are sent once so many bytes of them were collected.
const COLLECTED_BYTES_MAX: usize = 256 << 10;

/// How often whoever receives polls for the next request before it sleeps: for some 40 us, about as long as a client takes from
/// a reply to its next request.
const POLLS: u32 = 100;

/// A request for another thread.
struct Task {
    request: Request,
    payload: Buffer,
}

/// What waits for other threads, and what is in flight.
#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    /// What to read ahead when nothing else is to be done.
    ahead: Option<Range<u64>>,
    threads: usize,
    idle: usize,
    bytes_in_flight: u64,
    /// Requests that other threads have and that are not carried out yet.
    under_way: usize,
    has_ended: bool,
}

struct Session<'a> {
    channel: &'a dyn Channel,
    terms: &'a Terms,
    encoder: Encoder,
    buffers: Buffers,
    sending: Mutex<()>,
    /// The client left without a word: what takes long ends early.
    is_gone: AtomicBool,
    /// The export has ended, and an answer said so: not before that, or a client that connects anew would never know.
    has_said_over: AtomicBool,
    state: Mutex<State>,
    task_came: Condvar,
    bytes_went: Condvar,
}

/// Serves a client until it disconnects, breaks the rules or is gone.
///
/// # Errors
/// What the connection gives; `InvalidData` when the client cannot be understood.
pub(super) fn serve(channel: &dyn Channel, inbox: &mut Inbox, terms: &Terms) -> io::Result<()> {
    let session = Session {
        channel,
        terms,
        encoder: Encoder::new(terms.replies),
        buffers: Buffers::default(),
        sending: Mutex::new(()),
        is_gone: AtomicBool::new(false),
        has_said_over: AtomicBool::new(false),
        state: Mutex::new(State::default()),
        task_came: Condvar::new(),
        bytes_went: Condvar::new(),
    };
    std::thread::scope(|scope| {
        let result = session.receive(inbox, scope);
        let mut state = session.state();
        state.has_ended = true;
        if !matches!(result, Ok(Goodbye::Said)) {
            state.tasks.clear(); // nobody waits for the answers
            state.ahead = None;
            session.is_gone.store(true, Ordering::Relaxed);
        }
        drop(state);
        session.task_came.notify_all();
        if result.is_err() {
            channel.close(); // nobody reads what others still send
        }
        result.map(drop)
    })
}

impl Session<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, replies: &mut Vec<u8>) -> io::Result<()> {
        self.send_with(replies, &[])
    }

    /// Sends replies and the bytes that belong to the last of them.
    fn send_with(&self, replies: &mut Vec<u8>, data: &[u8]) -> io::Result<()> {
        if replies.is_empty() {
            return Ok(());
        }
        let sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = send_all(self.channel, replies, data);
        drop(sending);
        replies.clear();
        sent
    }

    fn receive<'scope>(&'scope self, inbox: &mut Inbox, scope: &'scope Scope<'scope, '_>) -> io::Result<Goodbye> {
        let mut replies = Vec::with_capacity(COLLECTED_BYTES_MAX);
        let mut sequence = Sequence::default();
        let mut busy_poll = BusyPoll::default();
        let is_extended = self.terms.replies.is_extended;
        let header_bytes = if is_extended { REQUEST_EXTENDED_BYTES } else { REQUEST_BYTES };
        loop {
            let has_next = inbox.waiting() >= header_bytes;
            if !has_next || replies.len() >= COLLECTED_BYTES_MAX {
                self.send(&mut replies)?;
            }
            // A client that waits for another thread's answer has nothing to say before it.
            if !has_next && self.state().under_way == 0 {
                busy_poll.poll(POLLS, || self.channel.is_readable());
            }
            let Some(request) = self.next(inbox)? else {
                return self.send(&mut replies).map(|()| Goodbye::Missing);
            };
            let mut payload = Buffer::default();
            match request.payload(is_extended) {
                Payload::None => {}
                Payload::Data(length) => {
                    if u64_from(inbox.waiting()) < length {
                        self.send(&mut replies)?; // the rest may take its time
                    }
                    payload = self.buffers.take(usize_from(length));
                    inbox.fill(self.channel, &mut payload)?;
                }
                Payload::Scrap(length) if length <= 2 * NBD_PAYLOAD_BYTES_MAX => {
                    self.send(&mut replies)?;
                    inbox.skip(self.channel, length)?;
                }
                Payload::Scrap(_) => return Err(broken("a payload that nobody can use is too long")),
            }
            if request.command == command::DISC {
                break;
            }
            if let Err((errno, why)) = request.check(self.terms.export.facts(), self.terms.replies) {
                self.encoder.error(&mut replies, &request, errno, why);
                continue;
            }
            let read = (request.command == command::READ).then_some((request.offset, request.length));
            if self.is_quick(&request) {
                self.carry_out(&request, &payload, &mut replies);
                self.buffers.give(payload);
            } else {
                self.hand_over(Task { request, payload }, &mut replies, scope)?;
            }
            if self.has_said_over.load(Ordering::Relaxed) {
                break;
            }
            if let Some((offset, length)) = read {
                let mut state = self.state();
                let is_alone = inbox.waiting() == 0 && state.under_way <= 1; // this one, if it was handed over
                if let Some(ahead) = sequence.note(offset, length, self.terms.export.facts().size, is_alone) {
                    state.ahead = Some(ahead);
                    self.wake(state, scope)?;
                }
            }
        }
        self.send(&mut replies).map(|()| Goodbye::Said)
    }

    /// The next request; `None` when the client ended between two.
    fn next(&self, inbox: &mut Inbox) -> io::Result<Option<Request>> {
        let parsed = if self.terms.replies.is_extended {
            inbox.take(self.channel)?.map(|bytes| Request::parse_extended(&bytes))
        } else {
            inbox.take(self.channel)?.map(|bytes| Request::parse(&bytes))
        };
        match parsed {
            Some(None) => Err(broken("a request without its magic")),
            Some(request) => Ok(request),
            None => Ok(None),
        }
    }

    /// Whether carrying it out here holds up nobody.
    fn is_quick(&self, request: &Request) -> bool {
        if request.length > AT_ONCE_BYTES_MAX && matches!(request.command, command::READ | command::WRITE) {
            return false;
        }
        match request.command {
            command::READ => self.terms.export.is_at_hand(request.offset, request.length),
            command::WRITE | command::TRIM => !request.is_durable(),
            command::WRITE_ZEROES => !request.is_durable() && !request.has(flag::NO_HOLE),
            _ => false,
        }
    }

    /// Gives a request to another thread, once there is memory for it.
    fn hand_over<'scope>(
        &'scope self,
        task: Task,
        replies: &mut Vec<u8>,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<()> {
        let bytes = task.request.memory_bytes();
        let mut state = self.state();
        while state.bytes_in_flight + bytes > NBD_CLIENT_BYTES_MAX {
            drop(state);
            self.send(replies)?;
            state = self.state();
            if state.bytes_in_flight + bytes > NBD_CLIENT_BYTES_MAX {
                state = self.bytes_went.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.bytes_in_flight += bytes;
        state.under_way += 1;
        state.tasks.push_back(task);
        self.wake(state, scope)
    }

    /// Wakes a thread for what was added to the state, or begins one.
    fn wake<'scope>(
        &'scope self,
        mut state: MutexGuard<'_, State>,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<()> {
        let waiting = state.tasks.len() + usize::from(state.ahead.is_some());
        let needs_thread = state.idle < waiting && state.threads < NBD_CLIENT_THREADS_MAX;
        state.threads += usize::from(needs_thread);
        drop(state);
        self.task_came.notify_one();
        if needs_thread {
            let name = "nbd-request".to_owned();
            let spawned = std::thread::Builder::new().name(name).spawn_scoped(scope, || self.work());
            if let Err(error) = spawned {
                let mut state = self.state();
                state.threads -= 1;
                if state.threads == 0 && !state.tasks.is_empty() {
                    return Err(error); // nobody would ever carry it out
                }
            }
        }
        Ok(())
    }

    /// Carries out requests of others until there will be no more.
    fn work(&self) {
        let mut replies = Vec::new();
        let mut state = self.state();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                drop(state);
                let Task { request, payload } = task;
                if self.answer(&request, &payload, &mut replies).is_err() {
                    self.channel.close(); // whoever receives learns of it
                }
                self.buffers.give(payload);
                replies.shrink_to(COLLECTED_BYTES_MAX);
                state = self.state();
                state.bytes_in_flight -= request.memory_bytes();
                self.bytes_went.notify_one();
            } else if state.has_ended {
                return;
            } else if let Some(ahead) = state.ahead.take() {
                drop(state);
                // Who reads it later is told what is wrong.
                drop(self.terms.export.read_ahead(ahead.start, ahead.end - ahead.start));
                state = self.state();
            } else {
                state.idle += 1;
                state = self.task_came.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    /// Carries a checked request out and sends its reply. What was read goes from where it was read to.
    fn answer(&self, request: &Request, payload: &[u8], replies: &mut Vec<u8>) -> io::Result<()> {
        if request.command != command::READ {
            self.carry_out(request, payload, replies);
            self.state().under_way -= 1;
            return self.send(replies);
        }
        let mut data = self.buffers.take(usize_from(request.length));
        let result = sectors::read(self.terms.export.as_ref(), request.offset, &mut data);
        self.state().under_way -= 1;
        let sent = match result {
            Ok(()) => {
                self.encoder.data(replies, request, request.length);
                self.send_with(replies, &data)
            }
            Err(error) => {
                self.fail(request, &Failure::Disk(error), replies);
                self.send(replies)
            }
        };
        self.buffers.give(data);
        sent
    }

    /// Carries a checked request out and writes its reply.
    fn carry_out(&self, request: &Request, payload: &[u8], replies: &mut Vec<u8>) {
        let before = replies.len();
        if let Err(failure) = self.attempt(request, payload, replies) {
            replies.truncate(before);
            self.fail(request, &failure, replies);
        }
    }

    fn fail(&self, request: &Request, failure: &Failure, replies: &mut Vec<u8>) {
        match failure {
            Failure::Disk(error) => {
                let text = format!("{}: {}", error.code().name(), error.message());
                let is_over = self.terms.export.has_ended();
                let errno = if is_over { Errno::Shutdown } else { errno_of(error.code()) };
                self.encoder.error(replies, request, errno, &text);
                self.has_said_over.fetch_or(is_over, Ordering::Relaxed);
            }
            Failure::NotFast => {
                self.encoder.error(replies, request, Errno::NotSupported, "zeros that take space are not fast");
            }
        }
    }

    fn attempt(&self, request: &Request, payload: &[u8], replies: &mut Vec<u8>) -> std::result::Result<(), Failure> {
        let export = self.terms.export.as_ref();
        let Request { offset, length, .. } = *request;
        let durable = request.is_durable();
        match request.command {
            command::READ => {
                self.encoder.data(replies, request, length);
                let start = replies.len();
                replies.resize(start + usize_from(length), 0);
                return Ok(sectors::read(export, offset, &mut replies[start..])?);
            }
            command::BLOCK_STATUS => return Ok(self.status(request, replies)?),
            command::WRITE => sectors::write(export, offset, payload, durable)?,
            command::WRITE_ZEROES if request.has(flag::NO_HOLE) => {
                if request.has(flag::FAST_ZERO) {
                    return Err(Failure::NotFast);
                }
                self.write_zeros(offset, length, durable)?;
            }
            command::WRITE_ZEROES => sectors::clear(export, offset, length, Clearing::Zeroes, durable)?,
            command::TRIM => sectors::clear(export, offset, length, Clearing::Trim, durable)?,
            command::CACHE => export.cache(offset, length)?,
            _ => export.flush()?, // the only one left that a check lets through
        }
        self.encoder.done(replies, request);
        Ok(())
    }

    /// Zeros that take space, by and by: there may be a whole disk of them.
    fn write_zeros(&self, offset: u64, length: u64, durable: bool) -> Result<()> {
        let export = self.terms.export.as_ref();
        let end = offset + length;
        let mut at = offset;
        while at < end {
            if self.is_gone.load(Ordering::Relaxed) {
                return Err(Error::new(Code::Cancelled, "the client has gone"));
            }
            let piece = (end - at).min(NBD_PAYLOAD_BYTES_MAX);
            sectors::clear(export, at, piece, Clearing::ZeroesWithSpace, durable && at + piece == end)?;
            at += piece;
        }
        Ok(())
    }

    fn status(&self, request: &Request, replies: &mut Vec<u8>) -> Result<()> {
        let Request { offset, length, .. } = *request;
        let is_one = request.has(flag::REQ_ONE);
        let contexts = &self.terms.contexts;
        for (index, context) in contexts.iter().enumerate() {
            let extents_max = if is_one { 1 } else { NBD_EXTENTS_MAX };
            let said = self.terms.export.status(&context.name, offset, length, extents_max)?;
            let answer = answerable(&said, length, is_one);
            self.encoder.status(replies, request, context.id, &answer, index + 1 == contexts.len());
        }
        Ok(())
    }
}

/// How a client left that broke no rule.
enum Goodbye {
    /// It said so, and gets all its answers.
    Said,
    /// It was gone, or the server was stopped.
    Missing,
}

/// Why a request failed.
enum Failure {
    Disk(Error),
    NotFast,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Disk(error)
    }
}

/// The protocol's number for what a disk said. Never one for "no memory", which the protocol does not want from servers.
const fn errno_of(code: Code) -> Errno {
    match code {
        Code::ArgumentInvalid => Errno::Invalid,
        Code::NoSpace => Errno::NoSpace,
        Code::PermissionDenied | Code::StoreReadOnly => Errno::Permission,
        Code::Cancelled => Errno::Shutdown,
        _ => Errno::Io,
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
