//! Differing chunks compared byte by byte, in blocks of the granularity asked for.

use super::walk::Differing;
use super::{Extent, ExtentKind};
use crate::block_map::{Geometry, MapReader};
use crate::chunk_store::Batch;
use crate::error::Result;
use crate::format::node::Entry;
use crate::units::usize_from;

pub(super) struct Refiner {
    before: Geometry,
    after: Geometry,
    granularity: usize,
    batch: Batch,
}

impl Refiner {
    pub(super) fn new(before: Geometry, after: Geometry, granularity: u64) -> Self {
        assert!(granularity.is_power_of_two() && granularity <= after.chunk_bytes);
        Self { before, after, granularity: usize_from(granularity), batch: Batch::default() }
    }

    /// The differing blocks within a differing range.
    pub(super) fn refine(&mut self, maps: &MapReader, differing: &Differing) -> Result<Vec<Extent>> {
        let uniform = |entry| matches!(entry, Entry::Hole | Entry::Fill(_));
        if uniform(differing.before) && uniform(differing.after) && self.inside_before(differing) {
            return Ok(vec![differing.extent]); // two unequal values: every block differs
        }
        let mut extents: Vec<Extent> = Vec::new();
        for chunk in differing.chunk..differing.chunk + differing.chunk_count {
            let length = usize_from(self.after.chunk_length(chunk));
            let before = self.content(maps, differing.before, length, chunk, &self.before.clone())?;
            let after = self.content(maps, differing.after, length, chunk, &self.after.clone())?;
            let offset = self.after.chunk_offset(chunk);
            compare(&before, &after, self.granularity, offset, &mut extents);
        }
        Ok(extents)
    }

    fn inside_before(&self, differing: &Differing) -> bool {
        differing.before.reads_zero() || differing.extent.end() <= self.before.size
    }

    /// The bytes of a chunk's place, as long as the newer version's; what the version does not reach is zero.
    fn content(
        &mut self,
        maps: &MapReader,
        entry: Entry,
        length: usize,
        chunk: u64,
        geometry: &Geometry,
    ) -> Result<Vec<u8>> {
        let range = geometry.range(chunk, 1);
        let inside = length.min(usize_from(range.end - range.start));
        let mut bytes = match entry {
            Entry::Hole => Vec::new(),
            Entry::Fill(value) => vec![value; inside],
            Entry::Id(id) => maps.chunk(&id, &mut self.batch)?,
        };
        bytes.truncate(inside);
        bytes.resize(length, 0);
        Ok(bytes)
    }
}

fn compare(before: &[u8], after: &[u8], granularity: usize, offset: u64, extents: &mut Vec<Extent>) {
    let blocks = before.chunks(granularity).zip(after.chunks(granularity));
    for (index, (before, after)) in blocks.enumerate() {
        if before == after {
            continue;
        }
        let kind = if after.iter().all(|byte| *byte == 0) { ExtentKind::Zero } else { ExtentKind::Data };
        let block = Extent { offset: offset + (index * granularity) as u64, length: after.len() as u64, kind };
        match extents.last_mut() {
            Some(last) if last.end() == block.offset && last.kind == kind => last.length += block.length,
            _ => extents.push(block),
        }
    }
}
