//! Which parts of a run of chunks are worth writing to a file that reads as zero by itself.
//!
//! Chunks are larger than the blocks of file systems, so a chunk of data may hold blocks that its source never had. What it
//! costs: a block of data is told by its first 64 bytes in most cases; a block of zeros is read once, from the cache.

use std::ops::Range;

/// What is left out is a whole number of these, aligned: the block of ext4, xfs and most others.
const BLOCK_BYTES: usize = 4096;

const _: () = assert!((crate::limits::CHUNK_BYTES_ALLOWED[0] as usize).is_multiple_of(BLOCK_BYTES));

/// The maximal runs of blocks that are not all zero. The last block may be cut off.
pub(super) struct DataRuns<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> DataRuns<'a> {
    /// The runs of bytes that begin at the start of a block.
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The first block from `at` on that is all zero, or is not; the end when there is none.
    fn first(&self, mut at: usize, zero: bool) -> usize {
        while at < self.data.len() {
            let end = (at + BLOCK_BYTES).min(self.data.len());
            if is_zero(&self.data[at..end]) == zero {
                return at;
            }
            at = end;
        }
        at
    }
}

impl Iterator for DataRuns<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.first(self.at, false);
        self.at = self.first(start, true);
        (start < self.data.len()).then_some(start..self.at)
    }
}

/// Line by line, so that it ends early where there is data, and whole lines are compared at once where there is none.
fn is_zero(block: &[u8]) -> bool {
    let (lines, rest) = block.as_chunks::<64>();
    lines.iter().all(|line| line.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(data: &[u8]) -> Vec<Range<usize>> {
        DataRuns::new(data).collect()
    }

    #[test]
    fn only_whole_blocks_of_zeros_are_left_out() {
        let mut data = vec![0; 5 * BLOCK_BYTES + 100];
        assert_eq!(runs(&data), []);
        assert_eq!(runs(&[]), []);
        data[0] = 1;
        data[2 * BLOCK_BYTES - 1] = 1;
        data[4 * BLOCK_BYTES + 70] = 1;
        assert_eq!(runs(&data), [0..2 * BLOCK_BYTES, 4 * BLOCK_BYTES..5 * BLOCK_BYTES]);
        *data.last_mut().unwrap() = 1;
        assert_eq!(runs(&data), [0..2 * BLOCK_BYTES, 4 * BLOCK_BYTES..data.len()]);
        data.fill(1);
        assert_eq!(runs(&data), std::slice::from_ref(&(0..data.len())));
    }
}
