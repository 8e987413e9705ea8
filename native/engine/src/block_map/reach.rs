//! What roots reach: all nodes and chunks, each visited once; and which ranges of a disk stand on given ids.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{DiskVersion, Geometry, MapReader, chunks_below};
use crate::chunk_store::Batch;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::format::node::{Entry, Root};
use crate::limits::NODE_FAN_OUT;
use crate::units::ContentId;

/// Everything that some roots reach.
#[derive(Debug, Default)]
pub struct Reached {
    /// Nodes.
    pub nodes: HashSet<ContentId>,
    /// Chunks.
    pub chunks: HashSet<ContentId>,
    /// Nodes that could not be read; what lies below them is unknown.
    pub unreadable: HashMap<ContentId, String>,
}

impl Reached {
    /// Adds what a root reaches. Every node is read from its pack and proven; subtrees that were added before are skipped.
    ///
    /// # Errors
    /// `CANCELLED`. Whether an unreadable node is an error is `on_unreadable`'s to say.
    pub fn add(
        &mut self,
        maps: &MapReader,
        root: &Root,
        control: &Control,
        mut on_unreadable: impl FnMut(Error) -> Result<String>,
    ) -> Result<()> {
        let mut batch = Batch::default();
        let mut stack = vec![(root.entry, root.height)];
        while let Some((entry, level)) = stack.pop() {
            let Entry::Id(id) = entry else { continue };
            if level == 0 {
                self.chunks.insert(id);
                continue;
            }
            if !self.nodes.insert(id) {
                continue;
            }
            control.check()?;
            match maps.node_uncached(&id, level, &mut batch) {
                Ok(node) => stack.extend(node.entries().iter().map(|entry| (*entry, level - 1))),
                Err(error) => {
                    let why = on_unreadable(error)?;
                    self.unreadable.insert(id, why);
                }
            }
        }
        Ok(())
    }
}

/// The ranges of a disk version that stand on a bad chunk or below a bad node: sorted, disjoint, maximal. Below
/// other `unreadable` nodes nothing is looked for; `clean` collects subtrees that hold nothing bad, for the next call.
///
/// # Errors
/// What reading sound nodes gives.
pub fn ranges_on(
    maps: &MapReader,
    version: &DiskVersion,
    bad: &HashSet<ContentId>,
    unreadable: &HashSet<ContentId>,
    clean: &mut HashSet<ContentId>,
) -> Result<Vec<Range<u64>>> {
    let geometry = Geometry { size: version.size, chunk_bytes: u64::from(maps.store().parameters().chunk_bytes) };
    let mut ranges = Vec::new();
    visit(maps, &geometry, version.root.entry, version.root.height, 0, bad, unreadable, clean, &mut ranges)?;
    Ok(ranges)
}

#[allow(clippy::too_many_arguments)] // one recursion's state
fn visit(
    maps: &MapReader,
    geometry: &Geometry,
    entry: Entry,
    level: u8,
    chunk: u64,
    bad: &HashSet<ContentId>,
    unreadable: &HashSet<ContentId>,
    clean: &mut HashSet<ContentId>,
    ranges: &mut Vec<Range<u64>>,
) -> Result<()> {
    let Entry::Id(id) = entry else { return Ok(()) };
    if bad.contains(&id) {
        let range = geometry.range(chunk, chunks_below(level));
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
        return Ok(());
    }
    if level == 0 || clean.contains(&id) || unreadable.contains(&id) {
        return Ok(());
    }
    let before = (ranges.len(), ranges.last().cloned());
    let node = maps.node(&id, level)?;
    for index in 0..NODE_FAN_OUT {
        let below = chunk + index as u64 * chunks_below(level - 1);
        visit(maps, geometry, node.entry(index), level - 1, below, bad, unreadable, clean, ranges)?;
    }
    if before == (ranges.len(), ranges.last().cloned()) {
        clean.insert(id);
    }
    Ok(())
}
