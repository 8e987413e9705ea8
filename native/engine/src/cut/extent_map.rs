//! Extents of one disk in one layer: where its bytes stand, newest record first.
//!
//! What it guarantees: extents are sorted and disjoint; where records overlap the one with the higher LSN shows, in whatever
//! order they were inserted (I-31). What it costs: an extent takes 40 bytes in a sorted leaf of at most 32, with the slack of the
//! leaves 41 to 50 bytes; an insert is one descent to a leaf and a move inside it.
//!
//! Rejected: one ordered map with an entry per extent (it takes half as much again, and an insert has to descend three
//! times), and a page per fixed range of the disk (a trim of a whole disk would make a page for each).

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Range;

use crate::units::Lsn;
use crate::write_log::Place;

/// Extents of a leaf at most: to move half of them costs less than to find the leaf.
const LEAF_EXTENTS_MAX: usize = 32;

/// A leaf grows by so many, so that few of its places stand empty.
const LEAF_EXTENTS_GROWTH: usize = 8;

/// Bits of an extent's word `record` that hold the record's payload length, at most 1 MiB; the segment has the rest.
const PAYLOAD_BITS: u32 = 21;

/// Bits of an extent's word `skip` below its kind.
const SKIP_BITS: u32 = 30;

/// What an extent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentContent {
    /// Bytes of a record's payload, from `skip` on.
    Data {
        /// The record.
        place: Place,
        /// Bytes of its payload before the extent's first.
        skip: u32,
    },
    /// Allocated zeros.
    Zero,
    /// Nothing: trimmed.
    Hole,
}

/// An extent in 40 bytes.
#[derive(Clone, Copy, Debug)]
struct Extent {
    start: u64,
    length: u64,
    lsn: Lsn,
    record: u64, // segment, payload bytes
    position: u32,
    skip: u32, // kind, skip
}

const _: () = assert!(size_of::<Extent>() == 40);

const DATA: u32 = 0;
const ZERO: u32 = 1;
const HOLE: u32 = 2;

impl Extent {
    fn new(range: &Range<u64>, lsn: Lsn, content: ExtentContent) -> Self {
        let (record, position, skip) = match content {
            ExtentContent::Data { place, skip } => {
                assert!(place.segment < 1 << (64 - PAYLOAD_BITS), "no log lives to see that segment");
                assert!(place.payload_bytes < 1 << PAYLOAD_BITS && skip <= place.payload_bytes);
                (place.segment << PAYLOAD_BITS | u64::from(place.payload_bytes), place.position, skip)
            }
            ExtentContent::Zero => (0, 0, ZERO << SKIP_BITS),
            ExtentContent::Hole => (0, 0, HOLE << SKIP_BITS),
        };
        Self { start: range.start, length: range.end - range.start, lsn, record, position, skip }
    }

    const fn end(&self) -> u64 {
        self.start + self.length
    }

    fn content(&self) -> ExtentContent {
        match self.skip >> SKIP_BITS {
            DATA => {
                let payload_bytes = (self.record & ((1 << PAYLOAD_BITS) - 1)) as u32;
                let place = Place { segment: self.record >> PAYLOAD_BITS, position: self.position, payload_bytes };
                ExtentContent::Data { place, skip: self.skip }
            }
            ZERO => ExtentContent::Zero,
            _ => ExtentContent::Hole,
        }
    }

    /// The part of it in `start..end`, which lies inside.
    fn part(&self, start: u64, end: u64) -> Self {
        debug_assert!(self.start <= start && start < end && end <= self.end());
        let mut part = Self { start, length: end - start, ..*self };
        if self.skip >> SKIP_BITS == DATA {
            part.skip += (start - self.start) as u32; // inside one payload
        }
        part
    }
}

/// Sorted, disjoint extents.
#[derive(Clone, Debug)]
pub struct ExtentMap {
    /// A leaf holds the extents that start at its key or after it, and before the next key. The leaf 0 is always there; no
    /// other one is empty.
    leaves: BTreeMap<u64, Vec<Extent>>,
    count: usize,
}

impl Default for ExtentMap {
    fn default() -> Self {
        Self { leaves: BTreeMap::from([(0, Vec::new())]), count: 0 }
    }
}

impl ExtentMap {
    /// Extents in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// About how much memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let leaf = size_of::<u64>() + size_of::<Vec<Extent>>();
        self.leaves.values().map(|extents| leaf + extents.capacity() * size_of::<Extent>()).sum()
    }

    /// Puts a record's content over everything in `range` that has a lower LSN.
    pub fn insert(&mut self, range: Range<u64>, lsn: Lsn, content: ExtentContent) {
        if range.is_empty() {
            return;
        }
        let extent = Extent::new(&range, lsn, content);
        if !self.insert_alone(&extent) {
            self.insert_over(&extent);
        }
    }

    /// The usual case, with one descent: nothing overlaps, or one extent of the same range is replaced. Returns whether it was
    /// that case.
    fn insert_alone(&mut self, extent: &Extent) -> bool {
        let Some((key, leaf)) = self.leaves.range_mut(..=extent.start).next_back() else { return false };
        let at = leaf.partition_point(|each| each.start < extent.start);
        let is_free_before = if at > 0 { leaf[at - 1].end() <= extent.start } else { *key == 0 };
        if !is_free_before || at == leaf.len() {
            return false; // what follows, or goes before, is in another leaf
        }
        let next = &mut leaf[at];
        if next.start == extent.start && next.length == extent.length {
            if next.lsn <= extent.lsn {
                *next = *extent;
            }
            return true;
        }
        if next.start < extent.end() || leaf.len() == LEAF_EXTENTS_MAX {
            return false;
        }
        put(leaf, at, *extent);
        self.count += 1;
        true
    }

    fn insert_over(&mut self, extent: &Extent) {
        let (start, end) = (extent.start, extent.end());
        let mut at = start; // up to here it is decided what shows
        for old in self.take(start, end) {
            if old.lsn > extent.lsn {
                if at < old.start {
                    self.put_disjoint(extent.part(at, old.start));
                }
                at = old.end().max(at);
                self.put_disjoint(old);
                continue;
            }
            if old.start < start {
                self.put_disjoint(old.part(old.start, start));
            }
            if old.end() > end {
                self.put_disjoint(old.part(end, old.end()));
            }
        }
        if at < end {
            self.put_disjoint(extent.part(at, end));
        }
    }

    /// Takes out all extents that overlap `start..end`, whole, in order.
    fn take(&mut self, start: u64, end: u64) -> Vec<Extent> {
        let mut taken = Vec::new();
        let mut emptied = Vec::new();
        let first = self.first_leaf(start);
        for (key, leaf) in self.leaves.range_mut(first..end) {
            let from = leaf.partition_point(|each| each.end() <= start);
            let to = leaf.partition_point(|each| each.start < end);
            if from >= to {
                continue;
            }
            taken.extend(leaf.drain(from..to));
            if leaf.is_empty() && *key > 0 {
                emptied.push(*key);
            } else if leaf.len() < leaf.capacity() / 4 {
                leaf.shrink_to(leaf.len() + LEAF_EXTENTS_GROWTH);
            }
        }
        for key in emptied {
            self.leaves.remove(&key);
        }
        self.count -= taken.len();
        taken
    }

    /// The key of the leaf with the extent that covers `offset`, or with the first one after it.
    fn first_leaf(&self, offset: u64) -> u64 {
        let mut before = self.leaves.range(..=offset).rev();
        match before.next() {
            Some((key, leaf)) if leaf.first().is_none_or(|first| first.start > offset) => {
                before.next().map_or(*key, |(key, _)| *key)
            }
            Some((key, _)) => *key,
            None => 0,
        }
    }

    /// Puts in an extent that overlaps none.
    fn put_disjoint(&mut self, extent: Extent) {
        self.count += 1;
        let Some((_, leaf)) = self.leaves.range_mut(..=extent.start).next_back() else {
            unreachable!("the leaf 0 is always there")
        };
        let at = leaf.partition_point(|each| each.start < extent.start);
        if leaf.len() < LEAF_EXTENTS_MAX {
            put(leaf, at, extent);
            return;
        }
        if at == leaf.len() {
            self.leaves.insert(extent.start, vec![extent]); // writes one after the other leave full leaves behind
            return;
        }
        let half = LEAF_EXTENTS_MAX / 2;
        let mut right = leaf.split_off(half);
        leaf.shrink_to(half + LEAF_EXTENTS_GROWTH);
        if at <= half {
            put(leaf, at, extent);
        } else {
            put(&mut right, at - half, extent);
        }
        self.leaves.insert(right[0].start, right);
    }

    /// Forgets all that has a lower LSN.
    pub fn forget_below(&mut self, lsn: Lsn) {
        self.leaves.retain(|key, leaf| {
            leaf.retain(|extent| extent.lsn >= lsn);
            *key == 0 || !leaf.is_empty()
        });
        self.count = self.leaves.values().map(Vec::len).sum();
    }

    /// What stands in `range`, in pieces that cover it in order; `None` where nothing does.
    #[must_use]
    pub fn pieces(&self, range: Range<u64>) -> Pieces<'_> {
        let mut leaves = self.leaves.range(self.first_leaf(range.start)..);
        let extents = leaves.next().map_or(&[][..], |(_, leaf)| leaf.as_slice());
        let from = extents.partition_point(|each| each.end() <= range.start);
        Pieces { extents: &extents[from..], leaves, at: range.start, end: range.end }
    }

    /// All extents, in order.
    pub fn extents(&self) -> impl Iterator<Item = (Range<u64>, Lsn, ExtentContent)> + '_ {
        self.leaves.values().flatten().map(|extent| (extent.start..extent.end(), extent.lsn, extent.content()))
    }

    /// Where the extent ends that is number `count` (from 1 on) of those that end after `offset`; `None` when there are fewer.
    #[must_use]
    pub fn end_of(&self, offset: u64, count: usize) -> Option<u64> {
        let mut count = count;
        for (_, leaf) in self.leaves.range(self.first_leaf(offset)..) {
            let from = leaf.partition_point(|extent| extent.end() <= offset);
            match leaf[from..].get(count - 1) {
                Some(extent) => return Some(extent.end()),
                None => count -= leaf.len() - from,
            }
        }
        None
    }
}

fn put(leaf: &mut Vec<Extent>, at: usize, extent: Extent) {
    if leaf.len() == leaf.capacity() {
        leaf.reserve_exact(LEAF_EXTENTS_GROWTH);
    }
    leaf.insert(at, extent);
}

/// Pieces of a range, in order; see [`ExtentMap::pieces`].
pub struct Pieces<'a> {
    extents: &'a [Extent],
    leaves: btree_map::Range<'a, u64, Vec<Extent>>,
    at: u64,
    end: u64,
}

impl Iterator for Pieces<'_> {
    type Item = (Range<u64>, Option<(Lsn, ExtentContent)>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        while self.extents.is_empty() {
            match self.leaves.next() {
                Some((_, leaf)) => self.extents = leaf,
                None => break,
            }
        }
        let start = self.at;
        let Some(extent) = self.extents.first().filter(|extent| extent.start < self.end) else {
            self.at = self.end;
            return Some((start..self.end, None));
        };
        if extent.start > start {
            self.at = extent.start;
            return Some((start..extent.start, None));
        }
        self.extents = &self.extents[1..];
        self.at = extent.end().min(self.end);
        let part = extent.part(start, self.at);
        Some((start..self.at, Some((part.lsn, part.content()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;

    /// One byte of the model: the LSN that shows, and what it holds there.
    type Shown = Option<(Lsn, u64)>;

    struct Insert {
        range: Range<u64>,
        lsn: Lsn,
        content: ExtentContent,
    }

    fn insert_of(random: &mut Seeded, lsn: u64, size: u64) -> Insert {
        let longest = if random.one_in(8) { size } else { 9 };
        let length = 1 + random.below(longest);
        let start = random.below(size - length.min(size - 1));
        let range = start..(start + length).min(size);
        let content = match random.below(4) {
            0 => ExtentContent::Zero,
            1 => ExtentContent::Hole,
            _ => {
                let place = Place { segment: lsn % 5, position: (lsn * 8) as u32, payload_bytes: 4096 };
                ExtentContent::Data { place, skip: random.below(100) as u32 }
            }
        };
        Insert { range, lsn: Lsn(lsn), content }
    }

    /// What a content shows `by` bytes after its beginning, as a number that no other content shows.
    fn shown(content: ExtentContent, by: u64) -> u64 {
        match content {
            ExtentContent::Zero => u64::MAX,
            ExtentContent::Hole => u64::MAX - 1,
            ExtentContent::Data { place, skip } => {
                (place.segment << 50) + (u64::from(place.position) << 20) + u64::from(skip) + by
            }
        }
    }

    fn check(map: &ExtentMap, model: &[Shown], range: Range<u64>) {
        let mut at = range.start;
        for (piece, found) in map.pieces(range.clone()) {
            assert_eq!(piece.start, at, "the pieces cover the range in order");
            assert!(piece.start < piece.end);
            for byte in piece.clone() {
                let expected = found.map(|(lsn, content)| (lsn, shown(content, byte - piece.start)));
                assert_eq!(model[byte as usize], expected, "at {byte}");
            }
            at = piece.end;
        }
        assert_eq!(at, range.end.max(range.start));
    }

    fn check_shape(map: &ExtentMap) {
        let mut end = 0;
        for (range, ..) in map.extents() {
            assert!(range.start >= end && range.start < range.end, "sorted, disjoint, not empty");
            end = range.end;
        }
        assert_eq!(map.extents().count(), map.len());
        for (key, leaf) in &map.leaves {
            assert!(*key == 0 || !leaf.is_empty());
            assert!(leaf.len() <= LEAF_EXTENTS_MAX);
            assert!(leaf.iter().all(|extent| map.leaves.range(..=extent.start).next_back().unwrap().0 == key));
        }
    }

    #[test]
    fn the_map_shows_the_highest_lsn_of_every_byte_in_whatever_order_records_come() {
        for seed in 0..3_000 {
            let mut random = Seeded::new(seed);
            let largest = if random.one_in(10) { 3_000 } else { 200 };
            let size = 1 + random.below(largest);
            let mut inserts: Vec<Insert> = (1..=1 + random.below(if size > 200 { 1_000 } else { 60 }))
                .map(|lsn| insert_of(&mut random, lsn, size))
                .collect();
            let mut model: Vec<Shown> = vec![None; size as usize];
            for Insert { range, lsn, content } in &inserts {
                for byte in range.clone() {
                    model[byte as usize] = Some((*lsn, shown(*content, byte - range.start)));
                }
            }
            for at in (1..inserts.len()).rev() {
                inserts.swap(at, random.below(at as u64 + 1) as usize);
            }
            let mut map = ExtentMap::default();
            for Insert { range, lsn, content } in inserts {
                map.insert(range, lsn, content);
            }
            check_shape(&map);
            check(&map, &model, 0..size);
            for _ in 0..10 {
                let start = random.below(size);
                check(&map, &model, start..start + random.below(size - start + 1));
                let count = 1 + random.below(100) as usize;
                let mut ends = map.extents().map(|(range, ..)| range.end).filter(|end| *end > start);
                assert_eq!(map.end_of(start, count), ends.nth(count - 1));
            }
            let lowest = Lsn(random.below(60));
            map.forget_below(lowest);
            model.iter_mut().for_each(|shown| *shown = shown.filter(|(lsn, _)| *lsn >= lowest));
            check_shape(&map);
            check(&map, &model, 0..size);
        }
    }

    #[test]
    fn an_extent_of_a_whole_disk_is_one_extent() {
        let mut map = ExtentMap::default();
        map.insert(0..crate::limits::DISK_BYTES_MAX, Lsn(1), ExtentContent::Hole);
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn an_extent_takes_little_memory() {
        let mut random = Seeded::new(1);
        let mut map = ExtentMap::default();
        for lsn in 0..200_000 {
            let start = random.below(1 << 28) * 4096;
            let place = Place { segment: 1, position: 0, payload_bytes: 4096 };
            map.insert(start..start + 4096, Lsn(lsn), ExtentContent::Data { place, skip: 0 });
        }
        let each = map.memory_bytes() / map.len();
        assert!((40..=60).contains(&each), "{each} bytes an extent");
    }
}
