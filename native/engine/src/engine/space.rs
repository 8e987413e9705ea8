//! Whether there is space for what is logged, once it is folded.
//!
//! One counter for the store. What a charge asks the file system for is asked anew once a part of what was free then has
//! been charged, so that a small write costs an addition.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::disk::SpaceGate;
use crate::error::{Code, Error, Result};
use crate::io::Io;
use crate::io::reserve::Reserve;

/// What may be charged without asking, at most.
const CREDIT_BYTES_MAX: u64 = 16 << 20;

/// And at most this part of what is free: one in four.
const CREDIT_SHARE: u64 = 4;

/// The debt of all logs of a store, against what is free.
pub(super) struct Space {
    io: Arc<dyn Io>,
    directory: PathBuf,
    reserve: Arc<Reserve>,
    debt_bytes: AtomicU64,
    credit_bytes: AtomicI64,
}

impl Space {
    pub(super) fn new(io: Arc<dyn Io>, directory: PathBuf, reserve: Arc<Reserve>) -> Self {
        Self { io, directory, reserve, debt_bytes: AtomicU64::new(0), credit_bytes: AtomicI64::new(0) }
    }

    pub(super) fn debt_bytes(&self) -> u64 {
        self.debt_bytes.load(Ordering::Relaxed)
    }

    /// What writers may still take: free, not owed, and not the reserve's, which they would else take while it is lent.
    pub(super) fn available_bytes(&self) -> Result<u64> {
        let free = self.io.available_bytes(&self.directory)?;
        Ok(free.saturating_sub(self.reserve.missing_bytes()).saturating_sub(self.debt_bytes()))
    }

    fn full(&self, free: u64) -> Error {
        let message = format!(
            "the file system of {} has no room for what this write makes necessary: {free} bytes are neither taken nor owed",
            self.directory.display()
        );
        let error = Error::new(Code::NoSpace, message).with("path", self.directory.as_path());
        error.with("debtBytes", self.debt_bytes())
    }
}

impl SpaceGate for Space {
    fn charge(&self, bytes: u64) -> Result<()> {
        let signed = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.credit_bytes.fetch_sub(signed, Ordering::Relaxed) < signed {
            let free = self.available_bytes()?;
            if free < bytes {
                self.credit_bytes.store(0, Ordering::Relaxed);
                return Err(self.full(free));
            }
            let credit = (free - bytes).min(CREDIT_BYTES_MAX * CREDIT_SHARE) / CREDIT_SHARE;
            self.credit_bytes.store(credit.cast_signed(), Ordering::Relaxed);
        }
        self.charge_anyway(bytes);
        Ok(())
    }

    fn check_room(&self, bytes: u64) -> Result<()> {
        let free = self.available_bytes()?;
        if free < bytes { Err(self.full(free)) } else { Ok(()) }
    }

    fn charge_anyway(&self, bytes: u64) {
        self.debt_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn repay(&self, bytes: u64) {
        let before = self.debt_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "nobody repays more than was charged");
    }
}
