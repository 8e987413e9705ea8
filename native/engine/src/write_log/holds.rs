//! Who still needs records: a multiset of LSNs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::WriteLog;
use crate::units::Lsn;

/// How many hold each LSN.
#[derive(Default)]
pub(super) struct Holds {
    counts: Mutex<BTreeMap<Lsn, usize>>,
}

impl Holds {
    /// Records above this stay; `None` when nobody holds any.
    pub(super) fn lowest(&self) -> Option<Lsn> {
        self.counts().keys().next().copied()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Lsn, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the records above an LSN readable while it lives.
pub struct Hold {
    log: Arc<WriteLog>,
    lsn: Lsn,
}

impl Hold {
    /// Records above this stay.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut counts = self.log.holds.counts();
        if let Some(count) = counts.get_mut(&self.lsn) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.lsn);
            }
        }
    }
}

impl WriteLog {
    /// Keeps the records above `lsn`. They must be there: under a hold that the caller knows of, or not released yet.
    #[must_use]
    pub fn hold(self: &Arc<Self>, lsn: Lsn) -> Hold {
        *self.holds.counts().entry(lsn).or_default() += 1;
        Hold { log: Arc::clone(self), lsn }
    }
}
