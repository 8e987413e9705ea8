//! Requests to live disks: many and small, so without a thread, a promise and a callback of their own.
//!
//! A few threads take requests from one queue, in which the disks take turns. What is done is kept until JavaScript fetches
//! it; it is told once that there is something, not once a request. The bytes of a write are copied before the call returns,
//! so a buffer may be changed right after it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use napi::Status;
use napi::bindgen_prelude::{Function, Uint8Array};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use stillpoint_engine::busy_poll::{BusyPoll, Polling};
use stillpoint_engine::engine::{Cost, Engine, Turn, Turns};
use stillpoint_engine::limits::LIMIT_LOOK_NS;
use stillpoint_engine::units::Uid;

use crate::failure::Failure;
use crate::task::{Outcome, RunningCall};

/// Threads at most: a flush keeps one busy for milliseconds, and other machines' requests go on meanwhile.
const THREADS_MAX: usize = 16;

/// Of those, one disk has at most these: the others always find a thread.
const DISK_THREADS_MAX: usize = 12;

/// How often a thread without work polls for some before it sleeps: about as long as JavaScript takes from an answer to its next
/// request, 30 to 50 us, while to be woken takes 10 to 20.
const POLLS: u32 = 2_000;

/// Tells JavaScript that something is done.
pub(crate) type Notify = ThreadsafeFunction<(), (), (), Status, false, true>;

/// What a request gives.
pub(crate) enum Answer {
    /// That it is done.
    Done,
    /// Where it is in the log.
    Logged(u64),
    /// Bytes read.
    Bytes(Vec<u8>),
}

/// A request that is done, as JavaScript sees it.
#[napi(object)]
pub struct CompletionRecord {
    /// The number under which it was made.
    pub number: f64,
    /// The LSN of a write's last record.
    pub lsn: Option<f64>,
    /// What was read.
    pub bytes: Option<Uint8Array>,
    /// What went wrong.
    pub failure: Option<Failure>,
}

pub(crate) type Work = Box<dyn FnOnce() -> Outcome<Answer> + Send>;

pub(crate) struct Request {
    pub(crate) number: f64,
    pub(crate) cost: Cost,
    /// None: it will fail.
    pub(crate) engine: Option<Arc<Engine>>,
    pub(crate) work: Work,
    pub(crate) call: RunningCall,
}

impl Request {
    /// For how many nanoseconds it may not begin.
    fn wait_ns(&self, disk_id: &str) -> u64 {
        match (&self.engine, Uid::parse(disk_id)) {
            (Some(engine), Some(disk_id)) => engine.begin_request(&disk_id, self.cost),
            _ => 0,
        }
    }
}

struct Queue {
    waiting: Turns<String, Request>,
    idle_threads: usize,
    threads: usize,
    busy_poll: BusyPoll,
    /// A thread polls, and sees a request without being woken.
    is_polled: bool,
    /// A thread waits until a request may begin that its disk's rates hold up.
    is_timed: bool,
    /// Rates do not count any more.
    is_unlimited: bool,
    is_closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// How many requests came: polled without the lock.
    came: AtomicU64,
    comes: Condvar,
    done: Mutex<Vec<CompletionRecord>>,
    notify: Notify,
}

/// The queue of one store, its threads, and what they have done.
pub(crate) struct Requests {
    shared: Arc<Shared>,
}

impl Requests {
    /// An empty queue. `callback` is called when there is something to fetch.
    pub(crate) fn new(callback: &Function<'_, (), ()>) -> napi::Result<Self> {
        let notify = callback.build_threadsafe_function().weak::<true>().build()?;
        let waiting = Turns::new(DISK_THREADS_MAX);
        let queue = Queue {
            waiting,
            idle_threads: 0,
            threads: 0,
            busy_poll: BusyPoll::default(),
            is_polled: false,
            is_timed: false,
            is_unlimited: false,
            is_closed: false,
        };
        let (queue, came) = (Mutex::new(queue), AtomicU64::new(0));
        let (comes, done) = (Condvar::new(), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { queue, came, comes, done, notify }) })
    }

    /// Adds a request. It is done even when the thread that would have taken it cannot be started.
    pub(crate) fn add(&self, disk_id: String, request: Request) {
        let mut queue = self.shared.queue();
        if queue.idle_threads <= queue.waiting.waiting_count() && queue.threads < THREADS_MAX {
            let shared = Arc::clone(&self.shared);
            let started =
                std::thread::Builder::new().name("stillpoint-disk".into()).spawn(move || shared.serve()).is_ok();
            if started {
                queue.threads += 1;
            } else if queue.threads == 0 {
                drop(queue);
                return self.shared.run(request); // late, on the caller's thread, and not never
            }
        }
        queue.waiting.push(disk_id, request);
        let is_seen = queue.is_polled && queue.waiting.waiting_count() == 1;
        drop(queue);
        self.shared.came.fetch_add(1, Ordering::Release);
        if !is_seen {
            self.shared.comes.notify_one();
        }
    }

    /// Takes a request back that has not begun; whether there was one. It never ends then.
    pub(crate) fn take_back(&self, disk_id: &String, number: f64) -> bool {
        let taken = self.shared.queue().waiting.take_back(disk_id, |request| request.number.total_cmp(&number).is_eq());
        taken.is_some()
    }

    /// Has everything that waits begin, whatever its rates.
    pub(crate) fn lift_limits(&self) {
        self.shared.queue().is_unlimited = true;
        self.shared.comes.notify_all();
    }

    /// What is done since the last call.
    pub(crate) fn take_done(&self) -> Vec<CompletionRecord> {
        std::mem::take(&mut *self.shared.done.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.shared.queue().is_closed = true;
        self.shared.comes.notify_all();
    }
}

impl Shared {
    /// Takes requests until the queue is closed and empty.
    fn serve(&self) {
        let mut queue = self.queue();
        loop {
            let is_unlimited = queue.is_unlimited || queue.is_closed;
            let turn = queue.waiting.begin(|disk_id, request| if is_unlimited { 0 } else { request.wait_ns(disk_id) });
            match turn {
                Turn::Begins(disk_id, request) => {
                    let others_wait = queue.waiting.waiting_count() > 0;
                    drop(queue);
                    if others_wait {
                        self.comes.notify_one(); // who tells the time may have begun this one
                    }
                    self.run(request);
                    queue = self.queue();
                    if queue.waiting.done(&disk_id) {
                        self.comes.notify_one();
                    }
                }
                Turn::Later(nanoseconds) if !queue.is_timed => {
                    // The engine is closed once no call is under way, so this is one, whatever becomes of the request.
                    let first = queue.waiting.first().map(|request| (request.engine.clone(), request.call.another()));
                    queue.is_timed = true;
                    drop(queue);
                    if let Some((engine, call)) = first {
                        if let Some(engine) = engine {
                            engine.wait_ns(nanoseconds.min(LIMIT_LOOK_NS));
                        }
                        drop(call);
                    }
                    queue = self.queue();
                    queue.is_timed = false;
                }
                Turn::Nothing if queue.is_closed && queue.waiting.waiting_count() == 0 => {
                    queue.threads -= 1;
                    self.comes.notify_all(); // others may have waited for a disk's turn
                    return;
                }
                Turn::Nothing => match queue.busy_poll.begin() {
                    Some(polling) => queue = self.poll(queue, polling),
                    None => queue = self.sleep(queue),
                },
                Turn::Later(_) => queue = self.sleep(queue),
            }
        }
    }

    /// Waits for a request awake, for a moment.
    fn poll<'a>(&'a self, mut queue: MutexGuard<'a, Queue>, polling: Polling) -> MutexGuard<'a, Queue> {
        queue.is_polled = true;
        queue.idle_threads += 1;
        let before = self.came.load(Ordering::Acquire);
        drop(queue);
        let has_found = polling.polls(POLLS, || self.came.load(Ordering::Acquire) != before);
        queue = self.queue();
        queue.busy_poll.end(polling, has_found);
        queue.idle_threads -= 1;
        queue.is_polled = false;
        queue
    }

    fn sleep<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        queue.idle_threads += 1;
        queue = self.comes.wait(queue).unwrap_or_else(PoisonError::into_inner);
        queue.idle_threads -= 1;
        queue
    }

    fn run(&self, request: Request) {
        let Request { number, engine, work, call, .. } = request;
        drop(engine); // `work` has it too, and it goes before the call ends
        let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Box::new(Failure::panicked(text.unwrap_or("no message"))))
        });
        let mut record = CompletionRecord { number, lsn: None, bytes: None, failure: None };
        match outcome {
            Ok(Answer::Done) => {}
            Ok(Answer::Logged(lsn)) => record.lsn = Some(lsn as f64),
            Ok(Answer::Bytes(bytes)) => record.bytes = Some(Uint8Array::from(bytes)),
            Err(failure) => record.failure = Some(*failure),
        }
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(record);
        let is_first = done.len() == 1;
        drop(done);
        drop(call);
        if is_first {
            self.notify.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
