//! One segment: its file, what was written to it and what of that a sync has covered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::Result;
use crate::format::log_record::Salt;
use crate::format::superblock::FirstRecord;
use crate::io::IoFile;
use crate::units::{Lsn, u64_from};

/// With each of these that is full the disk begins, so that a flush finds little left to do.
const WRITEBACK_BYTES: u64 = 1 << 20;

/// Twice as much is on its way to the disk at a time: what must be durable before writers can go on (a superblock, the name of
/// a segment) waits behind that.
const WRITEBACK_BYTES_MAX: u64 = 4 << 20;

/// Writes from here on take turns. The kernel lets one at a time into a file, and who waits for a long one keeps a processor busy
/// for as long. Measured with eight writers of 1 MiB on two cores.
const IN_TURN_BYTES_MIN: usize = 64 << 10;

/// A segment of any age.
pub(super) struct Segment {
    pub(super) number: u64,
    /// Counter of its incarnation.
    pub(super) incarnation: u64,
    pub(super) salt: Salt,
    pub(super) segment_bytes: u64,
    pub(super) file: Arc<dyn IoFile>,
    /// Its first record, once it has one.
    pub(super) first: OnceLock<FirstRecord>,
    /// Its last record, once it is full.
    pub(super) last: OnceLock<Lsn>,
    /// Bytes written, in whatever order.
    written: AtomicU64,
    /// What `written` was when the last sync that succeeded began.
    synced: AtomicU64,
    /// As much of `written` was written back, or is: a multiple of [`WRITEBACK_BYTES`].
    written_back: AtomicU64,
    /// Held by who writes much.
    turn: Mutex<()>,
}

impl Segment {
    pub(super) fn new(number: u64, incarnation: u64, salt: Salt, segment_bytes: u64, file: Arc<dyn IoFile>) -> Self {
        let (first, last) = (OnceLock::new(), OnceLock::new());
        let (written, synced, written_back) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self {
            number,
            incarnation,
            salt,
            segment_bytes,
            file,
            first,
            last,
            written,
            synced,
            written_back,
            turn: Mutex::default(),
        }
    }

    /// Writes; returns whether it is time for [`Segment::write_back`].
    pub(super) fn write(&self, bytes: &[u8], position: u64) -> Result<bool> {
        if bytes.len() < IN_TURN_BYTES_MIN {
            self.file.write_at(bytes, position)?;
        } else {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            self.file.write_at(bytes, position)?;
        }
        let count = u64_from(bytes.len());
        let before = self.written.fetch_add(count, Ordering::AcqRel);
        Ok(before / WRITEBACK_BYTES != (before + count) / WRITEBACK_BYTES)
    }

    /// Whether less than [`WRITEBACK_BYTES`] is left to write back.
    pub(super) fn is_written_back(&self) -> bool {
        let written_back = self.written_back.load(Ordering::Acquire); // first: it never passes the other
        self.written.load(Ordering::Acquire) - written_back < WRITEBACK_BYTES
    }

    /// Has the disk begin with the next part of what was written, and waits for the part before it; returns whether there was
    /// one. One at a time. `file` is the segment's, opened for this alone: it is told of failed pages, and so is a sync through
    /// the other.
    pub(super) fn write_back(&self, file: &dyn IoFile) -> Result<bool> {
        // Appends end in any order, but near each other: bytes counted are about bytes from the front.
        let written = self.written.load(Ordering::Acquire);
        let from = self.written_back.load(Ordering::Acquire);
        let to = (written - written % WRITEBACK_BYTES).min(from + WRITEBACK_BYTES_MAX);
        if from == to {
            return Ok(false);
        }
        self.written_back.store(to, Ordering::Release);
        file.start_writeback(from, to - from)?;
        let before = from.saturating_sub(WRITEBACK_BYTES_MAX);
        file.write_back(before, from - before)?;
        Ok(true)
    }

    /// Whether it has its last record.
    pub(super) fn is_full(&self) -> bool {
        self.last.get().is_some()
    }

    /// Whether something was written that no sync has covered.
    pub(super) fn is_dirty(&self) -> bool {
        self.written.load(Ordering::Acquire) != self.synced.load(Ordering::Acquire)
    }

    /// Makes everything durable that was written before. One at a time.
    pub(super) fn sync(&self) -> Result<()> {
        let written = self.written.load(Ordering::Acquire);
        self.file.sync()?;
        self.synced.store(written, Ordering::Release);
        Ok(())
    }
}
