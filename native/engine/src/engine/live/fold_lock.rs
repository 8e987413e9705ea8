//! Who folds a log: one at a time, for as long as that takes, and whoever waits for it may be cancelled.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::control::Control;
use crate::error::Result;

/// How long somebody who waits does not look whether the call was cancelled. Nothing else depends on it.
const LOOK: Duration = Duration::from_millis(1);

/// The right to fold a log.
#[derive(Default)]
pub(super) struct FoldLock {
    is_taken: Mutex<bool>,
    is_free: Condvar,
}

/// The right, until it is dropped.
pub(super) struct Folding<'a>(&'a FoldLock);

impl FoldLock {
    /// Waits until nobody else folds.
    pub(super) fn take(&self) -> Folding<'_> {
        let free = self.is_free.wait_while(self.is_taken(), |is_taken| *is_taken);
        self.taken(free.unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`FoldLock::take`].
    ///
    /// # Errors
    /// `CANCELLED`, while somebody else folds.
    pub(super) fn take_unless_cancelled(&self, control: &Control) -> Result<Folding<'_>> {
        let mut is_taken = self.is_taken();
        while *is_taken {
            control.check()?;
            is_taken = self.is_free.wait_timeout(is_taken, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(self.taken(is_taken))
    }

    /// Whether somebody folds.
    pub(super) fn is_held(&self) -> bool {
        *self.is_taken()
    }

    fn taken(&self, mut is_taken: MutexGuard<'_, bool>) -> Folding<'_> {
        *is_taken = true;
        Folding(self)
    }

    fn is_taken(&self) -> MutexGuard<'_, bool> {
        self.is_taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Folding<'_> {
    fn drop(&mut self) {
        *self.0.is_taken() = false;
        self.0.is_free.notify_one();
    }
}
