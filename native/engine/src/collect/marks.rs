//! What roots reach, in little memory.
//!
//! Chunks are marked by the first 8 bytes of their ids, sorted in buckets: 8 to 11 bytes a chunk, so 16.8 million
//! chunks (1 TiB at 64 KiB) take 130 to 180 MiB. Two ids that begin alike are marked together, which keeps a piece of
//! garbage (one chance in 2^40 a dead chunk, with 2^24 marked) and never loses anything: nothing here may be used to
//! call two contents the same. Nodes, 64 times fewer, are told apart by 16 bytes, because one that is taken for another would
//! not be walked.

use std::collections::HashSet;

use crate::block_map::MapReader;
use crate::chunk_store::Batch;
use crate::control::Control;
use crate::error::Result;
use crate::format::node::{Entry, Root};
use crate::units::ContentId;

const BUCKET_BITS: u32 = 12;

/// Beginnings of ids.
pub(super) struct MarkSet {
    buckets: Vec<Vec<u64>>,
    firsts: Vec<usize>, // of each bucket, the rank of its first; empty until sealed
}

impl Default for MarkSet {
    fn default() -> Self {
        Self { buckets: vec![Vec::new(); 1 << BUCKET_BITS], firsts: Vec::new() }
    }
}

impl MarkSet {
    pub(super) fn insert(&mut self, id: &ContentId) {
        let mark = id.prefix();
        let bucket = &mut self.buckets[(mark >> (64 - BUCKET_BITS)) as usize];
        if bucket.len() == bucket.capacity() {
            settle(bucket);
            if bucket.len() * 4 >= bucket.capacity() * 3 {
                bucket.reserve_exact(bucket.len() / 4 + 4); // by a quarter, so that little stands empty
            }
        }
        bucket.push(mark);
        self.firsts.clear();
    }

    /// Makes the set ready to be asked.
    pub(super) fn seal(&mut self) {
        self.firsts.clear();
        let mut first = 0;
        for bucket in &mut self.buckets {
            settle(bucket);
            self.firsts.push(first);
            first += bucket.len();
        }
        self.firsts.push(first);
    }

    /// How many are marked. The set is sealed.
    pub(super) fn len(&self) -> usize {
        self.firsts.last().copied().unwrap_or(0)
    }

    /// The number of the id's mark, from 0 to `len`; none when it is not marked. The set is sealed.
    pub(super) fn rank(&self, id: &ContentId) -> Option<usize> {
        let mark = id.prefix();
        let number = (mark >> (64 - BUCKET_BITS)) as usize;
        let first = *self.firsts.get(number)?;
        self.buckets[number].binary_search(&mark).ok().map(|at| first + at)
    }

    pub(super) fn contains(&self, id: &ContentId) -> bool {
        self.rank(id).is_some()
    }
}

fn settle(bucket: &mut Vec<u64>) {
    bucket.sort_unstable();
    bucket.dedup();
}

/// One bit for each of a number of things.
#[derive(Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: usize,
}

impl Bits {
    pub(super) fn new(length: usize) -> Self {
        Self { words: vec![0; length.div_ceil(64)], count: 0 }
    }

    /// Sets a bit; whether it was set before.
    pub(super) fn set(&mut self, index: usize) -> bool {
        let (word, bit) = (&mut self.words[index / 64], 1 << (index % 64));
        let before = *word & bit != 0;
        *word |= bit;
        self.count += usize::from(!before);
        before
    }

    pub(super) fn get(&self, index: usize) -> bool {
        self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// How many are set.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

/// Everything that some roots reach.
#[derive(Default)]
pub(super) struct Marks {
    visited: HashSet<u128>,
    pub(super) nodes: MarkSet,
    pub(super) chunks: MarkSet,
}

impl Marks {
    /// Adds what these roots reach; returns whether a node or root chunk was new. Every node is read from its pack and
    /// proven; subtrees that were added before are skipped. The sets are sealed afterwards.
    pub(super) fn add(&mut self, maps: &MapReader, roots: &[Root], control: &Control) -> Result<bool> {
        let mut batch = Batch::default();
        let mut grew = false;
        for root in roots {
            let mut stack = vec![(root.entry, root.height)];
            while let Some((entry, level)) = stack.pop() {
                let Entry::Id(id) = entry else { continue };
                if level == 0 {
                    grew |= root.height == 0;
                    self.chunks.insert(&id);
                    continue;
                }
                if !self.visited.insert(half(&id)) {
                    continue;
                }
                control.check()?;
                grew = true;
                self.nodes.insert(&id);
                let node = maps.node_uncached(&id, level, &mut batch)?;
                stack.extend(node.entries().iter().map(|entry| (*entry, level - 1)));
            }
        }
        self.nodes.seal();
        self.chunks.seal();
        Ok(grew)
    }
}

fn half(id: &ContentId) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&id.0[..16]);
    u128::from_be_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;

    #[test]
    fn what_was_marked_is_marked_once_and_nothing_else() {
        let mut random = Seeded::new(3);
        let mut id = || ContentId(std::array::from_fn(|_| random.next_u64() as u8));
        let (marked, others): (Vec<_>, Vec<_>) =
            ((0..20_000).map(|_| id()).collect(), (0..20_000).map(|_| id()).collect());
        let mut set = MarkSet::default();
        for id in marked.iter().chain(&marked) {
            set.insert(id);
        }
        set.seal();
        assert_eq!(set.len(), marked.len());
        let mut ranks: Vec<usize> = marked.iter().map(|id| set.rank(id).unwrap()).collect();
        ranks.sort_unstable();
        assert!(ranks.iter().copied().eq(0..marked.len()), "ranks number the marks");
        assert!(others.iter().all(|id| !set.contains(id)));
        let held: usize = set.buckets.iter().map(Vec::capacity).sum();
        assert!(held < marked.len() * 3 / 2 + (4 << BUCKET_BITS), "{held} places for {} marks", marked.len());
    }
}
