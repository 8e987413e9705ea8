//! What the logs need when nobody asks: segments ready, layers that no point needs folded, writers kept inside the limits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::Engine;
use super::log::LiveLog;
use crate::control::Control;
use crate::cut::Stack;
use crate::error::{Code, Error, Result};
use crate::limits::{LAYER_LOGGED_BYTES_MAX, LOG_BYTES_MAX, PACE_WAIT_NS, PACE_WAITS_MAX, RELIEF_FOLDS_MAX};
use crate::units::Lsn;
use crate::write_log::CutBody;

/// Whether the active layer has so much that it is to be folded, and none waits for that already.
fn is_due(stack: &Stack) -> bool {
    stack.active().logged_bytes() > LAYER_LOGGED_BYTES_MAX && stack.sealed().is_empty()
}

/// Whether folding the active layer would pay a debt, and no older one has to be folded first.
fn is_owing(stack: &Stack) -> bool {
    stack.active().debt_bytes() > 0 && stack.sealed().is_empty()
}

/// How long the thread sleeps when nobody wakes it.
const REST: Duration = Duration::from_millis(20);

/// After a failure it sleeps longer: a full disk stays full for a while.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// The thread that looks after the logs.
#[derive(Default)]
pub(super) struct Upkeep {
    state: Mutex<UpkeepState>,
    changed: Condvar,
}

#[derive(Default)]
struct UpkeepState {
    is_running: bool,
    is_wanted: bool,
    is_ending: bool,
}

impl Upkeep {
    /// Has the thread look at once; whether there is one.
    fn wake(&self) -> bool {
        let mut state = self.state();
        state.is_wanted = true;
        self.changed.notify_all();
        state.is_running
    }

    /// Rests until it is woken; returns whether to go on.
    fn rest(&self, rest: Duration) -> bool {
        let mut state = self.state();
        if !state.is_wanted && !state.is_ending {
            (state, _) = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_wanted = false;
        !state.is_ending
    }

    /// The thread ends after its step.
    pub(super) fn end(&self) {
        self.state().is_ending = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, UpkeepState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Starts a thread that does the upkeep for as long as the engine is open.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start_upkeep(self: &Arc<Self>) -> Result<()> {
        let Some(live) = self.live.as_ref().filter(|_| !self.options.read_only) else { return Ok(()) };
        let (upkeep, engine) = (Arc::clone(&live.upkeep), Arc::downgrade(self));
        let work = move || {
            let mut rest = REST;
            while upkeep.rest(rest) {
                let Some(engine) = engine.upgrade() else { return };
                rest = match engine.upkeep(&Control::default()) {
                    Ok(true) => Duration::ZERO,
                    Ok(false) => REST,
                    Err(_) => REST_AFTER_FAILURE, // whoever writes or flushes is told what is wrong
                };
            }
        };
        live.upkeep.state().is_running = true;
        let started = std::thread::Builder::new().name("stillpoint-upkeep".into()).spawn(work);
        match started {
            Ok(_) => Ok(()),
            Err(cause) => {
                live.upkeep.state().is_running = false;
                Err(Error::new(Code::Internal, format!("cannot start a thread: {cause}")))
            }
        }
    }

    /// Does what the logs need now; returns whether something was done, so that there may be more. For a thread that calls
    /// it whenever it did something, or after a moment; a simulation calls it as a step.
    ///
    /// # Errors
    /// `NO_SPACE`, `STORE_BUSY`, `CANCELLED`, what reading and writing give: to be tried again after a while. A fenced log
    /// is left alone.
    pub fn upkeep(&self, control: &Control) -> Result<bool> {
        let Some(live) = self.live.as_ref().filter(|_| !self.options.read_only) else { return Ok(false) };
        let (mut did_something, mut failed) = (false, None);
        for log in live.all_logs() {
            match self.upkeep_of(&log, control) {
                Ok(did) => did_something |= did,
                Err(error) => failed = Some(error), // one machine's failed log touches no other
            }
        }
        match failed {
            Some(error) if !did_something => Err(error),
            _ => Ok(did_something),
        }
    }

    fn upkeep_of(&self, log: &Arc<LiveLog>, control: &Control) -> Result<bool> {
        if log.log().is_fenced().is_some() {
            return Ok(false);
        }
        log.log().prepare()?;
        log.release()?; // what a reader or a fold still held when its base moved on
        let stack = log.group.stack();
        if is_due(&stack) || (is_owing(&stack) && self.live().space.take_short()) {
            log.group.cut(CutBody::internal(log.machine_id.unwrap_or_default()))?;
        }
        let Some(oldest) = log.group.oldest_sealed() else { return Ok(false) };
        let Some(sealed) = oldest.sealed().filter(|sealed| !sealed.has_point()) else { return Ok(false) };
        self.settle_origins(log, sealed.cut, control)?;
        let _alone = log.folding();
        let is_oldest = log.group.oldest_sealed().is_some_and(|now| Arc::ptr_eq(&now, &oldest));
        if is_oldest {
            self.fold_away(log, &oldest, control)?;
            drop(oldest);
            log.release()?;
        }
        Ok(is_oldest)
    }

    /// Lets a writer wait while the log is longer than it may be.
    ///
    /// # Errors
    /// `LAYERS_FULL` when nothing shortens it for long.
    pub(super) fn pace(&self, log: &Arc<LiveLog>) -> Result<()> {
        let mut waits = 0;
        while log.log().retained_bytes() > LOG_BYTES_MAX {
            if waits == PACE_WAITS_MAX || log.log().is_fenced().is_some() {
                let message = "the write log is as long as it may be, and nothing of it is copied; copy or delete the oldest point";
                return Err(Error::new(Code::LayersFull, message));
            }
            if !log.is_folding() {
                waits += 1; // while it is being shortened, however long that takes, the writer waits
            }
            // Where no thread does it, this one does.
            if self.live().upkeep.wake() || !self.upkeep_of(log, &Control::default())? {
                self.parts.clock.wait_ns(PACE_WAIT_NS);
            }
        }
        Ok(())
    }

    /// Does what may find no space; then what is owed is folded first, and it is tried again for as long as that pays
    /// something, so that a writer that is faster than the copy is slowed and not refused.
    ///
    /// # Errors
    /// What the work gives; `NO_SPACE` once folding gives nothing back.
    pub(super) fn with_relief<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        let mut folds = 0;
        loop {
            let owed = self.live().space.debt_bytes();
            match work() {
                Err(error) if error.code() == Code::NoSpace && folds < RELIEF_FOLDS_MAX => {
                    folds += 1;
                    // Also when another thread folds: this one has waited for it then.
                    let did = self.upkeep(&Control::default()).unwrap_or(false);
                    if !did && self.live().space.debt_bytes() >= owed {
                        return Err(error);
                    }
                }
                ended => return ended,
            }
        }
    }

    /// Has the thread look at once, where there is one.
    pub(super) fn wake_upkeep(&self) {
        self.live().upkeep.wake();
    }

    /// Folds everything that every log holds and no point waits for. For a clean close, and for tests.
    ///
    /// # Errors
    /// As [`Engine::upkeep`].
    pub fn settle_logs(&self, control: &Control) -> Result<()> {
        let Some(live) = self.live.as_ref() else { return Ok(()) };
        for log in live.all_logs() {
            log.group.cut(CutBody::internal(log.machine_id.unwrap_or_default()))?;
            self.settle_origins(&log, Lsn(u64::MAX), control)?;
            let _alone = log.folding();
            while let Some(oldest) =
                log.group.oldest_sealed().filter(|oldest| oldest.sealed().is_some_and(|sealed| !sealed.has_point()))
            {
                self.fold_away(&log, &oldest, control)?;
            }
        }
        Ok(())
    }
}
