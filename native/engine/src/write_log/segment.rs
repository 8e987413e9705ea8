//! One segment: its file, what was written to it and what of that a sync has covered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::Result;
use crate::format::log_record::Salt;
use crate::format::superblock::FirstRecord;
use crate::io::IoFile;
use crate::units::{Lsn, u64_from};

/// How much is written before the disk is asked to begin, so that a flush finds little left to do.
const WRITEBACK_BYTES: u64 = 1 << 20;

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
}

impl Segment {
    pub(super) fn new(number: u64, incarnation: u64, salt: Salt, segment_bytes: u64, file: Arc<dyn IoFile>) -> Self {
        let (first, last) = (OnceLock::new(), OnceLock::new());
        let (written, synced) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { number, incarnation, salt, segment_bytes, file, first, last, written, synced }
    }

    /// Writes, and now and then has the disk begin with what was written.
    pub(super) fn write(&self, bytes: &[u8], position: u64) -> Result<()> {
        self.file.write_at(bytes, position)?;
        let count = u64_from(bytes.len());
        let before = self.written.fetch_add(count, Ordering::AcqRel);
        // Appends end in any order, but near each other: bytes counted are about bytes from the front.
        let (from, to) = (before / WRITEBACK_BYTES, (before + count) / WRITEBACK_BYTES);
        if from != to {
            self.file.start_writeback(from * WRITEBACK_BYTES, (to - from) * WRITEBACK_BYTES)?;
        }
        Ok(())
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
