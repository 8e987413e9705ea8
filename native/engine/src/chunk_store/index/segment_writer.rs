//! Writes a segment from entries that come in order of id, holding only tables, fences and filter.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::format::index_list::ListedSegment;
use crate::format::index_segment::{
    FILTER_BLOCK_BYTES, HEADER_BYTES, PAGE_BYTES, PAGE_ENTRIES, SegmentEntry, SegmentHeader, encode_footer,
    encode_page_into, encode_tables, filter_add,
};
use crate::format::{PackKind, RunningChecksum};
use crate::io::{Io, IoFile, OpenMode};
use crate::units::{ContentId, Uid, u64_from, usize_from};

/// Bits of the filter for each entry: with six bits set, about one look-up in sixty for an unknown id reads a page.
const FILTER_BITS_PER_ENTRY: u64 = 12;

/// Pages are handed to the file in pieces of this size.
const WRITE_BYTES: usize = 1 << 20;

/// A segment being written.
pub(super) struct SegmentWriter {
    file: Arc<dyn IoFile>,
    buffer: Vec<u8>,
    written: u64,
    page: Vec<SegmentEntry>,
    packs: Vec<(Uid, PackKind)>,
    bases: Vec<ContentId>,
    base_numbers: HashMap<ContentId, u32>,
    fences: Vec<u8>,
    filter: Vec<u8>,
    entry_count: u64,
    last: Option<ContentId>,
}

impl SegmentWriter {
    /// Begins a segment for at most `entry_count_max` entries in these packs. A pack without entries is covered too.
    ///
    /// # Errors
    /// What creating the file gives.
    pub(super) fn create(io: &dyn Io, path: &Path, packs: Vec<(Uid, PackKind)>, entry_count_max: u64) -> Result<Self> {
        let blocks = (entry_count_max * FILTER_BITS_PER_ENTRY).div_ceil(u64_from(FILTER_BLOCK_BYTES) * 8);
        let fences_max = usize_from(entry_count_max.div_ceil(u64_from(PAGE_ENTRIES)) * 8);
        Ok(Self {
            file: io.open(path, OpenMode::CreateNew)?,
            buffer: Vec::new(),
            written: u64_from(HEADER_BYTES), // the header is written last, when the counts are known
            page: Vec::with_capacity(PAGE_ENTRIES),
            packs,
            bases: Vec::new(),
            base_numbers: HashMap::new(),
            fences: Vec::with_capacity(fences_max),
            filter: vec![0; usize_from(blocks) * FILTER_BLOCK_BYTES],
            entry_count: 0,
            last: None,
        })
    }

    /// Appends an entry. `entry.pack` counts in the packs of this segment; its base is given by id.
    ///
    /// # Errors
    /// What writing gives.
    pub(super) fn push(&mut self, mut entry: SegmentEntry, base: Option<&ContentId>) -> Result<()> {
        assert!(self.last.is_none_or(|last| last <= entry.id), "entries come in order of id");
        assert!((entry.pack as usize) < self.packs.len(), "an entry's pack is covered");
        entry.base = base.map(|base| {
            let next = self.bases.len() as u32;
            let number = *self.base_numbers.entry(*base).or_insert(next);
            if number == next {
                self.bases.push(*base);
            }
            number
        });
        if self.page.is_empty() {
            self.fences.extend_from_slice(&entry.id.0[..8]);
        }
        filter_add(&mut self.filter, &entry.id);
        self.page.push(entry);
        self.entry_count += 1;
        self.last = Some(entry.id);
        if self.page.len() == PAGE_ENTRIES {
            self.close_page()?;
        }
        Ok(())
    }

    /// Writes what is left and makes the file durable (its name is not).
    ///
    /// # Errors
    /// What writing and syncing give.
    pub(super) fn finish(mut self, store_id: Uid, number: u64) -> Result<ListedSegment> {
        self.close_page()?;
        if self.entry_count == 0 {
            self.filter.clear();
        }
        let header = SegmentHeader {
            store_id,
            pack_count: self.packs.len() as u32,
            entry_count: self.entry_count,
            base_count: u64_from(self.bases.len()),
            filter_bytes: u64_from(self.filter.len()),
        };
        let layout = header.layout().expect("counts of entries in memory are small");
        let mut sum = RunningChecksum::default();
        sum.update(&self.fences);
        sum.update(&self.filter);
        self.buffer.extend_from_slice(&encode_tables(&self.packs, &self.bases));
        self.flush()?;
        // From where they are, not through the buffer: they are what of a segment is in memory.
        for table in [std::mem::take(&mut self.fences), std::mem::take(&mut self.filter)] {
            self.file.write_at(&table, self.written)?;
            self.written += u64_from(table.len());
        }
        self.buffer.extend_from_slice(&encode_footer(sum.value(), layout.file_bytes));
        self.flush()?;
        assert_eq!(self.written, layout.file_bytes);
        self.file.write_at(&header.encode(), 0)?;
        self.file.sync()?;
        Ok(ListedSegment { number, entry_count: self.entry_count, file_bytes: layout.file_bytes })
    }

    fn close_page(&mut self) -> Result<()> {
        if self.page.is_empty() {
            return Ok(());
        }
        encode_page_into(&self.page, &mut self.buffer);
        self.page.clear();
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += u64_from(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }
}

const _: () = assert!(WRITE_BYTES.is_multiple_of(PAGE_BYTES));
