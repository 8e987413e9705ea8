//! Which ranges differ between any two disk versions.
//!
//! What it is: a cursor that walks two block maps together and skips equal subtrees, so its cost is the number of
//! differing nodes, whatever the size of the disks. With a granularity, differing chunks are read and compared.
//! What it guarantees: the extents cover [0, size after), sorted, disjoint, maximal (neighbours of one kind are one);
//! applied to the older version they give the newer. Bytes past the older end count as zero. Without a granularity
//! extents are whole chunks and may hold equal bytes.
//! What it must not import: `scan`, `restore`, the engine's top.

mod refine;
mod walk;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::block_map::{DiskVersion, Geometry, MapReader};
use crate::control::Control;
use crate::error::Result;

use refine::Refiner;
use walk::{Differing, Walk};

/// What a range reads as afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Bytes.
    Data,
    /// Zero throughout.
    Zero,
}

/// A differing range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// What it reads as in the newer version.
    pub kind: ExtentKind,
}

impl Extent {
    /// Where it ends.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// The extents of a diff, page by page.
pub struct DiffCursor {
    maps: Arc<MapReader>,
    walk: Walk,
    refiner: Option<Refiner>,
    differing: Option<Differing>, // found, and not refined yet: refining may fail and be tried again
    pending: Option<Extent>,      // the last one found, which the next may continue
    ready: VecDeque<Extent>,
    ended: bool,
}

impl DiffCursor {
    /// A cursor at the beginning. `granularity`: 512 to the chunk size, a power of two, or whole chunks.
    #[must_use]
    pub fn new(maps: Arc<MapReader>, before: DiskVersion, after: DiskVersion, granularity: Option<u64>) -> Self {
        Self::within(maps, before, after, granularity, 0..u64::MAX)
    }

    /// As [`DiffCursor::new`], but of the chunks that `range` touches, which is all that is looked at; extents may go beyond it.
    #[must_use]
    pub fn within(
        maps: Arc<MapReader>,
        before: DiskVersion,
        after: DiskVersion,
        granularity: Option<u64>,
        range: Range<u64>,
    ) -> Self {
        let chunk_bytes = u64::from(maps.store().parameters().chunk_bytes);
        let geometry = |version: &DiskVersion| Geometry { size: version.size, chunk_bytes };
        let refiner = granularity.map(|granularity| Refiner::new(geometry(&before), geometry(&after), granularity));
        let chunks = range.start / chunk_bytes..range.end.div_ceil(chunk_bytes);
        let walk = Walk::new(before, after, geometry(&after), chunks);
        Self { walk, maps, refiner, differing: None, pending: None, ready: VecDeque::new(), ended: false }
    }

    /// The next extents, up to `extent_count_max` of them; none at the end. After an error the same page can be asked
    /// for again.
    ///
    /// # Errors
    /// `CANCELLED`, missing or damaged nodes and chunks, what reading gives.
    pub fn next_page(&mut self, extent_count_max: usize, control: &Control) -> Result<Vec<Extent>> {
        while self.ready.len() < extent_count_max && !self.ended {
            control.check()?;
            if self.differing.is_none() {
                self.differing = self.walk.next(&self.maps)?;
            }
            let Some(differing) = &self.differing else {
                self.ready.extend(self.pending.take());
                self.ended = true;
                break;
            };
            match &mut self.refiner {
                None => push(&mut self.pending, &mut self.ready, differing.extent),
                Some(refiner) => {
                    for extent in refiner.refine(&self.maps, differing)? {
                        push(&mut self.pending, &mut self.ready, extent);
                    }
                }
            }
            self.differing = None;
        }
        let count = self.ready.len().min(extent_count_max);
        Ok(self.ready.drain(..count).collect())
    }
}

fn push(pending: &mut Option<Extent>, ready: &mut VecDeque<Extent>, next: Extent) {
    match pending {
        Some(last) if last.end() == next.offset && last.kind == next.kind => last.length += next.length,
        _ => ready.extend(pending.replace(next)),
    }
}
