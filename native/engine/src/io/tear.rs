//! Which sectors of an interrupted write reach the disk.
//!
//! A disk writes a 512-byte sector wholly or not at all, and promises nothing about several. Pure arithmetic on a
//! seeded generator; used by the power cut of [`memory`](super::memory) and the crash of [`fault`](super::fault).

use std::ops::Range;

use crate::random::Seeded;
use crate::units::{u64_from, usize_from};

/// What a disk writes wholly or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;

/// The parts of a write of `length` bytes at `offset` that arrived, as ranges into its bytes, ascending and apart.
///
/// Sectors are those of the file, so an unaligned write may tear inside its first and last 512 bytes. One time in
/// three a prefix arrived, one time in three all but one sector, else any subset: the first two are what recovery
/// code meets most, and an even choice over subsets would almost never give them for a long write.
pub(super) fn arrived_parts(offset: u64, length: usize, random: &mut Seeded) -> Vec<Range<usize>> {
    let sectors = sectors(offset, length);
    let count = u64_from(sectors.len());
    if count == 0 {
        return Vec::new();
    }
    let shape = random.below(3);
    let chosen = random.below(count);
    let mut parts: Vec<Range<usize>> = Vec::new();
    for (index, sector) in (0u64..).zip(sectors) {
        let arrived = match shape {
            0 => index < chosen,
            1 => index != chosen,
            _ => random.one_in(2),
        };
        match parts.last_mut() {
            _ if !arrived => {}
            Some(last) if last.end == sector.start => last.end = sector.end,
            _ => parts.push(sector),
        }
    }
    parts
}

/// A write cut at the sector boundaries of its file.
fn sectors(offset: u64, length: usize) -> Vec<Range<usize>> {
    let first = usize_from(SECTOR_BYTES - offset % SECTOR_BYTES);
    let mut sectors = Vec::with_capacity(length / usize_from(SECTOR_BYTES) + 2);
    let mut start = 0;
    let mut end = first.min(length);
    while start < length {
        sectors.push(start..end);
        start = end;
        end = (end + usize_from(SECTOR_BYTES)).min(length);
    }
    sectors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_those_of_the_file_not_of_the_write() {
        assert_eq!(sectors(500, 600), [0..12, 12..524, 524..600]);
        assert_eq!(sectors(512, 512), vec![0..512]);
        assert!(sectors(0, 0).is_empty());
    }

    #[test]
    fn parts_are_ascending_apart_and_end_at_sector_boundaries() {
        for seed in 0..500 {
            let (offset, length) = (seed * 37, 3_000usize);
            let parts = arrived_parts(offset, length, &mut Seeded::new(seed));
            let mut end_before = None;
            for part in parts {
                assert!(part.start < part.end && part.end <= length);
                assert!(end_before.is_none_or(|end| part.start > end));
                for edge in [part.start, part.end] {
                    let at = offset + u64_from(edge);
                    assert!(edge == 0 || edge == length || at.is_multiple_of(SECTOR_BYTES));
                }
                end_before = Some(part.end);
            }
        }
    }
}
