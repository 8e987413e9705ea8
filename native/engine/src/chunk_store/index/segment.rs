//! One immutable segment: looked up page by page, streamed page by page.
//!
//! In memory are its tables, fences (8 bytes a page) and filter (12 bits an entry); pages stay in the file.

use std::path::Path;
use std::sync::Arc;

use super::Location;
use crate::chunk_store::pack_set::{PackHandle, PackSet};
use crate::error::Result;
use crate::format::index_list::ListedSegment;
use crate::format::index_segment::{
    FOOTER_BYTES, HEADER_BYTES, Layout, PAGE_BYTES, SegmentEntry, SegmentHeader, check_footer, check_page,
    decode_page_into, decode_tables, filter_may_hold, search_page,
};
use crate::format::{Defect, RunningChecksum};
use crate::io::{Io, IoFile, OpenMode, read_exact_at};
use crate::units::{ContentId, Uid, u64_from, usize_from};

/// Pages that streaming reads at once.
const STREAM_PAGES: u64 = 64;

/// Fences are read in pieces of this size, so that opening needs no more memory than what stays.
const FENCES_PIECE_BYTES: usize = 256 << 10;

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

/// The page that was read last: ids that come in order often share it, and then it is read and checked once.
#[derive(Default)]
pub(super) struct PageBuffer {
    bytes: Option<Box<[u8; PAGE_BYTES]>>, // none until a filter lets an id through: most look-ups need no page
    holds: Option<usize>,
}

impl PageBuffer {
    /// Forgets the page, before another segment is asked.
    pub(super) fn clear(&mut self) {
        self.holds = None;
    }
}

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
            return Ok(Err(CUT_OFF));
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
        let mut tables = vec![0; usize_from(layout.fences_at - layout.tables_at)];
        if read_exact_at(file.as_ref(), &mut tables, layout.tables_at)?.is_none() {
            return Ok(Err(CUT_OFF));
        }
        let (pack_table, bases) = match decode_tables(&header, &tables) {
            Ok(tables) => tables,
            Err(defect) => return Ok(Err(defect)),
        };
        let mut sum = RunningChecksum::default();
        let Some(fences) = read_fences(file.as_ref(), &layout, &mut sum)? else { return Ok(Err(CUT_OFF)) };
        let mut filter = vec![0; usize_from(header.filter_bytes)];
        let mut footer = [0; FOOTER_BYTES];
        if read_exact_at(file.as_ref(), &mut filter, layout.filter_at)?.is_none()
            || read_exact_at(file.as_ref(), &mut footer, layout.footer_at)?.is_none()
        {
            return Ok(Err(CUT_OFF));
        }
        sum.update(&filter);
        if let Err(defect) = check_footer(&footer, sum.value(), layout.file_bytes) {
            return Ok(Err(defect));
        }
        let handles = pack_table.iter().map(|(id, kind)| packs.find(*id, *kind)).collect();
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

    /// Packs by their number in this segment; `None` where one is gone.
    pub(super) fn handles(&self) -> &[Option<PackHandle>] {
        &self.handles
    }

    /// Bases by their number in this segment.
    pub(super) fn bases(&self) -> &[ContentId] {
        &self.bases
    }

    /// Hands over where the id lies; packs that are gone don't count.
    ///
    /// # Errors
    /// What reading gives; inside: what is wrong with a page.
    pub(super) fn lookup(
        &self,
        id: &ContentId,
        buffer: &mut PageBuffer,
        take: &mut impl FnMut(Location),
    ) -> Checked<()> {
        self.search(id, buffer, &mut |entry| {
            if let Some(location) = self.location(&entry)? {
                take(location);
            }
            Ok(())
        })
    }

    /// Whether the segment has an entry of this id, whatever pack it names.
    ///
    /// # Errors
    /// What reading gives; inside: what is wrong with a page.
    pub(super) fn has_entry(&self, id: &ContentId) -> Checked<bool> {
        let mut found = false;
        let searched = self.search(id, &mut PageBuffer::default(), &mut |_| {
            found = true;
            Ok(())
        })?;
        Ok(searched.map(|()| found))
    }

    fn search(
        &self,
        id: &ContentId,
        buffer: &mut PageBuffer,
        take: &mut impl FnMut(SegmentEntry) -> std::result::Result<(), Defect>,
    ) -> Checked<()> {
        if !filter_may_hold(&self.filter, id) {
            return Ok(Ok(()));
        }
        let prefix = id.prefix();
        let mut page = self.fences.partition_point(|fence| *fence < prefix).saturating_sub(1);
        while page < self.fences.len() && self.fences[page] <= prefix {
            let bytes = buffer.bytes.get_or_insert_with(|| Box::new([0; PAGE_BYTES]));
            if buffer.holds != Some(page) {
                buffer.holds = None;
                let at = self.layout.pages_at + u64_from(page * PAGE_BYTES);
                if read_exact_at(self.file.as_ref(), bytes.as_mut_slice(), at)?.is_none() {
                    return Ok(Err(CUT_OFF));
                }
                if let Err(defect) = check_page(bytes) {
                    return Ok(Err(defect));
                }
                buffer.holds = Some(page);
            }
            if let Err(defect) = search_page(bytes, id, &mut *take) {
                return Ok(Err(defect));
            }
            page += 1;
        }
        Ok(Ok(()))
    }

    /// All entries whose packs exist, in order of id.
    #[must_use]
    pub fn stream(&self) -> SegmentStream<'_> {
        SegmentStream { segment: self, next_page: 0, last: None, bytes: Vec::new(), entries: Vec::new(), next: 0 }
    }

    fn location(&self, entry: &SegmentEntry) -> std::result::Result<Option<Location>, Defect> {
        let handle = self.handles.get(entry.pack as usize).ok_or(PAST_PACKS)?;
        let base = match entry.base {
            None => None,
            Some(base) => Some(*self.bases.get(base as usize).ok_or(PAST_BASES)?),
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
    bytes: Vec<u8>,
    entries: Vec<SegmentEntry>,
    next: usize,
}

impl SegmentStream<'_> {
    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// What reading gives; inside: what is wrong with a page.
    #[allow(clippy::should_implement_trait)] // not an Iterator: it fails in two ways
    pub fn next(&mut self) -> Checked<Option<(ContentId, Location)>> {
        loop {
            let entry = match self.next_entry()? {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(Ok(None)),
                Err(defect) => return Ok(Err(defect)),
            };
            match self.segment.location(&entry) {
                Ok(Some(location)) => return Ok(Ok(Some((entry.id, location)))),
                Ok(None) => {}
                Err(defect) => return Ok(Err(defect)),
            }
        }
    }

    /// The next entry as it stands in its page, its pack and base proven to be in the tables; `None` at the end.
    pub(super) fn next_entry(&mut self) -> Checked<Option<SegmentEntry>> {
        if self.next == self.entries.len() {
            match self.fill()? {
                Ok(()) => {}
                Err(defect) => return Ok(Err(defect)),
            }
        }
        let entry = self.entries.get(self.next).copied();
        self.next += 1;
        Ok(Ok(entry))
    }

    fn fill(&mut self) -> Checked<()> {
        self.entries.clear();
        self.next = 0;
        let layout = &self.segment.layout;
        let page_count = STREAM_PAGES.min(layout.page_count - self.next_page);
        self.bytes.resize(usize_from(page_count) * PAGE_BYTES, 0);
        let at = layout.pages_at + self.next_page * u64_from(PAGE_BYTES);
        if read_exact_at(self.segment.file.as_ref(), &mut self.bytes, at)?.is_none() {
            return Ok(Err(CUT_OFF));
        }
        if let Err(defect) = self.decode() {
            return Ok(Err(defect));
        }
        self.next_page += page_count;
        Ok(Ok(()))
    }

    fn decode(&mut self) -> std::result::Result<(), Defect> {
        for (index, page) in self.bytes.chunks_exact(PAGE_BYTES).enumerate() {
            let first = self.entries.len();
            decode_page_into(page, &mut self.entries)?;
            let fence = self.segment.fences[usize_from(self.next_page) + index];
            if self.entries.get(first).is_some_and(|first| first.id.prefix() != fence) {
                return Err(Defect::Wrong("a fence contradicts its page"));
            }
            if self.entries.get(first).is_some_and(|first| self.last.is_some_and(|last| first.id < last)) {
                return Err(Defect::Wrong("its pages are not in order")); // merging would mix them up
            }
            self.last = self.entries.last().map(|entry| entry.id);
        }
        let (packs, bases) = (self.segment.handles.len(), self.segment.bases.len());
        for entry in &self.entries {
            if entry.pack as usize >= packs {
                return Err(PAST_PACKS);
            }
            if entry.base.is_some_and(|base| base as usize >= bases) {
                return Err(PAST_BASES);
            }
        }
        Ok(())
    }
}

const CUT_OFF: Defect = Defect::Wrong("the segment is cut off");
const PAST_PACKS: Defect = Defect::Wrong("an entry names a pack past the table");
const PAST_BASES: Defect = Defect::Wrong("an entry names a base past the table");

/// Reads the fences, adding their bytes to `sum`; `None` when the file ends before them.
fn read_fences(file: &dyn IoFile, layout: &Layout, sum: &mut RunningChecksum) -> Result<Option<Vec<u64>>> {
    let mut fences = Vec::with_capacity(usize_from(layout.page_count));
    let mut piece = vec![0; FENCES_PIECE_BYTES.min(usize_from(layout.filter_at - layout.fences_at))];
    let mut at = layout.fences_at;
    while at < layout.filter_at {
        let length = piece.len().min(usize_from(layout.filter_at - at));
        let bytes = &mut piece[..length];
        if read_exact_at(file, bytes, at)?.is_none() {
            return Ok(None);
        }
        sum.update(bytes);
        fences.extend(bytes.chunks_exact(8).map(big_endian));
        at += u64_from(length);
    }
    Ok(Some(fences))
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

const _: () = assert!(FENCES_PIECE_BYTES.is_multiple_of(8));
