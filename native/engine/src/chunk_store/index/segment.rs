//! One immutable segment: looked up page by page, streamed page by page.
//!
//! In memory are its tables, fences (8 bytes a page) and filter (12 bits an entry); pages stay in the file.

use std::path::Path;
use std::sync::Arc;

use super::Location;
use crate::chunk_store::pack_set::{PackHandle, PackSet};
use crate::error::Result;
use crate::format::Defect;
use crate::format::index_list::ListedSegment;
use crate::format::index_segment::{
    FOOTER_BYTES, HEADER_BYTES, Layout, PAGE_BYTES, SegmentEntry, SegmentHeader, check_footer, decode_page,
    decode_tables, filter_may_hold, search_page,
};
use crate::io::{Io, IoFile, OpenMode, read_exact_at};
use crate::units::{ContentId, Uid, u64_from, usize_from};

/// Pages that streaming reads at once.
const STREAM_PAGES: u64 = 64;

/// A segment in force.
pub struct Segment {
    listed: ListedSegment,
    file: Arc<dyn IoFile>,
    layout: Layout,
    handles: Vec<Option<PackHandle>>, // None: that pack is gone
    bases: Vec<ContentId>,
    fences: Vec<u64>,
    filter: Vec<u8>,
}

/// What a segment gives, or what is wrong with it.
pub(super) type Checked<T> = Result<std::result::Result<T, Defect>>;

impl Segment {
    /// Opens a segment and checks all of it but the pages.
    ///
    /// # Errors
    /// What reading gives; inside: what is wrong with the file.
    pub fn open(io: &dyn Io, path: &Path, listed: ListedSegment, store_id: Uid, packs: &PackSet) -> Checked<Self> {
        let file = match io.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(Err(Defect::Wrong("the segment is missing"))),
            Err(error) => return Err(error),
        };
        if file.identity()?.size != listed.file_bytes {
            return Ok(Err(Defect::Wrong("the segment has another length than the list says")));
        }
        let mut header = [0; HEADER_BYTES];
        if read_exact_at(file.as_ref(), &mut header, 0)?.is_none() {
            return Ok(Err(Defect::Wrong("the segment is cut off")));
        }
        let (header, layout) = match SegmentHeader::decode(&header).and_then(|header| Ok((header, header.layout()?))) {
            Ok(both) => both,
            Err(defect) => return Ok(Err(defect)),
        };
        if header.store_id != store_id
            || header.entry_count != listed.entry_count
            || layout.file_bytes != listed.file_bytes
        {
            return Ok(Err(Defect::Wrong("the segment is another one than the list says")));
        }
        let mut tail = vec![0; usize_from(layout.file_bytes - layout.tables_at)];
        if read_exact_at(file.as_ref(), &mut tail, layout.tables_at)?.is_none() {
            return Ok(Err(Defect::Wrong("the segment is cut off")));
        }
        let tables_end = usize_from(layout.fences_at - layout.tables_at);
        let filter_at = usize_from(layout.filter_at - layout.tables_at);
        let footer_at = tail.len() - FOOTER_BYTES;
        let checked = decode_tables(&header, &tail[..tables_end]).and_then(|tables| {
            check_footer(&tail[footer_at..], &tail[tables_end..footer_at], layout.file_bytes)?;
            Ok(tables)
        });
        let (pack_table, bases) = match checked {
            Ok(tables) => tables,
            Err(defect) => return Ok(Err(defect)),
        };
        let fences = tail[tables_end..filter_at].chunks_exact(8).map(big_endian).collect();
        let handles = pack_table.iter().map(|(id, kind)| packs.find(*id, *kind)).collect();
        let filter = tail[filter_at..footer_at].to_vec();
        Ok(Ok(Self { listed, file, layout, handles, bases, fences, filter }))
    }

    /// The segment as the list has it.
    #[must_use]
    pub const fn listed(&self) -> ListedSegment {
        self.listed
    }

    /// Packs that this segment covers and that exist.
    pub fn packs(&self) -> impl Iterator<Item = PackHandle> + '_ {
        self.handles.iter().filter_map(|handle| *handle)
    }

    /// Whether it covers a pack that is gone.
    pub fn names_gone_packs(&self, packs: &PackSet) -> bool {
        self.handles.iter().any(|handle| handle.is_none_or(|handle| packs.get(handle).is_none()))
    }

    /// Appends where the id lies to `found`; packs that are gone don't count.
    ///
    /// # Errors
    /// What reading gives; inside: what is wrong with a page.
    pub fn lookup(&self, id: &ContentId, found: &mut Vec<Location>) -> Checked<()> {
        if !filter_may_hold(&self.filter, id) {
            return Ok(Ok(()));
        }
        let prefix = id.prefix();
        let mut page = self.fences.partition_point(|fence| *fence < prefix).saturating_sub(1);
        let mut bytes = [0; PAGE_BYTES];
        while page < self.fences.len() && self.fences[page] <= prefix {
            let at = self.layout.pages_at + u64_from(page * PAGE_BYTES);
            if read_exact_at(self.file.as_ref(), &mut bytes, at)?.is_none() {
                return Ok(Err(Defect::Wrong("the segment is cut off")));
            }
            match search_page(&bytes, id) {
                Ok(entries) => {
                    for entry in entries {
                        match self.location(&entry) {
                            Ok(location) => found.extend(location),
                            Err(defect) => return Ok(Err(defect)),
                        }
                    }
                }
                Err(defect) => return Ok(Err(defect)),
            }
            page += 1;
        }
        Ok(Ok(()))
    }

    /// All entries whose packs exist, in order of id.
    #[must_use]
    pub fn stream(&self) -> SegmentStream<'_> {
        SegmentStream { segment: self, next_page: 0, last: None, buffered: Vec::new().into_iter() }
    }

    fn location(&self, entry: &SegmentEntry) -> std::result::Result<Option<Location>, Defect> {
        let handle =
            self.handles.get(entry.pack as usize).ok_or(Defect::Wrong("an entry names a pack past the table"))?;
        let base = match entry.base {
            None => None,
            Some(base) => {
                Some(*self.bases.get(base as usize).ok_or(Defect::Wrong("an entry names a base past the table"))?)
            }
        };
        Ok(handle.map(|pack| Location {
            pack,
            offset: entry.offset,
            stored_bytes: entry.stored_bytes,
            codec: entry.codec,
            base,
        }))
    }
}

/// The entries of a segment, read ahead a few pages at a time.
pub struct SegmentStream<'a> {
    segment: &'a Segment,
    next_page: u64,
    last: Option<ContentId>, // the id that the pages so far end with
    buffered: std::vec::IntoIter<(ContentId, Location)>,
}

impl SegmentStream<'_> {
    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// What reading gives; inside: what is wrong with a page.
    #[allow(clippy::should_implement_trait)] // not an Iterator: it fails in two ways
    pub fn next(&mut self) -> Checked<Option<(ContentId, Location)>> {
        loop {
            if let Some(entry) = self.buffered.next() {
                return Ok(Ok(Some(entry)));
            }
            let layout = &self.segment.layout;
            let page_count = STREAM_PAGES.min(layout.page_count - self.next_page);
            if page_count == 0 {
                return Ok(Ok(None));
            }
            let mut bytes = vec![0; usize_from(page_count) * PAGE_BYTES];
            let at = layout.pages_at + self.next_page * u64_from(PAGE_BYTES);
            if read_exact_at(self.segment.file.as_ref(), &mut bytes, at)?.is_none() {
                return Ok(Err(Defect::Wrong("the segment is cut off")));
            }
            match self.decode(&bytes) {
                Ok(entries) => self.buffered = entries.into_iter(),
                Err(defect) => return Ok(Err(defect)),
            }
            self.next_page += page_count;
        }
    }

    fn decode(&mut self, pages: &[u8]) -> std::result::Result<Vec<(ContentId, Location)>, Defect> {
        let mut entries = Vec::with_capacity(pages.len() / PAGE_BYTES * 77);
        for (index, page) in pages.chunks_exact(PAGE_BYTES).enumerate() {
            let decoded = decode_page(page)?;
            let fence = self.segment.fences[usize_from(self.next_page) + index];
            if decoded.first().is_some_and(|first| first.id.prefix() != fence) {
                return Err(Defect::Wrong("a fence contradicts its page"));
            }
            if decoded.first().is_some_and(|first| self.last.is_some_and(|last| first.id < last)) {
                return Err(Defect::Wrong("its pages are not in order")); // merging would mix them up
            }
            self.last = decoded.last().map(|entry| entry.id);
            for entry in decoded {
                if let Some(location) = self.segment.location(&entry)? {
                    entries.push((entry.id, location));
                }
            }
        }
        Ok(entries)
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}
