//! How fast a copy goes, and whether it goes on.
//!
//! A copy is the least important thing that a store does, until it is the most important one. Between two steps it waits
//!
//! 1. not at all where it is pressed: its log comes near its limit, space is short, or somebody waits for the copy;
//! 2. as long as the rate asks for that all copies share;
//! 3. while requests of live disks come or are under way, until for a moment none does, at most [`ROOM_PARTS`] times as long as
//!    its step took: under constant load it takes a quarter of the time.
//!
//! Priorities of the operating system were rejected: an unprivileged thread that gave its own up cannot get it back when it is
//! pressed.

use crate::clock::Clock;
use crate::control::Control;
use crate::error::Result;

use super::CopyLoad;

/// Chunks of a step: reading, hashing and compressing so much takes about a millisecond.
pub const STEP_BYTES: u64 = 256 << 10;

/// How long is waited without looking whether the copy was cancelled, or is pressed.
const LOOK_NS: u64 = 50_000_000;

/// How long no request must come for a copy to go on.
const MOMENT_NS: u64 = 500_000;

/// A copy makes room for requests for so many times the length of its step.
pub const ROOM_PARTS: u64 = 3;

/// What a step is taken to last at least.
const STEP_NS_MIN: u64 = 1_000_000;

/// The pace of one copy, beside others and beside requests.
pub struct Pace<'a> {
    clock: &'a dyn Clock,
    control: &'a Control,
    load: &'a CopyLoad,
    is_pressed: &'a dyn Fn() -> bool,
    step_bytes: u64,
    /// When the step began, and how many requests had by then.
    began: (i128, u64),
}

impl<'a> Pace<'a> {
    /// The pace of a copy that begins now, in steps of [`STEP_BYTES`]. `is_pressed` is asked between steps.
    #[must_use]
    pub fn new(
        clock: &'a dyn Clock,
        control: &'a Control,
        load: &'a CopyLoad,
        is_pressed: &'a dyn Fn() -> bool,
    ) -> Self {
        let began = (clock.now_ns(), load.begun());
        Self { clock, control, load, is_pressed, step_bytes: STEP_BYTES, began }
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

    /// Waits after a step that put together so many bytes.
    ///
    /// # Errors
    /// `CANCELLED`.
    pub fn worked(&mut self, bytes: u64) -> Result<()> {
        let (began_ns, begun) = self.began;
        let now_ns = self.clock.now_ns();
        let step_ns = u64::try_from(now_ns.saturating_sub(began_ns)).unwrap_or(0).max(STEP_NS_MIN);
        let rate_ns = self.load.take(bytes, now_ns); // what is not waited for now is owed later
        self.wait(rate_ns, LOOK_NS, || true)?;
        let mut begun_before = begun;
        let room_ns = step_ns.saturating_mul(ROOM_PARTS).saturating_sub(rate_ns);
        self.wait(room_ns, MOMENT_NS, || {
            let is_busy = self.load.is_busy_since(begun_before);
            begun_before = self.load.begun();
            is_busy
        })?;
        self.began = (self.clock.now_ns(), self.load.begun());
        self.control.check()
    }

    /// Waits in pieces, as long as it is to go on and the copy is not pressed.
    fn wait(&self, mut wait_ns: u64, piece_ns: u64, mut goes_on: impl FnMut() -> bool) -> Result<()> {
        while wait_ns > 0 && goes_on() && !self.load.is_hurried() && !(self.is_pressed)() {
            self.control.check()?;
            let now_ns = wait_ns.min(piece_ns);
            self.clock.wait_ns(now_ns);
            wait_ns -= now_ns;
        }
        Ok(())
    }

    pub(super) fn add_done(&self, bytes: u64) {
        self.control.add_done(bytes);
    }
}
