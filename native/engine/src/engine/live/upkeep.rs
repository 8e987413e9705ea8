//! What the logs need when nobody asks: segments ready, layers that no point needs folded, writers kept inside the limits.

use std::sync::Arc;
use std::time::Duration;

use super::super::Engine;
use super::Live;
use super::log::LiveLog;
use crate::control::Control;
use crate::cut::Stack;
use crate::error::{Code, Error, Result};
use crate::limits::{
    LAYER_LOG_SHARE, LAYER_LOGGED_BYTES_MIN, PACE_DELAY_NS_MAX, PACE_DELAY_NS_MIN, PACE_WAIT_NS, PACE_WAITS_MAX,
    RELIEF_DEBT_BYTES_MIN, RELIEF_FOLDS_MAX,
};
use crate::units::Lsn;
use crate::write_log::CutBody;

/// Whether the active layer has so much that it is to be folded, and none waits for that already.
fn is_due(stack: &Stack, due: Due) -> bool {
    let active = stack.active();
    let is_beyond = active.logged_bytes() > due.logged_bytes || active.debt_bytes() > due.debt_bytes;
    is_beyond && stack.sealed().is_empty()
}

/// How much a layer may have before it is sealed and folded.
#[derive(Clone, Copy)]
struct Due {
    logged_bytes: u64,
    debt_bytes: u64,
}

/// How long the thread sleeps when nobody wakes it.
const REST: Duration = Duration::from_millis(20);

/// After a failure it sleeps longer: a full disk stays full for a while.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(500);

impl Engine {
    /// Starts the threads that do the upkeep for as long as the engine is open: one for what takes its time, one that has the
    /// disk begin with what was written.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start_upkeep(self: &Arc<Self>) -> Result<()> {
        let Some(live) = self.live.as_ref().filter(|_| !self.options.read_only) else { return Ok(()) };
        live.writeback.start("stillpoint-writeback", Arc::downgrade(self), |engine, _| {
            let mut rest = None;
            for log in engine.live().all_logs() {
                if let Ok(true) = engine.write_back(&log) {
                    rest = Some(Duration::ZERO);
                }
            }
            rest
        })?;
        live.upkeep.start("stillpoint-upkeep", Arc::downgrade(self), |engine, control| {
            Some(match engine.upkeep(control) {
                Ok(true) => Duration::ZERO,
                Ok(false) => REST,
                Err(_) => REST_AFTER_FAILURE, // whoever writes or flushes is told what is wrong
            })
        })
    }

    /// Keeps a log ready for what is written next, and writes a part of it back; returns whether there was one. Beside the rest
    /// of the upkeep, which folds for seconds.
    fn write_back(&self, log: &LiveLog) -> Result<bool> {
        let _ = log.log().prepare_when_due(); // who writes is told what is wrong; where there is no space the upkeep makes some
        log.log().write_back()
    }

    /// Ends the upkeep, and has the logs say what is durable, so that the next opening has nothing to read or to rewrite. The
    /// engine still answers after it; without it nothing is lost.
    pub fn close(&self) {
        let Some(live) = self.live.as_ref() else { return };
        let workers = [&live.upkeep, &live.writeback];
        workers.iter().for_each(|worker| worker.end());
        workers.iter().for_each(|worker| worker.wait());
        for log in live.all_logs() {
            let _ = log.log().settle(); // the next opening finds out by itself
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
        self.upkeep_of_all(live, control, false)
    }

    fn upkeep_of_all(&self, live: &Live, control: &Control, relieves: bool) -> Result<bool> {
        let (mut did_something, mut failed) = (false, None);
        for log in live.all_logs() {
            match self.upkeep_of(&log, control, relieves) {
                Ok(did) => did_something |= did,
                Err(error) => failed = Some(error), // one machine's failed log touches no other
            }
        }
        if !relieves {
            match self.fold_deleted(control) {
                Ok(did) => did_something |= did,
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if !did_something => Err(error),
            _ => Ok(did_something),
        }
    }

    fn upkeep_of(&self, log: &Arc<LiveLog>, control: &Control, relieves: bool) -> Result<bool> {
        if log.log().is_fenced().is_some() {
            return Ok(false);
        }
        let trimmed = self.trim_window(log)?;
        let gave_back = give_back(log)? || trimmed;
        if !self.live().writeback.is_running() {
            while self.write_back(log)? {}
        }
        // On a full disk what is folded makes room for it, so that goes on.
        let prepared = self.relieved(|| log.log().prepare_when_due());
        let due = self.due(&prepared, relieves)?;
        if is_due(&log.group.stack(), due)
            && let Some(_steady) = log.try_steady()
            && let Err(error) = self.cut_internally(log)
        {
            return prepared.and(Err(error));
        }
        let Some(oldest) = log.group.oldest_sealed() else { return prepared.map(|()| gave_back) };
        let Some(sealed) = oldest.sealed().filter(|sealed| !sealed.has_point()) else {
            return prepared.map(|()| gave_back);
        };
        self.settle_origins(log, sealed.cut, control)?;
        let _alone = log.folding_unless_cancelled(control)?;
        let is_oldest = log.group.oldest_sealed().is_some_and(|now| Arc::ptr_eq(&now, &oldest));
        if is_oldest {
            self.relieved(|| self.fold_away(log, &oldest, control))?;
        }
        drop(oldest); // and with it the records that it held
        give_back(log)?;
        Ok(is_oldest)
    }

    /// Seals the active layer for no point, so that it can be folded. On a full disk the reserve has room for the record.
    ///
    /// # Errors
    /// `NO_SPACE`, `LAYERS_FULL`, `LOG_FENCED`, `LOG_DAMAGED`.
    pub(super) fn cut_internally(&self, log: &LiveLog) -> Result<()> {
        let cut = || log.group.cut(CutBody::internal(log.machine_id.unwrap_or_default())).map(drop);
        match cut() {
            Err(error) if error.code() == Code::NoSpace => {
                let _loan = self.borrow_reserve_at_once();
                log.log().prepare_for_cut()?;
                cut()
            }
            ended => ended,
        }
    }

    /// Where space is short, folding gives back what the log takes and what is owed too much; for a writer that waits for
    /// that, `relieves`, at once.
    fn due(&self, prepared: &Result<()>, relieves: bool) -> Result<Due> {
        let available = self.live().space.available_bytes()?;
        if prepared.as_ref().is_err_and(|error| error.code() == Code::NoSpace) {
            return Ok(Due { logged_bytes: 0, debt_bytes: 0 }); // also what was charged for writes that got no place then
        }
        let longest = (self.options.log_bytes_max / LAYER_LOG_SHARE).max(LAYER_LOGGED_BYTES_MIN);
        let logged_bytes = available.clamp(LAYER_LOGGED_BYTES_MIN, longest);
        let debt_bytes = if relieves { RELIEF_DEBT_BYTES_MIN } else { available.max(RELIEF_DEBT_BYTES_MIN) };
        Ok(Due { logged_bytes, debt_bytes })
    }

    /// Lets a writer wait while the log is longer than it may be, and a little when it is on its way there. What only the
    /// window keeps does not count: nobody waits for that (I-62).
    ///
    /// # Errors
    /// `LAYERS_FULL` when nothing shortens it for long.
    pub(super) fn pace(&self, log: &Arc<LiveLog>) -> Result<()> {
        let longest = self.options.log_bytes_max;
        let delay_ns = delay_ns(log.needed_bytes(self.options.window), longest);
        if delay_ns >= PACE_DELAY_NS_MIN {
            self.live().upkeep.wake();
            self.parts.clock.wait_ns(delay_ns);
        }
        let (mut waits, mut hurry) = (0, None);
        while log.needed_bytes(self.options.window) > longest {
            hurry.get_or_insert_with(|| self.live().load.hurry());
            if waits == PACE_WAITS_MAX || log.log().is_fenced().is_some() {
                let message = "the write log is as long as it may be, and nothing of it is copied; copy or delete the oldest point";
                return Err(Error::new(Code::LayersFull, message));
            }
            if !log.is_folding() {
                waits += 1; // while it is being shortened, however long that takes, the writer waits
            }
            // Where no thread does it, this one does. What keeps it from that the writer only sees as a wait.
            if self.live().upkeep.wake() || !self.upkeep_of(log, &Control::default(), false).unwrap_or(false) {
                self.parts.clock.wait_ns(PACE_WAIT_NS);
            }
        }
        Ok(())
    }

    /// Does what may find no space; then windows are made shorter, then what is owed is folded, and it is tried again for as
    /// long as that pays something, so that a writer that is faster than the copy is slowed and not refused.
    ///
    /// # Errors
    /// What the work gives; `NO_SPACE` once folding gives nothing back.
    pub(super) fn with_relief<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        let (live, mut folds) = (self.live(), 0);
        loop {
            let owed = live.space.debt_bytes();
            match self.relieved(&work) {
                Err(error) if error.code() == Code::NoSpace && folds < RELIEF_FOLDS_MAX => {
                    folds += 1;
                    // Also when another thread folds: this one has waited for it then.
                    let did = self.upkeep_of_all(live, &Control::default(), true).unwrap_or(false);
                    if !did && live.space.debt_bytes() >= owed {
                        return Err(error);
                    }
                }
                ended => return ended,
            }
        }
    }

    /// Folds everything that every log holds and no point waits for. For a clean close, and for tests.
    ///
    /// # Errors
    /// As [`Engine::upkeep`].
    pub fn settle_logs(&self, control: &Control) -> Result<()> {
        let Some(live) = self.live.as_ref() else { return Ok(()) };
        let mut failed = None;
        for log in live.all_logs() {
            if let Err(error) = self.settle_log(&log, control) {
                failed = Some(error); // one machine's failed log touches no other
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn settle_log(&self, log: &Arc<LiveLog>, control: &Control) -> Result<()> {
        {
            let _steady = log.steady();
            self.cut_internally(log)?;
        }
        self.settle_origins(log, Lsn(u64::MAX), control)?;
        let _alone = log.folding_unless_cancelled(control)?;
        while let Some(oldest) =
            log.group.oldest_sealed().filter(|oldest| oldest.sealed().is_some_and(|sealed| !sealed.has_point()))
        {
            self.fold_away(log, &oldest, control)?;
        }
        give_back(log).map(drop)
    }
}

/// Releases what neither bases nor window need. Whoever folds a layer, or looks at one, keeps its records until it is done with
/// it, and the release that follows the fold leaves them; returns whether there were such.
pub(super) fn give_back(log: &LiveLog) -> Result<bool> {
    let limit = log.window().released_up_to(log.base());
    Ok(log.log().release(limit)? > 0)
}

/// How long one write is delayed by a log of this length.
fn delay_ns(log_bytes: u64, log_bytes_max: u64) -> u64 {
    let half = (log_bytes_max / 2).max(1);
    let above = log_bytes.saturating_sub(half).min(half) * 1000 / half; // thousandths
    PACE_DELAY_NS_MAX * above.pow(3) / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LOG_BYTES_MAX;

    #[test]
    fn writers_are_delayed_from_half_of_the_longest_log_on_and_ever_more() {
        assert_eq!(delay_ns(LOG_BYTES_MAX / 2, LOG_BYTES_MAX), 0);
        let delays: Vec<u64> =
            (0..=100).map(|percent| delay_ns(LOG_BYTES_MAX / 100 * percent, LOG_BYTES_MAX)).collect();
        assert!(delays.is_sorted());
        assert!(delays[60] < PACE_DELAY_NS_MAX / 100, "{delays:?}");
        for beyond in [LOG_BYTES_MAX, LOG_BYTES_MAX * 2, u64::MAX] {
            assert_eq!(delay_ns(beyond, LOG_BYTES_MAX), PACE_DELAY_NS_MAX);
        }
    }
}
