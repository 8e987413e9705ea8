//! What folding a layer can take: the chunks and block map nodes that its extents touch, each counted once.
//!
//! What it guarantees: an upper bound. A chunk that is written to, or zeroed in part, counts as stored whole and not
//! compressed; chunks that are wholly zeroed or trimmed cost the nodes at both ends of their run, since a run in the middle
//! has none. What it costs: 16 bytes for each 64 chunks in which something was touched.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::limits::{FOLD_EXTENTS_SHARE, FOLD_FRAME_BYTES_MAX, NODE_BYTES_MAX, NODE_LEVEL_MAX};
use crate::units::u64_from;

/// Bits of a chunk's index that say which entry of its node it is.
const NODE_BITS: u32 = 6;

/// Whether an extent can leave chunks to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Data.
    Writes,
    /// Zeros or a hole: chunks wholly inside need not be stored.
    Empties,
}

/// What became touched for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newly {
    chunks: u64,
    nodes: u64,
}

impl Newly {
    /// What folding it takes at most, beside [`FOLD_LAYER_BYTES_MAX`](crate::limits::FOLD_LAYER_BYTES_MAX) for all of the layer.
    #[must_use]
    pub const fn bytes(&self, chunk_bytes: u64) -> u64 {
        self.chunks * frame_bytes_max(chunk_bytes) + self.nodes * frame_bytes_max(u64_from(NODE_BYTES_MAX))
    }

    const fn is_nothing(&self) -> bool {
        self.chunks == 0 && self.nodes == 0
    }
}

const fn frame_bytes_max(content_bytes: u64) -> u64 {
    let bytes = content_bytes + FOLD_FRAME_BYTES_MAX;
    bytes + bytes.div_ceil(FOLD_EXTENTS_SHARE)
}

/// What was touched of one disk.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    leaves: BTreeMap<u64, u64>, // node of level 1 -> its chunks that may have to be stored
    above: BTreeSet<(u8, u64)>, // nodes of higher levels
}

impl Touched {
    /// What touching `range` would add, at most: nodes of higher levels that two new nodes share count twice.
    #[must_use]
    pub fn newly(&self, range: &Range<u64>, touch: Touch, chunk_bytes: u64) -> Newly {
        let mut newly = Newly::default();
        for_leaves(range, touch, chunk_bytes, |leaf, mask| match self.leaves.get(&leaf) {
            Some(touched) => newly.chunks += u64::from((mask & !touched).count_ones()),
            None => {
                newly.chunks += u64::from(mask.count_ones());
                newly.nodes += 1 + path(leaf).filter(|node| !self.above.contains(node)).count() as u64;
            }
        });
        newly
    }

    /// Touches `range`; returns what that added.
    pub fn add(&mut self, range: &Range<u64>, touch: Touch, chunk_bytes: u64) -> Newly {
        let mut newly = Newly::default();
        for_leaves(range, touch, chunk_bytes, |leaf, mask| self.add_leaf(leaf, mask, &mut newly));
        newly
    }

    fn add_leaf(&mut self, leaf: u64, mask: u64, newly: &mut Newly) {
        let is_new = !self.leaves.contains_key(&leaf);
        let touched = self.leaves.entry(leaf).or_default();
        newly.chunks += u64::from((mask & !*touched).count_ones());
        *touched |= mask;
        if is_new {
            newly.nodes += 1 + path(leaf).filter(|node| self.above.insert(*node)).count() as u64;
        }
    }

    /// Whether touching `range` adds nothing.
    #[must_use]
    pub fn holds(&self, range: &Range<u64>, touch: Touch, chunk_bytes: u64) -> bool {
        self.newly(range, touch, chunk_bytes).is_nothing()
    }

    /// Touches all that `other` has touched; returns what that added.
    pub fn add_all(&mut self, other: &Self) -> Newly {
        let mut newly = Newly::default();
        for (leaf, mask) in &other.leaves {
            self.add_leaf(*leaf, *mask, &mut newly);
        }
        newly
    }
}

/// The nodes above a leaf.
fn path(leaf: u64) -> impl Iterator<Item = (u8, u64)> {
    (2..=NODE_LEVEL_MAX).map(move |level| (level, leaf >> (NODE_BITS * u32::from(level - 1))))
}

/// Calls `each` with every node of level 1 that touching `range` changes, and the chunks in it that may have to be stored.
fn for_leaves(range: &Range<u64>, touch: Touch, chunk_bytes: u64, mut each: impl FnMut(u64, u64)) {
    if range.is_empty() {
        return;
    }
    let (first, end) = (range.start / chunk_bytes, range.end.div_ceil(chunk_bytes));
    match touch {
        Touch::Writes => {
            for leaf in first >> NODE_BITS..=(end - 1) >> NODE_BITS {
                each(leaf, mask_of(leaf, first, end));
            }
        }
        Touch::Empties => {
            // At each end a chunk that is emptied in part keeps its other bytes, and must be stored.
            let whole = range.start.div_ceil(chunk_bytes)..range.end / chunk_bytes;
            for chunk in [first, end - 1] {
                let mask = if whole.contains(&chunk) { 0 } else { 1 << (chunk & 63) };
                each(chunk >> NODE_BITS, mask);
            }
        }
    }
}

/// The chunks `first..end` that lie in this node.
fn mask_of(leaf: u64, first: u64, end: u64) -> u64 {
    let base = leaf << NODE_BITS;
    let (from, to) = (first.saturating_sub(base), (end - base).min(64));
    (u64::MAX >> (64 - to)) & (u64::MAX << from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;

    const CHUNK: u64 = 16 << 10;

    #[test]
    fn each_chunk_and_node_counts_once() {
        for seed in 0..500 {
            let mut random = Seeded::new(seed);
            let mut touched = Touched::default();
            let (mut chunks, mut nodes) = (BTreeSet::new(), BTreeSet::new());
            for _ in 0..40 {
                let start = random.below(1 << 30);
                let longest = if random.one_in(6) { 64 << 20 } else { 100_000 };
                let range = start..start + 1 + random.below(longest);
                let touch = if random.one_in(3) { Touch::Empties } else { Touch::Writes };
                let before = (chunks.len(), nodes.len());
                let (first, last) = (range.start / CHUNK, (range.end - 1) / CHUNK);
                for chunk in first..=last {
                    let is_whole = chunk * CHUNK >= range.start && (chunk + 1) * CHUNK <= range.end;
                    if touch == Touch::Writes || !is_whole {
                        chunks.insert(chunk);
                    }
                    if touch == Touch::Writes || chunk == first || chunk == last {
                        nodes.extend((1..=NODE_LEVEL_MAX).map(|level| (level, chunk >> (6 * u32::from(level)))));
                    }
                }
                let bound = touched.newly(&range, touch, CHUNK);
                let newly = touched.add(&range, touch, CHUNK);
                let expected = ((chunks.len() - before.0) as u64, (nodes.len() - before.1) as u64);
                assert_eq!((newly.chunks, newly.nodes), expected, "{range:?} {touch:?}");
                assert!(bound.chunks >= newly.chunks && bound.nodes >= newly.nodes);
                assert!(touched.holds(&range, touch, CHUNK));
            }
            let mut union = Touched::default();
            let newly = union.add_all(&touched);
            assert_eq!((newly.chunks, newly.nodes), (chunks.len() as u64, nodes.len() as u64));
            assert_eq!(union.add_all(&touched), Newly::default());
        }
    }

    #[test]
    fn a_trim_of_a_whole_disk_costs_two_paths() {
        let newly = Touched::default().add(&(0..crate::limits::DISK_BYTES_MAX), Touch::Empties, CHUNK);
        assert_eq!(newly.chunks, 0);
        assert!(newly.nodes <= 2 * u64::from(NODE_LEVEL_MAX));
    }
}
