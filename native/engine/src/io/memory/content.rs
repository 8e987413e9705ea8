//! The bytes of one file in memory: a length and the pages that were written.
//!
//! What it guarantees: a copy costs the page table, not the bytes; a page not in the table is a hole and reads as
//! zero; bytes past the length are zero in every page, so growing a file shows nothing old.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::units::{u64_from, usize_from};

/// Granularity of holes and of copy on write.
pub(super) const PAGE_BYTES: u64 = 4096;

type Page = [u8; PAGE_BYTES as usize];

/// Length and pages.
#[derive(Clone, Default)]
pub(super) struct Content {
    length: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Content {
    /// A content without holes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.write(bytes, 0, u64::MAX);
        content
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// How many pages it occupies.
    pub(super) fn page_count(&self) -> u64 {
        u64_from(self.pages.len())
    }

    /// Pages with their index, ascending; the last one's bytes past the length are zero.
    pub(super) fn pages(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pages.iter().map(|(&index, page)| (index, page.as_slice()))
    }

    /// Reads up to the end of the file.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let count = u64_from(buffer.len()).min(self.length.saturating_sub(offset));
        let buffer = &mut buffer[..usize_from(count)];
        for (index, inside, part) in pieces(offset, buffer.len()) {
            match self.pages.get(&index) {
                Some(page) => buffer[part].copy_from_slice(&page[inside]),
                None => buffer[part].fill(0),
            }
        }
        usize_from(count)
    }

    /// Writes as much of a front part of `bytes` as fits in at most `pages_max` new pages; returns its length.
    /// The end of the range must not overflow.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64, pages_max: u64) -> usize {
        let mut pages_new = 0;
        let mut count = 0;
        for (index, inside, part) in pieces(offset, bytes.len()) {
            count = part.end;
            let whole = inside.len() == usize_from(PAGE_BYTES);
            if let Some(page) = self.pages.get_mut(&index) {
                match Arc::get_mut(page) {
                    Some(page) => page[inside].copy_from_slice(&bytes[part]),
                    None => *page = page_with(if whole { &EMPTY } else { page }, inside, &bytes[part]),
                }
                continue;
            }
            if pages_new == pages_max {
                count = part.start;
                break;
            }
            pages_new += 1;
            self.pages.insert(index, page_with(&EMPTY, inside, &bytes[part]));
        }
        if count > 0 {
            self.length = self.length.max(offset + u64_from(count));
        }
        count
    }

    /// Cuts off, or adds a hole.
    pub(super) fn set_length(&mut self, length: u64) {
        if length < self.length {
            self.pages.split_off(&length.div_ceil(PAGE_BYTES));
            self.clear_in_page(length, PAGE_BYTES - length % PAGE_BYTES);
        }
        self.length = length;
    }

    /// Adds pages of zeros up to a greater length; they take their space and are no holes.
    pub(super) fn allocate(&mut self, length: u64) {
        if length <= self.length {
            return;
        }
        let empty = Arc::new(EMPTY);
        for index in self.length / PAGE_BYTES..length.div_ceil(PAGE_BYTES) {
            self.pages.entry(index).or_insert_with(|| Arc::clone(&empty));
        }
        self.length = length;
    }

    /// Makes the part of the range that lies inside the file a hole, or zeros where a page is shared with other bytes.
    pub(super) fn zero(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length).min(self.length);
        if offset >= end {
            return;
        }
        // Past the length a page holds only zeros, so the last page may go whole.
        let end_page = if end == self.length { end.div_ceil(PAGE_BYTES) } else { end / PAGE_BYTES };
        let first_page = offset.div_ceil(PAGE_BYTES);
        if first_page < end_page {
            let mut after = self.pages.split_off(&first_page);
            self.pages.append(&mut after.split_off(&end_page));
        }
        let front = (first_page * PAGE_BYTES).min(end) - offset;
        self.clear_in_page(offset, front);
        if end_page >= first_page {
            let back = (end_page * PAGE_BYTES).max(offset);
            self.clear_in_page(back, end.saturating_sub(back));
        }
    }

    /// The next run of pages at or after `offset`, cut off at the end of the file.
    pub(super) fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        let mut pages = self.pages.range(offset / PAGE_BYTES..).map(|(&index, _)| index);
        let first = pages.next()?;
        let start = offset.max(first * PAGE_BYTES);
        if start >= self.length {
            return None;
        }
        let mut end_page = first + 1;
        for index in pages {
            if index != end_page {
                break;
            }
            end_page += 1;
        }
        Some(start..self.length.min(end_page * PAGE_BYTES))
    }

    /// Zeroes bytes that lie in one page.
    fn clear_in_page(&mut self, offset: u64, length: u64) {
        let start = usize_from(offset % PAGE_BYTES);
        if let (1.., Some(page)) = (length, self.pages.get_mut(&(offset / PAGE_BYTES))) {
            let end = (start + usize_from(length)).min(usize_from(PAGE_BYTES));
            Arc::make_mut(page)[start..end].fill(0);
        }
    }
}

static EMPTY: Page = [0; PAGE_BYTES as usize];

fn page_with(before: &Page, inside: Range<usize>, bytes: &[u8]) -> Arc<Page> {
    let mut page = *before;
    page[inside].copy_from_slice(bytes);
    Arc::new(page)
}

/// Cuts `length` bytes at `offset` at page boundaries: page index, range in the page, range in the bytes.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0usize;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + u64_from(done);
        let start = usize_from(at % PAGE_BYTES);
        let count = (usize_from(PAGE_BYTES) - start).min(length - done);
        let piece = (at / PAGE_BYTES, start..start + count, done..done + count);
        done += count;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;

    fn all(content: &Content) -> Vec<u8> {
        let mut bytes = vec![7u8; usize_from(content.length()) + 5];
        let count = content.read(&mut bytes, 0);
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn any_history_reads_like_a_plain_vector() {
        for seed in 0..300 {
            let mut random = Seeded::new(seed);
            let (mut content, mut model) = (Content::default(), Vec::<u8>::new());
            for _ in 0..30 {
                let offset = random.below(20_000);
                let length = usize_from(random.below(9_000));
                let end = usize_from(offset) + length;
                match random.below(4) {
                    0 => {
                        content.set_length(offset);
                        model.resize(usize_from(offset), 0);
                    }
                    1 => {
                        content.zero(offset, u64_from(length));
                        let end = end.min(model.len());
                        if usize_from(offset) < end {
                            model[usize_from(offset)..end].fill(0);
                        }
                    }
                    _ => {
                        let mut bytes = vec![0u8; length];
                        random.fill(&mut bytes);
                        let _shared = random.one_in(2).then(|| content.clone());
                        assert_eq!(content.write(&bytes, offset, u64::MAX), length);
                        if length > 0 {
                            model.resize(model.len().max(end), 0);
                            model[usize_from(offset)..end].copy_from_slice(&bytes);
                        }
                    }
                }
                assert_eq!(all(&content), model, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_copy_keeps_what_it_was_copied_with() {
        let mut content = Content::from_bytes(&[1; 10_000]);
        let copy = content.clone();
        content.write(&[2; 10_000], 0, u64::MAX);
        content.zero(0, 5_000);
        content.set_length(3);
        assert_eq!(all(&copy), [1; 10_000]);
    }

    #[test]
    fn zeroed_pages_become_holes() {
        let mut content = Content::from_bytes(&[1; 5 * 4096 + 100]);
        content.zero(4096 + 1, 3 * 4096);
        assert_eq!(content.next_data(0), Some(0..2 * 4096));
        assert_eq!(content.next_data(2 * 4096), Some(4 * 4096..5 * 4096 + 100));
        content.zero(5 * 4096, 100);
        assert_eq!(content.next_data(5 * 4096), None);
        assert_eq!(content.length(), 5 * 4096 + 100);
    }

    #[test]
    fn a_write_without_room_stops_at_a_page_boundary() {
        let mut content = Content::default();
        assert_eq!(content.write(&[1; 9_000], 100, 1), 4096 - 100);
        assert_eq!(content.length(), 4096);
        assert_eq!(content.write(&[2; 10], 50, 0), 10);
        assert_eq!(content.write(&[2; 10], 8_000, 0), 0);
        assert_eq!(content.length(), 4096);
    }
}
