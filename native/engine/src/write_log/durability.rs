//! Group commit: one sync serves all who wait for one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::WriteLog;
use super::segment::Segment;
use crate::error::Result;
use crate::units::Lsn;

/// What is durable, and whether somebody is making more so.
pub(super) struct Durability {
    durable: AtomicU64,
    is_syncing: Mutex<bool>,
    ended: Condvar,
}

impl Durability {
    pub(super) fn new(durable: Lsn) -> Self {
        Self { durable: AtomicU64::new(durable.0), is_syncing: Mutex::new(false), ended: Condvar::new() }
    }

    pub(super) fn value(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    pub(super) fn wake(&self) {
        let _is_syncing = self.is_syncing();
        self.ended.notify_all();
    }

    fn is_syncing(&self) -> MutexGuard<'_, bool> {
        self.is_syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who syncs. Others may again when it is dropped, by a panic too.
struct Turn<'a> {
    durability: &'a Durability,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.durability.is_syncing() = false;
        self.durability.ended.notify_all();
    }
}

/// What a sync shall cover.
#[derive(Clone, Copy)]
enum Reach {
    /// Everything that is complete.
    Watermark,
    /// The full segments, up to the last record in them.
    FullSegments(Lsn),
}

impl WriteLog {
    /// Makes everything up to `lsn` durable, for all disks: waits until it is in the log, then for a sync that began after
    /// that. Those who wait while a sync runs share the next one.
    ///
    /// # Errors
    /// `LOG_FENCED` and `LOG_DAMAGED`; what the sync gives: it fences the log and is never tried again.
    pub fn flush(&self, lsn: Lsn) -> Result<()> {
        self.wait_until_logged(lsn)?;
        while self.durable() < lsn {
            if let Some(_turn) = self.turn(lsn)? {
                self.sync_segments(Reach::Watermark)?;
            }
        }
        self.fence.check()
    }

    /// Makes everything durable that is complete now, and tells up to where.
    ///
    /// # Errors
    /// As [`WriteLog::flush`].
    pub fn try_flush(&self) -> Result<Lsn> {
        self.flush(self.watermark())?;
        Ok(self.durable())
    }

    /// Makes everything durable that is complete, and has the superblock say so: the next opening has nothing to write anew.
    /// The log is of further use after it.
    ///
    /// # Errors
    /// As [`WriteLog::flush`].
    pub fn settle(&self) -> Result<()> {
        self.try_flush()?;
        self.finish_full(|_| true)?;
        self.change_superblock(|_| ())
    }

    /// Syncs the full segments, the last record of which is `last`.
    pub(super) fn sync_full(&self, last: Lsn) -> Result<()> {
        loop {
            if let Some(_turn) = self.turn(Lsn(u64::MAX))? {
                return self.sync_segments(Reach::FullSegments(last));
            }
        }
    }

    /// The turn to sync; `None` after another's ended, or when there is no need any more.
    fn turn(&self, lsn: Lsn) -> Result<Option<Turn<'_>>> {
        let durability = &self.durability;
        let mut is_syncing = durability.is_syncing();
        self.fence.check()?;
        if *is_syncing {
            drop(durability.ended.wait(is_syncing).unwrap_or_else(PoisonError::into_inner));
            return Ok(None);
        }
        if durability.value() >= lsn {
            return Ok(None);
        }
        *is_syncing = true;
        Ok(Some(Turn { durability }))
    }

    fn sync_segments(&self, reach: Reach) -> Result<()> {
        // Before the segments are looked at: what is complete by now was written by now, so the syncs cover it.
        let watermark = self.watermark();
        let reached = match reach {
            Reach::Watermark => watermark,
            Reach::FullSegments(last) => watermark.min(last),
        };
        let is_meant = |segment: &Segment| match reach {
            Reach::Watermark => segment.is_dirty(),
            Reach::FullSegments(last) => segment.last.get().is_some_and(|end| *end <= last) && segment.is_dirty(),
        };
        for segment in self.segments.pick(is_meant) {
            self.fencing(segment.sync())?;
        }
        self.fence.check()?; // another who met a failed page may have been told in a sync's place
        self.durability.durable.fetch_max(reached.0, Ordering::AcqRel);
        Ok(())
    }
}
