//! What a map is made new from: the ranges that one layer touches on one disk, and their bytes.
//!
//! Only the trait is here, so that those who keep layers and those who fold them need not know each other.

use crate::error::Result;

/// Ranges that are asked for together.
const PAGE_RANGES: usize = 1024;

/// What a layer says of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerContent {
    /// Bytes, to be read from the layer.
    Data,
    /// Zero, and allocated.
    Zero,
    /// Zero, and not allocated any more.
    Hole,
}

/// A range that a layer touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerRange {
    /// Where it begins.
    pub offset: u64,
    /// How long it is; never 0.
    pub length: u64,
    /// What it reads as.
    pub content: LayerContent,
}

impl LayerRange {
    /// Where it ends.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// One disk in one sealed layer, or in several that lie on each other: what it says does not change any more.
pub trait LayerSource: Send + Sync {
    /// The next ranges that end after `from`: sorted and disjoint, at most `count_max` (which is not 0), and none only when
    /// there is none. Neighbours of one content may be one range or several.
    ///
    /// # Errors
    /// What looking them up gives.
    fn ranges(&self, from: u64, count_max: usize) -> Result<Vec<LayerRange>>;

    /// Bytes that lie within ranges of data. They were checked where they come from.
    ///
    /// # Errors
    /// What reading gives.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// Bytes of all ranges behind `from`. Walks through them.
    ///
    /// # Errors
    /// As [`LayerSource::ranges`].
    fn touched_bytes(&self, from: u64) -> Result<u64> {
        let (mut from, mut bytes) = (from, 0);
        loop {
            let page = self.ranges(from, PAGE_RANGES)?;
            let Some(last) = page.last() else { return Ok(bytes) };
            bytes += page.iter().map(|range| range.end() - range.offset.max(from)).sum::<u64>();
            from = last.end();
        }
    }
}
