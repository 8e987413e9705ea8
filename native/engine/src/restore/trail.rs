//! Keeps a restore from filling the system's cache with its target.
//!
//! What it is: each lot that was written is sent on its way to the disk at once, and forgotten by the cache once so many
//! bytes were written after it that it has arrived in all likelihood. What it guarantees: nothing about durability, which
//! is the target's sync alone; both are hints. What it costs: two calls a lot. What it saves: the pages of a target of
//! any size are always the same few (decision 0014), and the sync at the end finds next to nothing left to do.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::io::IoFile;

/// Written bytes that the cache may still hold. A page on its way to the disk cannot be forgotten, so this is what the
/// slowest disk that should keep up writes in the time in which we write as much; of a slower one the cache keeps more.
const TRAIL_BYTES: u64 = 64 << 20;

/// Lots that were written lately, oldest first.
#[derive(Default)]
pub(super) struct Trail {
    lots: Mutex<Lots>,
}

#[derive(Default)]
struct Lots {
    ranges: VecDeque<Range<u64>>,
    bytes: u64,
}

impl Trail {
    /// A lot was written to these bytes of the file.
    ///
    /// # Errors
    /// What the device gives for writing back.
    pub(super) fn written(&self, file: &dyn IoFile, range: Range<u64>) -> Result<()> {
        file.start_writeback(range.start, range.end - range.start)?;
        for old in self.push(range) {
            file.forget(old.start, old.end - old.start);
        }
        Ok(())
    }

    /// Those that are far enough behind.
    fn push(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut lots = self.lots.lock().unwrap_or_else(PoisonError::into_inner);
        lots.bytes += range.end - range.start;
        lots.ranges.push_back(range);
        let mut behind = Vec::new();
        while lots.bytes > TRAIL_BYTES
            && let Some(old) = lots.ranges.pop_front()
        {
            lots.bytes -= old.end - old.start;
            behind.push(old);
        }
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lots_leave_when_the_trail_is_long_enough() {
        let trail = Trail::default();
        let lot = TRAIL_BYTES / 4;
        for index in 0..4 {
            assert!(trail.push(index * lot..(index + 1) * lot).is_empty());
        }
        assert_eq!(trail.push(9 * lot..10 * lot), std::slice::from_ref(&(0..lot)));
        assert_eq!(trail.push(20 * lot..22 * lot), [lot..2 * lot, 2 * lot..3 * lot]);
    }
}
