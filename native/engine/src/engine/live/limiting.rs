//! Rates of single disks: how many requests and bytes a second each may have.
//!
//! What it guarantees: over any second or more a disk with rates has no more than that, and one request that was let in
//! before; after standing still a tenth of a second's worth at once. Nobody waits here: who has requests asks whether the next one
//! may begin, before it asks for anything that others need. So a request that waits holds no lock and no thread, has no LSN,
//! and can be taken back (I-64).
//! What it costs: of a disk without rates one look at a lock that nobody holds for long.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::Engine;
use crate::error::{Code, Error, Result};
use crate::throttle::Throttle;
use crate::units::Uid;

/// What a disk may have; none: as much as goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskLimits {
    /// Reads, writes, zeros and trims a second; at least 1.
    pub operations_per_second: Option<u64>,
    /// Bytes read and written a second; at least 1.
    pub bytes_per_second: Option<u64>,
}

/// What a request counts as. A flush counts as nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Reads, writes, zeros and trims.
    pub operations: u64,
    /// Bytes that it moves.
    pub bytes: u64,
}

/// The rates of one disk.
#[derive(Default)]
pub(super) struct Limiter {
    rates: Mutex<Rates>,
}

#[derive(Default)]
struct Rates {
    operations: Option<Throttle>,
    bytes: Option<Throttle>,
}

impl Limiter {
    fn set(&self, limits: DiskLimits, now_ns: i128) {
        let throttle = |rate: Option<u64>| rate.map(|rate| Throttle::new(rate, now_ns));
        let (operations, bytes) = (throttle(limits.operations_per_second), throttle(limits.bytes_per_second));
        *self.rates() = Rates { operations, bytes };
    }

    /// Notes a request and returns 0, or for how many nanoseconds none may begin.
    fn begin(&self, cost: Cost, now_ns: impl FnOnce() -> i128) -> u64 {
        let mut rates = self.rates();
        let Rates { operations, bytes } = &mut *rates;
        if cost == Cost::default() || (operations.is_none() && bytes.is_none()) {
            return 0;
        }
        let now_ns = now_ns();
        let mut take = |operation_count, byte_count| {
            let operations = operations.as_mut().map_or(0, |throttle| throttle.take(operation_count, now_ns));
            operations.max(bytes.as_mut().map_or(0, |throttle| throttle.take(byte_count, now_ns)))
        };
        let wait_ns = take(0, 0);
        if wait_ns == 0 {
            take(cost.operations, cost.bytes); // the next one waits for it
        }
        wait_ns
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Gives a live disk rates, from now on until they are changed or the store is closed. They go with it where it is moved.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`; `ARGUMENT_INVALID`, a rate of 0.
    pub fn limit_disk(&self, disk_id: &Uid, limits: DiskLimits) -> Result<()> {
        let seat = self.live().seat(disk_id)?;
        if [limits.operations_per_second, limits.bytes_per_second].contains(&Some(0)) {
            let message = format!("a rate of the disk {disk_id} is at least 1; none means no limit");
            return Err(Error::new(Code::ArgumentInvalid, message).with("disk", disk_id.to_string()));
        }
        seat.limiter.set(limits, self.parts.clock.now_ns());
        Ok(())
    }

    /// Whether a request may begin by the rates of its disk: then it is noted and this is 0; else for how many nanoseconds not,
    /// as things stand. A disk that is none has no rates. Requests that are carried out without asking are not noted.
    #[must_use]
    pub fn begin_request(&self, disk_id: &Uid, cost: Cost) -> u64 {
        let live = self.live();
        if live.are_limits_lifted.load(Ordering::Relaxed) {
            return 0;
        }
        live.seat(disk_id).map_or(0, |seat| seat.limiter.begin(cost, || self.parts.clock.now_ns()))
    }

    /// Rates count no more: for a store that is being closed, so that nobody waits for a disk's.
    pub fn lift_limits(&self) {
        self.live().are_limits_lifted.store(true, Ordering::Relaxed);
    }

    /// Waits by the engine's clock.
    pub fn wait_ns(&self, nanoseconds: u64) {
        self.parts.clock.wait_ns(nanoseconds);
    }
}
