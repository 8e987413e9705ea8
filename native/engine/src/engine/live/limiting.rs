//! Rates of single disks: how many requests and bytes a second each may have.
//!
//! What it guarantees: over any second or more a disk with a rate has no more than that, after standing still a tenth of a
//! second's worth at once. A request waits before it asks for anything that others need: it holds no lock and has no LSN
//! yet, so whoever shares its log, or its store, does not wait with it (I-64). Requests of no bytes count one each.
//! What it costs: of a disk without a rate one look at a lock that nobody holds for long.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::Engine;
use crate::clock::Clock;
use crate::error::Result;
use crate::limits::LIMIT_LOOK_NS;
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

/// The rates of one disk.
#[derive(Default)]
pub(super) struct Limiter {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    operations: Option<Throttle>,
    bytes: Option<Throttle>,
    /// Changes when the rates do: who waits for the old ones waits no more.
    version: u64,
}

impl Limiter {
    fn set(&self, limits: DiskLimits, now_ns: i128) {
        let throttle = |rate: Option<u64>| rate.map(|rate| Throttle::new(rate.max(1), now_ns));
        let mut state = self.state();
        let version = state.version + 1;
        *state = State {
            operations: throttle(limits.operations_per_second),
            bytes: throttle(limits.bytes_per_second),
            version,
        };
    }

    /// Waits until a request may begin.
    pub(super) fn admit(&self, bytes: u64, clock: &dyn Clock) {
        let (mut wait_ns, version) = {
            let mut state = self.state();
            if state.operations.is_none() && state.bytes.is_none() {
                return;
            }
            let now_ns = clock.now_ns();
            let operations = state.operations.as_mut().map_or(0, |throttle| throttle.take(1, now_ns));
            let moved = state.bytes.as_mut().map_or(0, |throttle| throttle.take(bytes, now_ns));
            (operations.max(moved), state.version)
        };
        while wait_ns > 0 && self.state().version == version {
            let now_ns = wait_ns.min(LIMIT_LOOK_NS);
            clock.wait_ns(now_ns);
            wait_ns -= now_ns;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Gives a live disk rates, from now on until they are changed or the store is closed. They go with it where it is moved.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`.
    pub fn limit_disk(&self, disk_id: &Uid, limits: DiskLimits) -> Result<()> {
        self.live().seat(disk_id)?.limiter.set(limits, self.parts.clock.now_ns());
        Ok(())
    }
}
