//! The contiguous watermark: the highest LSN up to which every record is complete (I-22).
//!
//! Appends end in any order. A write may be acknowledged only when everything below it is in the log too: otherwise a
//! process crash could leave it out of a prefix, while something that was written because of it is in.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::fence::Fence;
use crate::error::Result;
use crate::units::{Lsn, usize_from};

/// What is complete.
pub(super) struct Watermark {
    /// `ahead.base`, for readers without the lock.
    value: AtomicU64,
    ahead: Mutex<Ahead>,
    moved: Condvar,
}

struct Ahead {
    base: u64,
    /// Whether `base + 1 + index` is complete. The first is not; as long as the records in flight at most.
    complete: VecDeque<bool>,
    /// Who waits; waking nobody costs a system call all the same.
    waiting: usize,
}

impl Watermark {
    /// Everything up to `lsn` is complete, and nothing above was given yet.
    pub(super) fn new(lsn: Lsn) -> Self {
        let ahead = Ahead { base: lsn.0, complete: VecDeque::new(), waiting: 0 };
        Self { value: AtomicU64::new(lsn.0), ahead: Mutex::new(ahead), moved: Condvar::new() }
    }

    pub(super) fn value(&self) -> Lsn {
        Lsn(self.value.load(Ordering::Acquire))
    }

    /// A record is complete.
    pub(super) fn complete(&self, lsn: Lsn) {
        let mut ahead = self.ahead();
        assert!(lsn.0 > ahead.base, "a record is completed once");
        let index = usize_from(lsn.0 - ahead.base - 1);
        if ahead.complete.len() <= index {
            ahead.complete.resize(index + 1, false);
        }
        assert!(!ahead.complete[index], "a record is completed once");
        ahead.complete[index] = true;
        if index > 0 {
            return;
        }
        while ahead.complete.front() == Some(&true) {
            ahead.complete.pop_front();
            ahead.base += 1;
        }
        self.value.store(ahead.base, Ordering::Release);
        if ahead.waiting > 0 {
            self.moved.notify_all();
        }
    }

    /// Waits until it has reached `lsn`.
    pub(super) fn wait(&self, lsn: Lsn, fence: &Fence) -> Result<()> {
        if self.value() < lsn {
            let mut ahead = self.ahead();
            ahead.waiting += 1;
            while ahead.base < lsn.0 && !fence.is_set() {
                ahead = self.moved.wait(ahead).unwrap_or_else(PoisonError::into_inner);
            }
            ahead.waiting -= 1;
        }
        fence.check()
    }

    /// Lets everybody who waits look at the fence again.
    pub(super) fn wake(&self) {
        let _ahead = self.ahead(); // nobody is between looking and waiting
        self.moved.notify_all();
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;

    #[test]
    fn it_stands_below_the_lowest_record_that_is_not_complete_whatever_the_order() {
        for seed in 0..200 {
            let mut random = Seeded::new(seed);
            let mut left: Vec<u64> = (11..=40).collect();
            let watermark = Watermark::new(Lsn(10));
            while !left.is_empty() {
                let lsn = left.swap_remove(usize_from(random.below(left.len() as u64)));
                watermark.complete(Lsn(lsn));
                let expected = left.iter().min().map_or(40, |lowest| lowest - 1);
                assert_eq!(watermark.value(), Lsn(expected), "seed {seed}");
            }
        }
    }
}
