//! What copies have beside them: requests of live disks, a common rate, and whether somebody waits for them.
//!
//! One for all copies of a store. A request counts itself, which costs two additions; a copy looks between two steps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::throttle::Throttle;

/// What copies look at while they run.
#[derive(Default)]
pub struct CopyLoad {
    throttle: Mutex<Option<Throttle>>,
    begun: AtomicU64,
    ended: AtomicU64,
    hurrying: AtomicU64,
}

/// A request of a live disk that is under way, until it is dropped.
pub struct Request<'a> {
    load: &'a CopyLoad,
}

/// Somebody who waits for a copy, until it is dropped.
pub struct Hurry<'a> {
    load: &'a CopyLoad,
}

impl CopyLoad {
    /// Copies together put together so many bytes of chunks a second at most; without a rate, as many as they can.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>, now_ns: i128) -> Self {
        let throttle = bytes_per_second.map(|rate| Throttle::new(rate.max(1), now_ns));
        Self { throttle: Mutex::new(throttle), ..Self::default() }
    }

    /// A request begins.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Request { load: self }
    }

    /// Somebody begins to wait for a copy: those that run neither keep to the rate nor make room.
    #[must_use]
    pub fn hurry(&self) -> Hurry<'_> {
        self.hurrying.fetch_add(1, Ordering::Relaxed);
        Hurry { load: self }
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.hurrying.load(Ordering::Relaxed) > 0
    }

    /// Requests that have begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether a request is under way, or has begun since there were so many.
    pub(super) fn is_busy_since(&self, begun_before: u64) -> bool {
        let ended = self.ended.load(Ordering::Relaxed); // first: what ends meanwhile has begun
        let begun = self.begun();
        begun != begun_before || begun != ended
    }

    /// How long to wait after so many bytes.
    pub(super) fn take(&self, bytes: u64, now_ns: i128) -> u64 {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.as_mut().map_or(0, |throttle| throttle.take(bytes, now_ns))
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.load.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.load.hurrying.fetch_sub(1, Ordering::Relaxed);
    }
}
