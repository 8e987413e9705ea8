//! How fast a copy goes, and whether it goes on.

use crate::clock::Clock;
use crate::control::Control;
use crate::error::Result;
use crate::throttle::Throttle;

/// Chunks of a step: reading, hashing and compressing so much takes about a millisecond.
pub const STEP_BYTES: u64 = 256 << 10;

/// How long is waited without looking whether the copy was cancelled.
const LOOK_NS: u64 = 50_000_000;

/// The pace of copies that share one rate.
pub struct Pace<'a> {
    clock: &'a dyn Clock,
    control: &'a Control,
    throttle: Option<Throttle>,
    step_bytes: u64,
}

impl<'a> Pace<'a> {
    /// As fast as it goes, in steps of [`STEP_BYTES`].
    #[must_use]
    pub fn new(clock: &'a dyn Clock, control: &'a Control) -> Self {
        Self { clock, control, throttle: None, step_bytes: STEP_BYTES }
    }

    /// Changes the rate, in bytes of chunks a second; without, there is none. For who finds the machine busy, or idle.
    pub fn set_rate(&mut self, bytes_per_second: Option<u64>) {
        self.throttle = bytes_per_second.map(|rate| Throttle::new(rate.max(1), self.clock.now_ns()));
    }

    /// Changes the length of a step.
    pub fn set_step_bytes(&mut self, step_bytes: u64) {
        self.step_bytes = step_bytes;
    }

    /// Bytes of chunks in a step.
    #[must_use]
    pub const fn step_bytes(&self) -> u64 {
        self.step_bytes
    }

    /// Whether the copy may go on.
    ///
    /// # Errors
    /// `CANCELLED`.
    pub fn check(&self) -> Result<()> {
        self.control.check()
    }

    /// Waits as long as the rate asks for after so many bytes.
    ///
    /// # Errors
    /// `CANCELLED`.
    pub fn worked(&mut self, bytes: u64) -> Result<()> {
        let Some(throttle) = &mut self.throttle else { return self.control.check() };
        let mut wait_ns = throttle.take(bytes, self.clock.now_ns());
        while wait_ns > 0 {
            self.control.check()?;
            let now_ns = wait_ns.min(LOOK_NS);
            self.clock.wait_ns(now_ns);
            wait_ns -= now_ns;
        }
        self.control.check()
    }

    pub(super) fn add_done(&self, bytes: u64) {
        self.control.add_done(bytes);
    }
}
