//! Time, injected: the wall clock of the machine, or one that a simulation sets.
//!
//! What it guarantees: no other part of the engine asks the system for the time, so a run can be repeated. Nothing
//! may be ordered by these times; order comes from LSNs and commits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// Nanoseconds since 1970-01-01 UTC. May stand still or go back.
    fn now_ns(&self) -> i128;

    /// Waits; a simulated clock moves on instead.
    fn wait_ns(&self, nanoseconds: u64);
}

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock that everything else is given")]
    fn now_ns(&self) -> i128 {
        let now = SystemTime::now();
        match now.duration_since(UNIX_EPOCH) {
            Ok(since) => nanoseconds(since),
            Err(before) => -nanoseconds(before.duration()),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the Clock that everything else is given")]
    fn wait_ns(&self, nanoseconds: u64) {
        std::thread::sleep(std::time::Duration::from_nanos(nanoseconds));
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ns: Mutex<i128>,
}

impl ManualClock {
    /// A clock that stands at `now_ns`.
    #[must_use]
    pub const fn new(now_ns: i128) -> Self {
        Self { now_ns: Mutex::new(now_ns) }
    }

    /// Sets the time.
    pub fn set_ns(&self, now_ns: i128) {
        *self.locked() = now_ns;
    }

    /// Moves the time forward (or back, when negative).
    pub fn advance_ns(&self, by_ns: i128) {
        let mut now = self.locked();
        *now = now.saturating_add(by_ns);
    }

    fn locked(&self) -> MutexGuard<'_, i128> {
        self.now_ns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> i128 {
        *self.locked()
    }

    /// Takes no time, but lets other threads run: who waits for one would else use up its patience before that has begun.
    fn wait_ns(&self, nanoseconds: u64) {
        self.advance_ns(i128::from(nanoseconds));
        std::thread::yield_now();
    }
}

/// Lossless for any duration: u64 seconds in nanoseconds are below 2^94.
fn nanoseconds(duration: std::time::Duration) -> i128 {
    i128::from(duration.as_secs()) * 1_000_000_000 + i128::from(duration.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_to() {
        let clock = ManualClock::new(5);
        assert_eq!(clock.now_ns(), 5);
        clock.advance_ns(10);
        assert_eq!(clock.now_ns(), 15);
        clock.set_ns(-3);
        assert_eq!(clock.now_ns(), -3);
    }

    #[test]
    fn the_system_clock_is_past_2025() {
        assert!(SystemClock.now_ns() > 1_735_689_600_000_000_000);
    }
}
